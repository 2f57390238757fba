//! `chinwag console`: a prompt on one coordinator. Owns the loop; lines, words, commands and answers have files of their own.

mod command;
mod input;
mod memory;
mod session;
mod words;

use chinwag_client::Consistency;

use self::command::Command;
use self::input::{Input, Line};
use self::session::{CommandError, Session};
use super::connection::{Connection, InBucket};
use super::failure::{Exit, Failure};
use super::{output, text};

/// Talk to one member at a prompt
///
/// get, put, delete, siblings, resolve, consistency, members, ring; `help` explains them. The console remembers the
/// context of the last answer about each key, so that a put replaces what you have seen, and says so.
///
/// Commands are also read from a pipe, one per line; then it exits with the worst outcome of any of them.
#[derive(Debug, clap::Args)]
pub(crate) struct ConsoleCommand {
    /// How many replicas must answer to begin with: one, quorum, all, or a number
    #[arg(long, value_name = "LEVEL", default_value_t)]
    consistency: Consistency,

    /// Neither read nor write the history file ($XDG_STATE_HOME/chinwag/history)
    #[arg(long)]
    no_history: bool,

    #[command(flatten)]
    bucket: InBucket,

    #[command(flatten)]
    connection: Connection,
}

impl ConsoleCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let client = self.bucket.of(self.connection.client_of_first()?);
        let members = client.members().await.map_err(Failure::Read)?;
        let input = Input::open(!self.no_history)?;
        if input.is_terminal() {
            let members = text::counted(members.len(), "member", "members");
            let coordinator = self.connection.first();
            output::print(&format!(
                "{coordinator} knows {members}. `help` lists the commands, Ctrl-D leaves.\n"
            ))?;
        }
        let mut session = Session::new(client, self.consistency);
        let exit = converse(&mut session, input).await;
        session.close().await;
        exit
    }
}

/// Reads and carries out commands until there are no more.
async fn converse(session: &mut Session, mut input: Input) -> Result<Exit, Failure> {
    let is_terminal = input.is_terminal();
    let mut worst = Exit::Done;
    loop {
        let prompt = format!("chinwag {}> ", session.consistency());
        let line;
        (line, input) = next_line(input, prompt).await?;
        let answer = match line {
            Line::End => break,
            Line::Cancelled => continue,
            Line::Text(line) => match command::parse(&line) {
                Ok(None) => continue,
                Ok(Some(Command::Quit)) => break,
                Ok(Some(command)) if is_terminal => run_unless_interrupted(session, command).await,
                Ok(Some(command)) => session.run(command).await,
                Err(error) => Err(error.into()),
            },
        };
        match answer {
            Ok(answer) => output::print(&answer)?,
            Err(error) => {
                output::report(&error.to_string(), error.hint().as_deref());
                worst = worst.max(error.exit());
            }
        }
    }
    input.close();
    // A person has read of every failure; a script has not.
    Ok(if is_terminal { Exit::Done } else { worst })
}

/// Waits for a line on a thread of its own, so that meanwhile the connection is kept alive here.
async fn next_line(mut input: Input, prompt: String) -> Result<(Line, Input), Failure> {
    let reading = tokio::task::spawn_blocking(move || input.next(&prompt).map(|line| (line, input)));
    reading.await.expect("reading a line does not panic and is not aborted")
}

async fn run_unless_interrupted(session: &mut Session, command: Command) -> Result<String, CommandError> {
    let is_write = command.is_write();
    tokio::select! {
        biased;
        answer = session.run(command) => answer,
        Ok(()) = tokio::signal::ctrl_c() => Err(CommandError::Interrupted { is_write }),
    }
}

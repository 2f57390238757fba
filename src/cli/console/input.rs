//! Where the console's lines come from: a terminal with editing, history and completion, or a pipe.

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::PathBuf;

use chinwag_client::codec::MESSAGE_BYTES_MAX;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Editor, Helper};

use super::command::completions;
use crate::cli::failure::Failure;
use crate::cli::output;

/// Most lines kept in the history file.
const HISTORY_LINES_MAX: usize = 1_000;
/// Longest line taken from a pipe, in bytes: more than any request can carry, escapes included.
const LINE_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;

/// Where lines come from.
pub(super) enum Input {
    /// A person.
    Terminal(Box<Terminal>),
    /// A script, or a file of commands.
    Pipe,
}

/// What came from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Text(String),
    /// Ctrl-C: the line does not count.
    Cancelled,
    End,
}

pub(super) struct Terminal {
    editor: Editor<Words, FileHistory>,
    history: Option<PathBuf>,
}

impl Input {
    /// Standard input, with history unless told otherwise.
    pub(super) fn open(with_history: bool) -> Result<Self, Failure> {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return Ok(Self::Pipe);
        }
        let history = if with_history { history_path() } else { None };
        Terminal::open(history).map(|terminal| Self::Terminal(Box::new(terminal))).map_err(Failure::Prompt)
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Waits for the next line.
    pub(super) fn next(&mut self, prompt: &str) -> Result<Line, Failure> {
        let read = match self {
            Self::Terminal(terminal) => terminal.next(prompt),
            Self::Pipe => next_of(&mut io::stdin().lock()).map_err(ReadlineError::Io),
        };
        read.map_err(Failure::Prompt)
    }

    /// Keeps the history for the next session.
    pub(super) fn close(self) {
        if let Self::Terminal(terminal) = self {
            terminal.close();
        }
    }
}

fn next_of(input: &mut impl BufRead) -> io::Result<Line> {
    let mut line = String::new();
    let bound = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    match input.by_ref().take(bound).read_line(&mut line)? {
        0 => Ok(Line::End),
        LINE_BYTES_MAX if !line.ends_with('\n') => Err(io::ErrorKind::FileTooLarge.into()),
        _ => Ok(Line::Text(line)),
    }
}

impl Terminal {
    fn open(history: Option<PathBuf>) -> rustyline::Result<Self> {
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)?
            .history_ignore_dups(true)?
            .history_ignore_space(true)
            .auto_add_history(true)
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Words));
        if let Some(path) = &history {
            // The first session has none yet, and an unreadable one only means that there is nothing to look back on.
            if let Err(error) = editor.load_history(path)
                && path.exists()
            {
                output::note(&format!("warning: cannot read {}: {error}", path.display()));
            }
        }
        Ok(Self { editor, history })
    }

    fn next(&mut self, prompt: &str) -> rustyline::Result<Line> {
        loop {
            return match self.editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Interrupted) => Ok(Line::Cancelled),
                Err(ReadlineError::Eof) => Ok(Line::End),
                // The window changed its size.
                Err(ReadlineError::Signal(_)) => continue,
                Err(error) => Err(error),
            };
        }
    }

    fn close(mut self) {
        let Some(path) = &self.history else { return };
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let saved = made.map_err(ReadlineError::Io).and_then(|()| self.editor.append_history(path));
        if let Err(error) = saved {
            output::note(&format!("warning: cannot write {}: {error}", path.display()));
        }
    }
}

/// `$XDG_STATE_HOME/chinwag/history`, by default under `~/.local/state` (XDG base directory specification).
fn history_path() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state =
        absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("chinwag").join("history"))
}

/// Completes command words.
struct Words;

impl Completer for Words {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, words) = completions(line.get(..cursor).unwrap_or_default());
        let pair = |word: &str| Pair { display: word.to_owned(), replacement: format!("{word} ") };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gives_its_lines_and_then_the_end() {
        let mut input = &b"get cart\nquit"[..];
        let mut next = || next_of(&mut input).unwrap();
        assert_eq!(
            [next(), next(), next()],
            [Line::Text("get cart\n".to_owned()), Line::Text("quit".to_owned()), Line::End]
        );
        assert!(next_of(&mut &b"\xff\n"[..]).is_err());
    }
}

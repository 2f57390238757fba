//! `chinwag members`: the cluster as one member sees it, once or for as long as one watches.

use std::time::Duration;

use chinwag_client::wire::{MemberChange, MemberInfo, News, WatchCursor, Watched};
use chinwag_client::{Client, RequestError};
use serde_json::{Value as Json, json};
use tokio::time::sleep;

use super::connection::{Connection, Output};
use super::failure::{Exit, Failure};
use super::output;
use super::table::{Align, table};

/// Show the members of the cluster
///
/// One line per member, as the member that is asked sees it: alive; suspect (did not answer a probe); down (has not
/// answered for long); left (said goodbye). A member that is down or left still owns its partitions. A member that has
/// said that it takes no writes, because its disk is full, is named below with what it said.
#[derive(Debug, clap::Args)]
pub(crate) struct MembersCommand {
    /// Go on with a line for each change, as it happens, until Ctrl-C; with --json an object per line
    ///
    /// Asks the first member alone. While it cannot be reached it is tried again and again; what was missed shows in the
    /// table that is printed then.
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

/// A member that has nothing to tell is asked again after this long.
const PATIENCE: Duration = Duration::from_secs(20);
/// One that cannot be reached, after this long.
const RETRY: Duration = Duration::from_secs(1);

impl MembersCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        if self.watch {
            let client = self.connection.client_of_first()?;
            let ended = tokio::select! {
                biased;
                interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::Signal),
                ended = watch(&client, self.output.json) => ended,
            };
            client.close().await;
            return ended.map(|()| Exit::Done);
        }
        let client = self.connection.client()?;
        let answer = client.members().await;
        client.close().await;
        let members = answer.map_err(Failure::Read)?;
        if self.output.json {
            output::print_json(&json(&members))?;
        } else {
            output::print(&render(&members))?;
        }
        Ok(Exit::Done)
    }
}

/// Prints the members, and then every change, until the output takes no more.
async fn watch(client: &Client, as_json: bool) -> Result<(), Failure> {
    let mut cursor: Option<WatchCursor> = None;
    let mut lost = false;
    loop {
        match client.watch_members(cursor, PATIENCE).await {
            Ok(Watched { cursor: next, news }) => {
                output::print(&told(&news, as_json))?;
                cursor = Some(next);
                lost = false;
            }
            // Asking again will not help.
            Err(error @ (RequestError::Invalid(_) | RequestError::Protocol(_))) => {
                return Err(Failure::Read(error));
            }
            Err(error) => {
                if !lost {
                    output::note(&format!("{}; trying again until it answers", Failure::Read(error)));
                }
                lost = true;
                sleep(RETRY).await;
            }
        }
    }
}

/// News as they are printed.
fn told(news: &News, as_json: bool) -> String {
    match news {
        News::Table(members) if as_json => format!("{}\n", json(members)),
        News::Table(members) => render(members),
        News::Changes(changes) => changes
            .iter()
            .map(|it| if as_json { format!("{}\n", change_json(it)) } else { change_line(it) })
            .collect(),
    }
}

/// When it happened, by the clock of the member that tells it.
fn time(change: &MemberChange) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_millis(change.at_ms);
    humantime::format_rfc3339_millis(at).to_string()
}

fn change_line(change: &MemberChange) -> String {
    let MemberChange { kind, name, address, incarnation, generation, by, .. } = change;
    let by = by.as_ref().map(|by| format!(", says {by}")).unwrap_or_default();
    format!(
        "{}  {name}  {kind}{by}  ({address}, incarnation {incarnation}, generation {generation})\n",
        time(change)
    )
}

fn change_json(change: &MemberChange) -> Json {
    json!({
        "time": time(change),
        "change": change.kind.to_string(),
        "name": change.name,
        "address": change.address.to_string(),
        "incarnation": change.incarnation,
        "generation": change.generation,
        "by": change.by,
    })
}

/// One line per member.
pub(crate) fn render(members: &[MemberInfo]) -> String {
    let headings = [
        ("name", Align::Left),
        ("address", Align::Left),
        ("state", Align::Left),
        ("incarnation", Align::Right),
        ("generation", Align::Right),
    ];
    let row = |member: &MemberInfo| {
        vec![
            member.name.clone(),
            member.address.to_string(),
            member.state.to_string(),
            member.incarnation.to_string(),
            member.generation.to_string(),
        ]
    };
    let mut out = table(&headings, &members.iter().map(row).collect::<Vec<_>>());
    for member in members {
        if let Some(reason) = &member.refuses_writes {
            out.push_str(&format!("{} takes no writes: {reason}\n", member.name));
        }
    }
    out
}

fn json(members: &[MemberInfo]) -> Json {
    let object = |member: &MemberInfo| {
        json!({
            "name": member.name,
            "address": member.address.to_string(),
            "state": member.state.to_string(),
            "incarnation": member.incarnation,
            "generation": member.generation,
            "refuses_writes": member.refuses_writes,
        })
    };
    json!({ "members": members.iter().map(object).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use chinwag_client::wire::{ChangeKind, MemberState};

    use super::*;

    fn members() -> Vec<MemberInfo> {
        let member = |name: &str, port: u16, state, incarnation| MemberInfo {
            name: name.to_owned(),
            address: ([127, 0, 0, 1], port).into(),
            state,
            incarnation,
            generation: 1,
            refuses_writes: None,
        };
        vec![member("a", 7001, MemberState::Alive, 0), member("west-2", 17002, MemberState::Suspect, 12)]
    }

    #[test]
    fn one_line_per_member() {
        assert_eq!(
            render(&members()),
            "name    address          state    incarnation  generation\n\
             a       127.0.0.1:7001   alive              0           1\n\
             west-2  127.0.0.1:17002  suspect           12           1\n"
        );
    }

    #[test]
    fn a_change_is_a_line_with_its_time() {
        let change = MemberChange {
            at_ms: 1_795_172_108_250,
            kind: ChangeKind::Suspect,
            name: "b".to_owned(),
            address: ([127, 0, 0, 1], 7002).into(),
            incarnation: 3,
            generation: 9,
            by: Some("c".to_owned()),
        };
        let news = News::Changes(vec![change.clone(), MemberChange { by: None, ..change }]);
        assert_eq!(
            told(&news, false),
            "2026-11-20T10:55:08.250Z  b  suspect, says c  (127.0.0.1:7002, incarnation 3, generation 9)\n\
             2026-11-20T10:55:08.250Z  b  suspect  (127.0.0.1:7002, incarnation 3, generation 9)\n"
        );
        let lines = told(&news, true);
        let first: Json = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!((&first["change"], &first["by"]), (&json!("suspect"), &json!("c")));
        assert_eq!(told(&News::Changes(Vec::new()), true), "", "nothing happened");
    }

    #[test]
    fn json_has_the_same_facts() {
        assert_eq!(
            json(&members())["members"][1],
            json!({
                "name": "west-2", "address": "127.0.0.1:17002", "state": "suspect", "incarnation": 12, "generation": 1,
                "refuses_writes": null,
            })
        );
    }

    #[test]
    fn who_takes_no_writes_is_named_with_the_reason() {
        let mut members = members();
        members[1].refuses_writes = Some("the disk of /data is full".to_owned());
        assert!(render(&members).ends_with("1\nwest-2 takes no writes: the disk of /data is full\n"));
        assert_eq!(json(&members)["members"][1]["refuses_writes"], "the disk of /data is full");
    }
}

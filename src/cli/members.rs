//! `chinwag members`: the cluster as one member sees it.

use chinwag_client::wire::MemberInfo;
use serde_json::{Value as Json, json};

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
    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

impl MembersCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
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
    use chinwag_client::wire::MemberState;

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

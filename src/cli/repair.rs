//! `chinwag repair`: one round of anti-entropy on demand, and what it did.

use std::time::Duration;

use chinwag_client::wire::RepairReport;
use indicatif::ProgressBar;
use serde_json::{Value as Json, json};

use super::connection::{Connection, Output};
use super::failure::{Exit, Failure};
use super::output;
use super::table::{Align, table};

/// How often the spinner moves.
const SPINNER_TICK: Duration = Duration::from_millis(100);

/// Have a member compare its data with its fellow replicas now, and repair both sides
///
/// Runs one round of anti-entropy with each member that shares a partition with the one that is asked, and waits for
/// it for ten minutes at most. Exits with 1 if an exchange broke off; what it had repaired by then stays repaired.
#[derive(Debug, clap::Args)]
pub(crate) struct RepairCommand {
    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

impl RepairCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let client = self.connection.client_of_first()?;
        // Shows itself on a terminal only.
        let spinner = ProgressBar::new_spinner().with_message("comparing with the other replicas");
        spinner.enable_steady_tick(SPINNER_TICK);
        let answer = client.repair().await;
        spinner.finish_and_clear();
        client.close().await;
        let report = answer.map_err(Failure::Read)?;
        if self.output.json {
            output::print_json(&json(&report))?;
        } else {
            output::print(&render(&report))?;
        }
        Ok(if report.failed.is_empty() { Exit::Done } else { Exit::NotFound })
    }
}

fn render(report: &RepairReport) -> String {
    let row = |count: u64, what: &str| vec![count.to_string(), what.to_owned()];
    let rows = [
        row(report.partitions_differed, "partitions differed"),
        row(report.keys_sent, "keys sent"),
        row(report.keys_received, "keys received"),
    ];
    let exchanges = report.exchanges.to_string();
    let mut text = table(&[(&exchanges, Align::Right), ("exchanges", Align::Left)], &rows);
    for (member, reason) in &report.failed {
        text.push_str(&format!("broke off with {member}: {reason}\n"));
    }
    text
}

fn json(report: &RepairReport) -> Json {
    let failed = |(member, reason): &(String, String)| json!({ "member": member, "reason": reason });
    json!({
        "exchanges": report.exchanges,
        "partitions_differed": report.partitions_differed,
        "keys_sent": report.keys_sent,
        "keys_received": report.keys_received,
        "failed": report.failed.iter().map(failed).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> RepairReport {
        RepairReport {
            exchanges: 3,
            partitions_differed: 2,
            keys_sent: 1000,
            keys_received: 14,
            failed: vec![("c".to_owned(), "did not answer".to_owned())],
        }
    }

    #[test]
    fn says_what_was_done_and_what_was_not() {
        assert_eq!(
            render(&report()),
            "   3  exchanges\n   2  partitions differed\n1000  keys sent\n  14  keys received\n\
             broke off with c: did not answer\n"
        );
    }

    #[test]
    fn json_has_the_same_facts() {
        let expected = json!({
            "exchanges": 3, "partitions_differed": 2, "keys_sent": 1000, "keys_received": 14,
            "failed": [{"member": "c", "reason": "did not answer"}],
        });
        assert_eq!(json(&report()), expected);
    }
}

//! `chinwag repair`: one round of anti-entropy on demand, and what it did.

use chinwag_client::wire::{RepairReport, RepairScope};
use chinwag_client::{Client, RequestError};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};

use super::connection::{Connection, Output};
use super::failure::{Exit, Failure};
use super::output;
use super::table::{Align, table};

/// Partitions repaired by one request: between two of them progress is shown, and Ctrl-C ends it.
const PARTITIONS_AT_ONCE: u16 = 16;

/// Have a member compare its data with its fellow replicas now, and repair both sides
///
/// Runs one round of anti-entropy with each member that shares a partition with the one that is asked: over all that
/// they hold, however lately it was written. Exits with 1 if an exchange broke off; what it had repaired by then stays
/// repaired, as it does after Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct RepairCommand {
    /// Repair this partition alone
    #[arg(long, value_name = "NUMBER")]
    partition: Option<u16>,

    /// Compare with this member alone
    #[arg(long, value_name = "MEMBER")]
    with: Option<String>,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

impl RepairCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let client = self.connection.client_of_first()?;
        let repaired = self.repair(&client).await;
        client.close().await;
        let report = repaired.map_err(Failure::Read)?;
        if self.output.json {
            output::print_json(&json(&report))?;
        } else {
            output::print(&render(&report))?;
        }
        Ok(if report.failed.is_empty() { Exit::Done } else { Exit::NotFound })
    }
}

impl RepairCommand {
    /// Repairs a few partitions after the other.
    async fn repair(&self, client: &Client) -> Result<RepairReport, RequestError> {
        let last = client.ring().await?.owners.len().saturating_sub(1);
        let last = u16::try_from(last).unwrap_or(u16::MAX);
        let (mut first, end) = self.partition.map_or((0, last), |it| (it, it));
        // Shows itself on a terminal only.
        let bar = ProgressBar::new(u64::from(end.saturating_sub(first)) + 1).with_style(style());
        let mut all = RepairReport::default();
        loop {
            let to = end.min(first.saturating_add(PARTITIONS_AT_ONCE - 1)).max(first);
            let scope = RepairScope { with: self.with.clone(), partitions: Some((first, to)) };
            let report = client.repair_within(scope).await?;
            add(&mut all, report);
            bar.inc(u64::from(to - first) + 1);
            match to.checked_add(1).filter(|&next| next <= end) {
                Some(next) => first = next,
                None => break,
            }
        }
        bar.finish_and_clear();
        Ok(all)
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:40} {pos} of {len} partitions, {eta} left")
        .expect("the template is well formed")
}

/// Adds what was done for other partitions. A member that breaks off is named once.
fn add(all: &mut RepairReport, report: RepairReport) {
    all.exchanges = all.exchanges.max(report.exchanges);
    all.partitions_differed += report.partitions_differed;
    all.keys_sent += report.keys_sent;
    all.keys_received += report.keys_received;
    for (member, reason) in report.failed {
        if !all.failed.iter().any(|(known, _)| *known == member) {
            all.failed.push((member, reason));
        }
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

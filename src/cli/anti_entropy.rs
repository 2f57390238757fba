//! `chinwag anti-entropy status`: when a member's partitions were last equal to those of others, and what repair has cost.

use std::collections::BTreeMap;
use std::time::Duration;

use chinwag_client::wire::PairStatus;
use serde_json::{Value as Json, json};

use super::connection::{Connection, Output};
use super::failure::{Exit, Failure};
use super::output;
use super::table::{Align, table};

/// Look at the background repair of a member
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AntiEntropyCommand {
    /// Show when a member's partitions were last equal to those of others
    ///
    /// A line for each member that the one that is asked was compared with since it was started: how many partitions they
    /// have in common, how long ago the one was equal that has not been for the longest time, and what exchanges over
    /// those that differed have cost.
    Status(StatusCommand),
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusCommand {
    /// A line for each member and this partition
    #[arg(long, value_name = "NUMBER", conflicts_with = "all")]
    partition: Option<u16>,

    /// A line for each member and partition
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

impl AntiEntropyCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let Self::Status(command) = self;
        let client = command.connection.client_of_first()?;
        let answer = client.anti_entropy(command.partition).await;
        client.close().await;
        let pairs = answer.map_err(Failure::Read)?;
        if command.output.json {
            output::print_json(&Json::Array(pairs.iter().map(json).collect()))?;
        } else if command.all || command.partition.is_some() {
            output::print(&each(&pairs))?;
        } else {
            output::print(&summary(&pairs))?;
        }
        Ok(Exit::Done)
    }
}

const COSTS: [(&str, Align); 5] = [
    ("exchanges", Align::Right),
    ("round trips", Align::Right),
    ("bytes", Align::Right),
    ("keys sent", Align::Right),
    ("keys received", Align::Right),
];

fn each(pairs: &[PairStatus]) -> String {
    let headings = [
        ("partition", Align::Right),
        ("n", Align::Right),
        ("member", Align::Left),
        ("compared", Align::Right),
        ("equal", Align::Right),
    ];
    let rows: Vec<_> = pairs
        .iter()
        .map(|it| {
            let mut row = vec![
                it.partition.to_string(),
                it.n.to_string(),
                it.member.clone(),
                ago(it.compared_ago_ms),
                ago(it.clean_ago_ms),
            ];
            row.extend(costs(it));
            row
        })
        .collect();
    table(&[&headings[..], &COSTS].concat(), &rows)
}

fn summary(pairs: &[PairStatus]) -> String {
    let mut members: BTreeMap<&str, (usize, PairStatus)> = BTreeMap::new();
    for pair in pairs {
        match members.get_mut(pair.member.as_str()) {
            None => drop(members.insert(&pair.member, (1, pair.clone()))),
            Some((count, sum)) => {
                *count += 1;
                // Never is longer ago than anything.
                sum.clean_ago_ms = sum.clean_ago_ms.zip(pair.clean_ago_ms).map(|(one, two)| one.max(two));
                sum.exchanges += pair.exchanges;
                sum.round_trips += pair.round_trips;
                sum.bytes += pair.bytes;
                sum.keys_sent += pair.keys_sent;
                sum.keys_received += pair.keys_received;
            }
        }
    }
    let headings =
        [("member", Align::Left), ("partitions", Align::Right), ("all equal within", Align::Right)];
    let rows: Vec<_> = members
        .into_iter()
        .map(|(member, (count, sum))| {
            let mut row = vec![member.to_owned(), count.to_string(), ago(sum.clean_ago_ms)];
            row.extend(costs(&sum));
            row
        })
        .collect();
    table(&[&headings[..], &COSTS].concat(), &rows)
}

fn costs(pair: &PairStatus) -> [String; 5] {
    [pair.exchanges, pair.round_trips, pair.bytes, pair.keys_sent, pair.keys_received]
        .map(|it| it.to_string())
}

fn ago(millis: Option<u64>) -> String {
    let rounded = |millis: u64| Duration::from_millis(millis / 100 * 100);
    millis.map_or_else(|| "never".to_owned(), |it| format!("{:?}", rounded(it)))
}

fn json(pair: &PairStatus) -> Json {
    json!({
        "partition": pair.partition,
        "n": pair.n,
        "member": pair.member,
        "compared_ago_ms": pair.compared_ago_ms,
        "equal_ago_ms": pair.clean_ago_ms,
        "exchanges": pair.exchanges,
        "round_trips": pair.round_trips,
        "bytes": pair.bytes,
        "keys_sent": pair.keys_sent,
        "keys_received": pair.keys_received,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(partition: u16, clean_ago_ms: Option<u64>) -> PairStatus {
        PairStatus {
            partition,
            n: 3,
            member: "b".to_owned(),
            compared_ago_ms: Some(1234),
            clean_ago_ms,
            exchanges: 2,
            bytes: 1500,
            round_trips: 5,
            keys_sent: 3,
            keys_received: 1,
        }
    }

    #[test]
    fn members_are_summed_up() {
        assert_eq!(
            summary(&[pair(1, Some(1234)), pair(2, Some(61_250))]),
            "member  partitions  all equal within  exchanges  round trips  bytes  keys sent  keys received\n\
             b                2             61.2s          4           10   3000          6              2\n"
        );
        assert!(summary(&[pair(1, Some(1234)), pair(2, None)]).contains("never"), "one never was");
    }

    #[test]
    fn each_pair_has_a_line() {
        assert_eq!(
            each(&[pair(7, None)]),
            "partition  n  member  compared  equal  exchanges  round trips  bytes  keys sent  keys received\n        \
             7  3  b           1.2s  never          2            5   1500          3              1\n"
        );
        assert_eq!(json(&pair(7, None))["equal_ago_ms"], Json::Null);
    }
}

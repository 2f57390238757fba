//! `chinwag ring`: who owns what, as partitions, as keys of the integer key space, or for one key.

use std::ffi::OsString;

use bytes::Bytes;
use chinwag_client::wire::{Located, RingInfo};
use serde_json::{Value as Json, json};

use super::connection::{Connection, InBucket, Output};
use super::failure::{Exit, Failure};
use super::table::{Align, fields, table};
use super::{output, text};

/// How many keys the integer key space has: one byte each.
const INTEGER_KEYS: usize = 256;

/// Show who owns which part of the ring
///
/// Owners stand in the order of the preference list: the first replica, the second, and so on. Neighbouring
/// partitions with the same owners share a line.
#[derive(Debug, clap::Args)]
pub(crate) struct RingCommand {
    /// Show keys in place of partitions; for clusters whose keys are the integers 0 to 255
    #[arg(long, conflicts_with = "key")]
    keys: bool,

    /// Show where one key lives, and who stands in for its owners
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    key: Option<OsString>,

    #[command(flatten)]
    bucket: InBucket,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

impl RingCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let client = self.bucket.of(self.connection.client()?);
        let (text, json) = if let Some(key) = self.key {
            let key = Bytes::from(key.into_encoded_bytes());
            let answer = client.locate(key.clone()).await;
            client.close().await;
            let located = answer.map_err(Failure::Read)?;
            (render_located(&located), json_of_located(&key, &located))
        } else {
            let answer = client.ring().await;
            client.close().await;
            let ring = answer.map_err(Failure::Read)?;
            if self.keys {
                let ranges = key_ranges(&ring).ok_or(Failure::KeysNotIntegers)?;
                (render_keys(&ranges, ring.n), json!({ "keys": json_of_ranges(&ranges) }))
            } else {
                (render(&ring), json_of_ring(&ring))
            }
        };
        if self.output.json {
            output::print_json(&json)?
        } else {
            output::print(&text)?
        }
        Ok(Exit::Done)
    }
}

/// Neighbours on the ring with the same owners.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    first: usize,
    last: usize,
    owners: Vec<String>,
}

/// A summary, then one line per range of partitions.
pub(crate) fn render(ring: &RingInfo) -> String {
    let summary = format!(
        "{} on {}, {} per key, placed by {}\n\n",
        text::counted(ring.owners.len(), "partition", "partitions"),
        text::counted(ring.members.len(), "member", "members"),
        text::counted(ring.n.into(), "replica", "replicas"),
        ring.partitioner
    );
    let ranges = merged((0..ring.owners.len()).map(|partition| (partition, owners_of(ring, partition))));
    let row = |range: &Range| vec![name_of(range), range.owners.join(", ")];
    let rows: Vec<_> = ranges.iter().map(row).collect();
    summary + &table(&[("partitions", Align::Left), ("owners", Align::Left)], &rows)
}

/// Where one key lives.
pub(crate) fn render_located(located: &Located) -> String {
    let names = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    fields(&[
        ("partition", located.partition.to_string()),
        ("position", format!("{:032x}", located.position)),
        ("owners", names(&located.owners)),
        ("fallbacks", names(&located.fallbacks)),
    ])
}

/// One line per range of keys, one column per replica.
fn render_keys(ranges: &[Range], n: u8) -> String {
    let ordinals = ["first replica", "second", "third", "fourth", "fifth", "sixth", "seventh"];
    let columns = &ordinals[..ordinals.len().min(n.into())];
    let headings: Vec<_> =
        std::iter::once("keys").chain(columns.iter().copied()).map(|it| (it, Align::Left)).collect();
    let row = |range: &Range| {
        let owners = (0..columns.len()).map(|i| range.owners.get(i).map_or("-", String::as_str).to_owned());
        std::iter::once(name_of(range)).chain(owners).collect()
    };
    table(&headings, &ranges.iter().map(row).collect::<Vec<_>>())
}

fn name_of(range: &Range) -> String {
    if range.first == range.last {
        range.first.to_string()
    } else {
        format!("{}-{}", range.first, range.last)
    }
}

/// All integer keys in ranges; `None` if this cluster's keys are others.
fn key_ranges(ring: &RingInfo) -> Option<Vec<Range>> {
    if !ring.integer_keys {
        return None;
    }
    // A key is the first byte of its position, and partitions are equal slices of the positions.
    let partition_of = |key: usize| key * ring.owners.len() / INTEGER_KEYS;
    Some(merged((0..INTEGER_KEYS).map(|key| (key, owners_of(ring, partition_of(key))))))
}

fn merged(places: impl Iterator<Item = (usize, Vec<String>)>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (place, owners) in places {
        match ranges.last_mut() {
            Some(range) if range.owners == owners => range.last = place,
            _ => ranges.push(Range { first: place, last: place, owners }),
        }
    }
    ranges
}

/// Names of a partition's owners. The answer came from the network: an index without a name is shown, not trusted.
fn owners_of(ring: &RingInfo, partition: usize) -> Vec<String> {
    let name = |&index: &u16| ring.members.get(usize::from(index)).map_or("?", String::as_str).to_owned();
    ring.owners.get(partition).map(|owners| owners.iter().map(name).collect()).unwrap_or_default()
}

fn json_of_ring(ring: &RingInfo) -> Json {
    let ranges = merged((0..ring.owners.len()).map(|partition| (partition, owners_of(ring, partition))));
    json!({
        "partitioner": ring.partitioner,
        "n": ring.n,
        "integer_keys": ring.integer_keys,
        "members": ring.members,
        "partitions": json_of_ranges(&ranges),
    })
}

fn json_of_ranges(ranges: &[Range]) -> Vec<Json> {
    let object = |range: &Range| json!({ "first": range.first, "last": range.last, "owners": range.owners });
    ranges.iter().map(object).collect()
}

fn json_of_located(key: &[u8], located: &Located) -> Json {
    let mut object = text::object_about(key);
    object.insert("partition".to_owned(), json!(located.partition));
    object.insert("position".to_owned(), json!(format!("{:032x}", located.position)));
    object.insert("owners".to_owned(), json!(located.owners));
    object.insert("fallbacks".to_owned(), json!(located.fallbacks));
    Json::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The four-node preset with `partitions` partitions.
    fn four_nodes(partitions: u16) -> RingInfo {
        let owners = |partition: u16| {
            let first = partition / (partitions / 4);
            (0..3).map(|i| (first + i) % 4).collect()
        };
        RingInfo {
            partitioner: "byte-ordered".to_owned(),
            n: 3,
            integer_keys: true,
            members: (0..4).map(|i| format!("replica{i}")).collect(),
            owners: (0..partitions).map(owners).collect(),
        }
    }

    #[test]
    fn the_table_of_the_four_node_preset_for_any_number_of_partitions() {
        for partitions in [4, 64, 256, 1024] {
            let ranges = key_ranges(&four_nodes(partitions)).unwrap();
            assert_eq!(
                render_keys(&ranges, 3),
                "keys     first replica  second    third\n\
                 0-63     replica0       replica1  replica2\n\
                 64-127   replica1       replica2  replica3\n\
                 128-191  replica2       replica3  replica0\n\
                 192-255  replica3       replica0  replica1\n",
                "{partitions} partitions"
            );
        }
    }

    #[test]
    fn other_key_spaces_have_no_table() {
        assert_eq!(key_ranges(&RingInfo { integer_keys: false, ..four_nodes(4) }), None);
    }

    #[test]
    fn partitions_with_the_same_owners_share_a_line() {
        let ring = RingInfo {
            partitioner: "md5".to_owned(),
            n: 2,
            integer_keys: false,
            members: vec!["a".to_owned(), "b".to_owned()],
            owners: vec![vec![0, 1], vec![0, 1], vec![1, 0], vec![0, 1]],
        };
        assert_eq!(
            render(&ring),
            "4 partitions on 2 members, 2 replicas per key, placed by md5\n\n\
             partitions  owners\n0-1         a, b\n2           b, a\n3           a, b\n"
        );
        assert_eq!(
            json_of_ring(&ring)["partitions"],
            json!([
                {"first": 0, "last": 1, "owners": ["a", "b"]},
                {"first": 2, "last": 2, "owners": ["b", "a"]},
                {"first": 3, "last": 3, "owners": ["a", "b"]},
            ])
        );
    }

    #[test]
    fn a_broken_answer_is_shown_and_does_not_panic() {
        let ring = RingInfo { owners: vec![vec![9], vec![]], n: 250, ..four_nodes(4) };
        assert!(render(&ring).contains("0           ?\n"));
        let ranges = key_ranges(&ring).unwrap();
        assert!(render_keys(&ranges, ring.n).contains("seventh"));
        assert_eq!(key_ranges(&RingInfo { owners: vec![], ..ring }).unwrap().len(), 1);
    }

    #[test]
    fn one_key_has_owners_and_fallbacks() {
        let located = Located {
            position: 0x3f << 120,
            partition: 63,
            owners: vec!["a".to_owned(), "b".to_owned()],
            fallbacks: vec![],
        };
        assert_eq!(
            render_located(&located),
            "partition  63\nposition   3f000000000000000000000000000000\nowners     a, b\nfallbacks  none\n"
        );
        assert_eq!(json_of_located(b"63", &located)["key"], "63");
    }
}

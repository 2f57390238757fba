//! `chinwag get`: reads a key, and shows its siblings with the context that covers them.

use std::ffi::OsString;

use bytes::Bytes;
use chinwag_client::wire::{Evidence, WireDot};
use chinwag_client::{Sibling, Value};
use serde_json::{Map, Value as Json, json};

use super::connection::{Connection, InBucket, Level, Output};
use super::failure::{Exit, Failure};
use super::table::fields;
use super::{output, text};

/// Read a key
///
/// Prints each concurrent value (sibling), then the context that covers them all: a put with it replaces them.
/// Exits with 1 if the key has no value.
#[derive(Debug, clap::Args)]
pub(crate) struct GetCommand {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,

    #[command(flatten)]
    bucket: InBucket,

    #[command(flatten)]
    level: Level,

    /// Show what the member itself holds; it asks nobody else and repairs nothing
    #[arg(long, conflicts_with_all = ["consistency", "primaries"])]
    local: bool,

    /// Show the causal facts behind the answer too: versions, what the context covers, which replicas answered
    #[arg(long)]
    evidence: bool,

    /// Print the bytes of the value and nothing else; fails if there are siblings
    #[arg(long, conflicts_with_all = ["json", "evidence"])]
    raw: bool,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

impl GetCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let key = Bytes::from(self.key.into_encoded_bytes());
        let client =
            if self.local { self.connection.client_of_first()? } else { self.connection.client()? };
        let client = self.bucket.of(client);
        let get = client.get(key.clone()).consistency(self.level.consistency).primaries(self.level.primaries);
        let answer = get.local(self.local).evidence(self.evidence).await;
        client.close().await;
        let value = answer.map_err(Failure::Read)?;

        match value.siblings.as_slice() {
            _ if self.output.json => output::print_json(&json(&key, &value))?,
            [] => {
                output::note(&format!("{} has no value", text::readable(&key)));
                if self.evidence {
                    output::print(&render(&value))?;
                }
            }
            [only] if self.raw => output::print_bytes(&only.value)?,
            several if self.raw => return Err(Failure::RawSiblings(several.len())),
            _ => output::print(&render(&value))?,
        }
        Ok(if value.siblings.is_empty() { Exit::NotFound } else { Exit::Done })
    }
}

/// What a person is shown of a key.
fn render(value: &Value) -> String {
    let mut rows = match value.siblings.as_slice() {
        [only] => vec![("value".to_owned(), text::readable(&only.value).into_owned())],
        siblings => numbered(siblings),
    };
    if !value.context.is_empty() {
        rows.push(("context".to_owned(), value.context.to_string()));
    }
    if let Some(evidence) = &value.evidence {
        let versions: Vec<WireDot> = value.siblings.iter().map(|sibling| sibling.dot).collect();
        rows.push(("versions".to_owned(), dots(&versions)));
        rows.push(("tombstones".to_owned(), dots(&evidence.tombstones)));
        rows.push(("covers".to_owned(), covers(evidence)));
        rows.push(("replicas".to_owned(), evidence.replicas.join(", ")));
    }
    fields(&rows)
}

/// One row per sibling, numbered from 1.
pub(crate) fn numbered(siblings: &[Sibling]) -> Vec<(String, String)> {
    let row = |(index, it): (usize, &Sibling)| {
        (format!("sibling {}", index + 1), text::readable(&it.value).into_owned())
    };
    siblings.iter().enumerate().map(row).collect()
}

fn dots(dots: &[WireDot]) -> String {
    match dots {
        [] => "none".to_owned(),
        dots => dots.iter().map(|&dot| text::dot(dot)).collect::<Vec<_>>().join(", "),
    }
}

/// The versions a context covers: a run from 1 per actor, then single ones.
fn covers(evidence: &Evidence) -> String {
    let run = |&(actor, seq): &WireDot| match seq {
        1 => text::dot((actor, 1)),
        _ => format!("{}-{seq}", text::dot((actor, 1))),
    };
    let parts: Vec<String> =
        evidence.vv.iter().map(run).chain(evidence.dots.iter().map(|&dot| text::dot(dot))).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

fn json(key: &[u8], value: &Value) -> Json {
    let mut object = text::object_about(key);
    object.insert("siblings".to_owned(), value.siblings.iter().map(json_of_sibling).collect());
    object.insert("context".to_owned(), json!(value.context.to_string()));
    if let Some(evidence) = &value.evidence {
        object.insert("evidence".to_owned(), json_of_evidence(evidence));
    }
    Json::Object(object)
}

fn json_of_sibling(sibling: &Sibling) -> Json {
    let mut object = Map::new();
    text::insert_bytes(&mut object, "value", &sibling.value);
    object.insert("dot".to_owned(), json!(text::dot(sibling.dot)));
    Json::Object(object)
}

fn json_of_evidence(evidence: &Evidence) -> Json {
    let texts = |dots: &[WireDot]| dots.iter().map(|&dot| text::dot(dot)).collect::<Vec<_>>();
    json!({
        "vv": texts(&evidence.vv),
        "dots": texts(&evidence.dots),
        "tombstones": texts(&evidence.tombstones),
        "replicas": evidence.replicas,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(values: &[&str]) -> Value {
        let sibling = |(seq, value): (u64, &&str)| Sibling {
            dot: (0xab, seq),
            value: Bytes::copy_from_slice(value.as_bytes()),
        };
        Value {
            siblings: (1..).zip(values).map(sibling).collect(),
            context: "Y29udGV4dA".parse().unwrap(),
            evidence: None,
        }
    }

    fn evidence() -> Evidence {
        Evidence {
            vv: vec![(0xab, 3), (0xcd, 1)],
            dots: vec![(0xcd, 9)],
            tombstones: vec![],
            replicas: vec!["a".to_owned(), "b".to_owned()],
        }
    }

    #[test]
    fn one_value_and_its_context() {
        assert_eq!(render(&value(&["tea"])), "value    tea\ncontext  Y29udGV4dA\n");
    }

    #[test]
    fn siblings_are_numbered() {
        assert_eq!(
            render(&value(&["tea", "two\nlines"])),
            "sibling 1  tea\nsibling 2  \"two\\nlines\"\ncontext    Y29udGV4dA\n"
        );
    }

    #[test]
    fn evidence_is_spelled_out() {
        let value = Value { evidence: Some(evidence()), ..value(&["tea"]) };
        assert_eq!(
            render(&value),
            "value       tea\n\
             context     Y29udGV4dA\n\
             versions    00000000000000ab:1\n\
             tombstones  none\n\
             covers      00000000000000ab:1-3, 00000000000000cd:1, 00000000000000cd:9\n\
             replicas    a, b\n"
        );
    }

    #[test]
    fn json_says_it_all() {
        let value = Value { evidence: Some(evidence()), ..value(&["tea"]) };
        let expected = json!({
            "key": "cart",
            "siblings": [{"value": "tea", "dot": "00000000000000ab:1"}],
            "context": "Y29udGV4dA",
            "evidence": {
                "vv": ["00000000000000ab:3", "00000000000000cd:1"],
                "dots": ["00000000000000cd:9"],
                "tombstones": [],
                "replicas": ["a", "b"],
            },
        });
        assert_eq!(json(b"cart", &value), expected);
    }
}

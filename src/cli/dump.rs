//! `chinwag dump`: everything one member itself holds, page by page, printed as it comes.

use std::io::{self, BufWriter, Write};

use chinwag_client::wire::{DumpEntry, WireDot};
use chinwag_client::{Client, RequestError};
use serde_json::{Map, Value as Json, json};

use super::connection::{Connection, Output};
use super::failure::{Exit, Failure};
use super::text::{self, readable};

/// Show everything one member holds
///
/// One line per version, as the member itself has it, asking nobody else: keys by bucket and in ring order, then hints (writes it
/// keeps for a member that could not be reached). With --json one JSON object per key and line.
#[derive(Debug, clap::Args)]
pub(crate) struct DumpCommand {
    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

impl DumpCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let client = self.connection.client_of_first()?;
        let printed = print_all(&client, self.output.json).await;
        client.close().await;
        printed.map(|()| Exit::Done)
    }
}

async fn print_all(client: &Client, as_json: bool) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout());
    if !as_json {
        out.write_all(HEADINGS.as_bytes()).map_err(Failure::Output)?;
    }
    let mut after = None;
    loop {
        let page = client.dump(after.clone()).await.map_err(Failure::Read)?;
        for entry in &page.entries {
            let text = if as_json { format!("{}\n", json(entry)) } else { render(entry) };
            out.write_all(text.as_bytes()).map_err(Failure::Output)?;
        }
        out.flush().map_err(Failure::Output)?;
        if page.next.is_none() {
            return Ok(());
        }
        if page.next == after {
            let repeated = "a page that was shown before".to_owned();
            return Err(Failure::Read(RequestError::Protocol(repeated)));
        }
        after = page.next;
    }
}

// Pages are printed as they come, so the columns have one width for all: keys are rarely longer than theirs.
const HEADINGS: &str = "partition  bucket    key                       version               value\n";

/// One line per version.
fn render(entry: &DumpEntry) -> String {
    let mut out = String::new();
    for (dot, value) in &entry.versions {
        let value = match value {
            Some(value) => readable(value),
            None => "(deleted)".into(),
        };
        let hint = entry.hint_for.as_ref().map(|member| format!("  (hint for {member})"));
        out.push_str(&format!(
            "{:>9}  {:<8}  {:<24}  {:<20}  {value}{}\n",
            entry.partition,
            entry.bucket,
            readable(&entry.key),
            text::dot(*dot),
            hint.unwrap_or_default()
        ));
    }
    out
}

fn json(entry: &DumpEntry) -> Json {
    let version = |(dot, value): &(WireDot, Option<bytes::Bytes>)| {
        let mut object = Map::new();
        match value {
            Some(value) => text::insert_bytes(&mut object, "value", value),
            None => {
                object.insert("deleted".to_owned(), json!(true));
            }
        }
        object.insert("dot".to_owned(), json!(text::dot(*dot)));
        Json::Object(object)
    };
    let mut object = text::object_about(&entry.key);
    object.insert("bucket".to_owned(), json!(entry.bucket));
    object.insert("partition".to_owned(), json!(entry.partition));
    object.insert("versions".to_owned(), entry.versions.iter().map(version).collect());
    if let Some(member) = &entry.hint_for {
        object.insert("hint_for".to_owned(), json!(member));
    }
    Json::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(hint_for: Option<&str>) -> DumpEntry {
        DumpEntry {
            bucket: "default".to_owned(),
            key: "cart".into(),
            partition: 63,
            hint_for: hint_for.map(str::to_owned),
            versions: vec![((0xab, 7), Some("2 x tea".into())), ((0xcd, 1), None)],
        }
    }

    #[test]
    fn one_line_per_version_under_the_headings() {
        assert_eq!(
            format!("{HEADINGS}{}", render(&entry(Some("d")))),
            "partition  bucket    key                       version               value\n       \
             63  default   cart                      00000000000000ab:7    2 x tea  (hint for d)\n       \
             63  default   cart                      00000000000000cd:1    (deleted)  (hint for d)\n"
        );
    }

    #[test]
    fn one_json_object_per_key() {
        let expected = json!({
            "key": "cart", "bucket": "default", "partition": 63,
            "versions": [{"value": "2 x tea", "dot": "00000000000000ab:7"}, {"deleted": true, "dot": "00000000000000cd:1"}],
        });
        assert_eq!(json(&entry(None)), expected);
        assert_eq!(json(&entry(Some("d")))["hint_for"], "d");
    }
}

//! `chinwag put` and `chinwag delete`: writes a version of a key, and shows the context that covers it.

use std::ffi::OsString;
use std::io::{self, Read};

use bytes::Bytes;
use chinwag_client::codec::MESSAGE_BYTES_MAX;
use chinwag_client::{Client, Context, Put, Receipt};
use serde_json::{Value as Json, json};

use super::connection::{Connection, InBucket, Level, Output};
use super::failure::{Exit, Failure};
use super::table::fields;
use super::{output, text};

/// Write a value to a key
///
/// With the context that get printed, the value replaces the siblings that get showed. Without one it becomes a
/// sibling of whatever is there: nothing is ever overwritten unseen. In a bucket of kind lww it takes the place of
/// whatever is there, and there is no context.
#[derive(Debug, clap::Args)]
pub(crate) struct PutCommand {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,

    /// The value; - reads it from standard input, byte for byte
    #[arg(allow_negative_numbers = true)]
    value: OsString,

    /// What you have seen of the key, as get or put printed it
    #[arg(long, value_name = "TOKEN")]
    context: Option<Context>,

    #[command(flatten)]
    common: Common,
}

/// Delete what you have seen of a key
///
/// Takes the context that get printed; a value that was written since then, or concurrently, stays. In a bucket of kind
/// lww whatever is there is deleted, and there is no context.
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteCommand {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,

    /// What you have seen of the key, as get or put printed it; needed, but in a bucket of kind lww
    #[arg(long, value_name = "TOKEN")]
    context: Option<Context>,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    bucket: InBucket,

    #[command(flatten)]
    level: Level,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

impl PutCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let key = Bytes::from(self.key.into_encoded_bytes());
        let value = if self.value == "-" {
            read_value(io::stdin().lock())?
        } else {
            Bytes::from(self.value.into_encoded_bytes())
        };
        let client = self.common.client()?;
        let mut put = client.put(key.clone(), value);
        if let Some(context) = self.context {
            put = put.context(context);
        }
        let answer = self.common.level.apply(put).await;
        client.close().await;
        show(&key, &answer.map_err(Failure::Write)?, &self.common.output)
    }
}

impl DeleteCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let key = Bytes::from(self.key.into_encoded_bytes());
        if self.context.is_none() && self.common.bucket.is_default() {
            return Err(Failure::ContextMissing { key: text::readable(&key).into_owned() });
        }
        let client = self.common.client()?;
        let answer = self.common.level.apply(client.delete(key.clone(), self.context)).await;
        client.close().await;
        show(&key, &answer.map_err(Failure::Write)?, &self.common.output)
    }
}

impl Common {
    fn client(&self) -> Result<Client, Failure> {
        Ok(self.bucket.of(self.connection.client()?))
    }
}

impl Level {
    fn apply<'a>(&self, put: Put<'a>) -> Put<'a> {
        put.consistency(self.consistency).primaries(self.primaries)
    }
}

/// Reads all of `input`, but never more than a request can carry.
fn read_value(input: impl Read) -> Result<Bytes, Failure> {
    let mut value = Vec::new();
    let bound = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
    input.take(bound.saturating_add(1)).read_to_end(&mut value).map_err(Failure::Input)?;
    if value.len() > MESSAGE_BYTES_MAX {
        return Err(Failure::InputTooLong(MESSAGE_BYTES_MAX));
    }
    Ok(value.into())
}

fn show(key: &[u8], receipt: &Receipt, format: &Output) -> Result<Exit, Failure> {
    let printed =
        if format.json { output::print_json(&json(key, receipt)) } else { output::print(&render(receipt)) };
    match printed {
        Ok(()) => Ok(Exit::Done),
        Err(Failure::Output(error)) => Err(Failure::AnswerLost(error)),
        Err(other) => Err(other),
    }
}

fn render(receipt: &Receipt) -> String {
    let mut rows = vec![("version", text::dot(receipt.dot)), ("replicas", receipt.replicas.join(", "))];
    if !receipt.context.is_empty() {
        rows.push(("context", receipt.context.to_string()));
    }
    fields(&rows)
}

fn json(key: &[u8], receipt: &Receipt) -> Json {
    let mut object = text::object_about(key);
    object.insert("dot".to_owned(), json!(text::dot(receipt.dot)));
    object.insert("replicas".to_owned(), json!(receipt.replicas));
    object.insert("context".to_owned(), json!(receipt.context.to_string()));
    Json::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            context: "Y29udGV4dA".parse().unwrap(),
            dot: (0xab, 7),
            replicas: vec!["a".to_owned(), "c".to_owned()],
        }
    }

    #[test]
    fn a_receipt_for_a_person_and_for_a_script() {
        assert_eq!(
            render(&receipt()),
            "version   00000000000000ab:7\nreplicas  a, c\ncontext   Y29udGV4dA\n"
        );
        let expected = json!({
            "key": "cart", "dot": "00000000000000ab:7", "replicas": ["a", "c"], "context": "Y29udGV4dA",
        });
        assert_eq!(json(b"cart", &receipt()), expected);
    }

    #[test]
    fn a_value_is_read_whole_or_refused() {
        let most = vec![b'x'; MESSAGE_BYTES_MAX];
        assert_eq!(read_value(most.as_slice()).unwrap().len(), MESSAGE_BYTES_MAX);
        assert!(matches!(read_value(most.chain(&b"y"[..])), Err(Failure::InputTooLong(_))));
    }
}

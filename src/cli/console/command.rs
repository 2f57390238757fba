//! The console's commands: what can be typed, what it means, and the help about it. Pure.

use bytes::Bytes;
use chinwag_client::Consistency;
use chinwag_client::wire::ConsistencyError;

use super::words::{self, Word, WordError};
use crate::cli::table::fields;

/// One line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Get { key: Bytes, local: bool },
    Put { key: Bytes, value: Bytes, blind: bool },
    Delete { key: Bytes },
    Siblings { key: Bytes },
    Resolve { key: Bytes, choice: Choice },
    Consistency(Option<Consistency>),
    Members,
    Ring { key: Option<Bytes> },
    Help(Option<&'static Entry>),
    Quit,
}

impl Command {
    /// Whether breaking it off leaves open what it did.
    pub(super) fn is_write(&self) -> bool {
        match self {
            Self::Put { .. } | Self::Delete { .. } | Self::Resolve { .. } => true,
            Self::Get { .. }
            | Self::Siblings { .. }
            | Self::Consistency(_)
            | Self::Members
            | Self::Ring { .. }
            | Self::Help(_)
            | Self::Quit => false,
        }
    }
}

/// What a key's siblings are resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// The sibling with this number, counted from 1.
    Sibling(usize),
    /// Another value.
    Value(Bytes),
}

/// The line is no command. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseError {
    /// It does not fall into words.
    #[error(transparent)]
    Words(#[from] WordError),
    /// Its first word is no command.
    #[error("there is no command `{0}`: `help` lists them")]
    NoSuchCommand(String),
    /// Something is missing or too much.
    #[error("usage: {}", .0.usage)]
    Usage(&'static Entry),
    /// More words than expected: most likely a value with spaces.
    #[error("usage: {}; a value with spaces needs quotes", .0.usage)]
    Quotes(&'static Entry),
    /// Not a consistency level.
    #[error(transparent)]
    Consistency(#[from] ConsistencyError),
}

/// What `help` says of one command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The word it is called by.
    pub(super) name: &'static str,
    pub(super) usage: &'static str,
    pub(super) summary: &'static str,
    /// More, for `help COMMAND`.
    pub(super) detail: &'static str,
}

/// Every command, in the order of the help.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "get",
        usage: "get [--local] KEY",
        summary: "read a key",
        detail: "Shows the value, or all siblings, and remembers the context for the next put, delete or resolve of\n\
                 the key. --local shows what the coordinator itself holds.",
    },
    Entry {
        name: "put",
        usage: "put [--blind] KEY VALUE",
        summary: "write a value",
        detail: "Replaces what this console has last read or written of the key: siblings it has not seen stay. The\n\
                 answer says what was replaced. With --blind, or if nothing is known of the key yet, nothing is\n\
                 replaced and the value becomes a sibling of whatever is there. Quote a VALUE that has spaces:\n\
                 'as it is', or \"with escapes\\n\".",
    },
    Entry {
        name: "delete",
        usage: "delete KEY",
        summary: "delete what was last read of a key",
        detail: "Deletes what this console has last read or written of the key; siblings it has not seen stay.",
    },
    Entry {
        name: "siblings",
        usage: "siblings KEY",
        summary: "read a key and number its siblings",
        detail: "Shows each concurrent value with the version it has on every replica; resolve takes the numbers.",
    },
    Entry {
        name: "resolve",
        usage: "resolve KEY N|VALUE",
        summary: "replace the siblings last read by one of them, or by a value",
        detail: "N is the number that get or siblings showed. Quote a VALUE that is itself a number.",
    },
    Entry {
        name: "consistency",
        usage: "consistency [one|quorum|all|NUMBER]",
        summary: "show or choose how many replicas must answer",
        detail: "It holds for reads and writes from here on. Reads and writes at quorum overlap in a replica.",
    },
    Entry {
        name: "members",
        usage: "members",
        summary: "show the members as the coordinator sees them",
        detail: "A member that is down or left still owns its partitions.",
    },
    Entry {
        name: "ring",
        usage: "ring [KEY]",
        summary: "show who owns which partitions, or where a key lives",
        detail: "Owners stand in the order of the preference list.",
    },
    Entry {
        name: "help",
        usage: "help [COMMAND]",
        summary: "show this, or more about one command",
        detail: "",
    },
    Entry { name: "quit", usage: "quit", summary: "leave; so does Ctrl-D", detail: "" },
];

/// What `line` asks for; `None` if it is empty or a comment (`# ...`).
pub(super) fn parse(line: &str) -> Result<Option<Command>, ParseError> {
    if line.trim_start().starts_with('#') {
        return Ok(None);
    }
    let words = words::split(line)?;
    let Some((first, rest)) = words.split_first() else { return Ok(None) };
    let name = String::from_utf8_lossy(&first.bytes);
    let name = if name == "exit" { "quit" } else { &name };
    let entry = entry_of(name).ok_or_else(|| ParseError::NoSuchCommand(name.to_owned()))?;
    let (options, arguments): (Vec<&Word>, Vec<&Word>) =
        rest.iter().partition(|word| word.bare().is_some_and(|text| text.starts_with("--")));
    let options: Vec<&str> = options.iter().filter_map(|word| word.bare()).collect();
    command(entry, &options, &arguments).map(Some)
}

fn command(entry: &'static Entry, options: &[&str], arguments: &[&Word]) -> Result<Command, ParseError> {
    let bytes = |word: &Word| Bytes::copy_from_slice(&word.bytes);
    Ok(match (entry.name, options, arguments) {
        ("get", [], [key]) => Command::Get { key: bytes(key), local: false },
        ("get", ["--local"], [key]) => Command::Get { key: bytes(key), local: true },
        ("put", [], [key, value]) => Command::Put { key: bytes(key), value: bytes(value), blind: false },
        ("put", ["--blind"], [key, value]) => {
            Command::Put { key: bytes(key), value: bytes(value), blind: true }
        }
        ("put", [] | ["--blind"], [_, _, _, ..]) => return Err(ParseError::Quotes(entry)),
        ("delete", [], [key]) => Command::Delete { key: bytes(key) },
        ("siblings", [], [key]) => Command::Siblings { key: bytes(key) },
        ("resolve", [], [key, value]) => Command::Resolve {
            key: bytes(key),
            choice: match value.bare().and_then(|text| text.parse().ok()) {
                Some(number) => Choice::Sibling(number),
                None => Choice::Value(bytes(value)),
            },
        },
        ("resolve", [], [_, _, _, ..]) => return Err(ParseError::Quotes(entry)),
        ("consistency", [], []) => Command::Consistency(None),
        ("consistency", [], [level]) => {
            Command::Consistency(Some(String::from_utf8_lossy(&level.bytes).parse()?))
        }
        ("members", [], []) => Command::Members,
        ("ring", [], []) => Command::Ring { key: None },
        ("ring", [], [key]) => Command::Ring { key: Some(bytes(key)) },
        ("help", [], []) => Command::Help(None),
        ("help", [], [topic]) => {
            let topic = String::from_utf8_lossy(&topic.bytes);
            Command::Help(Some(
                entry_of(&topic).ok_or_else(|| ParseError::NoSuchCommand(topic.into_owned()))?,
            ))
        }
        ("quit", [], []) => Command::Quit,
        _ => return Err(ParseError::Usage(entry)),
    })
}

fn entry_of(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

/// The answer to `help`.
pub(super) fn help() -> String {
    let rows: Vec<_> = ENTRIES.iter().map(|entry| (entry.usage, entry.summary.to_owned())).collect();
    fields(&rows)
}

/// The answer to `help COMMAND`.
pub(super) fn help_about(entry: &Entry) -> String {
    let Entry { usage, summary, detail, .. } = entry;
    if detail.is_empty() {
        format!("{usage}: {summary}\n")
    } else {
        format!("{usage}: {summary}\n{detail}\n")
    }
}

/// What the last word before the cursor can become: where it begins, and the candidates.
pub(super) fn completions(before_cursor: &str) -> (usize, Vec<&'static str>) {
    let start = before_cursor
        .rfind(char::is_whitespace)
        .map_or(0, |at| at + before_cursor[at..].chars().next().map_or(0, char::len_utf8));
    let (front, prefix) = before_cursor.split_at(start);
    let names = || ENTRIES.iter().map(|entry| entry.name).collect();
    let all: Vec<&'static str> = match front.trim() {
        "" | "help" => names(),
        "consistency" => vec!["one", "quorum", "all"],
        "get" => vec!["--local"],
        "put" => vec!["--blind"],
        _ => Vec::new(),
    };
    let fits = |it: &&'static str| it.starts_with(prefix) && (!it.starts_with("--") || !prefix.is_empty());
    (start, all.into_iter().filter(fits).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Bytes {
        Bytes::from_static(b"cart")
    }

    fn parsed(line: &str) -> Command {
        parse(line).unwrap().unwrap()
    }

    fn error(line: &str) -> String {
        parse(line).unwrap_err().to_string()
    }

    #[test]
    fn every_command_is_understood() {
        assert_eq!(parsed("get cart"), Command::Get { key: key(), local: false });
        assert_eq!(parsed("get cart --local"), Command::Get { key: key(), local: true });
        let put = |value: &'static str, blind| Command::Put { key: key(), value: value.into(), blind };
        assert_eq!(parsed("put cart '2 x tea'"), put("2 x tea", false));
        assert_eq!(parsed("put --blind cart tea"), put("tea", true));
        assert_eq!(parsed("put cart -1"), put("-1", false));
        assert_eq!(parsed("put cart '--blind'"), put("--blind", false));
        assert_eq!(parsed("delete cart"), Command::Delete { key: key() });
        assert_eq!(parsed("siblings cart"), Command::Siblings { key: key() });
        assert_eq!(parsed("consistency"), Command::Consistency(None));
        assert_eq!(parsed("consistency ALL"), Command::Consistency(Some(Consistency::All)));
        assert_eq!(parsed("members"), Command::Members);
        assert_eq!(parsed("ring"), Command::Ring { key: None });
        assert_eq!(parsed("ring cart"), Command::Ring { key: Some(key()) });
        assert_eq!(parsed("help"), Command::Help(None));
        assert_eq!(parsed("quit"), Command::Quit);
        assert_eq!(parsed("exit"), Command::Quit);
    }

    #[test]
    fn a_bare_number_chooses_a_sibling_and_a_quoted_one_is_a_value() {
        let resolve = |choice| Command::Resolve { key: key(), choice };
        assert_eq!(parsed("resolve cart 2"), resolve(Choice::Sibling(2)));
        assert_eq!(parsed("resolve cart '2'"), resolve(Choice::Value("2".into())));
        assert_eq!(parsed("resolve cart tea"), resolve(Choice::Value("tea".into())));
    }

    #[test]
    fn empty_lines_and_comments_do_nothing() {
        for line in ["", "  ", "# get cart", "  #"] {
            assert_eq!(parse(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_says_what_would_be() {
        assert_eq!(error("got cart"), "there is no command `got`: `help` lists them");
        assert_eq!(error("get"), "usage: get [--local] KEY");
        assert_eq!(error("get --blind cart"), "usage: get [--local] KEY");
        assert_eq!(
            error("put cart 2 x tea"),
            "usage: put [--blind] KEY VALUE; a value with spaces needs quotes"
        );
        assert!(error("consistency most").contains("`most` is not a consistency level"));
        assert_eq!(error("help me"), "there is no command `me`: `help` lists them");
    }

    #[test]
    fn help_names_every_command_once() {
        let help = help();
        assert_eq!(help.lines().count(), ENTRIES.len());
        for entry in ENTRIES {
            assert_eq!(parse(&format!("help {}", entry.name)), Ok(Some(Command::Help(Some(entry)))));
            assert!(help_about(entry).starts_with(entry.usage));
        }
        assert_eq!(help.lines().next(), Some("get [--local] KEY                    read a key"));
    }

    #[test]
    fn words_are_completed_where_they_can_stand() {
        assert_eq!(completions(""), (0, ENTRIES.iter().map(|entry| entry.name).collect()));
        assert_eq!(completions("re"), (0, vec!["resolve"]));
        assert_eq!(completions("consistency q"), (12, vec!["quorum"]));
        assert_eq!(completions("help m"), (5, vec!["members"]));
        assert_eq!(completions("put -"), (4, vec!["--blind"]));
        assert_eq!(completions("put "), (4, vec![]));
        assert_eq!(completions("get\u{3000}x"), (6, vec![]));
    }
}

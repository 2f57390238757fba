//! Where output goes: answers to standard output, everything said about them to standard error.

use std::io::{self, Write};

use serde_json::Value;

use super::failure::Failure;

/// Prints `text` as it is.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Prints bytes as they are.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::Output)
}

/// Prints one JSON document on a line of its own.
pub(crate) fn print_json(document: &Value) -> Result<(), Failure> {
    print(&format!("{document}\n"))
}

/// Says something beside the answer. That nobody listens is no failure.
pub(crate) fn note(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Reports a failure the way every command does.
pub(crate) fn report(error: &str, hint: Option<&str>) {
    note(&format!("error: {error}"));
    if let Some(hint) = hint {
        note(&format!("hint: {hint}"));
    }
}

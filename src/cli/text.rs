//! How bytes, versions and members appear: to a person on a terminal, and in JSON. Pure; prints nothing.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chinwag_client::wire::WireDot;
use serde_json::{Map, Value, json};

/// Bytes for a person: plain text as it is, anything else quoted and escaped, so that a stored value can neither
/// steer the terminal nor be mistaken for the absence of one.
pub(crate) fn readable(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_plain(text) => Cow::Borrowed(text),
        Ok(text) => Cow::Owned(format!("{text:?}")),
        Err(_not_text) => Cow::Owned(format!("b\"{}\"", bytes.escape_ascii())),
    }
}

fn is_plain(text: &str) -> bool {
    let looks_quoted = text.starts_with('"') || text.starts_with("b\"");
    !text.is_empty() && text.trim() == text && !looks_quoted && !text.chars().any(steers_the_terminal)
}

fn steers_the_terminal(c: char) -> bool {
    // Besides control characters: the marks that reorder what is displayed (Unicode standard annex 9), and line breaks.
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A version's identity, `actor:seq`: the same on every replica.
pub(crate) fn dot((actor, seq): WireDot) -> String {
    format!("{actor:016x}:{seq}")
}

/// `1 key`, `2 keys`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Puts bytes into a JSON object: under `name` if they are text, else in base64 under `name_base64`.
pub(crate) fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_not_text) => object.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    };
}

/// A JSON object that says which key it is about.
pub(crate) fn object_about(key: &[u8]) -> Map<String, Value> {
    let mut object = Map::new();
    insert_bytes(&mut object, "key", key);
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_shown_as_it_is() {
        for text in ["tea", "two words", "Grüße", r#"{"a": 1}"#, "it's", r"c:\temp", "0"] {
            assert_eq!(readable(text.as_bytes()), text);
        }
    }

    #[test]
    fn what_could_mislead_is_quoted() {
        for (bytes, shown) in [
            (&b""[..], r#""""#),
            (b" tea", r#"" tea""#),
            (b"two\nlines", r#""two\nlines""#),
            (b"\x1b[2J", r#""\u{1b}[2J""#),
            ("a\u{202e}b".as_bytes(), r#""a\u{202e}b""#),
            (b"\"tea\"", r#""\"tea\"""#),
            (b"b\"x\"", r#""b\"x\"""#),
            (b"\xff\x00a", r#"b"\xff\x00a""#),
        ] {
            assert_eq!(readable(bytes), shown);
        }
    }

    #[test]
    fn json_names_the_encoding_of_bytes() {
        let mut object = object_about(b"cart");
        insert_bytes(&mut object, "value", b"\xff\x00");
        assert_eq!(Value::Object(object), json!({"key": "cart", "value_base64": "/wA="}));
    }

    #[test]
    fn dots_have_one_width_per_actor() {
        assert_eq!(dot((0xab, 7)), "00000000000000ab:7");
    }
}

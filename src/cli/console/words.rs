//! How a line of the console falls into words. Pure.
//!
//! A word is bare, or quoted: `'...'` takes everything as it is, `"..."` and `b"..."` know the escapes that answers are
//! shown with, so that whatever the console shows in quotes can be typed back.

use std::iter::Peekable;
use std::str::Chars;

/// One word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// What it stands for.
    pub(super) bytes: Vec<u8>,
    /// A quoted word is never an option or a number, always itself.
    pub(super) quoted: bool,
}

impl Word {
    /// The text of a bare word.
    pub(super) fn bare(&self) -> Option<&str> {
        if self.quoted { None } else { std::str::from_utf8(&self.bytes).ok() }
    }
}

/// The line is not a sequence of words. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WordError {
    /// A quote is not closed.
    #[error("the quote {0} is not closed")]
    Open(char),
    /// Something follows a closing quote.
    #[error("a quoted word ends with its quote: leave a space behind {0}")]
    Glued(char),
    /// A backslash and something unknown.
    #[error(r#"unknown escape \{0}: there are \n \r \t \0 \\ \" \' \xff \u{{1f375}}"#)]
    Escape(String),
}

/// The words of `line`.
pub(super) fn split(line: &str) -> Result<Vec<Word>, WordError> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, behind) = next(rest)?;
        words.push(word);
        rest = behind.trim_start();
    }
    Ok(words)
}

/// The first word of `text`, which begins with one, and what follows it.
fn next(text: &str) -> Result<(Word, &str), WordError> {
    let quoted = |bytes| Word { bytes, quoted: true };
    if let Some(inner) = text.strip_prefix('\'') {
        let (content, behind) = inner.split_once('\'').ok_or(WordError::Open('\''))?;
        return Ok((quoted(content.as_bytes().to_vec()), unglued(behind, '\'')?));
    }
    if let Some(inner) = text.strip_prefix('"').or_else(|| text.strip_prefix("b\"")) {
        let (content, behind) = escaped(inner)?;
        return Ok((quoted(content), unglued(behind, '"')?));
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (bare, behind) = text.split_at(end);
    Ok((Word { bytes: bare.as_bytes().to_vec(), quoted: false }, behind))
}

fn unglued(behind: &str, quote: char) -> Result<&str, WordError> {
    if behind.is_empty() || behind.starts_with(char::is_whitespace) {
        Ok(behind)
    } else {
        Err(WordError::Glued(quote))
    }
}

/// What stands before the closing double quote, and what follows it.
fn escaped(inner: &str) -> Result<(Vec<u8>, &str), WordError> {
    let mut bytes = Vec::new();
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                let behind: usize = chars.map(char::len_utf8).sum();
                return Ok((bytes, &inner[inner.len() - behind..]));
            }
            '\\' => escape(&mut chars, &mut bytes)?,
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err(WordError::Open('"'))
}

/// Reads what follows a backslash.
fn escape(chars: &mut Peekable<Chars<'_>>, bytes: &mut Vec<u8>) -> Result<(), WordError> {
    match chars.next() {
        Some('n') => bytes.push(b'\n'),
        Some('r') => bytes.push(b'\r'),
        Some('t') => bytes.push(b'\t'),
        Some('0') => bytes.push(0),
        Some(c @ ('\\' | '"' | '\'')) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        Some('x') => {
            let digits: String = chars.by_ref().take(2).collect();
            let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| is_hex);
            bytes.push(byte.ok_or_else(|| WordError::Escape(format!("x{digits}")))?);
        }
        Some('u') if chars.next_if_eq(&'{').is_some() => {
            let digits: String = chars.by_ref().take_while(|&c| c != '}').collect();
            let c = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
            let c = c.ok_or_else(|| WordError::Escape(format!("u{{{digits}}}")))?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Some(other) => return Err(WordError::Escape(other.to_string())),
        None => return Err(WordError::Open('"')),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;
    use crate::cli::text::readable;

    fn bare(text: &str) -> Word {
        Word { bytes: text.as_bytes().to_vec(), quoted: false }
    }

    fn quoted(bytes: &[u8]) -> Word {
        Word { bytes: bytes.to_vec(), quoted: true }
    }

    #[test]
    fn words_are_bare_or_quoted() {
        assert_eq!(split("  put  cart\t'2 x tea' "), Ok(vec![bare("put"), bare("cart"), quoted(b"2 x tea")]));
        assert_eq!(split(r#"a it's "" '"'"#), Ok(vec![bare("a"), bare("it's"), quoted(b""), quoted(b"\"")]));
        assert_eq!(split(r#""\n\t\x1b\u{1f375}\"\\" b"\xff""#).map(|it| it.len()), Ok(2));
        assert_eq!(split(r#"b"\xff\0""#), Ok(vec![quoted(b"\xff\0")]));
        assert_eq!(split(" "), Ok(vec![]));
    }

    #[test]
    fn broken_quotes_and_escapes_are_refused() {
        for (line, error) in [
            ("put 'a", WordError::Open('\'')),
            (r#"put "a\"#, WordError::Open('"')),
            (r#"put "a"b"#, WordError::Glued('"')),
            (r#""\q""#, WordError::Escape("q".to_owned())),
            (r#""\x+f""#, WordError::Escape("x+f".to_owned())),
            (r#""\u{d800}""#, WordError::Escape("u{d800}".to_owned())),
        ] {
            assert_eq!(split(line), Err(error), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_in_quotes_can_be_typed_back(bytes: Vec<u8>, text: String) {
            for bytes in [bytes, text.into_bytes()] {
                let shown = readable(&bytes);
                if shown.starts_with('"') || shown.starts_with("b\"") {
                    assert_eq!(split(&shown), Ok(vec![quoted(&bytes)]));
                }
            }
        }

        #[test]
        fn any_line_is_words_or_an_error(line in any::<String>()) {
            split(&line).ok();
        }
    }
}

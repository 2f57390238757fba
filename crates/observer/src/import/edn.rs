//! As much of EDN as histories are written in: nil, booleans, numbers, strings, keywords, symbols, vectors, lists, sets and
//! maps; tags and comments are skipped. Forms are handed over one at a time, so a log need not fit in memory twice.

use super::ImportError;
use std::io::{BufRead, Read as _};

/// The deepest nesting read: a history has three or four levels.
const DEPTH_MAX: usize = 32;

/// The longest file read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// One form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edn {
    /// `nil`
    Nil,
    /// A number, boolean, character or symbol, as it is written.
    Atom(String),
    /// A string, without its quotes.
    Text(String),
    /// A keyword, without its colon.
    Keyword(String),
    /// A vector or list.
    Sequence(Vec<Self>),
    /// A map, as pairs in the order written.
    Map(Vec<(Self, Self)>),
}

impl Edn {
    /// What a map holds under a keyword.
    #[must_use]
    pub fn under(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(name, _)| matches!(name, Self::Keyword(name) if name == key)).map(|(_, it)| it)
    }

    /// The name of a keyword.
    #[must_use]
    pub fn keyword(&self) -> Option<&str> {
        if let Self::Keyword(name) = self { Some(name) } else { None }
    }

    /// A value as text; none for nil.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Nil => None,
            Self::Atom(text) | Self::Text(text) => Some(text.clone()),
            Self::Keyword(name) => Some(format!(":{name}")),
            Self::Sequence(items) => {
                let texts: Vec<String> =
                    items.iter().map(|item| item.text().unwrap_or_else(|| "nil".to_owned())).collect();
                Some(format!("[{}]", texts.join(" ")))
            }
            Self::Map(_) => Some("{...}".to_owned()),
        }
    }
}

/// Reads maps one after another, or all in one vector or list, and hands each over with its line.
pub(super) fn read(
    source: impl BufRead,
    mut take: impl FnMut(usize, Edn) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut text = String::new();
    let read = source.take(FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|source| ImportError::Io { line: 1, source })?;
    let mut reader = Reader { rest: &text, line: 1 };
    while reader.skip_blank(0)? {
        // A vector around the whole history is opened here and closed below, so that its forms come one at a time.
        if reader.rest.starts_with(['[', '(', ']', ')']) {
            reader.advance(1);
            continue;
        }
        let line = reader.line;
        let form = reader.form(0)?;
        take(line, form)?;
    }
    Ok(())
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn advance(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }

    /// Moves to the next form, past blanks, commas, comments and tags; false at the end.
    fn skip_blank(&mut self, depth: usize) -> Result<bool, ImportError> {
        loop {
            let blank = self.rest.len()
                - self.rest.trim_start_matches(|it: char| it.is_whitespace() || it == ',').len();
            self.advance(blank);
            if self.rest.starts_with(';') {
                self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("#_") {
                self.advance(2);
                self.form(depth + 1)?;
            } else if self.rest.starts_with('#') && !self.rest.starts_with("#{") {
                self.advance(1);
                self.word();
            } else {
                return Ok(!self.rest.is_empty());
            }
        }
    }

    fn form(&mut self, depth: usize) -> Result<Edn, ImportError> {
        if depth > DEPTH_MAX {
            return Err(ImportError::new(self.line, "nested too deep for a history"));
        }
        if !self.skip_blank(depth)? {
            return Err(ImportError::new(self.line, "the file ends within a form"));
        }
        match self.rest.chars().next() {
            Some('"') => self.string(),
            Some('[') => Ok(Edn::Sequence(self.until("[", ']', depth)?)),
            Some('(') => Ok(Edn::Sequence(self.until("(", ')', depth)?)),
            Some('#') => Ok(Edn::Sequence(self.until("#{", '}', depth)?)),
            Some('{') => {
                let line = self.line;
                let items = self.until("{", '}', depth)?;
                if !items.len().is_multiple_of(2) {
                    return Err(ImportError::new(line, "a map has a key without a value"));
                }
                let mut items = items.into_iter();
                let pairs = std::iter::from_fn(|| Some((items.next()?, items.next()?)));
                Ok(Edn::Map(pairs.collect()))
            }
            Some(other @ (']' | ')' | '}')) => Err(ImportError::new(self.line, format!("a stray `{other}`"))),
            _ => Ok(self.atom()),
        }
    }

    /// The forms between a bracket and the one that closes it.
    fn until(&mut self, open: &str, close: char, depth: usize) -> Result<Vec<Edn>, ImportError> {
        let line = self.line;
        self.advance(open.len());
        let mut items = Vec::new();
        loop {
            if !self.skip_blank(depth)? {
                return Err(ImportError::new(line, format!("nothing closes this `{open}`")));
            }
            if self.rest.starts_with(close) {
                self.advance(1);
                return Ok(items);
            }
            items.push(self.form(depth + 1)?);
        }
    }

    fn string(&mut self) -> Result<Edn, ImportError> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, next)) = chars.next() {
            match next {
                '"' => {
                    self.advance(at + 1);
                    return Ok(Edn::Text(text));
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, other)) => text.push(other),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(ImportError::new(self.line, "nothing closes this string"))
    }

    fn atom(&mut self) -> Edn {
        let word = self.word();
        match word.strip_prefix(':') {
            Some(name) => Edn::Keyword(name.to_owned()),
            None if word == "nil" => Edn::Nil,
            None => Edn::Atom(word),
        }
    }

    /// Everything up to the next blank or bracket.
    fn word(&mut self) -> String {
        let ends = |it: char| {
            it.is_whitespace() || matches!(it, ',' | '[' | ']' | '(' | ')' | '{' | '}' | '"' | ';')
        };
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        self.advance(end);
        word
    }
}

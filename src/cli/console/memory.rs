//! What the console knows of the keys it has worked on: the context and the siblings of the last answer. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use chinwag_client::{Context, Receipt, Sibling, Value};

/// Most keys remembered; beyond it the one not touched for longest is forgotten.
const KEYS_MAX: usize = 1_000;

/// The last answer about each key.
#[derive(Debug, Default)]
pub(super) struct Memory {
    keys: BTreeMap<Bytes, Seen>,
}

/// The last answer about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Covers what was seen. A context never goes bad: what it has not seen, it does not replace.
    pub(super) context: Context,
    /// What was read, or nothing after a write.
    pub(super) siblings: Vec<Sibling>,
    pub(super) by: SeenBy,
    pub(super) at: Instant,
}

/// What kind of request the last answer was to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeenBy {
    Read,
    Write,
}

impl Seen {
    /// What a write says it has seen; `None` in a bucket in which no write says that.
    pub(super) fn context(&self) -> Option<Context> {
        Some(&self.context).filter(|context| !context.is_empty()).cloned()
    }
}

impl Memory {
    /// Takes note of a read.
    pub(super) fn has_read(&mut self, key: Bytes, value: &Value, now: Instant) {
        let (context, siblings) = (value.context.clone(), value.siblings.clone());
        self.remember(key, Seen { context, siblings, by: SeenBy::Read, at: now });
    }

    /// Takes note of a write; what it has replaced is no longer there to choose from.
    pub(super) fn has_written(&mut self, key: Bytes, receipt: &Receipt, now: Instant) {
        let context = receipt.context.clone();
        self.remember(key, Seen { context, siblings: Vec::new(), by: SeenBy::Write, at: now });
    }

    fn remember(&mut self, key: Bytes, seen: Seen) {
        if self.keys.len() >= KEYS_MAX && !self.keys.contains_key(&key) {
            let oldest = self.keys.iter().min_by_key(|(_, seen)| seen.at).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.keys.remove(&key));
        }
        self.keys.insert(key, seen);
    }

    /// What is known of `key`.
    pub(super) fn of(&self, key: &Bytes) -> Option<&Seen> {
        self.keys.get(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn value(context: &str) -> Value {
        let siblings = vec![Sibling { dot: (1, 1), value: "tea".into() }];
        Value { siblings, context: context.parse().unwrap(), evidence: None }
    }

    fn receipt(context: &str) -> Receipt {
        Receipt { context: context.parse().unwrap(), dot: (1, 2), replicas: vec![] }
    }

    #[test]
    fn the_last_answer_counts() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let key = Bytes::from_static(b"cart");
        assert_eq!(memory.of(&key), None);
        memory.has_read(key.clone(), &value("YQ"), now);
        memory.has_written(key.clone(), &receipt("Yg"), now);
        let seen = memory.of(&key).unwrap();
        assert_eq!((seen.context.to_string().as_str(), seen.by), ("Yg", SeenBy::Write));
        assert!(seen.siblings.is_empty());
        memory.has_read(key.clone(), &value("Yw"), now);
        assert_eq!(memory.of(&key).unwrap().siblings.len(), 1);
    }

    #[test]
    fn the_key_not_touched_for_longest_is_forgotten() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let key = |i: usize| Bytes::from(i.to_string());
        for i in 0..KEYS_MAX {
            memory.has_read(key(i), &value("YQ"), start + Duration::from_millis(i as u64));
        }
        let later = start + Duration::from_secs(60);
        memory.has_read(key(0), &value("YQ"), later);
        memory.has_read(key(KEYS_MAX), &value("YQ"), later);
        assert_eq!(memory.keys.len(), KEYS_MAX);
        assert!(memory.of(&key(0)).is_some() && memory.of(&key(1)).is_none());
    }
}

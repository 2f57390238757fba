//! Owns the choice of nodes a fault applies to. Refuses to know which nodes exist.

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::fmt;

/// Which nodes a fault applies to. In TOML: `"all"`, one name, or a list of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Every node, also those that join later.
    All,
    /// The nodes of these names; a name may belong to a node that does not exist yet.
    Nodes(BTreeSet<String>),
}

/// What a selector calls every node; no node can have this name in a scenario.
pub(crate) const ALL: &str = "all";

impl Selector {
    /// The nodes of these names.
    pub fn nodes<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::Nodes(names.into_iter().map(Into::into).collect())
    }

    /// Whether the node of this name is chosen.
    #[must_use]
    pub fn contains(&self, node: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nodes(names) => names.contains(node),
        }
    }

    /// The names it gives: none if it chooses all.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::All => None,
            Self::Nodes(names) => Some(names),
        };
        names.into_iter().flatten().map(String::as_str)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Nodes(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                f.write_str(&names.join(" and "))
            }
        }
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str(ALL),
            Self::Nodes(names) => serializer.collect_seq(names),
        }
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SelectorVisitor;
        impl<'de> Visitor<'de> for SelectorVisitor {
            type Value = Selector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"all\", the name of a node, or a list of names")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Selector, E> {
                Ok(if text == ALL { Selector::All } else { Selector::nodes([text]) })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Selector, A::Error> {
                let mut names = BTreeSet::new();
                while let Some(name) = seq.next_element::<String>()? {
                    names.insert(name);
                }
                if names.is_empty() {
                    return Err(A::Error::custom("an empty list chooses no node: name one, or say \"all\""));
                }
                Ok(Selector::Nodes(names))
            }
        }
        deserializer.deserialize_any(SelectorVisitor)
    }
}

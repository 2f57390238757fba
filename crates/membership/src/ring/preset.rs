//! Named settings under which an experiment is known: everything that must be shared, and the members' tokens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::key_space::KeySpace;
use super::partition::{PartitionId, Partitions};
use super::placement::Copies;
use super::position::Partitioner;
use super::tokens::Tokens;
use crate::identity::Name;

/// A set of settings that is chosen by one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Four members `replica0` to `replica3`, each the first owner of a quarter of the keys 0 to 255 (DESIGN.md §3).
    FourNode,
}

impl Preset {
    /// Into how many partitions the ring is cut.
    #[must_use]
    pub fn partitions(self) -> Partitions {
        match self {
            // One per key.
            Self::FourNode => Partitions::default(),
        }
    }

    /// How keys get their positions.
    #[must_use]
    pub fn partitioner(self) -> Partitioner {
        match self {
            Self::FourNode => Partitioner::ByteOrdered,
        }
    }

    /// What keys are.
    #[must_use]
    pub fn key_space(self) -> KeySpace {
        match self {
            Self::FourNode => KeySpace::Integers,
        }
    }

    /// How many members own each key.
    #[must_use]
    pub fn n(self) -> Copies {
        match self {
            Self::FourNode => Copies::default(),
        }
    }

    /// The members and their tokens, in the order of the preset's table.
    #[must_use]
    pub fn members(self) -> Vec<(Name, Tokens)> {
        match self {
            Self::FourNode => [63, 127, 191, 255]
                .into_iter()
                .enumerate()
                .map(|(i, key)| {
                    let name = Name::new(format!("replica{i}")).expect("the names of the preset are plain");
                    let end_of_slice = self.partitions().last(PartitionId(key));
                    (name, Tokens::Explicit(vec![end_of_slice]))
                })
                .collect(),
        }
    }

    /// The tokens of the member called `name`.
    ///
    /// # Errors
    ///
    /// If the preset has no such member; the message names those it has.
    pub fn tokens(self, name: &Name) -> Result<Tokens, PresetError> {
        let members = self.members();
        match members.iter().find(|(member, _)| member == name) {
            Some((_, tokens)) => Ok(tokens.clone()),
            None => {
                let names: Vec<&str> = members.iter().map(|(member, _)| member.as_str()).collect();
                Err(PresetError::NoMember { preset: self, name: name.clone(), members: names.join(", ") })
            }
        }
    }
}

/// The preset, or the member of it, does not exist. Nothing was changed; choose one that does.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PresetError {
    /// The text names no preset.
    #[error("there is no preset {0:?}; use four-node")]
    Unknown(String),
    /// The preset has other members.
    #[error("the preset {preset} has no member {name}; its members are {members}")]
    NoMember {
        /// The preset that was chosen.
        preset: Preset,
        /// The name that it lacks.
        name: Name,
        /// The names it has, separated by commas.
        members: String,
    },
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FourNode => "four-node",
        })
    }
}

impl FromStr for Preset {
    type Err = PresetError;

    fn from_str(text: &str) -> Result<Self, PresetError> {
        match text {
            "four-node" => Ok(Self::FourNode),
            _ => Err(PresetError::Unknown(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::placement::Ring;

    #[test]
    fn four_nodes_own_the_keys_of_the_table() {
        let preset: Preset = "four-node".parse().unwrap();
        let members = preset.members();
        let ids: Vec<_> = members.iter().map(|(name, _)| name.id()).collect();
        let tokened = members.iter().map(|(name, tokens)| (name.id(), tokens.positions(name)));
        let ring = Ring::build(preset.partitions(), preset.n(), tokened);
        for key in 0..=255_u8 {
            let bytes = preset.key_space().parse(key.to_string().as_bytes()).unwrap();
            let partition = preset.partitions().of(preset.partitioner().position(&bytes));
            // DESIGN.md §3: keys 0-63 belong to 0, 1, 2; 64-127 to 1, 2, 3; 128-191 to 2, 3, 0; 192-255 to 3, 0, 1.
            let [first, second, third, fourth] = match key {
                0..=63 => [0, 1, 2, 3],
                64..=127 => [1, 2, 3, 0],
                128..=191 => [2, 3, 0, 1],
                192..=255 => [3, 0, 1, 2],
            };
            assert_eq!(ring.owners(partition), [ids[first], ids[second], ids[third]], "key {key}");
            assert_eq!(ring.fallbacks(partition), [ids[fourth]], "key {key}");
        }
    }

    #[test]
    fn a_stranger_is_told_who_belongs() {
        let error = Preset::FourNode.tokens(&Name::new("replica4").unwrap()).unwrap_err().to_string();
        assert!(
            error.contains("replica4") && error.contains("replica0, replica1, replica2, replica3"),
            "{error}"
        );
        assert!("five-node".parse::<Preset>().unwrap_err().to_string().contains("use four-node"));
    }
}

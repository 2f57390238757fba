//! A member's places on the ring: derived from its name, or listed by an operator.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::position::Position;
use crate::identity::{Name, md5_number};

/// Most tokens one member may have. They travel with its record, and every ring is sorted over all of them.
pub const TOKENS_MAX: usize = 1_024;

/// Where a member stands on the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tokens {
    /// Token `i` is `MD5("<name>#<i>")`, for `i` below `count`. More tokens, more even ownership.
    Derived {
        /// How many tokens, 1 to [`TOKENS_MAX`].
        count: u16,
    },
    /// Exactly these.
    Explicit(Vec<Position>),
}

/// The tokens cannot be used. Nothing was changed; give 1 to [`TOKENS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a member has 1 to {TOKENS_MAX} tokens, not {0}")]
pub struct TokensError(usize);

impl Tokens {
    /// Checks the number of tokens.
    ///
    /// # Errors
    ///
    /// If there are none or more than [`TOKENS_MAX`].
    pub fn validate(&self) -> Result<(), TokensError> {
        let count = match self {
            Self::Derived { count } => usize::from(*count),
            Self::Explicit(positions) => positions.len(),
        };
        if (1..=TOKENS_MAX).contains(&count) { Ok(()) } else { Err(TokensError(count)) }
    }

    /// The positions of the member called `name`.
    #[must_use]
    pub fn positions(&self, name: &Name) -> Vec<Position> {
        match self {
            Self::Derived { count } => {
                (0..*count).map(|i| Position(md5_number(format!("{name}#{i}").as_bytes()))).collect()
            }
            Self::Explicit(positions) => positions.clone(),
        }
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self::Derived { count: 64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_tokens_are_the_md5_of_name_and_number() {
        let name = Name::new("a").unwrap();
        let positions = Tokens::Derived { count: 2 }.positions(&name);
        assert_eq!(positions, [Position(md5_number(b"a#0")), Position(md5_number(b"a#1"))]);
        assert_eq!(Tokens::default().positions(&name).len(), 64);
    }

    #[test]
    fn no_tokens_and_too_many_are_refused() {
        assert!(Tokens::Derived { count: 0 }.validate().is_err());
        assert!(Tokens::Explicit(vec![Position(0); TOKENS_MAX]).validate().is_ok());
        assert!(Tokens::Explicit(vec![Position(0); TOKENS_MAX + 1]).validate().is_err());
    }
}

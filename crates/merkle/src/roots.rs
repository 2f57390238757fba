//! Owns the comparison of many trees at once, by one salted root each; refuses to say what differs within a tree.

use serde::{Deserialize, Serialize};

use crate::cut::Cut;
use crate::element::{KeyId, SCHEME, Sum, salted_root};
use crate::wire::{DecodeError, VERSION, decode, encode};

/// Most trees compared by one message.
pub const ROOTS_MAX: usize = 16_384;

/// Names a tree. Replica sets differ by partition and by how many replicas a bucket wants, so each pair has a tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TreeId {
    /// The partition of the ring.
    pub partition: u16,
    /// How many replicas the keys in this tree have: N.
    pub n: u8,
}

/// The salted roots of the trees two members have in common. The receiver answers which of them differ.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Roots {
    version: u8,
    scheme: u8,
    key_id: KeyId,
    cut: Cut,
    #[serde(with = "postcard::fixint::le")]
    salt: u64,
    entries: Vec<Root>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Root {
    tree: TreeId,
    #[serde(with = "postcard::fixint::le")]
    salted: u64,
}

/// Two members' roots cannot be compared. Repairing would copy everything, so nothing may be repaired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MismatchError {
    /// The other member runs a release with another layout of messages.
    #[error("message of version {0}, this member speaks {VERSION}")]
    Version(u8),
    /// The other member runs a release that hashes records in another way.
    #[error("the other member hashes by scheme {0}, this one by {SCHEME}")]
    Scheme(u8),
    /// The members have different cluster secrets.
    #[error("the other member's tree key is {other}, this one's is {own}")]
    Key {
        /// The key of this member.
        own: KeyId,
        /// The key the other announced.
        other: KeyId,
    },
}

impl Roots {
    /// Salts the roots of up to [`ROOTS_MAX`] trees at one cut; those beyond are left out, for another message.
    ///
    /// `salt` is random and new for every message, so that roots which collide once do not collide twice.
    #[must_use]
    pub fn new(key_id: KeyId, cut: Cut, salt: u64, totals: impl IntoIterator<Item = (TreeId, Sum)>) -> Self {
        let salted = |(tree, total): (TreeId, Sum)| Root { tree, salted: salted_root(&total, salt) };
        let entries = totals.into_iter().take(ROOTS_MAX).map(salted).collect();
        Self { version: VERSION, scheme: SCHEME, key_id, cut, salt, entries }
    }

    /// The cut that the sender compares at: what the totals it is compared with are to be of. A receiver whose own cut is
    /// lower answers with that instead, and the sender compares again.
    #[must_use]
    pub const fn cut(&self) -> Cut {
        self.cut
    }

    /// The trees whose roots differ from those of this member, in the order of the message. A tree for which `total`,
    /// its sum at the message's cut, has nothing is none of this member's and is left out.
    ///
    /// # Errors
    /// If the sender's sums mean something else than this member's.
    pub fn differing(
        &self,
        key_id: KeyId,
        mut total: impl FnMut(TreeId) -> Option<Sum>,
    ) -> Result<Vec<TreeId>, MismatchError> {
        if self.version != VERSION {
            return Err(MismatchError::Version(self.version));
        }
        check_hashing(self.scheme, self.key_id, key_id)?;
        let mut differs = |root: &&Root| {
            total(root.tree).is_some_and(|total| salted_root(&total, self.salt) != root.salted)
        };
        Ok(self.entries.iter().filter(|root| differs(root)).map(|root| root.tree).collect())
    }

    /// The bytes of the message: about 11 per tree.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads back what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let roots: Self = decode(bytes)?;
        if roots.entries.len() > ROOTS_MAX { Err(DecodeError::TooLong(bytes.len())) } else { Ok(roots) }
    }
}

/// Whether another member's sums can be compared with this one's at all.
pub(crate) fn check_hashing(scheme: u8, other: KeyId, own: KeyId) -> Result<(), MismatchError> {
    if scheme != SCHEME {
        return Err(MismatchError::Scheme(scheme));
    }
    if other != own {
        return Err(MismatchError::Key { own, other });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::{Element, TreeKey};

    const TREES: u16 = 256;
    const CUT: Cut = Cut::at(1_800_000_000_000, 5_000);

    fn tree(partition: u16) -> TreeId {
        TreeId { partition, n: 3 }
    }

    fn total(tree: TreeId) -> Sum {
        (0..tree.partition).map(|value| Element(u128::from(value) * 77)).collect()
    }

    #[test]
    fn only_trees_that_differ_and_are_known_are_named() {
        let id = TreeKey::new([1; 16]).id();
        let roots = Roots::new(id, CUT, 99, (0..TREES).map(tree).map(|tree| (tree, total(tree))));
        let roots = Roots::decode(&roots.encode()).unwrap();
        assert_eq!(roots.cut(), CUT);
        assert_eq!(roots.differing(id, |tree| Some(total(tree))), Ok(vec![]));

        let changed = |at: TreeId| match at.partition {
            7 | 200 => Some(Sum { sum: 1, ..total(at) }),
            8 => None,
            _ => Some(total(at)),
        };
        assert_eq!(roots.differing(id, changed), Ok(vec![tree(7), tree(200)]));
    }

    #[test]
    fn a_tree_costs_at_most_twelve_bytes() {
        let id = TreeKey::new([1; 16]).id();
        let roots = Roots::new(id, CUT, 99, (0..TREES).map(tree).map(|tree| (tree, total(tree))));
        assert!(roots.encode().len() <= 12 * usize::from(TREES));
    }

    #[test]
    fn members_that_hash_differently_do_not_compare() {
        let (own, other) = (TreeKey::new([1; 16]).id(), TreeKey::new([2; 16]).id());
        let roots = Roots::new(other, CUT, 99, [(tree(1), Sum::EMPTY)]);
        assert_eq!(roots.differing(own, |_| None), Err(MismatchError::Key { own, other }));

        let roots = Roots { scheme: SCHEME + 1, ..Roots::new(own, CUT, 99, []) };
        assert_eq!(roots.differing(own, |_| None), Err(MismatchError::Scheme(SCHEME + 1)));

        let mut bytes = Roots::new(own, CUT, 99, []).encode();
        bytes[0] = VERSION + 1;
        assert_eq!(Roots::decode(&bytes), Err(DecodeError::Version(VERSION + 1)));
    }
}

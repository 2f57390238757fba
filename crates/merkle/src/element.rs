//! Owns how a record becomes a number and how numbers become a sum; refuses to know where a record lives.
//!
//! Sums are additions of a keyed hash modulo 2^128, never XOR: hashes that a client may learn can be chosen so that
//! their XOR cancels, and a record applied twice would vanish. With a secret key a false match is a matter of 2^-128.

use std::fmt;
use std::hash::Hasher;
use std::ops::{AddAssign, SubAssign};

use siphasher::{sip::SipHasher24, sip128, sip128::Hasher128};

/// The way elements are hashed and summed: announced on the wire, and to be stored with saved sums. It changes whenever
/// an [`Element`] would.
pub const SCHEME: u8 = 3;

/// The secret that keys every element of a cluster.
///
/// All replicas of a tree must hold the same one. Its bytes are never printed; [`TreeKey::id`] is what may be shown.
#[derive(Clone)]
pub struct TreeKey([u8; 16]);

impl TreeKey {
    /// Takes 16 secret bytes, best derived from the cluster's secret.
    #[must_use]
    pub const fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// The public name of this key: two replicas that announce different ones share no comparable tree.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let name = sip128::SipHasher24::new_with_key(&self.0).hash(b"chinwag tree key").as_u128();
        KeyId(u32::from_le_bytes(low_bytes(name)))
    }
}

impl fmt::Debug for TreeKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TreeKey({})", self.id())
    }
}

/// The public name of a [`TreeKey`]: 32 bits that tell nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
pub struct KeyId(#[serde(with = "postcard::fixint::le")] u32);

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}", self.0)
    }
}

/// The keyed 128-bit hash of one key together with everything its replica holds for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Element(pub u128);

/// Hashes a key and its canonically encoded record with SipHash-1-3-128, which takes little more than half the time of 2-4.
///
/// The rounds that are left out guard against who chooses messages, sees their hashes, and works on the key. A client
/// chooses keys and values and never sees an element, nor a sum, nor a bit of either: members tell each other salted
/// hashes of sums, over connections that clients cannot read. And no shortcut is known to one who does see hashes.
///
/// The whole key is hashed, because positions can be collided at will, and the whole record, so that any
/// difference between two replicas' states of the key shows, bit rot included. One key has one element.
///
/// What is hashed is the key, the record, and the key's length in 32 bits; SipHash itself tells lengths apart.
#[must_use]
pub fn element(tree_key: &TreeKey, record_key: &[u8], record: &[u8]) -> Element {
    let mut hasher = sip128::SipHasher13::new_with_key(&tree_key.0);
    hasher.write(record_key);
    hasher.write(record);
    hasher.write(&low_bytes(record_key.len() as u128));
    Element(hasher.finish128().as_u128())
}

/// How many elements a set has, and their sum modulo 2^128.
///
/// A sum depends on the set alone and not on the order in which it came to be. The count wraps like the sum, so that
/// removing what was never added is undone exactly by adding it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sum {
    /// Elements in the set.
    pub count: u64,
    /// The elements added up modulo 2^128.
    pub sum: u128,
}

impl Sum {
    /// The sum of the empty set.
    pub const EMPTY: Self = Self { count: 0, sum: 0 };

    /// Adds one element.
    pub const fn add(&mut self, element: Element) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(element.0);
    }

    /// Takes one element away.
    pub const fn remove(&mut self, element: Element) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(element.0);
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.count = self.count.wrapping_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl SubAssign for Sum {
    fn sub_assign(&mut self, other: Self) {
        self.count = self.count.wrapping_sub(other.count);
        self.sum = self.sum.wrapping_sub(other.sum);
    }
}

impl FromIterator<Element> for Sum {
    fn from_iter<I: IntoIterator<Item = Element>>(elements: I) -> Self {
        let mut sum = Self::EMPTY;
        elements.into_iter().for_each(|element| sum.add(element));
        sum
    }
}

impl std::iter::Sum for Sum {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        let mut total = Self::EMPTY;
        sums.for_each(|sum| total += sum);
        total
    }
}

/// A sum hashed under an exchange's salt: what of a sum is shown to another replica.
///
/// Shortened hashes collide now and then and hide a difference; the next salt gives other hashes and finds it.
#[must_use]
pub fn salted_root(sum: &Sum, salt: u64) -> u64 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&sum.count.to_le_bytes());
    bytes[8..].copy_from_slice(&sum.sum.to_le_bytes());
    SipHasher24::new_with_keys(salt, !salt).hash(&bytes)
}

fn low_bytes(value: u128) -> [u8; 4] {
    let [a, b, c, d, ..] = value.to_le_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_element_is_pinned() {
        let key = TreeKey::new(*b"0123456789abcdef");
        assert_eq!(element(&key, b"key", b"record").0, 174_399_863_724_390_591_889_011_147_906_482_937_340);
        assert_eq!(key.id().to_string(), "e7ae6635");
        assert_eq!(salted_root(&Sum { count: 3, sum: 5 }, 7), 13_680_774_249_425_722_864);
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = TreeKey::new(*b"0123456789abcdef");
        assert_eq!(format!("{key:?}"), format!("TreeKey({})", key.id()));
        assert_ne!(key.id(), TreeKey::new([0; 16]).id());
    }

    #[test]
    fn the_border_between_key_and_record_counts() {
        let key = TreeKey::new([7; 16]);
        assert_ne!(element(&key, b"ab", b"c"), element(&key, b"a", b"bc"));
        assert_ne!(element(&key, b"", b"abc"), element(&key, b"abc", b""));
    }

    proptest! {
        #[test]
        fn a_sum_depends_on_the_set_alone(
            elements in proptest::collection::vec(any::<u128>().prop_map(Element), 1..50),
            cut in any::<proptest::sample::Index>(),
        ) {
            let whole: Sum = elements.iter().copied().collect();
            let (head, tail) = elements.split_at(cut.index(elements.len()));
            let (head, tail): (Sum, Sum) = (head.iter().copied().collect(), tail.iter().copied().collect());
            prop_assert_eq!([tail, head].into_iter().sum::<Sum>(), whole);
            let mut rest = whole;
            rest -= head;
            prop_assert_eq!(rest, tail);

            let mut emptied = Sum::EMPTY;
            elements.iter().for_each(|element| emptied.remove(*element));
            elements.iter().rev().for_each(|element| emptied.add(*element));
            prop_assert_eq!(emptied, Sum::EMPTY);
        }
    }
}

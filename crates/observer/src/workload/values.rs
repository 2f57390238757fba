//! How large written values are. A value begins with its name, which is unique in a run and all that a history keeps of it;
//! a space and letters fill it up.

use rand::RngExt as _;
use rand::rngs::StdRng;

/// The sizes of written values, in bytes. A value is never shorter than its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ValueBytes {
    /// As short as names are.
    #[default]
    Name,
    /// All alike.
    Fixed(u32),
    /// Any size from the first to the last, each as likely.
    Uniform(u32, u32),
}

impl ValueBytes {
    /// The size of the next value, 0 for that of its name. One draw in any case.
    pub(super) fn choose(self, rng: &mut StdRng) -> u32 {
        let draw: u32 = rng.random();
        match self {
            Self::Name => 0,
            Self::Fixed(bytes) => bytes,
            Self::Uniform(least, most) => {
                let sizes = u64::from(most.saturating_sub(least)) + 1;
                let more = (u64::from(draw) * sizes) >> u32::BITS;
                least + u32::try_from(more).expect("it is below the number of sizes")
            }
        }
    }
}

/// The value of this name and size. Its letters do not compress well.
pub(crate) fn value_of(name: &str, bytes: u32) -> Vec<u8> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut value = name.as_bytes().to_vec();
    if value.len() < bytes {
        value.reserve_exact(bytes - value.len());
        // A generator of Lehmer's kind (Steele and Vigna, "Computationally easy, spectrally good multipliers", 2021).
        let mut state =
            value.iter().fold(1u64, |state, &byte| (state << 8) ^ u64::from(byte) ^ (state >> 56)) | 1;
        value.push(b' ');
        while value.len() < bytes {
            state = state.wrapping_mul(0xd134_2543_de82_ef95);
            value.push(b'a' + state.to_be_bytes()[0] % 26);
        }
    }
    value
}

/// The name of a value that [`value_of`] made, or the whole of another.
pub(crate) fn name_of(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == b' ').unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn a_value_has_its_size_and_its_name_back() {
        for bytes in [0, 4, 5, 6, 100] {
            let value = value_of("s3-1", bytes);
            assert_eq!(value.len(), 4.max(bytes as usize), "{bytes}");
            assert_eq!(name_of(&value), "s3-1");
        }
        assert_ne!(value_of("s3-1", 100)[5..], value_of("s3-2", 100)[5..]);
        let letters: std::collections::BTreeSet<u8> = value_of("s3-1", 1000)[5..].iter().copied().collect();
        assert_eq!(letters.len(), 26);
    }

    #[test]
    fn uniform_sizes_reach_both_ends_alike() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut drawn = [0; 4];
        for _ in 0..4000 {
            drawn[ValueBytes::Uniform(10, 13).choose(&mut rng) as usize - 10] += 1;
        }
        assert!(drawn.iter().all(|it| (900..1100).contains(it)), "{drawn:?}");
        assert_eq!(ValueBytes::Fixed(7).choose(&mut rng), 7);
        assert_eq!(ValueBytes::Name.choose(&mut rng), 0);
        assert!(ValueBytes::Uniform(0, u32::MAX).choose(&mut rng).checked_add(0).is_some());
    }
}

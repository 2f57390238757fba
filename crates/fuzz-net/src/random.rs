//! Owns the random stream of one link: a generator whose values never change with an upgrade of a dependency.
//! Refuses ambient randomness: a stream is a function of its seed and its labels.

use std::f64::consts::TAU;

/// xoshiro256++ (Blackman and Vigna, 2019), seeded through splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct RandomStream([u64; 4]);

impl RandomStream {
    /// The stream that belongs to `labels` under `seed`. Streams with different labels are independent.
    pub(crate) fn new(seed: u64, labels: &[&str]) -> Self {
        let mut state = splitmix(seed);
        for label in labels {
            state = splitmix(state ^ fnv1a(label));
        }
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(GOLDEN_GAMMA);
            mix(state)
        }))
    }

    /// A value in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        const STEPS: f64 = (1u64 << 53) as f64;
        (self.next() >> 11) as f64 / STEPS
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }
}

/// The whole number below `n` that belongs to a uniform value in `[0, 1)`; 0 for an `n` of 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a product below n, which is a u64"
)]
pub(crate) fn below(n: u64, unit: f64) -> u64 {
    // Rounding may reach n itself when n is large.
    ((n as f64 * unit) as u64).min(n.saturating_sub(1))
}

/// A standard normal value from two uniform ones (Box and Muller).
///
/// `libm` gives the same bits on every platform; `f64::ln` and `f64::cos` call whatever the platform has.
pub(crate) fn standard_normal(u1: f64, u2: f64) -> f64 {
    libm::sqrt(-2.0 * libm::log(1.0 - u1)) * libm::cos(TAU * u2)
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn splitmix(state: u64) -> u64 {
    mix(state.wrapping_add(GOLDEN_GAMMA))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_xoshiro256_plus_plus() {
        // The authors' C code, started from the state 1, 2, 3, 4.
        let mut stream = RandomStream([1, 2, 3, 4]);
        let drawn: [u64; 4] = std::array::from_fn(|_| stream.next());
        assert_eq!(drawn, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn labels_and_their_order_give_different_streams() {
        let first = |seed, labels: &[&str]| RandomStream::new(seed, labels).next();
        assert_eq!(first(1, &["a", "b"]), first(1, &["a", "b"]));
        assert_ne!(first(1, &["a", "b"]), first(1, &["b", "a"]));
        assert_ne!(first(1, &["a", "b"]), first(1, &["ab"]));
        assert_ne!(first(1, &["a", "b"]), first(2, &["a", "b"]));
    }

    #[test]
    fn normal_values_have_mean_zero_and_variance_one() {
        let mut stream = RandomStream::new(7, &["normal"]);
        let n = 20_000;
        let values: Vec<f64> = (0..n).map(|_| standard_normal(stream.unit(), stream.unit())).collect();
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.03, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }
}

//! Shares with their uncertainty: Wilson intervals and monotone fits. Pure arithmetic.

use serde::{Deserialize, Serialize};

/// The standard normal quantile of a two-sided 95 % interval.
const Z_95: f64 = 1.959_963_984_540_054;

/// A share of `n` trials, with its 95 % Wilson interval. Reads of one key and moment resemble each other, which an interval
/// of independent trials does not know: read it as the least uncertainty there is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// `count / n`; absent when nothing was tried.
    pub rate: Option<f64>,
    /// How many of the trials.
    pub count: u64,
    /// The trials.
    pub n: u64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

impl Rate {
    /// `count` of `n` trials, and at most `n`.
    #[must_use]
    pub fn new(count: u64, n: u64) -> Self {
        let count = count.min(n);
        if n == 0 {
            return Self { rate: None, count, n, low: 0.0, high: 1.0 };
        }
        let (trials, share) = (n as f64, count as f64 / n as f64);
        let square = Z_95 * Z_95 / trials;
        let centre = share + square / 2.0;
        let spread = Z_95 * libm::sqrt(share * (1.0 - share) / trials + square / (4.0 * trials));
        // At the ends the formula is exact and its rounding is not.
        let low = if count == 0 { 0.0 } else { (centre - spread) / (1.0 + square) };
        let high = if count == n { 1.0 } else { (centre + spread) / (1.0 + square) };
        Self { rate: Some(share), count, n, low, high }
    }
}

/// The non-decreasing sequence nearest to the means of weighted points, in least squares (pool adjacent violators).
/// Points are `(mean, weight)` in order of the variable; weights are positive.
#[must_use]
pub(super) fn isotonic(points: &[(f64, f64)]) -> Vec<f64> {
    // Each pool is its mean, weight and number of points.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for &(mean, weight) in points {
        let mut pool = (mean, weight, 1);
        while let Some(last) = pools.pop_if(|last| last.0 >= pool.0) {
            let weight = last.1 + pool.1;
            pool = ((last.0 * last.1 + pool.0 * pool.1) / weight, weight, last.2 + pool.2);
        }
        pools.push(pool);
    }
    pools.into_iter().flat_map(|(mean, _, len)| std::iter::repeat_n(mean, len)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Rate, isotonic};
    use proptest::prelude::{prop, proptest};

    fn near(left: f64, right: f64, within: f64) {
        assert!((left - right).abs() <= within, "{left} is not {right} within {within}");
    }

    #[test]
    fn wilson_gives_the_published_intervals() {
        let two = Rate::new(2, 3000);
        near(two.low, 0.000_18, 0.000_005);
        near(two.high, 0.002_4, 0.000_05);
        let eight = Rate::new(8, 3000);
        near(eight.low, 0.001_4, 0.000_05);
        near(eight.high, 0.005_3, 0.000_05);
        // Newcombe 1998, table I, method 3.
        let newcombe = Rate::new(81, 263);
        near(newcombe.low, 0.2553, 0.000_05);
        near(newcombe.high, 0.3662, 0.000_05);
    }

    #[test]
    fn an_interval_of_none_or_all_is_one_sided() {
        let none = Rate::new(0, 2995);
        assert_eq!((none.rate, none.low), (Some(0.0), 0.0));
        near(none.high, 3.84 / 2998.84, 0.000_005);
        assert_eq!(Rate::new(7, 7).high, 1.0);
        let nothing = Rate::new(0, 0);
        assert_eq!((nothing.rate, nothing.low, nothing.high), (None, 0.0, 1.0));
    }

    #[test]
    fn a_monotone_fit_pools_what_falls() {
        assert_eq!(isotonic(&[]), Vec::<f64>::new());
        assert_eq!(isotonic(&[(0.1, 1.0), (0.4, 9.0), (0.4, 1.0)]), [0.1, 0.4, 0.4]);
        assert_eq!(isotonic(&[(1.0, 1.0), (0.0, 1.0), (1.0, 1.0)]), [0.5, 0.5, 1.0]);
        assert_eq!(isotonic(&[(3.0, 1.0), (2.0, 1.0), (1.0, 2.0)]), [1.75; 3]);
        assert_eq!(isotonic(&[(0.5, 1.0), (1.0, 3.0), (0.2, 1.0)]), [0.5, 0.8, 0.8]);
    }

    proptest! {
        #[test]
        fn a_monotone_fit_rises_keeps_the_mean_and_leaves_what_rises(
            points in prop::collection::vec((0.0..1.0f64, 0.5..9.0f64), 1..30)
        ) {
            let fit = isotonic(&points);
            assert!(fit.windows(2).all(|pair| pair[0] <= pair[1]));
            let total = |values: &mut dyn Iterator<Item = (f64, f64)>| values.map(|(v, w)| v * w).sum::<f64>();
            let weights = points.iter().map(|point| point.1);
            near(total(&mut points.iter().copied()), total(&mut fit.iter().copied().zip(weights.clone())), 1e-9);
            let again = isotonic(&fit.iter().copied().zip(weights).collect::<Vec<_>>());
            for (first, second) in fit.iter().zip(again) {
                near(*first, second, 1e-12);
            }
        }
    }
}

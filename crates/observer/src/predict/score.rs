//! How far a prediction is from what was measured, and how far it would be by chance alone. Pure arithmetic.

/// The root of the mean square; none of nothing.
pub(super) fn root_mean_square(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.into_iter().fold((0.0, 0u64), |(sum, n), value| (sum + value * value, n + 1));
    (n > 0).then(|| libm::sqrt(sum / n as f64))
}

/// The standard deviation of a share measured in `n` independent trials of this chance.
pub(super) fn deviation(chance: f64, n: u64) -> f64 {
    libm::sqrt(chance * (1.0 - chance) / n as f64)
}

/// The quantile of ascending samples, by straight lines between the values that occur: of times on a coarse clock, as if
/// they were spread evenly within its ticks.
pub(super) fn quantile(ascending: &[f64], share: f64) -> Option<f64> {
    let wanted = share.clamp(0.0, 1.0) * ascending.len() as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank among samples")]
    let rank = (libm::ceil(wanted) as usize).clamp(1, ascending.len().max(1));
    let value = *ascending.get(rank - 1)?;
    let below = ascending.partition_point(|it| *it < value);
    let Some(former) = below.checked_sub(1).and_then(|last| ascending.get(last)) else { return Some(value) };
    let alike = ascending[below..].partition_point(|it| *it <= value);
    Some(former + (value - former) * (wanted - below as f64) / alike as f64)
}

/// The shares at which latencies are compared: each percent, and 99.9 %.
pub(super) fn percentiles() -> impl Iterator<Item = f64> {
    (1..100).map(|percent| f64::from(percent) / 100.0).chain([0.999])
}

/// How far apart the quantiles of predicted and measured latencies are, as a share of the range of the measured ones,
/// and how far those of so many samples would be from the predicted ones by chance (Woodruff 1952). Both ascending; none
/// without samples or without a range.
pub(super) fn normalized(measured: &[f64], predicted: &[f64]) -> Option<(f64, f64)> {
    let range = quantile(measured, 0.999)? - quantile(measured, 0.01)?;
    if range <= 0.0 {
        return None;
    }
    let apart = percentiles().map(|share| Some(quantile(predicted, share)? - quantile(measured, share)?));
    let by_chance = percentiles().map(|share| {
        let one = deviation(share, measured.len() as u64);
        Some((quantile(predicted, share + one)? - quantile(predicted, share - one)?) / 2.0)
    });
    let apart: Option<Vec<f64>> = apart.collect();
    let by_chance: Option<Vec<f64>> = by_chance.collect();
    Some((root_mean_square(apart?)? / range, root_mean_square(by_chance?)? / range))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn quantiles_lie_on_lines_between_the_values_that_occur() {
        let ticks = [1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 4.0, 4.0];
        for (share, expected) in
            [(0.0, 1.0), (0.25, 1.0), (0.375, 1.25), (0.75, 2.0), (0.875, 3.0), (1.0, 4.0)]
        {
            near(quantile(&ticks, share).unwrap(), expected);
        }
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn equal_latencies_score_nothing_and_shifted_ones_their_shift() {
        let measured: Vec<f64> = (0..1000).map(f64::from).collect();
        let shifted: Vec<f64> = measured.iter().map(|it| it + 98.9).collect();
        near(normalized(&measured, &measured).unwrap().0, 0.0);
        let (apart, by_chance) = normalized(&measured, &shifted).unwrap();
        // The range is that from the first to the 99.9th percentile: 989.
        near(apart, 0.1);
        assert!((0.01..0.02).contains(&by_chance), "{by_chance}");
        assert_eq!(normalized(&[5.0; 9], &shifted), None, "no range");
    }

    #[test]
    fn the_root_of_the_mean_square_is_that() {
        near(root_mean_square([3.0, -4.0]).unwrap(), libm::sqrt(12.5));
        assert_eq!(root_mean_square([]), None);
        near(deviation(0.5, 32_000), 0.002_795_084_971_874_737);
    }
}

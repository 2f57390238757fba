//! The form in TOML, and the distributions within wide bounds.

use super::*;
use crate::random::RandomStream;
use proptest::prelude::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn read(text: &str) -> Result<LinkFaults, String> {
    toml::from_str(text).map_err(|error| error.message().to_owned())
}

fn samples(latency: &Latency) -> Vec<Duration> {
    let mut random = RandomStream::new(1, &["samples"]);
    let mut samples: Vec<_> = (0..20_000).map(|_| latency.sample(random.unit(), random.unit())).collect();
    samples.sort();
    samples
}

#[test]
fn nothing_said_means_nothing_done() {
    assert_eq!(read("").unwrap(), LinkFaults::default());
    assert!(LinkFaults::default().is_clean());
    assert!(LinkFaults::default().fifo);
}

#[test]
fn every_fault_makes_a_link_unclean_and_order_does_not() {
    assert!(read("fifo = false").unwrap().is_clean());
    assert!(read("reorder_by = '1s'").unwrap().is_clean());
    for text in [
        "latency = '1ns'",
        "drop = 0.1",
        "burst_loss = { enter = 0.1, leave = 0.1 }",
        "duplicate = 0.1",
        "corrupt = 0.1",
        "reorder = 0.1",
        "bandwidth = { bytes_per_second = 1, queue_bytes = 2000 }",
        "mtu = 1200",
    ] {
        assert!(!read(text).unwrap().is_clean(), "{text}");
    }
}

#[test]
fn latencies_are_read_in_every_form() {
    let latency = |text: &str| read(&format!("latency = {text}")).unwrap().latency;
    assert_eq!(latency("'2ms'"), Latency::Fixed(MS(2)));
    assert_eq!(latency("{ fixed = '1s 5ms' }"), Latency::Fixed(MS(1005)));
    assert_eq!(
        latency("{ uniform = { min = '1ms', max = '3ms' } }"),
        Latency::Uniform { min: MS(1), max: MS(3) }
    );
    assert_eq!(
        latency("{ log_normal = { median = '3ms', sigma = 0.5, cap = '50ms' } }"),
        Latency::LogNormal { median: MS(3), sigma: 0.5, cap: MS(50) }
    );
    assert_eq!(
        latency("{ exponential = { min = '1ms', mean = '5ms', cap = '80ms' } }"),
        Latency::Exponential { min: MS(1), mean: MS(5), cap: MS(80) }
    );
}

#[test]
fn what_is_written_is_read_back() {
    for latency in [
        Latency::Fixed(MS(2)),
        Latency::Uniform { min: MS(1), max: MS(3) },
        Latency::LogNormal { median: MS(3), sigma: 0.5, cap: MS(50) },
        Latency::Exponential { min: MS(0), mean: MS(5), cap: MS(80) },
    ] {
        let faults = LinkFaults {
            latency,
            drop: 0.02,
            burst_loss: Some(GilbertElliott { enter: 0.01, leave: 0.25, drop: 0.9 }),
            duplicate: 0.5,
            corrupt: 0.03,
            reorder: 0.04,
            reorder_by: MS(7),
            bandwidth: Some(Bandwidth { bytes_per_second: NonZeroU64::MIN, queue_bytes: 1300 }),
            mtu: Some(1300),
            fifo: false,
        };
        assert_eq!(read(&toml::to_string(&faults).unwrap()), Ok(faults.clone()));
        assert_eq!(serde_json::from_value(serde_json::to_value(&faults).unwrap()).ok(), Some(faults));
    }
}

#[test]
fn a_link_without_faults_has_none_written_that_are_off() {
    let json = serde_json::to_value(LinkFaults::default()).unwrap();
    for absent in ["burst_loss", "bandwidth", "mtu"] {
        assert_eq!(json.get(absent), None);
    }
}

#[test]
fn a_burst_loses_everything_unless_told_otherwise() {
    let faults = read("burst_loss = { enter = 0.01, leave = 0.25 }").unwrap();
    assert_eq!(faults.burst_loss, Some(GilbertElliott { enter: 0.01, leave: 0.25, drop: 1.0 }));
}

#[test]
fn people_read_what_is_on() {
    assert_eq!(LinkFaults::default().to_string(), "0ns, 0 % dropped");
    let faults = read(
        "latency = '2ms'\ndrop = 0.5\nburst_loss = { enter = 0.1, leave = 0.3 }\nduplicate = 0.25\nreorder = 0.125
        mtu = 1300\nbandwidth = { bytes_per_second = 5, queue_bytes = 2000 }",
    );
    assert_eq!(
        faults.unwrap().to_string(),
        "2ms, 50 % dropped, 100 % dropped in bursts over 25.0 % of the time, 25 % duplicated, \
         12.5 % held back by 5ms, 5 bytes/s behind a queue of 2000, nothing above 1300 bytes"
    );
}

#[test]
fn values_out_of_range_are_refused_with_advice() {
    for (text, advice) in [
        ("drop = 2", "2 is not a probability: give a number from 0 to 1 (2 % is 0.02)"),
        ("duplicate = -0.1", "-0.1 is not a probability"),
        ("drop = nan", "NaN is not a probability"),
        ("latency = 'soon'", "\"soon\" is not a duration"),
        ("latency = '2h'", "a latency of 2h is too long: at most 1h"),
        ("latency = { uniform = { min = '1s', max = '2h' } }", "at most 1h"),
        ("latency = 3", "expected a latency: \"2ms\", or a table with one of `fixed`"),
        (
            "latency = { normal = 1 }",
            "unknown variant `normal`, expected one of `fixed`, `uniform`, `log_normal`",
        ),
        ("latency = { uniform = { min = '3ms', max = '1ms' } }", "min 3ms is above max 1ms; swap them"),
        ("latency = { uniform = { min = '3ms' } }", "missing field `max`"),
        ("latency = { uniform = { min = '1ms', max = '2ms', mean = '1ms' } }", "unknown field `mean`"),
        (
            "latency = { log_normal = { median = '3ms', sigma = -1.0, cap = '9ms' } }",
            "sigma -1 must be 0 or more",
        ),
        (
            "latency = { log_normal = { median = '3ms', sigma = inf, cap = '9ms' } }",
            "sigma inf must be 0 or more",
        ),
        (
            "latency = { log_normal = { median = '3ms', sigma = 0.5, cap = '1ms' } }",
            "cap 1ms is below the median 3ms",
        ),
        (
            "latency = { exponential = { mean = '3ms', cap = '1ms' } }",
            "cap 1ms is below min 0s and mean 3ms together",
        ),
        ("latency = { exponential = { mean = '3ms' } }", "missing field `cap`"),
        ("corrupt = 1.5", "1.5 is not a probability"),
        ("reorder = -1", "-1 is not a probability"),
        ("reorder_by = '2h'", "a latency of 2h is too long: at most 1h"),
        ("mtu = 1199", "an mtu of 1199 lets nothing of QUIC through: give at least 1200"),
        ("mtu = -1", "invalid value"),
        ("burst_loss = { enter = 2, leave = 0.1 }", "2 is not a probability"),
        ("burst_loss = { enter = 0.1, leave = 0 }", "a burst that is never left loses all"),
        ("burst_loss = { enter = 0.1 }", "missing field `leave`"),
        ("burst_loss = { enter = 0.1, leave = 0.1, loss = 1 }", "unknown field `loss`"),
        ("bandwidth = { bytes_per_second = 0, queue_bytes = 9000 }", "0 bytes per second carry nothing"),
        ("bandwidth = { bytes_per_second = 9, queue_bytes = 100 }", "a queue of 100 bytes has no room"),
        ("bandwidth = { bytes_per_second = 9 }", "missing field `queue_bytes`"),
        ("loss = 0.1", "unknown field `loss`, expected one of `latency`, `drop`, `burst_loss`, `duplicate`"),
    ] {
        let message = read(text).unwrap_err();
        assert!(message.contains(advice), "{text}: {message}");
    }
}

#[test]
fn uniform_latencies_fill_their_range_evenly() {
    let samples = samples(&Latency::Uniform { min: MS(10), max: MS(20) });
    let quantile = |percent: usize| samples[samples.len() * percent / 100].as_secs_f64() * 1000.0;
    assert!(samples[0] >= MS(10) && samples[samples.len() - 1] <= MS(20));
    for (percent, expected) in [(10, 11.0), (50, 15.0), (90, 19.0)] {
        assert!((quantile(percent) - expected).abs() < 0.2, "{percent} %: {}", quantile(percent));
    }
}

#[test]
fn log_normal_latencies_have_their_median_tail_and_cap() {
    let samples = samples(&Latency::LogNormal { median: MS(10), sigma: 0.5, cap: MS(40) });
    let quantile = |permille: usize| samples[samples.len() * permille / 1000].as_secs_f64() * 1000.0;
    assert!((quantile(500) - 10.0).abs() < 0.3, "{}", quantile(500));
    // exp(1.645 * 0.5) medians
    assert!((quantile(950) - 22.8).abs() < 1.0, "{}", quantile(950));
    assert_eq!(samples[samples.len() - 1], MS(40));
}

#[test]
fn a_log_normal_latency_without_spread_is_fixed() {
    assert!(
        samples(&Latency::LogNormal { median: MS(3), sigma: 0.0, cap: MS(9) }).iter().all(|&s| s == MS(3))
    );
}

#[test]
fn exponential_latencies_have_their_mean_tail_and_cap() {
    let samples = samples(&Latency::Exponential { min: MS(2), mean: MS(8), cap: MS(60) });
    let milliseconds = |latency: &Duration| latency.as_secs_f64() * 1000.0;
    let mean = samples.iter().map(milliseconds).sum::<f64>() / samples.len() as f64;
    assert!((mean - 10.0).abs() < 0.3, "{mean}");
    // ln 10 means above the least
    let ninth = milliseconds(&samples[samples.len() * 9 / 10]);
    assert!((ninth - 20.4).abs() < 0.8, "{ninth}");
    assert!(samples[0] >= MS(2) && samples[0] < MS(2) + MS(1) / 10, "{:?}", samples[0]);
    assert_eq!(samples[samples.len() - 1], MS(60));
}

proptest! {
    #[test]
    fn no_latency_panics_or_passes_its_bound(a: Duration, b: Duration, sigma: f64, u1 in 0.0..1.0, u2 in 0.0..1.0) {
        let uniform = Latency::Uniform { min: a, max: b };
        prop_assert!(uniform.sample(u1, u2) <= a.max(b).min(LATENCY_MAX));
        let log_normal = Latency::LogNormal { median: a, sigma, cap: b };
        prop_assert!(log_normal.sample(u1, u2) <= b.min(LATENCY_MAX));
        let exponential = Latency::Exponential { min: a, mean: a, cap: b };
        prop_assert!(exponential.sample(u1, u2) <= b.min(LATENCY_MAX));
    }
}

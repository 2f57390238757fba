//! Determinism, and the independence of links and packets.

use super::*;
use crate::faults::Latency;
use proptest::prelude::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn link(faults: LinkFaults) -> Link {
    let mut link = Link::new(1, "a", "b");
    link.set_faults(faults);
    link
}

fn noisy() -> LinkFaults {
    LinkFaults {
        latency: Latency::LogNormal { median: MS(3), sigma: 0.6, cap: MS(50) },
        drop: 0.1,
        duplicate: 0.1,
        fifo: false,
    }
}

fn verdicts(link: &mut Link, packets: u64) -> Vec<Verdict> {
    (0..packets).map(|i| link.judge(i, 100)).collect()
}

fn delay(verdict: Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Deliver { after, .. } => Some(after),
        Verdict::Blocked | Verdict::Dropped => None,
    }
}

#[test]
fn a_clean_link_delivers_at_once() {
    let verdict = link(LinkFaults::default()).judge(5, 100);
    assert_eq!(verdict, Verdict::Deliver { after: Duration::ZERO, again_after: None });
}

#[test]
fn the_same_seed_and_names_give_the_same_fates() {
    assert_eq!(verdicts(&mut link(noisy()), 1000), verdicts(&mut link(noisy()), 1000));
    for mut other in [Link::new(2, "a", "b"), Link::new(1, "b", "a"), Link::new(1, "a", "c")] {
        other.set_faults(noisy());
        assert_ne!(verdicts(&mut link(noisy()), 100), verdicts(&mut other, 100));
    }
}

#[test]
fn losses_and_copies_are_as_frequent_as_asked() {
    let mut link = link(noisy());
    verdicts(&mut link, 20_000);
    let stats = link.stats();
    assert_eq!((stats.sent, stats.bytes), (20_000, 2_000_000));
    assert!((1_800..2_200).contains(&stats.dropped), "{stats:?}");
    assert!((1_600..2_000).contains(&stats.duplicated), "{stats:?}");
    assert_eq!(stats.delayed, stats.sent - stats.dropped);
}

#[test]
fn probabilities_reach_always_and_never() {
    for (drop, dropped) in [(0.0, 0), (1.0, 1000), (-1.0, 0), (7.0, 1000), (f64::NAN, 0)] {
        let mut link = link(LinkFaults { drop, ..LinkFaults::default() });
        verdicts(&mut link, 1000);
        assert_eq!(link.stats().dropped, dropped, "{drop}");
    }
}

#[test]
fn a_fifo_link_keeps_order_and_never_shortens_a_latency() {
    let mut ordered = link(LinkFaults { fifo: true, ..noisy() });
    let mut free = link(noisy());
    let mut last_due = Duration::ZERO;
    let mut overtaken = 0;
    for now_ms in 0..1000 {
        let now = MS(now_ms);
        let (a, b) = (ordered.judge(nanos(now), 100), free.judge(nanos(now), 100));
        let (Some(a), Some(b)) = (delay(a), delay(b)) else { continue };
        assert!(a >= b);
        assert!(now + a >= last_due);
        overtaken += u32::from(now + b < last_due);
        last_due = now + a;
    }
    assert!(overtaken > 100, "{overtaken}");
}

#[test]
fn packets_that_become_faster_do_not_overtake() {
    let mut link = link(LinkFaults { latency: Latency::Fixed(MS(10)), ..LinkFaults::default() });
    assert_eq!(delay(link.judge(0, 100)), Some(MS(10)));
    link.set_faults(LinkFaults::default());
    assert_eq!(delay(link.judge(nanos(MS(4)), 100)), Some(MS(6)));
    assert_eq!(delay(link.judge(nanos(MS(11)), 100)), Some(MS(0)));
}

#[test]
fn a_burst_shares_one_latency_and_loses_packets_singly() {
    let mut link = link(noisy());
    let burst = link.judge_burst(0, [100; 64]);
    let delays: Vec<_> = burst.iter().filter_map(|&verdict| delay(verdict)).collect();
    assert!((40..64).contains(&delays.len()), "{}", delays.len());
    assert!(delays.iter().all(|delay| delay == &delays[0]));
    assert_eq!(link.stats().sent, 64);
}

#[test]
fn the_latencies_of_bursts_follow_the_distribution() {
    // Not the slowest of each burst's 64 draws.
    let mut link = link(LinkFaults { fifo: true, drop: 0.0, ..noisy() });
    let mut delays: Vec<_> =
        (0..1000u64).filter_map(|i| delay(link.judge_burst(nanos(MS(100 * i)), [100; 64])[63])).collect();
    delays.sort();
    assert!((MS(2)..MS(4)).contains(&delays[500]), "{:?}", delays[500]);
}

proptest! {
    /// Whatever is changed for a while, and whatever other links do, later fates are as if nothing had been.
    #[test]
    fn nothing_shifts_the_draws(from in 0..100u64, len in 0..100u64, drop in 0.0..=1.0, blocked: bool) {
        let mut plain = link(noisy());
        let mut changed = link(noisy());
        let mut busy = Link::new(1, "b", "a");
        for i in 0..250 {
            let during = (from..from + len).contains(&i);
            changed.set_faults(if during { LinkFaults { drop, ..LinkFaults::default() } } else { noisy() });
            changed.set_blocked(during && blocked);
            for _ in 0..i % 7 {
                busy.judge(i, 100);
            }
            let (expected, verdict) = (plain.judge(i, 100), changed.judge(i, 100));
            if during && blocked {
                prop_assert_eq!(verdict, Verdict::Blocked);
            } else if !during {
                prop_assert_eq!(verdict, expected);
            }
        }
    }

    /// A burst takes as many draws as its packets would one by one.
    #[test]
    fn bursts_and_single_packets_draw_alike(lens in prop::collection::vec(1..1500usize, 1..64)) {
        let (mut burst, mut single) = (link(noisy()), link(noisy()));
        burst.judge_burst(0, lens.iter().copied());
        for &len in &lens {
            single.judge(0, len);
        }
        prop_assert_eq!(burst.stats(), single.stats());
        prop_assert_eq!(burst.judge(0, 100), single.judge(0, 100));
    }
}

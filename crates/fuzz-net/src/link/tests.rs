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
        corrupt: 0.1,
        fifo: false,
        ..LinkFaults::default()
    }
}

/// All that a link remembers from one packet to the next.
fn with_memory() -> LinkFaults {
    LinkFaults {
        burst_loss: Some(GilbertElliott { enter: 0.05, leave: 0.2, drop: 0.8 }),
        bandwidth: Some(bandwidth(1_000_000, 3_000)),
        mtu: Some(1400),
        reorder: 0.3,
        fifo: true,
        ..noisy()
    }
}

fn bandwidth(bytes_per_second: u64, queue_bytes: u64) -> Bandwidth {
    Bandwidth { bytes_per_second: bytes_per_second.try_into().unwrap(), queue_bytes }
}

fn verdicts(link: &mut Link, packets: u64) -> Vec<Verdict> {
    (0..packets).map(|i| link.judge(i, 100)).collect()
}

fn delay(verdict: Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Deliver { after, .. } => Some(after),
        Verdict::Blocked | Verdict::Dropped | Verdict::TooLarge | Verdict::Overflowed => None,
    }
}

#[test]
fn a_clean_link_delivers_at_once() {
    let verdict = link(LinkFaults::default()).judge(5, 100);
    assert_eq!(verdict, Verdict::Deliver { after: Duration::ZERO, again_after: None, corruption: None });
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

#[test]
fn bursts_of_loss_are_as_frequent_and_as_long_as_asked() {
    let burst_loss = Some(GilbertElliott { enter: 0.01, leave: 0.1, drop: 1.0 });
    let mut link = link(LinkFaults { burst_loss, ..LinkFaults::default() });
    let lost: Vec<bool> =
        verdicts(&mut link, 100_000).iter().map(|&verdict| verdict == Verdict::Dropped).collect();
    let losses = lost.iter().filter(|&&lost| lost).count();
    let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
    assert_eq!(link.stats().dropped, losses as u64);
    assert!((8_000..10_200).contains(&losses), "a share of 0.01 / 0.11: {losses}");
    assert!((8..12).contains(&(losses / bursts)), "{losses} in {bursts} bursts");
}

#[test]
fn packets_within_a_burst_may_survive_and_bursts_end_when_switched_off() {
    let always_in_a_burst = |drop| LinkFaults {
        burst_loss: Some(GilbertElliott { enter: 1.0, leave: 0.0, drop }),
        ..LinkFaults::default()
    };
    let mut link = link(always_in_a_burst(0.3));
    verdicts(&mut link, 10_000);
    assert!((2_800..3_200).contains(&link.stats().dropped), "{:?}", link.stats());
    link.set_faults(LinkFaults::default());
    verdicts(&mut link, 1);
    assert!(!link.in_burst);
}

#[test]
fn links_with_bursts_forget_their_past() {
    let burst_loss = Some(GilbertElliott { enter: 0.05, leave: 0.1, drop: 1.0 });
    let bursty = LinkFaults { burst_loss, ..LinkFaults::default() };
    let (mut a, mut b) = (link(bursty.clone()), link(bursty));
    (a.in_burst, b.in_burst) = (true, false);
    verdicts(&mut a, 200);
    verdicts(&mut b, 200);
    assert_eq!(verdicts(&mut a, 1000), verdicts(&mut b, 1000));
}

#[test]
fn corruption_changes_one_byte_anywhere_in_the_packet() {
    let mut link = link(LinkFaults { corrupt: 1.0, ..LinkFaults::default() });
    let mut touched = [0; 10];
    for _ in 0..1000 {
        let Verdict::Deliver { corruption: Some(corruption), .. } = link.judge(0, 10) else {
            panic!("not corrupted")
        };
        let mut packet = [7; 10];
        corruption.apply(&mut packet);
        let changed: Vec<usize> = (0..10).filter(|&i| packet[i] != 7).collect();
        assert_eq!(changed.len(), 1);
        touched[changed[0]] += 1;
        corruption.apply(&mut packet[..0]);
    }
    assert!(touched.iter().all(|times| (60..140).contains(times)), "{touched:?}");
    assert_eq!(link.stats().corrupted, 1000);
    assert_eq!(link.judge(0, 0), Verdict::Deliver { after: MS(0), again_after: None, corruption: None });
    assert_eq!(link.stats().corrupted, 1000, "an empty packet has nothing to corrupt");
}

#[test]
fn what_is_held_back_is_overtaken_and_holds_back_nothing() {
    let fixed = LinkFaults { latency: Latency::Fixed(MS(2)), ..LinkFaults::default() };
    let mut link = link(LinkFaults { reorder: 0.25, reorder_by: MS(9), ..fixed });
    let delays: Vec<_> =
        verdicts(&mut link, 1000).into_iter().map(|verdict| delay(verdict).unwrap()).collect();
    let late = delays.iter().filter(|&&delay| delay == MS(11)).count();
    assert!((200..300).contains(&late), "{late}");
    assert_eq!(delays.iter().filter(|&&delay| delay == MS(2)).count(), 1000 - late);
    assert_eq!(link.stats().reordered, late as u64);
}

#[test]
fn packets_follow_each_other_at_the_links_speed_and_the_last_find_the_queue_full() {
    let mut link = link(LinkFaults { bandwidth: Some(bandwidth(1_000_000, 3_000)), ..LinkFaults::default() });
    let at_once: Vec<_> = (0..4).map(|_| delay(link.judge(0, 1000))).collect();
    assert_eq!(at_once, [Some(MS(1)), Some(MS(2)), Some(MS(3)), None]);
    assert_eq!(link.stats().overflowed, 1);
    assert_eq!(link.judge(nanos(MS(1)) - 1, 1000), Verdict::Overflowed);
    assert_eq!(delay(link.judge(nanos(MS(1)), 1000)), Some(MS(3)), "one has been sent");
    assert_eq!(delay(link.judge(nanos(MS(60)), 1000)), Some(MS(1)), "an idle link saves nothing up");
}

#[test]
fn lost_packets_take_no_bandwidth() {
    let bandwidth = Some(bandwidth(1_000_000, 3_000));
    let mut link = link(LinkFaults { bandwidth, drop: 1.0, ..LinkFaults::default() });
    verdicts(&mut link, 10);
    link.set_faults(LinkFaults { bandwidth, ..LinkFaults::default() });
    assert_eq!(delay(link.judge(10, 1000)), Some(MS(1)));
}

#[test]
fn a_burst_on_a_narrow_link_is_spread() {
    let latency = Latency::Uniform { min: MS(1), max: MS(9) };
    let bandwidth = Some(bandwidth(1_000_000, 30_000));
    let mut link = link(LinkFaults { latency, bandwidth, ..LinkFaults::default() });
    let burst: Vec<_> = link.judge_burst(0, [1000; 10]).into_iter().map(|it| delay(it).unwrap()).collect();
    assert!(burst.windows(2).all(|pair| pair[1] == pair[0] + MS(1)), "{burst:?}");
}

#[test]
fn what_is_too_large_does_not_cross() {
    let mut link = link(LinkFaults { mtu: Some(1300), ..LinkFaults::default() });
    assert_eq!(link.judge(0, 1301), Verdict::TooLarge);
    assert_eq!(delay(link.judge(0, 1300)), Some(MS(0)));
    assert_eq!(link.stats().too_large, 1);
}

#[test]
fn times_beyond_reason_do_not_panic() {
    let endless = LinkFaults {
        bandwidth: Some(bandwidth(1, u64::MAX)),
        reorder: 1.0,
        reorder_by: Duration::MAX,
        duplicate: 1.0,
        ..LinkFaults::default()
    };
    let mut link = link(endless);
    for _ in 0..3 {
        assert!(delay(link.judge(u64::MAX - 5, 1 << 40)).is_some());
    }
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
            changed.set_faults(if during { LinkFaults { drop, ..with_memory() } } else { noisy() });
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

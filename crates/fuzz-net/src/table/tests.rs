//! What is judged, what is left alone, and when the gate opens; on tokio's paused clock where time matters.

use super::*;
use crate::faults::Latency;
use std::time::Duration;

const A: &str = "127.0.0.1:1";
const B: &str = "127.0.0.1:2";
const CLIENT: &str = "127.0.0.1:9";

/// The nodes a and b with one address each.
struct Pair {
    table: FaultTable,
    a: NodeId,
    gate: Arc<Gate>,
}

impl Pair {
    fn new() -> Self {
        let table = FaultTable::new(1);
        table.register(A.parse().unwrap(), "a");
        table.register(B.parse().unwrap(), "b");
        let (a, gate) = table.attach("a");
        Self { table, a, gate }
    }

    /// Judges one packet of a's.
    fn judge(&self, destination: &str) -> Route {
        self.table.judge(self.a, destination.parse().unwrap(), [100])
    }

    fn verdict(&self, destination: &str) -> Verdict {
        match self.judge(destination) {
            Route::Judged { verdicts, .. } => verdicts[0],
            other => panic!("not judged: {other:?}"),
        }
    }
}

fn node(name: &str) -> Selector {
    Selector::nodes([name])
}

fn dropping() -> LinkFaults {
    LinkFaults { drop: 1.0, ..LinkFaults::default() }
}

fn slow(millis: u64) -> LinkFaults {
    LinkFaults { latency: Latency::Fixed(Duration::from_millis(millis)), ..LinkFaults::default() }
}

#[test]
fn clients_and_the_node_itself_are_left_alone() {
    let pair = Pair::new();
    pair.table.set_links(&Selector::All, &Selector::All, dropping());
    assert_eq!(pair.judge(CLIENT), Route::Open);
    assert_eq!(pair.judge(A), Route::Open);
    assert_eq!(pair.verdict(B), Verdict::Dropped);
}

#[test]
fn all_addresses_of_a_node_are_it_and_a_later_registration_wins() {
    let pair = Pair::new();
    pair.table.set_links(&Selector::All, &node("b"), dropping());
    pair.table.register("127.0.0.1:3".parse().unwrap(), "b");
    assert_eq!(pair.verdict("127.0.0.1:3"), Verdict::Dropped);
    assert_eq!(pair.verdict("[::ffff:127.0.0.1]:3"), Verdict::Dropped);
    pair.table.register("127.0.0.1:3".parse().unwrap(), "c");
    assert!(matches!(pair.verdict("127.0.0.1:3"), Verdict::Deliver { .. }));
}

#[test]
fn faults_asked_for_early_meet_a_node_when_it_registers() {
    let pair = Pair::new();
    pair.table.block(&node("a"), &node("late"));
    assert!(!pair.gate.is_faulty());
    pair.table.register("127.0.0.1:4".parse().unwrap(), "late");
    assert!(pair.gate.is_faulty());
    assert_eq!(pair.verdict("127.0.0.1:4"), Verdict::Blocked);
}

#[test]
fn the_gate_opens_only_for_nodes_whose_sending_is_touched() {
    let pair = Pair::new();
    let (_, gate_b) = pair.table.attach("b");
    pair.table.block(&node("b"), &node("a"));
    assert!(!pair.gate.is_faulty() && gate_b.is_faulty());
    pair.table.heal();
    assert!(!gate_b.is_faulty());
    pair.table.set_links(&node("a"), &node("b"), dropping());
    assert!(pair.gate.is_faulty() && !gate_b.is_faulty());
    pair.table.clear_links();
    assert!(!pair.gate.is_faulty());
}

#[test]
fn an_unplugged_node_sends_and_receives_nothing() {
    let pair = Pair::new();
    pair.table.unplug("b");
    assert_eq!(pair.verdict(B), Verdict::Blocked);
    assert!(!pair.gate.is_unplugged());
    pair.table.unplug("a");
    assert!(pair.gate.is_unplugged() && pair.gate.is_faulty());
    assert_eq!(pair.judge(CLIENT), Route::Unplugged);
    assert_eq!(pair.judge(A), Route::Unplugged);
    assert_eq!(pair.verdict(B), Verdict::Blocked);
    pair.table.plug("a");
    pair.table.plug("b");
    assert!(!pair.gate.is_unplugged() && !pair.gate.is_faulty());
}

#[test]
fn packets_under_way_are_lost_if_the_cut_stands_when_they_are_due() {
    let pair = Pair::new();
    pair.table.set_links(&Selector::All, &Selector::All, slow(10));
    let Route::Judged { to, .. } = pair.judge(B) else { panic!("b is a node") };
    let ends = (pair.a, to);
    pair.table.partition([["a"], ["b"]]);
    assert!(!pair.table.admits(ends, 3));
    pair.table.heal();
    assert!(pair.table.admits(ends, 1));
    assert_eq!(pair.table.stats()[0].stats.blocked, 3);
}

#[tokio::test(start_paused = true)]
async fn the_gate_stays_open_until_packets_under_way_have_arrived() {
    let pair = Pair::new();
    pair.table.set_links(&Selector::All, &Selector::All, slow(10));
    pair.verdict(B);
    pair.table.clear_links();
    assert!(pair.gate.is_faulty());
    tokio::time::advance(Duration::from_millis(4)).await;
    let after = Duration::from_millis(6);
    assert_eq!(pair.verdict(B), Verdict::Deliver { after, again_after: None, corruption: None });
    tokio::time::advance(after).await;
    pair.verdict(B);
    assert!(!pair.gate.is_faulty());
}

#[tokio::test(start_paused = true)]
async fn a_paused_node_is_held_both_ways_and_then_goes_on() {
    let pair = Pair::new();
    let (b, gate_b) = pair.table.attach("b");
    pair.table.set_links(&Selector::All, &Selector::All, slow(3));
    pair.table.pause("b", Duration::from_millis(10));
    let after = |millis| {
        let after = Duration::from_millis(millis);
        Verdict::Deliver { after, again_after: None, corruption: None }
    };
    let from_b = |destination: &str| match pair.table.judge(b, destination.parse().unwrap(), [100]) {
        Route::Judged { to, verdicts, .. } => Some((to, verdicts[0])),
        _ => None,
    };
    assert_eq!(from_b(A), Some((Some(pair.a), after(10))));
    assert_eq!(from_b(CLIENT), Some((None, after(10))));
    assert_eq!(pair.verdict(B), after(3), "the receiver holds it");
    assert_eq!(pair.table.pause_ends(&gate_b), Some(Instant::now() + Duration::from_millis(10)));
    tokio::time::advance(Duration::from_millis(8)).await;
    assert_eq!(from_b(A), Some((Some(pair.a), after(3))), "it would not arrive before");
    tokio::time::advance(Duration::from_millis(2)).await;
    assert_eq!(pair.table.pause_ends(&gate_b), None);
    assert_eq!(from_b(CLIENT), None);
}

#[tokio::test(start_paused = true)]
async fn the_gate_of_a_paused_node_opens_when_the_pause_ends() {
    let pair = Pair::new();
    pair.table.pause("a", Duration::from_millis(10));
    assert!(pair.gate.is_faulty());
    pair.verdict(B);
    assert!(pair.gate.is_faulty());
    tokio::time::advance(Duration::from_millis(10)).await;
    pair.verdict(B);
    assert!(!pair.gate.is_faulty());
}

#[test]
fn unplugging_ends_a_pause_and_loses_what_it_held() {
    let pair = Pair::new();
    pair.table.pause("a", Duration::from_secs(10));
    pair.table.unplug("a");
    assert!(!pair.table.admits((pair.a, None), 1), "what was held for a client");
    assert_eq!(pair.table.pause_ends(&pair.gate), None);
    pair.table.plug("a");
    assert_eq!(pair.judge(CLIENT), Route::Open);
    assert!(pair.table.admits((pair.a, None), 1));
}

#[test]
fn faults_set_while_packets_are_under_way_keep_the_gate_open() {
    let pair = Pair::new();
    pair.table.set_links(&Selector::All, &Selector::All, slow(0));
    pair.table.set_links(&Selector::All, &Selector::All, slow(1));
    pair.verdict(B);
    pair.table.clear_links();
    pair.table.set_links(&Selector::All, &Selector::All, dropping());
    assert_eq!(pair.verdict(B), Verdict::Dropped);
    assert!(pair.gate.is_faulty());
}

#[test]
fn fates_depend_on_names_and_not_on_the_order_of_registration() {
    let fates = |names: [&str; 3]| {
        let table = FaultTable::new(1);
        table.set_links(&Selector::All, &Selector::All, LinkFaults { drop: 0.5, ..LinkFaults::default() });
        for (name, port) in names.into_iter().zip(1..) {
            table.register(([127, 0, 0, 1], port).into(), name);
        }
        let (a, _) = table.attach("a");
        let to_b = names.iter().position(|&name| name == "b").unwrap();
        let to_b = SocketAddr::from(([127, 0, 0, 1], u16::try_from(to_b + 1).unwrap()));
        table.judge(a, to_b, [100; 100])
    };
    let verdicts = |route| match route {
        Route::Judged { verdicts, .. } => verdicts,
        other => panic!("not judged: {other:?}"),
    };
    assert_eq!(verdicts(fates(["a", "b", "c"])), verdicts(fates(["c", "b", "a"])));
}

#[test]
fn stats_name_the_links_that_were_used() {
    let pair = Pair::new();
    assert_eq!(pair.table.stats(), []);
    pair.table.set_links(&Selector::All, &Selector::All, dropping());
    pair.verdict(B);
    let stats = LinkStats { sent: 1, bytes: 100, dropped: 1, ..LinkStats::default() };
    assert_eq!(pair.table.stats(), [LinkReport { from: "a".into(), to: "b".into(), stats }]);
    let json = serde_json::to_string(&pair.table.stats()[0]).unwrap();
    assert!(json.starts_with(r#"{"from":"a","to":"b","sent":1,"bytes":100,"dropped":1,"#), "{json}");
}

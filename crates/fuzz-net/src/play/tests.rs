//! A scenario under tokio's paused clock, with a host that remembers what it was asked.

use super::*;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

const SCENARIO: &str = "
    name = 'test'
    duration = '10s'
    [links]
    drop = 1.0
    [[step]]
    at = '2s'
    clear_links = true
    [[step]]
    at = '3s'
    crash = 'a'
    [[step]]
    at = '3s 500ms'
    partition = [['a'], ['b']]
    [[step]]
    at = '6s'
    restart = 'a'
    [[step]]
    at = '7s'
    heal = true
    [[step]]
    at = '8s'
    block = { from = 'a', to = 'b' }
";

/// Writes down when it was called, and takes one second each time.
struct Diary(Instant, Vec<(u64, String)>);

impl Diary {
    async fn note(&mut self, what: &str, node: &str) -> Result<(), Infallible> {
        self.1.push((self.0.elapsed().as_secs(), format!("{what} {node}")));
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }
}

impl Host for Diary {
    type Error = Infallible;

    async fn crash(&mut self, node: &str) -> Result<(), Infallible> {
        self.note("crash", node).await
    }

    async fn lose_disk(&mut self, node: &str) -> Result<(), Infallible> {
        self.note("lose the disk of", node).await
    }

    async fn set_clock(&mut self, node: &str, offset: ClockOffset) -> Result<(), Infallible> {
        self.note(&format!("{offset} on the clock of"), node).await
    }

    fn pause(&mut self, node: &str, lasting: Duration) {
        self.1.push((self.0.elapsed().as_secs(), format!("pause {node} for {lasting:?}")));
    }

    async fn restart(&mut self, node: &str) -> Result<(), Infallible> {
        self.note("restart", node).await
    }
}

/// A table of a and b, and what becomes of a packet from a to b.
fn table() -> (FaultTable, impl Fn() -> &'static str) {
    let table = FaultTable::new(1);
    let b = SocketAddr::from(([127, 0, 0, 1], 2));
    table.register(b, "b");
    let (a, gate) = table.attach("a");
    let judge = {
        let table = table.clone();
        move || {
            if gate.is_unplugged() {
                return "unplugged";
            }
            match table.judge(a, b, [100]) {
                crate::table::Route::Judged { verdicts, .. } => match verdicts[0] {
                    crate::Verdict::Blocked => "blocked",
                    crate::Verdict::Dropped => "dropped",
                    crate::Verdict::Deliver { .. } => "delivered",
                    other => panic!("no such fault here: {other:?}"),
                },
                other => panic!("not judged: {other:?}"),
            }
        }
    };
    (table, judge)
}

#[tokio::test(start_paused = true)]
async fn steps_are_taken_at_their_times() {
    let (table, judge) = table();
    let scenario = Scenario::parse(SCENARIO).unwrap();
    let start = Instant::now();
    let mut host = Diary(start, Vec::new());
    let mut steps = Vec::new();
    let played = play(&scenario, &table, &mut host, |_| {
        steps.push((start.elapsed().as_millis(), judge()));
    });
    played.await.unwrap();
    // Each step sees what those before it did. The slow crash overruns the partition, which catches up at once.
    assert_eq!(
        steps,
        [
            (2000, "dropped"),
            (3000, "delivered"),
            (4000, "unplugged"),
            (6000, "unplugged"),
            (7000, "blocked"),
            (8000, "delivered")
        ]
    );
    assert_eq!(judge(), "blocked");
    assert_eq!(host.1, [(3, "crash a".to_owned()), (6, "restart a".to_owned())]);
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_fails_ends_the_play() {
    struct Failing;
    impl Host for Failing {
        type Error = io::Error;

        async fn crash(&mut self, _: &str) -> io::Result<()> {
            Ok(())
        }

        async fn lose_disk(&mut self, _: &str) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }

        async fn set_clock(&mut self, _: &str, _: ClockOffset) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn pause(&mut self, _: &str, _: Duration) {}

        async fn restart(&mut self, _: &str) -> io::Result<()> {
            Err(io::ErrorKind::AddrInUse.into())
        }
    }
    let (table, judge) = table();
    let scenario = Scenario::parse(SCENARIO).unwrap();
    let mut taken = 0;
    let error = play(&scenario, &table, &mut Failing, |_| taken += 1).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot restart \"a\" at 6s");
    assert_eq!(taken, 4);
    assert_eq!(judge(), "blocked", "the partition stays");
    for (action, words) in [
        ("crash = { node = 'a', lose_disk = true }", "cannot empty the disk of \"a\" at 1s"),
        ("clock_skew = { node = 'a', by = '1s' }", "cannot set the clock of \"a\" at 1s"),
    ] {
        let scenario = format!("name = 'x'\nduration = '2s'\n[[step]]\nat = '1s'\n{action}");
        let scenario = Scenario::parse(&scenario).unwrap();
        let error = play(&scenario, &table, &mut Failing, |_| {}).await.unwrap_err();
        assert_eq!(error.to_string(), words);
    }
}

#[tokio::test(start_paused = true)]
async fn disks_are_lost_after_the_crash_and_jumps_add_to_the_clocks_offset() {
    let (table, _) = table();
    let steps = [
        "at = '1s'\ncrash = { node = 'a', lose_disk = true }",
        "at = '4s'\nclock_jump = { node = 'a', by = '5s' }",
        "at = '5s'\nclock_jump = { node = 'a', by = '-7s' }",
        "at = '6s'\nclock_jump = { node = 'b', by = '1s' }",
        "at = '7s'\nclock_skew = { node = 'a', by = '300ms' }",
        "at = '8s'\nclock_skew = { node = 'a', by = '0s' }",
    ];
    let steps: String = steps.iter().map(|step| format!("[[step]]\n{step}\n")).collect();
    let scenario = Scenario::parse(&format!("name = 'x'\nduration = '9s'\n{steps}")).unwrap();
    let mut host = Diary(Instant::now(), Vec::new());
    play(&scenario, &table, &mut host, |_| {}).await.unwrap();
    let diary = host.1.iter().map(|(at, what)| (*at, what.as_str())).collect::<Vec<_>>();
    assert_eq!(
        diary,
        [
            (1, "crash a"),
            (2, "lose the disk of a"),
            (4, "5s on the clock of a"),
            (5, "-2s on the clock of a"),
            (6, "1s on the clock of b"),
            (7, "300ms on the clock of a"),
            (8, "0s on the clock of a"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_the_node_for_its_time() {
    let (table, _) = table();
    let (_, gate) = table.attach("a");
    let pause = "name = 'x'\nduration = '5s'\n[[step]]\nat = '1s'\npause = { node = 'a', for = '3s' }";
    let scenario = Scenario::parse(pause).unwrap();
    let ends = Instant::now() + Duration::from_secs(4);
    let watch = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(table.pause_ends(&gate), Some(ends));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(table.pause_ends(&gate), None);
    };
    let mut host = Diary(Instant::now(), Vec::new());
    let (played, ()) = tokio::join!(play(&scenario, &table, &mut host, |_| {}), watch);
    played.unwrap();
    assert_eq!(host.1, [(1, "pause a for 3s".to_owned())]);
}

#[tokio::test]
async fn a_nemesis_must_be_drawn_first() {
    let (table, _) = table();
    let nemesis = "name = 'x'\nduration = '20s'\n[nemesis]\nlinks = { per_minute = 1, mean = '1s' }";
    let mut host = Diary(Instant::now(), Vec::new());
    let played = play(&Scenario::parse(nemesis).unwrap(), &table, &mut host, |_| {}).await;
    assert!(matches!(played, Err(PlayError::NotDrawn)));
}

#[tokio::test]
async fn playing_can_run_in_a_task_of_its_own() {
    fn assert_send(_: &impl Send) {}
    let (table, _) = table();
    let scenario = Scenario::parse(SCENARIO).unwrap();
    let mut host = Diary(Instant::now(), Vec::new());
    assert_send(&play(&scenario, &table, &mut host, |_| {}));
}

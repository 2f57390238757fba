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
}

#[tokio::test]
async fn playing_can_run_in_a_task_of_its_own() {
    fn assert_send(_: &impl Send) {}
    let (table, _) = table();
    let scenario = Scenario::parse(SCENARIO).unwrap();
    let mut host = Diary(Instant::now(), Vec::new());
    assert_send(&play(&scenario, &table, &mut host, |_| {}));
}

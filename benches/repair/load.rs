//! Requests at a constant rate, whatever becomes of them, and what became of each. Knows nothing of what is measured.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chinwag_client::{Client, Consistency, Context, RequestError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Puts under way while the keys are written.
const FILLERS: usize = 64;
/// How often it is looked whether requests are answered.
const POLL: Duration = Duration::from_millis(10);

/// Covers what is held of each key, so that a put replaces it.
type Contexts = Vec<Option<Context>>;

/// Requests that go on until they are stopped.
#[derive(Debug)]
pub(crate) struct Load {
    stop: CancellationToken,
    driving: JoinHandle<()>,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    answers: Vec<Answer>,
    /// When requests were due that have no answer yet.
    under_way: BTreeMap<u64, Instant>,
    contexts: Contexts,
}

/// What became of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    due: Instant,
    /// From when it was due.
    pub(crate) took: Duration,
    pub(crate) failed: bool,
}

fn key(number: usize) -> String {
    format!("key-{number}")
}

fn value(number: u64) -> String {
    format!("{number:0100}")
}

/// Writes so many keys at all of their owners.
pub(crate) async fn fill(client: &Client, keys: usize) -> Result<Contexts, RequestError> {
    let mut writing = JoinSet::new();
    for filler in 0..FILLERS {
        let client = client.clone();
        writing.spawn(async move {
            let mut written = Vec::new();
            for number in (filler..keys).step_by(FILLERS) {
                let put = client.put(key(number), value(0)).consistency(Consistency::All);
                written.push((number, put.await?.context));
            }
            Ok::<_, RequestError>(written)
        });
    }
    let mut contexts = vec![None; keys];
    while let Some(written) = writing.join_next().await {
        for (number, context) in written.expect("a filler does not panic")? {
            contexts[number] = Some(context);
        }
    }
    Ok(contexts)
}

impl Load {
    /// Sends gets and puts of keys drawn at random, each to one of `clients`, `rate` a second on average.
    pub(crate) fn start(clients: Vec<Client>, contexts: Contexts, rate: f64, seed: u64) -> Self {
        let log = Arc::new(Mutex::new(Log { contexts, ..Log::default() }));
        let stop = CancellationToken::new();
        let driving =
            tokio::spawn(drive(clients, log.clone(), rate, StdRng::seed_from_u64(seed), stop.clone()));
        Self { stop, driving, log }
    }

    /// What became of the requests that were due in this time, once all of them are answered.
    pub(crate) async fn between(&self, from: Instant, to: Instant) -> Vec<Answer> {
        while lock(&self.log).under_way.values().any(|due| *due < to) {
            sleep(POLL).await;
        }
        lock(&self.log).answers.iter().copied().filter(|it| (from..to).contains(&it.due)).collect()
    }

    /// Stops; what is under way is answered first.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.driving.await.expect("the load does not panic");
    }
}

async fn drive(
    clients: Vec<Client>,
    log: Arc<Mutex<Log>>,
    rate: f64,
    mut rng: StdRng,
    stop: CancellationToken,
) {
    let keys = lock(&log).contexts.len();
    let mut requests = JoinSet::new();
    let mut due = Instant::now();
    for (id, client) in (0..).zip(clients.iter().cycle()) {
        due += Duration::from_secs_f64(-(1.0 - rng.random::<f64>()).ln() / rate);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep_until(due) => {}
        }
        let (number, is_put) = (rng.random_range(0..keys), rng.random::<bool>());
        lock(&log).under_way.insert(id, due);
        let (client, log) = (client.clone(), log.clone());
        requests.spawn(async move {
            let failed = ask(&client, &log, number, is_put.then(|| value(id))).await.is_err();
            let mut log = lock(&log);
            log.under_way.remove(&id);
            log.answers.push(Answer { due, took: due.elapsed(), failed });
        });
        while requests.try_join_next().is_some() {}
    }
    requests.join_all().await;
}

async fn ask(
    client: &Client,
    log: &Mutex<Log>,
    number: usize,
    value: Option<String>,
) -> Result<(), RequestError> {
    let Some(value) = value else { return client.get(key(number)).await.map(drop) };
    let context = lock(log).contexts[number].clone();
    let put = client.put(key(number), value);
    let receipt = match context {
        Some(context) => put.context(context).await?,
        None => put.await?,
    };
    lock(log).contexts[number] = Some(receipt.context);
    Ok(())
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A simulated cluster whose delays are what a model of staleness assumes, probed until its curve of t-visibility is
//! known: what a prediction from its delays is to be held against. It predicts nothing itself.
//!
//! Three members own the key. One of them takes the writes, as in this cluster an owner gives a version; so it has each
//! write at once, and its acknowledgement needs no message. Two members that own nothing of the key take the reads, so that
//! all three answers cross the network. Thus each of the four delays has links of its own, and every packet of a link draws
//! its delay anew: a write's way there (`W`) on those from the writer to the other owners, its way back (`A`) on those in
//! the other direction, a read's way there (`R`) and back (`S`) on those between readers and owners. Nothing repairs. Messages
//! are sent so seldom that none waits for another, which QUIC's streams and the order they keep would make it do.

use std::sync::Arc;
use std::time::Duration;

use chinwag_client::RequestError;
use chinwag_fuzz_net::{FaultTable, Latency, LinkFaults, Selector};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::cluster::{Cluster, ClusterPlan, Shape};
use super::experiment::{ExperimentError, virtual_time};
use super::ground::Ground;
use super::session::{Seat, Session};
use crate::history::{Header, History, Kind, Level, Operation};
use crate::workload::{Basis, PlannedOperation};

/// Members that own the key, and those that read it.
const MEMBERS: u16 = 5;
/// How many members own nothing of the key and read it.
const READERS: usize = 2;
/// No read of a write comes later than this after it, in milliseconds.
pub const LAST_READ_MS: u64 = 200;
/// From a write's end to the next: the last read has been answered, and the write is everywhere.
const ROUND: Duration = Duration::from_millis(320);
/// What a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Every delay is this much longer. Shorter ones would all be as long as a tick of the simulated clock, and come when it
/// ends, after whatever else the tick brings.
const TICK: Duration = Duration::from_millis(1);
/// No delay is longer than so many means.
const CAP: u32 = 12;

/// What to probe.
#[derive(Debug, Clone)]
pub struct Validation {
    /// The mean of a write's way to a replica. Delays are exponential.
    pub write_mean: Duration,
    /// The mean of each of the three other ways.
    pub other_mean: Duration,
    /// The level of reads.
    pub r: Level,
    /// The level of writes.
    pub w: Level,
    /// How many writes.
    pub writes: u64,
    /// When each reader reads what was written; a third is left out.
    pub reads: Vec<Ladder>,
    /// Decides everything.
    pub seed: u64,
}

/// Reads at a distance of each other after each write. The first comes at random within one distance, so that each
/// millisecond has as many.
#[derive(Debug, Clone, Copy)]
pub struct Ladder {
    /// How many milliseconds they are apart, at least 1. A member's streams take turns, so those of one are four times as
    /// far.
    pub apart_ms: u64,
    /// They cover the milliseconds from 1 to this, [`LAST_READ_MS`] at most.
    pub until_ms: u64,
}

impl Validation {
    /// Probes it in simulated time and gives what clients saw.
    ///
    /// # Errors
    /// [`ExperimentError`] if the cluster did not start.
    ///
    /// # Panics
    /// If called from within a tokio runtime, or if no runtime can be made.
    pub fn run(&self) -> Result<History, ExperimentError> {
        virtual_time().block_on(self.probe())
    }

    async fn probe(&self) -> Result<History, ExperimentError> {
        let table = FaultTable::new(self.seed);
        let shape = Shape::Members(MEMBERS);
        let plan = ClusterPlan { shape, anti_entropy: None, read_repair: false, hinted_handoff: false };
        let cluster = Cluster::start(plan, Ground::simulated(table.clone()), self.seed).await?;
        let roles = Roles::of(&cluster).await.map_err(ExperimentError::Ring)?;
        self.set_links(&table, &roles);
        let start = Instant::now();
        let mut operations = self.drive(&cluster, &roles, start).await;
        let followed = cluster.followed(start);
        operations.iter_mut().for_each(|operation| followed.tell(operation));
        cluster.shutdown().await;
        let header = Header { seed: Some(self.seed), ..Header::default() };
        Ok(History { header, operations, ..History::default() })
    }

    fn set_links(&self, table: &FaultTable, roles: &Roles) {
        let writer = Selector::nodes([roles.writer.clone()]);
        let others = Selector::nodes(roles.owners.iter().filter(|it| **it != roles.writer).cloned());
        let owners = Selector::nodes(roles.owners.clone());
        let readers = Selector::nodes(roles.readers.clone());
        let ways = [
            (&writer, &others, self.write_mean),
            (&others, &writer, self.other_mean),
            (&readers, &owners, self.other_mean),
            (&owners, &readers, self.other_mean),
        ];
        for (from, to, mean) in ways {
            let latency = Latency::Exponential { min: TICK, mean, cap: CAP * mean };
            table.set_links(from, to, LinkFaults { latency, fifo: false, ..LinkFaults::default() });
        }
    }

    async fn drive(&self, cluster: &Cluster, roles: &Roles, start: Instant) -> Vec<Operation> {
        let session = |node: &String| {
            let seat = Seat { node: node.clone(), client: cluster.clients()[node].clone() };
            Session::new([seat].into(), 0, false, start, TIMEOUT, Arc::default())
        };
        let mut writer = session(&roles.writer);
        let mut readers: Vec<Reader> = Vec::new();
        for (number, (name, ladder)) in roles.readers.iter().zip(&self.reads).enumerate() {
            let steps = ladder.until_ms.min(LAST_READ_MS) / ladder.apart_ms.max(1);
            let offsets = (0..steps).map(|step| step * ladder.apart_ms);
            readers.extend(offsets.map(|offset| Reader { session: session(name), number, offset }));
        }
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut operations = Vec::new();
        let mut ids = 0..;
        let mut next_id = || ids.next().unwrap_or(u64::MAX);
        for _ in 0..self.writes {
            let put = writer
                .perform(next_id(), self.planned(Kind::Put, &roles.key, operations.len()), Instant::now())
                .await;
            let done = Instant::now();
            operations.push(put);
            let phase = |ladder: &Ladder| rng.random_range(1..=ladder.apart_ms.max(1));
            let phases: Vec<u64> = self.reads.iter().map(phase).collect();
            let mut reading = JoinSet::new();
            for reader in readers.drain(..) {
                let after = Duration::from_millis(phases[reader.number] + reader.offset);
                let read = self.planned(Kind::Get, &roles.key, 0);
                reading.spawn(reader.read(next_id(), read, done + after));
            }
            for (reader, read) in reading.join_all().await {
                readers.push(reader);
                operations.push(read);
            }
            // They come back in the order of their answers.
            readers.sort_by_key(|it| (it.number, it.offset));
            sleep_until(done + ROUND).await;
        }
        operations
    }

    fn planned(&self, kind: Kind, key: &str, number: usize) -> PlannedOperation {
        PlannedOperation {
            intended: Duration::ZERO,
            session: 0,
            kind,
            key: key.to_owned(),
            level: self.r,
            write_level: self.w,
            basis: Basis::Known,
            value: (kind == Kind::Put).then(|| format!("v{number}")),
            value_bytes: 0,
            then_read: None,
        }
    }
}

/// Who does what.
#[derive(Debug)]
struct Roles {
    key: String,
    owners: Vec<String>,
    writer: String,
    readers: [String; READERS],
}

impl Roles {
    /// The first members own the key, the last read it.
    async fn of(cluster: &Cluster) -> Result<Self, RequestError> {
        let mut names = cluster.clients().keys().rev();
        let mut next = || names.next().expect("a cluster of five").clone();
        let readers = [next(), next()];
        let writer = next();
        let client = &cluster.clients()[&writer];
        let mut number = 0u64;
        loop {
            let key = format!("key{number}");
            let owners = client.locate(key.clone()).await?.owners;
            if readers.iter().all(|reader| !owners.contains(reader)) {
                return Ok(Self { key, owners, writer, readers });
            }
            number += 1;
        }
    }
}

/// One of a reader's reads of each write.
#[derive(Debug)]
struct Reader {
    session: Session,
    number: usize,
    /// Milliseconds after the reader's first.
    offset: u64,
}

impl Reader {
    /// Reads once it is due.
    async fn read(mut self, id: u64, planned: PlannedOperation, due: Instant) -> (Self, Operation) {
        sleep_until(due).await;
        let read = self.session.perform(id, planned, due).await;
        (self, read)
    }
}

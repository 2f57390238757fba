//! Has sessions send what is planned, at its time. Each session is sequential, as a person or a process is; the sessions
//! together are open loop, unless the plan is of a closed one: a slow cluster is asked no less. What could not be sent at
//! its time is counted, by whose fault it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::recorder::Recorder;
use super::session::{Known, Seat, Session};
use crate::history::Kind;
use crate::pacing::Pacing;
use crate::workload::{Arrivals, Basis, Plan, PlannedOperation, SessionsAt, ThenRead};

/// So many sessions put the records at once before the load begins.
const LOADERS: u32 = 16;
/// Members whose round trips differ by less than this factor are equally near.
const NEAR: f64 = 1.25;
/// Operations are handed to their sessions up to so long before their time.
const AHEAD: Duration = Duration::from_secs(1);
/// A round trip is the shortest of so many.
const ROUND_TRIPS: usize = 5;

/// How a workload is sent.
#[derive(Debug, Clone)]
pub struct Drive {
    /// The history's time zero.
    pub zero: Instant,
    /// The plan's time zero, not before the history's.
    pub start: Instant,
    /// Operations planned later than this are not sent.
    pub duration: Duration,
    /// Writes planned later than this are not sent: what is observed then is how the cluster recovers.
    pub writes_until: Duration,
    /// What a client waits for an answer.
    pub timeout: Duration,
    /// Counts finished operations, for the progress display.
    pub finished: Arc<AtomicU64>,
    /// Takes operations as they end. Operation i of the plan has the id 2i + 1, and the read before a write with context the
    /// one below. Of probe i the put has the id 2i, and the get 2i + 1. A preload's puts count as the plan's first
    /// operations; in a closed loop of n sessions, the i-th of session s is number i n + s.
    pub recorder: Recorder,
}

/// What was put before the load began.
#[derive(Debug, Default)]
pub struct Loaded {
    /// How many operations of the plan that took.
    records: u64,
    known: Arc<Known>,
}

/// The members that sessions may sit at: the nearest alone, if that is where they sit.
pub(super) async fn seats(seats: Vec<Seat>, at: SessionsAt) -> Vec<Seat> {
    if at != SessionsAt::Nearest {
        return seats;
    }
    let mut round_trips = Vec::new();
    for seat in &seats {
        let mut shortest = Duration::MAX;
        for _ in 0..ROUND_TRIPS {
            let asked = Instant::now();
            // A key's place is known to every member, whose answer takes no other's.
            if seat.client.locate("0").await.is_ok() {
                shortest = shortest.min(asked.elapsed());
            }
        }
        round_trips.push(shortest);
    }
    seats.into_iter().zip(are_near(&round_trips)).filter_map(|(seat, near)| near.then_some(seat)).collect()
}

/// Which of these round trips are about as short as the shortest.
fn are_near(round_trips: &[Duration]) -> Vec<bool> {
    let shortest = round_trips.iter().min().copied().unwrap_or_default();
    round_trips.iter().map(|it| it.as_secs_f64() <= shortest.as_secs_f64() * NEAR).collect()
}

/// Puts what the plan has loaded before all else, at every replica. Plans without preload load nothing.
pub async fn preload(plan: &mut Plan, seats: &[Seat], drive: &Drive) -> Loaded {
    let keys = plan.preload();
    let sessions = plan.workload().sessions;
    let mut by_loader: BTreeMap<u32, Vec<(u64, PlannedOperation)>> = BTreeMap::new();
    let mut records = 0;
    for ((id, loader), key) in (0..).zip((0..LOADERS).cycle()).zip(keys) {
        let put = PlannedOperation::record(sessions + loader, id, key, plan.value_bytes());
        by_loader.entry(loader).or_default().push((id, put));
        records += 1;
    }
    let seats: Arc<[Seat]> = seats.into();
    let mut loaders = JoinSet::new();
    for (place, (_, puts)) in by_loader.into_iter().enumerate() {
        let mut session =
            Session::new(seats.clone(), place, false, drive.zero, drive.timeout, Arc::default());
        let recorder = drive.recorder.clone();
        loaders.spawn(async move {
            for (id, put) in puts {
                recorder.operation(session.perform(2 * id + 1, put, Instant::now()).await);
            }
            session.into_known()
        });
    }
    let known = loaders.join_all().await.into_iter().flatten().collect();
    Loaded { records, known: Arc::new(known) }
}

/// Sends the plan. `seats` must not be empty.
pub async fn drive(plan: Plan, seats: &[Seat], loaded: Loaded, drive: Drive) -> Pacing {
    let Loaded { records: first, known } = loaded;
    let roams = plan.workload().sessions_at == SessionsAt::Roaming;
    let seats: Arc<[Seat]> = seats.into();
    let session = |place| Session::new(seats.clone(), place, roams, drive.zero, drive.timeout, known.clone());
    let driver = |place| Driver { session: session(place), drive: drive.clone(), pacing: Pacing::default() };
    let sessions = plan.workload().sessions;
    let mut running = JoinSet::new();
    if let Arrivals::Closed { think } = plan.workload().arrivals {
        for number in 0..sessions {
            let ids = (first + u64::from(number)..).step_by(sessions as usize);
            // During the ramp one session after the other begins.
            let begin = plan.workload().ramp.mul_f64(f64::from(number) / f64::from(sessions));
            running.spawn(driver(number as usize).run_closed(plan.of_session(number), ids, begin, think));
        }
    } else {
        // Of the two sessions of a probe the first one sends both.
        let step = if plan.workload().probe.is_some() { 2 } else { 1 };
        let mut queues = BTreeMap::new();
        for (place, number) in (0..sessions).step_by(step).enumerate() {
            let (queue, planned) = unbounded_channel();
            queues.insert(number, queue);
            let reader = session(place_of_reader(place, seats.len()));
            running.spawn(driver(place).run(planned, reader));
        }
        hand_out(plan, first, &drive, queues).await;
    }
    let mut pacing = Pacing::default();
    for session in running.join_all().await {
        pacing += session;
    }
    pacing
}

/// Hands each session what it is to send, with the numbers of the operations from `first` on, some time ahead: the whole of
/// a long plan would fill the memory. What a slow session has not sent yet waits in its queue.
async fn hand_out(plan: Plan, first: u64, drive: &Drive, queues: BTreeMap<u32, Queue>) {
    let planned = plan.take_while(|it| it.intended < drive.duration);
    let sent = planned.filter(|it| it.kind == Kind::Get || it.intended < drive.writes_until);
    let mut until = drive.start;
    for (id, operation) in (first..).zip(sent) {
        while drive.start + operation.intended > until + AHEAD {
            until += AHEAD;
            sleep_until(until).await;
        }
        let queue = queues.get(&operation.session).expect("every session that sends has a queue");
        // A session ends only when its queue does.
        queue.send((id, operation)).ok();
    }
}

/// What one session is to send.
type Queue = UnboundedSender<(u64, PlannedOperation)>;

/// Where the reader of a session's probes sits: with enough sessions, at every other member alike.
fn place_of_reader(session: usize, members: usize) -> usize {
    session + 1 + (session / members) % (members - 1).max(1)
}

/// Has one session do what is planned for it.
#[derive(Debug)]
struct Driver {
    session: Session,
    drive: Drive,
    pacing: Pacing,
}

impl Driver {
    /// Sends what is planned at its times; `reader` sends the gets of its probes.
    async fn run(
        mut self,
        mut queue: UnboundedReceiver<(u64, PlannedOperation)>,
        mut reader: Session,
    ) -> Pacing {
        while let Some((id, planned)) = queue.recv().await {
            let due = self.drive.start + planned.intended;
            let is_free = Instant::now() < due;
            sleep_until(due).await;
            if !self.may_send(planned.kind) {
                self.pacing.unsent += 1;
                continue;
            }
            self.pacing.note(is_free, due.elapsed());
            match planned.then_read {
                Some(then_read) => self.probe(&mut reader, id, planned, then_read).await,
                None => self.carry_out(id, planned, due).await,
            }
            self.drive.finished.fetch_add(1, Ordering::Relaxed);
        }
        self.pacing
    }

    /// Sends one operation after the other, each so long after the answer to the last, from `begin` on.
    async fn run_closed(
        mut self,
        plan: Plan,
        ids: impl Iterator<Item = u64>,
        begin: Duration,
        think: Duration,
    ) -> Pacing {
        let writes_only = plan.workload().read_share == 0.0;
        let mut due = self.drive.start + begin;
        for (id, planned) in ids.zip(plan) {
            sleep_until(due).await;
            if !self.may_send(planned.kind) {
                if planned.kind == Kind::Get || writes_only {
                    break;
                }
                // Nothing is written any more; the next read may come at once.
                continue;
            }
            self.carry_out(id, planned, Instant::now()).await;
            self.drive.finished.fetch_add(1, Ordering::Relaxed);
            due = Instant::now() + think;
        }
        self.pacing
    }

    async fn carry_out(&mut self, id: u64, planned: PlannedOperation, mut due: Instant) {
        if planned.kind != Kind::Get && planned.basis == Basis::Read {
            // A read-modify-write reads first: its context is as fresh as the level it reads at gives it.
            let read = PlannedOperation { kind: Kind::Get, value: None, ..planned.clone() };
            let read = self.session.perform(2 * id, read, due).await;
            self.drive.recorder.operation(read);
            due = Instant::now();
        }
        if self.may_send(planned.kind) {
            let operation = self.session.perform(2 * id + 1, planned, due).await;
            self.drive.recorder.operation(operation);
        } else {
            self.pacing.unsent += 1;
        }
    }

    /// Puts, and has `reader` get once the time since the acknowledgement has come. What it waited for, if it is late, was
    /// most likely its own last probe: that is no latency of the cluster's, and does not count as such.
    async fn probe(
        &mut self,
        reader: &mut Session,
        id: u64,
        planned: PlannedOperation,
        ThenRead { session, after }: ThenRead,
    ) {
        let read = PlannedOperation { session, kind: Kind::Get, value: None, ..planned.clone() };
        let put = self.session.perform(2 * id, planned, Instant::now()).await;
        let acknowledged = put.done.filter(|_| put.is_acknowledged_write());
        self.drive.recorder.operation(put);
        let Some(acknowledged) = acknowledged else { return };
        let due = self.drive.zero + Duration::from_nanos(acknowledged) + after;
        sleep_until(due).await;
        if self.may_send(Kind::Get) {
            let get = reader.perform(2 * id + 1, read, due).await;
            self.drive.recorder.operation(get);
        } else {
            self.pacing.unsent += 1;
        }
    }

    fn may_send(&self, kind: Kind) -> bool {
        let until = if kind == Kind::Get { self.drive.duration } else { self.drive.writes_until };
        self.drive.start.elapsed() <= until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_members_are_those_about_as_near_as_the_nearest() {
        let ms = Duration::from_millis;
        assert_eq!(are_near(&[ms(12), ms(10), ms(20), Duration::MAX]), [true, true, false, false]);
        assert_eq!(are_near(&[Duration::ZERO; 2]), [true, true]);
        assert_eq!(are_near(&[Duration::MAX; 2]), [true, true], "who does not answer now may later");
    }

    #[test]
    fn readers_sit_at_every_other_member() {
        let pairs = (0..6).map(|session| (session % 3, place_of_reader(session, 3) % 3));
        assert_eq!(pairs.collect::<Vec<_>>(), [(0, 1), (1, 2), (2, 0), (0, 2), (1, 0), (2, 1)]);
    }
}

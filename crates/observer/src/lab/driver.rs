//! Sends a plan's operations at their times and writes down what came back. Each session is sequential, as a person or a
//! process is; the sessions together are open loop: a slow cluster is asked no less.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chinwag_client::{Client, Consistency, Context, RequestError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::history::{Clock, Dot, Kind, Level, Operation, Outcome, Version};
use crate::workload::{Plan, PlannedOperation};

/// How a workload is sent.
#[derive(Debug, Clone)]
pub(super) struct Drive {
    /// The plan's time zero.
    pub(super) start: Instant,
    /// Operations planned later than this are not sent.
    pub(super) duration: Duration,
    /// Writes planned later than this are not sent: what is observed then is how the cluster recovers.
    pub(super) writes_until: Duration,
    /// What a client waits for an answer.
    pub(super) timeout: Duration,
    /// Counts finished operations, for the progress display.
    pub(super) finished: Arc<AtomicU64>,
}

/// What the sessions did.
#[derive(Debug, Default)]
pub(super) struct Driven {
    /// In the order of their ids, which is the order of the plan: operation i of the plan has the id 2i + 1, and the read
    /// before a write with context the one below.
    pub(super) operations: Vec<Operation>,
    /// Operations whose session was still busy with an earlier one when the run ended.
    pub(super) unsent: u64,
}

/// Sends the plan. Sessions are pinned to the members in turn.
pub(super) async fn drive(plan: Plan, clients: &BTreeMap<String, Client>, drive: Drive) -> Driven {
    let mut by_session: BTreeMap<u32, Vec<(u64, PlannedOperation)>> = BTreeMap::new();
    let planned = plan.take_while(|it| it.intended < drive.duration);
    let sent = planned.filter(|it| it.kind == Kind::Get || it.intended < drive.writes_until);
    for (id, operation) in (0..).zip(sent) {
        by_session.entry(operation.session).or_default().push((id, operation));
    }
    let mut sessions = JoinSet::new();
    for ((_, operations), (node, client)) in by_session.into_iter().zip(clients.iter().cycle()) {
        let session = Session {
            node: node.clone(),
            client: client.clone(),
            drive: drive.clone(),
            last: BTreeMap::new(),
        };
        sessions.spawn(session.run(operations));
    }
    let mut driven = Driven::default();
    for session in sessions.join_all().await {
        driven.unsent += session.unsent;
        driven.operations.extend(session.operations);
    }
    driven.operations.sort_by_key(|it| it.id);
    driven
}

/// One sequential client.
#[derive(Debug)]
struct Session {
    node: String,
    client: Client,
    drive: Drive,
    /// Per key the operation that last returned a context, and that context.
    last: BTreeMap<String, (u64, Context)>,
}

impl Session {
    async fn run(mut self, planned: Vec<(u64, PlannedOperation)>) -> Driven {
        let mut driven = Driven::default();
        for (id, planned) in planned {
            let mut due = planned.intended;
            sleep_until(self.drive.start + due).await;
            let ends = if planned.kind == Kind::Get { self.drive.duration } else { self.drive.writes_until };
            if self.drive.start.elapsed() > ends {
                driven.unsent += 1;
                continue;
            }
            if planned.kind != Kind::Get && planned.with_context {
                // A read-modify-write reads first: its context is as fresh as the level it reads at gives it.
                let read = PlannedOperation { kind: Kind::Get, value: None, ..planned.clone() };
                driven.operations.push(self.perform(2 * id, read, due).await);
                due = self.drive.start.elapsed();
            }
            driven.operations.push(self.perform(2 * id + 1, planned, due).await);
            self.drive.finished.fetch_add(1, Ordering::Relaxed);
        }
        driven
    }

    async fn perform(&mut self, id: u64, planned: PlannedOperation, due: Duration) -> Operation {
        let basis = self.last.get(&planned.key).filter(|_| planned.with_context).cloned();
        // Without a context there is nothing that a delete could name.
        let kind = if planned.kind == Kind::Delete && basis.is_none() { Kind::Get } else { planned.kind };
        let mut operation =
            Operation::new(id, planned.session, &self.node, kind, planned.level, &planned.key);
        operation.intended = nanos(due);
        operation.sent = nanos(self.drive.start.elapsed());
        let result = match kind {
            Kind::Get => self.get(&mut operation).await,
            Kind::Put | Kind::Delete => {
                operation.basis = basis.as_ref().map(|(id, _)| *id);
                operation.value = planned.value.filter(|_| kind == Kind::Put);
                self.write(&mut operation, basis.map(|(_, context)| context)).await
            }
        };
        operation.done = Some(nanos(self.drive.start.elapsed()));
        match result {
            Ok(context) => drop(self.last.insert(planned.key, (id, context))),
            Err(error) if error.nothing_changed() => {
                operation.outcome = Outcome::Refused { reason: error.to_string() };
            }
            Err(RequestError::Unknown(reason)) => operation.outcome = Outcome::Unknown { reason },
            Err(error) => operation.outcome = Outcome::Unknown { reason: error.to_string() },
        }
        operation
    }

    async fn get(&self, operation: &mut Operation) -> Result<Context, RequestError> {
        let request = self.client.get(operation.key.clone()).evidence(true);
        let value = request.consistency(consistency(operation.level)).timeout(self.drive.timeout).await?;
        operation.outcome = if value.siblings.is_empty() { Outcome::NotFound } else { Outcome::Ok };
        operation.returned = value
            .siblings
            .iter()
            .map(|it| Version {
                value: Some(String::from_utf8_lossy(&it.value).into_owned()),
                dot: Dot::from(it.dot),
            })
            .collect();
        if let Some(evidence) = value.evidence {
            let deleted = evidence.tombstones.into_iter();
            operation.returned.extend(deleted.map(|dot| Version { value: None, dot: Dot::from(dot) }));
            let dots = evidence.dots.into_iter().map(Dot::from).collect();
            operation.seen = Some(Clock { vv: evidence.vv, dots });
            operation.replicas = evidence.replicas;
        }
        Ok(value.context)
    }

    async fn write(
        &self,
        operation: &mut Operation,
        context: Option<Context>,
    ) -> Result<Context, RequestError> {
        let key = operation.key.clone();
        let request = match (&operation.value, context) {
            (Some(value), None) => self.client.put(key, value.clone()),
            (Some(value), Some(context)) => self.client.put(key, value.clone()).context(context),
            (None, context) => self.client.delete(key, context.expect("a delete was given a context")),
        };
        let receipt = request.consistency(consistency(operation.level)).timeout(self.drive.timeout).await?;
        operation.outcome = Outcome::Ok;
        operation.dot = Some(Dot::from(receipt.dot));
        operation.replicas = receipt.replicas;
        Ok(receipt.context)
    }
}

fn consistency(level: Level) -> Consistency {
    match level {
        Level::One => Consistency::One,
        Level::Quorum => Consistency::Quorum,
        Level::All => Consistency::All,
        Level::Count(count) => Consistency::Count(count),
    }
}

/// Nanoseconds in the history's form; a run of 500 years would saturate.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

//! One client: asks one thing at a time and writes down what came back. It refuses to decide what to ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chinwag_client::{Client, Consistency, Context, RequestError};
use tokio::time::Instant;

use crate::history::{Clock, Dot, Kind, Level, Operation, Outcome, Version};
use crate::workload::{Basis, PlannedOperation, name_of, value_of};

/// A member and the way to it.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Its name, for the history.
    pub node: String,
    /// A client of it alone.
    pub client: Client,
}

/// A context and the operation that returned it, by key.
pub(super) type Known = BTreeMap<String, (u64, Context)>;

/// One sequential client.
#[derive(Debug, Clone)]
pub(super) struct Session {
    seats: Arc<[Seat]>,
    /// Where it sits, or will sit next.
    place: usize,
    roams: bool,
    /// The history's time zero.
    zero: Instant,
    /// What it waits for an answer.
    timeout: Duration,
    /// What it got last.
    last: Known,
    /// What is known to all from before.
    loaded: Arc<Known>,
}

impl Session {
    /// A client of the seat at `place`, counted round, or if it `roams` of that one first and of each next request's next.
    pub(super) fn new(
        seats: Arc<[Seat]>,
        place: usize,
        roams: bool,
        zero: Instant,
        timeout: Duration,
        loaded: Arc<Known>,
    ) -> Self {
        Self { seats, place, roams, zero, timeout, last: Known::new(), loaded }
    }

    /// The contexts it got.
    pub(super) fn into_known(self) -> Known {
        self.last
    }

    /// Sends what is planned, now, and waits for what comes of it. It was `due` earlier, or now.
    pub(super) async fn perform(&mut self, id: u64, planned: PlannedOperation, due: Instant) -> Operation {
        let known = || self.last.get(&planned.key).or_else(|| self.loaded.get(&planned.key));
        let basis = known().filter(|_| planned.basis != Basis::Blind).cloned();
        // Without a context there is nothing that a delete could name.
        let kind = if planned.kind == Kind::Delete && basis.is_none() { Kind::Get } else { planned.kind };
        let level = if kind == Kind::Get { planned.level } else { planned.write_level };
        let Seat { node, client } = &self.seats[self.place % self.seats.len()];
        self.place += usize::from(self.roams);
        let mut operation = Operation::new(id, planned.session, node, kind, level, &planned.key);
        operation.intended = self.since_zero(due);
        operation.sent = self.since_zero(Instant::now());
        let result = match kind {
            Kind::Get => get(client, self.timeout, &mut operation).await,
            Kind::Put | Kind::Delete => {
                operation.basis = basis.as_ref().map(|(id, _)| *id);
                operation.value = planned.value.filter(|_| kind == Kind::Put);
                let value = operation.value.as_ref().map(|name| value_of(name, planned.value_bytes));
                write(client, self.timeout, &mut operation, value, basis.map(|(_, context)| context)).await
            }
        };
        operation.done = Some(self.since_zero(Instant::now()));
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

    /// Nanoseconds in the history's form; a run of 500 years would saturate.
    fn since_zero(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.zero).as_nanos()).unwrap_or(u64::MAX)
    }
}

async fn get(client: &Client, timeout: Duration, operation: &mut Operation) -> Result<Context, RequestError> {
    let request = client.get(operation.key.clone()).evidence(true).trace(operation.id);
    let value = request.consistency(consistency(operation.level)).timeout(timeout).await?;
    operation.outcome = if value.siblings.is_empty() { Outcome::NotFound } else { Outcome::Ok };
    let siblings = value.siblings.iter();
    operation.returned =
        siblings.map(|it| Version { value: Some(name_of(&it.value)), dot: Dot::from(it.dot) }).collect();
    if let Some(evidence) = value.evidence {
        let deleted = evidence.tombstones.into_iter();
        operation.returned.extend(deleted.map(|dot| Version { value: None, dot: Dot::from(dot) }));
        let dots = evidence.dots.into_iter().map(Dot::from).collect();
        operation.seen = Some(Clock { vv: evidence.vv, dots });
        operation.replicas = evidence.replicas;
    }
    Ok(value.context)
}

/// Puts `value`, or deletes without one.
async fn write(
    client: &Client,
    timeout: Duration,
    operation: &mut Operation,
    value: Option<Vec<u8>>,
    context: Option<Context>,
) -> Result<Context, RequestError> {
    let key = operation.key.clone();
    let request = match (value, context) {
        (Some(value), None) => client.put(key, value),
        (Some(value), Some(context)) => client.put(key, value).context(context),
        (None, context) => client.delete(key, context.expect("a delete was given a context")),
    };
    let request = request.consistency(consistency(operation.level)).timeout(timeout);
    let receipt = request.trace(operation.id).await?;
    operation.outcome = Outcome::Ok;
    operation.dot = Some(Dot::from(receipt.dot));
    operation.replicas = receipt.replicas;
    Ok(receipt.context)
}

fn consistency(level: Level) -> Consistency {
    match level {
        Level::One => Consistency::One,
        Level::Quorum => Consistency::Quorum,
        Level::All => Consistency::All,
        Level::Count(count) => Consistency::Count(count),
    }
}

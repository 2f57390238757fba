//! The sentences that anomalies are told in.

use super::anomaly::Anomaly;
use super::metric::Metric;
use crate::history::Kind;
use crate::ledger::Ledger;
use crate::metrics::millis;

/// A read that broke a rule, before it is known whether it broke a more telling one. Its order is that of telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) read: u32,
    pub(super) name: Metric,
    pub(super) write: u32,
    pub(super) through: Option<u32>,
}

/// Says what a read missed, and by what rule it should not have.
pub(super) fn describe(ledger: &Ledger, Named { read, name, write, through }: Named) -> Anomaly {
    let entry = |at: u32| &ledger.entries()[at as usize];
    let (read, write) = (entry(read), entry(write));
    let through = through.map(|at| (entry(at).kind(), entry(at).id));
    let missed = called(write.kind(), write.id);
    let before = millis(read.sent.saturating_sub(write.done));
    let because = match (name, through) {
        (Metric::ReadYourWrites, _) => format!("which its own session had completed {before} ms before"),
        (Metric::MonotonicReads, Some((_, earlier))) => {
            format!("which get {earlier} of the same session had returned")
        }
        (Metric::MonotonicWrites, Some((kind, later))) => {
            format!("though its session knew {}, which the same writer wrote after it", called(kind, later))
        }
        (Metric::WritesFollowReads, Some((kind, later))) => {
            format!("though its session knew {}, whose writer had read it before", called(kind, later))
        }
        (Metric::Causal, _) => "which is in its causal past".to_owned(),
        _ => format!("acknowledged {before} ms before"),
    };
    Anomaly {
        name,
        key: ledger.key(read.key as usize).to_owned(),
        operations: [read.id, write.id].into_iter().chain(through.map(|(_, id)| id)).collect(),
        what: format!("get {} missed {missed}, {because}", read.id),
    }
}

/// An operation by kind and id.
pub(super) fn called(kind: Kind, id: u64) -> String {
    format!("{kind} {id}")
}

/// Several operations by id.
pub(super) fn listed(operations: &[u64]) -> String {
    let names: Vec<String> = operations.iter().map(u64::to_string).collect();
    format!("operation{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
}

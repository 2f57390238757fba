//! The observer: it plans load, keeps the history of what clients saw, and says how stale that was. It judges from
//! client evidence alone and refuses to change what it observes.
//!
//! In reading order: [`history`] is what clients saw, [`workload`] is what they are told to do, [`metrics`] measures a
//! history, [`invariants`] says what must never be in one, [`beliefs`] what members thought of each other, [`summary`] puts
//! it all in one serializable record, [`pacing`] and [`steady`] how far the load was what was planned, and [`table`] and [`report`] show that record to people.
//!
//! ```
//! use chinwag_observer::history::{History, Kind, Level, Operation, Outcome};
//! use chinwag_observer::ledger::Ledger;
//! use chinwag_observer::metrics::{self, Settings};
//!
//! // One session writes; another reads later and gets nothing: that read is stale.
//! let mut put = Operation::new(1, 0, "replica0", Kind::Put, Level::One, "k");
//! (put.sent, put.done, put.value, put.outcome) = (10, Some(20), Some("s0-1".into()), Outcome::Ok);
//! let mut get = Operation::new(2, 1, "replica2", Kind::Get, Level::One, "k");
//! (get.sent, get.done, get.outcome) = (30, Some(40), Outcome::NotFound);
//!
//! let history = History { operations: vec![put, get], ..History::default() };
//! let measured = metrics::measure(&Ledger::of(&history), &Settings::default());
//! assert_eq!(measured.stale.rate.count, 1);
//! ```

pub(crate) mod atomicity;
pub mod beliefs;
pub mod check;
pub mod history;
pub mod import;
pub mod invariants;
pub mod lab;
pub mod ledger;
pub mod metrics;
pub mod oracle;
pub mod pacing;
pub mod predict;
pub mod report;
pub mod steady;
pub mod summary;
pub mod table;
pub mod workload;

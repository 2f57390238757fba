//! Brings replicas together again: hints after an absence, anti-entropy always. Read repair is the coordinator's.

pub(crate) mod anti_entropy;
pub(crate) mod budget;
pub(crate) mod exchange;
pub(crate) mod hints;
pub(crate) mod log;
pub(crate) mod pairs;
pub(crate) mod tending;

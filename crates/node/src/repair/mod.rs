//! Brings replicas together again: hints after an absence, anti-entropy always. Read repair is the coordinator's.

pub(crate) mod anti_entropy;
pub(crate) mod exchange;
pub(crate) mod hints;

//! A cluster in one process, under load and under faults, observed: starts it, plays a scenario on it, drives a workload
//! against it, and says what happened. It watches through the client protocol, hears
//! from members when their messages came and went, and refuses to change what it sees.

mod cluster;
mod convergence;
mod divergence;
mod driver;
mod events;
mod experiment;
mod ground;
mod legs;
mod recorder;
mod session;
mod shrink;
mod validation;

pub use cluster::{ClusterError, ClusterPlan, Shape};
pub use driver::{Drive, Loaded, drive, preload};
pub use experiment::{Experiment, ExperimentError, Findings, Progress, World};
pub use recorder::{Keep, Recorder};
pub use session::Seat;
pub use shrink::{Shrunk, shrink};
pub use validation::{LAST_READ_MS, Ladder, Validation};

#[cfg(test)]
mod tests;

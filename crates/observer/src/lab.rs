//! A cluster in one process, under load and under faults, observed: starts it, plays a scenario on it, drives a workload
//! against it, and says what happened. It watches through the client protocol alone and refuses to change what it sees.

mod cluster;
mod convergence;
mod divergence;
mod driver;
mod events;
mod experiment;
mod ground;
mod shrink;

pub use cluster::{ClusterError, ClusterPlan, Shape};
pub use experiment::{Experiment, ExperimentError, Findings, Progress, World};
pub use shrink::{Shrunk, shrink};

#[cfg(test)]
mod tests;

//! One member of a chinwag cluster: coordinator of requests, replica of partitions, correspondent of the other members.
//!
//! A [`Node`] is started with a [`Config`], the cluster's secret, and its [`Parts`]: sockets, clock, randomness and
//! engine are handed in, so that the same code runs in production, in a live experiment and in a simulation. It refuses
//! to know who hands them in.
//!
//! Reading order: [`node`] starts and stops it all; `view` is what it believes of the cluster, kept by `gossip`, and
//! `changes` what became of the members; `coordinator` runs a request, `replica` answers one; `repair` brings replicas
//! together again; `service` takes what `transport` receives; `wire` is what members say to each other; `metrics` counts.

pub mod buckets;
mod changes;
pub mod config;
mod coordinator;
mod core;
mod full;
mod gossip;
mod metrics;
pub mod node;
mod notes;
pub mod parts;
pub mod queues;
mod repair;
mod replica;
mod service;
mod stamps;
mod tasks;
mod transport;
mod view;
mod wire;
pub mod witness;

pub use buckets::{Bucket, Buckets, BucketsError, Kind};
pub use chinwag_membership as membership;
pub use chinwag_storage as storage;
pub use config::{Config, ConfigError};
pub use node::{Activity, Failure, Node, Remains, StartError};
pub use notes::Notes;
pub use parts::{Parts, SocketFactory, UdpSockets, WallClock};
pub use queues::QueueLoad;
pub use repair::log::Repaired;
pub use witness::{Moment, Witness};

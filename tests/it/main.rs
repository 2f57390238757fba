//! Integration tests: what holds across crates, and what real processes do when they are used as their users use them.

// Helpers of tests are tests to the lints.
#![cfg(test)]

mod backup;
mod beliefs;
mod breach;
mod checking;
mod cluster;
mod console;
mod edges;
mod four_node;
mod joining;
mod killed_replica;
mod kills;
mod process;
mod refusals;
mod repair;
mod requests;
mod restart;
mod siblings;
mod simulation;
mod watching;

//! Tests of the machine in a simulated cluster, a file for each kind of trouble.

mod crashes;
mod fetching;
mod garbage;
mod joins;
mod learning;
mod lone;
mod meta;
mod names;
mod partitions;
mod probing;
mod replays;
mod sim;

//! Tests of the machine in a simulated cluster, a file for each kind of trouble.

mod crashes;
mod fetching;
mod garbage;
mod joins;
mod meta;
mod names;
mod partitions;
mod replays;
mod sim;

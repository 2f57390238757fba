//! Tests of the machine in a simulated cluster, a file for each kind of trouble.

mod crashes;
mod garbage;
mod joins;
mod meta;
mod names;
mod partitions;
mod sim;

//! Counts bytes, round trips and reads of exchanges.
fn main() {}

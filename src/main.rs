//! The `chinwag` binary: composition root and command line.

fn main() {}

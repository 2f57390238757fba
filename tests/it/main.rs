//! Integration tests: what holds across crates, and what real processes do.

mod edges;

//! Tests of the machine in a simulated cluster.

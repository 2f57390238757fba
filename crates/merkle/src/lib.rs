//! Adaptive hash trees over a partition and the exchange between two replicas.

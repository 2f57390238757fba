//! Workloads, histories, staleness metrics and the lab.

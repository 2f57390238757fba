//! Faulty UDP sockets, fault tables and scenarios.

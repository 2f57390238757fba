//! What an application links to talk to a chinwag cluster.

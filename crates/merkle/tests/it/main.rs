//! The crate from outside: pairs of replicas that exchange, and what must not go wrong between them.

mod clients;
mod exchange;
mod messages;
mod pair;
mod replica;

//! The view: who is alive. SWIM (Das, Gupta, Motivala 2002) with Lifeguard (Dadgar, Phillips, Currey 2018), as a
//! machine without sockets, clock or tasks. Knows nothing of who owns what.

mod config;
mod event;
mod founding;
mod member;
mod membership;
mod queue;
mod record;
mod rotation;
mod suspicion;
mod time;
mod timers;
mod update;
mod wire;

#[cfg(test)]
mod tests;

pub use config::{CheckedConfig, Config, ConfigError, INTERVAL_MAX};
pub use event::{Counters, Event, ExchangeId, Input, Output, Refused};
pub use founding::{Founding, FoundingMismatch};
pub use member::{Life, Member, State};
pub use membership::{Membership, SEEDS_MAX};
pub use record::{
    CounterError, Generation, Incarnation, MemberRecord, Meta, RecordError, Remembered, VERSION_BYTES_MAX,
};
pub use time::Time;
pub use wire::{DATAGRAM_BYTES_MAX, EXCHANGE_BYTES_MAX, MEMBERS_MAX, WireError};

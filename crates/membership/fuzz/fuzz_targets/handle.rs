//! Feeds a member of a small cluster whatever the fuzzer makes up, as datagrams, requests and responses, with and without
//! a genuine head, and lets time pass. Nothing may panic, and no datagram that is sent may be too long.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run handle` in `crates/membership`; `cargo check` in `crates/membership/fuzz` tells
//! whether it still builds.

#![no_main]

use std::time::Duration;

use chinwag_membership::{
    Config, Copies, DATAGRAM_BYTES_MAX, ExchangeId, Founding, Generation, Input, KeySpace, MemberRecord,
    Membership, Name, Output, Partitioner, Partitions, Time, Tokens,
};
use libfuzzer_sys::fuzz_target;

/// How many members the one that is fuzzed knows, itself included.
const MEMBERS: u16 = 4;
/// Version and founding of a datagram; version of an exchange.
const HEAD_BYTES: [usize; 2] = [5, 1];

fuzz_target!(|data: &[u8]| {
    let mut machine = settled(0);
    let from = record(1).gossip;
    let genuine = first_datagram(settled(1));
    let mut now = Time::ORIGIN;
    let mut rest = data;
    while let Some((&[kind, length, pause], after)) = rest.split_first_chunk() {
        let (garbage, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        let head = if kind & 4 == 0 { &[][..] } else { &genuine[..HEAD_BYTES[usize::from(kind & 3 != 0)]] };
        let bytes = &[head, garbage].concat();
        let exchange = ExchangeId(u64::from(kind >> 3));
        let input = match kind & 3 {
            0 => Input::Datagram { from, bytes },
            1 => Input::Request { exchange, bytes },
            2 => Input::Response { exchange, bytes },
            _ => Input::Failed { exchange },
        };
        // Refusing it is as good as taking it in.
        machine.handle(now, input).ok();
        drain(&mut machine);
        now = now + Duration::from_millis(10) * u32::from(pause);
        while let Some(due) = machine.deadline().filter(|due| *due <= now) {
            machine.handle_deadline(due);
            drain(&mut machine);
        }
    }
});

fn drain(machine: &mut Membership) {
    while let Some(output) = machine.poll() {
        if let Output::Datagram { bytes, .. } = output {
            assert!(bytes.len() <= DATAGRAM_BYTES_MAX);
        }
    }
}

/// What a member sends once it probes.
fn first_datagram(mut machine: Membership) -> Vec<u8> {
    while let Some(due) = machine.deadline() {
        machine.handle_deadline(due);
        while let Some(output) = machine.poll() {
            if let Output::Datagram { bytes, .. } = output {
                return bytes;
            }
        }
    }
    unreachable!("a settled member probes for ever")
}

fn settled(host: u16) -> Membership {
    let others = (0..MEMBERS).filter(|other| *other != host).map(|other| {
        let config = Config::default().validate().expect("the defaults are in range");
        let machine = Membership::new(config, record(other), founding(), Vec::new(), 0, Time::ORIGIN);
        machine.expect("the record keeps the rules").me().clone()
    });
    let config = Config::default().validate().expect("the defaults are in range");
    let machine = Membership::settled(config, record(host), founding(), others, 1, Time::ORIGIN);
    machine.expect("the record keeps the rules")
}

fn founding() -> Founding {
    Founding {
        partitions: Partitions::default(),
        partitioner: Partitioner::Md5,
        key_space: KeySpace::Bytes,
        n: Copies::default(),
        buckets: String::new(),
    }
}

fn record(host: u16) -> MemberRecord {
    MemberRecord {
        name: Name::new(format!("m{host}")).expect("it is short and plain"),
        directory: u64::from(host),
        generation: Generation::new(1).expect("it is low"),
        revision: 0,
        address: ([127, 0, 0, 1], 7_000 + host).into(),
        gossip: ([127, 0, 0, 1], 8_000 + host).into(),
        tokens: Tokens::default(),
        version: "0.0.0".to_owned(),
    }
}

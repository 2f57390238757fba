//! Probe rounds as one member sees them: whom it asks for help, what it concludes, and how it doubts itself.

use std::time::Duration;

use crate::identity::NodeId;
use crate::swim::record::Generation;
use crate::swim::tests::lone::{Lone, MILLISECOND};
use crate::swim::tests::sim::SECOND;
use crate::swim::update::{Claim, Update};
use crate::swim::wire::{Datagram, Identification, Message, ProbeNumber, Request, Response};
use crate::swim::{Event, ExchangeId, Output, State, Time};

/// Something the machine said that is about probes.
#[derive(Debug, PartialEq)]
enum Said {
    /// To whom, and what.
    Datagram(usize, Message),
    /// A ping over a stream.
    Stream(ExchangeId, NodeId),
    Suspects(String),
}

/// What of it is about probes.
fn said(lone: &Lone, output: Output) -> Option<Said> {
    match output {
        Output::Datagram { to, bytes } => {
            let message = Datagram::read(&bytes, lone.founding()).unwrap().message;
            (message != Message::Gossip).then(|| Said::Datagram(lone.number(to), message))
        }
        Output::Open { exchange, bytes, .. } => match Request::read(&bytes).unwrap() {
            Request::Ping { target, .. } => Some(Said::Stream(exchange, target)),
            _ => None,
        },
        Output::Event(Event::Suspect(life)) => Some(Said::Suspects(life.name.to_string())),
        Output::Event(_) | Output::Reply { .. } => None,
    }
}

/// Lets time pass without any answer.
fn run(lone: &mut Lone, span: Duration) -> Vec<(Time, Said)> {
    let mut all = Vec::new();
    lone.run(span, |lone, output| all.extend(said(lone, output).map(|said| (lone.now, said))));
    all
}

/// Lets time pass until the next probe; returns when it was, its number and its target.
fn next_probe(lone: &mut Lone) -> (Time, ProbeNumber, usize) {
    for _ in 0..20_000 {
        for (at, said) in run(lone, MILLISECOND) {
            if let Said::Datagram(target, Message::Ping { seq, .. }) = said {
                return (at, seq, target);
            }
        }
    }
    unreachable!("a member with others probes for ever")
}

#[test]
fn an_answer_ends_the_round() {
    let mut lone = Lone::new(5, 6);
    let (_, seq, target) = next_probe(&mut lone);
    lone.hear(target, Message::Ack { seq }, &[]);
    assert_eq!(run(&mut lone, MILLISECOND * 950), [], "nobody is asked for help, and no stream is opened");
    assert_eq!((lone.state(target), lone.machine.health()), (Some(State::Alive), 0));
}

#[test]
fn a_round_asks_three_helpers_then_the_target_over_a_stream_and_then_suspects() {
    let mut lone = Lone::new(9, 10);
    let (begin, seq, target) = next_probe(&mut lone);
    // A suspect is of no help.
    let suspect = target % 9 + 1;
    let claim = Claim::Suspect { by: NodeId(1) };
    lone.hear(target, Message::Gossip, &[Update { claim, ..lone.members[suspect].update }]);
    let mut round = run(&mut lone, SECOND).into_iter().filter(|(at, _)| *at > begin + MILLISECOND);
    let target_id = lone.members[target].id();
    for _ in 0..3 {
        let (at, said) = round.next().unwrap();
        assert_eq!(at, begin + MILLISECOND * 500);
        let Said::Datagram(helper, message) = said else { panic!("{said:?}") };
        assert_eq!(message, Message::IndirectPing { seq, target: target_id });
        assert!(helper != target && helper != suspect, "{helper}");
    }
    let (at, said) = round.next().unwrap();
    assert!(matches!(said, Said::Stream(_, id) if id == target_id), "{said:?}");
    assert_eq!(at, begin + MILLISECOND * 550);
    let (at, said) = round.next().unwrap();
    assert_eq!((at, said), (begin + SECOND, Said::Suspects(format!("m{target}"))));
}

#[test]
fn only_the_target_itself_answers_over_a_stream() {
    for right in [true, false] {
        let mut lone = Lone::new(5, 6);
        let (_, _, target) = next_probe(&mut lone);
        let (exchange, id) = run(&mut lone, MILLISECOND * 600)
            .into_iter()
            .find_map(
                |(_, said)| if let Said::Stream(exchange, id) = said { Some((exchange, id)) } else { None },
            )
            .expect("a stream is opened");
        let generation = Generation::new(1).unwrap();
        let id = if right { id } else { NodeId(7) };
        lone.answer(exchange, &Response::Pong(Identification { id, directory: 1, generation }));
        run(&mut lone, SECOND / 2);
        let expected = if right { State::Alive } else { State::Suspect };
        assert_eq!(lone.state(target), Some(expected));
    }
}

#[test]
fn silent_helpers_cast_doubt_on_the_member_itself_and_nacks_do_not() {
    for (nacks, health) in [(0, 3), (1, 2), (2, 1), (3, 0)] {
        let mut lone = Lone::new(9, 10);
        let (begin, seq, _) = next_probe(&mut lone);
        let helpers: Vec<usize> = run(&mut lone, MILLISECOND * 900)
            .into_iter()
            .filter_map(|(_, said)| match said {
                Said::Datagram(helper, Message::IndirectPing { .. }) => Some(helper),
                _ => None,
            })
            .collect();
        assert_eq!(helpers.len(), 3);
        for helper in &helpers[..nacks] {
            lone.hear(*helper, Message::Nack { seq }, &[]);
        }
        let (next, ..) = next_probe(&mut lone);
        assert_eq!((lone.machine.health(), next), (health, begin + SECOND), "{nacks} nacks");
    }
}

#[test]
fn who_doubts_itself_waits_longer_before_it_suspects_until_it_is_answered_again() {
    let mut lone = Lone::new(9, 10);
    let (mut gaps, mut last) = (Vec::new(), next_probe(&mut lone).0);
    for _ in 0..4 {
        let (at, ..) = next_probe(&mut lone);
        gaps.push(at.since(last));
        last = at;
    }
    // Three silent helpers each time, and never worse than seven.
    assert_eq!(gaps, [1, 4, 7, 8].map(|intervals| SECOND * intervals));
    assert_eq!(lone.machine.health(), 7);
    for health in (0..7).rev() {
        let (_, seq, target) = next_probe(&mut lone);
        lone.hear(target, Message::Ack { seq }, &[]);
        assert_eq!(lone.machine.health(), health);
    }
}

#[test]
fn with_nobody_to_ask_a_failed_round_counts_as_one_doubt() {
    let mut lone = Lone::new(1, 2);
    next_probe(&mut lone);
    run(&mut lone, SECOND);
    assert_eq!((lone.machine.health(), lone.state(1)), (1, Some(State::Suspect)));
}

const THEIRS: ProbeNumber = ProbeNumber(7);

/// Asks the member to probe the second of the others for the first; returns the number of the probe it sends.
fn relay(lone: &mut Lone) -> ProbeNumber {
    lone.hear(1, Message::IndirectPing { seq: THEIRS, target: lone.members[2].id() }, &[]);
    let said = run(lone, Duration::ZERO);
    let [(_, Said::Datagram(2, Message::Ping { seq, .. }))] = said[..] else { panic!("{said:?}") };
    seq
}

#[test]
fn a_helper_passes_the_answer_on() {
    let mut lone = Lone::new(5, 6);
    let seq = relay(&mut lone);
    lone.hear(2, Message::Ack { seq }, &[]);
    assert_eq!(run(&mut lone, Duration::ZERO), [(lone.now, Said::Datagram(1, Message::Ack { seq: THEIRS }))]);
    let later = run(&mut lone, MILLISECOND * 450);
    let nack = |(_, said): &(Time, Said)| matches!(said, Said::Datagram(_, Message::Nack { .. }));
    assert!(!later.iter().any(nack), "{later:?}");
}

#[test]
fn a_helper_without_an_answer_says_so_before_the_round_is_over() {
    let mut lone = Lone::new(5, 6);
    relay(&mut lone);
    let begin = lone.now;
    let nacks: Vec<(Time, Said)> = run(&mut lone, SECOND / 2)
        .into_iter()
        .filter(|(_, said)| matches!(said, Said::Datagram(_, Message::Nack { .. })))
        .collect();
    let nack = Said::Datagram(1, Message::Nack { seq: THEIRS });
    assert_eq!(nacks, [(begin + MILLISECOND * 400, nack)]);
}

#[test]
fn a_helper_that_does_not_know_the_target_says_so_at_once() {
    let mut lone = Lone::new(5, 7);
    lone.hear(1, Message::IndirectPing { seq: THEIRS, target: lone.members[6].id() }, &[]);
    let nack = Said::Datagram(1, Message::Nack { seq: THEIRS });
    assert_eq!(run(&mut lone, Duration::ZERO), [(lone.now, nack)]);
}

#[test]
fn a_flood_of_requests_for_help_is_cut_off() {
    let mut lone = Lone::new(5, 6);
    let mut probes = 0;
    for seq in (0..1_000).map(ProbeNumber) {
        lone.hear(1, Message::IndirectPing { seq, target: lone.members[2].id() }, &[]);
        probes += run(&mut lone, Duration::ZERO).len();
    }
    assert_eq!(probes, 256);
}

//! Records that gossip speaks of: whom they are asked of, how often, and what is believed once they are there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::identity::NodeId;
use crate::swim::tests::garbage::introduction;
use crate::swim::tests::lone::{Lone, MILLISECOND};
use crate::swim::tests::sim::SECOND;
use crate::swim::update::{Claim, Update};
use crate::swim::wire::{Datagram, Knowledge, Message, Refusal, Request, Response};
use crate::swim::{ExchangeId, Input, Output, State, Time};

/// A fetch that was asked for.
#[derive(Debug)]
struct Asked {
    at: Time,
    exchange: ExchangeId,
    of: SocketAddr,
    members: Vec<NodeId>,
}

/// Lets time pass. Whoever is probed answers, and no exchange but fetches comes to anything: those that begin are
/// returned.
fn run(lone: &mut Lone, span: Duration) -> Vec<Asked> {
    let mut asked = Vec::new();
    lone.run(span, |lone, output| match output {
        Output::Open { exchange, to, bytes } => match Request::read(&bytes).unwrap() {
            Request::Fetch { members, .. } => asked.push(Asked { at: lone.now, exchange, of: to, members }),
            _ => lone.fail(exchange),
        },
        Output::Datagram { to, bytes } => {
            let message = Datagram::read(&bytes, lone.founding()).unwrap().message;
            if let Message::Ping { seq, .. } = message {
                lone.hear(lone.number(to), Message::Ack { seq }, &[]);
            }
        }
        Output::Event(_) | Output::Reply { .. } => {}
    });
    asked
}

/// Answers with the records of these members.
fn answer(lone: &mut Lone, asked: &Asked, introduced: &[usize]) {
    let introduced = introduced.iter().map(|number| &lone.members[*number]).collect();
    let knowledge = Knowledge::new(lone.members[1].id(), std::iter::empty(), introduced);
    lone.answer(asked.exchange, &Response::Knowledge(knowledge));
}

#[test]
fn a_record_is_asked_of_the_informer_and_then_of_others_ever_more_rarely() {
    let mut lone = Lone::new(20, 22);
    let stranger = lone.members[21].update;
    lone.hear(3, Message::Gossip, &[stranger]);
    let mut begin = lone.now;
    let mut others = BTreeSet::new();
    for pause in [0, 125, 250, 500, 1_000].map(|pause| MILLISECOND * pause) {
        let [asked] = &run(&mut lone, SECOND)[..] else { panic!("once, after {pause:?}") };
        assert_eq!(asked.members, [stranger.subject]);
        let waited = asked.at.since(begin);
        assert!(pause <= waited && waited <= pause + MILLISECOND * 10, "{waited:?} in place of {pause:?}");
        if pause.is_zero() {
            assert_eq!(asked.of, lone.members[3].record().address);
        } else {
            others.insert(asked.of);
        }
        // Nobody else is asked while somebody is.
        lone.hear(4, Message::Gossip, &[stranger]);
        assert!(run(&mut lone, SECOND).is_empty());
        lone.fail(asked.exchange);
        begin = lone.now;
    }
    assert!(others.len() > 1, "{others:?}");
    assert!(run(&mut lone, SECOND * 20).is_empty(), "five times is enough");
    // Until it is heard of again.
    lone.hear(5, Message::Gossip, &[stranger]);
    let asked = run(&mut lone, SECOND).remove(0);
    assert_eq!(asked.of, lone.members[5].record().address);
    answer(&mut lone, &asked, &[21]);
    assert_eq!(lone.state(21), Some(State::Alive));
}

#[test]
fn who_does_not_answer_at_all_is_waited_for_no_longer_than_any_exchange() {
    let mut lone = Lone::new(3, 5);
    let stranger = lone.members[4].update;
    lone.hear(2, Message::Gossip, &[stranger]);
    let asked = run(&mut lone, SECOND * 10);
    let apart = asked[1].at.since(asked[0].at);
    assert!(apart >= SECOND * 5 && apart < SECOND * 6, "{apart:?}");
}

#[test]
fn a_record_that_the_answer_lacks_is_asked_for_again() {
    let mut lone = Lone::new(3, 6);
    let strangers = [4, 5].map(|number: usize| lone.members[number].update);
    lone.hear(2, Message::Gossip, &strangers);
    let asked = run(&mut lone, SECOND).remove(0);
    assert_eq!(asked.members.len(), 2, "what is heard of together is asked for together");
    answer(&mut lone, &asked, &[5]);
    assert_eq!((lone.state(4), lone.state(5)), (None, Some(State::Alive)));
    let asked = run(&mut lone, SECOND).remove(0);
    assert_eq!(asked.members, [strangers[0].subject]);
    answer(&mut lone, &asked, &[4]);
    assert_eq!(lone.state(4), Some(State::Alive));
    assert!(run(&mut lone, SECOND * 20).is_empty());
}

#[test]
fn an_answer_of_another_kind_is_as_good_as_none() {
    let compared = Response::Compared { same: true }.write();
    let refusal = Response::Refusal(Refusal::NameInDoubt).write();
    for bytes in [compared, refusal, vec![], vec![0xff; 9]] {
        let mut lone = Lone::new(3, 5);
        let stranger = lone.members[4].update;
        lone.hear(2, Message::Gossip, &[stranger]);
        let exchange = run(&mut lone, SECOND).remove(0).exchange;
        lone.machine.handle(lone.now, Input::Response { exchange, bytes: &bytes }).ok();
        let again = run(&mut lone, SECOND / 2).remove(0);
        answer(&mut lone, &again, &[4]);
        assert_eq!(lone.state(4), Some(State::Alive));
    }
}

#[test]
fn the_latest_that_was_said_is_believed_once_the_record_is_there() {
    let suspicion = Claim::Suspect { by: NodeId(7) };
    for (claim, state) in
        [(suspicion, State::Suspect), (Claim::Down, State::Down), (Claim::Left, State::Left)]
    {
        let mut lone = Lone::new(3, 5);
        let stranger = lone.members[4].update;
        let later = Update { claim, ..stranger };
        lone.hear(1, Message::Gossip, &[stranger]);
        lone.hear(2, Message::Gossip, &[later]);
        lone.hear(3, Message::Gossip, &[stranger]);
        let asked = run(&mut lone, MILLISECOND * 20);
        // Who is asked has not heard of it.
        answer(&mut lone, &asked[0], &[4]);
        assert_eq!((asked.len(), lone.state(4)), (1, Some(state)));
    }
}

#[test]
fn a_record_that_came_another_way_is_not_asked_for() {
    let mut lone = Lone::new(3, 5);
    let stranger = lone.members[4].update;
    lone.hear(1, Message::Gossip, &[Update { claim: Claim::Down, ..stranger }]);
    // It introduces itself before anybody was asked.
    let bytes = introduction(4);
    lone.machine.handle(lone.now, Input::Request { exchange: ExchangeId(1), bytes: &bytes }).unwrap();
    while lone.machine.poll().is_some() {}
    assert_eq!(lone.state(4), Some(State::Alive));
    // What was heard of it counts all the same; it can refute it.
    assert!(run(&mut lone, SECOND).is_empty());
    assert_eq!(lone.state(4), Some(State::Down));
}

#[test]
fn a_thousand_records_are_asked_for_in_several_exchanges() {
    let mut lone = Lone::new(3, 1_001);
    let strangers: Vec<Update> = lone.members[4..].iter().map(|member| member.update).collect();
    for some in strangers.chunks(30) {
        lone.hear(2, Message::Gossip, some);
    }
    let asked = run(&mut lone, MILLISECOND * 20);
    let lengths: Vec<usize> = asked.iter().map(|asked| asked.members.len()).collect();
    assert_eq!(lengths.iter().sum::<usize>(), strangers.len());
    assert!(lengths.iter().all(|length| *length <= 256), "{lengths:?}");
    assert!(asked.iter().all(|asked| asked.of == lone.members[2].record().address));
}

#[test]
fn more_exchanges_than_can_be_open_wait_for_their_turn() {
    let mut lone = Lone::new(400, 801);
    // Each stranger is spoken of by another member, and nobody answers.
    for number in 1..=400 {
        let stranger = lone.members[400 + number].update;
        lone.hear(number, Message::Gossip, &[stranger]);
    }
    let asked = run(&mut lone, MILLISECOND * 20);
    assert_eq!(asked.len(), 256);
    for asked in &asked {
        let introduced = lone.members.iter().position(|it| it.id() == asked.members[0]).unwrap();
        answer(&mut lone, asked, &[introduced]);
    }
    let later: usize = run(&mut lone, SECOND).iter().map(|asked| asked.members.len()).sum();
    assert_eq!(later, 144);
}

//! Which news one member believes, which it passes on, and what it tells those that ask.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::identity::NodeId;
use crate::swim::member::Member;
use crate::swim::record::MemberRecord;
use crate::swim::tests::lone::{Lone, MILLISECOND};
use crate::swim::tests::sim::SECOND;
use crate::swim::update::{Claim, Update};
use crate::swim::wire::{Datagram, Knowledge, MEMBERS_MAX, Message, Request, Response, SyncRequest};
use crate::swim::{Config, Input, Membership, Output, State, Time};

fn suspicion(lone: &Lone, of: usize, by: usize) -> Update {
    Update { claim: Claim::Suspect { by: lone.members[by].id() }, ..lone.members[of].update }
}

/// What one of the others would ask that has heard this.
fn sync(lone: &Lone, from: usize, heard: &[Update]) -> Request {
    let record = MemberRecord::clone(lone.members[from].record());
    let mut updates = vec![lone.members[from].update];
    updates.extend_from_slice(heard);
    Request::Sync(SyncRequest {
        founding: lone.machine.founding().clone(),
        standing: 1,
        joined: true,
        record,
        updates,
    })
}

/// Lets time pass and every probe be answered; returns whatever was gossiped.
fn gossip(lone: &mut Lone, span: Duration) -> Vec<Update> {
    let mut gossip = Vec::new();
    lone.run(span, |lone, output| match output {
        Output::Datagram { to, bytes } => {
            let Datagram { message, updates, .. } = Datagram::read(&bytes, lone.founding()).unwrap();
            gossip.extend(updates);
            if let Message::Ping { seq, .. } = message {
                lone.hear(lone.number(to), Message::Ack { seq }, &[]);
            }
        }
        Output::Open { exchange, .. } => lone.fail(exchange),
        Output::Event(_) | Output::Reply { .. } => {}
    });
    gossip
}

/// How long a suspect has until it counts as down.
fn time_left(lone: &mut Lone, of: usize) -> Duration {
    let begin = lone.now;
    while lone.state(of) == Some(State::Suspect) {
        gossip(lone, MILLISECOND * 10);
    }
    assert_eq!(lone.state(of), Some(State::Down));
    lone.now.since(begin)
}

#[test]
fn accusers_confirm_each_other_and_views_that_repeat_them_do_not() {
    let mut alone = Lone::new(20, 21);
    alone.hear(1, Message::Gossip, &[suspicion(&alone, 3, 1)]);
    let (_, longest) = Config::default().validate().unwrap().suspicion(21);
    let left = time_left(&mut alone, 3);
    assert!(left >= longest && left < longest + SECOND, "{left:?}");

    let mut repeated = Lone::new(20, 21);
    repeated.hear(1, Message::Gossip, &[suspicion(&repeated, 3, 1)]);
    for by in [4, 5] {
        repeated.asked(&sync(&repeated, by, &[suspicion(&repeated, 3, by)]));
    }
    assert!(time_left(&mut repeated, 3) >= longest);

    let mut confirmed = Lone::new(20, 21);
    for by in [1, 4, 5] {
        confirmed.hear(by, Message::Gossip, &[suspicion(&confirmed, 3, by)]);
    }
    let (least, _) = Config::default().validate().unwrap().suspicion(21);
    let left = time_left(&mut confirmed, 3);
    assert!(left >= least && left < least + SECOND, "{left:?}");
}

#[test]
fn a_confirmation_is_passed_on() {
    let mut lone = Lone::new(20, 21);
    let [first, second] = [1, 4].map(|by| suspicion(&lone, 3, by));
    lone.hear(1, Message::Gossip, &[first]);
    gossip(&mut lone, SECOND * 2);
    lone.hear(4, Message::Gossip, &[second]);
    assert!(gossip(&mut lone, SECOND * 2).contains(&second));
    lone.hear(5, Message::Gossip, &[second]);
    assert_eq!(gossip(&mut lone, SECOND * 2), [], "the same accuser again is no news");
}

#[test]
fn that_a_live_member_is_down_is_doubted_if_an_exchange_says_so() {
    let mut lone = Lone::new(20, 21);
    let down = Update { claim: Claim::Down, ..lone.members[3].update };
    lone.asked(&sync(&lone, 2, &[down]));
    assert_eq!(lone.state(3), Some(State::Suspect));
    assert_eq!(lone.machine.member(down.subject).unwrap().accuser(), Some(lone.members[2].id()));
    lone.hear(2, Message::Gossip, &[down]);
    assert_eq!(lone.state(3), Some(State::Down));
}

#[test]
fn a_refuted_suspicion_takes_nobody_down() {
    let mut lone = Lone::new(20, 21);
    lone.hear(1, Message::Gossip, &[suspicion(&lone, 3, 1)]);
    let accused = lone.members[3].update;
    let refutation = Update { incarnation: accused.incarnation.next().unwrap(), ..accused };
    lone.hear(3, Message::Gossip, &[refutation]);
    gossip(&mut lone, SECOND * 60);
    assert_eq!(lone.state(3), Some(State::Alive));
}

#[test]
fn a_newcomer_passes_on_nothing_of_what_it_was_told_to_begin_with() {
    let members = Lone::new(20, 21).members;
    let config = Config::default().validate().unwrap();
    let me = MemberRecord::clone(members[0].record());
    let founding = Lone::new(1, 2).machine.founding().clone();
    let machine = Membership::new(config, me, founding, vec![], 1, Time::ORIGIN).unwrap();
    let mut lone = Lone { machine, members, now: Time::ORIGIN };
    let seeds = vec![lone.members[1].record().address];
    lone.machine.handle(lone.now, Input::Join { seeds }).unwrap();
    let mut joining = None;
    lone.run(MILLISECOND, |_, output| {
        if let Output::Open { exchange, .. } = output {
            joining = Some(exchange);
        }
    });
    let unknown = lone.members[1..].iter().collect();
    let knowledge = Knowledge::new(lone.members[1].id(), std::iter::empty(), unknown);
    lone.answer(joining.expect("it asks the seed"), &Response::Knowledge(knowledge));
    assert_eq!(lone.machine.members().filter(|member| member.is_live()).count(), 21);
    assert_eq!(gossip(&mut lone, SECOND * 5), []);

    // What it is told later is news.
    let left = Update { claim: Claim::Left, ..lone.members[5].update };
    lone.asked(&sync(&lone, 2, &[left]));
    assert!(gossip(&mut lone, SECOND).contains(&left));
}

#[test]
fn who_asks_is_told_what_it_does_not_know_and_nothing_else() {
    let mut lone = Lone::new(6, 8);
    let known = |numbers: &[usize]| numbers.iter().map(|it| lone.members[*it].update).collect::<Vec<_>>();
    // It knows nothing of m3; m4 as another start of it; m5 as alive, which is a suspect; m6 as down.
    let mut heard = known(&[0, 2, 4, 5, 6]);
    heard[2].edition.generation = crate::swim::Generation::new(0).unwrap();
    heard[4].claim = Claim::Down;
    let request = sync(&lone, 1, &heard);
    lone.hear(2, Message::Gossip, &[suspicion(&lone, 5, 2)]);
    let Response::Knowledge(knowledge) = lone.asked(&request) else { panic!("it is taken in") };
    let introduced: Vec<&str> = knowledge.introduced.iter().map(|it| it.record.name.as_str()).collect();
    assert_eq!(introduced, ["m3", "m4"]);
    // Of m6 there is nothing that would be news: it has been told so itself, and doubts it.
    let told: BTreeSet<NodeId> = knowledge.updates.iter().map(|update| update.subject).collect();
    assert_eq!(told, BTreeSet::from([lone.members[5].id()]));
    assert_eq!(lone.state(6), Some(State::Suspect));
}

#[test]
fn a_full_view_takes_nobody_in() {
    let mut lone = Lone::new(1, 2);
    let record = |number: usize| {
        let mut record = MemberRecord::clone(lone.members[1].record());
        record.name = format!("n{number}").parse().unwrap();
        Arc::new(record)
    };
    let others = (2..MEMBERS_MAX).map(|number| Member::new(Time::ORIGIN, record(number), Claim::Down));
    let others: Vec<Member> = lone.members[1..].iter().cloned().chain(others).collect();
    let config = Config::default().validate().unwrap();
    let me = MemberRecord::clone(lone.members[0].record());
    let founding = lone.machine.founding().clone();
    let next = Member::new(Time::ORIGIN, record(0), Claim::Alive);
    lone.machine = Membership::settled(config, me, founding, others, 1, Time::ORIGIN).unwrap();
    assert_eq!(lone.machine.members().count(), MEMBERS_MAX);
    lone.members.push(next);
    lone.asked(&sync(&lone, 2, &[]));
    assert_eq!((lone.state(2), lone.machine.counters().refused), (None, 1));
}

#[test]
fn a_member_that_is_down_hears_gossip_for_half_a_minute() {
    let mut lone = Lone::new(1, 2);
    let down = Update { claim: Claim::Down, ..lone.members[1].update };
    lone.hear(1, Message::Gossip, &[down]);
    let told = gossip(&mut lone, SECOND * 29);
    assert!(told.contains(&down), "it could refute");
    let accused = Update { claim: Claim::Suspect { by: NodeId(1) }, ..lone.members[0].update };
    lone.hear(1, Message::Gossip, &[accused]);
    assert!(!gossip(&mut lone, SECOND).is_empty());
    lone.now = lone.now + SECOND;
    lone.hear(1, Message::Gossip, &[Update { incarnation: lone.machine.me().incarnation(), ..accused }]);
    assert!(gossip(&mut lone, SECOND * 5).is_empty(), "it does not listen any more");
}

/// How often views are compared in this time.
fn comparisons(lone: &mut Lone, span: Duration) -> usize {
    let mut begun = 0;
    lone.run(span, |lone, output| match output {
        Output::Open { exchange, bytes, .. } => {
            let request = Request::read(&bytes).unwrap();
            begun += usize::from(matches!(request, Request::Sync(_) | Request::Compare { .. }));
            lone.fail(exchange);
        }
        Output::Datagram { to, bytes } => {
            if let Message::Ping { seq, .. } = Datagram::read(&bytes, lone.founding()).unwrap().message {
                lone.hear(lone.number(to), Message::Ack { seq }, &[]);
            }
        }
        Output::Event(_) | Output::Reply { .. } => {}
    });
    begun
}

#[test]
fn views_are_compared_often_by_a_member_that_was_alone() {
    let mut lone = Lone::new(2, 3);
    let settled = comparisons(&mut lone, SECOND * 300);
    assert!((7..=15).contains(&settled), "{settled} in ten intervals");
    let goodbyes = [1, 2].map(|number: usize| Update { claim: Claim::Left, ..lone.members[number].update });
    lone.hear(1, Message::Gossip, &goodbyes);
    assert_eq!(comparisons(&mut lone, SECOND * 300), 0);
    let mut record = MemberRecord::clone(lone.members[1].record());
    record.generation = crate::swim::Generation::new(2).unwrap();
    lone.members[1] = Member::new(Time::ORIGIN, Arc::new(record), Claim::Alive);
    lone.asked(&sync(&lone, 1, &[]));
    let young = comparisons(&mut lone, SECOND * 4);
    assert!((3..=8).contains(&young), "{young} in the first four seconds");
}

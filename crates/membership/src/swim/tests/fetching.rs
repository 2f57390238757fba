//! Records that gossip speaks of: whom they are asked of, how often, and what is believed once they are there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::identity::NodeId;
use crate::swim::member::Member;
use crate::swim::tests::garbage::introduction;
use crate::swim::tests::sim::{Cluster, SECOND};
use crate::swim::update::{Claim, Update};
use crate::swim::wire::{Datagram, DatagramWriter, Knowledge, Message, Request, Response};
use crate::swim::{Config, ExchangeId, Input, MemberRecord, Membership, Output, State, Time};

const MILLISECOND: Duration = Duration::from_millis(1);

/// One settled member whose exchanges come to what the test says.
struct Ground {
    machine: Membership,
    /// All that there could be; the machine knows those below `known`.
    members: Vec<Member>,
    founding: u64,
    now: Time,
}

/// A fetch that was asked for.
#[derive(Debug)]
struct Asked {
    at: Time,
    exchange: ExchangeId,
    of: SocketAddr,
    members: Vec<NodeId>,
}

impl Ground {
    /// A member that knows `known` others, of so many that there are.
    fn new(known: usize, members: usize) -> Self {
        let hosts = Cluster::new(members, 0.0, 0).hosts;
        let founding = hosts[0].founding.clone();
        let members: Vec<Member> = hosts
            .into_iter()
            .map(|host| Member::new(Time::ORIGIN, Arc::new(host.record), Claim::Alive))
            .collect();
        let config = Config::default().validate().unwrap();
        let me = MemberRecord::clone(members[0].record());
        let others = members[1..=known].iter().cloned();
        let machine = Membership::settled(config, me, founding.clone(), others, 1, Time::ORIGIN).unwrap();
        Self { machine, members, founding: founding.digest(), now: Time::ORIGIN }
    }

    /// A known member gossips.
    fn hear(&mut self, from: usize, updates: &[Update]) {
        let mut writer = DatagramWriter::new(self.founding, self.members[from].id(), Message::Gossip);
        assert!(updates.iter().all(|update| writer.push(update)));
        let from = self.members[from].record().gossip;
        self.machine.handle(self.now, Input::Datagram { from, bytes: &writer.finish() }).unwrap();
    }

    /// Lets time pass. Whoever is probed answers, and no exchange but fetches comes to anything: those that begin are
    /// returned.
    fn run(&mut self, span: Duration) -> Vec<Asked> {
        let (end, mut asked) = (self.now + span, Vec::new());
        loop {
            while let Some(output) = self.machine.poll() {
                match output {
                    Output::Open { exchange, to, bytes } => match Request::read(&bytes).unwrap() {
                        Request::Fetch { members, .. } => {
                            asked.push(Asked { at: self.now, exchange, of: to, members });
                        }
                        _ => self.machine.handle(self.now, Input::Failed { exchange }).unwrap(),
                    },
                    Output::Datagram { to, bytes } => self.acknowledge(to, &bytes),
                    Output::Event(_) | Output::Reply { .. } => {}
                }
            }
            let Some(due) = self.machine.deadline().filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.machine.handle_deadline(self.now);
        }
        self.now = end;
        asked
    }

    /// Answers a probe.
    fn acknowledge(&mut self, from: SocketAddr, bytes: &[u8]) {
        if let Message::Ping { seq, .. } = Datagram::read(bytes, self.founding).unwrap().message {
            let bytes = DatagramWriter::new(self.founding, NodeId(1), Message::Ack { seq }).finish();
            self.machine.handle(self.now, Input::Datagram { from, bytes: &bytes }).unwrap();
        }
    }

    fn fail(&mut self, exchange: ExchangeId) {
        self.machine.handle(self.now, Input::Failed { exchange }).unwrap();
    }

    /// Answers with the records of these members.
    fn answer(&mut self, asked: &Asked, introduced: &[usize]) {
        let introduced = introduced.iter().map(|number| &self.members[*number]).collect();
        let knowledge = Knowledge::new(self.members[1].id(), std::iter::empty(), introduced);
        let bytes = Response::Knowledge(knowledge).write();
        self.machine.handle(self.now, Input::Response { exchange: asked.exchange, bytes: &bytes }).unwrap();
    }

    fn state(&self, number: usize) -> Option<State> {
        self.machine.member(self.members[number].id()).map(Member::state)
    }
}

#[test]
fn a_record_is_asked_of_the_informer_and_then_of_others_ever_more_rarely() {
    let mut ground = Ground::new(20, 22);
    let stranger = ground.members[21].update;
    ground.hear(3, &[stranger]);
    let mut begin = ground.now;
    let mut others = BTreeSet::new();
    for pause in [0, 125, 250, 500, 1_000].map(|pause| MILLISECOND * pause) {
        let [asked] = &ground.run(SECOND)[..] else { panic!("once, after {pause:?}") };
        assert_eq!(asked.members, [stranger.subject]);
        let waited = asked.at.since(begin);
        assert!(pause <= waited && waited <= pause + MILLISECOND * 10, "{waited:?} in place of {pause:?}");
        if pause.is_zero() {
            assert_eq!(asked.of, ground.members[3].record().address);
        } else {
            others.insert(asked.of);
        }
        // Nobody else is asked while somebody is.
        ground.hear(4, &[stranger]);
        assert!(ground.run(SECOND).is_empty());
        ground.fail(asked.exchange);
        begin = ground.now;
    }
    assert!(others.len() > 1, "{others:?}");
    assert!(ground.run(SECOND * 20).is_empty(), "five times is enough");
    // Until it is heard of again.
    ground.hear(5, &[stranger]);
    let asked = ground.run(SECOND).remove(0);
    assert_eq!(asked.of, ground.members[5].record().address);
    ground.answer(&asked, &[21]);
    assert_eq!(ground.state(21), Some(State::Alive));
}

#[test]
fn who_does_not_answer_at_all_is_waited_for_no_longer_than_any_exchange() {
    let mut ground = Ground::new(3, 5);
    let stranger = ground.members[4].update;
    ground.hear(2, &[stranger]);
    let asked = ground.run(SECOND * 10);
    let apart = asked[1].at.since(asked[0].at);
    assert!(apart >= SECOND * 5 && apart < SECOND * 6, "{apart:?}");
}

#[test]
fn a_record_that_the_answer_lacks_is_asked_for_again() {
    let mut ground = Ground::new(3, 6);
    let strangers = [4, 5].map(|number: usize| ground.members[number].update);
    ground.hear(2, &strangers);
    let asked = ground.run(SECOND).remove(0);
    assert_eq!(asked.members.len(), 2, "what is heard of together is asked for together");
    ground.answer(&asked, &[5]);
    assert_eq!((ground.state(4), ground.state(5)), (None, Some(State::Alive)));
    let asked = ground.run(SECOND).remove(0);
    assert_eq!(asked.members, [strangers[0].subject]);
    ground.answer(&asked, &[4]);
    assert_eq!(ground.state(4), Some(State::Alive));
    assert!(ground.run(SECOND * 20).is_empty());
}

#[test]
fn the_latest_that_was_said_is_believed_once_the_record_is_there() {
    let suspicion = Claim::Suspect { by: NodeId(7) };
    for (claim, state) in
        [(suspicion, State::Suspect), (Claim::Down, State::Down), (Claim::Left, State::Left)]
    {
        let mut ground = Ground::new(3, 5);
        let stranger = ground.members[4].update;
        let later = Update { claim, ..stranger };
        ground.hear(1, &[stranger]);
        ground.hear(2, &[later]);
        ground.hear(3, &[stranger]);
        let asked = ground.run(MILLISECOND * 20);
        // Who is asked has not heard of it.
        ground.answer(&asked[0], &[4]);
        assert_eq!((asked.len(), ground.state(4)), (1, Some(state)));
    }
}

#[test]
fn a_record_that_came_another_way_is_not_asked_for() {
    let mut ground = Ground::new(3, 5);
    let stranger = ground.members[4].update;
    ground.hear(1, &[Update { claim: Claim::Down, ..stranger }]);
    // It introduces itself before anybody was asked.
    let bytes = introduction(4);
    ground.machine.handle(ground.now, Input::Request { exchange: ExchangeId(1), bytes: &bytes }).unwrap();
    while ground.machine.poll().is_some() {}
    assert_eq!(ground.state(4), Some(State::Alive));
    // What was heard of it counts all the same; it can refute it.
    assert!(ground.run(SECOND).is_empty());
    assert_eq!(ground.state(4), Some(State::Down));
}

#[test]
fn a_thousand_records_are_asked_for_in_several_exchanges() {
    let mut ground = Ground::new(3, 1_001);
    let strangers: Vec<Update> = ground.members[4..].iter().map(|member| member.update).collect();
    for some in strangers.chunks(30) {
        ground.hear(2, some);
    }
    let asked = ground.run(MILLISECOND * 20);
    let lengths: Vec<usize> = asked.iter().map(|asked| asked.members.len()).collect();
    assert_eq!(lengths.iter().sum::<usize>(), strangers.len());
    assert!(lengths.iter().all(|length| *length <= 256), "{lengths:?}");
    assert!(asked.iter().all(|asked| asked.of == ground.members[2].record().address));
}

//! The shell around the membership machine: gives it datagrams, exchanges and deadlines, carries out what it asks for,
//! publishes what it believes as the member's view and what happens to it as changes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use chinwag_client::codec;
use chinwag_client::wire::{ChangeKind, MemberChange, MemberState};
use chinwag_membership::{
    Counters, Event, ExchangeId, Incarnation, Input, Life, MemberRecord, Membership, NodeId, Output,
    Partitions, Remembered, Time, WireError,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument;

use crate::core::{AskError, Core, MEMBER_TIMEOUT};
use crate::node::Failure;
use crate::notes;
use crate::transport::gossip::{Gossip, Received};
use crate::view::View;
use crate::wire::{MemberRequest, MemberResponse};

/// Most inputs that wait for the machine.
pub(crate) const INPUTS_MAX: usize = 256;
/// Most datagrams that wait for the machine; more are dropped, as the network would.
pub(crate) const DATAGRAMS_MAX: usize = 1024;

/// What other tasks hand to the machine.
#[derive(Debug)]
pub(crate) enum GossipInput {
    /// A member opened an exchange with us.
    Asked { bytes: Bytes, reply: oneshot::Sender<Answer> },
    /// An exchange that the machine opened has its answer, or none.
    Answered { exchange: ExchangeId, answer: Option<Bytes> },
    /// An exchange that the machine opened was refused in the handshake.
    Strange { exchange: ExchangeId, address: SocketAddr, reason: String },
    /// Say goodbye; `done` is dropped once it is on its way.
    Leave { done: oneshot::Sender<()> },
    /// How is it going?
    Report { reply: oneshot::Sender<Report> },
}

/// What the machine has to say to an exchange that another member opened.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(Bytes),
    /// Nothing, for now.
    Silence,
    /// The request was none: its sender loses the connection.
    Garbage,
}

/// What only the machine knows of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Report {
    pub(crate) health: u8,
    pub(crate) counters: Counters,
}

/// The machine's answer to an exchange that another member opened.
pub(crate) async fn answer(core: &Core, bytes: Bytes) -> Answer {
    let (reply, answered) = oneshot::channel();
    if !core.tell_gossip(GossipInput::Asked { bytes, reply }).await {
        return Answer::Silence;
    }
    match timeout(MEMBER_TIMEOUT, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => Answer::Silence,
    }
}

/// What the machine says of itself; `None` if it does not answer, as when the member stops.
pub(crate) async fn report(core: &Core) -> Option<Report> {
    let (reply, reported) = oneshot::channel();
    if !core.tell_gossip(GossipInput::Report { reply }).await {
        return None;
    }
    timeout(MEMBER_TIMEOUT, reported).await.ok()?.ok()
}

/// Tells the others that this member goes; returns when the goodbyes were handed to the network.
pub(crate) async fn leave(core: &Core) {
    let (done, said) = oneshot::channel();
    if core.tell_gossip(GossipInput::Leave { done }).await {
        // An error only means that the task ended: then there is nobody to say it.
        said.await.ok();
    }
}

/// Why the machine had something to do.
#[derive(Debug, Clone, Copy)]
enum Occasion {
    /// Its own time had come: what it finds is its own finding.
    Deadline,
    /// It was told something.
    Heard,
}

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fed {
    Understood,
    /// It was no message: whoever sent it loses the connection.
    Garbage,
}

impl Fed {
    fn is_garbage(self) -> bool {
        self == Self::Garbage
    }
}

fn life(record: &MemberRecord, incarnation: Incarnation) -> Life {
    Life { name: record.name.clone(), generation: record.generation, incarnation }
}

/// The one task that owns the machine.
#[derive(Debug)]
pub(crate) struct GossipTask {
    core: Arc<Core>,
    machine: Membership,
    gossip: Gossip,
    failed: mpsc::Sender<Failure>,
    started: Instant,
    /// Where the answer to the exchange being taken in goes.
    asked: Option<oneshot::Sender<Answer>>,
    last_asked: u64,
    most_members: usize,
    /// The members as they were last noted.
    noted: Vec<u8>,
    /// Where strangers were met, so that each is spoken of once.
    strangers: BTreeSet<SocketAddr>,
}

impl GossipTask {
    pub(crate) fn new(
        core: Arc<Core>,
        machine: Membership,
        gossip: Gossip,
        failed: mpsc::Sender<Failure>,
    ) -> Self {
        Self {
            core,
            machine,
            gossip,
            failed,
            started: Instant::now(),
            asked: None,
            last_asked: 0,
            most_members: 0,
            noted: Vec::new(),
            strangers: BTreeSet::new(),
        }
    }

    pub(crate) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<GossipInput>,
        mut received: mpsc::Receiver<Received>,
    ) {
        let seeds = self.core.config.seeds.clone();
        if !seeds.is_empty() {
            self.feed(Input::Join { seeds });
        }
        self.carry_out(Occasion::Heard);
        let stop = self.core.stop.clone();
        loop {
            let deadline = self.machine.deadline().map(|it| self.instant(it));
            let due = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let occasion = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Before the queues, which a flood could keep full; a deadline that was handled has moved on.
                () = due => {
                    self.machine.handle_deadline(self.now());
                    Occasion::Deadline
                }
                Some(input) = inputs.recv() => {
                    self.take(input);
                    Occasion::Heard
                }
                Some((from, bytes)) = received.recv() => {
                    if self.feed(Input::Datagram { from, bytes: &bytes }).is_garbage() {
                        self.gossip.refuse(from);
                    }
                    Occasion::Heard
                }
            };
            self.carry_out(occasion);
        }
    }

    fn now(&self) -> Time {
        Time::after_origin(self.started.elapsed())
    }

    fn instant(&self, time: Time) -> Instant {
        self.started + time.elapsed()
    }

    fn feed(&mut self, input: Input<'_>) -> Fed {
        let Err(error) = self.machine.handle(self.now(), input) else { return Fed::Understood };
        tracing::debug!(%error, "not understood");
        match error {
            WireError::TooLong(_) | WireError::Malformed(_) | WireError::Absurd(_) => Fed::Garbage,
            // They are told why, or will be.
            WireError::Version(_) | WireError::Foreign => Fed::Understood,
        }
    }

    fn take(&mut self, input: GossipInput) {
        match input {
            GossipInput::Asked { bytes, reply } => {
                self.last_asked += 1;
                let exchange = ExchangeId(self.last_asked);
                self.asked = Some(reply);
                let fed = self.feed(Input::Request { exchange, bytes: &bytes });
                // An answer comes at once or not at all.
                self.carry_out(Occasion::Heard);
                if let Some(reply) = self.asked.take() {
                    reply.send(if fed.is_garbage() { Answer::Garbage } else { Answer::Silence }).ok();
                }
            }
            GossipInput::Answered { exchange, answer } => {
                let input = match &answer {
                    Some(bytes) => Input::Response { exchange, bytes },
                    None => Input::Failed { exchange },
                };
                self.feed(input);
            }
            GossipInput::Strange { exchange, address, reason } => {
                self.feed(Input::Failed { exchange });
                if self.machine.members().count() == 1 {
                    // It has never met anybody: the mistake is its own.
                    self.failed.try_send(Failure::Refused(format!("cannot join: {reason}"))).ok();
                } else if self.strangers.insert(address) {
                    tracing::warn!(%reason, "a stranger at a known address");
                }
            }
            GossipInput::Leave { done } => {
                self.feed(Input::Leave);
                self.carry_out(Occasion::Heard);
                let gossip = self.gossip.clone();
                let saying = async move {
                    gossip.flush().await;
                    drop(done);
                };
                self.core.tasks.spawn(saying.in_current_span());
            }
            GossipInput::Report { reply } => {
                let report = Report { health: self.machine.health(), counters: self.machine.counters() };
                // Who asked may have given up.
                reply.send(report).ok();
            }
        }
    }

    /// Does what the machine asks for until it asks for nothing.
    fn carry_out(&mut self, occasion: Occasion) {
        let mut changes = Vec::new();
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Datagram { to, bytes } => self.gossip.send(to, bytes.into()),
                Output::Open { exchange, to, bytes } => self.open(exchange, to, bytes.into()),
                Output::Reply { exchange: _, bytes } => {
                    if let Some(reply) = self.asked.take() {
                        reply.send(Answer::Reply(bytes.into())).ok();
                    }
                }
                Output::Event(event) => changes.extend(self.observe(event, occasion)),
            }
        }
        if !changes.is_empty() {
            self.publish();
            self.core.changes.note(changes);
        }
    }

    /// Carries one exchange over a data connection; its answer comes back as an input.
    fn open(&self, exchange: ExchangeId, to: SocketAddr, bytes: Bytes) {
        let core = self.core.clone();
        let call = async move {
            let request = codec::encode(&MemberRequest::Membership(bytes));
            let input = match timeout(MEMBER_TIMEOUT, core.call_address(to, request)).await {
                Ok(Ok(MemberResponse::Membership(bytes))) => {
                    GossipInput::Answered { exchange, answer: Some(bytes) }
                }
                Ok(Ok(_)) | Err(_) => GossipInput::Answered { exchange, answer: None },
                Ok(Err(AskError::Refused(reason))) => GossipInput::Strange { exchange, address: to, reason },
                Ok(Err(error)) => {
                    tracing::debug!(%error, "membership exchange failed");
                    GossipInput::Answered { exchange, answer: None }
                }
            };
            // The task may have ended meanwhile.
            core.tell_gossip(input).await;
        };
        self.core.tasks.spawn(call.in_current_span());
    }

    /// Logs an event and acts on it; gives the change of the view that it is, if it is one.
    fn observe(&self, event: Event, occasion: Occasion) -> Option<MemberChange> {
        let (kind, life) = match event {
            Event::Up { record, incarnation } => (ChangeKind::Up, life(&record, incarnation)),
            Event::Suspect(life) => (ChangeKind::Suspect, life),
            Event::Refuted(life) => (ChangeKind::Refuted, life),
            Event::Down(life) => (ChangeKind::Down, life),
            Event::Left(life) => (ChangeKind::Left, life),
            Event::MetaChanged { record } => {
                let incarnation = self.machine.member(record.id()).map(|it| it.incarnation());
                (ChangeKind::MetaChanged, life(&record, incarnation.unwrap_or_default()))
            }
            Event::SelfAccused { as_state, life } => {
                tracing::debug!(%as_state, "was accused");
                (ChangeKind::Accused, life)
            }
            Event::Refused(refused) => {
                self.failed.try_send(Failure::Refused(refused.to_string())).ok();
                return None;
            }
            Event::SeedUnreachable { address, attempts } => {
                // It is tried every few seconds, for ever.
                if attempts.is_power_of_two() {
                    tracing::warn!(seed = %address, attempts, "seed cannot be reached; will keep trying");
                }
                return None;
            }
        };
        self.change(kind, life, occasion)
    }

    /// One change, logged. `None` only if it is of nobody the machine knows.
    fn change(&self, kind: ChangeKind, life: Life, occasion: Occasion) -> Option<MemberChange> {
        let member = self.machine.member(life.name.id())?;
        let by = match (kind, occasion) {
            (ChangeKind::Suspect, _) => member.accuser().map(|it| self.name(it)),
            (ChangeKind::Down, Occasion::Deadline) => Some(self.core.config.name.to_string()),
            _ => None,
        };
        let Life { name, generation, incarnation } = life;
        let address = member.record().address;
        let by_whom = by.as_deref().map(tracing::field::display);
        tracing::info!(member = %name, %address, %generation, %incarnation, by = by_whom, "{kind}");
        Some(MemberChange {
            at_ms: u64::try_from(self.core.clock.now().as_millis()).unwrap_or(u64::MAX),
            kind,
            name: name.to_string(),
            address,
            incarnation: incarnation.get(),
            generation: generation.get(),
            by,
        })
    }

    fn name(&self, member: NodeId) -> String {
        self.machine.member(member).map_or_else(|| member.to_string(), |it| it.name().to_string())
    }

    /// Makes the machine's beliefs the view; closes connections to members that went or came back as another process.
    fn publish(&mut self) {
        let old = self.core.view();
        let view = View::of(&self.core.config, &self.machine, Some(&old));
        let mut returned = false;
        for (id, now) in &view.members {
            let Some(before) = old.members.get(id) else {
                returned = true;
                continue;
            };
            let gone = matches!(now.info.state, MemberState::Down | MemberState::Left);
            if (gone && before.info.state != now.info.state) || before.info.generation != now.info.generation
            {
                self.core.links.disconnect(before.info.address);
                self.gossip.disconnect(before.gossip);
            }
            returned |= now.info.state == MemberState::Alive && before.info.state != MemberState::Alive;
        }
        self.advise(view.members.len());
        self.core.set_view(view);
        if returned {
            self.core.hints_due.notify_one();
        }
        self.note_members();
    }

    /// Warns, once for each number of members, when there are too few partitions to share out evenly among them.
    fn advise(&mut self, members: usize) {
        let partitions = self.core.founding.partitions;
        if members > self.most_members && !partitions.suits(members) {
            let advised = Partitions::advised(members);
            tracing::warn!(members, %partitions, %advised, "too few partitions for a balanced ring");
        }
        self.most_members = self.most_members.max(members);
    }

    /// Remembers the members, so that a restart finds them without a seed.
    fn note_members(&mut self) {
        let me = self.core.me;
        let known: Vec<Remembered> =
            self.machine.members().filter(|it| it.id() != me).map(|it| it.remember()).collect();
        let bytes = postcard::to_stdvec(&known).expect("member records always serialize");
        if bytes == self.noted {
            return;
        }
        if let Err(error) = self.core.store.put_note(notes::MEMBERS, &bytes) {
            tracing::warn!(%error, "the members could not be noted");
            return;
        }
        self.noted = bytes;
    }
}

//! The shell around the membership machine: gives it datagrams, exchanges and deadlines, carries out what it asks for,
//! and publishes what it believes as the member's view.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use chinwag_client::codec;
use chinwag_client::wire::{MemberInfo, MemberState};
use chinwag_membership::{
    Event, ExchangeId, Input, Membership, Output, Partitions, Preset, Remembered, Ring, State, Time,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument;

use crate::config::Config;
use crate::core::{AskError, Core, MEMBER_TIMEOUT};
use crate::node::{Failure, MEMBERS_NOTE};
use crate::transport::gossip::{Gossip, Received};
use crate::view::{KnownMember, View};
use crate::wire::{MemberRequest, MemberResponse};

/// Most inputs that wait for the machine.
pub(crate) const INPUTS_MAX: usize = 256;
/// Most datagrams that wait for the machine; more are dropped, as the network would.
pub(crate) const DATAGRAMS_MAX: usize = 1024;

/// What other tasks hand to the machine.
#[derive(Debug)]
pub(crate) enum GossipInput {
    /// A member opened an exchange with us.
    Asked { bytes: Bytes, reply: oneshot::Sender<Bytes> },
    /// An exchange that the machine opened has its answer, or none.
    Answered { exchange: ExchangeId, answer: Option<Bytes> },
    /// An exchange that the machine opened was refused in the handshake.
    Strange { exchange: ExchangeId, address: SocketAddr, reason: String },
    /// Say goodbye; `done` is dropped once it is on its way.
    Leave { done: oneshot::Sender<()> },
}

/// The machine's answer to a push/pull that another member opened; `None` if it has none.
pub(crate) async fn answer(core: &Core, bytes: Bytes) -> Option<Bytes> {
    let (reply, answered) = oneshot::channel();
    if !core.tell_gossip(GossipInput::Asked { bytes, reply }).await {
        return None;
    }
    timeout(MEMBER_TIMEOUT, answered).await.ok()?.ok()
}

/// Tells the others that this member goes; returns when the goodbyes were handed to the network.
pub(crate) async fn leave(core: &Core) {
    let (done, said) = oneshot::channel();
    if core.tell_gossip(GossipInput::Leave { done }).await {
        // An error only means that the task ended: then there is nobody to say it.
        said.await.ok();
    }
}

/// The view that the machine's beliefs amount to.
pub(crate) fn view_of(config: &Config, machine: &Membership) -> View {
    let mut members = BTreeMap::new();
    let mut names = BTreeMap::new();
    let mut tokens = BTreeMap::new();
    for (name, preset_tokens) in config.preset.into_iter().flat_map(Preset::members) {
        tokens.insert(name.id(), preset_tokens.positions(&name));
        names.insert(name.id(), name.to_string());
    }
    for member in machine.members() {
        let record = member.record();
        tokens.insert(member.id(), record.positions());
        names.insert(member.id(), record.name.to_string());
        let info = MemberInfo {
            name: record.name.to_string(),
            address: record.address,
            state: state(member.state()),
            incarnation: member.incarnation().get(),
            generation: record.generation.get(),
        };
        members.insert(member.id(), KnownMember { info, gossip: record.gossip });
    }
    let ring = Ring::build(config.founding.partitions, config.founding.n, tokens);
    View { members, ring: Arc::new(ring), names }
}

fn state(state: State) -> MemberState {
    match state {
        State::Alive => MemberState::Alive,
        State::Suspect => MemberState::Suspect,
        State::Down => MemberState::Down,
        State::Left => MemberState::Left,
    }
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
    asked: Option<oneshot::Sender<Bytes>>,
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
        self.carry_out();
        let stop = self.core.stop.clone();
        loop {
            let deadline = self.machine.deadline().map(|it| self.instant(it));
            let due = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Before the queues, which a flood could keep full; a deadline that was handled has moved on.
                () = due => self.machine.handle_deadline(self.now()),
                Some(input) = inputs.recv() => self.take(input),
                Some((from, bytes)) = received.recv() => {
                    self.feed(Input::Datagram { from, bytes: &bytes });
                }
            }
            self.carry_out();
        }
    }

    fn now(&self) -> Time {
        Time::after_origin(self.started.elapsed())
    }

    fn instant(&self, time: Time) -> Instant {
        self.started + time.elapsed()
    }

    fn feed(&mut self, input: Input<'_>) {
        if let Err(error) = self.machine.handle(self.now(), input) {
            tracing::debug!(%error, "not understood");
        }
    }

    fn take(&mut self, input: GossipInput) {
        match input {
            GossipInput::Asked { bytes, reply } => {
                self.last_asked += 1;
                let exchange = ExchangeId(self.last_asked);
                self.asked = Some(reply);
                self.feed(Input::Request { exchange, bytes: &bytes });
                // An answer comes at once or not at all.
                self.carry_out();
                self.asked = None;
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
                self.carry_out();
                let gossip = self.gossip.clone();
                let saying = async move {
                    gossip.flush().await;
                    drop(done);
                };
                self.core.tasks.spawn(saying.in_current_span());
            }
        }
    }

    /// Does what the machine asks for until it asks for nothing.
    fn carry_out(&mut self) {
        let mut changed = false;
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Datagram { to, bytes } => self.gossip.send(to, bytes.into()),
                Output::Open { exchange, to, bytes } => self.open(exchange, to, bytes.into()),
                Output::Reply { exchange: _, bytes } => {
                    if let Some(reply) = self.asked.take() {
                        reply.send(bytes.into()).ok();
                    }
                }
                Output::Event(event) => changed |= self.observe(event),
            }
        }
        if changed {
            self.publish();
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

    /// Logs an event and acts on it; true if the view changed.
    fn observe(&self, event: Event) -> bool {
        match event {
            Event::Up { record, incarnation } => {
                tracing::info!(member = %record.name, address = %record.address, %incarnation, "up");
            }
            Event::Suspect(life) => tracing::info!(member = %life.name, "suspect"),
            Event::Refuted(life) => tracing::info!(member = %life.name, "refuted a suspicion"),
            Event::Down(life) => tracing::info!(member = %life.name, "down"),
            Event::Left(life) => tracing::info!(member = %life.name, "left"),
            Event::MetaChanged { record } => tracing::info!(member = %record.name, "changed its record"),
            Event::SelfAccused { as_state, life } => {
                tracing::info!(%as_state, incarnation = %life.incarnation, "was accused and refutes it");
            }
            Event::Refused(refused) => {
                self.failed.try_send(Failure::Refused(refused.to_string())).ok();
                return false;
            }
            Event::SeedUnreachable { address, attempts } => {
                // It is tried every few seconds, for ever.
                if attempts.is_power_of_two() {
                    tracing::warn!(seed = %address, attempts, "seed cannot be reached; will keep trying");
                }
                return false;
            }
        }
        true
    }

    /// Makes the machine's beliefs the view; closes connections to members that went or came back as another process.
    fn publish(&mut self) {
        let old = self.core.view();
        let view = view_of(&self.core.config, &self.machine);
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
        if let Err(error) = self.core.store.put_note(MEMBERS_NOTE, &bytes) {
            tracing::warn!(%error, "the members could not be noted");
        }
        self.noted = bytes;
    }
}

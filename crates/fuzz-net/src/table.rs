//! Owns the faults in force between the nodes of one network, and every link's state: what both the wrapped socket and a
//! simulated network ask about each packet. Refuses sockets and payloads.

use crate::faults::LinkFaults;
use crate::link::{Link, LinkStats, Verdict, nanos};
use crate::plan::Plan;
use crate::selector::Selector;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The faults of one network. A handle: clones share one table, from any thread.
///
/// Nodes are known by name, and have any number of addresses (gossip, data). A setter may name nodes that do not exist
/// yet; it takes effect on them when they register. Traffic with unregistered addresses (clients) is left alone, and so
/// is what a node sends to itself.
///
/// A cut acts at once: packets on their way over a link that is blocked, or to or from a node that is unplugged, are
/// lost if the cut still stands when they are due.
#[derive(Clone, Debug)]
pub struct FaultTable(Arc<Shared>);

/// What one directed link has done, as reported by [`FaultTable::stats`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkReport {
    /// The node that sent.
    pub from: String,
    /// The node it was sent to.
    pub to: String,
    /// The counts.
    #[serde(flatten)]
    pub stats: LinkStats,
}

/// A node's place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(usize);

/// What a node's sockets must know of the table for every packet, at the price of one relaxed load.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Something may happen to what the node sends.
    faulty: AtomicBool,
    /// Nothing reaches the node.
    unplugged: AtomicBool,
    /// Until when what arrives for the node waits, in nanoseconds since the table was made.
    paused_until_ns: AtomicU64,
}

/// What is to become of a burst.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The network's own affair: the destination is no node, or the sender itself.
    Open,
    /// As above, but the sender is unplugged.
    Unplugged,
    /// Each packet's fate, in order, from the time of judgement: a later reading of the clock would jumble packets that
    /// are due at the same time. `to` is a node, or `None` if what goes elsewhere must wait.
    Judged { to: Option<NodeId>, at: Instant, verdicts: Vec<Verdict> },
}

/// The sender and the receiver of packets under way, if the receiver is another node.
pub(crate) type Ends = (NodeId, Option<NodeId>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seed: u64,
    plan: Plan,
    nodes: Vec<Node>,
    ids: BTreeMap<Arc<str>, NodeId>,
    addresses: BTreeMap<SocketAddr, NodeId>,
    /// One for each ordered pair of different nodes.
    links: BTreeMap<(NodeId, NodeId), Link>,
}

#[derive(Debug)]
struct Node {
    name: Arc<str>,
    gate: Arc<Gate>,
    /// Set when the plan asks nothing of the node's links any more. Until then the gate goes on saying that it does, or
    /// what is sent next would overtake the packets under way.
    rests_at_ns: Option<u64>,
}

impl FaultTable {
    /// A network without faults. `seed` and the names of two nodes determine the fates of the packets between them.
    ///
    /// Time is tokio's: under a paused clock, create the table inside the runtime it serves.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            seed,
            plan: Plan::default(),
            nodes: Vec::new(),
            ids: BTreeMap::new(),
            addresses: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        Self(Arc::new(Shared { start: Instant::now(), state: Mutex::new(state) }))
    }

    /// Makes `address` one of `node`'s; packets sent to it are judged as sent to `node`. The last registration of an
    /// address counts.
    pub fn register(&self, address: SocketAddr, node: &str) {
        self.change(|state| {
            let id = state.id_of(node);
            state.addresses.insert(canonical(address), id);
        });
    }

    /// Replaces the faults of every link from a node of `from` to a node of `to`: what `faults` does not name is off.
    pub fn set_links(&self, from: &Selector, to: &Selector, faults: LinkFaults) {
        self.change(|state| state.plan.set_links(from, to, faults));
    }

    /// Removes the faults of all links. Cuts stay.
    pub fn clear_links(&self) {
        self.change(|state| state.plan.clear_links());
    }

    /// Cuts all links between nodes of different groups, both ways, in place of any earlier partition. A node in no
    /// group keeps all its links, and so bridges the groups.
    pub fn partition<G, S>(&self, groups: impl IntoIterator<Item = G>)
    where
        G: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let groups = groups.into_iter().map(|group| group.into_iter().map(Into::into).collect()).collect();
        self.change(|state| state.plan.partition(groups));
    }

    /// Cuts the links from nodes of `from` to nodes of `to`, that way only, beside all other cuts.
    pub fn block(&self, from: &Selector, to: &Selector) {
        self.change(|state| state.plan.block(from, to));
    }

    /// Ends the partition and all blocks. The links' other faults stay, and unplugged nodes stay so.
    pub fn heal(&self) {
        self.change(|state| state.plan.heal());
    }

    /// Pulls the node's cable: nothing leaves it and nothing reaches it, clients' packets included.
    pub fn unplug(&self, node: &str) {
        self.change(|state| state.plan.unplug(node));
    }

    /// Puts the node's cable back.
    pub fn plug(&self, node: &str) {
        self.change(|state| state.plan.plug(node));
    }

    /// Holds all that the node sends and all that arrives for it, clients' packets included, for this long from now, as
    /// while a machine stops to collect garbage; then it goes on its way, in order. Of several pauses the one that ends
    /// last counts; unplugging the node ends them.
    ///
    /// What arrives meanwhile waits in the receiver's buffer, and is lost if that is full. The node's own timers and
    /// tasks are not the table's: see [`SimRuntime::pause`](crate::SimRuntime::pause).
    pub fn pause(&self, node: &str, lasting: Duration) {
        let (_, now_ns) = self.now();
        self.change(|state| state.plan.pause(node, now_ns.saturating_add(nanos(lasting))));
    }

    /// What the links have done so far, of those that judged a packet, ordered by the nodes' names.
    ///
    /// A wrapped socket does not ask the table while its node has no fault: what it sends then is not counted.
    #[must_use]
    pub fn stats(&self) -> Vec<LinkReport> {
        let state = self.lock();
        let name = |id: NodeId| state.nodes[id.0].name.to_string();
        let mut reports: Vec<_> = state
            .links
            .iter()
            .filter(|(_, link)| link.stats() != LinkStats::default())
            .map(|(&(from, to), link)| LinkReport { from: name(from), to: name(to), stats: link.stats() })
            .collect();
        reports.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        reports
    }

    /// Ends a registration, if `address` is still `node`'s: the system may give the port to a client next.
    pub(crate) fn unregister(&self, address: SocketAddr, node: NodeId) {
        self.change(|state| {
            let address = canonical(address);
            if state.addresses.get(&address) == Some(&node) {
                state.addresses.remove(&address);
            }
        });
    }

    /// The node of this name, known from now on, and its gate.
    pub(crate) fn attach(&self, node: &str) -> (NodeId, Arc<Gate>) {
        self.change(|state| {
            let id = state.id_of(node);
            (id, Arc::clone(&state.nodes[id.0].gate))
        })
    }

    /// Judges a burst of packets of these lengths, sent by `from` now.
    pub(crate) fn judge(
        &self,
        from: NodeId,
        destination: SocketAddr,
        lens: impl IntoIterator<Item = usize>,
    ) -> Route {
        let mut state = self.lock();
        let (at, now_ns) = self.now();
        let State { plan, nodes, addresses, links, .. } = &mut *state;
        let node = &mut nodes[from.0];
        node.rest_if_due(now_ns);
        let held = node.gate.paused_until_ns(now_ns).map_or(0, |until_ns| until_ns - now_ns);
        let held = Duration::from_nanos(held);
        let to = addresses.get(&canonical(destination)).copied();
        match to.and_then(|to| Some((to, links.get_mut(&(from, to))?))) {
            Some((to, link)) => {
                let verdicts = link.judge_burst(now_ns, lens).into_iter().map(|it| it.not_before(held));
                Route::Judged { to: Some(to), at, verdicts: verdicts.collect() }
            }
            None if plan.is_unplugged(&node.name) => Route::Unplugged,
            None if held.is_zero() => Route::Open,
            None => {
                let wait = Verdict::Deliver { after: held, again_after: None, corruption: None };
                Route::Judged { to: None, at, verdicts: lens.into_iter().map(|_| wait).collect() }
            }
        }
    }

    /// Whether packets that were under way may arrive; counts those that may not.
    pub(crate) fn admits(&self, (from, to): Ends, packets: u64) -> bool {
        let mut state = self.lock();
        let State { plan, nodes, links, .. } = &mut *state;
        let Some(link) = to.and_then(|to| links.get_mut(&(from, to))) else {
            return !plan.is_unplugged(&nodes[from.0].name);
        };
        if link.is_blocked() {
            link.stats_mut().blocked += packets;
        }
        !link.is_blocked()
    }

    /// Counts packets that met a full buffer.
    pub(crate) fn count_overflow(&self, ends: Option<Ends>, packets: u64) {
        let mut state = self.lock();
        if let Some((from, Some(to))) = ends
            && let Some(link) = state.links.get_mut(&(from, to))
        {
            link.stats_mut().overflowed += packets;
        }
    }

    /// When what arrives for the gate's node may be heard, if that is later than now.
    pub(crate) fn pause_ends(&self, gate: &Gate) -> Option<Instant> {
        if gate.paused_until_ns.load(Relaxed) == 0 {
            return None;
        }
        gate.paused_until_ns(self.now().1).map(|until_ns| self.instant_at(until_ns))
    }

    /// Now, also in nanoseconds since the table was made.
    pub(crate) fn now(&self) -> (Instant, u64) {
        let now = Instant::now();
        (now, self.nanos_at(now))
    }

    /// A moment in nanoseconds since the table was made.
    pub(crate) fn nanos_at(&self, moment: Instant) -> u64 {
        nanos(moment.saturating_duration_since(self.0.start))
    }

    /// The moment so many nanoseconds after the table was made.
    pub(crate) fn instant_at(&self, nanos: u64) -> Instant {
        self.0.start + Duration::from_nanos(nanos)
    }

    /// Changes the state and puts what follows from it into force.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let (_, now_ns) = self.now();
        let result = change(&mut state);
        state.enforce(now_ns);
        result
    }

    /// A panic elsewhere leaves nothing half done that matters here, and its own thread reports it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Whether what the node sends must be judged.
    pub(crate) fn is_faulty(&self) -> bool {
        self.faulty.load(Relaxed)
    }

    /// Whether what arrives for the node is lost.
    pub(crate) fn is_unplugged(&self) -> bool {
        self.unplugged.load(Relaxed)
    }

    /// Until when what arrives for the node waits, if longer than now.
    pub(crate) fn paused_until_ns(&self, now_ns: u64) -> Option<u64> {
        Some(self.paused_until_ns.load(Relaxed)).filter(|&until_ns| until_ns > now_ns)
    }
}

impl State {
    fn id_of(&mut self, name: &str) -> NodeId {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = NodeId(self.nodes.len());
        for (other, node) in self.nodes.iter().enumerate() {
            self.links.insert((id, NodeId(other)), Link::new(self.seed, name, &node.name));
            self.links.insert((NodeId(other), id), Link::new(self.seed, &node.name, name));
        }
        let name: Arc<str> = name.into();
        self.nodes.push(Node { name: Arc::clone(&name), gate: Arc::default(), rests_at_ns: None });
        self.ids.insert(name, id);
        id
    }

    /// Carries the plan over to every link and gate.
    fn enforce(&mut self, now_ns: u64) {
        let Self { plan, nodes, links, .. } = self;
        for (&(from, to), link) in links.iter_mut() {
            let (from, to) = (&nodes[from.0].name, &nodes[to.0].name);
            link.set_faults(plan.faults(from, to));
            link.set_blocked(plan.blocks(from, to));
        }
        for (i, node) in nodes.iter_mut().enumerate() {
            let own = links.range((NodeId(i), NodeId(0))..(NodeId(i + 1), NodeId(0))).map(|(_, link)| link);
            let unplugged = plan.is_unplugged(&node.name);
            let quiet = !unplugged && own.clone().all(|link| !link.is_blocked() && link.faults().is_clean());
            let paused_until_ns = plan.paused_until_ns(&node.name);
            node.gate.unplugged.store(unplugged, Relaxed);
            node.gate.paused_until_ns.store(paused_until_ns, Relaxed);
            node.gate.faulty.store(true, Relaxed);
            let last_due_ns = own.map(Link::last_due_ns).max().unwrap_or(now_ns);
            node.rests_at_ns = quiet.then(|| last_due_ns.max(paused_until_ns));
            node.rest_if_due(now_ns);
        }
    }
}

impl Node {
    fn rest_if_due(&mut self, now_ns: u64) {
        if self.rests_at_ns.is_some_and(|at| at <= now_ns) {
            self.rests_at_ns = None;
            self.gate.faulty.store(false, Relaxed);
        }
    }
}

/// An IPv4 address mapped into IPv6, as dual-stack sockets report it, is that IPv4 address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests;

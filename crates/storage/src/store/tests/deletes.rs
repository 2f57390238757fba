//! Deletes against an oracle that knows every causal past: whatever happens to messages, members and disks, nothing comes
//! back, nothing is lost, nothing is invented, and in the end no tombstone is left.
//!
//! Four replicas, three of which own the one partition, and whose owners change. Clients read, write and delete at any
//! owner. What travels between replicas is late, doubled, lost, or parked as a hint. Exchanges run step by step, several
//! at once, at different cuts or none, and break off anywhere. Clocks differ by seconds. Members crash; a disk is wiped, rots, or is replaced by an old copy, one at a time. After
//! every step each clock is held against the oracle: it covers what is held here or was truly overwritten, and no more.
//!
//! The rules are the store's own. Each is also taken away, and some seed then breaks.

use super::*;
use crate::Table;
use crate::format;
use chinwag_merkle::Entry;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

const SEEDS: u64 = 1000;
/// In each of two halves, between which the cluster heals.
const STEPS: usize = 100;
const MEMBERS: usize = 4;
const CLIENTS: usize = 3;
const TREE: TreeId = TreeId { partition: 0, n: 3 };
/// More rounds than it takes everyone to hear of everything.
const ROUNDS_MAX: usize = 12;
const PAGE: usize = 2;
/// By how much members' clocks are off, in milliseconds.
const SKEWS: [i64; MEMBERS] = [0, 1700, -1900, 40];

/// Versions as a set of bits.
type Set = u128;

struct Version {
    key: usize,
    is_tombstone: bool,
    /// What its writer knew, and what their writers knew.
    past: Set,
    /// Members that said they have it, and whose disks are as they were.
    copies: BTreeSet<usize>,
}

struct Member {
    engine: MemoryEngine,
    store: Store,
    up: bool,
    /// Counts what this process is not any more.
    life: u64,
    /// An old copy of its disk.
    copy: Option<MemoryEngine>,
    /// True since a record was damaged beneath it, until it has seen that.
    rotten: bool,
}

/// An exchange under way: from the first member to the second.
struct Session {
    members: [usize; 2],
    lives: [u64; 2],
    cut: Cut,
    stage: Stage,
}

enum Stage {
    Opened(Outset),
    /// Each side knows where it holds what the other does not hold alike.
    Compared {
        sides: [Swap; 2],
        own: [Vec<u128>; 2],
        clean: bool,
    },
    Offered {
        from: usize,
        sides: [Swap; 2],
        own: [Vec<u128>; 2],
        states: Vec<(StoreKey, KeyState)>,
    },
    Answered {
        from: usize,
        sides: [Swap; 2],
        own: [Vec<u128>; 2],
        answer: Answer,
    },
    Over,
}

struct Write {
    to: usize,
    key: usize,
    state: KeyState,
}

struct World {
    rng: StdRng,
    keys: Vec<StoreKey>,
    members: Vec<Member>,
    owners: [usize; 3],
    versions: Vec<Version>,
    dots: BTreeMap<Dot, usize>,
    /// Tombstones that were removed when every owner had seen them and their pasts.
    buried: Set,
    clients: Vec<Vec<(Causal, Set)>>,
    flying: Vec<Write>,
    /// Everything that ever flew.
    flown: Vec<Write>,
    sessions: Vec<Session>,
    disks_lost: usize,
    ever_lost: bool,
    without: Option<Rule>,
    opened: u64,
    /// The true time, in milliseconds.
    now: u64,
    /// Whether every step is told.
    tells: bool,
}

/// What a broken promise looks like.
type Verdict = Result<(), String>;

pub(super) fn copy_of(engine: &dyn Engine) -> MemoryEngine {
    let copy = MemoryEngine::new();
    let mut batch = Batch::default();
    for table in Table::ALL {
        for (key, record) in engine.scan(table, &[], None, usize::MAX).unwrap() {
            batch.put(table, key, record);
        }
    }
    copy.commit(batch).wait().unwrap();
    copy
}

impl World {
    fn new(seed: u64, without: Option<Rule>) -> Self {
        // Two keys share a position.
        let spelled = [(7, "a"), (7, "b"), (8, "c")];
        let keys: Vec<_> =
            spelled.map(|(at, name)| StoreKey::new(BucketId::DEFAULT, at, name)).into_iter().collect();
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            clients: vec![vec![(blind(), 0); keys.len()]; CLIENTS],
            keys,
            members: Vec::new(),
            owners: [0, 1, 2],
            versions: Vec::new(),
            dots: BTreeMap::new(),
            buried: 0,
            flying: Vec::new(),
            flown: Vec::new(),
            sessions: Vec::new(),
            disks_lost: 0,
            ever_lost: false,
            without,
            opened: seed * 1000,
            now: NOW,
            tells: false,
        };
        for _ in 0..MEMBERS {
            let engine = MemoryEngine::new();
            let store = world.open(&engine);
            world.members.push(Member { engine, store, up: true, life: 0, copy: None, rotten: false });
        }
        world
    }

    fn open(&mut self, engine: &MemoryEngine) -> Store {
        self.opened += 1;
        // Without a cache on every other one, so that rot is met.
        let cache_bytes = (self.opened % 2) << 20;
        let options = StoreOptions { seed: self.opened, cache_bytes, partitions: 1, ..options() };
        // The handle given is closed, and the one kept is another.
        let store = Store::open(Arc::new(engine.reopen()), &options).unwrap();
        store.lock().without = self.without;
        if self.chance(2) {
            mend(&store);
        }
        store
    }

    /// The time as a member sees it.
    fn time_of(&self, member: usize) -> u64 {
        self.now.saturating_add_signed(SKEWS[member])
    }

    fn pick(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below)
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.pick(one_in) == 0
    }

    fn life(&self, member: usize) -> Life {
        Life { member: member as u64, generation: self.members[member].life }
    }

    fn state(&self, member: usize, key: usize) -> KeyState {
        self.members[member].store.get(&self.keys[key]).unwrap().unwrap_or_default()
    }

    /// The versions among a state's siblings.
    fn set(&self, state: &KeyState) -> Result<Set, String> {
        let mut set = 0;
        for sibling in state.siblings() {
            let version =
                self.dots.get(&sibling.dot).ok_or_else(|| format!("{:?} is invented", sibling.dot))?;
            set |= 1 << version;
        }
        Ok(set)
    }

    /// Everything that versions of the set overwrote.
    fn overwritten_by(&self, set: Set) -> Set {
        bits(set).fold(0, |all, version| all | self.versions[version].past)
    }

    fn covered(&self, clock: &Causal) -> Set {
        let covered = self.dots.iter().filter(|(dot, _)| clock.covers(**dot));
        covered.fold(0, |all, (_, version)| all | 1 << version)
    }

    fn step(&mut self) -> Verdict {
        self.now += self.rng.random_range(0..3000);
        for member in 0..MEMBERS {
            self.members[member].store.settle(self.time_of(member));
        }
        let (member, what) = (self.pick(MEMBERS), self.pick(100));
        if self.tells {
            println!("{what} at {member}, owners {:?}", self.owners);
            for (number, it) in self.members.iter().enumerate() {
                let covered = names(self.covered(&it.store.clock(TREE)));
                println!("  {number} up {} rotten {} covers {covered:?}", it.up, it.rotten);
            }
        }
        match what {
            0..=9 => self.read()?,
            10..=34 => self.write()?,
            35..=49 => self.deliver()?,
            50..=54 => self.open_session(),
            55..=75 => self.advance_session()?,
            76 => drop(self.members[member].store.mend(1).unwrap()),
            77 => self.members[member].store.checkpoint().unwrap(),
            78..=80 => self.deliver_hints(member)?,
            81..=84 => self.compare(member),
            85..=90 => self.purge(member)?,
            91..=92 => self.members[member].up = !self.members[member].up,
            93..=94 => self.restart(member, None),
            95 => {
                let copy = copy_of(&self.members[member].engine.reopen());
                self.members[member].copy = Some(copy);
            }
            96..=97 => self.lose_disk(member),
            98 => self.change_ring(),
            _ => {
                let session = self.pick(4);
                self.sessions.truncate(session);
            }
        }
        (0..MEMBERS).try_for_each(|member| self.check_clock(member))
    }

    fn read(&mut self) -> Verdict {
        let (client, key) = (self.pick(CLIENTS), self.pick(self.keys.len()));
        let (mut merged, mut known) = (KeyState::default(), 0);
        for owner in self.owners {
            if self.members[owner].up && !self.chance(3) {
                let state = self.members[owner].store.read(&self.keys[key]).unwrap();
                known |= self.set(&state)?;
                if state.siblings().is_empty() {
                    known |= self.covered(state.context()) & self.of(key);
                }
                merged.merge(&state);
            }
        }
        known |= self.overwritten_by(known);
        self.clients[client][key] = (merged.context().clone(), known);
        Ok(())
    }

    fn of(&self, key: usize) -> Set {
        let versions = self.versions.iter().enumerate().filter(|(_, version)| version.key == key);
        versions.fold(0, |all, (number, _)| all | 1 << number)
    }

    fn write(&mut self) -> Verdict {
        let (client, key) = (self.pick(CLIENTS), self.pick(self.keys.len()));
        let coordinator = self.owners[self.pick(3)];
        if !self.members[coordinator].up || self.versions.len() >= 128 {
            return Ok(());
        }
        let (context, past) = if self.chance(4) { (blind(), 0) } else { self.clients[client][key].clone() };
        let is_tombstone = past != 0 && !self.chance(3);
        let version = self.versions.len();
        let content =
            if is_tombstone { Content::Tombstone } else { Content::Value(version.to_string().into()) };
        let now = self.time_of(coordinator);
        let written = self.members[coordinator].store.put(&self.keys[key], &context, content, now).unwrap();
        if self.dots.insert(written.dot, version).is_some() {
            return Err(format!("{:?} was given twice", written.dot));
        }
        let copies = BTreeSet::from([coordinator]);
        self.versions.push(Version { key, is_tombstone, past, copies });
        self.clients[client][key] = (written.context, past | 1 << version);
        for owner in self.owners.into_iter().filter(|&owner| owner != coordinator) {
            let state = written.state.clone();
            match self.pick(6) {
                0..=2 => self.take(Write { to: owner, key, state })?,
                3 => self.flying.push(Write { to: owner, key, state }),
                4 => {
                    let holder = self.pick(MEMBERS);
                    let parked = self.members[holder].store.park(owner as u64, &self.keys[key], &state, 0);
                    drop(parked.unwrap());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A replica's write arrives.
    fn take(&mut self, write: Write) -> Verdict {
        let Write { to, key, state } = &write;
        if self.members[*to].up {
            self.members[*to].store.merge(&self.keys[*key], state).unwrap();
            for version in bits(self.set(state)?) {
                self.versions[version].copies.insert(*to);
            }
        }
        self.flown.push(write);
        Ok(())
    }

    fn deliver(&mut self) -> Verdict {
        if self.flying.is_empty() {
            return Ok(());
        }
        let at = self.pick(self.flying.len());
        let write = self.flying.swap_remove(at);
        if self.chance(4) {
            let Write { to, key, ref state } = write;
            self.flying.push(Write { to, key, state: state.clone() });
        }
        self.take(write)
    }

    fn deliver_hints(&mut self, holder: usize) -> Verdict {
        for backlog in self.members[holder].store.backlogs() {
            let to = usize::try_from(backlog.target).unwrap();
            for (key, state) in self.members[holder].store.hints(backlog.target, None, 99).unwrap().states {
                if self.members[to].up {
                    let at = self.keys.iter().position(|it| *it == key).unwrap();
                    self.take(Write { to, key: at, state: state.clone() })?;
                    // Sometimes the answer is lost, and it is delivered again.
                    if !self.chance(3) {
                        drop(self.members[holder].store.unpark(backlog.target, &key, &state).unwrap());
                    }
                }
            }
        }
        Ok(())
    }

    fn restart(&mut self, member: usize, engine: Option<MemoryEngine>) {
        let it = &mut self.members[member];
        if let Some(engine) = engine {
            it.engine = engine;
        }
        it.life += 1;
        it.rotten = false;
        let (engine, actor) = (it.engine.reopen(), it.store.identity().actor);
        self.members[member].store = self.open(&engine);
        self.members[member].engine = engine;
        if self.without == Some(Rule::ActorPerLife) {
            self.members[member].store.lock().identity.actor = actor;
        }
    }

    /// Wipes a disk, puts an old copy in its place, or damages a record: one disk between two heals.
    fn lose_disk(&mut self, member: usize) {
        if self.disks_lost > 0 {
            return;
        }
        self.disks_lost += 1;
        self.ever_lost = true;
        for version in &mut self.versions {
            version.copies.remove(&member);
        }
        match (self.pick(3), self.members[member].copy.take()) {
            (0, _) => self.restart(member, Some(MemoryEngine::new())),
            (1, Some(copy)) => self.restart(member, Some(copy)),
            _ => {
                let key = self.pick(self.keys.len());
                let place = format::state_key(&self.keys[key]);
                let engine = &self.members[member].store.engine;
                if let Some(record) = engine.get(Table::Keys, &place).unwrap() {
                    let mut record = record.to_vec();
                    *record.last_mut().unwrap() ^= 1;
                    let mut batch = Batch::default();
                    batch.put(Table::Keys, place, record);
                    engine.commit(batch).wait().unwrap();
                    self.members[member].rotten = true;
                }
            }
        }
    }

    /// One owner gives way to the member that was none; it keeps what it holds.
    fn change_ring(&mut self) {
        let newcomer = (0..MEMBERS).find(|member| !self.owners.contains(member)).unwrap();
        let leaving = self.pick(3);
        self.owners[leaving] = newcomer;
    }

    fn others(&self, member: usize) -> Vec<Life> {
        self.owners.iter().filter(|&&owner| owner != member).map(|&owner| self.life(owner)).collect()
    }

    fn purge(&mut self, member: usize) -> Verdict {
        let proves = self.without != Some(Rule::PurgedOnProof);
        let others = if proves { self.others(member) } else { Vec::new() };
        let before: Vec<_> = (0..self.keys.len()).map(|key| self.state(member, key)).collect();
        let purged = self.members[member].store.purge(TREE, &others, self.now).unwrap();
        if purged.keys == 0 {
            return Ok(());
        }
        for (key, before) in before.iter().enumerate() {
            if before.over_at() == Some(0) && self.state(member, key).siblings().is_empty() {
                let over = self.set(before)?;
                self.buried |= over;
                self.check_proof(over | self.overwritten_by(over))?;
            }
        }
        Ok(())
    }

    /// What is purged is refused by every owner from now on, wherever it turns up.
    fn check_proof(&self, over: Set) -> Verdict {
        let refuses = |&&owner: &&usize| over & !self.covered(&self.members[owner].store.clock(TREE)) == 0;
        // An owner may have lost its disk since it was heard; the others then tell it.
        let fails = self.owners.iter().find(|owner| !self.ever_lost && !refuses(owner));
        fails.map_or(Ok(()), |owner| Err(format!("{:?} was purged too early for {owner}", names(over))))
    }

    /// Roots that agree: each knows that the other has seen what it has seen itself.
    fn compare(&mut self, one: usize) {
        let (two, cut) = (self.pick(MEMBERS), self.cut());
        let stores = [one, two].map(|member| &self.members[member].store);
        let is_up = self.members[one].up && self.members[two].up;
        if let Some((sum, clock)) = stores[0].root(TREE, cut)
            && is_up
            && one != two
            && stores[1].root(TREE, cut) == Some((sum, clock.clone()))
        {
            stores[0].hear_clock(TREE, self.life(two), &clock);
            stores[1].hear_clock(TREE, self.life(one), &clock);
        }
    }

    /// Anyone may exchange with an owner.
    fn open_session(&mut self) {
        let members = [self.pick(MEMBERS), self.owners[self.pick(3)]];
        if members[0] != members[1] {
            let cut = self.cut();
            let session = self.session(members, cut);
            self.sessions.extend(session);
        }
    }

    /// Any cut at all: a grace that is too short shows differences that are none, and does no harm.
    fn cut(&mut self) -> Cut {
        let grace = 5000 * self.pick(3) as u64;
        if self.chance(3) { Cut::NONE } else { Cut::at(self.now, grace) }
    }

    fn session(&self, members: [usize; 2], cut: Cut) -> Option<Session> {
        let outset = self.members[members[0]].store.outset(TREE, cut)?;
        let lives = members.map(|it| self.members[it].life);
        Some(Session { members, lives, cut, stage: Stage::Opened(outset) })
    }

    fn advance_session(&mut self) -> Verdict {
        if self.sessions.is_empty() {
            return Ok(());
        }
        let at = self.pick(self.sessions.len());
        let session = self.sessions.swap_remove(at);
        let lives = session.members.map(|member| self.members[member].life);
        let is_up = session.members.iter().all(|&member| self.members[member].up);
        if lives == session.lives && is_up {
            let session = self.advance(session)?;
            self.sessions.extend(session.filter(|session| !matches!(session.stage, Stage::Over)));
        }
        Ok(())
    }

    /// One step of an exchange; `None` if it ends early.
    fn advance(&mut self, session: Session) -> Result<Option<Session>, String> {
        let Session { members, lives, cut, stage } = session;
        let stores = members.map(|member| &self.members[member].store);
        let stage = match stage {
            Stage::Opened(mine) => self.compare_trees(members, &mine, cut),
            Stage::Compared { sides, own, clean: false } => offer(stores, 0, sides, own),
            Stage::Compared { sides, clean: true, .. } => conclude(stores, sides, true),
            Stage::Offered { from, mut sides, own, states } => {
                let to = 1 - from;
                let mut states = states.into_iter();
                states
                    .try_for_each(|(key, state)| sides[to].accept(stores[to], key, &state).map(drop))
                    .and_then(|()| answer(stores[to], &mut sides[to]))
                    .map(|answer| Stage::Answered { from, sides, own, answer })
            }
            Stage::Answered { from, mut sides, own, answer } => {
                let gone =
                    answer.gone.iter().try_for_each(|key| sides[from].gone(stores[from], key).map(drop));
                gone.and_then(|()| {
                    let mut states = answer.states.into_iter();
                    states
                        .try_for_each(|(key, state)| sides[from].accept(stores[from], key, &state).map(drop))
                })
                .and_then(|()| {
                    if from == 0 { offer(stores, 1, sides, own) } else { conclude(stores, sides, false) }
                })
            }
            Stage::Over => Ok(Stage::Over),
        };
        match stage {
            Ok(stage) => Ok(Some(Session { members, lives, cut, stage })),
            Err(SwapError::Lost) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn compare_trees(&self, members: [usize; 2], mine: &Outset, cut: Cut) -> Result<Stage, SwapError> {
        let stores = members.map(|member| &self.members[member].store);
        let Some(theirs) = stores[1].outset(TREE, cut) else { return Ok(Stage::Over) };
        stores[0].hear_clock(TREE, self.life(members[1]), &theirs.clock);
        stores[1].hear_clock(TREE, self.life(members[0]), &mine.clock);
        let sides = [
            Swap::new(mine, theirs.clock.clone(), theirs.young.clone()),
            Swap::new(&theirs, mine.clock.clone(), mine.young.clone()),
        ];
        let clean = mine.tree.directory.total() == theirs.tree.directory.total();
        let mut entries: [Vec<Entry>; 2] =
            [0, 1].map(|side| stores[side].entries(TREE, mine.tree.directory.interval(), cut).unwrap());
        for (side, store) in sides.iter().zip(stores) {
            side.check(store)?;
        }
        let [here, there] = &mut entries;
        let differ = |ours: &[Entry], others: &[Entry]| {
            let ours = ours.iter().filter(|entry| !others.contains(entry));
            ours.map(|entry| entry.position).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        let own = [differ(here, there), differ(there, here)];
        Ok(Stage::Compared { sides, own, clean })
    }

    /// A clock covers what is held, or was overwritten, or buried, and nothing that was never written.
    fn check_clock(&self, member: usize) -> Verdict {
        let Member { store, rotten, .. } = &self.members[member];
        if *rotten && store.counters().bad_records == 0 {
            return Ok(());
        }
        let clock = store.clock(TREE);
        let covered = self.covered(&clock);
        let claimed: u64 = clock.runs().map(|(first, last)| last - first.seq + 1).sum();
        if claimed != u64::from(covered.count_ones()) {
            return Err(format!("{member} covers dots that nobody gave: {clock:?}"));
        }
        let mut held = 0;
        for key in 0..self.keys.len() {
            held |= self.set(&self.state(member, key))?;
        }
        if store.clock(TREE) != clock {
            return Ok(());
        }
        let over = self.overwritten_by(covered | self.buried) | self.buried;
        match covered & !held & !over {
            0 => Ok(()),
            wrong => Err(format!("{member} covers {:?} and neither holds nor outlived it", names(wrong))),
        }
    }

    /// Ends all trouble, and exchanges until nothing changes.
    fn heal(&mut self) -> Verdict {
        self.sessions.clear();
        for member in 0..MEMBERS {
            self.members[member].up = true;
            // What rotted is found.
            self.members[member].store.scan(None, usize::MAX).unwrap();
            mend(&self.members[member].store);
            self.members[member].rotten = false;
        }
        while !self.flying.is_empty() {
            self.deliver()?;
        }
        for round in 0..ROUNDS_MAX {
            // In the end nothing is young.
            self.now += 60_000;
            let cut = if round % 2 == 0 { Cut::NONE } else { Cut::at(self.now, 5000) };
            (0..MEMBERS).for_each(|it| self.members[it].store.settle(self.time_of(it)));
            (0..MEMBERS).try_for_each(|holder| self.deliver_hints(holder))?;
            let before = self.everything();
            for one in 0..MEMBERS {
                for two in self.owners.into_iter().filter(|&two| two != one) {
                    let mut session = self.session([one, two], cut);
                    while let Some(under_way) = session.filter(|it| !matches!(it.stage, Stage::Over)) {
                        session = self.advance(under_way)?;
                    }
                }
                self.purge(one)?;
                self.check_clock(one)?;
            }
            let is_over = self.members.iter().all(|it| it.store.backlogs().is_empty());
            if is_over && before == self.everything() {
                return self.judge();
            }
        }
        Err("it does not come to rest".to_owned())
    }

    /// What was brought together is on every owner's disk; what went with a disk is gone for good.
    fn settle(&mut self) {
        let known = self.covered(&self.members[self.owners[0]].store.clock(TREE));
        for (number, version) in self.versions.iter_mut().enumerate() {
            version.copies =
                if known & 1 << number == 0 { BTreeSet::new() } else { BTreeSet::from(self.owners) };
        }
        self.disks_lost = 0;
    }

    fn everything(&self) -> Vec<(Vec<KeyState>, Causal)> {
        let of = |member| (0..self.keys.len()).map(|key| self.state(member, key)).collect();
        (0..MEMBERS).map(|member| (of(member), self.members[member].store.clock(TREE))).collect()
    }

    fn judge(&mut self) -> Verdict {
        let everything = self.everything();
        let owned = &everything[self.owners[0]];
        if self.owners.iter().any(|&owner| everything[owner] != *owned) {
            return Err(format!("owners differ: {everything:?}"));
        }
        let known = self.covered(&owned.1);
        let over = self.overwritten_by(known);
        let mut held = 0;
        for (states, _) in &everything {
            for state in states {
                let here = self.set(state)?;
                if here & over != 0 {
                    return Err(format!("{:?} came back", names(here & over)));
                }
                held |= here;
            }
        }
        for (version, it) in self.versions.iter().enumerate() {
            let is_gone =
                (held | over) & 1 << version == 0 && !(it.is_tombstone && known & 1 << version != 0);
            if is_gone && !it.copies.is_empty() {
                return Err(format!("{version} of key {} is lost, copies at {:?}", it.key, it.copies));
            }
        }
        for (key, state) in owned.0.iter().enumerate() {
            // A version that went with the only disk that had it may leave a dot that no clock will ever cover.
            if state.over_at() == Some(0) && owned.1.includes(state.context()) {
                return Err(format!("a tombstone of key {key} is left: {state:?} {:?}", owned.1));
            }
            if state.over_at() == Some(0) && !self.ever_lost {
                return Err(format!("no disk was lost and a tombstone of key {key} stays: {state:?}"));
            }
        }
        let skewed = self.members.iter().any(|it| it.store.counters().skewed_dots > 0);
        if skewed { Err("a dot named two values".to_owned()) } else { Ok(()) }
    }
}

fn bits(set: Set) -> impl Iterator<Item = usize> {
    (0..128).filter(move |version| set & 1 << version != 0)
}

fn names(set: Set) -> Vec<usize> {
    bits(set).collect()
}

/// All pages of what a side offers.
fn offer(
    stores: [&Store; 2],
    from: usize,
    sides: [Swap; 2],
    own: [Vec<u128>; 2],
) -> Result<Stage, SwapError> {
    let (mut states, mut after) = (Vec::new(), None);
    loop {
        let page = sides[from].offer(stores[from], &own[from], after.as_ref(), PAGE)?;
        states.extend(page.states);
        after = page.next;
        if after.is_none() {
            return Ok(Stage::Offered { from, sides, own, states });
        }
    }
}

/// All pages of what a side answers.
fn answer(store: &Store, side: &mut Swap) -> Result<Answer, SwapError> {
    let mut whole = Answer::default();
    while let Some(page) = side.answer(store, PAGE)? {
        whole.states.extend(page.states);
        whole.gone.extend(page.gone);
    }
    Ok(whole)
}

fn conclude(stores: [&Store; 2], sides: [Swap; 2], clean: bool) -> Result<Stage, SwapError> {
    for (side, store) in sides.into_iter().zip(stores) {
        drop(side.conclude(store, clean)?);
    }
    Ok(Stage::Over)
}

/// Two halves of trouble, each healed; then everything that was ever sent arrives once more.
fn run(seed: u64, without: Option<Rule>, tells: bool) -> Verdict {
    let mut world = World { tells, ..World::new(seed, without) };
    for _ in 0..2 {
        for _ in 0..STEPS {
            world.step()?;
        }
        world.heal()?;
        for write in std::mem::take(&mut world.flown) {
            world.take(write)?;
        }
        world.heal()?;
        world.settle();
    }
    Ok(())
}

#[test]
fn deleted_keys_stay_deleted_and_nothing_else_is_lost() {
    for seed in 0..SEEDS {
        if let Err(broken) = run(seed, None, false) {
            drop(run(seed, None, true));
            panic!("seed {seed}: {broken}");
        }
    }
}

#[test]
fn every_rule_is_needed() {
    for rule in [
        Rule::NotTakenBack,
        Rule::SiblingsOnly,
        Rule::PurgedOnProof,
        Rule::ClocksWhenClean,
        Rule::ClocksAtTheCut,
        Rule::HolderLearns,
        Rule::RebuiltWhenLost,
        Rule::ActorPerLife,
    ] {
        let holds = |&seed: &u64| {
            let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, Some(rule), false)));
            matches!(outcome, Ok(Ok(())))
        };
        let broken = (0..SEEDS).find(|seed| !holds(seed));
        println!("without {rule:?} seed {broken:?} breaks");
        assert!(broken.is_some(), "{rule:?} makes no difference");
    }
}

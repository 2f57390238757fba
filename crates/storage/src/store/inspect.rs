//! Owns looking through everything an engine holds, for a stopped member: what there is, and what is wrong with it.
//! Refuses to change anything, and to stop at what is damaged.

use super::hints::{Backlog, read_hint};
use super::scan::{Records, read_state};
use crate::engine::{Engine, ReadError, Table};
use crate::format::{self, BadRecord, IDENTITY, IdentityBody, SumBody};
use crate::key::{Layout, StoreKey};
use crate::version::{Causal, Content, KeyState};
use bytes::Bytes;
use chinwag_merkle::TreeId;
use std::collections::BTreeMap;

/// Of the records with a fault this many are described; all are counted.
const FAULTS_MAX: usize = 100;

/// What an engine holds.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// Which directory it is and its last generation, see [`Identity`](super::Identity); `None` if it never was a member's,
    /// or no longer knows.
    pub identity: Option<(u64, u64)>,
    /// How many partitions its clocks are kept for.
    pub partitions: Option<u32>,
    /// Records and their bytes by table, as they were written and before compression, in the order of [`Table::ALL`].
    pub tables: [Size; Table::ALL.len()],
    /// Keys by the number of their siblings, tombstones included.
    pub siblings: BTreeMap<usize, u64>,
    /// Versions that are tombstones.
    pub tombstones: u64,
    /// Hints by target.
    pub hints: Vec<Backlog>,
    /// The trees that have a clock, and how many actors each knows.
    pub clocks: BTreeMap<TreeId, usize>,
    /// What the member noted, by name.
    pub notes: BTreeMap<String, Bytes>,
    /// How keys belong to trees, if the directory knows.
    layout: Option<Layout>,
    /// What is wrong, the first of it.
    pub faults: Vec<Fault>,
    /// How much is wrong.
    pub fault_count: u64,
}

/// How much a table holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Records.
    pub records: u64,
    /// Bytes of their keys and bodies.
    pub bytes: u64,
}

/// Something that is wrong.
#[derive(Debug, Clone)]
pub struct Fault {
    /// In which table.
    pub table: Table,
    /// Where in it.
    pub place: Bytes,
    /// What.
    pub reason: String,
}

/// One thing an engine holds, as it is come by.
#[derive(Debug)]
pub enum Item<'a> {
    /// A key of this tree.
    State {
        /// The key's tree, if the directory knows how keys belong to trees.
        tree: Option<TreeId>,
        /// The key.
        key: &'a StoreKey,
        /// What is stored of it.
        state: &'a KeyState,
    },
    /// A hint.
    Hint {
        /// For whom.
        target: u64,
        /// The key.
        key: &'a StoreKey,
        /// What is parked of it.
        state: &'a KeyState,
    },
    /// A record of another kind, or one with a fault.
    Other,
}

/// Looks through all that `engine` holds; `visit` sees each record as it is read.
///
/// # Errors
/// [`ReadError::Io`] and [`ReadError::Refused`]; damage is not an error but a finding.
pub fn inspect(engine: &dyn Engine, mut visit: impl FnMut(Item<'_>)) -> Result<Inspection, ReadError> {
    let mut found = Inspection::default();
    found.look_at_meta(engine, &mut visit)?;
    let clocks = found.look_at_clocks(engine, &mut visit)?;
    found.look_at_keys(engine, &clocks, &mut visit)?;
    found.look_at_hints(engine, &mut visit)?;
    found.look_at_trees(engine, &mut visit)?;
    Ok(found)
}

impl Inspection {
    /// How much a table holds.
    #[must_use]
    pub fn size(&self, table: Table) -> Size {
        let [keys, hints, clocks, meta, sums, marks] = self.tables;
        match table {
            Table::Keys => keys,
            Table::Hints => hints,
            Table::Clocks => clocks,
            Table::Meta => meta,
            Table::Sums => sums,
            Table::Marks => marks,
        }
    }

    fn look_at_meta(
        &mut self,
        engine: &dyn Engine,
        visit: &mut impl FnMut(Item<'_>),
    ) -> Result<(), ReadError> {
        let mut records = Records::new(Table::Meta, Bytes::new(), None);
        while let Some((place, record)) = records.next(engine)? {
            self.count(Table::Meta, &place, &record);
            visit(Item::Other);
            let read = if place == IDENTITY {
                format::open::<IdentityBody>(Table::Meta, &place, &record).map(|body| self.identify(body))
            } else {
                format::open::<Bytes>(Table::Meta, &place, &record).map(|note| self.keep_note(&place, note))
            };
            self.report(Table::Meta, &place, read);
        }
        if self.identity.is_none() {
            self.fault(Table::Meta, &Bytes::from_static(IDENTITY), "the directory does not know who it is");
        }
        Ok(())
    }

    fn keep_note(&mut self, place: &Bytes, note: Bytes) {
        if let Some(name) = format::parse_note_key(place) {
            self.notes.insert(name, note);
        }
    }

    fn identify(&mut self, body: IdentityBody) {
        let IdentityBody { directory, generation, partitions, n, own_n } = body;
        self.identity = Some((directory, generation));
        self.partitions = Some(partitions);
        self.layout = Layout::new(partitions, n, own_n);
    }

    fn look_at_clocks(
        &mut self,
        engine: &dyn Engine,
        visit: &mut impl FnMut(Item<'_>),
    ) -> Result<BTreeMap<TreeId, Causal>, ReadError> {
        let mut clocks = BTreeMap::new();
        let mut records = Records::new(Table::Clocks, Bytes::new(), None);
        while let Some((place, record)) = records.next(engine)? {
            self.count(Table::Clocks, &place, &record);
            visit(Item::Other);
            let tree = format::parse_clock_key(&place).ok_or(BadRecord::Truncated);
            let read = tree.and_then(|tree| {
                let clock: Causal = format::open(Table::Clocks, &place, &record)?;
                *self.clocks.entry(tree).or_default() += clock.actors().len();
                clocks.entry(tree).or_insert(Causal::EMPTY).unite(&clock);
                Ok(())
            });
            self.report(Table::Clocks, &place, read);
        }
        Ok(clocks)
    }

    fn look_at_keys(
        &mut self,
        engine: &dyn Engine,
        clocks: &BTreeMap<TreeId, Causal>,
        visit: &mut impl FnMut(Item<'_>),
    ) -> Result<(), ReadError> {
        let mut records = Records::new(Table::Keys, Bytes::new(), None);
        while let Some((place, record)) = records.next(engine)? {
            self.count(Table::Keys, &place, &record);
            match read_state(&place, &record) {
                Ok((key, state)) => {
                    let tree = self.layout.as_ref().map(|layout| layout.tree_of(&key));
                    visit(Item::State { tree, key: &key, state: &state });
                    self.look_at_state(&state);
                    if let Some(tree) = tree
                        && !is_covered(&state, clocks.get(&tree))
                    {
                        let reason = "the clock does not know a version that is here";
                        self.fault(Table::Keys, &place, reason);
                    }
                }
                Err(bad) => {
                    visit(Item::Other);
                    self.report(Table::Keys, &place, Err(bad));
                }
            }
        }
        Ok(())
    }

    fn look_at_state(&mut self, state: &KeyState) {
        *self.siblings.entry(state.siblings().len()).or_default() += 1;
        let tombstones = state.siblings().iter().filter(|it| it.content == Content::Tombstone);
        self.tombstones += tombstones.count() as u64;
    }

    fn look_at_hints(
        &mut self,
        engine: &dyn Engine,
        visit: &mut impl FnMut(Item<'_>),
    ) -> Result<(), ReadError> {
        let mut records = Records::new(Table::Hints, Bytes::new(), None);
        while let Some((place, record)) = records.next(engine)? {
            self.count(Table::Hints, &place, &record);
            match read_hint(&place, &record) {
                Ok((target, key, hint)) => {
                    visit(Item::Hint { target, key: &key, state: &hint.state });
                    self.add_hint(target, (place.len() + record.len()) as u64, hint.parked_at);
                }
                Err(bad) => {
                    visit(Item::Other);
                    self.report(Table::Hints, &place, Err(bad));
                }
            }
        }
        Ok(())
    }

    fn look_at_trees(
        &mut self,
        engine: &dyn Engine,
        visit: &mut impl FnMut(Item<'_>),
    ) -> Result<(), ReadError> {
        for table in [Table::Sums, Table::Marks] {
            let mut records = Records::new(table, Bytes::new(), None);
            while let Some((place, record)) = records.next(engine)? {
                self.count(table, &place, &record);
                visit(Item::Other);
                let read = match table {
                    Table::Sums => format::open::<SumBody>(table, &place, &record).map(drop),
                    _ => format::open::<()>(table, &place, &record),
                };
                self.report(table, &place, read);
            }
        }
        Ok(())
    }

    /// Hints come in order of their targets.
    fn add_hint(&mut self, target: u64, bytes: u64, parked_at: u64) {
        match self.hints.last_mut() {
            Some(backlog) if backlog.target == target => {
                backlog.hints += 1;
                backlog.bytes += bytes;
                backlog.oldest = backlog.oldest.min(parked_at);
            }
            Some(_) | None => self.hints.push(Backlog { target, hints: 1, bytes, oldest: parked_at }),
        }
    }

    fn count(&mut self, table: Table, place: &Bytes, record: &Bytes) {
        let [keys, hints, clocks, meta, sums, marks] = &mut self.tables;
        let size = match table {
            Table::Keys => keys,
            Table::Hints => hints,
            Table::Clocks => clocks,
            Table::Meta => meta,
            Table::Sums => sums,
            Table::Marks => marks,
        };
        size.records += 1;
        size.bytes += (place.len() + record.len()) as u64;
    }

    fn report(&mut self, table: Table, place: &Bytes, read: Result<(), BadRecord>) {
        if let Err(bad) = read {
            self.fault(table, place, &bad.to_string());
        }
    }

    fn fault(&mut self, table: Table, place: &Bytes, reason: &str) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { table, place: place.clone(), reason: reason.to_owned() });
        }
    }
}

/// Whether a clock knows every version of a state.
fn is_covered(state: &KeyState, clock: Option<&Causal>) -> bool {
    state.siblings().iter().all(|it| clock.is_some_and(|clock| clock.covers(it.dot)))
}

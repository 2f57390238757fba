//! One key's share of a check: what its reads missed, which of them are suspect, and what no store may do to a key.

use super::Model;
use super::sessions::{Sessions, Suspect};
use crate::history::{Dot, Kind, Operation};
use crate::metrics::{Evidence, Judge, Order, Slot, Slots, sweep};
use std::collections::{BTreeMap, BTreeSet};

/// One key with its operations.
#[derive(Debug)]
pub(crate) struct Key<'a> {
    pub(crate) number: usize,
    /// The places of its operations in the ledger, in the order of `order.operations()`.
    pub(crate) places: &'a [u32],
    pub(crate) order: &'a Order<'a>,
    pub(crate) judge: &'a Judge<'a>,
    /// Acknowledged writes that are lost.
    pub(crate) lost: BTreeSet<Slot>,
    /// Whether the key was read after all writing to it had ended, twice to the same effect, so that it can be said what is
    /// lost.
    pub(crate) is_settled: bool,
    /// The read that shows it: the last.
    pub(crate) last_read: Option<u32>,
}

/// What orders the writes of a key.
pub(crate) fn evidence(model: Model) -> Evidence {
    match model {
        Model::Siblings => Evidence::ReturnedOrCovered,
        Model::Register => Evidence::RealTime,
    }
}

/// Two reads, by their places in `order.operations()`.
pub(crate) type Pair = (usize, usize);

impl<'a> Key<'a> {
    pub(crate) fn new(number: usize, places: &'a [u32], order: &'a Order<'a>, judge: &'a Judge<'a>) -> Self {
        let mut key =
            Self { number, places, order, judge, lost: BTreeSet::new(), is_settled: false, last_read: None };
        key.settle();
        key
    }

    pub(crate) fn place(&self, at: usize) -> u32 {
        self.places[at]
    }

    pub(crate) fn place_of(&self, slot: Slot) -> u32 {
        self.places[self.order.place(slot)]
    }

    /// The writes that a read returned.
    pub(crate) fn returned(&self, at: usize) -> BTreeSet<Slot> {
        let versions = self.order.operations()[at].returned.iter();
        versions.filter_map(|version| self.order.slot_of(version)).collect()
    }

    /// Finds what is lost: what no read sent after the end of all writing knows, once the last two of them returned the same.
    /// A delete explains the absence of what it knew, and is itself kept as long as nothing of that is returned.
    fn settle(&mut self) {
        let ends = self.order.writes().map(|(_, write)| write.done.unwrap_or(u64::MAX));
        let quiet = ends.max().unwrap_or(0);
        let sent = |at: usize| self.order.operations()[at].sent;
        let late: Vec<usize> = self.judge.reads.iter().copied().filter(|&at| sent(at) > quiet).collect();
        self.last_read = late.last().map(|&at| self.places[at]);
        let dots = |at: usize| -> BTreeSet<Dot> {
            self.order.operations()[at].returned.iter().map(|version| version.dot).collect()
        };
        self.is_settled = matches!(late.as_slice(), [.., one, other] if dots(*one) == dots(*other));
        if !self.is_settled {
            return;
        }
        let returned: BTreeSet<Slot> = late.iter().flat_map(|&at| self.returned(at)).collect();
        let deletes = self.order.writes().filter(|(_, write)| write.kind == Kind::Delete);
        let effective = deletes.filter(|&(slot, _)| {
            !returned.iter().any(|&held| held != slot && self.order.known_by(slot).contains(held))
        });
        let by_deletes = effective.flat_map(|(slot, _)| self.order.known_by(slot).ranges());
        let by_reads = late.iter().flat_map(|&at| self.order.known(at).ranges());
        let kept = Slots::union(by_reads.chain(by_deletes).copied().collect());
        let acknowledged = self.judge.acknowledged.iter().map(|&(_, slot)| slot);
        self.lost = acknowledged.filter(|&slot| !kept.contains(slot)).collect();
    }

    /// Consecutive reads of one session, with a write that the first returned and the second misses, if there is one.
    pub(crate) fn consecutive(&self, sessions: &Sessions<'_>) -> Vec<(Pair, Option<Slot>)> {
        let mut by_session: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for &at in &self.judge.reads {
            by_session.entry(sessions.of(self.place(at))).or_default().push(at);
        }
        let mut pairs = Vec::new();
        for reads in by_session.values_mut() {
            reads.sort_by_key(|&at| sessions.position[self.place(at) as usize]);
            for pair in reads.windows(2) {
                let known = self.order.known(pair[1]);
                let returned = self.returned(pair[0]).into_iter();
                let missed: Vec<Slot> = returned.filter(|&slot| !known.contains(slot)).collect();
                pairs.push(((pair[0], pair[1]), self.most_telling(&missed)));
            }
        }
        pairs
    }

    /// One of the writes that a read misses: rather one that is not lost, which has a name of its own.
    pub(crate) fn most_telling(&self, missed: &[Slot]) -> Option<Slot> {
        missed.iter().find(|slot| !self.lost.contains(slot)).or_else(|| missed.first()).copied()
    }

    /// Each read of a session that had completed a write of the key, with one of those that it misses, if it misses any.
    pub(crate) fn after_own_write(&self, sessions: &Sessions<'_>) -> Vec<(usize, Option<Slot>)> {
        let at = |place: u32| (sessions.of(place), sessions.position[place as usize]);
        let mut own: BTreeMap<u32, Vec<(u32, Slot)>> = BTreeMap::new();
        for &(_, slot) in &self.judge.acknowledged {
            let (session, position) = at(self.place_of(slot));
            own.entry(session).or_default().push((position, slot));
        }
        own.values_mut().for_each(|writes| writes.sort_unstable());
        let mut missed: BTreeMap<usize, Vec<Slot>> = BTreeMap::new();
        let sent = |read: usize| self.order.operations()[read].sent;
        // An answer may come at the moment the next question is asked.
        let reads = self.judge.reads.iter().map(|&read| (sent(read) + 1, read));
        sweep(self.order, reads, &self.judge.acknowledged, |read, missing, _| {
            if !missing.is_empty() {
                missed.insert(read, missing.to_vec());
            }
        });
        let found = self.judge.reads.iter().filter_map(|&read| {
            let (session, position) = at(self.place(read));
            let writes = own.get(&session)?;
            let earlier = &writes[..writes.partition_point(|&(write, _)| write < position)];
            let misses = |slot: &Slot| {
                let (writer, write) = at(self.place_of(*slot));
                writer == session && write < position
            };
            let own: Vec<Slot> = missed.get(&read).into_iter().flatten().copied().filter(misses).collect();
            (!earlier.is_empty()).then(|| (read, self.most_telling(&own)))
        });
        found.collect()
    }

    /// For each read that misses anything that may be in its past: of each session the earliest acknowledged write among
    /// it, and the earliest read that returned any of it.
    pub(crate) fn suspects(&self, sessions: &Sessions<'_>, suspects: &mut Vec<Suspect>) {
        // A write can be in someone's past once it was acknowledged or a read that returned it has ended.
        let open = |(slot, _): &(Slot, &Operation)| self.order.settled(*slot) < u64::MAX;
        let recognizable =
            self.order.writes().filter(open).filter(|(slot, _)| self.order.is_recognizable(*slot));
        let mut elements: Vec<(u64, Slot)> =
            recognizable.map(|(slot, _)| (self.order.settled(slot), slot)).collect();
        elements.sort_unstable();
        let done = |at: usize| self.order.operations()[at].done.unwrap_or(u64::MAX);
        let mut reads: Vec<(u64, usize)> =
            self.judge.reads.iter().map(|&at| (done(at).saturating_add(1), at)).collect();
        reads.sort_unstable();
        let readers = self.readers(sessions);
        sweep(self.order, reads.into_iter(), &elements, |at, missing, _| {
            let mut earliest: BTreeMap<(bool, u32), (u32, Suspect)> = BTreeMap::new();
            let read = self.place(at);
            for &slot in missing {
                let write = self.place_of(slot);
                let own = self.order.write(slot).is_acknowledged_write().then_some(write);
                let by_others = readers.get(&slot).into_iter().flatten().copied();
                for (is_read, obliging) in
                    own.map(|it| (false, it)).into_iter().chain(by_others.map(|it| (true, it)))
                {
                    let session = sessions.of(obliging);
                    let position = sessions.position[obliging as usize];
                    let suspect = (position, Suspect { read, write, obliging });
                    let first = earliest.entry((is_read, session)).or_insert(suspect);
                    if position < first.0 {
                        *first = suspect;
                    }
                }
            }
            suspects.extend(earliest.into_values().map(|(_, suspect)| suspect));
        });
    }

    /// The first read of each session that returned each write.
    fn readers(&self, sessions: &Sessions<'_>) -> BTreeMap<Slot, Vec<u32>> {
        let mut first: BTreeMap<(Slot, u32), u32> = BTreeMap::new();
        for &at in &self.judge.reads {
            let read = self.place(at);
            // What was returned before it was sent is an unwritten value, and no evidence.
            let done = self.order.operations()[at].done;
            for slot in self.returned(at).into_iter().filter(|&slot| Some(self.order.write(slot).sent) < done)
            {
                let known = first.entry((slot, sessions.of(read))).or_insert(read);
                if sessions.position[read as usize] < sessions.position[*known as usize] {
                    *known = read;
                }
            }
        }
        let mut readers: BTreeMap<Slot, Vec<u32>> = BTreeMap::new();
        for ((slot, _), read) in first {
            readers.entry(slot).or_default().push(read);
        }
        readers
    }

    /// Reads that returned a value which nobody had written on this key by the time they ended, or that was refused.
    pub(crate) fn unwritten(&self) -> Vec<(usize, String)> {
        let found = self.judge.reads.iter().flat_map(|&at| {
            let read = self.order.operations()[at];
            read.returned.iter().filter_map(move |version| {
                let value = version.value.as_ref()?;
                let written = self.order.slot_of(version).map(|slot| self.order.write(slot));
                let is_right = written.is_some_and(|write| Some(write.sent) <= read.done);
                (!is_right).then(|| (at, value.clone()))
            })
        });
        found.collect()
    }
}

//! A scripted member whose disk dies at every call it makes: what was acknowledged at `fsync` is there afterwards,
//! nothing else appears, no dot is given twice, and the store opens every time.

use super::*;
use crate::engine::{Fault, Platter};
use crate::version::Dot;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Scripts, and steps of each. Every call of every script fails once in every way.
const SCRIPTS: u64 = 40;
const STEPS: usize = 40;

const NAMES: [&str; 3] = ["a", "b", "c"];
const TARGETS: RangeInclusive<u64> = 1..=2;

/// What the scripted member is asked, or does.
#[derive(Debug, Clone)]
enum Step {
    Put { key: &'static str, seen: bool, delete: bool },
    Merge { key: &'static str, actor: u64, seq: u64 },
    Park { target: u64, key: &'static str, seq: u64 },
    Unpark { target: u64, key: &'static str },
    MergeClock { actor: u64, seq: u64 },
    Note,
    Sync,
    Restart,
    Kill,
}

fn script(seed: u64) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut step = |_| {
        let key = NAMES[rng.random_range(0..NAMES.len())];
        let target = rng.random_range(TARGETS);
        let (actor, seq) = (rng.random_range(100..102), rng.random_range(1..5));
        match rng.random_range(0..20) {
            0..=5 => Step::Put { key, seen: rng.random(), delete: rng.random_bool(0.2) },
            6..=8 => Step::Merge { key, actor, seq },
            9..=10 => Step::Park { target, key, seq },
            11..=12 => Step::Unpark { target, key },
            13 => Step::MergeClock { actor: 200, seq },
            14 => Step::Note,
            15..=17 => Step::Sync,
            18 => Step::Restart,
            _ => Step::Kill,
        }
    };
    (0..STEPS).map(&mut step).collect()
}

/// Whether the disk gave the store what it asked; `Err` says that it did not, and that the step is to be done again.
type Done = Result<(), String>;

struct Member {
    platter: Platter,
    store: Option<Store>,
    /// Every dot ever given, by whom and in which place of the script does not matter: none twice.
    given: BTreeSet<Dot>,
    /// States as they went to other replicas: before they were durable here.
    sent: BTreeMap<&'static str, KeyState>,
}

impl Member {
    fn new() -> Self {
        Self { platter: Platter::default(), store: None, given: BTreeSet::new(), sent: BTreeMap::new() }
    }

    fn open(&mut self) -> Done {
        self.store = None;
        let store = Store::open(self.platter.engine(), &StoreOptions { cache_bytes: 0, ..options() });
        self.store = Some(store.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("a step comes after the opening")
    }

    fn take(&mut self, index: usize, step: &Step) -> Done {
        let failed = |error: &dyn std::error::Error| error.to_string();
        match *step {
            Step::Put { key: name, seen, delete } => {
                let held = self.store().get(&key(name)).map_err(|error| failed(&error))?.unwrap_or_default();
                let seen = if seen || delete { held.context().clone() } else { blind() };
                let content =
                    if delete { Content::Tombstone } else { Content::Value(index.to_string().into()) };
                let written =
                    self.store().put(&key(name), &seen, content, NOW).map_err(|error| failed(&error))?;
                assert!(self.given.insert(written.dot), "{:?} was given before", written.dot);
                self.sent.insert(name, written.state);
            }
            Step::Merge { key: name, actor, seq } => {
                let state = foreign_state(actor, seq, "from elsewhere");
                drop(self.store().merge(&key(name), &state).map_err(|error| failed(&error))?);
            }
            Step::Park { target, key: name, seq } => {
                let state = foreign_state(300 + target, seq, "parked");
                drop(self.store().park(target, &key(name), &state, 10).map_err(|error| failed(&error))?);
            }
            Step::Unpark { target, key: name } => {
                let hint = self.store().hinted(target, &key(name)).map_err(|error| failed(&error))?;
                if let Some(hint) = hint {
                    drop(self.store().unpark(target, &key(name), &hint).map_err(|error| failed(&error))?);
                }
            }
            Step::MergeClock { actor, seq } => {
                let clock: Causal = [Dot::new(Actor(actor), seq)].into_iter().collect();
                self.store().admit().map_err(|error| failed(&error))?;
                drop(self.store().lock().merge_clock(tree(3), &clock));
            }
            Step::Note => {
                let note = index.to_string();
                drop(self.store().put_note("note", note.as_bytes()).map_err(|error| failed(&error))?);
            }
            Step::Sync => return if self.platter.sync() { Ok(()) } else { Err("no sync".to_owned()) },
            Step::Restart => {
                self.store().close().map_err(|error| failed(&error))?;
                return self.open();
            }
            Step::Kill => return self.open(),
        }
        Ok(())
    }
}

/// All that a store says it holds.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    states: Vec<(StoreKey, KeyState)>,
    hints: Vec<(StoreKey, KeyState)>,
    clocks: Vec<Causal>,
    note: Option<Bytes>,
}

fn held(store: &Store) -> Held {
    let hints = TARGETS.flat_map(|target| store.hints(target, None, 99).unwrap().states).collect();
    Held {
        states: store.scan(None, 99).unwrap().states,
        hints,
        clocks: (0..4).map(|partition| store.clock(tree(partition))).collect(),
        note: store.note("note").unwrap(),
    }
}

/// What the store holds before the first step and after each, when nothing goes wrong; and how many calls that takes.
fn undisturbed(script: &[Step]) -> (Vec<Held>, u64) {
    let look = |member: &Member| member.platter.aside(|| held(member.store()));
    let mut member = Member::new();
    member.open().unwrap();
    let mut all = vec![look(&member)];
    for (index, step) in script.iter().enumerate() {
        member.take(index, step).unwrap();
        all.push(look(&member));
    }
    (all, member.platter.calls())
}

#[test]
fn a_loss_of_power_at_any_call_takes_nothing_that_was_acknowledged() {
    for seed in 0..SCRIPTS {
        let script = script(seed);
        let (expected, calls) = undisturbed(&script);
        for fault in [Fault::PowerLoss, Fault::Error] {
            for call in 1..=calls {
                let mut member = Member::new();
                member.platter.break_at(call, fault);
                let (durable, submitted) = run_until_it_dies(&mut member, &script);
                let about = format!("script {seed}, {fault:?} at call {call}, step {submitted}");
                for kept in 0..=member.platter.at_risk() {
                    let about = format!("{about}, {kept} of {} batches left", member.platter.at_risk());
                    let platter = member.platter.after_power_loss(kept);
                    let store = Store::open(platter.engine(), &options());
                    let store = store.unwrap_or_else(|error| panic!("{about}: {error}"));
                    let found = held(&store);
                    let allowed = &expected[durable..=submitted.min(script.len())];
                    assert!(
                        allowed.contains(&found),
                        "{about}: not as after steps {durable} to {submitted}: {found:?}"
                    );
                    assert_eq!(store.wrong_trees().unwrap(), [], "{about}");
                    goes_on(&member, &store, &about);
                }
            }
        }
    }
}

/// Runs the script until the disk is no more. Returns how many steps are durable at least, and how many at most.
/// A read that is refused once is asked again.
fn run_until_it_dies(member: &mut Member, script: &[Step]) -> (usize, usize) {
    if member.open().is_err() {
        return (0, 0);
    }
    let mut durable = 0;
    for (index, step) in script.iter().enumerate() {
        let done = member.take(index, step).or_else(|_| match step {
            // The process ends as soon as it hears of a failure; what comes next is a start.
            Step::Restart | Step::Kill => Err(String::new()),
            _ => member.take(index, step),
        });
        // A commit that fails tells its future, and the next call: the step itself may know nothing of it.
        if done.is_err() || member.platter.is_over() {
            return (durable, index + 1);
        }
        if member.platter.at_risk() == 0 {
            durable = index + 1;
        }
    }
    (durable, script.len())
}

/// The reopened store gives new dots only, and takes back whatever it had sent to others and lost.
fn goes_on(member: &Member, store: &Store, about: &str) {
    for name in NAMES {
        let written = put(store, &key(name), &blind(), "after");
        assert!(!member.given.contains(&written.dot), "{about}: {:?} was given before", written.dot);
        let Some(sent) = member.sent.get(name) else { continue };
        let merged = store.merge(&key(name), sent).unwrap().state;
        assert!(contents(&merged).contains(&value("after")), "{about}: {merged:?}");
        let lost = |it: &&Sibling| !merged.context().covers(it.dot);
        assert_eq!(sent.siblings().iter().find(lost), None, "{about}");
        let mut joined = sent.clone();
        joined.merge(&merged);
        assert_eq!(joined, merged, "{about}: a merge takes all in");
    }
}

//! What members believed of each other over a run, held against what was so: who was given up by a member that could
//! reach it, how soon all agreed again after the last heal, how soon a restarted member was known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chinwag_client::wire::{ChangeKind, MemberChange};
use chinwag_fuzz_net::Scenario;
use serde::{Deserialize, Serialize};

/// A member that was cut off may be believed down for this long after: the news of its return needs a moment.
const AFTERMATH: Duration = Duration::from_secs(5);

/// One life of a member: from a start to the crash that ended it, and what it learned of the others. Times count from the
/// start of the run; what happened before it happened at zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The member's name.
    pub member: String,
    /// When it was started.
    pub from: Duration,
    /// When it crashed, if it did.
    pub until: Option<Duration>,
    /// Its generation at its start. What is said of an earlier one is about a former life.
    pub generation: u64,
    /// What it learned, and when.
    pub changes: Vec<(Duration, MemberChange)>,
}

/// A member believed another down that ran and could be reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WronglyDown {
    /// Who believed it.
    pub who: String,
    /// Of whom.
    pub whom: String,
    /// Milliseconds from the start.
    pub at_ms: f64,
    /// Whether it was its own finding; otherwise it was told.
    pub own: bool,
}

/// What the members believed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Beliefs {
    /// Healthy members that were believed down by others which no cut and no pause kept from them.
    pub wrongly_down: Vec<WronglyDown>,
    /// Milliseconds from the last heal to when every member first believed every other alive; none if that never came, or
    /// nothing was healed.
    pub one_view_after_ms: Option<f64>,
    /// Milliseconds from a member's restart to when every other knew that it was back: the longest of all restarts.
    pub restart_known_after_ms: Option<f64>,
}

impl Beliefs {
    /// Holds what members learned in all their lives against what the scenario did to them.
    #[must_use]
    pub fn new(lives: &[Life], scenario: &Scenario) -> Self {
        let after = |heal| one_view(lives, heal).map(|at| milliseconds(at.saturating_sub(heal)));
        Self {
            wrongly_down: wrongly_down(lives, scenario),
            one_view_after_ms: scenario.last_heal().and_then(after),
            restart_known_after_ms: lives
                .iter()
                .filter_map(|life| known_after(life, lives))
                .max()
                .map(milliseconds),
        }
    }

    /// Takes in those of another run: all that was wrong, and the longer of the times.
    pub fn add(&mut self, other: Self) {
        self.wrongly_down.extend(other.wrongly_down);
        let longer = |one: Option<f64>, other: Option<f64>| one.into_iter().chain(other).reduce(f64::max);
        self.one_view_after_ms = longer(self.one_view_after_ms, other.one_view_after_ms);
        self.restart_known_after_ms = longer(self.restart_known_after_ms, other.restart_known_after_ms);
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Life {
    fn is_at(&self, at: Duration) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

fn wrongly_down(lives: &[Life], scenario: &Scenario) -> Vec<WronglyDown> {
    let mut wrong = Vec::new();
    for life in lives {
        for (at, change) in life.changes.iter().filter(|(_, change)| change.kind == ChangeKind::Down) {
            let healthy =
                |it: &&Life| it.member == change.name && it.is_at(*at) && it.generation <= change.generation;
            let apart = || scenario.apart(&life.member, &change.name, at.saturating_sub(AFTERMATH)..=*at);
            if lives.iter().any(|it| healthy(&it)) && !apart() {
                wrong.push(WronglyDown {
                    who: life.member.clone(),
                    whom: change.name.clone(),
                    at_ms: milliseconds(*at),
                    own: change.by.as_ref() == Some(&life.member),
                });
            }
        }
    }
    wrong
}

/// The first moment from `heal` on at which every running member believes every other alive.
fn one_view(lives: &[Life], heal: Duration) -> Option<Duration> {
    // At one moment a life ends before another begins, and a member starts before it learns.
    let mut moments: BTreeSet<(Duration, u8, usize, usize)> = BTreeSet::new();
    for (index, life) in lives.iter().enumerate() {
        moments.extend(life.until.map(|until| (until, 0, index, 0)));
        moments.insert((life.from, 1, index, 0));
        moments.extend(life.changes.iter().enumerate().map(|(which, (at, _))| (*at, 2, index, which)));
    }
    let mut running: BTreeMap<&str, &Life> = BTreeMap::new();
    let mut alive: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let agree = |running: &BTreeMap<&str, &Life>, alive: &BTreeMap<(&str, &str), u64>| {
        let knows = |who: &str, whom: &str, generation: u64| {
            who == whom || alive.get(&(who, whom)).is_some_and(|&it| it >= generation)
        };
        running.keys().all(|who| running.iter().all(|(whom, life)| knows(who, whom, life.generation)))
    };
    let mut healed = false;
    for (at, what, index, which) in moments {
        if at > heal && !healed {
            healed = true;
            if agree(&running, &alive) {
                return Some(heal);
            }
        }
        let life = &lives[index];
        let who = life.member.as_str();
        match what {
            0 => drop(running.remove(who)),
            1 => {
                running.insert(who, life);
                alive.retain(|(it, _), _| *it != who);
            }
            _ => learn(&mut alive, who, &life.changes[which].1),
        }
        if healed && agree(&running, &alive) {
            return Some(at);
        }
    }
    (!healed && agree(&running, &alive)).then_some(heal)
}

fn learn<'a>(alive: &mut BTreeMap<(&'a str, &'a str), u64>, who: &'a str, change: &'a MemberChange) {
    let pair = (who, change.name.as_str());
    match change.kind {
        ChangeKind::Up | ChangeKind::Refuted => drop(alive.insert(pair, change.generation)),
        ChangeKind::Suspect | ChangeKind::Down | ChangeKind::Left => drop(alive.remove(&pair)),
        ChangeKind::MetaChanged | ChangeKind::Accused => {}
    }
}

/// From a restart to when all others knew of it, those left out that crashed before; `None` for a first start.
fn known_after(life: &Life, lives: &[Life]) -> Option<Duration> {
    lives.iter().find(|it| it.member == life.member && it.from < life.from)?;
    let others = lives.iter().filter(|it| it.member != life.member && it.is_at(life.from));
    let known = |other: &Life| {
        let news = other.changes.iter().find(|(at, change)| {
            *at >= life.from
                && change.kind == ChangeKind::Up
                && change.name == life.member
                && change.generation >= life.generation
        });
        news.map(|(at, _)| *at - life.from)
    };
    others.filter_map(known).max()
}

#[cfg(test)]
mod tests;

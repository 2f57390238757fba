//! What is run: from the command line, and how often each thing is done unless the command line says.

use std::str::FromStr;

use crate::subject::{Micros, SECOND};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    Crash,
    Join,
    Boot,
    Goodbye,
    Steady,
    Slow,
    Hold,
    LongHold,
}

const SCENARIOS: [(&str, Scenario); 8] = [
    ("crash", Scenario::Crash),
    ("join", Scenario::Join),
    ("boot", Scenario::Boot),
    ("goodbye", Scenario::Goodbye),
    ("steady", Scenario::Steady),
    ("slow", Scenario::Slow),
    ("hold", Scenario::Hold),
    ("long-hold", Scenario::LongHold),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Chinwag,
    Foca,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<usize>,
    pub(crate) losses: Vec<f64>,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) subjects: Vec<Who>,
    pub(crate) seed: u64,
    /// Trials, or node-hours, in place of the usual number.
    pub(crate) amount: Option<u32>,
}

pub(crate) const USAGE: &str = "\
usage: cargo bench -p chinwag-membership --bench cluster -- [--nodes 100,1000,10000] [--loss 0,0.05,0.2]
         [--scenario crash,join,boot,goodbye,steady,slow,hold,long-hold] [--subject chinwag,foca]
         [--amount TRIALS-OR-NODE-HOURS] [--seed N]";

impl Plan {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut plan = Self {
            nodes: vec![100, 1_000, 10_000],
            losses: vec![0.0, 0.05, 0.2],
            scenarios: SCENARIOS.iter().map(|(_, scenario)| *scenario).collect(),
            subjects: vec![Who::Chinwag, Who::Foca],
            seed: 1,
            amount: None,
        };
        // Cargo itself says that this is a benchmark.
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--nodes" => plan.nodes = list(&value, number)?,
                "--loss" => plan.losses = list(&value, number)?,
                "--scenario" => plan.scenarios = list(&value, scenario)?,
                "--subject" => plan.subjects = list(&value, subject)?,
                "--amount" => plan.amount = Some(number(&value)?),
                "--seed" => plan.seed = number(&value)?,
                _ => return Err(format!("there is no {flag}")),
            }
        }
        Ok(plan)
    }

    /// How many times [`Plan::amount`] asks for anything.
    pub(crate) fn steps(&self) -> usize {
        let runs = |who, members, loss| {
            let asked = |scenario: &&Scenario| self.amount(who, **scenario, members, loss).is_some();
            self.scenarios.iter().filter(asked).count()
        };
        let cells = self.nodes.iter().flat_map(|members| self.losses.iter().map(|loss| (*members, *loss)));
        cells.map(|(members, loss)| runs(Who::Chinwag, members, loss) + runs(Who::Foca, members, loss)).sum()
    }

    /// How many trials or node-hours of a scenario to run; none where it is not asked for or takes too long.
    pub(crate) fn amount(&self, who: Who, scenario: Scenario, members: usize, loss: f64) -> Option<u32> {
        let asked = self.scenarios.contains(&scenario) && self.subjects.contains(&who);
        let usual = match (who, members) {
            (Who::Chinwag, ..=999) => chinwag_hundred(scenario),
            (Who::Chinwag, ..=4_999) => chinwag_thousand(scenario),
            (Who::Chinwag, _) => chinwag_ten_thousand(scenario, loss),
            (Who::Foca, ..=999) => foca_hundred(scenario, loss),
            (Who::Foca, ..=4_999) => foca_thousand(scenario, loss),
            (Who::Foca, _) => 0,
        };
        let amount = if usual > 0 { self.amount.unwrap_or(usual) } else { usual };
        (asked && amount > 0).then_some(amount)
    }
}

fn chinwag_hundred(scenario: Scenario) -> u32 {
    match scenario {
        Scenario::Crash | Scenario::Join => 4_000,
        Scenario::Boot => 50,
        Scenario::Goodbye => 50,
        Scenario::Steady | Scenario::Slow | Scenario::Hold => 200,
        // Recorded of a thousand only.
        Scenario::LongHold => 0,
    }
}

/// Slow members keep a thousand others busy: 7,000 member-seconds of *hold* a second, and 3,000 of *slow*.
fn chinwag_thousand(scenario: Scenario) -> u32 {
    match scenario {
        Scenario::Crash | Scenario::Join => 100,
        Scenario::Boot => 1,
        Scenario::Goodbye => 20,
        Scenario::Steady => 100,
        Scenario::Slow => 12,
        Scenario::Hold | Scenario::LongHold => 60,
    }
}

/// Whether the load grows, and how far an event goes. All views of so many take 11 GB.
fn chinwag_ten_thousand(scenario: Scenario, loss: f64) -> u32 {
    match scenario {
        Scenario::Goodbye if loss == 0.0 => 10,
        Scenario::Steady if loss == 0.0 => 150,
        _ => 0,
    }
}

/// It simulates 300,000 member-seconds a second where nothing is lost, and 40,000 where a fifth is.
fn foca_hundred(scenario: Scenario, loss: f64) -> u32 {
    let lossy = loss > 0.1;
    match scenario {
        Scenario::Crash if lossy => 120,
        Scenario::Crash => 400,
        Scenario::Join => 100,
        Scenario::Boot => 2,
        Scenario::Goodbye => 10,
        Scenario::Steady if lossy => 20,
        Scenario::Steady => 100,
        Scenario::Slow | Scenario::Hold if lossy => 10,
        Scenario::Slow | Scenario::Hold => 30,
        Scenario::LongHold => 0,
    }
}

/// It simulates 110,000 member-seconds a second where nothing is lost, 13,000 at 5 % and 1,000 at 20 %: what takes longest
/// is recorded.
fn foca_thousand(scenario: Scenario, loss: f64) -> u32 {
    match scenario {
        Scenario::Crash | Scenario::Goodbye if loss == 0.0 => 10,
        Scenario::Steady if loss == 0.0 => 50,
        Scenario::Crash | Scenario::Steady if loss < 0.1 => 5,
        _ => 0,
    }
}

pub(crate) fn burst(scenario: Scenario) -> Micros {
    if scenario == Scenario::LongHold { 18 * SECOND } else { 12 * SECOND }
}

pub(crate) fn name(scenario: Scenario) -> &'static str {
    SCENARIOS.iter().find(|(_, it)| *it == scenario).map_or("", |(name, _)| name)
}

fn list<T>(text: &str, item: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(item).collect()
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().ok().ok_or_else(|| format!("{text} is no such number"))
}

fn scenario(text: &str) -> Result<Scenario, String> {
    let found = SCENARIOS.iter().find(|(name, _)| *name == text);
    found.map(|(_, scenario)| *scenario).ok_or_else(|| format!("there is no scenario {text}"))
}

fn subject(text: &str) -> Result<Who, String> {
    match text {
        "chinwag" => Ok(Who::Chinwag),
        "foca" => Ok(Who::Foca),
        _ => Err(format!("there is no subject {text}")),
    }
}

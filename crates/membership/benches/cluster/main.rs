//! Detection, dissemination, joining, false alarms and load of simulated clusters, in virtual time: chinwag beside foca
//! 2.0, which runs in the same simulation, and beside what was recorded of a model of SWIM with Lifeguard.
//!
//! `cargo bench -p chinwag-membership --bench cluster [-- --nodes 100 --loss 0.05 --scenario crash,hold ...]`

mod chinwag;
mod estimate;
mod foca;
mod goals;
mod plan;
mod rows;
mod scenarios;
mod sim;
mod subject;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::chinwag::Chinwag;
use crate::foca::Foca;
use crate::goals::Goals;
use crate::plan::{Plan, Scenario, USAGE, Who};
use crate::rows::Row;
use crate::scenarios::{Cell, Findings};
use crate::subject::Subject;

/// Fails if a goal is missed.
fn main() -> ExitCode {
    let result = match Plan::parse(std::env::args().skip(1)) {
        Ok(plan) => run(&plan),
        Err(error) => Err(io::Error::other(format!("{error}\n{USAGE}"))),
    };
    match result {
        Ok(goals) if goals.are_met() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan) -> io::Result<Goals> {
    let mut out = io::stdout().lock();
    writeln!(out, "seed {}\n{}", plan.seed, table::LEGEND)?;
    let mut goals = Goals::default();
    let mut steps = Steps { done: 0, all: plan.steps() };
    for &members in &plan.nodes {
        for &loss in &plan.losses {
            let cell = Cell { members, loss, seed: plan.seed };
            let ours = measure::<Chinwag>(plan, Who::Chinwag, cell, &mut steps);
            let theirs = measure::<Foca>(plan, Who::Foca, cell, &mut steps);
            if !ours.is_empty() || !theirs.is_empty() {
                table::print(&mut out, &mut goals, cell, &ours, &theirs)?;
            }
            goals.learn(cell, &ours);
        }
    }
    writeln!(out, "\nseed {}: {}", plan.seed, goals.summary())?;
    Ok(goals)
}

fn measure<S: Subject>(plan: &Plan, who: Who, cell: Cell, steps: &mut Steps) -> Findings {
    let mut findings = Findings::new();
    let mut ground = None;
    for &scenario in &plan.scenarios {
        let Some(amount) = plan.amount(who, scenario, cell.members, cell.loss) else { continue };
        steps.begin(&format!(
            "{} of {} members, loss {}: {} x {amount}",
            S::NAME,
            cell.members,
            cell.loss,
            plan::name(scenario)
        ));
        let ground = ground.get_or_insert_with(|| S::ground(cell.members));
        findings.append(&mut play::<S>(ground, cell, scenario, amount));
    }
    findings
}

/// Progress, beside the table.
struct Steps {
    done: usize,
    all: usize,
}

impl Steps {
    fn begin(&mut self, what: &str) {
        self.done += 1;
        say(&format!("[{}/{}] {what}", self.done, self.all));
    }
}

fn play<S: Subject>(ground: &S::Ground, cell: Cell, scenario: Scenario, amount: u32) -> Findings {
    match scenario {
        Scenario::Crash => scenarios::crash::<S>(ground, cell, amount),
        Scenario::Join => scenarios::join::<S>(ground, cell, amount),
        Scenario::Boot => scenarios::boot::<S>(ground, cell, amount),
        Scenario::Goodbye => scenarios::goodbye::<S>(ground, cell, amount),
        Scenario::Steady => scenarios::steady::<S>(ground, cell, amount),
        Scenario::Slow => scenarios::slow::<S>(ground, cell, amount),
        Scenario::Hold => {
            let rows = [Row::HoldDeaths, Row::HoldRemovals];
            scenarios::hold::<S>(ground, cell, amount, plan::burst(scenario), rows)
        }
        Scenario::LongHold => {
            let rows = [Row::LongHoldDeaths, Row::LongHoldRemovals];
            scenarios::hold::<S>(ground, cell, amount, plan::burst(scenario), rows)
        }
    }
}

/// To standard error, which is not captured with the tables.
fn say(line: &str) {
    // Nobody may be there to read it.
    writeln!(io::stderr(), "{line}").ok();
}

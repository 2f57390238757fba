//! Detection, dissemination, joining, false alarms and load of simulated clusters, in virtual time: chinwag beside foca
//! 2.0, which runs in the same simulation, and beside what was recorded of a model of SWIM with Lifeguard.
//!
//! `cargo bench -p chinwag-membership --bench cluster [-- --nodes 100 --loss 0.05 --scenario crash,hold ...]`

mod chinwag;
mod estimate;
mod foca;
mod plan;
mod rows;
mod scenarios;
mod sim;
mod subject;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::chinwag::Chinwag;
use crate::estimate::{Estimate, number};
use crate::foca::Foca;
use crate::plan::{Plan, Scenario, USAGE, Who};
use crate::rows::Row;
use crate::scenarios::{Cell, Findings};
use crate::subject::Subject;

fn main() -> ExitCode {
    let result = match Plan::parse(std::env::args().skip(1)) {
        Ok(plan) => run(&plan),
        Err(error) => Err(io::Error::other(format!("{error}\n{USAGE}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "One-way latency 1 to 5 ms, independent loss; probes every second. ± two standard errors, (trials or node-hours).\n\
         lifeguard and foca's numbers with * were recorded, see benches/cluster/rows.rs.\n\
         goal: no worse than the better of the two to the digits recorded, or as given; \"even\": worse by no more than the noise of both."
    )?;
    for &members in &plan.nodes {
        for &loss in &plan.losses {
            let cell = Cell { members, loss, seed: plan.seed };
            let ours = measure::<Chinwag>(plan, Who::Chinwag, cell);
            let theirs = measure::<Foca>(plan, Who::Foca, cell);
            if !ours.is_empty() || !theirs.is_empty() {
                table(&mut out, cell, &ours, &theirs)?;
            }
        }
    }
    Ok(())
}

fn measure<S: Subject>(plan: &Plan, who: Who, cell: Cell) -> Findings {
    let mut findings = Findings::new();
    let mut ground = None;
    for &scenario in &plan.scenarios {
        let Some(amount) = plan.amount(who, scenario, cell.members, cell.loss) else { continue };
        say(&format!(
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

fn table(out: &mut impl Write, cell: Cell, ours: &Findings, theirs: &Findings) -> io::Result<()> {
    let Cell { members, loss, .. } = cell;
    writeln!(out, "\nN = {members}, loss {} %", loss * 100.0)?;
    writeln!(out, "{:<40} {:>24} {:>24} {:>10} {:>8}  met", "", "chinwag", "foca 2.0", "lifeguard", "goal")?;
    let rows: std::collections::BTreeSet<Row> = ours.keys().chain(theirs.keys()).copied().collect();
    for row in rows {
        let foca = theirs.get(&row).map(|it| it.value).or_else(|| rows::foca(members, loss, row));
        let lifeguard = rows::lifeguard(members, loss, row);
        let goal = row.goal(members).or_else(|| foca.into_iter().chain(lifeguard).reduce(f64::min));
        writeln!(
            out,
            "{:<40} {:>24} {:>24} {:>10} {:>8}  {}",
            row.label(),
            ours.get(&row).map_or_else(dash, Estimate::to_string),
            theirs
                .get(&row)
                .map(Estimate::to_string)
                .or_else(|| foca.map(|it| format!("{}*", number(it))))
                .unwrap_or_else(dash),
            lifeguard.map_or_else(dash, number),
            goal.map_or_else(dash, number),
            verdict(ours.get(&row), goal, row, members)
        )?;
    }
    out.flush()
}

fn verdict(ours: Option<&Estimate>, goal: Option<f64>, row: Row, members: usize) -> &'static str {
    match (ours, goal) {
        (Some(ours), Some(goal)) if row.rounded(ours.value) <= goal => "yes",
        (Some(ours), Some(goal)) if ours.may_equal(goal, row.recorded_on(members)) => "even",
        (Some(_), Some(_)) => "NO",
        _ => "",
    }
}

fn dash() -> String {
    "-".to_owned()
}

/// Progress, beside the table.
fn say(line: &str) {
    // Nobody may be there to read it.
    writeln!(io::stderr(), "{line}").ok();
}

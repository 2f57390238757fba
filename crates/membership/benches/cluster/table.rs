//! The rows of one cell side by side.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::estimate::{Estimate, number};
use crate::goals::{Goals, Verdict};
use crate::rows::{self, Recorded, Row};
use crate::scenarios::{Cell, Findings};

/// What is printed before all tables.
pub(crate) const LEGEND: &str = "\
One-way latency 1 to 5 ms, independent loss, a probe a second; virtual time. ± two standard errors (trials or node-hours).
What has a * was recorded in a simulation of the same rules, see benches/cluster/rows.rs.
goal: the better of the other two, to the digits recorded; or what was set: hold 18/60, gossip rounds at most ceil(log2 N) + 4,
and where nothing is recorded a load at most 5 % above that of the smallest cluster.
even: worse than the better of the two, by no more than the noise of both.";

pub(crate) fn print(
    out: &mut impl Write,
    goals: &mut Goals,
    cell: Cell,
    ours: &Findings,
    theirs: &Findings,
) -> io::Result<()> {
    let Cell { members, loss, .. } = cell;
    writeln!(out, "\nN = {members}, loss {} %", loss * 100.0)?;
    writeln!(out, "{:<42} {:>23} {:>23} {:>16} {:>6}", "", "chinwag", "foca 2.0", "lifeguard*", "goal")?;
    let rows: BTreeSet<Row> = ours.keys().chain(theirs.keys()).copied().collect();
    for row in rows {
        let (reached, foca) = (ours.get(&row), theirs.get(&row));
        let recorded = rows::foca(members, loss, row);
        let lifeguard = rows::lifeguard(members, loss, row);
        let rival = foca.map(|it| Recorded { value: it.value, on: it.n }).or(recorded);
        let goal = goals.goal(cell, row, [rival, lifeguard]);
        let verdict = match (reached, goal) {
            (Some(reached), Some(goal)) => word(goals.judge(cell, row, reached, goal)),
            _ => "",
        };
        let foca = foca.map(Estimate::to_string).or_else(|| recorded.map(|it| format!("{it}*")));
        let columns = [
            reached.map_or_else(dash, Estimate::to_string),
            foca.unwrap_or_else(dash),
            lifeguard.as_ref().map_or_else(dash, Recorded::to_string),
            goal.map_or_else(dash, |goal| number(goal.value())),
        ];
        let [ours, theirs, lifeguard, goal] = columns;
        let label = row.label();
        writeln!(out, "{label:<42} {ours:>23} {theirs:>23} {lifeguard:>16} {goal:>6}  {verdict}")?;
    }
    out.flush()
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Even => "even",
        Verdict::Missed => "MISSED",
    }
}

fn dash() -> String {
    "-".to_owned()
}

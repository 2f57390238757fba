//! Owns the list of goals and what became of them.

use std::fmt::Display;
use std::io::{self, Write};

/// Every goal, and what was measured.
#[derive(Default)]
pub(crate) struct Goals(Vec<Goal>);

struct Goal {
    what: String,
    measured: String,
    target: String,
    met: bool,
}

impl Goals {
    /// A goal that is a limit.
    pub(crate) fn at_most(&mut self, what: impl Display, measured: f64, limit: f64) {
        let met = measured <= limit;
        let number = |value: f64| match value {
            0.0 => "0".to_owned(),
            _ if value.abs() < 0.01 => format!("{value:.1e}"),
            _ if value.abs() < 100.0 => format!("{value:.2}"),
            _ => format!("{value:.0}"),
        };
        let target = format!("<= {}", number(limit));
        self.0.push(Goal { what: what.to_string(), measured: number(measured), target, met });
    }

    /// Prints the table; true if all are met.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<bool> {
        writeln!(out, "\n{:<66} {:>12} {:>12}", "goal", "measured", "target")?;
        for Goal { what, measured, target, met } in &self.0 {
            let verdict = if *met { "met" } else { "MISSED" };
            writeln!(out, "{what:<66} {measured:>12} {target:>12}  {verdict}")?;
        }
        Ok(self.0.iter().all(|goal| goal.met))
    }
}

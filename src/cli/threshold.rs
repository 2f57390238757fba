//! Conditions on the numbers of a summary, so that a script can fail on them. It knows the shape of JSON and none of its fields.

use std::fmt;
use std::str::FromStr;

use chinwag_observer::history::History;
use chinwag_observer::ledger::Ledger;
use chinwag_observer::metrics::{Settings, measure};
use chinwag_observer::summary::{About, Summary};
use serde_json::Value;

use super::failure::{Exit, Failure};
use super::output;

/// The conditions of an experiment.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Thresholds {
    /// Exit with 1 if this holds of a number of summary.json, e.g. 'stale.rate > 0.1%' or 'levels.one.latency.all.p99_ms > 20ms'
    ///
    /// A path of fields, one of > >= < <=, and a number, which may end with %, us, ms or s. A level of `levels` goes by its
    /// name. Give it as often as needed. A number that was not measured could be anything, so the condition holds.
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Threshold>,
}

impl Thresholds {
    /// Refuses fields that no summary has, before anything is run.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let metrics = measure(&Ledger::default(), &Settings::default());
        let empty = json(&Summary::new(&History::default(), metrics, About::default()));
        for threshold in &self.fail_if {
            // What a level has is seen once there is one.
            if let Err(missing @ Missing::Field { known: Some(_), .. }) = threshold.look(&empty) {
                return Err(missing.into());
            }
        }
        Ok(())
    }

    /// The exit code of an experiment that otherwise had `exit`, once each condition that holds was told.
    pub(crate) fn judge(&self, summary: &Summary, exit: Exit) -> Result<Exit, Failure> {
        let summary = json(summary);
        let mut exit = exit;
        for threshold in &self.fail_if {
            if let Some(met) = threshold.look(&summary)? {
                output::note(&format!("failed: {met}"));
                exit = exit.max(Exit::Broken);
            }
        }
        Ok(exit)
    }
}

fn json(summary: &Summary) -> Value {
    serde_json::to_value(summary).expect("every map of a summary has string keys")
}

/// `PATH OP NUMBER`, such as `stale.rate > 0.1%`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Threshold {
    path: String,
    comparison: Comparison,
    bound: f64,
    /// The number as it was given.
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Both of a length come before their beginnings.
const COMPARISONS: [(&str, Comparison); 4] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

/// What a number may end with, and by how much that multiplies it. Times are in milliseconds in a summary.
const UNITS: [(&str, f64); 4] = [("%", 0.01), ("ms", 1.0), ("us", 0.001), ("s", 1000.0)];

/// A condition that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ThresholdError {
    /// There is no comparison in it.
    #[error("`{0}` compares nothing: write PATH > NUMBER, with >, >=, < or <=, such as `stale.rate > 0.1%`")]
    Comparison(String),
    /// What it compares with is no number.
    #[error("`{0}` is no number: write one such as 0.001, 0.1% or 10ms")]
    Number(String),
}

/// A number that a condition asks for is not there: it can neither hold nor not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// There is no such field.
    #[error("the summary has no `{path}`{}", .known.as_ref().map_or(String::new(), |it| format!("; there are {it}")))]
    Field { path: String, known: Option<String> },
    /// It is there and is no number.
    #[error("`{0}` of the summary is no number")]
    Number(String),
}

/// A condition that holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Met<'a> {
    threshold: &'a Threshold,
    /// What the summary has; `None` where nothing was measured.
    value: Option<f64>,
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
            let (path, number) = text.split_once(sign)?;
            Some((path.trim(), *comparison, number.trim()))
        });
        let (path, comparison, number) = found.ok_or_else(|| ThresholdError::Comparison(text.to_owned()))?;
        if path.is_empty() {
            return Err(ThresholdError::Comparison(text.to_owned()));
        }
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((number.strip_suffix(unit)?.trim(), *factor)))
            .unwrap_or((number, 1.0));
        let bound = digits.parse::<f64>().ok().filter(|bound| bound.is_finite());
        let bound = bound.ok_or_else(|| ThresholdError::Number(number.to_owned()))?;
        Ok(Self { path: path.to_owned(), comparison, bound: bound * factor, text: number.to_owned() })
    }
}

impl Threshold {
    /// Whether it holds of a summary. A number that was not measured (`null`) might be anything: it holds then too.
    pub(crate) fn look(&self, summary: &Value) -> Result<Option<Met<'_>>, Missing> {
        let value = match self.find(summary)? {
            Value::Null => None,
            Value::Number(number) => number.as_f64(),
            _ => return Err(Missing::Number(self.path.clone())),
        };
        let holds = value.is_none_or(|value| match self.comparison {
            Comparison::Above => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Below => value < self.bound,
            Comparison::AtMost => value <= self.bound,
        });
        Ok(holds.then_some(Met { threshold: self, value }))
    }

    /// Steps into fields by name, and into lists by number or by the `level` of what is in them.
    fn find<'a>(&self, summary: &'a Value) -> Result<&'a Value, Missing> {
        let mut at = summary;
        for step in self.path.split('.') {
            let next = match at {
                Value::Object(fields) => fields.get(step),
                Value::Array(items) => {
                    step.parse::<usize>().ok().and_then(|place| items.get(place)).or_else(|| {
                        items.iter().find(|item| item.get("level").and_then(Value::as_str) == Some(step))
                    })
                }
                _ => None,
            };
            at = next.ok_or_else(|| Missing::Field { path: self.path.clone(), known: names(at) })?;
        }
        Ok(at)
    }
}

/// What a path could go on with.
fn names(at: &Value) -> Option<String> {
    let names: Vec<&str> = match at {
        Value::Object(fields) => fields.keys().map(String::as_str).collect(),
        Value::Array(items) => items.iter().filter_map(|item| item.get("level")?.as_str()).collect(),
        _ => Vec::new(),
    };
    (!names.is_empty()).then(|| names.join(", "))
}

impl fmt::Display for Met<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Threshold { path, comparison, text, .. } = self.threshold;
        let sign = COMPARISONS.iter().find(|(_, it)| it == comparison).map_or("", |(sign, _)| sign);
        match self.value {
            Some(value) => write!(f, "{path} is {value}: {sign} {text}"),
            None => write!(f, "{path} was not measured, and could be {sign} {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Missing, Threshold, ThresholdError};

    fn look(text: &str) -> Result<Option<String>, Missing> {
        let summary = json!({
            "stale": { "rate": 0.12, "n": 300 },
            "converged_after_ms": null,
            "levels": [
                { "level": "one", "latency": { "p99_ms": 12.5 } },
                { "level": "quorum", "latency": { "p99_ms": 30 } },
            ],
            "program": "chinwag",
        });
        let threshold: Threshold = text.parse().unwrap();
        threshold.look(&summary).map(|met| met.map(|met| met.to_string()))
    }

    #[test]
    fn a_condition_holds_or_does_not() {
        assert_eq!(look("stale.rate > 0.1%"), Ok(Some("stale.rate is 0.12: > 0.1%".to_owned())));
        assert_eq!(look("stale.rate>12%"), Ok(None));
        assert!(look("stale.rate >= 12%").unwrap().is_some());
        assert!(look("stale.n < 1000").unwrap().is_some());
        assert!(look("stale.n <= 299").unwrap().is_none());
        assert!(look("levels.quorum.latency.p99_ms > 0.02s").unwrap().is_some());
        assert!(look("levels.one.latency.p99_ms > 0.02 s").unwrap().is_none());
        assert!(look("levels.1.latency.p99_ms > 29ms").unwrap().is_some());
    }

    #[test]
    fn what_was_not_measured_cannot_be_relied_on() {
        let met = look("converged_after_ms > 5s").unwrap().unwrap();
        assert_eq!(met, "converged_after_ms was not measured, and could be > 5s");
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let known = Some("one, quorum".to_owned());
        assert_eq!(look("levels.all.n > 1"), Err(Missing::Field { path: "levels.all.n".to_owned(), known }));
        assert!(look("stales > 1").unwrap_err().to_string().contains("converged_after_ms, levels"));
        assert_eq!(look("program > 1"), Err(Missing::Number("program".to_owned())));
        assert!(matches!(look("stale.rate.x > 1"), Err(Missing::Field { known: None, .. })));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let parse = |text: &str| text.parse::<Threshold>().unwrap_err();
        assert_eq!(parse("stale.rate"), ThresholdError::Comparison("stale.rate".to_owned()));
        assert_eq!(parse("> 3"), ThresholdError::Comparison("> 3".to_owned()));
        assert_eq!(parse("stale.rate > often"), ThresholdError::Number("often".to_owned()));
        assert_eq!(parse("stale.rate > NaN"), ThresholdError::Number("NaN".to_owned()));
    }
}

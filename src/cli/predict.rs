//! `chinwag predict`: how stale reads will be, from how long messages take, before anything is run.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use chinwag_observer::history::History;
use chinwag_observer::predict::{Fit, FreshAfter, Prediction, Settings, Witnessed, predict};
use clap::Args;

use super::check::CheckError;
use super::failure::{Exit, Failure};
use super::output;
use super::table::{Align, table};

/// Predict how stale reads will be, before anything is run, or from the delays of a run
///
/// By the WARS model of probabilistically bounded staleness, for latencies that were published with it, for exponential
/// ones, or for those between the members of an experiment, beside what that experiment measured. The model has no read
/// repair, no failures, and takes a read's first R answers.
#[derive(Debug, Args)]
pub(crate) struct PredictCommand {
    /// Published latencies: lnkd-ssd, lnkd-disk, ymmr or wan. All four by default
    #[arg(long, value_name = "NAME")]
    fit: Vec<Fit>,
    /// Exponential latencies in place of published ones: the mean of a write's way to a replica, and of each other way, in
    /// milliseconds
    #[arg(long, value_names = ["WRITE_MS", "OTHER_MS"], num_args = 2, conflicts_with = "fit")]
    exponential: Vec<f64>,
    /// The history of an experiment of this machine: predict from the delays in it, and print what it measured beside
    #[arg(long, value_name = "HISTORY", conflicts_with_all = ["fit", "exponential", "r", "n"])]
    from: Option<PathBuf>,
    /// Replicas of a key
    #[arg(long, default_value_t = 3)]
    n: usize,
    /// Answers a read waits for; with --w, in place of all choices
    #[arg(long, requires = "w")]
    r: Option<usize>,
    /// Acknowledgements a write waits for
    #[arg(long, requires = "r")]
    w: Option<usize>,
    /// Pairs of a write and a read that are drawn
    #[arg(long, default_value_t = 1_000_000)]
    trials: usize,
    /// The seed of what is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the predictions as JSON
    #[arg(long)]
    json: bool,
}

impl PredictCommand {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match &self.from {
            Some(history) => self.compare(history),
            None => self.predict(),
        }
    }

    fn compare(&self, path: &Path) -> Result<Exit, Failure> {
        let path_shown = path.display().to_string();
        let open = |source| CheckError::Open { path: path_shown.clone(), source };
        let malformed = |source| CheckError::History { path: path_shown.clone(), source };
        let file = File::open(path).map_err(open)?;
        let history = History::read(BufReader::new(file)).map_err(malformed)?;
        let mut witnessed = Witnessed::default();
        witnessed.take(&history);
        let settings = Settings { draws: self.trials, seed: self.seed, ..Settings::default() };
        let comparison = witnessed.compare(&settings);
        if self.json {
            output::print_json(&serde_json::json!(comparison))?;
        } else {
            output::print(&comparison.to_string())?;
        }
        Ok(Exit::Done)
    }

    fn predict(&self) -> Result<Exit, Failure> {
        let choices = match (self.r, self.w) {
            (Some(r), Some(w)) => vec![(r, w)],
            _ => (1..=self.n).flat_map(|r| (1..=self.n).map(move |w| (r, w))).collect(),
        };
        let mut documents = Vec::new();
        let mut text = String::new();
        for fit in self.fits() {
            let predictions =
                predict(&fit, self.n, &choices, self.trials, self.seed).map_err(Failure::Predict)?;
            documents.push(serde_json::json!({ "fit": fit, "n": self.n, "predictions": predictions }));
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}{}, {} replicas\n\n{}", fit.name, self.n, rows(&predictions)));
        }
        if self.json {
            output::print_json(&documents.into())?;
        } else {
            output::print(&text)?;
        }
        Ok(Exit::Done)
    }

    fn fits(&self) -> Vec<Fit> {
        match self.exponential.as_slice() {
            &[write, other] => vec![Fit::exponential(write, other)],
            _ if self.fit.is_empty() => Fit::published().into(),
            _ => self.fit.clone(),
        }
    }
}

fn rows(predictions: &[Prediction]) -> String {
    let right = |heading| (heading, Align::Right);
    let headings = [
        "R",
        "W",
        "fresh at once",
        "99 % after",
        "99.9 % after",
        "misses last 1",
        "last 2",
        "read p99.9",
        "write p99.9",
    ];
    let row = |it: &Prediction| {
        let after =
            |at: usize| it.fresh_after.get(at).map_or_else(String::new, |FreshAfter { t_ms, .. }| ms(*t_ms));
        vec![
            it.r.to_string(),
            it.w.to_string(),
            percent(it.fresh_at_once),
            after(1),
            after(2),
            percent(it.misses_last[0]),
            percent(it.misses_last[1]),
            ms(it.read_p99_9_ms),
            ms(it.write_p99_9_ms),
        ]
    };
    table(&headings.map(right), &predictions.iter().map(row).collect::<Vec<_>>())
}

fn ms(milliseconds: f64) -> String {
    if milliseconds < 100.0 { format!("{milliseconds:.2} ms") } else { format!("{milliseconds:.0} ms") }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

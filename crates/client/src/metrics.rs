//! What a member counts and measures of itself, as it travels and as Prometheus reads it. Owns names' and labels' form;
//! knows no metric in particular.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// One metric: a number, or several told apart by labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// `chinwag_<subsystem>_<what>_<unit>`, or `…_total` if it only grows.
    pub name: String,
    /// What it counts, in a sentence.
    pub help: String,
    /// Whether it only grows.
    pub kind: MetricKind,
    /// Its numbers, in an order that does not change from one answer to the next.
    pub samples: Vec<Sample>,
}

/// How a metric's numbers move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricKind {
    /// They only grow, from zero at the member's start.
    Counter,
    /// They rise and fall.
    Gauge,
}

/// One number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Names and values that tell it from the metric's other numbers.
    pub labels: Vec<(String, String)>,
    /// The number.
    pub value: u64,
}

/// Metrics in Prometheus' text exposition format, version 0.0.4.
pub fn prometheus_text(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for Metric { name, help, kind, samples } in metrics {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        // Writing to a string cannot fail.
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
        for Sample { labels, value } in samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            writeln!(text, "{name}{labels} {value}").ok();
        }
    }
    text
}

fn escaped(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_prometheus_writes_it() {
        let sample = |labels: &[(&str, &str)], value| Sample {
            labels: labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            value,
        };
        let metrics = [
            Metric {
                name: "chinwag_storage_keys".to_owned(),
                help: "Keys.".to_owned(),
                kind: MetricKind::Gauge,
                samples: vec![sample(&[], 7)],
            },
            Metric {
                name: "chinwag_x_total".to_owned(),
                help: "Two\nlines \\ one.".to_owned(),
                kind: MetricKind::Counter,
                samples: vec![sample(&[("a", "1"), ("b", "say \"hi\"\\\n")], 2), sample(&[("a", "2")], 3)],
            },
        ];
        assert_eq!(
            prometheus_text(&metrics),
            r#"# HELP chinwag_storage_keys Keys.
# TYPE chinwag_storage_keys gauge
chinwag_storage_keys 7
# HELP chinwag_x_total Two\nlines \\ one.
# TYPE chinwag_x_total counter
chinwag_x_total{a="1",b="say \"hi\"\\\n"} 2
chinwag_x_total{a="2"} 3
"#
        );
    }
}

//! `chinwag metrics`: what one member counts and measures of itself.

use chinwag_client::metrics::{Metric, MetricKind, prometheus_text};
use serde_json::{Map, Value as Json, json};

use super::connection::{Connection, Output};
use super::failure::{Exit, Failure};
use super::output;

/// Show what one member counts and measures of itself
///
/// In the text format that Prometheus reads: names, what they count, and their numbers since the member's start.
#[derive(Debug, clap::Args)]
pub(crate) struct MetricsCommand {
    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

impl MetricsCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let client = self.connection.client_of_first()?;
        let answer = client.metrics().await;
        client.close().await;
        let metrics = answer.map_err(Failure::Read)?;
        if self.output.json {
            output::print_json(&json(&metrics))?;
        } else {
            output::print(&prometheus_text(&metrics))?;
        }
        Ok(Exit::Done)
    }
}

/// An object per metric.
fn json(metrics: &[Metric]) -> Json {
    let object = |metric: &Metric| {
        let sample = |sample: &chinwag_client::metrics::Sample| {
            let labels: Map<String, Json> =
                sample.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            json!({ "labels": labels, "value": sample.value })
        };
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        json!({
            "name": metric.name,
            "help": metric.help,
            "kind": kind,
            "samples": metric.samples.iter().map(sample).collect::<Vec<_>>(),
        })
    };
    json!({ "metrics": metrics.iter().map(object).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use chinwag_client::metrics::Sample;

    use super::*;

    #[test]
    fn json_has_labels_as_an_object() {
        let labels = vec![("state".to_owned(), "alive".to_owned())];
        let metric = Metric {
            name: "chinwag_membership_members".to_owned(),
            help: "Members.".to_owned(),
            kind: MetricKind::Gauge,
            samples: vec![Sample { labels, value: 3 }],
        };
        assert_eq!(
            json(&[metric])["metrics"][0],
            json!({
                "name": "chinwag_membership_members", "help": "Members.", "kind": "gauge",
                "samples": [{ "labels": { "state": "alive" }, "value": 3 }],
            })
        );
    }
}

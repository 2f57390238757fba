//! What operators watch: members as they come and go, and what a member counts.

use std::fs::File;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::process::{LIMIT, Process, Ran, chinwag, satisfied, wait_until};

/// A `chinwag members --watch` that runs, and where what it says goes.
struct Watch {
    process: Process,
    out: std::path::PathBuf,
    said: std::path::PathBuf,
}

impl Watch {
    fn start(cluster: &Cluster, member: &str) -> Self {
        let (out, said) = (cluster.path("watch.out"), cluster.path("watch.said"));
        let mut command = chinwag();
        command.args(["members", "--watch", "--json", "--secret"]).arg(cluster.secret());
        command.args(["--connect", &cluster.address(member).to_string()]);
        command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&said).unwrap());
        Self { process: Process::spawn(&mut command), out, said }
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until a line says this of a member; gives the line.
    async fn told(&self, name: &str, change: &str) -> Value {
        let is_it = |line: &Value| line["name"] == name && line["change"] == change;
        wait_until(&format!("it is told that {name} is {change}"), async || {
            satisfied(self.lines().iter().any(is_it), self.lines())
        })
        .await;
        self.lines().into_iter().find(is_it).unwrap()
    }

    /// Waits until there are this many tables.
    async fn tables(&self, count: usize) -> Vec<Value> {
        let tables =
            || -> Vec<Value> { self.lines().into_iter().filter(|it| it["members"].is_array()).collect() };
        wait_until(&format!("there are {count} tables"), async || {
            satisfied(tables().len() >= count, self.lines())
        })
        .await;
        tables()
    }
}

#[tokio::test]
async fn a_watcher_sees_members_come_and_go_outlives_a_restart_and_ends_with_ctrl_c() {
    let mut cluster = Cluster::start(&["a", "b"], &[]).await;
    let mut watch = Watch::start(&cluster, "a");
    let tables = watch.tables(1).await;
    assert_eq!(tables[0]["members"].as_array().unwrap().len(), 2, "first of all the members as they are");

    let seed = cluster.address("a").to_string();
    cluster.add("c", &["--seed", &seed]).await;
    let up = watch.told("c", "up").await;
    assert_eq!(up["address"], cluster.address("c").to_string());
    assert!(up["time"].as_str().unwrap().ends_with('Z'), "{up}");
    cluster.seen_as("c", "alive").await;
    assert_eq!(cluster.interrupt("c").await.code(), Some(0));
    watch.told("c", "left").await;
    cluster.kill("b");
    let suspect = watch.told("b", "suspect").await;
    let down = watch.told("b", "down").await;
    assert!(suspect["time"].as_str().unwrap() < down["time"].as_str().unwrap());
    assert_eq!(down["by"], "a", "nobody else is left to find it out");
    // The log has the same facts, in fields.
    let log = cluster.log("a");
    let logged = log.lines().any(|it| it.contains(": down member=b address=") && it.ends_with(" by=a"));
    assert!(logged, "{log}");

    cluster.kill("a");
    wait_until("the loss of the member is spoken of", async || {
        let said = std::fs::read_to_string(&watch.said).unwrap();
        satisfied(said.contains("trying again"), said)
    })
    .await;
    cluster.restart(&["a"]).await;
    let tables = watch.tables(2).await;
    assert_eq!(tables[1]["members"].as_array().unwrap().len(), 3, "what was missed is in a new table");
    cluster.restart(&["b"]).await;
    wait_until("b is told to be back", async || {
        let told = watch.lines();
        let table = told.iter().rposition(|it| it["members"].is_array()).unwrap();
        satisfied(told[table..].iter().any(|it| it["name"] == "b" && it["change"] == "up"), told)
    })
    .await;

    let interrupt = format!("kill -INT {}", watch.process.id());
    Ran::to_end(Command::new("sh").args(["-c", &interrupt]), b"").await;
    assert_eq!(watch.process.end(LIMIT).await.code(), Some(0));
}

#[tokio::test]
async fn a_member_tells_what_it_counts_in_prometheus_form_and_as_json() {
    let cluster = Cluster::start(&["a", "b"], &["--n", "2"]).await;
    cluster.run("a", &["put", "key", "value", "--consistency", "all"]).await.text();
    let ran = cluster.run("a", &["metrics"]).await;
    let text = ran.text();
    for line in [
        "# TYPE chinwag_membership_members gauge",
        "chinwag_membership_members{state=\"alive\"} 2",
        "chinwag_requests_total{request=\"put\",outcome=\"ok\"} 1",
        "chinwag_storage_keys 1",
        "chinwag_storage_bad_records_total 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    let mut names = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("# HELP ") {
            Some(help) => names.push(help.split_once(' ').expect("a name and what it means").0),
            None => assert!(line.starts_with("# TYPE ") || line.starts_with(names.last().unwrap()), "{line}"),
        }
    }
    let json = cluster.run("a", &["metrics", "--json"]).await.json();
    let in_json: Vec<&str> =
        json["metrics"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(in_json, names, "the same, in the same order");
}

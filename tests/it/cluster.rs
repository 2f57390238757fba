//! A cluster of real processes in a temporary directory: starts, stops, kills and restarts its members, asks them
//! through the command line or the client crate. Every process ends with the test; a test that fails prints the logs.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, SystemTime};

use chinwag_client::wire::DumpEntry;
use chinwag_client::{Client, ClusterSecret, Credential, Role};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::process::{LIMIT, Process, Ran, chinwag, satisfied, wait_until};

/// A member that is asked to stop is gone after this long: seconds, on a loaded machine too.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The system chooses the port.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Time between two looks for the line that says that a member serves.
const START_POLL: Duration = Duration::from_millis(10);
/// How much of each log a failed test prints.
const LOG_LINES: usize = 200;

/// Members that know each other, and the directory they live in.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Dropped in this order: no process outlives its directory.
    members: BTreeMap<String, Member>,
    directory: TempDir,
}

/// One member, running or not.
#[derive(Debug)]
struct Member {
    /// The flags it was started with, besides name, secret, data directory and address.
    flags: Vec<String>,
    /// Where it listens: chosen by the system at its first start, the same ever after.
    address: SocketAddr,
    process: Option<Process>,
}

impl Member {
    fn new(address: SocketAddr, flags: &[&str]) -> Self {
        Self { flags: flags.iter().map(|&flag| flag.to_owned()).collect(), address, process: None }
    }
}

impl Cluster {
    /// A secret, and nobody who holds it.
    pub(crate) async fn empty() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let cluster = Self { members: BTreeMap::new(), directory };
        let made = Ran::to_end(chinwag().args(["secret", "new", "--out"]).arg(cluster.secret()), b"").await;
        assert_eq!(made.code, Some(0), "{made:?}");
        cluster
    }

    /// Members with `flags`; the first is the seed of the others, which all come at once. Returns when each knows all.
    pub(crate) async fn start(names: &[&str], flags: &[&str]) -> Self {
        let mut cluster = Self::empty().await;
        let (first, others) = names.split_first().expect("a cluster has a first member");
        cluster.add(first, flags).await;
        let seed = cluster.address(first).to_string();
        let flags = [flags, &["--seed", &seed]].concat();
        let new = |&name: &&str| (name.to_owned(), Member::new(ANY_PORT, &flags));
        cluster.launch(others.iter().map(new).collect()).await;
        cluster.all_alive().await;
        cluster
    }

    /// Starts a new member on a port that the system chooses.
    pub(crate) async fn add(&mut self, name: &str, flags: &[&str]) {
        self.add_at(name, ANY_PORT, flags).await;
    }

    /// Starts a new member on `address`.
    pub(crate) async fn add_at(&mut self, name: &str, address: SocketAddr, flags: &[&str]) {
        assert!(!self.members.contains_key(name), "{name} is new");
        self.launch(vec![(name.to_owned(), Member::new(address, flags))]).await;
    }

    /// Starts members again, all at once, each on its directory and its port and with the flags it had.
    pub(crate) async fn restart(&mut self, names: &[&str]) {
        let stopped = |&name: &&str| {
            let (name, member) = self.members.remove_entry(name).expect("the member was started before");
            assert!(member.process.is_none(), "{name} has been stopped");
            (name, member)
        };
        let members = names.iter().map(stopped).collect();
        self.launch(members).await;
    }

    /// Starts members, all at once, and waits until each serves.
    async fn launch(&mut self, members: Vec<(String, Member)>) {
        let spawn = |(name, member): (String, Member)| {
            let process = self.spawn(&name, &member);
            (name, member, process)
        };
        let spawned: Vec<_> = members.into_iter().map(spawn).collect();
        for (name, mut member, process) in spawned {
            let (process, address) = self.served(&name, &member, process).await;
            member.process = Some(process);
            member.address = address;
            self.members.insert(name, member);
        }
    }

    fn spawn(&self, name: &str, member: &Member) -> Process {
        let mut command = self.node(name);
        command.arg("--data").arg(self.data(name)).args(&member.flags);
        if !member.flags.iter().any(|flag| flag == "--replicas") {
            command.args(["--listen", &member.address.to_string()]);
        }
        command.stdout(File::create(self.said_path(name)).unwrap());
        command.stderr(OpenOptions::new().create(true).append(true).open(self.log_path(name)).unwrap());
        Process::spawn(&mut command)
    }

    /// Waits until the member says that it serves, and where.
    async fn served(&self, name: &str, member: &Member, mut process: Process) -> (Process, SocketAddr) {
        let started = Instant::now();
        loop {
            if let Some(address) = announced(&read_lossy(&self.said_path(name))) {
                return (process, address);
            }
            if process.ended().is_some() {
                let log = self.log(name);
                let port_is_taken = log.lines().last().is_some_and(|it| it.contains("cannot listen on"));
                assert!(port_is_taken, "{name} did not start:\n{log}");
                // A port that is free between two starts is anybody's: another test may hold it for a while.
                process = self.spawn(name, member);
            }
            assert!(started.elapsed() < LIMIT, "{name} does not serve:\n{}", self.log(name));
            sleep(START_POLL).await;
        }
    }

    /// `chinwag node` with the name and the cluster's secret: the rest is the caller's.
    pub(crate) fn node(&self, name: &str) -> Command {
        let mut command = chinwag();
        command.args(["node", "--name", name, "--secret"]).arg(self.secret());
        command
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, name: &str) {
        self.process(name).kill();
        self.member(name).process = None;
    }

    /// Ctrl-C; returns how the process ended.
    pub(crate) async fn interrupt(&mut self, name: &str) -> ExitStatus {
        self.signal(name, "INT").await;
        let status = self.process(name).end(STOP_LIMIT).await;
        self.member(name).process = None;
        status
    }

    /// The polite kill, for every member at the same time; all must end well.
    pub(crate) async fn terminate_all(&mut self) {
        for name in self.names() {
            self.signal(&name, "TERM").await;
        }
        for name in self.names() {
            let status = self.process(&name).end(STOP_LIMIT).await;
            assert_eq!(status.code(), Some(0), "{name} ends well");
            self.member(&name).process = None;
        }
    }

    async fn signal(&self, name: &str, signal: &str) {
        let kill = format!("kill -{signal} {}", self.pid(name));
        let sent = Ran::to_end(Command::new("sh").args(["-c", &kill]), b"").await;
        assert_eq!(sent.code, Some(0), "{sent:?}");
    }

    /// How a member that cannot go on ended, and what it said.
    pub(crate) async fn end(&mut self, name: &str) -> (ExitStatus, String) {
        let status = self.process(name).end(LIMIT).await;
        self.member(name).process = None;
        (status, self.log(name))
    }

    /// Runs `chinwag` with `arguments` against one member, as its users do.
    pub(crate) async fn run(&self, member: &str, arguments: &[&str]) -> Ran {
        self.run_with(member, arguments, b"").await
    }

    /// The same with something on standard input.
    pub(crate) async fn run_with(&self, member: &str, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = chinwag();
        command.env("CHINWAG_CONNECT", self.address(member).to_string());
        command.env("CHINWAG_SECRET", self.secret());
        Ran::to_end(command.args(arguments), input).await
    }

    /// A client of these members, in this process; each is tried in turn.
    pub(crate) fn client(&self, members: &[&str]) -> Client {
        let text = std::fs::read_to_string(self.secret()).unwrap();
        let secret: ClusterSecret = text.parse().expect("the file holds a secret");
        let mut key_seed = [0; 32];
        getrandom::fill(&mut key_seed).expect("the system gives randomness");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let credential = Credential::mint(&secret, Role::Client, key_seed, now).unwrap();
        let addresses: Vec<_> = members.iter().map(|name| self.address(name)).collect();
        Client::new(&addresses, &credential).unwrap()
    }

    /// Everything one member itself holds: its records, and the hints it keeps.
    pub(crate) async fn dump(&self, member: &str) -> Vec<DumpEntry> {
        let client = self.client(&[member]);
        let (mut entries, mut after) = (Vec::new(), None);
        loop {
            let page = client.dump(after).await.expect("a member shows what it holds");
            entries.extend(page.entries);
            after = page.next;
            if after.is_none() {
                client.close().await;
                return entries;
            }
        }
    }

    /// The state of every member as `member` sees it, by name.
    pub(crate) async fn states(&self, member: &str) -> BTreeMap<String, String> {
        let ran = self.run(member, &["members", "--json"]).await;
        if ran.code != Some(0) {
            return BTreeMap::from([(member.to_owned(), ran.stderr)]);
        }
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let members = ran.json()["members"].as_array().unwrap().clone();
        members.iter().map(|it| (text(&it["name"]), text(&it["state"]))).collect()
    }

    /// Waits until every running member sees `name` in this state.
    pub(crate) async fn seen_as(&self, name: &str, state: &str) {
        for observer in self.running().into_iter().filter(|it| it != name) {
            wait_until(&format!("{observer} sees {name} as {state}"), async || {
                let seen = self.states(&observer).await;
                satisfied(seen.get(name).is_some_and(|it| it == state), seen)
            })
            .await;
        }
    }

    /// Waits until every running member sees exactly these members, all alive.
    pub(crate) async fn all_alive(&self) {
        let alive = |name: String| (name, "alive".to_owned());
        let wanted: BTreeMap<_, _> = self.names().into_iter().map(alive).collect();
        for observer in self.running() {
            wait_until(&format!("{observer} sees all members alive"), async || {
                let seen = self.states(&observer).await;
                satisfied(seen == wanted, seen)
            })
            .await;
        }
    }

    /// The preference list of `key`.
    pub(crate) async fn owners(&self, key: &str) -> Vec<String> {
        let asked = self.running().first().expect("somebody runs").clone();
        let located = self.run(&asked, &["ring", "--key", key, "--json"]).await.json();
        let owners = located["owners"].as_array().unwrap_or_else(|| panic!("{located}"));
        owners.iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    }

    /// All members in name order, running or not.
    pub(crate) fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    fn running(&self) -> Vec<String> {
        let running = self.members.iter().filter(|(_, it)| it.process.is_some());
        running.map(|(name, _)| name.clone()).collect()
    }

    /// The number of a running member's process.
    pub(crate) fn pid(&self, name: &str) -> u32 {
        self.members[name].process.as_ref().expect("the member runs").id()
    }

    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        self.members[name].address
    }

    fn member(&mut self, name: &str) -> &mut Member {
        self.members.get_mut(name).expect("the test started this member")
    }

    fn process(&mut self, name: &str) -> &mut Process {
        self.member(name).process.as_mut().expect("the member runs")
    }

    /// A path in the cluster's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The file with the cluster's secret.
    pub(crate) fn secret(&self) -> PathBuf {
        self.path("cluster.secret")
    }

    /// The data directory of a member.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.data"))
    }

    /// What a member has logged in all of its lives.
    pub(crate) fn log(&self, name: &str) -> String {
        read_lossy(&self.log_path(name))
    }

    /// Its standard output, since its last start.
    fn said_path(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.out"))
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.log"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for name in self.members.keys() {
            let log = self.log(name);
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
            eprintln!("---- log of {name} (last {} lines)\n{}", tail.len(), tail.join("\n"));
        }
    }
}

/// The address in the line with which a member says that it serves.
fn announced(said: &str) -> Option<SocketAddr> {
    let (_, rest) = said.strip_suffix('\n')?.split_once(" listens on ")?;
    rest.split_once(' ')?.0.parse().ok()
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

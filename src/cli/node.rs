//! `chinwag node`: gathers a member's settings from flags and file, starts it, runs it until told to stop.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chinwag_client::Tls;
use chinwag_node::membership::{
    Copies, CopiesError, Name, NameError, Partitioner, PartitionerError, Partitions, PartitionsError, Preset,
    PresetError, Replica, ReplicasError, Tokens, parse_replicas,
};
use chinwag_node::storage::{DiskEngine, DiskOptions, Durability, OpenError};
use chinwag_node::{
    Config, ConfigError, Failure as NodeFailure, Node, Parts, StartError, UdpSockets, WallClock,
};
use serde::Deserialize;

use super::backup::note_address;
use super::buckets::{self, BucketSettingsError};
use super::connection::{AddressError, resolve};
use super::failure::{Exit, Failure};
use super::secret;

/// Run a member of a cluster
///
/// Settings come from flags, or from a file given with --config whose keys are the flags' long names; flags win. Buckets
/// besides `default` are tables [buckets.NAME] of the file, the same for all members. The member runs until Ctrl-C or SIGTERM, upon which it says goodbye to the others.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeCommand {
    /// A TOML file with any of the settings below, e.g. `name = "a"` and `seed = ["10.0.0.1:7001"]`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

/// All that can be set, by flag or in the file.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Settings {
    /// The member's name, its identity in the cluster: 1 to 64 letters, digits, `.`, `_` or `-`
    #[arg(long)]
    name: Option<String>,
    /// The file with the cluster secret [default: cluster.secret]
    #[arg(long, value_name = "FILE", env = "CHINWAG_SECRET")]
    secret: Option<PathBuf>,
    /// The directory with its data [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where it takes clients and members, UDP [default: 127.0.0.1:7001]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The address the others are told, if it is not the one of --listen
    #[arg(long, value_name = "ADDR")]
    advertise: Option<SocketAddr>,
    /// Where it takes gossip, UDP [default: the host of --listen, a port the system chooses]
    #[arg(long, value_name = "ADDR")]
    gossip_listen: Option<SocketAddr>,
    /// A member to join through, HOST:PORT; may be given several times
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    #[serde(alias = "seeds")]
    seed: Vec<String>,
    /// A ready-made ring: four-node
    #[arg(long)]
    preset: Option<String>,
    /// A file with lines `name ip port` of all members: tells where this one listens and whom it joins
    #[arg(long, value_name = "FILE")]
    replicas: Option<PathBuf>,
    /// Into how many partitions the ring is cut, a power of two; the same for all members [default: 256]
    #[arg(long, value_name = "Q")]
    partitions: Option<u32>,
    /// How keys are placed: md5 or byte-ordered; the same for all members [default: md5]
    #[arg(long)]
    partitioner: Option<String>,
    /// How many members own each key, 1 to 7; the same for all members [default: 3]
    #[arg(long)]
    n: Option<u8>,
    /// How many places the member takes on the ring [default: 64]
    #[arg(long, value_name = "COUNT")]
    tokens: Option<u16>,
    /// Whether a read hands what it merged to replicas that had less [default: on]
    #[arg(long, value_name = "SWITCH")]
    read_repair: Option<Switch>,
    /// Whether writes for an unreachable replica are kept and delivered later [default: on]
    #[arg(long, value_name = "SWITCH")]
    hinted_handoff: Option<Switch>,
    /// Mean time between two rounds of background repair, or `off` [default: 10s]
    #[arg(long, value_name = "TIME")]
    anti_entropy: Option<String>,
    /// Bytes a second that background repair may send; a quarter of it while requests are being answered
    /// [default: 16777216]
    #[arg(long, value_name = "BYTES")]
    repair_bandwidth: Option<u64>,
    /// When a write counts as stored: buffered (with the operating system), fsync, or a time such as 1s after which it
    /// is synced at the latest [default: buffered]
    #[arg(long, value_name = "WHEN")]
    durability: Option<String>,
    /// Longest value in bytes [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    value_limit: Option<usize>,
    /// In the file alone.
    #[arg(skip)]
    buckets: BTreeMap<String, toml::Table>,
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Switch {
    On,
    Off,
}

/// A member did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("cannot read {}: {source}", path.display())]
    ReadFile { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    ConfigFile { path: PathBuf, source: toml::de::Error },
    #[error("{}: {source}", path.display())]
    Replicas { path: PathBuf, source: ReplicasError },
    #[error("{} has no line for a member named {name}", path.display())]
    NotInReplicas { path: PathBuf, name: Name },
    #[error("a member needs a name: give one with --name")]
    NameMissing,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Preset(#[from] PresetError),
    #[error("a preset fixes {0}: leave --{0} out")]
    PresetFixes(&'static str),
    #[error(transparent)]
    Partitions(#[from] PartitionsError),
    #[error(transparent)]
    Partitioner(#[from] PartitionerError),
    #[error(transparent)]
    Copies(#[from] CopiesError),
    #[error(transparent)]
    Buckets(#[from] BucketSettingsError),
    #[error("--{flag} {text}: {reason}")]
    Time { flag: &'static str, text: String, reason: String },
    #[error(transparent)]
    Seed(#[from] AddressError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Failed(#[from] NodeFailure),
    #[error("the store could not be closed cleanly: {0}")]
    Close(#[from] chinwag_node::storage::CloseError),
    #[error("cannot wait for signals: {0}")]
    Signal(#[source] io::Error),
}

/// The machine's clock. The only place where a member's wall time comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl WallClock for SystemClock {
    fn now(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

impl NodeCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let settings = match &self.config {
            Some(path) => self.settings.over(read_config(path)?),
            None => self.settings,
        };
        let secret = secret::read(settings.secret.as_deref().unwrap_or_else(|| Path::new("cluster.secret")))?;
        let config = settings.config()?;
        // Before the directory is made.
        config.validate().map_err(NodeError::from)?;
        let directory = settings.data.clone().unwrap_or_else(|| PathBuf::from(config.name.as_str()));
        let durability = settings.durability()?;
        let options = DiskOptions { durability, ..DiskOptions::default() };
        let engine = DiskEngine::open(&directory, options).map_err(NodeError::from)?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(Failure::Entropy)?;
        let parts = Parts {
            sockets: Arc::new(UdpSockets),
            runtime: Arc::new(quinn::TokioRuntime),
            clock: Arc::new(SystemClock),
            tls: Tls::default(),
            engine: Arc::new(engine),
            seed,
            witness: None,
        };
        let name = config.name.clone();
        let node = Node::start(config, &secret, parts).await.map_err(NodeError::from)?;
        // Before anybody is told: who reads that the member serves may stop it at once, and it is to stop cleanly.
        let signals = Signals::new().map_err(NodeError::Signal)?;
        note_address(&directory, node.address());
        announce(&name, &node, &directory);
        Ok(serve(node, signals).await?)
    }
}

/// Says on standard output that the member takes requests, for people and for scripts that wait for it.
fn announce(name: &Name, node: &Node, directory: &Path) {
    let line = format!(
        "member {name} listens on {} (gossip on {}), data in {}",
        node.address(),
        node.gossip_address(),
        directory.display()
    );
    let mut out = io::stdout().lock();
    // A closed standard output is no reason not to serve.
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

/// Runs the member until a signal or a failure, then stops it. A second signal does not wait for the stop.
async fn serve(node: Node, mut signals: Signals) -> Result<Exit, NodeError> {
    let failure = tokio::select! {
        biased;
        () = signals.next() => None,
        failure = node.failure() => Some(failure),
    };
    match &failure {
        None => tracing::info!("stopping; a second signal stops at once"),
        // Said before the stop, which a disk that hangs may hold up.
        Some(failure) => tracing::error!(%failure, "stopping"),
    }
    tokio::select! {
        biased;
        stopped = node.shutdown() => match failure {
            Some(failure) => Err(failure.into()),
            None => stopped.map(|()| Exit::Done).map_err(NodeError::from),
        },
        () = signals.next() => Ok(Exit::Failed),
    }
}

/// Ctrl-C and the polite kill.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! { biased; _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

impl Settings {
    /// These settings where they are given, `file`'s otherwise.
    fn over(self, file: Self) -> Self {
        Self {
            name: self.name.or(file.name),
            secret: self.secret.or(file.secret),
            data: self.data.or(file.data),
            listen: self.listen.or(file.listen),
            advertise: self.advertise.or(file.advertise),
            gossip_listen: self.gossip_listen.or(file.gossip_listen),
            seed: if self.seed.is_empty() { file.seed } else { self.seed },
            preset: self.preset.or(file.preset),
            replicas: self.replicas.or(file.replicas),
            partitions: self.partitions.or(file.partitions),
            partitioner: self.partitioner.or(file.partitioner),
            n: self.n.or(file.n),
            tokens: self.tokens.or(file.tokens),
            read_repair: self.read_repair.or(file.read_repair),
            hinted_handoff: self.hinted_handoff.or(file.hinted_handoff),
            anti_entropy: self.anti_entropy.or(file.anti_entropy),
            repair_bandwidth: self.repair_bandwidth.or(file.repair_bandwidth),
            durability: self.durability.or(file.durability),
            value_limit: self.value_limit.or(file.value_limit),
            buckets: file.buckets,
        }
    }

    fn config(&self) -> Result<Config, NodeError> {
        let name = Name::new(self.name.as_deref().ok_or(NodeError::NameMissing)?)?;
        let mut config = Config::new(name, SocketAddr::from(([127, 0, 0, 1], 7001)));
        if let Some(path) = &self.replicas {
            place(&mut config, path)?;
        }
        config.listen = self.listen.unwrap_or(config.listen);
        config.advertise = self.advertise;
        config.gossip_listen = self.gossip_listen;
        for seed in &self.seed {
            config.seeds.extend(resolve(seed)?);
        }
        config.read_repair = self.read_repair != Some(Switch::Off);
        config.hinted_handoff = self.hinted_handoff != Some(Switch::Off);
        config.anti_entropy = match self.anti_entropy.as_deref() {
            None => config.anti_entropy,
            Some("off") => None,
            Some(text) => Some(parse_time("anti-entropy", text)?),
        };
        config.repair_bandwidth = self.repair_bandwidth.unwrap_or(config.repair_bandwidth);
        config.value_bytes_max = self.value_limit.unwrap_or(config.value_bytes_max);
        config.buckets = buckets::buckets(&self.buckets)?;
        match &self.preset {
            Some(preset) => self.with_preset(config, preset),
            None => self.with_ring(config),
        }
    }

    fn with_preset(&self, config: Config, preset: &str) -> Result<Config, NodeError> {
        let fixed = [
            ("partitions", self.partitions.is_some()),
            ("partitioner", self.partitioner.is_some()),
            ("n", self.n.is_some()),
            ("tokens", self.tokens.is_some()),
        ];
        match fixed.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(NodeError::PresetFixes(flag)),
            None => Ok(config.with_preset(preset.parse::<Preset>()?)?),
        }
    }

    fn with_ring(&self, mut config: Config) -> Result<Config, NodeError> {
        if let Some(count) = self.partitions {
            config.founding.partitions = Partitions::new(count)?;
        }
        if let Some(text) = &self.partitioner {
            config.founding.partitioner = text.parse::<Partitioner>()?;
        }
        if let Some(n) = self.n {
            config.founding.n = Copies::new(n)?;
        }
        if let Some(count) = self.tokens {
            config.tokens = Tokens::Derived { count };
        }
        Ok(config)
    }

    fn durability(&self) -> Result<Durability, NodeError> {
        match self.durability.as_deref() {
            None | Some("buffered") => Ok(Durability::Buffered),
            Some("fsync") => Ok(Durability::Fsync),
            Some(text) => Ok(Durability::Interval(parse_time("durability", text)?)),
        }
    }
}

fn parse_time(flag: &'static str, text: &str) -> Result<Duration, NodeError> {
    humantime::parse_duration(text).map_err(|error| NodeError::Time {
        flag,
        text: text.to_owned(),
        reason: format!("{error}; give a number and a unit, e.g. 5s"),
    })
}

fn read_file(path: &Path) -> Result<String, NodeError> {
    std::fs::read_to_string(path).map_err(|source| NodeError::ReadFile { path: path.to_owned(), source })
}

fn read_config(path: &Path) -> Result<Settings, NodeError> {
    toml::from_str(&read_file(path)?)
        .map_err(|source| NodeError::ConfigFile { path: path.to_owned(), source })
}

/// Finds the member's own line in the file of replicas, and takes the others as seeds.
fn place(config: &mut Config, path: &Path) -> Result<(), NodeError> {
    let replicas = parse_replicas(&read_file(path)?)
        .map_err(|source| NodeError::Replicas { path: path.to_owned(), source })?;
    let (own, others): (Vec<Replica>, Vec<Replica>) =
        replicas.into_iter().partition(|it| it.name == config.name);
    let Some(own) = own.first() else {
        return Err(NodeError::NotInReplicas { path: path.to_owned(), name: config.name.clone() });
    };
    config.listen = own.address;
    config.seeds.extend(others.into_iter().map(|it| it.address));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = settings("name = \"a\"\nn = 5\nread-repair = \"off\"\nseeds = [\"127.0.0.1:1\"]");
        let flags = Settings { name: Some("b".to_owned()), ..Settings::default() };
        let config = flags.over(file).config().unwrap();
        assert_eq!((config.name.as_str(), config.founding.n.get(), config.read_repair), ("b", 5, false));
        assert_eq!(config.seeds, ["127.0.0.1:1".parse().unwrap()]);
    }

    #[test]
    fn a_misspelt_setting_is_refused_with_its_line() {
        let error = toml::from_str::<Settings>("name = \"a\"\nsede = []").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("sede"), "{error}");
    }

    #[test]
    fn a_preset_fixes_the_ring() {
        let error = settings("name = \"replica0\"\npreset = \"four-node\"\nn = 2").config().unwrap_err();
        assert_eq!(error.to_string(), "a preset fixes n: leave --n out");
        let error = settings("name = \"a\"\npreset = \"four-node\"").config().unwrap_err();
        assert!(error.to_string().contains("replica0"), "{error}");
    }

    #[test]
    fn times_need_a_unit() {
        for text in ["anti-entropy = \"5\"", "durability = \"now\""] {
            let settings = settings(&format!("name = \"a\"\n{text}"));
            let error = settings.config().and_then(|_| settings.durability()).unwrap_err().to_string();
            assert!(error.contains("e.g. 5s"), "{error}");
        }
    }
}

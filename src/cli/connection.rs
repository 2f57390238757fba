//! The flags every client command shares, and the client they make: whom to ask, with which secret, for how long.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chinwag_client::{Client, Consistency, Credential, Role, SetupError};

use super::failure::Failure;
use super::output;
use super::secret;

/// Whom to ask, and as who.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// A member to ask, HOST:PORT; several are tried in order
    ///
    /// What is about one member asks the first alone: dump, repair, console, metrics, get --local, members --watch.
    #[arg(
        long,
        value_name = "ADDR",
        env = "CHINWAG_CONNECT",
        value_delimiter = ',',
        default_value = "127.0.0.1:7001"
    )]
    connect: Vec<String>,

    /// The file with the cluster secret
    #[arg(long, value_name = "FILE", env = "CHINWAG_SECRET", default_value = "cluster.secret")]
    secret: PathBuf,

    /// How long the member may take to answer, e.g. 500ms, 5s, 2m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_timeout)]
    timeout: Duration,
}

/// Whose keys a request is about.
#[derive(Debug, clap::Args)]
pub(crate) struct InBucket {
    /// The bucket of the key [default: default]
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
}

impl InBucket {
    /// Whether none was named.
    pub(crate) fn is_default(&self) -> bool {
        self.bucket.is_none()
    }

    /// A client for the keys of the bucket.
    pub(crate) fn of(&self, client: Client) -> Client {
        match &self.bucket {
            Some(name) => client.bucket(name),
            None => client,
        }
    }
}

/// How the answer is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Output {
    /// Print JSON; bytes that are no text appear in base64, in a field whose name ends in _base64
    #[arg(long)]
    pub(crate) json: bool,
}

/// How many replicas must take part.
#[derive(Debug, clap::Args)]
pub(crate) struct Level {
    /// How many replicas must answer: one, quorum, all, or a number
    #[arg(long, value_name = "LEVEL", default_value_t)]
    pub(crate) consistency: Consistency,

    /// Count the key's own replicas only: no other member may stand in for one that cannot be reached
    #[arg(long)]
    pub(crate) primaries: bool,
}

/// An address cannot be used. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    /// It has no port.
    #[error("`{0}` is not an address")]
    Form(String),
    /// Its host name has no address now; it may later.
    #[error("cannot resolve `{name}`: {source}")]
    Resolve {
        /// As it was given.
        name: String,
        /// What the resolver said.
        source: io::Error,
    },
}

impl Connection {
    /// A client of any of the members.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.client_of(&self.connect)
    }

    /// A client of the first member alone, for what is about one member.
    pub(crate) fn client_of_first(&self) -> Result<Client, Failure> {
        self.client_of(self.connect.get(..1).unwrap_or_default())
    }

    fn client_of(&self, names: &[String]) -> Result<Client, Failure> {
        client_at(&self.secret, &resolve_all(names)?, self.timeout)
    }

    /// The first member, as it was given.
    pub(crate) fn first(&self) -> &str {
        self.connect.first().map_or("", String::as_str)
    }
}

/// A client of the members at `addresses`, with the secret in a file.
pub(crate) fn client_at(
    secret: &Path,
    addresses: &[SocketAddr],
    timeout: Duration,
) -> Result<Client, Failure> {
    let secret = secret::read(secret)?;
    let mut key_seed = [0; 32];
    getrandom::fill(&mut key_seed).map_err(Failure::Entropy)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let credential = Credential::mint(&secret, Role::Client, key_seed, now).map_err(SetupError::from)?;
    Ok(Client::new(addresses, &credential)?.with_timeout(timeout))
}

/// The addresses behind `names`, in order. A name that cannot be resolved is passed over while another can.
fn resolve_all(names: &[String]) -> Result<Vec<SocketAddr>, AddressError> {
    let mut addresses = Vec::new();
    let mut first_error = None;
    for name in names {
        match resolve(name) {
            Ok(found) => addresses.extend(found),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if addresses.is_empty() => Err(error),
        Some(error) => {
            output::note(&format!("warning: {error}"));
            Ok(addresses)
        }
        None => Ok(addresses),
    }
}

pub(crate) fn resolve(name: &str) -> Result<Vec<SocketAddr>, AddressError> {
    match name.to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(AddressError::Form(name.to_owned())),
        Err(source) => Err(AddressError::Resolve { name: name.to_owned(), source }),
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if timeout >= Duration::from_millis(1) => Ok(timeout),
        Ok(_) => Err("a member needs at least 1ms".to_owned()),
        Err(error) => Err(format!("{error}; give a number and a unit, e.g. 5s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_unit_and_are_not_zero() {
        assert_eq!(parse_timeout("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_timeout("1m 5s"), Ok(Duration::from_secs(65)));
        for text in ["5", "0s", "1ns", "soon", ""] {
            assert!(parse_timeout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_keep_their_order_and_need_a_port() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let both = ["127.0.0.1:7002".parse().unwrap(), "[::1]:7001".parse().unwrap()];
        assert_eq!(resolve_all(&names(&["127.0.0.1:7002", "[::1]:7001"])).unwrap(), both);
        assert_eq!(resolve_all(&names(&["127.0.0.1", "127.0.0.1:7002"])).unwrap(), both[..1]);
        assert!(matches!(resolve_all(&names(&["127.0.0.1"])), Err(AddressError::Form(_))));
    }
}

//! The file that lists a preset's members: `replicas.txt`, one `name ip port` a line. Parses text, opens nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::identity::{Name, NameError};

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The member's name.
    pub name: Name,
    /// Where its data and clients' endpoint listens.
    pub address: SocketAddr,
}

/// What is wrong with the file, and in which line, counted from 1. Nothing was read; correct the line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplicasError {
    /// The line has not exactly three words.
    #[error("line {line}: expected `name ip port`, found {found:?}")]
    Shape {
        /// The number of the line.
        line: usize,
        /// What it says.
        found: String,
    },
    /// The first word is not a name.
    #[error("line {line}: {reason}")]
    Name {
        /// The number of the line.
        line: usize,
        /// What is wrong with the name.
        reason: NameError,
    },
    /// The second word is not an address.
    #[error("line {line}: {found:?} is not an IPv4 or IPv6 address")]
    Ip {
        /// The number of the line.
        line: usize,
        /// What it says.
        found: String,
    },
    /// The third word is not a port.
    #[error("line {line}: {found:?} is not a port from 1 to 65535")]
    Port {
        /// The number of the line.
        line: usize,
        /// What it says.
        found: String,
    },
    /// Two lines have the same name or the same address.
    #[error("line {line}: {what} is already in line {first}")]
    Twice {
        /// The number of the second line.
        line: usize,
        /// What they share.
        what: String,
        /// The number of the first line.
        first: usize,
    },
}

/// Reads the members from the text of a file, in its order. `#` begins a comment; blank lines are skipped.
///
/// # Errors
///
/// If a line is not `name ip port`, or repeats a name or an address; the message names the line.
pub fn parse_replicas(text: &str) -> Result<Vec<Replica>, ReplicasError> {
    let mut replicas = Vec::new();
    let mut lines_of = BTreeMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.split('#').next().unwrap_or("").trim();
        if content.is_empty() {
            continue;
        }
        let replica = parse_line(line, content)?;
        for what in [format!("the name {}", replica.name), format!("the address {}", replica.address)] {
            if let Some(first) = lines_of.insert(what.clone(), line) {
                return Err(ReplicasError::Twice { line, what, first });
            }
        }
        replicas.push(replica);
    }
    Ok(replicas)
}

fn parse_line(line: usize, content: &str) -> Result<Replica, ReplicasError> {
    let words: Vec<&str> = content.split_whitespace().collect();
    let &[name, ip, port] = words.as_slice() else {
        return Err(ReplicasError::Shape { line, found: content.to_owned() });
    };
    let name = Name::new(name).map_err(|reason| ReplicasError::Name { line, reason })?;
    let Ok(ip) = ip.parse::<IpAddr>() else {
        return Err(ReplicasError::Ip { line, found: ip.to_owned() });
    };
    match port.parse() {
        Ok(port) if port > 0 => Ok(Replica { name, address: SocketAddr::new(ip, port) }),
        _ => Err(ReplicasError::Port { line, found: port.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        let text = "# the four\n\nreplica0 127.0.0.1 7000\n  replica1\t::1  7001  # second\r\n";
        let replicas = parse_replicas(text).unwrap();
        let shown: Vec<_> =
            replicas.iter().map(|replica| format!("{} {}", replica.name, replica.address)).collect();
        assert_eq!(shown, ["replica0 127.0.0.1:7000", "replica1 [::1]:7001"]);
        assert_eq!(parse_replicas(""), Ok(vec![]));
    }

    #[test]
    fn faults_name_their_line() {
        let cases = [
            ("# x\na 1.2.3.4", "line 2: expected `name ip port`"),
            ("a 1.2.3.4 7000 extra", "line 1: expected"),
            ("a/b 1.2.3.4 7000", "line 1: a member's name"),
            ("a localhost 7000", "line 1: \"localhost\" is not an IPv4"),
            ("a 1.2.3.4 0", "line 1: \"0\" is not a port"),
            ("a 1.2.3.4 70000", "line 1: \"70000\" is not a port"),
            ("a 1.2.3.4 1\n\na 1.2.3.4 2", "line 3: the name a is already in line 1"),
            ("a 1.2.3.4 1\nb 1.2.3.4 1", "line 2: the address 1.2.3.4:1 is already in line 1"),
        ];
        for (text, expected) in cases {
            let error = parse_replicas(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

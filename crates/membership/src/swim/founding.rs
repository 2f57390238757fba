//! What all members of a cluster must share, and the comparison that says which field differs.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::identity::md5_prefix;
use crate::ring::{Copies, KeySpace, Partitioner, Partitions};

/// What was fixed when the cluster was founded. A member with anything else is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// Into how many partitions the ring is cut.
    pub partitions: Partitions,
    /// How keys get their positions.
    pub partitioner: Partitioner,
    /// What keys are.
    pub key_space: KeySpace,
    /// How many members own each partition by default.
    pub n: Copies,
    /// The buckets and their settings: a line for each, in order of name. Empty for `default` alone as it is by default.
    pub buckets: String,
}

/// A member was started with another setting than the cluster was founded with. It stays out; start it as the
/// message says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("this member has {field} = {ours}, the cluster has {theirs}; {remedy}")]
pub struct FoundingMismatch {
    /// The setting that differs.
    pub field: &'static str,
    /// This member's value.
    pub ours: String,
    /// The cluster's value.
    pub theirs: String,
    /// What to do about it.
    pub remedy: String,
}

/// A data directory keeps the settings it was founded with.
const ON_NEW_DIRECTORY: &str = ", on a new data directory";

impl Founding {
    /// Compares this member's settings with those of a cluster.
    ///
    /// # Errors
    ///
    /// If a setting differs: the first one that does, with both values.
    pub fn compare(&self, cluster: &Self) -> Result<(), FoundingMismatch> {
        if self.key_space != cluster.key_space {
            let remedy = match cluster.key_space {
                KeySpace::Integers => "start it with --preset four-node",
                KeySpace::Bytes => "start it without a preset",
            };
            return Err(FoundingMismatch {
                field: "key-space",
                ours: self.key_space.to_string(),
                theirs: cluster.key_space.to_string(),
                remedy: format!("{remedy}{ON_NEW_DIRECTORY}"),
            });
        }
        let flags = [
            ("partitions", "--partitions", self.partitions.to_string(), cluster.partitions.to_string()),
            ("partitioner", "--partitioner", self.partitioner.to_string(), cluster.partitioner.to_string()),
            ("n", "--n", self.n.to_string(), cluster.n.to_string()),
        ];
        for (field, flag, ours, theirs) in flags {
            if ours != theirs {
                let remedy = format!("start it with {flag} {theirs}{ON_NEW_DIRECTORY}");
                return Err(FoundingMismatch { field, ours, theirs, remedy });
            }
        }
        if self.buckets != cluster.buckets {
            let (ours, theirs) = (
                lines_beyond(&self.buckets, &cluster.buckets),
                lines_beyond(&cluster.buckets, &self.buckets),
            );
            let remedy = "give all members the same [buckets] in their configuration".to_owned();
            return Err(FoundingMismatch { field: "buckets", ours, theirs, remedy });
        }
        Ok(())
    }

    /// A hash that datagrams carry, so that those of another cluster are dropped.
    pub(super) fn digest(&self) -> u64 {
        md5_prefix(
            &postcard::to_stdvec(self).expect("a founding is made of plain values, which always encode"),
        )
    }
}

/// The lines of `text` that `other` lacks.
fn lines_beyond(text: &str, other: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|&line| !other.lines().any(|it| it == line)).collect();
    if lines.is_empty() { "nothing".to_owned() } else { format!("`{}`", lines.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_field_and_both_values() {
        let cluster = Founding {
            partitions: Partitions::default(),
            partitioner: Partitioner::Md5,
            key_space: KeySpace::Bytes,
            n: Copies::default(),
            buckets: "a: lww, n 3\nb: siblings, n 5".to_owned(),
        };
        assert_eq!(cluster.compare(&cluster), Ok(()));
        let message = |member: Founding| member.compare(&cluster).unwrap_err().to_string();
        assert_eq!(
            message(Founding { partitions: Partitions::new(128).unwrap(), ..cluster.clone() }),
            "this member has partitions = 128, the cluster has 256; start it with --partitions 256, on a new data directory"
        );
        let member = Founding { partitioner: Partitioner::ByteOrdered, ..cluster.clone() };
        assert!(message(member).contains("start it with --partitioner md5"));
        let member = Founding { key_space: KeySpace::Integers, ..cluster.clone() };
        assert!(message(member).contains("key-space = integers, the cluster has bytes"));
        assert!(
            message(Founding { n: Copies::new(5).unwrap(), ..cluster.clone() })
                .contains("n = 5, the cluster has 3")
        );
        let buckets = "a: lww, n 3\nb: siblings, n 4".to_owned();
        assert_eq!(
            message(Founding { buckets, ..cluster.clone() }),
            "this member has buckets = `b: siblings, n 4`, the cluster has `b: siblings, n 5`; give all members the same \
             [buckets] in their configuration"
        );
        let message = message(Founding { buckets: String::new(), ..cluster.clone() });
        assert!(
            message.contains("buckets = nothing, the cluster has `a: lww, n 3; b: siblings, n 5`"),
            "{message}"
        );
    }
}

//! What all members of a cluster must share, and the comparison that says which field differs.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::identity::md5_prefix;
use crate::ring::{Copies, KeySpace, Partitioner, Partitions};

/// What was fixed when the cluster was founded. A member with anything else is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// Into how many partitions the ring is cut.
    pub partitions: Partitions,
    /// How keys get their positions.
    pub partitioner: Partitioner,
    /// What keys are.
    pub key_space: KeySpace,
    /// How many members own each partition by default.
    pub n: Copies,
    /// A hash of the bucket table.
    pub buckets: u64,
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
            let [ours, theirs] = [self.buckets, cluster.buckets].map(|hash| format!("{hash:016x}"));
            let remedy = "start it with the cluster's table of buckets".to_owned();
            return Err(FoundingMismatch { field: "buckets (hash)", ours, theirs, remedy });
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
            buckets: 1,
        };
        assert_eq!(cluster.compare(&cluster), Ok(()));
        let message = |member: Founding| member.compare(&cluster).unwrap_err().to_string();
        assert_eq!(
            message(Founding { partitions: Partitions::new(128).unwrap(), ..cluster }),
            "this member has partitions = 128, the cluster has 256; start it with --partitions 256, on a new data directory"
        );
        let member = Founding { partitioner: Partitioner::ByteOrdered, ..cluster };
        assert!(message(member).contains("start it with --partitioner md5"));
        let member = Founding { key_space: KeySpace::Integers, ..cluster };
        assert!(message(member).contains("key-space = integers, the cluster has bytes"));
        assert!(
            message(Founding { n: Copies::new(5).unwrap(), ..cluster }).contains("n = 5, the cluster has 3")
        );
        assert!(message(Founding { buckets: 2, ..cluster }).contains("table of buckets"));
    }
}

//! YCSB's core workloads (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010, and its
//! `workloads/workload*` files) as settings of a [`Workload`]. E scans ranges of keys, of which chinwag has none.

use super::{Basis, Workload};

/// A core workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ycsb {
    /// Half reads, half updates.
    A,
    /// 95 % reads, 5 % updates.
    B,
    /// Reads alone.
    C,
    /// 95 % reads, of what is new most; 5 % inserts.
    D,
    /// Half reads, half read-modify-writes.
    F,
}

impl Ycsb {
    /// The workload with the mix of this one, on records that are loaded first. Keys, rate, levels and the rest stay; D is
    /// meant for [`Spread::Latest`](super::Spread::Latest), the others for [`Spread::Zipfian`](super::Spread::Zipfian).
    ///
    /// YCSB's updates overwrite blindly. Blind writes pile up siblings here, so an update supplies the context its session
    /// got last for the key: one request as there, and nothing is read for it.
    #[must_use]
    pub fn of(self, workload: Workload) -> Workload {
        let (read_share, insert_share, update) = match self {
            Self::A => (0.5, 0.0, Basis::Known),
            Self::B => (0.95, 0.0, Basis::Known),
            Self::C => (1.0, 0.0, Basis::Known),
            Self::D => (0.95, 1.0, Basis::Known),
            Self::F => (0.5, 0.0, Basis::Read),
        };
        Workload {
            read_share,
            insert_share,
            update,
            delete_share: 0.0,
            context_share: 1.0,
            preload: true,
            ..workload
        }
    }
}

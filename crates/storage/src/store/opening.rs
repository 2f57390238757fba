//! Owns how a store comes to life: who it is now, and what the records say. Refuses to open what it cannot read.

use super::Counters;
use super::cache::HotStates;
use super::contents::Contents;
use super::graves::Graves;
use super::hints::Backlogs;
use super::identity::{Identity, put_identity};
use super::replica::Replica;
use super::saved::Walk;
use super::scan::Records;
use crate::engine::{Batch, CommitError, Engine, ReadError, Table};
use crate::format::{self, BadRecord, IDENTITY, IdentityBody};
use crate::key::{BucketId, Layout};
use crate::version::{Actor, Causal};
use bytes::Bytes;
use chinwag_merkle::{TreeId, TreeKey};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use siphasher::sip::SipHasher24;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a store is to work.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Into how many partitions the ring is cut: a power of two up to 65,536, fixed when the cluster is founded.
    pub partitions: u32,
    /// How many replicas the keys of a bucket have, unless `own_n` says otherwise. Fixed like `partitions`.
    pub n: u8,
    /// How many replicas the keys of certain buckets have. Fixed for each bucket for ever.
    pub own_n: BTreeMap<BucketId, u8>,
    /// The cluster's key for the hashes that replicas compare.
    pub tree_key: TreeKey,
    /// Seed of the ids this store draws, another one at every open: a directory and its copy that are opened with the same
    /// seed and come to the same generation would draw the same actor.
    pub seed: u64,
    /// The least generation to open with: seconds of wall time, so that a directory that was wiped, or restored from a
    /// copy, still comes back with a higher generation than it ever had.
    pub first_generation: u64,
    /// Bytes of key states to keep in memory. 0 keeps none.
    pub cache_bytes: u64,
    /// Bytes of hints to keep on disk for any one absent primary.
    pub hint_bytes_max: u64,
}

impl StoreOptions {
    /// Options with 256 partitions, 3 replicas, 16 MiB of cache and 256 MiB of hints per absent primary.
    #[must_use]
    pub const fn new(tree_key: TreeKey, seed: u64, first_generation: u64) -> Self {
        Self {
            partitions: 256,
            n: 3,
            own_n: BTreeMap::new(),
            tree_key,
            seed,
            first_generation,
            cache_bytes: 16 << 20,
            hint_bytes_max: 256 << 20,
        }
    }
}

/// Why a store could not be opened. Key states, clocks and hints were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreOpenError {
    /// The configured number of partitions is impossible. Configure a power of two up to 65,536.
    #[error("the ring cannot be cut into {asked} partitions: choose a power of two up to 65536")]
    BadPartitions {
        /// The number configured.
        asked: u32,
    },
    /// The directory belongs to a cluster with another number of partitions. Use the right directory or the right
    /// configuration.
    #[error(
        "the directory was founded with {stored} partitions and the member is started with {asked}: use the one or another directory"
    )]
    OtherPartitions {
        /// The number it was founded with.
        stored: u32,
        /// The number configured.
        asked: u32,
    },
    /// The directory no longer knows who it is. Move it away and start empty; the other replicas fill the member again.
    #[error("the directory's identity is damaged: {0}")]
    Identity(BadRecord),
    /// What is there cannot be read. See [`ReadError`].
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The opening could not be recorded. See [`CommitError`].
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Opens or founds the replica on `engine`.
pub(super) fn open(engine: &Arc<dyn Engine>, options: &StoreOptions) -> Result<Replica, StoreOpenError> {
    let layout = Layout::new(options.partitions, options.n, options.own_n.clone())
        .ok_or(StoreOpenError::BadPartitions { asked: options.partitions })?;
    let stored = read_identity(&**engine)?;
    if let Some(stored) = stored.as_ref().filter(|stored| stored.partitions != options.partitions) {
        let (stored, asked) = (stored.partitions, options.partitions);
        return Err(StoreOpenError::OtherPartitions { stored, asked });
    }
    // The generation goes into the seed: should the same one be given again, it draws another actor.
    let past = stored.as_ref().map_or(0, |stored| stored.generation);
    let generation = past.saturating_add(1).max(options.first_generation);
    let mut rng = StdRng::seed_from_u64(SipHasher24::new_with_keys(options.seed, generation).hash(b"ids"));
    let directory = stored.as_ref().map_or_else(|| rng.next_u64(), |stored| stored.directory);
    let mut replica = Replica {
        engine: Arc::clone(engine),
        identity: Identity { directory, generation, actor: Actor(0) },
        clocks: BTreeMap::new(),
        forgotten: BTreeMap::new(),
        losses: BTreeMap::new(),
        contents: Contents::new(layout, options.tree_key.clone()),
        young: BTreeMap::new(),
        walk: Walk::new(),
        graves: Graves::default(),
        backlogs: Backlogs::new(options.hint_bytes_max),
        bad: BTreeSet::new(),
        counters: Counters { bad_records: engine.left_behind(), ..Counters::default() },
        hot: HotStates::new(options.cache_bytes, rng.next_u64()),
        rng,
        #[cfg(test)]
        without: None,
    };
    let lost = replica.recover_clocks()?;
    for bucket in replica.find_buckets()? {
        replica.contents.add_bucket(bucket);
    }
    replica.recover_trees(&lost)?;
    replica.recover_hints()?;
    replica.identity.actor = replica.draw_actor();
    let mut batch = Batch::default();
    put_identity(&mut batch, &replica.identity, stored, options);
    engine.commit(batch.synced()).wait()?;
    Ok(replica)
}

fn read_identity(engine: &dyn Engine) -> Result<Option<IdentityBody>, StoreOpenError> {
    let Some(record) = engine.get(Table::Meta, IDENTITY)? else { return Ok(None) };
    format::open(Table::Meta, IDENTITY, &record).map(Some).map_err(StoreOpenError::Identity)
}

impl Replica {
    /// Reads all clocks. What is lost of one is learned again when its keys are scanned.
    /// Returns the trees of such clocks.
    fn recover_clocks(&mut self) -> Result<BTreeSet<TreeId>, ReadError> {
        let mut lost = BTreeSet::new();
        let mut records = Records::new(Table::Clocks, Bytes::new(), None);
        while let Some((place, record)) = records.next(&*self.engine)? {
            let tree = format::parse_clock_key(&place);
            match (tree, format::open::<Causal>(Table::Clocks, &place, &record)) {
                (Some(tree), Ok(clock)) => drop(self.clocks.entry(tree).or_default().unite(&clock)),
                (_, Err(bad)) => {
                    self.report_bad(Table::Clocks, &place, &bad);
                    lost.extend(tree);
                }
                (None, Ok(_)) => self.report_bad(Table::Clocks, &place, &BadRecord::Truncated),
            }
        }
        Ok(lost)
    }

    /// The buckets that hold a key, found by leaping from one to the next.
    fn find_buckets(&self) -> Result<Vec<BucketId>, ReadError> {
        let mut buckets = Vec::new();
        let mut from = Some(Bytes::new());
        while let Some(start) = from {
            let page = self.engine.scan(Table::Keys, &start, None, 1)?;
            let bucket =
                page.first().and_then(|(place, _)| format::parse_state_key(place)).map(|key| key.bucket);
            buckets.extend(bucket);
            from = bucket.and_then(|bucket| format::after_position(bucket, u128::MAX));
        }
        Ok(buckets)
    }

    fn recover_hints(&mut self) -> Result<(), ReadError> {
        let mut records = Records::new(Table::Hints, Bytes::new(), None);
        let mut bad = Vec::new();
        while let Some((place, record)) = records.next(&*self.engine)? {
            bad.extend(self.backlogs.recover(&place, &record).err().map(|error| (place, error)));
        }
        // Reporting one counts its target's hints anew, so all must have been counted before.
        for (place, error) in bad {
            self.report_bad(Table::Hints, &place, &error);
        }
        Ok(())
    }
}

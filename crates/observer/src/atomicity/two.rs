//! Whether each read returned the last write or the one before (2-atomic), by "forward zones first" (Golab, Hurwitz and Li,
//! 2013): O(n log n). It needs clusters, and so unique values.
//!
//! Forward zones that overlap in a row make a chunk. Within one, the order of its writes is forced but for a few choices: by
//! the beginnings of their zones, perhaps with the first two exchanged; and a backward zone within it can only come before or
//! after all of them. Each choice is tried; other backward zones never stand in the way.

use super::{BEFORE, Cluster, Clusters};

/// More backward zones than this within one chunk leave some value two writes behind.
const BACKWARD_MAX: usize = 2;

impl Clusters {
    /// Whether every read returned one of the last two writes in some order that time allows.
    pub(crate) fn are_two_atomic(&self) -> bool {
        if self.unwritten.is_some() || self.list.iter().any(Cluster::is_early) {
            return false;
        }
        let mut forward: Vec<&Cluster> = self.list.iter().filter(|cluster| cluster.is_forward()).collect();
        forward.sort_by_key(|cluster| (cluster.f, cluster.m));
        let mut backward: Vec<&Cluster> = self.list.iter().filter(|cluster| !cluster.is_forward()).collect();
        backward.sort_by_key(|cluster| cluster.m);
        let mut backward = backward.as_slice();

        let mut rest = forward.as_slice();
        while let Some(first) = rest.first() {
            let mut until = first.m;
            let overlapping = rest.iter().take_while(|cluster| {
                let joins = cluster.f < until || std::ptr::eq(**cluster, *first);
                until = until.max(cluster.m);
                joins
            });
            let (chunk, after) = rest.split_at(overlapping.count());
            let until = chunk.iter().map(|cluster| cluster.m).max().unwrap_or(first.m);
            let skipped = backward.partition_point(|cluster| cluster.m <= first.f);
            let taken = backward.partition_point(|cluster| cluster.m < until);
            let inside: Vec<&Cluster> =
                backward[skipped..taken].iter().copied().filter(|cluster| cluster.f < until).collect();
            if !fits(chunk, &inside) {
                return false;
            }
            backward = &backward[taken..];
            rest = after;
        }
        true
    }
}

/// Whether any of the orders that a chunk allows works out.
fn fits(forward: &[&Cluster], backward: &[&Cluster]) -> bool {
    let natural = forward.to_vec();
    let mut exchanged = natural.clone();
    if exchanged.len() > 1 {
        exchanged.swap(0, 1);
    }
    let around = |before: &[&Cluster], after: &[&Cluster]| {
        let works = |middle: &Vec<&Cluster>| works_out([before, middle, after].concat().as_slice());
        works(&natural) || works(&exchanged)
    };
    match backward {
        [] => around(&[], &[]),
        &[one] => around(&[one], &[]) || around(&[], &[one]),
        &[one, other] => around(&[one], &[other]) || around(&[other], &[one]),
        more => {
            debug_assert!(more.len() > BACKWARD_MAX, "two were tried");
            false
        }
    }
}

/// Whether writes can take effect in this order. Each does as early as it may: not before those ahead of it, nor before it
/// began, nor before the last read of the value two ahead; and it must by the first end of its cluster.
fn works_out(order: &[&Cluster]) -> bool {
    let mut earliest = BEFORE;
    order.iter().enumerate().all(|(place, cluster)| {
        let two_ahead = place.checked_sub(2).map_or(BEFORE, |ahead| order[ahead].m);
        earliest = earliest.max(cluster.start).max(two_ahead);
        earliest <= cluster.f
    })
}

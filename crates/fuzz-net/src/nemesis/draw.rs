//! Owns the drawing of a nemesis: its rates and a seed in, ordinary actions at their times out. Refuses all other
//! randomness: each kind of fault has a stream of its own, and each episode one of its own within it, so that neither a
//! changed rate of another kind nor an episode that cannot happen shifts what else is drawn.

use super::trouble::trouble;
use super::{Episodes, Nemesis};
use crate::clock::ClockOffset;
use crate::faults::LinkFaults;
use crate::link::nanos;
use crate::random::{RandomStream, below};
use crate::scenario::Action;
use crate::selector::Selector;
use std::time::Duration;

/// What a nemesis is drawn for.
pub(crate) struct Field<'a> {
    pub(crate) seed: u64,
    /// In order, each once.
    pub(crate) nodes: &'a [String],
    /// The faults of the links while no nemesis is at them.
    pub(crate) links: &'a LinkFaults,
    /// When the quiet begins.
    pub(crate) end: Duration,
}

/// When something happens, and what.
pub(crate) type Timed = (Duration, Action);

/// One fault: from when until when, and the stream that decides what it is.
struct Episode {
    kind: &'static str,
    starts: Duration,
    ends: Duration,
    random: RandomStream,
}

/// The episodes that happen, with the node each strikes.
#[derive(Default)]
struct Struck<'a>(Vec<(Duration, Duration, &'a str)>);

/// Of the nodes that a partition's two groups can do without, the share that is in neither and bridges them.
const BRIDGE: f64 = 0.1;

impl Nemesis {
    /// The faults and what ends them, in the order of their times.
    pub(crate) fn draw(&self, field: &Field<'_>) -> Vec<Timed> {
        let mut down = Struck::default();
        let mut drawn = field.links(self);
        drawn.extend(field.cuts(self));
        drawn.extend(field.crashes(self, &mut down));
        drawn.extend(field.pauses(self, &down));
        drawn.extend(field.clocks(self));
        drawn.sort_by_key(|&(at, _)| at);
        drawn
    }
}

impl<'a> Field<'a> {
    fn links(&self, nemesis: &Nemesis) -> Vec<Timed> {
        let mut drawn = Vec::new();
        for mut episode in one_at_a_time(self.episodes("links", nemesis.links)) {
            let (from, to) = self.ends(&mut episode.random);
            let faults = trouble(self.links.clone(), &mut episode.random);
            drawn.push((episode.starts, Action::Links { from: from.clone(), to: to.clone(), faults }));
            drawn.push((episode.ends, Action::Links { from, to, faults: self.links.clone() }));
        }
        drawn
    }

    /// Partitions and blocks are healed together, and so they share their time.
    fn cuts(&self, nemesis: &Nemesis) -> Vec<Timed> {
        let mut episodes = self.episodes("partition", nemesis.partition);
        episodes.extend(self.episodes("block", nemesis.block));
        episodes.sort_by_key(|episode| episode.starts);
        let mut drawn = Vec::new();
        for mut episode in one_at_a_time(episodes) {
            let action = match (episode.kind, self.groups(&mut episode.random)) {
                ("partition", Some(groups)) => Action::Partition(groups),
                ("partition", None) => continue,
                _ => {
                    let (from, to) = self.ends(&mut episode.random);
                    Action::Block { from, to }
                }
            };
            drawn.push((episode.starts, action));
            drawn.push((episode.ends, Action::Heal));
        }
        drawn
    }

    /// Leaves in `down` who is, and when.
    fn crashes(&self, nemesis: &Nemesis, down: &mut Struck<'a>) -> Vec<Timed> {
        let Some(crashes) = nemesis.crash else { return Vec::new() };
        let mut disks_lost = 0;
        let mut drawn = Vec::new();
        for mut episode in self.episodes("crash", Some(crashes.episodes())) {
            if down.at(episode.starts) >= crashes.at_once {
                continue;
            }
            let Some(node) = self.pick(&mut episode, &[down]) else { continue };
            down.add(&episode, node);
            let lose_disk = episode.random.unit() < crashes.lose_disk && disks_lost < crashes.disks_lost_max;
            disks_lost += usize::from(lose_disk);
            drawn.push((episode.starts, Action::Crash { node: node.to_owned(), lose_disk }));
            drawn.push((episode.ends, Action::Restart(node.to_owned())));
        }
        drawn
    }

    fn pauses(&self, nemesis: &Nemesis, down: &Struck<'a>) -> Vec<Timed> {
        let mut paused = Struck::default();
        let mut drawn = Vec::new();
        for mut episode in self.episodes("pause", nemesis.pause) {
            let Some(node) = self.pick(&mut episode, &[down, &paused]) else { continue };
            paused.add(&episode, node);
            let lasting = episode.ends - episode.starts;
            drawn.push((episode.starts, Action::Pause { node: node.to_owned(), lasting }));
        }
        drawn
    }

    /// A skew has an end; what a jump leaves is set right when the quiet begins.
    fn clocks(&self, nemesis: &Nemesis) -> Vec<Timed> {
        let right = |node: &str| Action::ClockSkew { node: node.to_owned(), by: ClockOffset::NONE };
        let mut drawn = Vec::new();
        if let Some(skews) = nemesis.clock_skew {
            let mut skewed = Struck::default();
            for mut episode in self.episodes("clock_skew", Some(skews.episodes())) {
                let Some(node) = self.pick(&mut episode, &[&skewed]) else { continue };
                skewed.add(&episode, node);
                let by = offset(skews.max, &mut episode.random);
                drawn.push((episode.starts, Action::ClockSkew { node: node.to_owned(), by }));
                drawn.push((episode.ends, right(node)));
            }
        }
        if let Some(jumps) = nemesis.clock_jump {
            for mut episode in self.episodes("clock_jump", Some(jumps.episodes())) {
                let Some(node) = self.pick(&mut episode, &[]) else { continue };
                let by = offset(jumps.max, &mut episode.random);
                drawn.push((episode.starts, Action::ClockJump { node: node.to_owned(), by }));
                drawn.push((self.end, right(node)));
            }
        }
        drawn
    }

    /// Episodes of one kind in the order of their starts, which are a Poisson process; their lengths are exponential, but
    /// none outlasts the end.
    fn episodes(&self, kind: &'static str, rate: Option<Episodes>) -> Vec<Episode> {
        let Some(Episodes { per_minute, mean }) = rate.filter(|rate| rate.per_minute > 0.0) else {
            return Vec::new();
        };
        let gap = Duration::from_secs(60).div_f64(per_minute);
        let mut random = RandomStream::new(self.seed, &["nemesis", kind]);
        let mut episodes = Vec::new();
        let mut starts = exponential(gap, &mut random);
        while starts < self.end {
            let ends = starts.saturating_add(exponential(mean, &mut random)).min(self.end);
            let label = episodes.len().to_string();
            let own = RandomStream::new(self.seed, &["nemesis", kind, &label]);
            episodes.push(Episode { kind, starts, ends, random: own });
            starts = starts.saturating_add(exponential(gap, &mut random));
        }
        episodes
    }

    /// A node that none of these has while the episode lasts.
    fn pick(&self, episode: &mut Episode, others: &[&Struck<'_>]) -> Option<&'a str> {
        let is_free = |node: &&String| !others.iter().any(|struck| struck.has(node, episode));
        let free: Vec<_> = self.nodes.iter().filter(is_free).collect();
        free.get(index(free.len(), &mut episode.random)).map(|node| node.as_str())
    }

    /// Links: all, all of one node one way, or one.
    fn ends(&self, random: &mut RandomStream) -> (Selector, Selector) {
        let (shape, first, second) = (index(4, random), random.unit(), random.unit());
        let count = self.nodes.len();
        if count < 2 {
            return (Selector::All, Selector::All);
        }
        let first = place(count, first);
        let second = (first + 1 + place(count - 1, second)) % count;
        let node = |place: usize| Selector::nodes([self.nodes[place].as_str()]);
        match shape {
            0 => (Selector::All, Selector::All),
            1 => (node(first), Selector::All),
            2 => (Selector::All, node(second)),
            _ => (node(first), node(second)),
        }
    }

    /// Two groups with one node at least, if there are as many.
    fn groups(&self, random: &mut RandomStream) -> Option<Vec<Vec<String>>> {
        let mut groups = vec![Vec::new(), Vec::new()];
        let (first, second) = (random.unit(), random.unit());
        let sides: Vec<f64> = self.nodes.iter().map(|_| random.unit()).collect();
        let count = self.nodes.len();
        if count < 2 {
            return None;
        }
        let first = place(count, first);
        let second = (first + 1 + place(count - 1, second)) % count;
        for (i, (node, side)) in self.nodes.iter().zip(sides).enumerate() {
            let group = match side {
                _ if i == first => 0,
                _ if i == second => 1,
                side if side < BRIDGE => continue,
                side => usize::from(side < (1.0 + BRIDGE) / 2.0),
            };
            groups[group].push(node.clone());
        }
        Some(groups)
    }
}

impl<'a> Struck<'a> {
    fn add(&mut self, episode: &Episode, node: &'a str) {
        self.0.push((episode.starts, episode.ends, node));
    }

    /// How many last beyond a time at which no later one has begun.
    fn at(&self, time: Duration) -> usize {
        self.0.iter().filter(|&&(_, ends, _)| ends > time).count()
    }

    fn has(&self, node: &str, during: &Episode) -> bool {
        self.0.iter().any(|&(starts, ends, it)| it == node && starts < during.ends && during.starts < ends)
    }
}

/// Without those that start before an earlier one has ended.
fn one_at_a_time(episodes: Vec<Episode>) -> impl Iterator<Item = Episode> {
    let mut free_from = Duration::ZERO;
    episodes.into_iter().filter(move |episode| {
        let is_free = episode.starts >= free_from;
        if is_free {
            free_from = episode.ends;
        }
        is_free
    })
}

/// Whole milliseconds, one at least, as people read them in a printed scenario.
fn exponential(mean: Duration, random: &mut RandomStream) -> Duration {
    let seconds = mean.as_secs_f64() * -libm::log(1.0 - random.unit());
    let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    Duration::from_millis(nanos(time) / 1_000_000).max(Duration::from_millis(1))
}

/// Up to `max` either way, in whole milliseconds, one at least.
fn offset(max: Duration, random: &mut RandomStream) -> ClockOffset {
    const MILLI: u64 = 1_000_000;
    let nanos = MILLI * (1 + below(nanos(max) / MILLI, random.unit()));
    let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
    ClockOffset::from_nanos(if random.unit() < 0.5 { -nanos } else { nanos })
}

fn index(count: usize, random: &mut RandomStream) -> usize {
    place(count, random.unit())
}

fn place(count: usize, unit: f64) -> usize {
    usize::try_from(below(count as u64, unit)).expect("it is below a usize")
}

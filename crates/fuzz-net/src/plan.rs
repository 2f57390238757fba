//! Owns what has been asked of the network, by the names of nodes. Refuses packets, links and threads: it only answers
//! what is in force between two nodes.

use crate::faults::LinkFaults;
use crate::selector::Selector;
use std::collections::{BTreeMap, BTreeSet};

/// The faults in force. Nodes need not exist yet: whoever joins is treated as its name asks.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The last rule that matches a link wins.
    rules: Vec<Rule>,
    partition: Vec<BTreeSet<String>>,
    blocks: Vec<(Selector, Selector)>,
    unplugged: BTreeSet<String>,
    /// Until when each node is held, in nanoseconds; past times too.
    paused: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Rule {
    from: Selector,
    to: Selector,
    faults: LinkFaults,
}

impl Plan {
    pub(crate) fn set_links(&mut self, from: &Selector, to: &Selector, faults: LinkFaults) {
        let covers_all = (from, to) == (&Selector::All, &Selector::All);
        self.rules.retain(|rule| !covers_all && (&rule.from, &rule.to) != (from, to));
        self.rules.push(Rule { from: from.clone(), to: to.clone(), faults });
    }

    pub(crate) fn clear_links(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn partition(&mut self, groups: Vec<BTreeSet<String>>) {
        self.partition = groups;
    }

    pub(crate) fn block(&mut self, from: &Selector, to: &Selector) {
        let block = (from.clone(), to.clone());
        if !self.blocks.contains(&block) {
            self.blocks.push(block);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.partition.clear();
        self.blocks.clear();
    }

    /// Ends a pause, too.
    pub(crate) fn unplug(&mut self, node: &str) {
        self.unplugged.insert(node.to_owned());
        self.paused.remove(node);
    }

    pub(crate) fn plug(&mut self, node: &str) {
        self.unplugged.remove(node);
    }

    pub(crate) fn pause(&mut self, node: &str, until_ns: u64) {
        let paused = self.paused.entry(node.to_owned()).or_default();
        *paused = until_ns.max(*paused);
    }

    pub(crate) fn faults(&self, from: &str, to: &str) -> LinkFaults {
        let rule = self.rules.iter().rev().find(|rule| rule.from.contains(from) && rule.to.contains(to));
        rule.map_or_else(LinkFaults::default, |rule| rule.faults.clone())
    }

    pub(crate) fn blocks(&self, from: &str, to: &str) -> bool {
        self.is_unplugged(from)
            || self.is_unplugged(to)
            || self.partition_separates(from, to)
            || self.blocks.iter().any(|(sources, targets)| sources.contains(from) && targets.contains(to))
    }

    pub(crate) fn is_unplugged(&self, node: &str) -> bool {
        self.unplugged.contains(node)
    }

    /// 0 for a node that was never paused.
    pub(crate) fn paused_until_ns(&self, node: &str) -> u64 {
        self.paused.get(node).copied().unwrap_or_default()
    }

    /// Nodes are apart if both are in some group and no group has both.
    fn partition_separates(&self, a: &str, b: &str) -> bool {
        let grouped = |node| self.partition.iter().any(|group| group.contains(node));
        let together = self.partition.iter().any(|group| group.contains(a) && group.contains(b));
        grouped(a) && grouped(b) && !together
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lossy(drop: f64) -> LinkFaults {
        LinkFaults { drop, ..LinkFaults::default() }
    }

    fn groups(groups: &[&[&str]]) -> Vec<BTreeSet<String>> {
        groups.iter().map(|group| group.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn the_last_matching_rule_wins_in_its_direction_only() {
        let mut plan = Plan::default();
        plan.set_links(&Selector::All, &Selector::All, lossy(0.1));
        plan.set_links(&Selector::nodes(["a"]), &Selector::All, lossy(0.2));
        plan.set_links(&Selector::nodes(["a"]), &Selector::nodes(["b"]), lossy(0.3));
        assert_eq!(plan.faults("a", "b"), lossy(0.3));
        assert_eq!(plan.faults("a", "c"), lossy(0.2));
        assert_eq!(plan.faults("b", "a"), lossy(0.1));
    }

    #[test]
    fn a_rule_replaces_those_it_covers() {
        let mut plan = Plan::default();
        for drop in [0.1, 0.2, 0.3] {
            plan.set_links(&Selector::nodes(["a"]), &Selector::All, lossy(drop));
        }
        assert_eq!(plan.rules.len(), 1);
        plan.set_links(&Selector::All, &Selector::All, lossy(0.4));
        assert_eq!(plan.rules.len(), 1);
        assert_eq!(plan.faults("a", "b"), lossy(0.4));
    }

    #[test]
    fn a_partition_spares_those_it_does_not_name() {
        let mut plan = Plan::default();
        plan.partition(groups(&[&["a", "b"], &["c"]]));
        assert!(plan.blocks("a", "c") && plan.blocks("c", "b"));
        assert!(!plan.blocks("a", "b"));
        assert!(!plan.blocks("a", "bridge") && !plan.blocks("bridge", "c"));
    }

    #[test]
    fn a_new_partition_replaces_the_old_and_leaves_blocks() {
        let mut plan = Plan::default();
        plan.block(&Selector::nodes(["a"]), &Selector::nodes(["b"]));
        plan.partition(groups(&[&["a"], &["c"]]));
        plan.partition(groups(&[&["b"], &["c"]]));
        assert!(!plan.blocks("a", "c"));
        assert!(plan.blocks("b", "c"));
        assert!(plan.blocks("a", "b") && !plan.blocks("b", "a"));
    }

    #[test]
    fn the_longest_pause_counts_and_unplugging_ends_it() {
        let mut plan = Plan::default();
        assert_eq!(plan.paused_until_ns("a"), 0);
        plan.pause("a", 9);
        plan.pause("a", 5);
        assert_eq!((plan.paused_until_ns("a"), plan.paused_until_ns("b")), (9, 0));
        plan.unplug("a");
        assert_eq!(plan.paused_until_ns("a"), 0);
    }

    #[test]
    fn healing_leaves_faults_and_unplugged_nodes() {
        let mut plan = Plan::default();
        plan.set_links(&Selector::All, &Selector::All, lossy(0.1));
        plan.block(&Selector::All, &Selector::nodes(["a"]));
        plan.unplug("c");
        plan.heal();
        assert!(!plan.blocks("b", "a"));
        assert!(plan.blocks("a", "c") && plan.blocks("c", "a"));
        assert_eq!(plan.faults("a", "b"), lossy(0.1));
        plan.plug("c");
        assert!(!plan.blocks("a", "c"));
    }
}

//! What a member counts and measures of itself, gathered when somebody asks, from where each number lives. Owns the
//! metrics' names, their order and what is said of them.

use chinwag_client::metrics::{Metric, MetricKind, Sample};
use chinwag_client::wire::{ChangeKind, MemberState};
use chinwag_membership::NodeId;
use chinwag_storage::Backlog;

use crate::core::{Core, Outcomes};
use crate::gossip;
use crate::queues::QueueLoad;
use crate::transport::endpoint::Endpoint;

/// All metrics of a member, in an order that never changes.
pub(crate) async fn metrics(core: &Core) -> Vec<Metric> {
    let mut metrics = Metrics::default();
    requests(core, &mut metrics);
    membership(core, &mut metrics);
    refused(core, &mut metrics).await;
    transport(core, &mut metrics);
    repair(core, &mut metrics);
    hints(core, &mut metrics);
    anti_entropy(core, &mut metrics);
    storage(core, &mut metrics);
    queues(core, &mut metrics);
    metrics.0
}

fn requests(core: &Core, metrics: &mut Metrics) {
    let counters = &core.counters;
    let kinds = [("get", &counters.gets), ("put", &counters.puts), ("delete", &counters.deletes)];
    let samples = kinds.into_iter().flat_map(|(kind, outcomes)| {
        let Outcomes { ok, invalid, unavailable, unknown, internal } = outcomes;
        let named = [
            ("ok", ok),
            ("invalid", invalid),
            ("unavailable", unavailable),
            ("unknown", unknown),
            ("internal", internal),
        ];
        named.map(|(outcome, count)| sample(&[("request", kind), ("outcome", outcome)], count.value()))
    });
    metrics.counters(
        "chinwag_requests_total",
        "Requests of clients that this member answered, by how they came out.",
        samples.collect(),
    );
}

fn membership(core: &Core, metrics: &mut Metrics) {
    let view = core.view();
    let states = [MemberState::Alive, MemberState::Suspect, MemberState::Down, MemberState::Left];
    let members = states.map(|state| {
        let count = view.members.values().filter(|it| it.info.state == state).count();
        sample(&[("state", &state.to_string())], count as u64)
    });
    metrics.gauges(
        "chinwag_membership_members",
        "Members this one knows, itself included, by what it believes of them.",
        members.into(),
    );
    let events =
        ChangeKind::ALL.map(|kind| sample(&[("event", &kind.to_string())], core.changes.count(kind)));
    metrics.counters(
        "chinwag_membership_events_total",
        "What became of members in this one's view; accused: others gave this member up, and it refuted that.",
        events.into(),
    );
    if let Some(me) = view.members.get(&core.me) {
        metrics.gauge(
            "chinwag_membership_incarnation",
            "How often this member has refuted a rumour of its death since its start.",
            me.info.incarnation,
        );
    }
}

async fn refused(core: &Core, metrics: &mut Metrics) {
    // A member that stops has no machine to ask any more.
    let Some(report) = gossip::report(core).await else { return };
    metrics.gauge(
        "chinwag_membership_health",
        "Doubts this member has of itself, from 0 (none): it misses answers that others get.",
        report.health.into(),
    );
    let counters = report.counters;
    let refused = [
        ("malformed", counters.malformed),
        ("oversized", counters.oversized),
        ("absurd", counters.absurd),
        ("foreign", counters.foreign),
        ("misdirected", counters.misdirected),
        ("unexpected", counters.unexpected),
        ("stale", counters.stale),
        ("unfit", counters.refused),
    ];
    metrics.counters(
        "chinwag_membership_refused_total",
        "Messages and news of the membership protocol that were not taken in: not readable, longer than any, of values no \
         member has, of a cluster founded otherwise, for another member, answers nobody waits for, news older than what \
         is known, members and records that break a rule.",
        refused.map(|(reason, count)| sample(&[("reason", reason)], count)).into(),
    );
}

fn transport(core: &Core, metrics: &mut Metrics) {
    let each = |value: &dyn Fn(&Endpoint) -> u64| {
        let samples = core.endpoints.iter().map(|it| sample(&[("channel", it.channel.label())], value(it)));
        samples.collect::<Vec<_>>()
    };
    metrics.gauges(
        "chinwag_transport_connections",
        "QUIC connections that are open, of members and clients (data) and of members (gossip).",
        each(&|it| it.quic.open_connections() as u64),
    );
    metrics.counters(
        "chinwag_transport_handshakes_failed_total",
        "Incoming connections that did not complete their handshake: strangers have no certificate of the cluster.",
        each(&|it| it.turned_away.handshakes.value()),
    );
    metrics.counters(
        "chinwag_transport_connections_refused_total",
        "Connections that were closed because something came over them that has no place there.",
        each(&|it| it.turned_away.connections.value()),
    );
    let datagrams = &core.datagrams;
    let samples =
        [("sent", &datagrams.sent), ("received", &datagrams.received), ("dropped", &datagrams.dropped)];
    metrics.counters(
        "chinwag_transport_datagrams_total",
        "Gossip datagrams that were sent, received, or dropped here because a queue was full or they were too long.",
        samples.map(|(what, count)| sample(&[("what", what)], count.value())).into(),
    );
}

fn repair(core: &Core, metrics: &mut Metrics) {
    let counters = &core.counters;
    metrics.counter(
        "chinwag_repair_read_repairs_total",
        "Key states handed to a replica that a read found lagging.",
        counters.read_repairs.value(),
    );
    metrics.counter(
        "chinwag_repair_rounds_total",
        "Rounds of anti-entropy that this member opened.",
        counters.exchanges.value(),
    );
    metrics.counter(
        "chinwag_repair_keys_total",
        "Key states that anti-entropy changed here, but for tombstones that went.",
        counters.keys_repaired.value(),
    );
}

fn hints(core: &Core, metrics: &mut Metrics) {
    let view = core.view();
    let backlogs = core.store.backlogs();
    let now_ms = u64::try_from(core.clock.now().as_millis()).unwrap_or(u64::MAX);
    let each = |value: &dyn Fn(&Backlog) -> u64| {
        let samples =
            backlogs.iter().map(|it| sample(&[("target", &view.name(NodeId(it.target)))], value(it)));
        samples.collect::<Vec<_>>()
    };
    metrics.gauges(
        "chinwag_hints_parked",
        "Writes kept for a member that missed them.",
        each(&|it| it.hints),
    );
    metrics.gauges("chinwag_hints_parked_bytes", "What they take on disk.", each(&|it| it.bytes));
    metrics.gauges(
        "chinwag_hints_oldest_age_seconds",
        "How long the oldest of them has waited.",
        each(&|it| now_ms.saturating_sub(it.oldest) / 1000),
    );
    metrics.gauge(
        "chinwag_hints_due",
        "Hints for members that are believed alive: they are being delivered, or cannot be.",
        core.hints_owed(),
    );
    metrics.counter(
        "chinwag_hints_delivered_total",
        "Hints delivered to a member that came back.",
        core.counters.hints_delivered.value(),
    );
}

fn anti_entropy(core: &Core, metrics: &mut Metrics) {
    let counters = &core.counters;
    metrics.counter(
        "chinwag_repair_bytes_total",
        "Bytes of exchanges that this member opened, in both directions.",
        counters.repair_bytes.value(),
    );
    metrics.counter(
        "chinwag_repair_round_trips_total",
        "Round trips of exchanges that this member opened.",
        counters.repair_round_trips.value(),
    );
    let view = core.view();
    let owners = |tree, member| view.is_owner(tree, member) && view.is_owner(tree, core.me);
    if let Some(age) = core.pairs.oldest_clean(owners) {
        metrics.gauge(
            "chinwag_anti_entropy_oldest_clean_age_seconds",
            "Since when some partition was not found equal to another owner's.",
            age,
        );
    }
    let scrubbed = core.store.scrubbed();
    metrics.counter(
        "chinwag_scrub_keys_total",
        "Records read by the scrubber, which looks for rot.",
        scrubbed.keys,
    );
    metrics.counter(
        "chinwag_scrub_rounds_total",
        "Times the scrubber has read every record.",
        scrubbed.rounds,
    );
    metrics.counter(
        "chinwag_scrub_drifted_total",
        "Leaves of trees that did not say what the records say; each was set right.",
        scrubbed.drifted,
    );
}

fn storage(core: &Core, metrics: &mut Metrics) {
    let counters = core.store.counters();
    metrics.gauge("chinwag_storage_keys", "Keys with a record, deleted ones included.", core.store.len());
    metrics.gauge(
        "chinwag_storage_tombstones",
        "Deleted keys that still have a record: not all owners are known to have seen the delete.",
        core.store.tombstones(),
    );
    metrics.counter(
        "chinwag_storage_tombstones_purged_total",
        "Records of deleted keys removed, all owners having seen the delete.",
        core.counters.tombstones_purged.value(),
    );
    metrics.counter(
        "chinwag_storage_bad_records_total",
        "Records found damaged; each counts as absent until another replica fills it in.",
        counters.bad_records,
    );
    metrics.counter(
        "chinwag_storage_skewed_dots_total",
        "Versions met with two contents: a data directory was used twice. Nothing is lost; look who.",
        counters.skewed_dots,
    );
    metrics.counter(
        "chinwag_storage_actors_drawn_total",
        "New actors taken because this store had forgotten something it once wrote.",
        counters.actors_drawn,
    );
}

fn queues(core: &Core, metrics: &mut Metrics) {
    let loads = core.queues.loads(&core.store);
    let each = |value: &dyn Fn(&QueueLoad) -> u64| {
        loads.iter().map(|it| sample(&[("queue", it.name)], value(it))).collect::<Vec<_>>()
    };
    metrics.gauges(
        "chinwag_queue_high_water",
        "The most that ever waited at once in a bounded queue of this kind.",
        each(&|it| it.high_water),
    );
    metrics.gauges(
        "chinwag_queue_bound",
        "The most that may wait: a full queue blocks whoever has more for it, or drops what comes.",
        each(&|it| it.bound),
    );
}

fn sample(labels: &[(&str, &str)], value: u64) -> Sample {
    let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Sample { labels: labels.collect(), value }
}

/// Metrics in the making.
#[derive(Debug, Default)]
struct Metrics(Vec<Metric>);

impl Metrics {
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, vec![sample(&[], value)]);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.gauges(name, help, vec![sample(&[], value)]);
    }

    fn counters(&mut self, name: &str, help: &str, samples: Vec<Sample>) {
        self.add(name, help, MetricKind::Counter, samples);
    }

    fn gauges(&mut self, name: &str, help: &str, samples: Vec<Sample>) {
        self.add(name, help, MetricKind::Gauge, samples);
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricKind, samples: Vec<Sample>) {
        self.0.push(Metric { name: name.to_owned(), help: help.to_owned(), kind, samples });
    }
}

//! The rows of the table, and what was recorded of others for them.

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    FirstSuspicion,
    FirstDown,
    AllViewsMedian,
    AllViewsTail,
    NotAll,
    JoinMedian,
    JoinTail,
    NewcomersView,
    Boot,
    Rounds,
    Suspicions,
    Deaths,
    Messages,
    Bytes,
    SlowHealthy,
    SlowSlow,
    HoldDeaths,
    HoldRemovals,
    LongHoldDeaths,
    LongHoldRemovals,
}

impl Row {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::FirstSuspicion => "crash: first suspicion, mean s",
            Self::FirstDown => "crash: first down, mean s",
            Self::AllViewsMedian => "crash: down in all views, p50 s",
            Self::AllViewsTail => "crash: down in all views, p99 s",
            Self::NotAll => "crash: not in all views within 180 s",
            Self::JoinMedian => "join: known by all, p50 s",
            Self::JoinTail => "join: known by all, p99 s",
            Self::NewcomersView => "join: newcomer's view complete, p50 s",
            Self::Boot => "boot through one, all views, mean s",
            Self::Rounds => "goodbye: gossip rounds to all, p50",
            Self::Suspicions => "steady: false suspicions /node-hour",
            Self::Deaths => "steady: false deaths /node-hour",
            Self::Messages => "steady: messages /s/member",
            Self::Bytes => "steady: payload bytes /s/member",
            Self::SlowHealthy => "slow: deaths of healthy /node-hour",
            Self::SlowSlow => "slow: deaths of slow /node-hour",
            Self::HoldDeaths => "hold 12/60: healthy deaths /node-hour",
            Self::HoldRemovals => "hold 12/60: removals /node-hour",
            Self::LongHoldDeaths => "hold 18/60: healthy deaths /node-hour",
            Self::LongHoldRemovals => "hold 18/60: removals /node-hour",
        }
    }

    /// To how many digits after the point others' numbers were recorded.
    fn digits(self) -> i32 {
        match self {
            Self::Bytes => 0,
            Self::NewcomersView => 2,
            Self::Suspicions
            | Self::Deaths
            | Self::SlowHealthy
            | Self::SlowSlow
            | Self::HoldDeaths
            | Self::HoldRemovals
            | Self::LongHoldDeaths
            | Self::LongHoldRemovals => 3,
            _ => 1,
        }
    }

    /// The number as it would have been recorded.
    pub(crate) fn rounded(self, value: f64) -> f64 {
        let scale = 10_f64.powi(self.digits());
        (value * scale).round() / scale
    }

    /// On how many trials or node-hours others' numbers were measured.
    pub(crate) fn recorded_on(self, members: usize) -> f64 {
        match (self, members) {
            (Self::FirstSuspicion | Self::FirstDown | Self::AllViewsMedian | Self::AllViewsTail, 100) => {
                400.0
            }
            (Self::FirstSuspicion | Self::FirstDown | Self::AllViewsMedian | Self::AllViewsTail, _) => 30.0,
            (Self::JoinMedian | Self::JoinTail | Self::NewcomersView, 100) => 200.0,
            (Self::JoinMedian | Self::JoinTail | Self::NewcomersView, _) => 20.0,
            (Self::Boot, _) => 1.0,
            (Self::SlowHealthy | Self::HoldDeaths | Self::HoldRemovals, 100) => 45.0,
            (Self::SlowSlow, 100) => 5.0,
            (_, 100) => 200.0,
            (_, _) => 167.0,
        }
    }

    /// A goal of its own, whatever others reach.
    pub(crate) fn goal(self, members: usize) -> Option<f64> {
        match self {
            Self::LongHoldDeaths => Some(0.4),
            Self::LongHoldRemovals => Some(40.0),
            Self::Rounds => Some((members as f64).log2().ceil() + 4.0),
            _ => None,
        }
    }
}

/// What was recorded at losses of 0, 5 and 20 %; not a number where nothing was.
type Recorded = (Row, [f64; 3]);

const NONE: f64 = f64::NAN;
/// Nothing within the five minutes that were simulated.
const NEVER: f64 = f64::INFINITY;

/// SWIM with Lifeguard, modelled with memberlist's parameters for local networks and without the grace after a
/// confirmation: design notes on membership, section 2. Trials there: 400 crashes, 200 joins, 200 node-hours steady, 50
/// slow.
const LIFEGUARD_100: &[Recorded] = &[
    (Row::FirstSuspicion, [1.9, 1.9, 1.7]),
    (Row::FirstDown, [9.9, 9.9, 9.7]),
    (Row::AllViewsMedian, [10.0, 10.0, 9.9]),
    (Row::AllViewsTail, [13.9, 13.9, 13.9]),
    (Row::NotAll, [0.0, 0.0, 0.0]),
    (Row::JoinMedian, [0.6, 0.6, 0.7]),
    (Row::JoinTail, [0.8, 0.9, 1.0]),
    (Row::NewcomersView, [0.05, 0.05, 0.05]),
    (Row::Boot, [1.6, 1.7, 1.7]),
    (Row::Suspicions, [0.0, 0.0, 0.0]),
    (Row::Deaths, [0.0, 0.0, 0.0]),
    (Row::Messages, [2.0, 3.3, 6.3]),
    (Row::Bytes, [57.0, 80.0, 313.0]),
    (Row::SlowHealthy, [0.0, 0.0, 0.0]),
    (Row::SlowSlow, [0.0, 0.0, 1.2]),
    (Row::HoldDeaths, [0.04, 0.11, 0.20]),
];

/// As above. Trials there: 30 crashes (3 at 20 %), 10 to 20 joins (2), 17 to 167 node-hours.
const LIFEGUARD_1000: &[Recorded] = &[
    (Row::FirstDown, [13.8, 13.8, 13.6]),
    (Row::AllViewsMedian, [14.2, 14.2, 14.1]),
    (Row::JoinMedian, [0.8, 0.9, 1.0]),
    (Row::NewcomersView, [0.05, 0.10, 0.10]),
    (Row::Boot, [14.0, 14.0, 182.0]),
    (Row::Suspicions, [NONE, NONE, 0.0]),
    (Row::Deaths, [NONE, NONE, 0.0]),
    (Row::Messages, [2.2, 3.4, 6.4]),
    (Row::Bytes, [195.0, 225.0, 486.0]),
    (Row::HoldDeaths, [NONE, 0.19, NONE]),
    (Row::HoldRemovals, [NONE, 0.2, NONE]),
    (Row::LongHoldDeaths, [NONE, 0.85, NONE]),
    (Row::LongHoldRemovals, [NONE, 29.0, NONE]),
];

/// foca 2.0 where it is too slow to be simulated beside chinwag each time: the same source.
const FOCA_1000: &[Recorded] = &[
    (Row::FirstDown, [13.9, 13.9, 13.5]),
    (Row::AllViewsMedian, [14.6, 14.5, NEVER]),
    (Row::JoinMedian, [0.9, 0.9, 1.0]),
    (Row::NewcomersView, [NEVER, NEVER, 80.0]),
    (Row::Boot, [NEVER, 293.0, NONE]),
    (Row::Suspicions, [NONE, NONE, 303.0]),
    (Row::Deaths, [NONE, NONE, 0.3]),
    (Row::Messages, [2.1, 12.7, 20.6]),
    (Row::Bytes, [116.0, 783.0, 24_958.0]),
    (Row::HoldDeaths, [NONE, 0.07, NONE]),
    (Row::HoldRemovals, [NONE, 14.0, NONE]),
    (Row::LongHoldDeaths, [NONE, 28.0, NONE]),
    (Row::LongHoldRemovals, [NONE, 575.0, NONE]),
];

pub(crate) fn lifeguard(members: usize, loss: f64, row: Row) -> Option<f64> {
    match members {
        100 => recorded(LIFEGUARD_100, loss, row),
        1_000 => recorded(LIFEGUARD_1000, loss, row),
        _ => None,
    }
}

pub(crate) fn foca(members: usize, loss: f64, row: Row) -> Option<f64> {
    if members == 1_000 { recorded(FOCA_1000, loss, row) } else { None }
}

fn recorded(table: &[Recorded], loss: f64, row: Row) -> Option<f64> {
    let column = [0.0, 0.05, 0.2].iter().position(|it| *it == loss)?;
    let (_, values) = table.iter().find(|(it, _)| *it == row)?;
    Some(values[column]).filter(|value| !value.is_nan())
}

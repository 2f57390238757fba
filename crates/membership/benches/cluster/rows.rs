//! The rows of the table, and what was recorded of others for them.

use std::fmt;

use crate::estimate::number;

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
    NewcomersViewMean,
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
            Self::NotAll => "crash: not in all views in 180 s, share",
            Self::JoinMedian => "join: known by all, p50 s",
            Self::JoinTail => "join: known by all, p99 s",
            Self::NewcomersView => "join: newcomer's view complete, p50 s",
            Self::NewcomersViewMean => "join: newcomer's view complete, mean s",
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
            Self::Suspicions
            | Self::Deaths
            | Self::SlowHealthy
            | Self::SlowSlow
            | Self::HoldDeaths
            | Self::HoldRemovals
            | Self::LongHoldDeaths
            | Self::LongHoldRemovals => 3,
            _ => 2,
        }
    }

    /// The number as it would have been recorded.
    pub(crate) fn rounded(self, value: f64) -> f64 {
        let scale = 10_f64.powi(self.digits());
        (value * scale).round() / scale
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

/// A number that was measured before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    pub(crate) value: f64,
    /// On how many trials or node-hours.
    pub(crate) on: f64,
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} ({:.0})", number(self.value), self.on))
    }
}

/// Trials or node-hours, and what they gave; at losses of 0, 5 and 20 %. Not a number where nothing was recorded.
type Record = (Row, [f64; 3], [f64; 3]);

const NONE: f64 = f64::NAN;
/// Nothing within the five minutes that were simulated.
const NEVER: f64 = f64::INFINITY;

const CRASHES: [f64; 3] = [4_000.0; 3];
const JOINS: [f64; 3] = [4_000.0; 3];
const HOURS: [f64; 3] = [200.0; 3];

/// SWIM with Lifeguard, modelled with memberlist's parameters for local networks and without the grace after a
/// confirmation, in a simulator of the same rules. Its streams carry 22 bytes per member, of which no ring could be built.
const LIFEGUARD_100: &[Record] = &[
    (Row::FirstSuspicion, [20_000.0, 4_000.0, 4_000.0], [1.98, 1.91, 1.76]),
    (Row::FirstDown, [20_000.0, 4_000.0, 4_000.0], [9.98, 9.91, 9.76]),
    (Row::AllViewsMedian, [20_000.0, 4_000.0, 4_000.0], [10.05, 9.99, 9.90]),
    (Row::AllViewsTail, [20_000.0, 4_000.0, 4_000.0], [13.84, 13.63, 13.54]),
    (Row::NotAll, CRASHES, [0.0, 0.0, 0.0]),
    (Row::JoinMedian, JOINS, [0.56, 0.57, 0.63]),
    (Row::JoinTail, JOINS, [0.82, 0.84, 2.31]),
    (Row::NewcomersView, JOINS, [0.05, 0.05, 0.05]),
    (Row::NewcomersViewMean, JOINS, [0.05, 0.06, 0.09]),
    (Row::Boot, [50.0; 3], [1.65, 1.96, 3.00]),
    (Row::Suspicions, HOURS, [0.0, 0.0, 0.0]),
    (Row::Deaths, HOURS, [0.0, 0.0, 0.0]),
    (Row::Messages, HOURS, [2.04, 3.31, 6.25]),
    (Row::Bytes, HOURS, [57.0, 80.0, 313.0]),
    (Row::SlowHealthy, [180.0; 3], [0.0, 0.011, 0.033]),
    (Row::SlowSlow, [20.0; 3], [0.0, 0.2, 1.65]),
    (Row::HoldDeaths, [180.0; 3], [0.056, 0.094, 0.183]),
    (Row::HoldRemovals, [180.0; 3], [0.122, 0.25, 0.422]),
];

/// As above.
const LIFEGUARD_1000: &[Record] = &[
    (Row::FirstSuspicion, [200.0; 3], [1.85, 1.81, 1.70]),
    (Row::FirstDown, [200.0; 3], [13.85, 13.81, 13.70]),
    (Row::AllViewsMedian, [200.0; 3], [14.20, 14.18, 14.13]),
    (Row::AllViewsTail, [200.0; 3], [16.84, 16.87, 16.92]),
    (Row::NotAll, [200.0; 3], [0.0, 0.0, 0.0]),
    (Row::JoinMedian, [100.0; 3], [0.85, 0.87, 0.96]),
    (Row::JoinTail, [100.0; 3], [1.11, 1.10, 1.20]),
    (Row::NewcomersView, [100.0, 100.0, 400.0], [0.05, 0.10, 0.15]),
    (Row::NewcomersViewMean, [100.0, 100.0, 400.0], [0.05, 0.09, 0.15]),
    (Row::Boot, [3.0; 3], [14.7, 13.1, 74.7]),
    (Row::Suspicions, [167.0; 3], [NONE, NONE, 0.0]),
    (Row::Deaths, [167.0; 3], [NONE, NONE, 0.0]),
    (Row::Messages, [167.0; 3], [2.2, 3.4, 6.4]),
    (Row::Bytes, [167.0; 3], [195.0, 225.0, 486.0]),
    (Row::HoldDeaths, [250.0; 3], [NONE, 0.19, NONE]),
    (Row::HoldRemovals, [250.0; 3], [NONE, 0.2, NONE]),
    (Row::LongHoldDeaths, [250.0; 3], [NONE, 0.85, NONE]),
    (Row::LongHoldRemovals, [250.0; 3], [NONE, 29.0, NONE]),
];

/// foca 2.0 where it is too slow to be simulated beside chinwag each time, in the simulator of the model.
const FOCA_1000: &[Record] = &[
    (Row::FirstDown, [30.0, 30.0, 3.0], [13.9, 13.9, 13.5]),
    (Row::AllViewsMedian, [30.0, 30.0, 3.0], [14.6, 14.5, NEVER]),
    (Row::JoinMedian, [20.0, 20.0, 2.0], [0.9, 0.9, 1.0]),
    (Row::NewcomersView, [20.0, 20.0, 2.0], [NEVER, NEVER, 80.0]),
    (Row::Boot, [1.0; 3], [NEVER, 293.0, NONE]),
    (Row::Suspicions, [17.0; 3], [NONE, NONE, 303.0]),
    (Row::Deaths, [17.0; 3], [NONE, NONE, 0.3]),
    (Row::Messages, [17.0; 3], [2.1, 12.7, 20.6]),
    (Row::Bytes, [17.0; 3], [116.0, 783.0, 24_958.0]),
    (Row::HoldDeaths, [250.0; 3], [NONE, 0.07, NONE]),
    (Row::HoldRemovals, [250.0; 3], [NONE, 14.0, NONE]),
    (Row::LongHoldDeaths, [250.0; 3], [NONE, 28.0, NONE]),
    (Row::LongHoldRemovals, [250.0; 3], [NONE, 575.0, NONE]),
];

pub(crate) fn lifeguard(members: usize, loss: f64, row: Row) -> Option<Recorded> {
    match members {
        100 => recorded(LIFEGUARD_100, loss, row),
        1_000 => recorded(LIFEGUARD_1000, loss, row),
        _ => None,
    }
}

pub(crate) fn foca(members: usize, loss: f64, row: Row) -> Option<Recorded> {
    if members == 1_000 { recorded(FOCA_1000, loss, row) } else { None }
}

fn recorded(table: &[Record], loss: f64, row: Row) -> Option<Recorded> {
    let column = [0.0, 0.05, 0.2].iter().position(|it| *it == loss)?;
    let (_, on, values) = table.iter().find(|(it, ..)| *it == row)?;
    Some(Recorded { value: values[column], on: on[column] }).filter(|it| !it.value.is_nan())
}

//! What stands against a node's retirement.  None of it can be talked away: the contract says the same.

use appliance_model::Icnt;

use crate::{Life, NodeState, span, time};

/// Why a node cannot be retired now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It is no node any more.
    Retired {
        /// Since when, seconds since 1970.
        at_unix: u64,
        /// What went back to the owner's deposit.
        released: Icnt,
    },
    /// Its owner gave its word for longer.
    Committed {
        /// Until when, seconds since 1970.
        until_unix: u64,
        /// How much longer, seconds.
        left_seconds: u64,
    },
    /// Somebody has it, or units of it.
    Booked {
        /// Until when, seconds since 1970.
        until_unix: u64,
    },
    /// A case is open against it.
    Case {
        /// Until when restoring it costs nothing, seconds since 1970.
        restore_until_unix: u64,
    },
}

impl Obstacle {
    /// In a sentence, with what ends it.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Retired { at_unix, released } => {
                format!(
                    "it was retired on {}, and {released} went back to its owner's deposit",
                    time(*at_unix)
                )
            }
            Self::Committed { until_unix, left_seconds } => format!(
                "its commitment runs until {}, for {} more; no word and no key shortens that, the contract keeps the \
                 collateral until then",
                time(*until_unix),
                span(*left_seconds)
            ),
            Self::Booked { until_unix } => {
                format!("it is booked until {}; the booking has to end first", time(*until_unix))
            }
            Self::Case { restore_until_unix } => format!(
                "a case is open against it: mend the machine by {}, so that HyperNodes close it",
                time(*restore_until_unix)
            ),
        }
    }
}

/// Everything that stands against the node's retirement at a moment.
#[must_use]
pub fn obstacles(node: &NodeState, now_unix: u64) -> Vec<Obstacle> {
    if let Life::Retired { at_unix, released } = node.life {
        return vec![Obstacle::Retired { at_unix, released }];
    }
    let until_unix = node.committed_until_unix;
    let committed = (now_unix < until_unix)
        .then(|| Obstacle::Committed { until_unix, left_seconds: until_unix - now_unix });
    let booked = node.booked_until(now_unix).map(|until_unix| Obstacle::Booked { until_unix });
    let case = node.case.map(|case| Obstacle::Case { restore_until_unix: case.restore_until_unix() });
    [committed, booked, case].into_iter().flatten().collect()
}

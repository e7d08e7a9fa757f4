//! A node, as what was said of it adds up.

use std::collections::BTreeMap;

use appliance_collateral::{Gap, Parts, SlashTerms, Standing};
use appliance_model::{Address, Digest, Icnt, NodeId, Seconds};

/// Bookings remembered a node.  Units of one node are some hundreds at most; ended bookings go first.
const BOOKINGS_MAX: usize = 1_000;

/// A node, after everything that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Its id.
    pub node: NodeId,
    /// Who registered it.
    pub operator: Address,
    /// Whose collateral it is.
    pub owner: Address,
    /// Its name on chain.
    pub name: String,
    /// Region.
    pub region: String,
    /// Hardware class.
    pub class: String,
    /// In the class's own measure.
    pub capacity: u64,
    /// Seconds since 1970.
    pub registered_at_unix: u64,
    /// The transaction that registered it.
    pub registered_by: Digest,
    /// The block that has it.
    pub registered_in: u64,
    /// Seconds since 1970.
    pub committed_until_unix: u64,
    /// Where it is in its life.
    pub life: Life,
    /// Its collateral.
    pub standing: Standing,
    /// The open case against it.
    pub case: Option<Case>,
    /// All that slashes have taken so far, the owner's and others'.
    pub slashed: Icnt,
    /// Bookings, by number; of those that ended long ago some are forgotten.
    pub bookings: BTreeMap<u64, Booked>,
}

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Registered; its collateral is locked.
    Registered,
    /// Over.
    Retired {
        /// Seconds since 1970.
        at_unix: u64,
        /// What went back to the owner's deposit.
        released: Icnt,
    },
}

/// A case: what a node is reported for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Seconds since 1970.
    pub opened_at_unix: u64,
    /// The window, and what it costs after it.
    pub terms: SlashTerms,
    /// The collateral that the rates count on.
    pub base: Icnt,
    /// What was carried out of it so far, in 1/10 000 of the base.
    pub slashed_bps: u16,
}

/// A booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booked {
    /// By whom.
    pub booker: Address,
    /// Whether the whole node.
    pub whole: bool,
    /// Seconds since 1970.
    pub start_unix: u64,
    /// Seconds since 1970.
    pub end_unix: u64,
    /// For all of the time.
    pub fee: Icnt,
}

/// What a node is at a moment, the gravest first where several hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is no node any more.
    Retired,
    /// A case is open and its window is over: it costs.
    Slashing {
        /// Lost by now, whether it was carried out on chain yet or not.
        lost: Icnt,
        /// When it costs more, seconds since 1970; `None` where it has cost all that it may.
        next_unix: Option<u64>,
    },
    /// A case is open; restored in time it costs nothing.
    Restoring {
        /// Seconds since 1970.
        until_unix: u64,
    },
    /// Collateral is missing: it cannot be booked.
    NotCovered {
        /// How much.
        gap: Gap,
    },
    /// Whole, and somebody has it or units of it.
    Booked {
        /// Until when, as far as is booked now; seconds since 1970.
        until_unix: u64,
    },
    /// Whole and free.
    Active,
}

impl Status {
    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Retired => "retired",
            Self::Slashing { .. } => "slashing",
            Self::Restoring { .. } => "restoring",
            Self::NotCovered { .. } => "not-covered",
            Self::Booked { .. } => "booked",
            Self::Active => "active",
        }
    }
}

impl Case {
    /// The end of the window in which it costs nothing, seconds since 1970.
    #[must_use]
    pub fn restore_until_unix(&self) -> u64 {
        self.opened_at_unix.saturating_add(self.terms.restore_window.0)
    }

    /// A slash was carried out in a block of this time: by how much more than before, in 1/10 000 of the base.
    pub(crate) fn carry_out(&mut self, at_unix: u64) -> u16 {
        let due = self.terms.due_bps(self.after(at_unix));
        let more = due.saturating_sub(self.slashed_bps);
        self.slashed_bps = due;
        more
    }

    /// Lost by a moment, whether it was carried out on chain yet or not.
    #[must_use]
    pub fn lost(&self, at_unix: u64) -> Icnt {
        self.terms.lost(self.base, self.after(at_unix))
    }

    /// When it costs more than at this moment, seconds since 1970; `None` where it has cost all that it may.
    #[must_use]
    pub fn next_unix(&self, at_unix: u64) -> Option<u64> {
        let end = self.restore_until_unix();
        if at_unix <= end {
            return (self.terms.bps > 0).then(|| end.saturating_add(1));
        }
        if self.terms.due_bps(self.after(at_unix)) >= self.terms.bps_max {
            return None;
        }
        let begun = (at_unix - end).checked_div(self.terms.period.0)?;
        Some(end.saturating_add(begun.saturating_add(1).saturating_mul(self.terms.period.0)))
    }

    fn after(&self, at_unix: u64) -> Seconds {
        Seconds(at_unix.saturating_sub(self.opened_at_unix))
    }
}

impl NodeState {
    /// A node that was registered in a block of this time, and of which nothing else is known yet.
    pub(crate) fn new(node: NodeId, registered_at_unix: u64) -> Self {
        let none = Address([0; 20]);
        let standing = Standing {
            parts: Parts { node: Icnt(0), network: Icnt(0) },
            own: Icnt(0),
            delegated: Icnt(0),
            passport: None,
        };
        Self {
            node,
            operator: none,
            owner: none,
            name: String::new(),
            region: String::new(),
            class: String::new(),
            capacity: 0,
            registered_at_unix,
            registered_by: Digest([0; 32]),
            registered_in: 0,
            committed_until_unix: 0,
            life: Life::Registered,
            standing,
            case: None,
            slashed: Icnt(0),
            bookings: BTreeMap::new(),
        }
    }

    /// Whether it is a node still.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.life, Life::Registered)
    }

    /// Whether its collateral is whole at a moment.
    #[must_use]
    pub fn is_whole(&self, at_unix: u64) -> bool {
        let Gap { node, network } = self.standing.gap(Seconds(at_unix));
        node.0 == 0 && network.0 == 0
    }

    /// Until when it is booked, as far as is known at a moment; `None` where it is free.
    #[must_use]
    pub fn booked_until(&self, at_unix: u64) -> Option<u64> {
        self.bookings.values().map(|booked| booked.end_unix).filter(|end| *end > at_unix).max()
    }

    /// What it is at a moment.
    #[must_use]
    pub fn status(&self, at_unix: u64) -> Status {
        if !self.is_live() {
            return Status::Retired;
        }
        if let Some(case) = self.case {
            let until_unix = case.restore_until_unix();
            if at_unix <= until_unix {
                return Status::Restoring { until_unix };
            }
            return Status::Slashing { lost: case.lost(at_unix), next_unix: case.next_unix(at_unix) };
        }
        if !self.is_whole(at_unix) {
            return Status::NotCovered { gap: self.standing.gap(Seconds(at_unix)) };
        }
        self.booked_until(at_unix).map_or(Status::Active, |until_unix| Status::Booked { until_unix })
    }

    pub(crate) fn book(&mut self, booking: u64, booked: Booked, at_unix: u64) {
        if self.bookings.len() >= BOOKINGS_MAX {
            self.bookings.retain(|_, old| old.end_unix > at_unix);
        }
        if self.bookings.len() < BOOKINGS_MAX {
            self.bookings.insert(booking, booked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_counts_down_and_then_up() {
        let terms = SlashTerms {
            restore_window: Seconds(86_400),
            period: Seconds(3_600),
            bps: 1_000,
            bps_max: 2_500,
        };
        let case = Case { opened_at_unix: 1_000_000, terms, base: Icnt(10_000), slashed_bps: 0 };
        let end = case.restore_until_unix();
        assert_eq!(end, 1_086_400);
        for (at, lost, next) in [
            (1_000_000, 0, Some(end + 1)),
            (end, 0, Some(end + 1)),
            (end + 1, 1_000, Some(end + 3_600)),
            (end + 3_599, 1_000, Some(end + 3_600)),
            (end + 3_600, 2_000, Some(end + 7_200)),
            (end + 7_200, 2_500, None),
            (u64::MAX, 2_500, None),
        ] {
            assert_eq!((case.lost(at), case.next_unix(at)), (Icnt(lost), next), "at {at}");
            // What is said to come is what comes.
            if let Some(next) = next {
                assert!(case.lost(next) > case.lost(next - 1) || next == at, "at {at}");
            }
        }
    }
}

//! A commitment looked at before it is made: what ends before it does, what is missing on which day, what a fault costs.
//!
//! Days and amounts only: nothing here says what a node will earn, since nobody knows.  Tables are bounded, and the row
//! that matters (the first gap, the last step of a slash) is in them whatever is left out.

use appliance_model::{Icnt, Seconds};
use serde::{Deserialize, Serialize};

use crate::{
    Gap, SlashTerms, Standing,
    wear::{DriveLife, Wear, WearEnd, Writes},
};

/// Rows of a table at most.
const ROWS_MAX: usize = 100;
/// Drives that are looked at: more than any chassis holds.
const DRIVES_MAX: usize = 512;

/// For how long a node is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// Unix time of the registration.
    pub from: Seconds,
    /// How long.
    pub length: Seconds,
}

impl Commitment {
    /// The first moment (Unix time) at which it is over.
    #[must_use]
    pub fn until(self) -> Seconds {
        Seconds(self.from.0.saturating_add(self.length.0))
    }

    /// How long before its end something ends, if it does.
    fn short_by(self, ends: Seconds) -> Option<Seconds> {
        self.until().0.checked_sub(ends.0).filter(|short| *short > 0).map(Seconds)
    }
}

/// What ends, and when, against the end of a commitment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What: `the warranty`, or a drive.
    pub what: String,
    /// When.
    pub ends: WearEnd,
    /// How long before the commitment ends, if it does.
    pub short_by: Option<Seconds>,
    /// On what that rests.
    pub assumption: String,
}

/// What ends before the commitment, worst first, then what cannot be known, then what lasts.
#[must_use]
pub fn limits(
    commitment: Commitment,
    warranty_until: Option<Seconds>,
    drives: &[DriveLife],
    writes: Writes,
) -> Vec<Limit> {
    let mut found = vec![match warranty_until {
        Some(until) => Limit {
            what: "the warranty".into(),
            ends: WearEnd::At(until),
            short_by: commitment.short_by(until),
            assumption: "as declared".into(),
        },
        None => Limit {
            what: "the warranty".into(),
            ends: WearEnd::Unknown,
            short_by: None,
            assumption: "no end of it is declared".into(),
        },
    }];
    found.extend(drives.iter().take(DRIVES_MAX).map(|drive| {
        let Wear { ends, assumption } = drive.forecast(writes, commitment.from);
        let short_by = match ends {
            WearEnd::At(at) => commitment.short_by(at),
            WearEnd::Never | WearEnd::Unknown => None,
        };
        Limit { what: format!("drive {}", drive.serial), ends, short_by, assumption }
    }));
    found.sort_by_key(|limit| match limit.ends {
        WearEnd::At(at) if limit.short_by.is_some() => (0, at),
        WearEnd::Unknown => (1, Seconds(0)),
        WearEnd::At(at) => (2, at),
        WearEnd::Never => (3, Seconds(0)),
    });
    found
}

/// A node's cover on one day, if nothing is added and nothing slashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cover {
    /// Unix time.
    pub at: Seconds,
    /// What the passport is worth.
    pub passport: Icnt,
    /// What is missing; `network` is the delegation gap.
    pub gap: Gap,
}

/// A node's cover over its commitment: at its begin, every `step`, where it stops being whole, where the passport is
/// worth nothing, and at its end.
#[must_use]
pub fn cover(standing: &Standing, commitment: Commitment, step: Seconds) -> Vec<Cover> {
    let (from, until) = (commitment.from, commitment.until());
    let turns = [
        Some(from),
        Some(until),
        standing.covered_until(),
        standing.covered_until().map(|last| Seconds(last.0.saturating_add(1))),
        standing
            .passport
            .and_then(|passport| passport.worth_until(Icnt(1)))
            .map(|last| Seconds(last.0.saturating_add(1))),
    ];
    let mut days: Vec<Seconds> = turns.into_iter().flatten().collect();
    let even = (1..).map_while(|n: u64| from.0.checked_add(step.0.checked_mul(n)?)).map(Seconds);
    days.extend(even.take_while(|at| step.0 > 0 && *at < until).take(ROWS_MAX - days.len()));
    days.retain(|at| *at >= from && *at <= until);
    days.sort_unstable();
    days.dedup();
    let row = |at| Cover {
        at,
        passport: standing.passport.map_or(Icnt(0), |passport| passport.worth(at)),
        gap: standing.gap(at),
    };
    days.into_iter().map(row).collect()
}

/// What a case has cost so long after its report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slash {
    /// After the report: from this moment on.
    pub after: Seconds,
    /// Of the collateral at the opening, in 1/10 000.
    pub bps: u16,
    /// Of the owner's tokens, which go first.
    pub own: Icnt,
    /// Of delegators' tokens.
    pub delegated: Icnt,
}

/// What a case costs that is not restored, step by step: nothing until the window is over, and the last row is all that
/// it can cost.
#[must_use]
pub fn exposure(terms: &SlashTerms, own: Icnt, delegated: Icnt) -> Vec<Slash> {
    let base = Icnt(own.0.saturating_add(delegated.0));
    let row = |after: Seconds| {
        let lost = terms.lost(base, after);
        let of_own = lost.0.min(own.0);
        Slash { after, bps: terms.due_bps(after), own: Icnt(of_own), delegated: Icnt(lost.0 - of_own) }
    };
    let begun = |step: u64| {
        let late = terms.period.0.checked_mul(step)?;
        // The first period begins with the first second after the window, the others where one ends.
        Some(Seconds(terms.restore_window.0.checked_add(late)?.checked_add(u64::from(step == 0))?))
    };
    let mut rows = vec![row(terms.restore_window)];
    if terms.period.0 == 0 || terms.bps == 0 || terms.bps_max == 0 {
        return rows;
    }
    let steps = u64::from(terms.bps_max.div_ceil(terms.bps));
    let most = u64::try_from(ROWS_MAX).unwrap_or(u64::MAX) - 2;
    rows.extend((0..steps.min(most)).chain(steps.checked_sub(1)).map_while(begun).map(row));
    rows.dedup();
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Parts, Passport};

    const DAY: u64 = 86_400;

    fn tokens(tokens: u64) -> Icnt {
        Icnt::tokens(tokens).unwrap()
    }

    #[test]
    fn what_ends_first_stands_first() {
        let commitment = Commitment { from: Seconds(1_800_000_000), length: Seconds(1080 * DAY) };
        let day = |day: u64| Seconds(commitment.from.0 + day * DAY);
        let drive = |serial: &str, used, hours| DriveLife {
            serial: serial.into(),
            used_percent: Some(used),
            power_on_hours: Some(hours),
            ..DriveLife::default()
        };
        let spinning = DriveLife { serial: "HDD".into(), rotational: true, ..DriveLife::default() };
        let drives = [spinning, drive("NEW", 0, 10), drive("OLD", 49, 12_000), drive("GOOD", 1, 50_000)];
        let found = limits(commitment, Some(day(1000)), &drives, Writes::AsBefore);
        let told: Vec<_> = found.iter().map(|limit| (limit.what.as_str(), limit.short_by)).collect();
        assert_eq!(
            told,
            [
                ("drive OLD", Some(Seconds(580 * DAY))),
                ("the warranty", Some(Seconds(80 * DAY))),
                ("drive NEW", None),
                ("drive HDD", None),
                ("drive GOOD", None),
            ]
            .map(|row| row)
        );
        assert_eq!(limits(commitment, None, &[], Writes::AsBefore)[0].assumption, "no end of it is declared");
    }

    #[test]
    fn the_day_on_which_a_passport_no_longer_covers_is_in_the_table() {
        let commitment = Commitment { from: Seconds(1000), length: Seconds(100) };
        let passport =
            Passport { value: tokens(50), decay: Seconds(80), since: Seconds(1000), aged: Seconds(0) };
        let parts = Parts { node: tokens(60), network: tokens(0) };
        let standing = Standing { parts, own: tokens(30), delegated: Icnt(0), passport: Some(passport) };
        let rows = cover(&standing, commitment, Seconds(40));
        let at: Vec<_> = rows.iter().map(|row| row.at.0).collect();
        assert_eq!(at, [1000, 1032, 1033, 1040, 1080, 1100]);
        assert_eq!(rows[1].gap.node, Icnt(0));
        assert_eq!(rows[2].gap.node.0, tokens(50).0 / 80);
        assert_eq!((rows[4].passport, rows[4].gap.node), (Icnt(0), tokens(30)));
        // Without a passport nothing changes; a step of nothing ends all the same.
        let standing = Standing { passport: None, ..standing };
        assert_eq!(cover(&standing, commitment, Seconds(0)).len(), 2);
        assert!(
            cover(&standing, Commitment { length: Seconds(u64::MAX), ..commitment }, Seconds(1)).len()
                <= ROWS_MAX
        );
    }

    #[test]
    fn a_fault_costs_nothing_in_the_window_and_the_owner_pays_first() {
        let terms = SlashTerms { restore_window: Seconds(10), period: Seconds(5), bps: 4000, bps_max: 9000 };
        let row = |after, bps, own, delegated| Slash {
            after: Seconds(after),
            bps,
            own: tokens(own),
            delegated: tokens(delegated),
        };
        assert_eq!(
            exposure(&terms, tokens(60), tokens(40)),
            [row(10, 0, 0, 0), row(11, 4000, 40, 0), row(15, 8000, 60, 20), row(20, 9000, 60, 30)]
        );
        assert_eq!(exposure(&SlashTerms { bps: 0, ..terms }, tokens(60), tokens(40)).len(), 1);
    }

    proptest! {
        #[test]
        fn the_last_row_of_a_slash_is_all_that_it_can_cost(
            window in 0_u64..1 << 32, period in 1_u64..1 << 32, bps in 1_u16..=10_000, bps_max in 1_u16..=10_000,
            own in 0_u128..1 << 96, delegated in 0_u128..1 << 96,
        ) {
            let terms = SlashTerms { restore_window: Seconds(window), period: Seconds(period), bps, bps_max };
            let rows = exposure(&terms, Icnt(own), Icnt(delegated));
            let last = rows.last().unwrap();
            prop_assert!(rows.len() <= ROWS_MAX);
            prop_assert_eq!((rows[0].bps, last.bps), (0, bps_max));
            prop_assert_eq!(last.own.0 + last.delegated.0, terms.exposure(Icnt(own + delegated)).0);
            // Each row is the first moment of its step.
            for pair in rows.windows(2) {
                prop_assert!(pair[0].bps < pair[1].bps && pair[0].after < pair[1].after);
                prop_assert!(terms.due_bps(Seconds(pair[1].after.0 - 1)) < pair[1].bps);
            }
        }
    }
}

//! How many of a fleet go at once, by what may still be spent today and by what is in the deposit; and what is put into
//! the deposit before.
//!
//! A limit of a day divides a fleet, it never stops it: who may register ten nodes a day registers ten of a hundred, and
//! the others when it is over.  Where nothing is left, one is tried all the same, so that whoever set the limit says so
//! in its own words and numbers.

use appliance_model::Icnt;

/// What may still be done today, by somebody's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Nodes registered.
    pub nodes: u64,
    /// Tokens staked for them.
    pub stake: Icnt,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purse {
    /// The deposit is enough for so many, whichever they are.
    Enough(usize),
    /// This goes into the deposit.
    Lacks(Icnt),
}

impl Left {
    /// Nobody has set a limit.
    pub const ALL: Self = Self { nodes: u64::MAX, stake: Icnt(u128::MAX) };

    /// Within both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { nodes: self.nodes.min(other.nodes), stake: Icnt(self.stake.0.min(other.stake.0)) }
    }

    /// How many nodes go at once, of `most` at most: any so many of these stakes are within what is left.
    #[must_use]
    pub fn room(self, stakes: &[Icnt], most: usize) -> usize {
        let nodes = usize::try_from(self.nodes).unwrap_or(usize::MAX);
        affordable(stakes, self.stake, most.min(nodes)).max(1)
    }
}

/// What is put into `deposit` before the next `room` of the nodes with these stakes go, when so much may be `movable`
/// today.  All that is missing for all of them is put in at once; where that is more than may be moved, what may, if it
/// makes a difference now.
#[must_use]
pub fn purse(stakes: &[Icnt], room: usize, deposit: Icnt, movable: Icnt) -> Purse {
    let now = affordable(stakes, deposit, room);
    if now >= room.min(stakes.len()) {
        return Purse::Enough(room);
    }
    let missing = sum(stakes).saturating_sub(deposit.0);
    let moved = missing.min(movable.0);
    let then = affordable(stakes, Icnt(deposit.0.saturating_add(moved)), room);
    if then > now {
        return Purse::Lacks(Icnt(moved));
    }
    if now > 0 {
        return Purse::Enough(now);
    }
    // Nobody can go: what one takes is asked for, and the limit answers.
    let one = stakes.iter().map(|stake| stake.0).max().unwrap_or(0);
    Purse::Lacks(Icnt(one.saturating_sub(deposit.0)))
}

/// How many of these nodes `tokens` are enough for, whichever they are: the dearest are counted.
fn affordable(stakes: &[Icnt], tokens: Icnt, most: usize) -> usize {
    let mut dearest: Vec<u128> = stakes.iter().map(|stake| stake.0).collect();
    dearest.sort_unstable_by(|one, other| other.cmp(one));
    let mut spent = 0_u128;
    let within = |stake: &u128| {
        spent = spent.saturating_add(*stake);
        spent <= tokens.0
    };
    dearest.into_iter().take(most).take_while(within).count()
}

fn sum(stakes: &[Icnt]) -> u128 {
    stakes.iter().fold(0, |sum, stake| sum.saturating_add(stake.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn icnt(stakes: &[u128]) -> Vec<Icnt> {
        stakes.iter().map(|stake| Icnt(*stake)).collect()
    }

    #[test]
    fn a_days_limit_divides_a_batch() {
        let left = |nodes, stake| Left { nodes, stake: Icnt(stake) };
        for (limit, stakes, room) in [
            (Left::ALL, vec![60; 40], 25),
            (left(10, u128::MAX), vec![60; 40], 10),
            (left(u64::MAX, 150), vec![60; 40], 2),
            // Nobody knows yet which go: the dearest are counted.
            (left(u64::MAX, 150), vec![10, 10, 10, 100, 60], 1),
            (left(u64::MAX, 160), vec![10, 10, 10, 100, 60], 2),
            // Nothing is left: one is tried, so that the limit speaks for itself.
            (left(0, 1_000), vec![60; 3], 1),
            (left(5, 59), vec![60; 3], 1),
            (left(9, 1_000).and(left(4, 120)), vec![60; 9], 2),
        ] {
            assert_eq!(limit.room(&icnt(&stakes), 25), room, "{limit:?} {stakes:?}");
        }
    }

    #[test]
    fn a_deposit_is_made_once_or_as_far_as_the_day_allows() {
        let all = u128::MAX;
        for (stakes, room, deposit, movable, wanted) in [
            (vec![60; 40], 25, 0, all, Purse::Lacks(Icnt(2_400))),
            (vec![60; 40], 25, 100, all, Purse::Lacks(Icnt(2_300))),
            (vec![60; 40], 25, 1_500, all, Purse::Enough(25)),
            // The last batch has room to spare.
            (vec![60; 2], 25, 120, all, Purse::Enough(25)),
            // More than a day's limit: what the day has, then as many as that is enough for, then nothing until it is over.
            (vec![60; 40], 25, 0, 600, Purse::Lacks(Icnt(600))),
            (vec![60; 40], 25, 600, 0, Purse::Enough(10)),
            (vec![60; 30], 25, 0, 0, Purse::Lacks(Icnt(60))),
            (vec![60; 30], 25, 30, 20, Purse::Lacks(Icnt(30))),
            // What may be moved would carry nobody more: it is kept.
            (vec![60; 30], 25, 120, 50, Purse::Enough(2)),
            (vec![100, 10, 10], 3, 100, 9, Purse::Enough(1)),
        ] {
            let found = purse(&icnt(&stakes), room, Icnt(deposit), Icnt(movable));
            assert_eq!(found, wanted, "{room} of {} with {deposit}, {movable}", stakes.len());
        }
    }

    /// A fleet comes to its end on any day's limit that lets one node through, and never spends more in a day.
    #[test]
    fn every_limit_lets_a_fleet_through_in_days() {
        for (limit, days_max) in [(60_u128, 41), (130, 21), (600, 5), (2_400, 2), (1_000_000, 1)] {
            let (mut waiting, mut deposit, mut days) = (icnt(&[60; 40]), 0_u128, 0);
            while !waiting.is_empty() {
                days += 1;
                let (mut moved, mut staked) = (0_u128, 0_u128);
                loop {
                    let left = Left { nodes: u64::MAX, stake: Icnt(limit.saturating_sub(staked)) };
                    let room = left.room(&waiting, 25);
                    match purse(&waiting, room, Icnt(deposit), Icnt(limit - moved)) {
                        Purse::Lacks(Icnt(more)) if moved + more <= limit => {
                            moved += more;
                            deposit += more;
                        }
                        Purse::Enough(room) if !waiting.is_empty() => {
                            let batch = room.min(waiting.len());
                            let stake = 60 * u128::try_from(batch).unwrap();
                            if staked + stake > limit {
                                break;
                            }
                            staked += stake;
                            deposit -= stake;
                            waiting.truncate(waiting.len() - batch);
                        }
                        Purse::Lacks(_) | Purse::Enough(_) => break,
                    }
                }
                assert!(staked > 0 && days <= days_max, "limit {limit}: day {days}, {} wait", waiting.len());
            }
            assert!(deposit < 60, "limit {limit}: {deposit} stay in the deposit");
        }
    }
}

//! Who is visited when: each address once with each password, again after a failure, and nobody for ever not.

use std::collections::BTreeMap;

use appliance_model::{Digest, Now, Seconds};

/// Before the second visit, in seconds; doubles from visit to visit.
const PAUSE_SECONDS: u64 = 2;
/// Where the doubling ends.
const PAUSE_SECONDS_MAX: u64 = 60;
/// First visits under way at once.
const FIRST_MAX: usize = 1024;
/// Repeated visits under way at once, beside the first ones: however many are dead, the healthy are not slowed.
const AGAIN_MAX: usize = 128;

/// How a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was read.
    Read,
    /// It was not; again after a pause that doubles.
    Failed,
    /// Not before so many seconds are over.
    Later(u64),
}

#[derive(Debug)]
struct Turn {
    what: Digest,
    tries: u32,
    /// `None`: it was read.
    due: Option<Now>,
    under_way: bool,
    /// The password became another one during a visit with the old one.
    changed: bool,
}

/// All addresses and their turns.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    turns: BTreeMap<String, Turn>,
}

impl Ledger {
    /// Takes over what is to be visited: new addresses and new passwords are due at once, others are forgotten.
    pub(crate) fn want(&mut self, targets: impl IntoIterator<Item = (String, Digest)>) {
        let mut before = std::mem::take(&mut self.turns);
        for (url, what) in targets {
            let fresh = || Turn { what, tries: 0, due: Some(Now(0)), under_way: false, changed: false };
            let turn = match before.remove(&url) {
                Some(turn) if turn.what == what => turn,
                Some(turn) => Turn { under_way: turn.under_way, changed: turn.under_way, ..fresh() },
                None => fresh(),
            };
            self.turns.insert(url, turn);
        }
        // A visit under way ends as it does; its address is kept until then, so that nobody begins a second one.
        let leaving = before.into_iter().filter(|(_, turn)| turn.under_way);
        self.turns.extend(leaving.map(|(url, turn)| (url, Turn { due: None, changed: false, ..turn })));
    }

    /// Those that are due, as many as there is room for; they count as under way from now on.
    pub(crate) fn due(&mut self, now: Now) -> Vec<String> {
        let under_way = |again: bool| {
            self.turns.values().filter(|turn| turn.under_way && (turn.tries > 0) == again).count()
        };
        let mut room =
            [FIRST_MAX.saturating_sub(under_way(false)), AGAIN_MAX.saturating_sub(under_way(true))];
        let mut due = Vec::new();
        for (url, turn) in &mut self.turns {
            let [first, again] = &mut room;
            let room = if turn.tries == 0 { first } else { again };
            if turn.under_way || *room == 0 || turn.due.is_none_or(|at| at > now) {
                continue;
            }
            *room -= 1;
            turn.under_way = true;
            due.push(url.clone());
        }
        due
    }

    /// Takes over how a visit ended.  Returns which visit it was, and when the next one is due, in seconds.
    pub(crate) fn ended(&mut self, url: &str, ended: Ended, now: Now) -> Option<(u32, u64)> {
        let turn = self.turns.get_mut(url)?;
        turn.under_way = false;
        if std::mem::take(&mut turn.changed) {
            return None;
        }
        turn.tries = turn.tries.saturating_add(1);
        let doubled = 2_u64.saturating_pow(turn.tries.saturating_sub(1)).saturating_mul(PAUSE_SECONDS);
        let seconds = match ended {
            Ended::Read => {
                turn.due = None;
                return None;
            }
            Ended::Failed => doubled.min(PAUSE_SECONDS_MAX),
            Ended::Later(seconds) => seconds.max(PAUSE_SECONDS),
        };
        turn.due = turn.due.map(|_| now.after(Seconds(seconds)));
        Some((turn.tries, seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn wanted(password: &str) -> [(String, Digest); 1] {
        [("https://a".into(), what(password))]
    }

    #[test]
    fn a_refused_password_waits_and_another_one_does_not() {
        let mut ledger = Ledger::default();
        ledger.want(wanted("old"));
        assert_eq!(ledger.due(Now(0)), ["https://a"]);
        assert!(ledger.due(Now(0)).is_empty(), "under way");
        assert_eq!(ledger.ended("https://a", Ended::Later(900), Now(1000)), Some((1, 900)));
        ledger.want(wanted("old"));
        assert!(ledger.due(Now(900_999)).is_empty());
        assert_eq!(ledger.due(Now(901_000)), ["https://a"], "never latched");
        // The roster changes while the old password is being tried.
        ledger.want(wanted("new"));
        assert!(ledger.due(Now(901_000)).is_empty(), "one visit at a time");
        assert_eq!(ledger.ended("https://a", Ended::Later(900), Now(902_000)), None);
        assert_eq!(ledger.due(Now(902_000)), ["https://a"]);
        assert_eq!(ledger.ended("https://a", Ended::Read, Now(903_000)), None);
        ledger.want(wanted("new"));
        assert!(ledger.due(Now(u64::MAX)).is_empty());
    }

    #[test]
    fn pauses_double_and_the_dead_take_no_place_of_the_healthy() {
        let mut ledger = Ledger::default();
        let all = |from: usize, to: usize| (from..to).map(|at| (format!("https://{at:05}"), what("x")));
        ledger.want(all(0, 2000));
        assert_eq!(ledger.due(Now(0)).len(), FIRST_MAX);
        let pauses: Vec<u64> = (0..7)
            .filter_map(|_| ledger.ended("https://00000", Ended::Failed, Now(0)).map(|(_, seconds)| seconds))
            .collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        for at in 1..1024 {
            ledger.ended(&format!("https://{at:05}"), Ended::Failed, Now(0));
        }
        let due = ledger.due(Now(60_000));
        let again = due.iter().filter(|url| url.as_str() < "https://01024").count();
        assert_eq!((again, due.len() - again), (AGAIN_MAX, 2000 - 1024));
        ledger.want(all(0, 1));
        assert_eq!(ledger.due(Now(60_000)).len(), 0, "it is under way still");
    }
}

//! A node's stake for people: what it is, in a sentence, and what runs out.

use appliance_api::alerts::{CountdownView, NodeStakeView};
use appliance_collateral::Gap;
use appliance_model::{HostId, Icnt, Seconds};
use chain_fleet::{Life, NodeState, Status, span, time};

pub(super) fn view(node: &NodeState, host: Option<&HostId>, now: u64) -> NodeStakeView {
    let status = node.status(now);
    let standing = &node.standing;
    let live = node.is_live();
    let gap = if live { standing.gap(Seconds(now)) } else { Gap { node: Icnt(0), network: Icnt(0) } };
    NodeStakeView {
        node: node.node.to_string(),
        name: node.name.clone(),
        host: host.map(ToString::to_string),
        class: node.class.clone(),
        capacity: node.capacity,
        status: status.name().into(),
        words: words(node, status, now),
        own: standing.own.to_string(),
        node_part: standing.parts.node.to_string(),
        delegated: standing.delegated.to_string(),
        network_part: standing.parts.network.to_string(),
        passport: standing.passport.map(|passport| passport.worth(Seconds(now)).to_string()),
        missing: missing(gap),
        slashed: (node.slashed.0 > 0).then(|| node.slashed.to_string()),
        countdowns: if live { countdowns(node, now) } else { Vec::new() },
    }
}

fn missing(gap: Gap) -> Option<String> {
    match (gap.node.0, gap.network.0) {
        (0, 0) => None,
        (_, 0) => Some(format!("{} by its owner", gap.node)),
        (0, _) => Some(format!("{} by anybody", gap.network)),
        (_, _) => Some(format!("{} by its owner and {} by anybody", gap.node, gap.network)),
    }
}

fn words(node: &NodeState, status: Status, now: u64) -> String {
    match status {
        Status::Retired => match node.life {
            Life::Retired { at_unix, released } => {
                format!("Retired on {}; {released} went back to its owner's deposit.", time(at_unix))
            }
            Life::Registered => "Retired.".into(),
        },
        Status::Slashing { lost, next_unix } => {
            let next = next_unix.map_or_else(
                || "it costs no more than that".into(),
                |next| format!("it costs more in {}", span(next.saturating_sub(now))),
            );
            format!("Reported and not restored in time: {lost} are lost by now; {next}.")
        }
        Status::Restoring { until_unix } => {
            format!("Reported: restored within {} it costs nothing.", span(until_unix.saturating_sub(now)))
        }
        Status::NotCovered { gap } => {
            format!("Cannot be booked: {} missing.", missing(gap).unwrap_or_default())
        }
        Status::Booked { until_unix } => format!("Booked until {}.", time(until_unix)),
        Status::Active => "Active: its collateral is whole and it can be booked.".into(),
    }
}

/// What runs out, the nearest first.
fn countdowns(node: &NodeState, now: u64) -> Vec<CountdownView> {
    let mut all = Vec::new();
    let mut add = |what: &str, from_unix: u64, until_unix: u64, then: String| {
        all.push(CountdownView { what: what.into(), from_unix, until_unix, then });
    };
    if let Some(case) = &node.case {
        let end = case.restore_until_unix();
        if now <= end {
            let then = format!("costs {} at once", case.lost(end.saturating_add(1)));
            add("restore", case.opened_at_unix, end, then);
        } else if let Some(next) = case.next_unix(now) {
            let from = next.saturating_sub(case.terms.period.0).max(end);
            add("slash", from, next, format!("has cost {}", case.lost(next)));
        }
    }
    if let Some(until) = node.booked_until(now) {
        let from =
            node.bookings.values().filter(|booked| booked.end_unix > now).map(|booked| booked.start_unix);
        add("booking", from.min().unwrap_or(now), until, "is free again".into());
    }
    let passport = node.standing.passport.zip(node.standing.covered_until());
    if let Some((passport, last)) = passport
        && last.0 > now
        && last.0 < node.committed_until_unix
    {
        let gap = missing(node.standing.gap(Seconds(node.committed_until_unix))).unwrap_or_default();
        add(
            "passport",
            passport.since.0,
            last.0,
            format!("cannot be booked; by the end of its commitment {gap} is missing"),
        );
    }
    let end = node.committed_until_unix;
    let own = node.standing.own;
    add(
        "commitment",
        node.registered_at_unix,
        end,
        format!("can be retired; {own} go back to its owner's deposit"),
    );
    all.sort_by_key(|one| one.until_unix);
    all
}

#[cfg(test)]
mod tests {
    use appliance_model::{Address, Digest, NodeId};
    use chain_fleet::{Entry, Fact, Ledger};

    use super::*;

    const START: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;

    fn tokens(tokens: u64) -> Icnt {
        Icnt::tokens(tokens).unwrap_or(Icnt(0))
    }

    #[test]
    fn a_node_is_told_in_sentences() {
        let mut ledger = Ledger::default();
        let mut say = |at_unix: u64, fact: Fact| {
            let (transaction, node) = (Digest([1; 32]), NodeId([2; 32]));
            ledger.take(&Entry { block: 1, at_unix, transaction, place: 0, node, fact });
            ledger.nodes()[&node].clone()
        };
        let operator = Address([1; 20]);
        say(
            START,
            Fact::Registered {
                operator,
                owner: operator,
                name: "lab-1".into(),
                region: "eu-west".into(),
                class: "storage".into(),
                capacity: 2,
                committed_until_unix: START + 1080 * DAY,
            },
        );
        let node =
            say(START, Fact::Locked { own: tokens(60), node_part: tokens(60), network_part: tokens(6) });
        let seen = view(&node, None, START + DAY);
        assert_eq!(seen.words, "Cannot be booked: 6 ICNT by anybody missing.");
        assert_eq!(seen.missing.as_deref(), Some("6 ICNT by anybody"));
        let node = say(START + DAY, Fact::Delegated { amount: tokens(6) });
        assert_eq!(view(&node, None, START + DAY).status, "active");
        let terms = appliance_collateral::SlashTerms {
            restore_window: Seconds(DAY),
            period: Seconds(DAY),
            bps: 1_000,
            bps_max: 5_000,
        };
        let node = say(START + 2 * DAY, Fact::CaseOpened { terms, base: tokens(66) });
        let seen = view(&node, None, START + 2 * DAY + 3_600);
        assert_eq!(seen.words, "Reported: restored within 23 h it costs nothing.");
        let nearest = &seen.countdowns[0];
        assert_eq!((nearest.what.as_str(), nearest.until_unix), ("restore", START + 3 * DAY));
        assert_eq!(nearest.then, "costs 6.6 ICNT at once");
        let seen = view(&node, None, START + 4 * DAY);
        assert_eq!(
            seen.words,
            "Reported and not restored in time: 13.2 ICNT are lost by now; it costs more in 1 day."
        );
        assert_eq!(seen.countdowns[0].what, "slash");
        let node = say(START + 1080 * DAY, Fact::Retired { by: operator });
        let node = NodeState { case: None, ..node };
        let seen = view(&node, None, START + 1080 * DAY);
        assert!(seen.countdowns.is_empty() && seen.missing.is_none() && seen.words.starts_with("Retired on"));
    }
}

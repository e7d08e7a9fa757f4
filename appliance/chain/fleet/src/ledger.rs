//! All our nodes, and what people must know when something happens or its time has come.

use std::collections::BTreeMap;

use appliance_collateral::{Gap, Parts, Passport};
use appliance_model::{Address, Icnt, NodeId, Seconds};

use crate::{
    Alert, Booked, Case, Entry, Fact, Kind, Life, NodeState,
    words::{DAY, span, time},
};

/// How long before the end of a commitment people are told, in days; the last one is the end itself.
const COMMITMENT_DAYS: [u64; 4] = [0, 7, 30, 90];

/// How long before a passport no longer makes up what is missing people are told, in days.
const PASSPORT_DAYS: [u64; 3] = [0, 7, 30];

/// Nodes of one operator: a bound on what a chain can make us hold.
const NODES_MAX: usize = 100_000;

/// Nodes by id, and which node a booking is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    nodes: BTreeMap<NodeId, NodeState>,
}

impl Ledger {
    /// The nodes, by id.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeId, NodeState> {
        &self.nodes
    }

    /// Which node a booking is of.
    #[must_use]
    pub fn node_of_booking(&self, booking: u64) -> Option<NodeId> {
        self.nodes.values().find(|node| node.bookings.contains_key(&booking)).map(|node| node.node)
    }

    /// Whether what is said of this node concerns us: it is ours, or becomes ours by being registered.
    #[must_use]
    pub fn concerns(&self, entry: &Entry, ours: &[Address]) -> bool {
        if self.nodes.contains_key(&entry.node) {
            return true;
        }
        match &entry.fact {
            Fact::Registered { operator, owner, .. } => ours.contains(operator) || ours.contains(owner),
            // The vault speaks of a passport and of collateral after the registry of the node, in one transaction.
            Fact::Locked { .. }
            | Fact::ToppedUp { .. }
            | Fact::Delegated { .. }
            | Fact::Undelegated { .. }
            | Fact::PassportStaked { .. }
            | Fact::Reported { .. }
            | Fact::CaseOpened { .. }
            | Fact::SaidRestored { .. }
            | Fact::CaseClosed { .. }
            | Fact::Slashed { .. }
            | Fact::Booked { .. }
            | Fact::Cancelled { .. }
            | Fact::Retired { .. }
            | Fact::Released { .. } => false,
        }
    }

    /// Learns from an entry, and says what people must know of it.  Entries come in the chain's order.
    pub fn take(&mut self, entry: &Entry) -> Vec<Alert> {
        if let Fact::Registered { operator, owner, name, region, class, capacity, committed_until_unix } =
            &entry.fact
        {
            if self.nodes.len() >= NODES_MAX {
                return Vec::new();
            }
            let node = NodeState {
                operator: *operator,
                owner: *owner,
                name: name.clone(),
                region: region.clone(),
                class: class.clone(),
                capacity: *capacity,
                committed_until_unix: *committed_until_unix,
                registered_by: entry.transaction,
                registered_in: entry.block,
                ..NodeState::new(entry.node, entry.at_unix)
            };
            self.nodes.insert(entry.node, node);
            return Vec::new();
        }
        let Some(node) = self.nodes.get_mut(&entry.node) else { return Vec::new() };
        let at = entry.at_unix;
        // Before its collateral was locked a node is nothing yet.
        let fresh = matches!(entry.fact, Fact::Locked { .. });
        let whole = !fresh && node.is_live() && node.is_whole(at);
        let mut alerts: Vec<Alert> = happened(node, entry).into_iter().collect();
        let locked = node.standing.parts.node.0 > 0 || node.standing.own.0 > 0;
        if node.is_live() && locked && node.is_whole(at) != whole {
            alerts.push(coverage(node, entry));
        }
        alerts
    }

    /// What people must know because its time has come.  May be asked at any time and as often as one likes: what was
    /// said already has the same id.
    #[must_use]
    pub fn pass_time(&self, now_unix: u64) -> Vec<Alert> {
        let live = self.nodes.values().filter(|node| node.is_live());
        live.flat_map(|node| {
            [case_time(node, now_unix), commitment_time(node, now_unix), passport_time(node, now_unix)]
        })
        .flatten()
        .collect()
    }
}

/// Changes the node by what happened, and says so.
fn happened(node: &mut NodeState, entry: &Entry) -> Option<Alert> {
    let name = node.name.clone();
    let tell = |kind, until, text| Some(Alert::of(entry, kind, until, text));
    match &entry.fact {
        Fact::Registered { .. } => None,
        Fact::Locked { own, node_part, network_part } => {
            node.standing.own = *own;
            node.standing.parts = Parts { node: *node_part, network: *network_part };
            tell(Kind::Validated, Some(node.committed_until_unix), validated(node, entry.at_unix))
        }
        Fact::ToppedUp { amount } => {
            node.standing.own = plus(node.standing.own, *amount);
            None
        }
        Fact::Delegated { amount } => {
            node.standing.delegated = plus(node.standing.delegated, *amount);
            None
        }
        Fact::Undelegated { amount } => {
            node.standing.delegated = minus(node.standing.delegated, *amount);
            None
        }
        Fact::PassportStaked { passport } => {
            node.standing.passport = Some(*passport);
            None
        }
        Fact::Reported { hyper_node, kind } => {
            tell(Kind::Reported, None, reported(&name, *hyper_node, *kind))
        }
        Fact::CaseOpened { terms, base } => {
            let case = Case { opened_at_unix: entry.at_unix, terms: *terms, base: *base, slashed_bps: 0 };
            node.case = Some(case);
            tell(Kind::Anomaly, Some(case.restore_until_unix()), opened(&name, &case))
        }
        Fact::SaidRestored { .. } => None,
        Fact::CaseClosed { slashed_bps, restored } => {
            let base = node.case.take().map_or(Icnt(0), |case| case.base);
            Some(closed(entry, &name, (*slashed_bps, base), *restored))
        }
        Fact::Slashed { own, delegated } => Some(slashed(node, entry, (*own, *delegated))),
        Fact::Booked { booking, booker, whole, start_unix, end_unix, fee } => {
            let (start_unix, end_unix) = (*start_unix, *end_unix);
            let booked = Booked { booker: *booker, whole: *whole, start_unix, end_unix, fee: *fee };
            node.book(*booking, booked, entry.at_unix);
            tell(Kind::Booked, Some(end_unix), taken(&name, *booking, &booked))
        }
        Fact::Cancelled { booking, refund } => {
            if let Some(booked) = node.bookings.get_mut(booking) {
                booked.end_unix = booked.end_unix.min(entry.at_unix.max(booked.start_unix));
            }
            let text = format!(
                "Booking {booking} of {name} was left, because the node was not restored in time; {refund} went back."
            );
            tell(Kind::Cancelled, None, text)
        }
        Fact::Retired { by } => {
            node.life = Life::Retired { at_unix: entry.at_unix, released: Icnt(0) };
            tell(Kind::Retired, None, format!("{name} is no node any more: 0x{by} has retired it."))
        }
        Fact::Released { amount } => tell(Kind::Released, None, released(node, *amount, entry.at_unix)),
    }
}

fn released(node: &mut NodeState, amount: Icnt, at: u64) -> String {
    let at_unix = match node.life {
        Life::Registered => at,
        Life::Retired { at_unix, .. } => at_unix,
    };
    node.life = Life::Retired { at_unix, released: amount };
    let NodeState { name, owner, .. } = node;
    format!("{amount} of {name} are back in the deposit of 0x{owner}; only that account can withdraw them.")
}

fn validated(node: &NodeState, at: u64) -> String {
    let NodeState { name, class, capacity, standing, .. } = node;
    let until = time(node.committed_until_unix);
    let text = format!(
        "{name} is a ScalerNode: the registry has validated it, class {class}, capacity {capacity}, with {} of its \
         owner's until {until}.",
        standing.own
    );
    if node.is_whole(at) { text } else { format!("{text} {}", missing(name, standing.gap(Seconds(at)))) }
}

fn taken(name: &str, booking: u64, booked: &Booked) -> String {
    let what = if booked.whole { "the whole node" } else { "a unit of it" };
    format!(
        "{name} is booked: 0x{} has {what} from {} to {} for {} (booking {booking}).",
        booked.booker,
        time(booked.start_unix),
        time(booked.end_unix),
        booked.fee
    )
}

fn reported(name: &str, hyper_node: Address, kind: u8) -> String {
    format!(
        "HyperNode 0x{hyper_node} reported {name} (kind {kind}). If enough of them do so within a day, a case is opened: \
         look at the machine now."
    )
}

/// What an open case means: what it costs, and when.
fn opened(name: &str, case: &Case) -> String {
    let end = case.restore_until_unix();
    let first = case.lost(end.saturating_add(1));
    format!(
        "An anomaly of {name} is established. Restored by {} ({} from its opening) it costs nothing. After that it \
         costs {first} at once and as much again every {}, at most {} of {}. Rewards and delegations stay where they \
         are meanwhile.",
        time(end),
        span(case.terms.restore_window.0),
        span(case.terms.period.0),
        case.terms.exposure(case.base),
        case.base,
    )
}

fn closed(entry: &Entry, name: &str, (bps, base): (u16, Icnt), restored: bool) -> Alert {
    let cost = if bps == 0 {
        "it cost nothing".to_owned()
    } else {
        format!("it cost {}.{:02} % of {base}", bps / 100, bps % 100)
    };
    if restored {
        return Alert::of(entry, Kind::Restored, None, format!("{name} is whole again; {cost}."));
    }
    let text = format!(
        "The case of {name} has ended at its maximum; {cost}. Mend the machine: the next report opens another case."
    );
    Alert::of(entry, Kind::CaseAtMaximum, None, text)
}

fn slashed(node: &mut NodeState, entry: &Entry, (own, delegated): (Icnt, Icnt)) -> Alert {
    let more = node.case.as_mut().map_or(0, |case| case.carry_out(entry.at_unix));
    let standing = &mut node.standing;
    standing.own = minus(standing.own, own);
    standing.delegated = minus(standing.delegated, delegated);
    if let Some(passport) = &mut standing.passport {
        age(passport, more, entry.at_unix);
    }
    node.slashed = plus(node.slashed, plus(own, delegated));
    let (left, name) = (plus(standing.own, standing.delegated), &node.name);
    let who = if delegated.0 == 0 {
        format!("{own}, the owner's own")
    } else {
        format!("{}: {own} of the owner's own, {delegated} of delegators", plus(own, delegated))
    };
    let text = format!("{name} was slashed by {who}. {left} are left; {} went in all.", node.slashed);
    Alert::of(entry, Kind::Slashed, None, text)
}

/// A slash takes its share of the time that a passport has left, rounded up.
fn age(passport: &mut Passport, bps: u16, at: u64) {
    let age = at.saturating_sub(passport.since.0).saturating_add(passport.aged.0);
    let left = passport.decay.0.saturating_sub(age);
    passport.aged.0 = passport.aged.0.saturating_add(left.saturating_mul(bps.into()).div_ceil(10_000));
}

/// The node has become whole by this entry, or is no longer.
fn coverage(node: &NodeState, entry: &Entry) -> Alert {
    let (name, at) = (&node.name, entry.at_unix);
    if node.is_whole(at) {
        let text = format!("{name} is active: its collateral is whole and it can be booked.");
        return Alert::of(entry, Kind::Active, None, text);
    }
    Alert::of(entry, Kind::NotCovered, None, missing(name, node.standing.gap(Seconds(at))))
}

fn missing(name: &str, gap: Gap) -> String {
    let Gap { node, network } = gap;
    let what = match (node.0, network.0) {
        (0, _) => format!("{network}, by anybody"),
        (_, 0) => format!("{node}, by its owner"),
        (_, _) => format!("{node}, by its owner, and {network}, by anybody"),
    };
    format!("{name} cannot be booked: {what}, are missing from its collateral.")
}

/// The window to restore: a quarter of it is left, or it is over.
fn case_time(node: &NodeState, now: u64) -> Option<Alert> {
    let case = node.case?;
    let (end, window, name) = (case.restore_until_unix(), case.terms.restore_window.0, &node.name);
    let late = end.saturating_sub(window / 4);
    if now > end {
        let first = case.lost(end.saturating_add(1));
        let text = format!(
            "The window to restore {name} is over since {}. It has cost {first} and costs as much again every {}, at \
             most {} in all, until HyperNodes say that it is whole.",
            time(end),
            span(case.terms.period.0),
            case.terms.exposure(case.base)
        );
        return Some(Alert::of_moment(node.node, Kind::AnomalyOverdue, (end, end), 0, text));
    }
    if now < late {
        return None;
    }
    let text = format!(
        "{} is left to restore {name}, until {}; then it costs {} at once.",
        span(end - late),
        time(end),
        case.lost(end.saturating_add(1))
    );
    Some(Alert::of_moment(node.node, Kind::AnomalyLate, (late, end), window / 4, text))
}

/// The nearest of the days before the end of a commitment that has come.
fn commitment_time(node: &NodeState, now: u64) -> Option<Alert> {
    let (end, name) = (node.committed_until_unix, &node.name);
    let days = COMMITMENT_DAYS.into_iter().find(|days| now.saturating_add(days * DAY) >= end)?;
    let text = if days == 0 {
        format!(
            "The commitment of {name} has ended on {}. It can be retired, and its {} go back to its owner's deposit; \
             until then it goes on as before, and no booking is taken.",
            time(end),
            node.standing.own
        )
    } else {
        format!("The commitment of {name} ends in {days} days, on {}.", time(end))
    };
    let at = end.saturating_sub(days * DAY);
    Some(Alert::of_moment(node.node, Kind::Commitment, (at, end), days, text))
}

/// The nearest of the days before a passport no longer makes up what is missing.
fn passport_time(node: &NodeState, now: u64) -> Option<Alert> {
    // Beyond the commitment nobody needs it; 1970 says that it never did, and what is missing was told then.
    let last = node.standing.covered_until()?.0;
    if last == 0 || last >= node.committed_until_unix {
        return None;
    }
    let end = last.saturating_add(1);
    let days = PASSPORT_DAYS.into_iter().find(|days| now.saturating_add(days * DAY) >= end)?;
    let gap = node.standing.gap(Seconds(node.committed_until_unix));
    let name = &node.name;
    let whole = format!(
        "{} by its owner and {} by anybody would cover it to the end of its commitment",
        gap.node, gap.network
    );
    let text = if days == 0 {
        format!(
            "The passport of {name} does not make up its collateral since {}: it cannot be booked. {whole}.",
            time(end)
        )
    } else {
        format!(
            "The passport of {name} fades: from {} on it does not make up its collateral. {whole}.",
            time(end)
        )
    };
    let at = end.saturating_sub(days * DAY);
    Some(Alert::of_moment(node.node, Kind::PassportFades, (at, end), days, text))
}

fn plus(one: Icnt, other: Icnt) -> Icnt {
    Icnt(one.0.saturating_add(other.0))
}

fn minus(one: Icnt, other: Icnt) -> Icnt {
    Icnt(one.0.saturating_sub(other.0))
}

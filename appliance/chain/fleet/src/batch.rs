//! Many hosts registered under one permission: in batches of one transaction, one batch at a time.
//!
//! A host is left out with its reason, never its batch with it: each is simulated alone before, and a batch that is
//! refused all the same is tried again in halves until the host that spoils it stands alone.  What ran out for all of
//! them (the deposit, an operator's day) leaves nobody out: that is waited for.  A host that lacks something of its own
//! (its consent, an attestor's word) keeps nobody waiting: the others go.

use std::collections::BTreeSet;

use appliance_model::{Digest, HostId, Icnt};
use serde::{Deserialize, Serialize};

/// The registry takes so many nodes in one transaction.
pub const BATCH_MAX: usize = 25;

/// Hosts in one permission.
pub const FLEET_MAX: usize = 1_000;

/// Bytes kept of a reason.
const WHY_CHARS_MAX: usize = 400;

/// A host that is to be registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The host.
    pub host: HostId,
    /// What is staked for it, as it was permitted.
    pub collateral: Icnt,
    /// Where it stands.
    pub state: State,
}

/// Where a host of a fleet stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum State {
    /// Its turn has not come.
    Waiting {
        /// The largest batch that it may be in: smaller after one was refused.
        with_at_most: u32,
        /// What the host itself still lacks, if it was found to lack anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lacks: Option<String>,
    },
    /// It is in a batch that may be on its way to the chain.
    Sent {
        /// The batch: its number is never used twice in a fleet.
        batch: u32,
        /// What it was waiting with, should the batch be refused.
        with_at_most: u32,
    },
    /// The registry has it.
    Registered {
        /// By this transaction.
        transaction: Digest,
        /// In this block.
        block: u64,
    },
    /// It was not registered.
    LeftOut {
        /// Why, and what would mend it.
        why: String,
    },
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A batch may be on its way: nothing else is sent before it is known what became of it.
    Await {
        /// Its number.
        batch: u32,
        /// Its hosts.
        members: Vec<HostId>,
    },
    /// Of these the first that are fit go next.
    Form {
        /// The batch's number.
        batch: u32,
        /// Its hosts, and those that take the places of hosts that are not fit.
        candidates: Vec<HostId>,
        /// How many of them it takes.
        room: usize,
    },
    /// All that still wait lack something of their own.
    Held,
    /// Every host is registered or left out.
    Over,
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It is in a block, and the registry has its hosts.
    Registered {
        /// By this transaction.
        transaction: Digest,
        /// In this block.
        block: u64,
    },
    /// The contract refused it, for a reason that a host of it may have brought.
    Refused {
        /// The reason.
        why: String,
    },
    /// It was never sent, or can no longer come to be: its hosts wait again.
    Void,
}

impl Member {
    /// A host whose turn has not come.
    #[must_use]
    pub fn new(host: HostId, collateral: Icnt) -> Self {
        Self { host, collateral, state: State::Waiting { with_at_most: full(), lacks: None } }
    }

    /// Leaves the host out.
    pub fn leave_out(&mut self, why: &str) {
        self.state = State::LeftOut { why: short(why) };
    }

    /// Notes what a host that waits lacks of its own; `None`: nothing.
    pub fn hold(&mut self, why: Option<&str>) {
        if let State::Waiting { lacks, .. } = &mut self.state {
            *lacks = why.map(short);
        }
    }

    /// Whether it is done with, one way or the other.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Registered { .. } | State::LeftOut { .. })
    }
}

fn short(why: &str) -> String {
    why.chars().filter(|c| !c.is_control()).take(WHY_CHARS_MAX).collect()
}

fn full() -> u32 {
    u32::try_from(BATCH_MAX).unwrap_or(u32::MAX)
}

/// What is to be done next; `batches` have been formed so far, and `held` were just found to lack something of their own.
#[must_use]
pub fn next(members: &[Member], batches: u32, held: &BTreeSet<HostId>) -> Next {
    let sent = members.iter().find_map(|member| match member.state {
        State::Sent { batch, .. } => Some(batch),
        State::Waiting { .. } | State::Registered { .. } | State::LeftOut { .. } => None,
    });
    if let Some(batch) = sent {
        return Next::Await { batch, members: of_batch(members, batch) };
    }
    let waiting: Vec<(&HostId, u32)> = members
        .iter()
        .filter_map(|member| match member.state {
            State::Waiting { with_at_most, .. } => Some((&member.host, with_at_most)),
            State::Sent { .. } | State::Registered { .. } | State::LeftOut { .. } => None,
        })
        .collect();
    if waiting.is_empty() {
        return Next::Over;
    }
    let Some(most) = waiting.iter().find(|(host, _)| !held.contains(host)).map(|(_, most)| *most) else {
        return Next::Held;
    };
    // Those that were refused together stay together, apart from others: a host that spoils batches spoils few.
    let alike = waiting.into_iter().filter(|(host, other)| *other == most && !held.contains(host));
    let room = usize::try_from(most).unwrap_or(BATCH_MAX).clamp(1, BATCH_MAX);
    let candidates = alike.map(|(host, _)| host.clone()).collect();
    Next::Form { batch: batches.saturating_add(1), candidates, room }
}

fn of_batch(members: &[Member], wanted: u32) -> Vec<HostId> {
    let ours =
        members.iter().filter(|member| matches!(member.state, State::Sent { batch, .. } if batch == wanted));
    ours.map(|member| member.host.clone()).collect()
}

/// Notes that these hosts go in this batch.  Written down before anything is signed.
pub fn send(members: &mut [Member], batch: u32, hosts: &[HostId]) {
    for member in members.iter_mut().filter(|member| hosts.contains(&member.host)) {
        if let State::Waiting { with_at_most, .. } = member.state {
            member.state = State::Sent { batch, with_at_most };
        }
    }
}

/// Notes how a batch ended.
pub fn end(members: &mut [Member], batch: u32, ended: &Ended) {
    let count = u32::try_from(of_batch(members, batch).len()).unwrap_or(u32::MAX);
    for member in members {
        let State::Sent { batch: its, with_at_most } = member.state else { continue };
        if its != batch {
            continue;
        }
        match ended {
            Ended::Registered { transaction, block } => {
                member.state = State::Registered { transaction: *transaction, block: *block };
            }
            Ended::Void => member.state = State::Waiting { with_at_most, lacks: None },
            Ended::Refused { why } if count <= 1 => member.leave_out(why),
            Ended::Refused { .. } => {
                let with_at_most = (count / 2).min(with_at_most).max(1);
                member.state = State::Waiting { with_at_most, lacks: None };
            }
        }
    }
}

/// Whether a contract's refusal concerns the account and not the node: then nobody is left out, and it is tried again
/// later.  Names as the contracts have them.
#[must_use]
pub fn concerns_account(error: &str) -> bool {
    matches!(
        error,
        "DailyLimit"
            | "NotEnoughDeposit"
            | "NotAnOperator"
            | "InsufficientFunds"
            | "ERC20InsufficientBalance"
            | "ERC20InsufficientAllowance"
            | "FeesAboveCap"
    )
}

#[cfg(test)]
mod tests {
    use appliance_model::Serial;

    use super::*;

    fn fleet(count: usize) -> Vec<Member> {
        let host = |n: usize| HostId::of_serial(&Serial::parse(&format!("S{n:05}")).unwrap());
        (0..count).map(|n| Member::new(host(n), Icnt(60))).collect()
    }

    /// Runs a fleet against a registry that refuses any batch with one of `bad` in it.
    fn run(count: usize, bad: &BTreeSet<usize>) -> (Vec<Member>, u32) {
        let mut members = fleet(count);
        let spoilt: BTreeSet<HostId> = bad.iter().map(|n| members[*n].host.clone()).collect();
        let mut batches = 0;
        loop {
            match next(&members, batches, &BTreeSet::new()) {
                Next::Over => return (members, batches),
                Next::Await { .. } | Next::Held => panic!("nothing is on its way"),
                Next::Form { batch, candidates, room } => {
                    let hosts: Vec<HostId> = candidates.into_iter().take(room).collect();
                    assert!(hosts.len() <= BATCH_MAX && !hosts.is_empty());
                    batches = batch;
                    send(&mut members, batch, &hosts);
                    // After a crash here it is this batch that is asked after, and no other is formed.
                    let sent = Next::Await { batch, members: hosts.clone() };
                    assert_eq!(next(&members, batches, &BTreeSet::new()), sent);
                    let ended = if hosts.iter().any(|host| spoilt.contains(host)) {
                        Ended::Refused { why: "NodeAlreadyRegistered".into() }
                    } else {
                        Ended::Registered { transaction: Digest([7; 32]), block: 9 }
                    };
                    end(&mut members, batch, &ended);
                }
            }
            assert!(batches < 10_000);
        }
    }

    #[test]
    fn a_thousand_hosts_take_forty_batches() {
        let (members, batches) = run(1_000, &BTreeSet::new());
        assert_eq!(batches, 40);
        assert!(members.iter().all(|member| matches!(member.state, State::Registered { .. })));
    }

    #[test]
    fn bad_hosts_are_left_out_and_nobody_with_them() {
        for bad in [vec![0], vec![24, 25], vec![3, 4, 5, 99], (0..100).step_by(7).collect()] {
            let bad: BTreeSet<usize> = bad.into_iter().collect();
            let (members, batches) = run(100, &bad);
            for (place, member) in members.iter().enumerate() {
                let left = matches!(member.state, State::LeftOut { .. });
                assert_eq!(left, bad.contains(&place), "{place}: {:?}", member.state);
            }
            // Halving a batch of 25 costs some ten transactions' simulations at most for each bad one.
            assert!(batches <= 4 + u32::try_from(bad.len()).unwrap() * 12, "{batches}");
        }
    }

    #[test]
    fn what_was_never_sent_waits_again() {
        let mut members = fleet(3);
        let hosts: Vec<HostId> = members.iter().map(|member| member.host.clone()).collect();
        send(&mut members, 1, &hosts);
        end(&mut members, 2, &Ended::Void);
        let none = BTreeSet::new();
        assert!(matches!(next(&members, 1, &none), Next::Await { batch: 1, .. }));
        end(&mut members, 1, &Ended::Void);
        assert_eq!(members, fleet(3));
        let room = BATCH_MAX;
        assert_eq!(next(&members, 1, &none), Next::Form { batch: 2, candidates: hosts, room });
    }

    #[test]
    fn a_host_that_lacks_something_keeps_nobody_waiting() {
        let mut members = fleet(60);
        let hosts: Vec<HostId> = members.iter().map(|member| member.host.clone()).collect();
        // The first thirty have not agreed: more than a whole batch of them stands before the others.
        let held: BTreeSet<HostId> = hosts[..30].iter().cloned().collect();
        for member in &mut members[..30] {
            member.hold(Some("its host has\nnot agreed"));
        }
        let Next::Form { batch: 1, candidates, room: 25 } = next(&members, 0, &held) else { panic!() };
        assert_eq!(candidates, hosts[30..]);
        send(&mut members, 1, &candidates[..25]);
        end(&mut members, 1, &Ended::Registered { transaction: Digest([7; 32]), block: 9 });
        let Next::Form { batch: 2, candidates, .. } = next(&members, 1, &held) else { panic!() };
        send(&mut members, 2, &candidates);
        end(&mut members, 2, &Ended::Refused { why: "one of five".into() });
        // Those that are tried again in halves do not wait for the others either.
        let Next::Form { batch: 3, candidates, room: 2 } = next(&members, 2, &held) else { panic!() };
        send(&mut members, 3, &candidates);
        end(&mut members, 3, &Ended::Registered { transaction: Digest([7; 32]), block: 10 });
        assert_eq!(next(&members, 3, &held), Next::Held);
        let text = serde_json::to_string(&members[0].state).unwrap();
        assert_eq!(text, r#"{"state":"waiting","with_at_most":25,"lacks":"its host hasnot agreed"}"#);
        // What an older version wrote is read, and a host that lacks nothing any more goes.
        let old = r#"{"state":"waiting","with_at_most":25}"#;
        members[0].hold(None);
        assert_eq!(serde_json::from_str::<State>(old).unwrap(), members[0].state);
        let held = hosts[1..30].iter().cloned().collect();
        let Next::Form { batch: 4, candidates, .. } = next(&members, 3, &held) else { panic!() };
        assert_eq!(candidates, hosts[..1]);
    }
}

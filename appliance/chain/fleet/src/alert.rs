//! What people must know.

use appliance_model::NodeId;
use serde::{Deserialize, Serialize};

use crate::{Entry, words};

/// One thing to know.  The id follows from what it is about: the same thing seen again is the same alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Names it for good.
    pub id: String,
    /// What kind of thing.
    pub kind: Kind,
    /// How much of a hurry.
    pub level: Level,
    /// Whom it concerns; nobody where it is about the chain or the operator's account.
    pub node: Option<NodeId>,
    /// When it happened, seconds since 1970: the block's time, or the moment that had come.
    pub at_unix: u64,
    /// Until when something has to be done, or lasts; seconds since 1970.
    pub until_unix: Option<u64>,
    /// In whole sentences, with amounts.
    pub text: String,
}

/// How much of a hurry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Something has to be done, in time.
    Warning,
    /// Collateral is at stake now, or lost.
    Urgent,
}

/// What kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The registry has validated and taken the node.
    Validated,
    /// Its collateral is whole: it can be booked.
    Active,
    /// Its collateral is no longer whole: it cannot be booked.
    NotCovered,
    /// It was booked.
    Booked,
    /// A booking was left by who made it.
    Cancelled,
    /// A HyperNode reported it; no case yet.
    Reported,
    /// A case is open; the window to restore runs.
    Anomaly,
    /// A quarter of the window is left.
    AnomalyLate,
    /// The window is over: it costs now.
    AnomalyOverdue,
    /// The case is over.
    Restored,
    /// The case has cost all that it may.
    CaseAtMaximum,
    /// Collateral was taken.
    Slashed,
    /// The commitment ends soon, or has ended.
    Commitment,
    /// The passport will no longer make up what is missing.
    PassportFades,
    /// It is no node any more.
    Retired,
    /// Its collateral is back in the owner's deposit.
    Released,
    /// The operator's account has little left for gas.
    GasLow,
    /// The chain has not answered for long.
    ChainSilent,
}

impl Kind {
    /// As it stands in ids, JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Validated => "validated",
            Self::Active => "active",
            Self::NotCovered => "not-covered",
            Self::Booked => "booked",
            Self::Cancelled => "cancelled",
            Self::Reported => "reported",
            Self::Anomaly => "anomaly",
            Self::AnomalyLate => "anomaly-late",
            Self::AnomalyOverdue => "anomaly-overdue",
            Self::Restored => "restored",
            Self::CaseAtMaximum => "case-at-maximum",
            Self::Slashed => "slashed",
            Self::Commitment => "commitment",
            Self::PassportFades => "passport-fades",
            Self::Retired => "retired",
            Self::Released => "released",
            Self::GasLow => "gas-low",
            Self::ChainSilent => "chain-silent",
        }
    }

    fn level(self) -> Level {
        match self {
            Self::Validated
            | Self::Active
            | Self::Booked
            | Self::Restored
            | Self::Retired
            | Self::Released => Level::Info,
            Self::NotCovered
            | Self::Cancelled
            | Self::Reported
            | Self::Commitment
            | Self::PassportFades
            | Self::GasLow
            | Self::ChainSilent => Level::Warning,
            Self::Anomaly
            | Self::AnomalyLate
            | Self::AnomalyOverdue
            | Self::CaseAtMaximum
            | Self::Slashed => Level::Urgent,
        }
    }
}

impl Alert {
    /// About something that happened on chain: named by its transaction.
    pub(crate) fn of(entry: &Entry, kind: Kind, until_unix: Option<u64>, text: String) -> Self {
        let (name, transaction, place) = (kind.name(), entry.transaction, entry.place);
        Self {
            id: format!("{name}.{transaction}.{place}"),
            kind,
            level: kind.level(),
            node: Some(entry.node),
            at_unix: entry.at_unix,
            until_unix,
            text,
        }
    }

    /// About a moment of a node that has come or will come: named by node, moment, and how early it is told.
    pub(crate) fn of_moment(
        node: NodeId,
        kind: Kind,
        (at, until): (u64, u64),
        early: u64,
        text: String,
    ) -> Self {
        let name = kind.name();
        Self {
            id: format!("{name}.{node}.{until}.{early}"),
            kind,
            level: kind.level(),
            node: Some(node),
            at_unix: at,
            until_unix: Some(until),
            text,
        }
    }

    /// About what has been so since a moment, and may end: the operator's gas, the chain's silence.
    #[must_use]
    pub fn of_trouble(kind: Kind, since_unix: u64, text: String) -> Self {
        Self {
            id: format!("{}.{since_unix}", kind.name()),
            kind,
            level: kind.level(),
            node: None,
            at_unix: since_unix,
            until_unix: None,
            text,
        }
    }

    /// The chain with this id has not answered since then.
    #[must_use]
    pub fn silent(chain_id: u64, since_unix: u64, said: &str) -> Self {
        let text = format!(
            "Chain {chain_id} has not answered since {}: {said}. Nothing is seen of the nodes until it does; windows to \
             restore run on.",
            words::time(since_unix)
        );
        Self::of_trouble(Kind::ChainSilent, since_unix, text)
    }
}

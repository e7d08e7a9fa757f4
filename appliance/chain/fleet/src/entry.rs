//! What a chain said, one thing at a time.

use appliance_collateral::{Passport, SlashTerms};
use appliance_model::{Address, Digest, Icnt, NodeId};
use serde::{Deserialize, Serialize};

/// One log of a safe block, understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Height of its block.
    pub block: u64,
    /// The block's own time, seconds since 1970.
    pub at_unix: u64,
    /// The transaction that did it.
    pub transaction: Digest,
    /// Which of that transaction's logs, counted among those that are understood.  The same transaction in another
    /// block has the same logs in the same order, so that transaction and place name what happened.
    pub place: u32,
    /// The node.
    pub node: NodeId,
    /// What happened.
    pub fact: Fact,
}

/// What can happen to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fact {
    /// The registry took it.
    Registered {
        /// Who sent the registration.
        operator: Address,
        /// Whose collateral it is.
        owner: Address,
        /// Its name on chain.
        name: String,
        /// Region.
        region: String,
        /// Hardware class.
        class: String,
        /// In the class's own measure.
        capacity: u64,
        /// Seconds since 1970.
        committed_until_unix: u64,
    },
    /// Its owner's collateral was locked; the parts are what the terms asked for then.
    Locked {
        /// The owner's own.
        own: Icnt,
        /// Wanted of the owner.
        node_part: Icnt,
        /// Wanted of anybody.
        network_part: Icnt,
    },
    /// Somebody added to the owner's own.
    ToppedUp {
        /// How much.
        amount: Icnt,
    },
    /// Somebody put up a part of the network part.
    Delegated {
        /// How much.
        amount: Icnt,
    },
    /// A delegation was taken back.
    Undelegated {
        /// How much.
        amount: Icnt,
    },
    /// A passport was staked on it.
    PassportStaked {
        /// As the vault has it.
        passport: Passport,
    },
    /// A HyperNode said that it is not what it is paid for.
    Reported {
        /// Who.
        hyper_node: Address,
        /// The class's own numbering.
        kind: u8,
    },
    /// Enough of them did: collateral is at stake.
    CaseOpened {
        /// What an anomaly of this node costs, and in which window it costs nothing.
        terms: SlashTerms,
        /// The collateral that the rates count on.
        base: Icnt,
    },
    /// A HyperNode said that it is whole again.
    SaidRestored {
        /// Who.
        hyper_node: Address,
    },
    /// The case is over.
    CaseClosed {
        /// What it has cost, in 1/10 000 of the base.
        slashed_bps: u16,
        /// Whether the node is whole again; else the case has cost all that it may.
        restored: bool,
    },
    /// Collateral went to the treasury.
    Slashed {
        /// Of the owner's own.
        own: Icnt,
        /// Of delegations.
        delegated: Icnt,
    },
    /// Somebody booked it, or a unit of it.
    Booked {
        /// The booking's number.
        booking: u64,
        /// Who.
        booker: Address,
        /// Whether all of the node.
        whole: bool,
        /// Seconds since 1970.
        start_unix: u64,
        /// Seconds since 1970.
        end_unix: u64,
        /// For all of the time.
        fee: Icnt,
    },
    /// Who booked it has left it.
    Cancelled {
        /// The booking's number.
        booking: u64,
        /// What went back.
        refund: Icnt,
    },
    /// It is no node any more.
    Retired {
        /// Who said so.
        by: Address,
    },
    /// Its collateral is in its owner's deposit.
    Released {
        /// How much.
        amount: Icnt,
    },
}

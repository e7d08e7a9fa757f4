//! What the chain says of our nodes, in people's words: alerts, the stake of each node, what runs out and when.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that people must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlertView {
    /// Names it for good: the same thing seen again is the same alert.
    pub id: String,
    /// `validated`, `active`, `not-covered`, `booked`, `cancelled`, `reported`, `anomaly`, `anomaly-late`,
    /// `anomaly-overdue`, `restored`, `case-at-maximum`, `slashed`, `commitment`, `passport-fades`, `retired`,
    /// `released`, `gas-low` or `chain-silent`.
    pub kind: String,
    /// `info`, `warning` or `urgent`.
    pub level: String,
    /// The node's id; absent where it is about the chain or the operator's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When it happened, seconds since 1970.
    pub at_unix: u64,
    /// Until when something has to be done, or lasts; seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_unix: Option<u64>,
    /// In sentences, with amounts.
    pub text: String,
    /// When this appliance raised it, milliseconds since 1970.
    pub raised_at_ms: u64,
    /// The block that it followed from is gone: it is not true (now).
    #[serde(default)]
    pub withdrawn: bool,
    /// It has ended by itself.
    #[serde(default)]
    pub cleared: bool,
    /// Who said that he has read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
}

/// Somebody has read an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
}

/// What a receiver of webhooks is sent, as JSON.  The header `x-scalerforge-signature` has `t=SECONDS,v1=HEX`: HMAC-SHA-256
/// of `SECONDS.BODY` under the site's secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlertPostView {
    /// `raised`, or `withdrawn`: the block that it followed from is gone.
    pub event: String,
    /// The site's name.
    pub site: String,
    /// The alert.  Whoever is sent the same id and event again has it already.
    pub alert: AlertView,
}

/// What is at stake: the account, each node, what runs out, what people must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StakeView {
    /// Chain id.
    pub chain_id: u64,
    /// Whether it is the embedded development chain, which proves nothing to anybody.
    pub development: bool,
    /// The registry that is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The operator's account and the owner's.
    pub accounts: Vec<AccountView>,
    /// The newest block that was read, and its time (seconds since 1970).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_to: Option<ReadTo>,
    /// Why nothing newer was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What the operator may still do today; absent where it is the owner itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsView>,
    /// What registering would cost now: one row for each class of hosts that wait for it.
    pub cost_sheet: Vec<CostRowView>,
    /// The nodes.
    pub nodes: Vec<NodeStakeView>,
    /// Alerts that nobody acknowledged and that still hold, newest first.
    pub alerts: Vec<AlertView>,
    /// Now, as the chain has it; seconds since 1970.
    pub now_unix: u64,
}

/// How far the chain was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadTo {
    /// Height.
    pub block: u64,
    /// The block's time, seconds since 1970.
    pub at_unix: u64,
}

/// What an account has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// `operator`, `owner`, or `owner and operator`.
    pub role: String,
    /// Its address.
    pub address: String,
    /// Tokens it holds.
    pub balance: String,
    /// Tokens that lie in the vault for it, free for nodes.
    pub deposit: String,
    /// For gas, in the chain's own coin.
    pub gas: String,
}

/// What the operator may do in a day (UTC), and has done today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitsView {
    /// Nodes registered today.
    pub registrations: u64,
    /// At most.
    pub registrations_max: u64,
    /// Nodes retired today.
    pub retirements: u64,
    /// At most.
    pub retirements_max: u64,
    /// Staked today.
    pub collateral: String,
    /// At most.
    pub collateral_max: String,
}

/// What one host would stake, with each factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CostRowView {
    /// Host id.
    pub host: String,
    /// Its serial.
    pub serial: String,
    /// The owner's own part.
    pub stake: String,
    /// What it follows from, line by line.
    pub factors: Vec<String>,
    /// What is missing on the account that pays; absent where enough is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A node's stake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStakeView {
    /// Node id.
    pub node: String,
    /// Its name on chain.
    pub name: String,
    /// The host that it is, where this appliance has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Hardware class and capacity.
    pub class: String,
    /// In the class's own measure.
    pub capacity: u64,
    /// `active`, `booked`, `not-covered`, `restoring`, `slashing` or `retired`.
    pub status: String,
    /// The same in a sentence.
    pub words: String,
    /// The owner's own tokens.
    pub own: String,
    /// Wanted of the owner.
    pub node_part: String,
    /// Put up by delegators.
    pub delegated: String,
    /// Wanted of anybody.
    pub network_part: String,
    /// What its passport is worth now; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passport: Option<String>,
    /// What is missing for it to be booked; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Taken by slashes so far; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slashed: Option<String>,
    /// What runs out.
    pub countdowns: Vec<CountdownView>,
}

/// Something that runs out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountdownView {
    /// `restore`, `slash`, `booking`, `passport` or `commitment`.
    pub what: String,
    /// Since when it runs, seconds since 1970.
    pub from_unix: u64,
    /// When it ends, seconds since 1970.
    pub until_unix: u64,
    /// What happens then.
    pub then: String,
}

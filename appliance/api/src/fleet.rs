//! Many hosts registered under one permission, and nodes that leave.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetAsk {
    /// Host ids; none: all that wait for the approval of their stake.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Of these only such as are of this hardware class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// What registering them would cost: the cost sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetPlanView {
    /// Names this cost sheet: what a permission repeats.
    pub plan: String,
    /// Hosts that would be registered, each with its stake.
    pub hosts: Vec<FleetHostView>,
    /// Hosts that would not, each with its reason.
    pub left_out: Vec<FleetHostView>,
    /// Transactions, of at most 25 nodes each.
    pub batches: u32,
    /// What is staked in all.
    pub total: String,
    /// What the most gas would cost now, in the chain's own coin.
    pub gas_max: String,
    /// What there is for stakes.
    pub available: String,
    /// What is missing of it; absent where enough is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// The words that permit it, to be typed.
    pub words: String,
    /// Why nothing can be registered together now; absent where it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
}

/// A host of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetHostView {
    /// Host id.
    pub host: String,
    /// What is staked for it; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stake: Option<String>,
    /// `waiting`, `sent`, `registered` or `left-out`.
    pub state: String,
    /// Its batch, its transaction and block, or why it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Permission for a cost sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetPermission {
    /// Which hosts.
    #[serde(flatten)]
    pub ask: FleetAsk,
    /// `REGISTER 40 NODES FOR 120 ICNT`, typed.
    pub words: String,
    /// The cost sheet's name.
    pub plan: String,
    /// Who permits it.
    pub by: String,
}

/// How far a fleet is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetView {
    /// Its number.
    pub id: u64,
    /// Who permitted it.
    pub allowed_by: String,
    /// When, milliseconds since 1970.
    pub allowed_at_ms: u64,
    /// When it was over, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// Transactions formed so far.
    pub batches: u32,
    /// What holds it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Hosts registered.
    pub registered: u32,
    /// Hosts left out.
    pub left_out: u32,
    /// All hosts, in the order of the permission.
    pub hosts: Vec<FleetHostView>,
}

/// How a node leaves: what stands against it, what was done, what is left to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaveView {
    /// Host id.
    pub host: String,
    /// Node id.
    pub node: String,
    /// What stands against it; no word can change that.
    pub obstacles: Vec<String>,
    /// The words that let it go, to be typed; absent where something stands against it or it was let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// Each step in order: `done`, `waits` or `yours`, and what it is.
    pub steps: Vec<LeaveStepView>,
}

/// A step of leaving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaveStepView {
    /// `done`, `waits`, or `yours` where a person has to act.
    pub state: String,
    /// What it is.
    pub text: String,
}

/// Lets a node go, or its drives without being erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeavePermission {
    /// `RETIRE NAME`, or later `LEAVE DRIVES OF NAME AS THEY ARE`, typed.
    pub words: String,
    /// Who lets it go.
    pub by: String,
}

//! What people and programs ask the appliance, version 1.  `openapi/v1.json` is made from these types.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::break_glass::GlassView;

/// A host in the rack list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HostView {
    /// Host id.
    pub id: String,
    /// System serial.
    pub serial: String,
    /// Maker and model.
    pub model: Option<String>,
    /// Rack position.
    pub position: Option<String>,
    /// BMC URL.
    pub bmc: Option<String>,
    /// Name of the stage.
    pub stage: String,
    /// When the stage was entered, milliseconds since 1970.
    pub since_ms: u64,
    /// Why it is where it is.
    pub why: WhyView,
    /// Thousandths of the agent's present order, if it tells.
    pub progress_permille: Option<u16>,
    /// What the agent is doing.
    pub progress_note: Option<String>,
    /// Node id on chain, once proven.
    pub node: Option<String>,
    /// Trust tier of the registration evidence.
    pub tier: Option<String>,
    /// Registration transaction.
    pub transaction: Option<String>,
    /// How the boot ticket of its last boot came, where that proves less than a measured boot URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_ticket: Option<String>,
    /// Whether it is, or was last, opened for SSH by a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<GlassView>,
}

/// How a host is made to boot.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootsBy {
    /// The ways, best first.
    pub ways: Vec<BootWay>,
    /// What was tried, oldest first.
    pub tries: Vec<BootTry>,
    /// The way that worked last, and how that is known.
    pub proved: Option<String>,
    /// The BMC's slot that still holds our boot medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<String>,
}

/// A way to boot a host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootWay {
    /// The way.
    pub way: String,
    /// Why it cannot be used; absent where it can.
    pub closed: Option<String>,
}

/// A try to boot a host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootTry {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The way.
    pub way: String,
    /// What came of it; absent while that is awaited.
    pub outcome: Option<String>,
}

/// Why a host waits.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhyView {
    /// What for.
    pub waiting_for: String,
    /// What ends the wait.
    pub ends_when: String,
    /// What a technician can do.
    pub technician: String,
}

/// A host with everything known of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HostDetail {
    /// The list entry.
    pub host: HostView,
    /// What happened, oldest first.
    pub journal: Vec<JournalView>,
    /// How it is made to boot: rungs and why some are closed, tries, and the one that an agent's ticket proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boots_by: Option<BootsBy>,
    /// In-band inventory.
    #[schema(value_type = Object)]
    pub inventory: Option<serde_json::Value>,
    /// The BMC's inventory.
    #[schema(value_type = Object)]
    pub bmc_inventory: Option<serde_json::Value>,
    /// Where the two witnesses disagree.
    #[schema(value_type = Vec<Object>)]
    pub findings: Vec<serde_json::Value>,
    /// The machine against baselines and blueprints, a report for each.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub checks: Vec<serde_json::Value>,
    /// Burn-in report.
    #[schema(value_type = Object)]
    pub burn_in: Option<serde_json::Value>,
    /// Manifest of units.
    #[schema(value_type = Object)]
    pub manifest: Option<serde_json::Value>,
}

/// A line of a host's journal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JournalView {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub event: String,
    /// The stage before.
    pub was: String,
    /// The stage after.
    pub stage: String,
}

/// What the appliance sees of its chain.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChainView {
    /// Endpoint.
    pub rpc_url: String,
    /// Whether it is the embedded development chain.
    pub development: bool,
    /// Chain id.
    pub chain_id: u64,
    /// Newest block, if the chain answers.
    pub head: Option<u64>,
    /// Registry contract.
    pub registry: Option<String>,
    /// Operator account.
    pub operator: Option<String>,
    /// Operator's token balance, ICNT with decimals.
    pub balance: Option<String>,
    /// What is wrong, if something is.
    pub trouble: Option<String>,
    /// Nodes as read back from the chain.
    pub nodes: Vec<NodeView>,
}

/// A node as the chain has it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Node id.
    pub node: String,
    /// Its name on chain.
    pub name: String,
    /// Hardware class.
    pub class: String,
    /// Capacity in the class's own measure.
    pub capacity: u64,
    /// Collateral, ICNT with decimals.
    pub collateral: String,
    /// Root over its units.
    pub unit_root: String,
    /// Digest of its evidence.
    pub evidence: String,
    /// Operator account.
    pub operator: String,
}

/// Why a call failed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProblemView {
    /// What was tried, what came back, what to do.
    pub error: String,
}

/// Permission to stake: the amount is repeated, so that nobody approves what he did not read.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// The stake in ICNT's smallest part, as the cost sheet shows it.
    pub stake: String,
}

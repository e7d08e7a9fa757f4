//! What would mend a host's firmware and settings, the permission for it, and how it goes on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What would mend a host, as its controller shows it now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RemedyPlanView {
    /// Host id.
    pub host: String,
    /// The machine's serial: what a permission repeats.
    pub serial: String,
    /// SHA-256 over all that would be done: what a permission repeats.
    pub plan: String,
    /// What would be done, in this order.  Empty: nothing can be.
    pub steps: Vec<RemedyStepView>,
    /// What is wrong and is not mended by this plan.
    pub left: Vec<RemedyLeftView>,
    /// Why nothing is done to this host now; absent where it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
    /// The newest run, open or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RemedyRunView>,
}

/// One step.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RemedyStepView {
    /// What it does.
    pub what: String,
    /// What is changed.
    pub changes: Vec<RemedyChangeView>,
    /// The findings that it mends.
    pub because: Vec<String>,
    /// What it interrupts.
    pub interrupts: String,
}

/// One change.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RemedyChangeView {
    /// What is changed.
    pub what: String,
    /// As it is.
    pub from: String,
    /// As it would be.
    pub to: String,
    /// The image's file, where it is firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The image's SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The image is older than what is there, or nobody can tell.
    #[serde(default)]
    pub downgrade: bool,
}

/// Something that the plan does not mend.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RemedyLeftView {
    /// What.
    pub what: String,
    /// Why not, and what to do.
    pub why: String,
}

/// Permission for a plan: serial and digest are repeated, so that nobody allows what he did not read.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RemedyPermission {
    /// The machine's serial.
    pub serial: String,
    /// The plan's digest.
    pub plan: String,
    /// Who allows it.
    pub by: String,
    /// Whether the plan was made with downgrades allowed.
    #[serde(default)]
    pub downgrade: bool,
}

/// How a remedy stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RemedyRunView {
    /// Digest of the plan that was allowed.
    pub plan: String,
    /// Who allowed it.
    pub allowed_by: String,
    /// When, in milliseconds since 1970.
    pub allowed_at_ms: u64,
    /// Name of its state.
    pub state: String,
    /// What is happening.
    pub doing: String,
    /// The step it is at, from 1; absent once all are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// Steps of the plan.
    pub steps: u32,
    /// How much is done, in percent, as far as can be told.
    pub percent: u8,
    /// When it ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// What happened, oldest first.
    pub journal: Vec<RemedyLineView>,
}

/// A line of a run's journal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RemedyLineView {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub text: String,
}

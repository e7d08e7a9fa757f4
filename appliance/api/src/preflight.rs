//! What would stop a host's registration.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A registration looked at before anybody signs it.  Either it would be taken, or there is a refusal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PreflightView {
    /// What would be registered, as `chain preflight --intent` takes it.
    #[schema(value_type = Object)]
    pub intent: serde_json::Value,
    /// What it costs and needs, where it would be taken.
    #[schema(value_type = Object)]
    pub sheet: Option<serde_json::Value>,
    /// Why it would not be taken.
    pub refused: Option<RefusedView>,
}

/// A refusal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RefusedView {
    /// Its name: the contract's, or our own check's.
    pub error: String,
    /// What is wrong and what would mend it.
    pub sentence: String,
}

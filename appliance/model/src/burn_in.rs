//! Burn-in on the wire: the course the appliance orders, what the agent returns, the verdict the core gives.

pub mod aid;
pub mod gpu;
pub mod staged;

use serde::{Deserialize, Serialize};

/// What a burn-in amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Every task was done and broke no rule.
    Pass {
        /// What was covered, in words.
        coverage: Vec<String>,
    },
    /// A rule broke.
    Fail {
        /// Each with device and rule.
        reasons: Vec<String>,
    },
    /// Something was not measured.  Not a pass.
    Inconclusive {
        /// What is missing.
        reasons: Vec<String>,
    },
}

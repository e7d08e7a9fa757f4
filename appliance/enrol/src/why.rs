//! "Why is it waiting, since when, what ends it, what can a technician do": data, for the CLI, the page and the API.

use appliance_model::Now;
use serde::{Deserialize, Serialize};

use crate::stage::Stage;

/// The answer to `host why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What the host waits for.
    pub waiting_for: String,
    /// Since when.
    pub since: Now,
    /// What ends the wait.
    pub ends_when: String,
    /// What a technician can do.
    pub technician: String,
}

/// Explains `stage`, entered at `since`.  `trouble` is what the effect in flight last failed with, if it did.
#[must_use]
pub fn why(stage: &Stage, since: Now, trouble: Option<&str>) -> Why {
    let (waiting_for, ends_when, technician) = words(stage);
    let waiting_for = match trouble {
        Some(trouble) => format!("{waiting_for}; last try: {trouble}"),
        None => waiting_for,
    };
    Why { waiting_for, since, ends_when: ends_when.into(), technician: technician.into() }
}

fn words(stage: &Stage) -> (String, &'static str, &'static str) {
    const AGENT: &str =
        "the agent's answer, within seconds; a silent agent is noticed and the server restarted";
    const NOTHING: &str = "nothing to do";
    let on = |text: &str| text.to_owned();
    match stage {
        Stage::Found => (
            on("a decision to enrol it"),
            "`host enrol`, or enrolment = \"auto\" in the site file",
            "enrol it, or leave it",
        ),
        Stage::Booting { attempt, .. } => (
            format!("the server to boot from the network and its agent to say hello (try {attempt})"),
            "the agent's hello, or the next try",
            "if it takes minutes, look at the server's console: does the firmware get an address, does it load the image?",
        ),
        Stage::Discovering { .. } => (on("the agent's inventory"), AGENT, NOTHING),
        Stage::Identifying { .. } => (on("the TPM's certificates and keys"), AGENT, NOTHING),
        Stage::Challenging { .. } => {
            (on("the check of the endorsement certificate"), "the appliance, at once", NOTHING)
        }
        Stage::Challenged { .. } => (on("the TPM to open its credential"), AGENT, NOTHING),
        Stage::Admitting { .. } => (on("the quote of this boot"), AGENT, NOTHING),
        Stage::Verifying { .. } => (on("the check of the boot evidence"), "the appliance, at once", NOTHING),
        Stage::Admitted { .. } => (on("the burn-in plan"), "the appliance, at once", NOTHING),
        Stage::BurningIn { done, steps, .. } => (
            format!("the burn-in: {done} of {steps} steps done"),
            "the last step's reading",
            "nothing; a power loss costs only the step that was running",
        ),
        Stage::Carving { .. } => (on("its units"), "the appliance, at once", NOTHING),
        Stage::Shaping { .. } => (
            on("the units to be made real on the host"),
            AGENT,
            "nothing; what the kernel does not grant is named, and ends in quarantine",
        ),
        Stage::Binding { .. } => {
            (on("the TPM's signature under units, inventory and burn-in"), AGENT, NOTHING)
        }
        Stage::Sealing { .. } => {
            (on("the check of the registration evidence"), "the appliance, at once", NOTHING)
        }
        Stage::Pricing { .. } => {
            (on("the chain's terms"), "an answer from the chain", "if it lasts, check `chain status`")
        }
        Stage::Approving { price, .. } if price.shortfall().0 > 0 => (
            format!("{} more on the operator's account", price.shortfall()),
            "the funds, then `host retry`, which reads the terms anew",
            "nothing; the provider's treasurer has to act",
        ),
        Stage::Approving { price, .. } => (
            format!("approval of a stake of {}", price.required),
            "`host approve ID --stake`, or approval = \"auto\" in the site file",
            "approve it, if that is yours to decide",
        ),
        Stage::Registering { .. } => {
            (on("the chain to confirm the registration"), "the receipt", "if it lasts, check `chain status`")
        }
        Stage::Registered { .. } => (on("nothing: it is a ScalerNode"), "its retirement", NOTHING),
        Stage::Retired { by, block, .. } => (
            format!("nothing: {by} let it go, and it was retired in block {block}"),
            "nothing: its TPM is no node again",
            "see to its drives (`node retire` says how they stand), then take it away",
        ),
        Stage::Quarantined { why, .. } => {
            (format!("a technician: {why}"), "`host retry` after the mend", "what the reason says")
        }
    }
}

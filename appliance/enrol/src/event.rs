//! What can happen to a host.

use appliance_model::{Digest, HostId, NodeId, burn_in::Verdict};
use attest_verify::{Attested, Bound, Rejection};
use serde::{Deserialize, Serialize};

use crate::{
    ladder::Rung,
    registration::Price,
    stage::{Boot, Carved},
};

/// Something that happened: a call of the agent, an effect's outcome, the clock, a person.
///
/// Not a record: proofs ([`Attested`], [`Bound`]) travel in it by type.  The journal keeps [`Event::summary`].
#[derive(Debug)]
pub enum Event {
    /// The operator's configuration or the site's policy wants this host enrolled.
    Wanted,
    /// The BMC accepted the boot order and the power-on; whether the machine boots by this rung, its agent shows.
    PoweredOn(Rung),
    /// An agent said hello from this boot, with a ticket that was honoured.
    Hello(Boot),
    /// Nothing was heard of the agent for longer than it may be silent, and the machine is not running.
    PowerLost,
    /// The agent sent its inventory.
    Inventory {
        /// Digest of the inventory document.
        inventory: Digest,
    },
    /// The agent sent EK certificates, EK and AK.
    Identity {
        /// Digest of the identity document.
        identity: Digest,
    },
    /// A credential was made for that identity.
    ChallengeMade {
        /// What the answer is bound to.
        transcript: Digest,
    },
    /// The identity is no acceptable identity.
    IdentityRefused(Refusal),
    /// The agent answered the challenge rightly: this EK and this AK sit in one TPM.
    AnswerRight,
    /// The agent answered the challenge wrongly.
    AnswerWrong,
    /// The agent sent a quote; the evidence was assembled and stored.
    Quoted {
        /// Digest of the evidence.
        evidence: Digest,
    },
    /// Admission evidence was verified.
    Attested(Box<Attested>),
    /// Registration evidence was verified.
    Bound(Box<Bound>),
    /// Evidence was refused.
    Rejected(Box<Rejection>),
    /// The burn-in plan was written.
    Planned {
        /// Steps in the plan.
        steps: u32,
        /// Steps that already have a reading, from before a loss of power.
        done: u32,
    },
    /// The agent finished one step.
    StepDone {
        /// Steps with a reading so far.
        done: u32,
    },
    /// The agent finished the burn-in.
    BurnInDone {
        /// Digest of the report document.
        report: Digest,
        /// The appliance's own judgement of the readings.
        verdict: Verdict,
    },
    /// The machine was carved.
    Carved(Carved),
    /// The units are real: the host's kernel says what was planned.
    Shaped,
    /// The machine cannot be used as it is.
    Unfit(Refusal),
    /// Terms were read and the collateral computed.
    Priced(Price),
    /// The operator, or the site's standing approval, allows this stake.
    Approved,
    /// The registration is on chain.
    Registered {
        /// Transaction hash.
        transaction: Digest,
        /// Block number.
        block: u64,
    },
    /// The chain refuses the registration for good.
    RegistrationRefused(Refusal),
    /// The node was retired from the chain: its commitment is over, and a person let it go.
    Retired {
        /// The node it was.
        node: NodeId,
        /// Who let it go.
        by: String,
        /// Transaction hash.
        transaction: Digest,
        /// Block number.
        block: u64,
    },
    /// What a registered machine shows of itself is no longer what it was registered with: newer evidence was refused,
    /// or its parts have changed.
    Drifted(Refusal),
    /// The agent lives in a system on a drive, in this boot, and a fresh quote has proven which.
    Moved(Boot),
    /// What the machine booted from its drive is no system that is believed.
    Foreign(Refusal),
    /// The agent could not carry out its order.
    AgentFailed {
        /// What it says.
        why: String,
    },
    /// Time passed.
    Tick,
    /// The operator wants the host tried again from the start.
    Retry,
}

/// Why something was refused, in words for a technician.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Short name of the rule (`ek-taken`, `no-class`).
    pub rule: String,
    /// What was found, and what to do.
    pub text: String,
}

impl Refusal {
    /// The endorsement key is already another host's identity.
    #[must_use]
    pub fn ek_taken(by: &HostId) -> Self {
        Self {
            rule: "ek-taken".into(),
            text: format!(
                "this server's TPM endorsement key is already the identity of {by}; one TPM is one node. \
                 Look for a cloned TPM state or a moved TPM module, and retire the other host first"
            ),
        }
    }
}

impl From<&Rejection> for Refusal {
    fn from(why: &Rejection) -> Self {
        Self {
            rule: why.check.clone(),
            text: format!("{why}. Measured {}, expected {}", why.measured, why.expected),
        }
    }
}

impl Event {
    /// A line for the journal.  Holds no secret: events carry none.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Wanted => "enrolment wanted".into(),
            Self::PoweredOn(rung) => format!("switched on through the BMC, to boot by {}", rung.words()),
            Self::Hello(boot) => format!("agent said hello from boot {}", short(&boot.nonce)),
            Self::PowerLost => "the machine lost power".into(),
            Self::Inventory { inventory } => format!("inventory {}", short(inventory)),
            Self::Identity { identity } => format!("TPM identity {}", short(identity)),
            Self::ChallengeMade { .. } => "credential challenge made".into(),
            Self::IdentityRefused(why) | Self::Unfit(why) | Self::RegistrationRefused(why) => {
                format!("refused by {}: {}", why.rule, why.text)
            }
            Self::AnswerRight => "credential challenge answered".into(),
            Self::AnswerWrong => "credential challenge answered wrongly".into(),
            Self::Quoted { evidence } => format!("evidence {}", short(evidence)),
            Self::Attested(attested) => format!("attested as node {}", NodeId(attested.node())),
            Self::Bound(bound) => format!("bound as node {}", NodeId(bound.node())),
            Self::Rejected(why) => format!("evidence refused: {why}"),
            Self::Planned { steps, done } => {
                format!("burn-in of {steps} steps planned, {done} of them done before")
            }
            Self::StepDone { done } => format!("{done} burn-in steps done"),
            Self::BurnInDone { verdict, .. } => match verdict {
                Verdict::Pass { .. } => "burn-in passed".into(),
                Verdict::Fail { reasons } => format!("burn-in failed: {}", reasons.join("; ")),
                Verdict::Inconclusive { reasons } => format!("burn-in inconclusive: {}", reasons.join("; ")),
            },
            Self::Carved(carved) => format!("carved as class {}", carved.class),
            Self::Shaped => "made real: the kernel says what was planned".into(),
            Self::Priced(price) => format!("collateral {} at block {}", price.required, price.block),
            Self::Approved => "stake approved".into(),
            Self::Registered { transaction, block } => {
                format!("registered in block {block} by {}", short(transaction))
            }
            Self::Retired { by, transaction, block, .. } => {
                format!("retired in block {block} by {}, let go by {by}", short(transaction))
            }
            Self::Drifted(why) => format!("no longer what was registered, by {}: {}", why.rule, why.text),
            Self::Moved(boot) => format!("its own system runs in boot {}", short(&boot.nonce)),
            Self::Foreign(why) => format!("booted from its drive, by {}: {}", why.rule, why.text),
            Self::AgentFailed { why } => format!("agent failed: {why}"),
            Self::Tick => "tick".into(),
            Self::Retry => "operator asked to try again".into(),
        }
    }
}

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

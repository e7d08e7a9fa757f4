//! Where a host is.  Each stage holds what is true in it and nothing else; it is also the record in the store.

use appliance_model::{Digest, NodeId, Now};
use attest_verify::{Attested, Bound};
use serde::{Deserialize, Serialize};

use crate::registration::Price;

/// One boot of the machine, as its agent introduced itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Random per boot.
    pub nonce: Digest,
    /// When it said hello.
    pub at: Now,
}

/// What remains of an [`Attested`] in the store.  Made from the proof only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestedRecord {
    node: NodeId,
    evidence: Digest,
    reset_count: u32,
    tier: String,
}

/// What remains of a [`Bound`] in the store.  Made from the proof only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundRecord {
    node: NodeId,
    evidence: Digest,
    unit_root: Digest,
    tier: String,
}

/// The carve's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carved {
    /// Hardware class.
    pub class: String,
    /// Capacity in the class's own measure.
    pub capacity: u64,
    /// Units in the manifest.
    pub units: u32,
    /// Merkle root over them.
    pub unit_root: Digest,
}

/// Where a host is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum Stage {
    /// Known, not touched.
    Found,
    /// Power-on was ordered; the agent has not been heard.
    Booting {
        /// Counts the tries, from 1.
        attempt: u32,
        /// When the next try is due.
        until: Now,
    },
    /// The agent is up and takes the inventory.
    Discovering {
        /// Its boot.
        boot: Boot,
    },
    /// The agent reads the TPM's identity.
    Identifying {
        /// Its boot.
        boot: Boot,
    },
    /// The appliance checks the identity and makes a challenge.
    Challenging {
        /// The agent's boot.
        boot: Boot,
        /// Identity document.
        identity: Digest,
    },
    /// The TPM has to show that EK and AK are its own.
    Challenged {
        /// The agent's boot.
        boot: Boot,
        /// Identity document.
        identity: Digest,
        /// What the answer is bound to.
        transcript: Digest,
        /// When the challenge stops being good.
        until: Now,
    },
    /// EK and AK are bound; the boot has to be quoted.
    Admitting {
        /// The agent's boot.
        boot: Boot,
        /// Identity document.
        identity: Digest,
    },
    /// The quote is in; the appliance checks it.
    Verifying {
        /// The agent's boot.
        boot: Boot,
        /// Identity document.
        identity: Digest,
        /// The evidence under check.
        evidence: Digest,
    },
    /// The machine booted our image; the burn-in is planned.
    Admitted {
        /// The agent's boot.
        boot: Boot,
        /// The proof's record.
        attested: AttestedRecord,
    },
    /// The machine works.
    BurningIn {
        /// The agent's boot.
        boot: Boot,
        /// The proof's record.
        attested: AttestedRecord,
        /// Steps done, earlier boots included.
        done: u32,
        /// Steps in the plan.
        steps: u32,
    },
    /// It survived; units are being made.
    Carving {
        /// The agent's boot.
        boot: Boot,
        /// The proof's record.
        attested: AttestedRecord,
    },
    /// The agent makes the units real, and says what the kernel says of them.
    Shaping {
        /// The agent's boot.
        boot: Boot,
        /// The proof's record.
        attested: AttestedRecord,
        /// What was carved.
        carved: Carved,
    },
    /// The TPM has to sign the statement for registration.
    Binding {
        /// The agent's boot.
        boot: Boot,
        /// The proof's record.
        attested: AttestedRecord,
        /// What was carved.
        carved: Carved,
    },
    /// The statement is signed; the appliance checks the evidence.
    Sealing {
        /// The agent's boot.
        boot: Boot,
        /// The proof's record.
        attested: AttestedRecord,
        /// What was carved.
        carved: Carved,
        /// The evidence under check.
        evidence: Digest,
    },
    /// Everything is signed; the chain's terms are read.
    Pricing {
        /// The proof's record.
        bound: BoundRecord,
        /// What was carved.
        carved: Carved,
    },
    /// The stake waits for a person, or for funds.
    Approving {
        /// The proof's record.
        bound: BoundRecord,
        /// What was carved.
        carved: Carved,
        /// What it costs.
        price: Price,
    },
    /// The registration is on its way to the chain.
    Registering {
        /// The proof's record.
        bound: BoundRecord,
        /// What was carved.
        carved: Carved,
        /// What it costs.
        price: Price,
    },
    /// A ScalerNode.
    Registered {
        /// The proof's record.
        bound: BoundRecord,
        /// What was carved.
        carved: Carved,
        /// What was staked.
        price: Price,
        /// Transaction hash.
        transaction: Digest,
        /// Block number.
        block: u64,
    },
    /// It was a ScalerNode until its commitment was over and it was let go.  Its TPM is no node again.
    Retired {
        /// The node it was.
        node: NodeId,
        /// Who let it go.
        by: String,
        /// Hash of the transaction that retired it.
        transaction: Digest,
        /// Block number.
        block: u64,
    },
    /// Something is wrong with this machine, and a person has to look.
    Quarantined {
        /// The stage it was in.
        was: String,
        /// Name of the rule or check.
        rule: String,
        /// What was found and what to do.
        why: String,
    },
}

/// What the agent of a host in this stage is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Ask again.
    Wait,
    /// Take an inventory.
    Inventory,
    /// Show EK and AK.
    Identify,
    /// Open the credential.
    Activate,
    /// Quote for admission.
    QuoteAdmission,
    /// Run the burn-in.
    BurnIn,
    /// Make the units real.
    Carve,
    /// Quote for registration.
    QuoteRegistration,
}

impl Stage {
    /// The stage's name, as shown and stored.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Booting { .. } => "booting",
            Self::Discovering { .. } => "discovering",
            Self::Identifying { .. } => "identifying",
            Self::Challenging { .. } => "challenging",
            Self::Challenged { .. } => "challenged",
            Self::Admitting { .. } => "admitting",
            Self::Verifying { .. } => "verifying",
            Self::Admitted { .. } => "admitted",
            Self::BurningIn { .. } => "burning-in",
            Self::Carving { .. } => "carving",
            Self::Shaping { .. } => "shaping",
            Self::Binding { .. } => "binding",
            Self::Sealing { .. } => "sealing",
            Self::Pricing { .. } => "pricing",
            Self::Approving { .. } => "approving",
            Self::Registering { .. } => "registering",
            Self::Registered { .. } => "registered",
            Self::Retired { .. } => "retired",
            Self::Quarantined { .. } => "quarantined",
        }
    }

    /// What the agent should do now.
    #[must_use]
    pub fn order(&self) -> Order {
        match self {
            Self::Discovering { .. } => Order::Inventory,
            Self::Identifying { .. } => Order::Identify,
            Self::Challenged { .. } => Order::Activate,
            Self::Admitting { .. } => Order::QuoteAdmission,
            Self::BurningIn { .. } => Order::BurnIn,
            Self::Shaping { .. } => Order::Carve,
            Self::Binding { .. } => Order::QuoteRegistration,
            Self::Found
            | Self::Booting { .. }
            | Self::Challenging { .. }
            | Self::Verifying { .. }
            | Self::Admitted { .. }
            | Self::Carving { .. }
            | Self::Sealing { .. }
            | Self::Pricing { .. }
            | Self::Approving { .. }
            | Self::Registering { .. }
            | Self::Registered { .. }
            | Self::Retired { .. }
            | Self::Quarantined { .. } => Order::Wait,
        }
    }

    /// Whether this is a ScalerNode, or was one until it drifted or left: then HyperNodes may challenge it.
    #[must_use]
    pub fn answers_verifiers(&self) -> bool {
        match self {
            Self::Registered { .. } | Self::Retired { .. } => true,
            Self::Quarantined { was, .. } => was == "registered",
            Self::Found
            | Self::Booting { .. }
            | Self::Discovering { .. }
            | Self::Identifying { .. }
            | Self::Challenging { .. }
            | Self::Challenged { .. }
            | Self::Admitting { .. }
            | Self::Verifying { .. }
            | Self::Admitted { .. }
            | Self::BurningIn { .. }
            | Self::Carving { .. }
            | Self::Shaping { .. }
            | Self::Binding { .. }
            | Self::Sealing { .. }
            | Self::Pricing { .. }
            | Self::Approving { .. }
            | Self::Registering { .. } => false,
        }
    }

    /// Whether attestors may have its TPM open a credential: it waits for its registration, or is registered.  Before
    /// that its agent works, and has no time for strangers.
    #[must_use]
    pub fn answers_attestors(&self) -> bool {
        let waits = matches!(self, Self::Pricing { .. } | Self::Approving { .. } | Self::Registering { .. });
        waits || self.answers_verifiers()
    }

    /// The boot whose agent this stage relies on, if it relies on one.
    #[must_use]
    pub fn boot(&self) -> Option<&Boot> {
        match self {
            Self::Discovering { boot }
            | Self::Identifying { boot }
            | Self::Challenging { boot, .. }
            | Self::Challenged { boot, .. }
            | Self::Admitting { boot, .. }
            | Self::Verifying { boot, .. }
            | Self::Admitted { boot, .. }
            | Self::BurningIn { boot, .. }
            | Self::Carving { boot, .. }
            | Self::Shaping { boot, .. }
            | Self::Binding { boot, .. }
            | Self::Sealing { boot, .. } => Some(boot),
            Self::Found
            | Self::Booting { .. }
            | Self::Pricing { .. }
            | Self::Approving { .. }
            | Self::Registering { .. }
            | Self::Registered { .. }
            | Self::Retired { .. }
            | Self::Quarantined { .. } => None,
        }
    }

    /// The node this host is, once that is proven.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Self::Admitted { attested, .. }
            | Self::BurningIn { attested, .. }
            | Self::Carving { attested, .. }
            | Self::Shaping { attested, .. }
            | Self::Binding { attested, .. }
            | Self::Sealing { attested, .. } => Some(attested.node),
            Self::Pricing { bound, .. }
            | Self::Approving { bound, .. }
            | Self::Registering { bound, .. }
            | Self::Registered { bound, .. } => Some(bound.node),
            Self::Retired { node, .. } => Some(*node),
            Self::Found
            | Self::Booting { .. }
            | Self::Discovering { .. }
            | Self::Identifying { .. }
            | Self::Challenging { .. }
            | Self::Challenged { .. }
            | Self::Admitting { .. }
            | Self::Verifying { .. }
            | Self::Quarantined { .. } => None,
        }
    }
}

impl From<&Attested> for AttestedRecord {
    fn from(proof: &Attested) -> Self {
        Self {
            node: NodeId(proof.node()),
            evidence: Digest(proof.evidence_digest()),
            reset_count: proof.reset_count(),
            tier: proof.tier().to_string(),
        }
    }
}

impl AttestedRecord {
    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Digest of the admission evidence.
    #[must_use]
    pub fn evidence(&self) -> Digest {
        self.evidence
    }
}

impl From<&Bound> for BoundRecord {
    fn from(proof: &Bound) -> Self {
        Self {
            node: NodeId(proof.node()),
            evidence: Digest(proof.attested().evidence_digest()),
            unit_root: Digest(proof.unit_root()),
            tier: proof.tier().to_string(),
        }
    }
}

impl BoundRecord {
    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Digest of the registration evidence.
    #[must_use]
    pub fn evidence(&self) -> Digest {
        self.evidence
    }

    /// Trust tier as words (`T1`).
    #[must_use]
    pub fn tier(&self) -> &str {
        &self.tier
    }
}

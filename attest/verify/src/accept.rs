//! Proofs as types: [`Attested`] is evidence in which no check failed, [`Bound`] one that may be registered.
//!
//! Their fields are private and nothing else makes them: who holds one knows that the checks were made.

use attest_evidence::{Nonce, Purpose, Statement, Target};

use crate::{LastSeen, Rejection, Tier};

/// What was found while judging; becomes [`Attested`] if no check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) statement: Statement,
    pub(crate) ak_xy: [u8; 64],
    pub(crate) ek_name: Vec<u8>,
    pub(crate) ek_public: [u8; 32],
    pub(crate) ek_certificate: [u8; 32],
    pub(crate) seen: LastSeen,
    pub(crate) image: Option<String>,
    pub(crate) challengers: usize,
    pub(crate) board: bool,
    pub(crate) has_unit_root: bool,
}

impl Proven {
    /// Says which file it was.
    pub(crate) fn name(&mut self, evidence: [u8; 32]) {
        self.seen.evidence = evidence;
    }
}

/// Evidence in which no check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    proven: Proven,
    tier: Tier,
}

impl Attested {
    pub(crate) fn new(proven: Proven, tier: Tier) -> Self {
        Self { proven, tier }
    }

    /// Node id.
    #[must_use]
    pub fn node(&self) -> [u8; 32] {
        self.proven.statement.node
    }

    /// TPM Name of the attestation key.
    #[must_use]
    pub fn ak_name(&self) -> &[u8] {
        &self.proven.statement.ak_name
    }

    /// The attestation key's P-256 point, x ‖ y.
    #[must_use]
    pub fn ak_xy(&self) -> [u8; 64] {
        self.proven.ak_xy
    }

    /// TPM Name of the endorsement key.
    #[must_use]
    pub fn ek_name(&self) -> &[u8] {
        &self.proven.ek_name
    }

    /// SHA-256 of the endorsement key's TPMT_PUBLIC.
    #[must_use]
    pub fn ek_public_digest(&self) -> [u8; 32] {
        self.proven.ek_public
    }

    /// SHA-256 of the endorsement key's certificate.
    #[must_use]
    pub fn ek_certificate_digest(&self) -> [u8; 32] {
        self.proven.ek_certificate
    }

    /// SHA-256 of the evidence file.
    #[must_use]
    pub fn evidence_digest(&self) -> [u8; 32] {
        self.proven.seen.evidence
    }

    /// The statement that the TPM signed.
    #[must_use]
    pub fn statement(&self) -> &Statement {
        &self.proven.statement
    }

    /// The nonce.
    #[must_use]
    pub fn nonce(&self) -> &Nonce {
        &self.proven.statement.nonce
    }

    /// The TPM's count of resets.
    #[must_use]
    pub fn reset_count(&self) -> u32 {
        self.proven.seen.reset_count
    }

    /// Name of the known image that was booted; `None` if the policy knows none.
    #[must_use]
    pub fn image(&self) -> Option<&str> {
        self.proven.image.as_deref()
    }

    /// What to keep, to judge this node's next evidence by.
    #[must_use]
    pub fn last_seen(&self) -> &LastSeen {
        &self.proven.seen
    }

    /// What may be claimed.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Turns it into what may be registered.
    ///
    /// # Errors
    /// Names what a registration needs and this evidence lacks: purpose and target, inventory, burn-in report and
    /// manifest, a known image, at least one known challenger's binding statement.
    pub fn bind(self) -> Result<Bound, Rejection> {
        let lacking = |check: &str, what: &str| Rejection {
            check: check.to_owned(),
            what: what.to_owned(),
            measured: String::new(),
            expected: String::new(),
        };
        let Purpose::Registration { target, unit_root, .. } = self.proven.statement.purpose else {
            return Err(lacking("purpose", "the TPM signed for an admission, not for a registration"));
        };
        let (Some(inventory), Some(burn_in)) =
            (self.proven.statement.inventory, self.proven.statement.burn_in)
        else {
            return Err(lacking(
                "attachments",
                "a registration needs an inventory and a burn-in report, and the TPM did not sign for both",
            ));
        };
        if !self.proven.has_unit_root {
            return Err(lacking("unit-root", "the unit root was not recomputed from a manifest"));
        }
        if self.proven.image.is_none() {
            return Err(lacking("reference", "the image that the machine booted was not judged"));
        }
        if self.proven.challengers == 0 {
            return Err(lacking(
                "bindings",
                "no known challenger says that this attestation key sits in the TPM with this endorsement key",
            ));
        }
        Ok(Bound { attested: self, target, unit_root, inventory, burn_in })
    }
}

/// Evidence that may be registered: for one registry, one operator, one set of units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    attested: Attested,
    target: Target,
    unit_root: [u8; 32],
    inventory: [u8; 32],
    burn_in: [u8; 32],
}

impl Bound {
    /// Everything else that was proven.
    #[must_use]
    pub fn attested(&self) -> &Attested {
        &self.attested
    }

    /// Node id.
    #[must_use]
    pub fn node(&self) -> [u8; 32] {
        self.attested.node()
    }

    /// Where it may be registered.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target
    }

    /// Merkle root of the units.
    #[must_use]
    pub fn unit_root(&self) -> [u8; 32] {
        self.unit_root
    }

    /// SHA-256 of the inventory.
    #[must_use]
    pub fn inventory_digest(&self) -> [u8; 32] {
        self.inventory
    }

    /// SHA-256 of the burn-in report.
    #[must_use]
    pub fn burn_in_digest(&self) -> [u8; 32] {
        self.burn_in
    }

    /// What may be claimed.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.attested.tier()
    }
}

//! A signed policy over PCR 11, as `systemd-measure` makes it and `systemd-cryptsetup` reads it.
//!
//! What is encrypted to the TPM opens for every image whose PCR 11 the key has signed: the next release's too, and no
//! other.  The value is the boot stub's own final one: nothing in our images extends PCR 11 after it.
//! Sections: `.pcrpkey` is the public key (measured into PCR 11), `.pcrsig` the signature (not measured).

use base64::Engine as _;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::key::{Key, KeyError};

/// The PCR that the boot stub measures the sections of a UKI into.
pub const POLICY_PCR: u8 = 11;

/// TPM 2.0 part 2, table 12: `TPM_CC_PolicyPCR`.
const COMMAND_POLICY_PCR: u32 = 0x17f;
/// TPM 2.0 part 2, table 9: `TPM_ALG_SHA256`.
const ALGORITHM_SHA256: u16 = 0x000b;

/// The key that vouches for a site's host images to their own TPMs.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// RSA-2048.
    pub key: &'a Key,
}

impl Policy<'_> {
    /// Content of `.pcrpkey`.
    ///
    /// # Errors
    /// If the key is damaged.
    pub fn public_key(&self) -> Result<String, KeyError> {
        self.key.public_pem()
    }

    /// Content of `.pcrsig` for an image after which PCR 11 of the SHA-256 bank holds `pcr11`.
    ///
    /// # Errors
    /// If the key is damaged.
    pub fn signature(&self, pcr11: &[u8; 32]) -> Result<String, KeyError> {
        let digest = policy_digest(pcr11);
        let entry = json!({
            "pcrs": [POLICY_PCR],
            "pkfp": hex::encode(self.key.fingerprint()?),
            "pol": hex::encode(digest),
            "sig": base64::engine::general_purpose::STANDARD.encode(self.key.sign(&digest)?),
        });
        Ok(json!({ "sha256": [entry] }).to_string())
    }
}

/// The digest of a fresh policy session after `TPM2_PolicyPCR` of PCR 11, SHA-256 (TPM 2.0 part 3, 23.7).
#[must_use]
pub fn policy_digest(pcr11: &[u8; 32]) -> [u8; 32] {
    let bit = 1 << (POLICY_PCR % 8);
    let mut hash = Sha256::new();
    hash.update([0; 32]);
    hash.update(COMMAND_POLICY_PCR.to_be_bytes());
    hash.update(1_u32.to_be_bytes());
    hash.update(ALGORITHM_SHA256.to_be_bytes());
    hash.update([3, 0, bit, 0]);
    hash.update(Sha256::digest(pcr11));
    hash.finalize().into()
}

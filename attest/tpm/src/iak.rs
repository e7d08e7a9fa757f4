//! The board's own word: an initial attestation key (IAK) whose certificate came with the board certifies that the
//! attestation key is in the same TPM (TCG "TPM 2.0 Keys for Device Identity and Attestation").
//!
//! Most machines have none.  Whether the certificate is worth anything is for `attest/verify` to say.

use attest_wire::{Attest, Body, Hierarchy, Name, Public, PublicKey, Signature, Writer, templates::Template};

use crate::{
    Ak, NvCertificate, Tpm, TpmError,
    command::{Auth, CERTIFY, CREATE_PRIMARY},
    keys::{ALG_NULL, quoted},
};

/// A board key.  Holds no handle: using it loads it where it is not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iak {
    template: Template,
    public: Public,
}

/// What a board key signed about an attestation key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certification {
    /// What was signed: [`Attest::raw`] goes into evidence.
    pub attest: Attest,
    /// The signature over it: [`Signature::raw`] goes into evidence.
    pub signature: Signature,
}

impl Iak {
    /// Which key it is.
    #[must_use]
    pub const fn template(&self) -> Template {
        self.template
    }

    /// Its public area.
    #[must_use]
    pub const fn public(&self) -> &Public {
        &self.public
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Name {
        self.public.name()
    }

    /// Whether `der` holds this key's point: enough to choose among a TPM's certificates, and no check of any.
    #[must_use]
    pub fn is_named_by(&self, der: &[u8]) -> bool {
        let PublicKey::Ecc { curve, x, y, .. } = self.public.key() else { return false };
        let bytes = curve.coordinate_bytes();
        let whole = |number: &[u8]| [vec![0; bytes.saturating_sub(number.len())], number.to_vec()].concat();
        let point = [whole(x), whole(y)].concat();
        der.windows(point.len()).any(|window| window == point)
    }
}

impl Tpm {
    /// Makes the TPM derive a board key ([`Template::IakP256`] or [`Template::IakP384`]).
    ///
    /// # Errors
    /// When `template` is not a board key's, or the TPM has no such key ([`TpmError::Refused`]).
    pub fn create_iak(&mut self, template: Template) -> Result<Iak, TpmError> {
        match template {
            Template::IakP256 | Template::IakP384 => {}
            Template::EkRsa2048 | Template::EkP256 | Template::EkP384 | Template::AkP256 => {
                return Err(TpmError::Unexpected {
                    command: CREATE_PRIMARY.name,
                    asked: "a board key by another key's template".into(),
                    answered: "nothing: call create_ek or create_ak".into(),
                });
            }
        }
        self.create(template).map(|(_, public)| Iak { template, public })
    }

    /// The board key that one of `certificates` names, with that certificate first and the others behind it; `None`
    /// where there is no certificate or none of a key that this TPM has.
    pub fn certified_iak(&mut self, certificates: &[NvCertificate]) -> Option<(Iak, Vec<Vec<u8>>)> {
        if certificates.is_empty() {
            return None;
        }
        for template in [Template::IakP256, Template::IakP384] {
            let Ok(iak) = self.create_iak(template) else { continue };
            let Some(own) = certificates.iter().position(|found| iak.is_named_by(&found.der)) else {
                continue;
            };
            let mut chain: Vec<Vec<u8>> = certificates.iter().map(|found| found.der.clone()).collect();
            chain.swap(0, own);
            return Some((iak, chain));
        }
        None
    }

    /// TPM2_Certify: `iak` signs that `ak` is an object of this TPM, with `qualifying` as extraData.
    ///
    /// # Errors
    /// When the TPM refuses, or certifies something else.
    pub fn certify(&mut self, iak: &Iak, ak: &Ak, qualifying: &[u8; 32]) -> Result<Certification, TpmError> {
        let (ak_handle, iak_handle) =
            self.load_both((Template::AkP256, ak.public()), (iak.template, &iak.public))?;
        let parameters = Writer::new(64).sized("qualifyingData", qualifying).u16("inScheme", ALG_NULL);
        let auths = [Auth::Empty, Auth::Empty];
        let (attest, signature) = self.ask(CERTIFY, &[ak_handle, iak_handle], &auths, parameters, quoted)?;
        let certified = match &attest.body {
            Body::Certify { name, .. } => *name == ak.name(),
            Body::Quote { .. } => false,
        };
        let signer = attest.qualified_signer == iak.name().qualified(Hierarchy::Endorsement);
        if certified && signer && attest.extra_data == qualifying {
            return Ok(Certification { attest, signature });
        }
        // This guards against a confused TPM or driver: nobody relies on it, verifiers check everything again.
        Err(TpmError::Unexpected {
            command: CERTIFY.name,
            asked: "the board key's word about the attestation key".into(),
            answered: format!("about this key: {certified}, by the board key: {signer}"),
        })
    }
}

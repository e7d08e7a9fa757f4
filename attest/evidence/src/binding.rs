//! Binding statements: a challenger's signed word that this endorsement key activated this attestation key.
//!
//! Who ran the credential challenge knows the secret, so a transcript convinces nobody else; what a third party can
//! use is the challenger's signature, and policy asks for k of n challengers.  Form: COSE_Sign1 (RFC 9052) with ES256,
//! tagged 18.  Signing is the caller's: [`Binding::to_be_signed`] says what, [`Binding::envelope`] takes the result.

use crate::cbor::{self, Error, Fault, Value};

/// The largest binding statement that is read, bytes; one has about 320.
pub const BINDING_BYTES_MAX: usize = 2048;
const PROFILE: &str = "scalerforge/binding/v1";
/// RFC 9052, 4.2: COSE_Sign1.
const TAG_SIGN1: u64 = 18;
/// Encoded `{1: -7}`: algorithm ES256 (RFC 9053, 2.1).
const PROTECTED: [u8; 3] = [0xa1, 0x01, 0x26];

/// What a challenger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// SHA-256 of the EK certificate's DER.
    pub ek_certificate: [u8; 32],
    /// TPM Name of the attestation key that activated the credential.
    pub ak_name: Vec<u8>,
    /// Node id.
    pub node: [u8; 32],
    /// TPM firmware version as the TPM says (`TPM_PT_FIRMWARE_VERSION_1` in the upper half).
    pub tpm_firmware: u64,
    /// When the challenge was answered, seconds since 1970.
    pub time: u64,
    /// Who says so: P-256 public key, x ‖ y.
    pub challenger: [u8; 64],
}

/// A binding statement with its signature, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBinding {
    /// What is said.
    pub binding: Binding,
    /// ECDSA signature over SHA-256 of `signed`, r ‖ s.
    pub signature: [u8; 64],
    /// The bytes that were signed (COSE `Sig_structure`).
    pub signed: Vec<u8>,
}

impl Binding {
    fn payload(&self) -> Vec<u8> {
        cbor::map([
            (1, Some(cbor::text(PROFILE))),
            (2, Some(cbor::bytes(&self.ek_certificate))),
            (3, Some(cbor::bytes(&self.ak_name))),
            (4, Some(cbor::bytes(&self.node))),
            (5, Some(cbor::unsigned(self.tpm_firmware))),
            (6, Some(cbor::unsigned(self.time))),
            (7, Some(cbor::bytes(&self.challenger))),
        ])
    }

    /// The bytes to sign with ES256: COSE `Sig_structure` with empty external data.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        sig_structure(&self.payload())
    }

    /// The COSE_Sign1 file from the signature (r ‖ s) over [`Binding::to_be_signed`].
    #[must_use]
    pub fn envelope(&self, signature: &[u8; 64]) -> Vec<u8> {
        let parts =
            [cbor::bytes(&PROTECTED), cbor::map([]), cbor::bytes(&self.payload()), cbor::bytes(signature)];
        cbor::tag(TAG_SIGN1, &cbor::array(&parts))
    }

    /// Signs with a closure that returns r ‖ s over the bytes it is given.
    ///
    /// # Errors
    /// Whatever the closure says.
    pub fn sign_with<E>(&self, sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>) -> Result<Vec<u8>, E> {
        Ok(self.envelope(&sign(&self.to_be_signed())?))
    }
}

impl SignedBinding {
    /// Reads a COSE_Sign1 binding statement.  The signature is *not* verified here.
    ///
    /// # Errors
    /// Anything but exactly one binding statement of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > BINDING_BYTES_MAX {
            return Err(Error::new(BINDING_BYTES_MAX, "binding", Fault::TooLarge(BINDING_BYTES_MAX)));
        }
        let item = cbor::decode(bytes)?;
        let offset = item.offset;
        let wrong = |what| Error::new(offset, "binding", Fault::Expected(what));
        let Value::Tag(TAG_SIGN1, inner) = item.value else { return Err(wrong("a COSE_Sign1 with tag 18")) };
        let parts: [cbor::Item<'_>; 4] =
            inner.array("binding")?.try_into().map_err(|_| wrong("a COSE_Sign1: four parts"))?;
        let [protected, unprotected, payload, signature] = parts;
        if protected.bytes("binding.protected")? != PROTECTED {
            return Err(Error::new(protected.offset, "binding.protected", Fault::Expected("{1: -7}: ES256")));
        }
        unprotected.fields("binding.unprotected")?.finish()?;
        let payload = payload.bytes("binding.payload")?;
        Ok(Self {
            binding: Binding::of(payload)?,
            signature: signature.fixed("binding.signature")?,
            signed: sig_structure(payload),
        })
    }
}

impl Binding {
    fn of(payload: &[u8]) -> Result<Self, Error> {
        let mut fields = cbor::decode(payload)?.fields("binding")?;
        let profile = fields.required(1, "binding.profile")?;
        if profile.text("binding.profile")? != PROFILE {
            return Err(Error::new(profile.offset, "binding.profile", Fault::Expected(PROFILE)));
        }
        let binding = Self {
            ek_certificate: fields.required(2, "binding.ek-certificate")?.fixed("binding.ek-certificate")?,
            ak_name: fields.required(3, "binding.ak-name")?.bytes("binding.ak-name")?.to_vec(),
            node: fields.required(4, "binding.node-id")?.fixed("binding.node-id")?,
            tpm_firmware: fields.required(5, "binding.tpm-firmware")?.unsigned("binding.tpm-firmware")?,
            time: fields.required(6, "binding.time")?.unsigned("binding.time")?,
            challenger: fields.required(7, "binding.challenger")?.fixed("binding.challenger")?,
        };
        fields.finish()?;
        Ok(binding)
    }
}

fn sig_structure(payload: &[u8]) -> Vec<u8> {
    cbor::array(&[cbor::text("Signature1"), cbor::bytes(&PROTECTED), cbor::bytes(&[]), cbor::bytes(payload)])
}

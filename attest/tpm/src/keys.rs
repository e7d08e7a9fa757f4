//! Endorsement and attestation keys: made from the endorsement seed, the same after every reboot, stored nowhere.

use attest_wire::{
    Attest, Body, HashAlg, Hierarchy, Name, PcrSelections, Public, Reader, Signature, WireError, Writer,
};
use attest_wire::{PUBLIC_BYTES_MAX, SIGNATURE_BYTES_MAX, templates::Template};

use crate::{
    ResponseCode, Tpm, TpmError,
    command::{ACTIVATE_CREDENTIAL, Auth, CREATE_PRIMARY, POLICY_SECRET, QUOTE, START_AUTH_SESSION},
    pcr,
    tpm::parameters_of,
};

/// How often a quote is made again because a PCR changed between it and the reading of the values.
pub const QUOTE_TRIES_MAX: u32 = 8;

const RH_NULL: u32 = 0x4000_0007;
pub(crate) const ALG_NULL: u16 = 0x0010;
const SESSION_POLICY: u8 = 1;

/// An endorsement key.  Holds no handle: using it loads it where it is not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ek {
    template: Template,
    public: Public,
}

/// The attestation key.  Holds no handle either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ak {
    public: Public,
}

/// A quote and the values it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// What was signed: [`Attest::raw`] goes into evidence.
    pub attest: Attest,
    /// The signature over it: [`Signature::raw`] goes into evidence.
    pub signature: Signature,
    /// Values of the SHA-256 bank, ascending; the quote's pcrDigest is the digest over exactly these.
    pub pcrs: Vec<(u8, [u8; 32])>,
}

impl Ek {
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
}

impl Ak {
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
}

impl Tpm {
    /// Makes the TPM derive an endorsement key ([`Template::EkRsa2048`], [`Template::EkP256`] or [`Template::EkP384`]).
    ///
    /// # Errors
    /// When `template` is not an endorsement key's, or the TPM has no such key ([`TpmError::Refused`]).
    pub fn create_ek(&mut self, template: Template) -> Result<Ek, TpmError> {
        match template {
            Template::EkRsa2048 | Template::EkP256 | Template::EkP384 => {}
            Template::AkP256 | Template::IakP256 | Template::IakP384 => {
                return Err(TpmError::Unexpected {
                    command: CREATE_PRIMARY.name,
                    asked: "an endorsement key by the template of a signing key".into(),
                    answered: "nothing: call create_ak or create_iak".into(),
                });
            }
        }
        let (_, public) = self.create(template)?;
        Ok(Ek { template, public })
    }

    /// All endorsement keys this TPM can make, and why it could not make the others.
    pub fn create_eks(&mut self) -> (Vec<Ek>, Vec<(Template, TpmError)>) {
        let (mut made, mut failed) = (Vec::new(), Vec::new());
        for template in [Template::EkRsa2048, Template::EkP256, Template::EkP384] {
            match self.create_ek(template) {
                Ok(ek) => made.push(ek),
                Err(error) => failed.push((template, error)),
            }
        }
        (made, failed)
    }

    /// Makes the TPM derive the attestation key.
    ///
    /// # Errors
    /// When the TPM refuses or makes another key.
    pub fn create_ak(&mut self) -> Result<Ak, TpmError> {
        self.create(Template::AkP256).map(|(_, public)| Ak { public })
    }

    /// TPM2_ActivateCredential: recovers the secret of a credential made for this `ek` and this `ak`.
    /// `credential_blob` is a TPM2B_ID_OBJECT, `encrypted_secret` a TPM2B_ENCRYPTED_SECRET, length fields included.
    ///
    /// # Errors
    /// [`ResponseCode::INTEGRITY`] when the credential was made for other keys; [`TpmError::Unexpected`] when the
    /// secret is not 32 bytes long.
    pub fn activate(
        &mut self,
        ek: &Ek,
        ak: &Ak,
        credential_blob: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<[u8; 32], TpmError> {
        let broken = |source| TpmError::Command { command: ACTIVATE_CREDENTIAL.name, source };
        one_sized("credentialBlob", credential_blob).map_err(broken)?;
        one_sized("secret", encrypted_secret).map_err(broken)?;
        let (ek_handle, ak_handle) =
            self.load_both((ek.template, &ek.public), (Template::AkP256, &ak.public))?;
        // An H key may be used by its empty password; an L key only under PolicyA.
        let session = match ek.template {
            Template::EkRsa2048 | Template::EkP256 => Some(self.policy_session()?),
            Template::EkP384 | Template::AkP256 | Template::IakP256 | Template::IakP384 => None,
        };
        let parameters =
            Writer::new(2048).bytes("credentialBlob", credential_blob).bytes("secret", encrypted_secret);
        let auths = [Auth::Empty, session.map_or(Auth::Empty, Auth::Policy)];
        let secret = self.ask(ACTIVATE_CREDENTIAL, &[ak_handle, ek_handle], &auths, parameters, |reader| {
            reader.sized("certInfo", 64).map(<[u8]>::to_vec)
        });
        let flushed = session.map_or(Ok(()), |session| self.flush(session));
        let secret = secret?;
        flushed?;
        <[u8; 32]>::try_from(secret.as_slice()).map_err(|_| TpmError::Unexpected {
            command: ACTIVATE_CREDENTIAL.name,
            asked: "a secret of 32 bytes".into(),
            answered: format!("one of {} bytes", secret.len()),
        })
    }

    /// Quotes SHA-256 PCRs with `qualifying` as extraData, and reads the values the quote is over.
    ///
    /// # Errors
    /// When the TPM refuses, quotes something else, or PCRs change during each of [`QUOTE_TRIES_MAX`] tries.
    pub fn quote(&mut self, ak: &Ak, qualifying: &[u8; 32], pcrs: &[u8]) -> Result<Quote, TpmError> {
        let handle = self.load(Template::AkP256, &ak.public)?;
        let selection = PcrSelections::one(pcr::sha256(pcrs, QUOTE.name)?)
            .map_err(|source| TpmError::Command { command: QUOTE.name, source })?;
        for _ in 0..QUOTE_TRIES_MAX {
            let parameters = Writer::new(128)
                .sized("qualifyingData", qualifying)
                .u16("inScheme", ALG_NULL)
                .bytes("PCRselect", selection.raw());
            let (attest, signature) = self.ask(QUOTE, &[handle], &[Auth::Empty], parameters, quoted)?;
            let digest = answers(&attest, ak, qualifying, &selection)?;
            let pcrs = self.pcr_read(pcrs)?;
            let values: Vec<&[u8]> = pcrs.iter().map(|(_, value)| value.as_slice()).collect();
            if HashAlg::Sha256.digest(&values) == digest {
                return Ok(Quote { attest, signature, pcrs });
            }
        }
        Err(TpmError::Unexpected {
            command: QUOTE.name,
            asked: "a quote and the values it is over".into(),
            answered: format!("values that differ from the quote's, {QUOTE_TRIES_MAX} times"),
        })
    }

    /// The handles of two keys.  Loading the second one may have cost the first its place; two have room.
    pub(crate) fn load_both(
        &mut self,
        first: (Template, &Public),
        second: (Template, &Public),
    ) -> Result<(u32, u32), TpmError> {
        self.load(first.0, first.1)?;
        let other = self.load(second.0, second.1)?;
        Ok((self.load(first.0, first.1)?, other))
    }

    /// The handle of a key, loaded if it is not; the TPM must still make the same one.
    fn load(&mut self, template: Template, public: &Public) -> Result<u32, TpmError> {
        if let Some((_, handle)) = self.loaded.iter().find(|(loaded, _)| *loaded == template) {
            return Ok(*handle);
        }
        let (handle, made) = self.create(template)?;
        if made == *public {
            Ok(handle)
        } else {
            Err(TpmError::Unexpected {
                command: CREATE_PRIMARY.name,
                asked: format!("the key named {}", public.name()),
                answered: format!("the key named {}; was the TPM cleared meanwhile?", made.name()),
            })
        }
    }

    /// TPM2_CreatePrimary in the endorsement hierarchy.  The key replaces what was loaded by the same template.
    pub(crate) fn create(&mut self, template: Template) -> Result<(u32, Public), TpmError> {
        if let Some(at) = self.loaded.iter().position(|(loaded, _)| *loaded == template) {
            let (_, handle) = self.loaded.swap_remove(at);
            self.flush(handle)?;
        }
        let made = match self.create_primary(template) {
            Err(error) if error.code().map(ResponseCode::plain) == Some(ResponseCode::OBJECT_MEMORY) => {
                self.release()?;
                self.create_primary(template)
            }
            other => other,
        };
        let (handle, public) = made?;
        self.loaded.push((template, handle));
        Ok((handle, public))
    }

    fn create_primary(&mut self, template: Template) -> Result<(u32, Public), TpmError> {
        let parameters = no_secret(&template.public());
        let endorsement = Hierarchy::Endorsement.handle();
        let response = self.send(CREATE_PRIMARY, &[endorsement], &[Auth::Empty], parameters)?;
        let made = parameters_of(CREATE_PRIMARY, &response, created).and_then(|(public, name)| {
            let wrong = template.differs(&public).or((public.name() != name).then_some("name"));
            match wrong {
                None => Ok((response.handle, public)),
                Some(field) => Err(TpmError::Unexpected {
                    command: CREATE_PRIMARY.name,
                    asked: format!("a key by template {template:?}"),
                    answered: format!("one with another {field}"),
                }),
            }
        });
        if made.is_err() {
            // The key is of no use; that it could not be unloaded is the smaller trouble.
            let _ = self.flush(response.handle);
        }
        made
    }

    /// A session that satisfies PolicyA: the right to use the endorsement hierarchy, shown by its empty password.
    fn policy_session(&mut self) -> Result<u32, TpmError> {
        // The nonce protects HMACs; a policy session without one uses it for nothing, so it need not be random.
        let parameters = Writer::new(64)
            .sized("nonceCaller", &[0x5f; 16])
            .sized("encryptedSalt", &[])
            .u8("sessionType", SESSION_POLICY)
            .u16("symmetric", ALG_NULL)
            .u16("authHash", HashAlg::Sha256.id().0);
        let response = self.send(START_AUTH_SESSION, &[RH_NULL, RH_NULL], &[], parameters)?;
        let session = response.handle;
        let parameters = Writer::new(16)
            .sized("nonceTPM", &[])
            .sized("cpHashA", &[])
            .sized("policyRef", &[])
            .u32("expiration", 0);
        let handles = [Hierarchy::Endorsement.handle(), session];
        match self.send(POLICY_SECRET, &handles, &[Auth::Empty], parameters) {
            Ok(_) => Ok(session),
            Err(error) => {
                let _ = self.flush(session);
                Err(error)
            }
        }
    }
}

/// TPM2_CreatePrimary's parameters for a key that the TPM makes by itself.
pub(crate) fn no_secret(public: &[u8]) -> Writer {
    // An empty password and no data: TPMS_SENSITIVE_CREATE is two empty TPM2Bs.
    Writer::new(1024)
        .sized("inSensitive", &[0, 0, 0, 0])
        .sized("inPublic", public)
        .sized("outsideInfo", &[])
        .u32("creationPCR", 0)
}

/// outPublic and name of a created key; creation data, hash and ticket are not needed for a primary key.
fn created(reader: &mut Reader<'_>) -> Result<(Public, Name), WireError> {
    let mut inner = reader.sized_reader("outPublic", PUBLIC_BYTES_MAX)?;
    let public = Public::read(&mut inner)?;
    inner.finish("outPublic")?;
    reader.sized("creationData", 1024)?;
    reader.sized("creationHash", 64)?;
    reader.u16("creationTicket.tag")?;
    reader.u32("creationTicket.hierarchy")?;
    reader.sized("creationTicket.digest", 64)?;
    let name = Name::parse(reader.sized("name", 66)?)?;
    Ok((public, name))
}

/// TPM2B_ATTEST and TPMT_SIGNATURE, as quotes and certifications end.
pub(crate) fn quoted(reader: &mut Reader<'_>) -> Result<(Attest, Signature), WireError> {
    let attest = Attest::parse(reader.sized("quoted", attest_wire::ATTEST_BYTES_MAX)?)?;
    let signature = Signature::parse(reader.bytes("signature", reader.left().min(SIGNATURE_BYTES_MAX))?)?;
    Ok((attest, signature))
}

/// Whether a quote answers the question; gives its pcrDigest.  This guards against a confused TPM or driver: nobody
/// relies on it, verifiers check everything again.
fn answers(
    attest: &Attest,
    ak: &Ak,
    qualifying: &[u8; 32],
    asked: &PcrSelections,
) -> Result<Vec<u8>, TpmError> {
    let unexpected = |what: &str| TpmError::Unexpected {
        command: QUOTE.name,
        asked: "a quote over the given data and PCRs by the attestation key".into(),
        answered: format!("one with another {what}"),
    };
    let Body::Quote { selection, pcr_digest } = &attest.body else {
        return Err(unexpected("type"));
    };
    if attest.extra_data != qualifying {
        return Err(unexpected("extraData"));
    }
    if attest.qualified_signer != ak.name().qualified(Hierarchy::Endorsement) {
        return Err(unexpected("qualifiedSigner"));
    }
    let same = match (selection.banks(), asked.banks()) {
        ([quoted], [asked]) => (quoted.alg, quoted.mask) == (asked.alg, asked.mask),
        _ => false,
    };
    if same { Ok(pcr_digest.clone()) } else { Err(unexpected("PCR selection: is the SHA-256 bank active?")) }
}

/// Checks that bytes are exactly one TPM2B.
fn one_sized(field: &'static str, bytes: &[u8]) -> Result<(), WireError> {
    let mut reader = Reader::new(bytes);
    reader.sized(field, 1024)?;
    reader.finish(field)
}

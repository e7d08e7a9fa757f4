//! The evidence file, version 1: quote, endorsements, logs, statement and attachments.

use crate::{
    Statement,
    cbor::{self, Error, Fault, Fields, Item},
    digest,
    statement::fixed,
};

/// The largest evidence file, bytes.  Real ones are 30 to 150 KiB; this leaves room for the largest event log.
pub const EVIDENCE_BYTES_MAX: usize = 4 << 20;
/// Opens a file of this version.
const PROFILE: &str = "scalerforge/evidence/v1";
/// Opens one whose statement names the host's key: programs that know only the first version say so at once.
const PROFILE_1_1: &str = "scalerforge/evidence/v1.1";
/// Most certificates of one kind, bindings, and PCR values in a file.
const LIST_MAX: usize = 64;

/// Everything about one machine at one moment that somebody else can check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The node this file is about.
    pub node: [u8; 32],
    /// The quote.
    pub tpm: TpmPart,
    /// Why the quote's key should be believed.
    pub endorsements: Endorsements,
    /// Logs that explain the PCR values.
    pub logs: Logs,
    /// What was signed.
    pub statement: Statement,
    /// What the statement names by digest.
    pub attachments: Attachments,
    /// SHA-256 of this node's previous evidence file.
    pub previous: Option<[u8; 32]>,
}

/// The quote and what it needs to be read; structures are raw TPM bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmPart {
    /// TPMT_PUBLIC of the attestation key.
    pub ak_public: Vec<u8>,
    /// TPMS_ATTEST exactly as the TPM returned it: the signature is over these bytes.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
    /// Claimed PCR values, ascending.  Which PCRs count is said by `attest`, never by this list.
    pub pcrs: Vec<Pcr>,
}

/// A claimed PCR value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcr {
    /// TPM_ALG_ID of the bank (`0x000b` is SHA-256).
    pub bank: u16,
    /// PCR number.
    pub index: u8,
    /// The value.
    pub digest: Vec<u8>,
}

/// Certificates and statements of others about the TPM's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endorsements {
    /// EK certificates, X.509 DER, as read from NV.
    pub ek_certificates: Vec<Vec<u8>>,
    /// TPMT_PUBLIC of the endorsement key, as recreated from its template.
    pub ek_public: Vec<u8>,
    /// Intermediate CA certificates, X.509 DER, in any order.
    pub intermediates: Vec<Vec<u8>>,
    /// Binding statements ([`crate::binding`]), COSE_Sign1.
    pub bindings: Vec<Vec<u8>>,
    /// The word of the board's own key, where its maker gave it one.
    pub iak: Option<Iak>,
}

/// A board maker's initial attestation key (IAK), and its word that the attestation key is in the same TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iak {
    /// X.509 DER: the IAK's own first, then the maker's CAs in any order.
    pub certificates: Vec<Vec<u8>>,
    /// TPMT_PUBLIC of the IAK.
    pub public: Vec<u8>,
    /// TPMS_ATTEST of TPM2_Certify over the attestation key, as the TPM returned it.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE over `attest`.
    pub signature: Vec<u8>,
}

/// Measurement logs, raw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs {
    /// The UEFI event log as the kernel hands it out.
    pub uefi: Vec<u8>,
}

/// Documents that the statement names by their digest, byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachments {
    /// Inventory, JSON.
    pub inventory: Option<Vec<u8>>,
    /// Burn-in report, JSON.
    pub burn_in: Option<Vec<u8>>,
    /// Manifest of the resource units, JSON.
    pub manifest: Option<Vec<u8>>,
}

impl Evidence {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let list = |items: &[Vec<u8>]| {
            (!items.is_empty())
                .then(|| cbor::array(&items.iter().map(|item| cbor::bytes(item)).collect::<Vec<_>>()))
        };
        let optional = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| cbor::bytes(bytes));
        let pcrs: Vec<Vec<u8>> = self.tpm.pcrs.iter().map(Pcr::encode).collect();
        let tpm = cbor::map([
            (1, Some(cbor::bytes(&self.tpm.ak_public))),
            (2, Some(cbor::bytes(&self.tpm.attest))),
            (3, Some(cbor::bytes(&self.tpm.signature))),
            (4, Some(cbor::array(&pcrs))),
        ]);
        let endorsements = cbor::map([
            (1, list(&self.endorsements.ek_certificates)),
            (2, Some(cbor::bytes(&self.endorsements.ek_public))),
            (3, list(&self.endorsements.intermediates)),
            (4, list(&self.endorsements.bindings)),
            (5, self.endorsements.iak.as_ref().map(Iak::encode)),
        ]);
        let attachments = cbor::map([
            (1, optional(&self.attachments.inventory)),
            (2, optional(&self.attachments.burn_in)),
            (3, optional(&self.attachments.manifest)),
        ]);
        cbor::map([
            (1, Some(cbor::text(profile(&self.statement)))),
            (2, Some(cbor::bytes(&self.node))),
            (3, Some(tpm)),
            (4, Some(endorsements)),
            (5, Some(cbor::map([(1, Some(cbor::bytes(&self.logs.uefi)))]))),
            (6, Some(cbor::bytes(&self.statement.encode()))),
            (7, Some(attachments)),
            (9, self.previous.as_ref().map(|digest| cbor::bytes(digest))),
        ])
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Anything but exactly one evidence file of this version: the field, the offset and what is wrong there.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > EVIDENCE_BYTES_MAX {
            return Err(Error::new(EVIDENCE_BYTES_MAX, "evidence", Fault::TooLarge(EVIDENCE_BYTES_MAX)));
        }
        let mut fields = cbor::decode(bytes)?.fields("evidence")?;
        let profile = fields.required(1, "profile")?;
        let named = profile.text("profile")?;
        if ![PROFILE, PROFILE_1_1].contains(&named) {
            let why = format!(
                "is not `{PROFILE}` or `{PROFILE_1_1}`: not an evidence file, or of a version this program does not know"
            );
            return Err(Error::new(profile.offset, "profile", Fault::Value(why)));
        }
        let evidence = Self {
            node: fields.required(2, "node-id")?.fixed("node-id")?,
            tpm: TpmPart::of(fields.required(3, "tpm")?)?,
            endorsements: Endorsements::of(fields.required(4, "endorsements")?)?,
            logs: Logs::of(fields.required(5, "logs")?)?,
            statement: statement(&fields.required(6, "statement")?)?,
            attachments: Attachments::of(fields.required(7, "attachments")?)?,
            previous: fixed(&mut fields, 9, "previous")?,
        };
        fields.finish()?;
        if named != self::profile(&evidence.statement) {
            let why = format!(
                "is `{named}`; a statement with host-key makes it `{PROFILE_1_1}`, one without `{PROFILE}`"
            );
            return Err(Error::new(profile.offset, "profile", Fault::Value(why)));
        }
        Ok(evidence)
    }

    /// SHA-256 of the file: the name by which a chain or a later file refers to it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        digest(&self.encode())
    }
}

/// The version that a file with this statement is of.
pub(crate) fn profile(statement: &Statement) -> &'static str {
    if statement.host_key.is_some() { PROFILE_1_1 } else { PROFILE }
}

/// The statement is a byte string in the file, so that its bytes can be hashed without encoding anything.
fn statement(item: &Item<'_>) -> Result<Statement, Error> {
    let bytes = item.bytes("statement")?;
    Statement::decode(bytes).map_err(|error| {
        let field = if error.field == "CBOR" { "statement".to_owned() } else { error.field };
        // The string's content starts after its head: 1 byte and a length of 0, 1 or 2 bytes.
        let head = match bytes.len() {
            0..24 => 1,
            24..256 => 2,
            _ => 3,
        };
        Error::new(item.offset + head + error.offset, field, error.fault)
    })
}

impl Pcr {
    fn encode(&self) -> Vec<u8> {
        cbor::array(&[
            cbor::unsigned(self.bank.into()),
            cbor::unsigned(self.index.into()),
            cbor::bytes(&self.digest),
        ])
    }

    fn of(item: Item<'_>) -> Result<Self, Error> {
        let offset = item.offset;
        let shape = || Error::new(offset, "tpm.pcrs", Fault::Expected("an array of [bank, index, digest]"));
        let triple: [Item<'_>; 3] = item.array("tpm.pcrs")?.try_into().map_err(|_| shape())?;
        let [bank, index, value] = triple;
        Ok(Self {
            bank: u16::try_from(bank.unsigned("tpm.pcrs.bank")?).map_err(|_| shape())?,
            index: u8::try_from(index.unsigned("tpm.pcrs.index")?).map_err(|_| shape())?,
            digest: value.bytes("tpm.pcrs.digest")?.to_vec(),
        })
    }
}

impl TpmPart {
    fn of(item: Item<'_>) -> Result<Self, Error> {
        let mut fields = item.fields("tpm")?;
        let pcrs = fields.required(4, "tpm.pcrs")?;
        let offset = pcrs.offset;
        let pcrs = pcrs.array("tpm.pcrs")?;
        if pcrs.len() > LIST_MAX {
            return Err(Error::new(offset, "tpm.pcrs", Fault::Value(format!("more than {LIST_MAX} values"))));
        }
        let part = Self {
            ak_public: string(&mut fields, 1, "tpm.ak-public")?,
            attest: string(&mut fields, 2, "tpm.attest")?,
            signature: string(&mut fields, 3, "tpm.signature")?,
            pcrs: pcrs.into_iter().map(Pcr::of).collect::<Result<_, _>>()?,
        };
        fields.finish()?;
        Ok(part)
    }
}

impl Endorsements {
    fn of(item: Item<'_>) -> Result<Self, Error> {
        let mut fields = item.fields("endorsements")?;
        let part = Self {
            ek_certificates: strings(&mut fields, 1, "endorsements.ek-certificates")?,
            ek_public: string(&mut fields, 2, "endorsements.ek-public")?,
            intermediates: strings(&mut fields, 3, "endorsements.intermediates")?,
            bindings: strings(&mut fields, 4, "endorsements.bindings")?,
            iak: fields.optional(5).map(Iak::of).transpose()?,
        };
        fields.finish()?;
        Ok(part)
    }
}

impl Iak {
    fn encode(&self) -> Vec<u8> {
        let certificates: Vec<Vec<u8>> = self.certificates.iter().map(|der| cbor::bytes(der)).collect();
        cbor::map([
            (1, Some(cbor::array(&certificates))),
            (2, Some(cbor::bytes(&self.public))),
            (3, Some(cbor::bytes(&self.attest))),
            (4, Some(cbor::bytes(&self.signature))),
        ])
    }

    fn of(item: Item<'_>) -> Result<Self, Error> {
        let mut fields = item.fields("endorsements.iak")?;
        // Required, unlike the lists beside it: without a certificate the key is nobody's.
        let certificates = fields.required(1, "iak.certificates")?;
        let part = Self {
            certificates: byte_strings(certificates, "iak.certificates")?,
            public: string(&mut fields, 2, "iak.public")?,
            attest: string(&mut fields, 3, "iak.attest")?,
            signature: string(&mut fields, 4, "iak.signature")?,
        };
        fields.finish()?;
        Ok(part)
    }
}

impl Logs {
    fn of(item: Item<'_>) -> Result<Self, Error> {
        let mut fields = item.fields("logs")?;
        let part = Self { uefi: string(&mut fields, 1, "logs.uefi")? };
        fields.finish()?;
        Ok(part)
    }
}

impl Attachments {
    fn of(item: Item<'_>) -> Result<Self, Error> {
        let mut fields = item.fields("attachments")?;
        let mut read = |key, name: &'static str| -> Result<Option<Vec<u8>>, Error> {
            fields.optional(key).map(|item| item.bytes(name).map(<[u8]>::to_vec)).transpose()
        };
        let part = Self {
            inventory: read(1, "attachments.inventory")?,
            burn_in: read(2, "attachments.burn-in")?,
            manifest: read(3, "attachments.manifest")?,
        };
        fields.finish()?;
        Ok(part)
    }
}

fn string(fields: &mut Fields<'_>, key: u64, name: &'static str) -> Result<Vec<u8>, Error> {
    Ok(fields.required(key, name)?.bytes(name)?.to_vec())
}

/// A list of byte strings.  There is one way to write "none": leaving the field out.
fn strings(fields: &mut Fields<'_>, key: u64, name: &'static str) -> Result<Vec<Vec<u8>>, Error> {
    fields.optional(key).map_or(Ok(Vec::new()), |item| byte_strings(item, name))
}

fn byte_strings(item: Item<'_>, name: &'static str) -> Result<Vec<Vec<u8>>, Error> {
    let offset = item.offset;
    let items = item.array(name)?;
    if items.is_empty() || items.len() > LIST_MAX {
        let why = format!("has {} entries; 1 to {LIST_MAX} are allowed", items.len());
        return Err(Error::new(offset, name, Fault::Value(why)));
    }
    items.iter().map(|item| item.bytes(name).map(<[u8]>::to_vec)).collect()
}

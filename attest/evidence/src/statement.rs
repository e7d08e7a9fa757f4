//! The statement: what the quoted software says, and what its hash ([`qualifying_data`]) makes the TPM sign.
//!
//! Everything big is named by its digest and travels beside it in the same file.  That a TPM signed it proves that
//! software in the quoted state said so, not that it is true: truth rests on the measured image.

use sha2::{Digest as _, Sha256};

use crate::cbor::{self, Error, Fault, Fields, Item};

/// The largest encoded statement; a full one has about 400 bytes.
pub const STATEMENT_BYTES_MAX: usize = 4096;

/// What makes a quote fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonce {
    /// Chosen at random by whoever wants to know now.
    Verifier([u8; 32]),
    /// A chain's block: nobody knew its hash before, so the quote is younger; anyone can check it later.
    Block {
        /// EVM chain id.
        chain_id: u64,
        /// Height.
        number: u64,
        /// Block hash.
        hash: [u8; 32],
        /// Node id, so that no two nodes share a nonce.
        node: [u8; 32],
        /// The statement's sequence.
        sequence: u64,
    },
}

impl Nonce {
    /// Deterministic CBOR of the nonce object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Verifier(random) => {
                cbor::map([(1, Some(cbor::unsigned(1))), (2, Some(cbor::bytes(random)))])
            }
            Self::Block { chain_id, number, hash, node, sequence } => cbor::map([
                (1, Some(cbor::unsigned(2))),
                (3, Some(cbor::unsigned(*chain_id))),
                (4, Some(cbor::unsigned(*number))),
                (5, Some(cbor::bytes(hash))),
                (6, Some(cbor::bytes(node))),
                (7, Some(cbor::unsigned(*sequence))),
            ]),
        }
    }

    /// Reads a nonce object as it stands in an order or on a command line.
    ///
    /// # Errors
    /// Anything but exactly one nonce object in deterministic CBOR.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::of(bounded(bytes, "nonce")?)
    }

    pub(crate) fn of(item: Item<'_>) -> Result<Self, Error> {
        let offset = item.offset;
        let mut fields = item.fields("nonce")?;
        let nonce = match fields.required(1, "nonce.kind")?.unsigned("nonce.kind")? {
            1 => Self::Verifier(fields.required(2, "nonce.random")?.fixed("nonce.random")?),
            2 => Self::Block {
                chain_id: fields.required(3, "nonce.chain-id")?.unsigned("nonce.chain-id")?,
                number: fields.required(4, "nonce.number")?.unsigned("nonce.number")?,
                hash: fields.required(5, "nonce.hash")?.fixed("nonce.hash")?,
                node: fields.required(6, "nonce.node")?.fixed("nonce.node")?,
                sequence: fields.required(7, "nonce.sequence")?.unsigned("nonce.sequence")?,
            },
            kind => {
                let why = format!("is {kind}; 1 (verifier) and 2 (block) are known");
                return Err(Error::new(offset, "nonce.kind", Fault::Value(why)));
            }
        };
        fields.finish()?;
        Ok(nonce)
    }
}

/// A registry on a chain, and who registers there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// EVM chain id.
    pub chain_id: u64,
    /// Registry contract.
    pub registry: [u8; 20],
    /// Operator account.
    pub operator: [u8; 20],
}

/// What the statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Before the machine is worked on: which software runs on which TPM.
    Admission,
    /// For a registry: good for this one registry, operator and set of units only.
    Registration {
        /// Where.
        target: Target,
        /// Merkle root of the manifest's units.
        unit_root: [u8; 32],
        /// SHA-256 of the manifest attachment: the fields beside its units count too.
        manifest: [u8; 32],
    },
}

/// What the TPM signs, by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it is for.
    pub purpose: Purpose,
    /// What makes it fresh.
    pub nonce: Nonce,
    /// SHA-256 over `scalerforge/node/v1\0` and the endorsement key's TPM Name.
    pub node: [u8; 32],
    /// TPM Name of the attestation key: nameAlg ‖ digest.
    pub ak_name: Vec<u8>,
    /// SHA-256 of the inventory attachment.
    pub inventory: Option<[u8; 32]>,
    /// SHA-256 of the burn-in report attachment.
    pub burn_in: Option<[u8; 32]>,
    /// SHA-256 of the UEFI event log.
    pub uefi_log: [u8; 32],
    /// SHA-256 of this node's previous evidence file.
    pub previous: Option<[u8; 32]>,
    /// Counts this node's evidence from 0.
    pub sequence: u64,
    /// Account (EVM address) of the key that the quoted software derives from its TPM; absent before version 1.1.
    pub host_key: Option<[u8; 20]>,
}

impl Statement {
    /// Deterministic CBOR: the bytes that [`qualifying_data`] hashes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let digest = |digest: &Option<[u8; 32]>| digest.as_ref().map(|digest| cbor::bytes(digest));
        let (purpose, target, unit_root, manifest) = match &self.purpose {
            Purpose::Admission => (1, None, None, None),
            Purpose::Registration { target, unit_root, manifest } => {
                (2, Some(target.encode()), Some(*unit_root), Some(*manifest))
            }
        };
        cbor::map([
            (1, Some(cbor::unsigned(purpose))),
            (2, Some(self.nonce.encode())),
            (3, Some(cbor::bytes(&self.node))),
            (4, target),
            (5, Some(cbor::bytes(&self.ak_name))),
            (6, digest(&unit_root)),
            (7, digest(&self.inventory)),
            (8, digest(&self.burn_in)),
            (9, Some(cbor::bytes(&self.uefi_log))),
            (10, digest(&self.previous)),
            (11, Some(cbor::unsigned(self.sequence))),
            (12, digest(&manifest)),
            (13, self.host_key.as_ref().map(|address| cbor::bytes(address))),
        ])
    }

    /// Reads a statement.
    ///
    /// # Errors
    /// Anything but exactly one statement in deterministic CBOR.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let item = bounded(bytes, "statement")?;
        let mut fields = item.fields("statement")?;
        let purpose_item = fields.required(1, "statement.purpose")?;
        let statement = Self {
            purpose: purpose(&purpose_item, &mut fields)?,
            nonce: Nonce::of(fields.required(2, "statement.nonce")?)?,
            node: fields.required(3, "statement.node-id")?.fixed("statement.node-id")?,
            ak_name: fields.required(5, "statement.ak-name")?.bytes("statement.ak-name")?.to_vec(),
            inventory: fixed(&mut fields, 7, "statement.inventory")?,
            burn_in: fixed(&mut fields, 8, "statement.burn-in")?,
            uefi_log: fields.required(9, "statement.uefi-log")?.fixed("statement.uefi-log")?,
            previous: fixed(&mut fields, 10, "statement.previous")?,
            sequence: fields.required(11, "statement.sequence")?.unsigned("statement.sequence")?,
            host_key: fixed(&mut fields, 13, "statement.host-key")?,
        };
        fields.finish()?;
        Ok(statement)
    }
}

fn purpose(item: &Item<'_>, fields: &mut Fields<'_>) -> Result<Purpose, Error> {
    match item.unsigned("statement.purpose")? {
        1 => Ok(Purpose::Admission),
        2 => Ok(Purpose::Registration {
            target: Target::of(fields.required(4, "statement.target")?)?,
            unit_root: fields.required(6, "statement.unit-root")?.fixed("statement.unit-root")?,
            manifest: fields.required(12, "statement.manifest")?.fixed("statement.manifest")?,
        }),
        other => {
            let why = format!("is {other}; 1 (admission) and 2 (registration) are known");
            Err(Error::new(item.offset, "statement.purpose", Fault::Value(why)))
        }
    }
}

impl Target {
    fn encode(&self) -> Vec<u8> {
        cbor::map([
            (1, Some(cbor::unsigned(self.chain_id))),
            (2, Some(cbor::bytes(&self.registry))),
            (3, Some(cbor::bytes(&self.operator))),
        ])
    }

    fn of(item: Item<'_>) -> Result<Self, Error> {
        let mut fields = item.fields("statement.target")?;
        let target = Self {
            chain_id: fields.required(1, "target.chain-id")?.unsigned("target.chain-id")?,
            registry: fields.required(2, "target.registry")?.fixed("target.registry")?,
            operator: fields.required(3, "target.operator")?.fixed("target.operator")?,
        };
        fields.finish()?;
        Ok(target)
    }
}

/// An optional fixed-length byte string.
pub(crate) fn fixed<const N: usize>(
    fields: &mut Fields<'_>,
    key: u64,
    name: &'static str,
) -> Result<Option<[u8; N]>, Error> {
    fields.optional(key).map(|item| item.fixed(name)).transpose()
}

fn bounded<'a>(bytes: &'a [u8], name: &'static str) -> Result<Item<'a>, Error> {
    if bytes.len() > STATEMENT_BYTES_MAX {
        return Err(Error::new(STATEMENT_BYTES_MAX, name, Fault::TooLarge(STATEMENT_BYTES_MAX)));
    }
    cbor::decode(bytes)
}

/// The part of [`qualifying_data`] that a contract recomputes without CBOR: 32 zero bytes at admission; at
/// registration SHA-256 over chain id (32 bytes, big-endian), registry (20), operator (20), node id (32), unit root
/// (32) and 32 zero bytes.
#[must_use]
pub fn anchor(statement: &Statement) -> [u8; 32] {
    match &statement.purpose {
        Purpose::Admission => [0; 32],
        Purpose::Registration { target, unit_root, .. } => {
            let mut hash = Sha256::new();
            hash.update([0; 24]);
            hash.update(target.chain_id.to_be_bytes());
            hash.update(target.registry);
            hash.update(target.operator);
            hash.update(statement.node);
            hash.update(unit_root);
            // Kept for the digest of evidence published on chain, which this version does not have.
            hash.update([0; 32]);
            hash.finalize().into()
        }
    }
}

/// What the TPM is asked to sign: SHA-256 over the domain tag, the [`anchor`] and SHA-256 of the encoded statement.
/// 32 bytes is all that `TPM2B_DATA` surely holds.
#[must_use]
pub fn qualifying_data(statement: &Statement) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"scalerforge/quote/v1\0");
    hash.update(anchor(statement));
    hash.update(Sha256::digest(statement.encode()));
    hash.finalize().into()
}

//! Publications: proof that a registry's contract named an evidence file's hash in a block, checked without asking
//! anybody.
//!
//! Together with a block nonce they hold a quote between two blocks: it answers the hash of the first, and its own
//! hash is in a receipt of the second.  The receipt is proven by the trie under the header's receiptsRoot.  Which
//! headers belong to the chain is for whoever hands them over to know: the verdict says the block's hash.
//! Read next: `attest/FORMAT.md`, section 9.

use attest_evidence::{Evidence, Nonce, Purpose};
use serde::{Deserialize, Serialize};

use crate::{
    header::{Header, HeaderError},
    receipt::{self, Log},
    verdict::{Checks, Facts},
};

/// Largest publication, bytes of JSON: a header, some branches of a trie and one receipt have 5 to 20 KiB.
pub const PUBLICATION_BYTES_MAX: usize = 256 << 10;
/// Most nodes of a proof: a key has at most 18 half bytes, and every node but the last takes one.
pub(crate) const PROOF_NODES_MAX: usize = 19;

/// Event signature: Keccak-256 of
/// `NodeRegistered(bytes32,address,uint256,string,string,uint256,uint256,uint64,bytes32,bytes32)`.
const NODE_REGISTERED: [u8; 32] = [
    0x11, 0x4a, 0xb6, 0xed, 0xbd, 0xe1, 0xea, 0x65, 0x71, 0x73, 0xb8, 0xe9, 0xed, 0x30, 0x2b, 0xe3, 0xa0,
    0x92, 0xf3, 0x81, 0xa9, 0xd3, 0x44, 0x96, 0x2b, 0x7e, 0x46, 0x53, 0x4d, 0xef, 0xcb, 0x90,
];
/// Event signature: Keccak-256 of `EvidencePublished(bytes32,address,uint64,bytes32)`.
const EVIDENCE_PUBLISHED: [u8; 32] = [
    0x1a, 0xd2, 0x73, 0xbe, 0xdd, 0xc5, 0x36, 0x6c, 0xcd, 0x46, 0xd1, 0xb7, 0x2d, 0xff, 0xf5, 0x38, 0xc4,
    0x2a, 0xc4, 0xe0, 0xa5, 0xc9, 0xa9, 0x8b, 0x16, 0x1a, 0x53, 0x52, 0x08, 0x70, 0x30, 0x9c,
];

/// Where in a block the hash was published, and the proof, as whoever asks a chain puts them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationFile {
    /// The block's header, RLP.
    pub header: Vec<u8>,
    /// Index of the transaction in the block.
    pub transaction: u64,
    /// Index of the event within this transaction's receipt.
    pub log: u64,
    /// Nodes of the receipts' trie on the way to this receipt, the root first, RLP.
    pub proof: Vec<Vec<u8>>,
}

/// Why bytes are no publication, or do not prove what they say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicationError {
    /// The text.
    #[error("it is no publication ({0}): take the file as it was written, without white space")]
    Form(String),
    /// The header.
    #[error("its block header cannot be read")]
    Header(#[source] HeaderError),
    /// The trie.
    #[error("node {node} of its proof {why}")]
    Proof {
        /// From 0, the root.
        node: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// The receipt.
    #[error("its receipt {0}")]
    Receipt(&'static str),
}

/// The form of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    header: String,
    transaction: u64,
    log: u64,
    proof: Vec<String>,
}

impl PublicationFile {
    /// The file: JSON without white space, members in this order, bytes as `0x` and lower-case hex.
    #[must_use]
    pub fn encode(&self) -> String {
        let text = Text {
            header: hex(&self.header),
            transaction: self.transaction,
            log: self.log,
            proof: self.proof.iter().map(|node| hex(node)).collect(),
        };
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// Reads exactly what [`PublicationFile::encode`] writes.
    ///
    /// # Errors
    /// [`PublicationError::Form`].
    pub fn decode(json: &[u8]) -> Result<Self, PublicationError> {
        let wrong = |why: &str| PublicationError::Form(why.to_owned());
        if json.len() > PUBLICATION_BYTES_MAX {
            return Err(wrong("longer than 256 KiB"));
        }
        let text: Text =
            serde_json::from_slice(json).map_err(|error| PublicationError::Form(error.to_string()))?;
        if text.proof.len() > PROOF_NODES_MAX {
            return Err(wrong("more nodes than a way through the trie can have"));
        }
        let bytes = |text: &str| {
            let digits = text.strip_prefix("0x").ok_or_else(|| wrong("bytes without 0x"))?;
            hex::decode(digits).map_err(|_| wrong("bytes that are not hex"))
        };
        let file = Self {
            header: bytes(&text.header)?,
            transaction: text.transaction,
            log: text.log,
            proof: text.proof.iter().map(|node| bytes(node)).collect::<Result<_, _>>()?,
        };
        // Its only form: no byte of the file says nothing.
        if file.encode().as_bytes() == json { Ok(file) } else { Err(wrong("not in its only form")) }
    }

    /// Checks the proof, and reads the event that it leads to.
    ///
    /// # Errors
    /// All of [`PublicationError`] but the form.
    pub fn prove(&self) -> Result<Publication, PublicationError> {
        let header = Header::parse(&self.header).map_err(PublicationError::Header)?;
        let receipt = receipt::proven(&header.receipts_root, self.transaction, &self.proof)?;
        let log = receipt::log(receipt, self.log).map_err(PublicationError::Receipt)?;
        Ok(Publication { header, log })
    }
}

fn hex(bytes: &[u8]) -> String {
    format!("0x{}", crate::hexed::encode(bytes))
}

/// An event that is proven to be in the block of this header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The block.
    pub header: Header,
    /// The event.
    pub log: Log,
}

impl Publication {
    /// Reads a publication file and checks its proof.
    ///
    /// # Errors
    /// [`PublicationError`].
    pub fn read(json: &[u8]) -> Result<Self, PublicationError> {
        PublicationFile::decode(json)?.prove()
    }

    /// The evidence's hash, if this event of `registry` is about `node`.
    ///
    /// # Errors
    /// What the event is instead.
    pub fn digest(&self, registry: &[u8; 20], node: &[u8; 32]) -> Result<[u8; 32], &'static str> {
        if self.log.address != *registry {
            return Err("the event is another contract's, not the registry's that the TPM signed for");
        }
        let words: Vec<[u8; 32]> = self.log.data.as_chunks().0.to_vec();
        let (topics, place) = match self.log.topics.first() {
            Some(&NODE_REGISTERED) => (4, 6),
            Some(&EVIDENCE_PUBLISHED) => (3, 1),
            Some(_) | None => return Err("the event is neither NodeRegistered nor EvidencePublished"),
        };
        if self.log.topics.get(1) != Some(node) {
            return Err("the event is about another node");
        }
        match words.get(place) {
            Some(digest) if self.log.topics.len() == topics && self.log.data.len().is_multiple_of(32) => {
                Ok(*digest)
            }
            Some(_) | None => Err("the event does not have the form that its name stands for"),
        }
    }
}

/// What a verifier was given about where this evidence was published.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    pub(crate) publication: Option<Result<Publication, PublicationError>>,
    /// Hash that the block must have.
    pub(crate) block: Option<[u8; 32]>,
}

/// Judges where the evidence was published; `nonce` is the header of the nonce's block, if it was given.
pub(crate) fn judge(
    evidence: &Evidence,
    published: &Published,
    nonce: Option<&Header>,
    checks: &mut Checks,
    facts: &mut Facts,
) {
    let publication = match &published.publication {
        None => {
            return checks.skip(
                "published",
                "no publication was given: when the quote was made at the latest is not judged",
            );
        }
        Some(Err(error)) => return checks.fail("published", "", words(error)),
        Some(Ok(publication)) => publication,
    };
    let Purpose::Registration { target, .. } = &evidence.statement.purpose else {
        return checks.fail("published", "", "an admission names no registry to be published by");
    };
    let found = match publication.digest(&target.registry, &evidence.node) {
        Ok(found) => found,
        Err(why) => return checks.fail("published", "", why),
    };
    let digest = facts.evidence.digest();
    if !checks.add(
        "published",
        found == digest,
        crate::hexed::encode(digest),
        crate::hexed::encode(found),
        "the registry published another file's hash",
    ) {
        return;
    }
    let header = &publication.header;
    let hash = crate::hexed::encode(header.hash);
    if let Some(block) = published.block
        && !checks.add(
            "published-block",
            header.hash == block,
            hash.clone(),
            crate::hexed::encode(block),
            "the publication is of another block than the one that was asked for",
        )
    {
        return;
    }
    facts.not_after = Some(header.time);
    facts.published_block = Some(hash);
    let (Some(first), Nonce::Block { chain_id, .. }) = (nonce, &evidence.statement.nonce) else { return };
    // Heights of two chains cannot be compared.
    let higher = header.number > first.number || *chain_id != target.chain_id;
    checks.add(
        "published-after-nonce",
        higher && header.time >= first.time,
        format!("block {} of {} s", header.number, header.time),
        format!("after block {} of {} s", first.number, first.time),
        "the publication is not younger than the block that the nonce names",
    );
}

/// An error and its cause, for a check's note.
fn words(error: &PublicationError) -> String {
    let cause = std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    format!("the publication proves nothing: {error}{cause}")
}

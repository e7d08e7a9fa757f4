//! Evidence v1: the one file from which a stranger decides whether a machine is what it says it is.
//!
//! Types and codec only: nothing here judges (that is `attest/verify`), signs, reads a clock or a file.  The file is
//! deterministic CBOR with integer keys; [`cbor`] refuses everything that is not the one encoding of its content, so
//! that a digest of the file names its content.  `attest/FORMAT.md` is the same in prose, for another implementation.
//! Bytes that somebody signed or hashed (quote, logs, attachments) are kept raw and never re-made from a struct.

#![forbid(unsafe_code)]

pub mod binding;
pub mod cbor;
pub mod corim;
mod evidence;
mod json;
mod reference;
mod statement;

pub use evidence::{Attachments, EVIDENCE_BYTES_MAX, Endorsements, Evidence, Iak, Logs, Pcr, TpmPart};
pub use reference::{Accepted, Hex32, ParseReference, ReferenceBank, ReferencePcr, ReferenceValues};
pub use statement::{Nonce, Purpose, STATEMENT_BYTES_MAX, Statement, Target, anchor, qualifying_data};

use sha2::{Digest as _, Sha256};

/// SHA-256 of a file or an attachment: exactly the bytes that travel.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

//! TPM 2.0 structures and event logs, strict and bounded.
//!
//! What agent and verifier both speak: public areas and their names, attestation structures, signatures, PCR
//! selections, the key templates this project uses, and the file format of `tpm2_checkquote`.  Every parser takes
//! hostile bytes: it reads a structure to its last byte, keeps the raw bytes it read, and says which field at which
//! offset was wrong.  It never allocates by a length somebody declared, and never panics.
//!
//! This room refuses to judge: whether a key is a good attestation key or a quote is fresh is for `attest/verify`.
//! It knows no crypto but the hashes that names and event logs need.  Read next: [`read`] for the rules of reading, [`templates`]
//! for the keys, `attest/tpm` for the commands.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod alg;
mod attest;
mod error;
pub mod eventlog;
mod name;
mod pcr;
mod public;
pub mod read;
mod signature;
pub mod templates;
pub mod tpm2_tools;
pub mod write;

pub use alg::{AlgId, HashAlg};
pub use attest::{ATTEST_BYTES_MAX, Attest, Body, ClockInfo, MAGIC};
pub use error::{Problem, WireError};
pub use name::{Hierarchy, Name};
pub use pcr::{PCR_BANKS_MAX, PcrSelection, PcrSelections};
pub use public::{Attributes, Curve, PUBLIC_BYTES_MAX, Public, PublicKey, Scheme, Symmetric};
pub use read::Reader;
pub use signature::{SIGNATURE_BYTES_MAX, Signature, SignatureValue};
pub use write::Writer;

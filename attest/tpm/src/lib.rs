//! Talks to a TPM 2.0 over a device or a socket, without a C library.
//!
//! [`Tpm`] knows the dozen commands that enrolment and quotes need: who made it, endorsement certificates,
//! endorsement and attestation keys, credential activation, PCRs, quotes.  It decides nothing: what it returns is for
//! `attest/verify`, on another machine.  It holds no crypto and no secret of its own, and what it makes the TPM load
//! it unloads again, on errors too: three objects and three sessions are all that a TPM has room for.
//!
//! Works on `/dev/tpmrm0` (the kernel's resource manager) and on the Unix socket of `swtpm socket --server
//! type=unixio`.  Read next: [`Tpm`], then `attest/wire` for the structures.

mod command;
mod error;
pub mod floor;
mod hierarchies;
mod host_secret;
mod iak;
mod keys;
mod nv;
mod pcr;
mod properties;
mod response_code;
mod tpm;
mod transport;

pub use error::TpmError;
pub use hierarchies::Hierarchies;
pub use iak::{Certification, Iak};
pub use keys::{Ak, Ek, QUOTE_TRIES_MAX, Quote};
pub use nv::{Certificates, NvCertificate};
pub use properties::Properties;
pub use response_code::ResponseCode;
pub use tpm::Tpm;
pub use transport::{CharDevice, Socket, Transport};

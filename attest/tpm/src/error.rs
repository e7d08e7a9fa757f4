//! What can go wrong with a TPM, in a technician's words.

use std::{io, path::PathBuf};

use attest_wire::WireError;

use crate::ResponseCode;

/// A TPM call that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The device or socket could not be opened.
    #[error("could not open TPM at {path}: is it switched on in the firmware setup, and its driver loaded?")]
    Open {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The path is neither a character device nor a socket.
    #[error("{path} is neither a TPM device nor a TPM socket: name /dev/tpmrm0 or the socket of swtpm")]
    NotTpm {
        /// Where.
        path: PathBuf,
    },
    /// The command did not get there, or no answer came.
    #[error(
        "{command}: the TPM did not answer; open it again, and power-cycle the machine if that does not help"
    )]
    Exchange {
        /// The command.
        command: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An earlier exchange failed, so answers can no longer be told apart.
    #[error("{command}: not sent, since an earlier exchange with this TPM broke off; open it again")]
    Broken {
        /// The command.
        command: &'static str,
    },
    /// The command could not be written.
    #[error("{command}: what was to be sent does not fit into a TPM command")]
    Command {
        /// The command.
        command: &'static str,
        /// Which field.
        #[source]
        source: WireError,
    },
    /// The answer does not parse.
    #[error("{command}: the TPM's answer is malformed; this TPM or its driver is faulty")]
    Response {
        /// The command.
        command: &'static str,
        /// Which field.
        #[source]
        source: WireError,
    },
    /// The TPM refused.
    #[error("{command}: the TPM refused with {code}{}", .code.hint())]
    Refused {
        /// The command.
        command: &'static str,
        /// Its reason.
        code: ResponseCode,
    },
    /// The TPM kept asking to be asked again.
    #[error("{command}: the TPM answered {code} to {tries} tries; wait a minute and try again")]
    Busy {
        /// The command.
        command: &'static str,
        /// What it said last.
        code: ResponseCode,
        /// How often it was asked.
        tries: u32,
    },
    /// The answer parses but is not an answer to what was asked.
    #[error("{command}: asked for {asked}, but the TPM answered {answered}")]
    Unexpected {
        /// The command.
        command: &'static str,
        /// What was asked.
        asked: String,
        /// What came back.
        answered: String,
    },
}

impl TpmError {
    /// The TPM's own code, where it refused.
    #[must_use]
    pub const fn code(&self) -> Option<ResponseCode> {
        match self {
            Self::Refused { code, .. } | Self::Busy { code, .. } => Some(*code),
            Self::Open { .. }
            | Self::NotTpm { .. }
            | Self::Exchange { .. }
            | Self::Broken { .. }
            | Self::Command { .. }
            | Self::Response { .. }
            | Self::Unexpected { .. } => None,
        }
    }
}

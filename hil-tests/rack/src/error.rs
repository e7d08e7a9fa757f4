//! What can go wrong while a rack is put together or worked.
//!
//! Each error names the thing that was tried and what came back; the cause is in `source()`, never in the text.

use std::path::PathBuf;
use std::time::Duration;

/// A failure of the rack itself, not of the software under test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RackError {
    /// A program could not be started at all.
    #[error("cannot start `{program}`: is it installed and on PATH?")]
    Spawn {
        /// The program's name as it was called.
        program: String,
        /// Why the kernel refused.
        #[source]
        source: std::io::Error,
    },
    /// A program ran and failed.
    #[error("`{command}` ended with {status}: {stderr}")]
    Command {
        /// The whole command line.
        command: String,
        /// Exit status in words.
        status: String,
        /// What it wrote to stderr, trimmed.
        stderr: String,
    },
    /// A file, folder or socket refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// The verb, such as "create".
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A namespace could not be entered.
    #[error("cannot {doing}; run as root, or start the whole program under `unshare -rn`")]
    Namespace {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        #[source]
        source: nix::Error,
    },
    /// QEMU's control socket closed, refused or answered with an error.
    #[error("QMP `{command}` on {host}: {answer}")]
    Qmp {
        /// Serial of the virtual server.
        host: String,
        /// The command that was sent.
        command: String,
        /// What came back.
        answer: String,
    },
    /// QEMU ended while it was being started.
    #[error("{host}: QEMU ended at start ({status}); its own words are in {}", log.display())]
    Stillborn {
        /// Serial of the virtual server.
        host: String,
        /// Exit status in words.
        status: String,
        /// File with QEMU's stderr.
        log: PathBuf,
    },
    /// Something that should have come did not come within the limit.
    #[error("{host}: waited {} s for {what}; the last console lines were: {tail}", waited.as_secs())]
    Timeout {
        /// Serial of the virtual server.
        host: String,
        /// What was awaited.
        what: String,
        /// The limit.
        waited: Duration,
        /// The end of the console, for the reader of a failed test.
        tail: String,
    },
    /// The server has no power, so the request makes no sense.
    #[error("{host} is off: {wanted} needs a running server; power it on first")]
    Off {
        /// Serial of the virtual server.
        host: String,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The description of the rack contradicts itself.
    #[error("rack description: {0}")]
    Description(String),
    /// The BMC's certificate could not be made.
    #[error("cannot make a certificate for the BMC at {address}: {reason}")]
    Certificate {
        /// The BMC's address.
        address: String,
        /// The library's words.
        reason: String,
    },
}

impl RackError {
    /// Shorthand for the many places that touch files.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

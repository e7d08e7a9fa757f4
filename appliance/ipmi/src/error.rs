//! What can go wrong between us and a controller that speaks IPMI.

use crate::{handshake::Refusal, message::completion};

/// Why a controller could not be asked or told something.  Each says what was tried, on whom, and what came back.
#[derive(Debug, thiserror::Error)]
pub enum IpmiError {
    /// The socket or device would not.
    #[error("{what} {host} failed")]
    Io {
        /// The controller.
        host: String,
        /// What was tried.
        what: &'static str,
        /// What came back.
        #[source]
        source: std::io::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a session with {host}")]
    Entropy {
        /// The controller.
        host: String,
        /// What came back.
        #[source]
        source: getrandom::Error,
    },
    /// No answer.
    #[error(
        "{host} did not answer {what} in {tries} tries{heard}; check that it is reachable by UDP and that IPMI over \
         LAN is switched on"
    )]
    NoAnswer {
        /// The controller.
        host: String,
        /// What was asked.
        what: String,
        /// How often.
        tries: u32,
        /// What came instead, in words, or nothing.
        heard: String,
    },
    /// No session.
    #[error("{host} opened no session")]
    NoSession {
        /// The controller.
        host: String,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// A code that means no.
    #[error("{host} refused {what} with code {code:#04x}: {}", completion(*code))]
    Refused {
        /// The controller.
        host: String,
        /// What was asked.
        what: &'static str,
        /// The completion code.
        code: u8,
    },
    /// An answer that cannot be read.
    #[error("{host} answered {what} with {length} bytes that do not fit: {why}; update its firmware")]
    Odd {
        /// The controller.
        host: String,
        /// What was asked.
        what: &'static str,
        /// Bytes of the answer.
        length: usize,
        /// What is wrong with them.
        why: &'static str,
    },
    /// It said yes and did not.
    #[error("{host} accepted {what} and does not show it: {found}")]
    NotShown {
        /// The controller.
        host: String,
        /// What was set.
        what: &'static str,
        /// What is there instead.
        found: String,
    },
    /// IPMI has no such thing.
    #[error("IPMI cannot do this at {host}: {why}")]
    CannotBe {
        /// The controller.
        host: String,
        /// Why.
        why: &'static str,
    },
    /// The session ended.
    #[error("the session with {host} is over: {why}; open another")]
    Over {
        /// The controller.
        host: String,
        /// Why.
        why: &'static str,
    },
}

//! Why a key cannot be used, and why something was not signed.

use std::{io, path::PathBuf};

use appliance_model::Address;

use crate::{BookError, KeystoreError, LedgerError, PassphraseError};

/// Why a key file cannot be used.  The texts never repeat the file's content.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be opened, read or written.
    #[error("operator key {path}: cannot be {doing}")]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `created`.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Others can read it.
    #[error(
        "operator key {path}: mode {mode:04o} lets others read it; run `chmod 600 {path}`, and change the key if it was exposed"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 64 hex digits of a valid secp256k1 secret.
    #[error(
        "operator key {path}: the file must hold 64 hex digits that are a valid secp256k1 secret, and nothing else"
    )]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// 32 bytes that are no key (zero, or above the curve's order).
    #[error("these 32 bytes are no secp256k1 secret; take other ones")]
    Secret,
    /// A keystore file that does not open.
    #[error("operator key {path} cannot be used")]
    Keystore {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeystoreError,
    },
    /// The passphrase of a keystore file is not to be had.
    #[error("the passphrase of operator key {path} is not to be had")]
    Passphrase {
        /// The keystore file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PassphraseError,
    },
    /// A signer elsewhere cannot be asked as configured.
    #[error("the signer in another machine cannot be used: {why}; correct it in the configuration")]
    Remote {
        /// What is wrong.
        why: String,
    },
    /// The system gives no random bytes.
    #[error("operator key {path} was not made: the system gives no random bytes")]
    Random {
        /// The file.
        path: PathBuf,
    },
}

/// Why something was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The signer itself failed.
    #[error("the key of {account} did not sign")]
    Failed {
        /// The account.
        account: Address,
        /// The library's reason.
        #[source]
        source: alloy::signers::Error,
    },
    /// A signature came back that is not this account's over what was asked.
    #[error(
        "the signer of {account} answered with a signature that is not of this account over what was asked; it was not used"
    )]
    Stranger {
        /// The account.
        account: Address,
    },
    /// The signer in another machine does not answer.  Waiting helps.
    #[error("the signer at {url} does not answer; this is tried again until it does (is it running?)")]
    Down {
        /// Scheme, host and port.
        url: String,
        /// What the transport said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What a cloud knows us by is not to be had.  Whatever keeps the file fresh may mend it.
    #[error("the credentials that {account} signs with are not to be had")]
    Credentials {
        /// The account.
        account: Address,
        /// Why.
        #[source]
        source: Box<KeyError>,
    },
    /// It does not want to.
    #[error("the signer at {url} refuses: {message}")]
    Refused {
        /// Scheme, host and port.
        url: String,
        /// Its words, cut.
        message: String,
    },
    /// It answered something else.
    #[error("the signer at {url} gave an answer that makes no sense: {what}; is it a Web3Signer?")]
    Answer {
        /// Scheme, host and port.
        url: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Something else was signed than was asked.
    #[error(
        "what came back for {account} is not what was to be signed: another {field}; it was not used. Do not trust that \
         signer until you know why"
    )]
    Altered {
        /// The account.
        account: Address,
        /// The first field that differs.
        field: &'static str,
    },
    /// The book of signatures says no, or not yet.
    #[error("account {account} signs nothing now")]
    Book {
        /// The account.
        account: Address,
        /// Why.
        #[source]
        source: BookError,
    },
    /// The Ledger did not sign.
    #[error("the Ledger did not sign for {account}")]
    Ledger {
        /// The account.
        account: Address,
        /// Why.
        #[source]
        source: LedgerError,
    },
    /// Typed data cannot be carried to a key that is elsewhere.
    #[error(
        "account {account} signs off line, where no permit can be made in time: pay out of a deposit or by an approval"
    )]
    NoTyped {
        /// The account.
        account: Address,
    },
}

impl SignError {
    /// Whether the same may succeed later without anything being changed here.
    #[must_use]
    pub fn is_waitable(&self) -> bool {
        match self {
            // A limit of so much a day passes by itself; a permission is typed without anything here restarting.
            Self::Down { .. } | Self::Book { .. } | Self::Credentials { .. } => true,
            Self::Ledger { source, .. } => source.is_waitable(),
            Self::Failed { .. }
            | Self::Stranger { .. }
            | Self::Refused { .. }
            | Self::Answer { .. }
            | Self::Altered { .. }
            | Self::NoTyped { .. } => false,
        }
    }
}

//! Signs transactions and typed data for an account, wherever its key is, and refuses what nobody allowed.
//!
//! [`OperatorKey`] is what callers hold: a secret file for development, a [`Keystore`] file under a passphrase, a signer
//! in another machine ([`RemoteSettings`]) or in a cloud ([`KmsSettings`]), a hardware wallet ([`LedgerSettings`]), or a person who carries
//! files ([`Proposal`]).  Signing waits.  A key with a [`Book`] signs
//! nothing that is not allowed ([`judge`]), counted and written down before.  What a call means and costs is read from
//! its bytes ([`meaning`]); [`Typed`] is the one place that builds EIP-712 data.
//!
//! It refuses key files that others can read, key derivations that would take all memory, and a signature that is not
//! of the account and over what was asked, whoever made it.  Secrets and passphrases come from files and terminals,
//! never from arguments or the environment, and nothing here prints them.
//! What is signed, and when, is said by `chain-client`; the book is the store's.

mod book;
mod error;
mod key;
mod keystore;
mod kms;
mod ledger;
mod limit;
mod meaning;
mod passphrase;
mod proposal;
mod remote;
mod safe;
mod typed;

pub use book::{Ask, Book, BookError, Line, Spend};
pub use error::{KeyError, SignError};
pub use key::OperatorKey;
pub use keystore::{Entropy, Keystore, KeystoreError};
pub use kms::{Cloud, KmsSettings};
pub use ledger::{KeyPath, LedgerError, LedgerSettings, NoPath};
pub use limit::{Denied, NoPermission, Permission, WINDOW_MILLISECONDS, coin, judge};
pub use meaning::{Meaning, meaning};
pub use passphrase::{Passphrase, PassphraseError};
pub use proposal::{NoProposal, Proposal};
pub use remote::{RemoteSettings, same};
pub use safe::{Safe, SafeTransaction};
pub use typed::{Allowance, Consent, Typed};

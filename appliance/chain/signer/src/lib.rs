//! Signs transactions and typed data for an account, wherever its key is.
//!
//! [`OperatorKey`] is what callers hold: a secret file for development or a [`Keystore`] file under a passphrase.
//! Signing waits, because a key may be in another machine or in a person's hand.
//!
//! It refuses key files that others can read, key derivations that would take all memory, and a signature that is not
//! of the account that was asked.  Secrets and passphrases come from files and terminals, never from arguments or the
//! environment, and nothing here prints them.
//! What is signed, and when, is said by `chain-client`.

mod error;
mod key;
mod keystore;
mod passphrase;

pub use error::{KeyError, SignError};
pub use key::OperatorKey;
pub use keystore::{Entropy, Keystore, KeystoreError};
pub use passphrase::{Passphrase, PassphraseError};

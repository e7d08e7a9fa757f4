//! The key that callers hold, wherever its secret is.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use alloy::{
    consensus::{SignableTransaction as _, Signed, TxEip1559},
    primitives::B256,
    signers::{SignerSync as _, local::PrivateKeySigner},
};
use appliance_model::Address;
use zeroize::Zeroizing;

use crate::{Entropy, KeyError, Keystore, Passphrase, SignError};

/// A keystore of other tools is some 500 bytes, a secret 67.
const FILE_BYTES_MAX: u64 = 8192;

/// Signs for one account.  Never printed; `Debug` shows its address.
#[derive(Clone)]
pub struct OperatorKey {
    address: Address,
    way: Way,
}

/// Where the secret is.
#[derive(Clone)]
enum Way {
    Here(PrivateKeySigner),
}

impl OperatorKey {
    /// The key with this secret.
    ///
    /// # Errors
    /// [`KeyError::Secret`] for zero and for numbers above the curve's order.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, KeyError> {
        let signer = PrivateKeySigner::from_bytes(&B256::new(*secret)).map_err(|_| KeyError::Secret)?;
        Ok(Self { address: Address(signer.address().into_array()), way: Way::Here(signer) })
    }

    /// Reads 64 hex digits from a file that nobody else can read.
    ///
    /// # Errors
    /// [`KeyError`]: missing, readable by others, or not a key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::from_secret(&*Self::secret(path)?).map_err(|_| KeyError::Content { path: path.into() })
    }

    /// The secret in such a file, for whoever writes it elsewhere.
    ///
    /// # Errors
    /// [`KeyError`]: missing, readable by others, or not 64 hex digits.
    pub fn secret(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let bytes = closed_file(path)?;
        let content = || KeyError::Content { path: path.into() };
        let digits = std::str::from_utf8(&bytes).map_err(|_| content())?.trim();
        let mut secret = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), &mut *secret)
            .map_err(|_| content())?;
        Ok(secret)
    }

    /// Writes a new key file with mode 0600 and never over an existing one.
    ///
    /// # Errors
    /// [`KeyError`]: the file exists, cannot be written, or `secret` is no key.
    pub fn create(path: &Path, secret: &[u8; 32]) -> Result<Self, KeyError> {
        let key = Self::from_secret(secret)?;
        let text = Zeroizing::new(format!("{}\n", hex::encode(secret)));
        write_new(path, text.as_bytes())?;
        Ok(key)
    }

    /// Reads a keystore file and says what makes it weak, without opening it.
    ///
    /// # Errors
    /// [`KeyError`]: missing, readable by others, or no keystore file.
    pub fn keystore(path: &Path) -> Result<Keystore, KeyError> {
        Keystore::parse(&closed_file(path)?)
            .map_err(|source| KeyError::Keystore { path: path.into(), source })
    }

    /// Opens a keystore file.  Takes about a second.
    ///
    /// # Errors
    /// [`KeyError`]: missing, readable by others, or the passphrase does not open it.
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Keystore { path: path.into(), source };
        let keystore = Self::keystore(path)?;
        let key = Self::from_secret(&*keystore.open(passphrase).map_err(failed)?)?;
        match keystore.address() {
            Some(said) if said != key.address => {
                Err(failed(crate::KeystoreError::Account { said, found: key.address }))
            }
            Some(_) | None => Ok(key),
        }
    }

    /// Writes `secret`, or a fresh one, to a new keystore file with mode 0600.  Takes about a second.
    ///
    /// # Errors
    /// [`KeyError`]: the file exists or cannot be written, or `secret` is no key.
    pub fn create_keystore(
        path: &Path,
        secret: Option<&[u8; 32]>,
        passphrase: &Passphrase,
    ) -> Result<Self, KeyError> {
        let random = || KeyError::Random { path: path.into() };
        let mut fresh = Zeroizing::new([0_u8; 32]);
        match secret {
            Some(secret) => fresh.copy_from_slice(secret),
            None => getrandom::fill(&mut *fresh).map_err(|_| random())?,
        }
        let key = Self::from_secret(&fresh)?;
        let mut entropy = Entropy { salt: [0; 32], iv: [0; 16], id: [0; 16] };
        for bytes in [&mut entropy.salt[..], &mut entropy.iv, &mut entropy.id] {
            getrandom::fill(bytes).map_err(|_| random())?;
        }
        let text = Keystore::write(&fresh, key.address, passphrase, &entropy)
            .map_err(|source| KeyError::Keystore { path: path.into(), source })?;
        write_new(path, text.as_bytes())?;
        Ok(key)
    }

    /// The account that the key signs for.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// Signs an EIP-1559 transaction.  What comes back is this account's and says what was asked, or it is an error.
    ///
    /// # Errors
    /// [`SignError`].
    pub async fn sign(&self, transaction: TxEip1559) -> Result<Signed<TxEip1559>, SignError> {
        let hash = transaction.signature_hash();
        let signature = match &self.way {
            Way::Here(signer) => signer.sign_hash_sync(&hash),
        };
        let signature = signature.map_err(|source| SignError::Failed { account: self.address, source })?;
        self.demand_own(&signature, hash)?;
        Ok(transaction.into_signed(signature))
    }

    /// Signs the hash of EIP-712 typed data: r, s and v.
    ///
    /// # Errors
    /// [`SignError`].
    pub async fn sign_typed_hash(&self, hash: B256) -> Result<Vec<u8>, SignError> {
        let signature = match &self.way {
            Way::Here(signer) => signer.sign_hash_sync(&hash),
        };
        let signature = signature.map_err(|source| SignError::Failed { account: self.address, source })?;
        self.demand_own(&signature, hash)?;
        Ok(signature.as_bytes().to_vec())
    }

    fn demand_own(&self, signature: &alloy::primitives::Signature, hash: B256) -> Result<(), SignError> {
        let signer = signature.recover_address_from_prehash(&hash).ok();
        if signer.is_some_and(|signer| signer.0 == self.address.0) {
            return Ok(());
        }
        Err(SignError::Stranger { account: self.address })
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKey({})", self.address)
    }
}

/// The bytes of a file that nobody but its owner can read.
fn closed_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::File { path: path.into(), doing: "read", source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.into(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let failed = |source| KeyError::File { path: path.into(), doing: "created", source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)
}

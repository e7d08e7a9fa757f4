//! The operator's signing key for development: a secret in a file that only its owner can read.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use alloy::{primitives::B256, signers::local::PrivateKeySigner};
use appliance_model::Address;

/// `0x`, 64 digits and a line end of either kind.
const FILE_BYTES_MAX: u64 = 68;

/// A key that signs transactions.  Never printed; `Debug` shows its address.
#[derive(Clone)]
pub struct OperatorKey {
    signer: PrivateKeySigner,
}

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
}

impl OperatorKey {
    /// The key with this secret.
    ///
    /// # Errors
    /// [`KeyError::Secret`] for zero and for numbers above the curve's order.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, KeyError> {
        let signer = PrivateKeySigner::from_bytes(&B256::new(*secret)).map_err(|_| KeyError::Secret)?;
        Ok(Self { signer })
    }

    /// Reads 64 hex digits from a file that nobody else can read.
    ///
    /// # Errors
    /// [`KeyError`]: missing, readable by others, or not a key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.into(), doing: "read", source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.into(), mode });
        }
        let content = || KeyError::Content { path: path.into() };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        let text = String::from_utf8(bytes).map_err(|_| content())?;
        if u64::try_from(text.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
            return Err(content());
        }
        let digits = text.trim();
        let mut secret = [0_u8; 32];
        hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), &mut secret)
            .map_err(|_| content())?;
        Self::from_secret(&secret).map_err(|_| content())
    }

    /// Writes a new key file with mode 0600 and never over an existing one.
    ///
    /// # Errors
    /// [`KeyError`]: the file exists, cannot be written, or `secret` is no key.
    pub fn create(path: &Path, secret: &[u8; 32]) -> Result<Self, KeyError> {
        let key = Self::from_secret(secret)?;
        let failed = |source| KeyError::File { path: path.into(), doing: "created", source };
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(format!("{}\n", hex::encode(secret)).as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok(key)
    }

    /// The account that the key signs for.
    #[must_use]
    pub fn address(&self) -> Address {
        Address(self.signer.address().into_array())
    }

    pub(crate) fn signer(&self) -> &PrivateKeySigner {
        &self.signer
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKey({})", self.address())
    }
}

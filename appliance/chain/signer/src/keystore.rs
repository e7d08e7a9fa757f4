//! Key files of Ethereum's tools ("Web3 Secret Storage", version 3): read whoever wrote them, written at geth's cost.
//!
//! The passphrase goes through scrypt (or PBKDF2, read only) to a key for AES-128-CTR and a keccak-256 checksum.  A
//! file comes from outside: its sizes and costs are bounded before anything is computed.

use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use alloy::primitives::keccak256;
use appliance_model::Address;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Passphrase;

/// geth's standard: 2^18 rounds of 1 KiB, so 256 MiB and about a second a guess.
const LOG_N: u8 = 18;
const R: u32 = 8;
const P: u32 = 1;
/// Work of [`LOG_N`], [`R`] and [`P`]; a file below it is weak.
const WORK_STANDARD: u64 = (1 << LOG_N) * 8;
/// A file may ask for this much memory, in bytes, and no more.
const SCRYPT_BYTES_MAX: u64 = 1 << 30;
/// … and for sixteen times the standard's work.
const SCRYPT_WORK_MAX: u64 = WORK_STANDARD * 16;
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;
/// A key file is some 500 bytes.
const FILE_BYTES_MAX: usize = 8192;
const SALT_BYTES_MAX: usize = 256;

/// A key file as it stands; opening it takes the passphrase.
#[derive(Debug)]
pub struct Keystore {
    address: Option<Address>,
    iv: [u8; 16],
    ciphertext: Vec<u8>,
    mac: [u8; 32],
    derivation: Derivation,
}

#[derive(Debug, Clone)]
enum Derivation {
    Scrypt { log_n: u8, r: u32, p: u32, salt: Vec<u8> },
    Pbkdf2 { rounds: u32, salt: Vec<u8> },
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// It is no such file, or damaged.
    #[error("no keystore file of version 3: {0}")]
    Format(String),
    /// It asks for more than is reasonable.
    #[error("the keystore file asks for more work than any honest one ({0}); it was not tried")]
    Cost(String),
    /// The checksum does not fit.
    #[error("the passphrase does not open this keystore file, or the file is damaged")]
    Passphrase,
    /// What it holds is a key of another account than it says.
    #[error("the keystore file says that it is of {said}, but its key is of {found}; it was not used")]
    Account {
        /// The file's `address`.
        said: Address,
        /// The key's.
        found: Address,
    },
}

/// Fresh random bytes for a new file.
#[derive(Debug)]
pub struct Entropy {
    /// Salt of the derivation.
    pub salt: [u8; 32],
    /// Initial counter of the cipher.
    pub iv: [u8; 16],
    /// The file's id.
    pub id: [u8; 16],
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(default)]
    id: String,
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: KdfParams,
    mac: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct KdfParams {
    dklen: u32,
    salt: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prf: Option<String>,
}

impl Keystore {
    /// Reads a key file's text.
    ///
    /// # Errors
    /// [`KeystoreError::Format`], [`KeystoreError::Cost`].
    pub fn parse(text: &[u8]) -> Result<Self, KeystoreError> {
        let wrong = |why: &str| KeystoreError::Format(why.to_owned());
        if text.len() > FILE_BYTES_MAX {
            return Err(wrong("it is longer than any such file"));
        }
        // The parser's own words may repeat the file.
        let file: File = serde_json::from_slice(text).map_err(|error| {
            KeystoreError::Format(format!(
                "line {} column {} is not as it should be",
                error.line(),
                error.column()
            ))
        })?;
        if file.version != 3 {
            return Err(KeystoreError::Format(format!("its version is {}", file.version)));
        }
        if file.crypto.cipher != "aes-128-ctr" || file.crypto.kdfparams.dklen != 32 {
            return Err(wrong("its cipher is not aes-128-ctr with a key of 32 bytes"));
        }
        let bytes =
            |text: &str, what: &str| hex::decode(text.trim_start_matches("0x")).map_err(|_| wrong(what));
        let iv = bytes(&file.crypto.cipherparams.iv, "its iv is no hex")?;
        let mac = bytes(&file.crypto.mac, "its mac is no hex")?;
        let ciphertext = bytes(&file.crypto.ciphertext, "its ciphertext is no hex")?;
        if ciphertext.len() != 32 {
            return Err(wrong("its ciphertext is not of 32 bytes"));
        }
        let address = file.address.as_deref().map(|text| text.trim_start_matches("0x").parse());
        Ok(Self {
            address: address.transpose().map_err(|_| wrong("its address is none"))?,
            iv: iv.try_into().map_err(|_| wrong("its iv is not of 16 bytes"))?,
            ciphertext,
            mac: mac.try_into().map_err(|_| wrong("its mac is not of 32 bytes"))?,
            derivation: Derivation::of(&file.crypto.kdf, &file.crypto.kdfparams)?,
        })
    }

    /// The account that the file says it is of.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        self.address
    }

    /// What makes the file easier to guess than one that we write, if anything.
    #[must_use]
    pub fn weakness(&self) -> Option<String> {
        match &self.derivation {
            Derivation::Scrypt { log_n, r, p, .. } => {
                let work = (1_u64 << log_n) * u64::from(*r) * u64::from(*p);
                (work < WORK_STANDARD).then(|| {
                    format!(
                        "its scrypt cost is 1/{} of the standard's: whoever copies the file guesses passphrases that much \
                         faster; import its key into a new file with `chain key import`",
                        WORK_STANDARD.div_ceil(work)
                    )
                })
            }
            Derivation::Pbkdf2 { .. } => Some(
                "it is kept by PBKDF2, which graphics cards guess by the million; import its key into a new file with \
                 `chain key import`"
                    .to_owned(),
            ),
        }
    }

    /// The secret.  Takes about a second.
    ///
    /// # Errors
    /// [`KeystoreError::Passphrase`].
    pub fn open(&self, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
        let derived = self.derivation.derive(passphrase)?;
        let (key, rest) = derived.split_at(16);
        if checksum(rest, &self.ciphertext) != self.mac {
            return Err(KeystoreError::Passphrase);
        }
        let mut secret = Zeroizing::new([0_u8; 32]);
        secret.copy_from_slice(&self.ciphertext);
        crypt(key, &self.iv, &mut secret)?;
        Ok(secret)
    }

    /// The text of a new file, at geth's standard cost.  Takes about a second.
    ///
    /// # Errors
    /// Never for these costs; the library's type says otherwise.
    pub fn write(
        secret: &[u8; 32],
        address: Address,
        passphrase: &Passphrase,
        entropy: &Entropy,
    ) -> Result<String, KeystoreError> {
        let derivation = Derivation::Scrypt { log_n: LOG_N, r: R, p: P, salt: entropy.salt.to_vec() };
        let derived = derivation.derive(passphrase)?;
        let (key, rest) = derived.split_at(16);
        let mut ciphertext = *secret;
        crypt(key, &entropy.iv, &mut ciphertext)?;
        let file = File {
            crypto: Crypto {
                cipher: "aes-128-ctr".into(),
                cipherparams: CipherParams { iv: hex::encode(entropy.iv) },
                ciphertext: hex::encode(ciphertext),
                kdf: "scrypt".into(),
                kdfparams: KdfParams {
                    dklen: 32,
                    salt: hex::encode(entropy.salt),
                    n: Some(1 << LOG_N),
                    r: Some(R),
                    p: Some(P),
                    ..KdfParams::default()
                },
                mac: hex::encode(checksum(rest, &ciphertext)),
            },
            address: Some(address.to_string().trim_start_matches("0x").to_lowercase()),
            id: uuid(entropy.id),
            version: 3,
        };
        serde_json::to_string_pretty(&file).map_err(|error| KeystoreError::Format(error.to_string()))
    }
}

impl Derivation {
    fn of(kdf: &str, params: &KdfParams) -> Result<Self, KeystoreError> {
        let wrong = |why: &str| KeystoreError::Format(why.to_owned());
        let salt =
            hex::decode(params.salt.trim_start_matches("0x")).map_err(|_| wrong("its salt is no hex"))?;
        if salt.len() > SALT_BYTES_MAX {
            return Err(wrong("its salt is longer than any"));
        }
        match (kdf, params) {
            ("scrypt", KdfParams { n: Some(n), r: Some(r), p: Some(p), .. }) => {
                if !n.is_power_of_two() || *n < 2 || *r == 0 || *p == 0 {
                    return Err(wrong("its scrypt parameters are none"));
                }
                let block = n.saturating_mul(u64::from(*r));
                if block.saturating_mul(128) > SCRYPT_BYTES_MAX
                    || block.saturating_mul(u64::from(*p)) > SCRYPT_WORK_MAX
                {
                    return Err(KeystoreError::Cost(format!("scrypt with n {n}, r {r}, p {p}")));
                }
                let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| wrong("its scrypt n is none"))?;
                Ok(Self::Scrypt { log_n, r: *r, p: *p, salt })
            }
            ("pbkdf2", KdfParams { c: Some(rounds), prf: Some(prf), .. }) if prf == "hmac-sha256" => {
                if *rounds == 0 || *rounds > PBKDF2_ROUNDS_MAX {
                    return Err(KeystoreError::Cost(format!("PBKDF2 with {rounds} rounds")));
                }
                Ok(Self::Pbkdf2 { rounds: *rounds, salt })
            }
            _ => Err(wrong("its key derivation is neither scrypt nor pbkdf2 with hmac-sha256")),
        }
    }

    fn derive(&self, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
        let mut derived = Zeroizing::new([0_u8; 32]);
        match self {
            Self::Scrypt { log_n, r, p, salt } => {
                let params = scrypt::Params::new(*log_n, *r, *p)
                    .map_err(|error| KeystoreError::Cost(error.to_string()))?;
                scrypt::scrypt(passphrase.bytes(), salt, &params, &mut *derived)
                    .map_err(|error| KeystoreError::Cost(error.to_string()))?;
            }
            Self::Pbkdf2 { rounds, salt } => {
                pbkdf2::pbkdf2_hmac::<pbkdf2::sha2::Sha256>(passphrase.bytes(), salt, *rounds, &mut *derived);
            }
        }
        Ok(derived)
    }
}

fn checksum(key: &[u8], ciphertext: &[u8]) -> [u8; 32] {
    keccak256([key, ciphertext].concat()).0
}

fn crypt(key: &[u8], iv: &[u8; 16], bytes: &mut [u8; 32]) -> Result<(), KeystoreError> {
    let mut cipher = ctr::Ctr128BE::<aes::Aes128>::new_from_slices(key, iv)
        .map_err(|_| KeystoreError::Format("its key is not of 16 bytes".into()))?;
    cipher.apply_keystream(bytes);
    Ok(())
}

/// The id as RFC 4122 wants a random one.
fn uuid(mut id: [u8; 16]) -> String {
    id[6] = id[6] & 0x0F | 0x40;
    id[8] = id[8] & 0x3F | 0x80;
    let text = hex::encode(id);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

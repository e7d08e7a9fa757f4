//! Where the operator's key is.

use std::path::{Path, PathBuf};

use appliance_model::Address;
use chain_client::signer::{Cloud, KeyPath};
use serde::Deserialize;

/// Where the operator's key is, as people write it.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Wire {
    /// A web3 keystore file (`scalerforge chain key new`).
    Keystore {
        /// The file.
        file: String,
        /// File whose first line is the passphrase.  Absent: systemd's credential `operator-passphrase`.
        passphrase_file: Option<String>,
    },
    /// A signer in another machine: Web3Signer, Clef.
    Remote {
        /// `https://…`; `http://` on this machine only.
        url: String,
        /// The account it signs for.
        account: String,
        /// The authority of its certificate (PEM).  Absent: the system's authorities.
        authority_file: Option<String>,
        /// Our certificate and key (PEM), which it knows us by.
        identity_file: Option<String>,
    },
    /// A key of `ECC_SECG_P256K1` in AWS KMS.
    AwsKms {
        /// Its id, ARN or alias.
        key: String,
        /// Region.
        region: String,
        /// The account it signs for.
        account: String,
        /// What `aws configure export-credentials --format process` prints, kept fresh by a timer of yours.
        credentials_file: String,
        /// Another endpoint than the public one.
        endpoint: Option<String>,
    },
    /// A key of `EC_SIGN_SECP256K1_SHA256` in Google Cloud KMS.
    GoogleKms {
        /// `projects/…/cryptoKeyVersions/…`.
        key: String,
        /// The account it signs for.
        account: String,
        /// An access token in its first line, kept fresh by a timer of yours.
        credentials_file: String,
        /// Another endpoint than the public one.
        endpoint: Option<String>,
    },
    /// A Ledger that is plugged in here: somebody presses its button for each signature.
    Ledger {
        /// The account it signs for.
        account: String,
        /// Where the key is in its seed's tree.  Absent: `m/44'/60'/0'/0/0`.
        path: Option<String>,
        /// Its node, such as `/dev/hidraw3`.  Absent: the only Ledger there is.
        device: Option<String>,
    },
    /// Somebody signs elsewhere: `chain export`, `chain sign`, `chain import`.
    Offline {
        /// The account.
        account: String,
    },
}

/// Where the operator's key is, understood.
#[derive(Debug, Clone)]
pub enum Signer {
    /// In `chain.operator_key_file`, for development.
    SecretFile,
    /// In a keystore file.
    Keystore {
        /// The file.
        file: PathBuf,
        /// File of the passphrase.
        passphrase_file: Option<PathBuf>,
    },
    /// In another machine.
    Remote {
        /// Where.
        url: String,
        /// The account.
        account: Address,
        /// Its authority.
        authority_file: Option<PathBuf>,
        /// Our certificate and key.
        identity_file: Option<PathBuf>,
    },
    /// In a cloud.
    Kms {
        /// Which.
        cloud: Cloud,
        /// The account.
        account: Address,
        /// File of the credentials.
        credentials_file: PathBuf,
        /// Another endpoint than the public one.
        endpoint: Option<String>,
    },
    /// In a Ledger that is plugged in here.
    Ledger {
        /// The account.
        account: Address,
        /// Where the key is in its seed's tree.
        path: KeyPath,
        /// Its node.
        device: Option<PathBuf>,
    },
    /// With a person.
    Offline {
        /// The account.
        account: Address,
    },
}

impl Signer {
    /// Relative paths are relative to `dir`; gives the field that is none of its kind, its text, and what it should be.
    pub(super) fn understood(
        dir: &Path,
        wire: Option<Wire>,
    ) -> Result<Self, (&'static str, String, &'static str)> {
        let account = |text: String| {
            let wrong = |_| ("chain.signer.account", text.clone(), "an EVM address: 0x and 40 hex digits");
            text.parse::<Address>().map_err(wrong)
        };
        let key_path = |text: String| {
            let wrong =
                |_| ("chain.signer.path", text.clone(), "the path of a key, such as m/44'/60'/0'/0/0");
            text.parse::<KeyPath>().map_err(wrong)
        };
        let path = |text: Option<String>| text.map(|text| dir.join(text));
        Ok(match wire {
            None => Self::SecretFile,
            Some(Wire::Keystore { file, passphrase_file }) => {
                Self::Keystore { file: dir.join(file), passphrase_file: path(passphrase_file) }
            }
            Some(Wire::Remote { url, account: text, authority_file, identity_file }) => Self::Remote {
                url,
                account: account(text)?,
                authority_file: path(authority_file),
                identity_file: path(identity_file),
            },
            Some(Wire::AwsKms { key, region, account: text, credentials_file, endpoint }) => Self::Kms {
                cloud: Cloud::Aws { key, region },
                account: account(text)?,
                credentials_file: dir.join(credentials_file),
                endpoint,
            },
            Some(Wire::GoogleKms { key, account: text, credentials_file, endpoint }) => Self::Kms {
                cloud: Cloud::Google { key },
                account: account(text)?,
                credentials_file: dir.join(credentials_file),
                endpoint,
            },
            Some(Wire::Ledger { account: text, path: key, device }) => Self::Ledger {
                account: account(text)?,
                path: key.map_or_else(|| Ok(KeyPath::default()), key_path)?,
                device: device.map(PathBuf::from),
            },
            Some(Wire::Offline { account: text }) => Self::Offline { account: account(text)? },
        })
    }
}

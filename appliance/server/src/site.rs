//! The site's own keys: its certificate authority (inside every image it serves), the key with which it signs
//! bindings as a challenger, the key of the vault of BMC passwords, and the operator's development key.  Made
//! once, never overwritten, mode 0600.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use alloy::primitives::U256;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// The certificate authority: agents believe an appliance that shows a certificate of it.
const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const ATTESTOR_KEY: &str = "attestor.key";

/// The key that deploys the reference contracts on a development chain, and nothing else.
pub const DEPLOYER_KEY: &str = "deployer.key";

/// Why the site's keys could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A file could not be written or read.
    #[error("cannot {what} {}; check that the site directory exists and belongs to this user", file.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        file: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A key file holds something else.
    #[error("{} is not the key it should be; restore it from a backup, or start a new site directory", file.display())]
    Key {
        /// The file.
        file: PathBuf,
    },
    /// Certificates could not be made.
    #[error("the site's certificate could not be made")]
    Certificate(#[source] rcgen::Error),
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random,
}

/// The site's keys.
pub struct Keys {
    ca_key: KeyPair,
    /// 32 bytes, P-256.
    attestor: [u8; 32],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// Makes what is missing in the site directory.  What is there stays.
///
/// # Errors
/// If a file cannot be written.
pub fn init(dir: &Path) -> Result<(), SiteError> {
    std::fs::create_dir_all(dir).map_err(|source| SiteError::File {
        what: "make",
        file: dir.to_owned(),
        source,
    })?;
    let (ca, key) = (dir.join(CA), dir.join(CA_KEY));
    if !key.exists() {
        let pair = KeyPair::generate().map_err(SiteError::Certificate)?;
        write_new(&key, pair.serialize_pem().as_bytes())?;
    }
    if !ca.exists() {
        let pair = read_ca_key(&key)?;
        let certificate = ca_params()?.self_signed(&pair).map_err(SiteError::Certificate)?;
        write_new(&ca, certificate.pem().as_bytes())?;
    }
    for name in [ATTESTOR_KEY, "operator.key", DEPLOYER_KEY, crate::vault::VAULT_KEY] {
        let file = dir.join(name);
        if !file.exists() {
            write_new(&file, hex::encode(random()?).as_bytes())?;
        }
    }
    Ok(())
}

/// How a development chain of this site begins: the deployer has money, everybody else gets some from it.
#[must_use]
pub fn genesis(chain_id: u64, deployer: Option<&chain_client::OperatorKey>) -> chain_devnet::Genesis {
    // 10⁹ ether: more than a rack can spend.
    let wealth = U256::from(10).pow(U256::from(27));
    let accounts = deployer.map(|key| (key.address().0.into(), wealth)).into_iter().collect();
    chain_devnet::Genesis { chain_id, accounts }
}

/// The site's certificate authority, PEM.
///
/// # Errors
/// If it is missing.
pub(crate) fn ca_pem(dir: &Path) -> Result<String, SiteError> {
    read(&dir.join(CA))
}

/// Makes a folder that its owner alone may enter, if it is missing.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn make_private_folder(folder: &Path) -> Result<(), SiteError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| SiteError::File { what: "make", file: folder.to_owned(), source })
}

/// 32 random bytes.
///
/// # Errors
/// If the system has none.
pub fn random() -> Result<[u8; 32], SiteError> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|_| SiteError::Random)?;
    Ok(bytes)
}

impl Keys {
    /// Reads the keys that [`init`] made.
    ///
    /// # Errors
    /// If one is missing or damaged.
    pub fn read(dir: &Path) -> Result<Self, SiteError> {
        let attestor = dir.join(ATTESTOR_KEY);
        let text = read(&attestor)?;
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| SiteError::Key { file: attestor })?;
        Ok(Self { ca_key: read_ca_key(&dir.join(CA_KEY))?, attestor: bytes })
    }

    /// The challenger's key.
    #[must_use]
    pub fn attestor(&self) -> &[u8; 32] {
        &self.attestor
    }

    /// A TLS server configuration with a fresh certificate for `addresses`, signed by the site's authority.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub fn tls(&self, addresses: &[std::net::IpAddr]) -> Result<rustls::ServerConfig, SiteError> {
        let key = KeyPair::generate().map_err(SiteError::Certificate)?;
        let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).map_err(SiteError::Certificate)?;
        wide_validity(&mut params);
        params.distinguished_name.push(DnType::CommonName, "scalerforge appliance");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let issuer = Issuer::new(ca_params()?, &self.ca_key);
        let certificate = params.signed_by(&key, &issuer).map_err(SiteError::Certificate)?;
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|_| SiteError::Key { file: PathBuf::from("(generated)") })?;
        rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)
            })
            .map_err(|_| SiteError::Key { file: PathBuf::from("(generated)") })
    }
}

fn ca_params() -> Result<CertificateParams, SiteError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(SiteError::Certificate)?;
    wide_validity(&mut params);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "scalerforge site authority");
    Ok(params)
}

/// From 1970, because a server with an empty clock battery must be able to speak to us before it knows the time.
pub(crate) fn wide_validity(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
}

fn read_ca_key(file: &Path) -> Result<KeyPair, SiteError> {
    KeyPair::from_pem(&read(file)?).map_err(|_| SiteError::Key { file: file.to_owned() })
}

pub(crate) fn read(file: &Path) -> Result<String, SiteError> {
    std::fs::read_to_string(file).map_err(|source| SiteError::File {
        what: "read",
        file: file.to_owned(),
        source,
    })
}

/// Writes a file that must not exist yet, readable by its owner only, whole or not at all.
pub(crate) fn write_new(file: &Path, bytes: &[u8]) -> Result<(), SiteError> {
    let failed = |source| SiteError::File { what: "write", file: file.to_owned(), source };
    let part = file.with_extension("part");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = options.open(&part).map_err(failed)?;
    out.write_all(bytes).and_then(|()| out.sync_all()).map_err(failed)?;
    std::fs::rename(&part, file).map_err(failed)?;
    // The name is kept by the folder.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    folder.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_init_keeps_every_key() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path()).unwrap();
        let before = std::fs::read(dir.path().join("ca.pem")).unwrap();
        let attestor = *Keys::read(dir.path()).unwrap().attestor();
        init(dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("ca.pem")).unwrap(), before);
        let keys = Keys::read(dir.path()).unwrap();
        assert_eq!(*keys.attestor(), attestor);
        keys.tls(&["10.77.0.1".parse().unwrap(), "fd77::1".parse().unwrap()]).unwrap();
    }

    #[test]
    fn a_damaged_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path()).unwrap();
        std::fs::write(dir.path().join("attestor.key"), "zz").unwrap();
        let error = Keys::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("attestor.key"), "{error}");
    }
}

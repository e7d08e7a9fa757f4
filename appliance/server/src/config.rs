//! The site file: `wire::Config` is what people write, [`Config`] holds only what makes sense.
//!
//! Relative paths are relative to the site directory.  Files say what, flags say where; secrets are paths to files.

use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use appliance_model::{Address, Digest};

mod adapter;
mod alerts;
mod burn_in;
mod carve;
pub(crate) mod firmware;
mod host;
mod image;
mod page;
mod reach;
mod secure_boot;
mod signer;
mod verifier;
/// What people write.
pub mod wire;

pub use adapter::Adapter;
pub use alerts::Alerts;
pub use burn_in::BurnIn;
pub use firmware::Firmware;
pub use host::Host;
pub use image::Image;
pub use page::Page;
pub use reach::{Discovery, Span};
pub use secure_boot::SecureBoot;
pub use signer::Signer;
pub use verifier::Verifier;

/// A site file that was understood.
#[derive(Debug)]
pub struct Config {
    /// The site directory.
    pub dir: PathBuf,
    /// The site.
    pub site: wire::Site,
    /// The provisioning LAN.
    pub pxe: pxe_server::config::Config,
    /// The discovery UKI.
    pub uki: PathBuf,
    /// The boot medium for virtual CDs.
    pub medium: Option<PathBuf>,
    /// Its reference values.
    pub reference: attest_evidence::ReferenceValues,
    /// The discovery image for 64-bit ARM.
    pub arm64: Option<Image>,
    /// Where agents call.
    pub agent: SocketAddr,
    /// Where agents call that have no IPv4.
    pub agent6: Option<SocketAddr>,
    /// Where people and programs call.
    pub operator: SocketAddr,
    /// The same for other machines, behind a password.
    pub page: Option<Page>,
    /// Where verifiers call.
    pub verifier: Option<Verifier>,
    /// How machines are tested.
    pub burn_in: BurnIn,
    /// Which documents machines are held to.
    pub checks: crate::checks::Checks,
    /// Firmware images of the site's own.
    pub firmware: Option<Firmware>,
    /// Directory of EK certificates.
    pub endorsement_dir: PathBuf,
    /// Whether software TPMs may be admitted.
    pub allow_software_tpm: bool,
    /// The chain.
    pub chain: Chain,
    /// What is registered.
    pub registration: wire::Registration,
    /// Management controllers.
    pub bmcs: Vec<Bmc>,
    /// What may be done with their accounts.
    pub credentials: wire::Credentials,
    /// Where controllers are looked for.
    pub discovery: Option<Discovery>,
    /// Secure Boot.
    pub secure_boot: SecureBoot,
    /// Who is told of alerts.
    pub alerts: Option<Alerts>,
    /// How units are made real where there is a choice.
    pub carve: appliance_model::real::Wishes,
    /// What hosts get on a drive of their own.
    pub host: Option<Host>,
}

/// The chain, understood.
#[derive(Debug, Clone)]
pub struct Chain {
    /// JSON-RPC endpoints of one chain; none is the embedded chain.
    pub rpc_urls: Vec<String>,
    /// Chain id.
    pub chain_id: u64,
    /// Registry contract, if fixed.
    pub registry: Option<Address>,
    /// Whose collateral it is; the operator's own account if absent.
    pub owner: Option<Address>,
    /// ICN, if the registry is theirs.
    pub icn: Option<chain_client::IcnSettings>,
    /// File with the operator's key.
    pub operator_key_file: PathBuf,
    /// Where the operator's key is.
    pub signer: Signer,
    /// Fee cap in wei a unit of gas.
    pub fee_wei_max: u128,
    /// Which evidence is published.
    pub publish: wire::Publish,
}

/// A management controller, its password read.
#[derive(Debug, Clone)]
pub struct Bmc {
    /// `https://ADDRESS`, or `ipmi://ADDRESS` for one that has no Redfish.
    pub url: String,
    /// Whether it speaks Redfish.
    pub redfish: bool,
    /// Account.
    pub user: String,
    /// Its password, which never prints.
    pub password: appliance_bmc::Password,
    /// Rack position.
    pub position: Option<String>,
    /// How it is spoken to by IPMI, where that is allowed.
    pub ipmi: Option<IpmiWay>,
    /// The account of the vault that this is; `None` for the site file's own.
    pub account: Option<String>,
    /// Names the password: another one has another name.
    pub what: Digest,
    /// The controller's key, where an account knows it.
    pub pin: Option<Digest>,
}

/// How a controller is spoken to by IPMI.
#[derive(Debug, Clone)]
pub struct IpmiWay {
    /// Address and port.
    pub address: SocketAddr,
    /// Account.
    pub login: appliance_ipmi::Login,
    /// How weak it may be.
    pub policy: appliance_ipmi::Policy,
}

/// Why a site file was refused.  Nothing was started or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{key} names {}, which cannot be read; correct the path in {}, or make the file", file.display(), config.display())]
    File {
        /// The site file.
        config: PathBuf,
        /// The key.
        key: &'static str,
        /// The file it names.
        file: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// There is no site file: most often the directory is another one than was meant.
    #[error(
        "{} cannot be read; make a site with `scalerforge site init DIR`, or name yours with --site. Nothing was started",
        config.display()
    )]
    NoSite {
        /// The site file.
        config: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The site file is no TOML, or has a key we do not know.
    #[error("{} line {line}: {why}; correct that line, nothing was started", config.display())]
    Toml {
        /// The site file.
        config: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The parser's reason; its own text would repeat the line over four lines.
        why: String,
    },
    /// A value makes no sense.
    #[error("{}: {key}: `{value}` is not {expected}; nothing was started", config.display())]
    Value {
        /// The site file.
        config: PathBuf,
        /// The key.
        key: String,
        /// What was written.
        value: String,
        /// What should have been.
        expected: String,
    },
    /// The documents that machines are held to cannot be used.
    #[error("{}: `checks` cannot be followed; nothing was started", config.display())]
    Checks {
        /// The site file.
        config: PathBuf,
        /// Which document, and why.
        #[source]
        source: crate::checks::ChecksError,
    },
    /// The provisioning LAN makes no sense.
    #[error("{}: the provisioning LAN cannot be served as written; nothing was started", config.display())]
    Pxe {
        /// The site file.
        config: PathBuf,
        /// Which key, and why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Config {
    /// Reads `DIR/scalerforge.toml` and all it names.
    ///
    /// # Errors
    /// If anything in it cannot be used; nothing is changed then.
    pub fn read(dir: &Path) -> Result<Self, ConfigError> {
        let config = dir.join("scalerforge.toml");
        let text = std::fs::read(&config)
            .map_err(|source| ConfigError::NoSite { config: config.clone(), source })?;
        let text = String::from_utf8_lossy(&text);
        let wire: wire::Config = toml::from_str(&text).map_err(|error| ConfigError::Toml {
            config: config.clone(),
            line: error.span().map_or(1, |span| line_of(&text, span.start)),
            why: error.message().trim().replace('\n', ", "),
        })?;
        Reader { dir, config: &config }.understand(wire)
    }

    /// The reference values of all discovery images.
    pub(crate) fn references(&self) -> impl Iterator<Item = &attest_evidence::ReferenceValues> {
        std::iter::once(&self.reference).chain(self.arm64.as_ref().map(|image| &image.reference))
    }
}

/// A node's name is the site's and the host's; the registry keeps it in storage, which costs by the word.
const NAME_BYTES_MAX: usize = 64;

/// A re-attestation costs the TPM up to a second, and the appliance a file that it keeps.
const REATTEST_SECONDS_MIN: u64 = 10;

struct Reader<'a> {
    dir: &'a Path,
    config: &'a Path,
}

impl Reader<'_> {
    fn understand(&self, wire: wire::Config) -> Result<Config, ConfigError> {
        let Image { uki, reference } =
            self.image(["image.uki", "image.reference"], &wire.image.uki, &wire.image.reference)?;
        let arm64 = wire.image.arm64.as_ref().map(|arm64| {
            self.image(["image.arm64.uki", "image.arm64.reference"], &arm64.uki, &arm64.reference)
        });
        let arm64 = arm64.transpose()?;
        let medium = wire.image.medium.as_ref().map(|medium| self.dir.join(medium));
        medium.as_ref().map_or(Ok(()), |medium| readable(medium, "image.medium", self.config))?;
        if wire.pxe.api_url.is_none() {
            // The boot service alone does without; here no agent would know whom to call.
            let expected = "there, and agents learn from it where to call: write the URL of agent.listen, such as \
                            https://10.77.0.1:8443";
            return Err(self.value("pxe.api_url", "", expected));
        }
        let agent6 = wire.agent.listen6.as_deref();
        let agent6 = agent6.map(|at| self.socket("agent.listen6", at)).transpose()?;
        let told = wire.pxe.v6.as_ref().and_then(|v6| v6.api_url.as_ref());
        if agent6.is_some() != told.is_some() {
            let expected = "there exactly if agent.listen6 is: agents without IPv4 learn from it where to call, such as \
                            https://[fd77::1]:8443";
            return Err(self.value("pxe.v6.api_url", told.map_or("", String::as_str), expected));
        }
        let told = wire.pxe.api_url.as_deref();
        let host = wire.host.map(|host| self.host(host, told)).transpose()?;
        let pxe = pxe_server::Config::try_from(wire.pxe)
            .map_err(|source| self.pxe(Box::new(source)))?
            .in_folder(self.dir);
        let bmcs = wire.bmc.into_iter().map(|bmc| self.bmc(bmc)).collect::<Result<_, _>>()?;
        self.sane(&wire.site, &wire.registration)?;
        Ok(Config {
            agent: self.socket("agent.listen", &wire.agent.listen)?,
            agent6,
            operator: self.socket("operator.listen", &wire.operator.listen)?,
            page: wire.operator.page.map(|page| self.page(&page)).transpose()?,
            verifier: wire.verifier.map(|verifier| self.verifier(verifier)).transpose()?,
            chain: self.chain(wire.chain, wire.registration.hp_id)?,
            firmware: wire.firmware.map(|firmware| self.firmware(firmware)).transpose()?,
            endorsement_dir: self.dir.join(&wire.trust.endorsement_dir),
            allow_software_tpm: wire.trust.allow_software_tpm,
            dir: self.dir.to_owned(),
            site: wire.site,
            registration: wire.registration,
            pxe,
            uki,
            medium,
            reference,
            arm64,
            burn_in: self.burn_in(wire.burn_in)?,
            checks: crate::checks::Checks::read(self.dir, wire.checks)
                .map_err(|source| ConfigError::Checks { config: self.config.to_owned(), source })?,
            bmcs,
            credentials: self.credentials(wire.credentials)?,
            discovery: wire.discovery.map(|discovery| self.discovery(discovery)).transpose()?,
            secure_boot: self.secure_boot(wire.secure_boot.unwrap_or_default())?,
            alerts: wire.alerts.map(|alerts| self.alerts(&alerts)).transpose()?,
            carve: self.carve(wire.carve)?,
            host,
        })
    }

    fn sane(&self, site: &wire::Site, registration: &wire::Registration) -> Result<(), ConfigError> {
        if site.name.is_empty() || site.name.len() > NAME_BYTES_MAX || !site.name.is_ascii() {
            let expected = format!("a name of 1 to {NAME_BYTES_MAX} ASCII characters");
            return Err(self.value("site.name", &site.name, &expected));
        }
        if site.silence_seconds_max <= appliance_api::agent::POLL_SECONDS_MAX {
            let expected = format!(
                "more than the {} s for which a healthy agent may hold its breath",
                appliance_api::agent::POLL_SECONDS_MAX
            );
            return Err(self.value(
                "site.silence_seconds_max",
                &site.silence_seconds_max.to_string(),
                &expected,
            ));
        }
        if let Some(every) = site.reattest_seconds.filter(|every| *every < REATTEST_SECONDS_MIN) {
            let expected = format!("at least the {REATTEST_SECONDS_MIN} s that leave a TPM time for others");
            return Err(self.value("site.reattest_seconds", &every.to_string(), &expected));
        }
        if registration.reward_share_permille > 1000 {
            let value = registration.reward_share_permille.to_string();
            return Err(self.value(
                "registration.reward_share_permille",
                &value,
                "a share of at most 1000 thousandths",
            ));
        }
        Ok(())
    }

    fn chain(&self, wire: wire::Chain, hp_id: u64) -> Result<Chain, ConfigError> {
        let icn = adapter::Said::of(&wire, hp_id).understood();
        let icn = icn.map_err(|(field, text, should)| self.value(field, &text, should))?;
        let address = |field, text: Option<String>| {
            text.map(|text| {
                text.parse().map_err(|_| self.value(field, &text, "an EVM address: 0x and 40 hex digits"))
            })
            .transpose()
        };
        let registry = address("chain.registry", wire.registry)?;
        let owner = address("chain.owner", wire.owner)?;
        let signer = Signer::understood(self.dir, wire.signer)
            .map_err(|(field, text, should)| self.value(field, &text, should))?;
        let first = wire.rpc_url.into_iter().map(|url| ("chain.rpc_url", url));
        let others = wire.rpc_urls.into_iter().map(|url| ("chain.rpc_urls", url));
        let mut rpc_urls = Vec::new();
        for (field, url) in first.chain(others) {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(self.value(field, &url, "an http:// or https:// URL"));
            }
            if !rpc_urls.contains(&url) {
                rpc_urls.push(url);
            }
        }
        Ok(Chain {
            rpc_urls,
            chain_id: wire.chain_id,
            registry,
            owner,
            icn,
            operator_key_file: self.dir.join(wire.operator_key_file),
            signer,
            fee_wei_max: u128::from(wire.fee_gwei_max) * 1_000_000_000,
            // ICN has no place for evidence.
            publish: if icn.is_some() { wire::Publish::Registration } else { wire.publish },
        })
    }

    fn bmc(&self, wire: wire::Bmc) -> Result<Bmc, ConfigError> {
        let ipmi_only = wire.ipmi.is_some() && wire.url.starts_with("ipmi://");
        if !ipmi_only && !wire.url.starts_with("https://") {
            return Err(self.value(
                "bmc.url",
                &wire.url,
                "an https:// URL (BMC passwords never travel in clear), or ipmi://ADDRESS together with bmc.ipmi",
            ));
        }
        let password = read(&self.dir.join(&wire.password_file), "bmc.password_file", self.config)?;
        let password = String::from_utf8_lossy(&password).trim_end_matches(['\r', '\n']).to_owned();
        let ipmi = wire.ipmi.map(|weakest| self.ipmi(&wire, weakest, &password)).transpose()?;
        Ok(Bmc {
            url: wire.url,
            redfish: !ipmi_only,
            user: wire.user,
            password: appliance_bmc::Password::new(password),
            position: wire.position,
            ipmi,
            account: None,
            // The site file is read at the start only: within one run its passwords do not change.
            what: Digest::of(b"the site file's"),
            pin: None,
        })
    }

    /// How a controller is spoken to by IPMI: at the URL's address, with the same account.
    fn ipmi(&self, wire: &wire::Bmc, weakest: wire::Ipmi, password: &str) -> Result<IpmiWay, ConfigError> {
        let (_, place) = wire.url.split_once("://").unwrap_or_default();
        let place = place.trim_end_matches('/');
        let plain =
            |text: &str| text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, appliance_ipmi::PORT));
        // The port of an https URL is Redfish's.
        let address = match place.parse::<SocketAddr>() {
            Ok(at) if wire.url.starts_with("https://") => {
                Some(SocketAddr::new(at.ip(), appliance_ipmi::PORT))
            }
            Ok(at) => Some(at),
            Err(_) => plain(place.trim_matches(['[', ']'])),
        };
        let address = address.ok_or_else(|| {
            self.value(
                "bmc.url",
                &wire.url,
                "an IP address, where bmc.ipmi is set: IPMI is not spoken to names",
            )
        })?;
        let login = ipmi_login(&wire.user, password).ok_or_else(|| {
            let expected = "a password of at most 20 bytes of a user with a name of at most 16, which is what IPMI carries";
            self.value("bmc.password_file", &wire.password_file, expected)
        })?;
        let policy = match weakest {
            wire::Ipmi::Suite17 => appliance_ipmi::Policy::Strict,
            wire::Ipmi::Suite3 => appliance_ipmi::Policy::AllowSuite3,
        };
        Ok(IpmiWay { address, login, policy })
    }

    fn socket(&self, key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
        text.parse().map_err(|_| self.value(key, text, "an address with a port, such as 127.0.0.1:8090"))
    }

    fn value(&self, key: &str, value: &str, expected: &str) -> ConfigError {
        ConfigError::Value {
            config: self.config.to_owned(),
            key: key.to_owned(),
            value: value.chars().take(200).collect(),
            expected: expected.to_owned(),
        }
    }

    fn pxe(&self, source: Box<dyn std::error::Error + Send + Sync>) -> ConfigError {
        ConfigError::Pxe { config: self.config.to_owned(), source }
    }
}

/// An account as IPMI takes it: an operator with a short name and a short password.
pub(crate) fn ipmi_login(user: &str, password: &str) -> Option<appliance_ipmi::Login> {
    let password = appliance_ipmi::Password::new(password)?;
    appliance_ipmi::Login::new(user.to_owned(), password, appliance_ipmi::Level::Operator)
}

/// The line, from 1, that holds the byte at `offset`.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Whether a file can be read at all; a directory, for one, cannot.
fn readable(file: &Path, key: &'static str, config: &Path) -> Result<(), ConfigError> {
    let first = std::fs::File::open(file).and_then(|mut file| file.read(&mut [0]));
    first.map(drop).map_err(|source| ConfigError::File {
        config: config.to_owned(),
        key,
        file: file.to_owned(),
        source,
    })
}

fn read(file: &Path, key: &'static str, config: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(file).map_err(|source| ConfigError::File {
        config: config.to_owned(),
        key,
        file: file.to_owned(),
        source,
    })
}

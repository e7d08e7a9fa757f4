//! The site file: `wire::Config` is what people write, [`Config`] holds only what makes sense.
//!
//! Relative paths are relative to the site directory.  Files say what, flags say where; secrets are paths to files.

use std::{
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use appliance_model::Address;

/// What people write.
pub mod wire {
    use serde::Deserialize;

    /// `scalerforge.toml`.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Config {
        /// The site.
        pub site: Site,
        /// The provisioning LAN.
        pub pxe: pxe_server::config::wire::Config,
        /// What hosts boot.
        pub image: Image,
        /// Where agents call.
        pub agent: Listen,
        /// Where people and programs call.
        pub operator: Listen,
        /// How machines are tested.
        pub burn_in: BurnIn,
        /// Whom we believe.
        pub trust: Trust,
        /// The chain.
        pub chain: Chain,
        /// What is registered.
        pub registration: Registration,
        /// Management controllers.
        #[serde(default)]
        pub bmc: Vec<Bmc>,
    }

    /// The site.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Site {
        /// Its name, first part of its nodes' names.
        pub name: String,
        /// `auto` enrols every server found, `manual` waits for `host enrol`.
        pub enrolment: Policy,
        /// `auto` is a standing approval of every stake, `manual` waits for `host approve`.
        pub approval: Policy,
        /// How long an agent may be silent before its machine is looked at.
        pub silence_seconds_max: u64,
    }

    /// Who decides.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Policy {
        /// The appliance.
        Auto,
        /// A person.
        Manual,
    }

    /// What hosts boot.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Image {
        /// The discovery UKI.
        pub uki: String,
        /// Its reference values.
        pub reference: String,
    }

    /// A listener.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Listen {
        /// Address and port.
        pub listen: String,
    }

    /// How machines are tested.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct BurnIn {
        /// Name of a built-in profile.
        pub profile: String,
    }

    /// Whom we believe.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Trust {
        /// Directory of EK root and intermediate certificates (PEM).
        pub endorsement_dir: String,
        /// Whether a TPM made of software may be admitted: for laboratories only.
        pub allow_software_tpm: bool,
    }

    /// The chain.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Chain {
        /// JSON-RPC endpoint.  Absent: the embedded development chain.
        pub rpc_url: Option<String>,
        /// Chain id that the endpoint must report.
        pub chain_id: u64,
        /// Registry contract.  Absent: deploy the reference contracts, on a development chain only.
        pub registry: Option<String>,
        /// File with the operator's key.
        pub operator_key_file: String,
        /// The most a transaction may pay a unit of gas, in gwei.
        pub fee_gwei_max: u64,
    }

    /// What is registered.
    #[derive(Debug, Clone, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Registration {
        /// Region of the registry.
        pub region: String,
        /// ICN's number of the hardware provider.
        pub hp_id: u64,
        /// ISO 3166-1 alpha-3 country as ICN's location code.
        pub location_code: u8,
        /// Reservation price a month, in whole ICNT.
        pub reservation_price_icnt: u64,
        /// Share of rewards for delegators, in thousandths.
        pub reward_share_permille: u16,
        /// How long the collateral is locked, in days.
        pub commitment_days: u32,
        /// Longest booking accepted, in days.
        pub booking_days_max: u32,
    }

    /// A management controller.
    #[derive(Debug, Clone, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Bmc {
        /// `https://ADDRESS`.
        pub url: String,
        /// Account.
        pub user: String,
        /// File that holds the password.
        pub password_file: String,
        /// Rack position, if the asset tag does not tell.
        pub position: Option<String>,
    }
}

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
    /// Its reference values.
    pub reference: attest_evidence::ReferenceValues,
    /// Where agents call.
    pub agent: SocketAddr,
    /// Where people and programs call.
    pub operator: SocketAddr,
    /// The burn-in profile.
    pub profile: firmware_checks_burn_in::Profile,
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
}

/// The chain, understood.
#[derive(Debug, Clone)]
pub struct Chain {
    /// JSON-RPC endpoint; `None` is the embedded chain.
    pub rpc_url: Option<String>,
    /// Chain id.
    pub chain_id: u64,
    /// Registry contract, if fixed.
    pub registry: Option<Address>,
    /// File with the operator's key.
    pub operator_key_file: PathBuf,
    /// Fee cap in wei a unit of gas.
    pub fee_wei_max: u128,
}

/// A management controller, its password read.
#[derive(Debug, Clone)]
pub struct Bmc {
    /// `https://ADDRESS`.
    pub url: String,
    /// Account.
    pub user: String,
    /// Its password, which never prints.
    pub password: appliance_bmc::Password,
    /// Rack position.
    pub position: Option<String>,
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
}

/// A node's name is the site's and the host's; the registry keeps it in storage, which costs by the word.
const NAME_BYTES_MAX: usize = 64;

struct Reader<'a> {
    dir: &'a Path,
    config: &'a Path,
}

impl Reader<'_> {
    fn understand(&self, wire: wire::Config) -> Result<Config, ConfigError> {
        let uki = self.dir.join(&wire.image.uki);
        readable(&uki, "image.uki", self.config)?;
        let reference_file = self.dir.join(&wire.image.reference);
        let reference = read(&reference_file, "image.reference", self.config)?;
        let reference = attest_evidence::ReferenceValues::from_json(&reference).map_err(|_| {
            self.value(
                "image.reference",
                &wire.image.reference,
                "a file of reference values as the image build writes it",
            )
        })?;
        let profile = firmware_checks_burn_in::Profile::built_in(&wire.burn_in.profile).ok_or_else(|| {
            self.value("burn_in.profile", &wire.burn_in.profile, "a built-in profile (demo, smoke)")
        })?;
        let pxe = wire
            .pxe
            .try_into()
            .map_err(|source: pxe_server::config::ConfigError| self.pxe(Box::new(source)))?;
        let bmcs = wire.bmc.into_iter().map(|bmc| self.bmc(bmc)).collect::<Result<_, _>>()?;
        self.sane(&wire.site, &wire.registration)?;
        Ok(Config {
            agent: self.socket("agent.listen", &wire.agent.listen)?,
            operator: self.socket("operator.listen", &wire.operator.listen)?,
            chain: self.chain(wire.chain)?,
            endorsement_dir: self.dir.join(&wire.trust.endorsement_dir),
            allow_software_tpm: wire.trust.allow_software_tpm,
            dir: self.dir.to_owned(),
            site: wire.site,
            registration: wire.registration,
            pxe,
            uki,
            reference,
            profile,
            bmcs,
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

    fn chain(&self, wire: wire::Chain) -> Result<Chain, ConfigError> {
        let registry = wire
            .registry
            .map(|text| {
                text.parse()
                    .map_err(|_| self.value("chain.registry", &text, "an EVM address: 0x and 40 hex digits"))
            })
            .transpose()?;
        if wire
            .rpc_url
            .as_ref()
            .is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://"))
        {
            return Err(self.value(
                "chain.rpc_url",
                &wire.rpc_url.unwrap_or_default(),
                "an http:// or https:// URL",
            ));
        }
        Ok(Chain {
            rpc_url: wire.rpc_url,
            chain_id: wire.chain_id,
            registry,
            operator_key_file: self.dir.join(wire.operator_key_file),
            fee_wei_max: u128::from(wire.fee_gwei_max) * 1_000_000_000,
        })
    }

    fn bmc(&self, wire: wire::Bmc) -> Result<Bmc, ConfigError> {
        if !wire.url.starts_with("https://") {
            return Err(self.value(
                "bmc.url",
                &wire.url,
                "an https:// URL: BMC passwords never travel in clear",
            ));
        }
        let password = read(&self.dir.join(&wire.password_file), "bmc.password_file", self.config)?;
        let password = String::from_utf8_lossy(&password).trim_end_matches(['\r', '\n']).to_owned();
        Ok(Bmc {
            url: wire.url,
            user: wire.user,
            password: appliance_bmc::Password::new(password),
            position: wire.position,
        })
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

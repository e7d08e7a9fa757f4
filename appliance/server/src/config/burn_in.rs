//! The site's word on burn-in: which profile, and which drives may be overwritten.

use appliance_model::{burn_in::staged::SpanConsent, inventory::Inventory};
use firmware_checks_burn_in::staged::{self, Profile};

use super::{Config, ConfigError, Reader, wire};

/// How machines are tested, understood.
#[derive(Debug, Clone)]
pub struct BurnIn {
    /// The profile.
    pub profile: Profile,
    /// Its file, as it travels with a plan.
    pub text: String,
    /// Spans that the site allows to be overwritten, by the drive's serial.
    pub consents: Vec<SpanConsent>,
    /// Places whose distance is measured: name, and `host:port`.
    pub latency: Vec<(String, String)>,
}

impl Reader<'_> {
    pub(super) fn burn_in(&self, wire: wire::BurnIn) -> Result<BurnIn, ConfigError> {
        const KEY: &str = "burn_in.profile";
        let name = wire.profile.as_str();
        let text = if name.ends_with(".toml") {
            let bytes = super::read(&self.dir.join(name), KEY, self.config)?;
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            let names: Vec<String> = staged::built_in().map(|profile| profile.name).collect();
            let expected = format!("a built-in profile ({}), or the name of a .toml file", names.join(", "));
            staged::built_in_text(name).ok_or_else(|| self.value(KEY, name, &expected))?.to_owned()
        };
        let profile = Profile::parse(text.as_bytes()).map_err(|refused| {
            let why = crate::chain_of(&refused);
            self.value(KEY, name, &format!("a profile that can be used; {why}"))
        })?;
        let latency = wire.latency.iter().map(|text| self.place(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(BurnIn { profile, text, consents: wire.consent, latency })
    }
    /// `NAME=HOST:PORT`; the name becomes part of a figure's.
    fn place(&self, text: &str) -> Result<(String, String), ConfigError> {
        let plain = |name: &str| {
            (1..=32).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        let whole = |at: &str| {
            let host = at.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
            at.len() <= 260
                && host.is_some_and(|(host, _)| !host.is_empty() && !host.contains(char::is_whitespace))
        };
        let found = text.split_once('=').filter(|(name, at)| plain(name) && whole(at));
        let (name, at) = found.ok_or_else(|| {
            let expected = "NAME=HOST:PORT, the name of small letters, digits and dashes";
            self.value("burn_in.latency", text, expected)
        })?;
        Ok((name.to_owned(), at.to_owned()))
    }
}

impl Config {
    /// What the site allows of the drives in this machine.
    #[must_use]
    pub fn consents_for(&self, inventory: &Inventory) -> Vec<SpanConsent> {
        let here = |consent: &&SpanConsent| {
            inventory.drives.iter().any(|drive| drive.serial.as_ref() == Some(&consent.serial))
        };
        self.burn_in.consents.iter().filter(here).cloned().collect()
    }
}

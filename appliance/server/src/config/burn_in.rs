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
        Ok(BurnIn { profile, text, consents: wire.consent })
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

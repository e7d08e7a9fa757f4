//! Secure Boot: whether the site signs its images with keys of its own, and what firmware trusts beside them.

use std::path::PathBuf;

use super::{ConfigError, Reader, wire};

/// Secure Boot, understood.
#[derive(Debug, Clone, Default)]
pub struct SecureBoot {
    /// The site makes PK, KEK and db of its own.
    pub own_keys: bool,
    /// Certificates that firmware's db gets beside the site's.
    pub also_trust: Vec<PathBuf>,
}

/// More are a mistake; firmware has little room for variables.
const ALSO_MAX: usize = 8;

impl Reader<'_> {
    pub(super) fn secure_boot(&self, wire: wire::SecureBoot) -> Result<SecureBoot, ConfigError> {
        let also: Vec<PathBuf> = wire.also_trust.iter().map(|file| self.dir.join(file)).collect();
        if !wire.own_keys && !also.is_empty() {
            let expected = "absent without own_keys: firmware then has its own list";
            return Err(self.value("secure_boot.also_trust", &wire.also_trust.join(", "), expected));
        }
        if also.len() > ALSO_MAX {
            let expected = format!("a list of at most {ALSO_MAX} certificates");
            return Err(self.value("secure_boot.also_trust", &also.len().to_string(), &expected));
        }
        for file in &also {
            super::readable(file, "secure_boot.also_trust", self.config)?;
        }
        Ok(SecureBoot { own_keys: wire.own_keys, also_trust: also })
    }
}

//! The system that hosts get on a drive of their own: where its release is, and where installed hosts call.

use std::path::PathBuf;

use super::{ConfigError, Reader, wire};

/// What hosts get, understood.
#[derive(Debug, Clone)]
pub struct Host {
    /// Directory with `release.json` and the parts.
    pub release: PathBuf,
    /// Where installed hosts call: it stands in their image.
    pub appliance: String,
}

impl Reader<'_> {
    /// `told` is where agents are told to call while they boot from the network.
    pub(super) fn host(&self, wire: wire::Host, told: Option<&str>) -> Result<Host, ConfigError> {
        let appliance = wire.appliance.as_deref().or(told).unwrap_or_default();
        if !appliance.starts_with("https://") || appliance.contains(|letter: char| !letter.is_ascii_graphic())
        {
            let expected = "an https URL such as https://10.77.0.1:8443";
            return Err(self.value("host.appliance", appliance, expected));
        }
        let release = self.dir.join(&wire.release);
        super::readable(&release.join(crate::residence::RELEASE_FILE), "host.release", self.config)?;
        Ok(Host { release, appliance: appliance.to_owned() })
    }
}

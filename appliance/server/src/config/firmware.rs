//! Where the site's firmware images are, and where controllers fetch them.

use std::{net::SocketAddr, path::PathBuf};

use firmware_checks_baseline::Catalogue;

use super::{ConfigError, Reader, wire};

/// The catalogue's file, in the directory of images.
pub(crate) const CATALOGUE: &str = "catalogue.toml";

/// Firmware images, understood.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// The directory that holds images and catalogue.
    pub dir: PathBuf,
    /// Where controllers fetch images; `None`: images are pushed.
    pub serve: Option<Serve>,
}

/// Where controllers fetch images.
#[derive(Debug, Clone)]
pub struct Serve {
    /// Where we listen.
    pub listen: SocketAddr,
    /// The same as controllers are told: `http://10.78.0.1:8092`, without a slash at its end.
    pub url: String,
}

impl Firmware {
    /// Reads the catalogue as it is now: images are added while the appliance runs.
    ///
    /// # Errors
    /// If it cannot be read, in words.
    pub fn catalogue(&self) -> Result<Catalogue, String> {
        let file = self.dir.join(CATALOGUE);
        let name = file.display().to_string();
        let bytes = std::fs::read(&file).map_err(|error| format!("{name} cannot be read: {error}"))?;
        Catalogue::read(&name, &bytes).map_err(|error| crate::chain_of(&error))
    }
}

impl Reader<'_> {
    pub(super) fn firmware(&self, wire: wire::Firmware) -> Result<Firmware, ConfigError> {
        let serve = match (wire.listen, wire.url) {
            (None, None) => None,
            (None, Some(url)) => {
                let expected = "there without firmware.listen: nothing would answer at it";
                return Err(self.value("firmware.url", &url, expected));
            }
            (Some(listen), url) => {
                let at = self.socket("firmware.listen", &listen)?;
                let told = match url {
                    Some(url) => url.trim_end_matches('/').to_owned(),
                    None if at.ip().is_unspecified() => {
                        let expected = "an address that controllers can reach, or together with firmware.url";
                        return Err(self.value("firmware.listen", &listen, expected));
                    }
                    None => format!("http://{at}"),
                };
                if !told.starts_with("http://") {
                    let expected = "an http:// URL: controllers do not know our certificate, and check images themselves";
                    return Err(self.value("firmware.url", &told, expected));
                }
                Some(Serve { listen: at, url: told })
            }
        };
        let firmware = Firmware { dir: self.dir.join(&wire.dir), serve };
        match firmware.catalogue() {
            Ok(_) => Ok(firmware),
            Err(why) => {
                let expected = format!("a directory with a {CATALOGUE} that can be used: {why}");
                Err(self.value("firmware.dir", &wire.dir, &expected))
            }
        }
    }
}

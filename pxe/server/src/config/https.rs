//! `[pxe.https]`: boot files by HTTPS for firmware that has the site's authority enrolled.

use std::path::{Path, PathBuf};

use pxe_policy::Match;

use super::{ConfigError, bad, matching, wire};

/// Whether this build can do it: the listener needs OpenSSL.
pub(super) const BUILT_IN: bool = cfg!(feature = "https-boot");

/// Where HTTPS is, and by which certificate.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(any(feature = "https-boot", test)),
    expect(dead_code, reason = "read where the listener is built in")
)]
pub(crate) struct Https {
    pub(crate) port: u16,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Https {
    pub(super) fn in_folder(&mut self, folder: &Path) {
        self.certificate = folder.join(&self.certificate);
        self.key = folder.join(&self.key);
    }
}

/// Understands the section; `built_in` is [`BUILT_IN`].
pub(super) fn https(wire: &wire::Config, built_in: bool) -> Result<Option<Https>, ConfigError> {
    let Some(https) = &wire.https else { return Ok(None) };
    if !built_in {
        let advice = "take the build of scalerforge with it (`cargo build --release -p appliance-cli --features \
                      https-boot`, which needs libssl-dev), or remove the section: the signed image over plain HTTP \
                      is as safe to boot";
        return Err(bad("https", &https.certificate, "asks for HTTPS boot, which this build lacks", advice));
    }
    for (key, text) in [("https.certificate", &https.certificate), ("https.key", &https.key)] {
        if text.is_empty() {
            return Err(bad(key, text, "names no file", "name a PEM file; the key has to be RSA"));
        }
    }
    if https.port != 0 && https.port == wire.http_port {
        return Err(bad("https.port", https.port, "is pxe.http_port, too", "choose another, such as 8444"));
    }
    if https.offer == Some(true) && !https.offer_to.is_empty() {
        let advice = "keep `offer = true` for everybody, or the list for some";
        return Err(bad("https.offer", "true", "makes pxe.https.offer_to meaningless", advice));
    }
    let (certificate, key) = ((&https.certificate).into(), (&https.key).into());
    Ok(Some(Https { port: https.port, certificate, key }))
}

/// Who is sent there.
pub(super) fn offer_to(wire: &wire::Config) -> Result<Vec<Match>, ConfigError> {
    let Some(https) = &wire.https else { return Ok(Vec::new()) };
    if https.offer == Some(true) {
        return Ok(vec![Match::default()]);
    }
    if https.offer_to.len() > super::LIST_MAX {
        let wrong = format!("are more than {}", super::LIST_MAX);
        return Err(bad("https.offer_to", https.offer_to.len(), wrong, "name relays or classes instead"));
    }
    https.offer_to.iter().map(|of| matching("https.offer_to", of)).collect()
}

//! Who is told of alerts: a URL that may be told to nobody else, and the secret that signs what it is told.

use std::fmt;

use ring::hmac;

use super::{ConfigError, Reader, read, wire};

/// Shorter ones can be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// Who is told, understood.
#[derive(Clone)]
pub struct Alerts {
    /// Where.
    pub url: String,
    /// On this machine.
    pub local: bool,
    /// Signs what is posted.
    pub(crate) secret: hmac::Key,
}

impl fmt::Debug for Alerts {
    // Many receivers have a secret of their own in the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alerts(…)")
    }
}

impl Reader<'_> {
    pub(super) fn alerts(&self, wire: &wire::Alerts) -> Result<Alerts, ConfigError> {
        let expected = "an https:// URL, or http:// with an address of this machine such as 127.0.0.1";
        let wrong = || self.value("alerts.webhook_url", shown(&wire.webhook_url), expected);
        let url = reqwest::Url::parse(&wire.webhook_url).map_err(|_| wrong())?;
        let host = url.host_str().unwrap_or_default();
        let local = host == "localhost" || host.starts_with("127.") || host == "[::1]";
        if host.is_empty() || !(url.scheme() == "https" || url.scheme() == "http" && local) {
            return Err(wrong());
        }
        let file = self.dir.join(&wire.webhook_secret_file);
        let secret = read(&file, "alerts.webhook_secret_file", self.config)?;
        let secret = secret.trim_ascii();
        if secret.len() < SECRET_BYTES_MIN {
            let expected = format!(
                "a file with a secret of at least {SECRET_BYTES_MIN} bytes; `openssl rand -hex 32` makes one"
            );
            return Err(self.value("alerts.webhook_secret_file", &wire.webhook_secret_file, &expected));
        }
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Ok(Alerts { url: wire.webhook_url.clone(), local, secret })
    }
}

/// What may be shown of a URL: not what may be a password in it.
fn shown(url: &str) -> &str {
    url.split(['?', '@']).next().unwrap_or_default()
}

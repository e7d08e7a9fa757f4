//! The listener for HTTPS boot, in builds that have it.  In others the configuration was refused already.

use std::net::{Ipv4Addr, SocketAddr};

use super::StartError;
use crate::config::Config;

/// What the listener needs.
#[cfg(feature = "https-boot")]
pub(super) struct Listener {
    tls: pxe_http::FirmwareTls,
    port: u16,
}

#[cfg(feature = "https-boot")]
impl Listener {
    /// Reads certificate and key.
    pub(super) fn read(config: &Config) -> Result<Option<Self>, StartError> {
        let Some(https) = &config.https else { return Ok(None) };
        let file = |path: &std::path::Path| {
            std::fs::read(path)
                .map_err(|source| StartError::Https { path: path.to_owned(), source: source.into() })
        };
        let (certificate, key) = (file(&https.certificate)?, file(&https.key)?);
        let wrong = |source: pxe_http::FirmwareTlsError| {
            let path = match source {
                pxe_http::FirmwareTlsError::Key(_) | pxe_http::FirmwareTlsError::NotRsa => &https.key,
                pxe_http::FirmwareTlsError::Certificate(_)
                | pxe_http::FirmwareTlsError::NoCertificate
                | pxe_http::FirmwareTlsError::Context(_) => &https.certificate,
            };
            StartError::Https { path: path.clone(), source: source.into() }
        };
        let tls = pxe_http::FirmwareTls::new(&certificate, &key).map_err(wrong)?;
        Ok(Some(Self { tls, port: https.port }))
    }

    /// Listens on `address`; says where.
    pub(super) fn add(
        &self,
        server: &mut pxe_http::Server,
        address: Ipv4Addr,
    ) -> Result<SocketAddr, StartError> {
        let at = SocketAddr::from((address, self.port));
        server.also_firmware(at, self.tls.clone()).map_err(|source| super::listen("boot HTTPS", at, source))
    }
}

/// There is none.
#[cfg(not(feature = "https-boot"))]
pub(super) enum Listener {}

#[cfg(not(feature = "https-boot"))]
impl Listener {
    /// Nothing to read.
    #[expect(clippy::unnecessary_wraps, reason = "the same words as in the build that has it")]
    pub(super) fn read(_: &Config) -> Result<Option<Self>, StartError> {
        Ok(None)
    }

    /// There is no such listener.
    pub(super) fn add(&self, _: &mut pxe_http::Server, _: Ipv4Addr) -> Result<SocketAddr, StartError> {
        match *self {}
    }
}

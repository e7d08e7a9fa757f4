//! TLS by rustls: the site's certificate, HTTP/2 and HTTP/1.1.
//!
//! Firmware cannot use it (edk2 as Debian builds it offers neither ECDHE nor TLS 1.3); agents, installers and caches can.

use std::sync::Arc;

use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificates.
    #[error("the HTTPS certificate is not PEM; give the server's certificate and then those above it")]
    Certificate(#[source] pem::Error),
    /// The key.
    #[error("the HTTPS key is not PEM (PKCS #8, SEC 1 or PKCS #1)")]
    Key(#[source] pem::Error),
    /// Both together.
    #[error(
        "the HTTPS certificate and key do not work together; give the key that belongs to the first certificate"
    )]
    Pair(#[source] rustls::Error),
}

/// A configuration for [`crate::Server::also_tls`] from a certificate chain and its key, both PEM.
///
/// # Errors
/// See [`TlsError`].
pub fn tls(certificates: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let chain = chain.map_err(TlsError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsError::Certificate(pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    // Tickets instead of a table of sessions: a fleet that comes again costs no memory.
    config.ticketer = ring::Ticketer::new().map_err(TlsError::Pair)?;
    // One is enough for who comes again; each costs a handshake's time and bytes.
    config.send_tls13_tickets = 1;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

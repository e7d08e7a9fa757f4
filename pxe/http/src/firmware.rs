//! HTTPS boot for firmware, by OpenSSL and only here.
//!
//! Why it exists: edk2 as Debian and many vendors build it offers neither ECDHE nor TLS 1.3, only TLS 1.2 with DHE or RSA
//! key exchange, and rustls has neither of these, rightly.  So a site that must have HTTPS at that stage gets a listener
//! of its own, with a certificate of its own (RSA, since these suites sign by RSA), off unless it is built in and
//! configured.  It adds secrecy on the way and nothing to trust: what is booted is judged by its signature and
//! measurements.  Recorded traffic can be read by whoever gets the key later, as RSA key exchange has no forward secrecy.

use std::{fmt, pin::Pin};

use openssl::{
    bn::BigNum,
    dh::Dh,
    error::ErrorStack,
    pkey::{Id, PKey},
    ssl::{self, Ssl, SslContext, SslMethod, SslMode, SslOptions, SslVersion},
    x509::X509,
};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

/// What firmware is offered, best first.  The last six are all that edk2 without elliptic curves has.
const SUITES: &str = "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:\
                      DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-SHA256:DHE-RSA-AES128-SHA256:AES256-GCM-SHA384:\
                      AES128-GCM-SHA256:AES256-SHA256:AES128-SHA256";

/// Why the certificate or the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareTlsError {
    /// The certificates.
    #[error("the HTTPS boot certificate is not PEM; give the server's certificate and then those above it")]
    Certificate(#[source] ErrorStack),
    /// There is none.
    #[error("the HTTPS boot certificate's file has no certificate in it")]
    NoCertificate,
    /// The key.
    #[error("the HTTPS boot key is not PEM")]
    Key(#[source] ErrorStack),
    /// Its kind.
    #[error(
        "the HTTPS boot key is not RSA, and firmware of this kind takes no other; make one with 2048 bits or more"
    )]
    NotRsa,
    /// Both together, or OpenSSL itself.
    #[error(
        "OpenSSL does not take the HTTPS boot certificate with this key; give the key that belongs to the first certificate"
    )]
    Context(#[source] ErrorStack),
}

/// The certificate and the key for firmware.
#[derive(Clone)]
pub struct FirmwareTls(SslContext);

impl fmt::Debug for FirmwareTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FirmwareTls")
    }
}

impl FirmwareTls {
    /// From a certificate chain and its RSA key, both PEM.
    ///
    /// # Errors
    /// See [`FirmwareTlsError`].
    pub fn new(certificates: &[u8], key: &[u8]) -> Result<Self, FirmwareTlsError> {
        let chain = X509::stack_from_pem(certificates).map_err(FirmwareTlsError::Certificate)?;
        let key = PKey::private_key_from_pem(key).map_err(FirmwareTlsError::Key)?;
        if key.id() != Id::RSA {
            return Err(FirmwareTlsError::NotRsa);
        }
        let mut chain = chain.into_iter();
        let first = chain.next().ok_or(FirmwareTlsError::NoCertificate)?;
        let context = || -> Result<SslContext, ErrorStack> {
            let mut builder = SslContext::builder(SslMethod::tls_server())?;
            builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
            builder.set_options(SslOptions::CIPHER_SERVER_PREFERENCE | SslOptions::NO_RENEGOTIATION);
            // A write that has to wait is repeated from another place in memory, with the same bytes.
            builder.set_mode(
                SslMode::ENABLE_PARTIAL_WRITE
                    | SslMode::ACCEPT_MOVING_WRITE_BUFFER
                    | SslMode::AUTO_RETRY
                    | SslMode::RELEASE_BUFFERS,
            );
            builder.set_cipher_list(SUITES)?;
            // RFC 3526's group of 2048 bits: well known, and no firmware is slow with it.
            let group = Dh::from_pqg(BigNum::get_rfc3526_prime_2048()?, None, BigNum::from_u32(2)?)?;
            builder.set_tmp_dh(&group)?;
            builder.set_certificate(&first)?;
            for above in chain {
                builder.add_extra_chain_cert(above)?;
            }
            builder.set_private_key(&key)?;
            builder.check_private_key()?;
            Ok(builder.build())
        };
        context().map(Self).map_err(FirmwareTlsError::Context)
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<SslStream<TcpStream>, ssl::Error> {
        let mut stream = SslStream::new(Ssl::new(&self.0)?, stream)?;
        Pin::new(&mut stream).accept().await?;
        Ok(stream)
    }
}

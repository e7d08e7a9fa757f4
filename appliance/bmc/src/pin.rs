//! Knowing a controller by its key.  The first handshake records SHA-256 of the certificate's SubjectPublicKeyInfo;
//! every later one must show the same.  The handshake signature is always checked: the peer holds that key.  Names,
//! dates and issuers are not looked at: controllers ship certificates for other names, expired or not yet valid.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use appliance_model::{Digest, Now, ParseHex};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde::Serialize;
use x509_cert::{
    der::{Decode, Encode},
    name::Name,
};

/// SHA-256 of a certificate's SubjectPublicKeyInfo (as in RFC 7469): survives a renewed certificate, not a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pin(pub Digest);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Pin {
    type Err = ParseHex;
    fn from_str(text: &str) -> Result<Self, ParseHex> {
        text.parse().map(Self)
    }
}

/// What a controller's certificate says.  None of it is believed but the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// First second it is valid, Unix time.
    pub from_unix_seconds: u64,
    /// Last second it is valid, Unix time.
    pub to_unix_seconds: u64,
    /// Whether it was within these dates, by our clock, when it was shown.
    pub in_time: bool,
    /// Whether it signed itself.
    pub self_issued: bool,
    /// SHA-256 of the whole certificate, as the controller may list it.
    pub sha256: Digest,
}

impl Certificate {
    /// Whole days until it ends; negative when it has ended.
    #[must_use]
    pub fn days_left(&self, now: Now) -> i64 {
        days(now, self.to_unix_seconds)
    }
}

/// Whole days from now until a moment, rounded towards its end.
pub(crate) fn days(now: Now, until_unix_seconds: u64) -> i64 {
    const DAY: i64 = 86_400;
    let seconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    seconds(until_unix_seconds).saturating_sub(seconds(now.0 / 1000)).div_euclid(DAY)
}

/// What is known of one controller's key.
#[derive(Debug, Default)]
struct Known {
    pin: Option<Pin>,
    /// A key it was given and may show from now on: then that is its pin.
    next: Option<Pin>,
    /// The certificate that was last shown with it.
    certificate: Option<Certificate>,
    /// The last key that was not the pinned one.
    stranger: Option<Pin>,
}

/// Records or demands the pin.
#[derive(Debug)]
pub(crate) struct Pinning {
    known: Mutex<Known>,
    provider: Arc<CryptoProvider>,
}

/// One for all controllers: a sweep makes thousands of clients.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = ring::default_provider();
    // AES-128 with SHA-256 first: as good for us, and cheaper for a controller's small processor and for a sweep.
    provider.cipher_suites.sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("AES_128"));
    Arc::new(provider)
});
/// A client knows one controller; the library's own bound makes room for 256 in advance.
const RESUMED_SESSIONS_MAX: usize = 8;

impl Pinning {
    pub(crate) fn new(pin: Option<Pin>) -> Arc<Self> {
        let known = Mutex::new(Known { pin, ..Known::default() });
        Arc::new(Self { known, provider: Arc::clone(&PROVIDER) })
    }

    pub(crate) fn client(self: &Arc<Self>) -> Result<ClientConfig, Error> {
        let verifier: Arc<dyn ServerCertVerifier> = Arc::<Self>::clone(self);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(RESUMED_SESSIONS_MAX);
        Ok(config)
    }

    pub(crate) fn pin(&self) -> Option<Pin> {
        self.known().pin
    }

    /// From now on another key is right, too; once it is shown, it alone.
    pub(crate) fn expect(&self, next: Pin) {
        self.known().next = Some(next);
    }

    pub(crate) fn certificate(&self) -> Option<Certificate> {
        self.known().certificate.clone()
    }

    /// The pinned key and the other one that was shown last, if any was.
    pub(crate) fn mismatch(&self) -> Option<(Pin, Pin)> {
        let known = self.known();
        known.pin.zip(known.stranger)
    }

    /// The peer has proven that it holds the key of this certificate: at first contact, and where it was expected to
    /// change, that is the pin from now on.
    fn held(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let (shown, _) = read(certificate, UnixTime::since_unix_epoch(Duration::ZERO))?;
        let mut known = self.known();
        match known.pin {
            Some(pin) if pin == shown => Ok(()),
            Some(_) if known.next != Some(shown) => {
                known.stranger = Some(shown);
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            Some(_) => {
                (known.pin, known.next) = (Some(shown), None);
                Ok(())
            }
            None => {
                known.pin = Some(shown);
                Ok(())
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(Pin, Certificate), Error> {
    let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    let sha256 = Digest::of(certificate);
    let certificate = x509_cert::Certificate::from_der(certificate).map_err(bad)?;
    let body = certificate.tbs_certificate;
    let key = body.subject_public_key_info.to_der().map_err(bad)?;
    let text =
        |name: &Name| name.to_string().chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    let from = body.validity.not_before.to_unix_duration().as_secs();
    let to = body.validity.not_after.to_unix_duration().as_secs();
    let facts = Certificate {
        subject: text(&body.subject),
        issuer: text(&body.issuer),
        from_unix_seconds: from,
        to_unix_seconds: to,
        in_time: (from..=to).contains(&now.as_secs()),
        self_issued: body.subject == body.issuer,
        sha256,
    };
    Ok((Pin(Digest::of(&key)), facts))
}

/// Longest name taken over from a certificate.
const NAME_CHARS_MAX: usize = 256;

impl ServerCertVerifier for Pinning {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (shown, facts) = read(end_entity, now)?;
        let mut known = self.known();
        match known.pin {
            Some(pin) if pin != shown && known.next != Some(shown) => {
                known.stranger = Some(shown);
                return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
            }
            // At first contact it is taken once the signature has shown that the peer holds it.
            Some(_) | None => known.stranger = None,
        }
        known.certificate = Some(facts);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = verify_tls12_signature(message, certificate, signature, algorithms)?;
        self.held(certificate)?;
        Ok(valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = verify_tls13_signature(message, certificate, signature, algorithms)?;
        self.held(certificate)?;
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

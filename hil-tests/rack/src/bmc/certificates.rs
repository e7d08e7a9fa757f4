//! The certificate that TLS shows: made at start, replaced by clients, and what certificates say.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use x509_cert::der::{Decode as _, Encode as _};

use super::answer::Answer;
use super::desk::Desk;
use super::journal::event;
use crate::error::RackError;

/// What TLS shows; clones are the same thing.
#[derive(Clone)]
pub(crate) struct Shown(Arc<Mutex<Identity>>);

struct Identity {
    pem: String,
    key_pem: String,
    certified: Arc<CertifiedKey>,
    /// The key of a signing request that waits for its certificate.
    requested: Option<String>,
    /// What is shown after the BMC was restarted.
    later: Option<Box<Identity>>,
}

impl std::fmt::Debug for Shown {
    /// Without keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.lock().certified))
    }
}

impl Shown {
    /// A self-signed certificate, as a BMC makes it at its first start.
    pub(crate) fn self_signed(address: IpAddr, serial: &str) -> Result<Self, RackError> {
        let fault = |reason: String| RackError::Certificate { address: address.to_string(), reason };
        let key = rcgen::KeyPair::generate().map_err(|error| fault(error.to_string()))?;
        let mut parameters = rcgen::CertificateParams::new(vec![address.to_string()])
            .map_err(|error| fault(error.to_string()))?;
        parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("BMC of {serial}"));
        let certificate = parameters.self_signed(&key).map_err(|error| fault(error.to_string()))?;
        let identity = Identity::new(certificate.pem(), key.serialize_pem()).map_err(fault)?;
        Ok(Self(Arc::new(Mutex::new(identity))))
    }

    pub(crate) fn pem(&self) -> String {
        self.lock().pem.clone()
    }

    /// What a rustls server needs.
    pub(crate) fn acceptor(&self) -> Result<tokio_rustls::TlsAcceptor, RackError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| RackError::Certificate { address: "TLS".to_owned(), reason: error.to_string() })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        Ok(tokio_rustls::TlsAcceptor::from(Arc::new(config)))
    }

    /// The BMC was restarted: what waited for it is shown.
    pub(crate) fn take_over(&self) {
        let mut identity = self.lock();
        if let Some(later) = identity.later.take() {
            *identity = *later;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Identity> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Identity {
    fn new(pem: String, key_pem: String) -> Result<Self, String> {
        let chain: Vec<CertificateDer<'static>> =
            blocks(&pem, "CERTIFICATE").into_iter().map(Into::into).collect();
        let key = blocks(&key_pem, "PRIVATE KEY").into_iter().next().ok_or("there is no PKCS#8 key")?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|error| error.to_string())?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|error| error.to_string())?;
        Ok(Self { pem, key_pem, certified: Arc::new(certified), requested: None, later: None })
    }
}

/// The bodies of PEM blocks of one label.
fn blocks(pem: &str, label: &str) -> Vec<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let bodies = pem.split(begin.as_str()).skip(1).filter_map(|rest| rest.split(end.as_str()).next());
    bodies
        .filter_map(|body| {
            let text: String = body.chars().filter(|c| !c.is_whitespace()).collect();
            STANDARD.decode(text).ok()
        })
        .collect()
}

/// The one certificate in a PEM text, checked to be one.
pub(crate) fn der_of_pem(pem: &str) -> Option<Vec<u8>> {
    let der = blocks(pem, "CERTIFICATE").into_iter().next()?;
    x509_cert::Certificate::from_der(&der).ok()?;
    Some(der)
}

/// What a certificate says, as Redfish shows it.
pub(crate) fn facts(der: &[u8]) -> Option<Value> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    let body = certificate.tbs_certificate;
    let serial: Vec<String> =
        body.serial_number.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(json!({
        "Issuer": name(&body.issuer),
        "Subject": name(&body.subject),
        "SerialNumber": serial.join(":"),
        "ValidNotBefore": super::clock::text(body.validity.not_before.to_unix_duration().as_secs()),
        "ValidNotAfter": super::clock::text(body.validity.not_after.to_unix_duration().as_secs()),
    }))
}

fn name(name: &x509_cert::name::Name) -> Value {
    let mut shown = json!({});
    for part in name.0.iter().flat_map(|set| set.0.iter()) {
        let key = match part.oid.to_string().as_str() {
            "2.5.4.3" => "CommonName",
            "2.5.4.6" => "Country",
            "2.5.4.7" => "City",
            "2.5.4.8" => "State",
            "2.5.4.10" => "Organization",
            "2.5.4.11" => "OrganizationalUnit",
            _ => continue,
        };
        let text = part.value.to_der().ok().and_then(|der| {
            // Tag and one byte of length: names are shorter than 128 bytes.
            der.get(2..).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        });
        shown[key] = json!(text);
    }
    shown
}

/// Lays over the HTTPS certificate's resource what TLS shows.
pub(crate) fn overlay(desk: &Desk, path: &str, value: &mut Value) {
    let Some(shown) = desk.tls.as_ref().filter(|_| is_https(path)) else { return };
    let pem = {
        let identity = shown.lock();
        identity.later.as_ref().map_or_else(|| identity.pem.clone(), |later| later.pem.clone())
    };
    value["CertificateString"] = json!(pem);
    if let (Some(fields), Some(Value::Object(facts))) =
        (value.as_object_mut(), der_of_pem(&pem).and_then(|der| facts(&der)))
    {
        fields.extend(facts);
    }
}

fn is_https(path: &str) -> bool {
    path.contains("/HTTPS/Certificates/")
}

/// The action ReplaceCertificate: from the next handshake on TLS shows the new one.
pub(crate) fn replace(desk: &Desk, body: &Value) -> Result<Answer, Answer> {
    let text = body.get("CertificateString").and_then(Value::as_str);
    let text =
        text.ok_or_else(|| Answer::bad("ActionParameterMissing", "The action requires CertificateString."))?;
    let place = body.pointer("/CertificateUri/@odata.id").and_then(Value::as_str).unwrap_or_default();
    if !is_https(place) || !desk.store.has(place.trim_end_matches('/')) {
        return Err(Answer::bad(
            "ActionParameterValueFormatError",
            "CertificateUri is not the HTTPS certificate.",
        ));
    }
    let Some(shown) = &desk.tls else {
        return Err(Answer::bad("ActionNotSupported", "This BMC serves plain HTTP."));
    };
    let mut identity = shown.lock();
    let key = if text.contains("PRIVATE KEY") {
        text.to_owned()
    } else {
        identity.requested.clone().unwrap_or_else(|| identity.key_pem.clone())
    };
    let new = Identity::new(text.to_owned(), key).map_err(|reason| {
        Answer::bad("ActionParameterValueFormatError", format!("The certificate cannot be used: {reason}"))
    })?;
    // Keys are not given back to readers.
    let pem: String = text.split("-----BEGIN PRIVATE KEY").next().unwrap_or_default().to_owned();
    let new = Identity { pem: if pem.contains("CERTIFICATE") { pem } else { String::new() }, ..new };
    if desk.quirks.certificate_after_restart {
        identity.later = Some(Box::new(new));
    } else {
        *identity = new;
    }
    drop(identity);
    desk.journal.write("OK", "The HTTPS certificate was replaced.", event::OTHER);
    Ok(Answer::ok(desk.resource(place.trim_end_matches('/')).unwrap_or_default()))
}

/// The action GenerateCSR: a new key, whose certificate is to be brought by ReplaceCertificate.
pub(crate) fn request(desk: &Desk, body: &Value) -> Result<Answer, Answer> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let common = text("CommonName").ok_or_else(|| {
        Answer::bad("ActionParameterMissing", "The action GenerateCSR requires CommonName.")
    })?;
    let Some(shown) = &desk.tls else {
        return Err(Answer::bad("ActionNotSupported", "This BMC serves plain HTTP."));
    };
    let fault = |error: rcgen::Error| Answer::internal(error.to_string());
    let key = rcgen::KeyPair::generate().map_err(fault)?;
    let mut parameters = rcgen::CertificateParams::new(vec![common.to_owned()]).map_err(fault)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    for (field, kind) in [
        ("CommonName", rcgen::DnType::CommonName),
        ("Country", rcgen::DnType::CountryName),
        ("State", rcgen::DnType::StateOrProvinceName),
        ("City", rcgen::DnType::LocalityName),
        ("Organization", rcgen::DnType::OrganizationName),
        ("OrganizationalUnit", rcgen::DnType::OrganizationalUnitName),
    ] {
        if let Some(value) = text(field) {
            parameters.distinguished_name.push(kind, value);
        }
    }
    let request = parameters.serialize_request(&key).and_then(|request| request.pem()).map_err(fault)?;
    shown.lock().requested = Some(key.serialize_pem());
    let place = body.get("CertificateCollection").cloned().unwrap_or(Value::Null);
    Ok(Answer::ok(json!({ "CSRString": request, "CertificateCollection": place })))
}

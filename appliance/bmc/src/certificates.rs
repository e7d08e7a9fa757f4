//! The certificate that the controller shows by HTTPS: what it says, how long it lasts, a request for another, and that
//! other put in place (DSP2046: CertificateService, Certificate).
//!
//! A controller is known by its key, so another key is a change of who it is.  The request is read over the connection that
//! is pinned to the old key and tells the new one: that is kept by the caller before [`Bmc::replace_certificate`], and
//! [`Bmc::expect_key`] takes either after a crash in between.

use serde::Serialize;
use serde_json::{Value, json};

use appliance_model::{Digest, Now};
use x509_cert::{
    der::{Decode, Encode, pem::decode_vec},
    request::CertReq,
};

use crate::{
    change::{Allowed, LOOKS_MAX, What, in_doubt},
    client::{Bmc, ROOT},
    error::BmcError,
    exchange::Answer,
    field,
    inventory::Machine,
    link::local,
    pin::{Certificate, Pin, days},
    quirks::Switch,
};

/// Longest PEM text read or sent: chains of three RSA-4096 certificates have 8 KiB.
const PEM_BYTES_MAX: usize = 64 << 10;
/// Certificates of one collection or chain.
const CERTIFICATES_MAX: usize = 8;

/// A certificate as the controller lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The resource.
    pub url: String,
    /// SHA-256 of it, where its text is shown.
    pub sha256: Option<Digest>,
    /// SHA-256 of its key, where its text is shown.
    pub key: Option<Pin>,
    /// The subject's common name.
    pub subject: Option<String>,
    /// The issuer's common name.
    pub issuer: Option<String>,
    /// Last second it is valid, Unix time, where its text is shown.
    pub to_unix_seconds: Option<u64>,
    /// When it ends, in the controller's words.
    pub until: Option<String>,
}

/// What is known of the controller's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpsCertificates {
    /// What it showed in the last handshake.
    pub shown: Option<Certificate>,
    /// What it lists for HTTPS; empty where it lists none.
    pub listed: Vec<Listed>,
    /// The collection of them.
    pub collection: Option<String>,
    /// Whether it can be asked for a request, and given another certificate.
    pub replaceable: bool,
}

impl HttpsCertificates {
    /// Whole days until the certificate in use ends; negative when it has ended, `None` where nothing tells.
    #[must_use]
    pub fn days_left(&self, now: Now) -> Option<i64> {
        let listed = || self.listed.iter().find_map(|one| one.to_unix_seconds);
        self.shown
            .as_ref()
            .map(|shown| shown.days_left(now))
            .or_else(|| listed().map(|until| days(now, until)))
    }
}

/// What a new certificate is to say.  All of it is demanded by some controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateWish<'a> {
    /// The controller's name.
    pub common_name: &'a str,
    /// Other names and addresses.
    pub alternative_names: &'a [String],
    /// Organization.
    pub organization: &'a str,
    /// Unit of it.
    pub unit: &'a str,
    /// City.
    pub city: &'a str,
    /// State or province.
    pub state: &'a str,
    /// Country, two letters.
    pub country: &'a str,
}

/// A request for a certificate that the controller made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// PKCS#10, PEM.
    pub pem: String,
    /// The key it is for: the controller's pin once its certificate is in place.
    pub key: Pin,
}

/// What became of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replaced {
    /// It was in place; nothing was sent.
    AlreadyThere,
    /// The controller shows it.
    Shown,
    /// Taken, and shown after the controller was restarted.
    AfterRestart,
}

impl Bmc {
    /// What is known of the controller's certificate.
    ///
    /// # Errors
    /// When the controller cannot be asked.
    pub async fn https_certificates(&self) -> Result<HttpsCertificates, BmcError> {
        let machine = self.machine().await?;
        self.certificates_of(&machine).await
    }

    /// Has the controller make a new key and a request for its certificate.  The old ones stay in use.
    ///
    /// # Errors
    /// When it is not allowed for this machine, the controller makes none or refuses, or what it made is no such request.
    pub async fn request_certificate(
        &self,
        allowed: &Allowed,
        wish: &CertificateWish<'_>,
    ) -> Result<Request, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::Certificate)?;
        let (at, service) = self.certificate_service(&machine).await?;
        let known = self.certificates_of(&machine).await?;
        let collection =
            known.collection.ok_or_else(|| self.lacks(&at, "a collection of its HTTPS certificates"))?;
        let name = "CertificateService.GenerateCSR";
        let action = field::at(&service, &["Actions", &format!("#{name}")]).cloned().unwrap_or_default();
        let target = self.action(&at, &service, name);
        let target = target.ok_or_else(|| self.lacks(&at, "requests for certificates"))?;
        let mut body = json!({
            "CommonName": wish.common_name, "Organization": wish.organization, "OrganizationalUnit": wish.unit,
            "City": wish.city, "State": wish.state, "Country": wish.country,
            "CertificateCollection": { "@odata.id": collection },
        });
        if !wish.alternative_names.is_empty() {
            body["AlternativeNames"] = json!(wish.alternative_names);
        }
        self.choose_key(&action, &mut body).await;
        let answer = self.tagged("POST", &target, Some(&body), &machine.quirks).await?;
        let pem = csr_in(&answer).ok_or_else(|| self.lacks(&target, "a request in its answer"))?;
        let key =
            key_of_request(&pem).ok_or_else(|| self.lacks(&target, "a request that is PKCS#10 in PEM"))?;
        Ok(Request { pem, key })
    }

    /// Puts a certificate in place (PEM, its issuers after it) for a key that the controller holds: the one of
    /// [`Request::key`], which is to be kept before.
    ///
    /// # Errors
    /// When it is not allowed for this machine, is no certificate for that key, or the controller refuses or does not
    /// show it.
    pub async fn replace_certificate(
        &self,
        allowed: &Allowed,
        pem: &str,
        key: Pin,
    ) -> Result<Replaced, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::Certificate)?;
        let (at, service) = self.certificate_service(&machine).await?;
        let facts =
            Facts::of(pem).ok_or_else(|| self.unfit(&at, "what is to be put in place is no certificate"))?;
        if facts.key != key {
            let why = format!("the certificate is for the key {}, and the controller's is {key}", facts.key);
            return Err(self.unfit(&at, why));
        }
        // From here on it may show either.
        self.inner.pinning.expect(key);
        self.inner.handshake().await?;
        let known = self.certificates_of(&machine).await?;
        if known.shown.as_ref().is_some_and(|shown| shown.sha256 == facts.sha256) {
            return Ok(Replaced::AlreadyThere);
        }
        let late = machine.quirks.has(Switch::CertificateAfterRestart);
        if late && known.listed.iter().any(|one| one.sha256 == Some(facts.sha256)) {
            return Ok(Replaced::AfterRestart);
        }
        let place = known.listed.first().map(|one| one.url.clone());
        let place = place.ok_or_else(|| self.lacks(&at, "the certificate that is to be replaced"))?;
        let name = "CertificateService.ReplaceCertificate";
        let action = field::at(&service, &["Actions", &format!("#{name}")]).cloned().unwrap_or_default();
        let target = self.action(&at, &service, name);
        let target = target.ok_or_else(|| self.lacks(&at, "another certificate in place of its own"))?;
        let chain = pem.matches("-----BEGIN CERTIFICATE-----").count() > 1;
        let kinds = self.allowable(&action, "CertificateType").await;
        let kind = if chain && kinds.iter().any(|kind| kind == "PEMchain") { "PEMchain" } else { "PEM" };
        let body = json!({
            "CertificateString": pem, "CertificateType": kind, "CertificateUri": { "@odata.id": place },
        });
        let lost = match self.tagged("POST", &target, Some(&body), &machine.quirks).await {
            Ok(_) => None,
            // Its web server starts anew with the certificate, and the answer may be lost with the old one.
            Err(error) if in_doubt(&error) => Some(error),
            Err(error) => return Err(error),
        };
        self.await_certificate(&machine, &facts, lost).await
    }

    async fn await_certificate(
        &self,
        machine: &Machine,
        wanted: &Facts,
        lost: Option<BmcError>,
    ) -> Result<Replaced, BmcError> {
        let mut listed = false;
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::time::sleep(self.inner.options.pause).await;
            }
            let looked = match self.inner.handshake().await {
                Ok(()) => self.certificates_of(machine).await,
                Err(error) => Err(error),
            };
            match looked {
                Ok(now) if now.shown.as_ref().is_some_and(|shown| shown.sha256 == wanted.sha256) => {
                    return Ok(Replaced::Shown);
                }
                Ok(now) => {
                    listed |= now.listed.iter().any(|one| one.sha256 == Some(wanted.sha256));
                    if listed && machine.quirks.has(Switch::CertificateAfterRestart) {
                        return Ok(Replaced::AfterRestart);
                    }
                }
                Err(error @ (BmcError::PinChanged { .. } | BmcError::Login { .. })) => return Err(error),
                Err(_) => {}
            }
        }
        if listed || (lost.is_none() && machine.quirks.has(Switch::CertificateAfterRestart)) {
            return Ok(Replaced::AfterRestart);
        }
        let not = || BmcError::NotShown {
            url: self.inner.url(ROOT),
            wanted: format!("the certificate {}", wanted.sha256),
            found: "another one".into(),
        };
        Err(lost.unwrap_or_else(not))
    }

    async fn certificate_service(&self, machine: &Machine) -> Result<(String, Value), BmcError> {
        for switch in machine.quirks.switches() {
            if let Switch::CertificateByOem(place) = switch {
                let what = format!("certificates by the standard; its own is an OEM resource, {place}");
                return Err(self.lacks(machine.manager.as_deref().unwrap_or(ROOT), what));
            }
        }
        self.service("CertificateService", "a certificate service").await
    }

    async fn certificates_of(&self, machine: &Machine) -> Result<HttpsCertificates, BmcError> {
        let service = self.certificate_service(machine).await.ok().map(|(_, service)| service);
        let replaceable = service.as_ref().is_some_and(|service| {
            field::at(service, &["Actions", "#CertificateService.ReplaceCertificate"]).is_some()
        });
        let collection = self.https_collection(machine, service.as_ref()).await;
        let members = match &collection {
            Some(collection) => self.listed(collection).await?,
            None => Vec::new(),
        };
        // Read after a request: it is what the last handshake showed.
        let shown = self.inner.pinning.certificate();
        let listed = members.iter().take(CERTIFICATES_MAX).map(|(url, one)| listed(url, one)).collect();
        Ok(HttpsCertificates { shown, listed, collection, replaceable })
    }

    /// Where the certificates for HTTPS are: below the manager's network protocols, else among all that are listed.
    async fn https_collection(&self, machine: &Machine, service: Option<&Value>) -> Option<String> {
        let base = &self.inner.base;
        let linked = |value: &Value, path: &[&str]| local(base, field::link(value, path)?);
        if let Some(manager) = &machine.manager
            && let Ok(manager) = self.inner.get(manager).await
            && let Some(protocols) = linked(&manager.body, &["NetworkProtocol"])
            && let Ok(protocols) = self.inner.get(&protocols).await
            && let Some(found) = linked(&protocols.body, &["HTTPS", "Certificates"])
        {
            return Some(found);
        }
        let locations = linked(service?, &["CertificateLocations"])?;
        let locations = self.inner.get(&locations).await.ok()?.body;
        let all = field::links(&locations, &["Links", "Certificates"]);
        let https = all.into_iter().filter_map(|link| local(base, link)).find(|path| {
            path.contains("/NetworkProtocol/") && path.to_ascii_uppercase().contains("/HTTPS/")
        })?;
        https.trim_end_matches('/').rsplit_once('/').map(|(collection, _)| collection.to_owned())
    }

    /// The strongest key that is common and offered; nothing where the controller does not say what it offers.
    async fn choose_key(&self, action: &Value, body: &mut Value) {
        let kinds = self.allowable(action, "KeyPairAlgorithm").await;
        let curves = self.allowable(action, "KeyCurveId").await;
        let has = |list: &[String], name: &str| list.iter().any(|one| one == name);
        if has(&kinds, "TPM_ALG_ECDSA") && has(&curves, "TPM_ECC_NIST_P256") {
            body["KeyPairAlgorithm"] = "TPM_ALG_ECDSA".into();
            body["KeyCurveId"] = "TPM_ECC_NIST_P256".into();
        } else if has(&kinds, "TPM_ALG_RSA") {
            body["KeyPairAlgorithm"] = "TPM_ALG_RSA".into();
            // Smaller ones are weak, and the processors of controllers need minutes for greater ones.
            body["KeyBitLength"] = 2048.into();
        }
    }
}

/// What a certificate in PEM says.
#[derive(Debug)]
struct Facts {
    sha256: Digest,
    key: Pin,
    to_unix_seconds: u64,
}

impl Facts {
    /// Of the first certificate in a text.
    fn of(pem: &str) -> Option<Self> {
        let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
        let pem = pem.get(pem.find(begin)?..)?;
        let der = decode(pem.get(..pem.find(end)?.checked_add(end.len())?)?)?;
        let body = x509_cert::Certificate::from_der(&der).ok()?.tbs_certificate;
        let key = body.subject_public_key_info.to_der().ok()?;
        let to_unix_seconds = body.validity.not_after.to_unix_duration().as_secs();
        Some(Self { sha256: Digest::of(&der), key: Pin(Digest::of(&key)), to_unix_seconds })
    }
}

fn decode(pem: &str) -> Option<Vec<u8>> {
    (pem.len() <= PEM_BYTES_MAX).then(|| decode_vec(pem.trim().as_bytes()).ok())?.map(|(_, der)| der)
}

fn key_of_request(pem: &str) -> Option<Pin> {
    let request = CertReq::from_der(&decode(pem)?).ok()?;
    Some(Pin(Digest::of(&request.info.public_key.to_der().ok()?)))
}

fn csr_in(answer: &Answer) -> Option<String> {
    let text = field::at(&answer.body, &["CSRString"])?.as_str()?.trim();
    (text.len() <= PEM_BYTES_MAX).then(|| format!("{text}\n"))
}

fn listed(url: &str, value: &Value) -> Listed {
    let text = field::at(value, &["CertificateString"]).and_then(Value::as_str);
    let facts = text.and_then(Facts::of);
    Listed {
        url: url.to_owned(),
        sha256: facts.as_ref().map(|facts| facts.sha256),
        key: facts.as_ref().map(|facts| facts.key),
        to_unix_seconds: facts.as_ref().map(|facts| facts.to_unix_seconds),
        subject: field::text(value, &["Subject", "CommonName"]),
        issuer: field::text(value, &["Issuer", "CommonName"]),
        until: field::text(value, &["ValidNotAfter"]),
    }
}

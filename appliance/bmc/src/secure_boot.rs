//! Secure Boot: the switch, which acts at the next start, and the databases PK, KEK, db and dbx with what is in them
//! (DSP2046: SecureBoot, SecureBootDatabase, Certificate, Signature; UEFI 2.10, 32).
//!
//! Keys are known by SHA-256 of their certificates.  Whatever takes trust away or gives it needs an [`Allowed`] for this
//! machine.  What a controller keeps for the next start it may not show before: that is [`KeyState::AtNextStart`], and the
//! booted agent is the one who confirms it.

use std::time::Duration;

use appliance_model::Digest;
use serde::Serialize;
use serde_json::{Map, Value, json};
use x509_cert::der::{
    Decode,
    pem::{LineEnding, encode_string},
};

use crate::{
    change::{Allowed, Changed, What, at_next_start, gate, in_doubt},
    client::Bmc,
    error::BmcError,
    field,
    inventory::Machine,
    link::local,
    quirks::Switch,
    view::Severity,
    walk::Walk,
};

mod enrolled;

use enrolled::certificate;

/// How long a task over keys may take.
const TASK_SECONDS_MAX: u64 = 180;
/// How often the databases are read until they show what was done.
const LOOKS_MAX: u32 = 5;

/// A database of Secure Boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Database {
    /// The platform key: who owns the machine.
    #[serde(rename = "PK")]
    Pk,
    /// Who may change db and dbx.
    #[serde(rename = "KEK")]
    Kek,
    /// What may boot.
    #[serde(rename = "db")]
    Db,
    /// What may not.
    #[serde(rename = "dbx")]
    Dbx,
}

impl Database {
    /// Its name in UEFI and in Redfish.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
            Self::Dbx => "dbx",
        }
    }
}

/// A certificate in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnrolledCertificate {
    /// Its resource.
    pub url: String,
    /// SHA-256 of its DER, where the certificate or its fingerprint is shown.
    pub sha256: Option<Digest>,
    /// The subject's common name, as the controller tells it.
    pub subject: Option<String>,
    /// Whose it is: a GUID.
    pub owner: Option<String>,
}

/// A signature (mostly the hash of a program) in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnrolledSignature {
    /// Its resource.
    pub url: String,
    /// Its type (`EFI_CERT_SHA256_GUID`).
    pub kind: Option<String>,
    /// Its text.
    pub text: Option<String>,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyDatabase {
    /// `PK`, `KEK`, `db`, `dbx`, and others (`PKDefault`).
    pub name: String,
    /// Its resource.
    pub url: String,
    /// Its certificates.
    pub certificates: Vec<EnrolledCertificate>,
    /// Its signatures.
    pub signatures: Vec<EnrolledSignature>,
    /// Where certificates are enrolled.
    pub certificates_at: Option<String>,
    /// Where signatures are enrolled.
    pub signatures_at: Option<String>,
    /// What its `ResetKeys` takes.
    pub resets: Vec<String>,
}

/// Secure Boot and all its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecureBootKeys {
    /// The resource.
    pub url: String,
    /// Whether it is on from the next start.
    pub enabled: Option<bool>,
    /// Whether the present start was one.
    pub current: Option<bool>,
    /// `SetupMode`, `UserMode`, `AuditMode`, `DeployedMode`.
    pub mode: Option<String>,
    /// The databases; empty where it shows none.
    pub databases: Vec<KeyDatabase>,
    /// What its `ResetKeys` takes; empty: there is none, or it does not tell.
    pub resets: Vec<String>,
}

impl SecureBootKeys {
    /// A database.
    #[must_use]
    pub fn database(&self, database: Database) -> Option<&KeyDatabase> {
        self.databases.iter().find(|one| one.name.eq_ignore_ascii_case(database.name()))
    }
}

/// How far a change of keys has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// It was so before; nothing was sent.
    AlreadyThere,
    /// The databases show it.
    Shown,
    /// Accepted, and not yet shown: it acts at the next start.
    AtNextStart,
}

/// What became of a change of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// How far it has come.
    pub state: KeyState,
    /// The key, where there is one.
    pub url: Option<String>,
    /// The task behind it; [`Bmc::follow_task`] goes on with it after a crash.
    pub task: Option<String>,
}

/// What `ResetKeys` does (DSP2046, SecureBoot).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetKeys {
    /// The maker's keys.
    ToDefault,
    /// No keys: setup mode.
    DeleteAll,
    /// No platform key: setup mode.
    DeletePk,
}

impl ResetKeys {
    fn name(self) -> &'static str {
        match self {
            Self::ToDefault => "ResetAllKeysToDefault",
            Self::DeleteAll => "DeleteAllKeys",
            Self::DeletePk => "DeletePK",
        }
    }
}

impl Bmc {
    /// Secure Boot and its keys as they are.
    ///
    /// # Errors
    /// When the controller does not know Secure Boot, or wants a licence for it.
    pub async fn secure_boot_keys(&self) -> Result<SecureBootKeys, BmcError> {
        let machine = self.machine().await?;
        self.keys(&machine, false).await
    }

    /// Switches Secure Boot on from the next start.
    ///
    /// # Errors
    /// When the controller refuses, or does not show it afterwards.
    pub async fn enable_secure_boot(&self) -> Result<KeyChange, BmcError> {
        let machine = self.machine().await?;
        self.switch(&machine, true).await
    }

    /// Switches Secure Boot off from the next start.
    ///
    /// # Errors
    /// When it is not allowed for this machine, the controller refuses, or does not show it afterwards.
    pub async fn disable_secure_boot(&self, allowed: &Allowed) -> Result<KeyChange, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::SecureBootKeys)?;
        self.switch(&machine, false).await
    }

    /// Puts a certificate (DER) into a database; `owner` is a GUID.
    ///
    /// # Errors
    /// When it is not allowed for this machine, is no certificate, or the controller refuses.
    pub async fn enrol_certificate(
        &self,
        allowed: &Allowed,
        database: Database,
        der: &[u8],
        owner: Option<&str>,
    ) -> Result<KeyChange, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::SecureBootKeys)?;
        let unfit = |why: &str| BmcError::Unfit { url: self.inner.url(&machine.path), why: why.into() };
        x509_cert::Certificate::from_der(der)
            .map_err(|_| unfit("what is to be enrolled is no certificate"))?;
        let pem = encode_string("CERTIFICATE", LineEnding::LF, der)
            .map_err(|_| unfit("the certificate is too long"))?;
        let digest = Digest::of(der);
        let place = self.place(&machine, database).await?;
        let there = move |place: &KeyDatabase| {
            place.certificates.iter().find(|one| one.sha256 == Some(digest)).map(|one| one.url.clone())
        };
        let mut body = json!({ "CertificateString": pem, "CertificateType": "PEM" });
        if let Some(owner) = owner {
            body["UefiSignatureOwner"] = owner.into();
        }
        self.enrol(&machine, (&place, place.certificates_at.as_deref()), &body, &there).await
    }

    /// Puts a signature (`EFI_CERT_SHA256_GUID` and the like, its text in hex or base64 as the type wants) into a database.
    ///
    /// # Errors
    /// When it is not allowed for this machine, or the controller refuses.
    pub async fn enrol_signature(
        &self,
        allowed: &Allowed,
        database: Database,
        (kind, text): (&str, &str),
        owner: Option<&str>,
    ) -> Result<KeyChange, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::SecureBootKeys)?;
        let place = self.place(&machine, database).await?;
        let wanted = text.to_owned();
        let there = move |place: &KeyDatabase| {
            let same = |one: &&EnrolledSignature| {
                one.text.as_ref().is_some_and(|text| text.eq_ignore_ascii_case(&wanted))
            };
            place.signatures.iter().find(same).map(|one| one.url.clone())
        };
        let mut body =
            json!({ "SignatureString": text, "SignatureType": kind, "SignatureTypeRegistry": "UEFI" });
        if let Some(owner) = owner {
            body["UefiSignatureOwner"] = owner.into();
        }
        self.enrol(&machine, (&place, place.signatures_at.as_deref()), &body, &there).await
    }

    /// Takes a key out of its database.
    ///
    /// # Errors
    /// When it is not allowed for this machine, there is no such key, or the controller refuses.
    pub async fn delete_key(&self, allowed: &Allowed, url: &str) -> Result<KeyChange, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::SecureBootKeys)?;
        let there = |keys: &SecureBootKeys| {
            let mut all = keys.databases.iter();
            all.any(|one| {
                one.certificates.iter().any(|key| key.url == url)
                    || one.signatures.iter().any(|key| key.url == url)
            })
        };
        if !there(&self.keys(&machine, true).await?) {
            return Ok(KeyChange { state: KeyState::AlreadyThere, url: None, task: None });
        }
        let sent = self.tagged("DELETE", url, None, &machine.quirks).await;
        self.outcome(&machine, sent, |keys| (!there(keys)).then_some(None)).await
    }

    /// Resets the keys, of all databases or of one.
    ///
    /// # Errors
    /// When it is not allowed for this machine, the controller has no such reset, or refuses.
    pub async fn reset_keys(
        &self,
        allowed: &Allowed,
        reset: ResetKeys,
        database: Option<Database>,
    ) -> Result<KeyChange, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::SecureBootKeys)?;
        let (at, name) = match database {
            Some(database) => (self.place(&machine, database).await?.url, "SecureBootDatabase.ResetKeys"),
            None => (self.secure_boot_at(&machine)?, "SecureBoot.ResetKeys"),
        };
        let resource = self.inner.get(&at).await?.body;
        let lacks = |what: String| BmcError::Lacks { url: self.inner.url(&at), what };
        let target = self.action(&at, &resource, name).ok_or_else(|| lacks(format!("the action {name}")))?;
        let offered = resets(&resource, name);
        if !offered.is_empty() && !offered.iter().any(|one| one == reset.name()) {
            return Err(lacks(format!("{}; it offers {}", reset.name(), offered.join(", "))));
        }
        let body = json!({ "ResetKeysType": reset.name() });
        let sent = self.tagged("POST", &target, Some(&body), &machine.quirks).await;
        let done = |keys: &SecureBootKeys| {
            let empty = |one: &KeyDatabase| one.certificates.is_empty() && one.signatures.is_empty();
            let of = |database: Database| keys.database(database);
            let done = match (reset, database) {
                (ResetKeys::DeleteAll, Some(database)) => of(database).is_some_and(empty),
                (ResetKeys::DeleteAll, None) => {
                    [Database::Pk, Database::Kek, Database::Db].into_iter().filter_map(of).all(empty)
                }
                (ResetKeys::DeletePk, _) => of(Database::Pk).is_some_and(empty),
                // What the maker's keys are is not known before they are there.
                (ResetKeys::ToDefault, _) => of(Database::Pk).is_some_and(|one| !empty(one)),
            };
            done.then_some(None)
        };
        self.outcome(&machine, sent, done).await
    }

    fn secure_boot_at(&self, machine: &Machine) -> Result<String, BmcError> {
        let link = field::link(&machine.system, &["SecureBoot"]);
        link.and_then(|link| local(&self.inner.base, link)).ok_or_else(|| BmcError::Lacks {
            url: self.inner.url(&machine.path),
            what: "Secure Boot: its keys cannot be enrolled through it".into(),
        })
    }

    async fn place(&self, machine: &Machine, database: Database) -> Result<KeyDatabase, BmcError> {
        let keys = self.keys(machine, true).await?;
        keys.database(database).cloned().ok_or_else(|| BmcError::Lacks {
            url: self.inner.url(&keys.url),
            what: format!("the Secure Boot database {}", database.name()),
        })
    }

    /// The keys.  `whole`: what cannot be read is an error, since it would be taken for what is not there.
    async fn keys(&self, machine: &Machine, whole: bool) -> Result<SecureBootKeys, BmcError> {
        let at = self.secure_boot_at(machine)?;
        let answer = self.inner.get(&at).await;
        let resource = answer.map_err(|error| gate(error, What::SecureBootKeys, &machine.quirks))?.body;
        let mut walk = Walk::new(self);
        let mut databases = Vec::new();
        for (url, one) in walk.members(&at, &resource, &["SecureBootDatabases"]).await.unwrap_or_default() {
            let name = field::text(&one, &["DatabaseId"]).or_else(|| field::text(&one, &["Id"]));
            let link = |name: &str| field::link(&one, &[name]).and_then(|link| local(&self.inner.base, link));
            let certificates = walk.members(&url, &one, &["Certificates"]).await.unwrap_or_default();
            let signatures = walk.members(&url, &one, &["Signatures"]).await.unwrap_or_default();
            databases.push(KeyDatabase {
                name: name.unwrap_or_default(),
                certificates: certificates.iter().map(|(url, one)| certificate(url, one)).collect(),
                signatures: signatures
                    .iter()
                    .map(|(url, one)| EnrolledSignature {
                        url: url.clone(),
                        kind: field::text(one, &["SignatureType"]),
                        text: field::text(one, &["SignatureString"]),
                    })
                    .collect(),
                certificates_at: link("Certificates"),
                signatures_at: link("Signatures"),
                resets: resets(&one, "SecureBootDatabase.ResetKeys"),
                url,
            });
        }
        let odd = walk.findings.iter().find(|finding| finding.severity == Severity::Error);
        if let Some(odd) = odd.filter(|_| whole) {
            return Err(self.lacks(&odd.url, format!("keys that can be read: {}", odd.what)));
        }
        Ok(SecureBootKeys {
            enabled: field::flag(&resource, &["SecureBootEnable"]),
            current: field::text(&resource, &["SecureBootCurrentBoot"]).map(|state| state == "Enabled"),
            mode: field::text(&resource, &["SecureBootMode"]),
            resets: resets(&resource, "SecureBoot.ResetKeys"),
            databases,
            url: at,
        })
    }

    async fn switch(&self, machine: &Machine, on: bool) -> Result<KeyChange, BmcError> {
        let at = self.secure_boot_at(machine)?;
        let answer = self.inner.get(&at).await;
        let resource = answer.map_err(|error| gate(error, What::SecureBootKeys, &machine.quirks))?.body;
        let set = |value: &Value| field::flag(value, &["SecureBootEnable"]) == Some(on);
        if set(&resource) {
            return Ok(KeyChange { state: KeyState::AlreadyThere, url: Some(at), task: None });
        }
        let settings = field::link(&resource, &["@Redfish.Settings", "SettingsObject"]);
        let settings = settings.and_then(|link| local(&self.inner.base, link));
        let mut body = Map::from_iter([("SecureBootEnable".to_owned(), Value::from(on))]);
        if settings.is_some() && machine.quirks.has(Switch::SettingsNeedApplyTime) {
            body.insert("@Redfish.SettingsApplyTime".into(), at_next_start());
        }
        let place = settings.unwrap_or_else(|| at.clone());
        let body = Value::Object(body);
        let changed = self.shown_change(&place, &body, &machine.quirks, set).await;
        let Changed { shown, later, followed } =
            changed.map_err(|error| gate(error, What::SecureBootKeys, &machine.quirks))?;
        match shown {
            Ok(_) => Ok(KeyChange { state: KeyState::Shown, url: Some(at), task: followed.url }),
            Err(_) if later => {
                Ok(KeyChange { state: KeyState::AtNextStart, url: Some(at), task: followed.url })
            }
            Err(found) => Err(BmcError::NotShown {
                url: self.inner.url(&place),
                wanted: format!("SecureBootEnable {on}"),
                found: field::at(&found, &["SecureBootEnable"]).unwrap_or(&Value::Null).to_string(),
            }),
        }
    }

    async fn enrol(
        &self,
        machine: &Machine,
        (place, at): (&KeyDatabase, Option<&str>),
        body: &Value,
        there: &(dyn Fn(&KeyDatabase) -> Option<String> + Send + Sync),
    ) -> Result<KeyChange, BmcError> {
        if let Some(url) = there(place) {
            return Ok(KeyChange { state: KeyState::AlreadyThere, url: Some(url), task: None });
        }
        let Some(at) = at else {
            let what = format!("a place for such keys in the database {}", place.name);
            return Err(BmcError::Lacks { url: self.inner.url(&place.url), what });
        };
        let sent = self.tagged("POST", at, Some(body), &machine.quirks).await;
        let name = place.name.clone();
        let found = |keys: &SecureBootKeys| {
            let place = keys.databases.iter().find(|one| one.name == name)?;
            there(place).map(Some)
        };
        self.outcome(machine, sent, found).await
    }

    /// What became of a change of keys: read back, also when its answer was lost.
    async fn outcome(
        &self,
        machine: &Machine,
        sent: Result<crate::exchange::Answer, BmcError>,
        found: impl Fn(&SecureBootKeys) -> Option<Option<String>>,
    ) -> Result<KeyChange, BmcError> {
        let (task, lost) = match sent {
            Ok(answer) => {
                let time = Duration::from_secs(TASK_SECONDS_MAX);
                (self.ended(&answer, &machine.quirks, time).await?.url, None)
            }
            Err(error) if in_doubt(&error) => (None, Some(error)),
            Err(error) => return Err(gate(error, What::SecureBootKeys, &machine.quirks)),
        };
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::time::sleep(self.inner.options.pause).await;
            }
            if let Some(url) = found(&self.keys(machine, false).await?) {
                return Ok(KeyChange { state: KeyState::Shown, url, task });
            }
        }
        match lost {
            Some(error) => Err(error),
            None => Ok(KeyChange { state: KeyState::AtNextStart, url: None, task }),
        }
    }
}

fn resets(resource: &Value, action: &str) -> Vec<String> {
    field::texts(resource, &["Actions", &format!("#{action}"), "ResetKeysType@Redfish.AllowableValues"])
}

//! What every change to a controller has in common: a permission that names the machine, entity tags tried in the order
//! a controller takes them, tasks followed, and results believed only when they are read back.
//!
//! A change is never sent twice: what is tried again was refused before it was looked at (412, 428).  One whose answer was
//! lost is looked for, not repeated.

use std::{collections::BTreeSet, time::Duration};

use appliance_model::Serial;
use serde_json::{Value, json};

use crate::{
    client::{Bmc, ROOT},
    error::BmcError,
    exchange::{Answer, Call},
    field,
    inventory::Machine,
    link::local,
    quirks::{Quirks, Switch},
    task::{Followed, Outcome},
};

/// How often something is looked at until it shows what was done.
pub(crate) const LOOKS_MAX: u32 = 10;
/// Members of a list that a change rests on, and its pages: controllers have 16 accounts and 20 subscriptions.
const LISTED_MAX: usize = 256;
const PAGES_MAX: usize = 16;

/// A permission for something that can make a machine unusable: for one machine, by its serial, for one kind of change.
/// Whoever makes it has asked somebody; this room only checks that it is for this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    pub(crate) what: What,
    serial: Serial,
}

/// What can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    SecureBootKeys,
    BiosSettings,
    Firmware,
    Certificate,
    Accounts,
    Events,
    Controller,
}

impl What {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::SecureBootKeys => "a change of the Secure Boot keys",
            Self::BiosSettings => "a change of BIOS settings",
            Self::Firmware => "an update of firmware",
            Self::Certificate => "another certificate of the controller",
            Self::Accounts => "a change of the controller's accounts",
            Self::Events => "a change of event subscriptions",
            Self::Controller => "a restart of the controller",
        }
    }
}

impl Allowed {
    /// To change keys of Secure Boot, or to switch it off, on the machine with this serial.
    #[must_use]
    pub fn secure_boot_keys(serial: Serial) -> Self {
        Self { what: What::SecureBootKeys, serial }
    }

    /// To change BIOS settings of the machine with this serial.
    #[must_use]
    pub fn bios_settings(serial: Serial) -> Self {
        Self { what: What::BiosSettings, serial }
    }

    /// To update firmware of the machine with this serial.
    #[must_use]
    pub fn firmware(serial: Serial) -> Self {
        Self { what: What::Firmware, serial }
    }

    /// To replace the certificate of the controller of the machine with this serial.
    #[must_use]
    pub fn certificate(serial: Serial) -> Self {
        Self { what: What::Certificate, serial }
    }

    /// To make, change and delete accounts of the controller of the machine with this serial.
    #[must_use]
    pub fn accounts(serial: Serial) -> Self {
        Self { what: What::Accounts, serial }
    }

    /// To subscribe to events of the controller of the machine with this serial, and to end that.
    #[must_use]
    pub fn events(serial: Serial) -> Self {
        Self { what: What::Events, serial }
    }

    /// To restart the controller of the machine with this serial.
    #[must_use]
    pub fn controller_restart(serial: Serial) -> Self {
        Self { what: What::Controller, serial }
    }
}

impl Bmc {
    /// Whether a permission is for this machine and this kind of change.
    pub(crate) fn permit(&self, machine: &Machine, allowed: &Allowed, what: What) -> Result<(), BmcError> {
        let found = machine.serial();
        if allowed.what == what && found.as_ref() == Some(&allowed.serial) {
            return Ok(());
        }
        let kind =
            if allowed.what == what { String::new() } else { format!(" for {}", allowed.what.words()) };
        Err(BmcError::NotAllowed {
            url: self.inner.url(&machine.path),
            what: what.words(),
            allowed: format!("{}{kind}", allowed.serial),
            found: found.map_or_else(|| "a machine without a serial".into(), |serial| serial.to_string()),
        })
    }

    /// A change with the entity tags this controller takes.  `None` as body deletes.
    pub(crate) async fn tagged(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
        quirks: &Quirks,
    ) -> Result<Answer, BmcError> {
        let served = match method {
            "POST" => None,
            _ => self.inner.get(path).await.ok(),
        };
        let tag =
            served.and_then(|served| served.etag.or_else(|| field::text(&served.body, &["@odata.etag"])));
        let mut last = None;
        for if_match in quirks.entity_tags(tag.as_deref()) {
            let sent = match body {
                Some(body) => self.inner.change(method, path, body, if_match).await,
                None => self.delete(path, if_match).await,
            };
            match sent {
                Err(error @ BmcError::Refused { status: 412 | 428, .. }) => last = Some(error),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| BmcError::Lacks {
            url: self.inner.url(path),
            what: "a way to change it".into(),
        }))
    }

    /// Deletes a resource.  The session was renewed by whoever read it just before.
    async fn delete(&self, path: &str, if_match: Option<&str>) -> Result<Answer, BmcError> {
        self.inner.bodies().forget_tags();
        let key = self.inner.key(None).await?;
        let answer = self.inner.send(&Call { if_match, ..Call::new("DELETE", path) }, &key).await?;
        if answer.status < 300 {
            return Ok(answer);
        }
        let said = crate::exchange::said(&answer.body);
        Err(BmcError::Refused { method: "DELETE", url: self.inner.url(path), status: answer.status, said })
    }

    /// An action of a resource: at the target it names, else where the standard puts it.
    pub(crate) fn action(&self, at: &str, resource: &Value, name: &str) -> Option<String> {
        let action = field::at(resource, &["Actions", &format!("#{name}")])?;
        let told = field::at(action, &["target"]).and_then(Value::as_str);
        let told = told.and_then(|link| crate::link::local(&self.inner.base, link));
        Some(told.unwrap_or_else(|| format!("{}/Actions/{name}", at.trim_end_matches('/'))))
    }

    /// A service by the root's link to it, else where the standard puts it.
    pub(crate) async fn service(&self, name: &str, what: &str) -> Result<(String, Value), BmcError> {
        let root = self.inner.get(ROOT).await?.body;
        let told = field::link(&root, &[name]).and_then(|link| local(&self.inner.base, link));
        let at = told.unwrap_or_else(|| format!("{ROOT}{name}"));
        match self.inner.get(&at).await {
            Ok(answer) => Ok((at, answer.body)),
            Err(BmcError::Refused { status: 404 | 405 | 501, .. }) => Err(self.lacks(ROOT, what)),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn lacks(&self, at: &str, what: impl Into<String>) -> BmcError {
        BmcError::Lacks { url: self.inner.url(at), what: what.into() }
    }

    pub(crate) fn unfit(&self, at: &str, why: impl Into<String>) -> BmcError {
        BmcError::Unfit { url: self.inner.url(at), why: why.into() }
    }

    /// The members of a collection, all of them or an error: what is not in a list with holes would be made again.
    pub(crate) async fn listed(&self, at: &str) -> Result<Vec<(String, Value)>, BmcError> {
        let (mut found, mut pages, mut page) = (Vec::new(), BTreeSet::new(), at.to_owned());
        while pages.insert(page.clone()) && pages.len() <= PAGES_MAX {
            let collection = self.inner.get(&page).await?.body;
            // Empty ones are null on some, or lack the list; anything else is no list.
            if field::at(&collection, &["Members"]).is_some_and(|members| !members.is_array()) {
                return Err(self.lacks(&page, "a list of its members"));
            }
            let links = field::links(&collection, &["Members"]);
            for path in links.into_iter().filter_map(|link| local(&self.inner.base, link)) {
                if found.len() >= LISTED_MAX {
                    return Err(self.lacks(&page, format!("a list of at most {LISTED_MAX} members")));
                }
                if pages.contains(&path) {
                    return Err(self.lacks(&page, "a list of others than itself"));
                }
                match self.inner.get(&path).await {
                    Ok(answer) => found.push((path, answer.body)),
                    // Deleted since the collection was read.
                    Err(BmcError::Refused { status: 404, .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            let next = field::at(&collection, &["Members@odata.nextLink"]).and_then(Value::as_str);
            let Some(next) = next.and_then(|next| local(&self.inner.base, next)) else { break };
            page = next;
        }
        Ok(found)
    }

    /// What a parameter of an action may be, told in the action or in the ActionInfo it names; empty: not told.
    pub(crate) async fn allowable(&self, action: &Value, parameter: &str) -> Vec<String> {
        let inline = field::texts(action, &[&format!("{parameter}@Redfish.AllowableValues")]);
        if !inline.is_empty() {
            return inline;
        }
        let info = field::at(action, &["@Redfish.ActionInfo"]).and_then(Value::as_str);
        let Some(info) = info.and_then(|link| local(&self.inner.base, link)) else { return inline };
        let Ok(info) = self.inner.get(&info).await else { return inline };
        let parameters = field::at(&info.body, &["Parameters"]).and_then(Value::as_array);
        let named = |one: &&Value| field::text(one, &["Name"]).as_deref() == Some(parameter);
        let found = parameters.into_iter().flatten().find(named);
        found.map(|one| field::texts(one, &["AllowableValues"])).unwrap_or_default()
    }

    /// A change of one resource that shows there: sent once, and read back, also when its answer was lost.
    pub(crate) async fn shown_change(
        &self,
        path: &str,
        body: &Value,
        quirks: &Quirks,
        shown: impl Fn(&Value) -> bool,
    ) -> Result<Changed, BmcError> {
        let answer = match self.tagged("PATCH", path, Some(body), quirks).await {
            Ok(answer) => answer,
            Err(lost) if in_doubt(&lost) => {
                return match self.look_until(path, shown).await {
                    Ok(Ok(found)) => {
                        Ok(Changed { shown: Ok(found), later: false, followed: Followed::untracked() })
                    }
                    Ok(Err(_)) | Err(_) => Err(lost),
                };
            }
            Err(error) => return Err(error),
        };
        let followed = self.ended(&answer, quirks, Duration::from_secs(TASK_SECONDS_MAX)).await?;
        let later = answer.status == 202 || followed.outcome == Outcome::AwaitsRestart;
        Ok(Changed { shown: self.look_until(path, shown).await?, later, followed })
    }

    /// The end of a change that was answered; a failed task is an error.
    pub(crate) async fn ended(
        &self,
        answer: &Answer,
        quirks: &Quirks,
        time: Duration,
    ) -> Result<Followed, BmcError> {
        let mut accepted = self.accepted(answer);
        if quirks.has(Switch::AcceptedWithoutTask) && answer.body.is_null() && answer.location.is_none() {
            accepted.at = None;
        }
        succeeded(self.follow(&accepted, time).await?)
    }

    /// Looks at a resource until it fits; the last look when it does not.
    pub(crate) async fn look_until(
        &self,
        path: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Result<Value, Value>, BmcError> {
        let mut last = Value::Null;
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::time::sleep(self.inner.options.pause).await;
            }
            last = self.inner.get(path).await?.body;
            if fits(&last) {
                return Ok(Ok(last));
            }
        }
        Ok(Err(last))
    }
}

/// How long a task over a change of one resource may take.
const TASK_SECONDS_MAX: u64 = 180;

/// What became of a change of one resource.
#[derive(Debug)]
pub(crate) struct Changed {
    /// The resource that shows it, or what it shows instead.
    pub(crate) shown: Result<Value, Value>,
    /// It was accepted for later.
    pub(crate) later: bool,
    pub(crate) followed: Followed,
}

/// Whether a change that ended so may have been done all the same: it is looked for, and never sent again unlooked.
pub(crate) fn in_doubt(error: &BmcError) -> bool {
    let lost = matches!(error, BmcError::NoAnswer { source, .. } if !source.is_connect());
    let failed = matches!(error, BmcError::Refused { status: 408 | 500 | 502..=599, .. });
    lost || failed || matches!(error, BmcError::TooLong { .. })
}

/// A failed task as the error it is.
pub(crate) fn succeeded(followed: Followed) -> Result<Followed, BmcError> {
    if followed.outcome != Outcome::Failed {
        return Ok(followed);
    }
    let mut said = followed.messages.join("; ");
    if said.is_empty() {
        said = followed.state;
    }
    Err(BmcError::TaskFailed { url: followed.url.unwrap_or_default(), said })
}

/// A refusal that is about a licence, told as such.
pub(crate) fn gate(error: BmcError, what: What, quirks: &Quirks) -> BmcError {
    let BmcError::Refused { url, status, said, method } = error else { return error };
    let known = quirks.switches().find_map(|switch| match (what, switch) {
        (What::Firmware | What::BiosSettings, Switch::UpdateNeedsLicence(names)) => Some(names.join(" or ")),
        _ => None,
    });
    let secure = what == What::SecureBootKeys && quirks.has(Switch::SecureBootNeedsLicence);
    let words = said.to_ascii_lowercase();
    let told = words.contains("licens") || words.contains("licenc");
    let shut = matches!(status, 402 | 403) && (known.is_some() || secure) && !words.contains("privilege");
    if !told && !shut {
        return BmcError::Refused { url, status, said, method };
    }
    let needs = known.unwrap_or_else(|| "its maker's name for it is in the refusal".into());
    BmcError::Licence { url, what: what.words(), needs, said }
}

/// The body that an apply time is told with (DSP0266, 9.11).
pub(crate) fn at_next_start() -> Value {
    json!({ "@odata.type": "#Settings.v1_3_0.PreferredApplyTime", "ApplyTime": "OnReset" })
}

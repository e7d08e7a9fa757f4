//! The one-time boot override: set, read back, and believed only when it shows.

use appliance_model::BootTarget;
use serde_json::{Map, Value, json};

use crate::{
    change::in_doubt,
    client::Bmc,
    error::BmcError,
    field,
    inventory::Machine,
    link::local,
    quirks::{Quirks, Switch},
};

/// Redfish's name for a boot source.
fn name(target: BootTarget) -> &'static str {
    match target {
        BootTarget::UefiHttp => "UefiHttp",
        BootTarget::Pxe => "Pxe",
        BootTarget::Cd => "Cd",
        BootTarget::UsbCd => "UsbCd",
        BootTarget::Hdd => "Hdd",
        BootTarget::None => "None",
    }
}

/// A boot override as the controller shows it after it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootSet {
    /// Target, as told.
    pub target: String,
    /// Enabled, as told (`Once`).
    pub enabled: String,
    /// Where it was seen: the system, or its settings object for controllers that apply it at the next reset.
    pub seen_at: String,
}

/// What a controller offers for the next boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootOffers {
    /// Override targets; empty where it does not say.
    pub targets: Vec<String>,
    /// Whether it takes an address to boot from (`HttpBootUri`).
    pub boot_uri: bool,
}

impl Bmc {
    /// What the controller offers for the next boot.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn boot_offers(&self) -> Result<BootOffers, BmcError> {
        let system = self.machine().await?.system;
        let boot_uri = field::at(&system, &["Boot"]).is_some_and(|boot| boot.get("HttpBootUri").is_some());
        Ok(BootOffers { targets: boot_targets(&system), boot_uri })
    }

    /// Sets the boot override for the next boot and reads it back: a success status alone proves nothing.
    ///
    /// # Errors
    /// When the controller refuses, has no such target, or does not show what it accepted.
    pub async fn set_boot_once(&self, target: BootTarget) -> Result<BootSet, BmcError> {
        self.set_boot_once_from(target, None).await
    }

    /// The same, with the address to boot from where the controller takes one (`HttpBootUri`).
    ///
    /// # Errors
    /// When the controller refuses, has no such target, or does not show what it accepted.
    pub async fn set_boot_once_from(
        &self,
        target: BootTarget,
        uri: Option<&str>,
    ) -> Result<BootSet, BmcError> {
        let Machine { path, system, quirks, .. } = self.machine().await?;
        let wanted = name(target);
        let offered = boot_targets(&system);
        if !offered.is_empty() && !offered.iter().any(|name| name == wanted) {
            let (url, offered) = (self.inner.url(&path), offered.join(", "));
            return Err(BmcError::NoSuchBootTarget { url, wanted, offered });
        }
        let enabled = if target == BootTarget::None { "Disabled" } else { "Once" };
        let mut boot = Map::new();
        boot.insert("BootSourceOverrideTarget".into(), wanted.into());
        boot.insert("BootSourceOverrideEnabled".into(), enabled.into());
        if !quirks.has(Switch::NoBootMode) {
            boot.insert("BootSourceOverrideMode".into(), "UEFI".into());
        }
        if let Some(uri) = uri {
            boot.insert("HttpBootUri".into(), uri.into());
        }
        // First the system itself; where that shows nothing, its settings object.
        let settings = field::link(&system, &["@Redfish.Settings", "SettingsObject"]);
        let settings = settings.and_then(|link| local(&self.inner.base, link)).filter(|place| *place != path);
        let mut places = vec![path.clone()];
        places.extend(settings);
        if quirks.has(Switch::BootInSettings) {
            places.reverse();
        }
        let mut found = "nothing".to_owned();
        let (mut refusal, mut lost) = (None, None);
        for place in places {
            match self.patch_boot(&place, &boot, &quirks).await {
                Ok(()) => {}
                // Its answer was lost: it shows, or it was not done.
                Err(error) if in_doubt(&error) => lost = Some(error),
                Err(error @ BmcError::Refused { .. }) => {
                    refusal = refusal.or(Some(error));
                    continue;
                }
                Err(error) => return Err(error),
            }
            match self.shown(&path, &place, (wanted, enabled), &quirks).await? {
                Ok(set) => return Ok(set),
                Err(other) => found = other,
            }
        }
        Err(lost.or(refusal).unwrap_or(BmcError::BootNotSet { url: self.inner.url(&path), wanted, found }))
    }

    /// What the system, or the place that was patched, shows; `Err` is what it shows instead.
    async fn shown(
        &self,
        path: &str,
        place: &str,
        (wanted, enabled): (&str, &str),
        quirks: &Quirks,
    ) -> Result<Result<BootSet, String>, BmcError> {
        let mut found = String::new();
        for seen_at in [path, place] {
            let shown = self.inner.get(seen_at).await?.body;
            let read = |name| field::text(&shown, &["Boot", name]).unwrap_or_default();
            let (target, now) = (read("BootSourceOverrideTarget"), read("BootSourceOverrideEnabled"));
            let loose = quirks.has(Switch::OnceShownAsContinuous) && now == "Continuous";
            if (target == wanted || enabled == "Disabled") && (now == enabled || loose) {
                if read("BootSourceOverrideMode") == "Legacy" && quirks.has(Switch::BootModeResets) {
                    let mut again = Map::new();
                    again.insert("BootSourceOverrideTarget".into(), wanted.into());
                    again.insert("BootSourceOverrideEnabled".into(), enabled.into());
                    again.insert("BootSourceOverrideMode".into(), "UEFI".into());
                    self.patch_boot(place, &again, quirks).await?;
                }
                return Ok(Ok(BootSet { target, enabled: now, seen_at: seen_at.to_owned() }));
            }
            found = format!("target `{target}`, enabled `{now}`");
        }
        Ok(Err(found))
    }

    /// One PATCH, with the entity tag or without the mode where the controller wants that.
    async fn patch_boot(
        &self,
        place: &str,
        boot: &Map<String, Value>,
        quirks: &Quirks,
    ) -> Result<(), BmcError> {
        let served = self.inner.get(place).await?;
        let own = field::text(&served.body, &["@odata.etag"]);
        let tag = served.etag.or(own);
        let mut boot = boot.clone();
        let mut last = None;
        for if_match in quirks.entity_tags(tag.as_deref()) {
            loop {
                let body = json!({ "Boot": boot });
                let error = match self.inner.change("PATCH", place, &body, if_match).await {
                    Ok(_) => return Ok(()),
                    Err(error) => error,
                };
                let BmcError::Refused { status, .. } = &error else { return Err(error) };
                let status = *status;
                last = Some(error);
                // Some boards refuse a mode, whatever it is; the table of quirks knows only some of them.
                let may_refuse_mode = matches!(status, 400 | 409 | 422);
                let without = may_refuse_mode && boot.remove("BootSourceOverrideMode").is_some();
                if !without {
                    // 412 and 428 ask for another tag; anything else is an answer.
                    if !matches!(status, 412 | 428) {
                        return last.map_or(Ok(()), Err);
                    }
                    break;
                }
            }
        }
        last.map_or(Ok(()), Err)
    }
}

/// Boot targets that a system offers.
pub(crate) fn boot_targets(system: &Value) -> Vec<String> {
    field::texts(system, &["Boot", "BootSourceOverrideTarget@Redfish.AllowableValues"])
}

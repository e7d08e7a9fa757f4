//! Boot override and power.

use serde_json::{Map, Value, json};

use crate::{client::Bmc, error::BmcError, field, inventory::Machine, link::local, walk::Walk};

/// Whether the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    /// On.
    On,
    /// Off.
    Off,
    /// On its way up.
    PoweringOn,
    /// On its way down.
    PoweringOff,
    /// Not told.
    Unknown,
}

impl PowerState {
    pub(crate) fn of(system: &Value) -> Self {
        match field::text(system, &["PowerState"]).as_deref() {
            Some("On") => Self::On,
            Some("Off") => Self::Off,
            Some("PoweringOn") => Self::PoweringOn,
            Some("PoweringOff") => Self::PoweringOff,
            Some(_) | None => Self::Unknown,
        }
    }
}

/// Where to boot from, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootTarget {
    /// UEFI HTTP boot.
    UefiHttp,
    /// PXE.
    Pxe,
    /// The disk.
    Hdd,
    /// No override.
    None,
}

impl BootTarget {
    fn name(self) -> &'static str {
        match self {
            Self::UefiHttp => "UefiHttp",
            Self::Pxe => "Pxe",
            Self::Hdd => "Hdd",
            Self::None => "None",
        }
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

/// What to do to the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetKind {
    /// Switch on.
    On,
    /// Switch off at once.
    ForceOff,
    /// Ask the operating system to shut down.
    GracefulOff,
    /// Restart at once; a machine that is off is switched on.
    Restart,
    /// Take the power away and give it back; a machine that is off is switched on.
    PowerCycle,
}

impl ResetKind {
    /// Redfish's names for it, best first.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::On => &["On", "ForceOn"],
            Self::ForceOff => &["ForceOff"],
            Self::GracefulOff => &["GracefulShutdown"],
            Self::Restart => &["ForceRestart", "PowerCycle"],
            Self::PowerCycle => &["PowerCycle", "ForceRestart"],
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::On => "switch on",
            Self::ForceOff => "switch off",
            Self::GracefulOff => "shut down",
            Self::Restart => "restart",
            Self::PowerCycle => "power-cycle",
        }
    }
}

impl Bmc {
    /// Whether the machine runs.
    ///
    /// # Errors
    /// When the controller cannot be asked.
    pub async fn power_state(&self) -> Result<PowerState, BmcError> {
        Ok(PowerState::of(&self.machine().await?.system))
    }

    /// Sets the boot override for the next boot and reads it back: a success status alone proves nothing.
    ///
    /// # Errors
    /// When the controller refuses, has no such target, or does not show what it accepted.
    pub async fn set_boot_once(&self, target: BootTarget) -> Result<BootSet, BmcError> {
        let Machine { path, system, quirks } = self.machine().await?;
        let wanted = target.name();
        let offered = boot_targets(&system);
        if !offered.is_empty() && !offered.iter().any(|name| name == wanted) {
            let (url, offered) = (self.inner.url(&path), offered.join(", "));
            return Err(BmcError::NoSuchBootTarget { url, wanted, offered });
        }
        let enabled = if target == BootTarget::None { "Disabled" } else { "Once" };
        let mut boot = Map::new();
        boot.insert("BootSourceOverrideTarget".into(), wanted.into());
        if quirks.needs_full_boot_request() {
            boot.insert("BootSourceOverrideEnabled".into(), enabled.into());
            boot.insert("BootSourceOverrideMode".into(), "UEFI".into());
        }
        // First the system itself; where that shows nothing, its settings object (iDRAC 10, XCC, AMI, OpenBMC).
        let settings = field::link(&system, &["@Redfish.Settings", "SettingsObject"]);
        let settings = settings.and_then(|link| local(&self.inner.base, link)).filter(|place| *place != path);
        let mut found = "nothing".to_owned();
        let mut refusal = None;
        for place in [Some(path.clone()), settings].into_iter().flatten() {
            match self.patch_boot(&place, &boot, &quirks).await {
                Ok(()) => {}
                Err(error @ BmcError::Refused { .. }) => {
                    refusal = refusal.or(Some(error));
                    continue;
                }
                Err(error) => return Err(error),
            }
            for seen_at in [&path, &place] {
                let shown = self.inner.get(seen_at).await?.body;
                let read = |name| field::text(&shown, &["Boot", name]).unwrap_or_default();
                let (target, enabled_now) =
                    (read("BootSourceOverrideTarget"), read("BootSourceOverrideEnabled"));
                if (target == wanted || enabled == "Disabled") && enabled_now == enabled {
                    return Ok(BootSet { target, enabled: enabled_now, seen_at: seen_at.clone() });
                }
                found = format!("target `{target}`, enabled `{enabled_now}`");
            }
        }
        Err(refusal.unwrap_or(BmcError::BootNotSet { url: self.inner.url(&path), wanted, found }))
    }

    /// Switches the power.  Returns the reset type that was sent.
    ///
    /// # Errors
    /// When the controller refuses or offers nothing of the kind.
    pub async fn reset(&self, kind: ResetKind) -> Result<String, BmcError> {
        let Machine { path, system, quirks } = self.machine().await?;
        let off = PowerState::of(&system) == PowerState::Off;
        let restarts = matches!(kind, ResetKind::Restart | ResetKind::PowerCycle);
        // A machine that is off answers 409 to a restart; what is wanted is that it boots.
        let kind = if off && restarts { ResetKind::On } else { kind };
        let offered = reset_types(&mut Walk::new(self), &path, &system).await;
        let model = field::text(&system, &["Model"]);
        let hangs = kind == ResetKind::Restart && quirks.hangs_in_force_restart(model.as_deref());
        let kind = if hangs { ResetKind::PowerCycle } else { kind };
        let fits = |name: &&&str| offered.is_empty() || offered.iter().any(|offer| offer == **name);
        let Some(name) = kind.names().iter().find(fits) else {
            let (url, wanted, offered) = (self.inner.url(&path), kind.words(), offered.join(", "));
            return Err(BmcError::NoSuchReset { url, wanted, offered });
        };
        let action =
            field::at(&system, &["Actions", "#ComputerSystem.Reset", "target"]).and_then(Value::as_str);
        let action = action.and_then(|link| local(&self.inner.base, link));
        let action =
            action.unwrap_or_else(|| format!("{}/Actions/ComputerSystem.Reset", path.trim_end_matches('/')));
        self.inner.change("POST", &action, &json!({ "ResetType": name }), None).await?;
        Ok((*name).to_owned())
    }

    /// One PATCH, with the entity tag or without the mode where the controller wants that.
    async fn patch_boot(
        &self,
        place: &str,
        boot: &Map<String, Value>,
        quirks: &crate::quirks::Quirks,
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
                let without =
                    quirks.may_refuse_boot_mode(status) && boot.remove("BootSourceOverrideMode").is_some();
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

/// Reset types that a system offers: in the action, or in the ActionInfo it names.
pub(crate) async fn reset_types(walk: &mut Walk<'_>, path: &str, system: &Value) -> Vec<String> {
    let Some(action) = field::at(system, &["Actions", "#ComputerSystem.Reset"]) else { return Vec::new() };
    let inline = field::texts(action, &["ResetType@Redfish.AllowableValues"]);
    if !inline.is_empty() {
        return inline;
    }
    let Some(info) = field::at(action, &["@Redfish.ActionInfo"]).and_then(Value::as_str) else {
        return inline;
    };
    let Some(info) = walk.follow(path, info) else { return inline };
    let Some(info) = walk.resource(&info).await else { return inline };
    let parameters = field::at(&info, &["Parameters"]).and_then(Value::as_array);
    let reset = parameters
        .into_iter()
        .flatten()
        .find(|parameter| field::text(parameter, &["Name"]).as_deref() == Some("ResetType"));
    reset.map(|parameter| field::texts(parameter, &["AllowableValues"])).unwrap_or_default()
}

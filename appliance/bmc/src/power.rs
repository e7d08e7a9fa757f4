//! Power: state and reset.

use std::time::Duration;

use appliance_model::{PowerState, ResetKind};
use serde_json::{Value, json};

use crate::{
    change::{Allowed, What, in_doubt},
    client::Bmc,
    error::BmcError,
    field,
    inventory::Machine,
    link::local,
    quirks::Switch,
    task::Outcome,
    walk::Walk,
};

/// What a system's resource says of its power.
pub(crate) fn shown_power(system: &Value) -> PowerState {
    match field::text(system, &["PowerState"]).as_deref() {
        Some("On") => PowerState::On,
        Some("Off") => PowerState::Off,
        Some("PoweringOn") => PowerState::PoweringOn,
        Some("PoweringOff") => PowerState::PoweringOff,
        Some(_) | None => PowerState::Unknown,
    }
}

/// Redfish's names for a change of power, best first.
fn names(kind: ResetKind) -> &'static [&'static str] {
    match kind {
        ResetKind::On => &["On", "ForceOn"],
        ResetKind::ForceOff => &["ForceOff"],
        ResetKind::GracefulOff => &["GracefulShutdown"],
        ResetKind::Restart => &["ForceRestart", "PowerCycle"],
        ResetKind::PowerCycle => &["PowerCycle", "ForceRestart"],
    }
}

fn words(kind: ResetKind) -> &'static str {
    match kind {
        ResetKind::On => "switch on",
        ResetKind::ForceOff => "switch off",
        ResetKind::GracefulOff => "shut down",
        ResetKind::Restart => "restart",
        ResetKind::PowerCycle => "power-cycle",
    }
}

impl Bmc {
    /// Whether the machine runs.
    ///
    /// # Errors
    /// When the controller cannot be asked.
    pub async fn power_state(&self) -> Result<PowerState, BmcError> {
        Ok(shown_power(&self.machine().await?.system))
    }

    /// Switches the power.  Returns the reset type that was sent.
    ///
    /// # Errors
    /// When the controller refuses or offers nothing of the kind.
    pub async fn reset(&self, kind: ResetKind) -> Result<String, BmcError> {
        let machine = self.machine().await?;
        let off = shown_power(&machine.system) == PowerState::Off;
        let restarts = matches!(kind, ResetKind::Restart | ResetKind::PowerCycle);
        // A machine that is off answers 409 to a restart; what is wanted is that it boots.
        let kind = if off && restarts { ResetKind::On } else { kind };
        if kind == ResetKind::Restart && machine.quirks.has(Switch::ForceRestartHangs) {
            self.send_reset(&machine, ResetKind::ForceOff).await?;
            self.await_off().await?;
            tokio::time::sleep(self.inner.options.pause * REST_PAUSES).await;
            return self.send_reset(&machine, ResetKind::On).await;
        }
        self.send_reset(&machine, kind).await
    }

    async fn send_reset(&self, machine: &Machine, kind: ResetKind) -> Result<String, BmcError> {
        let Machine { path, system, quirks, .. } = machine;
        let offered = reset_types(&mut Walk::new(self), path, system).await;
        let fits = |name: &&&str| offered.is_empty() || offered.iter().any(|offer| offer == **name);
        let Some(name) = names(kind).iter().find(fits) else {
            let (url, wanted, offered) = (self.inner.url(path), words(kind), offered.join(", "));
            return Err(BmcError::NoSuchReset { url, wanted, offered });
        };
        let action =
            field::at(system, &["Actions", "#ComputerSystem.Reset", "target"]).and_then(Value::as_str);
        let action = action.and_then(|link| local(&self.inner.base, link));
        let action =
            action.unwrap_or_else(|| format!("{}/Actions/ComputerSystem.Reset", path.trim_end_matches('/')));
        let patient = quirks.has(Switch::OnConflictsAfterOff) || quirks.has(Switch::RefusesAfterPowerChange);
        let mut attempt = 1;
        loop {
            match self.inner.change("POST", &action, &json!({ "ResetType": name }), None).await {
                Ok(answer) => {
                    let time = Duration::from_secs(RESET_TASK_SECONDS_MAX);
                    let end = self.follow(&self.accepted(&answer), time).await?;
                    if end.outcome == Outcome::Failed {
                        let said = end.messages.into_iter().next().unwrap_or(end.state);
                        return Err(BmcError::TaskFailed { url: self.inner.url(&action), said });
                    }
                    return Ok((*name).to_owned());
                }
                // It was refused, so nothing is done twice.
                Err(BmcError::Refused { status: 400 | 409 | 503, .. })
                    if patient && attempt < RESET_ATTEMPTS_MAX =>
                {
                    attempt += 1;
                    tokio::time::sleep(self.inner.options.pause * SETTLE_PAUSES).await;
                }
                // Its answer was lost: a state shows, a restart does not, and a second one would be a second one.
                Err(error) if in_doubt(&error) => {
                    let wanted = match kind {
                        ResetKind::On => PowerState::On,
                        ResetKind::ForceOff => PowerState::Off,
                        ResetKind::GracefulOff | ResetKind::Restart | ResetKind::PowerCycle => {
                            return Err(error);
                        }
                    };
                    let fits = |system: &Value| shown_power(system) == wanted;
                    return match self.look_until(path, fits).await {
                        Ok(Ok(_)) => Ok((*name).to_owned()),
                        Ok(Err(_)) | Err(_) => Err(error),
                    };
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Restarts the controller itself; the machine runs on.  It is away for some minutes, and its sessions are ended.
    ///
    /// # Errors
    /// When it is not allowed for this machine, or the controller has no such restart or refuses.
    pub async fn restart_controller(&self, allowed: &Allowed) -> Result<(), BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::Controller)?;
        let manager = machine.manager.as_deref().ok_or_else(|| self.lacks(&machine.path, "a manager"))?;
        let resource = self.inner.get(manager).await?.body;
        let action = field::at(&resource, &["Actions", "#Manager.Reset"]).cloned();
        let action = action.ok_or_else(|| self.lacks(manager, "a restart of itself"))?;
        let target = self.action(manager, &resource, "Manager.Reset");
        let target = target.ok_or_else(|| self.lacks(manager, "a restart of itself"))?;
        let offered = self.allowable(&action, "ResetType").await;
        let fits = |name: &&&str| offered.is_empty() || offered.iter().any(|one| one == **name);
        let Some(name) = ["GracefulRestart", "ForceRestart"].iter().find(fits) else {
            let offered = offered.join(", ");
            return Err(self.lacks(manager, format!("a restart of itself; it offers {offered}")));
        };
        match self.tagged("POST", &target, Some(&json!({ "ResetType": name })), &machine.quirks).await {
            // Some are gone before they have answered.
            Ok(_) | Err(BmcError::NoAnswer { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until the machine shows as off; not for ever.
    async fn await_off(&self) -> Result<(), BmcError> {
        for _ in 0..OFF_LOOKS_MAX {
            if self.power_state().await? == PowerState::Off {
                break;
            }
            tokio::time::sleep(self.inner.options.pause).await;
        }
        Ok(())
    }
}

/// A reset refused because the last power change is still under way is sent this often.
const RESET_ATTEMPTS_MAX: u32 = 6;
/// A reset that is a task is followed so long; what then goes on shows in the power state.
const RESET_TASK_SECONDS_MAX: u64 = 60;
/// Pauses between two of them.
const SETTLE_PAUSES: u32 = 5;
/// Pauses between off and on where a restart would hang (ten seconds were found to be enough).
const REST_PAUSES: u32 = 10;
/// Looks at a machine that was switched off.
const OFF_LOOKS_MAX: u32 = 30;

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

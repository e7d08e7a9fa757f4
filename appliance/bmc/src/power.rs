//! Power: state and reset.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    client::Bmc, error::BmcError, field, inventory::Machine, link::local, quirks::Switch, task::Outcome,
    walk::Walk,
};

/// Whether the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
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

    /// Switches the power.  Returns the reset type that was sent.
    ///
    /// # Errors
    /// When the controller refuses or offers nothing of the kind.
    pub async fn reset(&self, kind: ResetKind) -> Result<String, BmcError> {
        let machine = self.machine().await?;
        let off = PowerState::of(&machine.system) == PowerState::Off;
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
        let Some(name) = kind.names().iter().find(fits) else {
            let (url, wanted, offered) = (self.inner.url(path), kind.words(), offered.join(", "));
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
                Err(error) => return Err(error),
            }
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

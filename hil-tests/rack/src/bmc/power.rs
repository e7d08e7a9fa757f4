//! What the BMC can do to its server: the trait it drives, the reset types, the boot override.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use super::answer::Answer;
use crate::boot::{BootSetting, Override, OverrideEnabled};
use crate::error::RackError;
use crate::spec::{BootTarget, HostSpec};

/// What a command to the server returns, boxed so that the BMC need not know which server it has.
pub(crate) type Outcome<'a> = Pin<Box<dyn Future<Output = Result<(), RackError>> + Send + 'a>>;

/// A server as its BMC sees it.
pub(crate) trait Server: Send + Sync + std::fmt::Debug + 'static {
    /// What it is made of.
    fn spec(&self) -> &HostSpec;
    /// Whether it has power.
    fn is_on(&self) -> bool;
    /// The override cell it consumes.
    fn boot(&self) -> &BootSetting;
    /// Does what the reset type says.
    fn command(self: Arc<Self>, reset: ResetType) -> Outcome<'static>;
}

/// The values of `ResetType` that this BMC allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetType {
    On,
    ForceOff,
    GracefulShutdown,
    ForceRestart,
    PowerCycle,
}

impl ResetType {
    pub(crate) const NAMES: [&'static str; 5] =
        ["On", "ForceOff", "GracefulShutdown", "ForceRestart", "PowerCycle"];

    /// Reads the body of the reset action.
    pub(crate) fn parse(body: &Value) -> Result<Self, Answer> {
        let Some(given) = body.get("ResetType") else {
            return Err(Answer::bad(
                "ActionParameterMissing",
                "The action requires the parameter ResetType.",
            ));
        };
        match given.as_str() {
            Some("On") => Ok(Self::On),
            Some("ForceOff") => Ok(Self::ForceOff),
            Some("GracefulShutdown") => Ok(Self::GracefulShutdown),
            Some("ForceRestart") => Ok(Self::ForceRestart),
            Some("PowerCycle") => Ok(Self::PowerCycle),
            Some(_) | None => Err(Answer::bad(
                "ActionParameterValueNotInList",
                format!("ResetType {given} is not one of {}.", Self::NAMES.join(", ")),
            )),
        }
    }

    /// Whether the server must be on for it.
    pub(crate) fn needs_power(self) -> bool {
        match self {
            Self::On | Self::ForceOff | Self::PowerCycle => false,
            Self::GracefulShutdown | Self::ForceRestart => true,
        }
    }
}

/// Applies the body of a PATCH to the system: nothing but the boot override can be written.
pub(crate) fn patch(mut setting: Override, body: &Value) -> Result<Override, Answer> {
    let fields =
        body.as_object().ok_or_else(|| Answer::bad("MalformedJSON", "The body is not an object."))?;
    if let Some(other) = fields.keys().find(|key| *key != "Boot") {
        return Err(Answer::bad("PropertyNotWritable", format!("The property {other} cannot be written.")));
    }
    let boot = fields.get("Boot").and_then(Value::as_object);
    let boot = boot.ok_or_else(|| Answer::bad("PropertyMissing", "The object Boot is missing."))?;
    for (key, value) in boot {
        let wrong = || {
            let text = format!("The value {value} for the property {key} is not in the list of values.");
            Answer::bad("PropertyValueNotInList", text)
        };
        match (key.as_str(), value.as_str()) {
            ("BootSourceOverrideTarget", Some(name)) => {
                setting.target = match name {
                    "None" => None,
                    "Hdd" => Some(BootTarget::Disk),
                    "Pxe" => Some(BootTarget::Pxe),
                    "UefiHttp" => Some(BootTarget::UefiHttp),
                    _ => return Err(wrong()),
                }
            }
            ("BootSourceOverrideEnabled", Some(name)) => {
                setting.enabled = match name {
                    "Disabled" => OverrideEnabled::Disabled,
                    "Once" => OverrideEnabled::Once,
                    "Continuous" => OverrideEnabled::Continuous,
                    _ => return Err(wrong()),
                }
            }
            ("BootSourceOverrideMode", Some("UEFI")) => {}
            ("BootSourceOverrideTarget" | "BootSourceOverrideEnabled" | "BootSourceOverrideMode", _) => {
                return Err(wrong());
            }
            _ => return Err(Answer::bad("PropertyUnknown", format!("The property Boot/{key} is unknown."))),
        }
    }
    match setting.enabled {
        OverrideEnabled::Disabled => Ok(Override::default()),
        OverrideEnabled::Once | OverrideEnabled::Continuous => Ok(setting),
    }
}

//! What the BMC can do to its server: the trait it drives, and the reset types.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{broadcast, mpsc};

use super::answer::Answer;
use crate::boot::BootSetting;
use crate::error::RackError;
use crate::spec::HostSpec;

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
    /// Puts a medium into a virtual slot, or takes it out.
    fn media(self: Arc<Self>, slot: String, medium: Option<Medium>) -> Outcome<'static>;
    /// The Secure Boot keys from the next start on.
    fn secure_boot(&self, keys: SecureBootKeys);
    /// The serial line, where there is one.
    fn serial(&self) -> Option<SerialLine>;
    /// Where files of this server may be kept.
    fn folder(&self) -> Option<PathBuf>;
}

/// A virtual medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Medium {
    /// The image as it was fetched.
    pub(crate) file: PathBuf,
    /// A CD, else a stick.
    pub(crate) optical: bool,
    pub(crate) write_protected: bool,
}

/// What the firmware shall trust, certificates in DER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SecureBootKeys {
    pub(crate) enable: bool,
    pub(crate) platform: Vec<Vec<u8>>,
    pub(crate) exchange: Vec<Vec<u8>>,
    pub(crate) allowed: Vec<Vec<u8>>,
    pub(crate) forbidden: Vec<Vec<u8>>,
    /// Authenticode digests, SHA-256.
    pub(crate) revoked: Vec<[u8; 32]>,
}

/// Both directions of a serial line.
#[derive(Debug)]
pub(crate) struct SerialLine {
    pub(crate) output: broadcast::Receiver<Vec<u8>>,
    pub(crate) input: mpsc::Sender<Vec<u8>>,
}

/// The values of `ResetType` that this BMC allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetType {
    On,
    ForceOff,
    GracefulShutdown,
    GracefulRestart,
    ForceRestart,
    PowerCycle,
    Nmi,
}

impl ResetType {
    pub(crate) const NAMES: [&'static str; 7] =
        ["On", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart", "PowerCycle", "Nmi"];

    /// Reads the body of the reset action.
    pub(crate) fn parse(body: &Value) -> Result<Self, Answer> {
        let Some(given) = body.get("ResetType") else {
            return Err(Answer::bad(
                "ActionParameterMissing",
                "The action requires the parameter ResetType.",
            ));
        };
        match given.as_str() {
            Some("On" | "ForceOn") => Ok(Self::On),
            Some("ForceOff") => Ok(Self::ForceOff),
            Some("GracefulShutdown") => Ok(Self::GracefulShutdown),
            Some("GracefulRestart") => Ok(Self::GracefulRestart),
            Some("ForceRestart") => Ok(Self::ForceRestart),
            Some("PowerCycle") => Ok(Self::PowerCycle),
            Some("Nmi") => Ok(Self::Nmi),
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
            Self::GracefulShutdown | Self::GracefulRestart | Self::ForceRestart | Self::Nmi => true,
        }
    }
}

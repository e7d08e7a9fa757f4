//! What a machine's controller is asked to do to it, by whatever protocol: power and the next boot's source.

use serde::{Deserialize, Serialize};

/// Whether the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// What to do to the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

/// Where to boot from, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootTarget {
    /// UEFI HTTP boot.
    UefiHttp,
    /// PXE.
    Pxe,
    /// A CD, also a virtual one on most.
    Cd,
    /// A virtual CD, where it is told from a real one.
    UsbCd,
    /// The disk.
    Hdd,
    /// No override.
    None,
}

//! Firmware and BIOS settings are changed in a machine that may not be touched, or not twice: a plan, a person's word for
//! exactly that plan, and a run through its steps that a crash at any line does not derail.
//!
//! Each change and each restart is written down before it is ordered.  Whoever starts after a crash and finds an order
//! whose outcome is not written down looks first: is the change there, does it wait, is there a task that was not there
//! before, was the image fetched?  A setting is a state and may be written again; an image that the controller fetches has
//! a path for each order, and an old path leads nowhere; an image that was pushed into silence is never pushed again, and
//! a person is asked.  Which stages allow it: [`barred`].  Read next: `turn.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use appliance_model::{Digest, Now, Serial, Ticket};
use serde::{Deserialize, Serialize};

use crate::stage::Stage;

mod happened;
mod turn;

pub use happened::{RemedyAct, RemedyHappened, RemedyTurn, Reply, Sight, TaskEnd};

/// What is to be changed in one machine, step by step.  Its digest is what a person allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemedyPlan {
    /// The machine.
    pub serial: Serial,
    /// In this order.
    pub steps: Vec<RemedyStep>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemedyStep {
    /// What it does, in words.
    pub what: String,
    /// The findings that it mends.
    pub because: Vec<String>,
    /// What is changed.
    pub change: Change,
    /// What is done to the machine's power, so that the change acts.
    pub restart: Restart,
}

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// BIOS settings, by name.
    Settings {
        /// From and to.
        settings: BTreeMap<String, Setting>,
    },
    /// Firmware of one component.
    Firmware(FirmwareChange),
}

/// A setting, from and to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// As it was when the plan was made.
    pub from: SettingValue,
    /// As it will be.
    pub to: SettingValue,
}

/// A setting's value, of the kind that the controller shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SettingValue {
    /// On or off.
    Flag(bool),
    /// A number.
    Number(i64),
    /// A text, also of an enumeration.
    Text(String),
}

/// Firmware, from and to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareChange {
    /// What kind of component, as people call it.
    pub component: String,
    /// Its resource in the controller's inventory.
    pub target: String,
    /// The version that was found.
    pub from: String,
    /// The version of the image.
    pub to: String,
    /// The image is older than what is there, or nobody can tell.
    pub downgrade: bool,
    /// The image's file in the site's firmware directory.
    pub file: String,
    /// Its digest, from the catalogue.
    pub sha256: Digest,
    /// How it gets to the controller.
    pub way: ImageWay,
    /// Digest of the catalogue that names it.
    pub catalogue: Digest,
}

/// How an image gets to a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageWay {
    /// It fetches the image from us, by a path that is good for one order.
    Fetch,
    /// We push it.
    Push,
}

/// What is done to a machine's power for a change to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Nothing.
    No,
    /// It is restarted.
    Host,
    /// Its power is taken away for some seconds.
    PowerCycle,
}

/// What was so before an order: the mark by which its traces are told from older ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The controller's tasks.
    pub tasks: BTreeSet<String>,
    /// The order's own path, where the controller fetches an image.
    pub key: Ticket,
}

/// What is known of a restart that a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restarted {
    /// None was ordered, and none is due before the change had its time.
    NotYet,
    /// None was ordered, and the controller waits for it.
    Due,
    /// It was ordered.
    Yes,
    /// A crash or a lost answer swallowed whether it was.
    Unsure,
}

/// Where a run stands.  It is stored before what it says is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "remedy", rename_all = "kebab-case")]
pub enum Remedy {
    /// A step is next, if it is still needed.
    Next {
        /// The step, from 0.
        step: usize,
        /// Orders that left no trace.
        tries: u32,
        /// Looks and orders in a row that did not reach the controller.
        silent: u32,
        /// Nothing is tried before.
        not_before: Now,
    },
    /// The controller is perhaps told.
    Sent {
        /// The step.
        step: usize,
        /// Orders before this one that left no trace.
        tries: u32,
        /// What was so before.
        before: Before,
    },
    /// It is being found out whether the controller was told.
    Searching {
        /// The step.
        step: usize,
        /// Orders before this one that left no trace.
        tries: u32,
        /// What was so before.
        before: Before,
        /// Since when it answers and shows no trace.
        since: Now,
        /// Looks without an answer.
        silent: u32,
    },
    /// The controller works on it.
    Accepted {
        /// The step.
        step: usize,
        /// Its order's path, which stays open.
        key: Ticket,
        /// Its task.
        task: String,
        /// Since when.
        since: Now,
    },
    /// It is awaited that the change shows.
    Proving {
        /// The step.
        step: usize,
        /// Its order's path, which stays open.
        key: Ticket,
        /// The restart it needs.
        restarted: Restarted,
        /// The machine's last reset before a restart that was perhaps ordered, as its controller tells.
        mark: Option<String>,
        /// Restarts that could not be ordered.
        tries: u32,
        /// Since when.
        since: Now,
    },
    /// A restart is perhaps ordered.
    Restarting {
        /// The step.
        step: usize,
        /// Its order's path, which stays open.
        key: Ticket,
        /// The machine's last reset before it, as its controller tells.
        mark: Option<String>,
        /// Restarts that could not be ordered.
        tries: u32,
    },
    /// Every step is proved: the machine's inventory is read again and compared.
    Closing {
        /// Since when.
        since: Now,
    },
    /// Done.
    Done,
    /// It ended before its end.  What was changed stays changed.
    Failed {
        /// The step.
        step: usize,
        /// Why, and what to do.
        why: String,
    },
}

impl RemedyPlan {
    /// What a person allows: SHA-256 over all that would be done, in order.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        Digest::of(&[b"scalerforge/remedy/v1\0".as_slice(), &bytes].concat())
    }
}

impl Remedy {
    /// The beginning of a run.
    #[must_use]
    pub fn start() -> Self {
        Self::Next { step: 0, tries: 0, silent: 0, not_before: Now(0) }
    }

    /// Whether it ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(self, Self::Done | Self::Failed { .. })
    }

    /// The step it is at, where it is at one.
    #[must_use]
    pub fn step(&self) -> Option<usize> {
        match self {
            Self::Next { step, .. }
            | Self::Sent { step, .. }
            | Self::Searching { step, .. }
            | Self::Accepted { step, .. }
            | Self::Proving { step, .. }
            | Self::Restarting { step, .. }
            | Self::Failed { step, .. } => Some(*step),
            Self::Closing { .. } | Self::Done => None,
        }
    }

    /// The path by which a controller may fetch the step's image now.  A new order makes a new one and ends the old.
    #[must_use]
    pub fn key(&self) -> Option<Ticket> {
        match self {
            Self::Sent { before, .. } | Self::Searching { before, .. } => Some(before.key),
            Self::Accepted { key, .. } | Self::Proving { key, .. } | Self::Restarting { key, .. } => {
                Some(*key)
            }
            Self::Next { .. } | Self::Closing { .. } | Self::Done | Self::Failed { .. } => None,
        }
    }

    /// Short name, for programs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Next { .. } => "next",
            Self::Sent { .. } => "sent",
            Self::Searching { .. } => "searching",
            Self::Accepted { .. } => "accepted",
            Self::Proving { .. } => "proving",
            Self::Restarting { .. } => "restarting",
            Self::Closing { .. } => "closing",
            Self::Done => "done",
            Self::Failed { .. } => "failed",
        }
    }

    /// What is happening, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let text = match self {
            Self::Next { silent: 0, .. } => "looks whether the step is still needed",
            Self::Next { .. } => "waits for the controller to answer: nothing was sent",
            Self::Sent { .. } => "tells the controller",
            Self::Searching { .. } => "finds out whether the controller was told",
            Self::Accepted { .. } => "follows the controller's task",
            Self::Proving { restarted: Restarted::NotYet | Restarted::Due, .. } => "waits for it to show",
            Self::Proving { restarted: Restarted::Yes | Restarted::Unsure, .. } => {
                "waits for it to show after the restart"
            }
            Self::Restarting { .. } => "restarts the machine",
            Self::Closing { .. } => "reads the machine's inventory again and compares it",
            Self::Done => "done",
            Self::Failed { why, .. } => why,
        };
        text.to_owned()
    }
}

impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Why a host in this stage may not be remedied; `None` where it may.  Asked before each order, not only once.
#[must_use]
pub fn barred(stage: &Stage) -> Option<String> {
    let text = match stage {
        Stage::Found
        | Stage::Booting { .. }
        | Stage::Discovering { .. }
        | Stage::Identifying { .. }
        | Stage::Challenging { .. }
        | Stage::Challenged { .. }
        | Stage::Admitting { .. }
        | Stage::Verifying { .. }
        | Stage::Admitted { .. }
        | Stage::BurningIn { .. }
        | Stage::Carving { .. }
        | Stage::Shaping { .. }
        | Stage::Binding { .. }
        | Stage::Sealing { .. }
        | Stage::Retired { .. } => return None,
        Stage::Quarantined { was, .. } if was != "registered" => return None,
        Stage::Quarantined { .. } => {
            "it is a registered ScalerNode that drifted: its collateral is locked and somebody may have booked it; settle \
             that with the registry first, its firmware is not touched"
        }
        Stage::Registered { .. } => {
            "it is a registered ScalerNode: somebody may have booked it, and other firmware would not be what its evidence \
             says; retire it first"
        }
        Stage::Pricing { .. } | Stage::Approving { .. } | Stage::Registering { .. } => {
            "its evidence is signed over the firmware it has, and its registration is under way; other firmware would make \
             that evidence untrue"
        }
    };
    Some(text.to_owned())
}

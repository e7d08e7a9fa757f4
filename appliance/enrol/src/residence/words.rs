//! Residences for people: what goes on, in words, and why nothing is written to a host's drive.

use appliance_api::agent::host::{Place, Release};
use appliance_model::{Digest, Serial, inventory::Inventory};

use super::{Astray, Home, Housing, Residence};
use crate::{Refusal, Stage};

/// The rule by which evidence that was made meanwhile is not accepted.
pub const RULE: &str = "astray";

impl Residence {
    /// What is going on, or what came of it.
    #[must_use]
    pub fn words(&self) -> String {
        let lives = match (&self.home, self.astray) {
            (Some(home), None) => format!("runs {}", home.words()),
            (Some(home), Some(astray)) => lost(home, astray),
            (None, _) => "has no system of its own that was marked good".into(),
        };
        match &self.housing {
            Housing::Settled => lives,
            Housing::Queued { job } => format!("{lives}; {} waits for its turn", named(&job.release)),
            Housing::Asked { job, .. } => format!("{lives}; {} is being written", named(&job.release)),
            Housing::Occupied { job, digest, .. } => format!(
                "{lives}; {} was not written, because {} holds something: `host install` shows what, and --over {} \
                 allows that to be lost",
                named(&job.release),
                drive_of(&job.place),
                short(digest)
            ),
            Housing::Written { job, slot } => format!(
                "{lives}; {} is written to slot {slot} and was read back, and the machine is to restart",
                named(&job.release)
            ),
            Housing::Restarting { job, slot, .. } => {
                format!("{lives}; the machine restarts into {} in slot {slot}", named(&job.release))
            }
            Housing::Promoting { home, .. } => {
                format!("{lives}; {} has proven itself and is marked good", home.words())
            }
            Housing::Failed { job, why, .. } => {
                format!("{lives}; {} came to nothing: {why}", named(&job.release))
            }
        }
    }
}

impl Residence {
    /// Why evidence is not accepted, and is no drift either, whose PCR 4 alone differs from the discovery image's: the
    /// firmware started what is left of a lost home, and it came back.  Drives that were merely tried are no reason: a
    /// verifier reads past those.  `None` where no home was lost.
    #[must_use]
    pub fn unproven(&self) -> Option<Refusal> {
        (self.astray == Some(Astray::Network)).then(|| Refusal {
            rule: RULE.into(),
            text: format!(
                "its firmware started something from a drive before it started the machine from the network, and PCR 4 \
                 shows that: what ran had the machine first, so what runs now is not proven until the machine has a system \
                 again, that drive is blank or out of it, or its controller has it start from the network at once. It {}",
                self.words()
            ),
        })
    }

    /// The drive that its home was on, where the home does not run and the newest inventory lacks that drive.
    #[must_use]
    pub fn gone(&self, inventory: &Inventory) -> Option<&Serial> {
        let drive = self.home.as_ref().filter(|_| self.astray.is_some())?.drive.as_ref()?;
        // A drive without a serial is known by its world-wide name.
        let there = inventory
            .drives
            .iter()
            .any(|one| one.serial.as_ref() == Some(drive) || one.wwid.as_deref() == Some(drive.as_str()));
        (!there).then_some(drive)
    }
}

/// That a home does not run, and what to do.
fn lost(home: &Home, astray: Astray) -> String {
    let drive = home.drive.as_ref().map_or("its drive".to_owned(), |drive| format!("drive {drive}"));
    let home = home.words();
    match astray {
        Astray::Network => format!(
            "runs from memory, because {drive} did not start {home}: that system is gone with its drive, was overwritten, or \
             the firmware tries the network first. It is the same machine, as its TPM says: `host install ID --drive SERIAL \
             --permit \"install on SERIAL\"` gives it a system again. Where {drive} is untouched, put it first in the \
             firmware's boot order and restart the machine"
        ),
        Astray::Foreign => format!(
            "does not run {home}: what {drive} started instead is not believed. `host retry ID` boots it from the network, \
             and `host install ID --drive SERIAL --permit \"install on SERIAL\"` gives it a system again"
        ),
    }
}

impl Housing {
    /// Its name, as shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Queued { .. } => "queued",
            Self::Asked { .. } => "asked",
            Self::Occupied { .. } => "occupied",
            Self::Written { .. } => "written",
            Self::Restarting { .. } => "restarting",
            Self::Promoting { .. } => "promoting",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Why no drive of a host in this stage gets a system, if so.  `sold` says whether that drive is one of its units.
#[must_use]
pub fn install_barred(stage: &Stage, sold: bool) -> Option<&'static str> {
    match stage {
        Stage::Registered { .. } if sold => Some(
            "that drive is a unit of a registered ScalerNode, and somebody's data may be on it; retire the node first, or \
             name a drive that is not sold",
        ),
        Stage::Registering { .. } => Some("its registration is on its way to the chain"),
        Stage::Found | Stage::Booting { .. } => Some("its agent has not been heard"),
        Stage::Discovering { .. }
        | Stage::Identifying { .. }
        | Stage::Challenging { .. }
        | Stage::Challenged { .. }
        | Stage::Admitting { .. }
        | Stage::Verifying { .. } => {
            Some("its TPM has not shown who it is: a system must be able to prove that it is its")
        }
        Stage::Admitted { .. }
        | Stage::BurningIn { .. }
        | Stage::Carving { .. }
        | Stage::Shaping { .. }
        | Stage::Binding { .. }
        | Stage::Sealing { .. }
        | Stage::Pricing { .. } => Some("it is at work; wait until it waits for approval, or hold it there"),
        Stage::Approving { .. }
        | Stage::Registered { .. }
        | Stage::Quarantined { .. }
        | Stage::Retired { .. } => None,
    }
}

pub(crate) fn named(release: &Release) -> String {
    format!("{} {}", release.name, release.version)
}

fn drive_of(place: &Place) -> String {
    match place {
        Place::Fresh { drive, .. } => format!("drive {drive}"),
        Place::Other => "the other slot".into(),
    }
}

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(16).collect()
}

//! Where a host's agent lives: in memory, or in a system of ours on a drive; and how one system follows the other.
//!
//! What an agent says of where it runs is hearsay; [`Lived::Proven`] is said by the appliance alone, after a fresh quote
//! by the host's own attestation key was compared with the release's computed values.  Only then is a system marked good,
//! and only a system that was marked good is somebody's home.  A permission is for one install; what has been written
//! is either started and proven or named as failed.

use appliance_api::agent::host::{FailedSlot, FoundPartition, Place, Release, Slot};
use appliance_model::{Digest, Now, Seconds, Serial};
use serde::{Deserialize, Serialize};

use crate::Refusal;

mod words;

pub(crate) use self::words::named;
pub use self::words::{RULE, install_barred};

/// How long a permission waits for the machine's agent.
pub const INSTALL_WAITS: Seconds = Seconds(24 * 3600);

/// How long a machine may take to come back from a restart: what a large server needs to boot, three times, because a
/// new system is tried three times before the boot loader goes back to the one before.
pub const RESTART_SECONDS_MAX: Seconds = Seconds(3 * 420);

/// A system on a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Home {
    /// Which slot.
    pub slot: Slot,
    /// What is in it.
    pub release: Release,
    /// Serial of the drive, where it tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drive: Option<Serial>,
}

impl Home {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{} in slot {}", named(&self.release), self.slot)
    }
}

/// What a person allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What is put there.
    pub release: Release,
    /// Where.
    pub place: Place,
    /// Who allowed it, as told.
    pub by: String,
}

/// What is going on; it is also the record in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "housing", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Housing {
    /// Nothing.
    #[default]
    Settled,
    /// Its turn comes after others'.
    Queued {
        /// What.
        job: Job,
    },
    /// Allowed; the agent is to write it.
    Asked {
        /// What.
        job: Job,
        /// When the permission ends.
        until: Now,
    },
    /// Nothing was written: the drive holds something that nobody named.
    Occupied {
        /// What was wanted.
        job: Job,
        /// What is on the drive.
        found: Vec<FoundPartition>,
        /// What a permission has to name.
        digest: Digest,
    },
    /// Written and read back; the agent is to restart the machine.
    Written {
        /// What.
        job: Job,
        /// Where it stands.
        slot: Slot,
    },
    /// The machine restarts.
    Restarting {
        /// What should come.
        job: Job,
        /// From where.
        slot: Slot,
        /// When it is late.
        until: Now,
    },
    /// It runs and has proven it; the agent is to mark it good.
    Promoting {
        /// What.
        home: Home,
        /// What was allowed, if this came of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<Job>,
    },
    /// It came to nothing, and what ran before runs.
    Failed {
        /// What was wanted.
        job: Job,
        /// When.
        at: Now,
        /// Why.
        why: String,
    },
}

/// Why a host that has a home does not run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Astray {
    /// Nobody asked for it, and the machine was started from the network: a drive that died, was replaced or erased.
    Network,
    /// What its drive started is not believed.
    Foreign,
}

/// Where a host's agent lives, and what is going on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residence {
    /// The system on a drive that was marked good last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Home>,
    /// The largest epoch that was ever marked good: nothing older is believed.
    #[serde(default)]
    pub floor: u32,
    /// Why the home does not run, if so: until a system is proven again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub astray: Option<Astray>,
    /// What is going on.
    pub housing: Housing,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lived {
    /// Its turn has come.
    Begins,
    /// The agent has written a release and read it back.
    Written {
        /// Where.
        slot: Slot,
        /// What was read back.
        root_hash: Digest,
    },
    /// The agent found something on the drive.
    Occupied {
        /// What.
        found: Vec<FoundPartition>,
        /// What names it.
        digest: Digest,
    },
    /// The agent restarts the machine.
    Leaves,
    /// The agent could not do what it was asked.
    Failed {
        /// Why.
        why: String,
    },
    /// An agent said hello from the discovery image, with a ticket that was honoured, and no rescue had asked for that.
    FromMemory,
    /// The host's own key has quoted a system that is not believed.
    Foreign,
    /// An installed system was proven by a fresh quote.
    Proven {
        /// Which.
        home: Home,
        /// Whether it still has to be marked good.
        unpromoted: bool,
        /// The floor, as its TPM has it; `None` where there is none, or it could not be read.
        floor: Option<u32>,
        /// Slots that were started in vain, as the agent says.
        failed: Vec<FailedSlot>,
    },
    /// The agent has marked the running slot good.
    Promoted {
        /// Which.
        slot: Slot,
        /// The floor, as its TPM has it.
        floor: Option<u32>,
    },
}

/// What the agent is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand<'a> {
    /// Write this.
    Install(&'a Job),
    /// Restart the machine.
    Restart,
    /// Mark this good.
    Promote(&'a Release),
}

const NOT_ASKED: &str = "this host was not asked to be installed, or that has ended";

impl Residence {
    /// What follows when this happens; `None` where nothing changes.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn take(&self, lived: Lived, now: Now) -> Result<Option<Self>, String> {
        match lived {
            Lived::Begins => {
                let Housing::Queued { job } = &self.housing else { return Ok(None) };
                Ok(Some(self.turned(Housing::asked(job.clone(), now))))
            }
            Lived::Written { slot, root_hash } => self.written(slot, root_hash, now),
            Lived::Occupied { found, digest } => {
                let Housing::Asked { job, .. } = &self.housing else { return Err(NOT_ASKED.into()) };
                Ok(Some(self.turned(Housing::Occupied { job: job.clone(), found, digest })))
            }
            Lived::Leaves => {
                let Housing::Written { job, slot } = &self.housing else { return Ok(None) };
                let until = now.after(RESTART_SECONDS_MAX);
                Ok(Some(self.turned(Housing::Restarting { job: job.clone(), slot: *slot, until })))
            }
            Lived::Failed { why } => Ok(self.failed(why, now)),
            Lived::FromMemory => Ok(self.in_memory(now)),
            Lived::Foreign => Ok(self.strayed(Astray::Foreign).filter(|next| next != self)),
            Lived::Proven { home, unpromoted, floor, failed } => {
                let came = self.proven(home.clone(), unpromoted, &failed, now);
                let state = came.as_ref().unwrap_or(self);
                // Somebody has taken the counter away, or it was never raised: it is raised again, by the same errand.
                let lower = floor.is_none_or(|floor| floor < home.release.epoch);
                let settled = matches!(state.housing, Housing::Settled);
                Ok(if lower && settled {
                    Some(state.turned(Housing::Promoting { home, job: None }))
                } else {
                    came
                })
            }
            Lived::Promoted { slot, floor } => self.promoted(slot, floor),
        }
    }

    /// What time brings.
    #[must_use]
    pub fn pass_time(&self, now: Now) -> Option<Self> {
        match &self.housing {
            Housing::Asked { until, .. } if now > *until => self.failed(
                "the machine's agent did not come for it in time; nothing was written".into(),
                now,
            ),
            Housing::Restarting { until, .. } if now > *until => self.failed(
                format!(
                    "the machine was told to restart {} minutes ago and no agent of it was heard since; look at its \
                     console and switch it on: if it comes back by itself, that counts",
                    RESTART_SECONDS_MAX.0 / 60
                ),
                now,
            ),
            Housing::Settled
            | Housing::Queued { .. }
            | Housing::Asked { .. }
            | Housing::Occupied { .. }
            | Housing::Written { .. }
            | Housing::Restarting { .. }
            | Housing::Promoting { .. }
            | Housing::Failed { .. } => None,
        }
    }

    /// What the agent is to do, if anything.
    #[must_use]
    pub fn errand(&self) -> Option<Errand<'_>> {
        match &self.housing {
            Housing::Asked { job, .. } => Some(Errand::Install(job)),
            Housing::Written { .. } => Some(Errand::Restart),
            Housing::Promoting { home, .. } => Some(Errand::Promote(&home.release)),
            Housing::Settled
            | Housing::Queued { .. }
            | Housing::Occupied { .. }
            | Housing::Restarting { .. }
            | Housing::Failed { .. } => None,
        }
    }

    /// Why a system is not believed although its quote holds, if so: it is older than one that was marked good.
    #[must_use]
    pub fn refuses(&self, release: &Release) -> Option<Refusal> {
        (release.epoch < self.floor).then(|| Refusal {
            rule: "host-floor".into(),
            text: format!(
                "the machine runs {}, whose epoch {} is below the floor of {}: a newer system was marked good on it, and \
                 what it repaired counts. Put a newer release on it with `host install`, after booting it from the \
                 network with `host retry`",
                named(release),
                release.epoch,
                self.floor
            ),
        })
    }

    /// Whether the host is in the middle of something: nothing else is done to it, and its silence means nothing.
    #[must_use]
    pub fn busy(&self) -> bool {
        match &self.housing {
            Housing::Asked { .. }
            | Housing::Written { .. }
            | Housing::Restarting { .. }
            | Housing::Promoting { .. } => true,
            Housing::Settled | Housing::Queued { .. } | Housing::Occupied { .. } | Housing::Failed { .. } => {
                false
            }
        }
    }

    /// Whether the machine is to be started from its drive, where nothing else is said.  One whose home does not start is
    /// not, and neither is one whose agent waits to be told to install anew.
    #[must_use]
    pub fn starts_from_drive(&self) -> bool {
        let anew =
            matches!(&self.housing, Housing::Asked { job, .. } if matches!(job.place, Place::Fresh { .. }));
        self.home.is_some() && self.astray.is_none() && !anew
    }

    /// The same, with its home out of reach; `None` where it has none.
    fn strayed(&self, astray: Astray) -> Option<Self> {
        self.home.is_some().then(|| Self { astray: Some(astray), ..self.clone() })
    }

    fn turned(&self, housing: Housing) -> Self {
        Self { housing, ..self.clone() }
    }

    fn failed(&self, why: String, now: Now) -> Option<Self> {
        let job = match &self.housing {
            Housing::Queued { job }
            | Housing::Asked { job, .. }
            | Housing::Written { job, .. }
            | Housing::Restarting { job, .. }
            | Housing::Promoting { job: Some(job), .. } => job.clone(),
            // What the agent could not mark good runs all the same, and is asked again at its next start.
            Housing::Promoting { job: None, .. } => return Some(self.turned(Housing::Settled)),
            Housing::Settled | Housing::Occupied { .. } | Housing::Failed { .. } => return None,
        };
        Some(self.turned(Housing::Failed { job, at: now, why }))
    }

    fn written(&self, slot: Slot, root_hash: Digest, now: Now) -> Result<Option<Self>, String> {
        let Housing::Asked { job, .. } = &self.housing else { return Err(NOT_ASKED.into()) };
        if root_hash != job.release.root_hash {
            return Ok(self.failed(
                format!(
                    "what was read back from slot {slot} has root hash {root_hash}, not {}; the drive is not to be trusted",
                    job.release.root_hash
                ),
                now,
            ));
        }
        Ok(Some(self.turned(Housing::Written { job: job.clone(), slot })))
    }

    /// The discovery image: where a system was to be started, the machine has taken another way.
    fn in_memory(&self, now: Now) -> Option<Self> {
        let astray = self.strayed(Astray::Network).unwrap_or_else(|| self.clone());
        let ended = match &self.housing {
            Housing::Restarting { .. } => astray.failed(
                "the machine booted the discovery image from the network instead of its drive: look at the boot order in \
                 its firmware, and whether the drive is listed there"
                    .into(),
                now,
            ),
            // Its agent is the discovery image's now, which has no other slot and nothing to mark.
            Housing::Promoting { job: None, .. } => Some(astray.turned(Housing::Settled)),
            Housing::Promoting { job: Some(_), .. } => {
                astray.failed("the machine was restarted from the network before it was marked good".into(), now)
            }
            Housing::Settled
            | Housing::Queued { .. }
            | Housing::Asked { .. }
            | Housing::Occupied { .. }
            | Housing::Written { .. }
            | Housing::Failed { .. } => None,
        };
        ended.or_else(|| (astray != *self).then_some(astray))
    }

    fn proven(&self, home: Home, unpromoted: bool, failed: &[FailedSlot], now: Now) -> Option<Self> {
        let wanted = match &self.housing {
            Housing::Written { job, .. } | Housing::Restarting { job, .. } | Housing::Failed { job, .. } => {
                Some(job)
            }
            Housing::Promoting { job, .. } => job.as_ref(),
            Housing::Settled | Housing::Queued { .. } | Housing::Asked { .. } | Housing::Occupied { .. } => {
                None
            }
        };
        let came = wanted.filter(|job| job.release.root_hash == home.release.root_hash).cloned();
        if unpromoted {
            // A system nobody asked for, but one whose values are known: an install whose answer was lost, or a person's.
            return Some(Self { astray: None, ..self.turned(Housing::Promoting { home, job: came }) });
        }
        let floor = self.floor.max(home.release.epoch);
        let lives = Self { home: Some(home.clone()), floor, astray: None, housing: self.housing.clone() };
        match &self.housing {
            // Marked good, and the word that it was got lost.
            Housing::Promoting { .. }
            | Housing::Restarting { .. }
            | Housing::Written { .. }
            | Housing::Failed { .. }
                if came.is_some() =>
            {
                Some(lives.turned(Housing::Settled))
            }
            Housing::Restarting { job, slot, .. } => {
                let tried = failed.iter().any(|one| one.slot == *slot);
                let tried = if tried { " after it was tried as often as it may be" } else { "" };
                lives.failed(
                    format!(
                        "{} in slot {slot} did not start: the machine went back to {}{tried}. Its console from then on has \
                         the reason",
                        named(&job.release),
                        home.words()
                    ),
                    now,
                )
            }
            Housing::Promoting { job: Some(job), .. } => {
                let why = format!(
                    "{} went back to {} before it was marked good",
                    named(&job.release),
                    home.words()
                );
                lives.failed(why, now)
            }
            Housing::Promoting { job: None, .. } => Some(lives.turned(Housing::Settled)),
            Housing::Settled
            | Housing::Queued { .. }
            | Housing::Asked { .. }
            | Housing::Occupied { .. }
            | Housing::Written { .. }
            | Housing::Failed { .. } => (lives != *self).then_some(lives),
        }
    }

    fn promoted(&self, slot: Slot, floor: Option<u32>) -> Result<Option<Self>, String> {
        let Housing::Promoting { home, .. } = &self.housing else { return Ok(None) };
        if home.slot != slot {
            return Err(format!("slot {} was to be marked good, not slot {slot}", home.slot));
        }
        if floor.is_some_and(|floor| floor < home.release.epoch) {
            return Err(format!("the TPM's floor was to be raised to {}", home.release.epoch));
        }
        let floor = self.floor.max(home.release.epoch);
        Ok(Some(Self { home: Some(home.clone()), floor, astray: None, housing: Housing::Settled }))
    }
}

impl Housing {
    /// A permission that waits for the agent.
    #[must_use]
    pub fn asked(job: Job, now: Now) -> Self {
        Self::Asked { job, until: now.after(INSTALL_WAITS) }
    }
}

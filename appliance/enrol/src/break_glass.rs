//! Break-glass: SSH into a host's own system, for one key and some minutes, on a person's word.
//!
//! What is allowed is one [`Grant`].  An addon is put beside the host's system and the machine restarts, so that what it
//! measures changes before anything opens; a quote that shows exactly that opens it; and it is over when a quote shows
//! the system without the addon again.  In between the host is not proven, whatever its stage says.  A machine that was
//! cut off at any point comes back to one of these states by what it quotes next.

use appliance_api::agent::{
    glass::{MINUTES_MAX, Words},
    host::Release,
};
use appliance_model::{HostId, Now, Seconds, SshKey};
use serde::{Deserialize, Serialize};

use crate::{Refusal, residence::RESTART_SECONDS_MAX, residence::named};

/// What a person allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Who comes in.
    pub key: SshKey,
    /// Who allowed it, as told.
    pub by: String,
    /// Why, as told.
    pub why: String,
    /// When it was allowed.
    pub from: Now,
    /// When it ends: whole seconds.
    pub until: Now,
    /// The system that runs then.
    pub release: Release,
}

impl Grant {
    /// For so many minutes from now on.  `None` for none, or more than [`MINUTES_MAX`].
    #[must_use]
    pub fn new(
        key: SshKey,
        (by, why): (String, String),
        minutes: u64,
        release: Release,
        now: Now,
    ) -> Option<Self> {
        if minutes == 0 || minutes > MINUTES_MAX {
            return None;
        }
        let until = Now(now.0 / 1000 * 1000).after(Seconds(minutes * 60));
        Some(Self { key, by, why, from: now, until, release })
    }

    /// What the host's command line says then.
    #[must_use]
    pub fn words(&self, host: &HostId) -> Words {
        Words::new(host.clone(), self.until.0 / 1000, &self.key)
    }

    /// Seconds that are left.
    #[must_use]
    pub fn seconds_left(&self, now: Now) -> u64 {
        if now < self.until { self.until.since(now).0 } else { 0 }
    }
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "door", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Door {
    /// Allowed; the agent is to put the addon there.
    Asked,
    /// The addon stands; the agent is to restart the machine.
    Planted,
    /// The machine restarts.
    Restarting,
    /// A quote has shown the system with the addon; the agent is to open.
    Shown,
    /// Open.
    Open {
        /// Fingerprint of the SSH server's key.
        host_key: String,
        /// Lines that were heard of this opening.
        heard: u64,
    },
    /// The agent is to close, and to take the addon away.
    Closing {
        /// Why it ends.
        why: String,
        /// What is still open, and is heard to its end: who is put out says so last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opening: Option<Opening>,
    },
    /// The addon is gone; the agent is to restart the machine.
    Closed {
        /// Why it ended.
        why: String,
    },
    /// The machine restarts without it, and has to prove itself.
    Returning {
        /// Why it ended.
        why: String,
    },
    /// It came back with the addon, which its agent has taken away: a person has to look.
    Stuck {
        /// What to do.
        why: String,
    },
    /// The machine is what it was.
    Over {
        /// Why it ended.
        why: String,
        /// When.
        at: Now,
    },
}

/// An SSH server that somebody may be in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// Fingerprint of its key.
    pub host_key: String,
    /// Lines that were heard of it.
    pub heard: u64,
}

/// The last break-glass of a host; it is also the record in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlass {
    /// What was allowed.
    pub grant: Grant,
    /// How far it is.
    pub door: Door,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glassed {
    /// The agent has put the addon there.
    Planted,
    /// The agent restarts the machine.
    Leaves,
    /// A fresh quote shows the system with the addon.
    Shown,
    /// A fresh quote shows a system of this site without any.
    Clean,
    /// An agent said hello from the discovery image, with a ticket that was honoured.
    FromMemory,
    /// The agent has opened.
    Opened {
        /// Fingerprint of the SSH server's key.
        host_key: String,
    },
    /// The agent has closed, and taken the addon away.
    Closed {
        /// Whether the machine has to restart to be what it was.
        restart: bool,
    },
    /// The agent could not do what it was asked.
    Failed {
        /// Why.
        why: String,
    },
    /// A person ends it.
    Ends {
        /// Who, as told.
        by: String,
    },
}

/// What the agent is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlassErrand {
    /// Put the addon there.
    Plant,
    /// Restart the machine.
    Restart,
    /// Open.
    Open,
    /// Close.
    Close,
}

impl BreakGlass {
    /// A new one.
    #[must_use]
    pub fn asked(grant: Grant) -> Self {
        Self { grant, door: Door::Asked }
    }

    /// What follows when this happens; `None` where nothing changes.
    #[must_use]
    pub fn take(&self, happened: Glassed, now: Now) -> Option<Self> {
        let door = match happened {
            Glassed::Planted => matches!(self.door, Door::Asked).then_some(Door::Planted)?,
            Glassed::Leaves => self.leaves()?,
            Glassed::Shown => self.shown(now)?,
            Glassed::Clean => self.clean(now)?,
            // What may lie on the drive still counts when its system is started, and shows then.
            Glassed::FromMemory => self
                .on()
                .then(|| Door::Over { why: "the machine was started from the network".into(), at: now })?,
            Glassed::Opened { host_key } => match &self.door {
                Door::Open { host_key: known, .. } if *known == host_key => return None,
                Door::Shown | Door::Open { .. } => Door::Open { host_key, heard: 0 },
                Door::Asked
                | Door::Planted
                | Door::Restarting
                | Door::Closing { .. }
                | Door::Closed { .. }
                | Door::Returning { .. }
                | Door::Stuck { .. }
                | Door::Over { .. } => return None,
            },
            Glassed::Closed { restart } => {
                let Door::Closing { why, .. } = &self.door else { return None };
                let why = why.clone();
                if restart { Door::Closed { why } } else { Door::Over { why, at: now } }
            }
            Glassed::Failed { why } => self.failed(why)?,
            Glassed::Ends { by } => {
                if matches!(self.door, Door::Closing { .. } | Door::Closed { .. } | Door::Over { .. }) {
                    return None;
                }
                Door::Closing { why: format!("ended by {by}"), opening: self.opening() }
            }
        };
        Some(Self { grant: self.grant.clone(), door })
    }

    /// How many lines were heard of this opening; `None` where there is no such.
    #[must_use]
    pub fn known(&self, opening: &str) -> Option<u64> {
        self.opening().filter(|known| known.host_key == opening).map(|known| known.heard)
    }

    /// So many more lines were heard; `None` where they are not of this opening.
    #[must_use]
    pub fn heard(&self, opening: &str, lines: u64) -> Option<Self> {
        let heard = self.known(opening)?.saturating_add(lines);
        let mut next = self.clone();
        match &mut next.door {
            Door::Open { heard: known, .. }
            | Door::Closing { opening: Some(Opening { heard: known, .. }), .. } => *known = heard,
            Door::Asked
            | Door::Planted
            | Door::Restarting
            | Door::Shown
            | Door::Closing { opening: None, .. }
            | Door::Closed { .. }
            | Door::Returning { .. }
            | Door::Stuck { .. }
            | Door::Over { .. } => return None,
        }
        Some(next)
    }

    /// The SSH server of this boot, as far as it was told of.
    fn opening(&self) -> Option<Opening> {
        match &self.door {
            Door::Open { host_key, heard } => Some(Opening { host_key: host_key.clone(), heard: *heard }),
            Door::Closing { opening, .. } => opening.clone(),
            Door::Asked
            | Door::Planted
            | Door::Restarting
            | Door::Shown
            | Door::Closed { .. }
            | Door::Returning { .. }
            | Door::Stuck { .. }
            | Door::Over { .. } => None,
        }
    }

    /// What time brings.
    #[must_use]
    pub fn pass_time(&self, now: Now) -> Option<Self> {
        let open = match &self.door {
            Door::Asked | Door::Planted | Door::Restarting | Door::Shown | Door::Open { .. } => true,
            Door::Closing { .. }
            | Door::Closed { .. }
            | Door::Returning { .. }
            | Door::Stuck { .. }
            | Door::Over { .. } => false,
        };
        let over = open && now >= self.grant.until;
        let closing = || Door::Closing { why: TIME_IS_UP.into(), opening: self.opening() };
        over.then(|| Self { grant: self.grant.clone(), door: closing() })
    }

    /// What the agent is to do, if anything.
    #[must_use]
    pub fn errand(&self) -> Option<GlassErrand> {
        match &self.door {
            Door::Asked => Some(GlassErrand::Plant),
            Door::Planted | Door::Closed { .. } => Some(GlassErrand::Restart),
            Door::Shown => Some(GlassErrand::Open),
            Door::Closing { .. } => Some(GlassErrand::Close),
            Door::Restarting
            | Door::Open { .. }
            | Door::Returning { .. }
            | Door::Stuck { .. }
            | Door::Over { .. } => None,
        }
    }

    /// Whether the host is not proven for it, and nothing else is done to it.
    #[must_use]
    pub fn on(&self) -> bool {
        !matches!(self.door, Door::Over { .. })
    }

    /// Why a host is not counted as proven meanwhile; `None` once it is over.
    #[must_use]
    pub fn unproven(&self) -> Option<Refusal> {
        self.on().then(|| Refusal {
            rule: RULE.into(),
            text: format!(
                "{} opened it for SSH by {} ({}): it is not proven until it has restarted without that and quoted anew; now {}",
                self.grant.by, self.grant.key.fingerprint(), self.grant.why, self.words()
            ),
        })
    }

    /// How far it is, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.door {
            Door::Asked => "the agent puts the addon beside its system".into(),
            Door::Planted => "the addon stands, and the machine is to restart".into(),
            Door::Restarting => format!(
                "the machine restarts into {} with the addon; {} minutes are usual, look at its console if it stays away",
                named(&self.grant.release),
                RESTART_SECONDS_MAX.0 / 60
            ),
            Door::Shown => "its quote shows the addon and nothing else that is new, and it is to open".into(),
            Door::Open { host_key, .. } => format!("SSH is open, its host key is {host_key}"),
            Door::Closing { why, .. } => format!("{why}; SSH is being closed and the addon taken away"),
            Door::Closed { why } => format!("{why}; the addon is gone, and the machine is to restart"),
            Door::Returning { why } => {
                format!("{why}; the machine restarts without it, and has to prove itself")
            }
            Door::Stuck { why } => why.clone(),
            Door::Over { why, .. } => {
                format!("{why}; its system has proven itself without it, or never had it")
            }
        }
    }

    fn leaves(&self) -> Option<Door> {
        match &self.door {
            Door::Planted => Some(Door::Restarting),
            Door::Closed { why } => Some(Door::Returning { why: why.clone() }),
            Door::Asked
            | Door::Restarting
            | Door::Shown
            | Door::Open { .. }
            | Door::Closing { .. }
            | Door::Returning { .. }
            | Door::Stuck { .. }
            | Door::Over { .. } => None,
        }
    }

    /// The addon is there, as its quote says.
    fn shown(&self, now: Now) -> Option<Door> {
        match &self.door {
            // Opened anew: server and key of the boot before are gone.
            Door::Asked | Door::Planted | Door::Restarting | Door::Shown | Door::Open { .. } => {
                Some(if now < self.grant.until {
                    Door::Shown
                } else {
                    Door::Closing { why: TIME_IS_UP.into(), opening: None }
                })
            }
            Door::Over { why, .. } | Door::Closed { why } => {
                Some(Door::Closing { why: why.clone(), opening: None })
            }
            Door::Returning { why } => Some(Door::Stuck {
                why: format!(
                    "{why}, but the machine came back with the addon: look at its drive, and end it once more with \
                     `host break-glass ID --end`"
                ),
            }),
            Door::Closing { .. } | Door::Stuck { .. } => None,
        }
    }

    /// No addon, as its quote says.
    fn clean(&self, now: Now) -> Option<Door> {
        let over = |why: &str| Some(Door::Over { why: why.to_owned(), at: now });
        match &self.door {
            Door::Asked | Door::Over { .. } => None,
            Door::Planted | Door::Restarting => {
                over("the machine came back without the addon; nothing was opened")
            }
            Door::Shown | Door::Open { .. } if now >= self.grant.until => over(TIME_IS_UP),
            Door::Shown | Door::Open { .. } => over("the machine has restarted without it"),
            Door::Closing { why, .. }
            | Door::Closed { why }
            | Door::Returning { why }
            | Door::Stuck { why } => over(why),
        }
    }

    fn failed(&self, why: String) -> Option<Door> {
        match &self.door {
            Door::Asked | Door::Planted | Door::Shown => Some(Door::Closing { why, opening: None }),
            Door::Closing { why: because, .. } => Some(Door::Stuck {
                why: format!(
                    "{because}, but the agent could not take the addon away: {why}. End it once more with `host \
                     break-glass ID --end`, or boot it from the network with `host rescue`"
                ),
            }),
            Door::Restarting
            | Door::Open { .. }
            | Door::Closed { .. }
            | Door::Returning { .. }
            | Door::Stuck { .. }
            | Door::Over { .. } => None,
        }
    }
}

impl Door {
    /// Its name, as shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Planted => "planted",
            Self::Restarting => "restarting",
            Self::Shown => "shown",
            Self::Open { .. } => "open",
            Self::Closing { .. } => "closing",
            Self::Closed { .. } => "closed",
            Self::Returning { .. } => "returning",
            Self::Stuck { .. } => "stuck",
            Self::Over { .. } => "over",
        }
    }
}

/// The rule by which evidence that was made meanwhile is not accepted.
pub const RULE: &str = "break-glass";

const TIME_IS_UP: &str = "its time was up";

//! How the erase of one drive goes on: what an agent says of it meets what is known.
//!
//! A permission is good for one erase.  It is used up when the agent says that it begins, which it does before it writes
//! anything; from then on a machine that comes back is told to finish, not to begin.  What has ended stays as it is.

use appliance_model::{
    Now, Seconds, Serial,
    erase::{Begun, EraseDrive, Said, Verification},
};
use serde::{Deserialize, Serialize};

use crate::Stage;

/// How long a permission waits for the machine's agent.
pub const ERASE_WAITS: Seconds = Seconds(24 * 3600);

/// Where the erase of one drive stands; it is also the record in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "erase", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Erasing {
    /// Allowed; the agent has not begun.
    Asked {
        /// When the permission ends.
        until: Now,
    },
    /// The agent was told to go ahead.
    Begun {
        /// What it said then.
        begun: Box<Begun>,
        /// When.
        at: Now,
    },
    /// The drive has said that it is done.
    Erased {
        /// What the agent said when it began.
        begun: Box<Begun>,
        /// When it began.
        at: Now,
        /// When it was done.
        erased_at: Now,
    },
    /// It was read back, and nothing was left.
    Proven {
        /// What the agent said when it began.
        begun: Box<Begun>,
        /// When it began.
        at: Now,
        /// When it was done and read back.
        ended_at: Now,
        /// What reading showed.
        verification: Verification,
    },
    /// It began and came to nothing, or reading it back spoke against it: what it holds is not known.
    Failed {
        /// What the agent said when it began.
        begun: Box<Begun>,
        /// When it began.
        at: Now,
        /// When it ended.
        ended_at: Now,
        /// Why.
        why: String,
    },
    /// Nothing was done.
    Refused {
        /// When.
        at: Now,
        /// Why.
        why: String,
    },
}

impl Erasing {
    /// What follows when the agent says this; `None` where nothing changes.
    ///
    /// # Errors
    /// Why it is not taken: the agent must not go on.
    pub fn take(&self, said: &Said, now: Now) -> Result<Option<Self>, String> {
        let failed = |begun: &Begun, at: Now, why: String| {
            Ok(Some(Self::Failed { begun: Box::new(begun.clone()), at, ended_at: now, why }))
        };
        match (self, said) {
            (Self::Asked { until }, Said::Begins(_)) if now > *until => {
                Err("the permission has ended; nothing may be done under it".into())
            }
            (Self::Asked { .. }, Said::Begins(begun)) => {
                Ok(Some(Self::Begun { begun: begun.clone(), at: now }))
            }
            (Self::Asked { .. }, Said::Refused { why } | Said::Failed { why }) => {
                Ok(Some(Self::Refused { at: now, why: why.clone() }))
            }
            // The answer to the first saying was lost.
            (Self::Begun { begun, .. }, Said::Begins(again)) if begun == again => Ok(None),
            (Self::Begun { .. }, Said::Going { .. })
            | (Self::Erased { .. }, Said::Going { .. } | Said::Erased) => Ok(None),
            (Self::Begun { begun, at }, Said::Erased) => {
                Ok(Some(Self::Erased { begun: begun.clone(), at: *at, erased_at: now }))
            }
            (Self::Begun { begun, at } | Self::Erased { begun, at, .. }, Said::ReadBack(verification)) => {
                match counts(begun, verification) {
                    Ok(()) => Ok(Some(Self::Proven {
                        begun: begun.clone(),
                        at: *at,
                        ended_at: now,
                        verification: *verification,
                    })),
                    Err(why) => failed(begun, *at, format!("reading it back: {why}")),
                }
            }
            (
                Self::Begun { begun, at } | Self::Erased { begun, at, .. },
                Said::Failed { why } | Said::Refused { why },
            ) => failed(begun, *at, why.clone()),
            (Self::Begun { .. } | Self::Erased { .. }, Said::Begins(_)) => {
                Err("this erase has begun before: it is finished, not begun again".into())
            }
            (Self::Asked { .. }, Said::Going { .. } | Said::Erased | Said::ReadBack(_)) => {
                Err("this erase has not begun".into())
            }
            (Self::Proven { .. } | Self::Failed { .. } | Self::Refused { .. }, Said::Begins(_)) => {
                Err("this erase has ended".into())
            }
            (
                Self::Proven { .. } | Self::Failed { .. } | Self::Refused { .. },
                Said::Refused { .. }
                | Said::Failed { .. }
                | Said::Going { .. }
                | Said::Erased
                | Said::ReadBack(_),
            ) => Ok(None),
        }
    }

    /// What time brings: a permission that nobody used in time ends.
    #[must_use]
    pub fn pass_time(&self, now: Now) -> Option<Self> {
        match self {
            Self::Asked { until } if now > *until => Some(Self::Refused {
                at: now,
                why: "the machine's agent did not come for it in time; nothing was done".into(),
            }),
            Self::Asked { .. }
            | Self::Begun { .. }
            | Self::Erased { .. }
            | Self::Proven { .. }
            | Self::Failed { .. }
            | Self::Refused { .. } => None,
        }
    }

    /// The agent's part of the order, where there is something left to do.
    #[must_use]
    pub fn order(&self, serial: &Serial, content: &[String]) -> Option<EraseDrive> {
        let (begun, erased) = match self {
            Self::Asked { .. } => (None, false),
            Self::Begun { begun, .. } => (Some((**begun).clone()), false),
            Self::Erased { begun, .. } => (Some((**begun).clone()), true),
            Self::Proven { .. } | Self::Failed { .. } | Self::Refused { .. } => return None,
        };
        Some(EraseDrive { serial: serial.clone(), content: content.to_vec(), begun, erased })
    }

    /// Whether nothing follows.
    #[must_use]
    pub fn ended(&self) -> bool {
        match self {
            Self::Asked { .. } | Self::Begun { .. } | Self::Erased { .. } => false,
            Self::Proven { .. } | Self::Failed { .. } | Self::Refused { .. } => true,
        }
    }

    /// Its name, as shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Asked { .. } => "asked",
            Self::Begun { .. } => "begun",
            Self::Erased { .. } => "erased",
            Self::Proven { .. } => "proven",
            Self::Failed { .. } => "failed",
            Self::Refused { .. } => "refused",
        }
    }

    /// What is happening, or what came of it.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Asked { .. } => "waits for the machine's agent".into(),
            Self::Begun { begun, .. } => format!("{} is under way", begun.method.words()),
            Self::Erased { begun, .. } => format!("{} is done; it is read back", begun.method.words()),
            Self::Proven { begun, verification, .. } => format!(
                "erased by {}; none of {} places holds what it held before",
                begun.method.words(),
                verification.known
            ),
            Self::Failed { why, .. } => format!("failed, and what it holds is not known: {why}"),
            Self::Refused { why, .. } => format!("nothing was done: {why}"),
        }
    }
}

/// What was read back is what was to be read back.
fn counts(begun: &Begun, verification: &Verification) -> Result<(), String> {
    let count = |planted: bool| begun.samples.iter().filter(|sample| !planted || sample.planted).count();
    let told = (verification.samples, verification.planted);
    let wanted = (u32::try_from(count(false)).ok(), u32::try_from(count(true)).ok());
    if (Some(told.0), Some(told.1)) != wanted {
        return Err("other places were read than were to be read".into());
    }
    verification.verdict()
}

/// As [`erase_barred`], where a person has typed that a node's drives are erased in spite of its commitment.
#[must_use]
pub fn wipe_barred(stage: &Stage) -> Option<&'static str> {
    if matches!(stage, Stage::Registered { .. }) { None } else { erase_barred(stage) }
}

/// Why no drive of a host in this stage is erased, if so.
#[must_use]
pub fn erase_barred(stage: &Stage) -> Option<&'static str> {
    match stage {
        Stage::Registered { .. } => Some(
            "it is registered as a ScalerNode, and somebody's data may be on its drives; retire it first",
        ),
        Stage::Registering { .. } => Some("its registration is on its way to the chain"),
        Stage::Found => Some("its agent has never been heard: nobody knows its drives"),
        Stage::Booting { .. }
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
        | Stage::Pricing { .. }
        | Stage::Approving { .. }
        | Stage::Retired { .. }
        | Stage::Quarantined { .. } => None,
    }
}

//! A controller's password is changed in two places that no transaction spans: the controller and our store.
//!
//! The candidate is stored before the controller is told of it, and the old password is forgotten only after a login
//! with the candidate.  Whoever starts after a crash in between finds out which of the two holds: the candidate is tried
//! first, then the old one.  Controllers lock accounts after three to five failed logins, so each try is written down
//! before it is made: a password that was refused is not tried again in the same round, and rounds are far apart.

use appliance_model::Now;
use serde::{Deserialize, Serialize};

/// Between a login whose outcome a crash swallowed, or a round in which both were refused, and the next try.
/// Controllers forget failed logins after one to ten minutes by default.
pub const LOCKOUT_SECONDS: u64 = 600;
/// Rounds in which both passwords were refused, until only a person can help.  Each next pause is twice as long.
const ROUNDS_MAX: u32 = 3;
/// First pause after no answer; doubled each time.
const SILENCE_SECONDS: u64 = 15;
/// Longest pause after no answer.
const SILENCE_SECONDS_MAX: u64 = 3600;

/// Which of the two stored passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// The one that held before.
    Current,
    /// The one that the controller was, or was to be, told.
    Candidate,
}

impl Which {
    fn other(self) -> Self {
        match self {
            Self::Current => Self::Candidate,
            Self::Candidate => Self::Current,
        }
    }
}

/// Where the change of one account's password stands.  It is stored beside the passwords.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "rotation", rename_all = "kebab-case")]
pub enum Rotation {
    /// There is one password.
    #[default]
    Settled,
    /// The candidate is stored, and the controller is perhaps told of it.
    Changing,
    /// It is being found out which of the two holds.
    Trying(Trying),
    /// Both were refused too often: a person sets the password and imports it.
    Unknown,
}

/// What was tried so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trying {
    /// What is tried, now or next.
    pub next: Which,
    /// Whether the other one was refused in this round.
    pub other_refused: bool,
    /// A login was started whose outcome is not written down.
    pub open: bool,
    /// Rounds in which both were refused.
    pub rounds: u32,
    /// Tries in a row that got no answer.
    pub silent: u32,
    /// Nothing is tried before.
    pub not_before: Now,
}

impl Trying {
    fn first(next: Which) -> Self {
        Self { next, other_refused: false, open: true, rounds: 0, silent: 0, not_before: Now(0) }
    }
}

/// How the controller took the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It said yes.
    Accepted,
    /// It said no to the candidate.
    Refused,
    /// The candidate was certainly never sent.
    NotSent,
    /// It may have heard it.
    NoAnswer,
}

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogIn {
    /// We are in.
    Accepted,
    /// The password was refused.
    Refused,
    /// The password was refused, and one more refusal would lock the account.
    RefusedLast,
    /// Nobody said anything about the password.
    NoAnswer,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// A candidate is to be stored; it is, in the transaction that stores the next state.
    Begin,
    /// The controller was told.
    Told(Told),
    /// A login ended.
    LogIn(LogIn),
    /// We started, or time has passed.
    Woke,
}

/// What to do, after state and `keep` were stored in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing is left to be done.
    Rest,
    /// Tell the controller the candidate, logged in with the current password.
    Change,
    /// Log in with this one, once.
    LogIn(Which),
    /// Ask again then.
    Wait(Now),
    /// A person must help.
    Ask(&'static str),
}

/// The next state, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// To be stored.
    pub to: Rotation,
    /// Which password becomes (or stays) the current one; the other is set aside.
    pub keep: Option<Which>,
    /// To be done next.
    pub act: Act,
}

impl Rotation {
    /// Says what follows when something happened.
    #[must_use]
    pub fn turn(&self, happened: Happened, now: Now) -> Turn {
        match self {
            Self::Settled => self.settled(happened),
            Self::Changing => self.changing(happened),
            Self::Trying(trying) => self.trying(trying, happened, now),
            Self::Unknown => self.stay(Act::Ask(UNKNOWN)),
        }
    }

    fn stay(&self, act: Act) -> Turn {
        Turn { to: self.clone(), keep: None, act }
    }

    fn settled(&self, happened: Happened) -> Turn {
        match happened {
            Happened::Begin => Turn { to: Self::Changing, keep: None, act: Act::Change },
            Happened::Told(_) | Happened::LogIn(_) | Happened::Woke => self.stay(Act::Rest),
        }
    }

    fn changing(&self, happened: Happened) -> Turn {
        match happened {
            Happened::Begin => self.stay(Act::Ask(BUSY)),
            Happened::Told(Told::NotSent) => {
                Turn { to: Self::Settled, keep: Some(Which::Current), act: Act::Rest }
            }
            // A "no" is most likely one: then the old password holds, and no login fails for asking.
            Happened::Told(Told::Refused) => ask(Trying::first(Which::Current)),
            Happened::Told(Told::Accepted | Told::NoAnswer) | Happened::LogIn(_) | Happened::Woke => {
                ask(Trying::first(Which::Candidate))
            }
        }
    }

    fn trying(&self, trying: &Trying, happened: Happened, now: Now) -> Turn {
        match happened {
            Happened::Begin => self.stay(Act::Ask(BUSY)),
            Happened::Told(_) => self.stay(Act::Wait(trying.not_before)),
            Happened::LogIn(LogIn::Accepted) => {
                Turn { to: Self::Settled, keep: Some(trying.next), act: Act::Rest }
            }
            Happened::LogIn(LogIn::Refused) if !trying.other_refused => {
                ask(Trying { next: trying.next.other(), other_refused: true, ..trying.clone() })
            }
            Happened::LogIn(LogIn::RefusedLast) if !trying.other_refused => {
                let next = Trying { next: trying.next.other(), other_refused: true, ..trying.clone() };
                pause_then(next, LOCKOUT_SECONDS, now)
            }
            Happened::LogIn(LogIn::Refused | LogIn::RefusedLast) => both_refused(trying, now),
            Happened::LogIn(LogIn::NoAnswer) => {
                let pause = SILENCE_SECONDS.checked_shl(trying.silent.min(16)).unwrap_or(SILENCE_SECONDS_MAX);
                let silent = trying.silent.saturating_add(1);
                pause_then(Trying { silent, ..trying.clone() }, pause.min(SILENCE_SECONDS_MAX), now)
            }
            // A crash swallowed how that login ended: it counts as one that failed.
            Happened::Woke if trying.open => pause_then(trying.clone(), LOCKOUT_SECONDS, now),
            Happened::Woke if now < trying.not_before => self.stay(Act::Wait(trying.not_before)),
            Happened::Woke => ask(Trying { open: true, ..trying.clone() }),
        }
    }
}

const UNKNOWN: &str =
    "neither the old nor the new password is accepted; set one at the controller and import it";
const BUSY: &str = "a change of this password is not finished yet";

fn ask(trying: Trying) -> Turn {
    let act = Act::LogIn(trying.next);
    Turn { to: Rotation::Trying(trying), keep: None, act }
}

fn pause_then(trying: Trying, seconds: u64, now: Now) -> Turn {
    let not_before = Now(now.0.saturating_add(seconds.saturating_mul(1000)));
    let to = Rotation::Trying(Trying { open: false, not_before, ..trying });
    Turn { to, keep: None, act: Act::Wait(not_before) }
}

fn both_refused(trying: &Trying, now: Now) -> Turn {
    let rounds = trying.rounds.saturating_add(1);
    if rounds >= ROUNDS_MAX {
        return Turn { to: Rotation::Unknown, keep: None, act: Act::Ask(UNKNOWN) };
    }
    let again = Trying { rounds, ..Trying::first(Which::Candidate) };
    pause_then(again, LOCKOUT_SECONDS << trying.rounds.min(ROUNDS_MAX), now)
}

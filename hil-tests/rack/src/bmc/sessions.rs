//! Who may speak to the BMC: accounts with roles, sessions by token, basic authentication, lockout.
//!
//! Redfish and IPMI ask here, so a user made by one can enter by the other, as on real BMCs.

use std::io::Read as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use crate::error::RackError;

/// Most sessions at once, as on real BMCs: a client that never logs out locks itself out.
pub(crate) const SESSIONS_MAX: usize = 16;

/// Idle life of a session until a client sets another.
pub(crate) const SESSION_SECONDS: u64 = 1800;

/// Most accounts: the slots of common BMCs.
pub(crate) const ACCOUNTS_MAX: usize = 16;

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    ReadOnly,
    Operator,
    Administrator,
}

impl Role {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "ReadOnly" | "ReadOnlyUser" | "User" => Some(Self::ReadOnly),
            "Operator" => Some(Self::Operator),
            "Administrator" | "Admin" => Some(Self::Administrator),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "ReadOnly",
            Self::Operator => "Operator",
            Self::Administrator => "Administrator",
        }
    }
}

/// One account; `place` is its resource's path, or a name where the tree has none.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) place: String,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) role: Role,
    pub(crate) enabled: bool,
    /// The password must be changed before anything else.
    pub(crate) stale: bool,
    failures: u32,
    locked_until: Option<Instant>,
}

impl std::fmt::Debug for Account {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("user", &self.user).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Account {
    pub(crate) fn new(place: &str, user: &str, password: &str, role: Role) -> Self {
        Self {
            place: place.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            role,
            enabled: true,
            stale: false,
            failures: 0,
            locked_until: None,
        }
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.locked_until.is_some_and(|until| Instant::now() < until)
    }
}

/// How guessing is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Wrong passwords in a row until the account is locked; zero never locks.
    pub(crate) threshold: u32,
    pub(crate) lock_seconds: u64,
    pub(crate) session_seconds: u64,
}

/// Who is asking.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) place: String,
    pub(crate) user: String,
    pub(crate) role: Role,
    pub(crate) stale: bool,
}

/// One open session.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) user: String,
    pub(crate) made: u64,
    token: String,
    used: Instant,
}

/// The accounts and their sessions.
pub(crate) struct Door {
    open: Mutex<Open>,
}

impl std::fmt::Debug for Door {
    /// Without tokens and passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("accounts", &self.open().accounts).finish_non_exhaustive()
    }
}

struct Open {
    policy: Policy,
    accounts: Vec<Account>,
    count: u64,
    sessions: Vec<Session>,
}

/// Why somebody may not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    WrongPassword,
    TooManySessions,
}

impl Door {
    pub(crate) fn new() -> Self {
        let policy = Policy { threshold: 5, lock_seconds: 30, session_seconds: SESSION_SECONDS };
        Self { open: Mutex::new(Open { policy, accounts: Vec::new(), count: 0, sessions: Vec::new() }) }
    }

    pub(crate) fn set_policy(&self, change: impl FnOnce(&mut Policy)) {
        change(&mut self.open().policy);
    }

    /// All accounts, in the order in which they were made.
    pub(crate) fn accounts(&self) -> Vec<Account> {
        self.open().accounts.clone()
    }

    pub(crate) fn account(&self, place: &str) -> Option<Account> {
        self.open().accounts.iter().find(|account| account.place == place).cloned()
    }

    /// The enabled account of this name.
    pub(crate) fn user(&self, name: &str) -> Option<Account> {
        self.open().accounts.iter().find(|account| account.enabled && account.user == name).cloned()
    }

    /// Makes an account, or replaces the one at the same place; false when there is no room.
    pub(crate) fn set_account(&self, account: Account) -> bool {
        let mut open = self.open();
        if let Some(old) = open.accounts.iter_mut().find(|old| old.place == account.place) {
            *old = account;
            return true;
        }
        if open.accounts.len() >= ACCOUNTS_MAX {
            return false;
        }
        open.accounts.push(account);
        true
    }

    /// Removes an account and ends its sessions.
    pub(crate) fn remove_account(&self, place: &str) -> bool {
        let mut open = self.open();
        let Some(at) = open.accounts.iter().position(|account| account.place == place) else { return false };
        let account = open.accounts.remove(at);
        open.sessions.retain(|session| session.user != account.user);
        true
    }

    /// Unlocks an account that guessing had locked.
    pub(crate) fn unlock(&self, place: &str) {
        if let Some(account) = self.open().accounts.iter_mut().find(|account| account.place == place) {
            (account.failures, account.locked_until) = (0, None);
        }
    }

    /// Opens a session.
    pub(crate) fn log_in(&self, user: &str, password: &str) -> Result<(Session, String), Refused> {
        if self.knows(user, password).is_none() {
            return Err(Refused::WrongPassword);
        }
        let mut open = self.open();
        let old = Duration::from_secs(open.policy.session_seconds);
        open.sessions.retain(|session| session.used.elapsed() < old);
        if open.sessions.len() >= SESSIONS_MAX {
            return Err(Refused::TooManySessions);
        }
        let token = random_hex().map_err(|_| Refused::TooManySessions)?;
        open.count = open.count.wrapping_add(1);
        let session = Session {
            id: open.count,
            user: user.to_owned(),
            made: super::clock::seconds(),
            token: token.clone(),
            used: Instant::now(),
        };
        open.sessions.push(session.clone());
        Ok((session, token))
    }

    /// Closes a session; false when there is none with this id.
    pub(crate) fn log_out(&self, id: u64) -> bool {
        let mut open = self.open();
        let before = open.sessions.len();
        open.sessions.retain(|session| session.id != id);
        open.sessions.len() < before
    }

    /// Ends all sessions, as a restart of the BMC does.
    pub(crate) fn log_all_out(&self) {
        self.open().sessions.clear();
    }

    /// The sessions that have not expired.
    pub(crate) fn sessions(&self) -> Vec<Session> {
        let mut open = self.open();
        let old = Duration::from_secs(open.policy.session_seconds);
        open.sessions.retain(|session| session.used.elapsed() < old);
        open.sessions.clone()
    }

    /// Whose live token or right basic credentials the headers carry.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> Option<Caller> {
        if let Some(token) = headers.get("x-auth-token") {
            let mut open = self.open();
            let old = Duration::from_secs(open.policy.session_seconds);
            let session = open.sessions.iter_mut().find(|session| {
                same(session.token.as_bytes(), token.as_bytes()) && session.used.elapsed() < old
            })?;
            session.used = Instant::now();
            let user = session.user.clone();
            let account = open.accounts.iter().find(|account| account.enabled && account.user == user)?;
            return Some(caller(account));
        }
        let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let text = basic?.strip_prefix("Basic ")?;
        let pair = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        self.knows(user, password)
    }

    /// Checks a password and counts the wrong ones.
    pub(crate) fn knows(&self, user: &str, password: &str) -> Option<Caller> {
        let mut open = self.open();
        let policy = open.policy;
        let account = open.accounts.iter_mut().find(|account| account.enabled && account.user == user)?;
        if account.is_locked() {
            return None;
        }
        if same(password.as_bytes(), account.password.as_bytes()) && !account.password.is_empty() {
            (account.failures, account.locked_until) = (0, None);
            return Some(caller(account));
        }
        account.failures = account.failures.saturating_add(1);
        if policy.threshold > 0 && account.failures >= policy.threshold {
            account.locked_until = Some(Instant::now() + Duration::from_secs(policy.lock_seconds));
            account.failures = 0;
        }
        None
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn caller(account: &Account) -> Caller {
    Caller {
        place: account.place.clone(),
        user: account.user.clone(),
        role: account.role,
        stale: account.stale,
    }
}

/// 128 random bits as 32 hexadecimal digits.
pub(crate) fn random_hex() -> Result<String, RackError> {
    let mut bytes = [0_u8; 16];
    random(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Fills `bytes` with random ones.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), RackError> {
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(bytes))
        .map_err(RackError::io("read", "/dev/urandom"))
}

/// Compares in a time that depends on the lengths only.
pub(crate) fn same(given: &[u8], wanted: &[u8]) -> bool {
    let pairs = given.iter().zip(wanted);
    let difference = pairs.fold(0_u8, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    (difference == 0) & (given.len() == wanted.len())
}

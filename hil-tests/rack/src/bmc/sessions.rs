//! Who may speak to the BMC: one account, sessions by token, or basic authentication.

use std::io::Read as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use crate::error::RackError;

/// Most sessions at once, as on real BMCs: a client that never logs out locks itself out.
const SESSIONS_MAX: usize = 16;

/// Idle life of a session.
pub(crate) const SESSION_SECONDS: u64 = 1800;

/// One account and its sessions.
pub(crate) struct Door {
    user: String,
    password: String,
    open: Mutex<Open>,
}

impl std::fmt::Debug for Door {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("user", &self.user).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Open {
    count: u64,
    sessions: Vec<Session>,
}

struct Session {
    id: u64,
    token: String,
    used: Instant,
}

/// Why a login failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    WrongPassword,
    TooManySessions,
}

impl Door {
    pub(crate) fn new(user: String, password: String) -> Self {
        Self { user, password, open: Mutex::default() }
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Opens a session; returns its id and token.
    pub(crate) fn log_in(&self, user: &str, password: &str) -> Result<(u64, String), Refused> {
        if !self.knows(user, password) {
            return Err(Refused::WrongPassword);
        }
        let mut open = self.open();
        let old = Duration::from_secs(SESSION_SECONDS);
        open.sessions.retain(|session| session.used.elapsed() < old);
        if open.sessions.len() >= SESSIONS_MAX {
            return Err(Refused::TooManySessions);
        }
        let token = random_hex().map_err(|_| Refused::TooManySessions)?;
        open.count = open.count.wrapping_add(1);
        let id = open.count;
        open.sessions.push(Session { id, token: token.clone(), used: Instant::now() });
        Ok((id, token))
    }

    /// Closes a session; false when there is none with this id.
    pub(crate) fn log_out(&self, id: u64) -> bool {
        let mut open = self.open();
        let before = open.sessions.len();
        open.sessions.retain(|session| session.id != id);
        open.sessions.len() < before
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.open().sessions.iter().map(|session| session.id).collect()
    }

    /// Whether the headers carry a live token or the right basic credentials.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        if let Some(token) = headers.get("x-auth-token") {
            let old = Duration::from_secs(SESSION_SECONDS);
            let mut open = self.open();
            let session = open.sessions.iter_mut().find(|session| {
                same(session.token.as_bytes(), token.as_bytes()) && session.used.elapsed() < old
            });
            return session.map(|session| session.used = Instant::now()).is_some();
        }
        let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let decoded = basic
            .and_then(|value| value.strip_prefix("Basic "))
            .and_then(|text| STANDARD.decode(text).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        pair.is_some_and(|(user, password)| self.knows(user, password))
    }

    fn knows(&self, user: &str, password: &str) -> bool {
        // Both are compared always, so that the time says nothing about which was wrong.
        same(user.as_bytes(), self.user.as_bytes()) & same(password.as_bytes(), self.password.as_bytes())
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 128 random bits as 32 hexadecimal digits.
pub(crate) fn random_hex() -> Result<String, RackError> {
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(RackError::io("read", "/dev/urandom"))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Compares in a time that depends on the lengths only.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let pairs = given.iter().zip(wanted);
    let difference = pairs.fold(0_u8, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    (difference == 0) & (given.len() == wanted.len())
}

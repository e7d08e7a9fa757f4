//! The writes that a BMC looked at and how it answered: by these a test sees whether something was done twice, also when
//! the answer never reached the client.

use std::sync::{Mutex, PoisonError};

use axum::http::{Method, StatusCode};

/// Most writes remembered; a test looks at a few dozen.
const WRITES_MAX: usize = 1024;

/// A request that was to change something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// `POST`, `PATCH`, `DELETE`.
    pub method: String,
    /// The path, without a slash at its end.
    pub path: String,
    /// The status of the answer, whether or not it was sent.
    pub status: u16,
}

impl Written {
    /// Whether it was done, as far as the status tells.
    #[must_use]
    pub fn done(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The writes in the order in which they ended.
#[derive(Debug, Default)]
pub(crate) struct Writes(Mutex<Vec<Written>>);

impl Writes {
    pub(crate) fn note(&self, method: &Method, path: &str, status: StatusCode) {
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if writes.len() < WRITES_MAX {
            let status = status.as_u16();
            writes.push(Written { method: method.to_string(), path: path.to_owned(), status });
        }
    }

    pub(crate) fn all(&self) -> Vec<Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

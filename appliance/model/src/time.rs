//! Time as an argument: milliseconds since 1970, read by the executor only.

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01 UTC, as the executor read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Now(pub u64);

/// A length of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seconds(pub u64);

impl Now {
    /// The moment `wait` after this one; the far future if it would overflow.
    #[must_use]
    pub fn after(self, wait: Seconds) -> Self {
        Self(self.0.saturating_add(wait.0.saturating_mul(1000)))
    }

    /// Whole seconds from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Seconds {
        Seconds(self.0.saturating_sub(earlier.0) / 1000)
    }
}

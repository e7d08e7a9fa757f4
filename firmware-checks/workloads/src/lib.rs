//! Burn-in: the work itself.

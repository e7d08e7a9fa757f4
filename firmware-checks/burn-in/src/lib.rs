//! Burn-in: plan and judge.  Pure.

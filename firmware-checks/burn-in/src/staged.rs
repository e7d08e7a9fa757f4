//! Burn-in in stages: profiles of the second format, plans with waves and time bounds, rules over figures.
//!
//! A [`Profile`] says what to run, for how long, and which rules hold, each with its unit and where it comes from.
//! [`plan`] turns (inventory, profile) into a [`Course`] that [`show`] prints for a person; [`judge`] turns outcomes into a
//! verdict: `fail` where a rule broke, `inconclusive` where a signal is missing, which is never a pass; [`look`] shows
//! people how far all of that is.
//!
//! [`Course`]: appliance_model::burn_in::staged::Course

mod drives;
mod figure;
mod judge;
mod look;
mod plan;
mod profile;
mod show;
mod wire;

pub(crate) use profile::unit_name;
#[cfg(test)]
pub(crate) use {figure::figures_of, plan::tests as plan_tests};

pub use drives::PlanError;
pub use figure::{device, serial};
pub use judge::{judge, models};
pub use look::{Measured, Seen, by_model, look, machine};
pub use plan::{CourseError, Given, Misfit, PlanRefused, fits, plan, read_plan};
pub use profile::{Bound, Each, Job, Kind, Profile, Refused, Rule, Stage, built_in, built_in_text};
pub use show::{show, span};

//! The keystone: what happens to a host from first packet to ScalerNode.
//!
//! [`step`](fn@step) is the only function in the project that names the next [`Stage`].  It reads no clock, does no IO and logs
//! nothing: it gets a stage, an [`Event`] and the time, and answers with a [`Step`]: move (and do these
//! [`Effect`]s), or stay and why.  The executor (`appliance/server`) writes stage, journal and outbox in one
//! transaction, does the effects, and feeds their outcomes back as events.
//!
//! It refuses: registering anything without a `Bound`, which only `attest-verify` makes ([`Event::Bound`]); moving a
//! quarantined host without an operator; forgetting a burn-in because the power went out.

mod break_glass;
mod drift;
mod effect;
mod erase;
mod event;
mod ladder;
mod registration;
mod remedy;
mod residence;
mod rotation;
mod stage;
mod step;
mod why;

#[cfg(test)]
mod tests;

pub use break_glass::{BreakGlass, Door, GlassErrand, Glassed, Grant, Opening, RULE as BREAK_GLASS};
pub use drift::drift;
pub use effect::Effect;
pub use erase::{ERASE_WAITS, Erasing, erase_barred, wipe_barred};
pub use event::{Event, Refusal};
pub use ladder::{Climb, Means, Probed, Proved, Rung, Shown, Try, probe};
pub use registration::{Price, RegistrationIntent, Spared};
pub use remedy::{
    Before, Change, FirmwareChange, ImageWay, Remedy, RemedyAct, RemedyHappened, RemedyPlan, RemedyStep,
    RemedyTurn, Reply, Restart, Restarted, Setting, SettingValue, Sight, TaskEnd, barred,
};
pub use residence::{
    Astray, Errand, Home, Housing, INSTALL_WAITS, Job, Lived, RESTART_SECONDS_MAX, RULE as ASTRAY, Residence,
    install_barred,
};
pub use rotation::{Act, Happened, LOCKOUT_SECONDS, LogIn, Rotation, Told, Trying, Turn, Which};
pub use stage::{AttestedRecord, Boot, BoundRecord, Carved, Order, Stage};
pub use step::{Step, step};
pub use why::{Why, why};

//! Our nodes as the chain has them: what happened, what people must know of it, and what is done with many at once.
//!
//! The watcher is a fold.  An adapter reads logs of safe blocks and makes [`Entry`]s of them; [`Ledger::take`] learns
//! from each and answers with alerts; [`Ledger::pass_time`] answers with those that only the clock brings.  A ledger is
//! made anew from the entries whenever a reorganisation took some away: [`Trail`] says how far back.  An alert's id
//! follows from what it is about and never from when it was noticed, so that whoever stores ids tells each once.
//!
//! [`batch`] divides hosts that are to be registered into batches of one transaction, [`purse`] says how many a day's
//! limits and the deposit let through, and [`leave`] what still stands against a node's retirement.  Nothing in here asks a chain, reads a clock or signs: `chain-client` asks,
//! `appliance-store` keeps, `appliance-server` drives.

mod alert;
pub mod batch;
mod entry;
pub mod leave;
mod ledger;
mod node;
pub mod purse;
mod trail;
mod words;

pub use alert::{Alert, Kind, Level};
pub use entry::{Entry, Fact};
pub use ledger::Ledger;
pub use node::{Booked, Case, Life, NodeState, Status};
pub use trail::{MARKS_MAX, Mark, SPAN_BLOCKS_MAX, Trail};
pub use words::{span, time};

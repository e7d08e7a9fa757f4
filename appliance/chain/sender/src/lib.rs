//! Sees contract calls through, each once, whatever happens to the process, the chain or its nodes.
//!
//! A [`Job`] is a call with a name.  [`Sender::round`] looks at the chain, brings every job to where the chain has it,
//! and does what follows: signs with the next nonce, stores the bytes, sends them; sends them again; raises an offer
//! that is too low, up to the cap; after a re-organisation sends the same bytes; fills a nonce that others wait behind.
//! The rules are pure (`plan.rs`), jobs are on disk before anything is sent ([`Journal`]), and the chain's own state has
//! the last word on whether an effect is there ([`Site`]).
//!
//! It refuses to sign while gas is dearer than the cap or while two RPC nodes disagree, and never gives a call a second
//! nonce before a final block has used up the first.

mod job;
mod journal;
mod plan;
mod sender;

pub use job::{Attempt, Job, JobId, NoJobId, Signed, State, Urgency};
pub use journal::{Journal, JournalError, Site};
pub use plan::{Act, Limits, Memory, Offer, Seen, follow, moved, next, raised, refusal_counts};
pub use sender::{Round, Sender, Trouble};

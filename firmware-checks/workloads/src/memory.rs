//! Patterns through memory: write a whole share, read it back, next pattern.
//!
//! [`walk`] takes as much as there is, near the CPUs, with a march and places of wrong bits.  It begins with each word's own
//! address, because that also finds address lines that are stuck or crossed.  Each CPU walks a share of its own.

mod nodes;
mod pattern;
mod region;
mod walk;

pub use nodes::{nodes, total_bytes};
pub use pattern::{CHECKERS, Pattern};
pub use walk::{Cells, Flip, Node, Ram, Streamed, Walked, stream, walk};

//! How far the chain was read, and how far back a reorganisation reaches.
//!
//! Only safe blocks are read, and those should stay.  Should one change all the same, everything above the newest mark
//! that still stands is read again.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Blocks asked about at once.  Public endpoints refuse more (2 000 at some, 10 000 at most).
pub const SPAN_BLOCKS_MAX: u64 = 2_000;

/// Marks kept.  Older ones are thinned out: the further back, the wider apart.
pub const MARKS_MAX: usize = 64;

/// A block that was read: all logs up to it are in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Height.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// Blocks that were read, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    marks: Vec<Mark>,
}

impl Trail {
    /// A trail of these marks; what does not rise is left out.
    #[must_use]
    pub fn new(marks: impl IntoIterator<Item = Mark>) -> Self {
        let mut trail = Self::default();
        marks.into_iter().for_each(|mark| trail.reach(mark));
        trail
    }

    /// The newest block that was read.
    #[must_use]
    pub fn newest(&self) -> Option<Mark> {
        self.marks.last().copied()
    }

    /// The marks, oldest first.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// What the chain says now of the newest mark's height: whether the mark stands.  If not, it is dropped, and what
    /// was read above the mark before it has to go.
    pub fn stands(&mut self, now: Option<[u8; 32]>) -> bool {
        let stood = self.newest().is_none_or(|mark| now == Some(mark.hash));
        if !stood {
            self.marks.pop();
        }
        stood
    }

    /// The blocks to read next, up to `safe`; `first` is where reading begins.
    #[must_use]
    pub fn next(&self, first: u64, safe: u64) -> Option<RangeInclusive<u64>> {
        let from = self.newest().map_or(first, |mark| mark.number.saturating_add(1));
        let to = safe.min(from.saturating_add(SPAN_BLOCKS_MAX - 1));
        (from <= to).then_some(from..=to)
    }

    /// Everything up to this block was read.
    pub fn reach(&mut self, mark: Mark) {
        if self.newest().is_some_and(|newest| newest.number >= mark.number) {
            return;
        }
        self.marks.push(mark);
        if self.marks.len() > MARKS_MAX {
            // Of the older half every second one goes: marks come to lie ever wider apart, and there is always one
            // before any depth but the very first.
            let half = self.marks.len() / 2;
            let mut place = 0;
            self.marks.retain(|_| {
                place += 1;
                place > half || place % 2 == 1
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u64) -> Mark {
        Mark { number, hash: [u8::try_from(number % 251).unwrap(); 32] }
    }

    #[test]
    fn spans_are_bounded_and_have_no_gap() {
        let mut trail = Trail::default();
        assert_eq!(trail.next(7, 6), None);
        assert_eq!(trail.next(7, 7), Some(7..=7));
        let mut read = 7;
        while let Some(span) = trail.next(7, 9_999) {
            assert_eq!(*span.start(), read);
            assert!(span.end() - span.start() < SPAN_BLOCKS_MAX);
            read = span.end() + 1;
            trail.reach(mark(*span.end()));
        }
        assert_eq!(read, 10_000);
        // A safe head that goes back is no reason to read anything twice.
        assert_eq!(trail.next(7, 5_000), None);
        assert_eq!(Trail::default().next(u64::MAX, u64::MAX), Some(u64::MAX..=u64::MAX));
    }

    #[test]
    fn marks_are_few_and_the_first_stays() {
        let trail = Trail::new((0..100_000).map(mark));
        assert!(trail.marks().len() <= MARKS_MAX);
        assert_eq!(trail.marks()[0].number, 0);
        assert_eq!(trail.newest().unwrap().number, 99_999);
        assert!(trail.marks().windows(2).all(|pair| pair[0].number < pair[1].number));
        // The newest ones are close together.
        assert!(trail.marks()[trail.marks().len() - 20].number > 99_900);
    }

    #[test]
    fn a_changed_block_is_given_up() {
        let mut trail = Trail::new([mark(3), mark(5)]);
        assert!(trail.stands(Some(mark(5).hash)));
        assert!(!trail.stands(Some([0xEE; 32])));
        assert_eq!(trail.newest(), Some(mark(3)));
        assert!(!trail.stands(None), "a chain that is shorter than it was");
        assert!(trail.newest().is_none() && trail.stands(None));
    }
}

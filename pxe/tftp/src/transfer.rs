//! One file to one client, pure: what came in and what time it is go in, what is to be sent comes out.
//!
//! Blocks are numbered from 1 without wrapping; the wire has the number modulo 65,536, so a file of any size goes
//! through blocks of any size.  The rules that are easily got wrong:
//!
//! - The last block is the first one that is not full; a file that ends with a full block is followed by an empty one.
//! - A repeated ACK never makes a block go out again (RFC 1123 section 4.2.3.1, "Sorcerer's Apprentice").  With windows
//!   a repeated ACK is also how a client says that the first block of a window is missing (RFC 7440 section 4): it is
//!   believed once for each sending, and only after a round trip, when it cannot be an echo of what came before.
//! - An ACK inside the window says where the gap is: what follows it is sent again, a full window of it.
//! - Before the first ACK a client is a claim in a forgeable packet: it gets [`UNPROVEN_SENDINGS_MAX`] packets at most.

use std::time::Duration;

use crate::negotiate::Terms;

/// Packets to an address that never answered, the first included.
pub(crate) const UNPROVEN_SENDINGS_MAX: u32 = 3;
/// How long a client may be silent before it is given up.  Firmware that unpacks or measures a file in the middle of a
/// transfer is silent for seconds.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Longest wait between two sendings.
const WAIT_MAX: Duration = Duration::from_secs(8);
/// Shortest wait: interrupts of firmware are off for tens of milliseconds.
const WAIT_MIN: Duration = Duration::from_millis(200);
/// After so many sendings in vain only the first blocks of a window go out: a client that is gone gets no floods.
const FULL_WINDOWS_MAX: u32 = 2;
/// How many those are.
const PROBE_BLOCKS: u64 = 4;
/// After so many sendings in vain, fragments are better than nothing.
const WHOLE_SENDINGS_MAX: u32 = 2;

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing until the next packet or deadline.
    Wait,
    /// Send the OACK.
    Greet,
    /// Send these blocks.
    Send(Run),
    /// The client has everything.
    Done,
    /// The client is given up.
    GiveUp,
}

/// Blocks to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first, from 1.
    pub(crate) first: u64,
    /// How many, at least 1.
    pub(crate) count: u64,
    /// Whether routers may cut them.
    pub(crate) fragment: bool,
    /// How often the first one was sent before.
    pub(crate) lost: u32,
}

/// A transfer.
#[derive(Debug)]
pub(crate) struct Transfer {
    terms: Terms,
    blocks: u64,
    /// The OACK is not acknowledged.
    greeting: bool,
    /// The client has answered.
    proven: bool,
    /// Everything up to this block has arrived.
    acked: u64,
    /// The last block that was sent.
    sent: u64,
    /// When the blocks after `acked` went out.
    sent_at: Duration,
    /// They went out once, so that their ACK measures the round trip (Karn).
    fresh: bool,
    /// A repeated ACK was believed since they went out.
    repeat_believed: bool,
    /// Sendings of the block after `acked` without an answer.
    lost: u32,
    /// Time-outs since the last answer.
    timeouts: u32,
    began: Duration,
    heard_at: Duration,
    deadline: Duration,
    trip: Trip,
    resent: u64,
}

impl Transfer {
    /// Begins; the step is what goes out first.
    pub(crate) fn begin(terms: Terms, now: Duration) -> (Self, Step) {
        let greeting = !terms.granted.is_empty();
        let blocks = terms.file_bytes / u64::from(terms.block_bytes.max(1)) + 1;
        let mut transfer = Self {
            terms,
            blocks,
            greeting,
            proven: false,
            acked: 0,
            sent: 0,
            sent_at: now,
            fresh: true,
            repeat_believed: false,
            lost: 0,
            timeouts: 0,
            began: now,
            heard_at: now,
            deadline: now,
            trip: Trip::default(),
            resent: 0,
        };
        let step = if greeting {
            transfer.wait(now);
            Step::Greet
        } else {
            transfer.window(now)
        };
        (transfer, step)
    }

    /// An ACK has come.
    pub(crate) fn ack(&mut self, wire: u16, now: Duration) -> Step {
        let ahead = u64::from(wire.wrapping_sub(low(self.acked)));
        if self.greeting {
            return if wire == 0 { self.greeted(now) } else { Step::Wait };
        }
        if ahead == 0 {
            return self.repeated(now);
        }
        // Beyond what was sent: an old ACK, or a number that this client made up.
        let Some(acked) = self.acked.checked_add(ahead).filter(|acked| *acked <= self.sent) else {
            return Step::Wait;
        };
        if self.fresh && acked == self.sent {
            self.trip.measured(now.saturating_sub(self.sent_at));
        }
        self.acked = acked;
        self.heard(now);
        if acked == self.blocks {
            return Step::Done;
        }
        let gap = self.sent.saturating_sub(acked);
        if gap > 0 {
            self.lost = 1;
            self.resent = self.resent.saturating_add(gap);
        }
        let step = self.window(now);
        self.fresh = gap == 0;
        step
    }

    /// The deadline has passed.
    pub(crate) fn expired(&mut self, now: Duration) -> Step {
        if now < self.deadline {
            return Step::Wait;
        }
        self.timeouts = self.timeouts.saturating_add(1);
        let silent = now.saturating_sub(self.heard_at) >= SILENCE_MAX;
        if silent || (!self.proven && self.timeouts >= UNPROVEN_SENDINGS_MAX) {
            return Step::GiveUp;
        }
        self.lost = self.lost.saturating_add(1);
        self.again(now)
    }

    /// The client sent its request again: our first packet may be lost.  `None` if the client is beyond that, so that
    /// this is a new request.
    pub(crate) fn asked_again(&mut self, now: Duration) -> Option<Step> {
        if self.proven {
            return None;
        }
        // The answer is on its way for less than the shortest wait: two requests crossed it.
        if now.saturating_sub(self.sent_at) < WAIT_MIN {
            return Some(Step::Wait);
        }
        self.timeouts = self.timeouts.saturating_add(1);
        if self.timeouts >= UNPROVEN_SENDINGS_MAX {
            return Some(Step::Wait);
        }
        self.lost = self.lost.saturating_add(1);
        Some(self.again(now))
    }

    fn greeted(&mut self, now: Duration) -> Step {
        if self.fresh {
            self.trip.measured(now.saturating_sub(self.sent_at));
        }
        self.greeting = false;
        self.heard(now);
        self.window(now)
    }

    fn repeated(&mut self, now: Duration) -> Step {
        let age = now.saturating_sub(self.sent_at);
        let echo = self.trip.shortest.is_none_or(|shortest| age < shortest);
        if self.terms.window_blocks == 1 || self.repeat_believed || echo || !self.proven {
            return Step::Wait;
        }
        self.lost = self.lost.saturating_add(1);
        self.heard_at = now;
        let step = self.again(now);
        self.repeat_believed = true;
        step
    }

    fn heard(&mut self, now: Duration) {
        self.proven = true;
        self.lost = 0;
        self.timeouts = 0;
        self.heard_at = now;
    }

    /// Sends the window after `acked`.
    fn window(&mut self, now: Duration) -> Step {
        let end = self.acked.saturating_add(self.terms.window_blocks.max(1).into());
        self.sent = end.min(self.blocks);
        self.fresh = true;
        self.repeat_believed = false;
        self.wait(now);
        self.run(self.sent.saturating_sub(self.acked))
    }

    /// Sends what was sent before.
    fn again(&mut self, now: Duration) -> Step {
        self.fresh = false;
        self.repeat_believed = false;
        self.wait(now);
        if self.greeting {
            return Step::Greet;
        }
        let window = self.sent.saturating_sub(self.acked);
        let count = if self.timeouts > FULL_WINDOWS_MAX { window.min(PROBE_BLOCKS) } else { window };
        self.resent = self.resent.saturating_add(count);
        self.run(count)
    }

    fn run(&self, count: u64) -> Step {
        Step::Send(Run {
            first: self.acked.saturating_add(1),
            count,
            fragment: self.timeouts > WHOLE_SENDINGS_MAX,
            lost: self.lost,
        })
    }

    fn wait(&mut self, now: Duration) {
        self.sent_at = now;
        let wait = self.trip.wait(self.terms.timeout);
        let doubled = wait.saturating_mul(1u32.checked_shl(self.timeouts.min(8)).unwrap_or(1));
        self.deadline = now.saturating_add(doubled.min(WAIT_MAX));
    }

    /// When [`Transfer::expired`] is to be asked.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The client has answered, so that its address is its own.
    pub(crate) fn proven(&self) -> bool {
        self.proven
    }

    /// Last block acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// Blocks of the file.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Repetitions.
    pub(crate) fn resent(&self) -> u64 {
        self.resent
    }

    pub(crate) fn lost(&self) -> u32 {
        self.lost
    }

    pub(crate) fn greeting(&self) -> bool {
        self.greeting
    }

    /// Since the request.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.began)
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }
}

/// A block's number on the wire.
pub(crate) fn low(block: u64) -> u16 {
    u16::try_from(block & 0xffff).unwrap_or_default()
}

/// The round trip, by RFC 6298.
#[derive(Debug, Default)]
struct Trip {
    smooth: Option<Duration>,
    varies: Duration,
    shortest: Option<Duration>,
}

impl Trip {
    fn measured(&mut self, took: Duration) {
        self.shortest = Some(self.shortest.map_or(took, |shortest| shortest.min(took)));
        match self.smooth {
            None => (self.smooth, self.varies) = (Some(took), took / 2),
            Some(smooth) => {
                self.varies = (self.varies * 3).saturating_add(smooth.abs_diff(took)) / 4;
                self.smooth = Some((smooth * 7).saturating_add(took) / 8);
            }
        }
    }

    /// How long to wait for an answer.
    fn wait(&self, at_most: Duration) -> Duration {
        let wait = self.smooth.map_or(at_most, |smooth| smooth.saturating_add(self.varies * 4));
        wait.max(WAIT_MIN).min(at_most.max(WAIT_MIN))
    }
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;

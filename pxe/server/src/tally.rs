//! What is counted since start: everything refused, by reason.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// What cannot be told of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// DHCP packets received.
    pub packets: u64,
    /// Replies sent.
    pub replies: u64,
    /// Packets that were not a DHCP client's.
    pub odd_packets: u64,
    /// Packets from relays that the configuration does not name.
    pub foreign_relays: u64,
    /// Replies that could not be sent.
    pub unsent: u64,
    /// Confirmations not sent because the journal could not be written, or not in time.
    pub not_durable: u64,
    /// Free addresses found in use by a probe.
    pub conflicts: u64,
    /// HTTP requests under a ticket that is unknown, spent or expired.
    pub unknown_tickets: u64,
    /// HTTP requests for anything else.
    pub odd_requests: u64,
    /// PXE firmware sent on to HTTP boot.
    pub refused_tftp: u64,
    /// The reasons behind these and further refusals, by name: `odd_packet_overload`, `tftp_write`, `http_path`, ….
    pub reasons: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// All of them by name, in lower case with underscores.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let fixed = [
            ("packets", self.packets),
            ("replies", self.replies),
            ("odd_packets", self.odd_packets),
            ("foreign_relays", self.foreign_relays),
            ("unsent", self.unsent),
            ("not_durable", self.not_durable),
            ("conflicts", self.conflicts),
            ("unknown_tickets", self.unknown_tickets),
            ("odd_requests", self.odd_requests),
            ("refused_tftp", self.refused_tftp),
        ];
        fixed.into_iter().chain(self.reasons.iter().map(|(name, count)| (*name, *count))).collect()
    }
}

/// The counters while they count.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) packets: AtomicU64,
    pub(crate) replies: AtomicU64,
    pub(crate) odd_packets: AtomicU64,
    pub(crate) foreign_relays: AtomicU64,
    pub(crate) unsent: AtomicU64,
    pub(crate) not_durable: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) unknown_tickets: AtomicU64,
    pub(crate) odd_requests: AtomicU64,
    pub(crate) refused_tftp: AtomicU64,
    reasons: Mutex<BTreeMap<&'static str, u64>>,
}

pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

pub(crate) fn add(counter: &AtomicU64, more: usize) {
    counter.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Tally {
    /// Counts a reason.  Names are ours, so there are no more of them than in this crate.
    pub(crate) fn reason(&self, name: &'static str) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let count = reasons.entry(name).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn read(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            packets: read(&self.packets),
            replies: read(&self.replies),
            odd_packets: read(&self.odd_packets),
            foreign_relays: read(&self.foreign_relays),
            unsent: read(&self.unsent),
            not_durable: read(&self.not_durable),
            conflicts: read(&self.conflicts),
            unknown_tickets: read(&self.unknown_tickets),
            odd_requests: read(&self.odd_requests),
            refused_tftp: read(&self.refused_tftp),
            reasons: self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

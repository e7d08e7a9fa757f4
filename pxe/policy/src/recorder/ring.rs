//! The rings, and what has to leave when there is no room.

use std::collections::{BTreeMap, VecDeque};

use appliance_model::{Mac, Now};

use super::{Frame, Limits, Machine, Note};

/// A frame or a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Frame(Frame),
    Note(Now, Note),
}

impl Entry {
    pub(super) fn at(&self) -> Now {
        match self {
            Self::Frame(frame) => frame.at,
            Self::Note(at, _) => *at,
        }
    }

    /// Bytes in memory: the entry's place and what hangs on it.
    fn cost(&self) -> usize {
        let hanging = match self {
            Self::Frame(frame) => frame.payload.capacity(),
            Self::Note(_, note) => note.cost(),
        };
        size_of::<Self>().saturating_add(hanging)
    }
}

/// What one machine costs before anything happened to it: its ring, its places in the two indices, with slack.
const MACHINE_BYTES: usize = 512;

/// What is kept of one machine.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) known: bool,
    pub(super) entries: VecDeque<Entry>,
    pub(super) first: Now,
    /// Entries ever, those no longer kept included.
    pub(super) total: u64,
    bytes: usize,
    /// Its place in the shelf's order of age.
    turn: u64,
}

/// All rings.  Known machines and strangers have budgets of their own.
#[derive(Debug)]
pub(super) struct Shelf {
    limits: Limits,
    rings: BTreeMap<Mac, Ring>,
    known: Budget,
    strangers: Budget,
    /// Counts entries: orders the machines by when they were last heard without trusting a clock.
    turns: u64,
}

/// Bytes of one class of machines, and who was heard longest ago.
#[derive(Debug, Default)]
struct Budget {
    bytes: usize,
    oldest: BTreeMap<u64, Mac>,
}

/// A machine moves up in the order of age only when this many entries of others came between: a machine that says ten
/// things at once costs one move.
const TURNS_APART: u64 = 64;

impl Shelf {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            rings: BTreeMap::new(),
            known: Budget::default(),
            strangers: Budget::default(),
            turns: 0,
        }
    }

    pub(super) fn push(&mut self, mac: Mac, known: bool, entry: Entry) {
        self.turns = self.turns.saturating_add(1);
        if self.rings.get(&mac).is_some_and(|ring| ring.known != known) {
            self.reclassify(mac, known);
        }
        let (turn, limits) = (self.turns, self.limits);
        let budget = if known { &mut self.known } else { &mut self.strangers };
        let ring = self.rings.entry(mac).or_insert_with(|| {
            budget.oldest.insert(turn, mac);
            budget.bytes = budget.bytes.saturating_add(MACHINE_BYTES);
            let (entries, first) = (VecDeque::new(), entry.at());
            Ring { known, entries, first, total: 0, bytes: MACHINE_BYTES, turn }
        });
        if turn.saturating_sub(ring.turn) > TURNS_APART {
            budget.oldest.remove(&ring.turn);
            budget.oldest.insert(turn, mac);
            ring.turn = turn;
        }
        let before = ring.bytes;
        ring.push(entry, limits);
        budget.bytes = budget.bytes.saturating_sub(before).saturating_add(ring.bytes);
        self.make_room(known);
    }

    /// Drops the machines heard longest ago until the budget holds.
    fn make_room(&mut self, known: bool) {
        let (budget, bytes_max) = if known {
            (&mut self.known, self.limits.known_bytes_max)
        } else {
            (&mut self.strangers, self.limits.strangers_bytes_max)
        };
        while budget.bytes > bytes_max {
            let Some((_, mac)) = budget.oldest.pop_first() else { return };
            let gone = self.rings.remove(&mac).map_or(0, |ring| ring.bytes);
            budget.bytes = budget.bytes.saturating_sub(gone);
        }
    }

    /// Somebody has announced the machine, or has taken that back.
    fn reclassify(&mut self, mac: Mac, known: bool) {
        let Some(ring) = self.rings.get_mut(&mac) else { return };
        let (from, to) = if known {
            (&mut self.strangers, &mut self.known)
        } else {
            (&mut self.known, &mut self.strangers)
        };
        from.oldest.remove(&ring.turn);
        from.bytes = from.bytes.saturating_sub(ring.bytes);
        to.oldest.insert(ring.turn, mac);
        to.bytes = to.bytes.saturating_add(ring.bytes);
        ring.known = known;
    }

    pub(super) fn ring(&self, mac: Mac) -> Option<&Ring> {
        self.rings.get(&mac)
    }

    pub(super) fn bytes(&self) -> usize {
        self.known.bytes.saturating_add(self.strangers.bytes)
    }

    pub(super) fn machines(&self) -> Vec<Machine> {
        self.rings
            .iter()
            .map(|(mac, ring)| Machine {
                mac: *mac,
                known: ring.known,
                first: ring.first,
                last: ring.entries.back().map_or(ring.first, Entry::at),
                entries: ring.total,
            })
            .collect()
    }
}

impl Ring {
    fn push(&mut self, entry: Entry, limits: Limits) {
        self.total = self.total.saturating_add(1);
        self.bytes = self.bytes.saturating_add(entry.cost());
        self.entries.push_back(entry);
        while self.entries.len() > limits.machine_entries_max.max(1)
            || (self.bytes > limits.machine_bytes_max && self.entries.len() > 1)
        {
            let gone = self.entries.pop_front().map_or(0, |entry| entry.cost());
            self.bytes = self.bytes.saturating_sub(gone);
        }
    }
}

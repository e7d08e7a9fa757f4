//! Who may pull now and who waits: a pure queue.
//!
//! A link shared by a thousand transfers finishes all of them at the very end; served by turns, half of them are done
//! at half time and none is later than it would have been.  So a fixed number run and the rest wait.  Next is whoever's
//! address holds the fewest places, and among those who came first: a fleet is served in order, and a client that
//! opens many connections waits behind everyone who opened one.

use std::{
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry},
    net::IpAddr,
};

/// How many run and how many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) places: usize,
    pub(crate) places_per_address: usize,
    pub(crate) waiting: usize,
    pub(crate) waiting_per_address: usize,
}

/// One transfer, running or waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seat(u64);

/// What became of a transfer that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It may run.
    Runs(Seat),
    /// It waits; so many wait now, itself included.
    Waits(Seat, usize),
    /// Too many wait, or too many of this address.
    Full,
}

/// The queue.  Costs some hundred bytes a transfer.
#[derive(Debug)]
pub struct Queue {
    room: Room,
    running: usize,
    next: u64,
    seats: HashMap<Seat, Held>,
    lanes: HashMap<IpAddr, Lane>,
    /// First of every lane that may have one more place: places held, arrival, whose.
    turns: BTreeSet<(usize, Seat, IpAddr)>,
}

#[derive(Debug)]
struct Held {
    by: IpAddr,
    runs: bool,
}

#[derive(Debug, Default)]
struct Lane {
    held: usize,
    waiting: VecDeque<Seat>,
}

impl Queue {
    /// `places` transfers at once, `places_per_address` of them for one client; `waiting` and `waiting_per_address` likewise.
    #[must_use]
    pub fn new(places: usize, places_per_address: usize, waiting: usize, waiting_per_address: usize) -> Self {
        let room = Room {
            places: places.max(1),
            places_per_address: places_per_address.max(1),
            waiting,
            waiting_per_address,
        };
        Self {
            room,
            running: 0,
            next: 0,
            seats: HashMap::new(),
            lanes: HashMap::new(),
            turns: BTreeSet::new(),
        }
    }

    /// A transfer for `address` comes.
    pub fn arrive(&mut self, address: IpAddr) -> Arrival {
        let waiting = self.waiting();
        let lane = self.lanes.entry(address).or_default();
        let runs = self.running < self.room.places && lane.held < self.room.places_per_address;
        if !runs && (waiting >= self.room.waiting || lane.waiting.len() >= self.room.waiting_per_address) {
            // A lane that is full is not empty, but the whole queue may be full with this lane new.
            self.forget(address);
            return Arrival::Full;
        }
        let seat = Seat(self.next);
        self.next = self.next.wrapping_add(1);
        self.seats.insert(seat, Held { by: address, runs });
        if runs {
            lane.held = lane.held.saturating_add(1);
            self.running = self.running.saturating_add(1);
            // Nobody of this lane can be waiting for less than its limit, so no turn changes.
            Arrival::Runs(seat)
        } else {
            lane.waiting.push_back(seat);
            self.line_up(address);
            Arrival::Waits(seat, waiting.saturating_add(1))
        }
    }

    /// A transfer is done, gave up, or lost its place.  Returns who may run now.
    pub fn leave(&mut self, seat: Seat) -> Vec<Seat> {
        let Some(Held { by, runs }) = self.seats.remove(&seat) else { return Vec::new() };
        self.step_out(by);
        if let Some(lane) = self.lanes.get_mut(&by) {
            if runs {
                lane.held = lane.held.saturating_sub(1);
                self.running = self.running.saturating_sub(1);
            } else {
                lane.waiting.retain(|other| *other != seat);
            }
        }
        self.line_up(by);
        self.forget(by);
        self.admit()
    }

    /// How many run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.seats.len().saturating_sub(self.running)
    }

    fn admit(&mut self) -> Vec<Seat> {
        let mut admitted = Vec::new();
        while self.running < self.room.places {
            let Some((_, seat, address)) = self.turns.pop_first() else { break };
            let Some(lane) = self.lanes.get_mut(&address) else { continue };
            lane.waiting.pop_front();
            lane.held = lane.held.saturating_add(1);
            self.running = self.running.saturating_add(1);
            if let Entry::Occupied(mut held) = self.seats.entry(seat) {
                held.get_mut().runs = true;
            }
            self.line_up(address);
            admitted.push(seat);
        }
        admitted
    }

    /// The lane's first gets its turn noted, unless the lane holds all it may.
    fn line_up(&mut self, address: IpAddr) {
        let Some(lane) = self.lanes.get(&address) else { return };
        if let Some(first) = lane.waiting.front()
            && lane.held < self.room.places_per_address
        {
            self.turns.insert((lane.held, *first, address));
        }
    }

    fn step_out(&mut self, address: IpAddr) {
        let Some(lane) = self.lanes.get(&address) else { return };
        if let Some(first) = lane.waiting.front() {
            self.turns.remove(&(lane.held, *first, address));
        }
    }

    fn forget(&mut self, address: IpAddr) {
        if self.lanes.get(&address).is_some_and(|lane| lane.held == 0 && lane.waiting.is_empty()) {
            self.lanes.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests;

//! Who plays whom: ports that wait for a partner are paired round-robin, behind one switch first.
//!
//! Two ports meet again only when neither has anybody left whom it met less often.  Who waits too long plays the
//! appliance, and so does, once, who would have to repeat a partner: a second opinion.  Whom nobody can play is told so
//! within a bound.  The same questions at the same times give the same pairs.
//!
//! Which sockets, tokens and threads that takes is for whoever asks here.

use std::collections::BTreeMap;

use appliance_model::{HostId, Mac, Now, Seconds};

/// Who waits so long plays the appliance.
pub const HOUSE_AFTER: Seconds = Seconds(10);
/// Who waits so long is told that there is nobody.
pub const NOBODY_AFTER: Seconds = Seconds(75);
/// Who has not asked for so long does not wait any more: an agent asks every 10 s.
const SILENT_AFTER: Seconds = Seconds(20);
/// Who has not been seen for so long beyond his last match will not come back.
const GONE_AFTER: Seconds = Seconds(30);
/// Ports known at once; more than a site's machines in burn-in have.
const PORTS_MAX: usize = 4096;

/// A port that looks for partners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Its machine: a machine does not play itself.
    pub host: HostId,
    /// Its hardware address.
    pub port: Mac,
    /// What it is cabled to, as LLDP told; `None` where nothing was heard.
    pub switch: Option<String>,
    /// Its link speed in Mbit/s.
    pub mbps: Option<u32>,
    /// Who can reach each other: ports of one lane only are paired.
    pub lane: Lane,
    /// How long a match it wants.
    pub seconds: u32,
}

/// What addresses a port has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// IPv4.
    Four,
    /// IPv6 that is routed.
    Six,
    /// Addresses of one cable or LAN only; the appliance is not in there.
    Local,
}

/// What is to be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Game {
    /// Two ports.
    Pair(Seat, Seat),
    /// A port and the appliance.
    House(Seat),
    /// Nobody came in time.
    Nobody(Seat),
}

#[derive(Debug, Clone)]
struct Known {
    seat: Seat,
    seen: Now,
    /// Until when it plays.
    busy: Now,
    /// Since when it waits; `None` while it does not.
    waits: Option<Now>,
    /// Matches against the appliance.
    house: u32,
}

/// All ports that look for partners, and who met whom.
#[derive(Debug, Default)]
pub struct Tournament {
    known: BTreeMap<Mac, Known>,
    met: BTreeMap<(Mac, Mac), u32>,
}

impl Tournament {
    /// A port waits.  Asking again goes on waiting.  `false`: there are too many.
    pub fn wait(&mut self, seat: Seat, now: Now) -> bool {
        self.forget(now);
        if self.known.len() >= PORTS_MAX && !self.known.contains_key(&seat.port) {
            return false;
        }
        let fresh = Known { seat: seat.clone(), seen: now, busy: Now(0), waits: None, house: 0 };
        let known = self.known.entry(seat.port).or_insert(fresh);
        (known.seat, known.seen) = (seat, now);
        known.waits.get_or_insert(now);
        true
    }

    /// Who plays now.  They do not wait any more.  `house`: whether the appliance has time for one.
    pub fn games(&mut self, mut house: bool, now: Now) -> Vec<Game> {
        self.forget(now);
        let mut games = Vec::new();
        while let Some(game) = self.next(house, now) {
            match &game {
                Game::Pair(one, other) => {
                    *self.met.entry(ordered(one.port, other.port)).or_default() += 1;
                    let seconds = one.seconds.min(other.seconds);
                    self.plays(one.port, seconds, now);
                    self.plays(other.port, seconds, now);
                }
                Game::House(seat) => {
                    house = false;
                    self.plays(seat.port, seat.seconds, now);
                    if let Some(known) = self.known.get_mut(&seat.port) {
                        known.house += 1;
                    }
                }
                Game::Nobody(seat) => self.plays(seat.port, 0, now),
            }
            games.push(game);
        }
        games
    }

    fn next(&self, house: bool, now: Now) -> Option<Game> {
        let waiting = || self.known.values().filter(|known| known.waits.is_some());
        // A second opinion before a second match; the longest waiting first.
        let late = |known: &&Known| waited(known, now) >= HOUSE_AFTER.0;
        let mut order: Vec<&Known> = waiting().collect();
        order.sort_by_key(|known| (known.waits, known.seat.port.0));
        let pair = self.best(&order);
        if house {
            let repeats = |known: &&Known| {
                known.house == 0
                    && pair.is_some_and(|(one, other)| {
                        self.met(one, other) > 0 && [one, other].contains(&known.seat.port)
                    })
            };
            let reached = |known: &&&Known| known.seat.lane != Lane::Local;
            let second = order.iter().filter(reached).find(|known| repeats(known));
            let stuck = || order.iter().filter(reached).find(|known| pair.is_none() && late(known));
            if let Some(known) = second.or_else(stuck) {
                return Some(Game::House(known.seat.clone()));
            }
        }
        if let Some((one, other)) = pair {
            let seat = |port| self.known.get(port).map(|known| known.seat.clone());
            return Some(Game::Pair(seat(&one)?, seat(&other)?));
        }
        let lost = order.iter().find(|known| waited(known, now) >= NOBODY_AFTER.0);
        lost.map(|known| Game::Nobody(known.seat.clone()))
    }

    /// The pair that should play: both have nobody whom they met less often; then those behind one switch, of one speed,
    /// and who wait longest.
    fn best(&self, order: &[&Known]) -> Option<(Mac, Mac)> {
        let mut best: Option<(Rank, (Mac, Mac))> = None;
        for (index, one) in order.iter().enumerate() {
            for (later, other) in order.iter().enumerate().skip(index + 1) {
                let (a, b) = (&one.seat, &other.seat);
                if !may_meet(a, b) {
                    continue;
                }
                let met = self.met(a.port, b.port);
                if met > self.least(one) || met > self.least(other) {
                    continue;
                }
                let apart = a.switch.is_none() || a.switch != b.switch;
                let rank = (met, apart, a.mbps != b.mbps, index, later);
                if best.as_ref().is_none_or(|(other, _)| rank < *other) {
                    best = Some((rank, (a.port, b.port)));
                }
            }
        }
        best.map(|(_, pair)| pair)
    }

    /// How often a port met the one whom it met least, of those who are here.
    fn least(&self, of: &Known) -> u32 {
        let others = self.known.values().filter(|other| may_meet(&of.seat, &other.seat));
        others.map(|other| self.met(of.seat.port, other.seat.port)).min().unwrap_or(0)
    }

    fn met(&self, one: Mac, other: Mac) -> u32 {
        self.met.get(&ordered(one, other)).copied().unwrap_or(0)
    }

    fn plays(&mut self, port: Mac, seconds: u32, now: Now) {
        if let Some(known) = self.known.get_mut(&port) {
            (known.waits, known.busy) = (None, now.after(Seconds(seconds.into())));
        }
    }

    fn forget(&mut self, now: Now) {
        for known in self.known.values_mut() {
            if now.since(known.seen).0 > SILENT_AFTER.0 {
                known.waits = None;
            }
        }
        self.known.retain(|_, known| now.since(known.seen.max(known.busy)).0 <= GONE_AFTER.0);
        let known = &self.known;
        self.met.retain(|(one, other), _| known.contains_key(one) && known.contains_key(other));
    }
}

/// How often they met, whether they are behind different switches, whether of different speeds, and who came when.
type Rank = (u32, bool, bool, usize, usize);

fn waited(known: &Known, now: Now) -> u64 {
    known.waits.map_or(0, |since| now.since(since).0)
}

fn may_meet(one: &Seat, other: &Seat) -> bool {
    one.host != other.host && one.lane == other.lane
}

fn ordered(one: Mac, other: Mac) -> (Mac, Mac) {
    if one.0 <= other.0 { (one, other) } else { (other, one) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use appliance_model::Serial;
    use proptest::prelude::*;

    use super::*;

    fn seat(number: u8, switch: Option<u8>) -> Seat {
        let serial = Serial::parse(&format!("S{number}")).unwrap();
        Seat {
            host: HostId::of_serial(&serial),
            port: Mac([2, 0, 0, 0, 0, number]),
            switch: switch.map(|switch| format!("sw{switch}")),
            mbps: Some(25_000),
            lane: Lane::Four,
            seconds: 10,
        }
    }

    fn at(seconds: u64) -> Now {
        Now(1_000_000 + seconds * 1000)
    }

    fn ports(game: &Game) -> Vec<u8> {
        match game {
            Game::Pair(one, other) => vec![one.port.0[5], other.port.0[5]],
            Game::House(seat) => vec![seat.port.0[5], 255],
            Game::Nobody(seat) => vec![seat.port.0[5]],
        }
    }

    #[test]
    fn one_switch_first_then_across_then_a_second_opinion() {
        let mut here = Tournament::default();
        let seats = [seat(1, Some(1)), seat(2, Some(2)), seat(3, Some(1)), seat(4, Some(2))];
        let mut played = Vec::new();
        for round in 0..4 {
            for seat in &seats {
                assert!(here.wait(seat.clone(), at(round * 10)));
            }
            played.push(here.games(false, at(round * 10)).iter().map(ports).collect::<Vec<_>>());
        }
        let across = vec![vec![vec![1, 2], vec![3, 4]], vec![vec![1, 4], vec![2, 3]]];
        assert_eq!(played[0], [vec![1, 3], vec![2, 4]]);
        assert_eq!(played[1..3], across);
        assert_eq!(played[3], [vec![1, 3], vec![2, 4]], "from the start");
        // A pair would be repeated: the appliance first, where it has time.
        for seat in &seats {
            here.wait(seat.clone(), at(40));
        }
        let games: Vec<_> = here.games(true, at(40)).iter().map(ports).collect();
        assert_eq!(games[0], [1, 255]);
        assert!(games[1..].iter().all(|game| !game.contains(&255)), "one at a time: {games:?}");
    }

    #[test]
    fn who_is_alone_plays_the_appliance_and_who_cannot_is_told() {
        let mut here = Tournament::default();
        let waits = |here: &mut Tournament, seat: &Seat, house: bool, from: u64| {
            (from..from + 200).step_by(5).find_map(|second| {
                here.wait(seat.clone(), at(second));
                let games = here.games(house, at(second));
                games.first().map(|game| (second - from, ports(game)))
            })
        };
        assert_eq!(waits(&mut here, &seat(1, None), true, 0), Some((10, vec![1, 255])));
        assert_eq!(waits(&mut here, &seat(1, None), false, 1000), Some((75, vec![1])));
        let local = Seat { lane: Lane::Local, ..seat(2, None) };
        assert_eq!(waits(&mut here, &local, true, 2000), Some((75, vec![2])), "the appliance is not there");
        // Two ports of one machine are no partners, and a port that fell silent is nobody's.
        let twin = Seat { port: Mac([2, 0, 0, 0, 0, 9]), ..seat(1, None) };
        here.wait(twin, at(3000));
        here.wait(seat(1, None), at(3000));
        assert_eq!(here.games(false, at(3000)), []);
        here.wait(seat(3, None), at(3021));
        assert_eq!(here.games(false, at(3021)), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Everybody is always asking; matches last as long as they like.
        #[test]
        fn nobody_meets_twice_before_all_have_met(
            switches in proptest::collection::vec(proptest::option::of(0_u8..3), 2..9),
            lengths in proptest::collection::vec(1_u32..30, 40),
            house in any::<bool>(),
        ) {
            let mut here = Tournament::default();
            let mut again = Tournament::default();
            let seats: Vec<Seat> = (1..).zip(&switches).map(|(number, switch)| seat(number, *switch)).collect();
            let mut free = vec![0_u64; seats.len()];
            let mut since = vec![None; seats.len()];
            let mut counts: BTreeMap<(u8, u8), u32> = BTreeMap::new();
            let mut lengths = lengths.iter().cycle();
            for second in 0..300 {
                let length = *lengths.next().unwrap_or(&5);
                for (index, seat) in seats.iter().enumerate().filter(|(index, _)| free[*index] <= second) {
                    since[index].get_or_insert(second);
                    let seat = Seat { seconds: length, ..seat.clone() };
                    here.wait(seat.clone(), at(second));
                    again.wait(seat, at(second));
                }
                let games = here.games(house, at(second));
                prop_assert_eq!(&games, &again.games(house, at(second)), "deterministic");
                let mut now = BTreeSet::new();
                for game in &games {
                    for number in ports(game).into_iter().filter(|number| *number < 255) {
                        prop_assert!(now.insert(number), "{} plays twice at once", number);
                        let index = usize::from(number) - 1;
                        let waited = second - since[index].take().unwrap_or(second);
                        prop_assert!(waited <= NOBODY_AFTER.0, "waited {}", waited);
                        free[index] = second + u64::from(length);
                    }
                    let Game::Pair(one, other) = game else { continue };
                    prop_assert_ne!(&one.host, &other.host);
                    let (a, b) = (one.port.0[5].min(other.port.0[5]), one.port.0[5].max(other.port.0[5]));
                    *counts.entry((a, b)).or_default() += 1;
                }
                for (a, b) in counts.keys() {
                    let mine = counts[&(*a, *b)];
                    for other in 1..=u8::try_from(seats.len()).unwrap_or(0) {
                        if other != *a && other != *b {
                            let theirs = counts.get(&(other.min(*a), other.max(*a))).copied().unwrap_or(0);
                            prop_assert!(mine <= theirs + 1, "{} and {} {} times, {} {}", a, b, mine, other, theirs);
                        }
                    }
                }
            }
        }
    }
}

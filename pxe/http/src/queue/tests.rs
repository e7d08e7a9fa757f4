//! The queue by tables, by a fleet in virtual time, and by random play against its invariants.

use std::{collections::VecDeque, net::Ipv4Addr};

use proptest::prelude::*;

use super::*;

fn address(last: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + last))
}

/// `+n` a transfer of client n arrives, `-k` the k-th arrival leaves; expected: what runs afterwards, by arrival.
fn check(places: usize, per_address: usize, moves: &[(char, u32)], expected: &[usize]) {
    let mut queue = Queue::new(places, per_address, 8, 4);
    let mut seats = Vec::new();
    let mut runs = Vec::new();
    for (kind, n) in moves {
        if *kind == '+' {
            let seat = match queue.arrive(address(*n)) {
                Arrival::Runs(seat) => {
                    runs.push(seats.len());
                    Some(seat)
                }
                Arrival::Waits(seat, _) => Some(seat),
                Arrival::Full => None,
            };
            seats.push(seat);
        } else {
            let index = usize::try_from(*n).unwrap();
            runs.retain(|run| *run != index);
            for admitted in queue.leave(seats[index].unwrap()) {
                runs.push(seats.iter().position(|seat| *seat == Some(admitted)).unwrap());
            }
        }
    }
    runs.sort_unstable();
    assert_eq!(runs, expected, "{places} places, {per_address} each: {moves:?}");
    assert_eq!(queue.running(), expected.len());
}

#[test]
fn table_of_turns() {
    let five = [('+', 1), ('+', 2), ('+', 3), ('+', 4), ('+', 5)];
    check(2, 1, &five, &[0, 1]);
    check(2, 1, &[&five[..], &[('-', 0)]].concat(), &[1, 2]);
    check(2, 1, &[&five[..], &[('-', 0), ('-', 1), ('-', 2)]].concat(), &[3, 4]);
    // Whoever waits and gives up is passed over.
    check(2, 1, &[&five[..], &[('-', 2), ('-', 0)]].concat(), &[1, 3]);
    // One address cannot hold all places, even empty ones.
    check(4, 2, &[('+', 1), ('+', 1), ('+', 1), ('+', 1), ('+', 2)], &[0, 1, 4]);
    check(4, 2, &[('+', 1), ('+', 1), ('+', 1), ('-', 0)], &[1, 2]);
    // Who holds one place already waits behind who holds none, though it came first.
    check(2, 2, &[('+', 1), ('+', 2), ('+', 2), ('+', 3), ('-', 0)], &[1, 3]);
    check(2, 2, &[('+', 1), ('+', 2), ('+', 2), ('+', 3), ('-', 0), ('-', 3)], &[1, 2]);
}

#[test]
fn a_full_queue_refuses_and_remembers_nothing() {
    let mut queue = Queue::new(1, 1, 2, 1);
    assert!(matches!(queue.arrive(address(1)), Arrival::Runs(_)));
    assert!(matches!(queue.arrive(address(1)), Arrival::Waits(_, 1)));
    assert_eq!(queue.arrive(address(1)), Arrival::Full, "too many of this address");
    assert!(matches!(queue.arrive(address(2)), Arrival::Waits(_, 2)));
    for n in 3..1000 {
        assert_eq!(queue.arrive(address(n)), Arrival::Full);
    }
    assert_eq!(queue.lanes.len(), 2);
    assert_eq!(queue.seats.len(), 3);
}

/// Every client of a fleet wants the same; the link moves one unit a tick, shared by all that run.
/// Returns the mean and the last completion, in ticks.
fn fleet(clients: u32, units: u32, places: usize) -> (f64, f64) {
    let mut queue = Queue::new(places, 2, 100_000, 2);
    let mut running: Vec<(Seat, f64)> = Vec::new();
    let mut waiting = VecDeque::new();
    for n in 0..clients {
        match queue.arrive(address(n)) {
            Arrival::Runs(seat) => running.push((seat, f64::from(units))),
            Arrival::Waits(seat, place) => {
                waiting.push_back(seat);
                assert_eq!(place, waiting.len());
            }
            Arrival::Full => panic!("full"),
        }
    }
    let (mut now, mut sum) = (0.0, 0.0);
    while !running.is_empty() {
        let share = 1.0 / f64::from(u32::try_from(running.len()).unwrap());
        now += 1.0;
        for (_, left) in &mut running {
            *left -= share;
        }
        let done: Vec<Seat> =
            running.iter().filter(|(_, left)| *left <= 1e-9).map(|(seat, _)| *seat).collect();
        running.retain(|(_, left)| *left > 1e-9);
        for seat in done {
            sum += now;
            for next in queue.leave(seat) {
                assert_eq!(waiting.pop_front(), Some(next), "in order of arrival");
                running.push((next, f64::from(units)));
            }
        }
    }
    assert!(waiting.is_empty());
    (sum / f64::from(clients), now)
}

#[test]
fn a_fleet_by_turns_is_done_in_half_the_mean_time_and_no_later() {
    let (fair_mean, fair_last) = fleet(500, 20, 500);
    let (mean, last) = fleet(500, 20, 50);
    assert!(mean <= 0.551 * fair_mean, "{mean} of {fair_mean}");
    assert!(last <= 1.01 * fair_last, "{last} of {fair_last}");
}

#[test]
fn ten_thousand_wait_cheaply() {
    let mut queue = Queue::new(50, 2, 20_000, 2);
    for n in 0..10_000 {
        assert_ne!(queue.arrive(address(n)), Arrival::Full);
    }
    assert_eq!(queue.waiting(), 9_950);
    // What the tables hold for one client; the maps' spare room at most doubles it.
    let each = size_of::<(Seat, Held)>()
        + size_of::<(IpAddr, Lane)>()
        + size_of::<(usize, Seat, IpAddr)>()
        + 4 * size_of::<Seat>();
    assert!(2 * each <= 512, "{each}");
}

proptest! {
    #[test]
    fn no_play_breaks_the_rules(plays in prop::collection::vec((0_u32..6, any::<bool>(), 0_usize..64), 1..300)) {
        let mut queue = Queue::new(5, 2, 20, 6);
        let mut live: Vec<(Seat, IpAddr, bool)> = Vec::new();
        for (who, comes, which) in plays {
            if comes || live.is_empty() {
                match queue.arrive(address(who)) {
                    Arrival::Runs(seat) => live.push((seat, address(who), true)),
                    Arrival::Waits(seat, _) => live.push((seat, address(who), false)),
                    Arrival::Full => {}
                }
            } else {
                let (seat, ..) = live.remove(which % live.len());
                for next in queue.leave(seat) {
                    let entry = live.iter_mut().find(|(seat, ..)| *seat == next).unwrap();
                    prop_assert!(!entry.2, "admitted twice");
                    entry.2 = true;
                }
                prop_assert!(queue.leave(seat).is_empty(), "leaving twice is nothing");
            }
            let held = |a: IpAddr| live.iter().filter(|(_, by, runs)| *by == a && *runs).count();
            let running = live.iter().filter(|(.., runs)| *runs).count();
            prop_assert_eq!(running, queue.running());
            prop_assert_eq!(live.len() - running, queue.waiting());
            prop_assert!(running <= 5 && queue.waiting() <= 20);
            for (_, by, runs) in &live {
                prop_assert!(held(*by) <= 2);
                // Nobody waits while a place is free that it may have.
                prop_assert!(*runs || running == 5 || held(*by) == 2);
            }
        }
        for (seat, ..) in live { queue.leave(seat); }
        prop_assert_eq!((queue.seats.len(), queue.lanes.len(), queue.turns.len()), (0, 0, 0));
    }
}

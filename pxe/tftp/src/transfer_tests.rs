//! Rules one by one, then whole transfers over links that lose, repeat and reorder.

use std::collections::BinaryHeap;

use proptest::prelude::*;
use pxe_wire::tftp::Options;

use super::*;
use crate::{Limits, negotiate::terms};

const MS: Duration = Duration::from_millis(1);

fn asked(block_bytes: Option<u16>, window_blocks: Option<u16>) -> Options {
    Options { block_bytes, window_blocks, ..Options::default() }
}

fn begin(options: Options, file_bytes: u64) -> (Transfer, Step) {
    let limits = Limits { window_blocks_max: u16::MAX, ..Limits::default() };
    Transfer::begin(terms(&options, file_bytes, 65_464, &limits), Duration::ZERO)
}

fn run(first: u64, count: u64) -> Step {
    Step::Send(Run { first, count, fragment: false, lost: 0 })
}

#[test]
fn without_options_the_first_block_is_the_answer() {
    let (mut transfer, step) = begin(Options::default(), 1024);
    assert_eq!(step, run(1, 1));
    assert_eq!(transfer.ack(1, MS), run(2, 1));
    assert_eq!(transfer.ack(2, MS), run(3, 1), "1,024 bytes end with an empty block");
    assert_eq!(transfer.ack(3, MS), Step::Done);
}

#[test]
fn an_empty_file_is_one_empty_block() {
    let (mut transfer, step) = begin(Options::default(), 0);
    assert_eq!(step, run(1, 1));
    assert_eq!(transfer.ack(1, MS), Step::Done);
}

#[test]
fn the_sorcerer_has_no_apprentice() {
    let (mut transfer, _) = begin(Options::default(), 5000);
    assert_eq!(transfer.ack(1, MS), run(2, 1));
    for late in 2..100 {
        assert_eq!(transfer.ack(1, MS * late), Step::Wait, "a repeated ACK sends nothing");
    }
    assert_eq!(transfer.ack(0, MS), Step::Wait, "nor does an older one");
    assert_eq!(transfer.ack(9, MS), Step::Wait, "nor one from the future");
}

#[test]
fn windows_slide_and_gaps_are_filled() {
    let (mut transfer, step) = begin(asked(Some(512), Some(4)), 512 * 20);
    assert_eq!(step, Step::Greet);
    assert_eq!(transfer.ack(3, MS), Step::Wait, "an OACK is acknowledged by 0");
    assert_eq!(transfer.ack(0, MS * 10), run(1, 4));
    assert_eq!(transfer.ack(4, MS * 20), run(5, 4));
    let gap = Step::Send(Run { first: 7, count: 4, fragment: false, lost: 1 });
    assert_eq!(transfer.ack(6, MS * 30), gap, "7 is missing: a full window from there");
    assert_eq!(transfer.resent(), 2);
    assert_eq!(transfer.ack(6, MS * 31), Step::Wait, "an echo of the old window");
    let again = Step::Send(Run { first: 7, count: 4, fragment: false, lost: 2 });
    assert_eq!(transfer.ack(6, MS * 41), again, "after a round trip it is news: 7 is missing again");
    assert_eq!(transfer.ack(6, MS * 52), Step::Wait, "but only once for a sending");
    assert_eq!(transfer.ack(10, MS * 60), run(11, 4));
}

#[test]
fn silence_is_met_with_patience_and_an_end() {
    let (mut transfer, _) = begin(asked(Some(512), Some(8)), 512 * 100);
    transfer.ack(0, MS);
    let mut sendings = Vec::new();
    let mut now;
    loop {
        now = transfer.deadline();
        match transfer.expired(now) {
            Step::Send(run) => sendings.push((run.count, run.fragment)),
            Step::GiveUp => break,
            step @ (Step::Wait | Step::Greet | Step::Done) => panic!("{step:?}"),
        }
    }
    assert!((30..60).contains(&now.as_secs()), "{now:?}");
    assert_eq!(sendings[..3], [(8, false), (8, false), (4, true)]);
    assert!(sendings.len() < 12, "{}", sendings.len());
}

#[test]
fn who_never_answers_gets_three_packets() {
    for options in [Options::default(), asked(Some(1468), Some(64))] {
        let (mut transfer, _) = begin(options, 1 << 20);
        let mut packets = 1;
        for second in 1..100 {
            let now = Duration::from_secs(second);
            for step in [transfer.asked_again(now), Some(transfer.expired(now))] {
                match step {
                    Some(Step::Greet) => packets += 1,
                    Some(Step::Send(run)) => packets += run.count,
                    Some(Step::Wait | Step::Done | Step::GiveUp) | None => {}
                }
            }
        }
        assert_eq!(packets, u64::from(UNPROVEN_SENDINGS_MAX), "{options:?}");
    }
}

#[test]
fn numbers_wrap_to_zero() {
    let (mut transfer, _) = begin(asked(Some(8), Some(1)), 8 * 70_000);
    transfer.ack(0, MS);
    for block in 1..=70_000u64 {
        assert_eq!(transfer.ack(low(block), MS), run(block + 1, 1));
    }
    assert_eq!(transfer.ack(low(70_001), MS), Step::Done);
}

/// A client by RFC 7440, and a link that does to each packet what the next byte of its fate says.
struct World<'a> {
    fate: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    /// When, which, to whom: packets on their way.  Smallest time first.
    flying: BinaryHeap<std::cmp::Reverse<(Duration, u64, Flying)>>,
    count: u64,
    file: Vec<u8>,
    got: Vec<u8>,
    have: u64,
    since_ack: u64,
    gap_told: bool,
    heard_at: Duration,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Flying {
    Oack,
    Data(u64),
    Ack(u64),
}

impl World<'_> {
    fn send(&mut self, packet: impl Fn() -> Flying, now: Duration) {
        // 1 in 8 is lost, 1 in 8 comes twice, each takes 1 to 4 ms: overtaking is common.
        let fate = *self.fate.next().unwrap();
        let copies = match fate & 7 {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        for copy in 0..copies {
            self.count += 1;
            let arrives = now + MS * (1 + u32::from(fate >> 6) + copy);
            self.flying.push(std::cmp::Reverse((arrives, self.count, packet())));
        }
    }

    fn data(&mut self, block: u64, size: usize, window: u64, now: Duration) {
        self.heard_at = now;
        if block != self.have + 1 {
            if block > self.have && !std::mem::replace(&mut self.gap_told, true) {
                self.since_ack = 0;
                let have = self.have;
                self.send(|| Flying::Ack(have), now);
            }
            return;
        }
        let start = usize::try_from(block - 1).unwrap() * size;
        let data = &self.file[start..(start + size).min(self.file.len())];
        let last = data.len() < size;
        self.got.extend_from_slice(data);
        self.have = block;
        self.gap_told = false;
        self.since_ack += 1;
        if last || self.since_ack == window {
            self.since_ack = 0;
            self.send(|| Flying::Ack(block), now);
        }
    }

    fn follow(&mut self, step: Step, now: Duration) -> Option<bool> {
        match step {
            Step::Wait => {}
            Step::Greet => self.send(|| Flying::Oack, now),
            Step::Send(run) => {
                for block in run.first..run.first + run.count {
                    self.send(|| Flying::Data(block), now);
                }
            }
            Step::Done => return Some(true),
            Step::GiveUp => return Some(false),
        }
        None
    }
}

/// Runs until the server ends; `Ok` if by [`Step::Done`].
fn cross(length: usize, block: u16, window: u16, fate: &[u8]) -> (bool, Vec<u8>, Vec<u8>, u64) {
    let file: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let (mut transfer, first) = begin(asked(Some(block), Some(window)), length as u64);
    let mut world = World {
        fate: fate.iter().cycle(),
        flying: BinaryHeap::new(),
        count: 0,
        file: file.clone(),
        got: Vec::new(),
        have: 0,
        since_ack: 0,
        gap_told: false,
        heard_at: Duration::ZERO,
    };
    let mut now = Duration::ZERO;
    let mut end = world.follow(first, now);
    for _ in 0..200_000 {
        if let Some(done) = end {
            return (done, file, world.got, transfer.resent());
        }
        let silent = world.heard_at + MS * 1000;
        let next = world.flying.peek().map(|packet| packet.0.0);
        now = [next, Some(silent), Some(transfer.deadline())].into_iter().flatten().min().unwrap().max(now);
        if next == Some(now) {
            let packet = world.flying.pop().unwrap().0.2;
            match packet {
                Flying::Oack => {
                    world.heard_at = now;
                    world.send(|| Flying::Ack(0), now);
                }
                Flying::Data(block) => world.data(block, block_size(&transfer), window.into(), now),
                Flying::Ack(block) => {
                    let step = transfer.ack(low(block), now);
                    end = world.follow(step, now);
                }
            }
        } else if silent <= now {
            // The client's own timer says again what it has.
            world.heard_at = now;
            world.since_ack = 0;
            let have = world.have;
            if have > 0 {
                world.send(|| Flying::Ack(have), now);
            } else if let Some(step) = transfer.asked_again(now) {
                end = world.follow(step, now);
            }
        } else {
            let step = transfer.expired(now);
            end = world.follow(step, now);
        }
    }
    panic!("no end: {transfer:?}");
}

fn block_size(transfer: &Transfer) -> usize {
    transfer.terms().block_bytes.into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Whatever the link does, the transfer ends, and nothing but the file arrives.
    #[test]
    fn lossy_links(
        length in 0usize..6000, block in 8u16..600, window in 1u16..40,
        fate in proptest::collection::vec(any::<u8>(), 1..400),
    ) {
        let (done, file, got, _) = cross(length, block, window, &fate);
        if done {
            prop_assert_eq!(got, file);
        } else {
            prop_assert!(file.starts_with(&got));
        }
    }

    /// Any packets at any time: no panic, no block outside the file, no more than a window for an ACK.
    #[test]
    fn hostile_acks(
        length in 0u64..100_000, window in 1u16..100,
        acks in proptest::collection::vec((any::<u16>(), 0u64..500, any::<bool>()), 0..300),
    ) {
        let (mut transfer, _) = begin(asked(Some(512), Some(window)), length);
        let mut now = Duration::ZERO;
        for (ack, wait, timer) in acks {
            now += MS * u32::try_from(wait).unwrap();
            let step = if timer { transfer.expired(now) } else { transfer.ack(ack % 300, now) };
            match step {
                Step::Send(run) => {
                    prop_assert!(run.first >= 1 && run.count >= 1 && run.count <= window.into());
                    prop_assert!(run.first + run.count - 1 <= transfer.blocks());
                }
                Step::Done | Step::GiveUp => break,
                Step::Wait | Step::Greet => {}
            }
        }
    }
}

#[test]
fn a_quiet_link_repeats_nothing() {
    for window in [1, 2, 7, 64] {
        let (done, file, got, resent) = cross(300_000, 512, window, &[2]);
        assert!(done && got == file && resent == 0, "window {window}: {resent} again");
    }
}

#[test]
fn a_link_that_loses_one_in_fifty_costs_little() {
    let mut fate = [2u8; 50];
    fate[31] = 0;
    let (done, file, got, resent) = cross(300_000, 512, 16, &fate);
    assert!(done && got == file);
    assert!(resent < 400, "{resent} of 586 blocks again");
}

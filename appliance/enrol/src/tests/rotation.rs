//! A rotation that is killed at every step, with controllers that hear, do not hear, and do not answer.

use appliance_model::Now;

use crate::{Act, Happened, LogIn, Rotation, Told, Which};

/// Failed logins within this time lock the account, in this model as in the strictest controllers we know.
const WINDOW_MS: u64 = 300_000;
const FAILURES_MAX: usize = 3;

/// How a controller treats the change: what it does, and what it says.
#[derive(Debug, Clone, Copy)]
struct Nature {
    does: bool,
    says: Told,
}

const NATURES: [Nature; 5] = [
    Nature { does: true, says: Told::Accepted },
    Nature { does: true, says: Told::NoAnswer },
    Nature { does: false, says: Told::NoAnswer },
    Nature { does: false, says: Told::Refused },
    // It lies, but does nothing.
    Nature { does: false, says: Told::Accepted },
];

struct World {
    /// On disk.
    state: Rotation,
    current: &'static str,
    candidate: Option<&'static str>,
    /// In the controller.
    holds: &'static str,
    failures: Vec<u64>,
    now: u64,
    nature: Nature,
    /// Logins that get no answer before the controller is well again.
    silent: u32,
    /// Steps until we are killed, one after the other.
    kills: Vec<u32>,
}

impl World {
    /// Whether we are killed here.
    fn killed(&mut self) -> bool {
        match self.kills.first_mut() {
            None => false,
            Some(0) => {
                self.kills.remove(0);
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    fn log_in(&mut self, which: Which) -> LogIn {
        if self.silent > 0 {
            self.silent -= 1;
            return LogIn::NoAnswer;
        }
        let shown = match which {
            Which::Current => self.current,
            Which::Candidate => self.candidate.unwrap(),
        };
        if shown == self.holds {
            return LogIn::Accepted;
        }
        self.failures.push(self.now);
        let recent = self.failures.iter().filter(|at| self.now - **at < WINDOW_MS).count();
        assert!(recent < FAILURES_MAX, "the account would be locked");
        LogIn::Refused
    }

    /// One life of the process; `None` when it was killed.
    fn live(&mut self, mut happened: Happened) -> Option<Act> {
        loop {
            if self.killed() {
                return None;
            }
            let turn = self.state.turn(happened, Now(self.now));
            if happened == Happened::Begin && turn.to == Rotation::Changing {
                self.candidate = Some("new");
            }
            self.state = turn.to;
            if let Some(keep) = turn.keep {
                if keep == Which::Candidate {
                    self.current = self.candidate.unwrap();
                }
                self.candidate = None;
            }
            assert!(
                self.current == self.holds || self.candidate == Some(self.holds),
                "the password is in the store"
            );
            if self.killed() {
                return None;
            }
            happened = match turn.act {
                Act::Change => {
                    if self.nature.does {
                        self.holds = "new";
                    }
                    Happened::Told(self.nature.says)
                }
                Act::LogIn(which) => Happened::LogIn(self.log_in(which)),
                Act::Wait(until) => {
                    self.now = self.now.max(until.0);
                    Happened::Woke
                }
                Act::Rest | Act::Ask(_) => return Some(turn.act),
            };
        }
    }
}

#[test]
fn killed_twice_at_any_step_the_store_knows_the_password_in_the_end() {
    for nature in NATURES {
        for silent in [0, 1, 9] {
            for (first, second) in (0..14).flat_map(|first| (0..14).map(move |second| (first, second))) {
                let mut world = World {
                    state: Rotation::Settled,
                    current: "old",
                    candidate: None,
                    holds: "old",
                    failures: Vec::new(),
                    now: 1_700_000_000_000,
                    nature,
                    silent,
                    kills: vec![first, second],
                };
                let mut happened = Happened::Begin;
                let mut lives = 0;
                let end = loop {
                    lives += 1;
                    assert!(lives < 10);
                    if let Some(end) = world.live(happened) {
                        break end;
                    }
                    happened = Happened::Woke;
                };
                assert_eq!(
                    (end, &world.state),
                    (Act::Rest, &Rotation::Settled),
                    "{nature:?} {first} {second}"
                );
                assert_eq!((world.current, world.candidate), (world.holds, None));
            }
        }
    }
}

#[test]
fn a_controller_that_refuses_both_is_asked_ever_more_seldom_and_then_left_alone() {
    let (mut state, mut now, mut tries) = (Rotation::Changing, Now(0), Vec::new());
    let mut happened = Happened::Woke;
    let why = loop {
        let turn = state.turn(happened, now);
        state = turn.to;
        happened = match turn.act {
            Act::LogIn(which) => {
                tries.push((now.0 / 1000, which));
                Happened::LogIn(LogIn::Refused)
            }
            Act::Wait(until) => {
                now = until;
                Happened::Woke
            }
            Act::Ask(why) => break why,
            Act::Rest | Act::Change => panic!("{turn:?}", turn = turn.act),
        };
    };
    let both = |at| [(at, Which::Candidate), (at, Which::Current)];
    assert_eq!(tries, [both(0), both(600), both(1800)].concat());
    assert!(why.contains("import it"), "{why}");
    assert_eq!(state.turn(Happened::Woke, Now(u64::MAX)).act, Act::Ask(why), "it stays so");
}

#[test]
fn one_change_at_a_time() {
    let changing = Rotation::Settled.turn(Happened::Begin, Now(0)).to;
    assert!(matches!(changing.turn(Happened::Begin, Now(0)).act, Act::Ask(_)));
    let kept = changing.turn(Happened::Told(Told::NotSent), Now(0));
    assert_eq!((kept.to, kept.keep, kept.act), (Rotation::Settled, Some(Which::Current), Act::Rest));
}

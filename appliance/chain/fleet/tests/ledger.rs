//! Stories of nodes: what is told, when, and once; and that a reorganisation leaves no trace.

use std::collections::BTreeMap;

use appliance_collateral::{Passport, SlashTerms};
use appliance_model::{Address, Digest, Icnt, NodeId, Seconds};
use chain_fleet::{Alert, Entry, Fact, Kind, Ledger, Level, Mark, Status, Trail};

const DAY: u64 = 86_400;
const START: u64 = 1_800_000_000;
const COMMITMENT: u64 = 36 * 30 * DAY;
const OURS: Address = Address([0xAA; 20]);

fn tokens(tokens: u64) -> Icnt {
    Icnt::tokens(tokens).unwrap_or(Icnt(0))
}

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn entry(n: u8, at_unix: u64, transaction: u8, place: u32, fact: Fact) -> Entry {
    let block = (at_unix - START) / 12;
    Entry { block, at_unix, transaction: Digest([transaction; 32]), place, node: node(n), fact }
}

fn registered(n: u8, operator: Address) -> Fact {
    Fact::Registered {
        operator,
        owner: operator,
        name: format!("rack-1-slot-{n}"),
        region: "eu-west".into(),
        class: "storage".into(),
        capacity: 2,
        committed_until_unix: START + COMMITMENT,
    }
}

fn locked(network: u64) -> Fact {
    Fact::Locked { own: tokens(60), node_part: tokens(60), network_part: tokens(network) }
}

fn case() -> Fact {
    let terms = SlashTerms { restore_window: Seconds(DAY), period: Seconds(DAY), bps: 1_000, bps_max: 5_000 };
    Fact::CaseOpened { terms, base: tokens(60) }
}

/// A node of 60 tokens that needs `network` more of anybody.
fn begun(network: u64) -> (Ledger, Vec<Alert>) {
    let mut ledger = Ledger::default();
    let mut alerts = ledger.take(&entry(1, START, 1, 0, registered(1, OURS)));
    alerts.extend(ledger.take(&entry(1, START, 1, 1, locked(network))));
    (ledger, alerts)
}

fn kinds(alerts: &[Alert]) -> Vec<Kind> {
    alerts.iter().map(|alert| alert.kind).collect()
}

#[test]
fn a_node_that_waits_for_delegators_becomes_active() {
    let (mut ledger, alerts) = begun(40);
    assert_eq!(kinds(&alerts), [Kind::Validated]);
    assert!(alerts[0].text.contains("40 ICNT, by anybody, are missing"), "{}", alerts[0].text);
    let name = |ledger: &Ledger| ledger.nodes()[&node(1)].status(START + 60).name();
    assert_eq!(name(&ledger), "not-covered");
    let alerts = ledger.take(&entry(1, START + 12, 2, 0, Fact::Delegated { amount: tokens(39) }));
    assert!(alerts.is_empty());
    let alerts = ledger.take(&entry(1, START + 24, 3, 0, Fact::Delegated { amount: tokens(1) }));
    assert_eq!(kinds(&alerts), [Kind::Active]);
    assert_eq!(name(&ledger), "active");
    let booked = Fact::Booked {
        booking: 7,
        booker: Address([9; 20]),
        whole: true,
        start_unix: START + 36,
        end_unix: START + 36 + DAY,
        fee: tokens(3),
    };
    assert_eq!(kinds(&ledger.take(&entry(1, START + 36, 4, 0, booked))), [Kind::Booked]);
    assert_eq!(name(&ledger), "booked");
    assert_eq!(ledger.node_of_booking(7), Some(node(1)));
    assert_eq!(ledger.nodes()[&node(1)].status(START + 36 + DAY).name(), "active");
}

#[test]
fn an_anomaly_says_how_long_and_what_it_costs() {
    let (mut ledger, alerts) = begun(0);
    assert_eq!(kinds(&alerts), [Kind::Validated, Kind::Active]);
    let at = START + 100 * DAY;
    let hyper_node = Address([7; 20]);
    assert_eq!(
        kinds(&ledger.take(&entry(1, at, 5, 0, Fact::Reported { hyper_node, kind: 3 }))),
        [Kind::Reported]
    );
    let alerts = ledger.take(&entry(1, at, 5, 1, case()));
    assert_eq!((kinds(&alerts), alerts[0].level), (vec![Kind::Anomaly], Level::Urgent));
    assert_eq!(alerts[0].until_unix, Some(at + DAY));
    for words in ["it costs nothing", "costs 6 ICNT at once", "every 1 day", "at most 30 ICNT of 60 ICNT"] {
        assert!(alerts[0].text.contains(words), "{words}: {}", alerts[0].text);
    }
    let status = |ledger: &Ledger, at| ledger.nodes()[&node(1)].status(at);
    assert_eq!(status(&ledger, at + DAY), Status::Restoring { until_unix: at + DAY });
    // The clock alone brings two more, each once however often it is asked.
    assert!(ledger.pass_time(at + DAY / 2).is_empty());
    assert_eq!(kinds(&ledger.pass_time(at + DAY * 3 / 4)), [Kind::AnomalyLate]);
    assert_eq!(ledger.pass_time(at + DAY * 3 / 4), ledger.pass_time(at + DAY - 1));
    assert_eq!(kinds(&ledger.pass_time(at + DAY + 1)), [Kind::AnomalyOverdue]);
    assert_eq!(ledger.pass_time(at + DAY + 1)[0].id, ledger.pass_time(at + 9 * DAY)[0].id);
    let lost = Status::Slashing { lost: tokens(12), next_unix: Some(at + 3 * DAY) };
    assert_eq!(status(&ledger, at + 2 * DAY), lost);

    let slash = Fact::Slashed { own: tokens(12), delegated: Icnt(0) };
    let alerts = ledger.take(&entry(1, at + 2 * DAY, 6, 0, slash));
    assert_eq!(kinds(&alerts), [Kind::Slashed, Kind::NotCovered]);
    assert!(
        alerts[0].text.contains("slashed by 12 ICNT, the owner's own. 48 ICNT are left"),
        "{}",
        alerts[0].text
    );
    assert!(alerts[1].text.contains("12 ICNT, by its owner, are missing"), "{}", alerts[1].text);
    let closed = Fact::CaseClosed { slashed_bps: 2_000, restored: true };
    let alerts = ledger.take(&entry(1, at + 2 * DAY, 6, 1, closed));
    assert_eq!(kinds(&alerts), [Kind::Restored]);
    assert!(alerts[0].text.contains("it cost 20.00 % of 60 ICNT"), "{}", alerts[0].text);
    assert!(ledger.pass_time(at + 9 * DAY).is_empty());
    let alerts = ledger.take(&entry(1, at + 3 * DAY, 7, 0, Fact::ToppedUp { amount: tokens(12) }));
    assert_eq!(kinds(&alerts), [Kind::Active]);
}

#[test]
fn the_end_of_a_commitment_is_told_four_times() {
    let (ledger, _) = begun(0);
    let end = START + COMMITMENT;
    let mut told = BTreeMap::new();
    for at in (START..end + 10 * DAY).step_by(3_600) {
        for alert in ledger.pass_time(at) {
            told.entry(alert.id.clone()).or_insert((at, alert));
        }
    }
    let mut moments: Vec<u64> =
        told.values().map(|(at, _)| (end.saturating_sub(*at)).div_ceil(DAY)).collect();
    moments.sort_unstable();
    assert_eq!(moments, [0, 7, 30, 90]);
    // Who begins to watch late is told what matters, not what has passed.
    assert_eq!(ledger.pass_time(end - 5 * DAY).len(), 1);
    assert!(ledger.pass_time(end - 5 * DAY)[0].text.contains("in 7 days"));
    assert!(ledger.pass_time(end + DAY)[0].text.contains("can be retired"));
}

#[test]
fn a_passport_is_told_before_it_fades() {
    let mut ledger = Ledger::default();
    let passport = Passport {
        value: tokens(50),
        decay: Seconds(48 * 30 * DAY),
        since: Seconds(START),
        aged: Seconds(0),
    };
    ledger.take(&entry(1, START, 1, 0, registered(1, OURS)));
    ledger.take(&entry(1, START, 1, 1, Fact::PassportStaked { passport }));
    let own = Fact::Locked { own: tokens(30), node_part: tokens(60), network_part: Icnt(0) };
    assert_eq!(kinds(&ledger.take(&entry(1, START, 1, 2, own))), [Kind::Validated, Kind::Active]);
    // 30 of 50 are needed: it is worth that for two fifths of 48 months.
    let last = START + 48 * 30 * DAY * 2 / 5;
    let state = &ledger.nodes()[&node(1)];
    assert!(state.is_whole(last) && !state.is_whole(last + 1));
    assert!(ledger.pass_time(last - 31 * DAY).is_empty());
    for (at, words) in [(last - 30 * DAY + 1, "fades: from"), (last + 1, "cannot be booked")] {
        let alerts = ledger.pass_time(at);
        assert_eq!(kinds(&alerts), [Kind::PassportFades], "at {at}");
        assert!(alerts[0].text.contains(words), "{}", alerts[0].text);
        assert_eq!(alerts[0].until_unix, Some(last + 1));
    }
    // A slash of a tenth takes a tenth of the time that it has left, and what was to come comes sooner.
    let at = START + 10 * DAY;
    ledger.take(&entry(1, at, 2, 0, case()));
    ledger.take(&entry(1, at + DAY + 60, 3, 0, Fact::Slashed { own: tokens(3), delegated: Icnt(0) }));
    let found = ledger.nodes()[&node(1)].standing.passport.unwrap();
    assert_eq!(found.aged, Seconds((48 * 30 * DAY - 11 * DAY - 60).div_ceil(10)));
    assert!(!ledger.nodes()[&node(1)].is_whole(last - 140 * DAY));
}

#[test]
fn a_retired_node_says_where_its_collateral_is() {
    let (mut ledger, _) = begun(0);
    let at = START + COMMITMENT;
    let state = &ledger.nodes()[&node(1)];
    let early = chain_fleet::leave::obstacles(state, at - DAY);
    assert_eq!(early.len(), 1);
    assert!(early[0].words().contains("for 1 day more"), "{}", early[0].words());
    assert!(chain_fleet::leave::obstacles(state, at).is_empty());
    let mut alerts = ledger.take(&entry(1, at, 8, 0, Fact::Retired { by: OURS }));
    alerts.extend(ledger.take(&entry(1, at, 8, 1, Fact::Released { amount: tokens(60) })));
    assert_eq!(kinds(&alerts), [Kind::Retired, Kind::Released]);
    assert_eq!(ledger.nodes()[&node(1)].status(at), Status::Retired);
    assert!(ledger.pass_time(at + DAY).is_empty());
    let over = chain_fleet::leave::obstacles(&ledger.nodes()[&node(1)], at);
    assert!(over[0].words().contains("60 ICNT went back"), "{}", over[0].words());
}

/// A chain that reorganises: blocks with hashes, each with entries.
struct Fork {
    blocks: Vec<([u8; 32], Vec<Entry>)>,
}

/// A small generator of its own: seeds name runs.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

impl Fork {
    /// Adds blocks on top, with transactions out of `pool` where there are some.
    fn grow(&mut self, dice: &mut Dice, pool: &mut Vec<u8>) {
        for _ in 0..=dice.roll(4) {
            let number = self.blocks.len() as u64;
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_le_bytes());
            hash[8..16].copy_from_slice(&dice.roll(u64::MAX >> 33).to_le_bytes());
            let mut entries = Vec::new();
            while dice.roll(3) == 0 && !pool.is_empty() {
                let n = pool.remove(0);
                let at = START + number * 12;
                entries.push(entry(n, at, n, 0, registered(n, OURS)));
                entries.push(entry(n, at, n, 1, locked(0)));
            }
            self.blocks.push((hash, entries));
        }
    }

    /// Takes blocks away; their transactions are pending again, before others, in some order.
    fn shrink(&mut self, dice: &mut Dice, pool: &mut Vec<u8>) {
        for _ in 0..dice.roll(8).min(self.blocks.len() as u64 - 1) {
            let (_, entries) = self.blocks.pop().unwrap_or_default();
            pool.splice(0..0, entries.iter().step_by(2).map(|entry| entry.transaction.0[0]));
            let turn = usize::try_from(dice.roll(2)).unwrap_or(0);
            if pool.len() > turn {
                pool.rotate_left(turn);
            }
        }
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        for entry in self.blocks.iter().flat_map(|(_, entries)| entries) {
            ledger.take(entry);
        }
        ledger
    }
}

/// What an adapter and a store do, without either.
#[derive(Default)]
struct Watcher {
    trail: Trail,
    kept: Vec<Entry>,
    ledger: Ledger,
    told: BTreeMap<String, u32>,
}

impl Watcher {
    fn look(&mut self, fork: &Fork) {
        let hash = |number: u64| fork.blocks.get(usize::try_from(number).ok()?).map(|(hash, _)| *hash);
        let mut back = false;
        while !self.trail.stands(self.trail.newest().and_then(|mark| hash(mark.number))) {
            back = true;
        }
        if back {
            let last = self.trail.newest().map(|mark| mark.number);
            self.kept.retain(|entry| last.is_some_and(|last| entry.block <= last));
            self.ledger = Ledger::default();
            self.kept.iter().for_each(|entry| drop(self.ledger.take(entry)));
        }
        while let Some(span) = self.trail.next(0, fork.blocks.len() as u64 - 1) {
            for (number, (_, entries)) in fork.blocks.iter().enumerate() {
                for entry in entries.iter().filter(|_| span.contains(&(number as u64))) {
                    for alert in self.ledger.take(entry) {
                        *self.told.entry(alert.id).or_default() += 1;
                    }
                    self.kept.push(entry.clone());
                }
            }
            let number = *span.end();
            self.trail.reach(Mark { number, hash: hash(number).unwrap_or_default() });
        }
    }
}

#[test]
fn reorganisations_leave_no_trace_seeds_0_to_299() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut fork = Fork { blocks: vec![([1; 32], Vec::new())] };
        let (mut pool, mut watcher) = ((1..=20).collect(), Watcher::default());
        for _ in 0..60 {
            fork.grow(&mut dice, &mut pool);
            if dice.roll(3) == 0 {
                fork.shrink(&mut dice, &mut pool);
            }
            if dice.roll(2) == 0 {
                watcher.look(&fork);
                assert_eq!(watcher.ledger, fork.ledger(), "seed {seed}");
            }
        }
        while !pool.is_empty() {
            fork.grow(&mut dice, &mut pool);
        }
        watcher.look(&fork);
        assert_eq!(watcher.ledger, fork.ledger(), "seed {seed}");
        // However often a registration moved to another block, who stores ids tells it once: two for each node.
        assert_eq!(watcher.told.len(), 40, "seed {seed}");
    }
}

#[test]
fn entries_keep_their_form() {
    // If this fails, change your code, not this test: stores have entries in this form.
    let text = r#"{"block":0,"at_unix":1800000000,"transaction":"0505050505050505050505050505050505050505050505050505050505050505","place":1,"node":"0101010101010101010101010101010101010101010101010101010101010101","fact":{"fact":"case-opened","terms":{"restore_window":86400,"period":86400,"bps":1000,"bps_max":5000},"base":"60000000000000000000"}}"#;
    let opened = entry(1, START, 5, 1, case());
    assert_eq!(serde_json::to_string(&opened).unwrap(), text);
    assert_eq!(serde_json::from_str::<Entry>(text).unwrap(), opened);
}

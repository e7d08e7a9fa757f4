//! Runs that are killed at every step, with controllers that hear, do not hear, tell tasks or none, and fall silent: no
//! image is flashed twice, no flash is interrupted, and the run ends in the truth.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::{Now, Serial, Ticket};

use super::{digest, stage};
use crate::{
    Change, FirmwareChange, ImageWay, Remedy, RemedyAct, RemedyHappened, RemedyPlan, RemedyStep, Reply,
    Restart, Setting, SettingValue, Sight, Stage, TaskEnd, barred,
};

const FLASH_MS: u64 = 120_000;
const FETCH_MS: u64 = 2_000;

/// How a controller treats an order: whether it hears, whether we hear it, and what it shows of it.
#[derive(Debug, Clone, Copy)]
struct Nature {
    hears: bool,
    answers: bool,
    tells_task: bool,
    lists_tasks: bool,
    /// Looks without an answer, at the start and after each order.
    silent: u32,
}

fn natures() -> Vec<Nature> {
    let mut all = Vec::new();
    for (hears, answers) in [(true, true), (true, false), (false, false)] {
        for (tells_task, lists_tasks) in [(true, true), (false, true), (false, false)] {
            for silent in [0, 7] {
                all.push(Nature { hears, answers, tells_task, lists_tasks, silent });
            }
        }
    }
    all
}

#[derive(Debug)]
struct Flash {
    key: Option<Ticket>,
    starts: u64,
    task: String,
    started: bool,
    dead: bool,
}

struct World {
    plan: RemedyPlan,
    /// On disk.
    state: Remedy,
    fetched: Option<Ticket>,
    /// In the controller.
    setting: bool,
    pending: bool,
    new: bool,
    staged: bool,
    flashes: Vec<Flash>,
    flashed: u32,
    restarts: u32,
    silent: u32,
    now: u64,
    keys: u64,
    nature: Nature,
    orders: u32,
    ordered: BTreeSet<usize>,
    kills: Vec<u32>,
}

fn settings_step() -> RemedyStep {
    let text = |text: &str| SettingValue::Text(text.into());
    let setting = Setting { from: text("Disabled"), to: text("Enabled") };
    RemedyStep {
        what: "set the BIOS settings and restart".into(),
        because: vec![],
        change: Change::Settings { settings: BTreeMap::from([("SVMMode".into(), setting)]) },
        restart: Restart::Host,
    }
}

fn firmware_step(way: ImageWay, restart: Restart) -> RemedyStep {
    let change = FirmwareChange {
        component: "BMC".into(),
        target: "/redfish/v1/UpdateService/FirmwareInventory/BMC".into(),
        from: "1.0".into(),
        to: "2.0".into(),
        downgrade: false,
        file: "bmc.bin".into(),
        sha256: digest(1),
        way,
        catalogue: digest(2),
    };
    let what = "update the firmware of BMC".into();
    RemedyStep { what, because: vec![], change: Change::Firmware(change), restart }
}

fn plan(steps: Vec<RemedyStep>) -> RemedyPlan {
    RemedyPlan { serial: Serial::parse("S1").unwrap(), steps }
}

impl World {
    fn new(steps: Vec<RemedyStep>, nature: Nature, kills: &[u32]) -> Self {
        Self {
            plan: plan(steps),
            state: Remedy::start(),
            fetched: None,
            setting: false,
            pending: false,
            new: false,
            staged: false,
            flashes: Vec::new(),
            flashed: 0,
            restarts: 0,
            silent: nature.silent,
            now: 1_700_000_000_000,
            keys: 0,
            nature,
            orders: 0,
            ordered: BTreeSet::new(),
            kills: kills.to_vec(),
        }
    }

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

    fn step(&self) -> &RemedyStep {
        &self.plan.steps[self.state.step().unwrap()]
    }

    /// What the controller does by itself until now.
    fn live(&mut self) {
        let open = self.state.key();
        let staged = self
            .plan
            .steps
            .iter()
            .any(|step| matches!(step.change, Change::Firmware(_)) && step.restart == Restart::Host);
        for flash in &mut self.flashes {
            if !flash.started && !flash.dead && self.now >= flash.starts + FETCH_MS {
                // An old path leads nowhere.
                flash.dead = flash.key.is_some() && flash.key != open;
                flash.started = !flash.dead;
                if flash.started {
                    self.flashed += 1;
                    self.fetched = flash.key.or(self.fetched);
                }
            }
            if flash.started && self.now >= flash.starts + FLASH_MS {
                if staged { self.staged |= !self.new } else { self.new = true }
            }
        }
    }

    fn flashing(&self) -> bool {
        self.flashes.iter().any(|flash| flash.started && self.now < flash.starts + FLASH_MS)
    }

    fn quiet(&mut self) -> bool {
        let quiet = self.silent > 0;
        self.silent = self.silent.saturating_sub(1);
        quiet
    }

    fn look(&mut self) -> RemedyHappened {
        if self.quiet() {
            return RemedyHappened::NoAnswer("no answer".into());
        }
        let listed = self.flashes.iter().filter(|_| self.nature.lists_tasks);
        let tasks: BTreeSet<String> = listed.map(|flash| flash.task.clone()).collect();
        let settings = matches!(self.step().change, Change::Settings { .. });
        let sight = Sight {
            there: if settings { self.setting } else { self.new },
            waiting: settings && self.pending,
            tasks,
            fetched: self.fetched.is_some() && self.fetched == self.state.key(),
            shows: "1.0".into(),
            // Half of the controllers tell.
            reset: self.nature.lists_tasks.then(|| self.restarts.to_string()),
        };
        self.keys += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.keys.to_be_bytes());
        RemedyHappened::Looked(sight, Ticket(key))
    }

    fn send(&mut self, key: Ticket) -> Reply {
        self.orders += 1;
        // It hears a step's second order even if the first was lost.
        let second = !self.ordered.insert(self.state.step().unwrap());
        let hears = self.nature.hears || second;
        let mut task = None;
        if hears {
            match &self.step().change {
                Change::Settings { .. } => self.pending = true,
                Change::Firmware(firmware) => {
                    let name = format!("/redfish/v1/TaskService/Tasks/{}", self.flashes.len());
                    let key = (firmware.way == ImageWay::Fetch).then_some(key);
                    let flash =
                        Flash { key, starts: self.now, task: name.clone(), started: false, dead: false };
                    self.flashes.push(flash);
                    task = Some(name).filter(|_| self.nature.tells_task);
                }
            }
        }
        self.silent = self.nature.silent;
        if hears && (self.nature.answers || second) { Reply::Accepted(task) } else { Reply::NoAnswer }
    }

    fn follow(&mut self, task: &str) -> RemedyHappened {
        if self.quiet() {
            return RemedyHappened::NoAnswer("no answer".into());
        }
        let flash = self.flashes.iter().find(|flash| flash.task == task).unwrap();
        RemedyHappened::Task(if flash.dead {
            TaskEnd::Failed("the image is not there".into())
        } else if self.now < flash.starts + FLASH_MS {
            TaskEnd::Running
        } else if self.staged {
            TaskEnd::AwaitsRestart
        } else {
            TaskEnd::Done
        })
    }

    fn restart(&mut self) -> RemedyHappened {
        assert!(!self.flashing(), "a restart in the middle of a flash");
        self.restarts += 1;
        self.setting |= std::mem::take(&mut self.pending);
        self.new |= std::mem::take(&mut self.staged);
        RemedyHappened::Restarted(Reply::Accepted(None))
    }

    /// One life of the process; `false` when it was killed.
    fn lives(&mut self) -> bool {
        let mut happened = RemedyHappened::Woke;
        loop {
            self.now += 1000;
            self.live();
            if self.killed() {
                return false;
            }
            let turn = self.state.turn(&self.plan, happened, Now(self.now));
            self.state = turn.to;
            if self.killed() {
                return false;
            }
            happened = match turn.act {
                RemedyAct::Look => self.look(),
                RemedyAct::Send(key) => RemedyHappened::Told(self.send(key)),
                RemedyAct::Follow(task) => self.follow(&task),
                RemedyAct::Restart(_) => self.restart(),
                RemedyAct::Close => RemedyHappened::Closed,
                RemedyAct::Wait(until) => {
                    self.now = self.now.max(until.0);
                    RemedyHappened::Woke
                }
                RemedyAct::Rest => return true,
            };
        }
    }

    fn runs(&mut self) {
        let mut lives = 0;
        while !self.lives() {
            lives += 1;
            assert!(lives < 10, "{:?}", self.state);
        }
    }
}

fn each_kill(steps: &[RemedyStep], check: impl Fn(&World)) {
    for nature in natures() {
        for (first, second) in (0..30).flat_map(|first| (0..12).map(move |second| (first, second))) {
            let mut world = World::new(steps.to_vec(), nature, &[first, second]);
            world.runs();
            check(&world);
        }
    }
}

#[test]
fn settings_are_in_force_wherever_it_was_killed() {
    each_kill(&[settings_step()], |world| {
        assert_eq!((&world.state, world.setting), (&Remedy::Done, true), "{:?}", world.nature);
        let restarts_max = if world.nature.lists_tasks { 1 } else { 2 };
        assert!(world.restarts <= restarts_max, "{}: {:?}", world.restarts, world.nature);
        assert!(world.orders <= 3, "{}", world.orders);
    });
}

#[test]
fn a_fetched_image_is_flashed_once_wherever_it_was_killed() {
    for restart in [Restart::No, Restart::Host] {
        each_kill(&[settings_step(), firmware_step(ImageWay::Fetch, restart)], |world| {
            assert!(world.flashed <= 1, "flashed {} times: {:?}", world.flashed, world.nature);
            assert_eq!((&world.state, world.new), (&Remedy::Done, true), "{restart:?} {:?}", world.nature);
        });
    }
}

#[test]
fn an_image_pushed_into_silence_is_not_pushed_again() {
    each_kill(&[firmware_step(ImageWay::Push, Restart::No)], |world| {
        assert!(world.orders <= 1 && world.flashed <= 1, "{} {}", world.orders, world.flashed);
        // The order was lost, or the controller shows nothing of it: a person looks.
        if let Remedy::Failed { why, .. } = &world.state {
            assert!(why.contains("nothing was sent a second time"), "{why}");
        } else {
            assert_eq!((&world.state, world.new), (&Remedy::Done, true));
        }
    });
    // Where nobody is killed and the controller answers, it is done.
    let nature = Nature { hears: true, answers: true, tells_task: true, lists_tasks: true, silent: 0 };
    let mut world = World::new(vec![firmware_step(ImageWay::Push, Restart::No)], nature, &[]);
    world.runs();
    assert_eq!((world.state, world.orders), (Remedy::Done, 1));
}

#[test]
fn what_is_there_already_is_not_ordered() {
    let nature = Nature { hears: true, answers: true, tells_task: true, lists_tasks: true, silent: 0 };
    let mut world = World::new(vec![settings_step()], nature, &[]);
    world.setting = true;
    world.runs();
    assert_eq!((&world.state, world.orders, world.restarts), (&Remedy::Done, 0, 0));
    // Somebody set it before, and nobody restarted the machine.
    let mut world = World::new(vec![settings_step()], nature, &[]);
    world.pending = true;
    world.runs();
    assert_eq!((&world.state, world.orders, world.restarts), (&Remedy::Done, 0, 1));
}

#[test]
fn refusals_failures_and_bars_end_it_in_words() {
    let plan = plan(vec![firmware_step(ImageWay::Fetch, Restart::Host)]);
    let key = Ticket([1; 16]);
    let nothing = Sight {
        there: false,
        waiting: false,
        tasks: BTreeSet::new(),
        fetched: false,
        shows: "1.0".into(),
        reset: None,
    };
    let sent = Remedy::start().turn(&plan, RemedyHappened::Looked(nothing, key), Now(1)).to;
    assert_eq!(sent.key(), Some(key));
    let accepted = sent.turn(&plan, RemedyHappened::Told(Reply::Accepted(Some("/T/1".into()))), Now(2)).to;
    let proving = accepted.turn(&plan, RemedyHappened::Task(TaskEnd::AwaitsRestart), Now(3)).to;
    let rows = [
        (Remedy::start(), RemedyHappened::Barred("it is booked".into()), "it is booked"),
        (sent.clone(), RemedyHappened::Barred("it is booked".into()), "it is booked"),
        (sent.clone(), RemedyHappened::Told(Reply::Refused("no licence".into())), "no licence"),
        (accepted, RemedyHappened::Task(TaskEnd::Failed("another board".into())), "another board"),
        (proving, RemedyHappened::Barred("it is booked".into()), "it is booked"),
    ];
    for (state, happened, words) in rows {
        let turn = state.turn(&plan, happened, Now(4));
        assert_eq!(turn.act, RemedyAct::Rest);
        assert!(turn.to.ended() && turn.to.words().contains(words), "{:?}", turn.to);
        assert!(turn.line.unwrap().contains("step 1 of 1, update the firmware of BMC: failed"));
        assert_eq!(turn.to.key(), None, "no path stays open");
    }
    // What was certainly not sent is tried again.
    let again = sent.turn(&plan, RemedyHappened::Told(Reply::NotSent("away".into())), Now(4));
    assert!(matches!((again.to, again.act), (Remedy::Next { silent: 2, .. }, RemedyAct::Wait(_))));
}

#[test]
fn a_plan_is_another_when_anything_in_it_is() {
    let one = plan(vec![settings_step(), firmware_step(ImageWay::Fetch, Restart::No)]);
    let mut digests = BTreeSet::from([one.digest()]);
    let mut other = one.clone();
    other.steps.reverse();
    digests.insert(other.digest());
    let mut other = one.clone();
    other.serial = Serial::parse("S2").unwrap();
    digests.insert(other.digest());
    let mut other = one.clone();
    other.steps[0].restart = Restart::PowerCycle;
    digests.insert(other.digest());
    let mut other = one.clone();
    if let Change::Firmware(firmware) = &mut other.steps[1].change {
        firmware.sha256 = digest(9);
    }
    digests.insert(other.digest());
    assert_eq!(digests.len(), 5);
    let again: RemedyPlan = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    assert_eq!(again.digest(), one.digest());
}

#[test]
fn a_scalernode_is_not_touched() {
    let quarantined =
        |was: &str| Stage::Quarantined { was: was.into(), rule: "baseline".into(), why: String::new() };
    for (stage, words) in [
        (stage("registered"), Some("retire it first")),
        (quarantined("registered"), Some("settle that with the registry first")),
        (stage("approving"), Some("would make that evidence untrue")),
        (quarantined("discovering"), None),
        (Stage::Found, None),
        (stage("discovering"), None),
        (stage("retired"), None),
    ] {
        match (barred(&stage), words) {
            (Some(why), Some(words)) => assert!(why.contains(words), "{why}"),
            (None, None) => {}
            other => panic!("{stage:?}: {other:?}"),
        }
    }
}

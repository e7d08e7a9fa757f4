//! A wave's work: each task on a thread of its own, and nobody waits for one that does not come back.
//!
//! A drive that fails can hold a read for ever.  Its thread is left behind then, its task was not done, and the others
//! go on.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use appliance_model::{
    Serial,
    burn_in::staged::{Done, Series, SpanConsent, Task},
    inventory::{Bus, Drive, Inventory},
};
use firmware_checks_burn_in::steady;
use firmware_checks_probe as probe;
use firmware_checks_workloads::{
    Watch,
    device::Commands,
    task::{self, Machine, Ran},
};

use super::now;
use crate::{aid::Errand, erase::Device, talk::Talk};

/// What a task may take beyond its time.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Before it is told to end.
    slack: Duration,
    /// How long it is waited for after that.
    grace: Duration,
}

/// Opening a drive that spins up takes half a minute, locking a terabyte of memory one and a half; the longest time-out of a
/// disk command in the kernel is 30 s.
const PATIENCE: Patience = Patience { slack: Duration::from_secs(120), grace: Duration::from_secs(45) };

/// How often it is looked whether time is over.
const LOOK: Duration = Duration::from_millis(250);

/// What all tasks of a burn-in share.
#[derive(Debug)]
pub(super) struct Crew {
    root: PathBuf,
    cpus: Vec<u32>,
    consents: Vec<SpanConsent>,
    seed: u64,
    patience: Patience,
    errand: Errand,
}

/// A task that came to its end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) task: Task,
    pub(super) seconds: u32,
    pub(super) done: Done,
    pub(super) series: Vec<Series>,
}

impl Crew {
    pub(super) fn new(talk: &Talk, order: u64, inventory: &Inventory, consents: Vec<SpanConsent>) -> Self {
        let nonce = talk.state.boot_nonce().0;
        let seed = nonce.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte));
        let cpus = inventory.threads.iter().map(|thread| thread.cpu).collect();
        let errand = Errand::new(Arc::clone(&talk.client), order);
        Self { root: talk.root.clone(), cpus, consents, seed, patience: PATIENCE, errand }
    }

    fn run(&self, task: &Task, stop: &AtomicBool, permille: &AtomicU16) -> Ran {
        let device = |serial: &Serial| device(&self.root, serial);
        let health =
            |serial: &Serial| probe::live::health(&drive(&self.root, serial)?, &self.root.join("dev"));
        let settled = |rates: &[u64]| steady::steady(rates).attained;
        let machine = Machine {
            root: &self.root,
            cpus: &self.cpus,
            drive: &device,
            health: &health,
            commands: &|serial| open(&self.root, serial),
            consents: &self.consents,
            settled: &settled,
            seed: self.seed,
            aid: Some(&self.errand),
        };
        let note = |now: u16| permille.store(now, Ordering::Relaxed);
        let time = Duration::from_secs(task.seconds.into());
        task::run(&task.work, time, machine, Watch::new(stop, &note))
    }
}

/// The drive that gives this serial now.
fn drive(root: &Path, serial: &Serial) -> Result<Drive, String> {
    let is_it = |drive: &Drive| drive.serial.as_ref() == Some(serial) && drive.bytes > 0;
    let known = probe::drives(root).into_iter().find(|drive| is_it(drive));
    let found = known.or_else(|| {
        // Some tell their serial to a command only, and that takes longer.
        let mut inventory = Inventory { drives: probe::drives(root), ..Inventory::default() };
        probe::live::complete(&mut inventory, &root.join("dev"));
        inventory.drives.into_iter().find(|drive| is_it(drive))
    });
    found.ok_or_else(|| format!("no drive gives the serial {serial} any more"))
}

/// Its block device.
fn device(root: &Path, serial: &Serial) -> task::Found {
    let name = drive(root, serial)?.name.ok_or_else(|| format!("drive {serial} has no block device"))?;
    Ok((root.join("dev").join(name), serial.clone()))
}

/// What takes its commands.
fn open(root: &Path, serial: &Serial) -> Result<(Bus, Box<dyn Commands>), String> {
    let Drive { bus, name, .. } = drive(root, serial)?;
    let name = name.ok_or_else(|| format!("drive {serial} has no block device"))?;
    let raw = probe::live::Raw::open(&root.join("dev").join(name));
    let raw = raw.map_err(|error| format!("drive {serial} could not be opened: {error}"))?;
    Ok((bus, Box::new(Device(raw))))
}

struct Running {
    task: Task,
    begun: Instant,
    stop: Arc<AtomicBool>,
}

/// Runs the tasks of a wave at once.  `note` gives where to write how far a task is, `ended` gets each as it ends.
pub(super) fn wave(
    crew: &Arc<Crew>,
    tasks: &[&Task],
    stage_over: Instant,
    called_off: &AtomicBool,
    note: impl Fn(&str) -> Arc<AtomicU16>,
    mut ended: impl FnMut(Ended),
) {
    let (done, results) = mpsc::channel::<(String, Ran)>();
    let mut running: Vec<Running> = Vec::new();
    for task in tasks {
        let (crew, done, stop) = (Arc::clone(crew), done.clone(), Arc::new(AtomicBool::new(false)));
        let (own, permille, told) = ((*task).clone(), note(&task.id), Arc::clone(&stop));
        let spawned = thread::Builder::new().name("burn-in".into()).spawn(move || {
            let ran = crew.run(&own, &told, &permille);
            // Nobody listens to one that came too late.
            let _ = done.send((own.id, ran));
        });
        match spawned {
            Ok(_) => running.push(Running { task: (*task).clone(), begun: now(), stop }),
            Err(error) => ended(Ended {
                task: (*task).clone(),
                seconds: 0,
                done: Done::Undone { why: format!("no thread could be started: {error}") },
                series: Vec::new(),
            }),
        }
    }
    drop(done);
    while !running.is_empty() {
        match results.recv_timeout(LOOK) {
            Ok((id, ran)) => {
                if let Some(index) = running.iter().position(|running| running.task.id == id) {
                    let Running { task, begun, .. } = running.swap_remove(index);
                    let seconds = seconds(begun);
                    ended(Ended { task, seconds, done: ran.done, series: ran.series });
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                for Running { task, begun, .. } in running.drain(..) {
                    let why = "a defect of the agent ended this task".into();
                    let (seconds, done) = (seconds(begun), Done::Undone { why });
                    ended(Ended { task, seconds, done, series: Vec::new() });
                }
            }
        }
        let (at, off) = (now(), called_off.load(Ordering::Relaxed));
        running.retain(|one| {
            let own = one.begun + Duration::from_secs(one.task.seconds.into()) + crew.patience.slack;
            let end = own.min(stage_over);
            if off || at >= end {
                one.stop.store(true, Ordering::Relaxed);
            }
            let lost = off || at >= end + crew.patience.grace;
            if lost {
                let took = seconds(one.begun);
                let why = format!("did not come back within {took} s, and is left behind");
                let done = Done::Undone { why };
                ended(Ended { task: one.task.clone(), seconds: took, done, series: Vec::new() });
            }
            !lost
        });
    }
}

fn seconds(since: Instant) -> u32 {
    u32::try_from(now().saturating_duration_since(since).as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use appliance_model::burn_in::staged::Work;

    use super::*;
    use crate::client::Client;

    /// A machine with one CPU and a drive that answers nothing: a pipe that nobody writes to.
    fn machine(root: &Path) -> Crew {
        for (file, text) in
            [("size", "16384"), ("nsid", "1"), ("device/model", "Pipe"), ("device/serial", "HANGS")]
        {
            let file = root.join("sys/block/nvme0n1").join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        fs::create_dir_all(root.join("dev")).unwrap();
        nix::unistd::mkfifo(&root.join("dev/nvme0n1"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let ca = rcgen::generate_simple_self_signed(Vec::new()).unwrap().cert.pem();
        let client = Arc::new(Client::new("https://127.0.0.1:1", ca.as_bytes()).unwrap());
        let patience = Patience { slack: Duration::from_secs(3), grace: Duration::from_secs(1) };
        let (root, errand) = (root.to_owned(), Errand::new(client, 1));
        Crew { root, cpus: vec![0], consents: Vec::new(), seed: 1, patience, errand }
    }

    fn results(crew: &Arc<Crew>, stage_seconds: u64, called_off: bool) -> BTreeMap<String, Done> {
        let serial = Serial::parse("HANGS").unwrap();
        let (cpu, drive) = (
            Task { id: "a/cpu-compare".into(), work: Work::CpuCompare, seconds: 1 },
            Task { id: "a/drive-read/HANGS".into(), work: Work::DriveRead { serial }, seconds: 1 },
        );
        let (mut found, off) = (BTreeMap::new(), AtomicBool::new(called_off));
        let over = now() + Duration::from_secs(stage_seconds);
        wave(
            crew,
            &[&cpu, &drive],
            over,
            &off,
            |_| Arc::default(),
            |ended| {
                found.insert(ended.task.id, ended.done);
            },
        );
        found
    }

    #[test]
    fn a_drive_that_hangs_is_left_behind_and_the_others_are_measured() {
        let dir = tempfile::tempdir().unwrap();
        let crew = Arc::new(machine(dir.path()));
        for (stage_seconds, called_off, cpu) in [(60, false, true), (0, false, false), (60, true, false)] {
            let found = results(&crew, stage_seconds, called_off);
            let measured = |task: &str| matches!(found.get(task), Some(Done::Measured { .. }));
            assert_eq!(measured("a/cpu-compare"), cpu, "{found:?}");
            let hung = found.get("a/drive-read/HANGS");
            let left = |why: &str| why.contains("left behind");
            assert!(matches!(hung, Some(Done::Undone { why }) if left(why)), "{found:?}");
        }
    }
}

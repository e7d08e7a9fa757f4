//! How far each device is, for people who watch: a courtesy, and never sent twice.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use appliance_api::agent::{DeviceProgress, Progress};
use appliance_model::burn_in::staged::{Course, Task};
use firmware_checks_burn_in::staged::device;

use super::now;
use crate::{client::CallError, work::Hands};

/// The shortest and longest time between two words.  In between, a burn-in is told in some 600 pictures.
const PAUSE_SECONDS: std::ops::RangeInclusive<u64> = 1..=5;
const PICTURES: u64 = 600;

/// HTTP "gone": the order is not open any more.
const GONE: u16 = 410;

/// What is going on.
#[derive(Debug)]
pub(super) struct Wall {
    /// Seconds of each task, with its device.
    planned: BTreeMap<String, (String, u32)>,
    /// Seconds of all tasks together.
    whole: u64,
    now: Mutex<Now>,
    done: AtomicBool,
}

#[derive(Debug, Default)]
struct Now {
    /// Seconds of all tasks that are over.
    over: u64,
    running: BTreeMap<String, (Instant, Arc<AtomicU16>)>,
}

impl Wall {
    /// `ended` were done before.
    pub(super) fn new(course: &Course, ended: impl Iterator<Item = String>) -> Self {
        let planned: BTreeMap<String, (String, u32)> =
            super::tasks(course).map(|task| (task.id.clone(), (device(&task.work), task.seconds))).collect();
        let whole = planned.values().map(|(_, seconds)| u64::from(*seconds)).sum();
        let over = ended.filter_map(|id| planned.get(&id)).map(|(_, seconds)| u64::from(*seconds)).sum();
        let now = Mutex::new(Now { over, running: BTreeMap::new() });
        Self { planned, whole, now, done: AtomicBool::new(false) }
    }

    pub(super) fn begin(&self, tasks: &[&Task]) {
        let at = now();
        let begun = tasks.iter().map(|task| (task.id.clone(), (at, Arc::default())));
        self.now().running.extend(begun);
    }

    /// Where to write how far a task is.
    pub(super) fn note(&self, id: &str) -> Arc<AtomicU16> {
        self.now().running.get(id).map(|(_, permille)| Arc::clone(permille)).unwrap_or_default()
    }

    pub(super) fn end(&self, id: &str) {
        let seconds = self.planned.get(id).map_or(0, |(_, seconds)| u64::from(*seconds));
        let mut now = self.now();
        if now.running.remove(id).is_some() {
            now.over += seconds;
        }
    }

    pub(super) fn done(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self) -> Duration {
        Duration::from_secs((self.whole / PICTURES).clamp(*PAUSE_SECONDS.start(), *PAUSE_SECONDS.end()))
    }

    fn picture(&self, order: u64) -> Progress {
        let (at, now) = (now(), self.now());
        let mut over = now.over * 1000;
        let devices: Vec<DeviceProgress> = now
            .running
            .iter()
            .filter_map(|(id, (begun, permille))| {
                let (device, seconds) = self.planned.get(id)?;
                let permille = permille.load(Ordering::Relaxed).min(1000);
                over += u64::from(*seconds) * u64::from(permille);
                let past = u32::try_from(at.saturating_duration_since(*begun).as_secs()).unwrap_or(u32::MAX);
                Some(DeviceProgress {
                    task: id.clone(),
                    device: device.clone(),
                    permille,
                    seconds_left: seconds.saturating_sub(past),
                })
            })
            .collect();
        let permille = u16::try_from(over.checked_div(self.whole).unwrap_or(1000)).unwrap_or(1000).min(1000);
        let note = devices.first().map_or_else(String::new, |first| match devices.len() {
            1 => format!("burn-in: {}", first.task),
            more => format!("burn-in: {} and {} more", first.task, more - 1),
        });
        Progress { order, permille, note, devices }
    }
}

impl Hands<'_> {
    /// Tells until all is done, and learns so that nobody wants it any more.
    pub(super) fn tell_until_done(&self, wall: &Wall, called_off: &AtomicBool) {
        let mut told = None;
        while !wall.done.load(Ordering::Relaxed) {
            let picture = wall.picture(self.order);
            if told.as_ref() != Some(&picture) {
                if let Err(CallError::Declined { status: GONE, .. }) =
                    self.talk.client.mention("progress", &picture)
                {
                    called_off.store(true, Ordering::Relaxed);
                }
                told = Some(picture);
            }
            thread::park_timeout(wall.pause());
        }
    }
}

#[cfg(test)]
mod tests {
    use appliance_model::{
        Serial,
        burn_in::staged::{Stage, Work},
    };

    use super::*;

    fn task(id: &str, seconds: u32) -> Task {
        Task { id: id.into(), work: Work::CpuCompare, seconds }
    }

    #[test]
    fn progress_counts_each_task_by_its_time_and_never_goes_back() {
        let (cpu, memory) = (task("cpu/cpu-compare", 10), task("memory/memory-walk", 30));
        let course = Course {
            profile: "demo".into(),
            profile_digest: String::new(),
            serial: Serial::parse("S").unwrap(),
            stages: vec![Stage {
                name: "cpu".into(),
                seconds_max: 60,
                waves: vec![vec![cpu.clone()], vec![memory.clone()]],
            }],
        };
        let wall = Wall::new(&course, std::iter::empty());
        let mut seen = vec![wall.picture(1).permille];
        for task in [&cpu, &memory] {
            wall.begin(&[task]);
            seen.push(wall.picture(1).permille);
            wall.note(&task.id).store(500, Ordering::Relaxed);
            let picture = wall.picture(1);
            assert_eq!((picture.devices[0].permille, picture.devices[0].seconds_left), (500, task.seconds));
            seen.push(picture.permille);
            wall.end(&task.id);
            seen.push(wall.picture(1).permille);
        }
        assert_eq!(seen, [0, 0, 125, 250, 250, 625, 1000]);
        let resumed = Wall::new(&course, std::iter::once(memory.id));
        assert_eq!(resumed.picture(1).permille, 750);
    }
}

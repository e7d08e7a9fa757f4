//! Burn-in: the plan's steps one after the other, each reading sent as soon as it is there, so that a power cut costs
//! one step and not all of them.

use std::{
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use appliance_api::agent::{Outcome, Progress};
use appliance_model::{
    burn_in::{Found, Plan, Reading, Step, Verdict, Work},
    inventory::Inventory,
};
use firmware_checks_burn_in::{Profile, report};
use firmware_checks_workloads::{Watch, cpu, drive, memory};

use crate::{say, work::Hands};

/// Time between two progress calls.
const PROGRESS: Duration = Duration::from_millis(500);

/// More steps than a full rack server has drives.
const STEPS_MAX: usize = 512;

impl Hands<'_> {
    /// Runs what `carried` does not have, and judges all of it.
    pub(crate) fn burn_in(&self, plan: Plan, carried: Vec<Reading>) -> Result<Outcome, String> {
        let profile = Profile::by_digest(&plan.profile_digest).ok_or_else(|| {
            format!(
                "burn-in profile {} ({}) is not one this image knows: image and appliance must be of one version",
                plan.profile, plan.profile_digest
            )
        })?;
        if plan.steps.len() > STEPS_MAX {
            return Err(format!("a plan of {} steps, more than {STEPS_MAX}", plan.steps.len()));
        }
        // After a power cut in the middle of a burn-in nobody has asked for an inventory yet in this boot.
        let inventory =
            self.reported_inventory().unwrap_or_else(|_| firmware_checks_probe::probe(&self.talk.root));
        let boot = self.boot_count()?;
        let mut readings = carried;
        for (index, step) in plan.steps.iter().enumerate() {
            if readings.iter().any(|reading| reading.step == step.id) {
                say!("burn-in {}: done before", step.id);
                continue;
            }
            say!("burn-in {}: {} s", step.id, step.seconds);
            let (seconds, found) = self.step(step, &inventory, index, plan.steps.len());
            let reading = Reading { step: step.id.clone(), boot, seconds, found };
            self.talk.report(self.order, Outcome::BurnInStep { reading: reading.clone() });
            readings.push(reading);
        }
        let report = report(plan, readings, &profile);
        match &report.verdict {
            Verdict::Pass { .. } => say!("burn-in: pass"),
            Verdict::Fail { reasons } => say!("burn-in: fail: {}", reasons.join("; ")),
            Verdict::Inconclusive { reasons } => say!("burn-in: inconclusive: {}", reasons.join("; ")),
        }
        let json = serde_json::to_string(&report).map_err(|error| format!("burn-in report: {error}"))?;
        self.talk
            .state
            .keep_burn_in(&json)
            .map_err(|error| format!("burn-in report could not be kept: {error}"))?;
        Ok(Outcome::BurnIn { json })
    }

    /// One step, with progress on the side.
    #[expect(clippy::disallowed_methods, reason = "how long a step took is measured here")]
    fn step(&self, step: &Step, inventory: &Inventory, index: usize, steps: usize) -> (u32, Found) {
        let begin = Instant::now();
        let (done, permille) = (AtomicBool::new(false), Mutex::new(0_u16));
        thread::scope(|scope| {
            let teller = scope.spawn(|| {
                let mut told = None;
                while !done.load(Ordering::Relaxed) {
                    let now = *permille.lock().unwrap_or_else(PoisonError::into_inner);
                    if told != Some(now) {
                        told = Some(now);
                        self.tell(step, overall(index, steps, now));
                    }
                    thread::park_timeout(PROGRESS);
                }
            });
            let stop = AtomicBool::new(false);
            let note = |now: u16| *permille.lock().unwrap_or_else(PoisonError::into_inner) = now;
            let found = self.run(step, inventory, Watch::new(&stop, &note));
            let seconds = u32::try_from(begin.elapsed().as_secs()).unwrap_or(u32::MAX);
            done.store(true, Ordering::Relaxed);
            teller.thread().unpark();
            (seconds, found)
        })
    }

    /// Progress is a courtesy: what does not arrive is not sent again.
    fn tell(&self, step: &Step, permille: u16) {
        let progress = Progress { order: self.order, permille, note: format!("burn-in: {}", step.id) };
        let _ = self.talk.client.mention("progress", &progress);
    }

    fn run(&self, step: &Step, inventory: &Inventory, watch: Watch<'_>) -> Found {
        let time = Duration::from_secs(step.seconds.into());
        let cpus: Vec<u32> = inventory.threads.iter().map(|thread| thread.cpu).collect();
        match &step.work {
            Work::CpuVerify => cpu::verify(&cpus, time, watch),
            Work::MemoryPattern { mebibytes } => {
                let Some(available) = self.available_bytes() else {
                    return Found::Undone { why: "/proc/meminfo does not tell what memory is free".into() };
                };
                let total = inventory.memory_bytes.unwrap_or(0);
                memory::pattern(*mebibytes, cpus.len(), total, available, time, watch)
            }
            Work::DriveRead { serial } => {
                let drive = inventory.drives.iter().find(|drive| drive.serial.as_ref() == Some(serial));
                let Some(name) = drive.and_then(|drive| drive.name.as_ref()) else {
                    return Found::Undone {
                        why: format!("no drive with serial {serial} is in the inventory"),
                    };
                };
                drive::read(&self.talk.root.join("dev").join(name), serial, time, watch)
            }
        }
    }

    /// `MemAvailable` in bytes.
    fn available_bytes(&self) -> Option<u64> {
        let text = fs::read_to_string(self.talk.root.join("proc/meminfo")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }
}

/// Thousandths of the whole plan.
fn overall(index: usize, steps: usize, permille: u16) -> u16 {
    let whole = (index * 1000 + usize::from(permille)) / steps.max(1);
    u16::try_from(whole).unwrap_or(1000).min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_goes_back() {
        let all: Vec<u16> =
            (0..3).flat_map(|index| [0, 500, 1000].map(|permille| overall(index, 3, permille))).collect();
        assert_eq!(all, [0, 166, 333, 333, 500, 666, 666, 833, 1000]);
    }
}

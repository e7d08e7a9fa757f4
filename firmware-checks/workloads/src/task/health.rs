//! What a drive says of itself before, during and after a task: warnings, counters that grew, its temperature.
//!
//! A counter is compared only where it was told both times; a figure nothing was told for is left out, so that a rule
//! that asks for it is inconclusive.  Counters that our own questions move (NVMe's count of error log entries grows by
//! each log page a drive does not have, ATA's error log by each aborted command) are none of them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use appliance_model::{
    Serial,
    burn_in::staged::{Series, Unit},
    inventory::Health,
};

use super::{Findings, Machine, curve};
use crate::{counters, watch::now};

/// Asks a drive for its health, now.
pub type Asking<'a> = &'a (dyn Fn(&Serial) -> Result<Health, String> + Sync);

/// Between two looks while a task runs: a few commands each, which cost a busy disk some milliseconds.
const EACH: Duration = Duration::from_secs(10);

/// Looks that are kept: a soak of 72 h has fewer at this pace.
const LOOKS_MAX: usize = 30_000;

/// Phys of a wide port that are read: none has more than 8.
const PHYS_MAX: usize = 16;

/// A counter by its name.
type Counter = (&'static str, fn(&Health) -> Option<u64>);

/// Counters of lost or damaged data: none may grow.
const ERRORS: &[Counter] = &[
    ("media errors", |health| health.media_errors.filter(|_| health.critical_warning.is_some())),
    ("reallocated sectors", |health| health.reallocated_sectors.filter(|_| grown_defects(health).is_none())),
    ("grown defects", grown_defects),
    ("pending sectors", |health| health.errors.as_ref()?.pending_sectors),
    ("offline-uncorrectable sectors", |health| health.errors.as_ref()?.offline_uncorrectable),
    ("reported uncorrectable errors", |health| health.errors.as_ref()?.reported_uncorrectable),
    ("command timeouts", |health| health.errors.as_ref()?.command_timeouts),
    ("end-to-end errors", |health| health.errors.as_ref()?.end_to_end_errors),
    ("spin retries", |health| health.errors.as_ref()?.spin_retries),
    ("uncorrected errors", |health| health.errors.as_ref()?.uncorrected),
    ("bad user blocks", |health| health.ocp.as_ref()?.bad_user_blocks),
    ("bad system blocks", |health| health.ocp.as_ref()?.bad_system_blocks),
    ("uncorrectable reads", |health| health.ocp.as_ref()?.uncorrectable_reads),
    ("end-to-end errors (OCP log)", |health| health.ocp.as_ref()?.end_to_end_errors),
];

/// Counters of a link: cable, backplane, slot.
const LINK: &[Counter] = &[
    ("transfers with a wrong checksum", |health| health.errors.as_ref()?.transfer_errors),
    ("corrected PCIe errors", |health| health.ocp.as_ref()?.pcie_corrected),
];

fn grown_defects(health: &Health) -> Option<u64> {
    health.errors.as_ref()?.grown_defects
}

/// NVMe's critical warning bits, from bit 0 (NVM Express Base Specification, log page 02h).
const WARNINGS: [&str; 6] = [
    "spare blocks are used up",
    "its temperature is out of its limits",
    "its reliability is degraded by media or internal errors",
    "it has become read-only",
    "the backup of its volatile memory failed",
    "its persistent memory region is unreliable",
];

/// What was told over one task.
#[derive(Debug, Default)]
struct Told {
    /// Seconds since the task began, and what the drive said then.
    looks: Vec<(u32, Health)>,
    /// Whether the first and the last of `looks` stand for before and after.
    both_ends: bool,
    /// Error counters of the PCIe function or SAS phy in sysfs, before and after.
    link: (BTreeMap<String, u64>, BTreeMap<String, u64>),
}

/// Does the work on a drive, and adds to its findings what the drive says of itself.
pub(super) fn around(
    serial: &Serial,
    machine: Machine<'_>,
    work: impl FnOnce() -> Result<Findings, String>,
) -> Result<Findings, String> {
    let name = (machine.drive)(serial).ok().and_then(|(path, _)| file_name(&path));
    let link = || name.as_deref().map(|name| link_counters(machine.root, name)).unwrap_or_default();
    let (begin, done) = (now(), AtomicBool::new(false));
    let second = || u32::try_from(begin.elapsed().as_secs()).unwrap_or(u32::MAX);
    let looks = Mutex::new(Vec::new());
    let ask = machine.health;
    let look = || {
        let health = ask(serial).ok();
        let told = health.is_some();
        let mut looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() < LOOKS_MAX {
            looks.extend(health.map(|health| (second(), health)));
        }
        told
    };
    let (before, link_before) = (look(), link());
    let found = thread::scope(|scope| {
        // Who told nothing before is not asked again and again.
        let looker = before.then(|| {
            scope.spawn(|| {
                let mut due = EACH;
                while !done.load(Ordering::Relaxed) {
                    if begin.elapsed() >= due {
                        look();
                        due = begin.elapsed() + EACH;
                    }
                    thread::park_timeout(due.saturating_sub(begin.elapsed()));
                }
            })
        });
        let found = work();
        done.store(true, Ordering::Relaxed);
        if let Some(looker) = looker {
            looker.thread().unpark();
        }
        found
    })?;
    let after = look();
    let looks = looks.into_inner().unwrap_or_else(PoisonError::into_inner);
    let told = Told { looks, both_ends: before && after, link: (link_before, link()) };
    Ok(told.add_to(found))
}

impl Told {
    fn add_to(&self, mut found: Findings) -> Findings {
        let device = found.device.clone();
        if let Some((count, words)) = self.warnings() {
            found.add("health-warnings", count, Unit::Count);
            found.faults.extend(words.into_iter().map(|words| format!("{device}: {words}")));
        }
        let ends = self.ends();
        if let Some((sum, words)) = ends.and_then(|(before, after)| grown(ERRORS, before, after)) {
            found.add("health-errors-grown", sum, Unit::Count);
            found.faults.extend(words.into_iter().map(|words| format!("{device}: {words}")));
        }
        let own = ends.and_then(|(before, after)| grown(LINK, before, after));
        if let Some((sum, words)) = [own, self.link_grown()].into_iter().flatten().reduce(both) {
            found.add("link-errors-grown", sum, Unit::Count);
            // How many are too many stands in the profile: a link repeats what it got wrong.
            found.coverage.extend(words.into_iter().map(|words| format!("{device}: {words}")));
        }
        let celsius = |health: &Health| health.temperature_celsius.and_then(|c| u64::try_from(c).ok());
        let points: Vec<(u32, u64)> =
            self.looks.iter().filter_map(|(second, health)| Some((*second, celsius(health)?))).collect();
        found.add("drive-temperature-max", points.iter().map(|(_, celsius)| *celsius).max(), Unit::Celsius);
        if !points.is_empty() {
            let points = curve::thin(points, curve::Of::Highest);
            found.series.push(Series { device, name: "temperature".into(), unit: Unit::Celsius, points });
        }
        found
    }

    fn ends(&self) -> Option<(&Health, &Health)> {
        let ((_, before), (_, after)) = (self.looks.first()?, self.looks.last()?);
        self.both_ends.then_some((before, after))
    }

    /// How many warnings were raised at any time; `None` where the drive has no word on itself at the end.
    fn warnings(&self) -> Option<(u64, Vec<String>)> {
        let (_, after) = self.looks.last().filter(|_| self.both_ends)?;
        if after.passed.is_none() && after.critical_warning.is_none() {
            return None;
        }
        let mut words = Vec::new();
        let bits = self.looks.iter().fold(0, |bits, (_, health)| bits | health.critical_warning.unwrap_or(0));
        for bit in 0..8 {
            if bits >> bit & 1 == 1 {
                let what = WARNINGS.get(bit).unwrap_or(&"a warning that no specification names");
                words.push(format!("critical warning bit {bit}: {what}"));
            }
        }
        if bits == 0 && self.looks.iter().any(|(_, health)| health.passed == Some(false)) {
            words.push("it says of itself that it fails".into());
        }
        let below = after.errors.as_ref().map(|errors| errors.below_threshold.as_slice()).unwrap_or_default();
        words.extend(
            below.iter().map(|id| format!("SMART attribute {id} is at or below its maker's threshold")),
        );
        Some((words.len() as u64, words))
    }

    fn link_grown(&self) -> Option<(u64, Vec<String>)> {
        let (before, after) = &self.link;
        let mut seen =
            before.iter().filter_map(|(name, was)| Some((name, *was, *after.get(name)?))).peekable();
        seen.peek()?;
        Some(sum(seen.map(|(name, was, is)| (name.as_str(), was, is))))
    }
}

/// How much the counters grew that were told both times; `None` if there is none.
fn grown(counters: &[Counter], before: &Health, after: &Health) -> Option<(u64, Vec<String>)> {
    let seen = counters.iter().filter_map(|(name, of)| Some((*name, of(before)?, of(after)?)));
    let mut seen = seen.peekable();
    seen.peek()?;
    Some(sum(seen))
}

fn sum<'a>(counters: impl Iterator<Item = (&'a str, u64, u64)>) -> (u64, Vec<String>) {
    let (mut sum, mut words) = (0_u64, Vec::new());
    for (name, was, is) in counters.filter(|(_, was, is)| is > was) {
        sum = sum.saturating_add(is - was);
        words.push(format!("{name} grew from {was} to {is}"));
    }
    (sum, words)
}

fn both(one: (u64, Vec<String>), other: (u64, Vec<String>)) -> (u64, Vec<String>) {
    (one.0.saturating_add(other.0), [one.1, other.1].concat())
}

fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// The kernel's own counters of the link to a drive: PCIe Advanced Error Reporting of an NVMe controller, and the
/// counters of the phys of a SAS drive.
fn link_counters(root: &Path, name: &str) -> BTreeMap<String, u64> {
    let device = root.join("sys/block").join(name).join("device");
    let mut found = BTreeMap::new();
    for (file, total) in [
        ("aer_dev_correctable", "TOTAL_ERR_COR"),
        ("aer_dev_nonfatal", "TOTAL_ERR_NONFATAL"),
        ("aer_dev_fatal", "TOTAL_ERR_FATAL"),
    ] {
        // `device` of an NVMe namespace is its controller, whose `device` is the PCI function.
        let text = counters::read(&device.join("device").join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix(total)?.trim().parse().ok());
        found.extend(count.map(|count| (format!("PCIe {}", &file[8..]), count)));
    }
    for phy in phys(&device) {
        for file in [
            "invalid_dword_count",
            "running_disparity_error_count",
            "loss_of_dword_sync_count",
            "phy_reset_problem_count",
        ] {
            let count = counters::number(&phy.join(file));
            let name = phy.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            found.extend(count.map(|count| (format!("{name} {}", file.replace('_', " ")), count)));
        }
    }
    found
}

/// `…/end_device-0:1/target0:0:1/0:0:1:0` lies below the port whose phys it hangs on.
fn phys(device: &Path) -> Vec<PathBuf> {
    let Ok(real) = device.canonicalize() else { return Vec::new() };
    let port =
        real.ancestors().find(|folder| file_name(folder).is_some_and(|name| name.starts_with("port-")));
    let listed = port.and_then(|port| fs::read_dir(port).ok()).into_iter().flatten().flatten();
    let named =
        listed.filter_map(|entry| entry.file_name().to_str().map(|name| (entry.path(), name.to_owned())));
    let phys = named.filter(|(_, name)| name.starts_with("phy-"));
    phys.take(PHYS_MAX).map(|(path, name)| path.join("sas_phy").join(name)).collect()
}

#[cfg(test)]
mod tests;

//! Temperatures and clock rates while something works: the extremes, and a sample now and then for a plot.
//!
//! All files are under a root that is an argument.  What nobody tells is `None`.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::{
    counters::{entries, number, read},
    watch::now,
};

/// Time between two looks.
const EACH: Duration = Duration::from_secs(1);

/// Samples that are kept; when there are more, every other one is dropped and the pace halved.
const SAMPLES_MAX: usize = 512;

/// One look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Seconds since the work began.
    pub second: u32,
    /// The hottest processor sensor, in thousandths of a degree Celsius.
    pub millicelsius: Option<u32>,
    /// The slowest logical CPU, in MHz.
    pub megahertz: Option<u32>,
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The highest temperature, in thousandths of a degree Celsius.
    pub millicelsius_max: Option<u32>,
    /// The lowest clock rate of any logical CPU, in MHz.
    pub megahertz_min: Option<u32>,
    /// Evenly spread.
    pub samples: Vec<Sample>,
}

/// Looks every second while `work` runs.
pub fn beside<T: Send>(root: &Path, work: impl FnOnce() -> T + Send) -> (T, Trace) {
    let (trace, done) = (Mutex::new(Trace::default()), std::sync::atomic::AtomicBool::new(false));
    let result = thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let (begin, mut due, mut pace) = (now(), Duration::ZERO, 1);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let passed = begin.elapsed();
                if passed >= due {
                    due = passed + EACH;
                    let second = u32::try_from(passed.as_secs()).unwrap_or(u32::MAX);
                    trace.lock().unwrap_or_else(PoisonError::into_inner).note(look(root, second), &mut pace);
                }
                thread::park_timeout(due.saturating_sub(begin.elapsed()));
            }
        });
        let result = work();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        looker.thread().unpark();
        result
    });
    (result, trace.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Trace {
    fn note(&mut self, sample: Sample, pace: &mut u32) {
        self.millicelsius_max = self.millicelsius_max.max(sample.millicelsius);
        self.megahertz_min = [self.megahertz_min, sample.megahertz].into_iter().flatten().min();
        if !sample.second.is_multiple_of(*pace) {
            return;
        }
        self.samples.push(sample);
        if self.samples.len() > SAMPLES_MAX {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            *pace = pace.saturating_mul(2);
        }
    }
}

/// Looks once.
#[must_use]
pub fn look(root: &Path, second: u32) -> Sample {
    Sample { second, millicelsius: hottest(root), megahertz: slowest(root) }
}

/// Sensors of Intel's and AMD's processors; where there are none, the kernel's thermal zones.
fn hottest(root: &Path) -> Option<u32> {
    let processors = entries(&root.join("sys/class/hwmon"), "hwmon").into_iter().filter(|sensor| {
        read(&sensor.join("name"))
            .is_some_and(|name| ["coretemp", "k10temp", "zenpower"].contains(&name.trim()))
    });
    let inputs =
        processors.flat_map(|sensor| (1..=128).map(move |index| sensor.join(format!("temp{index}_input"))));
    let zones =
        entries(&root.join("sys/class/thermal"), "thermal_zone").into_iter().map(|zone| zone.join("temp"));
    let hottest =
        |files: &mut dyn Iterator<Item = std::path::PathBuf>| files.filter_map(|file| number(&file)).max();
    let found = hottest(&mut inputs.into_iter()).or_else(|| hottest(&mut zones.into_iter()))?;
    u32::try_from(found).ok()
}

fn slowest(root: &Path) -> Option<u32> {
    let cpus = entries(&root.join("sys/devices/system/cpu"), "cpu");
    let kilohertz = cpus.iter().filter_map(|cpu| number(&cpu.join("cpufreq/scaling_cur_freq"))).min();
    if let Some(kilohertz) = kilohertz {
        return u32::try_from(kilohertz / 1000).ok();
    }
    let text = read(&root.join("proc/cpuinfo"))?;
    let rate =
        |line: &str| line.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().split('.').next()?.parse().ok();
    text.lines().filter_map(rate).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::tests::tree;

    #[test]
    fn the_hottest_and_the_slowest() {
        let files = [
            ("sys/class/hwmon/hwmon0/name", "nvme\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "99000\n"),
            ("sys/class/hwmon/hwmon1/name", "k10temp\n"),
            ("sys/class/hwmon/hwmon1/temp1_input", "61000\n"),
            ("sys/class/hwmon/hwmon1/temp3_input", "64500\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2450000\n"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "2400000\n"),
        ];
        let root = tree("trace", &files);
        let (result, trace) = beside(&root, || 7);
        assert_eq!(result, 7);
        // The looker may not have got a turn before so short a work was over.
        assert!(trace.samples.len() <= 1);
        let sample = look(&root, 3);
        assert_eq!(sample, Sample { second: 3, millicelsius: Some(64_500), megahertz: Some(2400) });
        std::fs::remove_dir_all(root).unwrap();
        assert_eq!(look(Path::new("/nonexistent"), 0), Sample::default());
    }

    #[test]
    fn a_day_fits_into_a_few_hundred_samples() {
        let (mut trace, mut pace) = (Trace::default(), 1);
        for second in 0..86_400 {
            let sample = Sample { second, millicelsius: Some(second), megahertz: Some(100_000 - second) };
            trace.note(sample, &mut pace);
        }
        assert!((SAMPLES_MAX / 2..=SAMPLES_MAX).contains(&trace.samples.len()), "{}", trace.samples.len());
        assert_eq!((trace.millicelsius_max, trace.megahertz_min), (Some(86_399), Some(13_601)));
    }
}

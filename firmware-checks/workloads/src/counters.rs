//! What the kernel counts of errors, before and after: machine checks, throttling, memory errors (EDAC).
//!
//! All files are under a root that is an argument.  A counter that is not there is `None`, never zero: whoever judges
//! must know that nobody counted.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Largest file read: `/proc/interrupts` of a machine with a thousand CPUs has a few megabytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Counters since boot, or by how much they grew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Machine check exceptions and events found by polling (`MCE` aside from `MCP`, which counts the polls): the lines
    /// `MCE`, `THR` (threshold of corrected errors) and `DFR` (deferred errors, AMD) of `/proc/interrupts`.
    pub machine_checks: Option<u64>,
    /// Times that a core or package was throttled for heat.
    pub throttles: Option<u64>,
    /// Memory errors that were corrected.
    pub corrected: Option<u64>,
    /// Memory errors that were not.
    pub uncorrected: Option<u64>,
}

impl Counters {
    /// Reads them all.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let controllers = entries(&root.join("sys/devices/system/edac/mc"), "mc");
        let cpus = entries(&root.join("sys/devices/system/cpu"), "cpu");
        let throttled: Vec<PathBuf> = cpus
            .iter()
            .flat_map(|cpu| {
                ["core_throttle_count", "package_throttle_count"]
                    .map(|file| cpu.join("thermal_throttle").join(file))
            })
            .collect();
        Self {
            machine_checks: machine_checks(root),
            throttles: sum(throttled.into_iter().filter_map(|file| number(&file))),
            corrected: sum(controllers.iter().filter_map(|mc| number(&mc.join("ce_count")))),
            uncorrected: sum(controllers.iter().filter_map(|mc| number(&mc.join("ue_count")))),
        }
    }

    /// By how much each grew since `before`.  One that is gone, or smaller, was not counted.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        let grown = |after: Option<u64>, before: Option<u64>| after?.checked_sub(before?);
        Self {
            machine_checks: grown(self.machine_checks, before.machine_checks),
            throttles: grown(self.throttles, before.throttles),
            corrected: grown(self.corrected, before.corrected),
            uncorrected: grown(self.uncorrected, before.uncorrected),
        }
    }
}

fn machine_checks(root: &Path) -> Option<u64> {
    let text = read(&root.join("proc/interrupts"))?;
    let line = |line: &str| {
        let (name, counts) = line.trim_start().split_once(':')?;
        ["MCE", "THR", "DFR"].contains(&name).then(|| {
            counts
                .split_whitespace()
                .map_while(|count| count.parse::<u64>().ok())
                .fold(0, u64::saturating_add)
        })
    };
    sum(text.lines().filter_map(line))
}

/// `None` if there is nothing to add up.
fn sum(mut numbers: impl Iterator<Item = u64>) -> Option<u64> {
    let first = numbers.next()?;
    Some(numbers.fold(first, u64::saturating_add))
}

/// What is in a folder under a name and a number (`cpu0`, `mc1`).
pub(crate) fn entries(folder: &Path, name: &str) -> Vec<PathBuf> {
    let Ok(listed) = fs::read_dir(folder) else { return Vec::new() };
    let numbered = |path: &PathBuf| {
        let rest = path.file_name().and_then(|file| file.to_str()).and_then(|file| file.strip_prefix(name));
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut found: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).filter(numbered).collect();
    found.sort();
    found
}

pub(crate) fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

pub(crate) fn number(path: &Path) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tree in the system's temporary folder; the caller removes it.
    pub(crate) fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("workloads-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            let _ = fs::create_dir_all(path.parent().unwrap_or(&root));
            let _ = fs::write(path, text);
        }
        root
    }

    const INTERRUPTS: &str = "           CPU0       CPU1\n  0:         12          0  IO-APIC  2-edge  timer\n\
        THR:          1          2   Threshold APIC interrupts\nMCE:          0          4   Machine check exceptions\n\
        MCP:        300        301   Machine check polls\n";

    #[test]
    fn counters_and_what_is_not_counted() {
        let files = [
            ("proc/interrupts", INTERRUPTS),
            ("sys/devices/system/edac/mc/mc0/ce_count", "3\n"),
            ("sys/devices/system/edac/mc/mc1/ce_count", "4\n"),
            ("sys/devices/system/edac/mc/power/ce_count", "100\n"),
            ("sys/devices/system/edac/mc/mc0/ue_count", "0\n"),
            ("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "5\n"),
            ("sys/devices/system/cpu/cpufreq/thermal_throttle/core_throttle_count", "9\n"),
        ];
        let root = tree("counters", &files);
        let found = Counters::read(&root);
        let expected = Counters {
            machine_checks: Some(7),
            throttles: Some(5),
            corrected: Some(7),
            uncorrected: Some(0),
        };
        assert_eq!(found, expected);
        fs::remove_dir_all(root).unwrap();
        let none = Counters::read(Path::new("/nonexistent"));
        assert_eq!(none, Counters::default());
        let before =
            Counters { machine_checks: Some(6), throttles: Some(6), corrected: None, uncorrected: Some(0) };
        let grown =
            Counters { machine_checks: Some(1), throttles: None, corrected: None, uncorrected: Some(0) };
        assert_eq!(found.since(before), grown, "one that fell was reset, and is not known");
    }
}

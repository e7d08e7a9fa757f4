//! NVIDIA's own diagnostic (DCGM), where it is installed: its failures are faults, its absence is said.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{Watch, watch::now};

/// Where packages and NVIDIA's installer put it.
const PROGRAMS: [&str; 2] = ["usr/bin/dcgmi", "usr/local/bin/dcgmi"];
/// A report of level 3 on eight GPUs has some 100 KiB.
const REPORT_BYTES_MAX: u64 = 4 << 20;
/// The levels, and the time from which on they may be run: they take seconds, two minutes, half an hour (DCGM user
/// guide, "Run Levels and Tests").
const LEVELS: [(u64, &str); 3] = [(90 * 60, "3"), (10 * 60, "2"), (0, "1")];
/// How often the watch is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Categories, tests of each, results of each, and words of each result that are looked at.
const EACH_MAX: usize = 64;
/// How much of a word is told.
const TEXT_MAX: usize = 300;

/// Its daemon runs one diagnostic at a time.
static ONE: Mutex<()> = Mutex::new(());

/// What it said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Diagnosed {
    pub(super) failed: Vec<String>,
    pub(super) coverage: Vec<String>,
    /// How long it took.
    pub(super) time: Duration,
}

impl Diagnosed {
    fn said(text: impl Into<String>) -> Self {
        Self { coverage: vec![text.into()], ..Self::default() }
    }
}

/// Runs the highest level for which half of `time` is enough.
pub(super) fn diagnose(root: &Path, index: Option<u32>, time: Duration, watch: Watch<'_>) -> Diagnosed {
    let found = PROGRAMS.iter().map(|path| root.join(path)).find(|path| path.exists());
    let (Some(program), Some(index)) = (found, index) else {
        return Diagnosed::said("DCGM is not installed: its diagnostic was not run");
    };
    let begin = now();
    let level = LEVELS.iter().find(|(from, _)| time.as_secs() >= *from).map_or("1", |(_, level)| level);
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut diagnosed = match output(program, level, index, time / 2, watch) {
        Ok(report) => read(&report, level),
        Err(why) => Diagnosed::said(format!("DCGM's diagnostic of level {level} was not done: {why}")),
    };
    diagnosed.time = begin.elapsed();
    diagnosed
}

fn output(
    program: PathBuf,
    level: &str,
    index: u32,
    limit: Duration,
    watch: Watch<'_>,
) -> Result<Vec<u8>, String> {
    let mut child = Command::new(&program)
        .args(["diag", "--run", level, "--gpuList", &index.to_string(), "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{} could not be started: {error}", program.display()))?;
    let stdout = child.stdout.take();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stdout.map(|stdout| stdout.take(REPORT_BYTES_MAX + 1).read_to_end(&mut bytes));
        let _ = sender.send(bytes);
    });
    let clock = watch.start(limit);
    let told = loop {
        match receiver.recv_timeout(LOOK) {
            Ok(bytes) => break Ok(bytes),
            Err(_) if clock.over() => break Err("it did not end in its time"),
            Err(_) => {}
        }
    };
    let _ = child.kill();
    thread::spawn(move || child.wait());
    told.map_err(str::to_owned)
}

/// DCGM 3 and 4 differ in the outermost name and in how a result names its GPU; categories, tests, results and their
/// status are the same (DCGM user guide, "dcgmi diag --json").
fn read(report: &[u8], level: &str) -> Diagnosed {
    if report.len() as u64 > REPORT_BYTES_MAX {
        return Diagnosed::said("DCGM's report is too long to be one");
    }
    // It may warn in words before.
    let begin = report.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let Ok(report) = serde_json::from_slice::<Value>(report.get(begin..).unwrap_or_default()) else {
        return Diagnosed::said("DCGM's report is no JSON: its diagnostic counts as not done");
    };
    let parts = report.as_object().into_iter().flatten().filter_map(|(_, part)| part.get("test_categories"));
    let mut found = Diagnosed::default();
    let (mut passed, mut skipped) = (0_u32, 0_u32);
    for category in parts.flat_map(list) {
        for test in category.get("tests").into_iter().flat_map(list) {
            let name = text(test.get("name"));
            for result in test.get("results").into_iter().flat_map(list) {
                match text(result.get("status")).to_ascii_lowercase().as_str() {
                    "pass" => passed += 1,
                    "skip" | "skipped" | "not run" => skipped += 1,
                    "warn" => found.coverage.push(format!("DCGM warns: {name}{}", words(result))),
                    _ => found
                        .failed
                        .push(format!("DCGM's test `{name}` of level {level} failed{}", words(result))),
                }
            }
        }
    }
    found.failed.truncate(EACH_MAX);
    found.coverage.truncate(EACH_MAX);
    found.coverage.push(format!(
        "DCGM's diagnostic of level {level}: {passed} tests passed, {} failed, {skipped} left out",
        found.failed.len()
    ));
    found
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten().take(EACH_MAX)
}

fn text(value: Option<&Value>) -> String {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    text.chars().filter(|letter| !letter.is_control()).take(TEXT_MAX).collect()
}

/// Its warnings: texts in DCGM 3, objects with one in DCGM 4.
fn words(result: &Value) -> String {
    let one = |value: &Value| match value.as_str() {
        Some(_) => text(Some(value)),
        None => text(value.get("warning")),
    };
    let said: Vec<String> = result.get("warnings").into_iter().flat_map(list).map(one).take(4).collect();
    if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the shape that the user guide shows.
    const FOUR: &str = r#"{"DCGM Diagnostic": {"test_categories": [
        {"category": "Deployment", "tests": [{"name": "software", "results": [
            {"entity_group": "GPU", "entity_id": 0, "status": "Pass"}]}]},
        {"category": "Hardware", "tests": [{"name": "memory", "results": [
            {"entity_group": "GPU", "entity_id": 0, "status": "Fail",
             "warnings": [{"warning": "GPU 0: 3 double-bit errors", "error_id": 12}]}]},
            {"name": "diagnostic", "results": [{"status": "Skip"}]}]}]}, "metadata": {"version": "4.1.0"}}"#;

    const THREE: &str = r#"WARNING: a word before
        {"DCGM GPU Diagnostic": {"test_categories": [{"category": "Integration", "tests": [{"name": "PCIe",
            "results": [{"gpu_ids": "0", "status": "FAIL", "warnings": ["replays"]}, {"gpu_ids": "0", "status": "WARN",
            "warnings": ["slow"]}, {"gpu_ids": "0", "status": "PASS"}]}, null]}]}}"#;

    #[test]
    fn reports_of_both_generations() {
        let found = read(FOUR.as_bytes(), "2");
        assert_eq!(found.failed, ["DCGM's test `memory` of level 2 failed: GPU 0: 3 double-bit errors"]);
        assert_eq!(found.coverage, ["DCGM's diagnostic of level 2: 1 tests passed, 1 failed, 1 left out"]);
        let found = read(THREE.as_bytes(), "1");
        assert_eq!(found.failed, ["DCGM's test `PCIe` of level 1 failed: replays"]);
        assert_eq!(found.coverage.first().map(String::as_str), Some("DCGM warns: PCIe: slow"));
    }

    #[test]
    fn what_makes_no_sense_is_no_failure_and_no_pass() {
        for report in ["", "{", "[]", "no JSON {", r#"{"a": {"test_categories": 7}}"#] {
            let found = read(report.as_bytes(), "1");
            assert!(found.failed.is_empty() && found.coverage.len() == 1, "{report}: {found:?}");
        }
        let long = vec![b' '; usize::try_from(REPORT_BYTES_MAX + 1).unwrap()];
        assert!(read(&long, "1").coverage[0].contains("too long"));
    }
}

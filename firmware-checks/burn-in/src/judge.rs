//! From readings to a verdict.  Each reason names the device and the rule, with the number measured and the number
//! wanted, so that it can be printed as it is.

use appliance_model::{
    Serial,
    burn_in::{Found, Plan, Reading, Report, Step, Verdict, Work},
};

use crate::Profile;

/// Judges what `plan` measured by the thresholds of `profile`.  One broken rule outweighs anything missing.
pub fn judge(plan: &Plan, readings: &[Reading], profile: &Profile) -> Verdict {
    let mut found = Findings::default();
    if plan.profile_digest != profile.digest.to_string() {
        found.missing(format!(
            "the plan was made for profile {} ({}), the judge has {} ({})",
            plan.profile, plan.profile_digest, profile.name, profile.digest
        ));
    }
    if plan.steps.is_empty() {
        found.missing("the plan has no steps".into());
    }
    for reading in readings {
        if !plan.steps.iter().any(|step| step.id == reading.step) {
            found.missing(format!("a reading for `{}`, which is no step of the plan", reading.step));
        }
    }
    for step in &plan.steps {
        let mut measured = false;
        for reading in readings.iter().filter(|reading| reading.step == step.id) {
            measured = true;
            found.reading(step, reading, profile);
        }
        if !measured {
            found.missing(format!("{}: no reading", step.id));
        }
    }
    found.verdict()
}

/// The document to be signed: plan, readings in plan order, verdict.
pub fn report(plan: Plan, mut readings: Vec<Reading>, profile: &Profile) -> Report {
    let place = |reading: &Reading| plan.steps.iter().position(|step| step.id == reading.step);
    readings.sort_by_key(|reading| place(reading).unwrap_or(usize::MAX));
    let verdict = judge(&plan, &readings, profile);
    Report { plan, readings, verdict }
}

#[derive(Default)]
struct Findings {
    broken: Vec<String>,
    missing: Vec<String>,
    coverage: Vec<String>,
}

impl Findings {
    fn verdict(self) -> Verdict {
        if !self.broken.is_empty() {
            Verdict::Fail { reasons: self.broken }
        } else if !self.missing.is_empty() {
            Verdict::Inconclusive { reasons: self.missing }
        } else {
            Verdict::Pass { coverage: self.coverage }
        }
    }

    fn missing(&mut self, why: String) {
        self.missing.push(why);
    }

    fn broken(&mut self, why: String) {
        self.broken.push(why);
    }

    /// A measured number below what the profile wants.
    fn at_least(&mut self, device: &str, what: &str, measured: u64, wanted: u64) {
        if measured < wanted {
            self.broken(format!("{device}: {what} {measured}, the profile wants at least {wanted}"));
        }
    }

    fn reading(&mut self, step: &Step, reading: &Reading, profile: &Profile) {
        if let Found::Undone { why } = &reading.found {
            return self.missing(format!("{}: not done: {why}", step.id));
        }
        if reading.seconds < step.seconds {
            self.missing(format!("{}: ran {} of {} s", step.id, reading.seconds, step.seconds));
        }
        match (&step.work, &reading.found) {
            (Work::CpuVerify, Found::Cpu { cpus, rounds, wrong }) => self.cpu(*cpus, *rounds, wrong),
            (Work::MemoryPattern { .. }, found @ Found::Memory { .. }) => self.memory(found, profile),
            (Work::DriveRead { serial }, found @ Found::Drive { .. }) => self.drive(serial, found, profile),
            (Work::CpuVerify | Work::MemoryPattern { .. } | Work::DriveRead { .. }, _) => {
                self.missing(format!("{}: the reading is of another kind than the step", step.id));
            }
        }
    }

    fn cpu(&mut self, cpus: u32, rounds: u64, wrong: &[u32]) {
        for cpu in wrong {
            self.broken(format!("cpu {cpu}: a known answer came out wrong"));
        }
        if cpus == 0 || rounds == 0 {
            self.missing(format!("cpu: {cpus} logical CPUs finished {rounds} rounds"));
        }
        self.coverage.push(format!("{cpus} logical CPUs gave {rounds} rounds of known answers"));
    }

    fn memory(&mut self, found: &Found, profile: &Profile) {
        let Found::Memory { bytes, total_bytes, passes, errors, mebibytes_per_second } = found else {
            return;
        };
        if *errors > 0 {
            self.broken(format!("memory: {errors} words read back wrong, the rule is none"));
        }
        let permille = u128::from(*bytes) * 1000 / u128::from(*total_bytes).max(1);
        if *passes == 0 || permille < u128::from(profile.memory.walk_permille_min) {
            self.missing(format!(
                "memory: {passes} passes over {permille} permille, the profile wants one over {}",
                profile.memory.walk_permille_min
            ));
        }
        let wanted = profile.memory.mebibytes_per_second_min;
        self.at_least("memory", "MiB/s", *mebibytes_per_second, wanted);
        self.coverage.push(format!(
            "{} of {} MiB of memory ({}.{} %), {passes} passes",
            bytes >> 20,
            total_bytes >> 20,
            permille / 10,
            permille % 10
        ));
    }

    fn drive(&mut self, wanted: &Serial, found: &Found, profile: &Profile) {
        let Found::Drive {
            serial,
            bytes,
            sequential_mebibytes_per_second,
            random_iops,
            latency_p50_microseconds: _,
            latency_p99_microseconds,
            errors,
        } = found
        else {
            return;
        };
        let device = format!("drive {wanted}");
        if serial != wanted {
            return self.missing(format!("{device}: the reading is of drive {serial}"));
        }
        if *errors > 0 {
            self.broken(format!("{device}: {errors} reads failed, the rule is none"));
        }
        if *bytes == 0 {
            return self.missing(format!("{device}: nothing was read"));
        }
        let rules = &profile.drive;
        let sequential = rules.sequential_mebibytes_per_second_min;
        self.at_least(&device, "sequential MiB/s", *sequential_mebibytes_per_second, sequential);
        self.at_least(&device, "random reads a second", *random_iops, rules.random_iops_min);
        if *latency_p99_microseconds > rules.latency_p99_microseconds_max {
            self.broken(format!(
                "{device}: 99th percentile of latency {latency_p99_microseconds} us, the profile allows {}",
                rules.latency_p99_microseconds_max
            ));
        }
        self.coverage.push(format!("{device}: {} MiB read", bytes >> 20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(profile: &Profile) -> Plan {
        let serial = Serial::parse("S1").unwrap();
        let step = |id: &str, work| Step { id: id.into(), work, seconds: 3 };
        Plan {
            profile: profile.name.clone(),
            profile_digest: profile.digest.to_string(),
            steps: vec![
                step("cpu", Work::CpuVerify),
                step("memory", Work::MemoryPattern { mebibytes: 64 }),
                step("drive-S1-read", Work::DriveRead { serial }),
            ],
        }
    }

    fn reading(step: &str, found: Found) -> Reading {
        Reading { step: step.into(), boot: 1, seconds: 3, found }
    }

    fn cpu(cpus: u32, rounds: u64, wrong: &[u32]) -> Found {
        Found::Cpu { cpus, rounds, wrong: wrong.to_vec() }
    }

    fn memory(bytes: u64, passes: u32, errors: u64, mebibytes_per_second: u64) -> Found {
        Found::Memory { bytes, total_bytes: 1 << 30, passes, errors, mebibytes_per_second }
    }

    fn drive(serial: &str, bytes: u64, rates: [u64; 3], errors: u64) -> Found {
        Found::Drive {
            serial: Serial::parse(serial).unwrap(),
            bytes,
            sequential_mebibytes_per_second: rates[0],
            random_iops: rates[1],
            latency_p50_microseconds: 100,
            latency_p99_microseconds: rates[2],
            errors,
        }
    }

    /// Replaces one good reading (or none) and says what the verdict begins with.
    #[test]
    fn verdicts() {
        let profile = Profile::built_in("demo").unwrap();
        let undone = || Found::Undone { why: "io_uring is switched off".into() };
        let good = [cpu(2, 10, &[]), memory(512 << 20, 2, 0, 500), drive("S1", 1 << 20, [50, 500, 900], 0)];
        let steps = ["cpu", "memory", "drive-S1-read"];
        for (place, found, expected) in [
            (
                3,
                None,
                "pass: 2 logical CPUs gave 10 rounds of known answers; 512 of 1024 MiB of memory (50.0 %), \
                       2 passes; drive S1: 1 MiB read",
            ),
            (0, None, "inconclusive: cpu: no reading"),
            (0, Some(cpu(2, 10, &[1])), "fail: cpu 1: a known answer came out wrong"),
            (0, Some(cpu(2, 0, &[])), "inconclusive: cpu: 2 logical CPUs finished 0 rounds"),
            (0, Some(memory(1, 1, 0, 1)), "inconclusive: cpu: the reading is of another kind than the step"),
            (0, Some(undone()), "inconclusive: cpu: not done: io_uring is switched off"),
            (
                1,
                Some(memory(512 << 20, 2, 3, 500)),
                "fail: memory: 3 words read back wrong, the rule is none",
            ),
            (
                1,
                Some(memory(1 << 20, 2, 0, 500)),
                "inconclusive: memory: 2 passes over 0 permille, the profile wants one over 10",
            ),
            (
                1,
                Some(memory(512 << 20, 0, 0, 500)),
                "inconclusive: memory: 0 passes over 500 permille, the profile wants one over 10",
            ),
            (1, Some(memory(512 << 20, 1, 0, 0)), "fail: memory: MiB/s 0, the profile wants at least 1"),
            (2, Some(drive("S1", 1, [50, 500, 900], 2)), "fail: drive S1: 2 reads failed, the rule is none"),
            (2, Some(drive("S1", 0, [50, 500, 900], 0)), "inconclusive: drive S1: nothing was read"),
            (
                2,
                Some(drive("S2", 1, [50, 500, 900], 0)),
                "inconclusive: drive S1: the reading is of drive S2",
            ),
            (
                2,
                Some(drive("S1", 1, [0, 500, 900], 0)),
                "fail: drive S1: sequential MiB/s 0, the profile wants at least 1",
            ),
            (
                2,
                Some(drive("S1", 1, [50, 9, 900], 0)),
                "fail: drive S1: random reads a second 9, the profile wants at least 10",
            ),
            (
                2,
                Some(drive("S1", 1, [50, 500, 2_000_001], 0)),
                "fail: drive S1: 99th percentile of latency 2000001 us, the profile allows 2000000",
            ),
        ] {
            let mut readings: Vec<_> =
                steps.iter().zip(&good).map(|(step, found)| reading(step, found.clone())).collect();
            match found {
                Some(found) => readings[place].found = found,
                None if place < 3 => drop(readings.remove(place)),
                None => {}
            }
            assert_eq!(words(judge(&plan(&profile), &readings, &profile)), expected);
        }
    }

    #[test]
    fn a_short_run_a_strange_reading_and_another_profile_are_no_pass() {
        let profile = Profile::built_in("demo").unwrap();
        let mut plan = plan(&profile);
        plan.steps.truncate(1);
        let good = reading("cpu", cpu(2, 10, &[]));
        let short = Reading { seconds: 2, ..good.clone() };
        assert_eq!(words(judge(&plan, &[short], &profile)), "inconclusive: cpu: ran 2 of 3 s");
        let strange = reading("cpu2", cpu(2, 10, &[]));
        let verdict = words(judge(&plan, &[good.clone(), strange], &profile));
        assert_eq!(verdict, "inconclusive: a reading for `cpu2`, which is no step of the plan");
        // A failed reading is not cured by a later good one.
        let bad = reading("cpu", cpu(2, 10, &[0]));
        assert!(words(judge(&plan, &[bad, good.clone()], &profile)).starts_with("fail"));
        let other = Profile::built_in("smoke").unwrap();
        assert!(words(judge(&plan, &[good], &other)).starts_with("inconclusive: the plan was made for"));
        plan.steps.clear();
        assert_eq!(words(judge(&plan, &[], &profile)), "inconclusive: the plan has no steps");
    }

    #[test]
    fn reports_are_in_plan_order() {
        let profile = Profile::built_in("demo").unwrap();
        let readings = vec![reading("memory", memory(512 << 20, 2, 0, 500)), reading("cpu", cpu(2, 10, &[]))];
        let report = report(plan(&profile), readings, &profile);
        assert_eq!(report.readings[0].step, "cpu");
        assert_eq!(words(report.verdict), "inconclusive: drive-S1-read: no reading");
    }

    fn words(verdict: Verdict) -> String {
        match verdict {
            Verdict::Pass { coverage } => format!("pass: {}", coverage.join("; ")),
            Verdict::Fail { reasons } => format!("fail: {}", reasons.join("; ")),
            Verdict::Inconclusive { reasons } => format!("inconclusive: {}", reasons.join("; ")),
        }
    }
}

//! `burn-in`: plans that people read, plans for other machines, and result streams judged again by whoever has them.

use std::path::{Path, PathBuf};

use appliance_model::{
    Now,
    burn_in::staged::{Course, Done, Figure, Outcome, Report, Unit},
    inventory::Inventory,
};
use firmware_checks_burn_in::{
    staged::{self, Given, Profile},
    stream::{self, Dut, Opening, Writer},
};

use crate::{path, refused, run, text};

/// Two threads, two drives, a GPU, a port.
fn inventory(dir: &Path, serial: &str, drives: [&str; 2]) -> String {
    let drive = |serial: &str| {
        serde_json::json!({
            "name": null, "bus": "nvme", "model": "MODEL", "serial": serial, "firmware": null,
            "bytes": 4_000_000_000_000_u64, "wwid": null, "namespace": 1, "rotational": false, "node": 0,
            "pci": null, "health": null
        })
    };
    let inventory = serde_json::json!({
        "system": {"serial": serial, "product": "BOX"},
        "threads": [{"cpu": 0, "core": 0, "socket": 0, "node": 0}, {"cpu": 1, "core": 0, "socket": 0, "node": 0}],
        "memory_bytes": 64_u64 << 30,
        "drives": drives.map(drive),
        "gpus": [{"uuid": "GPU-1", "model": "H200", "bytes": 150_754_820_096_u64}],
        "nics": [{"name": "eth0", "mac": "02:00:00:00:00:01", "speed_mbps": 25_000, "link_up": true}],
    });
    let file = dir.join(format!("{serial}.json"));
    std::fs::write(&file, inventory.to_string()).unwrap();
    path(&file).to_owned()
}

#[test]
fn a_plan_is_read_before_anything_is_started() {
    let dir = tempfile::tempdir().unwrap();
    let machine = inventory(dir.path(), "SYS-1", ["D1", "D2"]);
    let plan = ["burn-in", "plan", "--inventory", &machine];
    let smoke = ["--profile", "smoke", "--consent", "D2:0:1073741824", "--controller", "--partners"];
    let output = run(&[&plan[..], &smoke].concat());
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/burn-in-plan.txt");
    if std::env::var_os("SCALERFORGE_GOLDENS").is_some() {
        std::fs::write(&golden, &output.stdout).unwrap();
    }
    let meant = "if this is meant: SCALERFORGE_GOLDENS=write, and read the difference";
    assert_eq!(text(&output.stdout), std::fs::read_to_string(&golden).unwrap(), "{meant}");
    // Absent, the profile is `admit`; nobody consented, and nobody is at the other end.
    let said = text(&run(&plan).stdout);
    assert!(
        said.starts_with("admit (") && !said.contains("OVERWRITES") && !said.contains("port 02:"),
        "{said}"
    );

    let course: Course = serde_json::from_slice(&run(&[&plan[..], &["--json"]].concat()).stdout).unwrap();
    assert_eq!((course.profile.as_str(), course.serial.as_str()), ("admit", "SYS-1"));
    for (arguments, words) in [
        (&["--profile", "moon"][..], &["`moon` is neither a profile nor a file", "demo, smoke, admit"][..]),
        (&["--consent", "D1"], &["`D1` is no SERIAL:START:BYTES"]),
        (&["--consent", "D9:0:4096"], &["on drive D9: no such drive"]),
        (&["--profile", &machine], &["SYS-1.json: burn-in profile, line 1: "]),
    ] {
        refused(&run(&[&plan[..], arguments].concat()), words);
    }
}

#[test]
fn profiles_are_listed_printed_and_refused_with_the_line() {
    let said = text(&run(&["burn-in", "profiles"]).stdout);
    for name in ["demo ", "smoke ", "admit ", "soak ", "recheck "] {
        assert!(said.contains(name), "{said}");
    }
    let listed: Vec<serde_json::Value> =
        serde_json::from_slice(&run(&["burn-in", "profiles", "--json"]).stdout).unwrap();
    assert_eq!((listed.len(), &listed[1]["name"]), (5, &serde_json::json!("smoke")));
    let smoke = text(&run(&["burn-in", "profiles", "smoke"]).stdout);
    assert_eq!(listed[1]["digest"], Profile::parse(smoke.as_bytes()).unwrap().digest.to_string());
    refused(&run(&["burn-in", "profiles", "moon"]), &["there are demo, smoke"]);

    let dir = tempfile::tempdir().unwrap();
    let machine = inventory(dir.path(), "SYS-1", ["D1", "D2"]);
    let file = dir.path().join("ours.toml");
    let plan = ["burn-in", "plan", "--inventory", &machine, "--profile", path(&file)];
    std::fs::write(&file, smoke.replace("\"smoke\"", "\"ours\"")).unwrap();
    assert!(text(&run(&plan).stdout).starts_with("ours ("));
    let line = |says: &str| smoke.lines().position(|line| line.starts_with(says)).unwrap() + 1;
    for (from, to, line, why) in [
        ("seconds = 120\n", "minutes = 2\n", line("seconds = 120"), "unknown field `minutes`"),
        ("unit = \"count\"\n", "", line("[[rule]]"), "missing field `unit`"),
        ("unit = \"count\"", "unit = \"celsius\"", line("unit = "), "`wrong-answers` is bounded in count"),
        (
            "origin = \"hard rule: a correct part makes no such error\"",
            "origin = \"\"",
            line("origin"),
            "its origin",
        ),
    ] {
        std::fs::write(&file, smoke.replacen(from, to, 1)).unwrap();
        let output = run(&plan);
        refused(&output, &[&format!("{}: burn-in profile, line {line}: ", file.display()), why]);
    }
}

#[test]
fn a_plan_for_another_machine_is_refused_with_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let machine = inventory(dir.path(), "SYS-1", ["D1", "D2"]);
    let plan = run(&["burn-in", "plan", "--inventory", &machine, "--profile", "smoke", "--json"]).stdout;
    let file = dir.path().join("plan.json");
    std::fs::write(&file, &plan).unwrap();
    let check = |machine: &str| run(&["burn-in", "check", path(&file), "--inventory", machine]);
    let output = check(&machine);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("a plan of profile smoke for machine SYS-1: "));
    let plan = text(&plan);
    let line = |says: &str| plan.lines().position(|line| line.contains(says)).unwrap() + 1;
    let words = format!("plan.json: burn-in plan, line {}: ", line("\"SYS-1\""));
    let other = inventory(dir.path(), "SYS-2", ["D1", "D2"]);
    refused(&check(&other), &[&words, "is for machine SYS-1, this is SYS-2: nothing was started"]);
    let words = format!("burn-in plan, line {}: ", line("drive-self-test/D2"));
    let swapped = inventory(dir.path(), "SYS-1", ["D1", "D3"]);
    refused(&check(&swapped), &[&words, "is for drive D2, which is not in this machine"]);
    std::fs::write(&file, plan.replacen("\"seconds\"", "\"minutes\"", 1)).unwrap();
    refused(&check(&machine), &[&format!("line {}: unknown field `minutes`", line("\"seconds\""))]);
}

/// A demo run without drives, and its report.
fn stream(dir: &Path, wrong: u64, close: bool) -> (PathBuf, String, PathBuf) {
    let machine = inventory(dir, "SYS-1", ["D1", "D2"]);
    let mut inventory: Inventory = serde_json::from_slice(&std::fs::read(machine).unwrap()).unwrap();
    inventory.drives.clear();
    let profile = staged::built_in_text("demo").unwrap();
    let course = staged::plan(&inventory, &Profile::built_in("demo").unwrap(), Given::default()).unwrap();
    let opening = Opening {
        models: staged::models(&inventory),
        profile: profile.into(),
        peers: Vec::new(),
        agent: "0.1.0".into(),
        dut: Dut { serial: course.serial.clone(), manufacturer: None, product: None },
        course,
    };
    let (at, mut writer) = (Now(1_795_205_543_004), Writer::new());
    let mut lines = writer.open(&opening, 3, at).unwrap();
    for task in opening.course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()) {
        let device = staged::device(&task.work);
        let figure = |name: &str, value, unit| Figure {
            name: name.into(),
            device: device.clone(),
            value,
            unit,
            attained: None,
        };
        let figures = vec![
            figure("wrong-answers", wrong, Unit::Count),
            figure("rounds", 9, Unit::Count),
            figure("wrong-words", 0, Unit::Count),
            figure("walked", 50, Unit::Permille),
            figure("memory-rate", 900, Unit::MebibytesPerSecond),
        ];
        let done = Done::Measured { figures, faults: Vec::new(), coverage: vec![format!("{device}: all")] };
        let outcome = Outcome { task: task.id.clone(), boot: 3, seconds: task.seconds, done };
        lines += &writer.end(&outcome, &[], at).unwrap();
    }
    let verdict = stream::judge(writer.run().unwrap());
    if close {
        lines += &writer.close(&verdict, at).unwrap();
    }
    let run = writer.run().unwrap();
    let report = Report { course: opening.course, outcomes: run.outcomes.clone(), verdict, stream: run.head };
    let (file, named) = (dir.join("stream.jsonl"), dir.join("report.json"));
    std::fs::write(&file, &lines).unwrap();
    std::fs::write(&named, serde_json::to_vec(&report).unwrap()).unwrap();
    (file, lines, named)
}

#[test]
fn a_stream_is_judged_by_whoever_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (file, lines, report) = stream(dir.path(), 0, true);
    let judge = ["burn-in", "judge", path(&file)];
    let output = run(&[&judge[..], &["--report", path(&report)]].concat());
    let said = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{said}");
    for words in [
        "machine SYS-1, profile demo (",
        &format!("{} lines, unbroken; head ", lines.lines().count()),
        "it is the stream behind the report\n4 of 4 tasks have an outcome\nPASS\n  cpu: all\n",
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
    let said: serde_json::Value =
        serde_json::from_slice(&run(&[&judge[..], &["--json"]].concat()).stdout).unwrap();
    assert_eq!((&said["verdict"]["verdict"], &said["ended"]), (&"pass".into(), &true.into()));

    // Another stream's report.
    stream(dir.path(), 1, true);
    std::fs::write(&file, &lines).unwrap();
    refused(&run(&[&judge[..], &["--report", path(&report)]].concat()), &["the report is of a stream with "]);
    let (_, _, _) = stream(dir.path(), 1, true);
    let output = run(&judge);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout)
            .contains("FAIL\n  cpu/cpu-compare: cpu: wrong-answers 1, the rule is at most 0\n")
    );
    // All that was planned was done, but nobody knows whether something was cut off.
    stream(dir.path(), 0, false);
    let output = run(&judge);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("THE STREAM HAS NO END: so far it comes to\nPASS\n"));
}

#[test]
fn a_stream_with_a_gap_or_a_changed_line_is_refused_with_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let (file, lines, _) = stream(dir.path(), 0, true);
    let all: Vec<&str> = lines.split_inclusive('\n').collect();
    let without = |at: usize| [&all[..at], &all[at + 1..]].concat().concat();
    let line = |says: &str| all.iter().position(|line| line.contains(says)).unwrap();
    let figure = line("\"value\":900");
    let verdict = line("scalerforge.verdict");
    let mut swapped = all.clone();
    swapped.swap(4, 5);
    for (bent, line, why) in [
        (without(5), 6, "its sequenceNumber is 6, 5 must stand here: lines before it were left out"),
        (swapped.concat(), 5, "its sequenceNumber is 5, 4 must stand here"),
        ([&all[..6], &all[5..]].concat().concat(), 7, "the line stands there twice"),
        (lines.replacen("\"value\":900", "\"value\":901", 1), figure + 1, "it was changed"),
        (lines.replacen("\"verdict\":\"pass\"", "\"verdict\":\"pest\"", 1), verdict + 1, ""),
        (lines[..lines.len() - 9].to_owned(), all.len(), "it was cut"),
        (all[..all.len() - 1].concat(), all.len(), "the stream ends where this line must stand"),
    ] {
        std::fs::write(&file, bent).unwrap();
        let output = run(&["burn-in", "judge", path(&file)]);
        refused(&output, &[&format!("stream.jsonl: burn-in result stream, line {line}: "), why]);
    }
    std::fs::write(&file, [all[0].as_bytes(), b"\xff\n"].concat()).unwrap();
    refused(&run(&["burn-in", "judge", path(&file)]), &["stream.jsonl, line 2: it is not UTF-8"]);
}

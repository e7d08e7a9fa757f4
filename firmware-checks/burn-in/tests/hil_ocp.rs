//! The result stream as OCP's own library (`ocptv`, by pip) sees it: every object known, nothing lost, all in order.
//!
//! OCP's JSON schemas are in no package; the library declares the same objects and checks them.  It is in the judges'
//! environment, which `cargo xtask prepare` makes.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a failed unwrap is a failed test")]

use std::{path::Path, process::Command};

use appliance_model::{
    Now,
    burn_in::staged::{Done, Figure, Outcome, Series, Task, Unit},
    inventory::Inventory,
};
use firmware_checks_burn_in::{
    staged::{Given, Profile, built_in_text, device, models, plan},
    stream::{Dut, Opening, Writer, judge},
};

/// A machine with two drives, a GPU and a port.
fn opening() -> Opening {
    let drive = |serial: &str| {
        serde_json::json!({"name": null, "bus": "nvme", "model": "MODEL \u{e9} \"x\"", "serial": serial,
            "firmware": null, "bytes": 1_u64 << 40, "wwid": null, "namespace": 1, "rotational": false, "node": 0,
            "pci": null, "health": null})
    };
    let inventory: Inventory = serde_json::from_value(serde_json::json!({
        "system": {"serial": "SYS-1", "product": "BOX"},
        "threads": [{"cpu": 0, "core": 0, "socket": 0, "node": 0}],
        "memory_bytes": 64_u64 << 30,
        "drives": [drive("D1"), drive("D2")],
        "gpus": [{"uuid": "GPU-1", "model": "H200", "bytes": 150_754_820_096_u64}],
        "nics": [{"name": "eth0", "mac": "02:00:00:00:00:01", "speed_mbps": 25_000, "link_up": true}],
    }))
    .unwrap();
    let given = Given { controller: true, partners: true, ..Given::default() };
    let course = plan(&inventory, &Profile::built_in("smoke").unwrap(), given).unwrap();
    Opening {
        profile: built_in_text("smoke").unwrap().into(),
        models: models(&inventory),
        peers: Vec::new(),
        agent: "0.1.0".into(),
        dut: Dut {
            serial: course.serial.clone(),
            manufacturer: Some("M".into()),
            product: Some("BOX".into()),
        },
        course,
    }
}

/// Figures with each kind of validator, a curve, a fault; the last one could not be done.
fn outcome(task: &Task, last: bool) -> (Outcome, Vec<Series>) {
    let device = device(&task.work);
    let figure = |name: &str, device: &str, value, unit| Figure {
        name: name.into(),
        device: device.into(),
        value,
        unit,
        attained: None,
    };
    let figures = vec![
        figure("wrong-answers", &device, 0, Unit::Count),
        figure("slowest-second", &device, 999, Unit::Permille),
        figure("random-read-rate", &device, 500_000, Unit::OperationsPerSecond),
        figure("gpu-to-gpu-rate", "gpu OTHER", 90_000, Unit::MebibytesPerSecond),
    ];
    let measured = Done::Measured {
        figures,
        faults: vec![format!("{device}: \u{2264} 1")],
        coverage: vec!["all".into()],
    };
    let done = if last { Done::Undone { why: "its time was over".into() } } else { measured };
    let (name, unit) = ("read-rate".into(), Unit::MebibytesPerSecond);
    let curve = Series { device, name, unit, points: vec![(0, 7), (1, 8)] };
    (Outcome { task: task.id.clone(), boot: 2, seconds: task.seconds, done }, vec![curve])
}

/// Two boots; a task is begun twice, and one is never ended.
fn stream() -> String {
    let opening = opening();
    let tasks: Vec<Task> =
        opening.course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()).cloned().collect();
    let mut clock = (1_795_205_543_004..).step_by(1750).map(Now);
    let mut now = || clock.next().unwrap();
    let mut writer = Writer::new();
    let mut text = writer.open(&opening, 1, now()).unwrap();
    text += &writer.begin(&tasks[0], 1, now()).unwrap();
    for (index, task) in tasks[..tasks.len() - 1].iter().enumerate() {
        text += &writer.begin(task, 2, now()).unwrap();
        let (outcome, curves) = outcome(task, index + 2 == tasks.len());
        text += &writer.end(&outcome, &curves, now()).unwrap();
    }
    text += &writer.begin(tasks.last().unwrap(), 2, now()).unwrap();
    let verdict = judge(writer.run().unwrap());
    text + &writer.close(&verdict, now()).unwrap()
}

fn judged(text: &str, name: &str) -> Result<String, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../../.xtask/judges/venv/bin/python");
    assert!(python.is_file(), "the judges are missing: run `cargo xtask prepare`");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, text).unwrap();
    let output = Command::new(python).arg(here.join("tests/ocp.py")).arg(&file).output().unwrap();
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(said(output.stdout)) } else { Err(said(output.stderr)) }
}

#[test]
fn ocps_own_library_knows_every_line() {
    let text = stream();
    assert_eq!(judged(&text, "ocp-good.jsonl"), Ok(text.lines().count().to_string()));
    // The judge judges.
    for (from, to, says) in [
        (
            "\"unit\":\"permille\",\"validators\"",
            "\"units\":\"permille\",\"validators\"",
            "Measurement has unknown {'units'}",
        ),
        ("\"type\":\"FAIL\"", "\"type\":\"FAILED\"", "'FAILED' is not a valid DiagnosisType"),
        ("\"hardwareInfoId\":\"cpu\"}", "\"hardwareInfoId\":\"gnu\"}", "line "),
        ("\"testStepId\":\"0\",\"testStepEnd\"", "\"testStepId\":\"1\",\"testStepEnd\"", "step 1 was ended"),
    ] {
        let bent = text.replacen(from, to, 1);
        assert_ne!(bent, text, "{from}");
        let error = judged(&bent, "ocp-bad.jsonl").unwrap_err();
        assert!(error.starts_with("line ") && error.contains(says), "{says}: {error}");
    }
}

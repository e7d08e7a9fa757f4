//! Streams that are whole, resumed, bent, and as long as they get.

use appliance_model::{
    Now, Serial,
    burn_in::{
        Verdict,
        staged::{Course, Done, Figure, Outcome, Series, Task, Unit},
    },
};

use super::*;
use crate::staged::{Given, Profile, device, models, plan, plan_tests::machine};

const SMOKE: &str = include_str!("../../data/smoke.toml");

fn opening(drives: &[&str]) -> Opening {
    let inventory = machine(drives);
    let profile = Profile::parse(SMOKE.as_bytes()).unwrap();
    let course = plan(&inventory, &profile, Given::default()).unwrap();
    Opening {
        course,
        profile: SMOKE.into(),
        models: models(&inventory),
        peers: Vec::new(),
        agent: "0.1.0".into(),
        dut: Dut {
            serial: Serial::parse("HOST").unwrap(),
            manufacturer: None,
            product: inventory.system.product,
        },
    }
}

fn tasks(course: &Course) -> Vec<Task> {
    course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()).cloned().collect()
}

fn outcome(task: &Task, boot: u32) -> (Outcome, Vec<Series>) {
    let device = device(&task.work);
    let figure = |name: &str, unit| Figure {
        name: name.into(),
        device: device.clone(),
        value: 7,
        unit,
        attained: None,
    };
    let figures = vec![figure("wrong-answers", Unit::Count), figure("memory-rate", Unit::MebibytesPerSecond)];
    let done = Done::Measured {
        figures,
        faults: vec![format!("{device}: \"chain\":\"7\" instead of 8")],
        coverage: vec![format!("{device}: all of it")],
    };
    let curve = Series {
        device,
        name: "temperature".into(),
        unit: Unit::Celsius,
        points: (0..20).map(|second| (second, 40)).collect(),
    };
    (Outcome { task: task.id.clone(), boot, seconds: task.seconds, done }, vec![curve])
}

/// A run of two boots: the first task ends in the first, the second is begun again in the second.
fn written() -> (Writer, String) {
    let opening = opening(&["A"]);
    let tasks = tasks(&opening.course);
    let mut writer = Writer::new();
    let mut clock = (1_795_205_543_004..).step_by(1500).map(Now);
    let mut now = || clock.next().unwrap();
    let mut text = writer.open(&opening, 4, now()).unwrap();
    text += &writer.begin(&tasks[0], 4, now()).unwrap();
    text += &writer.begin(&tasks[1], 4, now()).unwrap();
    let (first, curves) = outcome(&tasks[0], 4);
    text += &writer.end(&first, &curves, now()).unwrap();
    let mut writer = Writer::resume(read(&text).unwrap());
    text += &writer.begin(&tasks[1], 5, now()).unwrap();
    for task in &tasks[1..tasks.len() - 1] {
        let (outcome, curves) = outcome(task, 5);
        text += &writer.end(&outcome, &curves, now()).unwrap();
    }
    let last = tasks.last().unwrap();
    let undone = Outcome {
        task: last.id.clone(),
        boot: 5,
        seconds: 0,
        done: Done::Undone { why: "the stage's time was over".into() },
    };
    text += &writer.end(&undone, &[], now()).unwrap();
    let verdict = judge(writer.run().unwrap());
    text += &writer.close(&verdict, now()).unwrap();
    (writer, text)
}

#[test]
fn what_is_written_is_read() {
    let (writer, text) = written();
    let run = read(&text).unwrap();
    assert_eq!(Some(&run), writer.run());
    assert_eq!(run.head.lines, u64::try_from(text.lines().count()).unwrap());
    assert_eq!(run.boots, [4, 5]);
    assert_eq!(run.outcomes.len(), tasks(&run.opening.course).len());
    assert_eq!(run.series.len(), run.outcomes.len() - 1);
    assert_eq!(run.opening, opening(&["A"]));
    assert!(run.begun.is_empty());
    assert_eq!(run.closed, Some(judge(&run)));
    assert!(matches!(run.closed, Some(Verdict::Fail { .. })));
}

#[test]
fn a_stream_goes_on_from_every_line() {
    let (_, text) = written();
    let lines: Vec<&str> = text.lines().collect();
    for at in 2..lines.len() {
        let mut reader = Reader::default();
        for line in &lines[..at] {
            reader.push(line).unwrap();
        }
        let run = reader.run().unwrap().clone();
        if run.closed.is_some() {
            continue;
        }
        let begun: Vec<String> = run.begun.keys().cloned().collect();
        let mut writer = Writer::resume(run);
        let mut whole: String = lines[..at].iter().map(|line| format!("{line}\n")).collect();
        for task in tasks(&opening(&["A"]).course).iter().filter(|task| begun.contains(&task.id)) {
            whole += &writer.begin(task, 6, Now(1_795_300_000_000)).unwrap();
        }
        let verdict = Verdict::Inconclusive { reasons: vec!["stopped".into()] };
        whole += &writer.close(&verdict, Now(1_795_300_000_000)).unwrap();
        let run = read(&whole).unwrap();
        assert_eq!((run.head, run.closed), (writer.head(), Some(verdict)), "after line {at}");
    }
}

//! Streams that are whole, resumed, bent, and as long as they get.

use std::sync::LazyLock;

use appliance_model::{
    Now, Serial,
    burn_in::{
        Verdict,
        staged::{Course, Done, Figure, Outcome, Series, SpanConsent, Task, Unit},
    },
    inventory::Gpu,
};

use proptest::prelude::*;

use super::*;
use crate::staged::{Given, Profile, built_in_text, device, figures_of, models, plan, plan_tests::machine};

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
fn a_verdict_that_does_not_follow_is_refused_and_a_report_is_of_one_stream() {
    let (run, _) = &*WRITTEN;
    let verdict = run.closed.clone().unwrap();
    assert_eq!(replay(run), Ok(verdict.clone()));
    let report = Report {
        course: run.opening.course.clone(),
        outcomes: run.outcomes.clone(),
        verdict,
        stream: run.head,
    };
    assert_eq!(behind(run, &report), Ok(()));
    let pass = Verdict::Pass { coverage: Vec::new() };
    let mut writer = Writer::new();
    let mut text = writer.open(&run.opening, 1, Now(0)).unwrap();
    text += &writer.close(&pass, Now(0)).unwrap();
    let lies = read(&text).unwrap();
    let refused = replay(&lies).unwrap_err();
    assert_eq!(
        refused,
        Refused { line: 4, why: "it says pass, but inconclusive follows from what stands before it".into() }
    );
    assert!(behind(&lies, &report).unwrap_err().contains("a stream with"));
    for (bent, what) in [
        (Report { verdict: pass, ..report.clone() }, "verdict"),
        (Report { outcomes: Vec::new(), ..report }, "outcomes"),
    ] {
        assert!(behind(run, &bent).unwrap_err().contains(what));
    }
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

/// Takes `lines[..at]`, refuses `bad` in place of the next, and takes that: a refusal leaves a reader as it was.
fn refuses(reader: &mut Reader, bad: &str, line: usize, why: &str) {
    let refused = reader.push(bad).unwrap_err();
    assert_eq!(refused.line, u64::try_from(line).unwrap(), "{why}: {refused}\n{bad}");
}

#[test]
fn what_was_left_out_swapped_doubled_or_cut_is_refused_with_its_line() {
    let (_, text) = written();
    let lines: Vec<&str> = text.lines().collect();
    let mut reader = Reader::default();
    for (index, line) in lines.iter().enumerate() {
        let number = index + 1;
        for (why, bad) in [
            ("left out", lines.get(index + 1).copied()),
            ("left out, two", lines.get(index + 2).copied()),
            ("doubled", index.checked_sub(1).map(|before| lines[before])),
            ("an older one", index.checked_sub(2).map(|before| lines[before])),
            ("cut", line.get(..line.len() - 1)),
            ("cut", line.get(..line.len() / 2)),
            ("empty", Some("")),
            ("two in one", Some(&format!("{line} {line}"))),
        ] {
            if let Some(bad) = bad {
                refuses(&mut reader, bad, number, why);
            }
        }
        reader.push(line).unwrap();
    }
    refuses(&mut reader, lines[lines.len() - 1], lines.len() + 1, "after the end");
    // As a whole text: without the end of the last line, and in the middle of lines that belong together.
    assert_eq!(read(&text[..text.len() - 1]).unwrap_err().line, u64::try_from(lines.len()).unwrap());
    let short: String = lines[..lines.len() - 1].iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(read(&short).unwrap_err().line, u64::try_from(lines.len()).unwrap());
    assert_eq!(read("").unwrap_err().line, 1);
}

/// [`written`], once.
static WRITTEN: LazyLock<(Run, String)> = LazyLock::new(|| {
    let (writer, text) = written();
    (writer.run().cloned().unwrap(), text)
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any other character at any place, and whatever follows is as it was.
    #[test]
    fn a_changed_line_is_refused_with_its_number(
        line in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        other in "[ -~]",
    ) {
        let mut lines: Vec<String> = WRITTEN.1.lines().map(str::to_owned).collect();
        let number = line.index(lines.len());
        let place = place.index(lines[number].len());
        prop_assume!(lines[number].get(place..=place) != Some(other.as_str()));
        lines[number].replace_range(place..=place, &other);
        let bent: String = lines.iter().map(|line| format!("{line}\n")).collect();
        prop_assert_eq!(read(&bent).unwrap_err().line, u64::try_from(number + 1).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whoever changes a line, and the links of it and all that follow, has another head than the one that was signed.
    #[test]
    fn a_stream_written_anew_has_another_head(value in 8_u64.., task in any::<prop::sample::Index>()) {
        let run = &WRITTEN.0;
        let mut outcomes = run.outcomes.clone();
        let index = task.index(outcomes.len() - 1);
        let Done::Measured { figures, .. } = &mut outcomes[index].done else { return Ok(()) };
        figures[0].value = value;
        let at = Now(1_795_205_543_004);
        let mut forged = Writer::new();
        let mut text = forged.open(&run.opening, 4, at).unwrap();
        for outcome in &outcomes {
            let curves = run.series.get(&outcome.task).cloned().unwrap_or_default();
            text += &forged.end(outcome, &curves, at).unwrap();
        }
        prop_assert!(read(&text).unwrap().head != run.head);
    }
}

#[test]
fn an_opening_that_does_not_fit_itself_is_refused() {
    let good = opening(&["A"]);
    let bend = |change: fn(&mut Opening)| {
        let mut bad = good.clone();
        change(&mut bad);
        Writer::new().open(&bad, 1, Now(0)).unwrap_err().to_string()
    };
    for (says, error) in [
        ("the course is of profile smoke", bend(|bad| bad.profile.push('\n'))),
        (
            "line 2: version must be 2",
            bend(|bad| bad.profile = bad.profile.replace("version = 2", "version = 3")),
        ),
        (
            "unknown field `minutes`",
            bend(|bad| bad.profile = bad.profile.replacen("seconds =", "minutes =", 1)),
        ),
        ("missing field `unit`", bend(|bad| bad.profile = bad.profile.replacen("unit = \"count\"\n", "", 1))),
        ("is for machine HOST, this is X", bend(|bad| bad.dut.serial = Serial::parse("X").unwrap())),
        ("two tasks `cpu/cpu-compare`", bend(|bad| bad.course.stages.extend_from_within(..1))),
    ] {
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn what_is_out_of_turn_is_not_written() {
    let opening = opening(&["A"]);
    let tasks = tasks(&opening.course);
    let (at, mut writer) = (Now(0), Writer::new());
    assert_eq!(writer.begin(&tasks[0], 1, at), Err(OutOfTurn("it was not opened".into())));
    writer.open(&opening, 1, at).unwrap();
    writer.begin(&tasks[0], 1, at).unwrap();
    let (good, _) = outcome(&tasks[0], 1);
    let strange = Task { id: "x".into(), ..tasks[0].clone() };
    let long = Series {
        device: "cpu".into(),
        name: "temperature".into(),
        unit: Unit::Celsius,
        points: vec![(0, 0); POINTS_MAX + 1],
    };
    let mut huge = good.clone();
    if let Done::Measured { faults, .. } = &mut huge.done {
        faults.push("x".repeat(LINE_BYTES_MAX));
    }
    for (says, result) in [
        ("open already", writer.open(&opening, 1, at)),
        ("`x` is no task of the course", writer.begin(&strange, 1, at)),
        ("a curve has 513 points", writer.end(&good, &[long], at)),
        ("was begun in boot 1 and ends in boot 2", writer.end(&Outcome { boot: 2, ..good.clone() }, &[], at)),
        ("are read", writer.end(&huge, &[], at)),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    // Nothing of what was refused is in the stream, also where a part of it could have been written.
    let head = writer.head();
    let (other, _) = outcome(&tasks[1], 1);
    let mut huge = other.clone();
    if let Done::Measured { faults, .. } = &mut huge.done {
        faults.push("x".repeat(LINE_BYTES_MAX));
    }
    assert!(writer.end(&huge, &[], at).is_err());
    assert_eq!(writer.head(), head);
    writer.end(&good, &[], at).unwrap();
    assert!(writer.end(&good, &[], at).unwrap_err().0.contains("has its outcome already"));
    let verdict = Verdict::Pass { coverage: Vec::new() };
    writer.close(&verdict, at).unwrap();
    assert!(writer.close(&verdict, at).unwrap_err().0.contains("nothing comes after it"));
}

/// The bound: three days on a machine with 24 drives and 8 GPUs, each figure that its task may give, and four curves
/// of full length for each task, of numbers as long as a fast device's.
#[test]
fn a_soak_of_three_days_has_less_than_20_mb() {
    let serials: Vec<String> = (0..24).map(|index| format!("S64GNE0R60{index:04}")).collect();
    let mut inventory = machine(&serials.iter().map(String::as_str).collect::<Vec<_>>());
    inventory.gpus = (0..8)
        .map(|index| Gpu {
            uuid: format!("GPU-6f1b3c0e-51f2-4f7a-9d3e-2b8a1c0d4e{index:02}"),
            model: "NVIDIA H200".into(),
            ..Gpu::default()
        })
        .collect();
    let text = built_in_text("soak").unwrap();
    let profile = Profile::parse(text.as_bytes()).unwrap();
    let bytes = 30 << 40;
    let consents: Vec<SpanConsent> = inventory
        .drives
        .iter_mut()
        .map(|drive| {
            drive.bytes = bytes;
            SpanConsent { serial: drive.serial.clone().unwrap(), start: 0, bytes }
        })
        .collect();
    let given = Given { consents: &consents, controller: true, partners: true, ..Given::default() };
    let opening = Opening {
        course: plan(&inventory, &profile, given).unwrap(),
        profile: text.into(),
        models: models(&inventory),
        ..opening(&[])
    };
    let tasks = tasks(&opening.course);
    assert!(tasks.len() > 24 * 5, "{}", tasks.len());
    let mut writer = Writer::new();
    writer.open(&opening, 1, Now(0)).unwrap();
    for task in &tasks {
        let device = device(&task.work);
        let figures = figures_of(&task.work)
            .map(|(name, unit)| Figure {
                name: name.into(),
                device: device.clone(),
                value: 12_345_678,
                unit,
                attained: Some(true),
            })
            .collect();
        let curve = |name: &str| Series {
            device: device.clone(),
            name: name.into(),
            unit: Unit::MebibytesPerSecond,
            points: (0..512).map(|point| (point * 168, 7_000_000)).collect(),
        };
        let done = Done::Measured { figures, faults: Vec::new(), coverage: vec!["x".repeat(200); 8] };
        let outcome = Outcome { task: task.id.clone(), boot: 1, seconds: task.seconds, done };
        let curves = ["read-rate", "write-rate", "temperature", "power"].map(curve);
        writer.end(&outcome, &curves, Now(1)).unwrap();
    }
    let verdict = judge(writer.run().unwrap());
    writer.close(&verdict, Now(2)).unwrap();
    let run = writer.run().unwrap();
    assert!(run.bytes < 20_000_000, "{} bytes in {} lines", run.bytes, run.head.lines);
    assert!(run.bytes > 1_000_000);
}

//! A machine's burn-in, looked at before, in the middle and at the end.

use appliance_api::burn_in::{BurnInTaskView, BurnInView};
use appliance_model::{Now, burn_in::staged::Unit};

use super::*;
use crate::{
    staged::{Given, built_in_text, device, models, plan, plan_tests::machine as inventory},
    stream::{self, Dut, Opening, Writer},
};

const DRIVES: [&str; 4] = ["A", "B", "C", "D"];
const BEGAN: Now = Now(1_000_000);

struct Story {
    writer: Writer,
    tasks: Vec<Task>,
}

/// A smoke run of four drives, opened.
fn story() -> Story {
    let (profile, inventory) = (Profile::built_in("smoke").unwrap(), inventory(&DRIVES));
    let course = plan(&inventory, &profile, Given::default()).unwrap();
    let tasks = course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()).cloned().collect();
    let dut = Dut { serial: course.serial.clone(), manufacturer: None, product: None };
    let (profile, models) = (built_in_text("smoke").unwrap().to_owned(), models(&inventory));
    let opening = Opening { course, profile, models, peers: Vec::new(), agent: "0".into(), dut };
    let mut writer = Writer::new();
    writer.open(&opening, 1, BEGAN).unwrap();
    Story { writer, tasks }
}

fn rate(task: &Task, value: u64) -> Outcome {
    let figure = |name: &str, value, unit| Figure {
        name: name.into(),
        device: device(&task.work),
        value,
        unit,
        attained: None,
    };
    let figures = vec![
        figure("random-read-rate", value, Unit::OperationsPerSecond),
        figure("failed-reads", 0, Unit::Count),
        figure("slowest-second", 90, Unit::Permille),
        figure("rounds", 3, Unit::Count),
    ];
    let done = Done::Measured { figures, faults: Vec::new(), coverage: vec!["all".into()] };
    Outcome { task: task.id.clone(), boot: 1, seconds: task.seconds, done }
}

fn task<'a>(view: &'a BurnInView, id: &str) -> &'a BurnInTaskView {
    view.stages.iter().flat_map(|stage| &stage.tasks).find(|task| task.id == id).unwrap()
}

/// Whether the rules of this figure hold.
fn holds(task: &BurnInTaskView, name: &str) -> Vec<Option<bool>> {
    let figure = task.figures.iter().find(|figure| figure.name == name).unwrap();
    figure.rules.iter().map(|rule| rule.holds).collect()
}

#[test]
fn waiting_running_ended() {
    let mut story = story();
    let run = story.writer.run().unwrap();
    let machine = MachineView::default;
    let planned = Seen::planned(&run.opening.course, &run.profile, &run.opening.models);
    let view = look("h", machine(), planned);
    assert_eq!((view.state, view.permille, view.stream), (RunState::Waiting, 0, None));
    assert!(view.stages.iter().flat_map(|stage| &stage.tasks).all(|task| task.state == TaskState::Waiting));
    let whole = view.seconds_left.unwrap();
    assert!(view.rules.iter().all(|rule| !rule.origin.is_empty()) && view.verdict.is_none());

    // The first stage is one wave, the second one task.
    let of = |stage: &str| story.tasks.iter().filter(|task| task.id.starts_with(stage)).cloned().collect();
    let (firsts, seconds): (Vec<Task>, Vec<Task>) = (of("cpu/"), of("memory/"));
    let [second] = seconds.as_slice() else { panic!("{seconds:?}") };
    for first in &firsts {
        story.writer.begin(first, 1, BEGAN).unwrap();
        story.writer.end(&rate(first, 1), &[], BEGAN).unwrap();
    }
    story.writer.begin(second, 1, BEGAN).unwrap();
    let left = second.seconds / 4;
    let live = DeviceProgress {
        task: second.id.clone(),
        device: device(&second.work),
        permille: 750,
        seconds_left: left,
    };
    let live = [live];
    let view = look("h", machine(), Seen { live: &live, ..Seen::of(story.writer.run().unwrap()) });
    assert_eq!(view.state, RunState::Running);
    assert!(firsts.iter().all(|first| task(&view, &first.id).state == TaskState::Done));
    let running = task(&view, &second.id);
    assert_eq!(
        (running.state, running.permille, running.seconds_left),
        (TaskState::Running, 750, Some(left))
    );
    let longest = firsts.iter().map(|first| first.seconds).max().unwrap();
    let gone = u64::from(longest + second.seconds - left);
    assert_eq!(view.seconds_left, Some(whole - gone));
    assert_eq!(u64::from(view.permille), gone * 1000 / whole);

    let verdict = stream::judge(story.writer.run().unwrap());
    story.writer.close(&verdict, Now(BEGAN.0 + 5)).unwrap();
    let view = look("h", machine(), Seen::of(story.writer.run().unwrap()));
    let told = view.verdict.unwrap();
    assert_eq!((view.state, view.permille, view.seconds_left), (RunState::Ended, 1000, None));
    assert_eq!((view.began_ms, view.ended_ms), (Some(BEGAN.0), Some(BEGAN.0 + 5)));
    // Most was never measured, and nothing broke.
    assert_eq!(told.word, VerdictWord::Inconclusive);
    assert!(told.reasons.iter().any(|reason| reason.contains("no outcome")), "{:?}", told.reasons);
}

/// What the page marks as broken is what the judge names, figure by figure.
#[test]
fn rules_are_held_against_figures_as_the_judge_does() {
    let mut story = story();
    let drives: Vec<Task> =
        story.tasks.iter().filter(|task| task.id.starts_with("storage/drive-read/")).cloned().collect();
    assert_eq!(drives.len(), DRIVES.len());
    for (place, drive) in drives.iter().enumerate() {
        story.writer.begin(drive, 1, BEGAN).unwrap();
        story.writer.end(&rate(drive, if place == 2 { 899 } else { 1000 }), &[], BEGAN).unwrap();
    }
    let run = story.writer.run().unwrap();
    let view = look("h", MachineView::default(), Seen::of(run));
    let Verdict::Fail { reasons } = stream::judge(run) else { panic!("a drive is an outlier") };
    for (place, drive) in drives.iter().enumerate() {
        let seen = task(&view, &drive.id);
        assert_eq!(holds(seen, "random-read-rate"), [Some(place != 2)], "{}", drive.id);
        assert_eq!(holds(seen, "failed-reads"), [Some(true)]);
        assert_eq!(holds(seen, "slowest-second"), [Some(false)]);
        // Another workload's figure is judged by nobody here.
        assert_eq!(holds(seen, "rounds"), []);
        let named = |figure: &str| {
            reasons.iter().any(|reason| reason.starts_with(&drive.id) && reason.contains(figure))
        };
        assert_eq!((named("random-read-rate"), named("slowest-second")), (place == 2, true));
    }
}

#[test]
fn the_fleet_by_model_names_outliers() {
    let profile = Profile::built_in("smoke").unwrap();
    let measured = |model: &str, device: u64, value| Measured {
        model: model.into(),
        stage: "storage".into(),
        figure: "random-read-rate".into(),
        unit: Unit::OperationsPerSecond,
        device: format!("drive {device}"),
        host: "h".into(),
        serial: "S".into(),
        value,
        at: None,
    };
    for (values, outliers, numbers) in [
        // Three others are needed to be compared with.
        (vec![1, 1000, 1000], 0, (1, 1000, 1000)),
        (vec![899, 1000, 1000, 1000], 1, (899, 1000, 1000)),
        (vec![900, 1000, 1000, 1000], 0, (900, 1000, 1000)),
        (vec![2000, 1000, 500, 1000], 1, (500, 1000, 2000)),
        (vec![7], 0, (7, 7, 7)),
    ] {
        let all = (0..).zip(&values).map(|(device, value)| measured("A", device, *value)).collect();
        let models = by_model(all, &profile).models;
        let figure = &models[0].figures[0];
        assert_eq!((figure.min, figure.median, figure.max), numbers, "{values:?}");
        assert_eq!(figure.values.iter().filter(|value| value.outlier).count(), outliers, "{values:?}");
        assert_eq!(figure.bound_permille, Some(900));
        assert!(figure.values.is_sorted_by_key(|value| value.value));
    }
    let two = by_model(vec![measured("B", 1, 1), measured("A", 2, 1)], &profile).models;
    assert_eq!(two.iter().map(|model| model.model.as_str()).collect::<Vec<_>>(), ["A", "B"]);
    assert!(by_model(Vec::new(), &profile).models.is_empty());
}

#[test]
fn a_machine_in_a_few_lines() {
    let mut machine_of = inventory(&DRIVES);
    machine_of.drives[0].model = Some("x".repeat(5000));
    let view = machine(&machine_of, "HOST", Some("R1".into()));
    let part = |kind: &str| view.parts.iter().find(|part| part.kind == kind).map(|part| part.what.as_str());
    assert_eq!((view.serial.as_str(), view.model.as_deref()), ("HOST", Some("BOX")));
    assert!(part("drives").unwrap().starts_with("3 × MODEL, 1.0 TB; xxx"), "{:?}", part("drives"));
    assert!(part("drives").unwrap().len() < 3000);
    assert_eq!(part("drive serials"), Some("A, B, C, D"));
    assert_eq!((part("memory"), part("GPUs")), (Some("64 GiB usable"), None));
}

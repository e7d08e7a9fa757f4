//! Streams as they come, and as they must not come, over a real store.

use appliance_enrol::Stage;
use appliance_model::{
    Now,
    burn_in::staged::{Done, Figure, Outcome, Unit},
    inventory::{Bus, Drive, System, Thread},
};
use appliance_store::NewHost;
use firmware_checks_burn_in::{
    staged::Profile,
    stream::{Dut, Opening, Writer},
};
use tempfile::TempDir;

use super::*;

const PROFILE: &str = r#"
version = 2
name = "test"
about = "A test."
seconds_max = 60
[[stage]]
name = "storage"
seconds_max = 60
[[stage.job]]
work = "drive-read"
seconds = 2
[[rule]]
figure = "failed-reads"
at_most = 0
unit = "count"
origin = "a test"
"#;

const AT: Now = Now(1_700_000_000_000);

struct Site {
    _dir: TempDir,
    store: Store,
    desks: Desks,
    host: HostId,
    ordered: Ordered,
}

fn inventory() -> Inventory {
    let drive = |serial: &str| Drive {
        name: Some(serial.to_lowercase()),
        bus: Bus::Nvme,
        serial: appliance_model::Serial::parse(serial),
        model: Some("MODEL".into()),
        bytes: 1 << 30,
        namespace: Some(1),
        ..Drive::default()
    };
    Inventory {
        system: System { serial: appliance_model::Serial::parse("S1"), ..System::default() },
        threads: vec![Thread::default()],
        memory_bytes: Some(1 << 30),
        drives: vec![drive("D1"), drive("D2")],
        ..Inventory::default()
    }
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store.sqlite")).unwrap();
        let serial = appliance_model::Serial::parse("S1").unwrap();
        let facts =
            NewHost { serial, model: None, position: None, bmc: None, bmc_pin: None, macs: Vec::new() };
        let host = store.remember(&facts, AT).unwrap();
        let (inventory, profile) = (inventory(), Profile::parse(PROFILE.as_bytes()).unwrap());
        let ordered = Ordered {
            course: staged::plan(&inventory, &profile, Given::default()).unwrap(),
            consents: Vec::new(),
            profile: PROFILE.into(),
            models: staged::models(&inventory),
            peers: Vec::new(),
        };
        let plan = serde_json::to_string(&ordered).unwrap();
        store.begin_burn_in(&host, &plan, stream::start(), AT).unwrap();
        Self { _dir: dir, store, desks: Desks::default(), host, ordered }
    }

    /// What an agent writes: the opening, two tasks, and the verdict, call by call.
    fn parts(&self, failed: u64) -> (Vec<String>, Report) {
        let opening = Opening {
            course: self.ordered.course.clone(),
            profile: self.ordered.profile.clone(),
            models: self.ordered.models.clone(),
            peers: Vec::new(),
            agent: "0.1.0".into(),
            dut: Dut { serial: self.ordered.course.serial.clone(), manufacturer: None, product: None },
        };
        let mut writer = Writer::new();
        let mut parts = vec![writer.open(&opening, 1, AT).unwrap()];
        for task in self.ordered.course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()) {
            let device = staged::device(&task.work);
            let figure = |name: &str, value, unit| Figure {
                name: name.into(),
                device: device.clone(),
                value,
                unit,
                attained: None,
            };
            let figures = vec![
                figure("failed-reads", failed, Unit::Count),
                figure("random-read-rate", 90_000, Unit::OperationsPerSecond),
            ];
            let done = Done::Measured { figures, faults: Vec::new(), coverage: vec![device.clone()] };
            let outcome = Outcome { task: task.id.clone(), boot: 1, seconds: task.seconds, done };
            parts.push(writer.begin(task, 1, AT).unwrap());
            parts.push(writer.end(&outcome, &[], AT).unwrap());
        }
        let verdict = stream::judge(writer.run().unwrap());
        parts.push(writer.close(&verdict, AT).unwrap());
        let run = writer.run().unwrap();
        let report = Report {
            course: self.ordered.course.clone(),
            outcomes: run.outcomes.clone(),
            verdict,
            stream: run.head,
        };
        (parts, report)
    }

    fn take(&self, from: usize, text: &str) -> Event {
        take(&self.desks, &self.store, &self.host, from as u64, text).unwrap()
    }

    fn judge(&self, report: &Report) -> Event {
        let json = serde_json::to_string(report).unwrap();
        judge(&self.desks, &self.store, &self.host, report, &json).unwrap()
    }

    fn stored(&self) -> String {
        let run = self.store.burn_in(&self.host).unwrap().unwrap();
        let found = self.store.burn_in_lines(run.id, 0, usize::MAX).unwrap();
        found.map_or_else(String::new, |(_, text)| text)
    }
}

fn lines(text: &str) -> usize {
    text.lines().count()
}

fn why(event: Event) -> String {
    let Event::Unfit(Refusal { rule, text }) = event else { panic!("{event:?}") };
    format!("{rule}: {text}")
}

#[test]
fn a_stream_is_kept_as_it_comes_and_once() {
    let site = Site::new();
    let (parts, report) = site.parts(0);
    let mut from = 0;
    for (index, part) in parts.iter().enumerate() {
        // Each is said twice; and the appliance dies and forgets in the middle.
        for _ in 0..2 {
            let event = site.take(from, part);
            let Event::StepDone { done } = event else { panic!("{event:?}") };
            assert_eq!(done as usize, (index / 2).min(2), "{index}");
        }
        if index == 2 {
            drop(site.desks.0.lock().unwrap().drain());
        }
        from += lines(part);
    }
    assert_eq!(site.stored(), parts.concat());
    let run = stream::read(&site.stored()).unwrap();
    assert_eq!((run.head, run.closed.as_ref()), (report.stream, Some(&report.verdict)));
    // Two times, as after an answer that was lost.
    for _ in 0..2 {
        let event = site.judge(&report);
        assert!(matches!(&event, Event::BurnInDone { verdict: Verdict::Pass { .. }, .. }), "{event:?}");
    }
    let figures = site.store.figures().unwrap();
    assert_eq!(figures.len(), 4);
    assert!(figures.iter().all(|figure| figure.model == "MODEL" && figure.stage == "storage"));
    assert!(matches!(site.store.host(&site.host).unwrap().stage, Stage::Found));
}

#[test]
fn what_does_not_belong_is_refused_with_its_line_and_what_came_before_stays() {
    for (bend, says) in [
        (None, "line 4: it was left out"),
        (Some(("drive-read/D1", "drive-read/D2")), "line 5: it was changed"),
        (Some(("\"boot\":1", "\"boot\":2")), "line 4: "),
        (Some(("}\n", "}")), "the last line has no end"),
    ] {
        let site = Site::new();
        let (parts, _) = site.parts(0);
        site.take(0, &parts[0]);
        let from = lines(&parts[0]);
        let event = match bend {
            None => site.take(from + 1, &parts[1]),
            Some((old, new)) if says.contains("line 5") => {
                let (first, second) = parts[1].split_once('\n').unwrap();
                site.take(from, &format!("{first}\n{}", second.replacen(old, new, 1)))
            }
            Some((old, new)) => {
                let text = parts[1].trim_end().to_owned() + if new == "}" { "" } else { "\n" };
                site.take(from, &if new == "}" { text } else { text.replacen(old, new, 1) })
            }
        };
        let why = why(event);
        assert!(why.starts_with("burn-in-stream: burn-in result stream") && why.contains(says), "{why}");
        assert!(site.stored().starts_with(&parts[0]));
    }
}

#[test]
fn another_opening_report_or_verdict_than_ours_is_refused() {
    let (site, mut other) = (Site::new(), Site::new());
    other.ordered.models.insert("drive D1".into(), "ANOTHER".into());
    let (foreign, _) = other.parts(0);
    assert!(why(site.take(0, &foreign[0])).contains("line 2: it opens another burn-in than was ordered"));
    assert_eq!(site.stored(), "");

    // Its drive failed reads, and the agent says that all is well.
    let site = Site::new();
    let (parts, report) = site.parts(3);
    site.take(0, &parts.concat());
    let lie = Report { verdict: Verdict::Pass { coverage: Vec::new() }, ..report.clone() };
    assert!(why(site.judge(&lie)).contains("not what its own results amount to"));
    let mut better = report.clone();
    better.outcomes.remove(0);
    assert!(why(site.judge(&better)).contains("not of the result stream that it has sent"));
    let mut elsewhere = report.clone();
    elsewhere.course.profile = "smoke".into();
    assert!(why(site.judge(&elsewhere)).contains("another plan"));
    assert!(matches!(site.judge(&report), Event::BurnInDone { verdict: Verdict::Fail { .. }, .. }));
    assert!(site.store.figures().unwrap().is_empty(), "who fails is no measure for others");
    // People see it all the same, once it is put aside.
    let mut row = site.store.host(&site.host).unwrap();
    let shown = |row: &HostRow| fleet::shown(&site.desks, &site.store, std::slice::from_ref(row)).unwrap();
    assert!(shown(&row).is_empty());
    row.stage = Stage::Quarantined { was: "burning-in".into(), rule: "burn-in".into(), why: "reads".into() };
    assert_eq!(shown(&row).iter().map(|one| one.value).collect::<Vec<_>>(), [3, 90_000, 3, 90_000]);
}

#[test]
fn nothing_is_taken_for_a_burn_in_that_nobody_ordered() {
    let site = Site::new();
    let (parts, report) = site.parts(0);
    site.store.end_burn_in(&site.host, AT).unwrap();
    assert!(why(site.take(0, &parts[0])).contains("no burn-in of this host"));
    assert!(why(site.judge(&report)).contains("nobody ordered"));
}

//! Remedies: one open for a host, one driver, each state with its line, and nothing lost by a restart.

use std::collections::BTreeMap;

use appliance_enrol::{
    Change, Remedy, RemedyAct, RemedyHappened, RemedyPlan, RemedyStep, Reply, Restart, Setting, SettingValue,
    Sight,
};
use appliance_model::{Serial, Ticket};

use super::{NOW, one_host, open};

fn plan() -> RemedyPlan {
    let setting = Setting { from: SettingValue::Flag(false), to: SettingValue::Flag(true) };
    let step = RemedyStep {
        what: "set the BIOS settings and restart".into(),
        because: vec!["BIOS setting virtualization is off".into()],
        change: Change::Settings { settings: BTreeMap::from([("SVMMode".into(), setting)]) },
        restart: Restart::Host,
    };
    RemedyPlan { serial: Serial::parse("S1").unwrap(), steps: vec![step] }
}

#[test]
fn a_run_has_one_driver_and_survives_a_restart() {
    let (dir, store, host) = one_host();
    assert_eq!(store.remedy(&host).unwrap(), None);
    let id = store.begin_remedy(&host, &plan(), "ada", NOW).unwrap().unwrap();
    assert_eq!(store.begin_remedy(&host, &plan(), "bob", NOW).unwrap(), None, "one at a time");
    let key = Ticket([7; 16]);
    let sight = Sight {
        there: false,
        waiting: false,
        tasks: ["/T/1".to_owned()].into(),
        fetched: false,
        shows: "off".into(),
        reset: None,
    };
    let turn = Remedy::start().turn(&plan(), RemedyHappened::Looked(sight, key), NOW);
    assert_eq!(turn.act, RemedyAct::Send(key));
    let step = (&Remedy::start(), &turn.to);
    assert!(store.turn_remedy(id, step, turn.line.as_deref(), NOW).unwrap());
    assert!(!store.turn_remedy(id, step, turn.line.as_deref(), NOW).unwrap(), "one driver");
    store.remedy_percent(id, Some(40)).unwrap();
    store.remedy_fetched(id, key).unwrap();
    drop(store);

    let store = open(dir.path());
    let rows = store.open_remedies().unwrap();
    let row = rows.first().unwrap();
    assert_eq!((row.id, &row.host, &row.state, row.digest), (id, &host, &turn.to, plan().digest()));
    assert_eq!((row.percent, row.fetched, row.allowed_by.as_str()), (Some(40), Some(key), "ada"));
    let failed = turn.to.turn(&plan(), RemedyHappened::Told(Reply::Refused("no licence".into())), NOW);
    assert!(store.turn_remedy(id, (&turn.to, &failed.to), failed.line.as_deref(), NOW).unwrap());
    assert_eq!(store.open_remedies().unwrap(), []);
    let row = store.remedy(&host).unwrap().unwrap();
    assert_eq!((row.ended_at, row.percent, row.state.name()), (Some(NOW), None, "failed"));
    let lines: Vec<String> = store.remedy_lines(id).unwrap().into_iter().map(|line| line.text).collect();
    assert!(lines[0].contains("allowed by ada") && lines[0].contains("serial S1"), "{lines:?}");
    assert!(lines[1].contains("the controller is told") && lines[2].contains("no licence"), "{lines:?}");
    assert_eq!(lines.len(), 3, "a turn that was not made has no line");
    assert_ne!(store.begin_remedy(&host, &plan(), "bob", NOW).unwrap(), None, "an ended one makes room");
}

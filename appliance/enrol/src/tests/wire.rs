//! The records: stages and effects as the store has them.  **If a test here fails, change your code, not this test**:
//! stores with these bytes exist.

use super::*;
use crate::{Effect, why};

/// 32 bytes of hex.
fn r(byte: &str) -> String {
    byte.repeat(32)
}

#[test]
fn stages_v1() {
    let rows = [
        ("found", r#"{"stage":"found"}"#.to_owned()),
        ("booting", r#"{"stage":"booting","attempt":1,"until":1010000}"#.to_owned()),
        (
            "challenged",
            format!(
                r#"{{"stage":"challenged","boot":{{"nonce":"{}","at":500}},"identity":"{}","transcript":"{}","until":1010000}}"#,
                r("01"),
                r("02"),
                r("03")
            ),
        ),
        (
            "burning-in",
            format!(
                r#"{{"stage":"burning-in","boot":{{"nonce":"{}","at":500}},"attested":{{"node":"{}","evidence":"{}","reset_count":3,"tier":"T1"}},"done":1,"steps":3}}"#,
                r("01"),
                r("0a"),
                r("0b")
            ),
        ),
        (
            "registered",
            format!(
                r#"{{"stage":"registered","bound":{{"node":"{}","evidence":"{}","unit_root":"{root}","tier":"T1"}},"carved":{{"class":"storage-nvme","capacity":2,"units":5,"unit_root":"{root}"}},"price":{{"block":7,"required":"100","balance":"100","factors":["2 × 50"]}},"transaction":"{}","block":9}}"#,
                r("0a"),
                r("0c"),
                r("06"),
                root = r("0d")
            ),
        ),
        (
            "retired",
            format!(
                r#"{{"stage":"retired","node":"{}","by":"kim","transaction":"{}","block":12}}"#,
                r("0a"),
                r("07")
            ),
        ),
        (
            "quarantined",
            r#"{"stage":"quarantined","was":"booting","rule":"boot","why":"it never said hello"}"#.to_owned(),
        ),
    ];
    for (name, json) in rows {
        assert_eq!(serde_json::to_string(&stage(name)).unwrap(), json);
        assert_eq!(serde_json::from_str::<Stage>(&json).unwrap(), stage(name));
    }
}

#[test]
fn effects_v1() {
    let rows = [
        (Effect::PowerOn { attempt: 2 }, r#"{"effect":"power-on","attempt":2}"#.to_owned()),
        (
            Effect::MakeChallenge { identity: digest(2) },
            format!(r#"{{"effect":"make-challenge","identity":"{}"}}"#, r("02")),
        ),
        (Effect::PlanBurnIn, r#"{"effect":"plan-burn-in"}"#.to_owned()),
        (Effect::Register, r#"{"effect":"register"}"#.to_owned()),
    ];
    for (effect, json) in rows {
        assert_eq!(serde_json::to_string(&effect).unwrap(), json);
        assert_eq!(serde_json::from_str::<Effect>(&json).unwrap(), effect);
        assert!(!effect.waiting_for().is_empty());
    }
}

#[test]
fn every_stage_survives_its_record() {
    for stage in stages() {
        let json = serde_json::to_string(&stage).unwrap();
        assert_eq!(serde_json::from_str::<Stage>(&json).unwrap(), stage);
        assert!(json.contains(&format!(r#""stage":"{}""#, stage.name())), "{json}");
    }
    assert!(serde_json::from_str::<Stage>(r#"{"stage":"dreaming"}"#).is_err());
}

#[test]
fn every_stage_says_why_it_waits() {
    for stage in stages() {
        let plain = why(&stage, NOW, None);
        for text in [&plain.waiting_for, &plain.ends_when, &plain.technician] {
            assert!(text.len() > 5, "{}: {plain:?}", stage.name());
        }
        assert_eq!(plain.since, NOW);
        let sick = why(&stage, NOW, Some("the BMC is asleep"));
        assert!(sick.waiting_for.ends_with("; last try: the BMC is asleep"), "{}", sick.waiting_for);
    }
    let short = Stage::Approving { bound: bound(), carved: carved(), price: price(3, 1) };
    assert_eq!(
        why(&short, NOW, None).waiting_for,
        "0.000000000000000002 ICNT more on the operator's account"
    );
    assert!(why(&short, NOW, None).ends_when.contains("host retry"));
}

#[test]
fn every_event_has_a_line_for_the_journal() {
    let mut lines: Vec<String> = (0..EVENTS).map(|index| event(index, 3).summary()).collect();
    assert!(lines.iter().all(|line| !line.is_empty() && !line.contains('\n')), "{lines:#?}");
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), EVENTS);
}

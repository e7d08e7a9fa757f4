//! A machine matches its own blueprint, always; and whatever is taken out of it or exchanged is named.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod machines;

use appliance_model::inventory::{Bus, Inventory};
use firmware_checks_baseline::{
    Blueprint, Library, Machine, Report, Verdict, blueprint_from, check_blueprint,
};
use proptest::prelude::*;

fn blueprint(machine: &Machine) -> Blueprint {
    let text = blueprint_from(machine, "x").unwrap();
    let mut library = Library::default();
    library.add("x.toml", text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    library.blueprints.remove(0)
}

fn check(blueprint: &Blueprint, agent: &Inventory, bmc: Option<&Inventory>) -> Report {
    check_blueprint(&Machine::of(Some(agent), bmc), blueprint)
}

/// Some machine: of each kind of part as many as it likes, in sizes and models that need not be equal.
fn machine() -> impl Strategy<Value = (Inventory, Inventory)> {
    let text = prop::sample::select(vec!["A", "Model *x?", " padded ", "Ünïcode \"quoted\"", "B'#\\n"]);
    let drive = (text.clone(), 1u64..1 << 50, prop::bool::ANY);
    let dimm = (prop::sample::select(vec![16u64, 32, 64]), prop::option::of(1u32..9000));
    (prop::collection::vec(drive, 0..8), prop::collection::vec(dimm, 1..8), text, 0usize..3, prop::bool::ANY)
        .prop_map(|(drives, dimms, model, gpus, placed)| {
            let (mut agent, mut bmc) = (machines::agent(), machines::bmc());
            let (drive, dimm) = (agent.drives[0].clone(), agent.dimms[0].clone());
            agent.drives.clear();
            for (at, (model, bytes, nvme)) in drives.into_iter().enumerate() {
                let mut one = drive.clone();
                one.serial = appliance_model::Serial::parse(&format!("D{at}"));
                (one.model, one.bytes) = (Some(model.to_owned()), bytes);
                one.bus = if nvme { Bus::Nvme } else { Bus::Unknown };
                agent.drives.push(one);
            }
            bmc.drives.clone_from(&agent.drives);
            for (at, one) in bmc.drives.iter_mut().enumerate() {
                one.bay = placed.then(|| format!("Bay {at}"));
            }
            agent.dimms.clear();
            for (at, (gib, speed)) in dimms.into_iter().enumerate() {
                let mut one = dimm.clone();
                (one.bytes, one.speed_mts) = (gib << 30, speed);
                one.slot = if placed { format!("A{at}") } else { "DIMM".into() };
                agent.dimms.push(one);
            }
            agent.cpus[0].model = Some(model.to_owned());
            agent.gpus.truncate(gpus);
            (agent, bmc)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_machine_matches_its_own_blueprint((agent, bmc) in machine()) {
        let blueprint = blueprint(&Machine::of(Some(&agent), Some(&bmc)));
        let report = check(&blueprint, &agent, Some(&bmc));
        prop_assert!(report.findings.is_empty(), "{:#?}", report);
        prop_assert!(report.verdict == Verdict::Pass || report.verdict == Verdict::Inconclusive);
    }

    #[test]
    fn a_part_taken_out_is_named((agent, bmc) in machine(), which in 0usize..5, at in 0usize..8) {
        let blueprint = blueprint(&Machine::of(Some(&agent), Some(&bmc)));
        let mut less = agent.clone();
        let placed = bmc.drives.first().is_some_and(|drive| drive.bay.is_some());
        let name = match which {
            0 if at < less.drives.len() => {
                less.drives.remove(at);
                let bay = format!("drive bay Bay {at} is empty");
                if placed && !less.drives.is_empty() { bay } else { "drive".to_owned() }
            }
            1 if at < less.dimms.len() && less.dimms.len() > 1 => {
                let gone = less.dimms.remove(at);
                if gone.slot == "DIMM" { "DIMM is missing".to_owned() } else { format!("DIMM A{at} is empty") }
            }
            2 => { less.cpus.pop(); "CPU is missing".to_owned() }
            3 => { less.pci.clear(); "card".to_owned() }
            4 if less.gpus.len() > 1 => { less.gpus.pop(); "GPU is missing".to_owned() }
            _ => return Ok(()),
        };
        let report = check(&blueprint, &less, Some(&bmc));
        let named = report.findings.iter().any(|finding| finding.text.contains(&name));
        let untold = report.unchecked.iter().any(|one| one.what.contains(&name));
        prop_assert!(named || untold, "{name} {report:#?}");
        prop_assert!(report.verdict != Verdict::Pass);
    }

    #[test]
    fn a_part_exchanged_is_named((agent, bmc) in machine(), which in 0usize..4, at in 0usize..8) {
        let blueprint = blueprint(&Machine::of(Some(&agent), Some(&bmc)));
        let mut other = agent.clone();
        let found = match which {
            0 if at < other.drives.len() => { other.drives[at].model = Some("EXCHANGED".into()); "EXCHANGED" }
            1 if at < other.dimms.len() => { other.dimms[at].bytes = 8 << 30; "8 GiB" }
            2 => { other.cpus[1].model = Some("EXCHANGED".into()); "EXCHANGED" }
            3 if at < other.gpus.len() => { other.gpus[at].model = "EXCHANGED".into(); "EXCHANGED" }
            _ => return Ok(()),
        };
        let report = check(&blueprint, &other, Some(&bmc));
        let named = report.findings.iter().any(|one| one.found.as_deref().is_some_and(|text| text.contains(found)));
        prop_assert!(named, "{report:#?}");
        prop_assert_eq!(report.verdict, Verdict::Blocked);
    }
}

#[test]
fn a_machine_that_tells_too_little_is_no_example() {
    let mut agent = machines::agent();
    agent.dimms.clear();
    agent.system.product = None;
    let error = blueprint_from(&Machine::of(Some(&agent), None), "x").unwrap_err().to_string();
    assert!(error.contains("tells no model") && error.contains("no memory modules"), "{error}");
    assert!(blueprint_from(&Machine::of(Some(&machines::agent()), None), "///").is_err());
}

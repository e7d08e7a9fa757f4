//! Where units are and what they offer, GPUs in parts, failure domains, media: planned, and seen by the checker.

use appliance_carve::{check, check_class, check_tiers};
use appliance_model::{
    inventory::{Drive, Grade, Inventory, Judgement, MigInstance, MigPlace, MigProfile, Reason},
    real::Wishes,
    rules::{Measure, Placement},
    units::{Confidential, Manifest, Resource, Tier, Unit},
};

use crate::machine::{RACK, carve, complete, inventory, report, rules, timed};

fn unit<'a>(manifest: &'a Manifest, id: &str) -> &'a Unit {
    manifest.units.iter().find(|unit| unit.id == id).unwrap()
}

#[test]
fn units_say_where_they_are_and_what_they_offer() {
    let machine = complete();
    let placement = Placement { rack: Some("R12".into()), pdus: vec!["B".into(), "A".into(), "B".into()] };
    let burn_in = report(&machine, 500_000);
    let carved = appliance_carve::carve(&machine, &burn_in, &rules(), &placement, Wishes::default()).unwrap();
    let manifest = &carved.manifest;
    assert_eq!(check(&machine, manifest), []);
    assert_eq!(check_class(&rules(), manifest), []);
    assert_eq!(check_tiers(&machine, &burn_in, manifest), []);
    let gpu = unit(manifest, "gpu-0005");
    assert_eq!(gpu.pcie, ["0001:00:01.0", "0001:12:00.0", "0001:25:00.0"]);
    assert_eq!((gpu.node, gpu.confidential.as_slice()), (Some(1), &[Confidential::Gpu][..]));
    assert_eq!(unit(manifest, "compute-0000").confidential, [Confidential::SevSnp]);
    assert_eq!(unit(manifest, "storage-0023").pcie, ["0001:00:01.0", "0001:57:00.0"]);
    let domains = manifest.domains.as_ref().unwrap();
    assert_eq!(domains.chassis.as_ref().unwrap().as_str(), "CHASSIS-7");
    assert_eq!((domains.rack.as_deref(), domains.pdus.join(" ").as_str()), (Some("R12"), "A B"));
    let by = manifest.classed_by.as_ref().unwrap();
    assert_eq!((by.capacity, by.rules.id.as_str()), (Measure::Gpus, "classes"));
    assert!(carved.tiers[0].why.starts_with("500000 random reads a second"), "{:?}", carved.tiers[0]);
}

#[test]
fn a_gpu_is_sold_whole_or_in_parts_and_never_both() {
    let machine = complete();
    let carved = carve(&machine, &report(&machine, 1)).unwrap();
    let count = |kind| carved.manifest.units.iter().filter(|unit| unit.id.starts_with(kind)).count();
    assert_eq!((count("gpu-0"), count("gpu-slice-"), carved.manifest.capacity), (7, 3, 7));
    let slice = unit(&carved.manifest, "gpu-slice-0002");
    let Resource::GpuSlice { uuid, gpu, bytes, .. } = &slice.resource else { panic!("{slice:?}") };
    assert_eq!((uuid.as_str(), gpu.as_str(), *bytes), ("MIG-2", "GPU-0007", 20 << 30));
    let left_out = |change: &dyn Fn(&mut Inventory)| {
        let mut machine = complete();
        change(&mut machine);
        carve(&machine, &report(&machine, 1))
            .unwrap()
            .left_out
            .iter()
            .map(|part| part.why.clone())
            .collect::<Vec<_>>()
    };
    fn cut(machine: &mut Inventory) -> &mut appliance_model::inventory::MigMode {
        machine.gpus[7].mig.get_or_insert_default()
    }
    for (why, says) in [
        (left_out(&|machine| cut(machine).instances.clear()), "cut into nothing"),
        (left_out(&|machine| cut(machine).instances[0].bytes = 1 << 40), "MIG instances have"),
        (left_out(&|machine| cut(machine).instances[0].uuid = "MIG-1".into()), "no UUID of its own"),
        (left_out(&|machine| machine.gpus[1].judged = Some(failing())), "judged as failing: too hot"),
        (left_out(&|machine| machine.drives[1].smart = Some(failing())), "judged as failing: too hot"),
    ] {
        assert!(why.len() == 1 && why[0].contains(says), "{says}: {why:?}");
    }
}

#[test]
fn a_gpu_is_cut_as_the_site_wants_and_named_by_places() {
    let kind = |slices, gib: u64, count_max, size, starts: &[u32]| MigProfile {
        id: slices,
        slices,
        bytes: gib << 30,
        count_max,
        size,
        starts: starts.to_vec(),
    };
    let mut machine = complete();
    let mig = machine.gpus[7].mig.get_or_insert_default();
    mig.instances.clear();
    mig.profiles =
        vec![kind(1, 9, 7, 1, &[0, 1, 2, 3, 4, 5, 6]), kind(3, 39, 2, 4, &[4, 0]), kind(4, 90, 1, 4, &[0])];
    let cut = |machine: &Inventory, slices| {
        let wishes = Wishes { gpu_slices: Some(slices), ..Wishes::default() };
        let burn_in = report(machine, 1);
        let carved =
            appliance_carve::carve(machine, &burn_in, &rules(), &Placement::default(), wishes).unwrap();
        assert_eq!(check(machine, &carved.manifest), []);
        let parts = carved.manifest.units.iter().filter_map(|unit| {
            let Resource::GpuSlice { uuid, .. } = &unit.resource else { return None };
            Some(uuid.clone())
        });
        let parts: Vec<String> = parts.collect();
        (parts, carved)
    };
    let (parts, carved) = cut(&machine, 3);
    assert_eq!(parts, ["GPU-0007/3g@0", "GPU-0007/3g@4"]);
    assert_eq!(cut(&machine, 1).0.len(), 7);
    // A kind that it has not, and one that is larger than it: it is left out, as before.
    for slices in [2, 4] {
        let (parts, carved) = cut(&machine, slices);
        assert!(parts.is_empty() && carved.left_out[0].why.contains("gpu_slices"), "{:?}", carved.left_out);
    }
    // Once they are there, they are the same units; what is cut otherwise is sold as it is.
    let place = |slices, start| MigInstance {
        uuid: format!("MIG-{start}"),
        bytes: 38 << 30,
        place: Some(MigPlace { slices, start }),
        ..MigInstance::default()
    };
    machine.gpus[7].mig.get_or_insert_default().instances = vec![place(3, 4), place(3, 0)];
    assert_eq!(cut(&machine, 3).1.manifest, carved.manifest);
    assert_eq!(cut(&machine, 1).0, ["MIG-0", "MIG-4"]);
    // The checker sees parts that lie on one another, begin where none can, or are larger than their kind.
    let lie = |change: &dyn Fn(&mut MigPlace, &mut u64)| {
        let mut manifest = carved.manifest.clone();
        let last = manifest.units.iter_mut().rev().find(|unit| unit.id == "gpu-slice-0001").unwrap();
        let Resource::GpuSlice { place: Some(place), bytes, .. } = &mut last.resource else {
            panic!("{last:?}")
        };
        change(place, bytes);
        check(&machine, &manifest).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    for (said, words) in [
        (lie(&|place, _| place.start = 0), "3 slices of GPU GPU-0007 from 0"),
        (lie(&|place, _| place.start = 2), "3 slices of GPU GPU-0007 from 2"),
        (lie(&|place, _| place.slices = 2), "2 slices of GPU GPU-0007 from 4"),
        (lie(&|_, bytes| *bytes += 1), "bytes"),
        (lie(&|_, bytes| *bytes = 60 << 30), "GPU GPU-0007"),
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

fn failing() -> Judgement {
    let reason = Reason { rule: "r".into(), grade: Grade::Fail, text: "too hot".into() };
    Judgement { grade: Grade::Fail, reasons: vec![reason] }
}

#[test]
fn the_checker_sees_lies_about_places_parts_and_offers() {
    let machine = complete();
    let good = carve(&machine, &report(&machine, 1)).unwrap().manifest;
    let lie = |id: &str, change: &dyn Fn(&mut Unit)| {
        let mut manifest = good.clone();
        change(manifest.units.iter_mut().find(|unit| unit.id == id).unwrap());
        check(&machine, &manifest).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let whole = |uuid: &str| Resource::Gpu { uuid: uuid.into(), bytes: 80 << 30 };
    let part = |uuid: &str, gpu: &str, bytes| {
        let (uuid, gpu, profile) = (uuid.into(), gpu.into(), String::new());
        Resource::GpuSlice { uuid, gpu, profile, bytes, place: None }
    };
    for (faults, says) in [
        (lie("compute-0000", &|unit| unit.node = Some(1)), "said to be at node 1, the inventory says node 0"),
        (lie("compute-0000", &|unit| unit.confidential.push(Confidential::Tdx)), "offers [SevSnp, Tdx]"),
        (lie("gpu-0000", &|unit| unit.confidential.clear()), ""),
        (lie("gpu-0000", &|unit| unit.confidential[0] = Confidential::SevSnp), "the inventory says [Gpu]"),
        (lie("memory-0000", &|unit| unit.pcie = vec!["x".into()]), "nothing of the kind"),
        (lie("network-0000", &|unit| unit.pcie.remove(1).clear()), "is below 0000:10:00.0"),
        (lie("network-0000", &|unit| unit.pcie.truncate(2)), "is said to be at 0000:10:00.0"),
        (lie("storage-0000", &|unit| unit.pcie[0] = "0009:00:00.0".into()), "nothing of 0009:00:00.0"),
        (lie("gpu-0006", &|unit| unit.resource = whole("GPU-0007")), "whole, and it is cut into parts"),
        (lie("gpu-0000", &|unit| unit.resource = whole("GPU-0001")), "a second time"),
        (
            lie("gpu-slice-0000", &|unit| unit.resource = part("M", "GPU-0000", 1)),
            "in parts, and it is whole",
        ),
        (lie("gpu-slice-0000", &|unit| unit.resource = part("MIG-1", "GPU-0007", 20 << 30)), "a second time"),
        (
            lie("gpu-slice-0000", &|unit| unit.resource = part("MIG-9", "GPU-0007", 1)),
            "which the inventory does not",
        ),
        (lie("gpu-slice-0000", &|unit| unit.resource = part("MIG-0", "GPU-0007", 1)), "bytes is 1"),
    ] {
        assert!(faults.contains(says), "`{faults}` instead of `{says}`");
    }
    let mut manifest = good.clone();
    manifest.domains.as_mut().unwrap().chassis = appliance_model::Serial::parse("OTHER");
    assert!(check(&machine, &manifest)[0].to_string().contains("chassis is OTHER"));
    let mut sick = machine.clone();
    (sick.drives[0].smart, sick.gpus[0].judged) = (Some(failing()), Some(failing()));
    assert_eq!(check(&sick, &good).len(), 2);
}

#[test]
fn a_class_that_the_rules_do_not_give_is_seen() {
    let machine = complete();
    let good = carve(&machine, &report(&machine, 1)).unwrap().manifest;
    let mut manifest = good.clone();
    manifest.class = "storage".into();
    assert!(check_class(&rules(), &manifest)[0].to_string().contains("class is storage, expected gpu"));
    let mut other = rules();
    other.authority.digest = appliance_model::Digest::of(b"other");
    assert!(check_class(&other, &good)[0].to_string().contains("classed_by is 14d0828b"));
    let old = Manifest { classed_by: None, ..good };
    assert!(check_class(&rules(), &old)[0].to_string().contains("classed_by is nobody"));
    assert_eq!(check(&machine, &old), [], "a manifest of before is judged by its class's name");
}

#[test]
fn fast_means_steady_and_not_out_of_a_cache() {
    let machine = |rotational| {
        let mut machine = inventory(RACK);
        machine.drives = vec![Drive { rotational, ..machine.drives[0].clone() }];
        machine
    };
    for (rotational, readings, tier, says) in [
        (
            Some(false),
            &[(25_000, 300)][..],
            Tier::Fast,
            "25000 random reads a second, 99 in 100 within 300 µs",
        ),
        (None, &[(20_000, 10_000)], Tier::Fast, "20000"),
        (None, &[(90_000, 300), (19_999, 300)], Tier::Slow, "the worst of 2 readings; fast needs 20000"),
        (Some(false), &[(90_000, 10_001), (90_000, 300)], Tier::Slow, "within 10001 µs, the worst of 2"),
        (Some(true), &[(90_000, 300)], Tier::Slow, "it spins: a cache was measured"),
    ] {
        let machine = machine(rotational);
        let mut burn_in = report(&machine, 1);
        burn_in.outcomes.clear();
        let serial = machine.drives[0].serial.clone().unwrap();
        burn_in.outcomes.extend(readings.iter().map(|(iops, p99)| timed(&serial, *iops, *p99, 0)));
        let carved = carve(&machine, &burn_in).unwrap();
        assert_eq!(carved.tiers[0].tier, tier, "{:?}", carved.tiers);
        assert!(carved.tiers[0].why.contains(says), "{:?}", carved.tiers);
        assert_eq!(check_tiers(&machine, &burn_in, &carved.manifest), []);
        let mut lie = carved.manifest.clone();
        for unit in &mut lie.units {
            if let Resource::Storage { tier: sold, .. } = &mut unit.resource {
                *sold = if tier == Tier::Fast { Tier::Slow } else { Tier::Fast };
            }
        }
        assert_eq!(check_tiers(&machine, &burn_in, &lie).len(), 1);
    }
}

//! Carving real shapes of machines, the checker against tampered manifests, and what must hold for any machine.

use appliance_carve::{Carved, Fault, Refusal, check, check_class, check_tiers, unit_root};
use appliance_model::{
    Mac, Serial,
    burn_in::{Verdict, staged::Report},
    inventory::{Bus, Gpu, Inventory},
    real::Wishes,
    rules::Placement,
    units::{Resource, Tier},
};
use proptest::prelude::*;

use crate::machine::{DGX, RACK, Shape, carve, inventory, reading, report, rules};

#[test]
fn a_rack_machine_carves_into_lab() {
    let inventory = inventory(RACK);
    let carved = carve(&inventory, &report(&inventory, 3_000)).unwrap();
    let manifest = &carved.manifest;
    assert_eq!((manifest.class.as_str(), manifest.capacity), ("lab", 1));
    assert_eq!(manifest.reserved_cpus, [0]);
    let ids: Vec<_> = manifest.units.iter().map(|unit| unit.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "compute-0000",
            "memory-0000",
            "memory-0001",
            "memory-0002",
            "memory-0003",
            "memory-0004",
            "network-0000",
            "network-0001",
            "storage-0000",
            "storage-0001",
            "storage-0002"
        ]
    );
    let rejected = carved.decision.rejected().iter();
    let lacks: Vec<_> = rejected.map(|class| (class.class.as_str(), class.lacks.join("; "))).collect();
    assert_eq!(
        lacks,
        [
            ("gpu", "0 GPUs, needs 1; 1 cores to sell, needs 4".to_owned()),
            (
                "storage",
                "3 measured drives, needs 8; 3 TiB on measured drives, needs 8; 1 cores to sell, needs 2"
                    .to_owned()
            ),
            ("compute", "1 cores to sell, needs 16; 1 GiB of memory to sell, needs 32".to_owned()),
        ]
    );
    assert!(carved.left_out.is_empty());
}

#[test]
fn a_large_machine_carves_quickly_and_keeps_siblings_together() {
    let inventory = inventory(DGX);
    let carved = carve(&inventory, &report(&inventory, 500_000)).unwrap();
    assert_eq!((carved.manifest.class.as_str(), carved.manifest.capacity), ("gpu", 8));
    assert_eq!(carved.manifest.reserved_cpus, [0, 256]);
    let cores = carved.manifest.units.iter().filter(|unit| unit.id.starts_with("compute")).count();
    assert_eq!(cores, 255);
    assert_eq!(check(&inventory, &carved.manifest), []);
    assert_eq!(check_class(&rules(), &carved.manifest), []);
    assert_eq!(check_tiers(&inventory, &report(&inventory, 500_000), &carved.manifest), []);
}

#[test]
fn drives_are_sold_by_what_was_measured() {
    let mut inventory = inventory(Shape { drives: 6, ..RACK });
    inventory.drives[2].serial = None;
    inventory.drives[3].bus = Bus::Usb;
    inventory.drives[5].serial = inventory.drives[4].serial.clone();
    let mut burn_in = report(&inventory, 25_000);
    burn_in.outcomes[1] = reading(Serial::parse("D0001").unwrap(), 150, 0);
    let mut carved = carve(&inventory, &burn_in).unwrap();
    let tiers = |carved: &Carved| -> Vec<(String, Tier)> {
        let storage = carved.manifest.units.iter().filter(|unit| unit.id.starts_with("storage"));
        let storage = storage.map(|unit| {
            let Resource::Storage { serial, tier, .. } = &unit.resource else { panic!("{unit:?}") };
            (serial.to_string(), *tier)
        });
        storage.collect()
    };
    assert_eq!(tiers(&carved), [("D0000".into(), Tier::Fast), ("D0001".into(), Tier::Slow)]);
    let why: Vec<_> = carved.left_out.iter().map(|part| format!("{}: {}", part.what, part.why)).collect();
    assert_eq!(
        why,
        [
            "drive nvme2n1 without a serial: it has no serial, so nobody could tell it from another",
            "drive D0003: it is attached by USB: removable, or the BMC's virtual media",
            "drive D0004: another drive or namespace has the same serial",
            "drive D0004: another drive or namespace has the same serial",
        ]
    );
    burn_in.outcomes[0] = reading(Serial::parse("D0000").unwrap(), 25_000, 1);
    burn_in.outcomes.remove(1);
    carved = carve(&inventory, &burn_in).unwrap();
    assert_eq!(tiers(&carved), []);
    assert!(carved.left_out[0].why.contains("1 failed reads"));
    assert!(carved.left_out[1].why.contains("no measurement"));
}

#[test]
fn a_machine_that_cannot_be_carved_is_told_why() {
    let good = inventory(RACK);
    let passed = report(&good, 1);
    let failed =
        Report { verdict: Verdict::Fail { reasons: vec!["cpu: CPU 1 wrong".into()] }, ..passed.clone() };
    let with = |change: &dyn Fn(&mut Inventory)| {
        let mut inventory = good.clone();
        change(&mut inventory);
        inventory
    };
    for (inventory, burn_in, line) in [
        (with(&|i| i.system.serial = None), &passed, "no system serial"),
        (with(&|i| i.threads.clear()), &passed, "no CPU threads"),
        (with(&|i| i.threads[1].cpu = 0), &passed, "CPU 0 twice"),
        (with(&|i| i.memory_bytes = None), &passed, "how much memory"),
        (with(&|i| i.memory_nodes[0].bytes += 1), &passed, "the machine"),
        (with(&|i| i.threads = vec![i.threads[0]; 9_000]), &passed, "9000 threads"),
        (good.clone(), &failed, "burn-in did not pass: cpu: CPU 1 wrong"),
    ] {
        let refusal: Refusal = carve(&inventory, burn_in).unwrap_err();
        assert!(refusal.to_string().contains(line), "{refusal}");
    }
}

#[test]
fn the_checker_sees_every_kind_of_lie() {
    let inventory = inventory(Shape { smt: 2, cores: 4, nodes: 2, ..RACK });
    let inventory =
        Inventory { gpus: vec![Gpu { uuid: "G".into(), bytes: 5, ..Gpu::default() }], ..inventory };
    let carved = carve(&inventory, &report(&inventory, 1)).unwrap();
    assert_eq!(check(&inventory, &carved.manifest), []);
    let lie = |change: &dyn Fn(&mut appliance_model::units::Manifest)| {
        let mut manifest = carved.manifest.clone();
        change(&mut manifest);
        check(&inventory, &manifest)
    };
    let at = |manifest: &appliance_model::units::Manifest, kind: &str| {
        manifest.units.iter().position(|unit| unit.id.starts_with(kind)).unwrap()
    };
    let edit = |kind: &str, resource: Resource| {
        lie(&|manifest| {
            let index = at(manifest, kind);
            manifest.units[index].resource = resource.clone();
        })
    };
    let first = |faults: Vec<Fault>| faults.first().map(ToString::to_string).unwrap_or_default();
    let serial = Serial::parse("D0000").unwrap();
    for (faults, line) in [
        (edit("compute", Resource::Compute { cpus: vec![0, 4] }), "reserved for the host"),
        (edit("compute", Resource::Compute { cpus: vec![2, 6] }), "a second time"),
        (edit("compute", Resource::Compute { cpus: vec![1] }), "but not its sibling 5"),
        (edit("compute", Resource::Compute { cpus: vec![99] }), "does not have"),
        (edit("compute", Resource::Compute { cpus: vec![] }), "no CPU at all"),
        (edit("memory", Resource::Memory { bytes: 1 << 40 }), "bytes of memory, and"),
        (
            edit(
                "storage",
                Resource::Storage { serial: serial.clone(), bytes: 1, tier: Tier::Slow, start: None },
            ),
            "bytes is 1",
        ),
        (
            edit(
                "storage",
                Resource::Storage {
                    serial: Serial::parse("X").unwrap(),
                    bytes: 1,
                    tier: Tier::Slow,
                    start: None,
                },
            ),
            "drive X, which the inventory does not have",
        ),
        (edit("network", Resource::Network { mac: Mac([9; 6]), mbps: None }), "does not have"),
        (edit("network", Resource::Network { mac: Mac([2, 0, 0, 0, 0, 0]), mbps: Some(7) }), "not told"),
        (edit("gpu", Resource::Gpu { uuid: "G".into(), bytes: 6 }), "bytes is 6"),
        (edit("gpu", Resource::Gpu { uuid: "H".into(), bytes: 6 }), "does not have"),
        (lie(&|m| m.reserved_cpus.clear()), "the host keeps 0 CPUs"),
        (lie(&|m| m.reserved_bytes = 0), "bytes of memory, at least"),
        (lie(&|m| m.capacity += 1), "capacity is"),
        (lie(&|m| (m.class, m.classed_by) = ("huge".into(), None)), "class is huge"),
        (lie(&|m| m.version = 2), "version is 2"),
        (lie(&|m| m.units.swap(0, 1)), "out of order"),
        (lie(&|m| m.units.push(m.units[m.units.len() - 1].clone())), "out of order"),
    ] {
        let text = first(faults);
        assert!(text.contains(line), "`{text}` instead of `{line}`");
    }
    let faults = check_tiers(&inventory, &report(&inventory, 30_000), &carved.manifest);
    assert_eq!(faults.len(), 3, "sold as slow, measured fast");
}

/// The same machine after a restart, as its kernel counts it: a page less, or what a larger kernel has taken.
#[test]
fn a_kernel_that_counts_some_memory_less_breaks_no_promise() {
    let shape = Shape { nodes: 1, cores: 4, smt: 2, mebibytes: 8_192, drives: 1, nics: 1, gpus: 0 };
    let whole = inventory(shape);
    let manifest = carve(&whole, &report(&whole, 1_000)).unwrap().manifest;
    for (less, faults) in [(0, 0), (4_096, 0), (32 << 20, 0), (65 << 20, 1)] {
        let mut counted = whole.clone();
        counted.memory_bytes = counted.memory_bytes.map(|bytes| bytes - less);
        let found = check(&counted, &manifest);
        assert_eq!(found.len(), faults, "{less}: {found:?}");
    }
}

prop_compose! {
    pub(crate) fn any_shape()(
        nodes in 1u32..4, cores in 1u32..40, smt in 1u32..3, mebibytes in 600u64..200_000, drives in 0u32..30,
        nics in 0u8..6, gpus in 0u32..5,
    ) -> Shape {
        Shape { nodes, cores, smt, mebibytes, drives, nics, gpus }
    }
}

/// What a carve sells: cores, bytes of memory, bytes on drives.
fn sold(shape: Shape) -> (usize, u64, u64) {
    let inventory = inventory(shape);
    let carved = carve(&inventory, &report(&inventory, 1_000)).unwrap();
    let mut sum = (0, 0, 0);
    for unit in &carved.manifest.units {
        match &unit.resource {
            Resource::Compute { .. } => sum.0 += 1,
            Resource::Memory { bytes } => sum.1 += bytes,
            Resource::Storage { bytes, .. } => sum.2 += bytes,
            Resource::Network { .. } | Resource::Gpu { .. } | Resource::GpuSlice { .. } => {}
        }
    }
    sum
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_machine_passes_the_checker_and_loses_nothing(shape in any_shape()) {
        let inventory = inventory(shape);
        let burn_in = report(&inventory, 1_000);
        let carved = carve(&inventory, &burn_in).unwrap();
        prop_assert_eq!(check(&inventory, &carved.manifest), vec![]);
        prop_assert_eq!(check_tiers(&inventory, &burn_in, &carved.manifest), vec![]);
        let (cores, memory, _) = sold(shape);
        let kept = usize::from(shape.cores > 1);
        prop_assert_eq!(cores + kept, usize::try_from(shape.cores).unwrap());
        prop_assert_eq!(memory + carved.manifest.reserved_bytes, shape.mebibytes << 20);
    }

    #[test]
    fn drives_of_any_size_in_parts_of_any_size_pass_the_checker(
        shape in any_shape(),
        drive_bytes in 1_u64 << 30..1 << 44,
        part_bytes in prop_oneof![(1_u64..1 << 14).prop_map(|extents| extents << 22), 1_u64..1 << 40],
    ) {
        let mut inventory = inventory(shape);
        inventory.drives.iter_mut().for_each(|drive| drive.bytes = drive_bytes);
        let manifest = in_parts(&inventory, part_bytes).manifest;
        prop_assert_eq!(check(&inventory, &manifest), vec![]);
        let planned = appliance_carve::shape(&manifest, &inventory, Wishes::default()).drives;
        let names: std::collections::BTreeSet<_> =
            planned.iter().filter_map(|drive| Some(drive.volume.as_ref()?.name.clone())).collect();
        let parts: Vec<_> = planned.iter().filter_map(|drive| Some((&drive.unit, drive.start?, drive.bytes))).collect();
        prop_assert_eq!(names.len(), parts.len(), "each volume has a name of its own");
        for (unit, start, bytes) in parts {
            let part = appliance_carve::Part { unit, start, bytes };
            prop_assert!(part.extents().is_some() && part.is_named(), "{:?}", part);
        }
    }

    #[test]
    fn the_order_of_the_inventory_does_not_matter(shape in any_shape()) {
        let one = inventory(shape);
        let mut two = one.clone();
        two.threads.reverse();
        two.drives.reverse();
        two.nics.reverse();
        two.gpus.reverse();
        two.memory_nodes.reverse();
        let root = |inventory: &Inventory| unit_root(&carve(inventory, &report(inventory, 1)).unwrap().manifest);
        prop_assert_eq!(root(&one), root(&two));
    }

    #[test]
    fn more_hardware_never_sells_less(shape in any_shape(), more in 0u32..4) {
        let grown = Shape {
            cores: shape.cores + more * shape.nodes,
            mebibytes: shape.mebibytes + u64::from(more) * 512,
            drives: shape.drives + more,
            ..shape
        };
        let (small, large) = (sold(shape), sold(grown));
        // Past 4 GiB the host keeps less, never more, so a step over that edge sells more too.
        prop_assert!(large.0 >= small.0 && large.1 >= small.1 && large.2 >= small.2, "{:?} {:?}", small, large);
    }
}

/// Carved with drives in parts of so many bytes.
fn in_parts(inventory: &Inventory, part_bytes: u64) -> appliance_carve::Carved {
    let wishes = Wishes { part_bytes: Some(part_bytes), ..Wishes::default() };
    let burn_in = report(inventory, 50_000);
    appliance_carve::carve(inventory, &burn_in, &rules(), &Placement::default(), wishes).unwrap()
}

#[test]
fn drives_are_cut_into_parts_that_lie_side_by_side() {
    let inventory = inventory(RACK);
    let whole = carve(&inventory, &report(&inventory, 50_000)).unwrap().manifest;
    let bytes = inventory.drives[0].bytes;
    const MIB: u64 = 1 << 20;
    const EXTENT: u64 = 4 * MIB;
    let third = (bytes - 2 * MIB) / 3 / EXTENT * EXTENT;
    let carved = in_parts(&inventory, third);
    let storage = |manifest: &appliance_model::units::Manifest| {
        manifest.units.iter().filter(|unit| unit.id.starts_with("storage-")).count()
    };
    assert_eq!((storage(&whole), storage(&carved.manifest)), (3, 9));
    assert_eq!(check(&inventory, &carved.manifest), []);
    assert!(carved.left_out.iter().any(|one| one.why.contains("less than a part")));
    let starts: Vec<u64> = carved
        .manifest
        .units
        .iter()
        .filter_map(|unit| match unit.resource {
            Resource::Storage { start, .. } => start,
            Resource::Compute { .. }
            | Resource::Memory { .. }
            | Resource::Network { .. }
            | Resource::Gpu { .. }
            | Resource::GpuSlice { .. } => None,
        })
        .collect();
    assert_eq!(starts[..4], [MIB, MIB + third, MIB + 2 * third, MIB]);
    // Too large for two, or of no whole extents: sold whole.
    for size in [bytes / 2, third + 1, third - MIB, u64::MAX] {
        assert_eq!(storage(&in_parts(&inventory, size).manifest), 3, "{size}");
    }
}

#[test]
fn the_checker_sees_parts_that_overlap_or_lie_beside_the_drive() {
    let inventory = inventory(RACK);
    let good = in_parts(&inventory, 64 << 20).manifest;
    let at = good.units.iter().position(|unit| unit.id == "storage-0001").unwrap();
    type Change = fn(&mut u64, &mut Option<u64>);
    let rows: [(Change, &str); 9] = [
        (|_, start| *start = Some(1 << 20), "a second time"),
        (|_, start| *start = None, "a second time"),
        (|bytes, _| *bytes += 4 << 20, "a second time"),
        (|bytes, _| *bytes -= 1 << 20, "part of drive"),
        (|_, start| *start = start.map(|start| start + (1 << 20)), "part of drive"),
        (|_, start| *start = Some(0), "part of drive"),
        (|_, start| *start = Some(u64::MAX), "part of drive"),
        (|bytes, _| *bytes = u64::MAX, "part of drive"),
        (|_, start| *start = start.map(|start| start + 512), "part of drive"),
    ];
    for (number, (change, said)) in rows.into_iter().enumerate() {
        let mut bad = good.clone();
        if let Resource::Storage { bytes, start, .. } = &mut bad.units[at].resource {
            change(bytes, start);
        }
        let faults = check(&inventory, &bad);
        assert!(faults.iter().any(|fault| fault.to_string().contains(said)), "{number}: {faults:?}");
    }
}

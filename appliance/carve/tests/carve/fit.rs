//! Instances on machines: the right number, each unit once, and why there is not one more.

use appliance_carve::{FitFault, Placed, check_fit, fit_each, fit_together, hosts};
use appliance_model::{
    Mac,
    inventory::Nic,
    rules::{DriveNeed, GpuNeed, Instance, Near},
    units::{Manifest, Resource, Tier},
};
use firmware_checks_baseline::Library;
use proptest::prelude::*;

use crate::{
    machine::{RACK, Shape, carve, complete, inventory, report},
    shapes::any_shape,
};

fn built_in() -> Vec<Instance> {
    Library::built_in().unwrap().instances[0].wanted().instances
}

fn plain(name: &str, cores: u32, memory_gibibytes: u64) -> Instance {
    Instance {
        name: name.into(),
        near: Near::Node,
        cores,
        memory_gibibytes,
        drives: vec![],
        network_mbps: 0,
        gpus: None,
        gpu_slices: None,
    }
}

#[test]
fn a_large_machine_hosts_what_it_has_room_for() {
    let mut machine = complete();
    let manifest = carve(&machine, &report(&machine, 500_000)).unwrap().manifest;
    let instances = built_in();
    let fits = fit_each(&manifest, &instances);
    assert_eq!(
        hosts(&fits),
        "24 × storage-large, 121 × compute-small, 15 × compute-large, 7 × memory-large, 3 × gpu-slice, 7 × gpu-1, \
         1 × gpu-4"
    );
    for fit in &fits {
        assert_eq!(check_fit(&manifest, &instances, &fit.placed), [], "{}", fit.instance);
        assert!(!fit.lacks.is_empty());
    }
    let lacks = |name: &str| fits.iter().find(|fit| fit.instance == name).unwrap().lacks.join("; ");
    assert_eq!(lacks("storage-large"), "0 fast drives of 3800 GB or more left, needs 1");
    assert_eq!(lacks("gpu-8"), "7 GPUs of 40 GiB or more left, needs 8");
    assert!(lacks("gpu-4").contains("node 1: 3 GPUs of 40 GiB or more left, needs 4"), "{}", lacks("gpu-4"));
    // The eighth GPU made whole: the machine hosts a gpu-8, over both nodes.
    machine.gpus[7].mig = None;
    let manifest = carve(&machine, &report(&machine, 500_000)).unwrap().manifest;
    let gpu_8: Vec<_> = instances.into_iter().filter(|one| one.name == "gpu-8").collect();
    let fits = fit_each(&manifest, &gpu_8);
    assert_eq!(hosts(&fits), "1 × gpu-8");
    assert_eq!(check_fit(&manifest, &gpu_8, &fits[0].placed), []);
}

#[test]
fn a_port_is_taken_from_the_switch_of_the_gpu() {
    let machine = complete();
    let manifest = carve(&machine, &report(&machine, 1)).unwrap().manifest;
    let instances: Vec<_> = built_in().into_iter().filter(|one| one.name == "gpu-1").collect();
    let fits = fit_each(&manifest, &instances);
    let path = |id: &str| manifest.units.iter().find(|unit| unit.id == id).unwrap().pcie.clone();
    for placed in &fits[0].placed {
        let gpu = placed.units.iter().find(|id| id.starts_with("gpu-")).unwrap();
        let port = &placed.share.as_ref().unwrap().unit;
        assert_eq!(path(gpu)[..2], path(port)[..2], "{gpu} {port}");
    }
}

#[test]
fn kinds_together_share_one_machine() {
    let machine = complete();
    let manifest = carve(&machine, &report(&machine, 500_000)).unwrap().manifest;
    let instances = built_in();
    let one = |name: &str| instances.iter().find(|one| one.name == name).unwrap();
    let fits = fit_together(
        &manifest,
        &[
            (one("gpu-4"), None),
            (one("gpu-1"), Some(2)),
            (one("storage-large"), None),
            (one("compute-large"), None),
        ],
    );
    assert_eq!(hosts(&fits), "1 × gpu-4, 2 × gpu-1, 24 × storage-large, 7 × compute-large");
    let all: Vec<Placed> = fits.iter().flat_map(|fit| fit.placed.clone()).collect();
    assert_eq!(check_fit(&manifest, &instances, &all), []);
    assert!(fits[1].lacks.is_empty(), "two were asked for");
    assert_eq!(hosts(&fit_together(&manifest, &[])), "nothing of what was asked for");
}

#[test]
fn a_port_is_shared_and_never_overbooked() {
    let mut machine = inventory(Shape { cores: 9, ..RACK });
    let nic = |n, speed_mbps| Nic { mac: Some(Mac([2, 0, 0, 0, 0, n])), speed_mbps, ..Nic::default() };
    machine.nics = vec![nic(1, Some(2_500)), nic(2, Some(1_000)), nic(3, None)];
    let manifest = carve(&machine, &report(&machine, 1)).unwrap().manifest;
    let wants = |network_mbps| vec![Instance { network_mbps, ..plain("x", 1, 0) }];
    for (mbps, count) in [(1_000, 3), (1_250, 2), (2_501, 0), (500, 7), (300, 8)] {
        let instances = wants(mbps);
        let fits = fit_each(&manifest, &instances);
        assert_eq!(fits[0].placed.len(), count, "{mbps}");
        assert_eq!(check_fit(&manifest, &instances, &fits[0].placed), []);
    }
    assert_eq!(
        fit_each(&manifest, &wants(2_501))[0].lacks,
        ["2500 Mbit/s left on the freest port, needs 2501"]
    );
}

#[test]
fn the_checker_sees_bad_placements() {
    let machine = complete();
    let manifest = carve(&machine, &report(&machine, 500_000)).unwrap().manifest;
    let instances = built_in();
    let fits = fit_each(&manifest, &instances);
    let good = |name: &str| fits.iter().find(|fit| fit.instance == name).unwrap().placed.clone();
    let lie = |name: &str, change: &dyn Fn(&mut Vec<Placed>)| {
        let mut placed = good(name);
        change(&mut placed);
        let faults = check_fit(&manifest, &instances, &placed);
        faults.iter().map(FitFault::to_string).collect::<Vec<_>>().join("; ")
    };
    for (faults, says) in [
        (lie("gpu-1", &|placed| placed[0].instance = "gpu-9".into()), "gpu-9 is in no document"),
        (
            lie("gpu-1", &|placed| placed[0].units[0] = "compute-9999".into()),
            "which the manifest does not have",
        ),
        (lie("gpu-1", &|placed| placed[1].units = placed[0].units.clone()), "given away already"),
        (lie("gpu-1", &|placed| drop(placed[0].units.remove(0))), "has 7 cores, it needs 8"),
        (lie("gpu-1", &|placed| drop(placed[0].units.pop())), "bytes of memory, it needs"),
        (lie("gpu-1", &|placed| placed[0].share = None), "has 0 Mbit/s, it needs 5000"),
        (lie("gpu-1", &|placed| placed[0].units[0] = "compute-0250".into()), "parts on 2"),
        (lie("gpu-1", &|placed| placed[0].units.push("network-0000".into())), "1 whole ports, it needs 0"),
        (
            lie("compute-small", &|placed| {
                for one in placed {
                    one.share.as_mut().unwrap().unit = "network-0009".into();
                }
            }),
            "has 25000 Mbit/s and 60500 are promised",
        ),
    ] {
        assert!(faults.contains(says), "`{faults}` instead of `{says}`");
    }
}

/// What a machine hosts of an instance that stays on one node, by arithmetic: nodes do not compete with each other, and
/// what the machine has in common serves all alike.
fn by_arithmetic(manifest: &Manifest, wanted: &Instance) -> u64 {
    let nodes: std::collections::BTreeSet<_> = manifest.units.iter().filter_map(|unit| unit.node).collect();
    let per = |have: u64, needs: u64| have.checked_div(needs).unwrap_or(u64::MAX);
    let mut total = 0;
    for node in nodes {
        let (mut cores, mut memory, mut size, mut gpus) = (0, 0, 1, 0);
        for unit in manifest.units.iter().filter(|unit| unit.node == Some(node)) {
            match unit.resource {
                Resource::Compute { .. } => cores += 1,
                Resource::Memory { bytes } => (memory, size) = (memory + 1, bytes),
                Resource::Gpu { .. } => gpus += 1,
                Resource::Storage { .. } | Resource::Network { .. } | Resource::GpuSlice { .. } => {}
            }
        }
        let units = (wanted.memory_gibibytes << 30).div_ceil(size);
        let gpus_each = wanted.gpus.map_or(0, |need| u64::from(need.count));
        total += per(cores, wanted.cores.into()).min(per(memory, units)).min(per(gpus, gpus_each));
    }
    let drives = manifest.units.iter().filter(|unit| unit.id.starts_with("storage")).count();
    let drives_each = wanted.drives.first().map_or(0, |need| u64::from(need.count));
    total.min(per(u64::try_from(drives).unwrap(), drives_each))
}

prop_compose! {
    fn any_instance()(cores in 1u32..6, memory_gibibytes in 0u64..40, drives in 0u32..4, gpus in 0u32..3) -> Instance {
        let drive = DriveNeed { tier: Tier::Slow, count: drives, gigabytes_min: 1_000 };
        let gpu = GpuNeed { count: gpus, gibibytes_min: 80 };
        Instance {
            drives: if drives == 0 { vec![] } else { vec![drive] },
            gpus: (gpus > 0).then_some(gpu),
            ..plain("x", cores, memory_gibibytes)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_number_is_the_greatest_there_is(shape in any_shape(), wanted in any_instance()) {
        let mut machine = inventory(shape);
        for (n, gpu) in (0u32..).zip(&mut machine.gpus) {
            gpu.node = Some(n % shape.nodes);
        }
        let manifest = carve(&machine, &report(&machine, 1)).unwrap().manifest;
        let fits = fit_each(&manifest, std::slice::from_ref(&wanted));
        prop_assert_eq!(fits[0].placed.len(), usize::try_from(by_arithmetic(&manifest, &wanted)).unwrap());
        prop_assert_eq!(check_fit(&manifest, std::slice::from_ref(&wanted), &fits[0].placed), vec![]);
        // Free to span nodes it never fits less often, and is as well placed.
        let free = Instance { near: Near::Machine, ..wanted.clone() };
        let spanning = fit_each(&manifest, std::slice::from_ref(&free));
        prop_assert!(spanning[0].placed.len() >= fits[0].placed.len());
        prop_assert_eq!(check_fit(&manifest, &[free], &spanning[0].placed), vec![]);
    }

    #[test]
    fn more_hardware_never_hosts_less(shape in any_shape(), wanted in any_instance(), more in 0u32..4) {
        let count = |shape: Shape| {
            let machine = inventory(shape);
            let manifest = carve(&machine, &report(&machine, 1)).unwrap().manifest;
            fit_each(&manifest, std::slice::from_ref(&wanted))[0].placed.len()
        };
        let one_node = Shape { nodes: 1, ..shape };
        let grown = Shape { cores: one_node.cores + more, drives: one_node.drives + more, ..one_node };
        prop_assert!(count(grown) >= count(one_node));
    }

    #[test]
    fn together_nothing_is_given_twice(shape in any_shape(), one in any_instance(), other in any_instance()) {
        let manifest = {
            let machine = inventory(shape);
            carve(&machine, &report(&machine, 1)).unwrap().manifest
        };
        let kinds = [one, Instance { name: "y".into(), ..other }];
        let fits = fit_together(&manifest, &[(&kinds[0], Some(2)), (&kinds[1], None), (&kinds[0], None)]);
        let all: Vec<Placed> = fits.iter().flat_map(|fit| fit.placed.clone()).collect();
        prop_assert_eq!(check_fit(&manifest, &kinds, &all), vec![]);
    }
}

//! What the host must look like for its units, and every way in which it does not.

use appliance_carve::{compare, cpu_list, find_parts, real_in, shape, with_real};
use appliance_model::{
    Digest,
    inventory::Inventory,
    real::{Classes, Shape, Wishes},
    units::{Manifest, Resource},
};

use crate::machine::{self, carve, complete, report};

fn manifest() -> Manifest {
    let inventory = complete();
    carve(&inventory, &report(&inventory, 50_000)).unwrap().manifest
}

/// Its ports can have virtual functions.
fn able() -> Inventory {
    let mut inventory = complete();
    inventory.nics.iter_mut().for_each(|nic| nic.functions_max = Some(8));
    inventory
}

const ALL: Wishes =
    Wishes { page_kib: Some(2048), functions: Some(4), classes: None, gpu_slices: None, part_bytes: None };

/// The machine as it should be.
fn made(wanted: &Shape) -> Shape {
    let mut real = Shape { drives: Vec::new(), gpus: Vec::new(), ..wanted.clone() };
    find_parts(wanted, &complete(), &mut real);
    real
}

#[test]
fn a_machine_made_as_planned_has_no_difference() {
    for wishes in [Wishes::default(), ALL] {
        let wanted = shape(&manifest(), &able(), wishes);
        assert_eq!(compare(&wanted, &made(&wanted)), [], "{wishes:?}");
    }
}

#[test]
fn the_units_own_no_core_of_the_hosts_and_all_memory_has_its_pages() {
    let manifest = manifest();
    let wanted = shape(&manifest, &able(), ALL);
    let all = &wanted.groups[0];
    assert!(all.alone && manifest.reserved_cpus.iter().all(|cpu| !all.cpus.contains(cpu)));
    let cpus: Vec<u32> = wanted.groups.iter().skip(1).flat_map(|group| group.cpus.clone()).collect();
    assert_eq!(cpus.len(), all.cpus.len(), "each core in one group");
    let large: u64 = wanted.groups.iter().skip(1).filter_map(|group| group.large_bytes).sum();
    let pages: u64 = wanted.pages.iter().map(|pages| pages.count * pages.page_kib * 1024).sum();
    assert_eq!((large, Some(large)), (pages, all.large_bytes));
    // A parent stands before its children: they are made in this order.
    for (at, group) in wanted.groups.iter().enumerate().skip(1) {
        let parent = group.path.rsplit_once('/').unwrap().0;
        assert!(wanted.groups[..at].iter().any(|one| one.path == parent), "{}", group.path);
    }
}

#[test]
fn a_port_has_no_more_functions_than_it_can() {
    let mut inventory = able();
    for (most, expected) in [(None, None), (Some(2), Some(2)), (Some(4), Some(4)), (Some(64), Some(4))] {
        inventory.nics.iter_mut().for_each(|nic| nic.functions_max = most);
        assert_eq!(shape(&manifest(), &inventory, ALL).ports[0].functions, expected, "{most:?}");
    }
}

#[test]
fn a_port_without_functions_is_divided_evenly_and_the_host_has_a_share() {
    let wishes = Wishes { classes: Some(4), ..ALL };
    let divided = |mbps: Option<u32>, most: Option<u32>, wishes: Wishes| {
        let (mut inventory, mut manifest) = (able(), manifest());
        inventory.nics.iter_mut().for_each(|nic| nic.functions_max = most);
        for unit in &mut manifest.units {
            if let Resource::Network { mbps: speed, .. } = &mut unit.resource {
                *speed = mbps;
            }
        }
        shape(&manifest, &inventory, wishes).ports.swap_remove(0).classes
    };
    let of = |count, mbps, mbps_max| Some(Classes { count, mbps, mbps_max });
    for (mbps, most, wishes, expected) in [
        (Some(10_000), None, wishes, of(4, 2000, 10_000)),
        (Some(25_000), None, Wishes { classes: Some(1), ..wishes }, of(1, 12_500, 25_000)),
        // Functions are better; a link that does not tell its speed, and one too slow, stay whole.
        (Some(10_000), Some(8), wishes, None),
        (None, None, wishes, None),
        (Some(4), None, wishes, None),
        (Some(10_000), None, ALL, None),
        (Some(10_000), None, Wishes { classes: Some(u32::MAX), ..wishes }, None),
    ] {
        assert_eq!(divided(mbps, most, wishes), expected, "{mbps:?} {most:?}");
    }
    let mut wanted = shape(&manifest(), &able(), ALL);
    wanted.ports[0].classes = of(4, 2000, 10_000);
    let mut real = made(&wanted);
    assert_eq!(compare(&wanted, &real), []);
    real.ports[0].classes = of(4, 1000, 10_000);
    let said = compare(&wanted, &real).swap_remove(0);
    assert!(!said.more);
    let words =
        "traffic classes should be 4 of 2000 Mbit/s each, of 10000 and is 4 of 1000 Mbit/s each, of 10000";
    assert!(said.to_string().ends_with(words), "{said}");
    real.ports[0].classes = None;
    assert!(compare(&wanted, &real)[0].to_string().ends_with("and is none"));
}

#[test]
fn every_difference_names_its_unit() {
    let wanted = shape(&manifest(), &able(), ALL);
    type Change = fn(&mut Shape);
    let rows: [(Change, &str, bool); 13] = [
        (|s| s.unit_root = Digest([9; 32]), "all: unit root", false),
        (|s| s.groups[0].alone = false, "all: use of its CPUs should be its own alone", false),
        (|s| s.groups[0].memory_bytes = None, "all: memory should be", false),
        (|s| drop(s.groups.pop()), "memory-", false),
        (|s| s.groups[2].cpus.truncate(1), "compute-0000: CPUs should be", false),
        (|s| s.groups[2].nodes = vec![7], "compute-0000: NUMA nodes should be", false),
        (|s| s.pages[0].count -= 1, "memory of node 0: pages of 2048 KiB", false),
        (|s| s.pages[0].count += 1, "memory of node 0: pages of 2048 KiB", true),
        (|s| s.drives[0].bytes -= 1, "storage-0000: bytes", false),
        (|s| drop(s.drives.pop()), "not there", false),
        (|s| s.ports[0].functions = Some(3), "network-0000: virtual functions should be 4 and is 3", false),
        (|s| s.ports[0].functions = Some(5), "network-0000: virtual functions should be 4 and is 5", true),
        (|s| s.gpus[0].uuid = "GPU-another".into(), "GPU", false),
    ];
    for (change, said, more) in rows {
        let mut real = made(&wanted);
        change(&mut real);
        let found = compare(&wanted, &real);
        assert_eq!(found.len(), 1, "{said}: {found:?}");
        assert!(found[0].to_string().contains(said), "{said}: {}", found[0]);
        assert_eq!(found[0].more, more, "{said}");
    }
    let mut real = made(&wanted);
    let mut strange = real.groups[3].clone();
    strange.path += ".stranger";
    real.groups.push(strange);
    assert!(compare(&wanted, &real)[0].more);
}

#[test]
fn the_manifest_says_what_is_real_and_its_units_stay_what_they_were() {
    let manifest = manifest();
    let real = shape(&manifest, &able(), ALL);
    let bytes = with_real(&manifest, &real);
    let text = std::str::from_utf8(&bytes).unwrap();
    assert_eq!(real_in(text).unwrap(), Some(real));
    assert_eq!(serde_json::from_str::<Manifest>(text).unwrap(), manifest);
    let before = appliance_carve::manifest_bytes(&manifest);
    assert_eq!(real_in(std::str::from_utf8(&before).unwrap()).unwrap(), None);
    assert!(bytes.starts_with(before.strip_suffix(b"}").unwrap()));
    assert!(real_in(r#"{"real":{"version":1}}"#).is_err());
}

#[test]
fn lists_are_written_as_the_kernel_writes_them() {
    for (numbers, text) in
        [(&[][..], ""), (&[3], "3"), (&[0, 1, 2, 8], "0-2,8"), (&[1, 3, 4, u32::MAX], "1,3-4,4294967295")]
    {
        assert_eq!(cpu_list(numbers), text);
    }
}

#[test]
fn the_largest_machine_is_shaped_whole() {
    let inventory = machine::inventory(machine::DGX);
    let manifest = carve(&inventory, &report(&inventory, 50_000)).unwrap().manifest;
    let wanted = shape(&manifest, &inventory, ALL);
    assert!(wanted.groups.len() > 256);
    let bytes = with_real(&manifest, &wanted).len();
    assert!(bytes < 256 << 10, "{bytes} bytes leave evidence room for its logs");
}

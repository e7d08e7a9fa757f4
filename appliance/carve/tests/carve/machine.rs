//! Machines to carve: by their shape in numbers, and one with everything.

use appliance_carve::{Carved, Refusal};
use appliance_model::{
    Mac, Serial,
    burn_in::{
        Verdict,
        staged::{Course, Done, Figure, Head, Outcome, Report, Unit},
    },
    inventory::{
        Bus, ConfidentialComputing, Cpu, Drive, Gpu, Inventory, MigInstance, MigMode, Nic, NodeMemory,
        PciDevice, System, Thread,
    },
    real::Wishes,
    rules::{ClassRules, Placement},
};
use firmware_checks_baseline::Library;

pub(crate) fn rules() -> ClassRules {
    Library::built_in().map(|library| library.classes[0].rules()).unwrap()
}

pub(crate) fn carve(inventory: &Inventory, burn_in: &Report) -> Result<Carved, Refusal> {
    appliance_carve::carve(inventory, burn_in, &rules(), &Placement::default(), Wishes::default())
}

/// The shape of a machine, in numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) nodes: u32,
    pub(crate) cores: u32,
    pub(crate) smt: u32,
    pub(crate) mebibytes: u64,
    pub(crate) drives: u32,
    pub(crate) nics: u8,
    pub(crate) gpus: u32,
}

pub(crate) const RACK: Shape =
    Shape { nodes: 1, cores: 2, smt: 1, mebibytes: 2_900, drives: 3, nics: 2, gpus: 0 };
pub(crate) const DGX: Shape =
    Shape { nodes: 2, cores: 256, smt: 2, mebibytes: 2 << 20, drives: 24, nics: 10, gpus: 8 };

pub(crate) fn drive(number: u32) -> Drive {
    Drive {
        name: Some(format!("nvme{number}n1")),
        bus: Bus::Nvme,
        model: None,
        serial: Serial::parse(&format!("D{number:04}")),
        firmware: None,
        bytes: (1 << 40) + u64::from(number),
        wwid: None,
        namespace: Some(1),
        rotational: Some(false),
        node: Some(0),
        pci: None,
        health: None,
        ..Drive::default()
    }
}

pub(crate) fn inventory(shape: Shape) -> Inventory {
    let per_node = shape.cores.div_ceil(shape.nodes);
    // As Linux numbers them: first threads of all cores, then second threads.
    let thread = |cpu: u32| {
        let core = cpu % shape.cores;
        Thread { cpu, core, socket: core / per_node, node: core / per_node }
    };
    let total = shape.mebibytes << 20;
    let share = total / u64::from(shape.nodes);
    Inventory {
        system: System { serial: Serial::parse("SYS-1"), ..System::default() },
        threads: (0..shape.cores * shape.smt).map(thread).collect(),
        memory_bytes: Some(total),
        memory_nodes: (0..shape.nodes).map(|node| NodeMemory { node, bytes: share }).collect(),
        drives: (0..shape.drives).map(drive).collect(),
        nics: (0..shape.nics).map(|n| Nic { mac: Some(Mac([2, 0, 0, 0, 0, n])), ..Nic::default() }).collect(),
        gpus: (0..shape.gpus)
            .map(|n| Gpu { uuid: format!("GPU-{n:04}"), bytes: 80 << 30, ..Gpu::default() })
            .collect(),
        ..Inventory::default()
    }
}

pub(crate) fn reading(serial: Serial, random_iops: u64, errors: u64) -> Outcome {
    timed(&serial, random_iops, 200, errors)
}

/// What reading a drive comes to.
pub(crate) fn timed(serial: &Serial, iops: u64, p99_microseconds: u64, errors: u64) -> Outcome {
    let figures = [
        ("random-read-rate", iops, Unit::OperationsPerSecond),
        ("random-read-p99", p99_microseconds, Unit::Microseconds),
        ("failed-reads", errors, Unit::Count),
    ];
    let figures = figures.map(|(name, value, unit)| Figure {
        name: name.into(),
        device: format!("drive {serial}"),
        value,
        unit,
        attained: None,
    });
    let done = Done::Measured { figures: figures.into(), faults: Vec::new(), coverage: Vec::new() };
    Outcome { task: format!("storage/drive-read/{serial}"), boot: 1, seconds: 5, done }
}

pub(crate) fn report(inventory: &Inventory, iops: u64) -> Report {
    let drives = inventory.drives.iter().filter_map(|drive| drive.serial.clone());
    let course = Course {
        profile: "test".into(),
        profile_digest: String::new(),
        serial: Serial::parse("TEST").unwrap(),
        stages: Vec::new(),
    };
    Report {
        course,
        outcomes: drives.map(|serial| reading(serial, iops, 0)).collect(),
        verdict: Verdict::Pass { coverage: Vec::new() },
        stream: Head { lines: 0, sha256: appliance_model::Digest([0; 32]) },
    }
}

/// The largest shape with everything a unit may say: PCIe below one root port a node, ports that tell their speed, GPUs
/// with confidential computing, one of them cut into three, and AMD processors with SEV-SNP.
pub(crate) fn complete() -> Inventory {
    let mut machine = inventory(DGX);
    machine.system.chassis_serial = Serial::parse("CHASSIS-7");
    machine.cpus = (0..2)
        .map(|socket| Cpu { socket, flags: vec!["sev".into(), "sev_snp".into()], ..Cpu::default() })
        .collect();
    let mut pci = Vec::new();
    let mut function = |address: String, parent: Option<String>| {
        pci.push(PciDevice { address: address.clone(), parent, ..PciDevice::default() });
        Some(address)
    };
    for node in 0..2 {
        function(format!("000{node}:00:01.0"), None);
    }
    let root = |node: u32| Some(format!("000{node}:00:01.0"));
    for pair in 0..4 {
        function(format!("000{}:1{pair}:00.0", pair / 2), root(pair / 2));
    }
    for (n, gpu) in (0u32..).zip(&mut machine.gpus) {
        gpu.node = Some(n / 4);
        // Two GPUs and two ports below one switch.
        let switch = Some(format!("000{}:1{}:00.0", n / 4, n / 2));
        gpu.pci = function(format!("000{}:2{n}:00.0", n / 4), switch);
        gpu.confidential = Some(ConfidentialComputing { on: Some(true), ..ConfidentialComputing::default() });
    }
    for (n, nic) in (0u32..).zip(&mut machine.nics) {
        nic.speed_mbps = Some(if n < 8 { 400_000 } else { 25_000 });
        let switch = Some(format!("000{}:1{}:00.0", n / 4, n / 2));
        let above = if n < 8 { switch } else { root(1) };
        nic.node = Some(if n < 8 { n / 4 } else { 1 });
        nic.pci = function(format!("000{}:3{n}:00.0", nic.node.unwrap_or_default()), above);
    }
    for (n, drive) in (0u32..).zip(&mut machine.drives) {
        (drive.node, drive.bytes) = (Some(n / 12), 3_840_755_982_336);
        drive.pci = function(format!("000{}:{:x}:00.0", n / 12, 0x40 + n), root(n / 12));
    }
    machine.pci = pci;
    let part = |n: u32| MigInstance {
        uuid: format!("MIG-{n}"),
        model: "2g.20gb".into(),
        bytes: 20 << 30,
        place: None,
    };
    machine.gpus[7].mig =
        Some(MigMode { on: true, instances: (0..3).map(part).collect(), ..MigMode::default() });
    machine
}

//! How long the largest machine takes: 256 cores, 2 TB of memory, 24 drives, 8 GPUs.  The bar is 10 ms for all of it.
//!
//! `cargo xtask bench carve` runs it and says what came out; by itself it prints one line a round, in nanoseconds.

use std::{hint::black_box, time::Instant};

use appliance_carve::{carve, check, check_class, check_tiers, fit_each, unit_root};
use appliance_model::{
    Digest, Mac, Serial,
    burn_in::{
        Verdict,
        staged::{Course, Done, Figure, Head, Outcome, Report, Unit},
    },
    inventory::{Bus, Drive, Gpu, Inventory, Nic, NodeMemory, System, Thread},
    real::Wishes,
    rules::Placement,
};
use firmware_checks_baseline::Library;

/// In one process; the first ones warm it up and count as well.
const ROUNDS: usize = 101;

fn machine() -> Inventory {
    let thread = |cpu: u32| {
        let core = cpu % 256;
        Thread { cpu, core, socket: core / 128, node: core / 128 }
    };
    let drive = |n: u32| Drive {
        bus: Bus::Nvme,
        serial: Serial::parse(&format!("D{n:04}")),
        bytes: 3_840_755_982_336,
        node: Some(n / 12),
        ..Drive::default()
    };
    let gpu = |n: u32| Gpu { uuid: format!("GPU-{n}"), bytes: 80 << 30, node: Some(n / 4), ..Gpu::default() };
    let nic = |n: u8| Nic { mac: Some(Mac([2, 0, 0, 0, 0, n])), speed_mbps: Some(400_000), ..Nic::default() };
    Inventory {
        system: System { serial: Serial::parse("LARGE"), ..System::default() },
        threads: (0..512).map(thread).collect(),
        memory_bytes: Some(2 << 40),
        memory_nodes: (0..2).map(|node| NodeMemory { node, bytes: 1 << 40 }).collect(),
        drives: (0..24).map(drive).collect(),
        nics: (0..10).map(nic).collect(),
        gpus: (0..8).map(gpu).collect(),
        ..Inventory::default()
    }
}

fn report(machine: &Inventory, serial: Serial) -> Report {
    let serials = machine.drives.iter().filter_map(|drive| drive.serial.clone());
    let outcome = |serial: Serial| {
        let figure = |name: &str, value, unit| Figure {
            name: name.into(),
            device: format!("drive {serial}"),
            value,
            unit,
            attained: None,
        };
        let figures = vec![
            figure("random-read-rate", 400_000, Unit::OperationsPerSecond),
            figure("random-read-p99", 200, Unit::Microseconds),
            figure("failed-reads", 0, Unit::Count),
        ];
        let done = Done::Measured { figures, faults: Vec::new(), coverage: Vec::new() };
        Outcome { task: format!("storage/drive-read/{serial}"), boot: 1, seconds: 5, done }
    };
    Report {
        course: Course {
            profile: "example".into(),
            profile_digest: String::new(),
            serial,
            stages: Vec::new(),
        },
        outcomes: serials.map(outcome).collect(),
        verdict: Verdict::Pass { coverage: Vec::new() },
        stream: Head { lines: 0, sha256: Digest([0; 32]) },
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let library = Library::built_in()?;
    let rules = library.classes.first().ok_or("no document of classes")?.rules();
    let instances = library.instances.first().ok_or("no document of instances")?.wanted().instances;
    let (machine, placement) = (machine(), Placement::default());
    let burn_in = report(&machine, machine.system.serial.clone().ok_or("the machine has a serial")?);
    println!("plan check root fit");
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let carved = carve(&machine, &burn_in, &rules, &placement, Wishes::default())?;
        let planned = started.elapsed();
        let manifest = black_box(&carved.manifest);
        let faults = check(&machine, manifest).len()
            + check_tiers(&machine, &burn_in, manifest).len()
            + check_class(&rules, manifest).len();
        let checked = started.elapsed();
        black_box((unit_root(manifest), faults));
        let rooted = started.elapsed();
        black_box(fit_each(manifest, &instances));
        let fitted = started.elapsed();
        let parts = [planned, checked - planned, rooted - checked, fitted - rooted];
        println!("{}", parts.map(|part| part.as_nanos().to_string()).join(" "));
    }
    Ok(())
}

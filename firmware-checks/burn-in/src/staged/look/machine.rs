//! A machine in a few lines, for the head of a report: what kinds of parts there are, and how many of each.

use std::collections::BTreeMap;

use appliance_api::burn_in::{MachineView, PartView};
use appliance_model::inventory::{Drive, Inventory};

/// Models, serials and the like are hardware's own words and may be anything; a line of the summary is cut here.
const LINE_CHARS_MAX: usize = 2000;

/// The summary of an inventory.  `serial` is the one that the appliance knows the host by.
#[must_use]
pub fn machine(inventory: &Inventory, serial: &str, position: Option<String>) -> MachineView {
    let system = &inventory.system;
    let model = words([system.manufacturer.as_deref(), system.product.as_deref()], " ");
    let parts = [
        ("processors", counted(inventory.cpus.iter().map(cpu))),
        ("memory", memory(inventory)),
        ("drives", counted(inventory.drives.iter().map(drive))),
        ("drive serials", serials(&inventory.drives)),
        ("GPUs", counted(inventory.gpus.iter().map(|gpu| format!("{}, {}", gpu.model, binary(gpu.bytes))))),
        ("ports", counted(inventory.nics.iter().map(port))),
        ("firmware", firmware(inventory)),
    ];
    let parts = parts.into_iter().filter(|(_, what)| !what.is_empty()).map(|(kind, what)| PartView {
        kind: kind.into(),
        what: what.chars().take(LINE_CHARS_MAX).collect(),
    });
    MachineView { serial: serial.to_owned(), model, position, parts: parts.collect() }
}

fn words<const N: usize>(words: [Option<&str>; N], between: &str) -> Option<String> {
    let words: Vec<&str> = words.into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(between))
}

/// Equal ones together: `2 × A; B`.
fn counted(all: impl Iterator<Item = String>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    let lines = counts.into_iter().map(|(what, count)| match count {
        1 => what,
        count => format!("{count} × {what}"),
    });
    lines.collect::<Vec<_>>().join("; ")
}

fn cpu(cpu: &appliance_model::inventory::Cpu) -> String {
    let model = cpu.model.as_deref().unwrap_or("a processor without a name");
    format!("{model}, {} cores, {} threads", cpu.cores, cpu.threads)
}

fn memory(inventory: &Inventory) -> String {
    let modules = counted(inventory.dimms.iter().map(|dimm| {
        let part = words([dimm.manufacturer.as_deref(), dimm.part.as_deref()], " ");
        format!("{} {}", binary(dimm.bytes), part.unwrap_or_default()).trim().to_owned()
    }));
    match inventory.memory_bytes {
        Some(bytes) if modules.is_empty() => format!("{} usable", binary(bytes)),
        Some(bytes) => format!("{} usable: {modules}", binary(bytes)),
        None => modules,
    }
}

fn drive(drive: &Drive) -> String {
    let model = drive.model.as_deref().unwrap_or("a drive without a name");
    let firmware = drive.firmware.as_ref().map(|version| format!(", firmware {version}"));
    format!("{model}, {}{}", decimal(drive.bytes), firmware.unwrap_or_default())
}

fn serials(drives: &[Drive]) -> String {
    let mut serials: Vec<String> =
        drives.iter().filter_map(|drive| drive.serial.as_ref()).map(ToString::to_string).collect();
    serials.sort_unstable();
    serials.join(", ")
}

fn port(nic: &appliance_model::inventory::Nic) -> String {
    let speed = nic.speed_max_mbps.or(nic.speed_mbps).map(|speed| format!("{speed} Mbit/s"));
    words([nic.driver.as_deref(), speed.as_deref()], ", ")
        .unwrap_or_else(|| "a port that tells nothing".into())
}

fn firmware(inventory: &Inventory) -> String {
    let system = &inventory.system;
    let bios = words([Some("BIOS"), system.bios_version.as_deref(), system.bios_date.as_deref()], " ");
    let bios = bios.filter(|_| system.bios_version.is_some());
    let bmc = system.bmc_version.as_ref().map(|version| format!("BMC {version}"));
    words([bios.as_deref(), bmc.as_deref()], ", ").unwrap_or_default()
}

/// Memory, as it is sold: in powers of two.
fn binary(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        gibibytes => format!("{gibibytes} GiB"),
    }
}

/// Drives, as they are sold: in powers of ten, with one digit behind the point.
fn decimal(bytes: u64) -> String {
    const GIGABYTE: u64 = 1_000_000_000;
    match bytes / (GIGABYTE / 10) {
        0 => format!("{} MB", bytes / 1_000_000),
        tenths if tenths < 10_000 => format!("{}.{} GB", tenths / 10, tenths % 10),
        tenths => format!("{}.{} TB", tenths / 10_000, tenths / 1000 % 10),
    }
}

//! `scalerforge probe`: what this machine says it is, for a technician in front of any Linux.
//!
//! It reads and never writes.  Without the rights to ask a device the facts stay out and the gaps say so.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use appliance_model::inventory::{Drive, Gpu, Inventory, Judgement, Nic, PciDevice};
use clap::Args;
use firmware_checks_probe::{gpu, live, smart::word};

use crate::say;

/// A switch that keeps the standard's interval speaks twice in a minute; nobody needs more than ten.
const LISTEN_SECONDS_MAX: u64 = 600;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Read the `sys` and `proc` of this directory, as recorded from another machine, and ask no device.
    #[arg(long)]
    root: Option<PathBuf>,
    /// Listen this long for the switches at the other end of the cables (LLDP; they speak every 30 seconds).
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=LISTEN_SECONDS_MAX))]
    listen: u64,
    /// The NVIDIA driver's library, if it is not where the system finds it.
    #[arg(long, value_name = "PATH")]
    nvml: Option<PathBuf>,
    /// Print the inventory as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let inventory = match &options.root {
        Some(root) => firmware_checks_probe::probe(root),
        None => this_machine(options),
    };
    if options.json {
        say!("{}", serde_json::to_string_pretty(&inventory)?);
    } else {
        say!("{}", page(&inventory).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn this_machine(options: &Options) -> Inventory {
    let mut inventory = firmware_checks_probe::probe(Path::new("/"));
    live::complete(&mut inventory, Path::new("/dev"));
    let library = options.nvml.as_deref().map(Path::as_os_str);
    gpu::take(&mut inventory, Some(firmware_checks_nvml::read(library)));
    if options.listen > 0 {
        live::lldp::listen(&inventory, Duration::from_secs(options.listen)).tell(&mut inventory);
    } else if inventory.nics.iter().any(|nic| nic.link_up == Some(true)) {
        let gap = "nobody listened for the switches at the other end of the cables: `--listen 35`";
        inventory.gaps.push(gap.into());
    }
    inventory
}

/// The inventory on a page: what there is, and what is wrong with it.
fn page(inventory: &Inventory) -> String {
    let mut page = String::new();
    system(inventory, &mut page);
    processors_and_memory(inventory, &mut page);
    let mut list = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = writeln!(page, "{title}\n  {}", lines.join("\n  "));
        }
    };
    list("Drives", inventory.drives.iter().map(drive).collect());
    list("Ports", inventory.nics.iter().map(nic).collect());
    let none = inventory.sources.get("gpus").filter(|_| inventory.gpus.is_empty()).cloned();
    list("GPUs", inventory.gpus.iter().map(gpu_line).chain(none).collect());
    list("Slow links and PCIe errors", inventory.pci.iter().filter_map(pci).collect());
    list("Not known", inventory.gaps.clone());
    page
}

/// Those words that are told, joined by blanks.
fn words<'a>(words: impl IntoIterator<Item = Option<&'a str>>) -> String {
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn system(inventory: &Inventory, page: &mut String) {
    let system = &inventory.system;
    let serial = system.serial.as_ref().map_or("without serial", |serial| serial.as_str());
    let name = words([system.manufacturer.as_deref(), system.product.as_deref()]);
    let _ = writeln!(page, "{} {serial}", if name.is_empty() { "A machine" } else { &name });
    let mut line = |what: &str, text: String| {
        if !text.is_empty() {
            let _ = writeln!(page, "  {what:<14}{text}");
        }
    };
    line(
        "BIOS",
        words([system.bios_vendor.as_deref(), system.bios_version.as_deref(), system.bios_date.as_deref()]),
    );
    let bmc = inventory.bmc.as_ref();
    line("BMC", words([system.bmc_version.as_deref(), bmc.and_then(|bmc| bmc.redfish_address.as_deref())]));
    line("Hypervisor", system.hypervisor.clone().unwrap_or_default());
    let secure = system.secure_boot.map(|on| if on { "on" } else { "off" });
    line("Secure Boot", secure.unwrap_or_default().to_owned());
    line(
        "TPM",
        inventory
            .tpm
            .as_ref()
            .map_or(String::new(), |tpm| words([tpm.version.as_deref(), Some(tpm.manufacturer.as_str())])),
    );
    if let Some(boot) = &inventory.boot {
        let named = |number: &u16| {
            let entry = boot.entries.iter().find(|entry| entry.number == *number);
            entry.map_or_else(|| format!("{number:04X}"), |entry| entry.description.clone())
        };
        line("Boots", boot.order.iter().map(named).collect::<Vec<_>>().join(", "));
    }
}

fn processors_and_memory(inventory: &Inventory, page: &mut String) {
    for cpu in &inventory.cpus {
        let _ = writeln!(
            page,
            "  CPU {:<10}{}, {} cores, {} threads, microcode {}",
            cpu.socket,
            cpu.model.as_deref().unwrap_or("unknown model"),
            cpu.cores,
            cpu.threads,
            cpu.microcode.as_deref().unwrap_or("unknown")
        );
    }
    let gibibytes = inventory.memory_bytes.unwrap_or(0) >> 30;
    let _ = writeln!(page, "  Memory        {gibibytes} GiB usable, {} modules", inventory.dimms.len());
    for dimm in &inventory.dimms {
        let ecc = dimm.ecc.map(|ecc| if ecc { "ECC" } else { "no ECC" });
        let speed = dimm.speed_mts.map(|speed| format!("{speed} MT/s"));
        let text = words([
            dimm.kind.as_deref(),
            ecc,
            speed.as_deref(),
            dimm.manufacturer.as_deref(),
            dimm.part.as_deref(),
            dimm.serial.as_ref().map(|serial| serial.as_str()),
        ]);
        let _ = writeln!(page, "    {:<12}{} GiB {text}", dimm.slot, dimm.bytes >> 30);
    }
    for controller in &inventory.memory_controllers {
        let count = |count: Option<u64>| count.map_or("?".to_owned(), |count| count.to_string());
        let (corrected, uncorrected) = (count(controller.corrected), count(controller.uncorrected));
        let _ = writeln!(page, "    {:<12}{corrected} errors corrected, {uncorrected} not", controller.name);
    }
}

/// ` watch (why; why)`.
fn judgement(judged: Option<&Judgement>) -> String {
    let Some(judged) = judged else { return String::new() };
    let reasons: Vec<&str> = judged.reasons.iter().map(|reason| reason.text.as_str()).collect();
    match reasons.as_slice() {
        [] => format!("  {}", word(judged.grade)),
        reasons => format!("  {} ({})", word(judged.grade), reasons.join("; ")),
    }
}

fn drive(drive: &Drive) -> String {
    let text = words([
        drive.model.as_deref(),
        drive.serial.as_ref().map(|serial| serial.as_str()),
        drive.firmware.as_deref(),
    ]);
    // Drives are sold by powers of ten.
    let gigabytes = drive.bytes / 1_000_000_000;
    let name = drive.name.as_deref().unwrap_or("?");
    format!("{name:<12}{gigabytes} GB {text}{}", judgement(drive.smart.as_ref()))
}

fn nic(nic: &Nic) -> String {
    let mac = nic.mac.map(|mac| mac.to_string());
    let link = match (nic.link_up, nic.speed_mbps) {
        (Some(true), Some(speed)) => format!("{speed} Mbit/s"),
        (Some(true), None) => "up".into(),
        (Some(false), _) => "no link".into(),
        (None, _) => "down".into(),
    };
    let mut text = words([mac.as_deref(), nic.driver.as_deref(), nic.firmware.as_deref(), Some(&link)]);
    for neighbour in &nic.neighbours {
        let name = neighbour.system_name.as_deref().unwrap_or(&neighbour.chassis);
        let _ = write!(text, " → {name} {}", neighbour.port);
    }
    format!("{:<12}{text}", nic.name.as_deref().unwrap_or("?"))
}

fn gpu_line(gpu: &Gpu) -> String {
    let text = words([
        Some(gpu.model.as_str()),
        gpu.serial.as_ref().map(|serial| serial.as_str()),
        gpu.vbios.as_deref(),
    ]);
    let place = gpu.pci.as_deref().unwrap_or("?");
    format!("{place:<14}{text} {} GiB{}", gpu.bytes >> 30, judgement(gpu.judged.as_ref()))
}

/// Only what is not as it could be.
fn pci(device: &PciDevice) -> Option<String> {
    let slow = device.link.as_ref().zip(device.link_max.as_ref()).filter(|(now, most)| now != most);
    let slow = slow.map(|(now, most)| format!("runs at {now} of {most}"));
    let errors: Vec<String> = device
        .errors
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    let errors = (!errors.is_empty()).then(|| errors.join(", "));
    let text = [slow, errors].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let place = device.slot.as_deref().unwrap_or_default();
    (!text.is_empty())
        .then(|| format!("{} {:04x}:{:04x} {place} {text}", device.address, device.vendor, device.device))
}

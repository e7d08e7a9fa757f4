//! GPUs: the NVIDIA driver's account, asked through `nvml-probe`, merged into the inventory and judged.
//!
//! A static program cannot load the driver's library, so a program of its own does (`firmware-checks/nvml`).  Where it
//! is not installed, as in the discovery image, which has no such driver either, the GPUs on the PCI bus are a gap.

use std::{fmt::Write as _, path::Path, time::Duration};

use appliance_model::inventory::{Gpu, GpuReport, Grade, Inventory, Judgement, Reason};

use crate::{
    live::output,
    smart::{judged, word},
};

pub use appliance_model::burn_in::gpu::PROGRAM;

/// Eight boards print about 40 KiB.
const REPORT_BYTES_MAX: usize = 1 << 20;

/// Why something was not done.
const WORDS_BYTES_MAX: usize = 4096;

/// A driver that starts needs several seconds a board.
const WAIT: Duration = Duration::from_secs(60);

/// NVIDIA's PCI vendor id.
const NVIDIA: u16 = 0x10de;

/// Runs `program` and reads its report.
pub fn ask(program: &Path) -> GpuReport {
    let report = output(program, &[], REPORT_BYTES_MAX, WAIT).map_err(|error| error.to_string());
    let parsed = report.and_then(|bytes| {
        serde_json::from_slice(&bytes)
            .map_err(|error| format!("{} printed no report: {error}", program.display()))
    });
    parsed.unwrap_or_else(|why| GpuReport { gaps: vec![why], ..GpuReport::default() })
}

/// Has `program` change a GPU: it prints `done`, or why not.
///
/// # Errors
/// Its words.
pub fn order(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let told = output(program, arguments, WORDS_BYTES_MAX, WAIT).map_err(|error| error.to_string())?;
    match String::from_utf8_lossy(&told).trim() {
        "done" => Ok(()),
        "" => Err(format!("{} ended without a word", program.display())),
        why => Err(why.to_owned()),
    }
}

/// Adds what the driver says; `None` if there is nobody to ask.
pub fn take(inventory: &mut Inventory, report: Option<GpuReport>) {
    let display = |class: u32| class >> 16 == 3;
    let seen = inventory.pci.iter().filter(|device| device.vendor == NVIDIA && display(device.class)).count();
    let report = match report {
        Some(report) => report,
        None if seen == 0 => return,
        None => GpuReport { gaps: vec!["no NVIDIA driver is installed here".into()], ..GpuReport::default() },
    };
    // Where there is no such GPU, a missing driver is no gap.
    if seen > 0 || report.driver.is_some() {
        inventory.gaps.extend(report.gaps);
    }
    if seen > report.gpus.len() {
        let told = report.gpus.len();
        inventory.gaps.push(format!("{seen} NVIDIA GPUs are on the PCI bus, their driver tells of {told}"));
    }
    let source = match (&report.driver, seen) {
        (Some(_), _) => "NVML",
        (None, 0) => "no NVIDIA driver, and no NVIDIA GPU on the PCI bus",
        (None, _) => "no NVIDIA driver",
    };
    inventory.sources.insert("gpus".into(), source.into());
    inventory.gpu_driver = report.driver;
    for mut gpu in report.gpus {
        let device = inventory.pci.iter().find(|device| Some(&device.address) == gpu.pci.as_ref());
        gpu.node = gpu.node.or(device.and_then(|device| device.node));
        gpu.judged = Some(judge(&gpu));
        inventory.gpus.push(gpu);
    }
}

/// A rule about a GPU.
struct Rule {
    id: &'static str,
    when: &'static str,
    grade: Grade,
    origin: &'static str,
    check: fn(&Gpu) -> Option<String>,
}

const REMAPPING: &str = "NVIDIA GPU Memory Error Management: row remapping";
const RETIREMENT: &str = "NVIDIA Dynamic Page Retirement";

const RULES: [Rule; 10] = [
    Rule {
        id: "gpu-remap-failed",
        when: "a row could not be remapped",
        grade: Grade::Fail,
        origin: REMAPPING,
        check: |gpu| {
            gpu.remapped_rows?
                .failure
                .then(|| "a bad row of memory found no spare one: replace the board".into())
        },
    },
    Rule {
        id: "gpu-retired",
        when: "60 or more pages are retired",
        grade: Grade::Fail,
        origin: RETIREMENT,
        check: |gpu| {
            let pages = gpu.retired_pages?;
            let sum = pages.single_bit.saturating_add(pages.double_bit);
            (sum >= 60).then(|| format!("{sum} pages of memory are retired"))
        },
    },
    Rule {
        id: "gpu-remap-pending",
        when: "a row or page waits for a reset to be replaced",
        grade: Grade::Watch,
        origin: REMAPPING,
        check: |gpu| {
            let rows = gpu.remapped_rows.is_some_and(|rows| rows.pending);
            let pages = gpu.retired_pages.is_some_and(|pages| pages.pending);
            (rows || pages).then(|| "bad memory waits for a reset to be replaced: reset the GPU".into())
        },
    },
    Rule {
        id: "gpu-uncorrected",
        when: "errors that were not corrected, or rows remapped for them, are above 0",
        grade: Grade::Watch,
        origin: REMAPPING,
        check: |gpu| {
            let ecc = gpu.ecc.as_ref();
            let counts = ecc.map(|ecc| [ecc.volatile.uncorrected, ecc.aggregate.uncorrected]);
            let errors = counts.into_iter().flatten().flatten().max().unwrap_or(0);
            let rows = gpu.remapped_rows.map_or(0, |rows| rows.uncorrectable);
            (errors > 0 || rows > 0)
                .then(|| format!("{errors} memory errors were not corrected, {rows} rows remapped for such"))
        },
    },
    Rule {
        id: "gpu-ecc-off",
        when: "error correction is off, or will be after the next reset",
        grade: Grade::Watch,
        origin: "ours: what is not checked is not known to be right",
        check: |gpu| {
            let ecc = gpu.ecc.as_ref()?;
            (!ecc.on || !ecc.on_after_reset).then(|| "error correction is off, or will be".into())
        },
    },
    Rule {
        id: "gpu-lanes",
        when: "its link has fewer PCIe lanes than GPU and slot can do",
        grade: Grade::Watch,
        origin: "NVML, PCIe link width: it does not vary with load",
        check: |gpu| {
            let link = gpu.link?;
            let (now, most) = (link.lanes?, link.lanes_max?);
            (now < most).then(|| format!("{now} of {most} PCIe lanes: seat the board anew"))
        },
    },
    Rule {
        id: "gpu-throttled",
        when: "hardware or heat holds its clocks down",
        grade: Grade::Watch,
        origin: "NVML, clock event reasons",
        check: |gpu| {
            let bad = |reason: &&String| reason.as_str() != "sw-power-cap";
            let reasons: Vec<&str> = gpu.throttled.iter().filter(bad).map(String::as_str).collect();
            (!reasons.is_empty()).then(|| format!("clocks are held down: {}", reasons.join(", ")))
        },
    },
    Rule {
        id: "gpu-nvlink-down",
        when: "some of its NVLinks are up and some are down",
        grade: Grade::Watch,
        origin: "NVML, NVLink state: boards without a partner have all links down",
        check: |gpu| {
            let down = gpu.nvlinks.iter().filter(|link| !link.active).count();
            (down > 0 && down < gpu.nvlinks.len())
                .then(|| format!("{down} of {} NVLinks are down", gpu.nvlinks.len()))
        },
    },
    Rule {
        id: "gpu-nvlink-errors",
        when: "an NVLink had to recover",
        grade: Grade::Watch,
        origin: "NVML, NVLink error counters",
        check: |gpu| {
            let count = gpu.nvlinks.iter().filter_map(|link| link.recoveries).filter(|n| *n > 0).count();
            (count > 0).then(|| format!("{count} NVLinks had to recover"))
        },
    },
    Rule {
        id: "gpu-untold",
        when: "the driver does not tell what such a board has",
        grade: Grade::Unknown,
        origin: "ours: silence is not good news",
        check: |gpu| {
            gpu.untold.first().map(|first| format!("{} facts are not told: {first}", gpu.untold.len()))
        },
    },
];

/// Judges a GPU by its own counters.
#[must_use]
pub fn judge(gpu: &Gpu) -> Judgement {
    let bites =
        |rule: &Rule| Some(Reason { rule: rule.id.to_owned(), grade: rule.grade, text: (rule.check)(gpu)? });
    judged(RULES.iter().filter_map(bites).collect())
}

/// The rules as a table in Markdown, for `SMART.md`.
#[must_use]
pub fn table() -> String {
    let mut text = String::from("| rule | bites when | grade | origin |\n| --- | --- | --- | --- |\n");
    for rule in &RULES {
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", rule.id, rule.when, word(rule.grade), rule.origin);
    }
    text
}

#[cfg(test)]
mod tests {
    use appliance_model::inventory::{GpuDriver, GpuEcc, GpuLink, NvLink, PciDevice, RemappedRows};

    use super::*;

    fn good() -> Gpu {
        Gpu {
            pci: Some("0000:1a:00.0".into()),
            ecc: Some(GpuEcc { on: true, on_after_reset: true, ..GpuEcc::default() }),
            remapped_rows: Some(RemappedRows::default()),
            link: Some(GpuLink { lanes: Some(16), lanes_max: Some(16), ..GpuLink::default() }),
            nvlinks: (0..2).map(|link| NvLink { link, active: true, ..NvLink::default() }).collect(),
            ..Gpu::default()
        }
    }

    #[test]
    fn grades() {
        let with = |change: fn(&mut Gpu)| {
            let mut gpu = good();
            change(&mut gpu);
            gpu
        };
        for (gpu, expected) in [
            (good(), None),
            (
                with(|gpu| gpu.remapped_rows.as_mut().unwrap().failure = true),
                Some(("gpu-remap-failed", Grade::Fail)),
            ),
            (
                with(|gpu| gpu.remapped_rows.as_mut().unwrap().pending = true),
                Some(("gpu-remap-pending", Grade::Watch)),
            ),
            (
                with(|gpu| gpu.ecc.as_mut().unwrap().volatile.uncorrected = Some(1)),
                Some(("gpu-uncorrected", Grade::Watch)),
            ),
            (with(|gpu| gpu.ecc.as_mut().unwrap().on = false), Some(("gpu-ecc-off", Grade::Watch))),
            (with(|gpu| gpu.link.as_mut().unwrap().lanes = Some(8)), Some(("gpu-lanes", Grade::Watch))),
            (with(|gpu| gpu.throttled = vec!["sw-power-cap".into()]), None),
            (with(|gpu| gpu.throttled = vec!["hw-slowdown".into()]), Some(("gpu-throttled", Grade::Watch))),
            (with(|gpu| gpu.nvlinks[0].active = false), Some(("gpu-nvlink-down", Grade::Watch))),
            (with(|gpu| gpu.nvlinks[0].recoveries = Some(1)), Some(("gpu-nvlink-errors", Grade::Watch))),
            (with(|gpu| gpu.untold = vec!["memory: lost".into()]), Some(("gpu-untold", Grade::Unknown))),
        ] {
            let found = judge(&gpu);
            let first = found.reasons.first().map(|reason| (reason.rule.as_str(), reason.grade));
            assert_eq!(first, expected);
            assert_eq!(found.grade, expected.map_or(Grade::Ok, |(_, grade)| grade));
        }
    }

    #[test]
    fn a_report_is_merged() {
        let device = PciDevice {
            address: "0000:1a:00.0".into(),
            vendor: NVIDIA,
            class: 0x03_0200,
            node: Some(1),
            ..PciDevice::default()
        };
        let machine = Inventory { pci: vec![device], ..Inventory::default() };
        let report =
            GpuReport { driver: Some(GpuDriver::default()), gpus: vec![good()], ..GpuReport::default() };
        let mut told = machine.clone();
        take(&mut told, Some(report));
        assert_eq!((told.gpus.len(), told.gpus[0].node, told.gaps.len()), (1, Some(1), 0));
        let mut silent = machine;
        take(&mut silent, None);
        assert_eq!((silent.gpus.len(), silent.gaps.len()), (0, 2));
        // A machine without a GPU lacks no driver.
        let mut none = Inventory::default();
        take(&mut none, Some(ask(Path::new("/nonexistent/nvml-probe"))));
        assert!(none.gaps.is_empty() && none.sources["gpus"].starts_with("no NVIDIA driver"));
        let mut unasked = Inventory::default();
        take(&mut unasked, None);
        assert_eq!(unasked, Inventory::default());
    }
}

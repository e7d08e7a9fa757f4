//! Drives that tell this before and that after.

use std::sync::atomic::AtomicUsize;

use appliance_model::inventory::{DriveErrors, OcpHealth};

use super::*;

fn serial() -> Serial {
    Serial::parse("S1").unwrap_or_else(|| unreachable!())
}

/// A task on a drive that says `before`, then `after`.
fn told(before: Option<Health>, after: Option<Health>, root: &Path) -> Findings {
    let asked = AtomicUsize::new(0);
    let health = |_: &Serial| {
        let told = if asked.fetch_add(1, Ordering::Relaxed) == 0 { &before } else { &after };
        told.clone().ok_or_else(|| "no log".to_owned())
    };
    let drive = |_: &Serial| Ok((PathBuf::from("/dev/nvme0n1"), serial()));
    let settled = |_: &[u64]| true;
    let machine = Machine {
        root,
        cpus: &[],
        drive: &drive,
        health: &health,
        commands: &|_| Err("none".into()),
        aid: None,
        consents: &[],
        settled: &settled,
        seed: 0,
    };
    around(&serial(), machine, || Ok(Findings::of("drive S1"))).unwrap_or_default()
}

fn figures(found: &Findings) -> Vec<(&str, u64)> {
    found.figures.iter().map(|figure| (figure.name.as_str(), figure.value)).collect()
}

fn nvme(warning: u8, media: u64) -> Health {
    Health {
        passed: Some(warning == 0),
        critical_warning: Some(warning),
        media_errors: Some(media),
        temperature_celsius: Some(40 + i32::try_from(media).unwrap_or(0)),
        ..Health::default()
    }
}

#[test]
fn warnings_growth_and_heat() {
    let nowhere = Path::new("/nonexistent");
    let found = told(Some(nvme(0, 3)), Some(nvme(0b101, 5)), nowhere);
    assert_eq!(
        figures(&found),
        [("health-warnings", 2), ("health-errors-grown", 2), ("drive-temperature-max", 45)]
    );
    assert_eq!(
        found.faults,
        [
            "drive S1: critical warning bit 0: spare blocks are used up",
            "drive S1: critical warning bit 2: its reliability is degraded by media or internal errors",
            "drive S1: media errors grew from 3 to 5"
        ]
    );
    assert_eq!(found.series.len(), 1);
    assert_eq!(found.series[0].points.iter().map(|(_, celsius)| *celsius).collect::<Vec<_>>(), [43, 45]);

    let ata = |pending, crc, below: &[u16]| Health {
        passed: Some(true),
        errors: Some(DriveErrors {
            pending_sectors: Some(pending),
            transfer_errors: Some(crc),
            below_threshold: below.to_vec(),
            logged: Some(pending * 100),
            ..DriveErrors::default()
        }),
        ..Health::default()
    };
    let found = told(Some(ata(0, 7, &[])), Some(ata(1, 9, &[5])), nowhere);
    assert_eq!(
        figures(&found),
        [("health-warnings", 1), ("health-errors-grown", 1), ("link-errors-grown", 2)]
    );
    assert_eq!(found.coverage, ["drive S1: transfers with a wrong checksum grew from 7 to 9"]);
    assert!(found.faults.iter().any(|fault| fault == "drive S1: pending sectors grew from 0 to 1"));
}

/// What is not told is no zero.
#[test]
fn silence_is_left_out() {
    let nowhere = Path::new("/nonexistent");
    for (before, after) in [(None, None), (None, Some(nvme(0, 0))), (Some(nvme(0, 0)), None)] {
        let found = told(before.clone(), after.clone(), nowhere);
        let names: Vec<&str> = figures(&found).into_iter().map(|(name, _)| name).collect();
        assert!(names.iter().all(|name| *name == "drive-temperature-max"), "{before:?} {after:?} {names:?}");
    }
    // A temperature alone is no word on errors, and a counter that fell is no growth.
    let warm = Health { temperature_celsius: Some(30), ..Health::default() };
    assert_eq!(figures(&told(Some(warm.clone()), Some(warm), nowhere)), [("drive-temperature-max", 30)]);
    let found = told(Some(nvme(0, 5)), Some(nvme(0, 0)), nowhere);
    assert_eq!(figures(&found)[..2], [("health-warnings", 0), ("health-errors-grown", 0)]);
}

#[test]
fn links_are_counted_by_drive_and_kernel() {
    let root = counters::tests::tree(
        "links",
        &[("sys/block/nvme0n1/device/device/aer_dev_correctable", "RxErr 1\nTOTAL_ERR_COR 4\n")],
    );
    let counted = link_counters(&root, "nvme0n1");
    assert_eq!(counted.into_iter().collect::<Vec<_>>(), [("PCIe correctable".to_owned(), 4)]);
    let health = |count| Health {
        ocp: Some(OcpHealth { pcie_corrected: Some(count), ..OcpHealth::default() }),
        ..nvme(0, 0)
    };
    let found = told(Some(health(1)), Some(health(3)), &root);
    assert!(figures(&found).contains(&("link-errors-grown", 2)), "{:?}", found.figures);
    std::fs::remove_dir_all(root).unwrap();
}

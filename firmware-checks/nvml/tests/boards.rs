//! `nvml-probe` on boards that a fake driver plays, without a driver, and on the fixtures' boards.

#![expect(clippy::unwrap_used, reason = "a test's own files")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use appliance_model::inventory::{ErrorCounts, GpuReport, RemappedRows, RetiredPages};
// Names the fake, so that cargo builds its shared library beside this test.
use nvml_fake as _;

/// The fake driver's library: cargo puts it beside the tests that depend on it.
fn library() -> PathBuf {
    let library = std::env::current_exe().unwrap().with_file_name("libnvml_fake.so");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

fn ask(library: &Path, boards: &Path) -> GpuReport {
    let output = Command::new(env!("CARGO_BIN_EXE_nvml-probe"))
        .arg("--library")
        .arg(library)
        .env("SCALERFORGE_NVML_FAKE", boards)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn of(name: &str) -> GpuReport {
    ask(&library(), &Path::new(env!("CARGO_MANIFEST_DIR")).join("boards").join(name))
}

#[test]
fn a_whole_board_is_told() {
    let GpuReport { driver, gpus, gaps } = of("a100.yaml");
    assert_eq!(gaps, [""; 0]);
    let driver = driver.unwrap();
    assert_eq!((driver.version.as_deref(), driver.cuda.as_deref()), (Some("535.0.1"), Some("12.2")));
    let [gpu, _] = gpus.as_slice() else { panic!("{gpus:?}") };
    assert_eq!(gpu.untold, [""; 0]);
    assert_eq!((gpu.uuid.as_str(), gpu.model.as_str()), ("GPU-a", "NVIDIA A100-SXM4-40GB"));
    assert_eq!(gpu.serial.as_ref().unwrap().as_str(), "1320000000001");
    assert_eq!((gpu.bytes, gpu.pci.as_deref(), gpu.node), (40 << 30, Some("0000:07:00.0"), Some(1)));
    assert_eq!((gpu.vbios.as_deref(), gpu.architecture.as_deref()), (Some("92.00.1"), Some("ampere")));
    assert_eq!((gpu.inforom.as_deref(), gpu.gsp.as_deref()), (Some("G506"), Some("535.0.1")));
    let ecc = gpu.ecc.as_ref().unwrap();
    assert!(ecc.on && ecc.on_after_reset);
    assert_eq!(ecc.aggregate, ErrorCounts { corrected: Some(4), uncorrected: Some(0) });
    assert_eq!(gpu.remapped_rows, Some(RemappedRows::default()));
    let link = gpu.link.unwrap();
    assert_eq!(
        (link.generation, link.generation_max, link.lanes, link.lanes_max),
        (Some(4), Some(4), Some(16), Some(16))
    );
    assert_eq!(gpu.nvlinks.len(), 12);
    assert!(gpu.nvlinks.iter().all(|link| link.active && link.version == Some(3)));
    assert_eq!(gpu.nvlinks[1].remote.as_deref(), Some("0000:06:00.0"));
    let limits = gpu.limits.unwrap();
    assert_eq!((limits.power_limit_milliwatts, limits.power_min_milliwatts), (Some(400_000), Some(100_000)));
    assert_eq!(
        (limits.celsius, limits.slowdown_celsius, limits.shutdown_celsius),
        (Some(33), Some(89), Some(92))
    );
    // What the file does not have, the board does not have.
    assert_eq!((gpu.retired_pages, gpu.confidential), (None::<RetiredPages>, None));
    assert_eq!(gpu.throttled, [""; 0]);
}

#[test]
fn faults_are_told() {
    let gpu = of("a100.yaml").gpus.swap_remove(1);
    let ecc = gpu.ecc.unwrap();
    // The fault adds five at each of the four questions.
    assert_eq!(ecc.volatile, ErrorCounts { corrected: Some(0), uncorrected: Some(3) });
    assert_eq!(ecc.aggregate, ErrorCounts { corrected: Some(4 + 10), uncorrected: Some(0) });
    let rows = RemappedRows { correctable: 2, uncorrectable: 1, pending: true, failure: false };
    assert_eq!(gpu.remapped_rows, Some(rows));
    assert_eq!(gpu.throttled, ["hw-thermal-slowdown"]);
    let down: Vec<u32> = gpu.nvlinks.iter().filter(|link| !link.active).map(|link| link.link).collect();
    assert_eq!(down, [3]);
    assert_eq!((gpu.nvlinks[0].replays, gpu.nvlinks[0].flit_errors), (Some(9), Some(2)));
}

#[test]
fn instances_and_confidential_computing() {
    let report = of("h100.yaml");
    let [cut, broken, lost] = report.gpus.as_slice() else { panic!("{report:?}") };
    let mig = cut.mig.as_ref().unwrap();
    assert!(mig.on && mig.on_after_reset);
    let parts: Vec<_> = mig.instances.iter().map(|part| (part.uuid.as_str(), part.bytes)).collect();
    assert_eq!(parts, [("MIG-1", 10_200_547_328), ("MIG-2", 20_937_965_568)]);
    let confidential = cut.confidential.unwrap();
    assert_eq!((confidential.capable, confidential.host_capable), (Some(true), Some(true)));
    assert_eq!(
        (confidential.on, confidential.developer_mode, confidential.ready),
        (Some(true), Some(false), Some(true))
    );
    let ecc = broken.ecc.as_ref().unwrap();
    assert!(ecc.on && !ecc.on_after_reset && broken.mig.as_ref().is_some_and(|mig| !mig.on));
    assert!(broken.remapped_rows.unwrap().failure);
    // The third falls off the bus at the second question for errors: what was told stays, the rest is named.
    assert_eq!(lost.uuid, "GPU-e");
    assert!(lost.untold.iter().any(|why| why.contains("fell off the bus")), "{:?}", lost.untold);
    assert!(lost.nvlinks.is_empty());
}

#[test]
fn without_a_driver_it_says_so() {
    let nowhere = Path::new("/nonexistent/libnvidia-ml.so.1");
    let report = ask(nowhere, Path::new("/nonexistent"));
    assert_eq!((report.driver, report.gpus.len()), (None, 0));
    assert!(report.gaps[0].starts_with("no NVIDIA driver"), "{:?}", report.gaps);
    // The library is there and finds no driver.
    let report = ask(&library(), Path::new("/nonexistent"));
    assert!(report.gaps[0].starts_with("the NVIDIA driver does not answer"), "{:?}", report.gaps);
    // A library of another kind.
    let root = tempfile::tempdir().unwrap();
    let text = root.path().join("libnvidia-ml.so.1");
    std::fs::write(&text, "no library").unwrap();
    assert!(ask(&text, Path::new("/nonexistent")).gaps[0].starts_with("no NVIDIA driver"));
}

/// What others have written down of whole machines with eight boards.
#[test]
#[ignore = "reads the fixtures: cargo xtask judge"]
fn judge_boards_of_real_machines() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures");
    let fixtures = std::env::var("SCALERFORGE_FIXTURES").unwrap_or_else(|_| default.into());
    for (name, model, generation, links) in [("a100", "A100", 4, 12), ("h100", "H100", 5, 18)] {
        let report = ask(&library(), &Path::new(&fixtures).join("nvml").join(format!("{name}.yaml")));
        assert_eq!((report.gpus.len(), report.gaps.len()), (8, 0), "{name}: {report:?}");
        assert!(report.driver.unwrap().cuda.is_some(), "{name}");
        let mut serials: Vec<_> = report.gpus.iter().map(|gpu| gpu.serial.clone().unwrap()).collect();
        serials.sort();
        serials.dedup();
        assert_eq!(serials.len(), 8, "{name}");
        for gpu in &report.gpus {
            assert_eq!(gpu.untold, [""; 0], "{name}");
            assert!(gpu.model.contains(model) && gpu.bytes >= 40 << 30, "{gpu:?}");
            assert_eq!(gpu.link.unwrap().generation_max, Some(generation), "{name}");
            assert_eq!(gpu.nvlinks.len(), links, "{name}");
            let ecc = gpu.ecc.as_ref().unwrap();
            assert_eq!((ecc.on, ecc.aggregate.uncorrected), (true, Some(0)), "{name}");
            assert_eq!(gpu.remapped_rows, Some(RemappedRows::default()), "{name}");
            assert!(gpu.limits.unwrap().power_limit_milliwatts.is_some() && gpu.vbios.is_some(), "{name}");
        }
    }
}

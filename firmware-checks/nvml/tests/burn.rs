//! Burn-in of GPUs, the whole way: the program on a fake driver, the task that runs it, the judge.  No real GPU.
//!
//! Each fault is injected into a fake board, or into the fake CUDA that runs the program's own kernels on the CPU, and
//! must come out as a failed verdict that names the GPU, and its board or the rule.

#![expect(clippy::unwrap_used, reason = "a test's own files")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use appliance_model::{
    Serial,
    burn_in::{
        Verdict,
        staged::{Course, Done, Outcome, Peer, Stage, Task, Work},
    },
};
use firmware_checks_burn_in::staged::{Profile, judge};
use firmware_checks_workloads::{
    Watch,
    task::{self, Machine, Ran},
};
// Names the fake, so that cargo builds its shared library beside this test.
use nvml_fake as _;
use serde_json::{Value, json};

const GPU: &str = "GPU-11111111-2222-3333-4444-555555555501";
const BOARD: &str = "1650000000001";

/// A root with the program, a kernel log, and a board that `change` made.
struct Rig(tempfile::TempDir);

impl Rig {
    fn new(change: &Value) -> Self {
        let rig = Self(tempfile::tempdir().unwrap());
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("boards/h200.yaml");
        let mut boards: Value = serde_saphyr::from_str(&fs::read_to_string(boards).unwrap()).unwrap();
        let own = json!({"cuda": {"kernel_log": {"file": rig.path("dev/kmsg")}}});
        for change in [&own, change] {
            merge(&mut boards["devices"][0], change);
        }
        let library = std::env::current_exe().unwrap().with_file_name("libnvml_fake.so");
        for (path, text) in [
            ("dev/kmsg", "3,1,1,-;NVRM: Xid (PCI:0000:1b:00): 79, long ago\n".to_owned()),
            ("boards.yaml", boards.to_string()),
            (
                "usr/lib/scalerforge/nvml-probe",
                format!(
                    "#!/bin/sh\nSCALERFORGE_NVML_FAKE={} LD_LIBRARY_PATH={} exec {} \"$@\" --library {}\n",
                    rig.path("boards.yaml").display(),
                    rig.path("lib").display(),
                    env!("CARGO_BIN_EXE_nvml-probe"),
                    library.display()
                ),
            ),
        ] {
            rig.write(path, &text);
        }
        fs::create_dir(rig.path("lib")).unwrap();
        std::os::unix::fs::symlink(library, rig.path("lib/libcuda.so.1")).unwrap();
        rig
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, work: &Work, stop: &AtomicBool, progress: &(dyn Fn(u16) + Sync)) -> Ran {
        let machine = Machine {
            root: self.0.path(),
            cpus: &[0],
            drive: &|_| Err("none".into()),
            health: &|_| Err("none".into()),
            commands: &|_| Err("none".into()),
            consents: &[],
            settled: &|_| true,
            seed: 1,
            aid: None,
        };
        task::run(work, Duration::from_secs(1), machine, Watch::new(stop, progress))
    }

    /// Works for a second, and what the rules of `admit` say of it.
    fn judged(&self, work: &Work) -> (Ran, Verdict) {
        let ran = self.run(work, &AtomicBool::new(false), &|_| ());
        let profile = Profile::built_in("admit").unwrap();
        let task = Task { id: format!("all/gpu/{GPU}"), work: work.clone(), seconds: 1 };
        let course = Course {
            profile: profile.name.clone(),
            profile_digest: profile.digest.to_string(),
            serial: Serial::parse("H1").unwrap(),
            stages: vec![Stage { name: "all".into(), seconds_max: 9, waves: vec![vec![task.clone()]] }],
        };
        let outcome = Outcome { task: task.id, boot: 1, seconds: 1, done: ran.done.clone() };
        let models = BTreeMap::from([(format!("gpu {GPU}"), "NVIDIA H200".to_owned())]);
        let rates =
            ["gpu-rate", "gpu-memory-rate", "host-to-gpu-rate", "gpu-to-host-rate", "gpu-to-gpu-rate"];
        let peers = rates.into_iter().flat_map(|figure| (0..3).map(move |peer| (figure, peer)));
        let peers: Vec<Peer> = peers
            .map(|(figure, peer)| Peer {
                device: format!("gpu {peer}"),
                model: "NVIDIA H200".into(),
                stage: "all".into(),
                figure: figure.into(),
                // A CPU is no measure for a GPU's rate.
                value: 0,
            })
            .collect();
        let verdict = judge(&course, &[outcome], &profile, &models, &peers);
        (ran, verdict)
    }
}

fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            over.iter()
                .for_each(|(name, value)| merge(base.entry(name.clone()).or_insert(Value::Null), value));
        }
        (base, over) => *base = over.clone(),
    }
}

fn works(uuid: &str) -> [Work; 3] {
    let gpu = || uuid.to_owned();
    [Work::GpuCompare { gpu: gpu() }, Work::GpuMemory { gpu: gpu() }, Work::GpuBandwidth { gpu: gpu() }]
}

#[test]
fn a_good_gpu_passes() {
    let rig = Rig::new(&json!({}));
    for (work, curves) in works(GPU).iter().zip([3, 3, 3]) {
        let (ran, verdict) = rig.judged(work);
        let Verdict::Pass { coverage } = verdict else { panic!("{work:?}: {verdict:?}") };
        assert!(coverage.iter().any(|line| line.contains(GPU) && line.contains(BOARD)), "{coverage:?}");
        assert_eq!(ran.series.len(), curves, "{work:?}");
        let Done::Measured { figures, .. } = ran.done else { panic!("{work:?}") };
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).map(|figure| figure.value);
        assert_eq!(
            (value("gpu-link"), value("gpu-slowed"), value("nvlink-errors-grown")),
            (Some(1000), Some(0), Some(0))
        );
        assert_eq!((value("gpu-temperature-max"), value("gpu-power-max")), (Some(63), Some(655)));
    }
}

/// What goes wrong, in which work, and the words that must be in one reason: device, board or rule, and more.
fn faults() -> Vec<(Value, usize, [&'static str; 3])> {
    let cuda = |fault: Value| json!({ "cuda": fault });
    let load = |facts: Value| json!({ "cuda": { "under_load": facts } });
    let rising =
        |kind: &str, step: u64| cuda(json!({"rising": {format!("/ecc/errors/volatile/{kind}/total"): step}}));
    let xid = "3,9,9,-;NVRM: Xid (PCI:0000:1B:00): 95, pid=1, Uncontained";
    let copy = "gpu-wrong-words: the word copied to byte";
    vec![
        (
            cuda(json!({"wrong_value": {"kernel": "product_f64", "launch": 2}})),
            0,
            [BOARD, "gpu-wrong-values", "fp64"],
        ),
        (
            cuda(json!({"wrong_value": {"kernel": "product_f32", "launch": 1}})),
            0,
            [BOARD, "gpu-wrong-values", "fp32"],
        ),
        (
            cuda(json!({"wrong_value": {"kernel": "product_f16", "launch": 3}})),
            0,
            [BOARD, "gpu-wrong-values", "fp16"],
        ),
        // The block behind 768 bytes of results begins with byte 0.
        (
            cuda(json!({"stuck_bit": {"byte": 500_003, "bit": 2}})),
            1,
            [BOARD, "gpu-wrong-words", "bits 0x4000000 turned"],
        ),
        (cuda(json!({"wrong_copy": 1})), 2, [BOARD, copy, "bits 0x10 turned"]),
        (rising("double_bit", 1), 0, [BOARD, "gpu-uncorrected-grown", "not corrected"]),
        (rising("single_bit", 9), 0, [GPU, "gpu-corrected-grown", "at most 10"]),
        (load(json!({"remapped_rows": {"correctable": 1}})), 1, [BOARD, "gpu-remapped-grown", "replaced"]),
        (
            load(json!({"remapped_rows": {"failure_occurred": true}})),
            1,
            [BOARD, "gpu-remap-failed", "replace the board"],
        ),
        (
            cuda(json!({"kernel_log": {"lines": [xid]}})),
            0,
            [BOARD, "gpu-faults-logged", "Xid 95 (an uncontained"],
        ),
        (load(json!({"pcie": {"current_link_width": 8}})), 0, [BOARD, "gpu-link", "8 of 16 PCIe lanes"]),
        (load(json!({"pcie": {"current_link_gen": 3}})), 2, [BOARD, "gpu-link", "generation 3 of 5"]),
        (load(json!({"pcie": {"replay_counter": 500}})), 2, [GPU, "gpu-replays-grown 500", "at most 100"]),
        (
            load(json!({"clocks_throttle_reasons": {"hw_thermal_slowdown": true}})),
            0,
            [GPU, "gpu-slowed 1000", "at most"],
        ),
        (
            load(json!({"thermal": {"temperature_gpu_c": 96}})),
            1,
            [GPU, "gpu-temperature-max 96", "at most 90"],
        ),
        (load(json!({"faults": {"link_errors": {"3": {"crc": 4}}}})), 2, [BOARD, "nvlink-errors-grown", "4"]),
        (load(json!({"faults": {"links_down": [2]}})), 2, [BOARD, "nvlink-down", "NVLink 2"]),
        (cuda(json!({"fails_after_launches": 9})), 0, [BOARD, "gpu-work-ended", "CUDA_ERROR_LAUNCH_FAILED"]),
        (load(json!({"faults": {"lost_after_questions": 0}})), 1, [BOARD, "gpu-lost", "driver"]),
    ]
}

#[test]
fn injected_faults_are_named() {
    let faults = faults();
    let works = works(GPU);
    // All written before any is run: a program that is started elsewhere meanwhile would hold what is being written.
    let rigs: Vec<Rig> = faults.iter().map(|(change, ..)| Rig::new(change)).collect();
    let faults: Vec<_> = rigs.iter().zip(&faults).collect();
    let check = |(rig, (change, work, words)): &(&Rig, &(Value, usize, [&str; 3]))| {
        let (_, verdict) = rig.judged(&works[*work]);
        let Verdict::Fail { reasons } = &verdict else { panic!("{change}: {verdict:?}") };
        let named = reasons
            .iter()
            .any(|reason| reason.contains(GPU) && words.iter().all(|word| reason.contains(word)));
        assert!(named, "{change}: {words:?}: {reasons:#?}");
    };
    // They last a second each: several at once.
    thread::scope(|scope| {
        for part in faults.chunks(faults.len().div_ceil(4)) {
            scope.spawn(move || part.iter().for_each(check));
        }
    });
}

#[test]
fn one_that_hangs_is_ended() {
    let rig = Rig::new(&json!({"cuda": {"hangs_after_launches": 0}}));
    let stop = AtomicBool::new(false);
    let told = |_| stop.store(rig.path("boards.yaml.now").exists(), Ordering::Relaxed);
    let ran = rig.run(&works(GPU)[0], &stop, &told);
    assert_eq!(ran, Ran::undone("called off"));
}

#[test]
fn what_is_missing_is_said() {
    let [work, ..] = works(GPU);
    let undone = |rig: &Rig| match rig.run(&work, &AtomicBool::new(false), &|_| ()).done {
        Done::Undone { why } => why,
        Done::Measured { .. } => panic!("it was done"),
    };
    let rig = Rig::new(&json!({}));
    fs::remove_file(rig.path("lib/libcuda.so.1")).unwrap();
    assert!(undone(&rig).contains("libcuda.so.1 could not be loaded"));
    fs::remove_file(rig.path("usr/lib/scalerforge/nvml-probe")).unwrap();
    assert!(undone(&rig).contains("no NVIDIA driver"));
    rig.write("usr/lib/scalerforge/nvml-probe", "#!/bin/sh\necho nonsense\n");
    assert!(undone(&rig).contains("no such line"));
    assert!(undone(&Rig::new(&json!({"uuid": "GPU-b"}))).contains(GPU));
    let full = json!({"cuda": {"free_bytes": 4096}});
    assert!(undone(&Rig::new(&full)).contains("CUDA_ERROR_OUT_OF_MEMORY"));
}

#[test]
fn dcgm_is_asked_where_it_is() {
    let rig = Rig::new(&json!({}));
    let report = json!({"DCGM Diagnostic": {"test_categories": [{"category": "Hardware", "tests": [{
        "name": "memory", "results": [{"status": "Fail", "warnings": [{"warning": "3 double-bit errors"}]}]}]}]}});
    rig.write(
        "usr/bin/dcgmi",
        &format!("#!/bin/sh\n[ \"$*\" = 'diag --run 1 --gpuList 0 --json' ] && echo '{report}'\n"),
    );
    let (_, verdict) = rig.judged(&works(GPU)[0]);
    let Verdict::Fail { reasons } = &verdict else { panic!("{verdict:?}") };
    let words = [GPU, BOARD, "dcgm: DCGM's test `memory` of level 1 failed: 3 double-bit errors"];
    assert!(words.iter().all(|word| reasons[0].contains(word)), "{reasons:?}");
}

/// What no other test can say: that it works on real iron.  Prints the figures.
#[test]
#[ignore = "needs an NVIDIA GPU, its driver from 550 on, and the kernel's log"]
fn iron_a_real_gpu_works() {
    let root = tempfile::tempdir().unwrap();
    for (path, there) in
        [("usr/lib/scalerforge/nvml-probe", env!("CARGO_BIN_EXE_nvml-probe")), ("dev/kmsg", "/dev/kmsg")]
    {
        fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(there, root.path().join(path)).unwrap();
    }
    let rig = Rig(root);
    let report = firmware_checks_nvml::read(None);
    assert!(!report.gpus.is_empty(), "{report:?}");
    for gpu in report.gpus {
        for work in works(&gpu.uuid) {
            let ran = rig.run(&work, &AtomicBool::new(false), &|_| ());
            println!("{work:?}: {:#?}", ran.done);
            assert!(matches!(&ran.done, Done::Measured { faults, .. } if faults.is_empty()), "{work:?}");
        }
    }
}

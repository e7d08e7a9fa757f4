//! Parts of GPUs made and taken away by `nvml-probe`, on boards that a fake driver plays; each call is a process.

#![expect(clippy::unwrap_used, reason = "a test's own files")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use appliance_model::inventory::{GpuReport, MigMode, MigPlace};
// Names the fake, so that cargo builds its shared library beside this test.
use nvml_fake as _;

struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let room = tempfile::tempdir().unwrap();
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("boards/mig.yaml");
        std::fs::copy(boards, room.path().join("mig.yaml")).unwrap();
        Self(room)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("mig.yaml")
    }

    fn run(&self, arguments: &str) -> Vec<u8> {
        let library = std::env::current_exe().unwrap().with_file_name("libnvml_fake.so");
        let mut command = Command::new(env!("CARGO_BIN_EXE_nvml-probe"));
        command.args(arguments.split_whitespace()).arg("--library").arg(library);
        command.env("SCALERFORGE_NVML_FAKE", self.file()).output().unwrap().stdout
    }

    /// What it says.
    fn part(&self, verb: &str, gpu: &str, slices: u32, start: u32) -> String {
        let said = self.run(&format!("{verb}-part --gpu {gpu} --slices {slices} --start {start}"));
        String::from_utf8(said).unwrap().trim_end().to_owned()
    }

    fn mig(&self, at: usize) -> MigMode {
        let report: GpuReport = serde_json::from_slice(&self.run("")).unwrap();
        assert_eq!(report.gpus[at].untold, [""; 0]);
        report.gpus[at].mig.clone().unwrap()
    }

    fn places(&self, at: usize) -> Vec<(u32, u32)> {
        let places = self.mig(at).instances.into_iter().map(|part| part.place.unwrap());
        places.map(|MigPlace { slices, start }| (slices, start)).collect()
    }
}

#[test]
fn kinds_and_places_are_told() {
    let machine = Machine::new();
    let mig = machine.mig(0);
    let kinds: Vec<_> =
        mig.profiles.iter().map(|kind| (kind.slices, kind.id, kind.count_max, kind.size)).collect();
    assert_eq!(kinds, [(1, 19, 7, 1), (2, 14, 3, 2), (3, 9, 2, 4), (4, 5, 1, 4), (7, 0, 1, 8)]);
    assert_eq!((mig.profiles[1].bytes, mig.profiles[1].starts.as_slice()), (19_968 << 20, &[0, 2, 4][..]));
    assert_eq!(machine.places(1), [(2, 2)]);
    let off = machine.mig(2);
    assert!(!off.on && off.profiles.is_empty());
}

#[test]
fn a_part_is_made_once_and_taken_away_once() {
    let machine = Machine::new();
    for _ in 0..2 {
        assert_eq!(machine.part("make", "GPU-f", 3, 4), "done");
        assert_eq!(machine.places(0), [(3, 4)]);
    }
    assert_eq!(machine.part("make", "GPU-f", 1, 0), "done");
    assert_eq!(machine.part("make", "GPU-f", 2, 2), "done");
    assert_eq!(machine.places(0), [(3, 4), (1, 0), (2, 2)]);
    for _ in 0..2 {
        assert_eq!(machine.part("remove", "GPU-f", 1, 0), "done");
        assert_eq!(machine.places(0), [(3, 4), (2, 2)]);
    }
    // The other board was not touched.
    assert_eq!(machine.places(1), [(2, 2)]);
    for (slices, start) in [(3, 4), (2, 2)] {
        machine.part("remove", "GPU-f", slices, start);
    }
    assert!(machine.mig(0).instances.is_empty());
}

#[test]
fn half_a_part_is_finished() {
    let machine = Machine::new();
    machine.part("make", "GPU-f", 7, 0);
    // Whoever made it died before anything computed in it: it is there, and no device.
    let now = self::now(&machine);
    std::fs::write(
        &now,
        std::fs::read_to_string(&now).unwrap().replace("\"compute\":true", "\"compute\":false"),
    )
    .unwrap();
    assert!(machine.mig(0).instances.is_empty());
    assert_eq!(machine.part("make", "GPU-f", 7, 0), "done");
    assert_eq!(machine.places(0), [(7, 0)]);
    std::fs::write(
        &now,
        std::fs::read_to_string(&now).unwrap().replace("\"compute\":true", "\"compute\":false"),
    )
    .unwrap();
    assert_eq!(machine.part("remove", "GPU-f", 7, 0), "done");
    assert!(!std::fs::read_to_string(&now).unwrap().contains("compute"));
}

fn now(machine: &Machine) -> PathBuf {
    machine.0.path().join("mig.yaml.now")
}

#[test]
fn what_cannot_be_is_said_with_the_place() {
    let machine = Machine::new();
    assert_eq!(machine.part("make", "GPU-f", 2, 4), "done");
    for (verb, gpu, slices, start, words) in [
        ("make", "GPU-f", 3, 4, "a part of 3 slices of GPU-f from slice 4: making it:"),
        ("make", "GPU-f", 2, 1, "no part can begin there"),
        ("make", "GPU-f", 5, 0, "there is no such kind"),
        ("make", "GPU-h", 1, 0, "MIG is off"),
        ("make", "GPU-nobody", 1, 0, "a part of 1 slices of GPU-nobody:"),
        ("remove", "GPU-g", 2, 2, "taking away what computes in it:"),
    ] {
        let said = machine.part(verb, gpu, slices, start);
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!((machine.places(0), machine.places(1)), (vec![(2, 4)], vec![(2, 2)]));
}

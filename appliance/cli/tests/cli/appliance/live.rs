//! A live medium in a file, and what its installer does to drives that are files.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Output,
};

use image_agent::block::Block;
use image_build::release::{Edition, Role, file};
use image_slots::{Span, gpt, install};

use super::machine::{MAKER, release};
use crate::{path, refused, run, text};

const GIB: u64 = 1 << 30;

/// A machine that was started from a medium, with two drives: one with somebody's data, one too small.
struct Live {
    dir: tempfile::TempDir,
    root_hash: [u8; 32],
}

impl Live {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let first = dir.path().join("first");
        let root_hash = release(&first, Edition { version: "0.1.0", epoch: 2 }, 1, MAKER, None);
        let live = Self { dir, root_hash };
        let root = live.root();
        for folder in ["dev", "proc", "run/scalerforge", "usr/lib/scalerforge/host"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("run/scalerforge/live"), "").unwrap();
        fs::write(
            root.join("run/scalerforge/release"),
            "RELEASE=scalerforge-appliance\nVERSION=0.1.0\nEPOCH=2\n",
        )
        .unwrap();
        fs::write(root.join("run/scalerforge/started"), "DRIVE=sr0\nROOT=/dev/sr0\nPARTITION=live\n")
            .unwrap();
        let line = format!("quiet roothash={}\n", hex::encode(root_hash));
        fs::write(root.join("proc/cmdline"), line).unwrap();
        fs::copy(first.join(file(Role::Loader)), root.join("usr/lib/scalerforge/host/loader.efi")).unwrap();
        live.medium(&first);
        live.drive("vdb", "S3RIAL", 4 * GIB);
        live.drive("vdc", "TINY", GIB);
        live
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }

    fn block(&self, name: &str) -> Block {
        Block::open(Path::new("/sys"), &self.root().join("dev").join(name)).unwrap()
    }

    fn drive(&self, name: &str, serial: &str, bytes: u64) {
        let sys = self.root().join("sys/block").join(name);
        fs::create_dir_all(sys.join("device")).unwrap();
        fs::write(sys.join("size"), (bytes / 512).to_string()).unwrap();
        fs::write(sys.join("serial"), serial).unwrap();
        let drive = File::create(self.root().join("dev").join(name)).unwrap();
        drive.set_len(bytes).unwrap();
    }

    /// As `appliance.iso` is laid out.
    fn medium(&self, from: &Path) {
        let read = |role| fs::read(from.join(file(role))).unwrap();
        File::create(self.root().join("dev/sr0")).unwrap().set_len(64 << 20).unwrap();
        let mut block = self.block("sr0");
        let half = |from: usize| gpt::Guid(self.root_hash[from..from + 16].try_into().unwrap());
        let part = |number: u32, kind, id, name: &str| gpt::Partition {
            number,
            kind,
            id,
            name: name.into(),
            start: u64::from(number) << 24,
            bytes: 8 << 20,
        };
        let parts = [
            part(1, gpt::ESP, gpt::Guid([3; 16]), "esp"),
            part(2, gpt::ROOT, half(0), "live"),
            part(3, gpt::ROOT_VERITY, half(16), "live-verity"),
        ];
        gpt::write(&mut block, gpt::Guid([4; 16]), &parts).unwrap();
        for (part, role) in parts.iter().skip(1).zip([Role::Root, Role::Verity]) {
            let mut span = Span::new(&mut block, part.start, part.bytes).unwrap();
            span.stream().write_all(&read(role)).unwrap();
        }
        let mut span = Span::new(&mut block, parts[0].start, parts[0].bytes).unwrap();
        fatfs::format_volume(span.stream(), fatfs::FormatVolumeOptions::new()).unwrap();
        let files = fatfs::FileSystem::new(span.stream(), fatfs::FsOptions::new()).unwrap();
        let folder = files.root_dir().create_dir("EFI").unwrap().create_dir("BOOT").unwrap();
        folder.create_file("BOOTX64.EFI").unwrap().write_all(&read(Role::Uki)).unwrap();
        drop(folder);
        files.unmount().unwrap();
    }

    fn run(&self, words: &[&str]) -> Output {
        run(&[&["appliance", "install"], words, &["--root", path(&self.root())]].concat())
    }

    fn begins_with(&self, name: &str, bytes: &[u8]) -> bool {
        fs::File::open(self.root().join("dev").join(name))
            .and_then(|mut file| {
                let mut head = vec![0; bytes.len()];
                std::io::Read::read_exact(&mut file, &mut head).map(|()| head == bytes)
            })
            .unwrap()
    }
}

const WORDS: &str = "erase everything on S3RIAL";

#[test]
fn a_live_medium_is_put_onto_the_drive_that_the_words_name() {
    let live = Live::new();
    File::options()
        .write(true)
        .open(live.root().join("dev/vdb"))
        .and_then(|mut drive| drive.write_all(b"\xeb\x52\x90NTFS    somebody's"))
        .unwrap();
    let listed = text(&live.run(&[]).stdout);
    assert!(listed.contains("S3RIAL") && listed.contains("holds NTFS"), "{listed}");
    assert!(listed.contains("too small: an appliance needs 4096 MiB"), "{listed}");
    let json: serde_json::Value = serde_json::from_slice(&live.run(&["--json"]).stdout).unwrap();
    assert_eq!(json[0]["drive"], "S3RIAL");
    assert_eq!(json[1]["holds"], serde_json::json!([]));
    let asked = text(&live.run(&["S3RIAL"]).stdout);
    assert!(asked.contains(WORDS) && asked.contains("is not taken along"), "{asked}");
    refused(&live.run(&["vdb", "--permit", "yes"]), &["nothing was written", WORDS]);
    refused(
        &live.run(&["TINY", "--permit", "erase everything on TINY"]),
        &["too small", "nothing was written"],
    );
    refused(&live.run(&["TINY", "--permit", WORDS]), &["erase everything on TINY"]);
    assert!(live.begins_with("vdb", b"\xeb\x52\x90NTFS"), "nothing was written so far");

    let done = live.run(&["vdb", "--permit", WORDS, "--later"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let said = text(&done.stdout);
    assert!(
        said.contains("MiB written") && said.contains("slot a") && said.contains("take the medium out"),
        "{said}"
    );
    let survey = install::survey(&mut live.block("vdb"), &live.root_hash).unwrap();
    assert_eq!((survey.tries_left, survey.other), (Some(3), false), "it is on trial, as every new system");

    // A stick with the words that stays where it is: what was installed is not erased again.
    let (words, screen) = (live.dir.path().join("install"), live.dir.path().join("said"));
    let stick = ["--permit-file", path(&words), "--later", "--on-screen", "--said", path(&screen)];
    assert!(live.run(&stick).status.success(), "a stick without the words installs nothing");
    for empty in ["", "\r\n"] {
        fs::write(&words, empty).unwrap();
        refused(&live.run(&stick), &["nothing was written", "the file of words is empty", WORDS]);
        let shown = fs::read_to_string(screen.join("install")).unwrap();
        assert!(shown.starts_with("bad\tnothing was installed") && shown.contains("is empty"), "{shown}");
    }
    fs::write(&words, format!("{WORDS}\r\n")).unwrap();
    refused(&live.run(&stick), &["holds an installed system already", "take the medium out"]);
    assert!(fs::read_to_string(screen.join("install")).unwrap().starts_with("bad\tnothing was installed"));
    live.drive("vdb", "S3RIAL", 4 * GIB);
    assert!(live.run(&stick).status.success());
    assert!(
        fs::read_to_string(screen.join("install")).unwrap().starts_with("good\tthe appliance is in slot a")
    );
    // Who types may do it again.
    assert!(live.run(&["vdb", "--permit", WORDS, "--later"]).status.success());
}

#[test]
fn a_damaged_medium_costs_no_drive_and_an_installed_machine_is_told_its_own_way() {
    let live = Live::new();
    let before = live.begins_with("vdb", &[0; 512]);
    let mut block = live.block("sr0");
    image_slots::Device::write(&mut block, (2 << 24) + 4096 * 7, b"flipped").unwrap();
    refused(&live.run(&["vdb", "--permit", WORDS]), &["the medium is damaged, write it again"]);
    image_slots::Device::write(&mut block, 0, &[0; 4096]).unwrap();
    refused(&live.run(&["vdb", "--permit", WORDS]), &["sr0 has no table of ours"]);
    assert!(before && live.begins_with("vdb", &[0; 512]), "nothing was written");
    fs::remove_file(live.root().join("run/scalerforge/live")).unwrap();
    refused(&live.run(&[]), &["not started from a live medium", "appliance update"]);
}

//! A machine whose appliance is installed on a drive in a file, and releases for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use image_build::{
    appliance::RELEASE,
    installed,
    release::{Edition, Release, Role, file},
    verity::verity,
};
use image_seal::{Key, Policy, uki, vouch};
use image_slots::install;
use sha2::{Digest as _, Sha256};

use super::{path, run, text, tiny};

#[path = "../../../../../image/seal/src/fixed_key.rs"]
mod fixed_key;

pub(crate) const MAKER: u64 = 1;
pub(crate) const STRANGER: u64 = 2;

pub(crate) fn key(number: u64) -> Key {
    Key::from_der(&fixed_key::der(number)).unwrap()
}

/// A release as `image build-appliance` writes one, small; its root hash.
pub(crate) fn release(
    dir: &Path,
    edition: Edition<'_>,
    seed: u8,
    vouches: u64,
    signs: Option<u64>,
) -> [u8; 32] {
    fs::create_dir_all(dir).unwrap();
    let root = vec![seed; 80 * 4096];
    let hashes = verity(&root).unwrap();
    let parts = uki::Parts {
        stub: &tiny::tiny_with_room(),
        kernel: &tiny::tiny(16),
        kernel_release: "6",
        initrd: b"initrd",
        os_release: &format!(
            "ID=scalerforge\nNAME=\"Scalerforge appliance\"\nVERSION_ID={}\n",
            edition.version
        ),
        command_line: &format!("quiet roothash={}", hex::encode(hashes.root)),
    };
    let policy = key(vouches);
    let uki = vouch(&uki::assemble(&parts).unwrap(), &Policy { key: &policy }).unwrap().uki;
    let content = |role| match role {
        Role::Loader => &b"loader"[..],
        Role::Uki => &uki,
        Role::Root => &root,
        Role::Verity => &hashes.device,
    };
    for role in Role::ALL {
        fs::write(dir.join(file(role)), content(role)).unwrap();
    }
    let mut made = Release::of(edition, &hashes.root, content);
    made.name = RELEASE.to_owned();
    let text = serde_json::to_vec_pretty(&made).unwrap();
    fs::write(dir.join("release.json"), &text).unwrap();
    if let Some(signs) = signs {
        fs::write(dir.join("release.sig"), image_seal::release::sign(&key(signs), &text).unwrap()).unwrap();
    }
    hashes.root
}

/// A machine that runs the first system of its drive.
pub(crate) struct Machine {
    pub(crate) dir: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Self { dir };
        let root = machine.root();
        for folder in ["dev", "proc", "run/scalerforge", "run/systemd", "sys/block"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let first = machine.dir.path().join("first");
        let hash = release(&first, Edition { version: "0.1.0", epoch: 2 }, 1, MAKER, None);
        machine.install(&first, hash);
        machine.runs("a", "0.1.0", hash);
        fs::write(root.join("run/systemd/tpm2-pcr-public-key.pem"), key(MAKER).public_pem().unwrap())
            .unwrap();
        machine
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn drive(&self) -> image_agent::block::Block {
        image_agent::block::Block::open(Path::new("/sys"), &self.root().join("dev/vda")).unwrap()
    }

    /// A drive as it is built, with the first system in slot A.
    fn install(&self, from: &Path, root_hash: [u8; 32]) {
        let read = |role| fs::read(from.join(file(role))).unwrap();
        let (uki, root, tree) = (read(Role::Uki), read(Role::Root), read(Role::Verity));
        let entry = installed::entry('a', "0.1.0");
        let filled =
            installed::Filled { entry: &entry, uki: &uki, root: &root, verity: &tree, root_hash: &root_hash };
        let drive = self.root().join("dev/vda");
        installed::disk(&drive, &read(Role::Loader), [Some(filled), None]).unwrap();
    }

    /// What the start program leaves when it started this.
    pub(crate) fn runs(&self, slot: &str, version: &str, root_hash: [u8; 32]) {
        let said = self.root().join("run/scalerforge");
        fs::write(said.join("release"), format!("RELEASE={RELEASE}\nVERSION={version}\nEPOCH=2\n")).unwrap();
        fs::write(said.join("started"), format!("DRIVE=vda\nROOT=/dev/vda2\nPARTITION=root-{slot}\n"))
            .unwrap();
        let line = format!("quiet roothash={}\n", hex::encode(root_hash));
        fs::write(self.root().join("proc/cmdline"), line).unwrap();
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        run(&[&["appliance"], words, &["--root", path(&self.root())]].concat())
    }

    pub(crate) fn update(&self, from: &Path, more: &[&str]) -> Output {
        self.run(&[&["update", path(from), "--later"], more].concat())
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let output = self.run(&["status", "--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A digest of the drive.
    pub(crate) fn content(&self) -> [u8; 32] {
        let mut sum = Sha256::new();
        std::io::copy(&mut fs::File::open(self.root().join("dev/vda")).unwrap(), &mut sum).unwrap();
        sum.finalize().into()
    }

    /// Marks the system that runs good.
    pub(crate) fn good(&self) {
        install::promote(&mut self.drive(), &self.hash()).unwrap();
    }

    fn hash(&self) -> [u8; 32] {
        let line = fs::read_to_string(self.root().join("proc/cmdline")).unwrap();
        let mut hash = [0; 32];
        hex::decode_to_slice(line.trim().rsplit('=').next().unwrap(), &mut hash).unwrap();
        hash
    }
}

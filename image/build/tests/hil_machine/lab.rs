//! An installed host in the lab: its release built and sealed, its drive written, changed and booted.

#![allow(dead_code, reason = "each test uses its part")]
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use attest_evidence::{ReferencePcr, ReferenceValues};
use image_build::{
    Origin, Packages,
    installed::{self, Filled, Installed, Order},
    release::{self, Edition, Role},
};
use image_seal::{Key, Policy, Site, seal};

use super::{Board, Restart, Trust, boot, cache, lock, run};

const CA: &[u8] = b"-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n";
/// What the drive has beside the image: the state partition is made in it.
const MORE_BYTES: u64 = 256 << 20;
/// Where slot B begins: behind the table's megabyte, the ESP and slot A.
pub(crate) const SLOT_B: u64 = (1 + 256 + 200 + 4) << 20;
fn start() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("target"), PathBuf::from);
    let start = target.join("x86_64-unknown-linux-gnu/agent/start");
    assert!(start.is_file(), "{} is not there; build it as README says", start.display());
    start
}

pub(crate) fn build(dir: &Path, agent: &Path, edition: Edition<'_>) -> Installed {
    let (cache, lock) = (cache(), lock());
    let origin = Origin { cache: &cache, lock: &lock, snapshot: None };
    fs::create_dir_all(dir).unwrap();
    let order = Order { agent, start: &start(), edition, out: dir };
    installed::installed(origin, &order, &mut |step| println!("{step}")).unwrap()
}

pub(crate) fn key(dir: &Path, name: &str) -> Key {
    let path = dir.join(name);
    run(Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .arg("-out")
        .arg(&path));
    Key::from_pem(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A release that was built, sealed for a site, and signed for Secure Boot.
pub(crate) struct Release {
    pub(crate) entry: String,
    pub(crate) uki: Vec<u8>,
    pub(crate) root: Vec<u8>,
    pub(crate) verity: Vec<u8>,
    pub(crate) root_hash: [u8; 32],
}

impl Release {
    pub(crate) fn sealed(
        dir: &Path,
        made: &Installed,
        slot: char,
        edition: Edition<'_>,
        keys: (&Key, &Trust),
    ) -> Release {
        let site = Site { ca_pem: CA, appliance: Some("https://10.0.2.2:8443") };
        Release::sealed_for(&site, dir, made, slot, edition, keys)
    }

    pub(crate) fn sealed_for(
        site: &Site<'_>,
        dir: &Path,
        made: &Installed,
        slot: char,
        edition: Edition<'_>,
        (key, trust): (&Key, &Trust),
    ) -> Release {
        let part = |role: Role| fs::read(dir.join(release::file(role))).unwrap();
        let mut root_hash = [0; 32];
        hex::decode_to_slice(&made.root_hash, &mut root_hash).unwrap();
        Release {
            entry: installed::entry(slot, edition.version),
            uki: trust.signed(&seal(&part(Role::Uki), site, Some(&Policy { key })).unwrap().uki),
            root: part(Role::Root),
            verity: part(Role::Verity),
            root_hash,
        }
    }

    pub(crate) fn filled(&self) -> Filled<'_> {
        let Release { entry, uki, root, verity, root_hash } = self;
        Filled { entry, uki, root, verity, root_hash }
    }
}

/// A machine of the lab: its drive, firmware and TPM live as long as its folder.
pub(crate) struct Lab<'a> {
    pub(crate) dir: PathBuf,
    pub(crate) packages: &'a Packages,
    /// Secure Boot is enforced for these, if there are any.
    pub(crate) trust: Option<&'a Trust>,
}

impl Lab<'_> {
    pub(crate) fn disk(&self) -> PathBuf {
        self.dir.join("disk.raw")
    }

    pub(crate) fn board(&self) -> Board<'_> {
        Board { dir: &self.dir, packages: self.packages, trusts: self.trust }
    }

    /// Writes the drive, which is larger than what is on it; what it remembered is gone.
    pub(crate) fn install(&self, loader: &[u8], slots: [Option<Filled<'_>>; 2]) {
        installed::disk(&self.disk(), loader, slots).unwrap();
        let file = OpenOptions::new().write(true).open(self.disk()).unwrap();
        file.set_len(file.metadata().unwrap().len() + MORE_BYTES).unwrap();
    }

    /// Writes a slot's UKI anew; everything else stays, its tries too.
    pub(crate) fn replace(&self, slot: &str, content: &[u8]) {
        let entry = self.entry(slot);
        let esp = format!("{}@@1M", self.disk().display());
        let path = self.dir.join("new.efi");
        fs::write(&path, content).unwrap();
        run(Command::new("mcopy").args(["-o", "-i", &esp]).arg(&path).arg(format!("::/EFI/Linux/{entry}")));
    }

    /// Takes a slot's UKI away.
    pub(crate) fn remove(&self, slot: &str) {
        let esp = format!("{}@@1M", self.disk().display());
        run(Command::new("mdel").args(["-i", &esp]).arg(format!("::/EFI/Linux/{}", self.entry(slot))));
    }

    /// The name of a slot's UKI.
    fn entry(&self, slot: &str) -> String {
        let entries = self.entries();
        let mut names = entries.lines().filter_map(|line| line.rsplit('/').next());
        names.find(|name| name.contains(slot)).unwrap().to_owned()
    }

    /// Puts an addon beside the UKI of a slot, or takes all addons of it away.  Its entry loses its counter, with which
    /// the boot stub would look for a folder of another name at each start.
    pub(crate) fn addon(&self, slot: &str, content: Option<&[u8]>) {
        let entries = self.entries();
        let entry = entries.lines().find(|line| line.contains(slot) && line.ends_with(".efi")).unwrap();
        let esp = format!("{}@@1M", self.disk().display());
        let promoted = format!("{}.efi", entry.trim_end_matches(".efi").split('+').next().unwrap());
        if promoted != entry {
            run(Command::new("mren").args(["-i", &esp, entry, &promoted]));
        }
        let folder = format!("{promoted}.extra.d");
        let _ = Command::new("mdeltree").args(["-i", &esp, &folder]).output();
        if let Some(content) = content {
            let path = self.dir.join("addon.efi");
            fs::write(&path, content).unwrap();
            run(Command::new("mmd").args(["-i", &esp, &folder]));
            run(Command::new("mcopy").args(["-i", &esp]).arg(&path).arg(format!("{folder}/g.addon.efi")));
        }
    }

    pub(crate) fn entries(&self) -> String {
        let esp = format!("{}@@1M", self.disk().display());
        let said = Command::new("mdir").args(["-b", "-i", &esp, "::/EFI/Linux"]).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    pub(crate) fn flip(&self, at: u64) {
        let mut file = File::options().read(true).write(true).open(self.disk()).unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[byte[0] ^ 1]).unwrap();
    }

    pub(crate) fn boot(&self, restart: Restart) -> String {
        let said = boot(self.board(), &self.disk(), restart);
        let interesting = |line: &&str| line.contains("TEST") || line.starts_with('[');
        println!("{}\n", said.lines().filter(interesting).collect::<Vec<_>>().join("\n"));
        said
    }
}

pub(crate) fn expect(said: &str, wanted: &[&str], unwanted: &[&str]) {
    for wanted in wanted {
        assert!(said.contains(wanted), "no `{wanted}` in {said}");
    }
    for unwanted in unwanted {
        assert!(!said.contains(unwanted), "`{unwanted}` in {said}");
    }
}

/// What a TPM behind enforced Secure Boot holds, of what was predicted: the last case of PCR 4.
pub(crate) fn enforced(entry: &ReferencePcr) -> String {
    entry.accepted.last().unwrap().value.to_string()
}

impl Lab<'_> {
    /// Demands that the machine said just that.
    pub(crate) fn measured(&self, said: &str, reference: &ReferenceValues) {
        for entry in &reference.pcrs {
            // Without Secure Boot, the first case.
            let value = match self.trust {
                Some(_) => enforced(entry),
                None => entry.accepted[0].value.to_string(),
            };
            expect(said, &[&format!("TEST pcr {} {value}", entry.pcr)], &[]);
        }
    }
}

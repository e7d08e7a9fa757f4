//! The installed host: built twice in two folders with the same bytes, sealed for a site, booted from its disk to its
//! agent, measured as predicted.  What it remembers opens for the site's other release, not for another site's; a root
//! with one changed bit gives way to the other slot; below the TPM's floor nothing starts.
//!
//! It needs what `hil_boot.rs` needs, openssl, and the start program built as README says.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod hil_machine;
#[path = "hil_host/power.rs"]
mod power;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use attest_tpm::{Tpm, floor};
use hil_machine::{Restart, boot, cache, fetch, lock, program, run, tpm};
use image_build::{
    Origin, Packages, diff,
    installed::{self, Filled, Installed, Order},
    release::{self, Edition, Role},
};
use image_seal::{Key, Policy, Site, seal, uki};

const CA: &[u8] = b"-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n";
/// What the drive has beside the image: the state partition is made in it.
const MORE_BYTES: u64 = 256 << 20;
/// Where slot B begins: behind the table's megabyte, the ESP and slot A.
const SLOT_B: u64 = (1 + 256 + 200 + 4) << 20;
/// Far from what the first programs read.
const FAR: u64 = 40 << 20;
const OLD: Edition<'_> = Edition { version: "1.9", epoch: 1 };
const NEW: Edition<'_> = Edition { version: "1.10", epoch: 2 };

fn start() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("target"), PathBuf::from);
    let start = target.join("x86_64-unknown-linux-gnu/agent/start");
    assert!(start.is_file(), "{} is not there; build it as README says", start.display());
    start
}

fn build(dir: &Path, agent: &Path, edition: Edition<'_>) -> Installed {
    let (cache, lock) = (cache(), lock());
    let origin = Origin { cache: &cache, lock: &lock, snapshot: None };
    fs::create_dir_all(dir).unwrap();
    let order = Order { agent, start: &start(), edition, out: dir };
    installed::installed(origin, &order, &mut |step| println!("{step}")).unwrap()
}

fn key(dir: &Path, name: &str) -> Key {
    let path = dir.join(name);
    run(Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .arg("-out")
        .arg(&path));
    Key::from_pem(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A release that was built, sealed for a site.
struct Release {
    entry: String,
    uki: Vec<u8>,
    root: Vec<u8>,
    verity: Vec<u8>,
    root_hash: [u8; 32],
}

impl Release {
    fn sealed(dir: &Path, made: &Installed, slot: char, edition: Edition<'_>, key: &Key) -> Release {
        let part = |role: Role| fs::read(dir.join(release::file(role))).unwrap();
        let site = Site { ca_pem: CA, appliance: Some("https://10.0.2.2:8443") };
        let mut root_hash = [0; 32];
        hex::decode_to_slice(&made.root_hash, &mut root_hash).unwrap();
        Release {
            entry: installed::entry(slot, edition.version),
            uki: seal(&part(Role::Uki), &site, Some(&Policy { key })).unwrap().uki,
            root: part(Role::Root),
            verity: part(Role::Verity),
            root_hash,
        }
    }

    fn filled(&self) -> Filled<'_> {
        let Release { entry, uki, root, verity, root_hash } = self;
        Filled { entry, uki, root, verity, root_hash }
    }
}

/// A machine of the lab: its drive, firmware and TPM live as long as its folder.
struct Lab<'a> {
    dir: PathBuf,
    packages: &'a Packages,
}

impl Lab<'_> {
    fn disk(&self) -> PathBuf {
        self.dir.join("disk.raw")
    }

    /// Writes the drive, which is larger than what is on it; what it remembered is gone.
    fn install(&self, loader: &[u8], slots: [Option<Filled<'_>>; 2]) {
        installed::disk(&self.disk(), loader, slots).unwrap();
        let file = OpenOptions::new().write(true).open(self.disk()).unwrap();
        file.set_len(file.metadata().unwrap().len() + MORE_BYTES).unwrap();
    }

    /// Writes a slot's UKI anew; everything else stays, its tries too.
    fn replace(&self, slot: &str, content: &[u8]) {
        let entry = self.entry(slot);
        let esp = format!("{}@@1M", self.disk().display());
        let path = self.dir.join("new.efi");
        fs::write(&path, content).unwrap();
        run(Command::new("mcopy").args(["-o", "-i", &esp]).arg(&path).arg(format!("::/EFI/Linux/{entry}")));
    }

    /// Takes a slot's UKI away.
    fn remove(&self, slot: &str) {
        let esp = format!("{}@@1M", self.disk().display());
        run(Command::new("mdel").args(["-i", &esp]).arg(format!("::/EFI/Linux/{}", self.entry(slot))));
    }

    /// The name of a slot's UKI.
    fn entry(&self, slot: &str) -> String {
        let entries = self.entries();
        let mut names = entries.lines().filter_map(|line| line.rsplit('/').next());
        names.find(|name| name.contains(slot)).unwrap().to_owned()
    }

    fn entries(&self) -> String {
        let esp = format!("{}@@1M", self.disk().display());
        let said = Command::new("mdir").args(["-b", "-i", &esp, "::/EFI/Linux"]).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    fn flip(&self, at: u64) {
        let mut file = File::options().read(true).write(true).open(self.disk()).unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[byte[0] ^ 1]).unwrap();
    }

    fn boot(&self, restart: Restart) -> String {
        let said = boot(&self.dir, self.packages, &self.disk(), restart);
        let interesting = |line: &&str| line.contains("TEST") || line.starts_with('[');
        println!("{}\n", said.lines().filter(interesting).collect::<Vec<_>>().join("\n"));
        said
    }
}

fn expect(said: &str, wanted: &[&str], unwanted: &[&str]) {
    for wanted in wanted {
        assert!(said.contains(wanted), "no `{wanted}` in {said}");
    }
    for unwanted in unwanted {
        assert!(!said.contains(unwanted), "`{unwanted}` in {said}");
    }
}

#[test]
fn a_host_starts_as_predicted_remembers_and_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let packages = fetch(&cache());
    let agent = program(dir, "hil_host/agent.rs");
    let (one, two, three) = (dir.join("one"), dir.join("somewhere/else"), dir.join("three"));
    let old = build(&one, &agent, OLD);
    assert_eq!(build(&two, &agent, OLD), old);
    assert_eq!(diff::diff(&one, &two).unwrap(), [], "the same bytes");
    fs::remove_dir_all(&two).unwrap();
    println!("root {} bytes, UKI {} bytes", old.root_bytes, old.uki_bytes);
    let new = build(&three, &agent, NEW);
    let (site, stranger) = (key(dir, "site.key"), key(dir, "stranger.key"));
    let slot_a = Release::sealed(&one, &old, 'a', OLD, &site);
    let slot_b = Release::sealed(&three, &new, 'b', NEW, &site);
    let loader = fs::read(one.join(release::file(Role::Loader))).unwrap();
    let lab = Lab { dir: dir.join("lab"), packages: &packages };
    fs::create_dir(&lab.dir).unwrap();
    lab.install(&loader, [Some(slot_a.filled()), Some(slot_b.filled())]);

    // The first start takes the newer slot and makes the state.
    let said = lab.boot(Restart::Ends);
    expect(
        &said,
        &[
            "TEST end",
            "TEST release RELEASE=scalerforge-host VERSION=1.10 EPOCH=2",
            "TEST site APPLIANCE=https://10.0.2.2:8443",
            "TEST mount /dev/dm-0 / erofs ro",
            "/var/lib/scalerforge ext4",
            "TEST state STATE=sealed",
            "TEST remembered nothing",
            "TEST locked true",
            "TEST rules true",
            "TEST closed true",
        ],
        &[],
    );
    for entry in &uki::measure(Some(&loader), &slot_b.uki).unwrap().pcrs {
        // Secure Boot is off here, the first case of PCR 4.
        expect(&said, &[&format!("TEST pcr {} {}", entry.pcr, entry.accepted[0].value)], &[]);
    }

    // One bit in the slot that runs: the other one is taken, and its own PCR 11 opens what the first one wrote.
    lab.flip(SLOT_B + FAR);
    let said = lab.boot(Restart::Starts);
    expect(
        &said,
        &[
            "is not what was built",
            "its boot entry is scalerforge-b_1.10+0-",
            "VERSION=1.9 EPOCH=1",
            "TEST state STATE=sealed",
            "TEST remembered a word",
        ],
        &["VERSION=1.10"],
    );
    let entries = lab.entries();
    assert!(entries.contains("scalerforge-b_1.10+0-"), "{entries}");

    // Another site's image on the same drive: the state stays shut, and the host goes on without.
    let foreign = Release::sealed(&one, &old, 'a', OLD, &stranger);
    lab.replace("-a_", &foreign.uki);
    let said = lab.boot(Restart::Ends);
    expect(
        &said,
        &["does not open for this image", "TEST state STATE=memory", "TEST remembered nothing", "TEST end"],
        &[],
    );

    // And the site's own again: nothing was lost.
    lab.replace("-a_", &slot_a.uki);
    let said = lab.boot(Restart::Ends);
    expect(&said, &["TEST state STATE=sealed", "TEST remembered a word"], &[]);

    // The floor is above both.  Neither was ever marked good, and all tries are spent: the boot loader takes the newer one,
    // and the older one once that is gone.
    raise(&lab.dir, 3);
    let said = lab.boot(Restart::Ends);
    expect(&said, &["epoch 2; this machine's rollback floor is 3", "older one is not started"], &["TEST"]);
    lab.remove("-b_");
    let said = lab.boot(Restart::Ends);
    expect(&said, &["epoch 1; this machine's rollback floor is 3", "older one is not started"], &["TEST"]);
}

fn raise(dir: &Path, to: u32) {
    let (running, socket) = tpm(dir);
    let mut tpm = Tpm::open(&socket).unwrap();
    tpm.startup().unwrap();
    assert_eq!(floor::raise(&mut tpm, to).unwrap(), to);
    drop(tpm);
    drop(running);
}

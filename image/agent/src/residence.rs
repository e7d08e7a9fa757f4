//! Where this agent runs, if that is an installed system: what its hello says, and how long it waits to be promoted.
//!
//! The start program leaves release and drive in `/run/scalerforge`; tries and failed slots are read from the drive, the
//! floor from the TPM.  A system that is never promoted restarts, so that the boot loader's count goes on and the other
//! slot comes back; one without another slot to go back to waits for ever.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use appliance_api::agent::host::{PROMOTION_MINUTES_MAX, Release, Residence, Slot};
use appliance_model::{Digest, Serial};
use attest_tpm::{Tpm, floor};
use firmware_checks_probe as probe;
use image_slots::install;

use crate::{
    block::Block,
    console::chain,
    say,
    system::{self, Leave},
};

/// Where the start program leaves what it knows.
const RUN: &str = "run/scalerforge";
/// Files of a few lines.
const WORD_MAX: usize = 128;

/// The running system, as its start program said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Name, version, epoch, root hash.
    pub release: Release,
    /// Kernel name of the drive it came from.
    pub drive: String,
    /// The slot, as the partition's name has it.
    slot: Slot,
}

impl Running {
    /// What runs below `root`; nothing in the discovery image and beside somebody else's system.
    #[must_use]
    pub fn read(root: &Path) -> Option<Self> {
        let release = lines(&root.join(RUN).join("release"))?;
        let started = lines(&root.join(RUN).join("started"))?;
        let value = |text: &str, key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found.map(|word| word.chars().filter(|c| !c.is_control()).take(WORD_MAX).collect::<String>())
        };
        let command_line = lines(&root.join("proc/cmdline"))?;
        let hash = command_line.split_whitespace().find_map(|word| word.strip_prefix("roothash="))?;
        let slot = if value(&started, "PARTITION")?.ends_with("-b") { Slot::B } else { Slot::A };
        let drive = value(&started, "DRIVE").filter(|name| !name.is_empty() && !name.contains(['/', '.']))?;
        Some(Self {
            release: Release {
                name: value(&release, "RELEASE")?,
                version: value(&release, "VERSION")?,
                epoch: value(&release, "EPOCH")?.parse().ok()?,
                root_hash: hash.parse::<Digest>().ok()?,
            },
            drive,
            slot,
        })
    }

    /// Its drive, to be changed.
    ///
    /// # Errors
    /// What to tell a person.
    pub fn block(&self, root: &Path) -> Result<Block, String> {
        Block::open(&root.join("sys"), &root.join("dev").join(&self.drive))
            .map_err(|error| format!("the drive that this system came from, {}: {error}", self.drive))
    }

    /// What the drive says of it.
    fn survey(&self, root: &Path) -> Result<install::Survey, String> {
        let mut block = self.block(root)?;
        install::survey(&mut block, &self.release.root_hash.0).map_err(|error| chain(&error))
    }
}

fn lines(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// What a hello says.
#[must_use]
pub fn residence(root: &Path, tpm: &Path) -> Option<Residence> {
    let running = Running::read(root)?;
    let survey = running.survey(root).unwrap_or_else(|why| {
        // Whoever cannot say that he was promoted, was not.
        say!("this system's tries cannot be told: {why}");
        install::Survey { slot: running.slot, tries_left: Some(0), failed: Vec::new(), other: false }
    });
    let floor = Tpm::open(tpm).and_then(|mut tpm| floor::read(&mut tpm)).unwrap_or_else(|error| {
        say!("the TPM's floor cannot be told: {}", chain(&error));
        None
    });
    let Release { name, version, epoch, root_hash } = running.release;
    Some(Residence {
        slot: survey.slot,
        release: name,
        version,
        epoch,
        root_hash,
        drive: serial(root, &running.drive),
        tries_left: survey.tries_left,
        failed: survey.failed,
        floor,
    })
}

/// The serial of the drive with this name, or its world-wide name where it tells none.
pub(crate) fn serial(root: &Path, name: &str) -> Option<Serial> {
    let inventory = probe::probe(root);
    let drive = inventory.drives.into_iter().find(|drive| drive.name.as_deref() == Some(name))?;
    drive.serial.or_else(|| drive.wwid.as_deref().and_then(Serial::parse))
}

/// Restarts a system that nobody promotes, where there is another to go back to.
pub fn await_promotion(root: PathBuf) {
    let Some(running) = Running::read(&root) else { return };
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(PROMOTION_MINUTES_MAX * 60));
        match running.survey(&root) {
            Ok(survey) if survey.tries_left.is_some() && survey.other => {
                say!(
                    "nobody has promoted this system in {PROMOTION_MINUTES_MAX} minutes: restarting, and after its last try the other slot's is back"
                );
                leave_installed(Leave::Reboot);
            }
            Ok(_) => {}
            Err(why) => say!("whether this system was promoted cannot be told: {why}"),
        }
    });
}

/// Leaves an installed system: its own way, and after a while without asking.
pub fn leave_installed(how: Leave) {
    const PATIENCE: Duration = Duration::from_secs(90);
    let verb = match how {
        Leave::Reboot => "reboot",
        Leave::PowerOff => "poweroff",
    };
    match Command::new("/usr/bin/systemctl").arg(verb).status() {
        Ok(status) if status.success() => thread::sleep(PATIENCE),
        Ok(status) => say!("systemctl {verb}: {status}"),
        Err(error) => say!("systemctl {verb}: {error}"),
    }
    system::leave(how);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_system_is_known_by_what_its_start_left() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(Running::read(root), None, "the discovery image");
        fs::create_dir_all(root.join(RUN)).unwrap();
        fs::create_dir_all(root.join("proc")).unwrap();
        let hash = "ab".repeat(32);
        fs::write(root.join("proc/cmdline"), format!("quiet roothash={hash}\n")).unwrap();
        fs::write(root.join(RUN).join("release"), "RELEASE=scalerforge-host\nVERSION=1.2\nEPOCH=7\n")
            .unwrap();
        let started = |text: &str| fs::write(root.join(RUN).join("started"), text).unwrap();
        started("DRIVE=nvme0n1\nROOT=/dev/nvme0n1p4\nPARTITION=root-b\n");
        let running = Running::read(root).unwrap();
        assert_eq!((running.slot, running.drive.as_str()), (Slot::B, "nvme0n1"));
        assert_eq!((running.release.epoch, running.release.root_hash), (7, Digest([0xab; 32])));
        // Without its drive it says that it was not promoted.
        let said = residence(root, &root.join("no-tpm")).unwrap();
        assert_eq!((said.slot, said.tries_left, said.floor), (Slot::B, Some(0), None));
        started("DRIVE=../sda\nPARTITION=root-a\n");
        assert_eq!(Running::read(root), None, "a drive's name is no path");
    }
}

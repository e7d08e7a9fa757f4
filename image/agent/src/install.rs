//! Puts a release onto a drive, marks it good, goes back to the other: finds the drive and the parts, and says what came
//! of it.  What is written in which order is `image-slots`'s.
//!
//! A drive that holds anything is written only where the order names what was found on it; one that is in use never.

mod alone;
mod option;

use std::{
    io,
    path::Path,
    sync::Mutex,
    sync::PoisonError,
    time::{Duration, Instant},
};

use appliance_api::agent::{
    Outcome, Progress,
    host::{InstallOrder, PART_BYTES_MAX, Part, Place, Release, Role},
};
use appliance_model::{Digest, Serial, inventory::Drive};
use attest_tpm::floor;
use image_slots::{
    fat::FILE_BYTES_MAX,
    found,
    gpt::Layout,
    install::{self, Done, Large, Piece, Sink, System},
};

use crate::{
    block::Block,
    console::chain,
    lacks,
    residence::{self, Running},
    say,
    system::Leave,
    work::Hands,
};

pub use alone::alone;

/// What the firmware's menu calls it.
const HOST: &str = "Scalerforge host";
/// Bytes asked for at once: a call that breaks off costs little.
const RANGE_BYTES: u64 = 8 << 20;
/// Between two words on how far it is.
const WORD_EVERY: Duration = Duration::from_secs(2);

/// How far all parts together are, and when that was said last.
struct Told {
    at: Instant,
    bytes: u64,
    total: u64,
}

impl Told {
    /// Thousandths, and words.
    fn words(&self, role: Role) -> (u16, String) {
        let permille =
            self.bytes.min(self.total).saturating_mul(1000).checked_div(self.total).unwrap_or(1000);
        let part = format!("{role:?}").to_lowercase();
        let note = format!("writing the {part} part: {} of {} MiB", self.bytes >> 20, self.total >> 20);
        (u16::try_from(permille).unwrap_or(1000), note)
    }
}

impl Hands<'_> {
    /// Installs or updates.
    pub(crate) fn install(&self, order: &InstallOrder) -> Result<Outcome, String> {
        let begun = now();
        let parts = Parts::of(order)?;
        self.above_the_floor(&order.release)?;
        if !self.talk.root.join("sys/firmware/efi").exists() {
            return Err("this server was started by a BIOS, and installed systems are started by UEFI: set its firmware to UEFI first".into());
        }
        let running = Running::read(&self.talk.root);
        let (name, drive, fresh) = match (&order.place, &running) {
            (Place::Fresh { drive, .. }, _) => (self.drive(drive)?, drive.clone(), true),
            (Place::Other, Some(running)) => {
                let serial = residence::serial(&self.talk.root, &running.drive);
                let drive =
                    serial.or_else(|| Serial::parse(&running.drive)).ok_or("the drive has no name")?;
                (running.drive.clone(), drive, false)
            }
            (Place::Other, None) => {
                return Err("no installed system runs here: install onto a drive that the order names".into());
            }
        };
        let path = self.talk.root.join("dev").join(&name);
        // Held to the end: nobody mounts it meanwhile.
        let _alone = if fresh { Some(alone(&self.talk.root, &name)?) } else { None };
        let mut block = Block::open(&self.talk.root.join("sys"), &path)
            .map_err(|error| format!("drive {drive} ({name}) could not be opened: {error}"))?;
        if let Place::Fresh { found: named, .. } = &order.place {
            let found = found::found(&mut block)
                .map_err(|error| format!("drive {drive}: what it holds could not be read: {error}"))?;
            let digest = Digest(found.digest);
            if !found.parts.is_empty() && *named != Some(digest) {
                let held: Vec<String> = found.parts.iter().map(lacks::described).collect();
                say!(
                    "drive {drive} {}, which the order does not name: nothing is written; who wants it gone allows it at \
                     the appliance, which shows what was found (`scalerforge host residence`)",
                    lacks::holding(&held)
                );
                return Ok(Outcome::Occupied { drive, found: found.parts, digest });
            }
        }
        say!("drive {drive} ({name}): {} {} is put onto it", order.release.name, order.release.version);
        let total = order.parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.bytes));
        let told = Mutex::new(Told { at: begun, bytes: 0, total });
        let (loader, uki) = (self.small(&parts.loader, &told)?, self.small(&parts.uki, &told)?);
        let seed = drive.as_str().as_bytes();
        let mut fetch = |large: Large, sink: Sink<'_>| {
            let part = if large == Large::Root { &parts.root } else { &parts.verity };
            self.fetch(part, &told, sink)
        };
        let mut system = System {
            root_hash: order.release.root_hash.0,
            loader: &loader,
            uki: &uki,
            root: piece(&parts.root),
            verity: piece(&parts.verity),
            fetch: &mut fetch,
        };
        let done = match &running {
            Some(running) if !fresh => install::update(&mut block, &running.release.root_hash.0, &mut system),
            Some(_) | None => install::fresh(&mut block, Layout::HOST, seed, &mut system),
        };
        let done = done.map_err(|error| format!("drive {drive}: {}", chain(&error)))?;
        let boot_option = if fresh { self.boot_option(&done) } else { None };
        say!("drive {drive}: slot {} holds it, and was read back; entry {}", done.slot, done.entry);
        Ok(Outcome::Installed {
            drive,
            slot: done.slot,
            root_hash: Digest(done.root_hash),
            entry: done.entry,
            boot_option,
            milliseconds: u64::try_from(now().saturating_duration_since(begun).as_millis())
                .unwrap_or(u64::MAX),
        })
    }

    /// A release that the start program would refuse is not installed.
    fn above_the_floor(&self, release: &Release) -> Result<(), String> {
        // Without a TPM nothing is attested, and nothing is counted.
        let Ok(mut tpm) = self.tpm() else { return Ok(()) };
        match floor::read(&mut tpm) {
            Ok(Some(floor)) if release.epoch < floor => Err(format!(
                "release {} has epoch {}, and this machine's floor is {floor}: it would not be started",
                release.version, release.epoch
            )),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("the TPM's floor could not be read: {}", chain(&error))),
        }
    }

    /// The one block device with this serial or world-wide name.
    fn drive(&self, wanted: &Serial) -> Result<String, String> {
        let inventory = self.drives_now();
        let is = |drive: &&Drive| {
            drive.serial.as_ref() == Some(wanted) || drive.wwid.as_deref() == Some(wanted.as_str())
        };
        let found: Vec<&Drive> = inventory.drives.iter().filter(is).collect();
        match found.as_slice() {
            [] => Err(format!("drive {wanted} is not in this machine")),
            [one] => one.name.clone().ok_or_else(|| format!("drive {wanted} has no block device")),
            several => Err(format!(
                "drive {wanted} is there {} times ({}): name one by its world-wide name",
                several.len(),
                several
                    .iter()
                    .map(|drive| format!(
                        "{} {}",
                        drive.name.as_deref().unwrap_or("?"),
                        drive.wwid.as_deref().unwrap_or("without one")
                    ))
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        }
    }

    /// A part that is held in memory, whole and checked.
    fn small(&self, part: &Part, told: &Mutex<Told>) -> Result<Vec<u8>, String> {
        let mut content = Vec::new();
        let fetched = self.fetch(part, told, &mut |bytes| {
            content.extend_from_slice(bytes);
            Ok(())
        });
        fetched.map_err(|error| error.to_string())?;
        if Digest::of(&content) != part.sha256 {
            return Err(format!("the {:?} part that came is not what was ordered", part.role));
        }
        if foreign(&content) {
            return Err(format!(
                "the {:?} part is for another processor than this server's: order a release for this kind of server; \
                 nothing was written",
                part.role
            ));
        }
        Ok(content)
    }

    fn fetch(&self, part: &Part, told: &Mutex<Told>, sink: Sink<'_>) -> io::Result<()> {
        let mut at = 0;
        while at < part.bytes {
            let until = (at + RANGE_BYTES).min(part.bytes);
            let content = self.talk.part(part.sha256, at, until).map_err(io::Error::other)?;
            sink(&content)?;
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.bytes = told.bytes.saturating_add(until - at);
            at = until;
            if now().saturating_duration_since(told.at) > WORD_EVERY {
                told.at = now();
                let (permille, note) = told.words(part.role);
                let progress = Progress { order: self.order, permille, note, devices: Vec::new() };
                let _ = self.talk.client.mention("progress", &progress);
            }
        }
        Ok(())
    }

    /// Tells the firmware; what it will not take is no failure, because it looks at a drive's usual place anyway.
    fn boot_option(&self, done: &Done) -> Option<u16> {
        match boot_option(&self.talk.root, done, HOST) {
            Ok(number) => Some(number),
            Err(error) => {
                say!(
                    "the firmware took no boot option ({error}): choose the drive in its setup, or by the BMC"
                );
                None
            }
        }
    }

    /// Marks the running system good, and raises the floor to its epoch.
    pub(crate) fn promote(&self, release: &Release) -> Result<Outcome, String> {
        let running =
            Running::read(&self.talk.root).ok_or("no installed system runs here: nothing to promote")?;
        if running.release != *release {
            return Err(format!(
                "{} {} runs here, not {} {}: nothing was promoted",
                running.release.name, running.release.version, release.name, release.version
            ));
        }
        let mut block = running.block(&self.talk.root)?;
        let slot = install::promote(&mut block, &release.root_hash.0).map_err(|error| chain(&error))?;
        // Raised behind it: a cut between leaves an older floor, which forbids less.
        let floor = match self.tpm() {
            Ok(mut tpm) => Some(floor::raise(&mut tpm, release.epoch).map_err(|error| {
                format!("the system is promoted, but the TPM's floor could not be raised: {}", chain(&error))
            })?),
            Err(why) => {
                say!("no floor is kept: {why}");
                None
            }
        };
        say!("slot {slot} is promoted, the floor is {floor:?}");
        Ok(Outcome::Promoted { slot, floor })
    }

    /// Makes the other slot's system the next one; a restart is left to the caller.
    pub(crate) fn switch(&self) -> Result<Leave, String> {
        let running = Running::read(&self.talk.root)
            .ok_or("no installed system runs here: there is no other slot to switch to")?;
        let mut block = running.block(&self.talk.root)?;
        let slot =
            install::switch(&mut block, &running.release.root_hash.0).map_err(|error| chain(&error))?;
        say!("slot {slot} is started next");
        Ok(Leave::Reboot)
    }
}

/// Whether a UEFI program is for another processor than the one that this agent runs on.  What is no program at all is
/// for the firmware to refuse.
fn foreign(program: &[u8]) -> bool {
    // Offsets of the PE format: where its header is, and the field `Machine` in it.
    let header = program.get(0x3c..0x40).and_then(|at| at.try_into().ok()).map(u32::from_le_bytes);
    let at = header.and_then(|at| usize::try_from(at).ok()).and_then(|at| at.checked_add(4));
    let machine =
        at.and_then(|at| program.get(at..at.checked_add(2)?)?.try_into().ok()).map(u16::from_le_bytes);
    let own = if cfg!(target_arch = "aarch64") { 0xaa64 } else { 0x8664 };
    machine.is_some_and(|machine| machine != own)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the agent is a binary, and says how long an installation took"
)]
fn now() -> Instant {
    Instant::now()
}

/// Has the firmware try an installed drive first; what it will not take is no failure, because firmware looks at a drive's
/// usual place anyway.  An older option of this description is replaced; gives its number.
///
/// # Errors
/// When the firmware does not keep it.
pub fn boot_option(root: &Path, done: &Done, description: &str) -> io::Result<u16> {
    option::put(root, done, description)
}

fn piece(part: &Part) -> Piece {
    Piece { bytes: part.bytes, sha256: part.sha256.0 }
}

/// An order's parts, each role once.
#[derive(Debug)]
struct Parts {
    loader: Part,
    uki: Part,
    root: Part,
    verity: Part,
}

impl Parts {
    fn of(order: &InstallOrder) -> Result<Self, String> {
        let one = |role: Role, most: u64| {
            let mut its = order.parts.iter().filter(|part| part.role == role);
            match (its.next(), its.next()) {
                (Some(part), None) if (1..=most).contains(&part.bytes) => Ok(part.clone()),
                (Some(part), None) => {
                    Err(format!("the order's {role:?} part has {} bytes, not 1 to {most}", part.bytes))
                }
                (None, _) | (Some(_), Some(_)) => Err(format!("the order has not one {role:?} part")),
            }
        };
        Ok(Self {
            loader: one(Role::Loader, FILE_BYTES_MAX)?,
            uki: one(Role::Uki, FILE_BYTES_MAX)?,
            root: one(Role::Root, PART_BYTES_MAX)?,
            verity: one(Role::Verity, PART_BYTES_MAX)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_all_parts_are_told() {
        let told = |bytes, total| Told { at: now(), bytes, total }.words(Role::Root);
        assert_eq!(told(40 << 20, 160 << 20), (250, "writing the root part: 40 of 160 MiB".to_owned()));
        assert_eq!(told(u64::MAX, 1).0, 1000);
        assert_eq!(told(0, 0).0, 1000, "nothing of nothing is all of it");
    }
}

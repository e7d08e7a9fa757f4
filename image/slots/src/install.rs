//! The steps: a first installation, an update, promotion, going back; and what a drive says of itself.
//!
//! Each step ends behind a barrier before the next begins, and each changes what is booted by one sector at most.

mod addon;
mod esp;
mod overview;

use std::io;

use appliance_api::agent::host::{FailedSlot, Slot};
use sha2::{Digest as _, Sha256};

use crate::{
    Device, Span,
    boot_entry::{GENERATION_MAX, Name},
    fat::{self, Volume},
    gpt::{self, Guid, Layout, Partition, Places, Table},
    verity,
};
pub use addon::{plant, uproot};
use esp::Entries;
pub use overview::{SlotState, overview};

/// Why a drive was not written, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too small.
    #[error("the drive has {has} bytes, a system needs {needs}: choose a larger drive")]
    TooSmall {
        /// What it has.
        has: u64,
        /// What is needed.
        needs: u64,
    },
    /// No slots.
    #[error("the drive has no two slots ({found}): install it as a whole")]
    NoSlots {
        /// What it has instead.
        found: &'static str,
    },
    /// The running system is not on it.
    #[error("neither slot of the drive holds the system that runs: install it as a whole")]
    NotOurs,
    /// An update before the running system was promoted.
    #[error(
        "the system that runs was not promoted yet, and the other slot is what this machine would go back to: promote it first"
    )]
    NotPromoted,
    /// Updated to what runs.
    #[error("slot {slot} runs this release already: there is nothing to update")]
    Same {
        /// The slot.
        slot: Slot,
    },
    /// No other system.
    #[error("the other slot holds no system that could be started: update first")]
    NoOther,
    /// Content of another size or digest.
    #[error(
        "the {part} that came is not what was ordered: it was changed on its way, or the release is broken"
    )]
    Changed {
        /// Which part.
        part: &'static str,
    },
    /// A part without room.
    #[error("the {part} has {bytes} bytes, its partition {room}: this release is for another layout")]
    NoRoom {
        /// Which part.
        part: &'static str,
        /// Its size.
        bytes: u64,
        /// The partition's size.
        room: u64,
    },
    /// The UKI names another root.
    #[error(
        "the kernel image of this release starts another root than its own: the release was put together wrongly"
    )]
    Foreign,
    /// What was read back is not what was written.
    #[error("what was written to {part} reads back otherwise: this drive is failing, replace it")]
    ReadBack {
        /// Where.
        part: String,
    },
    /// Ten thousand updates.
    #[error("this drive has seen {GENERATION_MAX} systems: install it as a whole")]
    WornOut,
    /// The boot loader's volume.
    #[error("the boot loader's volume could not be changed")]
    Esp(#[source] fat::Error),
    /// The drive.
    #[error("the drive cannot be {doing}; it may be failing, look at its health")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The content did not come.
    #[error("the {part} could not be had")]
    Fetch {
        /// Which part.
        part: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn drive(doing: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io { doing, source }
}

/// The parts that are streamed onto the drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Large {
    /// The root file system.
    Root,
    /// Its hash tree.
    Verity,
}

impl Large {
    fn name(self) -> &'static str {
        match self {
            Large::Root => "root",
            Large::Verity => "verity",
        }
    }
}

/// What a part must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub sha256: [u8; 32],
}

/// Takes content as it comes.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// A system to be installed.
pub struct System<'a> {
    /// Verity's root hash.
    pub root_hash: [u8; 32],
    /// Boot loader, checked by the caller.
    pub loader: &'a [u8],
    /// Kernel image, checked by the caller.
    pub uki: &'a [u8],
    /// The root file system.
    pub root: Piece,
    /// Its hash tree.
    pub verity: Piece,
    /// Gives a part's content, piece by piece.
    pub fetch: &'a mut dyn FnMut(Large, Sink<'_>) -> io::Result<()>,
}

impl std::fmt::Debug for System<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "System {{ root_hash: {}, .. }}", hex::encode(self.root_hash))
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The slot.
    pub slot: Slot,
    /// What was read back.
    pub root_hash: [u8; 32],
    /// Name of the boot entry.
    pub entry: String,
    /// The boot loader's volume.
    pub esp: Partition,
    /// Size of the drive's sectors in bytes.
    pub sector: usize,
}

/// What a drive says of itself, from inside the system that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The slot that runs.
    pub slot: Slot,
    /// Tries its entry has left; absent once promoted.
    pub tries_left: Option<u8>,
    /// Slots whose tries are used up.
    pub failed: Vec<FailedSlot>,
    /// Whether the other slot holds a system that the boot loader would go back to.
    pub other: bool,
}

/// Makes a drive of ours out of any drive.  `seed` makes its identities its own.
///
/// # Errors
/// [`Error`].
pub fn fresh(
    device: &mut dyn Device,
    layout: Layout,
    seed: &[u8],
    system: &mut System<'_>,
) -> Result<Done, Error> {
    let (has, needs) = (device.bytes(), layout.drive_min);
    if has < needs {
        return Err(Error::TooSmall { has, needs });
    }
    let id = |name: &str| match name {
        "root-a" => half(&system.root_hash, 0),
        "verity-a" => half(&system.root_hash, 16),
        name => made_id(&[name.as_bytes(), seed, &system.root_hash]),
    };
    let plan = gpt::plan(layout, id);
    let disk = made_id(&[b"disk", seed, &system.root_hash]);
    let places = Places::among(&plan).ok_or(Error::NoSlots { found: "a plan without them" })?;
    check(system, &places, Slot::A)?;
    gpt::erase(device).map_err(drive("written"))?;
    fill(device, &places, Slot::A, system)?;
    // What an older system has left where ours looks would be taken for ours.
    let behind = plan.last().map_or(0, |part| part.start + part.bytes);
    let (root_b, verity_b) = places.slot(Slot::B);
    for start in [root_b.start, verity_b.start, behind] {
        device.write(start, &vec![0; 1 << 20]).map_err(drive("written"))?;
    }
    let name = Name::fresh(1, Slot::A).to_string();
    let mut span = span(device, &places.esp)?;
    esp::make(&mut span, &name, system.loader, system.uki).map_err(drive("written"))?;
    span.barrier().map_err(drive("written"))?;
    span.forget().map_err(drive("read"))?;
    let entries = Entries::open(&mut span).map_err(Error::Esp)?;
    entries.holds(&mut span, &name, system.uki, system.loader)?;
    let root_hash = read_back(device, &places, Slot::A, &system.root_hash)?;
    gpt::write(device, disk, &plan).map_err(drive("written"))?;
    Ok(Done { slot: Slot::A, root_hash, entry: name, esp: places.esp, sector: device.sector() })
}

/// Puts a system into the slot that does not run.
///
/// # Errors
/// [`Error`].
pub fn update(device: &mut dyn Device, running: &[u8; 32], system: &mut System<'_>) -> Result<Done, Error> {
    let (places, slot) = runs(device, running)?;
    if system.root_hash == *running {
        return Err(Error::Same { slot });
    }
    let target = slot.other();
    check(system, &places, target)?;
    let mut volume = span(device, &places.esp)?;
    let entries = Entries::open(&mut volume).map_err(Error::Esp)?;
    let own = entries.of(running).ok_or(Error::NotOurs)?;
    if own.name.left.is_some() {
        return Err(Error::NotPromoted);
    }
    let next = entries.next_generation().ok_or(Error::WornOut)?;
    // From here on the machine has one system only, the one that runs.
    entries.remove_all_but(&mut volume, running).map_err(Error::Esp)?;
    fill(device, &places, target, system)?;
    let root_hash = read_back(device, &places, target, &system.root_hash)?;
    let mut volume = span(device, &places.esp)?;
    let name = Name::fresh(next, target).to_string();
    esp::put(&mut volume, &name, system.uki, system.loader)?;
    Ok(Done { slot: target, root_hash, entry: name, esp: places.esp, sector: device.sector() })
}

/// Marks the running system good: from now on its tries are not counted.  Doing it twice is doing it once.
///
/// # Errors
/// [`Error`].
pub fn promote(device: &mut dyn Device, running: &[u8; 32]) -> Result<Slot, Error> {
    let (places, slot) = runs(device, running)?;
    let mut volume = span(device, &places.esp)?;
    let entries = Entries::open(&mut volume).map_err(Error::Esp)?;
    entries.promote(&mut volume, running).map_err(Error::Esp)?.ok_or(Error::NotOurs)?;
    Ok(slot)
}

/// Makes the other slot's system the next to be booted, with new tries.
///
/// # Errors
/// [`Error`].
pub fn switch(device: &mut dyn Device, running: &[u8; 32]) -> Result<Slot, Error> {
    let (places, slot) = runs(device, running)?;
    let other = slot.other();
    let claimed = claims(device, &places, other)?.ok_or(Error::NoOther)?;
    let mut volume = span(device, &places.esp)?;
    let entries = Entries::open(&mut volume).map_err(Error::Esp)?;
    let own = entries.of(running).ok_or(Error::NotOurs)?;
    let theirs = entries.of(&claimed).ok_or(Error::NoOther)?;
    let first = theirs.name.generation() > own.name.generation() && !theirs.name.spent();
    if !first {
        let next = entries.next_generation().ok_or(Error::WornOut)?;
        let name = Name::fresh(next, other).to_string();
        entries.rename(&mut volume, theirs, &name).map_err(Error::Esp)?;
    }
    Ok(other)
}

/// What the drive says of the running system and of those that failed.
///
/// # Errors
/// [`Error`].
pub fn survey(device: &mut dyn Device, running: &[u8; 32]) -> Result<Survey, Error> {
    let (places, slot) = runs(device, running)?;
    let other = claims(device, &places, slot.other())?;
    let mut volume = span(device, &places.esp)?;
    let entries = Entries::open(&mut volume).map_err(Error::Esp)?;
    let own = entries.of(running).ok_or(Error::NotOurs)?;
    let tries_left = own.name.left.map(|left| u8::try_from(left).unwrap_or(u8::MAX));
    let other = other.and_then(|other| entries.of(&other));
    let failed = other
        .filter(|entry| entry.name.spent())
        .map(|entry| FailedSlot { slot: slot.other(), release: entry.release.clone() })
        .into_iter()
        .collect();
    Ok(Survey { slot, tries_left, failed, other: other.is_some_and(|entry| !entry.name.spent()) })
}

/// The drive's slots, and the one that holds the running system.
fn runs(device: &mut dyn Device, running: &[u8; 32]) -> Result<(Places, Slot), Error> {
    let found = match gpt::read(device).map_err(drive("read"))? {
        Table::Partitions(found) => found,
        Table::None => return Err(Error::NoSlots { found: "no table" }),
        Table::Record => return Err(Error::NoSlots { found: "a table of another kind" }),
        Table::Damaged => return Err(Error::NoSlots { found: "a damaged table" }),
    };
    let places = Places::among(&found).ok_or(Error::NoSlots { found: "other partitions" })?;
    for slot in [Slot::A, Slot::B] {
        if claims(device, &places, slot)?.as_ref() == Some(running) {
            return Ok((places, slot));
        }
    }
    Err(Error::NotOurs)
}

/// The root hash that a slot's tree begins with.
fn claims(device: &mut dyn Device, places: &Places, slot: Slot) -> Result<Option<[u8; 32]>, Error> {
    let mut head = vec![0; 2 * verity::BLOCK];
    span(device, places.slot(slot).1)?.read(0, &mut head).map_err(drive("read"))?;
    Ok(verity::claimed(&head))
}

fn span<'a>(device: &'a mut dyn Device, partition: &Partition) -> Result<Span<'a>, Error> {
    Span::new(device, partition.start, partition.bytes).map_err(drive("used"))
}

/// What can be known before anything is written.
fn check(system: &System<'_>, places: &Places, slot: Slot) -> Result<(), Error> {
    let (root, hashes) = places.slot(slot);
    for (piece, partition, part) in [(system.root, root, "root"), (system.verity, hashes, "verity")] {
        if piece.bytes > partition.bytes {
            return Err(Error::NoRoom { part, bytes: piece.bytes, room: partition.bytes });
        }
    }
    let small = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let (bytes, room) = (small(system.uki).saturating_add(small(system.loader)), places.esp.bytes / 3);
    if bytes > room {
        return Err(Error::NoRoom { part: "kernel image", bytes, room });
    }
    if esp::root_of(system.uki) == Some(system.root_hash) { Ok(()) } else { Err(Error::Foreign) }
}

/// Writes root and tree into a slot.
fn fill(device: &mut dyn Device, places: &Places, slot: Slot, system: &mut System<'_>) -> Result<(), Error> {
    let (root, hashes) = places.slot(slot);
    for (part, piece, partition) in [(Large::Verity, system.verity, hashes), (Large::Root, system.root, root)]
    {
        let mut to = span(device, partition)?;
        let (mut at, mut sum) = (0_u64, Sha256::new());
        let mut failed = None;
        let fetched = (system.fetch)(part, &mut |bytes| {
            sum.update(bytes);
            let count = u64::try_from(bytes.len()).map_err(io::Error::other)?;
            if at.saturating_add(count) > piece.bytes {
                failed = Some(Error::Changed { part: part.name() });
                return Err(io::Error::other("more than was ordered"));
            }
            to.write(at, bytes).map_err(|source| {
                let copy = io::Error::new(source.kind(), source.to_string());
                failed = Some(Error::Io { doing: "written", source });
                copy
            })?;
            at += count;
            Ok(())
        });
        if let Some(error) = failed {
            return Err(error);
        }
        fetched.map_err(|source| Error::Fetch { part: part.name(), source })?;
        if at != piece.bytes || <[u8; 32]>::from(sum.finalize()) != piece.sha256 {
            return Err(Error::Changed { part: part.name() });
        }
        to.barrier().map_err(drive("written"))?;
    }
    Ok(())
}

/// Reads a slot from the drive, through its tree.
fn read_back(
    device: &mut dyn Device,
    places: &Places,
    slot: Slot,
    wanted: &[u8; 32],
) -> Result<[u8; 32], Error> {
    device.forget().map_err(drive("read"))?;
    let (root, hashes) = places.slot(slot);
    let mut tree = vec![0; usize::try_from(hashes.bytes).unwrap_or(0)];
    span(device, hashes)?.read(0, &mut tree).map_err(drive("read"))?;
    let found = verity::read_back(&mut span(device, root)?, &tree).map_err(drive("read"))?;
    match found {
        Some(found) if found == *wanted => Ok(found),
        Some(_) | None => Err(Error::ReadBack { part: format!("slot {slot}") }),
    }
}

fn half(root: &[u8; 32], from: usize) -> Guid {
    let mut out = [0; 16];
    out.iter_mut().zip(root.iter().skip(from)).for_each(|(to, from)| *to = *from);
    Guid(out)
}

/// An identity out of what it identifies, marked as made by rules of our own (RFC 9562, version 8).
fn made_id(parts: &[&[u8]]) -> Guid {
    let sum = parts.iter().fold(Sha256::new(), |sum, part| sum.chain_update(part)).finalize();
    let mut id = [0; 16];
    id.iter_mut().zip(sum).for_each(|(to, from)| *to = from);
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    Guid(id)
}

/// What a volume's errors become here.
impl From<fat::Error> for Error {
    fn from(source: fat::Error) -> Self {
        Error::Esp(source)
    }
}

fn open(volume: &mut Span<'_>) -> Result<Volume, fat::Error> {
    Volume::open(volume)
}

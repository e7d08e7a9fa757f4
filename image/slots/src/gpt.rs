//! A drive's partition table (GPT; UEFI 2.10, 5.3): how it is laid out for our systems, made and read.
//!
//! It is written once.  Firmware and kernel look for the protective record in the first sector before anything else, so
//! that sector is written last, alone: before it a drive has no table, after it a whole one.

use std::io;

use appliance_api::agent::host::Slot;

use crate::Device;

/// Partitions begin on these boundaries, so that no drive has to write a block twice.
pub const ALIGNMENT: u64 = 1 << 20;
const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;
const TABLE_BYTES: usize = ENTRIES * ENTRY_BYTES;
const HEADER_BYTES: usize = 92;
const SIGNATURE: &[u8] = b"EFI PART";
/// Sector sizes that drives have.
const SECTORS: [usize; 2] = [512, 4096];

/// A GUID as text has it: `c12a7328-f81f-11d2-ba4b-00a0c93ec93b` is these bytes in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

/// EFI system partition.
pub const ESP: Guid = Guid(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b_u128.to_be_bytes());
/// Root file system for x86-64 (the UAPI group's discoverable partitions).
pub const ROOT: Guid = Guid(0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709_u128.to_be_bytes());
/// Verity hashes of such a root file system.
pub const ROOT_VERITY: Guid = Guid(0x2c73_57ed_ebd2_46d9_aec1_23d4_37ec_2bf5_u128.to_be_bytes());

impl Guid {
    /// As a table stores it, and back: the first three fields little-endian.
    #[must_use]
    pub fn stored(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        let mut out = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
        out[8..].copy_from_slice(&rest);
        out
    }
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// What it is for.
    pub kind: Guid,
    /// Which one it is.
    pub id: Guid,
    /// Its name.
    pub name: String,
    /// First byte.
    pub start: u64,
    /// Size in bytes.
    pub bytes: u64,
}

/// Kinds and names of what an installed drive begins with.
const SLOTS: [(Guid, &str); 5] =
    [(ESP, "esp"), (ROOT, "root-a"), (ROOT_VERITY, "verity-a"), (ROOT, "root-b"), (ROOT_VERITY, "verity-b")];

/// Sizes in bytes of what an installed drive begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    esp: u64,
    root: u64,
    hashes: u64,
    /// Room for these, the tables, and for the state behind them.
    pub drive_min: u64,
}

impl Layout {
    /// A host's.
    pub const HOST: Layout = Layout {
        // Room for six UKIs: the one that runs, the next, and growth; a full ESP cannot be mended from afar.
        esp: 256 << 20,
        // Twice the product's bar for a root.
        root: 200 << 20,
        // A hundredth of its root, and more.
        hashes: 4 << 20,
        drive_min: 1 << 30,
    };
    /// An appliance's, which has the images that it serves on its root, and a site in its state.
    pub const APPLIANCE: Layout =
        Layout { esp: 256 << 20, root: 560 << 20, hashes: 8 << 20, drive_min: 4 << 30 };

    fn of(self, kind: Guid) -> u64 {
        match kind {
            ESP => self.esp,
            ROOT => self.root,
            _ => self.hashes,
        }
    }
}

/// Where the two slots are on a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The boot loader's volume.
    pub esp: Partition,
    roots: [Partition; 2],
    hashes: [Partition; 2],
}

impl Places {
    /// Among what was found on a drive, by kind and name; the state's partition, and others, may be there too.
    #[must_use]
    pub fn among(found: &[Partition]) -> Option<Self> {
        let one = |(kind, name)| found.iter().find(|part| part.kind == kind && part.name == name).cloned();
        let [esp, root_a, hash_a, root_b, hash_b] = SLOTS.map(one);
        Some(Self { esp: esp?, roots: [root_a?, root_b?], hashes: [hash_a?, hash_b?] })
    }

    /// Root and hash partition of a slot.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> (&Partition, &Partition) {
        let [root_a, root_b] = &self.roots;
        let [hash_a, hash_b] = &self.hashes;
        match slot {
            Slot::A => (root_a, hash_a),
            Slot::B => (root_b, hash_b),
        }
    }
}

/// The partitions of a layout, one after the other.  `id` gives each its identity.
#[must_use]
pub fn plan(layout: Layout, id: impl Fn(&str) -> Guid) -> Vec<Partition> {
    let mut start = ALIGNMENT;
    let mut all = Vec::new();
    for (number, (kind, name)) in (1..).zip(SLOTS) {
        let bytes = layout.of(kind);
        all.push(Partition { number, kind, id: id(name), name: name.to_owned(), start, bytes });
        start += bytes;
    }
    all
}

/// Writes both tables and then, behind a barrier, the sector that makes them count.
///
/// # Errors
/// When the drive does not write.
pub fn write(device: &mut dyn Device, disk: Guid, partitions: &[Partition]) -> io::Result<()> {
    let sector = device.sector();
    let size = u64::try_from(sector).map_err(io::Error::other)?;
    let sectors = device.bytes() / size;
    let table = table(partitions, size);
    let table_sectors = u64::try_from(TABLE_BYTES.div_ceil(sector)).map_err(io::Error::other)?;
    let last = sectors.saturating_sub(1);
    let usable = (2 + table_sectors, last.saturating_sub(table_sectors + 1));
    let head = |here, other, entries| header(&table, disk, here, other, entries, usable, sector);
    device.write((last - table_sectors) * size, &table)?;
    device.write(last * size, &head(last, 1, last - table_sectors))?;
    device.write(2 * size, &table)?;
    device.write(size, &head(1, last, 2))?;
    device.barrier()?;
    device.write(0, &protective(sectors, sector))?;
    device.barrier()
}

/// Takes a table away: the first sector first, then what else could be read as one, or as an older system.
///
/// # Errors
/// When the drive does not write.
pub fn erase(device: &mut dyn Device) -> io::Result<()> {
    device.write(0, &vec![0; device.sector()])?;
    device.barrier()?;
    let blank = vec![0; 1 << 20];
    let end = device.bytes().saturating_sub(1 << 20) / 4096 * 4096;
    let tail = usize::try_from(device.bytes() - end).map_err(io::Error::other)?;
    device.write(0, &blank)?;
    device.write(end, &vec![0; tail])?;
    device.barrier()
}

fn table(partitions: &[Partition], sector: u64) -> Vec<u8> {
    let mut table = vec![0; TABLE_BYTES];
    for (entry, partition) in table.chunks_exact_mut(ENTRY_BYTES).zip(partitions) {
        let first = partition.start / sector;
        let last = (partition.start + partition.bytes) / sector - 1;
        entry[..16].copy_from_slice(&partition.kind.stored());
        entry[16..32].copy_from_slice(&partition.id.stored());
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        let name = partition.name.encode_utf16().flat_map(u16::to_le_bytes);
        entry[56..].iter_mut().zip(name).for_each(|(to, from)| *to = from);
    }
    table
}

/// One entry over the whole disk, for programs that know no GPT.
fn protective(sectors: u64, sector: usize) -> Vec<u8> {
    let mut record = vec![0; sector];
    let count = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    let mut entry = vec![0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0];
    entry.extend(count.to_le_bytes());
    record.iter_mut().skip(446).zip(entry).for_each(|(to, from)| *to = from);
    record[510..512].copy_from_slice(&[0x55, 0xaa]);
    record
}

fn header(
    table: &[u8],
    disk: Guid,
    here: u64,
    other: u64,
    entries: u64,
    (first, last): (u64, u64),
    sector: usize,
) -> Vec<u8> {
    let mut out = vec![0; sector];
    out[..8].copy_from_slice(SIGNATURE);
    out[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    out[12] = 92;
    for (at, value) in [(24, here), (32, other), (40, first), (48, last), (72, entries)] {
        out[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    out[56..72].copy_from_slice(&disk.stored());
    out[80] = 128;
    out[84] = 128;
    out[88..92].copy_from_slice(&crc32(table).to_le_bytes());
    let sum = crc32(&out[..HEADER_BYTES]);
    out[16..20].copy_from_slice(&sum.to_le_bytes());
    out
}

/// CRC-32 as Ethernet has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| {
                if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 }
            },
        )
    })
}

/// What a drive's first sectors say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Table {
    /// No table of any kind.
    None,
    /// One as BIOS machines have it.
    Record,
    /// A GPT whose sums are right.
    Partitions(Vec<Partition>),
    /// A GPT that is damaged.
    Damaged,
}

/// Reads the first table, as Linux does: the copy at the end does not count.
///
/// # Errors
/// When the drive does not read.
pub fn read(device: &mut dyn Device) -> io::Result<Table> {
    let mut head = vec![0; 2 * 4096 + TABLE_BYTES];
    device.read(0, &mut head)?;
    let record = head.get(510..512) == Some(&[0x55, 0xaa]);
    let signed = SECTORS.into_iter().find(|sector| head.get(*sector..sector + 8) == Some(SIGNATURE));
    Ok(match (record, signed) {
        (true, Some(sector)) if head.get(450) == Some(&0xee) => {
            parse(&head, sector).map_or(Table::Damaged, Table::Partitions)
        }
        (true, _) => Table::Record,
        (false, Some(_)) => Table::Damaged,
        (false, None) => Table::None,
    })
}

fn parse(head: &[u8], sector: usize) -> Option<Vec<Partition>> {
    let header = head.get(sector..sector + HEADER_BYTES)?;
    let long = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let mut bare = header.to_vec();
    bare.get_mut(16..20)?.fill(0);
    let table = head.get(2 * sector..2 * sector + TABLE_BYTES)?;
    // Tables of other shapes exist, and are nobody's that we would update.
    let ours = long(12)? == 92 && long(80)? == 128 && long(84)? == 128;
    if !ours || long(16)? != crc32(&bare) || long(88)? != crc32(table) {
        return None;
    }
    let size = u64::try_from(sector).ok()?;
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(table.chunks_exact(ENTRY_BYTES)) {
        let guid = |at: usize| Some(Guid(Guid(*entry.get(at..)?.first_chunk()?).stored()));
        let place = |at: usize| Some(u64::from_le_bytes(*entry.get(at..)?.first_chunk()?));
        let (kind, id) = (guid(0)?, guid(16)?);
        if kind == Guid([0; 16]) {
            continue;
        }
        let (first, last) = (place(32)?, place(40)?);
        let units = entry.get(56..)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let name = char::decode_utf16(units.take_while(|unit| *unit != 0)).filter_map(Result::ok);
        let name = name.filter(|letter| !letter.is_control()).collect();
        let start = first.checked_mul(size)?;
        let bytes = last.checked_sub(first)?.checked_add(1)?.checked_mul(size)?;
        found.push(Partition { number, kind, id, name, start, bytes });
    }
    Some(found)
}

//! The boot medium: the UKI as a CD that a BMC attaches to a server, or as the same bytes on a USB stick.
//!
//! ISO 9660 (ECMA-119) with an El Torito entry for UEFI (El Torito 1.0; UEFI 2.10, 13.3.2.1) whose boot image is a FAT
//! volume with `EFI/BOOT/BOOTX64.EFI`, or `BOOTAA64.EFI` on 64-bit ARM; an MBR names the same volume for firmware that is shown a disk.  The
//! "application use" field of the volume descriptor is left empty: the appliance writes the ticket there
//! (`appliance_api::medium`).  Firmware measures the UKI as after a network boot, so that the reference values hold.

use std::io::{self, Cursor, Write as _};

use fatfs::{Date, DateTime, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider, format_volume};

use crate::architecture::Architecture;
use crate::pe::Image;

/// A sector of a CD.
const SECTOR: usize = 2048;
/// What FAT, MBR and El Torito count in.
const BLOCK: usize = 512;
/// ECMA-119, 6.2.1: sixteen sectors belong to the system; descriptors follow.
const DESCRIPTORS: usize = 16;
const CATALOG: usize = 19;
const PATHS_LITTLE: usize = 20;
const PATHS_BIG: usize = 21;
const ROOT: usize = 22;
/// Where the FAT volume starts, on a 64 KiB boundary.
const VOLUME: usize = 32;
/// Room for tables and directories beside the UKI.
const SLACK_BYTES: usize = 1 << 20;
/// Volume name of CD and FAT.
const NAME: &str = "SCALERFORGE";

/// Makes the medium.  The same UKI gives the same bytes: no clock and no chance goes in.
///
/// # Errors
/// When the FAT volume cannot be made; a UKI beyond 2 GiB.
pub fn medium(uki: &[u8]) -> io::Result<Vec<u8>> {
    let volume = volume(uki)?;
    let sectors = VOLUME + volume.len().div_ceil(SECTOR);
    let mut disc = vec![0; sectors * SECTOR];
    let bytes = u32::try_from(volume.len()).map_err(io::Error::other)?;
    put(&mut disc, 0, &master_boot_record(bytes));
    let volume_at = Volume { sector: VOLUME, bytes };
    put(&mut disc, DESCRIPTORS, &descriptors(volume_at, sectors)?);
    put(&mut disc, VOLUME, &volume);
    Ok(disc)
}

/// Where on a disc the FAT volume is that firmware boots.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Volume {
    /// Its first sector.
    pub(crate) sector: usize,
    /// Its size.
    pub(crate) bytes: u32,
}

/// Where [`descriptors`] belong on a disc, in bytes.
pub(crate) const DESCRIPTORS_AT: u64 = 16 * 2048;

/// What makes a disc of `sectors` sectors a CD for UEFI.  It stands where a disk with a GPT has nothing.
pub(crate) fn descriptors(volume: Volume, sectors: usize) -> io::Result<Vec<u8>> {
    let all = u32::try_from(sectors).map_err(io::Error::other)?;
    let mut out = vec![0; (ROOT + 1 - DESCRIPTORS) * SECTOR];
    for (sector, content) in [
        (DESCRIPTORS, primary(all)),
        (DESCRIPTORS + 1, boot_record()),
        (DESCRIPTORS + 2, b"\xffCD001\x01".to_vec()),
        (CATALOG, catalog(volume)),
        (PATHS_LITTLE, path_table(u32::to_le_bytes, u16::to_le_bytes)),
        (PATHS_BIG, path_table(u32::to_be_bytes, u16::to_be_bytes)),
        (ROOT, root(volume)),
    ] {
        put(&mut out, sector - DESCRIPTORS, &content);
    }
    Ok(out)
}

/// What stands before the FAT volume of a medium of ours, and the volume; `None` for anything else.
#[must_use]
pub fn parts(disc: &[u8]) -> Option<(&[u8], &[u8])> {
    let named = disc.get(DESCRIPTORS * SECTOR + 40..)?.starts_with(NAME.as_bytes());
    if named { disc.split_at_checked(VOLUME * SECTOR) } else { None }
}

fn put(disc: &mut [u8], sector: usize, content: &[u8]) {
    disc.iter_mut().skip(sector * SECTOR).zip(content).for_each(|(to, from)| *to = *from);
}

/// The FAT volume that firmware boots.
pub(crate) fn volume(uki: &[u8]) -> io::Result<Vec<u8>> {
    let bytes = (uki.len() + SLACK_BYTES).next_multiple_of(SECTOR);
    let mut disk = Cursor::new(vec![0; bytes]);
    let blocks = u32::try_from(bytes / BLOCK).map_err(io::Error::other)?;
    let mut label = [b' '; 11];
    label.iter_mut().zip(NAME.bytes()).for_each(|(to, from)| *to = from);
    let options = FormatVolumeOptions::new().total_sectors(blocks).volume_label(label).volume_id(0x5ca1_ef09);
    format_volume(&mut disk, options)?;
    {
        let files = FileSystem::new(&mut disk, options_without_clock())?;
        let boot = files.root_dir().create_dir("EFI")?.create_dir("BOOT")?;
        let mut file = boot.create_file(removable(uki))?;
        file.write_all(uki)?;
        file.flush()?;
    }
    Ok(disk.into_inner())
}

/// Where firmware looks on a medium that nobody has told it of (UEFI 2.10, 3.5.1.1).
fn removable(uki: &[u8]) -> &'static str {
    match Image::parse(uki).ok().as_ref().and_then(Architecture::of) {
        Some(Architecture::Arm64) => "BOOTAA64.EFI",
        Some(Architecture::Amd64) | None => "BOOTX64.EFI",
    }
}

/// How our volumes are opened: everything on them is dated 1980-01-01, the first day that FAT has.  Firmware refuses to
/// rename a file without a date, and the boot loader counts tries by renaming.
pub(crate) fn options_without_clock() -> FsOptions {
    FsOptions::new().time_provider(&FirstDay)
}

#[derive(Debug)]
struct FirstDay;

impl TimeProvider for FirstDay {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

/// One partition of type EFI system (UEFI 2.10, 5.2), which is the volume.
fn master_boot_record(volume_bytes: u32) -> [u8; BLOCK] {
    let mut record = [0; BLOCK];
    let start = sector_number(VOLUME) * 4;
    let blocks = volume_bytes / 512;
    // Cylinders and heads mean nothing any more: their largest values say so.
    let mut entry = vec![0, 0xfe, 0xff, 0xff, 0xef, 0xfe, 0xff, 0xff];
    entry.extend(start.to_le_bytes());
    entry.extend(blocks.to_le_bytes());
    record.iter_mut().skip(446).zip(entry).for_each(|(to, from)| *to = from);
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    record
}

/// The places above are far below 2^32.
fn sector_number(sector: usize) -> u32 {
    u32::try_from(sector).unwrap_or(u32::MAX)
}

/// A number as ECMA-119 7.3.3 writes it: little-endian, then big-endian.
fn both(number: u32) -> Vec<u8> {
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

fn both_short(number: u16) -> Vec<u8> {
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

fn padded(text: &str, length: usize) -> Vec<u8> {
    text.bytes().chain(std::iter::repeat(b' ')).take(length).collect()
}

/// ECMA-119, 8.4.
fn primary(sectors: u32) -> Vec<u8> {
    const NO_TIME: &[u8] = b"0000000000000000\0";
    let mut head = b"\x01CD001\x01\0".to_vec();
    head.extend(padded("", 32));
    head.extend(padded(NAME, 32));
    head.extend([0; 8]);
    head.extend(both(sectors));
    head.extend([0; 32]);
    // One volume of one, sectors of 2,048 bytes, path tables of ten bytes.
    head.extend([both_short(1), both_short(1), both_short(2048), both(10)].concat());
    head.extend([sector_number(PATHS_LITTLE).to_le_bytes(), [0; 4]].concat());
    head.extend([sector_number(PATHS_BIG).to_be_bytes(), [0; 4]].concat());
    head.extend(record(sector_number(ROOT), 2048, true, b"\0"));
    head.extend(padded("", 128 * 4 + 37 * 3));
    head.extend([NO_TIME, NO_TIME, NO_TIME, NO_TIME].concat());
    head.push(1);
    head
}

/// El Torito 1.0, figure 7.
fn boot_record() -> Vec<u8> {
    let mut record = b"\0CD001\x01EL TORITO SPECIFICATION".to_vec();
    record.resize(0x47, 0);
    record.extend(sector_number(CATALOG).to_le_bytes());
    record
}

/// El Torito 1.0, figures 2 and 3; platform 0xEF is UEFI's.
fn catalog(volume: Volume) -> Vec<u8> {
    let mut validation = vec![1, 0xef, 0, 0];
    validation.extend(padded(NAME, 24));
    validation.extend([0, 0, 0x55, 0xaa]);
    let words = validation.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let sum = words.fold(0_u16, u16::wrapping_add);
    validation[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    // Bootable, no emulation.  Firmware reads to the end of the medium where the count does not fit.
    let mut entry = vec![0x88, 0, 0, 0, 0, 0];
    entry.extend(u16::try_from(volume.bytes / 512).unwrap_or(0).to_le_bytes());
    entry.extend(sector_number(volume.sector).to_le_bytes());
    entry.resize(32, 0);
    [validation, entry].concat()
}

/// ECMA-119, 9.4: the root directory only.
fn path_table(long: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Vec<u8> {
    [&[1, 0][..], &long(sector_number(ROOT)), &short(1), &[0, 0]].concat()
}

/// ECMA-119, 9.1.
fn record(sector: u32, bytes: u32, directory: bool, name: &[u8]) -> Vec<u8> {
    let length = (33 + name.len()).next_multiple_of(2);
    let mut record = vec![u8::try_from(length).unwrap_or(u8::MAX), 0];
    record.extend([both(sector), both(bytes)].concat());
    record.extend([0; 7]);
    record.extend([if directory { 2 } else { 0 }, 0, 0]);
    record.extend(both_short(1));
    record.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    record.extend(name);
    record.resize(length, 0);
    record
}

/// The root shows the volume as one file, so that a person who looks sees what the disc is.
fn root(volume: Volume) -> Vec<u8> {
    let here = record(sector_number(ROOT), 2048, true, b"\0");
    let above = record(sector_number(ROOT), 2048, true, b"\x01");
    [here, above, record(sector_number(volume.sector), volume.bytes, false, b"EFIBOOT.IMG;1")].concat()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_volume_holds_the_uki_where_firmware_looks() {
        let uki: Vec<u8> = (0..3_000_001_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let disc = medium(&uki).unwrap();
        assert_eq!(disc.len() % SECTOR, 0);
        let mut volume = parts(&disc).unwrap().1.to_vec();
        assert!(parts(&uki).is_none());
        let files = FileSystem::new(Cursor::new(&mut volume), FsOptions::new()).unwrap();
        let mut found = Vec::new();
        files.root_dir().open_file("EFI/BOOT/BOOTX64.EFI").unwrap().read_to_end(&mut found).unwrap();
        assert!(found == uki);
        assert_eq!(medium(&uki).unwrap(), disc, "the same bytes each time");
    }

    #[test]
    fn firmware_looks_for_its_own_processors_name() {
        let mut uki = crate::tiny::tiny(0);
        assert_eq!(removable(&uki), "BOOTX64.EFI");
        uki[0x44..0x46].copy_from_slice(&crate::pe::MACHINE_ARM64.to_le_bytes());
        assert_eq!(removable(&uki), "BOOTAA64.EFI");
    }

    #[test]
    fn descriptors_stand_where_the_standards_want_them() {
        let disc = medium(&[0x4d, 0x5a]).unwrap();
        let at = |sector: usize| &disc[sector * SECTOR..(sector + 1) * SECTOR];
        assert_eq!(&at(16)[..7], b"\x01CD001\x01");
        assert_eq!(&at(16)[40..51], NAME.as_bytes());
        assert_eq!(at(16)[881], 1, "file structure version");
        assert!(at(16)[883..1395].iter().all(|byte| *byte == 0), "application use is free");
        assert_eq!(&at(17)[7..30], b"EL TORITO SPECIFICATION");
        assert_eq!(&at(17)[0x47..0x4b], &19_u32.to_le_bytes());
        let sum = at(19)[..32]
            .chunks(2)
            .fold(0_u16, |sum, pair| sum.wrapping_add(u16::from_le_bytes([pair[0], pair[1]])));
        assert_eq!((sum, at(19)[0x20], &at(19)[0x28..0x2c]), (0, 0x88, &32_u32.to_le_bytes()[..]));
        assert_eq!((disc[450], &disc[510..512]), (0xef, &[0x55, 0xaa][..]));
    }
}

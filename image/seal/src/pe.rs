//! PE images: sections of one, its Authenticode digest, and a boot stub with sections appended.
//!
//! Only what a UEFI firmware looks at in a 64-bit image.  Every offset is checked: a kernel or stub that lies about its
//! layout gives an error, not a panic.  It does not sign; a signature does not change any digest made here.
//! Read next: `pcr.rs`, which turns digests into PCR values, and `authenticode.rs`, which signs them.

use sha2::{Digest, Sha256};

/// `IMAGE_FILE_MACHINE_AMD64`.
pub const MACHINE_X86_64: u16 = 0x8664;
/// `IMAGE_FILE_MACHINE_ARM64`.
pub const MACHINE_ARM64: u16 = 0xaa64;
/// `IMAGE_NT_OPTIONAL_HDR64_MAGIC`: PE32+.
const OPTIONAL_MAGIC_64: u16 = 0x20b;
/// Offset of the certificate table's entry in a PE32+ optional header: 112 bytes of fields, then entry 4 of 8 bytes each.
const CERTIFICATE_ENTRY: usize = 112 + 4 * 8;
const SECTION_HEADER_BYTES: usize = 40;
/// `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`: data that nobody writes or executes in place.
const READ_ONLY_DATA: u32 = 0x4000_0040;

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A structure lies outside the file or contradicts itself.
    #[error(
        "not a usable 64-bit EFI image: {what}; it must be an unmodified stub or kernel from the distribution"
    )]
    Malformed {
        /// What was looked at.
        what: &'static str,
    },
    /// The section headers do not fit before the first section's data.
    #[error(
        "the boot stub has no room for {sections} more section headers; take a stub from systemd 254 or newer"
    )]
    NoRoom {
        /// How many headers were wanted.
        sections: usize,
    },
    /// The image would pass the 4 GiB that PE offsets can name.
    #[error("the image would be larger than PE allows (4 GiB); leave some files out")]
    TooLarge,
}

/// One section of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Name without padding, for example `.sbat`.
    pub name: String,
    virtual_address: u32,
    virtual_bytes: u32,
    raw_offset: u32,
    raw_bytes: u32,
}

impl Section {
    /// Where it begins in the file.
    #[must_use]
    pub fn file_offset(&self) -> u32 {
        self.raw_offset
    }
}

/// A parsed image that borrows the file.
#[derive(Debug)]
pub struct Image<'a> {
    file: &'a [u8],
    machine: u16,
    /// Offset of the optional header.
    optional: usize,
    /// Offset of the first section header.
    table: usize,
    header_bytes: usize,
    sections: Vec<Section>,
}

impl<'a> Image<'a> {
    /// Reads the headers of `file`.
    pub fn parse(file: &'a [u8]) -> Result<Image<'a>, Error> {
        let malformed = |what| Error::Malformed { what };
        if file.get(..2) != Some(b"MZ") {
            return Err(malformed("it does not begin with MZ"));
        }
        let pe = usize_at(file, 0x3c)?;
        if file.get(pe..pe.saturating_add(4)) != Some(b"PE\0\0") {
            return Err(malformed("there is no PE signature where the DOS header points"));
        }
        let machine = u16_at(file, pe + 4)?;
        if ![MACHINE_X86_64, MACHINE_ARM64].contains(&machine) {
            return Err(malformed("it is for another processor"));
        }
        let count = usize::from(u16_at(file, pe + 6)?);
        let optional = pe + 24;
        let table = optional + usize::from(u16_at(file, pe + 20)?);
        if u16_at(file, optional)? != OPTIONAL_MAGIC_64 {
            return Err(malformed("it is not PE32+"));
        }
        if usize_at(file, optional + 108)? < 5 {
            return Err(malformed("its data directory has no place for certificates"));
        }
        let header_bytes = usize_at(file, optional + 60)?;
        let table_end = table + count * SECTION_HEADER_BYTES;
        if header_bytes > file.len() || table_end > header_bytes || optional + CERTIFICATE_ENTRY + 8 > table {
            return Err(malformed("its headers are larger than they say"));
        }
        let sections = (0..count)
            .map(|index| section(file, table + index * SECTION_HEADER_BYTES))
            .collect::<Result<_, _>>()?;
        Ok(Image { file, machine, optional, table, header_bytes, sections })
    }

    /// The processor it is for: [`MACHINE_X86_64`] or [`MACHINE_ARM64`].
    #[must_use]
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// All sections, in file order.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The first section called `name`, as it lies in memory (`VirtualSize` long, which is what the boot stub measures).
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        let section = self.sections.iter().find(|section| section.name == name)?;
        let start = usize::try_from(section.raw_offset).ok()?;
        let length = usize::try_from(section.virtual_bytes.min(section.raw_bytes)).ok()?;
        self.file.get(start..start.checked_add(length)?)
    }

    /// SHA-256 as UEFI firmware computes it for Secure Boot and PCR 4 (Windows Authenticode PE signature format):
    /// everything except the checksum, the certificate table's entry and the certificate table.
    pub fn authenticode(&self) -> Result<[u8; 32], Error> {
        let malformed = |what| Error::Malformed { what };
        let checksum = self.optional + 64;
        let entry = self.optional + CERTIFICATE_ENTRY;
        let certificates = usize_at(self.file, entry + 4)?;
        let mut hash = Sha256::new();
        for (start, end) in [(0, checksum), (checksum + 4, entry), (entry + 8, self.header_bytes)] {
            hash.update(self.file.get(start..end).ok_or_else(|| malformed("its headers end early"))?);
        }
        let mut order: Vec<&Section> = self.sections.iter().filter(|section| section.raw_bytes > 0).collect();
        order.sort_by_key(|section| section.raw_offset);
        let mut hashed = self.header_bytes;
        for section in order {
            let start = to_usize(section.raw_offset)?;
            let length = to_usize(section.raw_bytes)?;
            let end = start.checked_add(length).ok_or_else(|| malformed("a section ends past the file"))?;
            hash.update(self.file.get(start..end).ok_or_else(|| malformed("a section ends past the file"))?);
            hashed = hashed.checked_add(length).ok_or_else(|| malformed("its sections overlap"))?;
        }
        // Firmware counts bytes instead of looking where the last section ends, and hashes what is left.
        let data_end = self
            .file
            .len()
            .checked_sub(certificates)
            .ok_or_else(|| malformed("its certificates end past the file"))?;
        if data_end > hashed {
            hash.update(&self.file[hashed..data_end]);
        }
        Ok(hash.finalize().into())
    }

    /// A copy of the image with `extra` appended as read-only data sections, in this order.
    pub fn with_sections(&self, extra: &[(&str, &[u8])]) -> Result<Vec<u8>, Error> {
        let no_room = || Error::NoRoom { sections: extra.len() };
        let table_end = self.table + (self.sections.len() + extra.len()) * SECTION_HEADER_BYTES;
        if table_end > self.header_bytes {
            return Err(no_room());
        }
        if usize_at(self.file, self.optional + CERTIFICATE_ENTRY + 4)? != 0 {
            return Err(Error::Malformed { what: "the stub is signed already, which appending would break" });
        }
        let section_alignment = u32_at(self.file, self.optional + 32)?;
        let file_alignment = u32_at(self.file, self.optional + 36)?;
        if !section_alignment.is_power_of_two() || !file_alignment.is_power_of_two() {
            return Err(Error::Malformed { what: "its alignments are not powers of two" });
        }
        let mut out = self.file.to_vec();
        let mut next_address = 0;
        for section in &self.sections {
            next_address = next_address.max(plus(section.virtual_address, section.virtual_bytes)?);
        }
        let mut data_bytes = u32_at(&out, self.optional + 8)?;
        for (index, (name, content)) in extra.iter().enumerate() {
            let content_bytes = to_u32(content.len())?;
            let raw_bytes = align(content_bytes, file_alignment)?;
            let address = align(next_address, section_alignment)?;
            let raw_offset = align(to_u32(out.len())?, file_alignment)?;
            out.resize(to_usize(raw_offset)?, 0);
            out.extend_from_slice(content);
            out.resize(to_usize(plus(raw_offset, raw_bytes)?)?, 0);
            next_address = plus(address, content_bytes)?;
            data_bytes = plus(data_bytes, raw_bytes)?;
            let header = self.table + (self.sections.len() + index) * SECTION_HEADER_BYTES;
            if name.len() > 8 || out[header..header + SECTION_HEADER_BYTES].iter().any(|byte| *byte != 0) {
                return Err(no_room());
            }
            out[header..header + name.len()].copy_from_slice(name.as_bytes());
            for (field, value) in [content_bytes, address, raw_bytes, raw_offset].into_iter().enumerate() {
                put(&mut out, header + 8 + field * 4, value);
            }
            put(&mut out, header + 36, READ_ONLY_DATA);
        }
        let count = u16::try_from(self.sections.len() + extra.len()).map_err(|_| no_room())?;
        let pe = self.optional - 24;
        out[pe + 6..pe + 8].copy_from_slice(&count.to_le_bytes());
        put(&mut out, self.optional + 8, data_bytes);
        put(&mut out, self.optional + 56, align(next_address, section_alignment)?);
        self.with_checksum(out)
    }

    /// A copy of the image without the section called `first`, those behind it, and a signature.
    pub fn without(&self, first: &str) -> Result<Vec<u8>, Error> {
        let malformed = |what| Error::Malformed { what };
        let index = self.sections.iter().position(|section| section.name == first);
        let index = index.ok_or_else(|| malformed("it lacks the section that its builder put first"))?;
        let (kept, dropped) = self.sections.split_at(index);
        let cut = dropped.first().map_or(0, |section| section.raw_offset);
        if dropped.iter().any(|section| section.raw_offset < cut)
            || kept.iter().any(|section| section.raw_offset.saturating_add(section.raw_bytes) > cut)
            || to_usize(cut)? < self.header_bytes
        {
            return Err(malformed("its sections do not lie in order"));
        }
        let end = to_usize(cut)?;
        let mut out = self.file.get(..end).ok_or_else(|| malformed("a section ends past the file"))?.to_vec();
        out[self.table + index * SECTION_HEADER_BYTES..][..dropped.len() * SECTION_HEADER_BYTES].fill(0);
        let (mut data_bytes, mut next_address) = (u32_at(&out, self.optional + 8)?, 0);
        for section in dropped {
            let left = data_bytes.checked_sub(section.raw_bytes);
            data_bytes = left.ok_or_else(|| malformed("it counts less data than it has"))?;
        }
        for section in kept {
            next_address = next_address.max(plus(section.virtual_address, section.virtual_bytes)?);
        }
        let section_alignment = u32_at(&out, self.optional + 32)?;
        if !section_alignment.is_power_of_two() {
            return Err(malformed("its alignments are not powers of two"));
        }
        let count = u16::try_from(index).map_err(|_| Error::TooLarge)?;
        let pe = self.optional - 24;
        out[pe + 6..pe + 8].copy_from_slice(&count.to_le_bytes());
        put(&mut out, self.optional + 8, data_bytes);
        put(&mut out, self.optional + 56, align(next_address, section_alignment)?);
        put(&mut out, self.optional + CERTIFICATE_ENTRY, 0);
        put(&mut out, self.optional + CERTIFICATE_ENTRY + 4, 0);
        self.with_checksum(out)
    }

    /// `MajorImageVersion`, and above it `MinorImageVersion`: of a Linux kernel, what its EFI stub understands.
    pub fn version(&self) -> Result<u32, Error> {
        u32_at(self.file, self.optional + 44)
    }

    /// A copy of the image of this version, with these bytes at these offsets of its DOS header, of which UEFI firmware reads
    /// only the first two and the last four.
    pub fn marked(&self, marks: &[(usize, &[u8])], version: u32) -> Result<Vec<u8>, Error> {
        let mut out = self.file.to_vec();
        for (at, bytes) in marks {
            if *at < 2 || at.saturating_add(bytes.len()) > 0x3c {
                return Err(Error::Malformed { what: "its mark lies where firmware reads" });
            }
            out[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        put(&mut out, self.optional + 44, version);
        self.with_checksum(out)
    }

    /// Whether it has a certificate table; whether that is any good, firmware says.
    pub fn is_signed(&self) -> Result<bool, Error> {
        Ok(usize_at(self.file, self.optional + CERTIFICATE_ENTRY + 4)? != 0)
    }

    /// A copy of the image without its certificate table, padded as a table behind it wants it (to eight bytes).
    pub fn without_signature(&self) -> Result<Vec<u8>, Error> {
        let start = usize_at(self.file, self.optional + CERTIFICATE_ENTRY)?;
        let bytes = usize_at(self.file, self.optional + CERTIFICATE_ENTRY + 4)?;
        let end = if bytes == 0 { self.file.len() } else { start };
        if end < self.header_bytes || (bytes > 0 && start.checked_add(bytes) != Some(self.file.len())) {
            return Err(Error::Malformed { what: "its certificates are not the last thing in it" });
        }
        let mut out =
            self.file.get(..end).ok_or(Error::Malformed { what: "its certificates lie outside" })?.to_vec();
        out.resize(end.next_multiple_of(8), 0);
        put(&mut out, self.optional + CERTIFICATE_ENTRY, 0);
        put(&mut out, self.optional + CERTIFICATE_ENTRY + 4, 0);
        self.with_checksum(out)
    }

    /// A copy of this image, which has no signature yet and ends at a multiple of eight, with this certificate table.
    pub(crate) fn with_certificates(&self, table: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = self.file.to_vec();
        put(&mut out, self.optional + CERTIFICATE_ENTRY, to_u32(self.file.len())?);
        put(&mut out, self.optional + CERTIFICATE_ENTRY + 4, to_u32(table.len())?);
        out.extend_from_slice(table);
        self.with_checksum(out)
    }

    fn with_checksum(&self, mut out: Vec<u8>) -> Result<Vec<u8>, Error> {
        put(&mut out, self.optional + 64, 0);
        let sum = checksum(&out)?;
        put(&mut out, self.optional + 64, sum);
        Ok(out)
    }
}

/// The PE checksum of a file whose checksum field is zero: 16-bit words added with end-around carry, plus the length.
fn checksum(file: &[u8]) -> Result<u32, Error> {
    let mut sum: u32 = 0;
    for pair in file.chunks(2) {
        let word = u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        sum += u32::from(word);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    plus(sum, to_u32(file.len())?)
}

fn section(file: &[u8], at: usize) -> Result<Section, Error> {
    let name = file.get(at..at + 8).ok_or(Error::Malformed { what: "its section table ends early" })?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(8);
    Ok(Section {
        name: String::from_utf8_lossy(&name[..end]).into_owned(),
        virtual_bytes: u32_at(file, at + 8)?,
        virtual_address: u32_at(file, at + 12)?,
        raw_bytes: u32_at(file, at + 16)?,
        raw_offset: u32_at(file, at + 20)?,
    })
}

fn u16_at(file: &[u8], at: usize) -> Result<u16, Error> {
    let bytes = file
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .ok_or(Error::Malformed { what: "it ends early" })?;
    Ok(u16::from_le_bytes(*bytes))
}

fn u32_at(file: &[u8], at: usize) -> Result<u32, Error> {
    let bytes = file
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .ok_or(Error::Malformed { what: "it ends early" })?;
    Ok(u32::from_le_bytes(*bytes))
}

fn usize_at(file: &[u8], at: usize) -> Result<usize, Error> {
    to_usize(u32_at(file, at)?)
}

fn put(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn to_u32(number: usize) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| Error::TooLarge)
}

fn to_usize(number: u32) -> Result<usize, Error> {
    usize::try_from(number).map_err(|_| Error::TooLarge)
}

fn plus(one: u32, two: u32) -> Result<u32, Error> {
    one.checked_add(two).ok_or(Error::TooLarge)
}

fn align(number: u32, alignment: u32) -> Result<u32, Error> {
    number.checked_next_multiple_of(alignment).ok_or(Error::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::tiny;

    #[test]
    fn a_signature_or_checksum_does_not_change_the_digest() {
        let plain = tiny(0);
        let mut summed = plain.clone();
        put(&mut summed, 0x58 + 64, 0x1234_5678);
        let digest = Image::parse(&plain).unwrap().authenticode().unwrap();
        assert_eq!(digest, Image::parse(&summed).unwrap().authenticode().unwrap());
        assert_eq!(digest, Image::parse(&tiny(64)).unwrap().authenticode().unwrap());
        let mut changed = plain.clone();
        changed[0x210] ^= 1;
        assert_ne!(digest, Image::parse(&changed).unwrap().authenticode().unwrap());
        let mut longer = plain;
        longer.push(0);
        assert_ne!(
            digest,
            Image::parse(&longer).unwrap().authenticode().unwrap(),
            "data behind the sections counts"
        );
    }

    #[test]
    fn appended_sections_can_be_read_back() {
        let stub = tiny(0);
        let big = vec![7; 5000];
        let file = Image::parse(&stub).unwrap().with_sections(&[(".osrel", b"x"), (".linux", &big)]).unwrap();
        let image = Image::parse(&file).unwrap();
        assert_eq!(image.section(".sbat"), Some(&b"sbat,"[..]));
        assert_eq!(image.section(".osrel"), Some(&b"x"[..]));
        assert_eq!(image.section(".linux"), Some(big.as_slice()));
        assert_eq!(image.section(".nothing"), None);
        let addresses: Vec<u32> = image.sections().iter().map(|section| section.virtual_address).collect();
        assert_eq!(addresses, [0x1000, 0x2000, 0x3000]);
        assert_eq!(u32_at(&file, 0x58 + 56).unwrap(), 0x5000, "SizeOfImage covers the last section");
        assert_eq!(file.len(), 0x400 + 0x200 + 5120);
    }

    #[test]
    fn marks_are_kept_away_from_what_firmware_reads() {
        let plain = tiny(0);
        let image = Image::parse(&plain).unwrap();
        let marked = image.marked(&[(4, b"zimg"), (0x38, b"last")], 0x0001_0003).unwrap();
        assert_eq!((&marked[4..8], &marked[0x38..0x3c]), (&b"zimg"[..], &b"last"[..]));
        assert_eq!(Image::parse(&marked).unwrap().version().unwrap(), 0x0001_0003);
        for at in [0, 1, 0x39, 0x3c, usize::MAX] {
            assert!(image.marked(&[(at, b"zimg")], 0).is_err(), "{at:#x}");
        }
    }

    #[test]
    fn no_truncation_and_no_changed_byte_panics() {
        let file = Image::parse(&tiny(0)).unwrap().with_sections(&[(".linux", &[1; 700])]).unwrap();
        for end in 0..file.len() {
            if let Ok(image) = Image::parse(&file[..end]) {
                let _ = (image.authenticode().is_ok(), image.with_sections(&[(".x", b"y")]).is_ok());
            }
        }
        for at in 0..0x1c0 {
            let mut broken = file.clone();
            broken[at] ^= 0xff;
            if let Ok(image) = Image::parse(&broken) {
                let _ = (image.authenticode().is_ok(), image.section(".linux").is_some());
            }
        }
    }

    #[test]
    fn a_signed_stub_and_a_full_header_are_refused() {
        assert!(Image::parse(&tiny(8)).unwrap().with_sections(&[(".x", b"")]).is_err());
        let many: Vec<(&str, &[u8])> = vec![(".x", b""); 9];
        assert!(matches!(
            Image::parse(&tiny(0)).unwrap().with_sections(&many),
            Err(Error::NoRoom { sections: 9 })
        ));
    }
}

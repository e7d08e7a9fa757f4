//! The few fields of a 64-bit PE image that say where its parts lie.  Every offset is checked.

/// `IMAGE_FILE_MACHINE_ARM64`.
pub(crate) const MACHINE_ARM64: u16 = 0xaa64;
/// `IMAGE_SCN_MEM_EXECUTE`.
const EXECUTABLE: u32 = 0x2000_0000;
/// `IMAGE_SCN_MEM_WRITE`.
const WRITABLE: u32 = 0x8000_0000;
/// `IMAGE_NT_OPTIONAL_HDR64_MAGIC`: PE32+.
const OPTIONAL_MAGIC_64: u16 = 0x20b;
const SECTION_HEADER_BYTES: usize = 40;
/// The entry of base relocations in the data directory, which begins at byte 112 of a PE32+ optional header.
const RELOCATIONS_ENTRY: usize = 112 + 5 * 8;

/// Headers of an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Headers<'a> {
    bytes: &'a [u8],
    /// Offset of the optional header.
    optional: usize,
    /// Offset of the section table.
    table: usize,
    sections: usize,
    pub(crate) machine: u16,
    /// `SizeOfImage`: what it takes in memory.
    pub(crate) image_bytes: usize,
    /// `SizeOfHeaders`.
    pub(crate) header_bytes: usize,
    /// `AddressOfEntryPoint`, from the image's begin.
    pub(crate) entry: usize,
}

/// Where a section lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    /// From the image's begin in memory.
    pub(crate) address: usize,
    /// What it takes there.
    pub(crate) bytes: usize,
    /// From the file's begin.
    pub(crate) file_offset: usize,
    /// What the file has of it; may be more than it takes in memory, for padding, or less, for zeros.
    pub(crate) file_bytes: usize,
    pub(crate) executable: bool,
    pub(crate) writable: bool,
}

impl<'a> Headers<'a> {
    /// Reads them; what is missing is said in words.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        const ENDS: &str = "its headers end early";
        if bytes.get(..2) != Some(b"MZ") {
            return Err("it does not begin with MZ");
        }
        let pe = usize_at(bytes, 0x3c).ok_or(ENDS)?;
        if bytes.get(pe..pe.saturating_add(4)) != Some(b"PE\0\0") {
            return Err("it has no PE signature");
        }
        let machine = u16_at(bytes, pe + 4).ok_or(ENDS)?;
        let sections = usize::from(u16_at(bytes, pe + 6).ok_or(ENDS)?);
        let optional = pe + 24;
        let table = optional + usize::from(u16_at(bytes, pe + 20).ok_or(ENDS)?);
        if u16_at(bytes, optional) != Some(OPTIONAL_MAGIC_64) {
            return Err("it is not PE32+");
        }
        let header_bytes = usize_at(bytes, optional + 60).ok_or(ENDS)?;
        if table + sections * SECTION_HEADER_BYTES > header_bytes.min(bytes.len()) {
            return Err(ENDS);
        }
        let entry = usize_at(bytes, optional + 16).ok_or(ENDS)?;
        let image_bytes = usize_at(bytes, optional + 56).ok_or(ENDS)?;
        Ok(Self { bytes, optional, table, sections, machine, image_bytes, header_bytes, entry })
    }

    /// Its sections, in the table's order.
    pub(crate) fn sections(&self) -> impl Iterator<Item = Section> + use<'a> {
        let (bytes, table) = (self.bytes, self.table);
        (0..self.sections).filter_map(move |index| {
            let at = table + index * SECTION_HEADER_BYTES;
            let field = |offset| usize_at(bytes, at + offset);
            let kind = u32_at(bytes, at + 36)?;
            Some(Section {
                bytes: field(8)?,
                address: field(12)?,
                file_bytes: field(16)?,
                file_offset: field(20)?,
                executable: kind & EXECUTABLE != 0,
                writable: kind & WRITABLE != 0,
            })
        })
    }

    /// Whether it wants addresses in it to be changed to where it lies.
    pub(crate) fn relocates(&self) -> bool {
        let entries = usize_at(self.bytes, self.optional + 108).unwrap_or(0);
        let at = self.optional + RELOCATIONS_ENTRY;
        entries > 5 && at + 8 <= self.table && usize_at(self.bytes, at + 4).is_some_and(|bytes| bytes > 0)
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    u32_at(bytes, at).and_then(|number| usize::try_from(number).ok())
}

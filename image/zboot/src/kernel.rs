//! An unpacked kernel: a UEFI program, and how it lies in memory when it runs.

use core::ops::Range;

use crate::Error;
use crate::pe::{Headers, MACHINE_ARM64, Section};

/// What memory's attributes can be set for.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Debian's kernel for arm64 takes 37 MiB of memory.
const IMAGE_BYTES_MAX: usize = 512 << 20;

/// A kernel whose layout was checked: each part lies in the file and in its own place in memory.
#[derive(Debug, Clone)]
pub struct Kernel<'a> {
    file: &'a [u8],
    headers: Headers<'a>,
    code: Range<usize>,
}

impl<'a> Kernel<'a> {
    /// Reads the layout of `file`.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn parse(file: &'a [u8]) -> Result<Self, Error> {
        let wrong = |what| Error::Kernel { what };
        let headers = Headers::parse(file).map_err(wrong)?;
        if headers.machine != MACHINE_ARM64 {
            return Err(wrong("it is for another processor than arm64"));
        }
        if headers.relocates() {
            return Err(wrong("it wants to be relocated, which a kernel does itself"));
        }
        if headers.image_bytes > IMAGE_BYTES_MAX {
            return Err(wrong("it wants more memory than any kernel takes"));
        }
        if headers.header_bytes > file.len().min(headers.image_bytes) {
            return Err(wrong("its headers are larger than it is"));
        }
        let (mut taken, mut code) = (headers.header_bytes, 0..0);
        for section in headers.sections() {
            let end = section.address.checked_add(section.bytes);
            let end = end.ok_or(wrong("a section lies outside of its memory"))?;
            let file_end = section.file_offset.checked_add(section.file_bytes);
            if section.address < taken || end > headers.image_bytes {
                return Err(wrong("a section lies in the place of another or outside of its memory"));
            }
            if section.file_bytes > 0 && file_end.is_none_or(|end| end > file.len()) {
                return Err(wrong("a section lies outside of the file"));
            }
            taken = end;
            if section.executable {
                code = joined(code, &section).map_err(wrong)?;
            }
        }
        if !code.contains(&headers.entry) {
            return Err(wrong("it begins outside of its code"));
        }
        Ok(Self { file, headers, code })
    }

    /// How much memory it takes, zeros behind its data included.
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        self.headers.image_bytes
    }

    /// Where it is entered, from its begin.
    #[must_use]
    pub fn entry(&self) -> usize {
        self.headers.entry
    }

    /// Where its code lies, from its begin: whole pages, which nothing else lies in that is written to.
    #[must_use]
    pub fn code(&self) -> Range<usize> {
        self.code.clone()
    }

    /// Puts it into `memory`, of which it takes the first [`Self::image_bytes`].
    ///
    /// # Errors
    /// [`Error::Memory`] if that is not so much.
    pub fn place(&self, memory: &mut [u8]) -> Result<(), Error> {
        let bytes = self.headers.image_bytes;
        let memory = memory.get_mut(..bytes).ok_or(Error::Memory { bytes })?;
        memory.fill(0);
        let header = Section {
            address: 0,
            bytes: self.headers.header_bytes,
            file_offset: 0,
            file_bytes: self.headers.header_bytes,
            executable: false,
            writable: false,
        };
        for section in [header].into_iter().chain(self.headers.sections()) {
            let copied = section.bytes.min(section.file_bytes);
            let from = self.file.get(section.file_offset..).and_then(|rest| rest.get(..copied));
            let to = memory.get_mut(section.address..).and_then(|rest| rest.get_mut(..copied));
            if let (Some(from), Some(to)) = (from, to) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }
}

/// The code with one more section of it, which must be of whole pages, read-only, and next to what there is.
fn joined(code: Range<usize>, section: &Section) -> Result<Range<usize>, &'static str> {
    let range = section.address..section.address + section.bytes;
    if section.writable {
        return Err("its code can be written to");
    }
    if !range.start.is_multiple_of(PAGE_BYTES) || !range.end.is_multiple_of(PAGE_BYTES) {
        return Err("its code is not of whole pages");
    }
    match code {
        code if code.is_empty() => Ok(range),
        code if code.end == range.start => Ok(code.start..range.end),
        _ => Err("its code lies in several places"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Random, kernel, put};

    #[test]
    fn each_part_lies_where_it_says_and_the_rest_is_zero() {
        let file = kernel();
        let kernel = Kernel::parse(&file).unwrap();
        assert_eq!((kernel.image_bytes(), kernel.entry(), kernel.code()), (0x4000, 0x1010, 0x1000..0x2000));
        let mut memory = vec![0xee; 0x4000 + 16];
        kernel.place(&mut memory).unwrap();
        assert_eq!(memory[..0x200], file[..0x200]);
        assert!(memory[0x200..0x1000].iter().all(|byte| *byte == 0));
        assert_eq!(memory[0x1000..0x2000], file[0x200..0x1200]);
        assert_eq!(memory[0x2000..0x2200], file[0x1200..0x1400]);
        assert!(memory[0x2200..0x4000].iter().all(|byte| *byte == 0), "zeros behind the data");
        assert!(memory[0x4000..].iter().all(|byte| *byte == 0xee), "nothing behind it");
        assert_eq!(kernel.place(&mut [0; 0x3fff]), Err(Error::Memory { bytes: 0x4000 }));
    }

    #[test]
    fn what_cannot_be_started_is_refused_in_words() {
        let optional = 0x58;
        let (text, data) = (optional + 0xf0, optional + 0xf0 + 40);
        for (at, value, said) in [
            (0x44, 0x0002_8664, "another processor"),
            (optional + 112 + 5 * 8 + 4, 8, "relocated"),
            (optional + 56, 0x7fff_ffff, "more memory"),
            (optional + 60, 0x7fff_ffff, "headers"),
            (optional + 16, 0x2000, "outside of its code"),
            (text + 12, 0x100, "in the place of another"),
            (text + 8, 0x2000, "in the place of another"),
            (text + 8, 0xff0, "whole pages"),
            (text + 20, 0xffff_fff0, "outside of the file"),
            (text + 36, 0xa000_0020, "written to"),
            (data + 8, 0xffff_ffff, "outside of its memory"),
            (data + 36, 0x6000_0020, "begins outside"),
        ] {
            let mut file = kernel();
            put(&mut file, at, value);
            if at == data + 36 {
                // Both are code now; it begins in neither.
                put(&mut file, optional + 16, 0x3fff);
                put(&mut file, data + 8, 0x1000);
            }
            let text = Kernel::parse(&file).unwrap_err().to_string();
            assert!(text.contains(said) && text.contains("build the image anew"), "{at:#x}: {text}");
        }
    }

    #[test]
    fn random_changes_never_panic_and_never_reach_outside() {
        let mut random = Random::new(2);
        let file = kernel();
        for _ in 0..30_000 {
            let mut changed = file.clone();
            random.change(&mut changed[..0x200]);
            let Ok(kernel) = Kernel::parse(&changed) else { continue };
            if kernel.image_bytes() < 1 << 20 {
                kernel.place(&mut vec![0; kernel.image_bytes()]).unwrap();
                assert!(kernel.entry() < kernel.image_bytes() && kernel.code().end <= kernel.image_bytes());
            }
        }
        for end in 0..file.len() {
            let _ = Kernel::parse(&file[..end]).is_ok();
        }
    }
}

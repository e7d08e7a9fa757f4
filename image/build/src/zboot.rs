//! The kernel of an architecture for which Debian does not compress it, in the program that unpacks it (`image/zboot`).
//!
//! The format is that of Linux's own `EFI_ZBOOT`: a header in the DOS header's unused fields, and the payload in a section.
//! The program is the UKI's `.linux`, so what the stub measures and the firmware loads covers the payload.
//! Read next: `image/zboot/src/payload.rs`, which reads what is written here.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::architecture::Architecture;
use crate::build;
use crate::manifest::FileEntry;
use crate::pe::{self, Image};

/// Linux's name for a compressed kernel in a program, and ours for the program.
const SECTION: &str = ".gzdata";
const NAME: &str = "zboot.efi";
/// The payload is a PE section, whose sizes have 32 bits; a program is far smaller than this.
const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Why the kernel cannot be carried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no program for it.
    #[error(
        "Debian's kernel for {0} is not compressed, and the image would be too large with it: name the program that unpacks \
         it (--zboot FILE), which `cargo build --profile agent -p image-zboot --target aarch64-unknown-uefi` makes (`rustup \
         target add aarch64-unknown-uefi` before it); nothing was built"
    )]
    Missing(Architecture),
    /// There is one that nothing needs.
    #[error("the kernel for {0} unpacks itself: leave --zboot out; nothing was built")]
    Needless(Architecture),
    /// The program cannot be read.
    #[error("cannot take the program that unpacks the kernel")]
    File(#[source] Box<build::Error>),
    /// It is something else.
    #[error(
        "{path} is not the program that unpacks a kernel for {wanted}: {why}; name zboot.efi, which `cargo build --profile \
         agent -p image-zboot --target aarch64-unknown-uefi` makes; nothing was built"
    )]
    Program {
        /// The file.
        path: PathBuf,
        /// The image's architecture.
        wanted: Architecture,
        /// What is wrong.
        why: String,
    },
    /// Program or kernel is not what it should be.
    #[error("cannot put the kernel into the program that unpacks it")]
    Carry(#[source] pe::Error),
}

/// The program, without a kernel.
#[derive(Debug, Clone)]
pub struct Program {
    bytes: Vec<u8>,
}

/// Whether a program was named exactly if this architecture needs one.
///
/// # Errors
/// [`Error::Missing`] and [`Error::Needless`].
pub fn check(architecture: Architecture, named: Option<&Path>) -> Result<(), Error> {
    match (architecture.wants_zboot(), named.is_some()) {
        (true, false) => Err(Error::Missing(architecture)),
        (false, true) => Err(Error::Needless(architecture)),
        (true, true) | (false, false) => Ok(()),
    }
}

impl Program {
    /// The program at `named`, if this architecture needs one.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(architecture: Architecture, named: Option<&Path>) -> Result<Option<Self>, Error> {
        check(architecture, named)?;
        let Some(path) = named else { return Ok(None) };
        let bytes = build::read(path).map_err(|error| Error::File(Box::new(error)))?;
        let wrong = |why: String| Error::Program { path: path.to_owned(), wanted: architecture, why };
        if bytes.len() > PROGRAM_BYTES_MAX {
            return Err(wrong(format!("it has {} bytes", bytes.len())));
        }
        let image = Image::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
        if image.machine() != architecture.pe_machine() {
            return Err(wrong("it is for another processor".to_owned()));
        }
        if image.section(SECTION).is_some() {
            return Err(wrong("it carries a kernel already".to_owned()));
        }
        Ok(Some(Self { bytes }))
    }

    /// What a manifest says of it.
    #[must_use]
    pub fn described(&self) -> FileEntry {
        let sha256 = hex::encode(Sha256::digest(&self.bytes));
        FileEntry { path: NAME.to_owned(), bytes: self.bytes.len(), sha256 }
    }

    /// The program with `kernel`, which `compressed` is by zstd, its size said in it.
    ///
    /// # Errors
    /// [`Error::Carry`].
    pub fn carry(&self, kernel: &[u8], compressed: &[u8]) -> Result<Vec<u8>, Error> {
        self.carrying(kernel, compressed).map_err(Error::Carry)
    }

    fn carrying(&self, kernel: &[u8], compressed: &[u8]) -> Result<Vec<u8>, pe::Error> {
        let (program, kernel) = (Image::parse(&self.bytes)?, Image::parse(kernel)?);
        if kernel.machine() != program.machine() {
            return Err(pe::Error::Malformed {
                what: "the kernel is for another processor than the program",
            });
        }
        let with_payload = program.with_sections(&[(SECTION, compressed)])?;
        let image = Image::parse(&with_payload)?;
        let section = image.sections().iter().find(|section| section.name == SECTION);
        let offset = section.ok_or(pe::Error::Malformed { what: "it lost its payload" })?.file_offset();
        let bytes = u32::try_from(compressed.len()).map_err(|_| pe::Error::TooLarge)?;
        // The version says by which protocol a kernel takes its initramfs: systemd's stub asks for the newer one.
        image.marked(
            &[(4, b"zimg"), (8, &offset.to_le_bytes()), (12, &bytes.to_le_bytes()), (24, b"zstd22\0")],
            kernel.version()?,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Part;
    use crate::tiny::{tiny, tiny_with_room};

    /// For ARM.
    fn arm(mut image: Vec<u8>) -> Vec<u8> {
        image[0x44..0x46].copy_from_slice(&pe::MACHINE_ARM64.to_le_bytes());
        image
    }

    /// As firmware loads a file of two sections, the second of this length.
    fn loaded(file: &[u8], second: usize) -> Vec<u8> {
        let mut memory = file[..0x400].to_vec();
        memory.resize(0x2000 + second, 0);
        memory[0x2000..].copy_from_slice(&file[0x600..0x600 + second]);
        memory
    }

    fn named(dir: &Path, content: &[u8]) -> PathBuf {
        let path = dir.join("zboot.efi");
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn what_is_carried_is_what_the_program_finds() {
        let dir = tempfile::tempdir().unwrap();
        let path = named(dir.path(), &arm(tiny_with_room()));
        let program = Program::read(Architecture::Arm64, Some(&path)).unwrap().unwrap();
        let mut kernel = arm(tiny(24));
        kernel[0x58 + 44..0x58 + 48].copy_from_slice(&[3, 0, 1, 0]);
        let compressed = Part::Kernel.compress(&kernel).unwrap();
        let made = program.carry(&kernel, &compressed).unwrap();
        let memory = loaded(&made, compressed.len());
        let payload = image_zboot::find(&memory).unwrap();
        assert_eq!(image_zboot::unpack(payload).unwrap(), kernel);
        let image = Image::parse(&made).unwrap();
        assert_eq!(image.version().unwrap(), 0x0001_0003, "it speaks for its kernel");
        assert_eq!(image.section(SECTION), Some(compressed.as_slice()));
        // Another kernel, another digest: what firmware measures covers the payload.
        let other = program.carry(&kernel, &Part::Kernel.compress(&arm(tiny(25))).unwrap()).unwrap();
        assert_ne!(image.authenticode().unwrap(), Image::parse(&other).unwrap().authenticode().unwrap());
        assert_eq!(made, program.carry(&kernel, &compressed).unwrap(), "the same bytes each time");
        let again = named(dir.path(), &made);
        let error = Program::read(Architecture::Arm64, Some(&again)).unwrap_err().to_string();
        assert!(error.contains("carries a kernel already"), "{error}");
        assert!(matches!(program.carry(&tiny(0), &compressed), Err(Error::Carry(_))));
    }

    #[test]
    fn a_program_is_named_exactly_where_it_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let said =
            |architecture, path: Option<&Path>| Program::read(architecture, path).unwrap_err().to_string();
        let path = named(dir.path(), &tiny_with_room());
        assert!(said(Architecture::Arm64, None).contains("rustup target add aarch64-unknown-uefi"));
        assert!(said(Architecture::Amd64, Some(&path)).contains("leave --zboot out"));
        assert!(said(Architecture::Arm64, Some(&path)).contains("another processor"));
        assert!(Program::read(Architecture::Amd64, None).unwrap().is_none());
        let path = named(dir.path(), b"#!/bin/sh\n");
        assert!(said(Architecture::Arm64, Some(&path)).contains("it does not begin with MZ"));
        let path = named(dir.path(), &vec![0; PROGRAM_BYTES_MAX + 1]);
        assert!(said(Architecture::Arm64, Some(&path)).contains("1048577 bytes"));
        assert!(matches!(
            Program::read(Architecture::Arm64, Some(&dir.path().join("none"))),
            Err(Error::File(_))
        ));
    }
}

//! What a UKI holds, read from the file itself and not from what was written beside it.

use attest_evidence::ReferenceValues;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::manifest::FileEntry;
use crate::members;
use crate::pe::{Error, Image};
use crate::uki;

/// A UKI, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Name and version, from its os-release.
    pub name: String,
    /// SHA-256 of the file, hex.
    pub uki_sha256: String,
    /// Size of the file.
    pub uki_bytes: usize,
    /// SHA-256 as firmware takes it of an image, hex: what `db` and `dbx` name one image by.  A signature does not change it.
    pub authenticode_sha256: String,
    /// Whether it is signed for Secure Boot; by whom, firmware says.
    pub signed: bool,
    /// The kernel's `uname -r`.
    pub kernel_release: String,
    /// The kernel's command line.
    pub command_line: String,
    /// Sections of the file, in its order.
    pub sections: Vec<FileEntry>,
    /// Files of the initramfs, as unpacked.
    pub files: Vec<FileEntry>,
}

/// Takes a UKI apart.
///
/// # Errors
/// When it is none.
pub fn inspect(file: &[u8]) -> Result<Inspection, Error> {
    let image = Image::parse(file)?;
    let text = |name| String::from_utf8_lossy(image.section(name).unwrap_or_default()).trim().to_owned();
    let initrd = image.section(".initrd").ok_or(Error::Malformed { what: "it has no initramfs" })?;
    let files = members::open(initrd).unwrap_or_default();
    Ok(Inspection {
        name: uki::name(&image),
        uki_sha256: hex::encode(Sha256::digest(file)),
        uki_bytes: file.len(),
        authenticode_sha256: hex::encode(image.authenticode()?),
        signed: image.is_signed()?,
        kernel_release: text(".uname"),
        command_line: text(".cmdline"),
        sections: image
            .sections()
            .iter()
            .filter_map(|section| Some(entry(&section.name, image.section(&section.name)?)))
            .collect(),
        files: files.iter().map(|(path, content)| entry(path, content)).collect(),
    })
}

/// What a TPM will hold after this UKI has started, by way of a boot loader if there is one, and the UKI's name.
///
/// # Errors
/// When it is none.
pub fn measure(loader: Option<&[u8]>, file: &[u8]) -> Result<ReferenceValues, Error> {
    uki::measure(loader, file)
}

fn entry(path: &str, content: &[u8]) -> FileEntry {
    FileEntry { path: path.to_owned(), bytes: content.len(), sha256: hex::encode(Sha256::digest(content)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpio::Archive;
    use crate::tiny::tiny_with_room;

    #[test]
    fn it_says_what_is_inside() {
        let mut archive = Archive::new();
        archive.file("init", b"agent".to_vec(), true).unwrap();
        let initrd = zstd::bulk::compress(&archive.to_bytes(), 3).unwrap();
        let os_release = b"NAME=\"Scalerforge discovery\"\nVERSION_ID=9\n";
        let uki = Image::parse(&tiny_with_room())
            .unwrap()
            .with_sections(&[(".osrel", os_release), (".cmdline", b"quiet"), (".initrd", &initrd)])
            .unwrap();
        let found = inspect(&uki).unwrap();
        assert_eq!((found.name.as_str(), found.command_line.as_str()), ("scalerforge-discovery-9", "quiet"));
        assert_eq!(found.files[0], entry("init (executable)", b"agent"));
        assert!(
            found.sections.iter().any(|section| section.path == ".initrd" && section.bytes == initrd.len())
        );
        assert_eq!(
            found.authenticode_sha256,
            hex::encode(Image::parse(&uki).unwrap().authenticode().unwrap())
        );
        assert!(!found.signed && found.authenticode_sha256 != found.uki_sha256);
        assert!(inspect(b"MZ").is_err());
    }
}

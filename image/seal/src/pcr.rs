//! What the TPM will say after this image has started: PCR values computed from the bytes alone.
//!
//! PCR 4 is extended by the firmware for each image it starts, PCR 9 by the kernel's EFI stub for its command line and
//! initramfs, PCR 11 by systemd-stub for each section of the UKI, PCRs 12 and 13 by systemd-stub for parameters and
//! extensions from outside the UKI, of which we allow none but an addon that a person asked for (`addon.rs`).  Nothing
//! here is learnt from a machine.  Firmware PCRs (0-3, 5, 7) are not the image's business.

use sha2::{Digest, Sha256};

use crate::cpio::Record;
use crate::pe::{Error, Image};

/// A PCR before anything was extended into it, and after a boot that never touched it.
pub const UNTOUCHED: [u8; 32] = [0; 32];

/// Sections in the order in which systemd-stub measures them (257's `UnifiedSection`; those that an image lacks are
/// skipped, and `.pcrsig` is never measured because it signs the result).
const MEASURED_SECTIONS: [&str; 10] =
    [".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey"];

/// Text of the `EV_EFI_ACTION` event before a boot option is tried (TCG PC Client Platform Firmware Profile 10.4.4).
const BOOT_OPTION_ACTION: &[u8] = b"Calling EFI Application from Boot Option";

/// PCR 4 in the two cases that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pcr4 {
    /// Secure Boot off: the stub starts the kernel through the firmware, which measures it too.
    pub secure_boot_off: [u8; 32],
    /// Secure Boot on: the stub vouches for the kernel itself, so that the firmware sees only the UKI.
    pub secure_boot_on: [u8; 32],
}

/// PCR 4 for the first boot option starting `uki`, by way of `loader` if there is one; its inner kernel is `kernel`.
pub fn pcr4(loader: Option<&Image<'_>>, uki: &Image<'_>, kernel: &Image<'_>) -> Result<Pcr4, Error> {
    let mut pcr = UNTOUCHED;
    extend(&mut pcr, &digest(BOOT_OPTION_ACTION));
    // EV_SEPARATOR: the digest of four zero bytes.
    extend(&mut pcr, &digest(&[0; 4]));
    if let Some(loader) = loader {
        extend(&mut pcr, &loader.authenticode()?);
    }
    extend(&mut pcr, &uki.authenticode()?);
    let secure_boot_on = pcr;
    extend(&mut pcr, &kernel.authenticode()?);
    Ok(Pcr4 { secure_boot_off: pcr, secure_boot_on })
}

/// PCR 11 for `uki`: the name with its NUL, then the content, of each measured section.
#[must_use]
pub fn pcr11(uki: &Image<'_>) -> [u8; 32] {
    let mut pcr = UNTOUCHED;
    for name in MEASURED_SECTIONS {
        if let Some(content) = uki.section(name) {
            let mut name_nul = name.as_bytes().to_vec();
            name_nul.push(0);
            extend(&mut pcr, &digest(&name_nul));
            extend(&mut pcr, &digest(content));
        }
    }
    pcr
}

/// PCR 4 in the two cases, of an image that was measured before the kernel.
pub(crate) struct Case {
    /// Secure Boot off.
    pub(crate) off: [u8; 32],
    /// Secure Boot on.
    pub(crate) on: [u8; 32],
}

/// PCR 4 when an addon came between the UKI and its kernel.
pub(crate) fn pcr4_behind(started: [u8; 32], addon: &[u8; 32], kernel: &[u8; 32]) -> Case {
    let mut on = started;
    extend(&mut on, addon);
    let mut off = on;
    extend(&mut off, kernel);
    Case { off, on }
}

/// PCR 9 for `uki`: its command line as the kernel gets it (UTF-16 with a NUL), then the initramfs as the kernel gets it.
pub fn pcr9(uki: &Image<'_>) -> Result<[u8; 32], Error> {
    Ok(pcr9_of(&command_line(uki)?, &digest(&initrd(uki)?)))
}

/// The same of its parts: the command line, and the digest of the initramfs.
pub(crate) fn pcr9_of(command_line: &str, initrd: &[u8; 32]) -> [u8; 32] {
    let mut pcr = UNTOUCHED;
    extend(&mut pcr, &digest(&as_options(command_line)));
    extend(&mut pcr, initrd);
    pcr
}

/// PCR 12 after systemd-stub has appended these words to the command line: measured as firmware's load options are.
pub(crate) fn pcr12_of(words: &str) -> [u8; 32] {
    let mut pcr = UNTOUCHED;
    extend(&mut pcr, &digest(&as_options(words)));
    pcr
}

fn as_options(command_line: &str) -> Vec<u8> {
    command_line.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// A UKI's own command line.
pub(crate) fn command_line(uki: &Image<'_>) -> Result<String, Error> {
    let section = uki.section(".cmdline").ok_or(Error::Malformed { what: "it has no command line" })?;
    Ok(String::from_utf8_lossy(section).into_owned())
}

/// A UKI's initramfs with what the stub puts behind it.
pub(crate) fn initrd(uki: &Image<'_>) -> Result<Vec<u8>, Error> {
    let section = |name, what| uki.section(name).ok_or(Error::Malformed { what });
    let mut initrd = section(".initrd", "it has no initramfs")?.to_vec();
    section(".osrel", "it has no os-release")?;
    for (section, name) in EXTRA {
        if let Some(content) = uki.section(section) {
            initrd.resize(initrd.len().next_multiple_of(4), 0);
            initrd.extend_from_slice(&extra_archive(name, content));
        }
    }
    Ok(initrd)
}

/// What systemd-stub (257) appends to the initramfs of its own sections, each as an archive, in this order: the system
/// can so read the UKI's os-release and the policy that opens what is sealed to it.
const EXTRA: [(&str, &str); 3] = [
    (".pcrsig", "tpm2-pcr-signature.json"),
    (".pcrpkey", "tpm2-pcr-public-key.pem"),
    (".osrel", "os-release"),
];

fn extra_archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Record { mode: 0o040_555, ..Record::numbered(1) }.write(&mut out, ".extra", &[]);
    Record { mode: 0o100_444, ..Record::numbered(2) }.write(&mut out, &format!(".extra/{name}"), content);
    // Its trailer is a literal, and the only place where it writes a hexadecimal digit as a capital.
    out.extend_from_slice(b"070701");
    for field in ["0", "0", "0", "0", "1", "0", "0", "0", "0", "0", "0", "B", "0"] {
        out.extend_from_slice(format!("{field:0>8}").as_bytes());
    }
    out.extend_from_slice(b"TRAILER!!!\0\0\0\0");
    out
}

fn extend(pcr: &mut [u8; 32], measurement: &[u8; 32]) {
    *pcr = Sha256::new().chain_update(*pcr).chain_update(measurement).finalize().into();
}

pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::{tiny, tiny_with_room};

    fn uki(initrd: &[u8]) -> Vec<u8> {
        let stub = tiny(0);
        Image::parse(&stub).unwrap().with_sections(&[(".osrel", b"ID=x"), (".initrd", initrd)]).unwrap()
    }

    #[test]
    fn one_changed_byte_in_the_initrd_changes_both() {
        let (one, two, kernel) = (uki(b"agent"), uki(b"agenu"), tiny(16));
        let (one, two, kernel) =
            (Image::parse(&one).unwrap(), Image::parse(&two).unwrap(), Image::parse(&kernel).unwrap());
        assert_ne!(pcr11(&one), pcr11(&two));
        let (four, other) = (pcr4(None, &one, &kernel).unwrap(), pcr4(None, &two, &kernel).unwrap());
        assert_ne!(four.secure_boot_off, other.secure_boot_off);
        assert_ne!(four.secure_boot_on, other.secure_boot_on);
        assert_ne!(four.secure_boot_on, four.secure_boot_off);
        assert_ne!(pcr4(Some(&two), &one, &kernel).unwrap(), four);
    }

    #[test]
    fn pcr9_depends_on_command_line_initramfs_and_os_release() {
        let stub = tiny_with_room();
        let stub = Image::parse(&stub).unwrap();
        let value = |osrel: &[u8], cmdline: &[u8], initrd: &[u8]| {
            let uki =
                stub.with_sections(&[(".osrel", osrel), (".cmdline", cmdline), (".initrd", initrd)]).unwrap();
            pcr9(&Image::parse(&uki).unwrap()).unwrap()
        };
        let base = value(b"o", b"c", b"i");
        assert_eq!(base, value(b"o", b"c", b"i\0\0\0"), "the stub pads the initramfs to four bytes");
        for other in [value(b"p", b"c", b"i"), value(b"o", b"d", b"i"), value(b"o", b"c", b"j")] {
            assert_ne!(base, other);
        }
        let none = stub.with_sections(&[]).unwrap();
        assert!(pcr9(&Image::parse(&none).unwrap()).is_err());
    }

    #[test]
    fn pcr11_follows_the_stubs_order_not_the_files() {
        let stub = tiny(0);
        let stub = Image::parse(&stub).unwrap();
        let one = stub.with_sections(&[(".osrel", b"o"), (".linux", b"l")]).unwrap();
        let two = stub.with_sections(&[(".linux", b"l"), (".osrel", b"o")]).unwrap();
        assert_eq!(pcr11(&Image::parse(&one).unwrap()), pcr11(&Image::parse(&two).unwrap()));
        let mut by_hand = UNTOUCHED;
        for measured in [&b".linux\0"[..], b"l", b".osrel\0", b"o", b".sbat\0", b"sbat,"] {
            extend(&mut by_hand, &digest(measured));
        }
        assert_eq!(pcr11(&Image::parse(&one).unwrap()), by_hand);
    }
}

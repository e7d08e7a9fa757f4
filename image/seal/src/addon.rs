//! Addons: a few words more on a UKI's command line, in a file of their own, signed like the UKI.
//!
//! systemd's boot stub (257) takes `*.addon.efi` from the folder `UKI.extra.d` beside the UKI, has firmware check and
//! measure it (PCR 4), appends its words to the command line (PCR 9) and measures them (PCR 12).  So a start with an addon
//! cannot look like a start without, and what it looks like follows from bytes that we have.  Nothing in an addon runs.
//! It refuses words that the stub would change, because their measurement would be another than computed.

use attest_evidence::{Accepted, Hex32, ReferenceBank, ReferencePcr, ReferenceValues};

use crate::pcr::{self, Case};
use crate::pe::{Error, Image};

/// How the names of addons end.
pub const ENDING: &str = ".addon.efi";
/// What the folder of a UKI's addons is called behind the UKI's own name.
pub const FOLDER_ENDING: &str = ".extra.d";
/// The kernel takes 2047 characters in all, and ours are two hundred.
const WORDS_BYTES_MAX: usize = 1024;

/// `IMAGE_FILE_EXECUTABLE_IMAGE`, `LARGE_ADDRESS_AWARE`, and no symbols or lines, as systemd's own addon has them.
const CHARACTERISTICS: u16 = 0x022e;
/// `IMAGE_SUBSYSTEM_EFI_APPLICATION`.
const EFI_APPLICATION: u16 = 10;
/// `HIGH_ENTROPY_VA`, `DYNAMIC_BASE`, `NX_COMPAT`.
const DLL_CHARACTERISTICS: u16 = 0x0160;
/// Where the headers end; room for two sections more.
const HEADER_BYTES: u32 = 0x400;
const SECTION_ALIGNMENT: u32 = 0x1000;
const FILE_ALIGNMENT: u32 = 0x200;
/// `return EFI_UNSUPPORTED`, for whoever starts it by hand.
const CODE: [u8; 11] = [0x48, 0xb8, 3, 0, 0, 0, 0, 0, 0, 0x80, 0xc3];
/// `IMAGE_SCN_CNT_CODE | IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_READ`.
const CODE_SECTION: u32 = 0x6000_0020;
/// What shim wants of whatever it checks.
const SBAT: &[u8] = b"sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n\
                      scalerforge.addon,1,Scalerforge,scalerforge,1,none\n";

/// An addon with these words, unsigned.
///
/// # Errors
/// If the words are none that go onto a command line as they are: printable ASCII with single spaces inside, at most 1024.
pub fn addon(words: &str) -> Result<Vec<u8>, Error> {
    let plain = words.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let trimmed = !words.is_empty() && words.trim() == words && !words.contains("  ");
    if !plain || !trimmed || words.len() > WORDS_BYTES_MAX {
        return Err(Error::Malformed { what: "its command line would not be measured as it is written" });
    }
    Image::parse(&bare())?.with_sections(&[(".sbat", SBAT), (".cmdline", words.as_bytes())])
}

/// An image with nothing but a return.
fn bare() -> Vec<u8> {
    let mut file = vec![0; 0x40];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 0x40;
    file.extend_from_slice(b"PE\0\0");
    let mut word = |value: u16| file.extend_from_slice(&value.to_le_bytes());
    // The file header: x86-64, one section, no date, no symbols, 240 bytes of optional header.
    [0x8664, 1, 0, 0, 0, 0, 0, 0, 0xf0, CHARACTERISTICS].into_iter().for_each(&mut word);
    // The optional header, in words of 32 bits.
    let long = |file: &mut Vec<u8>, values: &[u32]| {
        values.iter().for_each(|value| file.extend_from_slice(&value.to_le_bytes()));
    };
    long(&mut file, &[0x20b, FILE_ALIGNMENT, 0, 0, SECTION_ALIGNMENT, SECTION_ALIGNMENT]);
    // No base of its own; alignments; no versions.
    long(&mut file, &[0, 0, SECTION_ALIGNMENT, FILE_ALIGNMENT, 0, 0, 0, 0]);
    long(&mut file, &[2 * SECTION_ALIGNMENT, HEADER_BYTES, 0]);
    long(&mut file, &[u32::from(EFI_APPLICATION) | u32::from(DLL_CHARACTERISTICS) << 16]);
    // Stack and heap, reserved and committed; no flags; sixteen directories, all empty.
    long(&mut file, &[0x10_0000, 0, 0x1000, 0, 0x10_0000, 0, 0x1000, 0, 0, 16]);
    file.resize(file.len() + 16 * 8, 0);
    file.extend_from_slice(b".text\0\0\0");
    let code_bytes = u32::try_from(CODE.len()).unwrap_or(0);
    long(&mut file, &[code_bytes, SECTION_ALIGNMENT, FILE_ALIGNMENT, HEADER_BYTES, 0, 0, 0, CODE_SECTION]);
    file.resize(HEADER_BYTES as usize, 0);
    file.extend_from_slice(&CODE);
    file.resize((HEADER_BYTES + FILE_ALIGNMENT) as usize, 0);
    file
}

/// What has to be kept of a UKI to say later how it starts with an addon: some hundred bytes instead of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingredients {
    /// SHA-256 of the UKI file.
    pub uki_sha256: [u8; 32],
    /// PCR 4 when firmware has measured boot loader and UKI, and nothing behind it.
    pub started: [u8; 32],
    /// Authenticode of the kernel inside.
    pub kernel: [u8; 32],
    /// SHA-256 of the initramfs as the kernel gets it.
    pub initrd: [u8; 32],
    /// The UKI's own command line.
    pub command_line: String,
    /// PCR 11, which addons leave as it is.
    pub sections: [u8; 32],
}

impl Ingredients {
    /// Of a UKI that a boot loader starts, if there is one.
    ///
    /// # Errors
    /// If one of them is none.
    pub fn of(loader: Option<&[u8]>, uki: &[u8]) -> Result<Self, Error> {
        let loader = loader.map(Image::parse).transpose()?;
        let image = Image::parse(uki)?;
        let kernel = image.section(".linux").ok_or(Error::Malformed { what: "it has no kernel inside" })?;
        let kernel = Image::parse(kernel)?;
        Ok(Self {
            uki_sha256: pcr::digest(uki),
            started: pcr::pcr4(loader.as_ref(), &image, &kernel)?.secure_boot_on,
            kernel: kernel.authenticode()?,
            initrd: pcr::digest(&pcr::initrd(&image)?),
            command_line: pcr::command_line(&image)?,
            sections: pcr::pcr11(&image),
        })
    }

    /// What a TPM holds after the UKI has started with `words` in one addon, signed or not, as [`addon`] makes it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn with(&self, name: &str, words: &str) -> Result<ReferenceValues, Error> {
        let addon = addon(words)?;
        // A signature does not change the digest that firmware measures.
        let addon = Image::parse(&addon)?.authenticode()?;
        let both = format!("{} {words}", self.command_line);
        let Case { off, on } = pcr::pcr4_behind(self.started, &addon, &self.kernel);
        let entry = |pcr, values: &[([u8; 32], &str)]| ReferencePcr {
            pcr,
            accepted: values
                .iter()
                .map(|(value, why)| Accepted { value: Hex32(*value), holds_for: (*why).to_owned() })
                .collect(),
        };
        Ok(ReferenceValues {
            name: name.to_owned(),
            uki_sha256: Hex32(self.uki_sha256),
            bank: ReferenceBank::Sha256,
            pcrs: vec![
                entry(
                    4,
                    &[
                        (off, "Secure Boot off: firmware measures UKI, addon and kernel"),
                        (on, "Secure Boot on: firmware measures UKI and addon"),
                    ],
                ),
                entry(9, &[(pcr::pcr9_of(&both, &self.initrd), "any firmware: the longer command line")]),
                entry(
                    11,
                    &[(self.sections, "any firmware: the UKI's sections, which an addon leaves alone")],
                ),
                entry(12, &[(pcr::pcr12_of(words), "any firmware: the addon's words")]),
                entry(13, &[(pcr::UNTOUCHED, "no system extensions from outside the image")]),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticode;
    use crate::authenticode::tests::certificate;
    use crate::key::tests::key;
    use crate::tiny::{tiny, tiny_with_room};
    use crate::uki::{self, Parts};

    fn host() -> Vec<u8> {
        let parts = Parts {
            stub: &tiny_with_room(),
            kernel: &tiny(16),
            kernel_release: "6",
            initrd: b"initrd",
            os_release: "NAME=x\n",
            command_line: "quiet roothash=ab",
        };
        uki::assemble(&parts).unwrap()
    }

    #[test]
    fn an_addon_is_an_image_that_can_be_signed_and_says_its_words() {
        let made = addon("scalerforge.break-glass=x 1").unwrap();
        let image = Image::parse(&made).unwrap();
        assert_eq!(image.section(".cmdline"), Some(&b"scalerforge.break-glass=x 1"[..]));
        assert_eq!(image.section(".text"), Some(&CODE[..]));
        assert!(image.section(".linux").is_none(), "with a kernel it would be a UKI");
        assert_eq!(image.section(".sbat"), Some(SBAT));
        let signed = authenticode::sign(&made, &key(1), &certificate(1)).unwrap();
        let digest = |file: &[u8]| Image::parse(file).unwrap().authenticode().unwrap();
        assert_eq!(digest(&signed), digest(&made));
        assert_eq!(addon("a b").unwrap(), addon("a b").unwrap(), "the same bytes each time");
    }

    #[test]
    fn words_that_the_stub_would_change_are_refused() {
        for words in ["", " a", "a ", "a  b", "a\nb", "a\tb", "\u{e4}", &"a".repeat(WORDS_BYTES_MAX + 1)] {
            assert!(addon(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn only_the_sections_are_measured_as_without_an_addon() {
        let uki = host();
        let plain = uki::reference_behind("host", None, &uki).unwrap();
        let kept = Ingredients::of(None, &uki).unwrap();
        let glass = kept.with("glass", "a=1").unwrap();
        for (one, two) in plain.pcrs.iter().zip(&glass.pcrs) {
            assert_eq!(one.pcr, two.pcr);
            assert_eq!(
                one.accepted[0].value == two.accepted[0].value,
                [11, 13].contains(&one.pcr),
                "{}",
                one.pcr
            );
        }
        let other = kept.with("glass", "a=2").unwrap();
        assert_ne!(glass.pcrs[3], other.pcrs[3]);
        let behind = Ingredients::of(Some(&tiny(0)), &uki).unwrap();
        assert_ne!(behind.started, kept.started);
        assert!(Ingredients::of(None, &tiny(0)).is_err());
    }
}

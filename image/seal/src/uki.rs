//! Puts a UKI together and says what it will make of the PCRs.  Bytes in, bytes out.
//!
//! Read next: `pe.rs` for the file format, `pcr.rs` for the measurements.

use attest_evidence::{Accepted, Hex32, ReferenceBank, ReferencePcr, ReferenceValues};
use sha2::{Digest, Sha256};

use crate::pcr;
use crate::pe::{Error, Image};

/// The kernel's command line.  It is measured and the same everywhere: a site's parameters never go here.
///
/// Both consoles, the serial one last because /dev/console is the last one named; a panic restarts at once, so that the
/// boot server sees the machine again; the kernel keeps quiet because the agent tells the story.  It is locked down
/// where Secure Boot does not do that (kernel_lockdown(7)): not even root changes it while it runs.
pub const COMMAND_LINE: &str =
    "console=tty0 console=ttyS0,115200 panic=-1 quiet loglevel=3 lockdown=integrity";

/// The same for 64-bit ARM, whose servers have another kind of serial port (PL011) or the PC's: a port that is not there
/// is no console, and the last one that is there is /dev/console.
pub const COMMAND_LINE_ARM64: &str =
    "console=tty0 console=ttyS0,115200 console=ttyAMA0,115200 panic=-1 quiet loglevel=3 lockdown=integrity";

/// What goes into a UKI.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// systemd's UEFI stub.
    pub stub: &'a [u8],
    /// The signed kernel.
    pub kernel: &'a [u8],
    /// The kernel's `uname -r`.
    pub kernel_release: &'a str,
    /// The compressed initramfs.
    pub initrd: &'a [u8],
    /// Text of `/etc/os-release`.
    pub os_release: &'a str,
    /// The kernel's command line.
    pub command_line: &'a str,
}

/// The UKI file.
///
/// # Errors
/// When stub or kernel is no UEFI program, or the two are for different processors.
pub fn assemble(parts: &Parts<'_>) -> Result<Vec<u8>, Error> {
    let stub = Image::parse(parts.stub)?;
    if stub.machine() != Image::parse(parts.kernel)?.machine() {
        return Err(Error::Malformed { what: "its kernel is for another processor than its boot stub" });
    }
    stub.with_sections(&[
        (".osrel", parts.os_release.as_bytes()),
        (".cmdline", parts.command_line.as_bytes()),
        (".uname", parts.kernel_release.as_bytes()),
        (".initrd", parts.initrd),
        (".linux", parts.kernel),
    ])
}

/// What a TPM will hold after this UKI has started, by way of a boot loader if there is one.  The name is the UKI's own.
///
/// # Errors
/// When it is none.
pub fn measure(loader: Option<&[u8]>, uki: &[u8]) -> Result<ReferenceValues, Error> {
    reference_behind(&name(&Image::parse(uki)?), loader, uki)
}

/// Name and version of a UKI, from its os-release: `scalerforge-discovery-0.1.0` of `NAME="Scalerforge discovery"` and
/// `VERSION_ID=0.1.0`.
#[must_use]
pub fn name(image: &Image<'_>) -> String {
    let os_release = String::from_utf8_lossy(image.section(".osrel").unwrap_or_default());
    let field = |name: &str| {
        let mut lines = os_release.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or("unknown").trim_matches('"').to_owned()
    };
    format!("{}-{}", field("NAME").to_lowercase().replace(' ', "-"), field("VERSION_ID"))
}

/// The reference values of a UKI that firmware starts, computed from the finished file.
pub fn reference(name: &str, uki: &[u8]) -> Result<ReferenceValues, Error> {
    reference_behind(name, None, uki)
}

/// The reference values of a UKI that a boot loader starts, if there is one.
pub fn reference_behind(name: &str, loader: Option<&[u8]>, uki: &[u8]) -> Result<ReferenceValues, Error> {
    let loader = loader.map(Image::parse).transpose()?;
    let image = Image::parse(uki)?;
    let kernel = image.section(".linux").ok_or(Error::Malformed { what: "it has no kernel inside" })?;
    let four = pcr::pcr4(loader.as_ref(), &image, &Image::parse(kernel)?)?;
    let entry = |pcr: u8, accepted: &[([u8; 32], &str)]| ReferencePcr {
        pcr,
        accepted: accepted
            .iter()
            .map(|(value, holds_for)| Accepted { value: Hex32(*value), holds_for: (*holds_for).to_owned() })
            .collect(),
    };
    Ok(ReferenceValues {
        name: name.to_owned(),
        uki_sha256: Hex32(Sha256::digest(uki).into()),
        bank: ReferenceBank::Sha256,
        pcrs: vec![
            entry(
                4,
                &[
                    (
                        four.secure_boot_off,
                        "Secure Boot off: firmware measures the UKI and the kernel inside it",
                    ),
                    (
                        four.secure_boot_on,
                        "Secure Boot on: firmware measures the UKI, which vouches for its kernel",
                    ),
                ],
            ),
            entry(
                9,
                &[(
                    pcr::pcr9(&image)?,
                    "any firmware: the kernel measures its command line and its initramfs",
                )],
            ),
            entry(11, &[(pcr::pcr11(&image), "any firmware: the boot stub measures the UKI's sections")]),
            entry(12, &[(pcr::UNTOUCHED, "no parameters from outside the image")]),
            entry(13, &[(pcr::UNTOUCHED, "no system extensions from outside the image")]),
        ],
    })
}

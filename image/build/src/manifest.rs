//! What is in an image, as written to `manifest.json`: for people, for rebuilders, and for licence duties.

use serde::{Deserialize, Serialize};

use crate::packages::Package;

/// Everything that determined an image's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name and version of the image.
    pub name: String,
    /// The kernel's `uname -r`.
    pub kernel_release: String,
    /// The kernel's command line.
    pub command_line: String,
    /// SHA-256 of the kernel inside, hex.
    pub kernel_sha256: String,
    /// The program that unpacks the kernel, before it was given one, where the kernel does not do that itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zboot: Option<FileEntry>,
    /// SHA-256 of the boot stub that the UKI was made from, hex.
    pub stub_sha256: String,
    /// SHA-256 of the UKI file, hex.
    pub uki_sha256: String,
    /// Size of the UKI file in bytes.
    pub uki_bytes: usize,
    /// Size of the compressed initramfs in bytes.
    pub initrd_bytes: usize,
    /// Size of the initramfs as the kernel unpacks it, in bytes.
    pub unpacked_bytes: usize,
    /// Size of the file of programs beside the UKI.
    pub programs_bytes: usize,
    /// The distribution packages used, by name.
    pub packages: Vec<Package>,
    /// Drivers, packages and files whose firmware is not in the image, each with the reason.
    pub firmware_left_out: Vec<String>,
    /// Files in the initramfs, and in the file of programs beside the UKI, by path.
    pub files: Vec<FileEntry>,
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path without leading slash.
    pub path: String,
    /// Size in bytes.
    pub bytes: usize,
    /// SHA-256 of the content, hex.
    pub sha256: String,
}

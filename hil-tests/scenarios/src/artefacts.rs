//! What a lab needs that takes long to make: made once by `cargo xtask test` or `demo`, found by environment variable.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// Names the file that lists the artefacts.
const VARIABLE: &str = "SCALERFORGE_LAB";

/// Where things are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefacts {
    /// The `scalerforge` program.
    pub scalerforge: PathBuf,
    /// A site directory with keys; its authority is in the images.
    pub site: PathBuf,
    /// Directory with discovery.efi and reference.json as they were built: no site's.
    pub base: PathBuf,
    /// The same, sealed for the site, as an appliance makes it of the base.
    pub image: PathBuf,
    /// The same, with one byte of the agent altered; its reference.json is *not* what the appliance is given.
    pub altered_image: PathBuf,
    /// OVMF's code image.
    pub ovmf_code: PathBuf,
    /// OVMF's variable store.
    pub ovmf_vars: PathBuf,
    /// What boots where firmware cannot take the image as it is.
    pub boot: BootFiles,
    /// Where fetched packages are.
    pub cache: PathBuf,
    /// Which packages they are: the committed lock, or today's where that one has aged.
    pub lock: PathBuf,
    /// Directory with the static programs of hosts, `agent` and `start`.
    pub programs: PathBuf,
    /// Where labs may write.
    pub scratch: PathBuf,
}

/// Files for the other ways to boot, and firmware that enforces Secure Boot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFiles {
    /// The kernel in the image.
    pub kernel: PathBuf,
    /// The initramfs in the image.
    pub initrd: PathBuf,
    /// The kernel's command line in the image.
    pub command_line: String,
    /// iPXE for UEFI.
    pub ipxe_uefi: PathBuf,
    /// iPXE for BIOS.
    pub ipxe_bios: PathBuf,
    /// Debian's first boot loader, signed by Microsoft.
    pub shim: PathBuf,
    /// Debian's second boot loader, signed by Debian.
    pub grub: PathBuf,
    /// OVMF that enforces Secure Boot.
    pub ovmf_code_secure_boot: PathBuf,
    /// OVMF's variables with Microsoft's keys.
    pub ovmf_vars_microsoft: PathBuf,
}

impl Artefacts {
    /// The artefacts of this test run.
    ///
    /// # Errors
    /// If the run was not started by `cargo xtask test`.
    pub fn find() -> anyhow::Result<Self> {
        match std::env::var_os(VARIABLE) {
            Some(file) => Self::read(Path::new(&file)),
            None => bail!(
                "{VARIABLE} is not set: scenarios need images and tools, run them by `cargo xtask test`"
            ),
        }
    }

    /// Reads the list.
    ///
    /// # Errors
    /// If it is not there.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let json = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_slice(&json).with_context(|| format!("{} is no list of artefacts", file.display()))
    }

    /// Writes the list.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        std::fs::write(file, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("writing {}", file.display()))
    }

    /// The variable and its value, for a child that runs scenarios.
    #[must_use]
    pub fn variable(file: &Path) -> (&'static str, &Path) {
        (VARIABLE, file)
    }
}

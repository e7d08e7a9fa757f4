//! The processors that images are built for, and all that differs between them, in one place.
//!
//! A lock is for one of them, and so is all that is made of it: what is for another is refused where it would go in
//! (a package in `lock.rs`; agent, modules, kernel and stub in `build.rs`), because a server would only say so at a boot.

use std::fmt;
use std::str::FromStr;

use image_seal::{pe, uki};
use serde::{Deserialize, Serialize};

/// A processor, by Debian's name for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    #[default]
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

/// Not one of them.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no architecture that images are built for; write `amd64` or `arm64`")]
pub struct Unknown(String);

impl Architecture {
    /// Both.
    pub const ALL: [Architecture; 2] = [Architecture::Amd64, Architecture::Arm64];

    /// Debian's name.
    #[must_use]
    pub fn debian(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }

    /// The `e_machine` of its programs and modules.
    #[must_use]
    pub fn elf_machine(self) -> u16 {
        match self {
            // EM_X86_64 and EM_AARCH64.
            Architecture::Amd64 => 62,
            Architecture::Arm64 => 183,
        }
    }

    /// Where Debian keeps a machine's libraries, and where its loader looks for them.
    pub(crate) fn libraries(self) -> &'static str {
        match self {
            Architecture::Amd64 => "usr/lib/x86_64-linux-gnu",
            Architecture::Arm64 => "usr/lib/aarch64-linux-gnu",
        }
    }

    /// What a program names as its loader.
    pub(crate) fn loader(self) -> &'static str {
        match self {
            Architecture::Amd64 => "lib64/ld-linux-x86-64.so.2",
            Architecture::Arm64 => "lib/ld-linux-aarch64.so.1",
        }
    }

    /// The `Machine` of its UEFI programs.
    #[must_use]
    pub fn pe_machine(self) -> u16 {
        match self {
            Architecture::Amd64 => pe::MACHINE_X86_64,
            Architecture::Arm64 => pe::MACHINE_ARM64,
        }
    }

    /// How UEFI calls it in the names of files: `BOOTX64.EFI`, `linuxx64.efi.stub`.
    #[must_use]
    pub fn uefi(self) -> &'static str {
        match self {
            Architecture::Amd64 => "x64",
            Architecture::Arm64 => "aa64",
        }
    }

    /// Whose UEFI program this is.
    #[must_use]
    pub fn of(image: &pe::Image<'_>) -> Option<Architecture> {
        Self::ALL.into_iter().find(|architecture| architecture.pe_machine() == image.machine())
    }

    /// What stands between product and version in a discovery image's name; what was first has nothing there.
    pub(crate) fn in_name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "",
            Architecture::Arm64 => " arm64",
        }
    }

    /// The kernel's command line.
    #[must_use]
    pub fn command_line(self) -> &'static str {
        match self {
            Architecture::Amd64 => uki::COMMAND_LINE,
            Architecture::Arm64 => uki::COMMAND_LINE_ARM64,
        }
    }

    /// Whether a program of ours unpacks the kernel (`zboot.rs`): Debian's for arm64 is not compressed
    /// (`CONFIG_EFI_ZBOOT` is off) and has 36 MiB where the other, which unpacks itself, has 12.
    #[must_use]
    pub fn wants_zboot(self) -> bool {
        match self {
            Architecture::Amd64 => false,
            Architecture::Arm64 => true,
        }
    }

    /// The bar for a UKI: firmware loads it over the network into memory before anything else runs.
    #[must_use]
    pub fn uki_bytes_max(self) -> usize {
        match self {
            Architecture::Amd64 | Architecture::Arm64 => 32 << 20,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.debian())
    }
}

impl FromStr for Architecture {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let mut all = Self::ALL.into_iter();
        all.find(|one| one.debian() == text).ok_or_else(|| Unknown(text.escape_debug().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for one in Architecture::ALL {
            assert_eq!(one.to_string().parse::<Architecture>().unwrap(), one);
        }
        let said = "x86_64".parse::<Architecture>().unwrap_err().to_string();
        assert!(said.starts_with("`x86_64` is no architecture"), "{said}");
    }
}

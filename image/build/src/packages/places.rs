//! Where in the cache what was unpacked lies.

use std::path::PathBuf;

use super::{DISCOVERY, Package, Packages};
use crate::architecture::Architecture;

impl Packages {
    /// What was fetched.
    #[must_use]
    pub fn list(&self) -> &[Package] {
        &self.packages
    }

    /// What they are for.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The kernel's own name for itself (`uname -r`).
    #[must_use]
    pub fn kernel_release(&self) -> &str {
        &self.kernel_release
    }

    /// The signed kernel image.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.root().join(format!("boot/vmlinuz-{}", self.kernel_release))
    }

    /// The kernel's module directory.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.root().join("usr/lib/modules").join(&self.kernel_release)
    }

    /// systemd's boot stub, onto which the UKI's sections go.
    #[must_use]
    pub fn stub(&self) -> PathBuf {
        self.root().join(format!("usr/lib/systemd/boot/efi/linux{}.efi.stub", self.architecture.uefi()))
    }

    /// The boot loader of installed hosts, which counts the tries of a slot.
    #[must_use]
    pub fn boot_loader(&self) -> PathBuf {
        self.root().join(format!("usr/lib/systemd/boot/efi/systemd-boot{}.efi", self.architecture.uefi()))
    }

    /// UEFI firmware for virtual machines, without Secure Boot.  Read-only.
    #[must_use]
    pub fn ovmf_code(&self) -> PathBuf {
        self.root().join("usr/share/OVMF/OVMF_CODE_4M.fd")
    }

    /// UEFI firmware for virtual machines with Secure Boot (needs QEMU's `smm=on`).  Read-only.
    #[must_use]
    pub fn ovmf_code_secure_boot(&self) -> PathBuf {
        self.root().join("usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
    }

    /// Empty UEFI variables; each machine takes its own copy.
    #[must_use]
    pub fn ovmf_vars(&self) -> PathBuf {
        self.root().join("usr/share/OVMF/OVMF_VARS_4M.fd")
    }

    /// UEFI firmware's variables with the keys that a server leaves the factory with: Microsoft's.
    #[must_use]
    pub fn ovmf_vars_microsoft(&self) -> PathBuf {
        self.root().join("usr/share/OVMF/OVMF_VARS_4M.ms.fd")
    }

    /// iPXE for UEFI, on the network driver of the firmware.
    #[must_use]
    pub fn ipxe_uefi(&self) -> PathBuf {
        self.root().join("usr/lib/ipxe/snponly.efi")
    }

    /// iPXE for BIOS, on the network driver of the PXE ROM.
    #[must_use]
    pub fn ipxe_bios(&self) -> PathBuf {
        self.root().join("usr/lib/ipxe/undionly.kpxe")
    }

    /// The first link of the chain under factory keys: signed by Microsoft, trusts what Debian signed.
    #[must_use]
    pub fn shim(&self) -> PathBuf {
        self.root().join("usr/lib/shim/shimx64.efi.signed")
    }

    /// The second link: GRUB for network boot, signed by Debian, starts kernels that Debian signed.
    #[must_use]
    pub fn grub(&self) -> PathBuf {
        self.root().join("usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed")
    }

    /// A firmware package, unpacked by itself: whose a file is decides under which licence it is.
    #[must_use]
    pub fn firmware(&self, package: &str) -> PathBuf {
        self.dir.join("firmware").join(package)
    }

    /// A folder that a test has filled.
    #[cfg(test)]
    pub(crate) fn unpacked(dir: PathBuf, kernel_release: String) -> Packages {
        Packages { architecture: Architecture::Amd64, dir, kernel_release, packages: Vec::new() }
    }

    /// Where the packages are unpacked.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Where the discovery image's programs and their libraries are unpacked.
    pub(crate) fn programs(&self) -> PathBuf {
        self.dir.join(DISCOVERY)
    }

    /// Every file that somebody will ask for; a cache that lacks one is fetched again.
    pub(super) fn complete(&self) -> Result<(), PathBuf> {
        let boot = [self.kernel(), self.modules(), self.stub(), self.boot_loader()];
        let lab = [
            self.ovmf_code(),
            self.ovmf_code_secure_boot(),
            self.ovmf_vars(),
            self.ovmf_vars_microsoft(),
            self.ipxe_uefi(),
            self.ipxe_bios(),
            self.shim(),
            self.grub(),
        ];
        // What serves and tests the other is Debian's for the machine that does it.
        let lab = lab.into_iter().filter(|_| self.architecture == Architecture::Amd64);
        match boot.into_iter().chain(lab).find(|path| !path.exists()) {
            Some(missing) => Err(missing),
            None => Ok(()),
        }
    }
}

//! UEFI on 64-bit ARM: its firmware gets its own image by HTTP, loads it in full and starts it.  The ordinary run builds no
//! discovery image for ARM (`cargo xtask soak --arm64` does), so iPXE for ARM stands for one: that it runs shows in its words
//! and in the requests it sends.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use hil_tests_rack::bench::{Bench, BootMachine, Firmware, Way};
use hil_tests_scenarios::{
    Artefacts,
    boot::{Service, Serving, read},
    run,
};

/// Debian's `qemu-efi-aarch64` puts them there.
const CODE: &str = "/usr/share/AAVMF/AAVMF_CODE.fd";
const VARIABLES: &str = "/usr/share/AAVMF/AAVMF_VARS.fd";

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn arm_firmware_gets_its_own_image() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let folder = artefacts.scratch.join("boot-arm64");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
        }
        let image = artefacts.boot.ipxe_uefi.with_file_name("ipxe-arm64.efi");
        let bench = Bench::start(&folder)?;
        let serving = Serving { mode: "full", uefi_pxe: "uki", image: None, arm64: Some(&image), more: "" };
        let service = Service::start(&folder.join("service"), &serving, &artefacts).await?;
        let firmware = Firmware::Arm64 { code: CODE.into(), variables: VARIABLES.into() };
        ensure!(Path::new(CODE).is_file(), "{CODE} is missing: install qemu-efi-aarch64");
        let machine = BootMachine::new("arm64", 1, firmware, Way::Http);
        let booting = bench.boot(&machine).await?;
        // iPXE ended, for want of a script, and the firmware went on to its shell.
        let line = booting.wait_console("startup.nsh", LIMIT).await;
        let shown = read(&machine, &booting.stop().await)?;
        let line = line.with_context(|| format!("{shown:?}\n{}", service.said()))?;
        eprintln!("arm64 {:.1} s {:?} waits: {:?}", line.at.as_secs_f64(), shown.steps, shown.waits);
        // A kernel for x64 would be of no use to it.
        shown.demand(&[
            "dhcp HTTPClient",
            "HEAD discovery-arm64.efi",
            "GET discovery-arm64.efi",
            "GET autoexec.ipxe",
            "dhcp iPXE",
        ])
    })
}

//! The live appliance as one program: a machine with nothing but a card and firmware gets it from a boot service,
//! by HTTP boot, and by PXE with all of it by TFTP.

use std::time::Duration;

use anyhow::Context as _;
use hil_tests_rack::bench::{Bench, BootMachine, Way};
use hil_tests_scenarios::{
    Artefacts,
    boot::{Service, Serving, ovmf},
    run,
};

use super::{folder, media};

/// A program of this size in an emulated machine's firmware.
const LIMIT: Duration = Duration::from_secs(900);
/// The program, the firmware's copy of it, and what it unpacks.
const MEMORY_MIB: u32 = 4096;

#[test]
#[ignore = "minutes of emulation; `cargo xtask soak --appliance` runs it"]
fn an_appliance_starts_over_the_network() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let dir = folder(&artefacts)?;
        let image = media::image(&artefacts)?.join(image_build::appliance::OVER_NETWORK);
        let bench = Bench::start(&dir.join("bench"))?;
        for (name, way) in [("http", Way::Http), ("tftp", Way::Pxe)] {
            let serving =
                Serving { mode: "full", uefi_pxe: "uki", image: Some(&image), arm64: None, more: "" };
            let service = Service::start(&dir.join(format!("service-{name}")), &serving, &artefacts).await?;
            let mut machine = BootMachine::new(name, 1, ovmf(&artefacts), way);
            machine.memory_mib = MEMORY_MIB;
            let booting = bench.boot(&machine).await?;
            for words in [", from the network", "the state is in memory until the next start", "Scalerforge"]
            {
                let line = booting.wait_console(words, LIMIT).await;
                let line = line.with_context(|| format!("{name}: {}", service.said()))?;
                println!("by {name}: `{words}` after {:.0} s (emulated)", line.at.as_secs_f64());
            }
            booting.stop().await;
            service.stop().await;
        }
        Ok(())
    })
}

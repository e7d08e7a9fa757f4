//! The installer at the screen of the live medium, over the serial line, with nobody's answers on a stick: a drive is
//! taken, wrong words do nothing, the right ones install, and a key restarts into the installed system.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hil_tests_rack::{Guest, Plugged, RAW_SERIAL};
use hil_tests_scenarios::{Artefacts, run};

use super::{LIMIT, folder, machine, media, rack};

const DRIVE_BYTES: u64 = 8 << 30;
/// Between two strokes of a key that a screen which is still being drawn may miss.
const AGAIN: Duration = Duration::from_secs(3);

#[test]
#[ignore = "minutes of emulation; `cargo xtask soak --appliance` runs it"]
fn an_appliance_is_installed_at_its_screen() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let dir = folder(&artefacts)?;
        let image = media::image(&artefacts)?;
        let rack = rack(&dir, &artefacts).await?;
        let drive = dir.join("drive.raw");
        std::fs::File::create(&drive)?.set_len(DRIVE_BYTES)?;
        let media = vec![Plugged::VirtualCd(image.join("appliance.iso")), Plugged::Raw(drive)];
        let mut spec = machine(&artefacts, "screen", media);
        spec.tpm = true;
        let guest = Guest::start(&spec).await?;
        let installed = installs(&guest).await;
        installed.with_context(|| guest.console().tail(80))?;
        guest.stop().await?;
        rack.stop().await;
        Ok(())
    })
}

async fn installs(guest: &Guest) -> anyhow::Result<()> {
    let drive = format!("{RAW_SERIAL}1");
    guest.wait_console("the state is in memory until the next start", LIMIT).await?;
    // The list of drives has its serial; a second `i` means nothing there.
    let end = guest.console().since_power_on() + LIMIT;
    while guest.console().find(&drive).is_none() {
        ensure!(guest.console().since_power_on() < end, "no list of drives");
        guest.types("i").await;
        tokio::time::sleep(AGAIN).await;
    }
    guest.types("\r").await;
    guest.wait_console("type:", LIMIT).await?;
    // Words for another drive: the line stays, nothing begins.
    let words = format!("erase everything on {drive}");
    guest.types(&format!("{words}2\r")).await;
    tokio::time::sleep(AGAIN).await;
    ensure!(guest.console().find("making the state's partition").is_none());
    guest.types("\x7f\r").await;
    // Of "was read back: take the medium out": the screen leaves blanks out that are there already.
    guest.wait_console("back:", LIMIT).await?;
    println!(
        "at the screen: power-on to installed {:.0} s (emulated)",
        guest.console().since_power_on().as_secs_f64()
    );
    guest.types("\r").await;
    // The medium is still in: the firmware starts the drive all the same.
    guest.wait_console("making the state's partition", LIMIT).await?;
    guest.wait_console("sealed to this machine's TPM", LIMIT).await?;
    Ok(())
}

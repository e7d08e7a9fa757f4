//! An appliance's life on a drive, with nobody but who plugs things in: installed from a controller's virtual CD, updated,
//! and reset, each by words on a stick.

use anyhow::{Context as _, ensure};
use hil_tests_rack::{Guest, GuestSpec, Plugged, RAW_SERIAL};
use hil_tests_scenarios::{Artefacts, run};
use image_build::release;

use super::{LIMIT, PAGE, PASSWORD, READY, folder, machine, media, rack, starts};

/// A drive of a server that somebody had before.
const DRIVE_BYTES: u64 = 8 << 30;
const SEALED: &str = "sealed to this machine's TPM";

#[test]
#[ignore = "minutes of emulation; `cargo xtask soak --appliance` runs it"]
fn an_appliance_is_installed_updated_and_reset_by_sticks() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let dir = folder(&artefacts)?;
        let image = media::image(&artefacts)?;
        let rack = rack(&dir, &artefacts).await?;
        let drive = dir.join("drive.raw");
        let content = std::fs::File::create(&drive)?;
        content.set_len(DRIVE_BYTES)?;
        std::os::unix::fs::FileExt::write_all_at(&content, b"\xeb\x52\x90NTFS    somebody's", 0)?;
        let cd = Plugged::VirtualCd(image.join("appliance.iso"));
        let answers = media::stick(&dir, &rack, PASSWORD)?;
        // The drive is the third of the media.
        media::put(&answers, "install", &format!("erase everything on {RAW_SERIAL}2"))?;
        let (answers, drive) = (Plugged::Stick(answers), Plugged::Raw(drive));
        let mut spec = machine(&artefacts, "sticks", vec![cd.clone(), answers.clone(), drive.clone()]);
        spec.tpm = true;
        let took = starts(&spec, &["from a live medium"], "the appliance is in slot a of the drive").await?;
        println!("virtual CD: power-on to installed {took:.0} s (emulated)");
        // Nobody takes the medium out: the firmware starts the drive all the same, which the answers make a site of.
        let took =
            starts(&spec, &["making the state's partition", SEALED, READY, PAGE], "Slot a is good").await?;
        println!("installed: power-on to its first release marked good {took:.0} s (emulated)");
        update(&artefacts, &mut spec, &drive).await?;
        reset(&mut spec, &drive).await?;
        rack.stop().await;
        Ok(())
    })
}

/// The next release from a stick: into the other slot, restarted, marked good by its own page; and still there afterwards.
async fn update(artefacts: &Artefacts, spec: &mut GuestSpec, drive: &Plugged) -> anyhow::Result<()> {
    let next = media::next(artefacts)?;
    let described = release::Release::parse(&std::fs::read(next.join(release::FILE))?)?;
    let names = described.parts.iter().map(|part| part.file.as_str());
    let files: Vec<_> =
        names.chain([release::FILE, image_seal::release::FILE]).map(|name| next.join(name)).collect();
    let stick = spec.folder.with_extension("next.img");
    media::next_stick(&stick, &files)?;
    let version = media::next_version();
    let words = format!("restart into {version}");
    spec.media = vec![drive.clone(), Plugged::Stick(stick.clone())];
    // Without the words it says what it would do.
    starts(spec, &[PAGE], &format!("--permit \"{words}\"")).await?;
    media::put(&stick, "permit", &words)?;
    let guest = Guest::start(spec).await?;
    let all = async {
        guest.wait_console(&format!("Slot b holds scalerforge-appliance {version}"), LIMIT).await?;
        guest.wait_console(&format!("scalerforge-appliance {version}"), LIMIT).await?;
        guest.wait_console("Slot b is good", LIMIT).await
    };
    all.await.with_context(|| guest.console().tail(60))?;
    guest.stop().await?;
    std::fs::remove_file(&stick)?;
    spec.media = vec![drive.clone()];
    // The plug was pulled between the mark and the floor: the next start makes up for it.
    let said = [&format!("scalerforge-appliance {version}"), SEALED, PAGE];
    starts(spec, &said, "The rollback floor is 1.").await?;
    Ok(())
}

/// Everything that it remembers is gone by the typed name of its site, and a first run follows.
async fn reset(spec: &mut GuestSpec, drive: &Plugged) -> anyhow::Result<()> {
    let stick = spec.folder.with_extension("reset.img");
    media::next_stick(&stick, &[])?;
    media::put(&stick, "reset", "erase everything of from-image")?;
    spec.media = vec![drive.clone(), Plugged::Stick(stick)];
    let said = ["The key of what this appliance remembered is erased", "The next start is a first run"];
    starts(spec, &said, said[1]).await?;
    spec.media = vec![drive.clone()];
    let guest = Guest::start(spec).await?;
    let again = guest.wait_console("making the state's partition", LIMIT).await;
    again.with_context(|| guest.console().tail(60))?;
    guest.wait_console(SEALED, LIMIT).await?;
    ensure!(!guest.console().lines().iter().any(|line| line.text.contains(PAGE)), "the site is still there");
    guest.stop().await?;
    Ok(())
}

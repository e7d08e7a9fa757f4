//! `scalerforge site take-answers`: `first-run.toml` from the boot volume (ESP) of the medium that this machine was started
//! from.  The drive is only read, by our own code: nothing is mounted, and no other drive is looked at.

use std::{
    fs::{self, DirBuilder, File},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use appliance_console::{Level, Line};
use appliance_first_run::SHEET_BYTES_MAX;
use clap::Args;
use image_agent::block::Block;
use image_slots::{Device, Span, fat::Volume, gpt};

use crate::{said, say};

/// What the file is called, in the volume's first folder.
pub(crate) const NAME: &str = "first-run.toml";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder that the file is copied into; it is made, for its owner alone.
    #[arg(long)]
    to: PathBuf,
    /// What the start program said of this start.
    #[arg(long, default_value = "/run/scalerforge/started")]
    started: PathBuf,
    /// Where drives are.
    #[arg(long, default_value = "/dev")]
    dev: PathBuf,
    /// Where what is wrong is left for this machine's screen.
    #[arg(long, default_value = said::SAID)]
    said: PathBuf,
}

/// Exit status 1: there is no such file, which is how most machines start.
pub(crate) fn take(options: &Options) -> anyhow::Result<ExitCode> {
    let found = look(options);
    let lines = match &found {
        Ok(_) => Vec::new(),
        Err(error) => {
            let text = format!(
                "{NAME} on the start medium was not taken: {}. The first run can be answered here or in a browser",
                appliance_server::chain_of(error.as_ref())
            );
            vec![Line { level: Level::Bad, text }]
        }
    };
    said::on_screen(&options.said, "medium", &lines);
    let Some(bytes) = found? else { return Ok(ExitCode::from(1)) };
    let to = options.to.join(NAME);
    DirBuilder::new().recursive(true).mode(0o700).create(&options.to).context("cannot make the folder")?;
    let opened = File::options().write(true).create(true).truncate(true).mode(0o600).open(&to);
    opened
        .and_then(|mut file| file.write_all(&bytes))
        .with_context(|| format!("cannot write {}", to.display()))?;
    say!("{NAME} was taken from the medium that this machine was started from.");
    Ok(ExitCode::SUCCESS)
}

fn look(options: &Options) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(drive) = drive(&options.started) else { return Ok(None) };
    let path = options.dev.join(&drive);
    let mut block =
        Block::look_at(Path::new("/sys"), &path).with_context(|| format!("{drive} cannot be read"))?;
    answers(&mut block).with_context(|| format!("on {drive}"))
}

/// The drive that the system came from, as its start program said it.
fn drive(started: &Path) -> Option<String> {
    let text = fs::read_to_string(started).ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("DRIVE="))?;
    // A name, never a path.
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned())
}

/// The file on a drive's boot volume; nothing where there is no volume that we read, or no such file on it.
fn answers(device: &mut dyn Device) -> anyhow::Result<Option<Vec<u8>>> {
    let gpt::Table::Partitions(found) = gpt::read(device).context("its table cannot be read")? else {
        return Ok(None);
    };
    let Some(esp) = found.into_iter().find(|part| part.kind == gpt::ESP) else { return Ok(None) };
    let mut span = Span::new(device, esp.start, esp.bytes).context("its boot volume")?;
    let Ok(volume) = Volume::open(&mut span) else { return Ok(None) };
    let root = volume.folder(&mut span, &[])?;
    let file = volume.list(&mut span, root)?.into_iter().find(|file| !file.folder && file.is(NAME));
    let Some(file) = file else { return Ok(None) };
    // Before it is read: what is said of a size on a medium is anybody's word.
    if usize::try_from(file.bytes).unwrap_or(usize::MAX) > SHEET_BYTES_MAX {
        bail!(
            "{NAME} has {} bytes, and no file of answers has more than {SHEET_BYTES_MAX}; put the right one there",
            file.bytes
        );
    }
    Ok(Some(volume.read(&mut span, &file)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A drive in a file, as `image build-appliance` lays one out, with this on its boot volume.
    fn medium(dir: &Path, content: Option<&[u8]>) -> PathBuf {
        let path = dir.join("sdx");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        drop(file);
        let mut block = Block::open(Path::new("/sys"), &path).unwrap();
        let (start, bytes) = (1 << 20, 32 << 20);
        let esp = gpt::Partition {
            number: 1,
            kind: gpt::ESP,
            id: gpt::Guid([1; 16]),
            name: "esp".into(),
            start,
            bytes,
        };
        gpt::write(&mut block, gpt::Guid([2; 16]), &[esp]).unwrap();
        let mut span = Span::new(&mut block, start, bytes).unwrap();
        let options = fatfs::FormatVolumeOptions::new();
        fatfs::format_volume(span.stream(), options).unwrap();
        let files = fatfs::FileSystem::new(span.stream(), fatfs::FsOptions::new()).unwrap();
        files.root_dir().create_dir("EFI").unwrap();
        if let Some(content) = content {
            files.root_dir().create_file("First-Run.TOML").unwrap().write_all(content).unwrap();
        }
        files.unmount().unwrap();
        path
    }

    fn options(dir: &Path) -> Options {
        Options {
            to: dir.join("to"),
            started: dir.join("started"),
            dev: dir.to_owned(),
            said: dir.join("said"),
        }
    }

    #[test]
    fn answers_are_taken_from_the_start_mediums_boot_volume() {
        let room = tempfile::tempdir().unwrap();
        let dir = room.path();
        assert_eq!(
            take(&options(dir)).unwrap(),
            ExitCode::from(1),
            "nobody said where this was started from"
        );
        fs::write(dir.join("started"), "DRIVE=sdx\nPARTITION=live\n").unwrap();
        medium(dir, None);
        assert_eq!(take(&options(dir)).unwrap(), ExitCode::from(1), "most media have none");
        let before = fs::read(medium(dir, Some(b"[site]\nname = \"rack-7\"\n"))).unwrap();
        assert_eq!(take(&options(dir)).unwrap(), ExitCode::SUCCESS);
        assert_eq!(fs::read(dir.join("to").join(NAME)).unwrap(), b"[site]\nname = \"rack-7\"\n");
        assert_eq!(fs::read(dir.join("sdx")).unwrap(), before, "the medium is only read");
        assert_eq!(said::read(&dir.join("said")), []);
    }

    #[test]
    fn a_file_that_is_none_is_said_on_the_screen_and_not_taken() {
        let room = tempfile::tempdir().unwrap();
        let dir = room.path();
        fs::write(dir.join("started"), "DRIVE=sdx\n").unwrap();
        medium(dir, Some(&vec![b'#'; SHEET_BYTES_MAX + 1]));
        assert!(take(&options(dir)).is_err());
        let said = said::read(&dir.join("said"));
        assert!(said[0].level == Level::Bad && said[0].text.contains("65537 bytes"), "{said:?}");
        assert!(!dir.join("to").join(NAME).exists());
        // Noise where a volume should be, and a drive's name that is a path.
        fs::write(dir.join("sdx"), vec![0x55; 1 << 20]).unwrap();
        assert_eq!(take(&options(dir)).unwrap(), ExitCode::from(1));
        fs::write(dir.join("started"), "DRIVE=../sdx\n").unwrap();
        assert_eq!(drive(&dir.join("started")), None);
    }
}

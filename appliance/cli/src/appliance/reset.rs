//! `scalerforge appliance reset`: an installed appliance as it came from its maker: what it remembers is made unreadable by
//! erasing its key, and the next start makes a new place and asks the first run.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use appliance_console::{Level, Line};
use appliance_first_run::SITE_FILE;
use clap::Args;
use image_agent::{residence, system::Leave};
use image_slots::forget::{self, Kept};

use super::{Here, typed};
use crate::{said, say};

/// Between two looks at whether nobody writes any more.
const LOOK: Duration = Duration::from_secs(1);
/// A disk that is busy needs some seconds.
const LOOKS_MAX: u32 = 30;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The site directory, whose site's name is typed.
    #[arg(long, default_value = "/var/lib/scalerforge")]
    site: PathBuf,
    /// Do it: the words "erase everything of NAME", typed.
    #[arg(long, value_name = "WORDS")]
    permit: Option<String>,
    /// A file whose first line is these words; nothing happens where it is not there.
    #[arg(long, value_name = "FILE", conflicts_with = "permit")]
    permit_file: Option<PathBuf>,
    /// Erase, and leave the restart to somebody else.
    #[arg(long)]
    later: bool,
    /// Where what went wrong is left for this machine's screen.
    #[arg(long, default_value = said::SAID)]
    said: PathBuf,
    #[command(flatten)]
    here: Here,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let permit = match &options.permit_file {
        Some(file) => match typed(file)? {
            None => return Ok(ExitCode::SUCCESS),
            words => words,
        },
        None => options.permit.clone(),
    };
    let done = erase(options, permit.as_deref());
    if let Err(error) = &done {
        let text = format!("no factory reset: {}", appliance_server::chain_of(error.as_ref()));
        said::on_screen(&options.said, "reset", &[Line { level: Level::Bad, text }]);
    }
    match done? {
        Kept::Nothing => say!("There was nothing that this appliance remembers on its drive."),
        Kept::Sealed => {
            say!("The key of what this appliance remembered is erased: nobody reads it any more.")
        }
        Kept::Clear => {
            say!(
                "What this appliance remembered in clear is overwritten; flash may keep copies: destroy a drive that leaves the house."
            );
        }
    }
    say!(
        "The next start is a first run. A first-run.toml on the start medium or a stick would be taken again."
    );
    if !options.later {
        residence::leave_installed(Leave::Reboot);
    }
    Ok(ExitCode::SUCCESS)
}

fn erase(options: &Options, permit: Option<&str>) -> anyhow::Result<Kept> {
    let running = options.here.installed()?;
    let words = format!("erase everything of {}", name(&options.site));
    if permit != Some(words.as_str()) {
        bail!(
            "everything that this appliance remembers would be gone: its site, its keys, passwords of controllers that it \
             changed (`scalerforge site backup` keeps them); if that is meant, type --permit \"{words}\": nothing was changed"
        );
    }
    let _alone = options.here.alone()?;
    quiet(&options.here.root.join("proc"), &options.site)?;
    let mut drive = options.here.drive(&running)?;
    forget::forget(&mut drive).with_context(|| format!("drive {} could not be erased", running.drive))
}

/// Sees that nobody writes to what is erased: a file system that is left later would write its own state back.
///
/// All file systems on drives become read-only (the kernel's SysRq `u`), which a restart alone undoes.
fn quiet(proc: &Path, site: &Path) -> anyhow::Result<()> {
    for look in 0..LOOKS_MAX {
        let mounts = std::fs::read_to_string(proc.join("mounts")).unwrap_or_default();
        if !written_to(&mounts, site) {
            return Ok(());
        }
        if look == 0 {
            std::fs::write(proc.join("sysrq-trigger"), "u")
                .context("what this appliance remembers could not be made read-only: nothing was erased")?;
        }
        thread::sleep(LOOK);
    }
    bail!(
        "what this appliance remembers is still written to {} s after it was to be read-only: nothing was erased; restart the \
         machine and try again",
        LOOK.as_secs() * u64::from(LOOKS_MAX)
    )
}

/// Whether a file system on a drive is mounted there for writing, as /proc/mounts says it (proc(5)).
fn written_to(mounts: &str, site: &Path) -> bool {
    let site = site.to_string_lossy();
    mounts.lines().any(|line| {
        let mut words = line.split(' ');
        let (device, at) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let options = words.nth(1).unwrap_or_default();
        device.starts_with("/dev/") && at == site && options.split(',').any(|option| option == "rw")
    })
}

/// The site's name; `no site` before the first run, or where its file does not tell.
fn name(site: &Path) -> String {
    let text = std::fs::read_to_string(site.join(SITE_FILE)).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    let name = table.get("site").and_then(|site| site.get("name")).and_then(toml::Value::as_str);
    name.unwrap_or("no site").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_drive_that_is_written_to_is_waited_for() {
        let site = Path::new("/var/lib/scalerforge");
        for (line, expected) in [
            ("/dev/mapper/scalerforge-state /var/lib/scalerforge ext4 rw,nosuid,nodev 0 0", true),
            ("/dev/vda6 /var/lib/scalerforge ext4 ro,nosuid 0 0", false),
            ("tmpfs /var/lib/scalerforge tmpfs rw,nosuid 0 0", false),
            ("/dev/vda6 /var/lib/scalerforge/x ext4 rw 0 0", false),
            ("", false),
        ] {
            assert_eq!(written_to(&format!("proc /proc proc rw 0 0\n{line}\n"), site), expected, "{line}");
        }
        let proc = tempfile::tempdir().unwrap();
        assert!(quiet(proc.path(), site).is_ok(), "nothing is mounted there");
        std::fs::write(proc.path().join("mounts"), "/dev/vda6 /var/lib/scalerforge ext4 rw 0 0\n").unwrap();
        std::fs::create_dir(proc.path().join("sysrq-trigger")).unwrap();
        let why = quiet(proc.path(), site).unwrap_err().to_string();
        assert!(why.contains("nothing was erased"), "{why}");
    }
}

//! `scalerforge appliance`: the installed appliance's own system on its own drive: what both slots hold, its update, the
//! way back, and whether a new system is good.
//!
//! What is written in which order, what may follow what and when a system is good is decided by `image-slots`; here are
//! the files, the drive, the TPM and the words.  Read next: `appliance/update.rs`, `appliance/check.rs`.

mod check;
pub(crate) mod install;
mod reset;
mod update;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use appliance_console::{Level, Line};
use attest_tpm::{Tpm, floor};
use clap::{Args, Subcommand};
use image_agent::{block::Block, residence::Running};
use image_slots::install::{SlotState, overview};
use serde::Serialize;

use crate::{host::print, said, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Put the live medium's system onto a drive of this machine, and restart from it.
    Install(install::Options),
    /// What runs, what both slots hold, and tries left.
    Status(Status),
    /// Put a signed release into the slot that does not run, and restart into it.
    Update(update::Options),
    /// Restart into the other slot's system.
    Back(update::Back),
    /// Factory reset of an installed appliance: the key of what it remembers is erased, and it restarts into a first run.
    Reset(reset::Options),
    /// Whether the system that runs is good: its page answers, its database opens.
    Check(check::Options),
}

/// The machine.
#[derive(Debug, Clone, Args)]
pub(crate) struct Here {
    /// Where run, proc, sys and dev are.
    #[arg(long, default_value = "/")]
    root: PathBuf,
}

/// Who learns what came of a change of the drive, and what follows.
#[derive(Debug, Args)]
pub(crate) struct Ending {
    /// Write it, and leave the restart to somebody else.
    #[arg(long)]
    later: bool,
    /// Show what came of it on this machine's own screen, too.
    #[arg(long)]
    on_screen: bool,
    /// Where that is left for the screen.
    #[arg(long, default_value = said::SAID)]
    said: PathBuf,
}

impl Ending {
    /// Leaves this on the screen, if it is wanted there.
    fn show(&self, subject: &str, level: Level, text: String) {
        if self.on_screen {
            said::on_screen(&self.said, subject, &[Line { level, text }]);
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    here: Here,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(verb: &Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Install(options) => install::run(options),
        Verb::Status(options) => status(options),
        Verb::Update(options) => update::run(options),
        Verb::Back(options) => update::back(options),
        Verb::Reset(options) => reset::run(options),
        Verb::Check(options) => check::run(options),
    }
}

impl Here {
    /// The installed appliance that runs, or why there is none that could be changed.
    fn installed(&self) -> anyhow::Result<Running> {
        if self.is_live() {
            bail!(
                "this appliance runs from a live medium, which cannot be changed: start from the new release's appliance.iso \
                 instead, or put it onto a disk by `scalerforge appliance install` or as its appliance.raw; `scalerforge site \
                 backup` takes the site along"
            );
        }
        let running = Running::read(&self.root).ok_or_else(|| {
            anyhow!(
                "no installed appliance runs here: only a system that was started from appliance.raw or appliance.qcow2 has \
                 two slots; a program beside somebody else's system is updated as that system's programs are"
            )
        })?;
        if running.release.name != image_build::appliance::RELEASE {
            bail!(
                "{} runs here, and is updated by its appliance: `scalerforge host update` there",
                running.release.name
            );
        }
        Ok(running)
    }

    /// This machine.
    pub(crate) fn own() -> Self {
        Self { root: PathBuf::from("/") }
    }

    /// Whether it was started from a live medium.
    pub(crate) fn is_live(&self) -> bool {
        self.said().join("live").exists()
    }

    /// Where the start program leaves what it knows.
    fn said(&self) -> PathBuf {
        self.root.join("run/scalerforge")
    }

    fn drive(&self, running: &Running) -> anyhow::Result<Block> {
        running.block(&self.root).map_err(|why| anyhow!(why))
    }

    /// The TPM, where there is one that answers: an appliance goes on without.
    fn tpm(&self) -> Option<Tpm> {
        Tpm::open(&self.root.join("dev/tpmrm0")).ok()
    }

    /// The floor below which no system is started here.
    fn floor(&self) -> anyhow::Result<Option<u32>> {
        let Some(mut tpm) = self.tpm() else { return Ok(None) };
        floor::read(&mut tpm).context("the TPM's rollback floor cannot be read")
    }

    /// Kept while the drive is changed: two changes at once would be none.
    fn alone(&self) -> anyhow::Result<File> {
        let path = self.said().join("update.lock");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        if file.try_lock().is_err() {
            bail!(
                "another `scalerforge appliance` changes this machine's drive; wait for its end: nothing was changed"
            );
        }
        Ok(file)
    }
}

/// What `status` prints.
#[derive(Debug, Serialize)]
struct View {
    name: String,
    version: String,
    epoch: u32,
    root_hash: String,
    drive: String,
    floor: Option<u32>,
    slots: Vec<SlotView>,
}

#[derive(Debug, Serialize)]
struct SlotView {
    slot: String,
    running: bool,
    release: Option<String>,
    tries_left: Option<u8>,
    state: &'static str,
}

impl SlotView {
    fn of(state: &SlotState) -> Self {
        let words = match (&state.release, state.tries_left) {
            (None, _) => "empty",
            (Some(_), None) => "good",
            (Some(_), Some(0)) => "tried in vain",
            (Some(_), Some(_)) => "on trial",
        };
        Self {
            slot: state.slot.to_string(),
            running: state.running,
            release: state.release.clone(),
            tries_left: state.tries_left,
            state: words,
        }
    }
}

fn status(options: &Status) -> anyhow::Result<ExitCode> {
    let Status { here, json } = options;
    let running = here.installed()?;
    let mut drive = here.drive(&running)?;
    let slots = overview(&mut drive, &running.release.root_hash.0)
        .with_context(|| format!("drive {}", running.drive))?;
    let release = running.release;
    let view = View {
        name: release.name,
        version: release.version,
        epoch: release.epoch,
        root_hash: release.root_hash.to_string(),
        drive: running.drive,
        floor: here.floor()?,
        slots: slots.iter().map(SlotView::of).collect(),
    };
    if *json {
        print(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!(
        "{} {} (epoch {}, root {:.16}) from drive {}",
        view.name,
        view.version,
        view.epoch,
        view.root_hash,
        view.drive
    );
    match view.floor {
        Some(floor) => say!("rollback floor {floor}"),
        None => say!("no rollback floor"),
    }
    for slot in &view.slots {
        let tries = match slot.tries_left {
            Some(left) => format!(", {left} tries left"),
            None => String::new(),
        };
        let release = slot.release.as_deref().unwrap_or("-");
        let here = if slot.running { ", runs" } else { "" };
        say!("slot {}  {release}  {}{tries}{here}", slot.slot, slot.state);
    }
    Ok(ExitCode::SUCCESS)
}

/// The first line of a file of typed words; nothing where there is no such file.  A file that is empty says no words: they
/// are as wrong as any others, and whoever needs some says which.
fn typed(file: &Path) -> anyhow::Result<Option<String>> {
    use std::io::Read as _;
    let opened = match File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let mut text = String::new();
    opened
        .take(1 << 10)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Some(text.lines().next().unwrap_or_default().trim().to_owned()))
}

/// A file that has no more bytes than this.
fn bounded(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let opened = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    opened
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= bytes_max) {
        return Ok(bytes);
    }
    bail!("{} has more than {bytes_max} bytes, and no such file has", path.display())
}

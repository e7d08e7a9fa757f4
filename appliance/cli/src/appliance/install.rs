//! `scalerforge appliance install`: the system of the live medium that runs here, put onto a drive of this machine.
//!
//! The medium is read to its end, through its hash tree, before anything is erased; what is written in which order is
//! `image-slots`'s.  Words name the drive.  A file of words, which a stick may carry into many machines and leave there,
//! erases no installed system: that needs a person.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use appliance_console::{Level, Target};
use appliance_model::inventory::Inventory;
use clap::Args;
use firmware_checks_probe as probe;
use image_agent::{
    block::Block,
    install::{alone, boot_option},
    lacks::{self, DriveSeen},
    residence::{self, Running},
    system::Leave,
};
use image_slots::{
    Device, Span,
    fat::Volume,
    gpt::{self, Guid, Layout, Partition, Places, Table},
    install::{self, Done, Large, Piece, Sink, System},
    verity,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Ending, Here, typed};
use crate::{host::print, say};

/// Read, hashed and written at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The kernel image on a medium, which is also where firmware looks for it.
const UKI: [&str; 3] = ["EFI", "BOOT", "BOOTX64.EFI"];
/// The boot loader, as the hosts that an appliance serves get it.
const LOADER: &str = "usr/lib/scalerforge/host/loader.efi";
const LOADER_BYTES_MAX: u64 = 4 << 20;
/// What the firmware's menu calls it.
const CALLED: &str = "Scalerforge appliance";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The drive, by its serial, or by its name where it tells none; absent: the drives are listed.
    drive: Option<String>,
    /// Do it: the words "erase everything on DRIVE", typed.
    #[arg(long, value_name = "WORDS", requires = "drive")]
    permit: Option<String>,
    /// A file whose first line is these words, where there is nobody to type them: a stick.  Nothing happens where it is
    /// not there.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["permit", "drive"])]
    permit_file: Option<PathBuf>,
    /// Print the list as JSON.
    #[arg(long, conflicts_with_all = ["drive", "permit_file"])]
    json: bool,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    here: Here,
}

/// A drive of this machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Candidate {
    /// Kernel name.
    name: String,
    /// Its serial, or its name where it tells none: what is typed.
    drive: String,
    /// Size in bytes.
    bytes: u64,
    /// What is on it.
    holds: Vec<String>,
    /// Why nothing can be installed on it.
    why_not: Option<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let here = &options.here;
    let words = match &options.permit_file {
        Some(file) => match typed(file)? {
            None => return Ok(ExitCode::SUCCESS),
            words => words,
        },
        None => options.permit.clone(),
    };
    if words.is_none() {
        return list(options);
    }
    let by_file = options.permit_file.is_some();
    let mut tell = |words: &str| say!("{words}");
    let done = chosen(here, options.drive.as_deref(), &words.unwrap_or_default(), by_file)
        .and_then(|candidate| put(here, &candidate, &mut tell));
    let (level, text) = match &done {
        Ok(done) => (Level::Good, written(done)),
        Err(error) => {
            (Level::Bad, format!("nothing was installed: {}", appliance_server::chain_of(error.as_ref())))
        }
    };
    options.ending.show("install", level, text);
    say!("{}", written(&done?));
    if !options.ending.later {
        residence::leave_installed(Leave::Reboot);
    }
    Ok(ExitCode::SUCCESS)
}

fn written(done: &Done) -> String {
    format!(
        "the appliance is in slot {} of the drive, and was read back: take the medium out; the machine restarts from its drive",
        done.slot
    )
}

fn list(options: &Options) -> anyhow::Result<ExitCode> {
    let here = &options.here;
    let running = live(here)?;
    let all = candidates(here, &running);
    if options.json {
        print(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    let named = options.drive.as_deref();
    let shown: Vec<&Candidate> =
        all.iter().filter(|one| named.is_none_or(|named| one.is_called(named))).collect();
    if shown.is_empty() {
        bail!("no such drive in this machine: fit one, or switch its controller on in the firmware's setup");
    }
    for one in shown {
        say!("{:<24} {:<10} {:>8} MiB  {}", one.drive, one.name, one.bytes >> 20, one.about());
        if named.is_some() && one.why_not.is_none() {
            say!(
                "\n{} {} would be put onto it, and this machine restarted from it. A site made on this live system is not taken \
                 along (`scalerforge site backup`).\nTo do this:  scalerforge appliance install {} --permit \"{}\"",
                running.release.name,
                running.release.version,
                one.drive,
                one.words()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Candidate {
    fn is_called(&self, name: &str) -> bool {
        self.drive == name || self.name == name
    }

    /// What allows it.
    fn words(&self) -> String {
        format!("erase everything on {}", self.drive)
    }

    fn about(&self) -> String {
        match &self.why_not {
            Some(why) => why.clone(),
            None if self.holds.is_empty() => "blank".to_owned(),
            None => lacks::holding(&self.holds),
        }
    }
}

/// The drives as the screen shows them.
pub(crate) fn targets(here: &Here) -> anyhow::Result<Vec<Target>> {
    let running = live(here)?;
    let target = |one: Candidate| Target {
        what: format!("{} ({} MiB): {}", one.name, one.bytes >> 20, one.about()),
        words: one.words(),
        possible: one.why_not.is_none(),
        called: one.drive,
    };
    Ok(candidates(here, &running).into_iter().map(target).collect())
}

/// Installs by words that were typed at the screen.
pub(crate) fn at_the_screen(here: &Here, words: &str, tell: &mut dyn FnMut(&str)) -> anyhow::Result<String> {
    let candidate = chosen(here, None, words, false)?;
    put(here, &candidate, tell).map(|done| written(&done))
}

/// The system that runs, if it is a live medium's.
fn live(here: &Here) -> anyhow::Result<Running> {
    if !here.is_live() {
        bail!(
            "this machine was not started from a live medium of the appliance: start it from appliance.iso; an installed \
             appliance is changed by `scalerforge appliance update`"
        );
    }
    let running = Running::read(&here.root);
    let running =
        running.ok_or_else(|| anyhow!("the start program left no word of what runs here; start again"))?;
    if running.release.name != image_build::appliance::RELEASE {
        bail!("{} runs here, which is no appliance: nothing is installed from it", running.release.name);
    }
    Ok(running)
}

/// Every drive but the medium itself.
fn candidates(here: &Here, running: &Running) -> Vec<Candidate> {
    let inventory = probe::probe(&here.root);
    let seen = lacks::drives(&here.root).into_iter().filter(|seen| seen.name != running.drive);
    seen.map(|seen| candidate(seen, &inventory)).collect()
}

fn candidate(seen: DriveSeen, inventory: &Inventory) -> Candidate {
    let known = inventory.drives.iter().find(|drive| drive.name.as_deref() == Some(&seen.name));
    let serial = known.and_then(|drive| drive.serial.as_ref()).map(|serial| serial.as_str().to_owned());
    let drive = serial.unwrap_or_else(|| seen.name.clone());
    let needs = Layout::APPLIANCE.drive_min;
    let (holds, unread) = match seen.holds {
        Ok(holds) => (holds, None),
        Err(why) => (Vec::new(), Some(format!("cannot be read ({why}): look at its cable and health"))),
    };
    let small = format!("too small: an appliance needs {} MiB", needs >> 20);
    let why_not = unread.or((seen.bytes < needs).then_some(small));
    Candidate { name: seen.name, drive, bytes: seen.bytes, holds, why_not }
}

/// The one drive that the words name.
fn chosen(here: &Here, drive: Option<&str>, words: &str, by_file: bool) -> anyhow::Result<Candidate> {
    let running = live(here)?;
    let all = candidates(here, &running);
    let named: Vec<&Candidate> = all
        .iter()
        .filter(|one| one.words() == words && drive.is_none_or(|drive| one.is_called(drive)))
        .collect();
    let one = match named.as_slice() {
        [one] => (*one).clone(),
        [] => {
            let asked: Vec<String> = all
                .iter()
                .filter(|one| drive.is_none_or(|drive| one.is_called(drive)))
                .map(|one| {
                    format!("\"{}\" ({}, {} MiB, {})", one.words(), one.name, one.bytes >> 20, one.about())
                })
                .collect();
            let offered =
                if asked.is_empty() { "there is no such drive".to_owned() } else { asked.join("; ") };
            if by_file && words.is_empty() {
                bail!(
                    "nothing was written: the file of words is empty; its first line is to be the words that name a drive of \
                     this machine: {offered}"
                );
            }
            bail!("nothing was written: the words are to name a drive of this machine: {offered}");
        }
        _ => bail!("nothing was written: two drives are called {}; take one of them out", named[0].drive),
    };
    if let Some(why) = &one.why_not {
        bail!("drive {}: {why}: nothing was written", one.drive);
    }
    if by_file && holds_a_system(here, &one.name) {
        bail!(
            "drive {} holds an installed system already, and a file of words erases none: take the medium out and restart, or \
             type the words at this machine's screen (key i)",
            one.drive
        );
    }
    Ok(one)
}

fn holds_a_system(here: &Here, name: &str) -> bool {
    let opened = Block::look_at(&here.root.join("sys"), &here.root.join("dev").join(name));
    let table = opened.and_then(|mut block| gpt::read(&mut block));
    matches!(table, Ok(Table::Partitions(found)) if Places::among(&found).is_some())
}

/// Puts it there.
fn put(here: &Here, to: &Candidate, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Done> {
    let running = live(here)?;
    let _lock = here.alone()?;
    let path = here.root.join("dev").join(&to.name);
    // Held to the end: nobody mounts it meanwhile.
    let _held = alone(&here.root, &to.name).map_err(|why| anyhow!("{why}: nothing was written"))?;
    let loader = super::bounded(&here.root.join(LOADER), LOADER_BYTES_MAX)?;
    let mut medium = Medium::open(here, &running).context("the medium that this machine was started from")?;
    let whole = medium.whole().context("the medium that this machine was started from")?;
    let mut block = Block::open(&here.root.join("sys"), &path)
        .with_context(|| format!("drive {} could not be opened", to.drive))?;
    let done = medium.onto(&mut block, &whole, &loader, to, tell);
    let done = done.with_context(|| format!("drive {}", to.drive))?;
    if let Err(error) = boot_option(&here.root, &done, CALLED) {
        tell(&format!(
            "the firmware took no boot option ({error}): if the machine does not start from the drive, choose it in its setup"
        ));
    }
    Ok(done)
}

/// A live medium: one volume with the kernel image, the root, and its hash tree.
struct Medium {
    block: Block,
    root_hash: [u8; 32],
    uki: Vec<u8>,
    root: Partition,
    hashes: Partition,
}

/// What was read of it, to its end.
struct Whole {
    root: Piece,
    hashes: Piece,
}

impl Medium {
    fn open(here: &Here, running: &Running) -> anyhow::Result<Self> {
        let root_hash = running.release.root_hash.0;
        let path = here.root.join("dev").join(&running.drive);
        let mut block = Block::look_at(&here.root.join("sys"), &path)
            .with_context(|| format!("{} cannot be read", running.drive))?;
        let Table::Partitions(found) = gpt::read(&mut block).context("its table cannot be read")? else {
            bail!("{} has no table of ours: is the medium still in?", running.drive);
        };
        let part = |wanted: &dyn Fn(&Partition) -> bool, what: &str| {
            let part = found.iter().find(|part| wanted(part)).cloned();
            part.ok_or_else(|| anyhow!("{} has no {what}: write the medium again", running.drive))
        };
        // Identities are the halves of the root hash, which the signed command line has.
        let [of_root, of_hashes] = [0, 16].map(|from| identity(&root_hash, from));
        let root = part(&|part| part.id == of_root, "root of this system")?;
        let hashes = part(&|part| part.id == of_hashes, "hash tree of this system")?;
        let esp = part(&|part| part.kind == gpt::ESP, "boot volume")?;
        let uki = uki(&mut block, &esp).context("its kernel image")?;
        Ok(Self { block, root_hash, uki, root, hashes })
    }

    /// Reads all of it through its hash tree: a medium that fails half-way costs no drive.
    fn whole(&mut self) -> anyhow::Result<Whole> {
        let mut tree = vec![0; usize::try_from(self.hashes.bytes)?];
        self.span(Large::Verity)?.read(0, &mut tree).context("its hash tree")?;
        let found = verity::read_back(&mut self.span(Large::Root)?, &tree).context("its root")?;
        if found != Some(self.root_hash) {
            bail!("what is on it is not what runs: the medium is damaged, write it again");
        }
        Ok(Whole { root: self.piece(Large::Root)?, hashes: self.piece(Large::Verity)? })
    }

    fn span(&mut self, part: Large) -> io::Result<Span<'_>> {
        let place = if part == Large::Root { &self.root } else { &self.hashes };
        Span::new(&mut self.block, place.start, place.bytes)
    }

    fn piece(&mut self, part: Large) -> io::Result<Piece> {
        let (mut sum, mut bytes) = (Sha256::new(), 0_u64);
        self.chunks(part, &mut |chunk| {
            sum.update(chunk);
            bytes += u64::try_from(chunk.len()).map_err(io::Error::other)?;
            Ok(())
        })?;
        Ok(Piece { bytes, sha256: sum.finalize().into() })
    }

    fn chunks(&mut self, part: Large, take: Sink<'_>) -> io::Result<()> {
        let mut span = self.span(part)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = 0_u64;
        while at < span.bytes() {
            let left = usize::try_from(span.bytes() - at).unwrap_or(CHUNK_BYTES);
            let chunk = buffer.get_mut(..left.min(CHUNK_BYTES)).unwrap_or_default();
            span.read(at, chunk)?;
            take(chunk)?;
            at += u64::try_from(chunk.len()).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn onto(
        &mut self,
        drive: &mut dyn Device,
        whole: &Whole,
        loader: &[u8],
        to: &Candidate,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Done, install::Error> {
        let total = whole.root.bytes.saturating_add(whole.hashes.bytes).max(1);
        let (uki, root_hash) = (std::mem::take(&mut self.uki), self.root_hash);
        let (mut written, mut told) = (0_u64, 0);
        let mut fetch = |part: Large, sink: Sink<'_>| {
            self.chunks(part, &mut |chunk| {
                sink(chunk)?;
                written = written.saturating_add(u64::try_from(chunk.len()).unwrap_or(0));
                let tenths = written.saturating_mul(10) / total;
                if tenths > told {
                    told = tenths;
                    tell(&format!("{} of {} MiB written", written >> 20, total >> 20));
                }
                Ok(())
            })
        };
        let mut system = System {
            root_hash,
            loader,
            uki: &uki,
            root: whole.root,
            verity: whole.hashes,
            fetch: &mut fetch,
        };
        install::fresh(drive, Layout::APPLIANCE, to.drive.as_bytes(), &mut system)
    }
}

fn identity(root_hash: &[u8; 32], from: usize) -> Guid {
    let mut id = [0; 16];
    id.iter_mut().zip(root_hash.iter().skip(from)).for_each(|(to, from)| *to = *from);
    Guid(id)
}

/// The kernel image on a boot volume.
fn uki(block: &mut Block, esp: &Partition) -> anyhow::Result<Vec<u8>> {
    let mut span = Span::new(block, esp.start, esp.bytes)?;
    let volume = Volume::open(&mut span)?;
    let [folders @ .., name] = UKI;
    let folder = volume.folder(&mut span, &folders)?;
    let file = volume.list(&mut span, folder)?.into_iter().find(|file| !file.folder && file.is(name));
    let file = file.ok_or_else(|| {
        anyhow!("no {} on it: write the medium again", Path::new("EFI/BOOT").join(name).display())
    })?;
    Ok(volume.read(&mut span, &file)?)
}

//! `scalerforge appliance update` and `back`: a release is believed, compared, read to its last byte, and only then put
//! into the slot that does not run.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use appliance_api::agent::host::{PART_BYTES_MAX, Release, Role};
use appliance_console::Level;
use clap::Args;
use image_agent::{residence, system::Leave};
use image_build::{release, version};
use image_seal::{pe::Image, release as signature};
use image_slots::{
    fat::FILE_BYTES_MAX,
    install::{self, Done, Large, Piece, Sink, System},
    succession,
};
use sha2::{Digest as _, Sha256};

use super::{Ending, Here, bounded, typed};
use crate::say;

/// Many times what four parts need.
const DESCRIPTION_BYTES_MAX: u64 = 64 << 10;
/// Read, hashed and written at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The section of a kernel image with its maker's public key.
const KEY_SECTION: &str = ".pcrpkey";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The release: the folder that `image build-appliance` wrote, or its release.json.
    release: PathBuf,
    /// Do it: the words "restart into VERSION", typed.  Without, it is said what would happen.
    #[arg(long, value_name = "WORDS")]
    permit: Option<String>,
    /// A file whose first line is these words, where there is nobody to type them: a stick.
    #[arg(long, value_name = "FILE", conflicts_with = "permit")]
    permit_file: Option<PathBuf>,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    here: Here,
}

#[derive(Debug, Args)]
pub(crate) struct Back {
    /// Do it: the words "restart into the other slot", typed.
    #[arg(long, value_name = "WORDS")]
    permit: Option<String>,
    /// Make it the next one, and leave the restart to somebody else.
    #[arg(long)]
    later: bool,
    #[command(flatten)]
    here: Here,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let done = update(options);
    let (level, text) = match &done {
        Ok(Came::Asked { version, words }) => (
            Level::Warn,
            format!(
                "release {version} is good for this appliance; write `{words}` into a file `permit` beside it to update"
            ),
        ),
        Ok(Came::Written { version, done }) => {
            (Level::Good, format!("release {version} is in slot {}; the machine restarts into it", done.slot))
        }
        Err(error) => (Level::Bad, format!("no update: {}", appliance_server::chain_of(error.as_ref()))),
    };
    options.ending.show("update", level, text);
    match done? {
        Came::Asked { .. } => {}
        Came::Written { .. } if options.ending.later => say!("It is started at the next restart."),
        Came::Written { .. } => {
            say!("Restarting.");
            residence::leave_installed(Leave::Reboot);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What came of it.
enum Came {
    /// Everything was looked at, nothing written.
    Asked { version: String, words: String },
    /// It is in the other slot.
    Written { version: String, done: Done },
}

fn update(options: &Options) -> anyhow::Result<Came> {
    let here = &options.here;
    let running = here.installed()?;
    let own = &running.release.root_hash.0;
    let offered = Offered::read(&options.release, &here.root)?;
    succession::follows(&running.release, &offered.release, here.floor()?, version::compare)?;
    let mut drive = here.drive(&running)?;
    let survey = install::survey(&mut drive, own).with_context(|| format!("drive {}", running.drive))?;
    if survey.tries_left.is_some() {
        return Err(install::Error::NotPromoted)
            .context("`scalerforge appliance check` says what it waits for before it marks itself good");
    }
    offered.whole()?;
    let version = offered.release.version.clone();
    let words = format!("restart into {version}");
    let permit = match &options.permit_file {
        Some(file) => typed(file)?,
        None => options.permit.clone(),
    };
    let Some(permit) = permit else {
        let other = survey.slot.other();
        say!(
            "{} {version} would be put into slot {other}, and this machine restarted into it.",
            offered.release.name
        );
        say!(
            "What slot {other} holds now is gone then.  If the new system is not well, the machine comes back to slot {}.",
            survey.slot
        );
        say!(
            "\nTo do this:  scalerforge appliance update {} --permit \"{words}\"",
            options.release.display()
        );
        return Ok(Came::Asked { version, words });
    };
    if permit != words {
        if let Some(file) = options.permit_file.as_deref().filter(|_| permit.is_empty()) {
            bail!("{} is empty; its first line is to be \"{words}\". Nothing was written", file.display());
        }
        bail!("type --permit \"{words}\": this machine is restarted. Nothing was written");
    }
    let _alone = here.alone()?;
    let done = offered.put(&mut drive, own).with_context(|| format!("drive {}", running.drive))?;
    say!(
        "Slot {} holds {} {version}, and was read back; entry {}.",
        done.slot,
        offered.release.name,
        done.entry
    );
    Ok(Came::Written { version, done })
}

pub(crate) fn back(options: &Back) -> anyhow::Result<ExitCode> {
    const WORDS: &str = "restart into the other slot";
    let here = &options.here;
    let running = here.installed()?;
    let mut drive = here.drive(&running)?;
    if options.permit.as_deref() != Some(WORDS) {
        let slots = install::overview(&mut drive, &running.release.root_hash.0)?;
        let other = slots.iter().find(|slot| !slot.running).and_then(|slot| slot.release.clone());
        let other = other.ok_or(install::Error::NoOther)?;
        bail!(
            "the other slot holds {other}; if that is meant, type --permit \"{WORDS}\": nothing was changed"
        );
    }
    let _alone = here.alone()?;
    let slot = install::switch(&mut drive, &running.release.root_hash.0)?;
    say!("Slot {slot} is started next.");
    if !options.later {
        residence::leave_installed(Leave::Reboot);
    }
    Ok(ExitCode::SUCCESS)
}

/// A release that its maker vouches for, the same maker as of the system that runs.
struct Offered {
    release: Release,
    parts: Vec<(Role, PathBuf, Piece)>,
    key: String,
}

impl Offered {
    /// Reads its description, and believes it or not.
    fn read(path: &Path, root: &Path) -> anyhow::Result<Self> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
        let description = folder.join(release::FILE);
        let text = bounded(&description, DESCRIPTION_BYTES_MAX)?;
        let key = root.join("run/systemd/tpm2-pcr-public-key.pem");
        let key = std::fs::read_to_string(&key).map_err(|_| {
            anyhow!(
                "the system that runs was built without its maker's key (`image build-appliance --policy-key`), so it can \
                 believe no release: install a new one as a whole"
            )
        })?;
        let signed = folder.join(signature::FILE);
        let signed = match std::fs::metadata(&signed) {
            Ok(_) => bounded(&signed, DESCRIPTION_BYTES_MAX)?,
            Err(_) => bail!(
                "{} is not there: this release is not signed; build it with `image build-appliance --policy-key`, or take \
                 the whole release from its maker",
                signed.display()
            ),
        };
        signature::believe(&key, &text, &signed)?;
        let built = release::Release::parse(&text)?;
        let root_hash = built
            .root_hash
            .parse()
            .map_err(|_| anyhow!("{}: a root hash that is none", description.display()))?;
        let mut parts = Vec::new();
        for part in &built.parts {
            let mut sha256 = [0; 32];
            hex::decode_to_slice(&part.sha256, &mut sha256).context("a part's hash")?;
            parts.push((part.role, folder.join(&part.file), Piece { bytes: part.bytes, sha256 }));
        }
        let release::Release { name, version, epoch, .. } = built;
        Ok(Self { release: Release { name, version, epoch, root_hash }, parts, key })
    }

    fn part(&self, role: Role) -> anyhow::Result<(&Path, Piece)> {
        let found = self.parts.iter().find(|(found, ..)| *found == role);
        let (_, path, piece) = found.ok_or_else(|| anyhow!("the release has no {role:?} part"))?;
        Ok((path, *piece))
    }

    /// Reads all of it before anything is written: a stick that fails half-way costs no slot.
    fn whole(&self) -> anyhow::Result<()> {
        for (role, path, piece) in &self.parts {
            let most = match role {
                Role::Loader | Role::Uki => FILE_BYTES_MAX,
                Role::Root | Role::Verity => PART_BYTES_MAX,
            };
            if piece.bytes > most {
                bail!("{}: a part of {} bytes is none", path.display(), piece.bytes);
            }
            let (mut sum, mut bytes) = (Sha256::new(), 0_u64);
            chunks(path, &mut |chunk| {
                sum.update(chunk);
                bytes = bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
                if bytes > piece.bytes {
                    Err(io::Error::other("it has more bytes than were signed"))
                } else {
                    Ok(())
                }
            })
            .with_context(|| format!("{} cannot be read", path.display()))?;
            if bytes != piece.bytes || <[u8; 32]>::from(sum.finalize()) != piece.sha256 {
                bail!(
                    "{} is not what was signed: it was changed or cut; copy the release again",
                    path.display()
                );
            }
        }
        let uki = self.small(Role::Uki)?;
        let image = Image::parse(&uki).context("the release's kernel image")?;
        let key = image
            .section(KEY_SECTION)
            .map(|key| String::from_utf8_lossy(key).trim_matches('\0').trim().to_owned());
        if key.as_deref() != Some(self.key.trim()) {
            bail!(
                "the release's kernel image has another maker's key than the system that runs: it would not open what this \
                 appliance remembers; take the release from the same maker"
            );
        }
        Ok(())
    }

    fn small(&self, role: Role) -> anyhow::Result<Vec<u8>> {
        let (path, piece) = self.part(role)?;
        let content = bounded(path, FILE_BYTES_MAX)?;
        if <[u8; 32]>::from(Sha256::digest(&content)) != piece.sha256 {
            bail!("{} is not what was signed any more; copy the release again", path.display());
        }
        Ok(content)
    }

    /// Writes it into the slot that does not run.
    fn put(&self, drive: &mut dyn image_slots::Device, running: &[u8; 32]) -> anyhow::Result<Done> {
        let (loader, uki) = (self.small(Role::Loader)?, self.small(Role::Uki)?);
        let ((root_file, root), (tree_file, verity)) = (self.part(Role::Root)?, self.part(Role::Verity)?);
        let total = root.bytes.saturating_add(verity.bytes).max(1);
        let (mut written, mut told) = (0_u64, 0);
        let mut fetch = |large: Large, sink: Sink<'_>| {
            let file = if large == Large::Root { root_file } else { tree_file };
            chunks(file, &mut |chunk| {
                sink(chunk)?;
                written = written.saturating_add(u64::try_from(chunk.len()).unwrap_or(0));
                let tenths = written.saturating_mul(10) / total;
                if tenths > told {
                    told = tenths;
                    say!("{} of {} MiB written", written >> 20, total >> 20);
                }
                Ok(())
            })
        };
        let mut system = System {
            root_hash: self.release.root_hash.0,
            loader: &loader,
            uki: &uki,
            root,
            verity,
            fetch: &mut fetch,
        };
        Ok(install::update(drive, running, &mut system)?)
    }
}

fn chunks(file: &Path, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut opened = File::open(file)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = opened.read(&mut buffer)?;
        match buffer.get(..count).filter(|chunk| !chunk.is_empty()) {
            Some(chunk) => take(chunk)?,
            None => return Ok(()),
        }
    }
}

//! `scalerforge image`: builds images, compares them, and says what they are made of.

mod show;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use image_build::{
    Lock, Origin,
    installed::{self, Order},
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{host::print, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Build the discovery UKI and the reference values of the PCRs it determines.
    Build {
        /// The site's certificate authority (ca.pem).
        #[arg(long)]
        ca: PathBuf,
        /// The agent, statically linked.
        #[arg(long)]
        agent: PathBuf,
        /// Where discovery.efi, reference.json, reference.corim and manifest.json go.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        from: Source,
        /// Sign reference.corim with this key: a file of 64 hex digits (`openssl rand -hex 32`), kept apart from the
        /// site's keys.  Its public key is printed: what verifiers are told.
        #[arg(long)]
        sign_key: Option<PathBuf>,
        /// Print the reference values as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Build the system of installed hosts: a disk with a verified root, and the reference values of what starts it.
    BuildHost {
        /// The site's certificate authority (ca.pem).
        #[arg(long)]
        ca: PathBuf,
        /// The agent, statically linked.
        #[arg(long)]
        agent: PathBuf,
        /// The start program (image-start), statically linked.
        #[arg(long)]
        start: PathBuf,
        /// Where hosts find the appliance: https://ADDRESS:PORT.  It is measured with the rest of the root.
        #[arg(long)]
        appliance: String,
        /// Where host.raw, host.efi, host.erofs, host.verity and what describes them go.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        from: Source,
        /// Print the reference values as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the list of exact packages anew, from what Debian has today, and say what changes.
    Lock {
        /// The file to write; what changes is told against what it holds, else against what this program was built with.
        #[arg(long)]
        out: PathBuf,
        /// Where fetched packages are kept.
        #[arg(long, default_value = CACHE)]
        cache: PathBuf,
        /// Print the changes as JSON.
        #[arg(long)]
        json: bool,
    },
    /// What is in a built image: sizes, packages, files.
    Inspect(show::Inspect),
    /// Compare two builds member by member; fails if they differ.
    Diff(show::Diff),
    /// Compute from a UKI what a TPM will hold after it has started.
    Measure(show::Measure),
}

const CACHE: &str = "/var/cache/scalerforge";

/// Where packages come from.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Where fetched packages are kept.
    #[arg(long, default_value = CACHE)]
    cache: PathBuf,
    /// Take the packages of this list (`image lock`) instead of those that this program was built with.
    #[arg(long)]
    lock: Option<PathBuf>,
    /// Root of a Debian archive that keeps old packages, asked when the mirror has one no more.
    #[arg(long)]
    snapshot: Option<String>,
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Build { ca, agent, out, from, sign_key, json } => {
            build(&ca, &agent, &out, &from, sign_key.as_deref(), json)
        }
        Verb::BuildHost { ca, agent, start, appliance, out, from, json } => {
            let order = Order { agent: &agent, start: &start, ca: &ca, appliance: &appliance, out: &out };
            build_host(&order, &from, json)
        }
        Verb::Lock { out, cache, json } => lock(&out, &cache, json),
        Verb::Inspect(inspect) => show::inspect(&inspect),
        Verb::Diff(diff) => show::diff(&diff),
        Verb::Measure(measure) => show::measure(&measure),
    }
}

fn build(
    ca: &Path,
    agent: &Path,
    out: &Path,
    from: &Source,
    sign_key: Option<&Path>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let key = sign_key.map(secret_key).transpose()?;
    let lock = from.lock()?;
    let origin = from.origin(&lock);
    let built = steps(|progress| image_build::discovery(origin, agent, ca, out, progress))?;
    let signer = key.map(|key| image_build::signed::sign(&built.reference_corim, &built.corim(), &key));
    let signer = signer.transpose()?;
    if json {
        print(&built.reference)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}  {:.1} MiB", built.uki.display(), mebibytes(built.uki_bytes));
    show::reference(&built.reference);
    match signer {
        Some(signer) => say!("{} signed by {}", built.reference_corim.display(), hex::encode(signer)),
        None => say!("{}  not signed by this build: --sign-key", built.reference_corim.display()),
    }
    Ok(ExitCode::SUCCESS)
}

fn build_host(order: &Order<'_>, from: &Source, json: bool) -> anyhow::Result<ExitCode> {
    let lock = from.lock()?;
    let made = steps(|progress| installed::installed(from.origin(&lock), order, progress))?;
    let reference = installed::reference(order.out)?;
    if json {
        print(&reference)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}", order.out.join("host.raw").display());
    for (what, bytes) in [("root", made.root_bytes), ("verity", made.verity_bytes), ("UKI", made.uki_bytes)] {
        say!("{:>8.1} MiB  {what}", show::size(bytes));
    }
    say!("root hash {}", made.root_hash);
    show::reference(&reference);
    Ok(ExitCode::SUCCESS)
}

impl Source {
    fn lock(&self) -> anyhow::Result<Lock> {
        self.lock.as_deref().map_or_else(|| Ok(Lock::committed()?), read_lock)
    }

    fn origin<'a>(&'a self, lock: &'a Lock) -> Origin<'a> {
        Origin { cache: &self.cache, lock, snapshot: self.snapshot.as_deref() }
    }
}

fn lock(out: &Path, cache: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let old = if out.exists() { read_lock(out)? } else { Lock::committed()? };
    let new = steps(|progress| image_build::relock(cache, progress))?;
    let changes = old.changes(&new);
    fs::write(out, new.to_text()?).with_context(|| format!("cannot write {}", out.display()))?;
    if json {
        print(&changes)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in &changes {
        say!("{line}");
    }
    say!("{}: {} packages, {} changes", out.display(), new.packages.len(), changes.len());
    Ok(ExitCode::SUCCESS)
}

fn read_lock(file: &Path) -> anyhow::Result<Lock> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Lock::parse(&text).with_context(|| format!("{} is no package lock", file.display()))
}

/// Shows what is being done: lines where nobody looks, one moving line on a terminal.
fn steps<T, E>(work: impl FnOnce(&mut dyn FnMut(&str)) -> Result<T, E>) -> Result<T, E> {
    let bar = ProgressBar::new_spinner();
    if bar.is_hidden() {
        return work(&mut |line| eprintln!("{line}"));
    }
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let result = work(&mut |line| bar.set_message(line.to_owned()));
    bar.finish_and_clear();
    result
}

/// A private key, as `openssl rand -hex 32` writes one.
fn secret_key(file: &Path) -> anyhow::Result<[u8; 32]> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("cannot read the image-signing key {}", file.display()))?;
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|_| {
        anyhow!("{} is not a key of 64 hex digits: make one with `openssl rand -hex 32`", file.display())
    })?;
    Ok(key)
}

#[expect(clippy::cast_precision_loss, reason = "a size for people, with one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

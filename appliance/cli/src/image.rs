//! `scalerforge image`: builds images, compares them, and says what they are made of.

mod appliance;
mod cve;
mod seal;
mod show;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};
use attest_evidence::ReferenceValues;
use clap::{Args, Subcommand};
use image_build::{
    Architecture, Lock, Origin, Programs,
    cve::Report,
    installed::{self, Order},
    release::Edition,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{host::print, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Build the discovery UKI, the same for every site, and the reference values of the PCRs it determines.  An
    /// appliance seals it for its site.
    Build {
        /// The agent, statically linked.
        #[arg(long)]
        agent: PathBuf,
        /// Where discovery.efi, reference.json, reference.corim and manifest.json go.
        #[arg(long)]
        out: PathBuf,
        /// What servers it is for: amd64, or arm64.
        #[arg(long, default_value_t)]
        arch: Architecture,
        /// For arm64: the program that unpacks the kernel (image-zboot), built for aarch64-unknown-uefi.
        #[arg(long)]
        zboot: Option<PathBuf>,
        #[command(flatten)]
        from: Source,
        #[command(flatten)]
        vouching: Vouching,
        /// Print the reference values as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Build the system of installed hosts, the same for every site: root, hash tree, base UKI and boot loader.  An
    /// appliance seals it for its site.
    BuildHost {
        /// The agent, statically linked.
        #[arg(long)]
        agent: PathBuf,
        /// The start program (image-start), statically linked.
        #[arg(long)]
        start: PathBuf,
        /// Where host.raw, release.json with its parts, and what describes them go.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        from: Source,
        #[command(flatten)]
        vouching: Vouching,
        /// Print the reference values as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a base image a site's own: what an appliance does at its start, for other ways to serve.
    Seal(seal::Seal),
    /// Sign an image for Secure Boot.
    Sign(seal::Sign),
    /// Build the appliance itself: this program and all that it serves, as a medium and as a disk.
    BuildAppliance(appliance::Build),
    /// Write the list of exact packages anew, from what Debian has today, and say what changes.
    Lock {
        /// The file to write; what changes is told against what it holds, else against what this program was built with.
        #[arg(long)]
        out: PathBuf,
        /// What the packages are for: amd64, or arm64.
        #[arg(long, default_value_t)]
        arch: Architecture,
        /// Where fetched packages are kept.
        #[arg(long, default_value = CACHE)]
        cache: PathBuf,
        /// Print the changes as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Known vulnerabilities of the packages in images; fails if there are critical ones.  Without --cve-data it asks the
    /// mirror: what it has replaced since, and the CVE numbers in the changelogs.
    Cve(cve::Cve),
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
    #[command(flatten)]
    known: cve::Known,
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Build { agent, out, arch, zboot, from, vouching, json } => {
            image_build::zboot::check(arch, zboot.as_deref())?;
            let (lock, report) = from.lock(arch, &out)?;
            let origin = from.origin(&lock);
            let programs = Programs { agent: &agent, zboot: zboot.as_deref() };
            build(programs, &out, (origin, report.as_ref()), &vouching, json)
        }
        Verb::BuildAppliance(options) => appliance::build(&options),
        Verb::BuildHost { agent, start, out, from, vouching, json } => {
            let order = Order { agent: &agent, start: &start, edition: Edition::own(), out: &out };
            build_host(&order, &from, &vouching, json)
        }
        Verb::Seal(seal) => seal::seal(&seal),
        Verb::Sign(sign) => seal::sign(&sign),
        Verb::Lock { out, arch, cache, json } => lock(&out, arch, &cache, json),
        Verb::Cve(options) => cve::cve(&options),
        Verb::Inspect(inspect) => show::inspect(&inspect),
        Verb::Diff(diff) => show::diff(&diff),
        Verb::Measure(measure) => show::measure(&measure),
    }
}

fn build(
    programs: Programs<'_>,
    out: &Path,
    (origin, report): (Origin<'_>, Option<&Report>),
    vouching: &Vouching,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let key = vouching.key()?;
    let built = steps(|progress| image_build::discovery(origin, programs, out, progress))?;
    let signed = sign(&built.reference_corim, &built.reference, key)?;
    cve::leave(report, out)?;
    if json {
        print(&built.reference)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}  {:.1} MiB", built.uki.display(), mebibytes(built.uki_bytes));
    show::reference(&built.reference);
    say!("{signed}");
    Ok(ExitCode::SUCCESS)
}

fn build_host(order: &Order<'_>, from: &Source, vouching: &Vouching, json: bool) -> anyhow::Result<ExitCode> {
    let key = vouching.key()?;
    let (lock, report) = from.lock(Architecture::Amd64, order.out)?;
    let made = steps(|progress| installed::installed(from.origin(&lock), order, progress))?;
    let reference = installed::reference(order.out)?;
    let signed = sign(&order.out.join("host-reference.corim"), &reference, key)?;
    cve::leave(report.as_ref(), order.out)?;
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
    say!("{signed}");
    Ok(ExitCode::SUCCESS)
}

/// Who vouches for what was built.
#[derive(Debug, Args)]
pub(crate) struct Vouching {
    /// Sign the reference values (.corim) with this key: a file of 64 hex digits (`openssl rand -hex 32`), kept apart from
    /// the site's keys.  Its public key is printed: what verifiers are told.
    #[arg(long)]
    sign_key: Option<PathBuf>,
}

impl Vouching {
    fn key(&self) -> anyhow::Result<Option<[u8; 32]>> {
        self.sign_key.as_deref().map(secret_key).transpose()
    }
}

/// Signs a file of reference values if there is a key, and says which.
fn sign(file: &Path, reference: &ReferenceValues, key: Option<[u8; 32]>) -> anyhow::Result<String> {
    let Some(key) = key else {
        return Ok(format!("{}  not signed by this build: --sign-key", file.display()));
    };
    let signer = image_build::signed::sign(file, reference, &key)?;
    Ok(format!("{} signed by {}", file.display(), hex::encode(signer)))
}

impl Source {
    /// The packages to build with into `out`, if they are for these servers and no critical vulnerability of theirs is
    /// known; with what is known, if anybody was asked.
    fn lock(&self, architecture: Architecture, out: &Path) -> anyhow::Result<(Lock, Option<Report>)> {
        let lock = self.unchecked_lock(architecture)?;
        ensure!(
            lock.architecture == architecture,
            "the package lock is for {}, and the image for {architecture}: name a lock that `scalerforge image lock --arch \
             {architecture}` wrote; nothing was built",
            lock.architecture
        );
        let report = self.known.stop(self.origin(&lock))?;
        // From here on what was known of an earlier build's packages is wrong.
        cve::leave(None, out)?;
        Ok((lock, report))
    }

    fn unchecked_lock(&self, architecture: Architecture) -> anyhow::Result<Lock> {
        self.lock.as_deref().map_or_else(|| Ok(Lock::committed(architecture)?), read_lock)
    }

    fn origin<'a>(&'a self, lock: &'a Lock) -> Origin<'a> {
        Origin { cache: &self.cache, lock, snapshot: self.snapshot.as_deref() }
    }
}

fn lock(out: &Path, arch: Architecture, cache: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let old = if out.exists() { read_lock(out)? } else { Lock::committed(arch)? };
    ensure!(old.architecture == arch, "{} is a lock for {}, not for {arch}", out.display(), old.architecture);
    let new = steps(|progress| image_build::relock(cache, arch, progress))?;
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

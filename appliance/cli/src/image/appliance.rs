//! `scalerforge image build-appliance`: this program, with all that it serves, as a medium and as a disk.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use attest_evidence::ReferenceValues;
use clap::Args;
use image_build::{
    Architecture,
    appliance::{self, Order},
    release::Edition,
};
use image_seal::{Key, Policy};

use super::{Source, Vouching, cve, show, sign, steps};
use crate::{host::print, say};

/// What is written, and for what.
const MEDIA: [(&str, &str); 4] = [
    ("appliance.iso", "a CD, a USB stick, a virtual medium; keeps nothing"),
    ("appliance.raw", "a disk, with room for the next system and for the site"),
    ("appliance.qcow2", "the same disk for QEMU and clouds"),
    ("appliance-net.efi", "the medium as one program for UEFI's HTTP boot; keeps nothing"),
];

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The program that runs on it; absent: this one.
    #[arg(long)]
    scalerforge: Option<PathBuf>,
    /// The start program (image-start), statically linked.
    #[arg(long)]
    start: PathBuf,
    /// What servers boot: the folder that `image build` wrote.
    #[arg(long)]
    discovery: PathBuf,
    /// What servers install: the folder that `image build-host` wrote.
    #[arg(long)]
    host: PathBuf,
    /// Where appliance.iso, appliance.raw, appliance.qcow2 and what describes them go.
    #[arg(long)]
    out: PathBuf,
    /// The maker's RSA-2048 key, PEM: an installed appliance's TPM opens what it remembers for systems that this key vouches
    /// for, this one and its updates.  Without, an appliance remembers in memory alone.
    #[arg(long)]
    policy_key: Option<PathBuf>,
    #[command(flatten)]
    from: Source,
    #[command(flatten)]
    vouching: Vouching,
    /// Print the manifest as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn build(options: &Build) -> anyhow::Result<ExitCode> {
    let own =
        std::env::current_exe().context("cannot find this program's own file; name it with --scalerforge")?;
    let key = options.policy_key.as_deref().map(policy_key).transpose()?;
    let vouching = options.vouching.key()?;
    let order = Order {
        scalerforge: options.scalerforge.as_deref().unwrap_or(&own),
        start: &options.start,
        discovery: &options.discovery,
        host: &options.host,
        policy: key.as_ref().map(|key| Policy { key }),
        edition: Edition::own(),
        out: &options.out,
    };
    let (lock, report) = options.from.lock(Architecture::Amd64, &options.out)?;
    let made = steps(|progress| appliance::appliance(options.from.origin(&lock), &order, progress))?;
    let mut signed = Vec::new();
    for name in appliance::REFERENCES {
        let file = |ending: &str| options.out.join(format!("{name}.{ending}"));
        let text = std::fs::read(file("json")).with_context(|| format!("cannot read {name}.json"))?;
        let reference = ReferenceValues::from_json(&text)?;
        signed.push(sign(&file("corim"), &reference, vouching)?);
    }
    cve::leave(report.as_ref(), &options.out)?;
    if options.json {
        print(&made)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (name, what) in MEDIA {
        let path = options.out.join(name);
        let bytes = path.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
        say!("{:>8.1} MiB  {}  {what}", super::mebibytes(bytes), path.display());
    }
    for (what, bytes) in [("root", made.root_bytes), ("UKI", made.uki_bytes)] {
        say!("{:>8.1} MiB  {what}", show::size(bytes));
    }
    say!("root hash {}", made.root_hash);
    for line in signed {
        say!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn policy_key(file: &Path) -> anyhow::Result<Key> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the policy key {}", file.display()))?;
    Key::from_pem(&text).with_context(|| format!("{} is no RSA-2048 key in PEM form", file.display()))
}

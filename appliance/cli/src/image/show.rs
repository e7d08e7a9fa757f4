//! `scalerforge image inspect|diff|measure`: reads of what a build wrote.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use attest_evidence::ReferenceValues;
use clap::Args;
use image_build::{diff::What, manifest::FileEntry};

use super::mebibytes;
use crate::{host::print, say};

/// As many of the largest files as a person reads.
const LARGEST: usize = 12;

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A UKI, or a build folder with discovery.efi or host.efi in it.
    image: PathBuf,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A build folder or a file of one.
    first: PathBuf,
    /// Another.
    second: PathBuf,
    /// Print the differences as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// A UKI, or a build folder with discovery.efi or host.efi in it.
    image: PathBuf,
    /// The boot loader that starts it, where the firmware does not do so itself.
    #[arg(long)]
    loader: Option<PathBuf>,
    /// Print the reference values as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn inspect(options: &Inspect) -> anyhow::Result<ExitCode> {
    let (path, bytes) = uki(&options.image)?;
    let found = image_build::inspect::inspect(&bytes).with_context(|| odd(&path))?;
    if options.json {
        print(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}  {:.1} MiB  SHA-256 {}", found.name, size(found.uki_bytes), found.uki_sha256);
    let signed = if found.signed { "signed" } else { "not signed" };
    say!("{signed} for Secure Boot  Authenticode SHA-256 {}", found.authenticode_sha256);
    say!("kernel {}  command line `{}`", found.kernel_release, found.command_line);
    for section in &found.sections {
        say!("{:>10.1} KiB  {}", kibibytes(section.bytes), section.path);
    }
    let unpacked: usize = found.files.iter().map(|file| file.bytes).sum();
    say!("initramfs: {} files, {:.1} MiB unpacked; the largest:", found.files.len(), size(unpacked));
    let mut files: Vec<&FileEntry> = found.files.iter().collect();
    files.sort_by(|one, two| two.bytes.cmp(&one.bytes).then_with(|| one.path.cmp(&two.path)));
    for file in files.iter().take(LARGEST) {
        say!("{:>10.1} KiB  {}", kibibytes(file.bytes), file.path);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn diff(options: &Diff) -> anyhow::Result<ExitCode> {
    let found = image_build::diff::diff(&options.first, &options.second)?;
    if options.json {
        print(&found)?;
    } else {
        for difference in &found {
            match difference.what {
                What::OnlyFirst => say!("- {}", difference.member),
                What::OnlySecond => say!("+ {}", difference.member),
                What::Bytes { offset, first_bytes, second_bytes } => {
                    let sizes = if first_bytes == second_bytes {
                        String::new()
                    } else {
                        format!(", {first_bytes} and {second_bytes} bytes long")
                    };
                    say!("~ {}  from byte {offset}{sizes}", difference.member);
                }
            }
        }
        match found.len() {
            0 => say!("no difference"),
            count => say!("{count} differences"),
        }
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) fn measure(options: &Measure) -> anyhow::Result<ExitCode> {
    let (path, bytes) = uki(&options.image)?;
    let loader = options
        .loader
        .as_deref()
        .map(|path| fs::read(path).with_context(|| format!("cannot read {}", path.display())));
    let loader = loader.transpose()?;
    let values = image_build::inspect::measure(loader.as_deref(), &bytes).with_context(|| odd(&path))?;
    if options.json {
        print(&values)?;
    } else {
        say!("{}  SHA-256 {}", values.name, values.uki_sha256);
        reference(&values);
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each value that a PCR may have.
pub(super) fn reference(values: &ReferenceValues) {
    for pcr in &values.pcrs {
        for accepted in &pcr.accepted {
            say!("PCR {:>2}  {}  {}", pcr.pcr, accepted.value, accepted.holds_for);
        }
    }
}

fn uki(path: &Path) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    let in_folder = ["discovery.efi", "host.efi"].map(|name| path.join(name));
    let file = in_folder.into_iter().find(|file| file.is_file()).unwrap_or_else(|| path.to_owned());
    let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok((file, bytes))
}

fn odd(path: &Path) -> String {
    format!("{} is no UKI of ours", path.display())
}

pub(super) fn size(bytes: usize) -> f64 {
    u64::try_from(bytes).map_or(f64::INFINITY, mebibytes)
}

fn kibibytes(bytes: usize) -> f64 {
    size(bytes) * 1024.0
}

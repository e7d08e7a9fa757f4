//! `scalerforge image`: builds the discovery image of a site.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;

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
        /// Where discovery.efi, reference.json and manifest.json go.
        #[arg(long)]
        out: PathBuf,
        /// Where fetched packages are kept.
        #[arg(long, default_value = "/var/cache/scalerforge")]
        cache: PathBuf,
        /// Print the reference values as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let Verb::Build { ca, agent, out, cache, json } = verb;
    let mut progress = |line: &str| eprintln!("{line}");
    let built = image_build::discovery(&cache, &agent, &ca, &out, &mut progress)?;
    if json {
        print(&built.reference)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}  {:.1} MiB", built.uki.display(), mebibytes(built.uki_bytes));
    for pcr in &built.reference.pcrs {
        for accepted in &pcr.accepted {
            say!("PCR {:>2}  {}  {}", pcr.pcr, accepted.value, accepted.holds_for);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::cast_precision_loss, reason = "a size for people, with one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

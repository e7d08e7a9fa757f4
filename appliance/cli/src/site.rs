//! `scalerforge site`: the directory that holds a site's keys and configuration.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Subcommand;

const SAMPLE: &str = include_str!("site.toml");

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the keys that are missing, and a sample configuration if there is none.  Nothing is overwritten.
    Init {
        /// The site directory.
        dir: PathBuf,
    },
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let Verb::Init { dir } = verb;
    appliance_server::site::init(&dir)?;
    for folder in ["endorsement", "evidence"] {
        let path = dir.join(folder);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let config = dir.join("scalerforge.toml");
    if !config.exists() {
        std::fs::write(&config, SAMPLE).with_context(|| format!("cannot write {}", config.display()))?;
    }
    println!("{} is ready. Next: edit {}, then build the image with", dir.display(), config.display());
    println!("  scalerforge image build --ca {} --out {}", dir.join("ca.pem").display(), dir.display());
    Ok(ExitCode::SUCCESS)
}

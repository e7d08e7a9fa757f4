//! `scalerforge site`: the directory that holds a site's keys and configuration.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Subcommand;

use crate::say;

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
    say!("{} is ready. Next: edit {}, then build the image with", dir.display(), config.display());
    say!(
        "  scalerforge image build --ca {} --agent AGENT --out {}",
        dir.join("ca.pem").display(),
        dir.display()
    );
    say!("where AGENT is the host agent as `cargo xtask prepare` builds it, and start it with");
    say!("  scalerforge serve --site {}", dir.display());
    Ok(ExitCode::SUCCESS)
}

//! `scalerforge site`: the directory that holds a site's keys and configuration.

mod backup;
mod first_run;
mod medium;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

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
    /// Make a site from a file of answers: networks, mode, time, name, chain.  A site that is there is never touched.
    FirstRun(first_run::Options),
    /// Copy first-run.toml from the boot volume of the medium that this machine was started from; exit status 1 where it
    /// has none.
    TakeAnswers(medium::Options),
    /// Write the whole site into one encrypted file.  The appliance may go on meanwhile.
    Backup(backup::Backup),
    /// Make a site of a backup.
    Restore(backup::Restore),
    /// Factory reset: erase the site, its keys included.
    Reset(backup::Reset),
    /// Set the password of the page.
    Password(backup::Password),
    /// Print the public key with which this appliance signs what it saw as a challenger: what a stranger passes to
    /// `evidence verify --challenger`, if he believes this appliance.
    Challenger {
        /// The site directory.
        dir: PathBuf,
    },
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Init { dir } => init(&dir),
        Verb::Backup(options) => backup::backup(&options),
        Verb::Restore(options) => backup::restore(&options),
        Verb::Reset(options) => backup::reset(&options),
        Verb::Password(options) => backup::password(&options),
        Verb::TakeAnswers(options) => medium::take(&options),
        Verb::FirstRun(options) => first_run::run(&options),
        Verb::Challenger { dir } => {
            let keys = appliance_server::site::Keys::read(&dir)?;
            say!("{}", hex::encode(attest_verify::binding::challenger_public(keys.attestor())?));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn init(dir: &Path) -> anyhow::Result<ExitCode> {
    appliance_server::site::init(dir)?;
    for folder in ["endorsement", "evidence"] {
        let path = dir.join(folder);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let config = dir.join("scalerforge.toml");
    if !config.exists() {
        std::fs::write(&config, SAMPLE).with_context(|| format!("cannot write {}", config.display()))?;
    }
    say!("{} is ready. Next: edit {}, then build the image with", dir.display(), config.display());
    say!("  scalerforge image build --agent AGENT --out {}", dir.display());
    say!("where AGENT is the host agent as `cargo xtask prepare` builds it, and start it with");
    say!("  scalerforge serve --site {}", dir.display());
    Ok(ExitCode::SUCCESS)
}

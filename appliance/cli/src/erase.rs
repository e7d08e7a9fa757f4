//! `scalerforge erase`: certificates of erased drives, for whoever is handed one.

use std::{path::PathBuf, process::ExitCode};

use appliance_server::certificate::{level, verify};
use clap::Subcommand;

use crate::{evidence::read, host::print, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check an erase certificate.  Exit status 0: it holds, 1: it does not, 2: it could not be read.
    Verify {
        /// The file.
        file: PathBuf,
        /// The key that has to have signed it (128 hex digits); the site's binding statements name the same one.
        /// Without it, the signature is checked against the key in the file, which proves only that nothing was changed.
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
        /// Print what it says as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let Verb::Verify { file, key, json } = verb;
    let bytes = read(&file)?;
    let statement = match verify(&bytes, key.as_deref()) {
        Ok(statement) => statement,
        Err(error) => {
            eprintln!("REFUSED: {}", appliance_server::chain_of(&error));
            return Ok(ExitCode::from(1));
        }
    };
    if json {
        print(&statement)?;
        return Ok(ExitCode::SUCCESS);
    }
    let drive = &statement.drive;
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    say!(
        "drive {}: model {}, firmware {}, {} bytes",
        drive.serial,
        or(&drive.model),
        or(&drive.firmware),
        drive.bytes
    );
    say!("in host {} (serial {})", statement.host, statement.machine);
    say!("erased by {} ({})", statement.command, level(statement.level));
    say!(
        "allowed by {}, begun {} ms, read back {} ms since 1970",
        statement.allowed_by,
        statement.begun_at_ms,
        statement.ended_at_ms
    );
    match &statement.agent.evidence {
        Some(evidence) => {
            say!("by the agent of {}, whose boot evidence {evidence} was accepted", statement.agent.version)
        }
        None => {
            say!("by the agent of {}; no evidence of its boot was ever accepted", statement.agent.version)
        }
    }
    statement.shown.iter().for_each(|words| say!("shown: {words}"));
    statement.not_shown.iter().for_each(|words| say!("not shown: {words}"));
    match key {
        Some(_) => say!("The signature holds, by the key that was named."),
        None => say!("The signature holds; whose key it is, --key has to say."),
    }
    Ok(ExitCode::SUCCESS)
}

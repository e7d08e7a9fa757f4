//! `scalerforge burn-in consent` and `consents`: which spans of which drives a burn-in may overwrite.

use std::process::ExitCode;

use anyhow::bail;
use appliance_api::burn_in::{ConsentRequest, ConsentView};
use appliance_model::{HostId, Serial};
use clap::Args;

use super::words::plain;
use crate::{
    client::Appliance,
    host::{print, who},
    say,
};

/// A span of a drive.
#[derive(Debug, Args)]
pub(crate) struct Consent {
    /// Host id, as `host list` shows it.
    id: HostId,
    /// The drive's serial, as it stands on its label.
    #[arg(long, value_name = "SERIAL")]
    drive: String,
    /// First byte, a multiple of 4096.
    #[arg(long, required_unless_present = "revoke", conflicts_with = "revoke")]
    start: Option<u64>,
    /// Length in bytes, a multiple of 4096.
    #[arg(long, required_unless_present = "revoke", conflicts_with = "revoke")]
    bytes: Option<u64>,
    /// What is on this span is lost.
    #[arg(long, required_unless_present = "revoke", conflicts_with = "revoke")]
    overwrite: bool,
    /// Take the word about this drive back.
    #[arg(long)]
    revoke: bool,
    #[command(flatten)]
    appliance: Appliance,
}

pub(super) fn consent(call: &Consent) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/hosts/{}/burn-in/consents", call.id);
    let Some(drive) = Serial::parse(&call.drive) else {
        bail!("`{}` is no serial of a drive", plain(&call.drive));
    };
    if call.revoke {
        call.appliance.delete(&format!("{path}/{}", in_path(drive.as_str())))?;
        say!("{drive}: nothing of it may be overwritten");
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = ConsentRequest {
        drive: drive.to_string(),
        start: call.start.unwrap_or_default(),
        bytes: call.bytes.unwrap_or_default(),
        overwrite: call.overwrite,
        by: who(),
    };
    let given: ConsentView = call.appliance.post(&path, &wanted)?;
    if call.appliance.json {
        return print(&given).map(|()| ExitCode::SUCCESS);
    }
    tell(&given);
    say!("It counts from the host's next plan on: `host retry {}` makes one.", call.id);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn consents(id: &HostId, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let given: Vec<ConsentView> = appliance.get(&format!("/api/v1/hosts/{id}/burn-in/consents"))?;
    if appliance.json {
        return print(&given).map(|()| ExitCode::SUCCESS);
    }
    if given.is_empty() {
        say!("nothing may be overwritten, but for what the site file allows");
    }
    given.iter().for_each(tell);
    Ok(ExitCode::SUCCESS)
}

fn tell(given: &ConsentView) {
    let ConsentView { drive, start, bytes, by, .. } = given;
    say!("drive {}: {bytes} bytes from {start} may be overwritten, says {}", plain(drive), plain(by));
}

/// A serial may hold anything printable; in a path, most of it stands as its bytes.
fn in_path(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

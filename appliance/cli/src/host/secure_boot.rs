//! `scalerforge host secure-boot`: what a server's firmware trusts; with --permit, the site's keys take its place.

use std::process::ExitCode;

use appliance_api::secure_boot::{SecureBootPermission, SecureBootView};
use appliance_model::HostId;
use clap::Args;

use super::print;
use crate::{client::Appliance, say};

#[derive(Debug, Args)]
pub(crate) struct SecureBoot {
    /// Host id, as `host list` shows it.
    id: HostId,
    /// Do it, typed: "SECURE BOOT SERIAL" puts this site's keys in the place of all others and switches Secure Boot on;
    /// "REVOKE SHA256 ON SERIAL" forbids the image with this Authenticode digest (`image inspect` shows it).
    #[arg(long, value_name = "WORDS")]
    permit: Option<String>,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn run(asked: &SecureBoot) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/hosts/{}/secure-boot", asked.id);
    let view: SecureBootView = match &asked.permit {
        Some(permit) => asked.appliance.post(&path, &SecureBootPermission { permit: permit.clone() })?,
        None => asked.appliance.get(&path)?,
    };
    if asked.appliance.json {
        print(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    for step in &view.steps {
        say!("{step}");
    }
    let word = |value: Option<bool>| match value {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not told",
    };
    say!(
        "on from the next start: {}; this start was checked: {}; mode {}",
        word(view.enabled),
        word(view.current),
        view.mode.as_deref().unwrap_or("not told")
    );
    for one in &view.databases {
        for key in &one.certificates {
            say!("{:<4} certificate {key}", one.name);
        }
        for key in &one.signatures {
            say!("{:<4} signature {key}", one.name);
        }
    }
    match view.ours {
        Some(true) => say!("it starts this site's images, and only this site can change that"),
        Some(false) => {
            say!("it is not this site's yet: --permit \"SECURE BOOT {}\"", view.serial);
        }
        None => say!("this site has no keys of its own: [secure_boot] own_keys in the site file"),
    }
    Ok(ExitCode::SUCCESS)
}

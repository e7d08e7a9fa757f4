//! `scalerforge node retire`: a node of this site leaves: what stands against it, its word, its steps.

use std::process::ExitCode;

use appliance_api::fleet::{LeavePermission, LeaveView};
use appliance_model::HostId;
use clap::Args;

use crate::{
    client::Appliance,
    host::{print, who},
    say,
};

#[derive(Debug, Args)]
pub(crate) struct Retire {
    /// Host id, as `host list` shows it.
    id: HostId,
    /// The words that this command shows, typed: to let the node go, later to let its drives go as they are.
    #[arg(long, value_name = "WORDS")]
    i_allow: Option<String>,
    #[command(flatten)]
    appliance: Appliance,
}

/// Exit status 1 while something stands against it.
pub(crate) fn run(asked: &Retire) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/hosts/{}/retire", asked.id);
    let view: LeaveView = match &asked.i_allow {
        None => asked.appliance.get(&path)?,
        Some(words) => asked.appliance.post(&path, &LeavePermission { words: words.clone(), by: who() })?,
    };
    if asked.appliance.json {
        print(&view)?;
    } else {
        say!("node {} of host {}", view.node, view.host);
        view.obstacles.iter().for_each(|why| say!("  IN THE WAY: {why}"));
        view.steps.iter().for_each(|step| say!("  {:<6} {}", step.state, step.text));
        if let Some(words) = &view.words {
            say!("\nTo let it go:  scalerforge node retire {} --i-allow \"{words}\"", view.host);
        }
    }
    Ok(ExitCode::from(u8::from(!view.obstacles.is_empty() && view.words.is_none())))
}

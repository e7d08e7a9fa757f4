//! `scalerforge host passport`: what the owner's passports would spare a server's stake, and the words that stake one.

use std::process::ExitCode;

use appliance_api::passports::{PassportPermission, PassportsView};
use appliance_model::HostId;
use clap::Args;

use super::print;
use crate::{client::Appliance, say};

#[derive(Debug, Args)]
pub(crate) struct Passport {
    /// Host id, as `host list` shows it.
    id: HostId,
    /// Say which one is staked: the words that are shown, typed.  The stake that is left has to be approved then.
    #[arg(long, value_name = "WORDS")]
    permit: Option<String>,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn run(asked: &Passport) -> anyhow::Result<ExitCode> {
    let Passport { id, permit, appliance } = asked;
    let path = format!("/api/v1/hosts/{id}/passports");
    let view: PassportsView = match permit {
        Some(words) => {
            appliance.post(&path, &PassportPermission { words: words.clone(), by: super::who() })?
        }
        None => appliance.get(&path)?,
    };
    if appliance.json {
        print(&view)?;
    } else {
        tell(&view);
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(view: &PassportsView) {
    let PassportsView { host, owner, node_part, from, until, .. } = view;
    say!("{host}: {node_part} of its owner's own, from {from} to {until}; passports of {owner}:");
    for one in &view.passports {
        say!(
            "  {}: worth {} now and {} at the end, {} days left",
            one.number,
            one.worth,
            one.worth_at_end,
            one.days_left
        );
        match &one.barred {
            Some(why) => say!("      cannot be staked with it: {why}"),
            None => {
                say!("      spares {}, so that {} are staked: --permit {:?}", one.saved, one.stake, one.words)
            }
        }
    }
    if view.passports.is_empty() {
        say!("  none");
    }
    if !view.complete {
        say!(
            "  and more, which were received too long ago to be listed: their numbers can be typed all the same"
        );
    }
    match (&view.staked, &view.by) {
        (Some(number), Some(by)) => {
            say!(
                "Passport {number} is staked with it, says {by}; without it: --permit {:?}",
                view.words_for_none
            );
        }
        (None, Some(by)) => say!("None is staked with it, says {by}."),
        (_, None) => say!("None is staked with it."),
    }
    if let Some(why) = &view.barred {
        say!("None can be staked with this registration: {why}.");
    }
}

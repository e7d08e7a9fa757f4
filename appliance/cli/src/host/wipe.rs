//! `scalerforge host wipe` and `host rescue`: all drives erased, and a server held to be looked at.

use std::process::ExitCode;

use anyhow::bail;
use appliance_api::{
    erase::{EraseView, WipePermission, WipePlanView},
    rescue::{RescuePermission, RescueView},
};
use appliance_model::HostId;
use clap::Args;

use super::{erase::say_view, print};
use crate::{client::Appliance, say};

#[derive(Debug, Args)]
pub(crate) struct Wipe {
    /// Host id, as `host list` shows it.
    id: HostId,
    /// Do it: the words that the plan shows, typed.  For a node they hold the end of its commitment.
    #[arg(long, value_name = "WORDS")]
    permit: Option<String>,
    #[command(flatten)]
    appliance: Appliance,
}

#[derive(Debug, Args)]
pub(crate) struct Rescue {
    /// Host id, as `host list` shows it.
    id: HostId,
    /// Hold it: the words "rescue ID", typed; it is restarted at once, whatever runs on it.
    #[arg(long, value_name = "WORDS", conflicts_with = "end")]
    permit: Option<String>,
    /// Let it go.
    #[arg(long)]
    end: bool,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn wipe(asked: &Wipe) -> anyhow::Result<ExitCode> {
    let Wipe { id, permit, appliance } = asked;
    let path = format!("/api/v1/hosts/{id}/wipe");
    let plan: WipePlanView = appliance.get(&path)?;
    let Some(words) = permit else {
        if appliance.json {
            print(&plan)?;
        } else {
            say_plan(&plan);
        }
        return Ok(ExitCode::SUCCESS);
    };
    if *words != plan.words {
        bail!("type --permit \"{}\". Nothing was erased", plan.words);
    }
    let permission = WipePermission { words: words.clone(), plan: plan.plan, by: super::who() };
    let view: EraseView = appliance.post(&path, &permission)?;
    if appliance.json {
        print(&view)?;
    } else {
        say_view(&view);
        say!("`host erase {id} --status` shows how far it is");
    }
    Ok(ExitCode::SUCCESS)
}

fn say_plan(plan: &WipePlanView) {
    say!("{}: all that is on these drives would be gone", plan.host);
    for drive in &plan.drives {
        say!(
            "  {}: {}, {} bytes",
            drive.serial,
            drive.model.as_deref().unwrap_or("model unknown"),
            drive.bytes
        );
    }
    for name in &plan.unnamed {
        say!("  {name}: left as it is, because it tells no serial");
    }
    for against in &plan.against {
        say!("It is a ScalerNode: {against}.");
    }
    match &plan.barred {
        Some(why) => say!("\nNothing is wiped in it now: {why}."),
        None => say!("\nTo do this:  scalerforge host wipe {} --permit {:?}", plan.host, plan.words),
    }
}

pub(crate) fn rescue(asked: &Rescue) -> anyhow::Result<ExitCode> {
    let Rescue { id, permit, end, appliance } = asked;
    let path = format!("/api/v1/hosts/{id}/rescue");
    let view: RescueView = match (permit, end) {
        (_, true) => appliance.post(&format!("{path}/end"), &())?,
        (Some(words), false) => {
            if *words != format!("rescue {id}") {
                bail!("type --permit \"rescue {id}\": it is restarted at once. Nothing was done");
            }
            appliance.post(&path, &RescuePermission { words: words.clone(), by: super::who() })?
        }
        (None, false) => appliance.get(&path)?,
    };
    if appliance.json {
        print(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}: {}", view.host, view.note);
    match (view.held, &view.by) {
        (true, Some(by)) if view.heard => say!("held by {by}; its agent has come"),
        (true, Some(by)) => say!("held by {by}; its agent has not come yet"),
        (true, None) | (false, _) if permit.is_none() && !end => {
            say!("To hold it:  scalerforge host rescue {} --permit {:?}", view.host, view.words);
        }
        (true, None) | (false, _) => {}
    }
    Ok(ExitCode::SUCCESS)
}

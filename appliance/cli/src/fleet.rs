//! `scalerforge fleet`: many servers registered under one permission, in batches; how far they are.

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use appliance_api::fleet::{FleetAsk, FleetPermission, FleetPlanView, FleetView};
use appliance_model::HostId;
use clap::{Args, Subcommand};

use crate::{
    client::Appliance,
    host::{print, who},
    say,
};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Looks in a row that get no answer: the appliance may be restarted while we watch.
const SILENT_MAX: u32 = 60;
/// The bar's width.
const BAR: usize = 40;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What registering servers together would cost; with --i-allow, do it.  One that cannot be registered is left out.
    Register(Register),
    /// How far the newest fleet is, or one by its number.
    Status {
        /// Its number.
        id: Option<u64>,
        #[command(flatten)]
        appliance: Appliance,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Register {
    /// Host ids, as `host list` shows them.
    #[arg(required_unless_present = "all_ready")]
    hosts: Vec<HostId>,
    /// All servers that wait for the approval of their stake.
    #[arg(long, conflicts_with = "hosts")]
    all_ready: bool,
    /// Only those of this hardware class.
    #[arg(long)]
    class: Option<String>,
    /// Show the cost sheet and change nothing; as without --i-allow.
    #[arg(long, conflicts_with = "i_allow")]
    dry_run: bool,
    /// Register them: the words that the cost sheet names, typed.
    #[arg(long, value_name = "WORDS", requires = "plan")]
    i_allow: Option<String>,
    /// Do it only if the cost sheet is still this one.
    #[arg(long, value_name = "DIGEST")]
    plan: Option<String>,
    /// Give the permission, and do not wait for what comes of it.
    #[arg(long, requires = "i_allow")]
    no_wait: bool,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Register(asked) => register(&asked),
        Verb::Status { id, appliance } => {
            let which = id.map(|id| format!("?id={id}")).unwrap_or_default();
            let view: FleetView = appliance.get(&format!("/api/v1/fleet{which}"))?;
            if appliance.json {
                print(&view)?;
            } else {
                tell(&view);
            }
            Ok(code(&view))
        }
    }
}

fn register(asked: &Register) -> anyhow::Result<ExitCode> {
    let Register { hosts, class, appliance, .. } = asked;
    let ask = FleetAsk { hosts: hosts.iter().map(ToString::to_string).collect(), class: class.clone() };
    let sheet: FleetPlanView = appliance.post("/api/v1/fleet/plan", &ask)?;
    let Some(words) = asked.i_allow.clone().filter(|_| !asked.dry_run) else {
        if appliance.json {
            print(&sheet)?;
        } else {
            tell_sheet(&sheet);
        }
        return Ok(ExitCode::from(u8::from(sheet.barred.is_some() || sheet.missing.is_some())));
    };
    // Enough digits to name one.
    if let Some(wanted) =
        asked.plan.as_ref().filter(|wanted| wanted.len() < 8 || !sheet.plan.starts_with(*wanted))
    {
        bail!("the cost sheet is {} now, not {wanted}; read it again. Nothing is registered", sheet.plan);
    }
    let permission = FleetPermission { ask, words, plan: sheet.plan, by: who() };
    let view: FleetView = appliance.post("/api/v1/fleet", &permission)?;
    if appliance.json {
        print(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    if asked.no_wait {
        say!("fleet {}: `scalerforge fleet status` shows how far it is", view.id);
        return Ok(ExitCode::SUCCESS);
    }
    watch(appliance, view)
}

fn watch(appliance: &Appliance, mut view: FleetView) -> anyhow::Result<ExitCode> {
    let (mut told, mut silent) = (String::new(), 0);
    loop {
        let line = bar(&view);
        if line != told {
            say!("{line}");
            told = line;
        }
        if view.ended_at_ms.is_some() {
            tell(&view);
            return Ok(code(&view));
        }
        std::thread::sleep(LOOK);
        match appliance.get(&format!("/api/v1/fleet?id={}", view.id)) {
            Ok(now) => (view, silent) = (now, 0),
            // It goes on without us, and goes on when the appliance does.
            Err(error) if silent >= SILENT_MAX => return Err(error),
            Err(_) => silent += 1,
        }
    }
}

fn bar(view: &FleetView) -> String {
    let (all, registered) = (view.hosts.len(), usize::try_from(view.registered).unwrap_or_default());
    let full = (registered * BAR).checked_div(all).unwrap_or(BAR);
    let trouble = view.trouble.as_ref().map(|why| format!(", waits: {why}")).unwrap_or_default();
    let (left, batches) = (view.left_out, view.batches);
    format!(
        "[{}{}] {registered} of {all} registered, {left} left out, batch {batches}{trouble}",
        "#".repeat(full.min(BAR)),
        ".".repeat(BAR.saturating_sub(full))
    )
}

fn tell(view: &FleetView) {
    say!("fleet {}, allowed by {}", view.id, view.allowed_by);
    say!("{}", bar(view));
    for host in &view.hosts {
        let note = host.note.as_deref().unwrap_or_default();
        say!("  {:<14} {:<11} {note}", host.host, host.state);
    }
}

/// 1 where a host was left out.
fn code(view: &FleetView) -> ExitCode {
    ExitCode::from(u8::from(view.left_out > 0))
}

fn tell_sheet(sheet: &FleetPlanView) {
    for host in &sheet.hosts {
        say!("  {:<14} {}", host.host, host.stake.as_deref().unwrap_or_default());
    }
    for host in &sheet.left_out {
        say!("  {:<14} LEFT OUT: {}", host.host, host.note.as_deref().unwrap_or_default());
    }
    let (count, batches) = (sheet.hosts.len(), sheet.batches);
    say!("{count} nodes in {batches} transactions");
    say!("stake      {}, until the commitments end", sheet.total);
    say!("available  {}", sheet.available);
    say!("gas        at most {}", sheet.gas_max);
    if let Some(missing) = &sheet.missing {
        say!("MISSING    {missing}: add them first");
    } else if let Some(why) = &sheet.barred {
        say!("Nothing can be registered now: {why}.");
    } else {
        let digits: String = sheet.plan.chars().take(16).collect();
        say!("\nTo do this, repeat the command with  --plan {digits} --i-allow \"{}\"", sheet.words);
    }
}

//! `scalerforge host`: servers, where they are on their way, and why.

use std::process::ExitCode;

use appliance_api::operator::{Approval, BootTry, BootWay, BootsBy, HostDetail, HostView};
use appliance_model::HostId;
use clap::Subcommand;

use crate::{client::Appliance, say};

mod break_glass;
mod erase;
mod install;
mod passport;
mod remedy;
mod secure_boot;
mod wipe;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// All servers.
    List {
        #[command(flatten)]
        appliance: Appliance,
    },
    /// Everything known of a server.
    Show {
        /// Host id, as `host list` shows it.
        id: HostId,
        #[command(flatten)]
        appliance: Appliance,
    },
    /// Why a server is where it is, what ends that, and what a technician can do.
    Why {
        /// Host id.
        id: HostId,
        #[command(flatten)]
        appliance: Appliance,
    },
    /// Enrol a found server.
    Enrol {
        /// Host id.
        id: HostId,
        #[command(flatten)]
        appliance: Appliance,
    },
    /// Try a server again after what was wrong is mended.
    Retry {
        /// Host id.
        id: HostId,
        #[command(flatten)]
        appliance: Appliance,
    },
    /// What would mend a server's firmware and BIOS settings, step by step; with --allow, do it.
    Remedy(remedy::Remedy),
    /// What erasing drives of a server would do; with --i-allow, do it.  Also how it stands, and certificates.
    Erase(erase::Erase),
    /// What a system on a drive of its own would do to a server; with --permit, put it there.
    Install(install::Install),
    /// Put this site's release into the slot that does not run, restart into it, and keep it once it has proven itself.
    Update(install::Update),
    /// Where a server's agent lives: its system, its slots, and what is going on.
    Residence(install::Show),
    /// What a server's firmware trusts; with --permit, this site's images and no others.
    SecureBoot(secure_boot::SecureBoot),
    /// Erase all drives of a server; with --permit, do it.  A committed node wants the end of its commitment typed.
    Wipe(wipe::Wipe),
    /// Hold a server in the discovery image, to look at it over its console: --permit, --end.
    Rescue(wipe::Rescue),
    /// Open a server's own system for SSH, for one key and some minutes: --key, --minutes, --reason, --permit; --end.
    BreakGlass(break_glass::BreakGlass),
    /// What the owner's passports would spare a server's stake; with --permit, which one is staked.
    Passport(passport::Passport),
    /// Approve a server's stake.
    Approve {
        /// Host id.
        id: HostId,
        /// The stake in ICNT's smallest part, as `host show` names it: nobody approves what he did not read.
        #[arg(long)]
        stake: String,
        #[command(flatten)]
        appliance: Appliance,
    },
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::List { appliance } => list(&appliance)?,
        Verb::Show { id, appliance } => show(&id, &appliance)?,
        Verb::Why { id, appliance } => why(&id, &appliance)?,
        Verb::Enrol { id, appliance } => told(&appliance, &format!("/api/v1/hosts/{id}/enrol"), &())?,
        Verb::Retry { id, appliance } => told(&appliance, &format!("/api/v1/hosts/{id}/retry"), &())?,
        Verb::Remedy(asked) => return remedy::run(&asked),
        Verb::Erase(asked) => return erase::run(&asked),
        Verb::Install(asked) => return install::run(&asked),
        Verb::Update(asked) => return install::update(&asked),
        Verb::Wipe(asked) => return wipe::wipe(&asked),
        Verb::BreakGlass(asked) => return break_glass::run(&asked),
        Verb::Rescue(asked) => return wipe::rescue(&asked),
        Verb::Residence(asked) => return install::show(&asked),
        Verb::SecureBoot(asked) => return secure_boot::run(&asked),
        Verb::Passport(asked) => return passport::run(&asked),
        Verb::Approve { id, stake, appliance } => {
            told(&appliance, &format!("/api/v1/hosts/{id}/approve"), &Approval { stake })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(appliance: &Appliance) -> anyhow::Result<()> {
    let hosts: Vec<HostView> = appliance.get("/api/v1/hosts")?;
    if appliance.json {
        return print(&hosts);
    }
    say!("{:<14} {:<10} {:<14} {:<12} WAITS FOR", "ID", "POSITION", "SERIAL", "STAGE");
    for host in hosts {
        let position = host.position.unwrap_or_default();
        say!(
            "{:<14} {:<10} {:<14} {:<12} {}",
            host.id,
            position,
            host.serial,
            host.stage,
            host.why.waiting_for
        );
    }
    Ok(())
}

fn show(id: &HostId, appliance: &Appliance) -> anyhow::Result<()> {
    let detail: HostDetail = appliance.get(&format!("/api/v1/hosts/{id}"))?;
    if appliance.json {
        return print(&detail);
    }
    let host = &detail.host;
    say!("{} · serial {} · {}", host.id, host.serial, host.model.as_deref().unwrap_or("model unknown"));
    say!("position {} · BMC {}", host.position.as_deref().unwrap_or("-"), host.bmc.as_deref().unwrap_or("-"));
    say!("stage {} · waits for {}", host.stage, host.why.waiting_for);
    if let Some(note) = &host.progress_note {
        say!("now {note}");
    }
    if let Some(node) = &host.node {
        say!("node {node} · tier {}", host.tier.as_deref().unwrap_or("-"));
    }
    if let Some(ticket) = &host.boot_ticket {
        say!("{ticket}");
    }
    if let Some(glass) = host.break_glass.as_ref().filter(|glass| glass.on) {
        break_glass::say_glass(glass);
    }
    if let Some(boots) = &detail.boots_by {
        say_boots(boots);
    }
    say!("\nTwo witnesses: {} disagreements", detail.findings.len());
    for finding in &detail.findings {
        let word = |key: &str| finding.get(key).and_then(serde_json::Value::as_str);
        match (word("severity"), word("text")) {
            (Some(severity), Some(text)) => say!("  {severity:<8} {text}"),
            (_, _) => say!("  {finding}"),
        }
    }
    for report in &detail.checks {
        match serde_json::from_value::<firmware_checks_baseline::Report>(report.clone()) {
            Ok(report) => {
                say!("");
                crate::blueprint::say_report(&report);
            }
            Err(_) => say!("{report}"),
        }
    }
    say!("\nJournal");
    let start = detail.journal.first().map_or(0, |first| first.at_ms);
    for line in &detail.journal {
        let seconds = line.at_ms.saturating_sub(start) / 1000;
        say!("  {seconds:>6} s  {:<12} {}", line.stage, line.event);
    }
    Ok(())
}

fn why(id: &HostId, appliance: &Appliance) -> anyhow::Result<()> {
    let detail: HostDetail = appliance.get(&format!("/api/v1/hosts/{id}"))?;
    if appliance.json {
        return print(&detail.host.why);
    }
    let HostDetail { host, boots_by, .. } = detail;
    say!("{} (serial {}) is {}.", host.id, host.serial, host.stage);
    say!("Waits for:  {}", host.why.waiting_for);
    say!("Ends when:  {}", host.why.ends_when);
    say!("You can:    {}", host.why.technician);
    if let Some(ticket) = &host.boot_ticket {
        say!("Trust:      {ticket}");
    }
    // Once it has booted, how it did is no reason to wait for anything.
    if let Some(boots) = boots_by.filter(|_| host.stage == "booting") {
        say_boots(&boots);
    }
    Ok(())
}

/// The ways a host can boot, what was tried, and what an agent's ticket proved.
fn say_boots(boots: &BootsBy) {
    say!("\nBoots by");
    for BootWay { way, closed } in &boots.ways {
        say!("  {way}: {}", closed.as_deref().unwrap_or("open"));
    }
    for BootTry { way, outcome, .. } in &boots.tries {
        say!("  tried {way}: {}", outcome.as_deref().unwrap_or("waiting for its agent"));
    }
    if let Some(proved) = &boots.proved {
        say!("  last proved: {proved}");
    }
}

fn told(appliance: &Appliance, path: &str, body: &impl serde::Serialize) -> anyhow::Result<()> {
    let host: HostView = appliance.post(path, body)?;
    if appliance.json {
        return print(&host);
    }
    say!("{} is {}: waits for {}", host.id, host.stage, host.why.waiting_for);
    Ok(())
}

pub(crate) fn print(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Who sits here, as the system knows him: for the journal.
pub(crate) fn who() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    user.map_or_else(|| format!("uid {}", nix::unistd::getuid()), |user| user.name)
}

//! `scalerforge host erase`: what would be erased, erasing it, how it stands, the certificate.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use appliance_api::erase::{ErasePermission, ErasePlanView, EraseView};
use appliance_model::HostId;
use clap::Args;

use super::print;
use crate::{
    client::{Appliance, encoded},
    say,
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Looks in a row that get no answer: the appliance may be restarted while we watch.
const SILENT_MAX: u32 = 60;
/// Digits of a plan that are enough to name it.
const PLAN_DIGITS_MIN: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// Host id, as `host list` shows it.
    id: HostId,
    /// A drive's serial; once for each drive.
    #[arg(long, value_name = "SERIAL", required_unless_present_any = ["status", "certificate"])]
    drive: Vec<String>,
    /// Erase it: the words "ERASE SERIAL", typed, once for each drive; "ERASE SERIAL WITH LUKS" where it may carry
    /// what belongs to a volume.
    #[arg(long, value_name = "WORDS", requires = "drive")]
    i_allow: Vec<String>,
    /// Do it only if the plan is still this one (its first digits are enough).
    #[arg(long, value_name = "DIGEST", requires = "i_allow")]
    plan: Option<String>,
    /// Give the permission, and do not wait for what comes of it.
    #[arg(long, requires = "i_allow")]
    no_wait: bool,
    /// How the newest erase stands.
    #[arg(long, conflicts_with_all = ["drive", "certificate"])]
    status: bool,
    /// The certificate of a drive that was erased, as a file that strangers can check with `erase verify`.
    #[arg(long, value_name = "SERIAL", conflicts_with = "drive")]
    certificate: Option<String>,
    /// Where the certificate goes, instead of standard output.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    out: Option<PathBuf>,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn run(asked: &Erase) -> anyhow::Result<ExitCode> {
    let Erase { id, appliance, .. } = asked;
    if let Some(serial) = &asked.certificate {
        return certificate(asked, serial);
    }
    if asked.status {
        let view: EraseView = appliance.get(&format!("/api/v1/hosts/{id}/erase"))?;
        if appliance.json {
            print(&view)?;
        } else {
            say_view(&view);
        }
        return Ok(ended(&view));
    }
    let drives = encoded(&asked.drive.join("\n"));
    let plan: ErasePlanView = appliance.get(&format!("/api/v1/hosts/{id}/erase/plan?drives={drives}"))?;
    if asked.i_allow.is_empty() {
        if appliance.json {
            print(&plan)?;
        } else {
            say_plan(&plan);
        }
        return Ok(ExitCode::SUCCESS);
    }
    typed(asked)?;
    if let Some(wanted) = &asked.plan
        && (wanted.len() < PLAN_DIGITS_MIN || !plan.plan.starts_with(&wanted.to_ascii_lowercase()))
    {
        bail!(
            "the plan is {} now, not {wanted} (at least {PLAN_DIGITS_MIN} digits name one); read it again with `host \
             erase {id} --drive SERIAL`. Nothing was erased",
            plan.plan
        );
    }
    let permission = ErasePermission { words: asked.i_allow.clone(), plan: plan.plan, by: super::who() };
    let view: EraseView = appliance.post(&format!("/api/v1/hosts/{id}/erase"), &permission)?;
    if appliance.json {
        print(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    if asked.no_wait {
        say_view(&view);
        return Ok(ExitCode::SUCCESS);
    }
    watch(asked, view)
}

/// Each drive that is named is allowed, and nothing else.
fn typed(asked: &Erase) -> anyhow::Result<()> {
    for drive in &asked.drive {
        let words = format!("ERASE {drive}");
        let with = format!("{words} WITH ");
        if !asked.i_allow.iter().any(|allowed| *allowed == words || allowed.starts_with(&with)) {
            bail!("drive {drive} is not allowed: type --i-allow \"{words}\". Nothing was erased");
        }
    }
    if asked.i_allow.len() != asked.drive.len() {
        bail!(
            "there are other permissions than drives: name each drive once with --drive. Nothing was erased"
        );
    }
    Ok(())
}

fn certificate(asked: &Erase, serial: &str) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/hosts/{}/erase/certificates/{}", asked.id, encoded(serial));
    let bytes = asked.appliance.bytes(&path)?;
    match &asked.out {
        Some(file) => {
            std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
            say!("{}", file.display());
        }
        None => say!("{}", String::from_utf8_lossy(&bytes).trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

fn say_plan(plan: &ErasePlanView) {
    say!("{}, plan {}", plan.host, plan.plan);
    for drive in &plan.drives {
        let (model, name) = (drive.model.as_deref().unwrap_or("model unknown"), drive.name.as_deref());
        say!("  {}: {model}, {} bytes, {}", drive.serial, drive.bytes, name.unwrap_or("no name"));
    }
    say!(
        "Everything on these drives would be gone.  The agent refuses one that is in use or that it booted from."
    );
    if let Some(barred) = &plan.barred {
        say!("\nNothing is erased in it now: {barred}.");
        return;
    }
    let words: Vec<String> = plan
        .drives
        .iter()
        .map(|drive| format!("--drive {0:?} --i-allow \"ERASE {0}\"", drive.serial))
        .collect();
    let digits: String = plan.plan.chars().take(16).collect();
    say!("\nTo do this:  scalerforge host erase {} {} --plan {digits}", plan.host, words.join(" "));
}

pub(super) fn say_view(view: &EraseView) {
    say!("erase {}, allowed by {}", view.id, view.allowed_by);
    for drive in &view.drives {
        let far = drive.permille.map(|permille| format!(" ({} %)", permille / 10)).unwrap_or_default();
        let paper = if drive.certificate { "; certificate: --certificate" } else { "" };
        say!("  {}: {}{far}{paper}", drive.serial, drive.doing);
    }
}

fn watch(asked: &Erase, mut view: EraseView) -> anyhow::Result<ExitCode> {
    let (mut told, mut silent) = (0_usize, 0_u32);
    loop {
        view.journal.iter().skip(told).for_each(|line| say!("{}", line.text));
        told = view.journal.len();
        if view.ended_at_ms.is_some() {
            return Ok(ended(&view));
        }
        std::thread::sleep(LOOK);
        match asked.appliance.get(&format!("/api/v1/hosts/{}/erase", asked.id)) {
            Ok(now) => (view, silent) = (now, 0),
            // The erase goes on without us, and goes on when the appliance does.
            Err(error) if silent >= SILENT_MAX => return Err(error),
            Err(_) => silent += 1,
        }
    }
}

/// 1 where a drive was not erased.
fn ended(view: &EraseView) -> ExitCode {
    let bad = view.drives.iter().any(|drive| matches!(drive.state.as_str(), "failed" | "refused"));
    if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

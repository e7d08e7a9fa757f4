//! `scalerforge host remedy`: what would mend a server's firmware and settings, and doing it.

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use appliance_api::remedy::{RemedyChangeView, RemedyPermission, RemedyPlanView, RemedyRunView};
use appliance_model::HostId;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::print;
use crate::{client::Appliance, say};

/// Between two looks at a run.
const LOOK: Duration = Duration::from_millis(500);
/// Looks in a row that get no answer: the appliance may be restarted while we watch.
const SILENT_MAX: u32 = 60;
/// Digits of a plan that are enough to name it.
const PLAN_DIGITS_MIN: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Remedy {
    /// Host id, as `host list` shows it.
    id: HostId,
    /// Do it: the machine's serial, typed, because what is done restarts machines and changes their firmware.
    #[arg(long, value_name = "SERIAL")]
    allow: Option<String>,
    /// Do it only if the plan is still this one (its first digits are enough).
    #[arg(long, value_name = "DIGEST", requires = "allow")]
    plan: Option<String>,
    /// Older firmware may be chosen too.
    #[arg(long)]
    downgrade: bool,
    /// Watch the newest run, and allow nothing.
    #[arg(long, conflicts_with_all = ["allow", "downgrade"])]
    follow: bool,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn run(asked: &Remedy) -> anyhow::Result<ExitCode> {
    let Remedy { id, appliance, .. } = asked;
    if asked.follow {
        let run: RemedyRunView = appliance.get(&format!("/api/v1/hosts/{id}/remedy/run"))?;
        return if appliance.json { print(&run).map(|()| ended(&run)) } else { watch(asked, run) };
    }
    let query = if asked.downgrade { "?downgrade=true" } else { "" };
    let plan: RemedyPlanView = appliance.get(&format!("/api/v1/hosts/{id}/remedy{query}"))?;
    let Some(serial) = &asked.allow else {
        if appliance.json {
            print(&plan)?
        } else {
            say_plan(asked, &plan)
        }
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(wanted) = &asked.plan
        && (wanted.len() < PLAN_DIGITS_MIN || !plan.plan.starts_with(&wanted.to_ascii_lowercase()))
    {
        bail!(
            "the plan is {} now, not {wanted} (at least {PLAN_DIGITS_MIN} digits name one); read it again with `host \
             remedy {id}`. Nothing was changed",
            plan.plan
        );
    }
    if !appliance.json {
        say_steps(&plan);
    }
    let permission = RemedyPermission {
        serial: serial.clone(),
        plan: plan.plan.clone(),
        by: super::who(),
        downgrade: asked.downgrade,
    };
    let run: RemedyRunView = appliance.post(&format!("/api/v1/hosts/{id}/remedy"), &permission)?;
    if appliance.json {
        print(&run)?;
        return Ok(ExitCode::SUCCESS);
    }
    watch(asked, run)
}

fn say_plan(asked: &Remedy, plan: &RemedyPlanView) {
    say_steps(plan);
    if let Some(run) = &plan.run {
        let words = if run.ended_at_ms.is_some() { "The last run" } else { "Under way" };
        say!("\n{words}, allowed by {}: {}", run.allowed_by, run.doing);
    }
    if let Some(barred) = &plan.barred {
        say!("\nNothing is done to it now: {barred}.");
    } else if !plan.steps.is_empty() {
        let downgrade = if asked.downgrade { " --downgrade" } else { "" };
        let digits: String = plan.plan.chars().take(16).collect();
        say!(
            "\nTo do this:  scalerforge host remedy {} --allow {} --plan {digits}{downgrade}",
            plan.host,
            plan.serial
        );
    }
}

fn say_steps(plan: &RemedyPlanView) {
    say!("{} (serial {}), plan {}", plan.host, plan.serial, plan.plan);
    if plan.steps.is_empty() {
        say!("Nothing is wrong that a plan could mend.");
    }
    for (number, step) in plan.steps.iter().enumerate() {
        say!("\n{}. {}", number + 1, step.what);
        for RemedyChangeView { what, from, to, file, sha256, downgrade } in &step.changes {
            let older = if *downgrade { "  (OLDER than what is there, or nobody can tell)" } else { "" };
            say!("   {what}: {from} → {to}{older}");
            if let (Some(file), Some(sha256)) = (file, sha256) {
                say!("   image {file}, SHA-256 {sha256}");
            }
        }
        for because in &step.because {
            say!("   because {because}");
        }
        say!("   interrupts: {}", step.interrupts);
    }
    if !plan.left.is_empty() {
        say!("\nNot mended by this plan");
    }
    for left in &plan.left {
        say!("  {}: {}", left.what, left.why);
    }
}

/// Shows a run until it ends: a bar on a terminal, lines everywhere.
fn watch(asked: &Remedy, mut run: RemedyRunView) -> anyhow::Result<ExitCode> {
    // It draws nothing where nobody sees it.
    let bar = ProgressBar::new(100);
    bar.set_style(ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}")?);
    let (mut told, mut silent) = (0_usize, 0_u32);
    loop {
        bar.suspend(|| run.journal.iter().skip(told).for_each(|line| say!("{}", line.text)));
        told = run.journal.len();
        if run.ended_at_ms.is_some() {
            bar.finish_and_clear();
            return Ok(ended(&run));
        }
        let step = run.step.map_or(String::new(), |step| format!("step {step} of {}: ", run.steps));
        bar.set_position(u64::from(run.percent));
        bar.set_message(format!("{step}{}", run.doing));
        std::thread::sleep(LOOK);
        let path = format!("/api/v1/hosts/{}/remedy/run", asked.id);
        match asked.appliance.get(&path) {
            Ok(now) => (run, silent) = (now, 0),
            // The run goes on without us, and goes on when the appliance does.
            Err(error) if silent >= SILENT_MAX => return Err(error),
            Err(_) => silent += 1,
        }
    }
}

fn ended(run: &RemedyRunView) -> ExitCode {
    if run.state == "failed" { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

//! `scalerforge burn-in show` and `models`: a host's burn-in as it stands, and the fleet by model.

use std::process::ExitCode;

use appliance_api::burn_in::{BurnInStageView, BurnInTaskView, BurnInView, ModelFigureView, ModelsView};
use appliance_model::HostId;

use super::words::{headline, number, plain, standing, state};
use crate::{client::Appliance, host::print, say};

/// A host's newest burn-in.
pub(super) fn show(id: &HostId, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let view: BurnInView = appliance.get(&path(id))?;
    if appliance.json {
        return print(&view).map(|()| ExitCode::SUCCESS);
    }
    head(&view);
    reasons(&view);
    for stage in &view.stages {
        say_stage(stage, &view);
    }
    let coverage: Vec<&String> = match &view.verdict {
        Some(verdict) if !verdict.coverage.is_empty() => verdict.coverage.iter().collect(),
        Some(_) | None => tasks(&view).flat_map(|task| &task.coverage).collect(),
    };
    if !coverage.is_empty() {
        say!("\nCoverage");
    }
    for line in coverage {
        say!("  {}", plain(line));
    }
    say!("\nProfile   {} ({})", view.profile, view.profile_digest);
    if let Some(stream) = &view.stream {
        say!("Stream    {} lines, root {}", stream.lines, stream.sha256);
    }
    if let Some(report) = &view.report_digest {
        say!("Report    {report}");
    }
    if let Some(evidence) = &view.evidence_digest {
        say!("Evidence  {evidence}");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn path(id: &HostId) -> String {
    format!("/api/v1/hosts/{id}/burn-in")
}

pub(super) fn head(view: &BurnInView) {
    let machine = &view.machine;
    let words = [Some(&machine.serial), machine.model.as_ref(), machine.position.as_ref()];
    let words: Vec<String> = words.into_iter().flatten().map(|word| plain(word)).collect();
    say!("{} · {}", view.host, words.join(" · "));
    say!("{}: {}", view.profile, view.about);
    say!("{}", headline(view));
}

pub(super) fn reasons(view: &BurnInView) {
    for reason in view.verdict.iter().flat_map(|verdict| &verdict.reasons) {
        say!("  {}", plain(reason));
    }
}

pub(super) fn tasks(view: &BurnInView) -> impl Iterator<Item = &BurnInTaskView> {
    view.stages.iter().flat_map(|stage| &stage.tasks)
}

fn say_stage(stage: &BurnInStageView, view: &BurnInView) {
    say!("\n{}", stage.name);
    if stage.tasks.is_empty() {
        say!("  nothing to do on this machine");
    }
    for task in &stage.tasks {
        let model = task.model.as_deref().map(|model| format!("  ({})", plain(model))).unwrap_or_default();
        say!("  {:<28} {:<16} {}{model}", plain(&task.device), task.work, state(task));
        for line in task.faults.iter().chain(&task.why) {
            say!("      {}", plain(line));
        }
        for figure in &task.figures {
            let rules = figure.rules.iter().filter_map(|one| {
                let place = usize::try_from(one.rule).ok()?;
                view.rules.get(place).map(|rule| rule.words.as_str())
            });
            let rules: Vec<&str> = rules.collect();
            let rules = if rules.is_empty() { String::new() } else { format!(": {}", rules.join("; ")) };
            let steady = match figure.attained {
                Some(true) => " (steady)",
                Some(false) => " (not steady)",
                None => "",
            };
            let value = number(figure.value, &figure.unit);
            say!("      {:<24} {value:>20}{steady}  {}{rules}", figure.name, standing(figure));
        }
    }
}

/// The fleet by model.
pub(super) fn models(appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let view: ModelsView = appliance.get("/api/v1/burn-in/models")?;
    if appliance.json {
        return print(&view).map(|()| ExitCode::SUCCESS);
    }
    if view.models.is_empty() {
        say!("No burn-in has ended yet.");
    }
    for (place, model) in view.models.iter().enumerate() {
        if place > 0 {
            say!("");
        }
        say!("{}", plain(&model.model));
        say!(
            "  {:<14} {:<24} {:>4} {:>12} {:>12} {:>12}  UNIT",
            "STAGE",
            "FIGURE",
            "N",
            "LEAST",
            "MEDIAN",
            "GREATEST"
        );
        model.figures.iter().for_each(say_figure);
    }
    Ok(ExitCode::SUCCESS)
}

fn say_figure(figure: &ModelFigureView) {
    let ModelFigureView { stage, figure: name, unit, n, min, median, max, values, .. } = figure;
    say!("  {stage:<14} {name:<24} {n:>4} {min:>12} {median:>12} {max:>12}  {unit}");
    for one in values.iter().filter(|one| one.outlier) {
        let share = (u128::from(one.value) * 1000).checked_div(u128::from(*median)).unwrap_or(1000);
        say!(
            "    OUTLIER {} in {} ({}): {}, {}.{} % of the median",
            plain(&one.device),
            one.host,
            plain(&one.serial),
            number(one.value, unit),
            share / 10,
            share % 10
        );
    }
}

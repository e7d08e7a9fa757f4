//! Numbers, times and states as the burn-in's verbs print them.

use appliance_api::burn_in::{
    BurnInTaskView, BurnInView, FigureView, RunState, TaskState, VerdictView, VerdictWord,
};
use firmware_checks_burn_in::staged::span;

/// How it stands, in a line.
pub(super) fn headline(view: &BurnInView) -> String {
    let left = view.seconds_left.map(|left| format!(", {} left", span(left))).unwrap_or_default();
    match (&view.verdict, view.state) {
        (Some(verdict), _) => word(verdict).into(),
        (None, RunState::Waiting) => format!("not begun{left}"),
        (None, RunState::Running | RunState::Ended) => format!("running, {} %{left}", view.permille / 10),
    }
}

/// The verdict's word.
pub(super) fn word(verdict: &VerdictView) -> &'static str {
    match verdict.word {
        VerdictWord::Pass => "PASSED",
        VerdictWord::Fail => "FAILED",
        VerdictWord::Inconclusive => "INCONCLUSIVE",
    }
}

/// How a task stands.
pub(super) fn state(task: &BurnInTaskView) -> String {
    let took = task.took_seconds.map(|took| format!(" in {}", span(took.into()))).unwrap_or_default();
    match task.state {
        TaskState::Waiting => format!("waits, {}", span(task.seconds.into())),
        TaskState::Running => {
            let left = task.seconds_left.map(|left| format!(", {} left", span(left.into())));
            format!("{} %{}", task.permille / 10, left.unwrap_or_default())
        }
        TaskState::Done if !task.faults.is_empty() => format!("FAULTY{took}"),
        TaskState::Done if breaks_a_rule(task) => format!("breaks a rule{took}"),
        TaskState::Done => format!("done{took}"),
        TaskState::Undone => format!("NOT DONE{took}"),
    }
}

fn breaks_a_rule(task: &BurnInTaskView) -> bool {
    task.figures.iter().flat_map(|figure| &figure.rules).any(|rule| rule.holds == Some(false))
}

/// What the rules say of a figure: the worst of it.
pub(super) fn standing(figure: &FigureView) -> &'static str {
    let any = |holds| figure.rules.iter().any(|rule| rule.holds == holds);
    match (any(Some(false)), any(None), figure.rules.is_empty()) {
        (true, _, _) => "does not hold",
        (false, true, _) => "not compared",
        (false, false, false) => "holds",
        (false, false, true) => "no rule",
    }
}

/// A number with its unit, as rules and reasons write it.
pub(super) fn number(value: u64, unit: &str) -> String {
    let symbol = match unit {
        "count" => "",
        "mebibytes-per-second" => " MiB/s",
        "operations-per-second" => " operations/s",
        "microseconds" => " us",
        "celsius" => " degrees C",
        "megahertz" => " MHz",
        "watts" => " W",
        "gigaflops" => " GFLOP/s",
        other => return format!("{value} {other}"),
    };
    format!("{value}{symbol}")
}

/// What a host or its hardware calls itself, without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

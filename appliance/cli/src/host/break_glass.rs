//! `scalerforge host break-glass`: SSH into a server's own system, for one key and some minutes.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use appliance_api::{
    break_glass::{BreakGlassPermission, BreakGlassView, GlassView},
    residence::AskedBy,
};
use appliance_model::{HostId, SshKey};
use clap::Args;

use super::print;
use crate::{client::Appliance, say};

#[derive(Debug, Args)]
pub(crate) struct BreakGlass {
    /// Host id, as `host list` shows it.
    id: HostId,
    /// The public SSH key that may come in: a .pub file.
    #[arg(long, value_name = "FILE", requires = "permit")]
    key: Option<PathBuf>,
    /// For how long, from now on: at most 240.
    #[arg(long, value_name = "N", requires = "permit")]
    minutes: Option<u64>,
    /// Why: kept with who came in.
    #[arg(long, value_name = "TEXT", requires = "permit")]
    reason: Option<String>,
    /// Do it: the words "break-glass ID", typed; it is restarted at once, and is not proven until the end.
    #[arg(long, value_name = "WORDS", requires_all = ["key", "minutes", "reason"], conflicts_with = "end")]
    permit: Option<String>,
    /// End it: SSH is closed, sessions end, the server restarts without it.
    #[arg(long)]
    end: bool,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn run(asked: &BreakGlass) -> anyhow::Result<ExitCode> {
    let BreakGlass { id, key, minutes, reason, permit, end, appliance } = asked;
    let path = format!("/api/v1/hosts/{id}/break-glass");
    let view: BreakGlassView = match (permit, key, minutes, reason) {
        _ if *end => appliance.post(&format!("{path}/end"), &AskedBy { by: super::who() })?,
        (Some(words), Some(key), Some(minutes), Some(reason)) => {
            if *words != format!("break-glass {id}") {
                bail!("type --permit \"break-glass {id}\": it is restarted at once. Nothing was done");
            }
            let text = std::fs::read_to_string(key).with_context(|| format!("reading {}", key.display()))?;
            // Here already: a private key does not leave this machine.
            let key = SshKey::parse(&text).with_context(|| format!("{}", key.display()))?;
            let permission = BreakGlassPermission {
                words: words.clone(),
                by: super::who(),
                why: reason.clone(),
                key: key.as_str().to_owned(),
                minutes: *minutes,
            };
            appliance.post(&path, &permission)?
        }
        _ => appliance.get(&path)?,
    };
    if appliance.json {
        print(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    match &view.glass {
        Some(glass) => say_glass(glass),
        None => say!("{}: nobody ever opened it", view.host),
    }
    let start = view.journal.first().map_or(0, |first| first.at_ms);
    for line in &view.journal {
        say!("  {:>6} s  {}", line.at_ms.saturating_sub(start) / 1000, line.text);
    }
    match (&view.barred, view.glass.as_ref().is_some_and(|glass| glass.on)) {
        (_, true) => say!("To end it:  scalerforge host break-glass {} --end", view.host),
        (Some(why), false) => say!("Not now: {why}"),
        (None, false) => say!(
            "To open it:  scalerforge host break-glass {} --key KEY.pub --minutes 30 --reason TEXT --permit {:?}",
            view.host,
            view.words
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// How a break-glass stands.
pub(super) fn say_glass(glass: &GlassView) {
    let left = match glass.seconds_left {
        0 => String::new(),
        seconds => format!(", {} min {} s left", seconds / 60, seconds % 60),
    };
    say!("break-glass {}{left}: {}", glass.state, glass.note);
    say!("  by {} for {}, because: {}", glass.by, glass.key, glass.why);
    if let Some(host_key) = &glass.host_key {
        say!("  compare the host's key before you log in: {host_key}");
    }
}

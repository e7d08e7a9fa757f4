//! `scalerforge chain permit`, `revoke`, `audit`: what the operator's account may spend, and what it signed.

use std::process::ExitCode;

use anyhow::bail;
use appliance_api::signing::{SheetView, SignatureView, SpendPermission, SpendingView};
use clap::Args;

use super::sign::said;
use crate::{client::Appliance, host::print, say};

/// `chain permit`.
#[derive(Debug, Args)]
pub(crate) struct Permit {
    /// Tokens that may be staked in any 24 hours (as many moved, as many left to others), such as 500 or 12.5.  Without
    /// it, what is allowed and spent is shown.
    #[arg(long, requires = "gas", requires = "nodes", requires = "until")]
    tokens: Option<String>,
    /// The chain's coin for gas in any 24 hours, such as 0.05.
    #[arg(long)]
    gas: Option<String>,
    /// Nodes registered in any 24 hours.
    #[arg(long)]
    nodes: Option<u32>,
    /// The last day (UTC), such as 2026-12-31.
    #[arg(long)]
    until: Option<String>,
    /// The words that allow it, as shown.  Without them you are asked.
    #[arg(long, value_name = "WORDS")]
    say: Option<String>,
    #[command(flatten)]
    appliance: Appliance,
}

/// `chain audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Lines at most.
    #[arg(long, default_value_t = 100)]
    limit: u64,
    #[command(flatten)]
    appliance: Appliance,
}

/// `chain revoke`.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The permission's number.
    permission: u64,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn permit(verb: Permit) -> anyhow::Result<ExitCode> {
    let (Some(tokens), Some(gas), Some(nodes), Some(until)) = (verb.tokens, verb.gas, verb.nodes, verb.until)
    else {
        return spending(&verb.appliance);
    };
    let words = format!("SPEND {tokens} ICNT {gas} COIN {nodes} NODES A DAY UNTIL {until}");
    let query: String = words.chars().map(|c| if c == ' ' { '+' } else { c }).collect();
    if !query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte)) {
        bail!("amounts are digits with a point, the day is such as 2026-12-31; nothing was allowed");
    }
    let sheet: SheetView = verb.appliance.get(&format!("/api/v1/chain/spending/sheet?words={query}"))?;
    if !verb.appliance.json {
        sheet.lines.iter().for_each(|line| say!("{line}"));
    }
    let words = said(verb.say.as_deref(), &sheet.words)?;
    if words != sheet.words {
        bail!("these are not the words \"{}\"; nothing was allowed", sheet.words);
    }
    let permission = SpendPermission { words, sheet: sheet.sheet, by: crate::host::who() };
    let view: SpendingView = verb.appliance.post("/api/v1/chain/spending", &permission)?;
    if verb.appliance.json {
        print(&view)?;
    } else {
        say!(
            "allowed; `scalerforge chain revoke {}` takes it back",
            view.permissions.last().map_or(0, |last| last.id)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn spending(appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let view: SpendingView = appliance.get("/api/v1/chain/spending")?;
    if appliance.json {
        print(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("account {} on chain {}", view.account, view.chain_id);
    if !view.demanded {
        say!("a development chain: what it signs is worth nothing, and nobody has to allow it");
    }
    let used = view.used;
    say!(
        "signed for in the last 24 hours: staked {}, moved {}, let others take {}, gas {}, {} node(s)",
        used.staked,
        used.moved,
        used.allowed,
        used.gas,
        used.registrations
    );
    for row in &view.permissions {
        let state = match (row.revoked_at_ms, row.holds) {
            (Some(_), _) => "taken back",
            (None, true) => "holds",
            (None, false) => "over",
        };
        say!("permission {} by {}: {} ({state})", row.id, row.by, row.words);
    }
    if view.demanded && !view.permissions.iter().any(|row| row.holds) {
        say!("nothing is allowed: see `scalerforge chain permit --help`");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn revoke(verb: &Revoke) -> anyhow::Result<ExitCode> {
    verb.appliance.delete(&format!("/api/v1/chain/spending/{}", verb.permission))?;
    say!("permission {} is taken back; what was signed stays signed", verb.permission);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn audit(verb: &Audit) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/chain/signatures?limit={}", verb.limit);
    let lines: Vec<SignatureView> = verb.appliance.get(&path)?;
    if verb.appliance.json {
        print(&lines)?;
        return Ok(ExitCode::SUCCESS);
    }
    if lines.is_empty() {
        say!("nothing was asked for a signature yet");
    }
    for line in lines {
        let times = if line.times > 1 { format!(", asked for {} times", line.times) } else { String::new() };
        say!(
            "{} {} ms  {} ({}{times}): {}",
            line.id,
            line.at_ms,
            line.outcome,
            line.slot,
            line.words.join("; ")
        );
        if let Some(why) = line.why {
            say!("    {why}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

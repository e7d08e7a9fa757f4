//! `scalerforge chain alerts`: what people must know of the nodes, and that they have read it.

use std::process::ExitCode;

use appliance_api::alerts::{Acknowledgement, AlertView};
use clap::{Args, Subcommand};

use crate::{
    client::Appliance,
    host::{print, who},
    say,
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Alerts {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Also those that somebody acknowledged, that ended by themselves, or that a reorganisation took back.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    appliance: Appliance,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say that you have read an alert: it is shown no more.
    Ack {
        /// The alert's id, as the list shows it.
        id: String,
        #[command(flatten)]
        appliance: Appliance,
    },
}

/// Exit status 1 where an urgent alert is open, so that a script can ask.
pub(crate) fn run(asked: &Alerts) -> anyhow::Result<ExitCode> {
    let (appliance, alerts): (_, Vec<AlertView>) = match &asked.verb {
        None => {
            let which = if asked.all { "" } else { "?open=true" };
            (&asked.appliance, asked.appliance.get(&format!("/api/v1/chain/alerts{which}"))?)
        }
        Some(Verb::Ack { id, appliance }) => {
            let body = Acknowledgement { by: who() };
            let path = format!("/api/v1/chain/alerts/{}/acknowledge", crate::client::encoded(id));
            (appliance, appliance.post(&path, &body)?)
        }
    };
    if appliance.json {
        print(&alerts)?;
    } else if alerts.is_empty() {
        say!("nothing to know");
    } else {
        alerts.iter().for_each(tell);
    }
    let urgent = alerts.iter().any(|alert| alert.level == "urgent" && is_open(alert));
    Ok(ExitCode::from(u8::from(urgent)))
}

fn is_open(alert: &AlertView) -> bool {
    !alert.withdrawn && !alert.cleared && alert.acknowledged_by.is_none()
}

fn tell(alert: &AlertView) {
    let until = alert.until_unix.map(|until| format!(", until {}", chain_fleet::time(until)));
    let state = match alert {
        AlertView { withdrawn: true, .. } => "  [taken back: its block is gone]".to_owned(),
        AlertView { cleared: true, .. } => "  [over]".to_owned(),
        AlertView { acknowledged_by: Some(by), .. } => format!("  [read by {by}]"),
        AlertView { .. } => String::new(),
    };
    let at = chain_fleet::time(alert.at_unix);
    say!("{} {at}{}{state}", alert.level.to_uppercase(), until.unwrap_or_default());
    say!("  {}", alert.text);
    say!("  {}", alert.id);
}

//! `scalerforge host install`, `update` and `residence`: systems on hosts' own drives.

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use appliance_api::residence::{AskedBy, InstallPermission, ReleaseView, ResidenceView, UpdateView};
use appliance_model::HostId;
use clap::Args;

use super::print;
use crate::{client::Appliance, say};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Looks in a row that get no answer: the appliance may be restarted while we watch.
const SILENT_MAX: u32 = 60;

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// Host id, as `host list` shows it.
    id: HostId,
    /// The drive's serial: all that is on it is lost.
    #[arg(long, value_name = "SERIAL", required_unless_present = "call_off")]
    drive: Option<String>,
    /// Do it: the words "install on SERIAL", typed.
    #[arg(long, value_name = "WORDS", requires = "drive")]
    permit: Option<String>,
    /// What the agent found on the drive may be lost: its digest, as `host residence` names it (16 digits are enough).
    #[arg(long, value_name = "DIGEST", requires = "permit")]
    over: Option<String>,
    /// Give the permission, and do not wait for what comes of it.
    #[arg(long, requires = "permit")]
    no_wait: bool,
    /// Take a permission back that the agent has not finished with.
    #[arg(long, conflicts_with = "drive")]
    call_off: bool,
    #[command(flatten)]
    appliance: Appliance,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Host id, as `host list` shows it.
    #[arg(required_unless_present = "all")]
    id: Option<HostId>,
    /// Every host that has a system of its own, one after the other; the first that comes to nothing ends it.
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// Do not wait for what comes of it.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    appliance: Appliance,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Host id, as `host list` shows it.
    id: HostId,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn show(asked: &Show) -> anyhow::Result<ExitCode> {
    let Show { id, appliance } = asked;
    let view: ResidenceView = appliance.get(&format!("/api/v1/hosts/{id}/residence"))?;
    if appliance.json {
        print(&view)?;
    } else {
        say_view(&view);
    }
    Ok(ended(&view))
}

pub(crate) fn run(asked: &Install) -> anyhow::Result<ExitCode> {
    let Install { id, appliance, .. } = asked;
    let by = super::who();
    if asked.call_off {
        let view = appliance.post(&format!("/api/v1/hosts/{id}/install/call-off"), &AskedBy { by })?;
        return told(appliance, &view);
    }
    let drive = asked.drive.as_deref().unwrap_or_default();
    let Some(words) = &asked.permit else {
        let view: ResidenceView = appliance.get(&format!("/api/v1/hosts/{id}/residence"))?;
        if appliance.json {
            print(&view)?;
            return Ok(ExitCode::SUCCESS);
        }
        say_plan(&view, drive);
        return Ok(ExitCode::SUCCESS);
    };
    if *words != format!("install on {drive}") {
        bail!("type --permit \"install on {drive}\": all that is on that drive is lost. Nothing was written");
    }
    let permission =
        InstallPermission { drive: drive.to_owned(), words: words.clone(), over: asked.over.clone(), by };
    let view: ResidenceView = appliance.post(&format!("/api/v1/hosts/{id}/install"), &permission)?;
    if asked.no_wait || appliance.json { told(appliance, &view) } else { watch(id, appliance, view) }
}

pub(crate) fn update(asked: &Update) -> anyhow::Result<ExitCode> {
    let Update { appliance, .. } = asked;
    let by = AskedBy { by: super::who() };
    let Some(id) = &asked.id else {
        let view: UpdateView = appliance.post("/api/v1/update", &by)?;
        if appliance.json {
            print(&view)?;
        } else {
            view.hosts
                .iter()
                .for_each(|host| say!("{host}: in line; `host residence {host}` shows how far it is"));
            view.left.iter().for_each(|left| say!("{}: left as it is: {}", left.host, left.why));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let view: ResidenceView = appliance.post(&format!("/api/v1/hosts/{id}/update"), &by)?;
    if asked.no_wait || appliance.json { told(appliance, &view) } else { watch(id, appliance, view) }
}

fn told(appliance: &Appliance, view: &ResidenceView) -> anyhow::Result<ExitCode> {
    if appliance.json {
        print(view)?;
    } else {
        say_view(view);
    }
    Ok(ended(view))
}

fn named(release: &ReleaseView) -> String {
    format!("{} {} (epoch {}, root {:.16})", release.name, release.version, release.epoch, release.root_hash)
}

fn say_plan(view: &ResidenceView, drive: &str) {
    match &view.offered {
        Some(release) => say!("{} would get {} on drive {drive:?}.", view.host, named(release)),
        None => say!(
            "this site gives hosts no system of their own: name a release in the site file's section [host]"
        ),
    }
    say!(
        "Everything on that drive would be gone.  The agent refuses one that is in use, and asks about one that is not empty."
    );
    match &view.barred {
        Some(why) => say!("\nNothing is installed on it now: {why}."),
        None => say!(
            "\nTo do this:  scalerforge host install {} --drive {drive:?} --permit \"install on {drive}\"",
            view.host
        ),
    }
}

fn say_view(view: &ResidenceView) {
    say!("{} {}", view.host, view.doing);
    if let Some(home) = &view.home {
        let drive = home.drive.as_deref().unwrap_or("that tells no serial");
        say!("home   {} in slot {} on drive {drive}; floor {}", named(&home.release), home.slot, view.floor);
    }
    if let Some(release) = &view.offered {
        say!("offers {}", named(release));
    }
    for one in &view.found {
        say!("  found partition {} {:?}, {} bytes: {}", one.number, one.name, one.bytes, one.holds);
    }
    if let Some(over) = &view.over {
        say!("  to have that lost:  --over {over:.16}");
    }
    say!("\nJournal");
    let start = view.journal.first().map_or(0, |first| first.at_ms);
    for line in &view.journal {
        say!("  {:>6} s  {}", line.at_ms.saturating_sub(start) / 1000, line.text);
    }
}

fn watch(id: &HostId, appliance: &Appliance, mut view: ResidenceView) -> anyhow::Result<ExitCode> {
    let (mut told, mut silent) = (view.journal.len().saturating_sub(1), 0_u32);
    let mut doing = view.doing.clone();
    loop {
        if view.state == "asked" && doing != view.doing {
            say!("{}", view.doing);
        }
        doing.clone_from(&view.doing);
        view.journal.iter().skip(told).for_each(|line| say!("{}", line.text));
        told = view.journal.len();
        if matches!(view.state.as_str(), "settled" | "occupied" | "failed") {
            for one in &view.found {
                say!("  found partition {} {:?}, {} bytes: {}", one.number, one.name, one.bytes, one.holds);
            }
            return Ok(ended(&view));
        }
        std::thread::sleep(LOOK);
        match appliance.get(&format!("/api/v1/hosts/{id}/residence")) {
            Ok(now) => (view, silent) = (now, 0),
            // It goes on without us, and goes on when the appliance does.
            Err(error) if silent >= SILENT_MAX => return Err(error),
            Err(_) => silent += 1,
        }
    }
}

/// 1 where what was wanted did not come about.
fn ended(view: &ResidenceView) -> ExitCode {
    if matches!(view.state.as_str(), "occupied" | "failed") { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

//! `scalerforge bmc`: one management controller by Redfish, before anything is enrolled: what it is, what will work,
//! and a copy of it for others.  It reads and changes nothing; its session is ended when it is done.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use appliance_bmc::{
    Bmc, BmcView, Capture, Captured, Contact, Keep, Options, Password, Pin, Progress, SensorKind, Severity,
    doctor,
};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{accounts, host::print, say, terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    Read(Reading),
    #[command(flatten)]
    Accounts(accounts::Verb),
}

/// What only reads.
#[derive(Debug, Subcommand)]
pub(crate) enum Reading {
    /// What a controller says of its machine and of itself.
    Show {
        #[command(flatten)]
        controller: Controller,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// What will work and what will not, in plain words, before the first reboot.  Exit status 1: the machine cannot
    /// be provisioned as it stands.
    Doctor {
        #[command(flatten)]
        controller: Controller,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Copy a controller's tree into a folder that others can replay: serials, addresses, names and secrets become
    /// pseudonyms.  An interrupted copy goes on when it is started again.
    Capture {
        #[command(flatten)]
        controller: Controller,
        /// The folder.
        #[arg(long)]
        into: PathBuf,
        /// Most resources.
        #[arg(long, default_value_t = 20_000)]
        resources_max: usize,
        /// Print what was captured as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which controller, and who asks.
#[derive(Debug, Args)]
pub(crate) struct Controller {
    /// Its address, as in https://10.78.0.11.
    url: String,
    /// User.
    #[arg(long, default_value = "admin")]
    user: String,
    /// File with the password in its first line; without it the terminal is asked.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// SHA-256 of its key, as `bmc show` prints it: another one is not spoken to.
    #[arg(long)]
    pin: Option<Pin>,
}

/// Largest resource of a capture: registries of settings are the largest.
const CAPTURE_BODY_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a capture.
const CAPTURE_BYTES_MAX: u64 = 1 << 30;
/// Findings, firmware and log entries shown on a page; `--json` has all.
const LINES_MAX: usize = 12;

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Read(verb) => read(verb),
        Verb::Accounts(verb) => accounts::run(verb),
    }
}

fn read(verb: Reading) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match verb {
            Reading::Show { controller, json } => show(&controller, json).await,
            Reading::Doctor { controller, json } => examine(&controller, json).await,
            Reading::Capture { controller, into, resources_max, json } => {
                capture(&controller, &into, resources_max, json).await
            }
        }
    })
}

impl Controller {
    fn client(&self, options: Options) -> anyhow::Result<Bmc> {
        let password = terminal::password(self.password_file.as_deref(), &self.user)?;
        let (url, user) = (self.url.clone(), self.user.clone());
        Ok(Bmc::with(Contact { url, user, password: Password::new(password), pin: self.pin }, options)?)
    }

    async fn view(&self) -> anyhow::Result<BmcView> {
        let bmc = self.client(Options { keep: Keep::Digests, ..Options::default() })?;
        let waiting = spinner(format!("reading {}", self.url));
        let view = bmc.inventory().await;
        bmc.log_out().await;
        waiting.finish_and_clear();
        Ok(view?)
    }
}

async fn show(controller: &Controller, json: bool) -> anyhow::Result<ExitCode> {
    let view = controller.view().await?;
    if json {
        print(&view)?;
    } else {
        page(&view);
    }
    Ok(ExitCode::SUCCESS)
}

async fn examine(controller: &Controller, json: bool) -> anyhow::Result<ExitCode> {
    let diagnosis = doctor::examine(&controller.view().await?);
    if json {
        print(&diagnosis)?;
    } else {
        say!("{}", diagnosis.to_string().trim_end());
    }
    Ok(ExitCode::from(u8::from(!diagnosis.ready)))
}

async fn capture(
    controller: &Controller,
    into: &Path,
    documents_max: usize,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let options =
        Options { body_bytes_max: CAPTURE_BODY_BYTES_MAX, keep: Keep::Digests, ..Options::default() };
    let bmc = controller.client(options)?;
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).context("the system gives no randomness for the pseudonyms")?;
    let plan = Capture { into: into.to_owned(), salt, documents_max, bytes_max: CAPTURE_BYTES_MAX };
    let bar = bar();
    let captured = bmc.capture(&plan, |progress| tick(&bar, progress)).await;
    bmc.log_out().await;
    bar.finish_and_clear();
    let captured = captured?;
    if json {
        print(&captured)?;
    } else {
        told(&captured, into);
    }
    Ok(ExitCode::from(u8::from(captured.cut)))
}

fn told(captured: &Captured, into: &Path) {
    say!(
        "{} resources in {}, {} names replaced{}",
        captured.documents,
        into.display(),
        captured.pseudonyms,
        if captured.resumed { "; an interrupted capture was gone on with" } else { "" }
    );
    for (path, why) in captured.not_read.iter().take(LINES_MAX) {
        say!("  not there: {path} {why}");
    }
    if captured.not_read.len() > LINES_MAX {
        say!("  and {} more, in capture.json", captured.not_read.len() - LINES_MAX);
    }
    if captured.cut {
        say!(
            "a bound ended it; capture.state holds real names, so share nothing before it is complete: start it again"
        );
    } else {
        say!("look through it before you share it: what a maker hides in free text, no rule finds");
    }
}

fn page(view: &BmcView) {
    let (machine, service) = (&view.inventory, &view.service);
    let words = |texts: &[&Option<String>]| {
        texts.iter().filter_map(|text| text.as_deref()).collect::<Vec<_>>().join(" ")
    };
    let system = &machine.system;
    say!("machine     {}", words(&[&system.manufacturer, &system.product]));
    if let Some(serial) = &system.serial {
        say!("serial      {serial}");
    }
    say!("BIOS        {}", words(&[&system.bios_version]));
    say!(
        "controller  {}",
        words(&[&service.vendor, &service.product, &service.manager_model, &system.bmc_version])
    );
    if let Some(pin) = view.pin {
        say!("key         {pin}");
    }
    say!(
        "made of     {} processors, {} memory modules, {} drives, {} network ports, {} GPUs, {} PCIe devices",
        machine.cpus.len(),
        machine.dimms.len(),
        machine.drives.len(),
        machine.nics.len(),
        machine.gpus.len(),
        view.pcie.len()
    );
    let place: Vec<String> = view
        .chassis
        .iter()
        .take(1)
        .flat_map(|chassis| {
            [chassis.rack.clone(), chassis.unit.map(|unit| format!("unit {unit}"))].into_iter().flatten()
        })
        .collect();
    if !place.is_empty() {
        say!("stands in   {}", place.join(", "));
    }
    say!("boots from  {}", view.boot_targets.join(", "));
    if let Some(hottest) = view
        .sensors
        .iter()
        .filter(|s| s.kind == SensorKind::Temperature)
        .filter_map(|s| Some((s.value_milli?, &s.name)))
        .max()
    {
        say!("sensors     {}, the hottest {} °C ({})", view.sensors.len(), hottest.0 / 1000, hottest.1);
    }
    let on: Vec<&str> = view.services.iter().filter(|one| one.enabled).map(|one| one.name.as_str()).collect();
    say!("services    {}", on.join(", "));
    say!("firmware    {} components, {} log entries", view.firmware.len(), view.logs.len());
    for quirk in &view.quirks {
        say!("known       {}: {}", quirk.id, quirk.story);
    }
    let shown: Vec<_> = view.findings.iter().filter(|finding| finding.severity > Severity::Info).collect();
    for finding in shown.iter().take(LINES_MAX) {
        say!("finding     {} {}", finding.url, finding.what);
    }
    if shown.len() > LINES_MAX {
        say!("            and {} more, in --json", shown.len() - LINES_MAX);
    }
}

/// Shown on a terminal only.
fn spinner(message: String) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(std::time::Duration::from_millis(120));
    spinner
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} resources, {msg} ({elapsed})");
    ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn tick(bar: &ProgressBar, progress: Progress) {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    bar.set_length(count(progress.documents + progress.waiting));
    bar.set_position(count(progress.documents));
    bar.set_message(format!("{} KiB", progress.bytes / 1024));
}

//! `scalerforge appliance check`: whether the system that runs is well; and where that is wanted, what follows from it for
//! a system on trial.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use appliance_api::{agent::host::PROMOTION_MINUTES_MAX, operator::HostView};
use appliance_console::{Level, Line};
use appliance_first_run::SITE_FILE;
use attest_tpm::floor;
use clap::Args;
use image_agent::{residence, system::Leave};
use image_slots::{
    install,
    trial::{Health, Standing, Verdict, verdict},
};
use ureq::tls::{TlsConfig, TlsProvider};

use super::Here;
use crate::{client::Appliance, said, say};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// A page on the same machine that takes longer is not well.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Keep looking: mark the system good once it is well, and restart where it is not in time and there is another.
    #[arg(long)]
    until_good: bool,
    /// The site directory.
    #[arg(long, default_value = "/var/lib/scalerforge")]
    site: PathBuf,
    /// Where the page of the first run says its port and its code.
    #[arg(long, default_value = crate::console::INVITATION)]
    invitation: PathBuf,
    /// Where what is wrong is left for this machine's screen.
    #[arg(long, default_value = said::SAID)]
    said: PathBuf,
    #[command(flatten)]
    here: Here,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.until_good {
        return until_good(options);
    }
    let health = look(options);
    match health.ill() {
        None => {
            say!("The page answers, and the database opens.");
            Ok(ExitCode::SUCCESS)
        }
        Some(why) => {
            say!("Not well: {why}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn until_good(options: &Options) -> anyhow::Result<ExitCode> {
    let running = options.here.installed()?;
    let own = running.release.root_hash.0;
    let standing = || -> anyhow::Result<(Standing, Vec<Line>)> {
        let mut drive = options.here.drive(&running)?;
        let survey = install::survey(&mut drive, &own).with_context(|| format!("drive {}", running.drive))?;
        let vain = survey.failed.iter().map(|failed| Line {
            level: Level::Warn,
            text: format!(
                "{} in slot {} was tried in vain, and {} runs again: look at its console when it starts, and take another \
                 release",
                failed.release, failed.slot, running.release.version
            ),
        });
        Ok((Standing { tries_left: survey.tries_left, other: survey.other }, vain.collect()))
    };
    let patience = PROMOTION_MINUTES_MAX * 60;
    let mut begun = now();
    let mut last = String::new();
    loop {
        let (at, vain) = standing()?;
        let health = look(options);
        // A clock that is wrong holds the service up, whichever system runs.
        if appliance_server::first_run::clock().is_some() {
            begun = now();
        }
        let waited = now().saturating_duration_since(begun).as_secs();
        let tries = at.tries_left.unwrap_or(0);
        let (why, lasts) = match verdict(at, &health, waited, patience) {
            Verdict::Settled => {
                said::on_screen(&options.said, "trial", &vain);
                // Whoever marked it good may have been cut off before the floor was raised.
                raise(options, running.release.epoch);
                return Ok(ExitCode::SUCCESS);
            }
            Verdict::Good => {
                said::on_screen(&options.said, "trial", &[]);
                return good(options, &running);
            }
            Verdict::GiveUp(why) => {
                say!(
                    "this system was not well in {PROMOTION_MINUTES_MAX} minutes ({why}): restarting, and after its last try the other slot's is back"
                );
                residence::leave_installed(Leave::Reboot);
                return Ok(ExitCode::FAILURE);
            }
            Verdict::Wait(why) => (why, format!("{tries} tries left after this one")),
            Verdict::Alone(why) => (why, "and there is no other to go back to".to_owned()),
        };
        let text = format!("version {} is on trial, {lasts}; it waits for {why}", running.release.version);
        if text != last {
            say!("{text}");
            last.clone_from(&text);
        }
        said::on_screen(&options.said, "trial", &[Line { level: Level::Warn, text }]);
        thread::sleep(LOOK);
    }
}

/// Marks the system good, and raises the floor to its epoch behind that: a cut between forbids less.
fn good(options: &Options, running: &residence::Running) -> anyhow::Result<ExitCode> {
    let _alone = options.here.alone()?;
    let mut drive = options.here.drive(running)?;
    let slot = install::promote(&mut drive, &running.release.root_hash.0)?;
    say!("Slot {slot} is good: its page answers, and its database opens.");
    raise(options, running.release.epoch);
    Ok(ExitCode::SUCCESS)
}

/// Raises the floor to this epoch, where it is lower; doing it twice is doing it once.
fn raise(options: &Options, epoch: u32) {
    match options.here.tpm().map(|mut tpm| floor::raise(&mut tpm, epoch)) {
        Some(Ok(floor)) => say!("The rollback floor is {floor}."),
        Some(Err(error)) => {
            say!("The rollback floor could not be raised: {}", appliance_server::chain_of(&error))
        }
        None => say!("No rollback floor is kept: there is no TPM that answers."),
    }
}

#[expect(clippy::disallowed_methods, reason = "who waits for a service counts the seconds")]
fn now() -> Instant {
    Instant::now()
}

/// How the system is now.
fn look(options: &Options) -> Health {
    let Ok(text) = std::fs::read_to_string(options.site.join(SITE_FILE)) else {
        // No site, so no database: the first run must be possible.
        return Health {
            page: invited(&options.invitation).and_then(|port| answers(&format!("127.0.0.1:{port}"))),
            database: Ok(()),
        };
    };
    let table: toml::Table = text.parse().unwrap_or_default();
    let page =
        table.get("operator").and_then(|operator| operator.get("page")).and_then(|page| page.get("listen"));
    let page = match page.and_then(toml::Value::as_str).map(str::parse::<std::net::SocketAddr>) {
        Some(Ok(at)) => answers(&reached(at).to_string()),
        Some(Err(_)) => Err("operator.page.listen of the site file is no address".into()),
        // It is on the operators' own address, which is asked next.
        None => Ok(()),
    };
    let hosts: anyhow::Result<Vec<HostView>> = options.appliance.get("/api/v1/hosts");
    Health { page, database: hosts.map(drop).map_err(|error| appliance_server::chain_of(error.as_ref())) }
}

/// What listens everywhere is reached here.
fn reached(at: std::net::SocketAddr) -> std::net::SocketAddr {
    if at.ip().is_unspecified() { (std::net::Ipv4Addr::LOCALHOST, at.port()).into() } else { at }
}

fn invited(file: &Path) -> Result<u16, String> {
    let text =
        std::fs::read_to_string(file).map_err(|_| "the first run's page is not there yet".to_owned())?;
    text.lines()
        .next()
        .and_then(|port| port.parse().ok())
        .ok_or_else(|| "the first run's page says no port".into())
}

/// Whether something answers HTTP over TLS there: who that is does not matter, it is this machine.
fn answers(at: &str) -> Result<(), String> {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .disable_verification(true)
        .build();
    let config = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).proxy(None);
    let agent: ureq::Agent = config.timeout_global(Some(ANSWER_MAX)).build().into();
    match agent.get(format!("https://{at}/")).call() {
        Ok(answer) if answer.status().is_server_error() => {
            Err(format!("https://{at}/ answers {}", answer.status()))
        }
        // One that asks for a password is well.
        Ok(_) => Ok(()),
        Err(error) => Err(format!("https://{at}/ does not answer ({error})")),
    }
}

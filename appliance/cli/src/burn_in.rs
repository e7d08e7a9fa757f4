//! `scalerforge burn-in`: what a machine would go through, whether a plan is for it, and what a result stream comes to.
//!
//! Plans are made and streams are judged here, by the same crate as in the appliance and the agent; nothing is started.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use appliance_api::operator::HostDetail;
use appliance_model::{
    HostId, Serial,
    burn_in::{
        Verdict,
        staged::{Report, SpanConsent},
    },
    inventory::Inventory,
};
use clap::{Args, Subcommand};
use firmware_checks_burn_in::{
    staged::{self, Given, Profile, span},
    stream::{self, Run, STREAM_BYTES_MAX},
};

use crate::{client::Appliance, host::print, say};

mod consent;
mod show;
mod watch;
mod words;

/// The largest plan, inventory or profile read; a rack server's inventory is under 1 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What a machine would go through, in which order, and by which rules it would be judged.  Starts nothing.
    Plan(Box<Plan>),
    /// Whether a plan (`burn-in plan --json`) is for a machine: its serials and devices.  Exit status 2: it is not.
    Check {
        /// The plan.
        plan: PathBuf,
        #[command(flatten)]
        machine: Machine,
    },
    /// Judge a result stream again.  Exit status 0: pass, 1: fail or inconclusive, 2: a line that was left out, changed,
    /// swapped, doubled or cut.
    Judge {
        /// The stream, as `/api/v1/hosts/ID/burn-in/stream` has it.
        file: PathBuf,
        /// The report that a machine's statement names (the burn-in attachment of its evidence): the stream must be the
        /// one behind it.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// A server's newest burn-in: verdict, tasks, figures with their rules, coverage.
    Show(Of),
    /// Watch a server's burn-in until it has its verdict.  Exit status 0: pass, 1: fail or inconclusive.
    Watch(Of),
    /// Allow a span of a drive to be overwritten by a server's next burn-in.
    Consent(consent::Consent),
    /// What of a server's drives may be overwritten.
    Consents(Of),
    /// The fleet by model: least, median and greatest of each figure, outliers by name.
    Models {
        #[command(flatten)]
        appliance: Appliance,
    },
    /// The profiles this program knows, or the file of one of them.
    Profiles {
        /// The one whose file is printed.
        name: Option<String>,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// A host of an appliance.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// Host id, as `host list` shows it.
    id: HostId,
    #[command(flatten)]
    appliance: Appliance,
}

/// Which machine.
#[derive(Debug, Args)]
pub(crate) struct Machine {
    /// Host id, as `host list` shows it.
    #[arg(required_unless_present = "inventory", conflicts_with = "inventory")]
    host: Option<HostId>,
    /// The agent's inventory (JSON) instead of a host; no appliance is asked.
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
    #[command(flatten)]
    appliance: Appliance,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    machine: Machine,
    /// Name of a profile this program knows, or its file.
    #[arg(long, value_name = "NAME|FILE", default_value = "admit")]
    profile: String,
    /// Hardware class, for profiles that have times of their own for it.
    #[arg(long)]
    class: Option<String>,
    /// Plan for a span of a drive that may be overwritten: serial, first byte, length.  May be given for several drives.
    #[arg(long, value_name = "SERIAL:START:BYTES")]
    consent: Vec<String>,
    /// Its management controller can be asked.
    #[arg(long)]
    controller: bool,
    /// There is somebody at the other end of its network.
    #[arg(long)]
    partners: bool,
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Plan(call) => plan(&call),
        Verb::Check { plan, machine } => check(&plan, &machine),
        Verb::Judge { file, report, json } => judge(&file, report.as_deref(), json),
        Verb::Show(of) => show::show(&of.id, &of.appliance),
        Verb::Watch(of) => watch::watch(&of.id, &of.appliance),
        Verb::Consent(call) => consent::consent(&call),
        Verb::Consents(of) => consent::consents(&of.id, &of.appliance),
        Verb::Models { appliance } => show::models(&appliance),
        Verb::Profiles { name, json } => profiles(name.as_deref(), json),
    }
}

fn plan(call: &Plan) -> anyhow::Result<ExitCode> {
    let profile = profile(&call.profile)?;
    let inventory = call.machine.inventory()?;
    let consents = call.consent.iter().map(|text| consent(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let given = Given {
        class: call.class.as_deref(),
        consents: &consents,
        controller: call.controller,
        partners: call.partners,
    };
    let course = staged::plan(&inventory, &profile, given)?;
    if call.machine.appliance.json {
        print(&course)?;
    } else {
        say!("{}", staged::show(&course, &profile).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn check(file: &Path, machine: &Machine) -> anyhow::Result<ExitCode> {
    let text = text(file, FILE_BYTES_MAX)?;
    let course = staged::read_plan(&text, &machine.inventory()?).with_context(|| named(file))?;
    if machine.appliance.json {
        print(&course)?;
    } else {
        let tasks: usize = course.stages.iter().flat_map(|stage| &stage.waves).map(Vec::len).sum();
        say!(
            "a plan of profile {} for machine {}: {tasks} tasks, all for devices in it",
            course.profile,
            course.serial
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn judge(file: &Path, report: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let text = text(file, STREAM_BYTES_MAX)?;
    let run = stream::read(&text).with_context(|| named(file))?;
    let verdict = stream::replay(&run).with_context(|| named(file))?;
    if let Some(path) = report {
        let report: Report = serde_json::from_str(&self::text(path, FILE_BYTES_MAX)?)
            .with_context(|| format!("{} is no burn-in report", path.display()))?;
        stream::behind(&run, &report).map_err(|why| anyhow!("{}: {why}", file.display()))?;
    }
    if json {
        print(&serde_json::json!({
            "machine": run.opening.course.serial,
            "profile": run.profile.name,
            "profile_digest": run.profile.digest,
            "verdict": verdict,
            "ended": run.closed.is_some(),
            "stream": run.head,
            "boots": run.boots,
            "outcomes": run.outcomes,
        }))?;
    } else {
        tell(&run, &verdict, report.is_some());
    }
    // Without an end nobody knows what would have come: that is no pass.
    let passed = matches!(verdict, Verdict::Pass { .. }) && run.closed.is_some();
    Ok(ExitCode::from(u8::from(!passed)))
}

fn tell(run: &Run, verdict: &Verdict, reported: bool) {
    let boots: Vec<String> = run.boots.iter().map(ToString::to_string).collect();
    say!(
        "machine {}, profile {} ({}), boot {}",
        run.opening.course.serial,
        run.profile.name,
        run.profile.digest,
        boots.join(", ")
    );
    say!("{} lines, unbroken; head {}", run.head.lines, run.head.sha256);
    if reported {
        say!("it is the stream behind the report");
    }
    let planned: usize = run.opening.course.stages.iter().flat_map(|stage| &stage.waves).map(Vec::len).sum();
    say!("{} of {planned} tasks have an outcome", run.outcomes.len());
    if run.closed.is_none() {
        say!("THE STREAM HAS NO END: so far it comes to");
    }
    let (Verdict::Pass { coverage: lines }
    | Verdict::Fail { reasons: lines }
    | Verdict::Inconclusive { reasons: lines }) = verdict;
    say!("{}", stream::word(verdict).to_uppercase());
    lines.iter().for_each(|line| say!("  {line}"));
}

fn profiles(name: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(name) = name {
        let text = staged::built_in_text(name).ok_or_else(|| unknown(name))?;
        say!("{}", text.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    if json {
        let all = staged::built_in().map(|profile| {
            let Profile { name, about, digest, seconds_max, .. } = profile;
            serde_json::json!({"name": name, "about": about, "digest": digest, "seconds_max": seconds_max})
        });
        print(&all.collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    for profile in staged::built_in() {
        let most = format!("at most {}", span(profile.seconds_max.into()));
        say!("{:<8} {most:<20} {}\n         {}", profile.name, profile.about, profile.digest);
    }
    Ok(ExitCode::SUCCESS)
}

/// A name that is built in, else a file.
fn profile(asked: &str) -> anyhow::Result<Profile> {
    if let Some(profile) = Profile::built_in(asked) {
        return Ok(profile);
    }
    let file = Path::new(asked);
    if !file.is_file() {
        return Err(unknown(asked));
    }
    Profile::parse(text(file, FILE_BYTES_MAX)?.as_bytes()).with_context(|| named(file))
}

fn unknown(asked: &str) -> anyhow::Error {
    let names: Vec<String> = staged::built_in().map(|profile| profile.name).collect();
    anyhow!("`{asked}` is neither a profile nor a file; there are {}", names.join(", "))
}

fn consent(text: &str) -> anyhow::Result<SpanConsent> {
    // A serial may have colons of its own.
    let mut parts = text.rsplitn(3, ':');
    let (bytes, start, serial) = (parts.next(), parts.next(), parts.next());
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    match (serial.and_then(Serial::parse), number(start), number(bytes)) {
        (Some(serial), Some(start), Some(bytes)) => Ok(SpanConsent { serial, start, bytes }),
        (_, _, _) => bail!("`{text}` is no SERIAL:START:BYTES such as S64GNE0R600001:0:1073741824"),
    }
}

impl Machine {
    fn inventory(&self) -> anyhow::Result<Inventory> {
        if let Some(file) = &self.inventory {
            return serde_json::from_str(&text(file, FILE_BYTES_MAX)?).with_context(|| {
                format!("{} is none; `host show ID --json` has one under `inventory`", file.display())
            });
        }
        let id = self.host.as_ref().context("name a host, or a file with --inventory")?;
        let detail: HostDetail = self.appliance.get(&format!("/api/v1/hosts/{id}"))?;
        let inventory = detail
            .inventory
            .with_context(|| format!("host {id} has no inventory yet; `host why {id}` says where it is"))?;
        serde_json::from_value(inventory).context("the appliance is of another version")
    }
}

fn named(file: &Path) -> String {
    file.display().to_string()
}

/// A file's text; one that is not UTF-8 is refused with the line.
fn text(file: &Path, bytes_max: u64) -> anyhow::Result<String> {
    let reading = || format!("read {}", file.display());
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).with_context(reading)?;
    opened.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).with_context(reading)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        bail!("{} has more than {bytes_max} bytes: is it the right file?", file.display());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = valid.filter(|byte| **byte == b'\n').count() + 1;
        anyhow!("{}, line {line}: it is not UTF-8", file.display())
    })
}

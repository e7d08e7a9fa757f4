//! `scalerforge blueprint` and `scalerforge baseline`: what machines should be, and how one differs from it.
//!
//! A machine is one that a running appliance knows, or an inventory file: so builds can be compared without an appliance.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use appliance_api::operator::HostDetail;
use appliance_model::{HostId, inventory::Inventory};
use clap::{Args, Subcommand};
use firmware_checks_baseline::{
    Document, Library, Machine, Report, Verdict, blueprint_from, check_baseline, check_blueprint, remedy,
};
use serde::Serialize;

use crate::{client::Appliance, host::print, say};

/// The largest inventory file read; a rack server's is under 1 MiB.
const INVENTORY_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Blueprint {
    /// All blueprints: those built in and the site's own.
    List {
        #[command(flatten)]
        documents: Documents,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// What a blueprint wants.
    Show {
        /// Its id, as `blueprint list` shows it.
        id: String,
        #[command(flatten)]
        documents: Documents,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a blueprint from a good machine, to standard output.
    From {
        #[command(flatten)]
        machine: Which,
        /// Name of the build; the blueprint's id is made of it.  Absent: the machine's model.
        #[arg(long)]
        name: Option<String>,
    },
    /// Compare a machine with blueprints.  Ends with 1 if it is blocked.
    Check {
        #[command(flatten)]
        machine: Which,
        /// Compare with this one only, whatever models it is for.
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        documents: Documents,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Baseline {
    /// All baselines: those built in and the site's own.
    List {
        #[command(flatten)]
        documents: Documents,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// What a baseline wants.
    Show {
        /// Its id, as `baseline list` shows it.
        id: String,
        #[command(flatten)]
        documents: Documents,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare a machine with baselines.  Ends with 1 if it is blocked.
    Check {
        #[command(flatten)]
        machine: Which,
        /// Compare with this one only, whatever models it is for.
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        documents: Documents,
    },
}

/// Documents beside those built in.
#[derive(Debug, Args)]
pub(crate) struct Documents {
    /// Directory with the site's own documents.
    #[arg(long, value_name = "DIR")]
    documents: Option<PathBuf>,
}

impl Documents {
    pub(crate) fn library(&self) -> anyhow::Result<Library> {
        let mut library = Library::built_in()?;
        if let Some(dir) = &self.documents {
            appliance_server::checks::add_all(&mut library, dir)?;
        }
        Ok(library)
    }
}

/// A machine: known to an appliance, or from files.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Host id, as `host list` shows it.
    #[arg(required_unless_present = "inventory", conflicts_with = "inventory")]
    host: Option<HostId>,
    /// The agent's inventory (JSON) instead of a host; no appliance is asked.
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// What the BMC says of the same machine (JSON).
    #[arg(long, value_name = "FILE", requires = "inventory")]
    bmc_inventory: Option<PathBuf>,
    #[command(flatten)]
    appliance: Appliance,
}

impl Which {
    fn machine(&self) -> anyhow::Result<Machine> {
        if let Some(file) = &self.inventory {
            let in_band = read(file)?;
            let bmc = self.bmc_inventory.as_deref().map(read).transpose()?;
            return Ok(Machine::of(Some(&in_band), bmc.as_ref()));
        }
        let id = self.host.as_ref().context("name a host, or an inventory with --inventory")?;
        let detail: HostDetail = self.appliance.get(&format!("/api/v1/hosts/{id}"))?;
        let inventory = |json: Option<serde_json::Value>| -> anyhow::Result<Option<Inventory>> {
            json.map(serde_json::from_value)
                .transpose()
                .context("the appliance's inventory is of another version")
        };
        let (in_band, bmc) = (inventory(detail.inventory)?, inventory(detail.bmc_inventory)?);
        if in_band.is_none() && bmc.is_none() {
            bail!("nothing is known of host {id} yet; `host why {id}` says where it is");
        }
        Ok(Machine::of(in_band.as_ref(), bmc.as_ref()))
    }
}

fn read(file: &Path) -> anyhow::Result<Inventory> {
    use std::io::Read as _;
    let named = || format!("read the inventory {}", file.display());
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).with_context(named)?;
    opened.take(INVENTORY_BYTES_MAX).read_to_end(&mut bytes).with_context(named)?;
    serde_json::from_slice(&bytes).with_context(|| {
        format!("{} is no inventory; `host show ID --json` has one under `inventory`", file.display())
    })
}

pub(crate) fn run(verb: Blueprint) -> anyhow::Result<ExitCode> {
    match verb {
        Blueprint::List { documents, json } => {
            let library = documents.library()?;
            list(library.blueprints.iter().map(|one| &one.document).collect(), json)?;
        }
        Blueprint::Show { id, documents, json } => {
            let library = documents.library()?;
            let one = library.blueprint(&id).ok_or_else(|| unknown("blueprint", &id))?;
            if json {
                let value =
                    serde_json::json!({"document": one.document, "class": one.class, "parts": one.parts});
                print(&value)?;
            } else {
                head(&one.document);
                say!("{}", toml::to_string(&one.parts)?.trim_end());
            }
        }
        Blueprint::From { machine, name } => {
            let found = machine.machine()?;
            let name = name.or_else(|| found.products.first().cloned()).unwrap_or_default();
            let text = blueprint_from(&found, &name)?;
            if machine.appliance.json {
                print(&serde_json::json!({ "blueprint": text }))?;
            } else {
                say!("{}", text.trim_end());
            }
        }
        Blueprint::Check { machine, id, documents } => {
            let (library, found) = (documents.library()?, machine.machine()?);
            let fits = |document: &Document| match &id {
                Some(id) => document.id == *id,
                None => document.applies.fits(&found),
            };
            let chosen = library.blueprints.iter().filter(|one| fits(&one.document));
            let reports = chosen.map(|one| check_blueprint(&found, one)).collect();
            return told(reports, "blueprint", id.as_deref(), machine.appliance.json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run_baseline(verb: Baseline) -> anyhow::Result<ExitCode> {
    match verb {
        Baseline::List { documents, json } => {
            let library = documents.library()?;
            list(library.baselines.iter().map(|one| &one.document).collect(), json)?;
        }
        Baseline::Show { id, documents, json } => {
            let library = documents.library()?;
            let one = library.baseline(&id).ok_or_else(|| unknown("baseline", &id))?;
            if json {
                print(&serde_json::json!({"document": one.document, "wants": one.wants()}))?;
            } else {
                head(&one.document);
                for want in one.wants() {
                    say!("  {want}");
                }
            }
        }
        Baseline::Check { machine, id, documents } => {
            let (library, found) = (documents.library()?, machine.machine()?);
            let fits = |document: &Document| match &id {
                Some(id) => document.id == *id,
                None => document.applies.fits(&found),
            };
            let chosen = library.baselines.iter().filter(|one| fits(&one.document));
            let reports = chosen.map(|one| check_baseline(&found, one)).collect();
            return told(reports, "baseline", id.as_deref(), machine.appliance.json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(kind: &str, id: &str) -> anyhow::Error {
    anyhow!("there is no {kind} `{id}`; `{kind} list` names them, --documents DIR adds your own")
}

fn list(documents: Vec<&Document>, json: bool) -> anyhow::Result<()> {
    if json {
        return print(&documents);
    }
    say!("{:<32} {:>3}  {:<12}  TITLE", "ID", "V", "DIGEST");
    for document in documents {
        let digest: String = document.digest.to_string().chars().take(12).collect();
        let tried = if document.exercised { "" } else { " (never compared with a real machine)" };
        say!("{:<32} {:>3}  {digest:<12}  {}{tried}", document.id, document.version, document.title);
    }
    Ok(())
}

fn head(document: &Document) {
    say!("{} version {} · {}", document.id, document.version, document.title);
    say!("digest {}", document.digest);
    for source in &document.source {
        say!("source: {source}");
    }
    if let Some(note) = &document.note {
        say!("note: {}", note.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    say!("");
}

/// Prints reports; ends with 1 if one of them blocks.
fn told(reports: Vec<Report>, kind: &str, id: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    if reports.is_empty() {
        return Err(match id {
            Some(id) => unknown(kind, id),
            None => anyhow!(
                "no {kind} is for this model; choose one with --id, add your own with --documents, or write one with \
                 `blueprint from`"
            ),
        });
    }
    let steps = remedy(&reports);
    if json {
        #[derive(Serialize)]
        struct Told<'a> {
            reports: &'a [Report],
            remedy: &'a [firmware_checks_baseline::Step],
        }
        print(&Told { reports: &reports, remedy: &steps })?;
    } else {
        reports.iter().for_each(say_report);
        if !steps.is_empty() {
            say!("\nWhat would mend it, in this order");
            for (number, step) in steps.iter().enumerate() {
                say!("  {}. {}", number + 1, step.what);
            }
        }
    }
    let blocked = reports.iter().any(|report| report.verdict == Verdict::Blocked);
    Ok(ExitCode::from(u8::from(blocked)))
}

/// One report, as `host show` prints it too.
pub(crate) fn say_report(report: &Report) {
    say!("{} {} version {}: {}", report.kind, report.id, report.version, report.verdict.word());
    for finding in &report.findings {
        say!("  {:<8} {}", finding.severity.word(), finding.text);
    }
    for one in &report.unchecked {
        say!("  {:<8} {} could not be checked: {}", "?", one.what, one.why);
    }
    say!("  {} as wanted", report.matched.len());
}

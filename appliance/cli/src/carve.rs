//! `scalerforge carve`: what a machine would sell, of which class it is and why, and which instances it hosts.
//!
//! It plans and changes nothing; the machine is one that a running appliance knows, or two files.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use appliance_api::operator::HostDetail;
use appliance_carve::{
    Carved, Fit, Judged, check, check_class, check_fit, check_tiers, fit_each, fit_together, hosts, unit_root,
};
use appliance_model::{
    HostId,
    burn_in::staged::Report,
    inventory::Inventory,
    real::Wishes,
    rules::{Instance, Placement},
};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use crate::{blueprint::Documents, client::Appliance, host::print, say, unit};

/// The largest file read; a rack server's inventory is under 1 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Plan the units of a machine, and say what they host.  Exit status 1: it cannot be carved.
    Plan(Box<Plan>),
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Host id, as `host list` shows it.
    #[arg(required_unless_present = "inventory", conflicts_with = "inventory")]
    host: Option<HostId>,
    /// The agent's inventory (JSON) instead of a host; no appliance is asked.
    #[arg(long, value_name = "FILE", requires = "burn_in")]
    inventory: Option<PathBuf>,
    /// The burn-in report (JSON) of the same machine.
    #[arg(long, value_name = "FILE", requires = "inventory")]
    burn_in: Option<PathBuf>,
    /// Place these instances one after another: a name, or a name and a number (`gpu-8=3`).  Absent: how many of each
    /// kind, alone.
    #[arg(long, value_name = "NAME[=NUMBER]")]
    place: Vec<String>,
    /// The rack it stands in.
    #[arg(long)]
    rack: Option<String>,
    /// A power distribution unit that feeds it; may be named more than once.
    #[arg(long)]
    pdu: Vec<String>,
    /// Cut drives into parts of this size, as `[carve] part_gib` in the site file does.
    #[arg(long, value_name = "GIB")]
    part_gib: Option<u64>,
    /// List every unit.
    #[arg(long)]
    units: bool,
    #[command(flatten)]
    documents: Documents,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let Verb::Plan(call) = verb;
    let library = call.documents.library()?;
    let classes = library.classes.iter().find(|one| one.document.id == "classes");
    let rules = classes.context("the library has no document `classes`")?.rules();
    let instances: Vec<Instance> =
        library.instances.iter().flat_map(|document| document.instances.clone()).collect();
    let (inventory, burn_in) = call.machine()?;
    let placement = Placement { rack: call.rack.clone(), pdus: call.pdu.clone() };
    let carved = match appliance_carve::carve(&inventory, &burn_in, &rules, &placement, call.wishes()?) {
        Ok(carved) => carved,
        Err(refusal) => {
            say!("NOT CARVED: {refusal}");
            return Ok(ExitCode::from(1));
        }
    };
    let mut faults: Vec<String> = Vec::new();
    faults.extend(check(&inventory, &carved.manifest).iter().map(ToString::to_string));
    faults.extend(check_tiers(&inventory, &burn_in, &carved.manifest).iter().map(ToString::to_string));
    faults.extend(check_class(&rules, &carved.manifest).iter().map(ToString::to_string));
    let fits = call.fits(&carved, &instances)?;
    let together = !call.place.is_empty();
    for placed in rounds(&fits, together) {
        faults.extend(check_fit(&carved.manifest, &instances, &placed).iter().map(ToString::to_string));
    }
    if call.appliance.json {
        let judged = carved.decision.judged.iter().map(|one| {
            serde_json::json!({"class": one.class, "capacity": one.capacity, "met": one.met, "lacks": one.lacks})
        });
        print(&serde_json::json!({
            "manifest": carved.manifest,
            "unit_root": unit_root(&carved.manifest),
            "classes": judged.collect::<Vec<_>>(),
            "left_out": carved.left_out.iter().map(|one| [&one.what, &one.why]).collect::<Vec<_>>(),
            "instances": fits,
            "faults": faults,
        }))?;
    } else {
        tell(&carved, &call, &fits);
        faults.iter().for_each(|fault| say!("FAULT: {fault}"));
    }
    Ok(ExitCode::from(u8::from(!faults.is_empty())))
}

/// What is on the machine at one time.
fn rounds(fits: &[Fit], together: bool) -> Vec<Vec<appliance_carve::Placed>> {
    if together {
        return vec![fits.iter().flat_map(|fit| fit.placed.clone()).collect()];
    }
    fits.iter().map(|fit| fit.placed.clone()).collect()
}

impl Plan {
    fn machine(&self) -> anyhow::Result<(Inventory, Report)> {
        if let (Some(inventory), Some(burn_in)) = (&self.inventory, &self.burn_in) {
            return Ok((read(inventory, "inventory")?, read(burn_in, "burn_in")?));
        }
        let id = self.host.as_ref().context("name a host, or files with --inventory and --burn-in")?;
        let detail: HostDetail = self.appliance.get(&format!("/api/v1/hosts/{id}"))?;
        let (Some(inventory), Some(burn_in)) = (detail.inventory, detail.burn_in) else {
            bail!("host {id} has no burn-in report yet; `host why {id}` says where it is");
        };
        let other = "the appliance is of another version";
        Ok((
            serde_json::from_value(inventory).context(other)?,
            serde_json::from_value(burn_in).context(other)?,
        ))
    }

    /// What the site file would say under `[carve]`, as far as the plan depends on it.
    fn wishes(&self) -> anyhow::Result<Wishes> {
        let bytes = |gib: u64| gib.checked_mul(1 << 30).filter(|bytes| *bytes > 0);
        let part_bytes = self.part_gib.map(|gib| bytes(gib).context("--part-gib wants 1 or more"));
        Ok(Wishes { part_bytes: part_bytes.transpose()?, ..Wishes::default() })
    }

    fn fits(&self, carved: &Carved, instances: &[Instance]) -> anyhow::Result<Vec<Fit>> {
        if self.place.is_empty() {
            return Ok(fit_each(&carved.manifest, instances));
        }
        let mut wanted = Vec::new();
        for asked in &self.place {
            let (name, number) = asked.split_once('=').map_or((asked.as_str(), None), |(n, c)| (n, Some(c)));
            let instance = instances.iter().find(|one| one.name == name).ok_or_else(|| {
                let names: Vec<_> = instances.iter().map(|one| one.name.as_str()).collect();
                anyhow!("there is no instance `{name}`; there are {}", names.join(", "))
            })?;
            let number = number.map(str::parse).transpose();
            wanted.push((instance, number.with_context(|| format!("`{asked}` ends in no number"))?));
        }
        Ok(fit_together(&carved.manifest, &wanted))
    }
}

fn read<T: DeserializeOwned>(file: &Path, key: &str) -> anyhow::Result<T> {
    let named = || format!("read {}", file.display());
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).with_context(named)?;
    opened.take(FILE_BYTES_MAX).read_to_end(&mut bytes).with_context(named)?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is none; `host show ID --json` has one under `{key}`", file.display()))
}

fn tell(carved: &Carved, call: &Plan, fits: &[Fit]) {
    let (manifest, decision) = (&carved.manifest, &carved.decision);
    let (by, measure) = (&decision.by.rules, decision.by.capacity.words());
    say!("{}: {} · capacity {} {measure}", manifest.serial, decision.class, decision.capacity);
    say!("by {} version {}, digest {}", by.id, by.version, by.digest);
    decision.judged.iter().for_each(|judged| judge(judged, &decision.class));
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for unit in &manifest.units {
        let kind = unit.id.rsplit_once('-').map_or(unit.id.as_str(), |(kind, _)| kind);
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    say!("\nunits: {}", kinds.join(", "));
    let kept: Vec<_> = manifest.reserved_cpus.iter().map(u32::to_string).collect();
    say!("the host keeps CPUs {} and {} MiB of memory", kept.join(" "), manifest.reserved_bytes >> 20);
    carved.tiers.iter().for_each(|one| say!("  drive {}: {:?}, {}", one.serial, one.tier, one.why));
    carved.left_out.iter().for_each(|one| say!("  not sold: {}: {}", one.what, one.why));
    if call.units {
        manifest.units.iter().for_each(|one| say!("  {}: {}", one.id, unit::words(one)));
    }
    say!("unit root {}", unit_root(manifest));
    let alone = if call.place.is_empty() { ", each kind alone" } else { "" };
    say!("\nhosts {}{alone}", hosts(fits));
    for fit in fits {
        let next = if fit.lacks.is_empty() { "as asked for".to_owned() } else { fit.lacks.join("; ") };
        say!("  {:>5} × {:<16} then {next}", fit.placed.len(), fit.instance);
    }
}

fn judge(judged: &Judged, own: &str) {
    let verdict = match judged.lacks.is_empty() {
        true if judged.class == own => "is",
        true => "could",
        false => "no",
    };
    let mut why = judged.lacks.clone();
    why.extend(judged.met.iter().cloned());
    say!("  {verdict:<6}{:<16} {}", judged.class, why.join("; "));
}

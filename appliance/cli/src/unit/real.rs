//! `scalerforge unit carve`, `uncarve` and `real`: what the units of a host are made of, and whether its kernel agrees.

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use appliance_api::carve::{CarvePermission, CarveView};
use appliance_carve::cpu_list;
use appliance_model::{
    HostId,
    real::{Group, Shape},
};
use clap::Args;

use crate::{client::Appliance, evidence::code, host::print, say};

/// What is to be made.
#[derive(Debug, Args)]
pub(crate) struct Carve {
    /// The host.
    host: HostId,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    appliance: Appliance,
}

/// Looking, or the words that allow it.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Choice {
    /// Show what would be made, and what its kernel said last.  Changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Make it now (again).  The words are CARVE and the machine's serial.
    #[arg(long, value_name = "CARVE SERIAL")]
    permit: Option<String>,
}

/// What is to be undone.
#[derive(Debug, Args)]
pub(crate) struct Uncarve {
    /// The host.
    host: HostId,
    /// The words are UNCARVE and the machine's serial.
    #[arg(long, value_name = "UNCARVE SERIAL")]
    permit: String,
    #[command(flatten)]
    appliance: Appliance,
}

/// What is real.
#[derive(Debug, Args)]
pub(crate) struct Real {
    /// The host.
    host: HostId,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn carve(asked: &Carve) -> anyhow::Result<ExitCode> {
    let Carve { host, choice, appliance } = asked;
    let path = path(host);
    let Some(permit) = &choice.permit else {
        let view: CarveView = appliance.get(&path)?;
        if appliance.json {
            print(&view)?;
            return Ok(ExitCode::SUCCESS);
        }
        lines(&shape(&view.wanted)?).iter().for_each(|line| say!("{line}"));
        say!("Nothing was changed.  `unit carve {host} --permit 'CARVE {}'` makes it.", view.serial);
        return Ok(ExitCode::SUCCESS);
    };
    allow(appliance, &path, permit)?;
    say!("The agent of {host} makes its units; `unit real {host}` shows what its kernel says of them.");
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn uncarve(asked: &Uncarve) -> anyhow::Result<ExitCode> {
    let Uncarve { host, permit, appliance } = asked;
    allow(appliance, &path(host), permit)?;
    say!("The agent of {host} puts back what was there before.");
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn real(asked: &Real) -> anyhow::Result<ExitCode> {
    let Real { host, appliance } = asked;
    let view: CarveView = appliance.get(&path(host))?;
    let missing = view.differences.iter().any(|one| !one.more);
    if appliance.json {
        print(&view)?;
        return Ok(code(!missing && view.real.is_some()));
    }
    let Some(real) = &view.real else {
        say!("Nobody has asked the kernel of {host} yet.");
        return Ok(code(false));
    };
    lines(&shape(real)?).iter().for_each(|line| say!("{line}"));
    for one in &view.differences {
        say!("DIFFERS: {}: {} should be {} and is {}", one.unit, one.what, one.wanted, one.found);
    }
    if view.differences.is_empty() {
        say!("As planned.");
    }
    Ok(code(!missing))
}

fn path(host: &HostId) -> String {
    format!("/api/v1/hosts/{host}/carve")
}

fn allow(appliance: &Appliance, path: &str, permit: &str) -> anyhow::Result<CarveView> {
    appliance.post(path, &CarvePermission { permit: permit.to_owned() })
}

fn shape(value: &serde_json::Value) -> anyhow::Result<Shape> {
    serde_json::from_value(value.clone())
        .map_err(|error| anyhow!(error))
        .context("the appliance is of another version: its words for the units are not known")
}

/// A shape for people.
fn lines(shape: &Shape) -> Vec<String> {
    let mut all: Vec<String> = shape.groups.iter().map(group).collect();
    all.extend(shape.pages.iter().map(|pages| {
        let place = pages.node.map_or_else(String::new, |node| format!(" on node {node}"));
        format!("{} pages of {} KiB{place}", pages.count, pages.page_kib)
    }));
    all.extend(shape.drives.iter().map(|drive| {
        format!("{}: drive {} as it is, {} bytes; nothing is written", drive.unit, drive.serial, drive.bytes)
    }));
    all.extend(shape.ports.iter().map(|port| {
        let functions = port
            .functions
            .map(|functions| format!("with {functions} virtual functions"))
            .or_else(|| port.classes.map(|classes| format!("in traffic classes, {classes}")))
            .unwrap_or_else(|| "as it is".to_owned());
        format!("{}: port {} {functions}", port.unit, port.mac)
    }));
    all.extend(shape.gpus.iter().map(|gpu| format!("{}: {} of {} bytes", gpu.unit, gpu.uuid, gpu.bytes)));
    all.extend(shape.gaps.iter().map(|gap| format!("not made: {gap}")));
    all
}

fn group(group: &Group) -> String {
    let mut said = vec![format!("{}: group {}", group.unit, group.path)];
    if !group.cpus.is_empty() {
        let alone = if group.alone { " for itself alone" } else { "" };
        said.push(format!("CPUs {}{alone}", cpu_list(&group.cpus)));
    }
    if !group.nodes.is_empty() {
        said.push(format!("memory of node {}", cpu_list(&group.nodes)));
    }
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    said.extend(group.memory_bytes.map(|bytes| format!("at most {} of memory", mebibytes(bytes))));
    said.extend(group.large_bytes.map(|bytes| format!("{} in large pages", mebibytes(bytes))));
    said.join(", ")
}

//! An installed host: power-on until its appliance has verified a fresh quote of it.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use hil_tests_scenarios::{Artefacts, Lab, LabConfig, run};
use image_build::{
    Lock, Origin,
    installed::{self, Order},
    release::Edition,
};
use tokio::time::{Instant, sleep};

/// Emulation on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);
/// How fine the samples are.
const LOOK: Duration = Duration::from_millis(50);
const SERIAL: &str = "LAB00001";
const DRIVE: &str = "NVME0001A";
/// What the appliance writes when the quote of a start has been verified.
const PROVEN: &str = "an installed system was proven by a fresh quote";

/// Installs a host, and gives the seconds of so many starts.
pub(super) fn proven(artefacts: &Artefacts, folder: &Path, runs: u32) -> anyhow::Result<Vec<f64>> {
    let (artefacts, release) = (artefacts.clone(), release(artefacts, folder)?);
    let (tell, told) = mpsc::channel();
    run(move || async move { Ok(tell.send(starts(&artefacts, release, runs).await?)?) })?;
    Ok(told.recv()?)
}

async fn starts(artefacts: &Artefacts, release: PathBuf, runs: u32) -> anyhow::Result<Vec<f64>> {
    let mut config = LabConfig::new("bench-host", 1);
    config.approval = "manual";
    config.release = Some(release);
    let lab = Lab::start(config, artefacts).await?;
    let id = lab.wait_stage(SERIAL, "approving", LIMIT).await?.id;
    let permit = format!("install on {DRIVE}");
    let install = ["host", "install", &id, "--drive", DRIVE, "--permit", &permit];
    let (code, out, err) = lab.command(&install.map(OsStr::new)).await?;
    ensure!(code == 0, "{out}{err}\n{}", lab.scene().await);
    until(&lab, 0).await?;
    lab.wait_log(&["marked good"], LIMIT).await?;
    let mut samples = Vec::new();
    for _ in 0..runs {
        let before = count(&lab)?;
        let host = lab.rack.host(0);
        host.power_cut().await;
        host.power_on().await?;
        until(&lab, before).await?;
        samples.push(host.console().since_power_on().as_secs_f64());
    }
    lab.stop().await;
    Ok(samples)
}

fn release(artefacts: &Artefacts, folder: &Path) -> anyhow::Result<PathBuf> {
    let out = folder.join("host");
    fs::create_dir_all(&out)?;
    let lock = Lock::parse(&fs::read_to_string(&artefacts.lock)?)?;
    let origin = Origin { cache: &artefacts.cache, lock: &lock, snapshot: None };
    let (agent, start) = (artefacts.programs.join("agent"), artefacts.programs.join("start"));
    let order = Order { agent: &agent, start: &start, edition: Edition::own(), out: &out };
    installed::installed(origin, &order, &mut |step| eprintln!("  host: {step}"))?;
    Ok(out)
}

/// How often the appliance has verified a start.
fn count(lab: &Lab) -> anyhow::Result<usize> {
    let log = lab.site().with_file_name("appliance.log");
    let text = fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    Ok(text.matches(PROVEN).count())
}

async fn until(lab: &Lab, before: usize) -> anyhow::Result<()> {
    let end = Instant::now() + LIMIT;
    while count(lab)? <= before {
        ensure!(Instant::now() < end, "no start was proven\n{}", lab.scene().await);
        sleep(LOOK).await;
    }
    Ok(())
}

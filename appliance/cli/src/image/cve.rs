//! `scalerforge image cve`: known vulnerabilities of what images are made of, and the stop of a build that has critical ones.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use image_build::{Architecture, Lock, cve, newer};
use serde::Serialize;

use super::{Source, steps};
use crate::{host::print, say};

/// As many as a person reads of what is not critical.
const SHOWN_MAX: usize = 20;

/// What is known of vulnerabilities.
#[derive(Debug, Args)]
pub(crate) struct Known {
    /// Debian's security tracker as a file (https://security-tracker.debian.org/tracker/data/json); a build stops where a
    /// package has a critical vulnerability.
    #[arg(long, value_name = "FILE")]
    cve_data: Option<PathBuf>,
    /// Vulnerabilities that somebody accepts: a line each, `CVE-YEAR-NUMBER REASON`.
    #[arg(long, value_name = "FILE", requires = "cve_data")]
    cve_accept: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Cve {
    /// Whose packages, where no list is named: amd64, or arm64.
    #[arg(long, default_value_t)]
    arch: Architecture,
    #[command(flatten)]
    from: Source,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Newer {
    newer: Vec<newer::Newer>,
    critical: usize,
}

impl Known {
    /// Stops what follows if the lock has critical vulnerabilities that nobody accepts.
    pub(super) fn stop(&self, lock: &Lock) -> anyhow::Result<()> {
        let Some(report) = self.report(lock)? else { return Ok(()) };
        match report.critical() {
            0 => Ok(()),
            count => {
                tell(&report);
                bail!(
                    "{count} critical vulnerabilities in the packages; take newer ones with `scalerforge image lock`, or accept \
                     them with reasons: --cve-accept"
                )
            }
        }
    }

    fn report(&self, lock: &Lock) -> anyhow::Result<Option<cve::Report>> {
        let Some(path) = &self.cve_data else { return Ok(None) };
        let bytes = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
        ensure!(
            bytes <= cve::DATA_BYTES_MAX,
            "{} has {bytes} bytes, more than a tracker's file",
            path.display()
        );
        let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let accepted = self.cve_accept.as_deref().map(accepted).transpose()?.unwrap_or_default();
        let report = cve::report(lock, &data, &accepted).with_context(|| format!("{}", path.display()))?;
        Ok(Some(report))
    }
}

fn accepted(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    cve::accepted(&text).with_context(|| format!("{}", path.display()))
}

pub(crate) fn cve(options: &Cve) -> anyhow::Result<ExitCode> {
    let lock = options.from.unchecked_lock(options.arch)?;
    let Some(report) = options.from.known.report(&lock)? else { return replaced(options, &lock) };
    if options.json {
        print(&report)?;
    } else {
        tell(&report);
    }
    Ok(if report.critical() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Without the tracker's data: what the mirror has replaced.
fn replaced(options: &Cve, lock: &Lock) -> anyhow::Result<ExitCode> {
    let origin = options.from.origin(lock);
    let newer = steps(|progress| {
        let today = image_build::relock(origin.cache, lock.architecture, progress)?;
        newer::newer(origin, &today, progress)
    })?;
    let critical = newer.iter().filter(|package| package.critical()).count();
    if options.json {
        print(&Newer { newer, critical })?;
    } else {
        for package in &newer {
            let security = if package.security { "security update" } else { "newer" };
            let cves: Vec<&str> = package.cves.iter().map(String::as_str).collect();
            say!(
                "{}  {} -> {}  {security}  {}",
                package.source,
                package.locked,
                package.newer,
                cves.join(" ")
            );
        }
        let sources = cve::sources(lock).len();
        say!(
            "{} of {sources} source packages are replaced, {critical} with fixes of vulnerabilities",
            newer.len()
        );
        say!("what is known and not fixed stands in Debian's tracker alone: --cve-data");
    }
    Ok(if critical == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(report: &cve::Report) {
    let (mut rest, mut accepted) = (0_usize, 0_usize);
    for finding in &report.findings {
        let fixed =
            finding.fixed.as_ref().map_or_else(|| "no fix".to_owned(), |fixed| format!("fixed in {fixed}"));
        if finding.critical {
            say!(
                "CRITICAL {}  {} {}  {fixed}  {}",
                finding.id,
                finding.source,
                finding.version,
                finding.urgency
            );
        } else if let Some(why) = &finding.accepted {
            accepted += 1;
            say!("accepted {}  {} {}  {why}", finding.id, finding.source, finding.version);
        } else {
            rest += 1;
            if rest <= SHOWN_MAX {
                say!(
                    "         {}  {} {}  {fixed}  {}",
                    finding.id,
                    finding.source,
                    finding.version,
                    finding.urgency
                );
            }
        }
    }
    let critical = report.critical();
    say!(
        "{critical} critical, {accepted} accepted, {rest} others in {} source packages; the tracker knows {} of them",
        report.sources,
        report.known
    );
}

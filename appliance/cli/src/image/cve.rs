//! `scalerforge image cve`: known vulnerabilities of what images are made of, and the stop of a build that has critical ones.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use image_build::{
    Architecture, Origin, cve,
    newer::{self, Mirror},
};

use super::{Source, steps};
use crate::{host::print, say};

/// As many as a person reads of what is not critical, and of what stops a build.
const SHOWN_MAX: usize = 20;

/// What is known of vulnerabilities.
#[derive(Debug, Args)]
pub(crate) struct Known {
    /// Debian's security tracker as a file (https://security-tracker.debian.org/tracker/data/json); a build stops where a
    /// package has a critical vulnerability, and else leaves the report (cve.json) beside what it built.
    #[arg(long, value_name = "FILE")]
    cve_data: Option<PathBuf>,
    /// Ask the mirror: a build stops where it has a security update, or one whose changelog names CVE numbers, in the place
    /// of a package, and else leaves the report (cve.json) beside what it built.
    #[arg(long)]
    cve_mirror: bool,
    /// What somebody accepts, a line each: `CVE-YEAR-NUMBER REASON`, or for one update of the mirror as a whole
    /// `SOURCE=VERSION REASON`.
    #[arg(long, value_name = "FILE")]
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

impl Known {
    /// What is known, if anybody is to be asked; stops what follows if there is a critical vulnerability that nobody accepts.
    pub(super) fn stop(&self, origin: Origin<'_>) -> anyhow::Result<Option<cve::Report>> {
        if self.cve_data.is_none() && !self.cve_mirror {
            ensure!(
                self.cve_accept.is_none(),
                "--cve-accept says nothing alone: name the tracker's data with --cve-data, or ask the mirror with --cve-mirror"
            );
            return Ok(None);
        }
        let report = self.report(origin, self.cve_mirror)?;
        if report.critical == 0 {
            return Ok(Some(report));
        }
        bail!(
            "{} critical vulnerabilities in the packages, nothing was built: {}; take newer packages with `scalerforge image \
             lock`, or accept these with reasons: --cve-accept",
            report.critical,
            critical(&report).join(", ")
        )
    }

    fn report(&self, origin: Origin<'_>, mirror: bool) -> anyhow::Result<cve::Report> {
        let accepted = self.cve_accept.as_deref().map(accepted).transpose()?.unwrap_or_default();
        let tracker = self.cve_data.as_deref().map(|path| tracked(origin, path, &accepted)).transpose()?;
        let mirror = mirror.then(|| replaced(origin, &accepted)).transpose()?;
        Ok(cve::Report::new(origin.lock, tracker, mirror))
    }
}

/// Puts the report beside what was built, or takes an earlier build's away: it would speak of other packages.
pub(super) fn leave(report: Option<&cve::Report>, out: &Path) -> anyhow::Result<()> {
    let path = out.join(cve::FILE);
    let Some(report) = report else {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {} of an earlier build", path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        };
    };
    let mut text = serde_json::to_vec_pretty(report)?;
    text.push(b'\n');
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn accepted(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    cve::accepted(&text).with_context(|| format!("{}", path.display()))
}

fn tracked(
    origin: Origin<'_>,
    path: &Path,
    accepted: &BTreeMap<String, String>,
) -> anyhow::Result<cve::Tracker> {
    let bytes = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    ensure!(bytes <= cve::DATA_BYTES_MAX, "{} has {bytes} bytes, more than a tracker's file", path.display());
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    cve::tracked(origin.lock, &data, accepted).with_context(|| format!("{}", path.display()))
}

fn replaced(origin: Origin<'_>, accepted: &BTreeMap<String, String>) -> anyhow::Result<Mirror> {
    let mirror = steps(|progress| {
        let today = image_build::relock(origin.cache, origin.lock.architecture, progress)?;
        newer::newer(origin, &today, accepted, progress)
    })?;
    Ok(mirror)
}

/// What stops a build, by name: a person's measure of the tracker's, and each package that the mirror has replaced.
fn critical(report: &cve::Report) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(tracker) = &report.tracker {
        let all: Vec<&cve::Finding> = tracker.findings.iter().filter(|finding| finding.critical).collect();
        names.extend(all.iter().take(SHOWN_MAX).map(|finding| {
            format!("{} ({} {}, {})", finding.id, finding.source, finding.version, fixed(finding))
        }));
        if let Some(more) = all.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            names.push(format!("{more} more of the tracker's"));
        }
    }
    let newer = report.mirror.iter().flat_map(|mirror| &mirror.newer).filter(|newer| newer.critical);
    names.extend(
        newer.map(|newer| format!("{} {} (the mirror has {})", newer.source, newer.locked, newer.newer)),
    );
    names
}

fn fixed(finding: &cve::Finding) -> String {
    finding.fixed.as_ref().map_or_else(|| "no fix".to_owned(), |fixed| format!("fixed in {fixed}"))
}

pub(crate) fn cve(options: &Cve) -> anyhow::Result<ExitCode> {
    let lock = options.from.unchecked_lock(options.arch)?;
    let known = &options.from.known;
    // Who names no source asks the one that everybody has.
    let mirror = known.cve_mirror || known.cve_data.is_none();
    let report = known.report(options.from.origin(&lock), mirror)?;
    if options.json {
        print(&report)?;
    } else {
        tell(&report);
    }
    Ok(if report.critical == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(report: &cve::Report) {
    if let Some(tracker) = &report.tracker {
        tell_tracker(tracker, report.sources);
    }
    if let Some(mirror) = &report.mirror {
        tell_mirror(mirror, report.sources);
        if report.tracker.is_none() {
            say!("what is known and not fixed stands in Debian's tracker alone: --cve-data");
        }
    }
}

fn tell_mirror(mirror: &Mirror, sources: usize) {
    for package in &mirror.newer {
        let word = if package.critical { "CRITICAL" } else { "        " };
        let security = if package.security { "security update" } else { "newer" };
        let unread = if package.changelog { "" } else { "  (no changelog to read)" };
        let cves: Vec<&str> = package.cves.iter().map(String::as_str).collect();
        let (source, locked, newer) = (&package.source, &package.locked, &package.newer);
        let line = format!("{word} {source}  {locked} -> {newer}  {security}{unread}  {}", cves.join(" "));
        say!("{}", line.trim_end());
        for (what, why) in &package.accepted {
            say!("         accepted {what}  {why}");
        }
    }
    for source in &mirror.missing {
        say!("         {source}  not looked up: none of today's packages come from it");
    }
    let critical = mirror.newer.iter().filter(|package| package.critical).count();
    say!(
        "{} of {sources} source packages are replaced, {critical} of them critical; the mirror knows {}",
        mirror.newer.len(),
        mirror.known
    );
}

fn tell_tracker(tracker: &cve::Tracker, sources: usize) {
    let (mut critical, mut rest, mut accepted) = (0_usize, 0_usize, 0_usize);
    for finding in &tracker.findings {
        let cve::Finding { id, source, version, urgency, .. } = finding;
        let line = format!("{id}  {source} {version}  {}  {urgency}", fixed(finding));
        if finding.critical {
            critical += 1;
            say!("CRITICAL {line}");
        } else if let Some(why) = &finding.accepted {
            accepted += 1;
            say!("accepted {id}  {source} {version}  {why}");
        } else {
            rest += 1;
            if rest <= SHOWN_MAX {
                say!("         {line}");
            }
        }
    }
    say!(
        "{critical} critical, {accepted} accepted, {rest} others in {sources} source packages; the tracker knows {} of them",
        tracker.known
    );
}

//! What the mirror says of the committed package locks, and whether a build listens to it.
//!
//! A lock ages without anybody changing this tree, so that what it lacks is said and fails nothing.  What fails is a
//! report that leaves packages out or contradicts its own exit status, and a build that goes on where it has to stop.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context as _, bail, ensure};
use image_build::{Architecture, Lock, cve, lock::Archive};
use serde::Deserialize;

use crate::prepare;

/// As many numbers of one update as a person reads: a kernel's has hundreds.
const CVES_SHOWN_MAX: usize = 8;

/// What `scalerforge image cve --json` prints, as far as it is judged.
#[derive(Debug, Deserialize)]
struct Report {
    lock: String,
    sources: usize,
    critical: usize,
    mirror: Mirror,
}

#[derive(Debug, Deserialize)]
struct Mirror {
    known: usize,
    missing: Vec<String>,
    newer: Vec<Newer>,
}

#[derive(Debug, Deserialize)]
struct Newer {
    source: String,
    locked: String,
    newer: String,
    security: bool,
    cves: Vec<String>,
    critical: bool,
}

/// Asks for each architecture; answers lines about what the committed locks lack.
pub(crate) fn known(root: &Path) -> anyhow::Result<Vec<String>> {
    let (mut lines, mut dropped) = (Vec::new(), Vec::new());
    for architecture in Architecture::ALL {
        let lock = Lock::committed(architecture)?;
        let arch = architecture.to_string();
        let output = scalerforge(root, &["cve", "--json", "--arch", &arch])?;
        let judged = judge(&lock, output.status.code(), &output.stdout);
        let mirror = judged.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let said = told(&mirror);
        if !said.is_empty() {
            lines.push(format!("KNOWN VULNERABILITIES in {}:", prepare::lock_file(architecture)));
            lines.extend(said);
            lines.push("take today's packages: scalerforge image lock".to_owned());
        }
        dropped.extend(mirror.missing);
    }
    lines.iter().for_each(|line| eprintln!("  {line}"));
    stops(root, &dropped)?;
    Ok(lines)
}

fn scalerforge(root: &Path, words: &[&str]) -> anyhow::Result<Output> {
    let program = prepare::target(root).join("debug/scalerforge");
    let mut command = Command::new(&program);
    command.arg("image").args(words).arg("--cache").arg(root.join(".xtask/cache"));
    command.output().with_context(|| format!("starting {}; `cargo build` makes it", program.display()))
}

/// What a person has to know of it.
fn told(mirror: &Mirror) -> Vec<String> {
    let critical = mirror.newer.iter().filter(|one| one.critical).map(|one| {
        let cves: Vec<&str> = one.cves.iter().map(String::as_str).take(CVES_SHOWN_MAX).collect();
        let more = match one.cves.len().saturating_sub(CVES_SHOWN_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("  {}  {} -> {}  {}{more}", one.source, one.locked, one.newer, cves.join(" "))
    });
    critical.chain(mirror.missing.iter().map(|name| format!("  {name}  NOT LOOKED UP"))).collect()
}

/// Whether the report speaks of this lock, of each source in it, and as its exit status does; what the mirror has.
fn judge(lock: &Lock, status: Option<i32>, json: &[u8]) -> anyhow::Result<Mirror> {
    let report: Report = serde_json::from_slice(json).context("`image cve --json` printed no report")?;
    let Report { sources, critical, mirror: Mirror { known, missing, newer }, .. } = &report;
    let (locked, suite) = (cve::sources(lock), &lock.suite);
    ensure!(report.lock == lock.digest(), "it is a report on another lock than the committed one");
    ensure!(
        *sources == locked.len() && known + missing.len() == locked.len(),
        "of {} sources of the lock it looked {known} up and misses {}",
        locked.len(),
        missing.len()
    );
    let counted = newer.iter().filter(|one| one.critical).count();
    let expected = i32::from(counted > 0);
    ensure!(
        counted == *critical && status == Some(expected),
        "{counted} updates are critical, it counts {critical} and ended with {status:?}"
    );
    for one in newer {
        let fix = one.security || !one.cves.is_empty();
        ensure!(one.critical == fix, "nobody accepts anything here: {one:?}");
        ensure!(locked.get(&one.source) == Some(&one.locked), "that is not locked: {one:?}");
    }
    eprintln!(
        "  {suite} {}: {known} of {sources} sources looked up, {} replaced, {critical} critical",
        lock.architecture,
        newer.len()
    );
    Ok(report.mirror)
}

/// A lock from before a security update that the mirror has: a build stops, names it, and has made nothing.  Of `dropped`
/// sources the mirror has none.
fn stops(root: &Path, dropped: &[String]) -> anyhow::Result<()> {
    let mut lock = Lock::committed(Architecture::Amd64)?;
    // Its file is what must be fetched for the changelog, should the cache not have it.  Signed files have no version of
    // their own to take back.
    let secure = lock.of(&cve::ON_SERVERS).filter(|package| {
        package.archive == Archive::Security
            && package.built_using.is_none()
            && !dropped.iter().any(|name| package.source.starts_with(name))
    });
    let Some(name) = secure.min_by_key(|package| package.bytes).map(|package| package.name.clone()) else {
        eprintln!("  no package of the lock is a security update; nothing to take back");
        return Ok(());
    };
    for package in lock.packages.iter_mut().filter(|package| package.name == name) {
        // Without a version of its own, the source has the package's.
        package.source = package.source.split(' ').next().unwrap_or_default().to_owned();
        package.version = "0~".to_owned();
    }
    let scratch = root.join(".xtask/old-lock");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("removing {}", scratch.display()))?;
    }
    fs::create_dir_all(&scratch).with_context(|| format!("making {}", scratch.display()))?;
    let (file, out) = (scratch.join("packages.json"), scratch.join("out"));
    fs::write(&file, lock.to_text()?).with_context(|| format!("writing {}", file.display()))?;
    let words = [file.display().to_string(), out.display().to_string()];
    let build = ["build", "--cve-mirror", "--agent", "no-agent", "--lock", &words[0], "--out", &words[1]];
    let output = scalerforge(root, &build)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let stopped =
        output.status.code() == Some(2) && said.contains("critical vulnerabilities in the packages");
    if !stopped || !said.contains(" 0~ (the mirror has ") || out.exists() {
        bail!("a build with {name} of long ago did not stop for that: {said}");
    }
    eprintln!("  a build with {name} of long ago stops");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(lock: &Lock, critical: usize, newer: &str, missing: &str, known: usize) -> Vec<u8> {
        let (digest, sources) = (lock.digest(), cve::sources(lock).len());
        format!(
            r#"{{"suite": "trixie", "lock": "{digest}", "sources": {sources}, "critical": {critical}, "tracker": null,
                "mirror": {{"known": {known}, "missing": [{missing}], "newer": [{newer}]}}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn of_hundreds_of_numbers_some_are_shown() {
        let newer = Newer {
            source: "linux".into(),
            locked: "1".into(),
            newer: "2".into(),
            security: true,
            cves: (1000..1300).map(|number| format!("CVE-2026-{number}")).collect(),
            critical: true,
        };
        let said = told(&Mirror { known: 1, missing: Vec::new(), newer: vec![newer] });
        assert!(said[0].ends_with("CVE-2026-1007 and 292 more"), "{said:?}");
    }

    #[test]
    fn an_aged_lock_is_told_and_a_report_that_contradicts_itself_fails() {
        let lock = Lock::committed(Architecture::Amd64).unwrap();
        let sources = cve::sources(&lock);
        let (all, openssl) = (sources.len(), &sources["openssl"]);
        let newer = |security: bool, critical: bool| {
            format!(
                r#"{{"source": "openssl", "locked": "{openssl}", "newer": "9", "security": {security}, "changelog": true,
                    "cves": [], "accepted": {{}}, "critical": {critical}}}"#
            )
        };
        let told_of = |status, report: Vec<u8>| told(&judge(&lock, Some(status), &report).unwrap());
        assert!(told_of(0, json(&lock, 0, "", "", all)).is_empty());
        let said = told_of(1, json(&lock, 1, &newer(true, true), "\"acl\"", all - 1));
        assert!(said[0].contains("openssl") && said[1].contains("acl  NOT LOOKED UP"), "{said:?}");
        assert!(told_of(0, json(&lock, 0, &newer(false, false), "", all)).is_empty());
        for (status, report) in [
            (Some(0), json(&lock, 1, &newer(true, true), "", all)),
            (Some(1), json(&lock, 0, &newer(true, true), "", all)),
            (Some(0), json(&lock, 0, &newer(true, false), "", all)),
            (Some(0), json(&lock, 0, "", "", all - 1)),
            (Some(1), json(&lock, 0, "", "", all)),
            (Some(2), Vec::new()),
        ] {
            assert!(judge(&lock, status, &report).is_err(), "{}", String::from_utf8_lossy(&report));
        }
        let other = Lock::committed(Architecture::Arm64).unwrap();
        assert!(judge(&lock, Some(0), &json(&other, 0, "", "", cve::sources(&other).len())).is_err());
    }
}

//! `scalerforge endorsement`: whose TPMs a site believes.  It imports certificates that a person has fetched; it never
//! fetches any itself, because who is believed is a decision and not a download.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use attest_verify::{
    bundle::{self, CaCertificate},
    endorsement::Roots,
};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{evidence::unix_seconds, host::print, say};

/// Where makers publish their certificates.  Checked by a person from time to time; nothing here is ever opened.
const SOURCES: &str = "\
Where TPM makers publish the certificates of their CAs:
  AMD (firmware TPM)     https://ftpm.amd.com/pki/aia/  (each EK certificate names its issuer's file there)
  Infineon               https://pki.infineon.com/
  Intel (PTT)            https://trustedservices.intel.com/  and  https://upgrades.intel.com/content/CRL/ekcert/
  Nuvoton                https://www.nuvoton.com/security/NTC-TPM-EK-Cert/
  STMicroelectronics     https://sw-center.st.com/STSAFE/
  all of them, collected https://github.com/loicsikidi/tpm-ca-certificates (signed releases), and Microsoft's
                         TrustedTpm.cab (https://go.microsoft.com/fwlink/?linkid=2097925; unpack it first)
What an EK certificate's issuer is: `scalerforge evidence show FILE`, or the URL in the certificate's own
authorityInfoAccess.  Compare the SHA-256 below with what the maker publishes: that is the whole of the trust.
";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Import TPM makers' CA certificates, each after a check.  Without files: where to get them, and what is there.
    /// Exit status 1 if a certificate was refused.  Uses no network; a running appliance reads them when it starts.
    Update(Update),
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Certificates: PEM (one or many in a file) or DER.
    files: Vec<PathBuf>,
    /// The endorsement directory of the site.
    #[arg(long, default_value = "/var/lib/scalerforge/endorsement")]
    dir: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What became of one certificate.
#[derive(Debug, Serialize)]
struct Line {
    file: PathBuf,
    outcome: &'static str,
    sha256: Option<String>,
    subject: Option<String>,
    valid_to: Option<String>,
    root: Option<bool>,
    why: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    imported: Vec<Line>,
    roots: usize,
    intermediates: usize,
    leading_nowhere: Vec<String>,
    policy_digest: String,
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let Verb::Update(call) = verb;
    std::fs::create_dir_all(&call.dir).with_context(|| format!("cannot make {}", call.dir.display()))?;
    let now = unix_seconds();
    let mut known: BTreeSet<[u8; 32]> = BTreeSet::new();
    for file in pem_files(&call.dir)? {
        known.extend(certificates(&file, now)?.into_iter().flatten().map(|certificate| certificate.sha256));
    }
    let mut imported = Vec::new();
    for file in &call.files {
        for found in certificates(file, now)? {
            imported.push(import(file, found, &call.dir, &mut known)?);
        }
    }
    let mut roots = Roots::default();
    for file in pem_files(&call.dir)? {
        roots.add_pem(&read(&file)?).with_context(|| format!("{} holds no certificates", file.display()))?;
    }
    let (count, intermediates) = roots.len();
    let report = Report {
        imported,
        roots: count,
        intermediates,
        leading_nowhere: roots.loose(now),
        policy_digest: hex::encode(roots.digest()),
    };
    if call.json {
        print(&report)?;
    } else {
        show(&report, &call);
    }
    let refused = report.imported.iter().any(|line| line.outcome == "refused");
    Ok(ExitCode::from(u8::from(refused)))
}

fn import(
    file: &Path,
    found: Result<CaCertificate, String>,
    dir: &Path,
    known: &mut BTreeSet<[u8; 32]>,
) -> anyhow::Result<Line> {
    let file = file.to_owned();
    let certificate = match found {
        Ok(certificate) => certificate,
        Err(why) => {
            let (outcome, why) = ("refused", Some(why));
            return Ok(Line { file, outcome, sha256: None, subject: None, valid_to: None, root: None, why });
        }
    };
    let sha256 = hex::encode(certificate.sha256);
    let outcome = if known.insert(certificate.sha256) {
        let kept = dir.join(format!("{sha256}.pem"));
        // Whole or not there: a half-written file would stop the appliance from starting.
        let part = dir.join(format!("{sha256}.part-{}", std::process::id()));
        std::fs::write(&part, certificate.pem())
            .and_then(|()| std::fs::rename(&part, &kept))
            .with_context(|| format!("cannot write {}", kept.display()))?;
        "added"
    } else {
        "already there"
    };
    Ok(Line {
        file,
        outcome,
        sha256: Some(sha256),
        subject: Some(certificate.subject),
        valid_to: Some(certificate.valid.1),
        root: Some(certificate.is_root),
        why: None,
    })
}

fn show(report: &Report, call: &Update) {
    if call.files.is_empty() {
        say!("{SOURCES}");
    }
    for line in &report.imported {
        let kind = match line.root {
            Some(true) => "root",
            Some(false) => "intermediate",
            None => "",
        };
        let what = line.subject.as_deref().or(line.why.as_deref()).unwrap_or_default();
        say!("{:<13}  {kind:<12}  {what}", line.outcome);
        if let (Some(sha256), Some(valid_to)) = (&line.sha256, &line.valid_to) {
            say!("{:<29}  sha256 {sha256}, valid to {valid_to}", "");
        }
    }
    for why in &report.leading_nowhere {
        say!("of no use yet: intermediate {why}");
    }
    say!("{}: {} roots, {} intermediates", call.dir.display(), report.roots, report.intermediates);
    say!("policy digest {}", report.policy_digest);
}

fn certificates(file: &Path, now_unix: u64) -> anyhow::Result<Vec<Result<CaCertificate, String>>> {
    bundle::read(&read(file)?, now_unix).with_context(|| format!("cannot use {}", file.display()))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file)
        .with_context(|| format!("cannot read the certificates {}; check the path", file.display()))
}

fn pem_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "pem"));
    files.sort();
    Ok(files)
}

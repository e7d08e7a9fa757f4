//! `scalerforge unit`: one unit of a node, shown without the others; and what the units of a host are made of.

mod real;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use appliance_carve::{PROOF_BYTES_MAX, ProofError, UnitProof, prove};
use appliance_model::{
    Digest, HostId,
    units::{Resource, Tier, Unit},
};
use attest_evidence::Purpose;
use clap::{Args, Subcommand};

use crate::{
    client::Appliance,
    evidence::{code, decode, read},
    host::print,
    say,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the units of a host real: groups, large pages, virtual functions.  Drives are left as they are.
    Carve(real::Carve),
    /// Put back what was there before the units of a host were made.  A registered node is refused.
    Uncarve(real::Uncarve),
    /// What a host's kernel says of its units.  Exit status 0: as planned, 1: something that is sold is missing.
    Real(real::Real),
    /// Write the proof of one unit, to standard output: whoever has it needs neither manifest nor evidence file.
    Prove {
        /// The evidence file, or a host id of the appliance.
        what: String,
        /// The unit's id, for example `storage-0003`.
        unit: String,
        #[command(flatten)]
        appliance: Appliance,
    },
    /// Check the proof of one unit.  Exit status 0: it is under the root, 1: it is not, 2: no proof.
    Verify {
        /// The file that `unit prove` wrote.
        proof: PathBuf,
        #[command(flatten)]
        root: Root,
        /// Print the unit as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Whose word the root is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Root {
    /// The node's unit root, as the registry on chain has it.
    #[arg(long, value_name = "HEX")]
    root: Option<Digest>,
    /// Take the unit root from an evidence file, which `evidence verify` must have accepted.
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Carve(asked) => real::carve(&asked),
        Verb::Uncarve(asked) => real::uncarve(&asked),
        Verb::Real(asked) => real::real(&asked),
        Verb::Prove { what, unit, appliance } => {
            let evidence = decode(&bytes(&what, &appliance)?, &what)?;
            let manifest = evidence.attachments.manifest.as_deref().ok_or_else(|| {
                anyhow!("{what} holds no manifest: it is evidence for admission; take the one made for registration")
            })?;
            print(&prove(manifest, &unit)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Verify { proof, root, json } => verify(&proof, &root, json),
    }
}

fn bytes(what: &str, appliance: &Appliance) -> anyhow::Result<Vec<u8>> {
    if Path::new(what).exists() {
        return read(Path::new(what));
    }
    let host: HostId = what
        .parse()
        .map_err(|_| anyhow!("`{what}` is neither a file nor a host id; `host list` shows the ids"))?;
    appliance.bytes(&format!("/api/v1/hosts/{host}/evidence"))
}

fn verify(file: &Path, root: &Root, json: bool) -> anyhow::Result<ExitCode> {
    let wanted = root.digest()?;
    let proof = UnitProof::parse(&small(file)?)?;
    let shown = match proof.verify(&wanted) {
        Ok(unit) => unit,
        Err(error @ (ProofError::Way { .. } | ProofError::Elsewhere { .. } | ProofError::Unreadable)) => {
            say!("REFUSED: {error}");
            return Ok(code(false));
        }
        Err(error) => return Err(error.into()),
    };
    if json {
        print(&serde_json::json!({"unit": shown, "leaf": proof.leaf(), "root": wanted}))?;
        return Ok(code(true));
    }
    say!("{}: {}", shown.id, words(&shown));
    say!("leaf {}", proof.leaf());
    say!("root {wanted}");
    if root.evidence.is_some() {
        say!(
            "The root is the one this file names; whether the file is to be believed, `evidence verify` says."
        );
    }
    Ok(code(true))
}

impl Root {
    fn digest(&self) -> anyhow::Result<Digest> {
        let Some(file) = &self.evidence else {
            return self.root.context("name the unit root with --root, or an evidence file with --evidence");
        };
        let evidence = decode(&read(file)?, &file.display().to_string())?;
        match evidence.statement.purpose {
            Purpose::Registration { unit_root, .. } => Ok(Digest(unit_root)),
            Purpose::Admission => {
                bail!("{} names no unit root: it is evidence for admission", file.display())
            }
        }
    }
}

/// Reads a proof, and no more of a file than a proof has.
fn small(file: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let named = || format!("cannot read the proof {}; check the path", file.display());
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).with_context(named)?;
    let most = u64::try_from(PROOF_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    opened.take(most).read_to_end(&mut bytes).with_context(named)?;
    Ok(bytes)
}

/// A unit for people.
pub(crate) fn words(unit: &Unit) -> String {
    let what = match &unit.resource {
        Resource::Compute { cpus } => {
            let numbers: Vec<_> = cpus.iter().map(u32::to_string).collect();
            format!("one core, CPUs {}", numbers.join(" "))
        }
        Resource::Memory { bytes } => format!("{} MiB of memory", bytes >> 20),
        Resource::Storage { serial, bytes, tier, start } => {
            let tier = match tier {
                Tier::Fast => "fast",
                Tier::Slow => "slow",
            };
            let gigabytes = bytes / 1_000_000_000;
            match start {
                None => format!("{tier} drive {serial} of {gigabytes} GB"),
                Some(start) => format!("{gigabytes} GB from byte {start} on of {tier} drive {serial}"),
            }
        }
        Resource::Network { mac, mbps: Some(mbps) } => format!("port {mac} of {mbps} Mbit/s"),
        Resource::Network { mac, mbps: None } => format!("port {mac} of unknown speed"),
        Resource::Gpu { uuid, bytes } => format!("GPU {uuid} with {} GiB", bytes >> 30),
        Resource::GpuSlice { uuid, gpu, profile, bytes, .. } => {
            format!("part {uuid} ({profile}) of GPU {gpu} with {} GiB", bytes >> 30)
        }
    };
    let node = unit.node.map_or_else(String::new, |node| format!(", node {node}"));
    let offers: Vec<_> = unit.confidential.iter().map(|offer| format!("{offer:?}")).collect();
    let offers =
        if offers.is_empty() { String::new() } else { format!(", confidential: {}", offers.join(" ")) };
    let path = if unit.pcie.is_empty() { String::new() } else { format!(", PCIe {}", unit.pcie.join(" > ")) };
    format!("{what}{node}{path}{offers}")
}

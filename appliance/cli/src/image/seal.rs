//! `scalerforge image seal|sign`: what an appliance does with its images at start, by hand.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use attest_evidence::ReferenceValues;
use clap::Args;
use image_build::sealing::{self, Order};
use image_seal::{Key, Policy, Site, authenticode};

use super::show;
use crate::{host::print, say};

#[derive(Debug, Args)]
pub(crate) struct Seal {
    /// The base UKI.
    base: PathBuf,
    /// The site's certificate authority (ca.pem).
    #[arg(long)]
    ca: PathBuf,
    /// Where the appliance is, https://ADDRESS:PORT, for images that start without a boot ticket.
    #[arg(long)]
    appliance: Option<String>,
    /// RSA-2048 key, PKCS#8 PEM, that signs the policy over PCR 11, for images that open something by their TPM.
    #[arg(long)]
    policy_key: Option<PathBuf>,
    #[command(flatten)]
    signer: Option<Signer>,
    /// Folder for discovery.efi, reference.json, discovery.iso, vmlinuz and initrd.
    #[arg(long)]
    out: PathBuf,
    /// Print the reference values as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// A UKI or boot loader; a signature that it has is replaced.
    image: PathBuf,
    #[command(flatten)]
    signer: Signer,
    /// The signed file.
    #[arg(long)]
    out: PathBuf,
}

/// What signs for Secure Boot.
#[derive(Debug, Args)]
#[group(requires_all = ["key", "certificate"])]
pub(crate) struct Signer {
    /// RSA-2048 key, PKCS#8 PEM, that signs for Secure Boot.
    #[arg(long, required = false, requires = "certificate")]
    key: PathBuf,
    /// Its certificate, PEM: what firmware has in its db.
    #[arg(long, required = false, requires = "key")]
    certificate: PathBuf,
}

pub(crate) fn seal(options: &Seal) -> anyhow::Result<ExitCode> {
    let (base, ca_pem) = (read(&options.base)?, read(&options.ca)?);
    let policy_key = options.policy_key.as_deref().map(key).transpose()?;
    let signer = options.signer.as_ref().map(Signer::read).transpose()?;
    // A host's image has none beside it.
    let programs = fs::read(options.base.with_file_name(image_seal::PROGRAMS)).ok();
    let order = Order {
        base: &base,
        site: Site { ca_pem: &ca_pem, appliance: options.appliance.as_deref() },
        policy: policy_key.as_ref().map(|key| Policy { key }),
        signer: signer.as_ref().map(|(key, certificate)| (key, certificate.as_slice())),
        programs: programs.as_deref(),
    };
    let files = sealing::seal_into(&order, &options.out)?;
    told(&files.uki, &files.reference, options.json)
}

pub(crate) fn sign(options: &Sign) -> anyhow::Result<ExitCode> {
    let (key, certificate) = options.signer.read()?;
    let signed = authenticode::sign(&read(&options.image)?, &key, &certificate)?;
    fs::write(&options.out, signed).with_context(|| format!("cannot write {}", options.out.display()))?;
    say!("{}", options.out.display());
    Ok(ExitCode::SUCCESS)
}

fn told(uki: &Path, reference: &ReferenceValues, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        print(reference)?;
    } else {
        say!("{}", uki.display());
        show::reference(reference);
    }
    Ok(ExitCode::SUCCESS)
}

impl Signer {
    fn read(&self) -> anyhow::Result<(Key, Vec<u8>)> {
        let pem = read(&self.certificate)?;
        let der = authenticode::certificate_of_pem(&pem)
            .with_context(|| format!("{} is no certificate", self.certificate.display()))?;
        Ok((key(&self.key)?, der))
    }
}

fn key(file: &Path) -> anyhow::Result<Key> {
    let pem = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Key::from_pem(&pem).with_context(|| format!("{} is no key for images", file.display()))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

//! The releases that hosts get: two that work, and one that does not start.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use hil_tests_scenarios::{Artefacts, Lab};
use image_build::{
    Lock, Origin,
    installed::{self, Order},
    release::Edition,
};

use crate::LIMIT;

/// Where releases are.
#[derive(Clone)]
pub(crate) struct Releases {
    artefacts: Artefacts,
    /// What the host gets first.
    pub(crate) first: PathBuf,
    /// What follows it.
    pub(crate) second: PathBuf,
    /// What does not start.
    pub(crate) broken: PathBuf,
}

impl Releases {
    /// Where they will be: two that work, and one whose first program does not run.
    pub(crate) fn of(artefacts: &Artefacts) -> Self {
        let folder = artefacts.scratch.join("releases");
        Self {
            artefacts: artefacts.clone(),
            first: folder.join("first"),
            second: folder.join("second"),
            broken: folder.join("broken"),
        }
    }

    /// Builds the one that the host gets first.
    pub(crate) fn build_first(&self) -> anyhow::Result<()> {
        let start = self.artefacts.programs.join("start");
        self.build(&self.first, &start, Edition { version: "1.1", epoch: 1 })
    }

    /// Builds the others.
    pub(crate) fn build_rest(&self) -> anyhow::Result<()> {
        let start = self.artefacts.programs.join("start");
        let broken = self.broken.with_file_name("start");
        let mut bytes = std::fs::read(&start).with_context(|| format!("reading {}", start.display()))?;
        // The entry point of an ELF file of 64 bits: nothing can run from there.
        bytes.get_mut(24..32).context("no program")?.fill(0);
        std::fs::write(&broken, bytes)?;
        self.build(&self.second, &start, Edition { version: "1.2", epoch: 2 })?;
        self.build(&self.broken, &broken, Edition { version: "1.3", epoch: 3 })
    }

    fn build(&self, out: &Path, start: &Path, edition: Edition<'_>) -> anyhow::Result<()> {
        std::fs::create_dir_all(out)?;
        let agent = self.artefacts.programs.join("agent");
        let lock = Lock::parse(&std::fs::read_to_string(&self.artefacts.lock)?)?;
        let order = Order { agent: &agent, start, edition, out };
        let origin = Origin { cache: &self.artefacts.cache, lock: &lock, snapshot: None };
        installed::installed(origin, &order, &mut |step| println!("{}: {step}", edition.version))?;
        Ok(())
    }
}

/// The site gives hosts another release from now on.
pub(crate) async fn other_release(lab: &mut Lab, (from, to): (&Path, &Path)) -> anyhow::Result<()> {
    lab.kill_appliance().await?;
    let file = lab.site().join("scalerforge.toml");
    let text = std::fs::read_to_string(&file)?;
    let other = text.replace(&from.display().to_string(), &to.display().to_string());
    ensure!(other != text, "the site file does not name the release");
    std::fs::write(&file, other)?;
    lab.start_appliance()?;
    lab.wait("the appliance to be back", LIMIT, |hosts| (!hosts.is_empty()).then_some(())).await
}

/// The reference values that the appliance computed for a release, as a file.
pub(crate) fn sealed_values(lab: &Lab, release: &Path) -> anyhow::Result<String> {
    let built: serde_json::Value = serde_json::from_slice(&std::fs::read(release.join("release.json"))?)?;
    for entry in std::fs::read_dir(lab.site().join("images/host"))? {
        let known: serde_json::Value =
            serde_json::from_slice(&std::fs::read(entry?.path().join("known.json"))?)?;
        if known["release"]["root_hash"] == built["root_hash"] {
            let file = lab.site().join("host-reference.json");
            std::fs::write(&file, serde_json::to_vec(&known["reference"])?)?;
            return Ok(file.display().to_string());
        }
    }
    anyhow::bail!("the appliance has sealed no such release")
}

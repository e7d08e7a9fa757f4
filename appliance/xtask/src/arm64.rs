//! The agent and the discovery image for 64-bit ARM, made on a machine of another kind: `cargo xtask soak --arm64`.
//!
//! By Debian's packages alone: its Rust for Debian 12 (`rustc-web`) with the standard library of arm64, unpacked into a
//! folder of ours and never installed, and its C compiler for arm64, which is.  Folders of their own keep all of it apart
//! from the ordinary build.  The program that unpacks the kernel is for UEFI, which Debian's Rust knows nothing of: the
//! ordinary compiler makes it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use image_build::{Architecture, Discovery, Origin, Programs};

use crate::{
    gates, prepare,
    run::{cargo, output, run},
    tools,
};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// What the kernel is unpacked on.
const FIRMWARE: &str = "aarch64-unknown-uefi";

/// What must be installed for `rustc-web` to compile for arm64 as well: the second is never installed.
const WANTED: [&str; 2] = ["rustc-web", "libstd-rust-web-dev:arm64"];

/// Which of the packages behind them are unpacked, by how their names start: the compiler, its libraries, and what of the
/// libraries' needs not every Debian 12 has.
const UNPACKED: [&str; 10] = [
    "rustc-web",
    "libstd-rust-web-",
    "libllvm",
    "libz3-",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libxml2",
    "libicu",
    "libffi",
];

/// The suites that have them, at whatever mirror this host takes Debian 12 from.
const SUITES: [&str; 2] = ["bookworm", "bookworm-security"];

/// Where everything for arm64 lies.
pub(crate) fn folder(root: &Path) -> PathBuf {
    root.join(".xtask/arm64")
}

/// Builds agent and images, and runs the tests that start them.
pub(crate) fn soak(root: &Path) -> anyhow::Result<()> {
    tools::ensure(root, tools::Need::Arm64)?;
    images(root)?;
    let (_, list) = prepare::prepare(root, true)?;
    let filter =
        "(package(image-build) & binary(hil_arm64)) | (package(hil-tests-scenarios) & binary(enrol_arm64))";
    gates::nextest(
        root,
        Some(&list),
        &["--workspace", "--profile", "soak", "--run-ignored", "only", "--no-capture", "-E", filter],
    )
}

/// The image of servers below `image`, and below `virtual` the same with the kernel for virtual machines.
fn images(root: &Path) -> anyhow::Result<()> {
    let folder = folder(root);
    let (agent, zboot) = (agent(root)?, zboot(root)?);
    let programs = Programs { agent: &agent, zboot: Some(&zboot) };
    let xtask = root.join(".xtask");
    let cache = xtask.join("cache");
    let mut say = |line: &str| eprintln!("  {line}");
    let lock = prepare::packages(&xtask, &cache, Architecture::Arm64, &[], &mut say)?;
    // The committed one may have aged; the tests build again from what was built from.
    let kept = folder.join("lock.json");
    fs::write(&kept, lock.to_text()?).with_context(|| format!("writing {}", kept.display()))?;
    let of_machines = lock.clone().for_virtual_machines();
    for (lock, name) in [(&lock, "image"), (&of_machines, "virtual")] {
        let origin = Origin { cache: &cache, lock, snapshot: None };
        let Discovery { uki, uki_bytes, .. } =
            image_build::discovery(origin, programs, &folder.join(name), &mut say)?;
        eprintln!("  {} has {uki_bytes} bytes", uki.display());
    }
    Ok(())
}

/// The agent, static, as small as the other.
fn agent(root: &Path) -> anyhow::Result<PathBuf> {
    let compiler = compiler(root)?;
    let built = prepare::target(root).join("agent-arm64");
    run(cargo(root)
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env("RUSTC", compiler)
        .env("CARGO_TARGET_DIR", &built)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static")
        .args(["build", "--quiet", "--profile", "agent", "-p", "image-agent", "--target", TARGET]))?;
    let made = built.join(TARGET).join("agent/agent");
    let size = fs::metadata(&made).with_context(|| format!("finding {}", made.display()))?.len();
    let most = prepare::AGENT_BYTES_MAX;
    ensure!(size <= most, "the agent for arm64 has {size} bytes, more than {most}");
    let folder = folder(root);
    fs::create_dir_all(&folder)?;
    let agent = folder.join("agent");
    fs::copy(&made, &agent).with_context(|| format!("copying {}", made.display()))?;
    Ok(agent)
}

/// The program that unpacks the kernel, by the ordinary compiler.
fn zboot(root: &Path) -> anyhow::Result<PathBuf> {
    let library = output(Command::new("rustc").current_dir(root).args([
        "--print",
        "target-libdir",
        "--target",
        FIRMWARE,
    ]))?;
    ensure!(
        Path::new(library.trim()).is_dir(),
        "the Rust compiler of this machine has no standard library for UEFI on 64-bit ARM, for which the program is built \
         that unpacks the kernel; install it with `rustup target add {FIRMWARE}`, then try again"
    );
    // Only for this target there is all of it to be looked at.
    let lint = ["clippy", "--quiet", "-p", "image-zboot", "--target", FIRMWARE, "--", "-D", "warnings"];
    run(cargo(root).env_remove("RUSTC_WORKSPACE_WRAPPER").args(lint))?;
    run(cargo(root).env_remove("RUSTC_WORKSPACE_WRAPPER").args([
        "build",
        "--quiet",
        "--profile",
        "agent",
        "-p",
        "image-zboot",
        "--target",
        FIRMWARE,
    ]))?;
    let made = prepare::target(root).join(FIRMWARE).join("agent/zboot.efi");
    let folder = folder(root);
    fs::create_dir_all(&folder)?;
    let zboot = folder.join("zboot.efi");
    fs::copy(&made, &zboot).with_context(|| format!("copying {}", made.display()))?;
    Ok(zboot)
}

/// Debian's Rust with both standard libraries, unpacked once.
fn compiler(root: &Path) -> anyhow::Result<PathBuf> {
    let place = folder(root).join("rust");
    let program = place.join("rustc");
    if program.exists() {
        return Ok(program);
    }
    let part = folder(root).join("rust.part");
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("clearing {}", part.display()))?;
    }
    let debs = part.join("debs");
    fs::create_dir_all(&debs).with_context(|| format!("making {}", debs.display()))?;
    let configuration = configuration(&part)?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", &configuration).current_dir(&debs).arg("-q");
        command
    };
    run(apt().arg("update"))?;
    let said = output(apt().args(["--simulate", "install"]).args(WANTED))?;
    let packages = unpacked(&said);
    ensure!(packages.iter().any(|name| name == WANTED[1]), "apt would not install {}: {said}", WANTED[1]);
    run(apt().arg("download").args(&packages))?;
    for deb in fs::read_dir(&debs)? {
        run(Command::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(&part))?;
    }
    fs::remove_dir_all(&debs)?;
    // Its own libraries before this machine's, for it alone; wherever the folder is moved to.
    let text = "#!/bin/sh\nhere=$(cd \"$(dirname \"$0\")\" && pwd)/usr\n\
                LD_LIBRARY_PATH=\"$here/lib/x86_64-linux-gnu\" exec \"$here/bin/rustc\" \"$@\"\n";
    let script = part.join("rustc");
    fs::write(&script, text).with_context(|| format!("writing {}", script.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    fs::rename(&part, &place).with_context(|| format!("renaming {}", part.display()))?;
    Ok(program)
}

/// Of what apt says that it would install, what is unpacked: of arm64 the standard library alone.
fn unpacked(said: &str) -> Vec<String> {
    let names = said.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next());
    let ours = |name: &&str| {
        UNPACKED.iter().any(|start| name.starts_with(start)) && (!name.contains(':') || *name == WANTED[1])
    };
    names.filter(ours).map(str::to_owned).collect()
}

/// An apt of its own that knows Debian 12 for both architectures, at this host's mirrors.
fn configuration(folder: &Path) -> anyhow::Result<PathBuf> {
    for path in ["apt/lists/partial", "apt/cache/archives/partial", "apt/none"] {
        fs::create_dir_all(folder.join(path)).with_context(|| format!("making {path}"))?;
    }
    let format = ["indextargets", "--format", "$(SITE) $(RELEASE) $(SIGNED_BY)"];
    let targets = output(Command::new("apt-get").args(format))?;
    let list = sources(&targets);
    if list.is_empty() {
        bail!(
            "no apt source of this host has Debian 12 (bookworm), whose Rust builds the agent for arm64; add one to \
             /etc/apt/sources.list"
        );
    }
    let place = folder.join("apt");
    let (file, status) = (place.join("sources.list"), place.join("status"));
    fs::write(&file, list).with_context(|| format!("writing {}", file.display()))?;
    fs::write(&status, "").with_context(|| format!("writing {}", status.display()))?;
    let text = format!(
        "Dir::State \"{0}\";\nDir::State::status \"{0}/status\";\nDir::Cache \"{0}/cache\";\n\
         Dir::Etc::sourcelist \"{0}/sources.list\";\nDir::Etc::sourceparts \"{0}/none\";\n\
         APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; \"arm64\"; }};\nAPT::Install-Recommends \"false\";\n\
         APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n",
        place.display()
    );
    let configuration = place.join("apt.conf");
    fs::write(&configuration, text).with_context(|| format!("writing {}", configuration.display()))?;
    Ok(configuration)
}

/// Source lines for both architectures, of `SITE RELEASE KEY` lines; the key stays unsaid where this host does not name it.
fn sources(targets: &str) -> String {
    let mut lines: Vec<String> = targets
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [site, suite, ..] = words.as_slice() else { return None };
            let key = words.get(2).filter(|key| key.starts_with('/'));
            let signed = key.map_or(String::new(), |key| format!(" signed-by={key}"));
            SUITES.contains(suite).then(|| format!("deb [arch=amd64,arm64{signed}] {site} {suite} main\n"))
        })
        .collect();
    lines.sort();
    lines.dedup();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_architectures_come_from_the_hosts_mirrors() {
        let targets = "http://m/debian bookworm $(SIGNED_BY)\nhttp://m/debian bookworm $(SIGNED_BY)\n\
                       http://m/security bookworm-security /k.gpg\nhttp://m/debian bookworm-updates /k.gpg\n";
        assert_eq!(
            sources(targets),
            "deb [arch=amd64,arm64 signed-by=/k.gpg] http://m/security bookworm-security main\n\
             deb [arch=amd64,arm64] http://m/debian bookworm main\n"
        );
        assert!(sources("http://m trixie /k.gpg").is_empty());
    }

    #[test]
    fn nothing_of_arm64_but_the_standard_library_is_unpacked() {
        let said = "Inst libc6 (2.36-9 x)\nInst libllvm22:arm64 (1 x)\nInst libllvm22 (1 x)\nInst rustc-web (1 x)\n\
                    Inst libstd-rust-web-1.96:arm64 (1 x)\nInst libstd-rust-web-dev:arm64 (1 x)\nConf rustc-web (1 x)\n";
        assert_eq!(unpacked(said), ["libllvm22", "rustc-web", "libstd-rust-web-dev:arm64"]);
    }
}

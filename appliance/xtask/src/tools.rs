//! The programs of other people that the lab needs.  Missing ones are installed from Debian when we are root.
//!
//! Debian 12's own QEMU (7.2) lacks a network card of the rack; the backport has it.  The host's apt configuration is
//! not touched: the backports suite is named in a list of our own, at the mirror the host already uses.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::run::{output, run};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The demo.
    Demo,
    /// The tests: the demo's tools, judges and a browser.
    Tests,
    /// The tests, and what compiles for 64-bit ARM.
    Arm64,
}

/// Program, package.
const DEMO: [(&str, &str); 6] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("swtpm", "swtpm"),
    ("swtpm_setup", "swtpm-tools"),
    ("ip", "iproute2"),
    ("dpkg-deb", "dpkg"),
];

const TESTS: [(&str, &str); 21] = [
    ("tpm2_checkquote", "tpm2-tools"),
    ("dnsmasq", "dnsmasq-base"),
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("openssl", "openssl"),
    ("sbsign", "sbsigntool"),
    ("mformat", "mtools"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("npm", "npm"),
    ("tftp", "tftp-hpa"),
    ("curl", "curl"),
    ("tcpdump", "tcpdump"),
    // Whom an installed host lets in.
    ("ssh", "openssh-client"),
    // Loop devices, which writing to drives is tried on.
    ("losetup", "mount"),
    // The program that parts of drives are made with, beside the image's own.
    ("lvm", "lvm2"),
    // A management controller of other people, and a client of theirs.
    ("ipmi_sim", "openipmi"),
    ("ipmitool", "ipmitool"),
    ("ipmipower", "freeipmi-tools"),
    // The environment of the BMC's judges.
    ("python3.11", "python3.11-venv"),
    // What fuzz targets and HTTPS boot are built with.
    ("g++", "g++"),
    ("pkg-config", "pkg-config"),
];

/// For `soak --arm64` alone: 44 MB to fetch, 160 on the disk.
const ARM_COMPILER: (&str, &str) = ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu");
/// The C library that the agent is linked with, and the package that has it.
const ARM_LIBRARY: (&str, &str) = ("/usr/aarch64-linux-gnu/lib/libc.a", "libc6-dev-arm64-cross");

/// Debian's `libssl-dev` puts it there.
const OPENSSL_HEADER: &str = "/usr/include/openssl/ssl.h";

/// UEFI firmware for virtual ARM machines.
const ARM_FIRMWARE: (&str, &str) = ("/usr/share/AAVMF/AAVMF_CODE.fd", "qemu-efi-aarch64");

/// Not in the path, and in every installed Debian; a container may be without.
const MEASURE: (&str, &str) = ("/usr/lib/systemd/systemd-measure", "systemd");

/// The first QEMU with the igb network card.
const QEMU_MAJOR_MIN: u32 = 8;

/// Installs what is missing.
pub(crate) fn ensure(root: &Path, need: Need) -> anyhow::Result<()> {
    let tests = need != Need::Demo;
    let wanted = DEMO.iter().chain(if tests { TESTS.iter() } else { [].iter() });
    let wanted = wanted.chain([ARM_COMPILER].iter().filter(|_| need == Need::Arm64));
    let mut missing: Vec<&str> =
        wanted.filter(|(program, _)| !present(program)).map(|(_, package)| *package).collect();
    if present("qemu-system-x86_64") && qemu_major().is_none_or(|major| major < QEMU_MAJOR_MIN) {
        missing.push("qemu-system-x86");
    }
    if need == Need::Arm64 && !Path::new(ARM_LIBRARY.0).is_file() {
        missing.push(ARM_LIBRARY.1);
    }
    // No program: the headers that the feature `https-boot` is built with.
    if tests && !Path::new(OPENSSL_HEADER).is_file() {
        missing.push("libssl-dev");
    }
    if tests && !Path::new(ARM_FIRMWARE.0).is_file() {
        missing.push(ARM_FIRMWARE.1);
    }
    if tests && !Path::new(MEASURE.0).is_file() {
        missing.push(MEASURE.1);
    }
    // Debian's interpreter comes without what makes environments.
    let environments = output(Command::new("python3.11").args(["-c", "import ensurepip"]));
    if tests && environments.is_err() {
        missing.push("python3.11-venv");
    }
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing {}", missing.join(", "));
    if !is_root()? {
        bail!(
            "these Debian packages are missing: {}. Install them as root (on Debian 12 take QEMU from \
             bookworm-backports: `apt-get install -t bookworm-backports qemu-system-x86 qemu-utils`), then try again",
            missing.join(" ")
        );
    }
    install(root, &missing)
}

fn install(root: &Path, missing: &[&str]) -> anyhow::Result<()> {
    let apt = |list: Option<&Path>| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        if let Some(list) = list {
            command.arg("-o").arg(format!("Dir::Etc::SourceList={}", list.display()));
        }
        command
    };
    run(apt(None).arg("update"))?;
    let (qemu, plain): (Vec<&str>, Vec<&str>) =
        missing.iter().partition(|package| package.starts_with("qemu") && **package != ARM_FIRMWARE.1);
    if !plain.is_empty() {
        run(apt(None).args(["install", "-y", "--no-install-recommends"]).args(&plain))?;
    }
    if qemu.is_empty() {
        return Ok(());
    }
    let release = std::fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    // All of one version.
    let mut all = vec!["qemu-system-x86", "qemu-utils"];
    all.extend(qemu.into_iter().filter(|package| *package == "qemu-system-arm"));
    if !release.contains("VERSION_CODENAME=bookworm") {
        return run(apt(None).args(["install", "-y", "--no-install-recommends"]).args(&all));
    }
    let list = backports(root)?;
    run(apt(Some(&list)).arg("update"))?;
    run(apt(Some(&list))
        .args(["install", "-y", "--no-install-recommends", "-t", "bookworm-backports"])
        .args(&all))
}

/// A source list with the backports suite at the mirror that serves bookworm to this host.
fn backports(root: &Path) -> anyhow::Result<std::path::PathBuf> {
    let targets = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(SITE) $(RELEASE) $(SIGNED_BY)",
    ]))?;
    let mirror = targets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.get(1) == Some(&"bookworm"))
        .context("no apt source of this host has Debian 12 (bookworm); add one to /etc/apt/sources.list")?;
    let signed = mirror.get(2).filter(|key| key.starts_with('/')).map(|key| format!("[signed-by={key}] "));
    let line = format!("deb {}{} bookworm-backports main\n", signed.unwrap_or_default(), mirror[0]);
    let folder = root.join(".xtask");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("backports.list");
    std::fs::write(&file, line).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

/// Whether we are root, of the machine or of a user namespace.
pub(crate) fn is_root() -> anyhow::Result<bool> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

pub(crate) fn present(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&paths).collect();
    // Root's tools are not always on a user's path.
    folders.extend(["/usr/sbin", "/sbin"].map(Into::into));
    folders.iter().any(|folder| folder.join(program).is_file())
}

fn qemu_major() -> Option<u32> {
    let text = output(Command::new("qemu-system-x86_64").arg("--version")).ok()?;
    text.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok())
}

/// Whether cargo has this subcommand.
pub(crate) fn present_cargo(program: &str) -> bool {
    let home = std::env::var_os("CARGO_HOME")
        .map(std::path::PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    present(program) || home.is_some_and(|home| home.join("bin").join(program).is_file())
}

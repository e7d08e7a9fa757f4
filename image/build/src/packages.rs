//! Fetches the distribution packages that images are made of, without root and without touching the host's apt.
//!
//! A private apt with its own directories asks the host's own mirror for the release in `sources.rs`, checks
//! signatures as always, and `dpkg-deb` unpacks beside it.  The result is cached: a second call reads one small file
//! and needs no network.  Remove the cache's `packages` folder to take newer packages.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::sources;

/// Changes when the folder's layout does, so that an older cache is fetched again instead of misread.
const FORMAT: u32 = 1;
const RECORD: &str = "packages.json";
/// The package that always depends on the newest signed kernel.
const KERNEL_META: &str = "linux-image-amd64";
/// systemd's UEFI boot stub, UEFI firmware for virtual machines, iPXE for firmware that can do no better, and the chain
/// that Microsoft's and Debian's keys have signed, for hosts whose firmware trusts only those.
const OTHERS: [&str; 5] = ["systemd-boot-efi", "ovmf", "ipxe", "shim-signed", "grub-efi-amd64-signed"];

/// Why packages cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be read or written.
    #[error("cannot {doing} {path}; check that the disk has 500 MB left and that you may write there")]
    File {
        /// Verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A tool is missing.
    #[error("cannot start `{tool}`, which {package} provides; install it, or build on a Debian system")]
    Tool {
        /// Program name.
        tool: &'static str,
        /// Debian package that has it.
        package: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A tool failed.
    #[error("`{command}` failed ({status}): {output}\n{hint}")]
    Failed {
        /// Command as run.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The host has no Debian source.
    #[error(
        "found no Debian mirror in /etc/apt/sources.list or /etc/apt/sources.list.d; the images are made of Debian {} packages, \
         so add a source for any Debian release (component `main`) there",
        sources::SUITE
    )]
    NoMirror,
    /// A package or file is not what was expected.
    #[error("{what}; if the mirror is being updated, try again in an hour, else report this as a bug")]
    Unexpected {
        /// What is wrong.
        what: String,
    },
}

/// One package, as it went in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Binary package name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// Debian architecture.
    pub architecture: String,
    /// Source package, whose code is to be offered with the image.
    pub source: String,
    /// File name in the cache's `debs` folder.
    pub file: String,
    /// SHA-256 of the .deb file, hex.
    pub sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    kernel_release: String,
    packages: Vec<Package>,
}

/// Fetched and unpacked packages.
#[derive(Debug, Clone)]
pub struct Packages {
    dir: PathBuf,
    kernel_release: String,
    packages: Vec<Package>,
}

impl Packages {
    /// What was fetched.
    #[must_use]
    pub fn list(&self) -> &[Package] {
        &self.packages
    }

    /// The kernel's own name for itself (`uname -r`).
    #[must_use]
    pub fn kernel_release(&self) -> &str {
        &self.kernel_release
    }

    /// The signed kernel image.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.root().join(format!("boot/vmlinuz-{}", self.kernel_release))
    }

    /// The kernel's module directory.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.root().join("usr/lib/modules").join(&self.kernel_release)
    }

    /// systemd's boot stub, onto which the UKI's sections go.
    #[must_use]
    pub fn stub(&self) -> PathBuf {
        self.root().join("usr/lib/systemd/boot/efi/linuxx64.efi.stub")
    }

    /// UEFI firmware for virtual machines, without Secure Boot.  Read-only.
    #[must_use]
    pub fn ovmf_code(&self) -> PathBuf {
        self.root().join("usr/share/OVMF/OVMF_CODE_4M.fd")
    }

    /// UEFI firmware for virtual machines with Secure Boot (needs QEMU's `smm=on`).  Read-only.
    #[must_use]
    pub fn ovmf_code_secure_boot(&self) -> PathBuf {
        self.root().join("usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
    }

    /// Empty UEFI variables; each machine takes its own copy.
    #[must_use]
    pub fn ovmf_vars(&self) -> PathBuf {
        self.root().join("usr/share/OVMF/OVMF_VARS_4M.fd")
    }

    /// UEFI firmware's variables with the keys that a server leaves the factory with: Microsoft's.
    #[must_use]
    pub fn ovmf_vars_microsoft(&self) -> PathBuf {
        self.root().join("usr/share/OVMF/OVMF_VARS_4M.ms.fd")
    }

    /// iPXE for UEFI, on the network driver of the firmware.
    #[must_use]
    pub fn ipxe_uefi(&self) -> PathBuf {
        self.root().join("usr/lib/ipxe/snponly.efi")
    }

    /// iPXE for BIOS, on the network driver of the PXE ROM.
    #[must_use]
    pub fn ipxe_bios(&self) -> PathBuf {
        self.root().join("usr/lib/ipxe/undionly.kpxe")
    }

    /// The first link of the chain under factory keys: signed by Microsoft, trusts what Debian signed.
    #[must_use]
    pub fn shim(&self) -> PathBuf {
        self.root().join("usr/lib/shim/shimx64.efi.signed")
    }

    /// The second link: GRUB for network boot, signed by Debian, starts kernels that Debian signed.
    #[must_use]
    pub fn grub(&self) -> PathBuf {
        self.root().join("usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed")
    }

    /// A folder that a test has filled.
    #[cfg(test)]
    pub(crate) fn unpacked(dir: PathBuf, kernel_release: String) -> Packages {
        Packages { dir, kernel_release, packages: Vec::new() }
    }

    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Every file that somebody will ask for; a cache that lacks one is fetched again.
    fn complete(&self) -> Result<(), PathBuf> {
        let files = [
            self.kernel(),
            self.modules(),
            self.stub(),
            self.ovmf_code(),
            self.ovmf_code_secure_boot(),
            self.ovmf_vars(),
            self.ovmf_vars_microsoft(),
            self.ipxe_uefi(),
            self.ipxe_bios(),
            self.shim(),
            self.grub(),
        ];
        match files.into_iter().find(|path| !path.exists()) {
            Some(missing) => Err(missing),
            None => Ok(()),
        }
    }
}

/// Gives the packages in `cache`, fetching them if they are not there.  `progress` gets a line for each slow step.
pub fn fetch(cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<Packages, Error> {
    fs::create_dir_all(cache).map_err(file("create", cache))?;
    // An absolute path, because apt resolves relative ones against its own directories.
    let cache = &fs::canonicalize(cache).map_err(file("resolve", cache))?;
    let lock_path = cache.join("packages.lock");
    let lock = File::create(&lock_path).map_err(file("create", &lock_path))?;
    lock.lock().map_err(file("lock", &lock_path))?;
    let dir = cache.join("packages");
    if let Some(packages) = cached(&dir) {
        return Ok(packages);
    }
    // Whatever an interrupted run left is dropped; a finished folder appears in one rename.
    let part = cache.join("packages.part");
    for stale in [&part, &dir] {
        if stale.exists() {
            fs::remove_dir_all(stale).map_err(file("remove", stale))?;
        }
    }
    download(&part, progress)?;
    fs::rename(&part, &dir).map_err(file("rename", &part))?;
    cached(&dir).ok_or_else(|| Error::Unexpected {
        what: format!("the packages in {} are incomplete", dir.display()),
    })
}

fn cached(dir: &Path) -> Option<Packages> {
    let text = fs::read(dir.join(RECORD)).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    let packages =
        Packages { dir: dir.to_owned(), kernel_release: record.kernel_release, packages: record.packages };
    (record.format == FORMAT && packages.complete().is_ok()).then_some(packages)
}

fn download(part: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let apt = Apt::prepare(part)?;
    progress(&format!("package lists of Debian {}", sources::SUITE));
    apt.run(&["update"], part, "Check the network and the host's apt sources with `apt-get update`.")?;
    let kernel = apt.kernel_package()?;
    progress(&format!("download {kernel}, {}", OTHERS.join(", ")));
    let debs = part.join("debs");
    fs::create_dir_all(&debs).map_err(file("create", &debs))?;
    let names = [&["download", kernel.as_str()], &OTHERS[..]].concat();
    apt.run(&names, &debs, "Check the network; then try again.")?;
    progress("unpack");
    let root = part.join("root");
    let mut packages = Vec::new();
    let mut files: Vec<PathBuf> = fs::read_dir(&debs)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(file("list", &debs))?;
    files.sort();
    for deb in files {
        let hint = "The download may be damaged; try again.";
        run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root), "dpkg-deb", "dpkg", hint)?;
        packages.push(describe(&deb)?);
    }
    if packages.len() != names.len() - 1 {
        return Err(Error::Unexpected {
            what: format!("asked for {} packages, got {}", names.len() - 1, packages.len()),
        });
    }
    let kernel_release = kernel.trim_start_matches("linux-image-").to_owned();
    let record = Record { format: FORMAT, kernel_release, packages };
    let unpacked = Packages {
        dir: part.to_owned(),
        kernel_release: record.kernel_release.clone(),
        packages: Vec::new(),
    };
    unpacked
        .complete()
        .map_err(|path| Error::Unexpected { what: format!("the packages have no {}", path.display()) })?;
    let lists = part.join("apt");
    fs::remove_dir_all(&lists).map_err(file("remove", &lists))?;
    let path = part.join(RECORD);
    let text =
        serde_json::to_vec_pretty(&record).map_err(|error| Error::Unexpected { what: error.to_string() })?;
    fs::write(&path, text).map_err(file("write", &path))
}

fn describe(deb: &Path) -> Result<Package, Error> {
    let hint = "The download may be damaged; try again.";
    let field = |name: &str| {
        run(Command::new("dpkg-deb").arg("-f").arg(deb).arg(name), "dpkg-deb", "dpkg", hint)
            .map(|text| text.trim().to_owned())
    };
    let content = fs::read(deb).map_err(file("read", deb))?;
    let name = field("Package")?;
    let source = match field("Source")? {
        empty if empty.is_empty() => name.clone(),
        source => source,
    };
    Ok(Package {
        source,
        version: field("Version")?,
        architecture: field("Architecture")?,
        file: deb.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        sha256: hex::encode(Sha256::digest(&content)),
        name,
    })
}

/// An apt that shares nothing with the host's but the way to the mirror.
struct Apt {
    config: PathBuf,
}

impl Apt {
    fn prepare(part: &Path) -> Result<Apt, Error> {
        let dir = part.join("apt");
        for path in ["state/lists/partial", "cache/archives/partial", "none"].map(|name| dir.join(name)) {
            fs::create_dir_all(&path).map_err(file("create", &path))?;
        }
        let list = dir.join("private.sources");
        let text = sources::private_list(&host_sources()?, Path::new(sources::ARCHIVE_KEYRING).exists())
            .ok_or(Error::NoMirror)?;
        fs::write(&list, text).map_err(file("write", &list))?;
        let status = dir.join("status");
        fs::write(&status, "").map_err(file("write", &status))?;
        let config = dir.join("apt.conf");
        fs::write(&config, configuration(&dir, &network_settings()?)).map_err(file("write", &config))?;
        Ok(Apt { config })
    }

    fn run(&self, arguments: &[&str], directory: &Path, hint: &'static str) -> Result<String, Error> {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", &self.config).current_dir(directory).arg("-q").args(arguments);
        run(&mut command, "apt-get", "apt", hint)
    }

    /// The package that the meta package stands for today.
    fn kernel_package(&self) -> Result<String, Error> {
        let mut command = Command::new("apt-cache");
        command.env("APT_CONFIG", &self.config).args(["show", "--no-all-versions", KERNEL_META]);
        let text = run(
            &mut command,
            "apt-cache",
            "apt",
            "The mirror may lack this release; check the host's sources.",
        )?;
        kernel_dependency(&text)
            .ok_or_else(|| Error::Unexpected { what: format!("{KERNEL_META} depends on no kernel package") })
    }
}

/// The first kernel package in the `Depends` field of what `apt-cache show` prints.
fn kernel_dependency(text: &str) -> Option<String> {
    let depends = text.lines().find_map(|line| line.strip_prefix("Depends:"))?;
    let names = depends.split([',', '|']).filter_map(|part| part.split_whitespace().next());
    names.into_iter().find(|name| name.starts_with("linux-image-") && *name != KERNEL_META).map(str::to_owned)
}

fn configuration(dir: &Path, network: &str) -> String {
    let dir = dir.display();
    // `none` is an empty directory: the host's configuration, preferences and sources are not read.
    format!(
        "{network}Dir::State \"{dir}/state\";\nDir::State::lists \"{dir}/state/lists\";\nDir::State::status \"{dir}/status\";\n\
         Dir::Cache \"{dir}/cache\";\nDir::Etc::main \"/dev/null\";\nDir::Etc::parts \"{dir}/none\";\n\
         Dir::Etc::sourcelist \"{dir}/private.sources\";\nDir::Etc::sourceparts \"{dir}/none\";\n\
         Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"{dir}/none\";\n\
         APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"root\";\n\
         APT::Update::Error-Mode \"any\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n"
    )
}

/// How the host reaches its mirror (proxies, TLS settings, time limits), as configuration lines.
fn network_settings() -> Result<String, Error> {
    let dump = run(
        Command::new("apt-config").arg("dump"),
        "apt-config",
        "apt",
        "Repair the host's apt configuration.",
    )?;
    Ok(dump
        .lines()
        .filter(|line| line.starts_with("Acquire::"))
        // Index targets are what desktop tools add to every update; languages are replaced below.
        .filter(|line| !line.starts_with("Acquire::IndexTargets") && !line.starts_with("Acquire::Languages"))
        .fold(String::new(), |text, line| text + line + "\n"))
}

fn host_sources() -> Result<Vec<sources::Source>, Error> {
    let etc = Path::new("/etc/apt");
    let parts = etc.join("sources.list.d");
    let mut paths = vec![etc.join("sources.list")];
    if parts.exists() {
        let mut more: Vec<PathBuf> = fs::read_dir(&parts)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(file("list", &parts))?;
        more.sort();
        paths.extend(more);
    }
    let mut found = Vec::new();
    for path in paths.iter().filter(|path| path.exists()) {
        let read = || fs::read_to_string(path).map_err(file("read", path));
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => found.extend(sources::parse_list(&read()?)),
            Some("sources") => found.extend(sources::parse_deb822(&read()?)),
            Some(_) | None => {}
        }
    }
    Ok(found)
}

/// Runs a tool and gives its output.
fn run(
    command: &mut Command,
    tool: &'static str,
    package: &'static str,
    hint: &'static str,
) -> Result<String, Error> {
    /// As much of a failed tool's output as a person reads.
    const OUTPUT_BYTES_MAX: usize = 2000;
    let done = command
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Tool { tool, package, source })?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let mut output = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    if output.len() > OUTPUT_BYTES_MAX {
        let cut = output.len() - OUTPUT_BYTES_MAX;
        output = output.char_indices().filter(|(at, _)| *at >= cut).map(|(_, letter)| letter).collect();
    }
    let arguments: Vec<_> =
        command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    Err(Error::Failed {
        command: format!("{tool} {}", arguments.join(" ")),
        status: done.status.to_string(),
        output,
        hint,
    })
}

fn file<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + use<'a> {
    move |source| Error::File { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meta_package_leads_to_the_kernel() {
        let shown = "Package: linux-image-amd64\nDepends: foo (>= 1), linux-image-6.12.9+deb13-amd64 (= 6.12.9-1) | x\nSize: 1\n";
        assert_eq!(kernel_dependency(shown).as_deref(), Some("linux-image-6.12.9+deb13-amd64"));
        assert_eq!(kernel_dependency("Package: x\n"), None);
    }

    #[test]
    fn an_incomplete_cache_is_not_taken() {
        let dir = std::env::temp_dir().join(format!("image-build-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert!(cached(&dir).is_none());
        fs::write(dir.join(RECORD), r#"{"format":1,"kernel_release":"6","packages":[]}"#).unwrap();
        assert!(cached(&dir).is_none(), "the record alone is not enough");
        fs::remove_dir_all(&dir).unwrap();
    }
}

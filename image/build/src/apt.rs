//! Debian's own apt beside the host's: signed lists in directories of our own, downloads by hash.
//!
//! It shares nothing with the host's apt but the way to the mirror (sources, proxies, TLS settings).  The signed lists
//! are asked only when the lock is written anew ([`crate::relock`]); a build knows each file's hash and needs no list.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::architecture::Architecture;
use crate::lock::{Archive, Pinned};
use crate::packages::{Error, file};
use crate::sources;

/// apt's downloader, which verifies hashes and knows the host's proxies.
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// An apt that shares nothing with the host's but the way to the mirror.
#[derive(Debug)]
pub(crate) struct Apt {
    config: PathBuf,
}

impl Apt {
    /// Makes its directories below `dir`, for the packages of one architecture.
    pub(crate) fn prepare(dir: &Path, architecture: Architecture) -> Result<Apt, Error> {
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
        fs::write(&config, configuration(dir, architecture, &network_settings()?))
            .map_err(file("write", &config))?;
        Ok(Apt { config })
    }

    /// Runs `apt-get`.
    pub(crate) fn get(&self, arguments: &[&str], hint: &'static str) -> Result<String, Error> {
        let mut command = Command::new("apt-get");
        run(command.env("APT_CONFIG", &self.config).arg("-q").args(arguments), "apt-get", "apt", hint)
    }

    /// Runs `apt-cache`.
    pub(crate) fn cache(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new("apt-cache");
        command.env("APT_CONFIG", &self.config).args(arguments);
        run(&mut command, "apt-cache", "apt", "The mirror may lack this release; check the host's sources.")
    }

    /// Downloads a file that has exactly this hash; tells the mirrors' answers if none has it.
    pub(crate) fn download(&self, bases: &[String], package: &Pinned, to: &Path) -> Result<(), Error> {
        let mut said = String::new();
        for base in bases {
            let mut command = Command::new(HELPER);
            command.env("APT_CONFIG", &self.config).args(["-q", "download-file"]);
            command.arg(format!("{}/{}", base.trim_end_matches('/'), escaped(&package.path)));
            command.arg(to).arg(format!("SHA256:{}", package.sha256));
            match run(&mut command, "apt-helper", "apt", "") {
                Ok(_) => return Ok(()),
                Err(Error::Failed { output, .. }) => said = output,
                Err(other) => return Err(other),
            }
        }
        // apt renames what had another hash.
        let mut failed = to.as_os_str().to_owned();
        failed.push(".FAILED");
        let _ = fs::remove_file(failed);
        let (name, version) = (package.name.clone(), package.version.clone());
        let told = said.lines().rev().take(3).collect::<Vec<_>>().join("; ");
        if out_of_reach(&said) {
            return Err(Error::OutOfReach { name, version, said: told });
        }
        Err(Error::Gone { name, version, sha256: package.sha256.clone(), said: told })
    }
}

/// Whether apt met no mirror at all: that says nothing about what the mirror has.
fn out_of_reach(said: &str) -> bool {
    // The words of apt's method `http` (methods/connect.cc), which knows no codes for them.
    [
        "failure resolving",
        "Could not resolve",
        "Could not connect",
        "Unable to connect",
        "Cannot initiate the connection",
    ]
    .iter()
    .any(|words| said.contains(words))
}

/// A path in a URL: of what Debian's file names may hold, only these two mean something else there.
fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace('+', "%2b")
}

/// Where this host gets each archive from, best first.  `snapshot` is asked when the mirror has a file no more.
pub(crate) fn bases(archive: Archive, snapshot: Option<&str>) -> Result<Vec<String>, Error> {
    let mirrors = sources::mirrors(&host_sources()?).ok_or(Error::NoMirror)?;
    let mut bases = match archive {
        Archive::Release => mirrors.release,
        // A local mirror may hold both in one place.
        Archive::Security => [mirrors.security, mirrors.release].concat(),
    };
    bases.extend(snapshot.map(str::to_owned));
    Ok(bases)
}

fn configuration(dir: &Path, architecture: Architecture, network: &str) -> String {
    let dir = dir.display();
    // `none` is an empty directory: the host's configuration, preferences and sources are not read.
    format!(
        "{network}Dir::State \"{dir}/state\";\nDir::State::lists \"{dir}/state/lists\";\nDir::State::status \"{dir}/status\";\n\
         Dir::Cache \"{dir}/cache\";\nDir::Etc::main \"/dev/null\";\nDir::Etc::parts \"{dir}/none\";\n\
         Dir::Etc::sourcelist \"{dir}/private.sources\";\nDir::Etc::sourceparts \"{dir}/none\";\n\
         Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"{dir}/none\";\n\
         APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\nAPT::Sandbox::User \"root\";\n\
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

pub(crate) fn host_sources() -> Result<Vec<sources::Source>, Error> {
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
pub(crate) fn run(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_network_is_not_a_package_that_is_gone() {
        let no_network = "E: Failed to fetch http://deb.debian.org/debian/pool/main/e/e.deb  Temporary failure \
                          resolving 'deb.debian.org'\nE: Download Failed";
        assert!(out_of_reach(no_network));
        let gone = "E: Failed to fetch http://deb.debian.org/debian/pool/main/e/e.deb  404  Not Found [IP: 1.2.3.4 80]";
        assert!(!out_of_reach(gone));
    }
}

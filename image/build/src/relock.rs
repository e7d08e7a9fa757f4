//! Writes the package lock anew from the archive's signed lists, and downloads nothing but those.
//!
//! The only place that says "today's": which kernel the meta package stands for, and what the host's system needs
//! (apt resolves it, `data/host.txt` adds and drops, each with its reason).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::apt::{self, Apt};
use crate::architecture::Architecture;
use crate::firmware;
use crate::lock::{Archive, Lock, Pinned, Set};
use crate::packages::{Error, KERNEL_PREFIX, file, open};
use crate::sources;

/// The packages that always depend on the newest signed kernel, and on that for virtual machines.
const KERNEL_META: &str = "linux-image-amd64";
const KERNEL_META_ARM64: &str = "linux-image-arm64";
const KERNEL_META_VIRTUAL_ARM64: &str = "linux-image-cloud-arm64";
/// systemd's UEFI boot stub.
const BOOT: [&str; 1] = ["systemd-boot-efi"];
/// UEFI firmware for virtual machines.
const LAB: [&str; 1] = ["ovmf"];
/// iPXE for firmware that can do no better, and the chain that Microsoft's and Debian's keys have signed, for hosts whose
/// firmware trusts only those.
const LOADERS: [&str; 3] = ["ipxe", "shim-signed", "grub-efi-amd64-signed"];
/// What writes the host's root file system and the index of its modules, with the libraries that they run on.
const TOOLS: [&str; 2] = ["erofs-utils", "kmod"];
/// What the discovery image has beside kernel and agent.
const DISCOVERY: &str = include_str!("../data/discovery.txt");
/// What the host's system is made of.
const HOST: &str = include_str!("../data/host.txt");
/// What the appliance's system has beside it.
const APPLIANCE: &str = include_str!("../data/appliance.txt");

/// Asks the host's mirror what there is today.
///
/// For arm64 that is the discovery image's alone: no other image is built for it.
///
/// # Errors
/// [`Error`].
pub fn relock(
    cache: &Path,
    architecture: Architecture,
    progress: &mut dyn FnMut(&str),
) -> Result<Lock, Error> {
    let (cache, _lock) = open(cache)?;
    let dir = cache.join("apt");
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(file("remove", &dir))?;
    }
    let apt = Apt::prepare(&dir, architecture)?;
    progress(&format!("package lists of Debian {}", sources::SUITE));
    apt.get(&["update"], "Check the network and the host's apt sources with `apt-get update`.")?;
    progress("what needs what");
    let wanted = match architecture {
        Architecture::Amd64 => everything(&apt)?,
        Architecture::Arm64 => discovery_alone(&apt)?,
    };
    progress("hashes");
    describe(&apt, architecture, &wanted)
}

/// Packages, and what each is for.
type Wants = BTreeMap<String, BTreeSet<Set>>;

/// What the discovery image is made of, and the kernel with which tests start it.
fn discovery_alone(apt: &Apt) -> Result<Wants, Error> {
    let mut wanted = Wants::new();
    let mut want = |name: &str, set| wanted.entry(name.to_owned()).or_default().insert(set);
    want(&kernel_package(apt, KERNEL_META_ARM64)?, Set::Boot);
    want(&kernel_package(apt, KERNEL_META_VIRTUAL_ARM64)?, Set::Virtual);
    want(BOOT[0], Set::Boot);
    for name in firmware::list().0 {
        want(name, Set::Firmware);
    }
    for name in programs(apt)? {
        want(&name, Set::Discovery);
    }
    Ok(wanted)
}

/// What the discovery image has beside kernel and agent.
fn programs(apt: &Apt) -> Result<Vec<String>, Error> {
    let (take, without) = list(DISCOVERY);
    let mut names = closure(apt, &take)?;
    names.retain(|name| !without.contains(&name.as_str()));
    Ok(names)
}

/// What all images are made of, and what builds and tests them.
fn everything(apt: &Apt) -> Result<Wants, Error> {
    let kernel = kernel_package(apt, KERNEL_META)?;
    let mut wanted: Wants = Wants::new();
    let mut want = |names: &[String], set| {
        for name in names {
            wanted.entry(name.clone()).or_default().insert(set);
        }
    };
    want(&[kernel.as_str(), BOOT[0]].map(str::to_owned), Set::Boot);
    want(&LAB.map(str::to_owned), Set::Lab);
    want(&LOADERS.map(str::to_owned), Set::Loader);
    want(&firmware::list().0.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), Set::Firmware);
    want(&closure(apt, &TOOLS)?, Set::Tools);
    want(&programs(apt)?, Set::Discovery);
    let (take, mut drop) = list(HOST);
    let mut host = closure(apt, &take)?;
    host.retain(|name| !drop.contains(&name.as_str()));
    want(&host, Set::Host);
    let (more, without) = list(APPLIANCE);
    let mut appliance = closure(apt, &more)?;
    drop.extend(without);
    appliance.retain(|name| !host.contains(name) && !drop.contains(&name.as_str()));
    want(&appliance, Set::Appliance);
    Ok(wanted)
}

/// Names to take with what they need, and names to leave out of that.
fn list(text: &'static str) -> (Vec<&'static str>, Vec<&'static str>) {
    let mut lists = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("+"), Some(name)) => lists.0.push(name),
            (Some("-"), Some(name)) => lists.1.push(name),
            _ => {}
        }
    }
    lists
}

fn kernel_package(apt: &Apt, meta: &str) -> Result<String, Error> {
    let text = apt.cache(&["show", "--no-all-versions", meta])?;
    kernel_dependency(&text, meta)
        .ok_or_else(|| Error::Unexpected { what: format!("{meta} depends on no kernel package") })
}

/// The first kernel package in the `Depends` field of what `apt-cache show` prints.
fn kernel_dependency(text: &str, meta: &str) -> Option<String> {
    let depends = text.lines().find_map(|line| line.strip_prefix("Depends:"))?;
    let names = depends.split([',', '|']).filter_map(|part| part.split_whitespace().next());
    names.into_iter().find(|name| name.starts_with(KERNEL_PREFIX) && *name != meta).map(str::to_owned)
}

/// The packages and all that they depend on, by name.
fn closure(apt: &Apt, names: &[&str]) -> Result<Vec<String>, Error> {
    let arguments = [&["--simulate", "--no-install-recommends", "install"], names].concat();
    let said = apt.get(&arguments, "The mirror may be in the middle of an update; try again in an hour.")?;
    let mut found: Vec<String> = said
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    found.sort();
    Ok(found)
}

/// Versions, hashes and places.
fn describe(apt: &Apt, architecture: Architecture, wanted: &Wants) -> Result<Lock, Error> {
    let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    let shown = apt.cache(&[&["show"], names.as_slice()].concat())?;
    let paragraphs: Vec<BTreeMap<&str, &str>> = shown.split("\n\n").map(fields).collect();
    let hint = "The mirror may be in the middle of an update; try again in an hour.";
    let uris = apt.get(&[&["-q", "--print-uris", "download"], names.as_slice()].concat(), hint)?;
    let security = apt::bases(Archive::Security, None)?.first().cloned().unwrap_or_default();
    let release = apt::bases(Archive::Release, None)?.first().cloned().unwrap_or_default();
    let mut packages = Vec::new();
    for line in uris.lines().filter(|line| line.starts_with('\'')) {
        let odd = || Error::Unexpected { what: format!("apt said `{line}`") };
        let words: Vec<&str> = line.split_whitespace().collect();
        let [uri, _, _, hash] = words.as_slice() else { return Err(odd()) };
        let sha256 = hash.strip_prefix("SHA256:").ok_or_else(odd)?;
        let fields =
            paragraphs.iter().find(|fields| fields.get("SHA256") == Some(&sha256)).ok_or_else(odd)?;
        let field = |name| fields.get(name).map(|value| (*value).to_owned()).ok_or_else(odd);
        let name = field("Package")?;
        // One may be a prefix of the other; a host without security updates has one.
        let secure = security != release
            && uri.trim_start_matches('\'').starts_with(&format!("{}/", security.trim_end_matches('/')));
        let source = field("Source").unwrap_or_else(|_| name.clone());
        packages.push(Pinned {
            built_using: built_using(&source, fields),
            version: field("Version")?,
            architecture: field("Architecture")?,
            sets: wanted.get(&name).ok_or_else(odd)?.iter().copied().collect(),
            source,
            archive: if secure { Archive::Security } else { Archive::Release },
            path: field("Filename")?,
            bytes: field("Size")?.parse().map_err(|_| odd())?,
            sha256: sha256.to_owned(),
            name,
        });
    }
    packages.sort_by(|one, two| one.name.cmp(&two.name));
    if packages.len() != wanted.len() {
        let what = format!("asked for {} packages, got {}", wanted.len(), packages.len());
        return Err(Error::Unexpected { what });
    }
    Ok(Lock { suite: sources::SUITE.to_owned(), architecture, packages })
}

/// What files were signed from.  Other packages have the field for what was linked into them, and an own source beside it.
fn built_using(source: &str, fields: &BTreeMap<&str, &str>) -> Option<String> {
    let name = source.split(' ').next().unwrap_or_default();
    let using = fields.get("Built-Using").filter(|_| name.ends_with("-signed"))?;
    Some((*using).to_owned())
}

/// The fields of a paragraph, without those that go over several lines.
fn fields(paragraph: &str) -> BTreeMap<&str, &str> {
    let lines = paragraph.lines().filter(|line| !line.starts_with(char::is_whitespace));
    lines.filter_map(|line| line.split_once(": ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meta_package_leads_to_the_kernel() {
        let shown = "Package: linux-image-amd64\nDepends: foo (>= 1), linux-image-6.12.9+deb13-amd64 (= 6.12.9-1) | x\nSize: 1\n";
        assert_eq!(kernel_dependency(shown, KERNEL_META).as_deref(), Some("linux-image-6.12.9+deb13-amd64"));
        assert_eq!(kernel_dependency("Package: x\n", KERNEL_META), None);
    }

    /// As Debian's list of packages has them.
    #[test]
    fn what_was_signed_is_of_the_source_that_it_was_built_from() {
        for (paragraph, expected) in [
            (
                "Package: shim-signed\nSource: shim-signed (1.51~1+deb13u1)\nVersion: 1.51~1+deb13u1+16.1-2~deb13u1\n\
                 Installed-Size: 1043\nPre-Depends: debconf\nBuilt-Using: shim (= 16.1-2~deb13u1)\n\
                 Description: Secure Boot chain-loading bootloader (Microsoft-signed binary)\n text: more\n",
                Some("shim (= 16.1-2~deb13u1)"),
            ),
            (
                "Package: grub-efi-amd64-signed\nVersion: 1+2.12+9+deb13u2\nDepends: grub-common (= 2.12-9+deb13u2)\n\
                 Built-Using: grub2 (= 2.12-9+deb13u2)\n",
                Some("grub2 (= 2.12-9+deb13u2)"),
            ),
            (
                "Package: ipxe\nVersion: 1.21.1+git20250501.dad20602+dfsg-1\nHomepage: https://ipxe.org/\n",
                None,
            ),
            // Its own code is what counts here, not what was linked into it.
            ("Package: busybox-static\nSource: busybox\nBuilt-Using: glibc (= 2.41-12)\n", None),
        ] {
            let fields = fields(paragraph);
            let source = fields.get("Source").or_else(|| fields.get("Package")).unwrap();
            assert_eq!(built_using(source, &fields).as_deref(), expected, "{paragraph}");
        }
    }

    #[test]
    fn the_lists_give_a_reason_for_each_name() {
        let (take, drop) = list(HOST);
        assert!(take.contains(&"systemd") && drop.contains(&"debconf"));
        assert!(list(APPLIANCE).0.contains(&"ca-certificates"));
        for line in [HOST, APPLIANCE, DISCOVERY]
            .into_iter()
            .flat_map(str::lines)
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            assert!(line.split_whitespace().count() > 4, "`{line}` needs a sign, a name and a reason");
        }
    }
}

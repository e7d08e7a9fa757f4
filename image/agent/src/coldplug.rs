//! Kernel modules for the hardware that is there: each device in `/sys` names itself by a `modalias`, the image's
//! `modules.alias` says which module wants it, `modules.dep` what that module needs first.
//!
//! The network comes first, so that the appliance hears of the machine while the rest is still being loaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::kmod::{ModuleInitFlags, finit_module};

use crate::say;

/// Names of modules that no device asks for; written by the image build.
pub const START_LIST: &str = "etc/scalerforge/modules";

/// How ACPI names every TPM 2.0 (TCG ACPI Specification 1.4, 8.1), as an alias.
const TPM: &str = "acpi:MSFT0101:";

/// Devices appear behind devices: a bus, its controller, its disks.  Six rounds are twice what we have seen.
const ROUNDS_MAX: usize = 6;

/// Deeper than any chain of devices below `/sys/devices`.
const DEPTH_MAX: usize = 24;

/// How long to wait for devices to stop appearing: SATA and SAS links take seconds to come up.
const SETTLE_SECONDS_MAX: u64 = 20;

/// No new device for this long counts as settled.
const QUIET: Duration = Duration::from_millis(600);

/// The image's modules.
#[derive(Debug, Default)]
pub struct Modules {
    dir: PathBuf,
    /// Name → file and the files it needs, nearest first.
    files: BTreeMap<String, (String, Vec<String>)>,
    /// Pattern and module name.
    aliases: Vec<(String, String)>,
    /// Files that were tried.
    done: BTreeSet<String>,
    /// Aliases that were looked up.
    seen: BTreeSet<String>,
}

impl Modules {
    /// Reads the index files of the only kernel in `/lib/modules` below `root`.
    pub fn open(root: &Path) -> std::io::Result<Self> {
        let dirs = fs::read_dir(root.join("lib/modules"))?.flatten();
        let dir = dirs.map(|entry| entry.path()).find(|dir| dir.join("modules.dep").exists());
        let dir = dir.ok_or_else(|| std::io::Error::other("/lib/modules holds no modules.dep"))?;
        let mut modules = Self::parse(
            &fs::read_to_string(dir.join("modules.dep"))?,
            &fs::read_to_string(dir.join("modules.alias"))?,
        );
        modules.dir = dir;
        Ok(modules)
    }

    /// Reads `modules.dep` (`FILE: FILE …`) and `modules.alias` (`alias PATTERN NAME`).
    pub fn parse(dep: &str, alias: &str) -> Self {
        let files = dep.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            Some((name_of(file), (file.to_owned(), needs.split_whitespace().map(str::to_owned).collect())))
        });
        let aliases = alias.lines().filter_map(|line| {
            let mut words = line.strip_prefix("alias ")?.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        });
        Self { files: files.collect(), aliases: aliases.collect(), ..Self::default() }
    }

    /// Modules that want a device with this alias, or are called so.
    pub fn wanting(&self, alias: &str) -> BTreeSet<String> {
        let by_pattern =
            self.aliases.iter().filter(|(pattern, _)| matches(pattern.as_bytes(), alias.as_bytes()));
        let plain = alias.replace('-', "_");
        let by_name = self.files.contains_key(&plain).then_some(plain);
        by_pattern.map(|(_, name)| name.clone()).chain(by_name).collect()
    }

    /// Files to load for a module, in order; those tried before are left out.
    pub fn order(&mut self, name: &str) -> Vec<String> {
        let Some((file, needs)) = self.files.get(name) else { return Vec::new() };
        // The list is nearest first; what is needed most must be there first.
        let files = needs.iter().rev().chain([file]);
        let new: Vec<String> = files.filter(|file| !self.done.contains(*file)).cloned().collect();
        self.done.extend(new.iter().cloned());
        new
    }

    /// Loads a module and what it needs.
    pub fn load(&mut self, name: &str) {
        for file in self.order(name) {
            let path = self.dir.join(&file);
            let result = File::open(&path)
                .map_err(|error| error.to_string())
                .and_then(|module| insert(&module, flags_for(&file)).map_err(|error| error.to_string()));
            if let Err(error) = result {
                say!("module {}: {error}; its hardware stays unused", name_of(&file));
            }
        }
    }

    /// Loads for each alias not looked up before; says whether there was one.
    fn load_all(&mut self, aliases: impl IntoIterator<Item = String>) -> bool {
        let mut any = false;
        for alias in aliases {
            if self.seen.insert(alias.clone()) {
                for name in self.wanting(&alias) {
                    any = true;
                    self.load(&name);
                }
            }
        }
        any
    }

    /// Network controllers, and the virtio bus some of them sit on; before them the TPM, whose event log names the boot's
    /// ticket, where its driver is not built into the kernel.
    pub fn load_network(&mut self, root: &Path) {
        let acpi = aliases_in(&root.join("sys/bus/acpi/devices"));
        self.load_all(acpi.into_iter().filter(|alias| alias.starts_with(TPM)));
        let pci = aliases_in(&root.join("sys/bus/pci/devices"));
        self.load_all(pci.into_iter().filter(|alias| alias.contains("bc02sc")));
        let virtio = aliases_in(&root.join("sys/bus/virtio/devices"));
        self.load_all(virtio.into_iter().filter(|alias| alias.starts_with("virtio:d00000001v")));
    }

    /// Everything else: the start list, then rounds over all devices until nothing new turns up.
    pub fn load_rest(&mut self, root: &Path) {
        let list = fs::read_to_string(root.join(START_LIST)).unwrap_or_default();
        for name in list.split_whitespace() {
            self.load(name);
        }
        for _ in 0..ROUNDS_MAX {
            let any = self.load_new(root);
            settle(root);
            if !any {
                break;
            }
        }
    }

    /// For devices that appeared since the last look; says whether there were any that something wants.
    pub fn load_new(&mut self, root: &Path) -> bool {
        let mut aliases = Vec::new();
        walk(&root.join("sys/devices"), DEPTH_MAX, &mut aliases);
        self.load_all(aliases)
    }

    /// Files that were tried so far.
    pub fn loaded(&self) -> usize {
        self.done.len()
    }
}

/// A compressed module is unpacked by the kernel, which needs no program for it.
fn flags_for(file: &str) -> ModuleInitFlags {
    // `MODULE_INIT_COMPRESSED_FILE` (init_module(2), since Linux 5.17), which nix does not know.
    const COMPRESSED: u32 = 4;
    if file.ends_with(".ko") {
        ModuleInitFlags::empty()
    } else {
        ModuleInitFlags::from_bits_retain(COMPRESSED)
    }
}

fn insert(module: &File, flags: ModuleInitFlags) -> nix::Result<()> {
    match finit_module(module, c"", flags) {
        // Already there; or built for hardware that shares an alias with ours and is not here.
        Ok(()) | Err(nix::Error::EEXIST | nix::Error::ENODEV) => Ok(()),
        Err(error) => Err(error),
    }
}

/// `kernel/drivers/net/virtio-net.ko.xz` → `virtio_net`.
fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

/// Shell patterns as the kernel's aliases use them: `*`, `?` and `[0-9a]`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on if the text after the last `*` does not fit.
    let mut back: Option<(usize, usize)> = None;
    loop {
        let step = match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                back = Some((p + 1, t));
                p += 1;
                continue;
            }
            (Some(b'?'), Some(_)) => Some(p + 1),
            (Some(b'['), Some(byte)) => class(pattern, p, *byte),
            (Some(wanted), Some(byte)) if wanted == byte => Some(p + 1),
            _ => None,
        };
        match (step, back) {
            (Some(next), _) => (p, t) = (next, t + 1),
            (None, Some((after, from))) if from < text.len() => {
                back = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            (None, _) => return false,
        }
    }
}

/// The place behind a bracket expression that begins at `p`, if it holds `byte`.
fn class(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    let rest = pattern.get(p + 1..)?;
    let end = rest.iter().position(|b| *b == b']')?;
    let mut set = rest.get(..end)?;
    while let [first, tail @ ..] = set {
        set = tail;
        if let [b'-', last, tail @ ..] = set {
            set = tail;
            if (*first..=*last).contains(&byte) {
                return Some(p + end + 2);
            }
        } else if *first == byte {
            return Some(p + end + 2);
        }
    }
    None
}

fn aliases_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| alias_of(&entry.path())).collect()
}

fn alias_of(device: &Path) -> Option<String> {
    let text = fs::read_to_string(device.join("modalias")).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Collects the aliases of all devices below `dir`, following no links.
fn walk(dir: &Path, depth: usize, aliases: &mut Vec<String>) {
    aliases.extend(alias_of(dir));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), depth - 1, aliases);
        }
    }
}

/// Waits until drives and ports have stopped appearing.
fn settle(root: &Path) {
    let names = || -> Vec<_> {
        let dirs =
            ["sys/block", "sys/class/net", "sys/class/scsi_host", "sys/class/nvme", "sys/bus/scsi/devices"];
        let entries =
            dirs.iter().flat_map(|dir| fs::read_dir(root.join(dir)).into_iter().flatten().flatten());
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    // NVMe controllers are reset in the background: `connecting` and `new` become `live` or `dead`.
    let busy = || {
        let entries = fs::read_dir(root.join("sys/class/nvme")).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| fs::read_to_string(entry.path().join("state")).ok())
            .any(|state| !matches!(state.trim(), "live" | "dead"))
    };
    let step = Duration::from_millis(100);
    let (mut quiet, mut waited, mut last) = (Duration::ZERO, Duration::ZERO, names());
    while (quiet < QUIET || busy()) && waited < Duration::from_secs(SETTLE_SECONDS_MAX) {
        thread::sleep(step);
        waited += step;
        let now = names();
        quiet = if now == last { quiet + step } else { Duration::ZERO };
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("pci:v00008086d*", "pci:v00008086d00001234sv0", true),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", true),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc06i01", false),
            ("acpi*:IPI0001:*", "acpi:IPI0001:", true),
            ("usb:v1D6Bp*d[0-3]?*", "usb:v1D6Bp0002d0414", true),
            ("usb:v1D6Bp*d[5-9]?*", "usb:v1D6Bp0002d0414", false),
            ("a[x", "ax", false),
            ("a[]b", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_kernel_is_told_what_is_compressed() {
        let compressed = ["a.ko", "kernel/a.ko.xz", "a.ko.zst"].map(|file| !flags_for(file).is_empty());
        assert_eq!(compressed, [false, true, true]);
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let dep = "kernel/net/core/failover.ko:\n\
                   kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko\n\
                   kernel/drivers/net/virtio-net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko\n";
        let alias = "# Aliases\nalias virtio:d00000001v* virtio_net\n";
        let mut modules = Modules::parse(dep, alias);
        assert_eq!(modules.wanting("virtio:d00000001v00001AF4"), BTreeSet::from(["virtio_net".to_owned()]));
        assert_eq!(modules.wanting("net-failover"), BTreeSet::from(["net_failover".to_owned()]));
        assert_eq!(modules.order("failover"), ["kernel/net/core/failover.ko"]);
        let rest = ["kernel/drivers/net/net_failover.ko.xz", "kernel/drivers/net/virtio-net.ko.xz"];
        assert_eq!(modules.order("virtio_net"), rest);
        assert_eq!(modules.order("virtio_net"), [""; 0]);
        assert_eq!(modules.order("nothing"), [""; 0]);
    }
}

//! Small files below a root, bounded, and the few shapes sysfs writes things in.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

/// Larger than any file read here; `/proc/cpuinfo` of 512 threads has about 800 KiB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// More entries than any directory read here has on a real machine.
const ENTRIES_MAX: usize = 16_384;

/// A directory tree that holds `sys` and `proc`.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    pub(crate) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(self.root.join(path)).ok()?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The trimmed text of a file; `None` if it is empty or not there.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let bytes = self.bytes(path)?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A decimal number; negative ones, by which sysfs says "not known", are `None`.
    pub(crate) fn number<T: std::str::FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// `0x10de`.
    pub(crate) fn hex(&self, path: &str) -> Option<u32> {
        u32::from_str_radix(self.text(path)?.strip_prefix("0x")?, 16).ok()
    }

    /// The last part of what a link points to: `driver` → `nvme`.
    pub(crate) fn link(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.root.join(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// Names in a directory, sorted with numbers by value (`cpu2` before `cpu10`).
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join(path)) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .take(ENTRIES_MAX)
            .collect();
        names.sort_by_key(|name| {
            let digits = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
            let number = name.get(digits..).and_then(|tail| tail.parse::<u64>().ok());
            (number.and(name.get(..digits)).unwrap_or(name).to_owned(), number, name.clone())
        });
        names
    }

    /// Where a path leads after all links, relative to the root.
    pub(crate) fn real(&self, path: &str) -> Option<String> {
        let root = self.root.canonicalize().ok()?;
        let real = self.root.join(path).canonicalize().ok()?;
        Some(real.strip_prefix(root).ok()?.to_str()?.to_owned())
    }

    /// The PCI function a device sits on, and its NUMA node: the last address in its real path.
    pub(crate) fn pci(&self, path: &str) -> (Option<String>, Option<u32>) {
        let real = self.real(path);
        let address = real.as_deref().and_then(|real| real.rsplit('/').find(|part| is_pci_address(part)));
        let node =
            address.and_then(|address| self.number(&format!("sys/bus/pci/devices/{address}/numa_node")));
        (address.map(str::to_owned), node)
    }
}

/// `0000:01:00.0`.
pub(crate) fn is_pci_address(text: &str) -> bool {
    let shape = |(index, byte): (usize, u8)| match index {
        4 | 7 => byte == b':',
        10 => byte == b'.',
        0..=3 | 5 | 6 | 8 | 9 | 11 => byte.is_ascii_hexdigit(),
        _ => false,
    };
    text.len() == 12 && text.bytes().enumerate().all(shape)
}

/// `0-3,8-11` → 0, 1, 2, 3, 8, 9, 10, 11.
pub(crate) fn list(text: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            numbers.extend((first..=last).take(ENTRIES_MAX));
        }
    }
    numbers
}

/// A UUID as UEFI and SMBIOS store it (since 2.6): the first three fields are little-endian.
pub(crate) fn uuid(bytes: &[u8; 16]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (place, index) in order.into_iter().enumerate() {
        if [4, 6, 8, 10].contains(&place) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", bytes.get(index).copied().unwrap_or_default()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        assert_eq!(list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(list(""), [0; 0]);
        assert_eq!(list("0-4294967295").len(), ENTRIES_MAX);
        for (text, expected) in [("0000:01:00.0", true), ("0000:01:00", false), ("pci0000:00.", false)] {
            assert_eq!(is_pci_address(text), expected, "{text}");
        }
    }
}

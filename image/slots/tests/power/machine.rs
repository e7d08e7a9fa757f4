//! Firmware, boot loader and start program as they are documented, and systems to boot; nothing here is the installer's.
//!
//! FAT is read by another library than the one that writes it, GPT by its own few lines, and what a system is must be
//! byte for byte what was released: a signature allows nothing else.

use std::io::{self, Read as _};

use fatfs::{FileSystem, FsOptions};
use image_slots::{
    Span,
    install::{Large, Piece, Sink, System},
};
use sha2::{Digest as _, Sha256};

use crate::disk::Disk;

const BLOCK: usize = 4096;
/// 130 blocks need two levels of hashes.
const BLOCKS: usize = 130;

/// A system as it was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) number: u8,
    pub(crate) root_hash: [u8; 32],
    loader: Vec<u8>,
    uki: Vec<u8>,
    root: Vec<u8>,
    verity: Vec<u8>,
}

/// How a boot ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Boot {
    /// A whole system runs: its number, and its entry.
    Runs(u8, String),
    /// Firmware finds nothing on the drive, and goes on to the network.
    Empty,
    /// It stops half-way.
    Broken(&'static str),
}

impl Boot {
    pub(crate) fn number(&self) -> Option<u8> {
        match self {
            Boot::Runs(number, _) => Some(*number),
            Boot::Empty | Boot::Broken(_) => None,
        }
    }
}

fn noise(seed: u8, bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut block = Sha256::digest([seed]);
    while out.len() < bytes {
        out.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    out.truncate(bytes);
    out
}

impl Release {
    /// Every third has another boot loader.
    pub(crate) fn new(number: u8) -> Self {
        let root = noise(number, BLOCKS * BLOCK);
        let salt = [number; 32];
        let hash =
            |block: &[u8]| <[u8; 32]>::from(Sha256::new().chain_update(salt).chain_update(block).finalize());
        let level = |below: &[u8]| {
            let mut out: Vec<u8> = below.chunks(BLOCK).flat_map(hash).collect();
            out.resize(out.len().next_multiple_of(BLOCK), 0);
            out
        };
        let lowest = level(&root);
        let top = level(&lowest);
        let root_hash = hash(&top);
        let mut verity = b"verity\0\0\x01\0\0\0\x01\0\0\0".to_vec();
        verity.resize(32, 0);
        verity.extend(b"sha256");
        verity.resize(64, 0);
        verity.extend([0, 16, 0, 0, 0, 16, 0, 0]);
        verity.extend(u64::try_from(BLOCKS).unwrap_or(0).to_le_bytes());
        verity.extend([32, 0, 0, 0, 0, 0, 0, 0]);
        verity.extend(salt);
        verity.resize(BLOCK, 0);
        verity.extend(top.iter().chain(&lowest));
        let mut uki = noise(number ^ 0x55, 70_000);
        uki.extend(format!("quiet roothash={}\nVERSION_ID=1.{number}\n", hex::encode(root_hash)).bytes());
        Self { number, root_hash, loader: noise(0xaa ^ (number / 3), 9_000), uki, root, verity }
    }

    /// Hands it to an installer, in pieces of odd sizes.
    pub(crate) fn install<T>(&self, act: impl FnOnce(&mut System<'_>) -> T) -> T {
        let piece = |content: &[u8]| Piece {
            bytes: u64::try_from(content.len()).unwrap_or(0),
            sha256: Sha256::digest(content).into(),
        };
        let mut fetch = |large: Large, sink: Sink<'_>| {
            let content = if large == Large::Root { &self.root } else { &self.verity };
            content.chunks(100_000).try_for_each(sink)
        };
        act(&mut System {
            root_hash: self.root_hash,
            loader: &self.loader,
            uki: &self.uki,
            root: piece(&self.root),
            verity: piece(&self.verity),
            fetch: &mut fetch,
        })
    }
}

struct Part {
    kind: Vec<u8>,
    start: u64,
    bytes: u64,
}

/// What firmware and kernel take for the table: the copy at the end is neither's way out, because Linux ignores it.
fn table(disk: &Disk) -> Result<Option<Vec<Part>>, &'static str> {
    let first = disk.sector_at(0);
    if first[510..512] != [0x55, 0xaa] || first[450] != 0xee {
        return Ok(None);
    }
    let header = disk.sector_at(1);
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let mut bare = header[..92].to_vec();
    bare[16..20].fill(0);
    let entries = disk.content(1024, 128 * 128).map_err(|_| "the table does not read")?;
    if !header.starts_with(b"EFI PART") || crc(&bare) != number(16) || crc(&entries) != number(88) {
        return Err("the first table is damaged");
    }
    let place = |entry: &[u8], at: usize| {
        entry[at..at + 8].iter().rev().fold(0_u64, |all, byte| all << 8 | u64::from(*byte))
    };
    let used = entries.chunks(128).filter(|entry| entry[..16] != [0; 16]);
    let part = |entry: &[u8]| Part {
        kind: entry[..16].to_vec(),
        start: place(entry, 32) * 512,
        bytes: (place(entry, 40) + 1 - place(entry, 32)) * 512,
    };
    Ok(Some(used.map(part).collect()))
}

fn crc(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { 0xedb8_8320 ^ sum >> 1 } else { sum >> 1 };
        }
    }
    !sum
}

/// One power-on, with what it leaves on the drive: the boot loader counts before it starts anything.
pub(crate) fn power_on(disk: &mut Disk, releases: &[Release]) -> Boot {
    let parts = match table(disk) {
        Ok(Some(parts)) => parts,
        Ok(None) => return Boot::Empty,
        Err(why) => return Boot::Broken(why),
    };
    let of_kind = |first: &[u8]| parts.iter().filter(|part| part.kind.starts_with(first)).collect::<Vec<_>>();
    let Some(esp) = of_kind(&[0x28, 0x73, 0x2a, 0xc1]).first().map(|esp| (esp.start, esp.bytes)) else {
        return Boot::Broken("no boot volume");
    };
    let found = Span::new(disk, esp.0, esp.1).map_err(|_| "no boot volume");
    let (name, uki) = match found.and_then(|mut volume| load(&mut volume, releases)) {
        Ok(found) => found,
        Err(why) => return Boot::Broken(why),
    };
    let Some(release) = releases.iter().find(|release| release.uki == uki) else {
        return Boot::Broken("a kernel image that nobody signed");
    };
    // The start program: a slot whose tree begins with this root, and then every block.
    let begins =
        |part: &Part, with: &[u8]| disk.content(part.start, with.len()).is_ok_and(|found| found == with);
    let (roots, trees) = (of_kind(&[0xe3, 0xbc, 0x68, 0x4f]), of_kind(&[0xed, 0x57, 0x73, 0x2c]));
    let whole = roots
        .iter()
        .zip(trees)
        .any(|(root, tree)| begins(tree, &release.verity) && begins(root, &release.root));
    if whole { Boot::Runs(release.number, name) } else { Boot::Broken("a root that is not what was built") }
}

/// The boot loader's part: its own file, the list, the choice, the count.
fn load(volume: &mut Span<'_>, releases: &[Release]) -> Result<(String, Vec<u8>), &'static str> {
    let files = FileSystem::new(volume.stream(), FsOptions::new()).map_err(|_| "no file system")?;
    let root = files.root_dir();
    let read = |path: &str| -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        root.open_file(path)?.read_to_end(&mut content)?;
        Ok(content)
    };
    let loader = read("EFI/BOOT/BOOTX64.EFI").map_err(|_| "no boot loader")?;
    if !releases.iter().any(|release| release.loader == loader) {
        return Err("a boot loader that nobody signed");
    }
    let folder = root.open_dir("EFI/Linux").map_err(|_| "no folder of entries")?;
    let mut names: Vec<String> = Vec::new();
    for entry in folder.iter() {
        let name = entry.map_err(|_| "a folder that does not read")?.file_name();
        if name.to_ascii_lowercase().ends_with(".efi") {
            names.push(name);
        }
    }
    // Spent entries last; then by name without counter, newest first.
    names.sort_by_key(|name| (!spent(name), stem(name).to_ascii_lowercase()));
    let name = names.pop().ok_or("no entry")?;
    let uki = read(&format!("EFI/Linux/{name}")).map_err(|_| "an entry that does not read")?;
    if let Some(counted) = counted(&name) {
        folder.rename(&name, &folder, &counted).map_err(|_| "an entry that cannot be renamed")?;
    }
    Ok((name, uki))
}

/// The boot stub's part: all addons of an entry.
pub(crate) fn addons(disk: &mut Disk, entry: &str) -> Vec<Vec<u8>> {
    let Ok(Some(parts)) = table(disk) else { return Vec::new() };
    let esp = parts.iter().find(|part| part.kind.starts_with(&[0x28, 0x73, 0x2a, 0xc1])).unwrap();
    let mut volume = Span::new(disk, esp.start, esp.bytes).unwrap();
    let files = FileSystem::new(volume.stream(), FsOptions::new()).unwrap();
    let Ok(folder) = files.root_dir().open_dir(&format!("EFI/Linux/{entry}.extra.d")) else {
        return Vec::new();
    };
    let is = |name: &str| name.to_ascii_lowercase().ends_with(".addon.efi");
    let all = folder.iter().map(|entry| entry.unwrap()).filter(|entry| is(&entry.file_name()));
    let content = all.map(|entry| {
        let mut content = Vec::new();
        entry.to_file().read_to_end(&mut content).unwrap();
        content
    });
    content.collect()
}

fn counter(name: &str) -> Option<(u32, u32)> {
    let (_, counter) = name.strip_suffix(".efi")?.rsplit_once('+')?;
    let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
    Some((left.parse().ok()?, done.parse().ok()?))
}

fn spent(name: &str) -> bool {
    counter(name).is_some_and(|(left, _)| left == 0)
}

fn stem(name: &str) -> &str {
    name.split('+').next().unwrap_or(name)
}

fn counted(name: &str) -> Option<String> {
    let (left, done) = counter(name)?;
    (left > 0).then(|| format!("{}+{}-{}.efi", stem(name), left - 1, done + 1))
}

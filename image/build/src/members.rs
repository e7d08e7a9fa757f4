//! Opens what a build wrote, as far down as it goes: UKI → sections → initramfs → files; disk → partitions → FAT files.
//!
//! For looking and comparing only.  What is not understood is a member of its own; nothing here trusts a manifest.
//! Bounded: an initramfs that unpacks to more than [`UNPACKED_BYTES_MAX`] is not unpacked.

use std::borrow::Cow;
use std::io::{Cursor, Read as _};

use crate::disk;
use crate::medium;
use crate::pe::Image;

/// What an initramfs may unpack to: several times what ours do.
pub const UNPACKED_BYTES_MAX: u64 = 1 << 30;
/// Deeper than anything we build.
const DEPTH_MAX: usize = 6;
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const CPIO_MAGIC: &[u8] = b"070701";
const CPIO_HEADER_BYTES: usize = 110;

/// A named part of something.
pub type Member<'a> = (String, Cow<'a, [u8]>);

/// The parts of `content`, or `None` if it has none that we know of.
#[must_use]
pub fn open(content: &[u8]) -> Option<Vec<Member<'_>>> {
    if let Ok(image) = Image::parse(content) {
        return Some(sections(&image));
    }
    if content.starts_with(ZSTD_MAGIC) || content.starts_with(CPIO_MAGIC) {
        return cpio_members(&unpacked(content)?);
    }
    if let Some((head, volume)) = medium::parts(content) {
        let parts = [("head", head), ("volume", volume)];
        return Some(parts.map(|(name, part)| (name.to_owned(), Cow::Borrowed(part))).to_vec());
    }
    if let Some(partitions) = disk::partitions(content) {
        let parts = partitions.into_iter();
        return Some(parts.map(|part| (part.name, Cow::Borrowed(part.content))).collect());
    }
    fat(content)
}

/// Everything in `content` that has no parts itself, with its path.
#[must_use]
pub fn leaves(name: &str, content: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    collect(name, content, DEPTH_MAX, &mut found);
    found
}

fn collect(name: &str, content: &[u8], depth: usize, found: &mut Vec<(String, Vec<u8>)>) {
    match depth.checked_sub(1).and_then(|_| open(content)) {
        Some(members) => {
            for (member, inner) in members {
                collect(&format!("{name}:{member}"), &inner, depth - 1, found);
            }
        }
        None => found.push((name.to_owned(), content.to_vec())),
    }
}

fn sections<'a>(image: &Image<'a>) -> Vec<Member<'a>> {
    let named = image.sections().iter();
    named
        .filter_map(|section| Some((section.name.clone(), Cow::Borrowed(image.section(&section.name)?))))
        .collect()
}

/// An initramfs without its compression: archives in a row, of which some are compressed and some are not.
fn unpacked(mut content: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while !content.is_empty() {
        let packed = content.starts_with(ZSTD_MAGIC);
        let end = match content.first()? {
            // Padding.
            0 => 1,
            _ if packed => zstd::zstd_safe::find_frame_compressed_size(content).ok()?,
            _ => record(content, 0)?.end,
        };
        let (part, rest) = content.split_at_checked(end)?;
        if packed {
            zstd::Decoder::new(part).ok()?.take(UNPACKED_BYTES_MAX).read_to_end(&mut out).ok()?;
        } else {
            out.extend_from_slice(part);
        }
        if u64::try_from(out.len()).is_ok_and(|bytes| bytes >= UNPACKED_BYTES_MAX) {
            return None;
        }
        content = rest;
    }
    Some(out)
}

/// A record of a newc archive.
struct Record<'a> {
    header: &'a [u8],
    mode: usize,
    name: String,
    content: &'a [u8],
    /// Where the next one begins.
    end: usize,
}

fn record(archive: &[u8], at: usize) -> Option<Record<'_>> {
    let name_at = at.checked_add(CPIO_HEADER_BYTES)?;
    let header = archive.get(at..name_at)?;
    if !header.starts_with(CPIO_MAGIC) {
        return None;
    }
    let field = |index: usize| {
        let text = std::str::from_utf8(header.get(6 + index * 8..14 + index * 8)?).ok()?;
        usize::from_str_radix(text, 16).ok()
    };
    let (mode, bytes, name_bytes) = (field(1)?, field(6)?, field(11)?);
    let name = archive.get(name_at..name_at.checked_add(name_bytes)?.checked_sub(1)?)?;
    let name = String::from_utf8_lossy(name).into_owned();
    let start = (name_at + name_bytes).next_multiple_of(4);
    let content = archive.get(start..start.checked_add(bytes)?)?;
    Some(Record { header, mode, name, content, end: (start + bytes).next_multiple_of(4).min(archive.len()) })
}

/// newc archives in a row, as the kernel unpacks them.  A node that is no file counts by its header.
fn cpio_members(archive: &[u8]) -> Option<Vec<Member<'static>>> {
    let mut members = Vec::new();
    let mut at = 0;
    while at < archive.len() {
        if archive.get(at) == Some(&0) {
            at += 1;
            continue;
        }
        let Record { header, mode, name, content, end } = record(archive, at)?;
        at = end;
        if name == "TRAILER!!!" {
            continue;
        }
        let plain = [0o100_644, 0o100_755].contains(&mode);
        // A changed mode, or device number, is a difference too.
        let shown = if plain { content.to_vec() } else { [header, content].concat() };
        members
            .push((if mode == 0o100_755 { format!("{name} (executable)") } else { name }, Cow::Owned(shown)));
    }
    Some(members)
}

/// Files of a FAT volume.
fn fat(content: &[u8]) -> Option<Vec<Member<'static>>> {
    const SIGNATURE: [u8; 2] = [0x55, 0xaa];
    // A volume begins with a jump; anything else is not worth a copy.
    if content.get(510..512) != Some(&SIGNATURE) || !matches!(content.first(), Some(0xeb | 0xe9)) {
        return None;
    }
    let mut copy = content.to_vec();
    let files = fatfs::FileSystem::new(Cursor::new(&mut copy), fatfs::FsOptions::new()).ok()?;
    let mut members = Vec::new();
    let mut open = vec![(String::new(), files.root_dir(), DEPTH_MAX)];
    while let Some((path, dir, depth)) = open.pop() {
        for entry in dir.iter() {
            let entry = entry.ok()?;
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            let path = format!("{path}/{name}");
            if entry.is_dir() {
                open.push((path, entry.to_dir(), depth.checked_sub(1)?));
            } else {
                let mut content = Vec::new();
                entry.to_file().read_to_end(&mut content).ok()?;
                members.push((path, Cow::Owned(content)));
            }
        }
    }
    members.sort_by(|one, two| one.0.cmp(&two.0));
    Some(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpio::Archive;
    use crate::medium::volume;
    use crate::tiny::tiny;

    #[test]
    fn a_uki_opens_down_to_its_files() {
        let mut archive = Archive::new();
        archive.file("init", b"agent".to_vec(), true).unwrap();
        archive.character("dev/console", 5, 1).unwrap();
        let mut drivers = Archive::new();
        drivers.file("lib/a.ko.xz", b"packed".to_vec(), false).unwrap();
        let mut initrd = drivers.to_bytes();
        initrd.extend(zstd::bulk::compress(&archive.to_bytes(), 3).unwrap());
        let mut second = Archive::new();
        second.file("etc/x", b"y".to_vec(), false).unwrap();
        initrd.extend(zstd::bulk::compress(&second.to_bytes(), 3).unwrap());
        let uki = Image::parse(&tiny(0))
            .unwrap()
            .with_sections(&[(".osrel", b"ID=x"), (".initrd", &initrd)])
            .unwrap();
        let names: Vec<String> = leaves("uki", &uki).into_iter().map(|(name, _)| name).collect();
        for name in [
            "uki:.osrel",
            "uki:.initrd:lib/a.ko.xz",
            "uki:.initrd:init (executable)",
            "uki:.initrd:dev/console",
            "uki:.initrd:etc/x",
        ] {
            assert!(names.iter().any(|have| have == name), "{name} in {names:?}");
        }
        let volume = volume(&uki).unwrap();
        let inside = open(&volume).unwrap();
        assert_eq!(inside[0].0, "/EFI/BOOT/BOOTX64.EFI");
    }

    #[test]
    fn what_is_cut_or_strange_is_a_leaf() {
        assert!(open(b"").is_none() && open(b"hello").is_none());
        let packed = zstd::bulk::compress(b"070701 no header", 3).unwrap();
        assert!(open(&packed).is_none());
        assert!(open(&packed[..packed.len() - 2]).is_none());
        assert_eq!(leaves("x", b"hello"), [("x".to_owned(), b"hello".to_vec())]);
    }
}

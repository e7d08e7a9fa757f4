//! What keeps a drive from being erased: that it is in use, that the machine was booted from it, that it carries what
//! belongs to a volume over several drives and the permission does not name it.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use super::places::Places;
use crate::counters;

/// Content by which a drive is part of something larger, or locked with a key that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// LUKS encryption.
    Luks,
    /// An LVM physical volume.
    Lvm2,
    /// A Linux software RAID member.
    Md,
    /// A ZFS vdev.
    Zfs,
    /// bcache.
    Bcache,
    /// A Ceph OSD.
    Ceph,
    /// A hardware RAID member (SNIA DDF).
    Ddf,
    /// An Intel firmware RAID member.
    IntelRaid,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Luks => "LUKS",
            Self::Lvm2 => "LVM2",
            Self::Md => "MD",
            Self::Zfs => "ZFS",
            Self::Bcache => "BCACHE",
            Self::Ceph => "CEPH",
            Self::Ddf => "DDF",
            Self::IntelRaid => "ISM",
        })
    }
}

/// Blocks of 4 KiB looked at from either end: ZFS has the last of its two first labels at 256 KiB.
const END_BLOCKS: u64 = 128;

/// Partitions of a drive that are looked at.
const PARTITIONS_MAX: usize = 256;

/// Nothing of it is mounted, swapped to, or held by a volume.
pub(super) fn unused(root: &Path, parts: &[String]) -> Result<(), String> {
    for disk in parts {
        for (name, folder) in devices(root, disk) {
            if let Some(number) = counters::read(&folder.join("dev"))
                && let Some(place) = mounted(root, number.trim())
            {
                return Err(format!("{name} is mounted at {place}: unmount it, or leave it alone"));
            }
            let swaps = counters::read(&root.join("proc/swaps")).unwrap_or_default();
            let swapped = |line: &str| {
                let file = line.split_whitespace().next()?;
                (Path::new(file).file_name()?.to_str()? == name).then_some(())
            };
            if swaps.lines().find_map(swapped).is_some() {
                return Err(format!("{name} is swap space: switch it off, or leave it alone"));
            }
            let holder = fs::read_dir(folder.join("holders")).ok().and_then(|mut all| all.next()?.ok());
            if let Some(holder) = holder {
                let holder = holder.file_name().to_string_lossy().into_owned();
                return Err(format!("{name} is held by {holder}: stop that, or leave it alone"));
            }
        }
    }
    Ok(())
}

/// The disk and its partitions, with their folders in sysfs.
fn devices(root: &Path, disk: &str) -> Vec<(String, PathBuf)> {
    let folder = root.join("sys/block").join(disk);
    let mut found = vec![(disk.to_owned(), folder.clone())];
    let listed = fs::read_dir(&folder).into_iter().flatten().flatten();
    let partitions = listed.filter_map(|entry| {
        let name = entry.file_name().to_str()?.to_owned();
        let is_one = name.starts_with(disk) && entry.path().join("partition").exists();
        is_one.then(|| (name, entry.path()))
    });
    found.extend(partitions.take(PARTITIONS_MAX));
    found
}

/// Where a block device is mounted, by its number (proc(5): the third field is major:minor, the fifth the place).
fn mounted(root: &Path, number: &str) -> Option<String> {
    let text = counters::read(&root.join("proc/self/mountinfo"))?;
    let place = |line: &str| {
        let mut fields = line.split(' ').skip(2);
        let found = fields.next()?;
        let place = fields.nth(1)?;
        (found == number).then(|| place.to_owned())
    };
    text.lines().find_map(place)
}

/// The partition table has not the partition that UEFI booted.
pub(super) fn not_booted_from(places: &Places, booted_from: Option<&str>) -> Result<(), String> {
    let Some(wanted) = booted_from.and_then(partition_guid) else { return Ok(()) };
    for part in 0.. {
        let Some((head, _)) = places.ends(part, END_BLOCKS) else { break };
        if head.windows(16).any(|found| found == wanted) {
            return Err("the machine was booted from it".into());
        }
    }
    Ok(())
}

/// The GUID in `…/HD(1,GPT,5C2B7A5E-…,0x800,0x100000)/…`, as a GPT stores it: the first three fields little-endian.
fn partition_guid(path: &str) -> Option<[u8; 16]> {
    let text = path.split_once(",GPT,")?.1.split([',', ')']).next()?;
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let mut guid = [0; 16];
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    for (index, byte) in guid.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    let [a, b, c, d, e, f, g, h, rest @ ..] = guid;
    let mut stored = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
    stored.get_mut(8..)?.copy_from_slice(&rest);
    Some(stored)
}

/// It carries nothing of a volume that the permission does not name.
pub(super) fn foreign(
    root: &Path,
    places: &Places,
    parts: &[String],
    allowed: &[String],
) -> Result<(), String> {
    let named = |content: &Content| {
        let name = content.to_string();
        allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name))
    };
    let strange: Vec<String> = carried(root, places, parts)?
        .iter()
        .filter(|content| !named(content))
        .map(ToString::to_string)
        .collect();
    if strange.is_empty() {
        return Ok(());
    }
    Err(format!(
        "it carries {}, which may belong to a volume over several drives; if it is to go, the permission has to name \
         it: --i-allow \"ERASE SERIAL WITH {}\"",
        strange.join(" and "),
        strange.join(" ")
    ))
}

/// What of a volume it carries, each once, in the order of their names.
pub(super) fn carried(root: &Path, places: &Places, parts: &[String]) -> Result<Vec<Content>, String> {
    let mut found = Vec::new();
    for (index, disk) in parts.iter().enumerate() {
        // A head that cannot be read could hide anything; a drive as broken as that is for the shredder.
        let Some((head, tail)) = places.ends(index, END_BLOCKS) else {
            return Err(format!(
                "{disk}: its first or last half megabyte cannot be read: who owns it is not known"
            ));
        };
        found.extend(contents(&head, &tail));
        for (name, _) in devices(root, disk).into_iter().skip(1) {
            let partition = Places::open(&root.join("dev"), std::slice::from_ref(&name))
                .ok()
                .and_then(|partition| partition.ends(0, END_BLOCKS));
            let Some((head, tail)) = partition else {
                return Err(format!("{name} cannot be read: whose it is, is not known"));
            };
            found.extend(contents(&head, &tail));
        }
    }
    found.sort_by_key(ToString::to_string);
    found.dedup();
    Ok(found)
}

/// What the first and the last half megabyte say, by the marks that blkid(8) goes by.
fn contents(head: &[u8], tail: &[u8]) -> Vec<Content> {
    let at = |offset: usize, mark: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(mark));
    let before_end = |bytes: usize, mark: &[u8]| {
        tail.len().checked_sub(bytes).and_then(|at| tail.get(at..)).is_some_and(|rest| rest.starts_with(mark))
    };
    const MD: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
    // Version 0.90 lies at a multiple of 64 KiB, 1.0 at one of 4 KiB, 8 to 128 KiB before the end.
    let md_at_end = (2..=32).any(|blocks| before_end(blocks * 4096, &MD));
    let zfs = [0x00ba_b10c_u64.to_le_bytes(), 0x00ba_b10c_u64.to_be_bytes()];
    // The ring of uberblocks, in slots of 1 KiB, fills the second half of a label of 256 KiB.
    let uberblock =
        |bytes: &[u8]| bytes.chunks(1024).any(|slot| zfs.iter().any(|mark| slot.starts_with(mark)));
    let rows = [
        (Content::Luks, at(0, b"LUKS\xba\xbe")),
        (Content::Lvm2, (0..4).any(|sector| at(sector * 512, b"LABELONE"))),
        (Content::Md, at(0, &MD) || at(4096, &MD) || md_at_end),
        (Content::Zfs, uberblock(head) || uberblock(tail)),
        (Content::Bcache, at(4096 + 24, &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca])),
        (Content::Ceph, at(0, b"bluestore block device")),
        (Content::Ddf, before_end(512, &0xde11_de11_u32.to_be_bytes())),
        (Content::IntelRaid, before_end(1024, b"Intel Raid ISM Cfg Sig. ")),
    ];
    rows.into_iter().filter(|(_, there)| *there).map(|(content, _)| content).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_named_as_uefi_names_it() {
        let path = "PciRoot(0x0)/Pci(0x4,0x0)/NVMe(0x1,00-00)/HD(1,GPT,0FC63DAF-8483-4772-8E79-3D69D8477DE4,0x800,0x1000)";
        let stored = partition_guid(path).unwrap();
        assert_eq!(stored[..8], [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47]);
        assert_eq!(stored[8..10], [0x8e, 0x79]);
        for none in ["PciRoot(0x0)/MAC(525400)/IPv4(0.0.0.0)", "HD(1,GPT,é,0x800)", "HD(1,MBR,0x1,0x800)", ""]
        {
            assert_eq!(partition_guid(none), None, "{none}");
        }
    }

    #[test]
    fn marks_are_where_blkid_looks() {
        let none = vec![0_u8; 512 << 10];
        assert!(contents(&none, &none).is_empty() && contents(&[], &[]).is_empty());
        let end = none.len();
        type Row<'a> = (Content, Option<usize>, Option<usize>, &'a [u8]);
        let rows: [Row<'_>; 9] = [
            (Content::Luks, Some(0), None, b"LUKS\xba\xbe\0\x02"),
            (Content::Lvm2, Some(512), None, b"LABELONE"),
            (Content::Md, Some(4096), None, &[0xfc, 0x4e, 0x2b, 0xa9]),
            (Content::Md, None, Some(end - 65536), &[0xfc, 0x4e, 0x2b, 0xa9]),
            (Content::Zfs, Some(128 << 10), None, &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0]),
            (Content::Bcache, Some(4120), None, &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca]),
            (Content::Ceph, Some(0), None, b"bluestore block device\n"),
            (Content::Ddf, None, Some(end - 512), &[0xde, 0x11, 0xde, 0x11]),
            (Content::IntelRaid, None, Some(end - 1024), b"Intel Raid ISM Cfg Sig. 1.3"),
        ];
        for (content, head_at, tail_at, mark) in rows {
            let (mut head, mut tail) = (none.clone(), none.clone());
            for (bytes, at) in [(&mut head, head_at), (&mut tail, tail_at)] {
                if let Some(at) = at {
                    bytes[at..at + mark.len()].copy_from_slice(mark);
                }
            }
            assert_eq!(contents(&head, &tail), [content]);
        }
    }

    #[test]
    fn who_uses_it_is_named() {
        let mount = "22 1 259:3 / /srv rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw\n";
        for (name, files, says) in [
            ("free", vec![("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")], None),
            ("mounted", vec![("proc/self/mountinfo", mount)], Some("nvme0n1p1 is mounted at /srv")),
            (
                "swap",
                vec![("proc/swaps", "Filename Type Size\n/dev/nvme0n1 partition 1 0 -2\n")],
                Some("nvme0n1 is swap space"),
            ),
            ("held", vec![("sys/block/nvme0n1/nvme0n1p1/holders/dm-0/dev", "")], Some("is held by dm-0")),
        ] {
            let mut all = vec![
                ("sys/block/nvme0n1/dev", "259:2\n"),
                ("sys/block/nvme0n1/nvme0n1p1/dev", "259:3\n"),
                ("sys/block/nvme0n1/nvme0n1p1/partition", "1\n"),
            ];
            all.extend(files);
            let root = counters::tests::tree(&format!("erase-{name}"), &all);
            let found = unused(&root, &["nvme0n1".into()]);
            std::fs::remove_dir_all(root).unwrap();
            match says {
                None => assert_eq!(found, Ok(())),
                Some(says) => assert!(found.as_ref().is_err_and(|why| why.contains(says)), "{found:?}"),
            }
        }
    }
}

//! A disk as QEMU and most clouds take it (QEMU, docs/interop/qcow2.rst, version 3): what is empty takes no room.
//!
//! Clusters of 64 KiB in the order of the disk, uncompressed, because what is in them is; the same disk gives the same
//! bytes.  The disk is read as a stream, so that its size does not matter.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: usize = 1 << CLUSTER_BITS;
const HEADER_BYTES: u32 = 104;
/// A reference to a cluster that nobody else has.
const OWN: u64 = 1 << 63;
/// Counts of 16 bits.
const COUNT_ORDER: u32 = 4;
const COUNTS_PER_CLUSTER: usize = CLUSTER / 2;
const ENTRIES_PER_TABLE: usize = CLUSTER / 8;

/// Writes `disk`, which has `bytes` bytes, as a qcow2 file; behind it the file's disk has `room` bytes that are empty.
///
/// # Errors
/// When a file cannot be read or written, or the disk has other than `bytes` bytes.
pub fn write(out: &mut File, disk: &mut impl Read, bytes: u64, room: u64) -> io::Result<()> {
    let all = usize::try_from(bytes.div_ceil(long(CLUSTER))).map_err(io::Error::other)?;
    let whole = bytes.saturating_add(room);
    let clusters = usize::try_from(whole.div_ceil(long(CLUSTER))).map_err(io::Error::other)?;
    let tables = clusters.div_ceil(ENTRIES_PER_TABLE);
    let first_level = tables.div_ceil(ENTRIES_PER_TABLE);
    // Header, first level, its tables; then the data; then the counts, whose size depends on the data.
    let data_from = 1 + first_level + tables;
    let mut second = vec![0_u64; tables * ENTRIES_PER_TABLE];
    let mut next = data_from;
    let mut cluster = vec![0; CLUSTER];
    let mut left = bytes;
    for entry in second.iter_mut().take(all) {
        let here = usize::try_from(left.min(long(CLUSTER))).map_err(io::Error::other)?;
        let (content, padding) = cluster.split_at_mut(here);
        disk.read_exact(content)?;
        padding.fill(0);
        left -= long(here);
        if cluster.iter().any(|byte| *byte != 0) {
            put(out, next, &cluster)?;
            *entry = long(next * CLUSTER) | OWN;
            next += 1;
        }
    }
    if disk.read(&mut [0])? != 0 {
        return Err(io::Error::other("the disk is larger than it was said to be"));
    }
    let (counts, counts_from) = (counts(next), next);
    let count_tables = counts.table_clusters;
    put(out, counts_from, &counts.bytes(counts_from))?;
    put(out, 1 + first_level, &big_endian(&second))?;
    let first: Vec<u64> = (0..tables).map(|table| long((1 + first_level + table) * CLUSTER) | OWN).collect();
    put(out, 1, &big_endian(&first))?;
    let header = Header {
        bytes: whole,
        first_level_entries: u32::try_from(tables).map_err(io::Error::other)?,
        counts_at: long(counts_from * CLUSTER),
        count_table_clusters: u32::try_from(count_tables).map_err(io::Error::other)?,
    };
    put(out, 0, &header.to_bytes())?;
    out.set_len(long((counts_from + counts.clusters()) * CLUSTER))?;
    out.flush()
}

struct Header {
    bytes: u64,
    first_level_entries: u32,
    counts_at: u64,
    count_table_clusters: u32,
}

impl Header {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = b"QFI\xfb".to_vec();
        out.extend(3_u32.to_be_bytes());
        // No backing file.
        out.extend([0; 12]);
        out.extend(CLUSTER_BITS.to_be_bytes());
        out.extend(self.bytes.to_be_bytes());
        // Not encrypted.
        out.extend([0; 4]);
        out.extend(self.first_level_entries.to_be_bytes());
        out.extend(long(CLUSTER).to_be_bytes());
        out.extend(self.counts_at.to_be_bytes());
        out.extend(self.count_table_clusters.to_be_bytes());
        // No snapshots; no features of later versions.
        out.extend([0; 12 + 24]);
        out.extend(COUNT_ORDER.to_be_bytes());
        out.extend(HEADER_BYTES.to_be_bytes());
        out
    }
}

/// How often each cluster is used: once, all of them, and those that say so, too.
struct Counts {
    table_clusters: usize,
    block_clusters: usize,
    used: usize,
}

/// For a file of `before` clusters and what counts them.
fn counts(before: usize) -> Counts {
    let mut counts = Counts { table_clusters: 1, block_clusters: 1, used: 0 };
    loop {
        counts.used = before + counts.clusters();
        let blocks = counts.used.div_ceil(COUNTS_PER_CLUSTER);
        let tables = blocks.div_ceil(ENTRIES_PER_TABLE);
        if (blocks, tables) == (counts.block_clusters, counts.table_clusters) {
            return counts;
        }
        (counts.block_clusters, counts.table_clusters) = (blocks, tables);
    }
}

impl Counts {
    fn clusters(&self) -> usize {
        self.table_clusters + self.block_clusters
    }

    fn bytes(&self, from: usize) -> Vec<u8> {
        let blocks: Vec<u64> = (0..self.block_clusters)
            .map(|block| long((from + self.table_clusters + block) * CLUSTER))
            .collect();
        let mut out = big_endian(&blocks);
        out.resize(self.table_clusters * CLUSTER, 0);
        (0..self.used).for_each(|_| out.extend(1_u16.to_be_bytes()));
        out.resize(self.clusters() * CLUSTER, 0);
        out
    }
}

fn put(out: &mut File, cluster: usize, content: &[u8]) -> io::Result<()> {
    out.seek(SeekFrom::Start(long(cluster * CLUSTER)))?;
    out.write_all(content)
}

fn big_endian(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// No machine that builds images counts higher.
fn long(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qcow2(disk: &[u8], room: u64) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.qcow2");
        let mut file = File::create(&path).unwrap();
        write(&mut file, &mut &*disk, long(disk.len()), room).unwrap();
        drop(file);
        std::fs::read(path).unwrap()
    }

    #[test]
    fn what_is_written_reads_back_and_empty_takes_no_room() {
        let mut disk = vec![0; 40 * CLUSTER + 512];
        disk[3 * CLUSTER + 7] = 1;
        *disk.last_mut().unwrap() = 2;
        let file = qcow2(&disk, 0);
        let number = |at: usize| u64::from_be_bytes(*file[at..].first_chunk().unwrap());
        assert_eq!((&file[..8], number(24)), (&b"QFI\xfb\0\0\0\x03"[..], long(disk.len())));
        let at = |offset: u64| usize::try_from(offset & !OWN).unwrap();
        let table = at(number(at(number(40))));
        for (cluster, expected) in disk.chunks(CLUSTER).enumerate() {
            let entry = number(table + 8 * cluster);
            assert_eq!(entry == 0, expected.iter().all(|byte| *byte == 0), "cluster {cluster}");
            if entry != 0 {
                assert_eq!(&file[at(entry)..at(entry) + expected.len()], expected, "cluster {cluster}");
            }
        }
        // Header, first level, one table, two clusters, table and block of counts.
        assert_eq!(file.len(), 7 * CLUSTER);
        let counts = at(number(at(number(48))));
        let counts: Vec<u8> = file[counts..counts + 16].to_vec();
        assert_eq!(counts, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0]);
        assert_eq!(qcow2(&disk, 0), file);
        // Room is a number and, every half gibibyte, another table.
        let roomy = qcow2(&disk, 1 << 30);
        let size = u64::from_be_bytes(*roomy[24..].first_chunk().unwrap());
        assert_eq!((size, roomy.len()), (long(disk.len()) + (1 << 30), 9 * CLUSTER));
    }

    #[test]
    fn counts_count_themselves() {
        for before in [1, COUNTS_PER_CLUSTER - 2, COUNTS_PER_CLUSTER - 1, COUNTS_PER_CLUSTER, 100_000] {
            let counts = counts(before);
            assert_eq!(counts.used, before + counts.clusters());
            assert!(counts.block_clusters * COUNTS_PER_CLUSTER >= counts.used, "{before}");
        }
    }

    #[test]
    fn a_disk_of_another_size_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [9, 11] {
            let mut file = File::create(dir.path().join("x")).unwrap();
            assert!(write(&mut file, &mut &[1; 10][..], bytes, 0).is_err());
        }
    }
}

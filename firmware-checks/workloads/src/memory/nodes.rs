//! How the machine's memory lies: NUMA nodes with their CPUs, and what of their memory may be taken.

use std::path::Path;

use super::Node;
use crate::counters::{entries, read};

/// Left to the kernel and the rest of the agent, bytes, on top of what is not asked for.
const LEFT_BYTES: u64 = 256 << 20;

/// CPUs in one list of the kernel; its own largest configuration has as many.
const CPUS_MAX: u32 = 8192;

/// The nodes of a machine, with `share_permille` of the memory of each, or less where less is free.
///
/// Nodes without CPUs (memory on CXL) are walked by those of the first node.  Where the kernel names no nodes,
/// or only one, nothing is bound.
pub fn nodes(root: &Path, share_permille: u16) -> Result<Vec<Node>, String> {
    let folders = entries(&root.join("sys/devices/system/node"), "node");
    let mut found: Vec<Node> = Vec::new();
    for folder in &folders {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (Ok(node), Some(text)) = (name.trim_start_matches("node").parse(), read(&folder.join("meminfo")))
        else {
            continue;
        };
        let cpus = read(&folder.join("cpulist")).map(|list| cpus(&list)).unwrap_or_default();
        let (total, free) = (amount(&text, "MemTotal:"), amount(&text, "MemFree:"));
        let pages =
            amount(&text, "FilePages:").unwrap_or(0).saturating_sub(amount(&text, "Shmem:").unwrap_or(0));
        let (Some(total), Some(free)) = (total, free) else { continue };
        found.push(Node {
            node: Some(node),
            cpus,
            bytes: share(total, free.saturating_add(pages), share_permille),
        });
    }
    found.sort_by_key(|node| node.node);
    if found.len() < 2 {
        let text =
            read(&root.join("proc/meminfo")).ok_or("/proc/meminfo does not tell what memory is free")?;
        let (total, free) = (amount(&text, "MemTotal:"), amount(&text, "MemAvailable:"));
        let (Some(total), Some(free)) = (total, free) else {
            return Err("/proc/meminfo tells neither MemTotal nor MemAvailable".into());
        };
        let cpus = found.into_iter().next().map(|node| node.cpus).filter(|cpus| !cpus.is_empty());
        let cpus =
            cpus.or_else(|| read(&root.join("sys/devices/system/cpu/online")).map(|list| self::cpus(&list)));
        return Ok(vec![Node {
            node: None,
            cpus: cpus.unwrap_or_default(),
            bytes: share(total, free, share_permille),
        }]);
    }
    let first =
        found.iter().find(|node| !node.cpus.is_empty()).map(|node| node.cpus.clone()).unwrap_or_default();
    for node in found.iter_mut().filter(|node| node.cpus.is_empty()) {
        node.cpus.clone_from(&first);
    }
    Ok(found)
}

/// All memory that the kernel has, by `/proc/meminfo`.
#[must_use]
pub fn total_bytes(root: &Path) -> Option<u64> {
    amount(&read(&root.join("proc/meminfo"))?, "MemTotal:")
}

fn share(total: u64, free: u64, permille: u16) -> u64 {
    let wanted = u128::from(total) * u128::from(permille) / 1000;
    u64::try_from(wanted).unwrap_or(u64::MAX).min(free.saturating_sub(LEFT_BYTES))
}

/// `Node 0 MemTotal:  12345 kB`, or without the node.
fn amount(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.split_once(name).map(|(_, rest)| rest))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// `0-3,8,10-11`.
fn cpus(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?.min(CPUS_MAX))
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::tests::tree;

    #[test]
    fn two_nodes_and_one_without_cpus() {
        let meminfo = |node: u32, total: u64, free: u64| {
            format!(
                "Node {node} MemTotal: {total} kB\nNode {node} MemFree: {free} kB\nNode {node} FilePages: 0 kB\n"
            )
        };
        let (first, second) = (meminfo(0, 8 << 20, 8 << 20), meminfo(1, 8 << 20, 1 << 20));
        let files = [
            ("sys/devices/system/node/node0/meminfo", first.as_str()),
            ("sys/devices/system/node/node0/cpulist", "0-2,5\n"),
            ("sys/devices/system/node/node1/meminfo", second.as_str()),
            ("sys/devices/system/node/node1/cpulist", "\n"),
        ];
        let root = tree("nodes", &files);
        let found = nodes(&root, 900).unwrap();
        let node = |node, bytes| Node { node: Some(node), cpus: vec![0, 1, 2, 5], bytes };
        // The first gives nine tenths, the second what is free but for the kernel's part.
        assert_eq!(found, [node(0, (8_u64 << 30) * 9 / 10), node(1, (1 << 30) - LEFT_BYTES)]);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn one_node_is_not_bound() {
        let files = [
            ("proc/meminfo", "MemTotal:  4194304 kB\nMemFree: 1 kB\nMemAvailable:  4194304 kB\n"),
            ("sys/devices/system/cpu/online", "0-1\n"),
        ];
        let root = tree("node", &files);
        let bytes = (4_u64 << 30) * 9 / 10;
        assert_eq!(nodes(&root, 900).unwrap(), [Node { node: None, cpus: vec![0, 1], bytes }]);
        assert_eq!(total_bytes(&root), Some(4 << 30));
        std::fs::remove_dir_all(root).unwrap();
        assert!(nodes(Path::new("/nonexistent"), 900).is_err());
    }
}

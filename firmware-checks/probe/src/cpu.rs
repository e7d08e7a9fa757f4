//! Logical CPUs, packages, NUMA nodes and the size of memory.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::inventory::{Cpu, Inventory, NodeMemory, Thread};

use crate::files::{Tree, list};

pub(crate) fn read(tree: &Tree, inventory: &mut Inventory) {
    let nodes = nodes(tree);
    let mut cores: BTreeMap<u32, BTreeSet<(u32, u32)>> = BTreeMap::new();
    for name in tree.names("sys/devices/system/cpu") {
        let Some(cpu) = name.strip_prefix("cpu").and_then(|number| number.parse().ok()) else { continue };
        let field =
            |field: &str| tree.number::<u32>(&format!("sys/devices/system/cpu/{name}/topology/{field}"));
        // A CPU that is offline has no topology.
        let Some(core) = field("core_id") else { continue };
        let socket = field("physical_package_id").unwrap_or(0);
        cores.entry(socket).or_default().insert((field("die_id").unwrap_or(0), core));
        let node = nodes.get(&cpu).copied().unwrap_or(0);
        inventory.threads.push(Thread { cpu, core, socket, node });
    }
    let texts = cpuinfo(tree);
    for (socket, cores) in cores {
        let of_socket = |thread: &&Thread| thread.socket == socket;
        let first = inventory.threads.iter().find(of_socket).map(|thread| thread.cpu);
        let (model, microcode) = first.and_then(|cpu| texts.get(&cpu).cloned()).unwrap_or_default();
        let threads = inventory.threads.iter().filter(of_socket).count();
        inventory.cpus.push(Cpu {
            socket,
            model,
            cores: u32::try_from(cores.len()).unwrap_or(u32::MAX),
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            microcode,
            ..Cpu::default()
        });
    }
    if inventory.threads.is_empty() {
        inventory.gaps.push("the kernel tells no CPU topology".into());
    } else {
        inventory.sources.insert("cpus".into(), "/proc/cpuinfo and sysfs topology".into());
    }
    inventory.memory_nodes = node_memory(tree);
    inventory.memory_bytes = total(&tree.text("proc/meminfo").unwrap_or_default());
    match inventory.memory_bytes {
        Some(_) => drop(inventory.sources.insert("memory_bytes".into(), "/proc/meminfo MemTotal".into())),
        None => inventory.gaps.push("the kernel does not tell the size of memory".into()),
    }
}

/// `MemTotal` in bytes, from the machine's account or one node's (`Node 0 MemTotal: …`).
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.split_once("MemTotal:").map(|(_, size)| size))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Memory node by node; nodes without memory of their own are left out.
fn node_memory(tree: &Tree) -> Vec<NodeMemory> {
    let of = |name: String| {
        let node = name.strip_prefix("node")?.parse().ok()?;
        let bytes = total(&tree.text(&format!("sys/devices/system/node/{name}/meminfo"))?)?;
        (bytes > 0).then_some(NodeMemory { node, bytes })
    };
    tree.names("sys/devices/system/node").into_iter().filter_map(of).collect()
}

/// Logical CPU → NUMA node.
fn nodes(tree: &Tree) -> BTreeMap<u32, u32> {
    let mut nodes = BTreeMap::new();
    for name in tree.names("sys/devices/system/node") {
        let Some(node) = name.strip_prefix("node").and_then(|number| number.parse().ok()) else { continue };
        let cpus = tree.text(&format!("sys/devices/system/node/{name}/cpulist")).unwrap_or_default();
        nodes.extend(list(&cpus).into_iter().map(|cpu| (cpu, node)));
    }
    nodes
}

/// Logical CPU → model and microcode.
fn cpuinfo(tree: &Tree) -> BTreeMap<u32, (Option<String>, Option<String>)> {
    let text = tree.text("proc/cpuinfo").unwrap_or_default();
    let mut found = BTreeMap::new();
    for block in text.split("\n\n") {
        let field = |name: &str| {
            let of = |line: &str| {
                line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, v)| v.trim().to_owned())
            };
            block.lines().find_map(of).filter(|value| !value.is_empty())
        };
        if let Some(cpu) = field("processor").and_then(|number| number.parse().ok()) {
            found.insert(cpu, (field("model name"), field("microcode")));
        }
    }
    found
}

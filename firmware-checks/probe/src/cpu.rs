//! Logical CPUs, packages, NUMA nodes and the size of memory.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::inventory::{Cpu, Inventory, NodeDistances, NodeMemory, Thread};

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
        let threads = inventory.threads.iter().filter(of_socket).count();
        let path = |cpu: u32| format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq");
        inventory.cpus.push(Cpu {
            socket,
            cores: u32::try_from(cores.len()).unwrap_or(u32::MAX),
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            // The kernel counts kHz.
            mhz_max: first.and_then(|cpu| tree.number::<u32>(&path(cpu))).map(|khz| khz / 1000),
            ..first.and_then(|cpu| texts.get(&cpu).cloned()).unwrap_or_default()
        });
    }
    inventory.flaws = flaws(tree);
    inventory.node_distances = distances(tree);
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

/// Flags that decide what may run on a processor, or that tell of a guest.
const FLAGS: [&str; 37] = [
    "aes",
    "amx_bf16",
    "amx_int8",
    "amx_tile",
    "atomics",
    "avx",
    "avx2",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512f",
    "avx512vl",
    "bf16",
    "hypervisor",
    "i8mm",
    "la57",
    "pdpe1gb",
    "sev",
    "sev_es",
    "sev_snp",
    "sgx",
    "sgx_lc",
    "sha2",
    "sha_ni",
    "sme",
    "sve",
    "sve2",
    "svm",
    "tdx_guest",
    "tdx_host_platform",
    "tme",
    "vaes",
    "vmx",
    "x2apic",
];

/// Logical CPU → what its block of `/proc/cpuinfo` says.
fn cpuinfo(tree: &Tree) -> BTreeMap<u32, Cpu> {
    let text = tree.text("proc/cpuinfo").unwrap_or_default();
    let mut found = BTreeMap::new();
    for block in text.split("\n\n") {
        let field = |name: &str| {
            let of = |line: &str| {
                line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, v)| v.trim().to_owned())
            };
            block.lines().find_map(of).filter(|value| !value.is_empty())
        };
        let number = |name: &str| field(name).and_then(|number| number.parse().ok());
        if let Some(cpu) = number("processor") {
            let flags = field("flags").or_else(|| field("Features")).unwrap_or_default();
            let mut flags: Vec<String> =
                flags.split(' ').filter(|flag| FLAGS.contains(flag)).map(str::to_owned).collect();
            flags.sort_unstable();
            let facts = Cpu {
                model: field("model name"),
                microcode: field("microcode"),
                vendor: field("vendor_id"),
                family: number("cpu family"),
                model_number: number("model"),
                stepping: number("stepping"),
                flags,
                ..Cpu::default()
            };
            let facts = match arm(&field) {
                Some(arm) => Cpu { flags: facts.flags, ..arm },
                None => facts,
            };
            found.insert(cpu, facts);
        }
    }
    found
}

/// What a 64-bit ARM processor says of itself: numbers, where others have words.
fn arm(field: &dyn Fn(&str) -> Option<String>) -> Option<Cpu> {
    let hex = |name| u32::from_str_radix(field(name)?.strip_prefix("0x")?, 16).ok();
    let (implementer, part) = (hex("CPU implementer")?, hex("CPU part")?);
    let known = ARM.iter().find(|known| (known.0, known.1) == (implementer, part));
    let maker = ARM.iter().find(|known| known.0 == implementer).map(|known| known.2);
    let revision = field("CPU revision").and_then(|number| number.parse().ok());
    Some(Cpu {
        vendor: Some(maker.map_or_else(|| format!("implementer {implementer:#x}"), str::to_owned)),
        model: Some(known.map_or_else(|| format!("part {part:#x}"), |known| known.3.to_owned())),
        family: hex("CPU variant"),
        model_number: Some(part),
        stepping: revision,
        ..Cpu::default()
    })
}

/// Processors of servers: implementer and part of the register MIDR_EL1 (as `lscpu` of util-linux has them), maker, name.
const ARM: [(u32, u32, &str, &str); 15] = [
    (0x41, 0xd03, "ARM", "Cortex-A53"),
    (0x41, 0xd07, "ARM", "Cortex-A57"),
    (0x41, 0xd08, "ARM", "Cortex-A72"),
    (0x41, 0xd0c, "ARM", "Neoverse-N1"),
    (0x41, 0xd40, "ARM", "Neoverse-V1"),
    (0x41, 0xd49, "ARM", "Neoverse-N2"),
    (0x41, 0xd4f, "ARM", "Neoverse-V2"),
    (0x41, 0xd84, "ARM", "Neoverse-V3"),
    (0x41, 0xd8e, "ARM", "Neoverse-N3"),
    (0x43, 0x0a1, "Cavium", "ThunderX"),
    (0x43, 0x0af, "Cavium", "ThunderX2"),
    (0x48, 0xd01, "HiSilicon", "TaiShan-v110"),
    (0x50, 0x000, "APM", "X-Gene"),
    (0xc0, 0xac3, "Ampere", "Ampere-1"),
    (0xc0, 0xac4, "Ampere", "Ampere-1a"),
];

/// Flaws of this kind of processor and what the kernel does about them.
fn flaws(tree: &Tree) -> BTreeMap<String, String> {
    const PATH: &str = "sys/devices/system/cpu/vulnerabilities";
    let told = |name: String| Some((tree.text(&format!("{PATH}/{name}"))?, name));
    tree.names(PATH).into_iter().filter_map(told).map(|(text, name)| (name, text)).collect()
}

/// Each node's row of the firmware's table; its columns are the nodes that are online, in order.
fn distances(tree: &Tree) -> Vec<NodeDistances> {
    let names = tree.names("sys/devices/system/node").into_iter();
    let nodes: Vec<u32> = names.filter_map(|name| name.strip_prefix("node")?.parse().ok()).collect();
    let row = |node: &u32| {
        let text = tree.text(&format!("sys/devices/system/node/node{node}/distance"))?;
        let distances: Vec<u32> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        // A row of another length cannot be told apart.
        (distances.len() == nodes.len())
            .then(|| NodeDistances { node: *node, to: nodes.iter().copied().zip(distances).collect() })
    };
    nodes.iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_processor_says_numbers() {
        let text = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd aes sha2 atomics\nCPU implementer\t: 0x41\n\
                    CPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n\
                    processor\t: 1\nCPU implementer\t: 0x77\nCPU part\t: 0x001\n\n";
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("proc")).unwrap();
        std::fs::write(root.path().join("proc/cpuinfo"), text).unwrap();
        let found = cpuinfo(&Tree::new(root.path()));
        let one = &found[&0];
        assert_eq!((one.vendor.as_deref(), one.model.as_deref()), (Some("ARM"), Some("Neoverse-N1")));
        assert_eq!((one.family, one.model_number, one.stepping), (Some(3), Some(0xd0c), Some(1)));
        assert_eq!(one.flags, ["aes", "atomics", "sha2"]);
        let other = &found[&1];
        assert_eq!(
            (other.vendor.as_deref(), other.model.as_deref()),
            (Some("implementer 0x77"), Some("part 0x1"))
        );
    }
}

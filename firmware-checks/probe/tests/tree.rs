//! The probe on a small machine written out by this test: two sockets, two drives, two ports.

#![expect(clippy::unwrap_used, reason = "a test's own files")]

use std::{fs, os::unix::fs::symlink, path::Path};

use appliance_model::inventory::{Bus, Inventory};
use firmware_checks_probe::probe;

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn link(root: &Path, path: &str, target: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

/// An SMBIOS record: type, formatted area behind the head, strings.
fn record(kind: u8, area: &[u8], strings: &[&str]) -> Vec<u8> {
    let mut record = vec![kind, u8::try_from(area.len() + 4).unwrap(), 0, kind];
    record.extend(area);
    for text in strings {
        record.extend(text.as_bytes());
        record.push(0);
    }
    record.extend(if strings.is_empty() { &[0, 0][..] } else { &[0] });
    record
}

/// Type 17 at its full length: widths, type, rank, voltage.
fn module() -> Vec<u8> {
    let mut dimm = vec![0; 0x28 - 4];
    for (at, word) in
        [(0x08, 72), (0x0a, 64), (0x0c, 0x7fff), (0x13, 0x2000), (0x15, 4800), (0x20, 3200), (0x26, 1100_u16)]
    {
        dimm[at - 4..at - 2].copy_from_slice(&word.to_le_bytes());
    }
    (dimm[0x10 - 4], dimm[0x11 - 4], dimm[0x12 - 4], dimm[0x1b - 4]) = (1, 5, 0x22, 2);
    (dimm[0x17 - 4], dimm[0x18 - 4], dimm[0x1a - 4]) = (2, 3, 4);
    dimm[0x1c - 4..0x20 - 4].copy_from_slice(&65_536_u32.to_le_bytes());
    dimm
}

/// Type 4 of a populated socket, and type 9 of a slot.
fn sockets_and_slots() -> Vec<u8> {
    let mut socket = vec![0; 0x23 - 4];
    (socket[0], socket[1], socket[0x18 - 4], socket[0x20 - 4]) = (1, 3, 0x41, 2);
    let mut slot = vec![0; 0x11 - 4];
    (slot[0], slot[0x10 - 4]) = (1, 2 << 3);
    [
        record(4, &socket, &["CPU1", "C-1"]),
        record(4, &socket, &["CPU2", "C-2"]),
        record(9, &slot, &["SLOT 3"]),
        record(38, &[1, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]),
    ]
    .concat()
}

fn smbios() -> Vec<u8> {
    let mut uuid = [0_u8; 16];
    uuid[..4].copy_from_slice(&0x0011_2233_u32.to_le_bytes());
    uuid[15] = 0xff;
    let mut system = vec![1, 2, 0, 3];
    system.extend(uuid);
    let mut empty = vec![0; 0x22 - 4];
    empty[0x10 - 4] = 1;
    [
        record(0, &[1, 2, 0, 0, 3], &["Maker", "1.2", "01/02/2026"]),
        record(1, &system, &["Supplier", "Model", "SYS1"]),
        record(2, &[1, 2, 0, 3], &["Supplier", "Board", "Default string"]),
        record(3, &[1, 0, 0, 2, 3], &["Supplier", "CH1", "rack 7"]),
        record(17, &module(), &["P0 A1", "Chips", "D1", "PART", "BANK 0"]),
        record(17, &empty, &["P0 A2"]),
        sockets_and_slots(),
        record(127, &[], &[]),
    ]
    .concat()
}

fn slow_drive(root: &Path, bridge: &str) {
    let target = format!("{bridge}/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0");
    for (file, text) in [
        ("vendor", "ATA     "),
        ("model", "Slow 1"),
        ("rev", "2.5+"),
        ("wwid", "naa.5"),
        ("vpd_pg80", "\0\u{80}S"),
    ] {
        write(root, &format!("{target}/{file}"), text);
    }
    fs::write(root.join(&target).join("vpd_pg80"), b"\0\x80\0\x08   SATA1").unwrap();
    write(root, &format!("{target}/block/sda/size"), "4096");
    link(root, &format!("{target}/block/sda/device"), "../../../0:0:0:0");
    link(root, "sys/block/sda", &format!("../../{target}/block/sda"));
    write(root, "sys/block/loop0/size", "8");
}

fn machine(root: &Path) {
    write(root, "sys/firmware/dmi/tables/DMI", smbios());
    let mut info = String::new();
    for cpu in 0..4 {
        let place = format!("sys/devices/system/cpu/cpu{cpu}/topology");
        write(root, &format!("{place}/core_id"), format!("{}\n", cpu % 2));
        write(root, &format!("{place}/physical_package_id"), format!("{}\n", cpu / 2));
        info += &format!("processor\t: {cpu}\nmodel name\t: Model {}\nmicrocode\t: 0x1\n\n", cpu / 2);
    }
    write(root, "proc/cpuinfo", info);
    write(root, "proc/meminfo", "MemTotal:        4026532 kB\nMemFree: 1 kB\n");
    write(root, "sys/devices/system/node/node0/cpulist", "0-1\n");
    write(root, "sys/devices/system/node/node1/cpulist", "2-3\n");
    write(
        root,
        "sys/devices/system/node/node0/meminfo",
        "Node 0 MemTotal:  4026532 kB\nNode 0 MemFree: 1 kB\n",
    );
    write(root, "sys/devices/system/node/node1/meminfo", "Node 1 MemTotal: 0 kB\n");

    let bridge = "sys/devices/pci0000:00";
    for (address, class) in
        [("0000:00:01.0", "0x010802"), ("0000:00:02.0", "0x020000"), ("0000:00:1f.2", "0x010601")]
    {
        for (file, text) in [
            ("vendor", "0x1b36"),
            ("device", "0x0010"),
            ("class", class),
            ("numa_node", "1"),
            ("current_link_speed", "16.0 GT/s PCIe"),
            ("current_link_width", "4"),
        ] {
            write(root, &format!("{bridge}/{address}/{file}"), text);
        }
        link(
            root,
            &format!("sys/bus/pci/devices/{address}"),
            &format!("../../../devices/pci0000:00/{address}"),
        );
    }
    write(root, "sys/bus/pci/drivers/nvme/x", "");
    link(root, &format!("{bridge}/0000:00:01.0/driver"), "../../../bus/pci/drivers/nvme");

    let controller = format!("{bridge}/0000:00:01.0/nvme/nvme0");
    for (file, text) in [("model", "Fast 1"), ("serial", "NV1  "), ("firmware_rev", "F1")] {
        write(root, &format!("{controller}/{file}"), text);
    }
    link(root, &format!("{controller}/device"), "../../../0000:00:01.0");
    for (file, text) in [("nsid", "1"), ("wwid", "eui.1"), ("size", "2048"), ("queue/rotational", "0")] {
        write(root, &format!("{controller}/nvme0n1/{file}"), text);
    }
    link(root, &format!("{controller}/nvme0n1/device"), "../../nvme0");
    link(root, "sys/block/nvme0n1", &format!("../../{controller}/nvme0n1"));

    slow_drive(root, bridge);

    ports(root);
    depth(root);
    write(root, "sys/class/tpm/tpm0/tpm_version_major", "2");
    write(root, "sys/class/tpm/tpm0/pcr-sha256/0", "00");
    let variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    write(root, variable, [6, 0, 0, 0, 1]);
}

/// Error counters, distances, variables.
fn depth(root: &Path) {
    for (path, text) in [
        ("sys/devices/system/node/node0/distance", "10 21\n"),
        ("sys/devices/system/node/node1/distance", "21 10\n"),
        ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
        ("sys/devices/system/edac/mc/mc0/mc_name", "skx"),
        ("sys/devices/system/edac/mc/mc0/ce_count", "4"),
        ("sys/devices/system/edac/mc/mc0/ue_count", "0"),
        ("sys/devices/system/edac/mc/mc0/dimm0/dimm_label", "P0 A1"),
        ("sys/devices/system/edac/mc/mc0/dimm0/dimm_ce_count", "4"),
        ("sys/devices/system/edac/mc/mc0/dimm0/dimm_ue_count", "0"),
        ("sys/devices/pci0000:00/0000:00:02.0/sriov_totalvfs", "8"),
        ("sys/devices/pci0000:00/0000:00:02.0/aer_dev_correctable", "RxErr 0\nBadTLP 3\nTOTAL_ERR_COR 3\n"),
        ("sys/bus/platform/devices/ipmi_bmc.0/firmware_revision", "1.74"),
        ("sys/class/infiniband/mlx5_0/node_guid", "b83f:d203:0012:3456"),
        ("sys/class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE"),
        ("sys/class/infiniband/mlx5_0/ports/1/counters/symbol_error", "7"),
    ] {
        write(root, path, text);
    }
    let variable = |name: &str, guid: &str, data: &[u8]| {
        write(root, &format!("sys/firmware/efi/efivars/{name}-{guid}"), [&[7, 0, 0, 0], data].concat());
    };
    let global = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
    let text: Vec<u8> = "UEFI disk\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let option = [&[1, 0, 0, 0, 4, 0][..], &text, &[0x7f, 0xff, 4, 0]].concat();
    variable("Boot0001", global, &option);
    variable("BootOrder", global, &[1, 0, 9, 0]);
    variable("BootCurrent", global, &[1, 0]);
    variable("SetupMode", global, &[0]);
    variable("dbx", "d719b2cb-3d3a-4596-a3bc-dad00e67656f", b"whatever");
}

fn ports(root: &Path) {
    let bridge = "sys/devices/pci0000:00";
    for (name, up) in [("eth0", true), ("eth10", false)] {
        let port = format!("{bridge}/0000:00:02.0/net/{name}");
        for (file, text) in [("type", "1"), ("addr_assign_type", "0"), ("address", "52:54:00:00:00:01")] {
            write(root, &format!("{port}/{file}"), text);
        }
        if up {
            write(root, &format!("{port}/carrier"), "1");
            write(root, &format!("{port}/speed"), "25000");
        }
        link(root, &format!("{port}/device"), "../../../0000:00:02.0");
        link(root, &format!("sys/class/net/{name}"), &format!("../../../{port}"));
    }
    write(root, "sys/class/net/lo/type", "772");
}

fn probed() -> Inventory {
    let root = tempfile::tempdir().unwrap();
    machine(root.path());
    probe(root.path())
}

#[test]
fn system_and_memory() {
    let Inventory { system, dimms, memory_bytes, gaps, .. } = probed();
    assert_eq!(system.serial.unwrap().as_str(), "SYS1");
    assert_eq!(system.uuid.as_deref(), Some("00112233-0000-0000-0000-0000000000ff"));
    assert_eq!(
        (system.bios_version.as_deref(), system.bios_date.as_deref()),
        (Some("1.2"), Some("01/02/2026"))
    );
    assert_eq!((system.board_product.as_deref(), system.board_serial), (Some("Board"), None));
    assert_eq!(
        (system.chassis_serial.unwrap().as_str(), system.asset_tag.as_deref()),
        ("CH1", Some("rack 7"))
    );
    assert_eq!(system.secure_boot, Some(true));
    assert_eq!(memory_bytes, Some(4_026_532 * 1024));
    let [dimm] = dimms.as_slice() else { panic!("{dimms:?}") };
    assert_eq!((dimm.bytes, dimm.speed_mts, dimm.slot.as_str()), (64 << 30, Some(3200), "P0 A1"));
    assert_eq!((dimm.serial.as_ref().unwrap().as_str(), dimm.part.as_deref()), ("D1", Some("PART")));
    assert_eq!(gaps, [""; 0]);
}

#[test]
fn processors() {
    let Inventory { cpus, threads, memory_nodes, .. } = probed();
    assert_eq!(
        memory_nodes.iter().map(|part| (part.node, part.bytes)).collect::<Vec<_>>(),
        [(0, 4_026_532 * 1024)]
    );
    let told: Vec<_> =
        cpus.iter().map(|cpu| (cpu.socket, cpu.model.as_deref(), cpu.cores, cpu.threads)).collect();
    assert_eq!(told, [(0, Some("Model 0"), 2, 2), (1, Some("Model 1"), 2, 2)]);
    assert_eq!(
        threads.iter().map(|t| (t.cpu, t.core, t.socket, t.node)).collect::<Vec<_>>(),
        [(0, 0, 0, 0), (1, 1, 0, 0), (2, 0, 1, 1), (3, 1, 1, 1)]
    );
}

#[test]
fn devices() {
    let Inventory { drives, nics, pci, .. } = probed();
    let told: Vec<_> = drives
        .iter()
        .map(|d| (d.bus, d.serial.as_ref().unwrap().as_str(), d.bytes, d.pci.as_deref().unwrap(), d.node))
        .collect();
    assert_eq!(
        told,
        [
            (Bus::Nvme, "NV1", 2048 * 512, "0000:00:01.0", Some(1)),
            (Bus::Sata, "SATA1", 4096 * 512, "0000:00:1f.2", Some(1)),
        ]
    );
    assert_eq!((drives[0].namespace, drives[0].rotational), (Some(1), Some(false)));
    let told: Vec<_> = nics.iter().map(|n| (n.name.as_deref().unwrap(), n.link_up, n.speed_mbps)).collect();
    assert_eq!(told, [("eth0", Some(true), Some(25_000)), ("eth10", None, None)]);
    assert_eq!(pci.len(), 3);
    assert_eq!((pci[0].driver.as_deref(), pci[0].link.as_deref()), (Some("nvme"), Some("16.0 GT/s PCIe x4")));
    assert_eq!((pci[0].class, pci[0].vendor), (0x01_0802, 0x1b36));
}

#[test]
fn firmware_and_boot() {
    let Inventory { boot, bmc, tpm, system, .. } = probed();
    let boot = boot.unwrap();
    assert_eq!((boot.current, boot.order.as_slice(), boot.setup_mode), (Some(1), &[1, 9][..], Some(false)));
    assert_eq!((boot.entries[0].number, boot.entries[0].description.as_str()), (1, "UEFI disk"));
    assert_eq!((boot.keys.len(), boot.keys[0].name.as_str(), boot.keys[0].sha256.len()), (1, "dbx", 64));
    let bmc = bmc.unwrap();
    assert_eq!((bmc.interface.as_deref(), bmc.ipmi.as_deref()), (Some("KCS"), Some("2.0")));
    assert_eq!((system.bmc_version.as_deref(), system.hypervisor), (Some("1.74"), None));
    let tpm = tpm.unwrap();
    assert_eq!((tpm.version.as_deref(), tpm.banks.as_slice()), (Some("2.0"), &["sha256".to_owned()][..]));
}

#[test]
fn errors_and_places() {
    let Inventory { dimms, memory_controllers, node_distances, pci, cpus, flaws, infiniband, .. } = probed();
    let dimm = &dimms[0];
    assert_eq!((dimm.ecc, dimm.ranks, dimm.kind.as_deref()), (Some(true), Some(2), Some("DDR5")));
    assert_eq!((dimm.buffer.as_deref(), dimm.millivolts), (Some("registered"), Some(1100)));
    assert_eq!((dimm.bank.as_deref(), dimm.speed_max_mts), (Some("BANK 0"), Some(4800)));
    assert_eq!((dimm.corrected, dimm.uncorrected), (Some(4), Some(0)));
    assert_eq!((memory_controllers[0].corrected, memory_controllers[0].modules.len()), (Some(4), 1));
    let rows: Vec<_> = node_distances.iter().map(|row| (row.node, row.to[&0], row.to[&1])).collect();
    assert_eq!(rows, [(0, 10, 21), (1, 21, 10)]);
    assert_eq!((pci[1].virtual_functions_max, pci[1].errors["correctable"]), (Some(8), 3));
    assert_eq!((pci[1].errors["correctable BadTLP"], pci[1].slot.as_deref()), (3, Some("SLOT 3")));
    assert_eq!((cpus[1].slot.as_deref(), cpus[1].serial.as_ref().unwrap().as_str()), (Some("CPU2"), "C-2"));
    assert_eq!(flaws["meltdown"], "Not affected");
    assert_eq!(
        (infiniband[0].state.as_deref(), infiniband[0].counters["symbol_error"]),
        (Some("4: ACTIVE"), 7)
    );
}

#[test]
fn a_machine_that_tells_nothing_is_all_gaps() {
    let root = tempfile::tempdir().unwrap();
    let inventory = probe(root.path());
    assert!(inventory.gaps.len() >= 5, "{:?}", inventory.gaps);
    assert!(inventory.drives.is_empty() && inventory.threads.is_empty());
}

/// Firmware may write anything: no cut and no flipped byte may stop the probe.
#[test]
fn broken_smbios_is_survived() {
    let (root, whole) = (tempfile::tempdir().unwrap(), smbios());
    for cut in 0..whole.len() {
        write(root.path(), "sys/firmware/dmi/tables/DMI", &whole[..cut]);
        probe(root.path());
        let mut flipped = whole.clone();
        flipped[cut] ^= 0xff;
        write(root.path(), "sys/firmware/dmi/tables/DMI", flipped);
        probe(root.path());
    }
}

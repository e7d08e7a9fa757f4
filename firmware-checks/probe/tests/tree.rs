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

fn smbios() -> Vec<u8> {
    let mut uuid = [0_u8; 16];
    uuid[..4].copy_from_slice(&0x0011_2233_u32.to_le_bytes());
    uuid[15] = 0xff;
    let mut system = vec![1, 2, 0, 3];
    system.extend(uuid);
    let mut dimm = vec![0; 0x22 - 4];
    dimm[0x0c - 4..0x0e - 4].copy_from_slice(&0x7fff_u16.to_le_bytes());
    dimm[0x10 - 4] = 1;
    (dimm[0x17 - 4], dimm[0x18 - 4], dimm[0x1a - 4]) = (2, 3, 4);
    dimm[0x1c - 4..0x20 - 4].copy_from_slice(&65_536_u32.to_le_bytes());
    dimm[0x20 - 4..0x22 - 4].copy_from_slice(&3200_u16.to_le_bytes());
    let mut empty = vec![0; 0x22 - 4];
    empty[0x10 - 4] = 1;
    [
        record(0, &[1, 2, 0, 0, 3], &["Maker", "1.2", "01/02/2026"]),
        record(1, &system, &["Supplier", "Model", "SYS1"]),
        record(2, &[1, 2, 0, 3], &["Supplier", "Board", "Default string"]),
        record(3, &[1, 0, 0, 2, 3], &["Supplier", "CH1", "rack 7"]),
        record(17, &dimm, &["P0 A1", "Chips", "D1", "PART"]),
        record(17, &empty, &["P0 A2"]),
        record(127, &[], &[]),
    ]
    .concat()
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

    ports(root);
    write(root, "sys/class/tpm/tpm0/x", "");
    let variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    write(root, variable, [6, 0, 0, 0, 1]);
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

//! A machine as two witnesses tell it, to be bent by tests.

use appliance_model::{
    Mac, Serial,
    inventory::{Bus, Cpu, Dimm, Drive, Gpu, Inventory, Nic, PciDevice, System, Tpm},
};

/// A GPU server as its agent sees it: two processors, eight modules, four drives, one card with two ports, two GPUs.
pub(crate) fn agent() -> Inventory {
    let mut inventory = Inventory {
        system: System {
            manufacturer: Some("Supermicro".into()),
            product: Some("SYS-TEST".into()),
            serial: Serial::parse("S1"),
            board_product: Some("X13TEST".into()),
            bios_version: Some("1.2".into()),
            secure_boot: Some(true),
            ..System::default()
        },
        memory_bytes: Some(8 << 36),
        tpm: Some(Tpm {
            manufacturer: "IFX".into(),
            firmware: 0x0007_0002_0002_0000,
            banks: vec!["sha256".into()],
            ..Tpm::default()
        }),
        ..Inventory::default()
    };
    for socket in 0..2 {
        inventory.cpus.push(Cpu {
            socket,
            model: Some("Intel(R) Xeon(R) Platinum 8462Y+".into()),
            cores: 32,
            threads: 64,
            microcode: Some("0x2b0004b1".into()),
            vendor: Some("GenuineIntel".into()),
            family: Some(6),
            model_number: Some(143),
            stepping: Some(8),
            ..Cpu::default()
        });
    }
    for at in 0..8 {
        inventory.dimms.push(Dimm {
            slot: format!("P{}-DIMM{}1", at / 4 + 1, char::from(b'A' + at % 4)),
            bytes: 64 << 30,
            speed_mts: Some(4800),
            part: Some("M321R8GA0BB0-CQKZJ".into()),
            serial: Serial::parse(&format!("04946{at:03X}")),
            ..Dimm::default()
        });
    }
    devices(&mut inventory);
    inventory
}

fn devices(inventory: &mut Inventory) {
    for at in 0..4 {
        inventory.drives.push(Drive {
            name: Some(format!("nvme{at}n1")),
            bus: Bus::Nvme,
            model: Some("SAMSUNG MZQL23T8HCLS-00A07".into()),
            serial: Serial::parse(&format!("S6CKNN0W5{at}")),
            firmware: Some("GDC5602Q".into()),
            bytes: 3_840_755_982_336,
            ..Drive::default()
        });
    }
    for at in 0..2 {
        let address = format!("0000:17:00.{at}");
        inventory.nics.push(Nic {
            name: Some(format!("eth{at}")),
            mac: Some(Mac([2, 0, 0, 0, 0, at])),
            driver: Some("mlx5_core".into()),
            pci: Some(address.clone()),
            firmware: Some("28.37.1014".into()),
            speed_max_mbps: Some(100_000),
            ..Nic::default()
        });
        let link = Some("16.0 GT/s PCIe x16".to_owned());
        let slot = Some("1".to_owned());
        inventory.pci.push(PciDevice {
            address,
            vendor: 0x15b3,
            device: 0x1021,
            class: 0x02_0000,
            link,
            slot,
            ..PciDevice::default()
        });
        inventory.gpus.push(Gpu {
            uuid: format!("GPU-{at}"),
            model: "NVIDIA H100 80GB HBM3".into(),
            serial: Serial::parse(&format!("16523230{at}")),
            bytes: 85_520_809_984,
            pci: Some(format!("0000:1{at}:00.0")),
            vbios: Some("96.00.61.00.01".into()),
            ..Gpu::default()
        });
    }
}

/// The same machine as its controller tells it: it knows bays, settings and its own firmware.
pub(crate) fn bmc() -> Inventory {
    let agent = agent();
    let mut bmc = Inventory {
        system: System { bmc_version: Some("01.02.16".into()), ..agent.system.clone() },
        cpus: agent.cpus.clone(),
        dimms: agent.dimms.clone(),
        drives: agent.drives.clone(),
        nics: agent.nics.iter().map(|nic| Nic { mac: nic.mac, ..Nic::default() }).collect(),
        ..Inventory::default()
    };
    for (at, drive) in bmc.drives.iter_mut().enumerate() {
        drive.name = None;
        drive.bay = Some(format!("Disk.Bay.{at}"));
    }
    for (attribute, value) in [("CSMSupport_0121", "Disabled"), ("SR_IOVSupport_0047", "Enabled")] {
        bmc.bios_settings.insert(attribute.into(), value.into());
    }
    bmc
}

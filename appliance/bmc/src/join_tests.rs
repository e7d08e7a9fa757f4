//! Two accounts of one machine, changed one fact at a time.

use appliance_model::inventory::{Bus, Cpu, Dimm, Nic, System, Tpm};

use super::*;

fn machine() -> Inventory {
    let serial = |text: &str| Serial::parse(text);
    Inventory {
        system: System {
            serial: serial("S1"),
            uuid: Some("00112233-4455-6677-8899-aabbccddeeff".into()),
            manufacturer: Some("Supermicro".into()),
            bios_version: Some("1.4".into()),
            ..System::default()
        },
        cpus: vec![Cpu { cores: 32, model: Some("Intel(R) Xeon(R)".into()), ..Cpu::default() }],
        dimms: vec![Dimm {
            slot: "A1".into(),
            bytes: 1 << 36,
            serial: serial("049467FF"),
            ..Dimm::default()
        }],
        drives: vec![Drive {
            name: None,
            bus: Bus::Nvme,
            model: Some("MZQL27T6".into()),
            serial: serial("D1"),
            firmware: Some("GDC5".into()),
            bytes: 7_681_501_126_656,
            wwid: None,
            namespace: None,
            rotational: None,
            node: None,
            pci: None,
            health: None,
            ..Drive::default()
        }],
        nics: [1, 2].map(|n| Nic { mac: Some(Mac([2, 0, 0, 0, 0, n])), ..Nic::default() }).into(),
        ..Inventory::default()
    }
}

#[test]
fn table_of_disagreements() {
    type Change = fn(&mut Inventory);
    type Found = &'static [(Severity, &'static str)];
    let rows: [(&str, Change, Found); 15] = [
        ("nothing", |_| {}, &[]),
        ("serial", |b| b.system.serial = Serial::parse("S2"), &[(Severity::Error, "system serial")]),
        (
            "no serial",
            |b| b.system.serial = None,
            &[(Severity::Warning, "system serial, the key of this comparison")],
        ),
        ("uuid as stored", |b| b.system.uuid = Some("33221100-5544-7766-8899-AABBCCDDEEFF".into()), &[]),
        ("uuid", |b| b.system.uuid = Some("0".into()), &[(Severity::Warning, "system UUID")]),
        ("case", |b| b.system.manufacturer = Some(" SUPERMICRO ".into()), &[]),
        ("more words", |b| b.system.bios_version = Some("1.4 (08/11/2022)".into()), &[]),
        ("cores", |b| b.cpus[0].cores = 16, &[(Severity::Warning, "processor cores")]),
        ("longer module serial", |b| b.dimms[0].serial = Serial::parse("80CE012314049467FF"), &[]),
        ("module gone", |b| b.dimms.clear(), &[]),
        (
            "other drive",
            |b| b.drives[0].serial = Serial::parse("D2"),
            &[(Severity::Warning, "drive D1"), (Severity::Warning, "drive D2")],
        ),
        ("small drive", |b| b.drives[0].bytes /= 2, &[(Severity::Warning, "drive D1 bytes")]),
        ("tpm", |b| b.tpm = Some(Tpm::default()), &[(Severity::Warning, "TPM 2.0")]),
        ("port gone", |b| b.nics.truncate(1), &[(Severity::Info, "network port 02:00:00:00:00:02")]),
        (
            "other ports",
            |b| {
                b.nics.truncate(1);
                b.nics[0].mac = Some(Mac([2, 9, 9, 9, 9, 9]));
            },
            &[(Severity::Error, "network ports: not one in common")],
        ),
    ];
    for (name, change, expected) in rows {
        let mut bmc = machine();
        change(&mut bmc);
        let found = join(&machine(), &bmc);
        let short: Vec<_> = found.iter().map(|d| (d.severity, d.what.as_str())).collect();
        assert_eq!(short, expected, "{name}: {found:#?}");
    }
}

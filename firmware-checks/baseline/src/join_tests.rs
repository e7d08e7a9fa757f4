//! Two accounts of one machine, changed one fact at a time; oddities as controllers of real servers show them.

use appliance_model::inventory::{Bus, Cpu, Dimm, Drive, Gpu, Nic, System, Tpm};

use super::*;

fn machine() -> Inventory {
    let serial = |text: &str| Serial::parse(text);
    let dimm = |slot: &str, text: &str| Dimm {
        slot: slot.into(),
        bytes: 1 << 36,
        serial: serial(text),
        ..Dimm::default()
    };
    let drive = |text: &str| Drive {
        bus: Bus::Nvme,
        model: Some("MZQL27T6".into()),
        serial: serial(text),
        firmware: Some("GDC5".into()),
        bytes: 7_681_501_126_656,
        ..Drive::default()
    };
    let mut inventory = Inventory {
        system: System {
            serial: serial("S1"),
            uuid: Some("00112233-4455-6677-8899-aabbccddeeff".into()),
            manufacturer: Some("Supermicro".into()),
            bios_version: Some("1.4".into()),
            ..System::default()
        },
        cpus: vec![Cpu {
            cores: 32,
            model: Some("Intel(R) Xeon(R) Platinum 8462Y+".into()),
            ..Cpu::default()
        }],
        dimms: vec![dimm("P1-DIMMA1", "049467FF"), dimm("P1-DIMMB1", "04946A44")],
        drives: vec![drive("D1"), drive("D2")],
        nics: [1, 2].map(|n| Nic { mac: Some(Mac([0, 0, 0, 0, 0, n])), ..Nic::default() }).into(),
        gpus: vec![Gpu {
            uuid: "GPU-aa".into(),
            model: "NVIDIA H100 80GB HBM3".into(),
            serial: serial("1652"),
            ..Gpu::default()
        }],
        ..Inventory::default()
    };
    inventory.sources.insert("dimms".into(), "smbios type 17".into());
    inventory
}

type Change = fn(&mut Inventory);
type Row<'a> = (&'a str, Change, &'a [(Severity, &'a str)]);

fn check(rows: &[Row<'_>], turned: bool) {
    for (name, change, expected) in rows {
        let mut other = machine();
        change(&mut other);
        let found = if turned { join(&other, &machine()) } else { join(&machine(), &other) };
        let short: Vec<_> = found.iter().map(|d| (d.severity, d.what.as_str())).collect();
        assert_eq!(short, *expected, "{name}: {found:#?}");
    }
}

#[test]
fn a_controller_that_is_odd_or_lies() {
    use Severity::{Blocking, Info, Warning};
    check(
        &[
            ("nothing", |_| {}, &[]),
            ("serial", |b| b.system.serial = Serial::parse("S2"), &[(Blocking, "system serial")]),
            (
                "no serial",
                |b| b.system.serial = None,
                &[(Warning, "system serial, the key of this comparison")],
            ),
            ("uuid as stored", |b| b.system.uuid = Some("33221100-5544-7766-8899-AABBCCDDEEFF".into()), &[]),
            ("uuid", |b| b.system.uuid = Some("0".into()), &[(Warning, "system UUID")]),
            ("case", |b| b.system.manufacturer = Some(" SUPERMICRO ".into()), &[]),
            ("more words", |b| b.system.bios_version = Some("BIOS Date: 08/04/2023 Ver 1.4".into()), &[]),
            ("other BIOS", |b| b.system.bios_version = Some("2.1".into()), &[(Warning, "BIOS version")]),
            ("cores", |b| b.cpus[0].cores = 16, &[(Warning, "processor cores")]),
            (
                "model without marks",
                |b| b.cpus[0].model = Some("Intel Xeon Platinum 8462Y+ @ 2.80GHz".into()),
                &[],
            ),
            (
                "other processor",
                |b| b.cpus[0].model = Some("Gold 6430".into()),
                &[(Warning, "processor model")],
            ),
            ("socket from one", |b| b.cpus[0].socket = 1, &[]),
            ("tpm", |b| b.tpm = Some(Tpm::default()), &[(Warning, "TPM 2.0")]),
            ("port gone", |b| b.nics.truncate(1), &[(Info, "network port 00:00:00:00:00:02")]),
            (
                "host interface listed",
                |b| b.nics.push(Nic { mac: Some(Mac([0xbe, 0x3a, 0xf2, 0, 0, 9])), ..Nic::default() }),
                &[(Info, "network port be:3a:f2:00:00:09")],
            ),
            (
                "other ports",
                |b| {
                    b.nics.truncate(1);
                    b.nics[0].mac = Some(Mac([0, 9, 9, 9, 9, 9]));
                },
                &[(Blocking, "network ports: not one in common")],
            ),
            ("GPU by serial", |b| b.gpus[0].uuid = String::new(), &[]),
            (
                "other GPU",
                |b| b.gpus[0].serial = Serial::parse("9999"),
                &[(Warning, "GPU 1652"), (Warning, "GPU 9999")],
            ),
            ("GPU model", |b| b.gpus[0].model = "A100".into(), &[(Warning, "GPU 1652 model")]),
        ],
        false,
    );
}

#[test]
fn modules_and_drives_of_an_odd_controller() {
    use Severity::{Info, Warning};
    check(
        &[
            ("serial with date", |b| b.dimms[0].serial = Serial::parse("80CE012314049467FF"), &[]),
            ("no modules", |b| b.dimms.clear(), &[]),
            (
                "slots named otherwise",
                |b| {
                    b.dimms[0].slot = "DIMM A1".into();
                    b.dimms[1].slot = "DIMM B1".into();
                },
                &[],
            ),
            ("no serials, joined by slot", |b| b.dimms.iter_mut().for_each(|dimm| dimm.serial = None), &[]),
            (
                "swapped",
                |b| {
                    b.dimms[0].slot = "P1-DIMMB1".into();
                    b.dimms[1].slot = "P1-DIMMA1".into();
                },
                &[
                    (Warning, "memory module 049467FF sits in another slot"),
                    (Warning, "memory module 04946A44 sits in another slot"),
                ],
            ),
            (
                "other module",
                |b| b.dimms[0].serial = Serial::parse("77777777"),
                &[(Warning, "memory module in P1-DIMMA1: serial")],
            ),
            ("module gone", |b| drop(b.dimms.pop()), &[(Warning, "memory module 04946A44 in P1-DIMMB1")]),
            (
                "copied serial",
                |b| b.dimms[1].serial = Serial::parse("049467FF"),
                &[
                    (Warning, "memory module 049467FF: more than one with this serial"),
                    (Warning, "memory module in P1-DIMMB1: serial"),
                ],
            ),
            (
                "powers of ten",
                |b| b.dimms[0].bytes = 64_000_000_000,
                &[(
                    Info,
                    "memory module 049467FF size: one counts in powers of ten, the other in powers of two",
                )],
            ),
            ("small module", |b| b.dimms[0].bytes /= 2, &[(Warning, "memory module 049467FF size")]),
            (
                "other drive",
                |b| b.drives[0].serial = Serial::parse("D9"),
                &[(Warning, "drive D1"), (Warning, "drive D9")],
            ),
            ("drive without serial", |b| b.drives[0].serial = None, &[]),
            ("no drives behind SATA", |b| b.drives.clear(), &[(Info, "drive D1"), (Info, "drive D2")]),
            ("small drive", |b| b.drives[0].bytes /= 2, &[(Warning, "drive D1 bytes")]),
            ("medium and namespace", |b| b.drives[0].bytes += 1 << 20, &[]),
            (
                "listed by two paths",
                |b| b.drives.push(b.drives[0].clone()),
                &[(Warning, "drive D1: more than one with this serial")],
            ),
            ("firmware", |b| b.drives[0].firmware = Some("GDC9".into()), &[(Info, "drive D1 firmware")]),
        ],
        false,
    );
}

#[test]
fn an_agent_that_lies_is_shown_as_well() {
    use Severity::{Blocking, Warning};
    check(
        &[
            ("serial", |a| a.system.serial = Serial::parse("S2"), &[(Blocking, "system serial")]),
            (
                "more memory than there is",
                |a| a.dimms[0].bytes *= 2,
                &[(Warning, "memory module 049467FF size")],
            ),
            (
                "a drive that is not there",
                |a| a.drives.push(Drive { serial: Serial::parse("D3"), bytes: 1, ..Drive::default() }),
                &[(Warning, "drive D3")],
            ),
            ("a better GPU", |a| a.gpus[0].model = "NVIDIA H200".into(), &[(Warning, "GPU 1652 model")]),
            (
                "the controller's own port and a stick are no lies",
                |a| {
                    let driver = Some("cdc_ether".to_owned());
                    a.nics.push(Nic { mac: Some(Mac([0xbe, 1, 1, 1, 1, 1])), driver, ..Nic::default() });
                    a.drives.push(Drive {
                        serial: Serial::parse("STICK"),
                        bus: Bus::Usb,
                        ..Drive::default()
                    });
                },
                &[],
            ),
        ],
        true,
    );
}

#[test]
fn a_finding_names_both_values_and_both_sources() {
    let mut bmc = machine();
    bmc.dimms[0].bytes /= 2;
    let found = join(&machine(), &bmc);
    assert_eq!(
        found[0].text(),
        "memory module 049467FF size: the agent says 64 GiB (smbios type 17), the BMC says 32 GiB (smbios type 17)"
    );
    bmc.sources.clear();
    assert!(join(&machine(), &bmc)[0].text().ends_with("the BMC says 32 GiB (Redfish)"));
}

//! What is said of machines that are not as a document wants them, word by word.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod machines;

use appliance_model::inventory::Inventory;
use firmware_checks_baseline::{
    Library, Machine, Report, Severity, Verdict, blueprint_from, check_baseline, check_blueprint, remedy,
};

type Change = fn(&mut Inventory, &mut Inventory);

/// A blueprint of the good machine, held against the changed one.
fn against_blueprint(change: Change) -> Report {
    let good = Machine::of(Some(&machines::agent()), Some(&machines::bmc()));
    let text = blueprint_from(&good, "Test build").unwrap();
    let mut library = Library::default();
    library.add("test.toml", text.as_bytes()).unwrap();
    let (mut agent, mut bmc) = (machines::agent(), machines::bmc());
    change(&mut agent, &mut bmc);
    check_blueprint(&Machine::of(Some(&agent), Some(&bmc)), &library.blueprints[0])
}

fn said(report: &Report) -> Vec<String> {
    let findings = report.findings.iter().map(|one| format!("{}: {}", one.severity.word(), one.text));
    let unchecked = report.unchecked.iter().map(|one| format!("not checked: {}: {}", one.what, one.why));
    findings.chain(unchecked).collect()
}

const FROM_BLUEPRINT: [(Change, &[&str]); 17] = [
    (|_, _| {}, &[]),
    (
        |agent, _| agent.dimms[1].bytes = 32 << 30,
        &["blocking: P1-DIMMB1: 32 GiB, the blueprint wants 64 GiB"],
    ),
    (|agent, _| drop(agent.dimms.remove(1)), &["blocking: P1-DIMMB1 is empty, the blueprint wants 64 GiB"]),
    (
        |agent, _| agent.dimms[1].slot = "P1-DIMMB2".into(),
        &[
            "blocking: P1-DIMMB1 is empty, the blueprint wants 64 GiB",
            "warning: P1-DIMMB2: 64 GiB M321R8GA0BB0-CQKZJ, the blueprint wants nothing there",
        ],
    ),
    (
        |agent, _| agent.dimms[0].speed_mts = Some(4400),
        &["warning: P1-DIMMA1: 4400 MT/s, the blueprint wants 4800 MT/s or more"],
    ),
    (|agent, _| agent.dimms[0].speed_mts = None, &["not checked: P1-DIMMA1: speed: nobody told"]),
    (
        |agent, bmc| (agent.dimms, bmc.dimms) = (vec![], vec![]),
        &["not checked: 8 × 64 GiB DIMM: nobody told the machine's DIMMs"],
    ),
    (
        |agent, _| drop(agent.drives.remove(3)),
        &["blocking: drive bay Disk.Bay.3 is empty, the blueprint wants SAMSUNG MZQL23T8HCLS-00A07 3.84 TB"],
    ),
    (
        |agent, _| agent.drives[2].bytes = 1_920_383_410_176,
        &[
            "blocking: drive bay Disk.Bay.2: SAMSUNG MZQL23T8HCLS-00A07 1.92 TB, the blueprint wants SAMSUNG MZQL23T8HCLS-00A07 3.84 TB",
        ],
    ),
    (
        |agent, bmc| {
            bmc.drives.clear();
            agent.drives.remove(0);
        },
        &[
            "blocking: a drive is missing: the blueprint wants 4 × SAMSUNG MZQL23T8HCLS-00A07 3.84 TB; 3 drives are there in all",
            "not checked: places of the drives: nobody told where the drives sit; they were compared as a set",
        ],
    ),
    (
        |agent, _| agent.cpus[1].model = Some("Intel(R) Xeon(R) Gold 6430".into()),
        &[
            "blocking: CPU socket 1: Intel(R) Xeon(R) Gold 6430, the blueprint wants Intel(R) Xeon(R) Platinum 8462Y+",
        ],
    ),
    (
        |agent, _| drop(agent.cpus.pop()),
        &[
            "blocking: a CPU is missing: the blueprint wants 2 × Intel(R) Xeon(R) Platinum 8462Y+; 1 CPUs are there in all",
        ],
    ),
    (
        |agent, _| agent.pci[0].link = Some("8.0 GT/s PCIe x8".into()),
        &["warning: PCIe slot 1: 8 GT/s x8, the blueprint wants a link of 16 GT/s x16 or more"],
    ),
    (
        |agent, _| agent.nics[0].speed_max_mbps = Some(25_000),
        &["blocking: network port 02:00:00:00:00:00: 25 Gbit/s, the blueprint wants 100 Gbit/s or more"],
    ),
    (
        |agent, _| agent.gpus[1].model = "NVIDIA A100-SXM4-80GB".into(),
        &["blocking: GPU 165232301: NVIDIA A100-SXM4-80GB, the blueprint wants NVIDIA H100 80GB HBM3"],
    ),
    (
        |agent, _| {
            agent.gpus.clear();
            let mut function = agent.pci[0].clone();
            (function.address, function.vendor, function.class) = ("0000:30:00.0".into(), 0x10de, 0x03_0200);
            agent.pci.push(function);
        },
        &[
            "blocking: 1 GPUs are on the PCI bus, the blueprint wants 2",
            "not checked: models and memory of the GPUs: no driver answers for the 1 GPUs on the PCI bus",
        ],
    ),
    (
        |agent, _| agent.tpm = None,
        &["blocking: TPM: none that works, the blueprint wants a TPM 2.0, enabled"],
    ),
];

#[test]
fn differences_from_a_blueprint_in_words() {
    for (change, expected) in FROM_BLUEPRINT {
        let report = against_blueprint(change);
        assert_eq!(said(&report), expected, "{report:#?}");
        let passes = expected.is_empty();
        assert_eq!(report.verdict == Verdict::Pass, passes);
    }
}

/// The machine with the changes, held against a baseline with these rules.
fn against_baseline(rules: &str, change: Change) -> Report {
    let text = format!("kind = \"baseline\"\nformat = 1\nid = \"t\"\nversion = 1\ntitle = \"t\"\n{rules}");
    let mut library = Library::default();
    library.add("test.toml", text.as_bytes()).unwrap();
    let (mut agent, mut bmc) = (machines::agent(), machines::bmc());
    change(&mut agent, &mut bmc);
    check_baseline(&Machine::of(Some(&agent), Some(&bmc)), &library.baselines[0])
}

const BIOS: &str = "[[firmware]]\ncomponent = \"bios\"\nscheme = \"supermicro\"\nfloor = \"1.4\"\nseverity = \"blocking\"\nbecause = [\"CVE-2024-10237\"]\n";
const BMC: &str = "[[firmware]]\ncomponent = \"bmc\"\nscheme = \"dotted\"\ndeny = [\"1.2.16\"]\nfloor = \"1.2\"\nseverity = \"warning\"\n";
const NVME: &str = "[[firmware]]\ncomponent = \"drive\"\nnames = [\"SAMSUNG MZQL2*\"]\nscheme = \"opaque\"\nallow = [\"GDC5902Q\"]\nseverity = \"warning\"\n";
const CPLD: &str =
    "[[firmware]]\ncomponent = \"cpld\"\nscheme = \"hex\"\nfloor = \"F5\"\nseverity = \"info\"\n";
const SETTING: &str = "[[setting]]\nname = \"legacy boot\"\nseverity = \"blocking\"\nattributes = [{ attribute = \"CSMSupport*\", values = [\"Disabled\"] }, { attribute = \"BootMode\", values = [\"Uefi\"] }]\n";
const MICROCODE: &str = "[[microcode]]\nname = \"Sapphire Rapids\"\nfamily = 6\nmodel = 143\nsteppings = [8]\nfloor = \"0x2b0004d0\"\nseverity = \"blocking\"\nbecause = [\"CVE-2023-23583\"]\n";
const SECURE: &str = "[secure_boot]\nrequired = true\nseverity = \"warning\"\n";

const FROM_BASELINE: [(&str, Change, &[&str]); 14] = [
    (BIOS, |_, _| {}, &["blocking: BIOS 1.2 is below the floor 1.4 (CVE-2024-10237)"]),
    (
        BIOS,
        |a, b| (a.system.bios_version, b.system.bios_version) = (Some("1.4a".into()), Some("1.4A".into())),
        &[],
    ),
    (
        BIOS,
        |a, b| (a.system.bios_version, b.system.bios_version) = (None, None),
        &["not checked: BIOS firmware: floor 1.4: nobody told the BIOS firmware"],
    ),
    (
        BIOS,
        |a, b| (a.system.bios_version, b.system.bios_version) = (Some("KL.4.010".into()), None),
        &[
            "not checked: BIOS firmware floor 1.4: `KL.4.010`, as the agent writes it, cannot be compared with 1.4",
        ],
    ),
    (
        BIOS,
        // A liar is caught by the other's word.
        |a, _| a.system.bios_version = Some("9.9".into()),
        &["blocking: BIOS 1.2 is below the floor 1.4 (CVE-2024-10237)"],
    ),
    (BMC, |_, _| {}, &["warning: BMC 01.02.16 is on the deny list"]),
    (
        NVME,
        |a, _| a.drives.truncate(1),
        &[
            "warning: drive SAMSUNG MZQL23T8HCLS-00A07 S6CKNN0W50 GDC5602Q is not among those allowed, GDC5902Q",
        ],
    ),
    (
        NVME,
        |a, _| {
            a.drives.truncate(1);
            a.drives[0].firmware = None;
        },
        &[
            "not checked: drive SAMSUNG MZQL23T8HCLS-00A07 S6CKNN0W50 firmware: one of GDC5902Q: the part is there, the agent did not tell its version",
        ],
    ),
    (NVME, |a, _| a.drives.iter_mut().for_each(|drive| drive.model = Some("KIOXIA".into())), &[]),
    (CPLD, |_, _| {}, &["not checked: CPLD firmware: floor F5: nobody told the CPLD firmware"]),
    (
        SETTING,
        |_, b| drop(b.bios_settings.insert("CSMSupport_0121".into(), "Enabled".into())),
        &["blocking: BIOS setting legacy boot (CSMSupport_0121) is Enabled, the baseline wants Disabled"],
    ),
    (
        SETTING,
        |_, b| b.bios_settings.clear(),
        &["not checked: BIOS setting legacy boot: nobody told the BIOS settings"],
    ),
    (
        MICROCODE,
        |a, _| {
            a.cpus.truncate(2);
            a.cpus[1].stepping = None;
        },
        &[
            "blocking: CPU 0 microcode 0x2b0004b1 is below Sapphire Rapids's floor 0x2b0004d0 (CVE-2023-23583)",
            "not checked: CPU 1 microcode: nobody told the processor's family, model and stepping",
        ],
    ),
    (
        SECURE,
        |a, b| (a.system.secure_boot, b.system.secure_boot) = (None, None),
        &["not checked: Secure Boot: nobody told whether it is on"],
    ),
];

#[test]
fn differences_from_a_baseline_in_words() {
    for (rules, change, expected) in FROM_BASELINE {
        let report = against_baseline(rules, change);
        assert_eq!(said(&report), expected, "{report:#?}");
    }
}

#[test]
fn amd_microcode_says_which_processor_it_is_for() {
    let library = Library::built_in().unwrap();
    let amd = |revision: &str| {
        let mut agent = machines::agent();
        agent.cpus.truncate(1);
        agent.cpus[0].model = Some("AMD EPYC 7763 64-Core Processor".into());
        (agent.cpus[0].family, agent.cpus[0].microcode) = (None, Some(revision.into()));
        said(&check_baseline(&Machine::of(Some(&agent), None), library.baseline("microcode").unwrap()))
    };
    assert_eq!(amd("0x0a0011d5").len(), 1);
    assert!(amd("0x0a0011d5")[0].contains("below Milan's floor 0x0a0011db"));
    assert_eq!(amd("0xa0011de"), Vec::<String>::new());
    assert!(amd("0x0b002150")[0].starts_with("not checked"));
}

#[test]
fn a_plan_goes_from_settings_to_hands_and_erases_nothing() {
    let setting = "[[setting]]\nname = \"legacy boot\"\nseverity = \"blocking\"\nattributes = [{ attribute = \"CSMSupport*\", values = [\"Off\"] }]\n[[firmware]]\ncomponent = \"bios\"\nscheme = \"supermicro\"\nfloor = \"1.4\"\nseverity = \"blocking\"\n[[firmware]]\ncomponent = \"bmc\"\nscheme = \"dotted\"\nfloor = \"2\"\nseverity = \"blocking\"\n";
    let reports =
        [against_blueprint(|agent, _| drop(agent.dimms.pop())), against_baseline(setting, |_, _| {})];
    let steps = remedy(&reports);
    let words: Vec<_> = steps.iter().map(|step| step.what.as_str()).collect();
    assert_eq!(
        words,
        [
            "set the BIOS settings and restart",
            "update the firmware of BMC",
            "update the firmware of BIOS",
            "look at P2-DIMMD1 by hand"
        ]
    );
    assert!(steps.iter().all(|step| !step.because.is_empty()));
    assert_eq!(remedy(&[]), []);
}

#[test]
fn a_report_is_kept_as_json_and_read_again() {
    let report = against_blueprint(|agent, _| drop(agent.dimms.pop()));
    assert_eq!(report.blocking().count(), 1);
    assert_eq!(report.findings[0].severity, Severity::Blocking);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["findings"][0]["fix"], "part");
    assert_eq!(json["findings"][0]["expected"], "64 GiB");
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
}

//! Tables: a view with one thing changed, and what the doctor says of it.

use appliance_model::{
    Serial,
    inventory::{Inventory, Nic, System, Tpm},
};

use super::*;
use crate::view::{Account, Accounts, Finding, Gate, MediaSlot, NetworkService, SecureBoot};

/// A machine without anything to remark.
fn sound() -> BmcView {
    let serial = Serial::parse("S1");
    let inventory = Inventory {
        system: System { serial, product: Some("M1".into()), ..System::default() },
        nics: vec![Nic::default()],
        tpm: Some(Tpm::default()),
        ..Inventory::default()
    };
    let mut view = BmcView::bare(inventory);
    view.boot_targets = ["None", "Pxe", "UefiHttp", "Cd"].map(str::to_owned).to_vec();
    view.http_boot_uri = true;
    view.reset_types = ["On", "ForceOff"].map(str::to_owned).to_vec();
    view.power = PowerState::Off;
    view.boot.mode = Some("UEFI".into());
    view.media = vec![slot(true)];
    view.services = vec![NetworkService { name: "IPMI".into(), enabled: true, port: Some(623) }];
    view.secure_boot = Some(SecureBoot {
        mode: Some("UserMode".into()),
        current: Some(false),
        databases: Some(vec!["db".into()]),
        ..SecureBoot::default()
    });
    view.update.simple = Some("/x".into());
    view.accounts = Some(Accounts { lockout_attempts: Some(5), ..Accounts::default() });
    view
}

fn slot(insert: bool) -> MediaSlot {
    MediaSlot {
        url: "/m".into(),
        kinds: vec!["CD".into()],
        inserted: None,
        image: None,
        insert,
        eject: true,
        of_system: false,
    }
}

fn chances(view: &BmcView) -> Vec<Chance> {
    examine(view).ladder.into_iter().map(|rung| rung.chance).collect()
}

type Change = fn(&mut BmcView);

#[test]
fn a_sound_machine_is_ready_on_every_rung() {
    let diagnosis = examine(&sound());
    assert!(diagnosis.ready);
    assert!(diagnosis.ladder.iter().all(|rung| rung.chance == Chance::Yes), "{:?}", diagnosis.ladder);
    let worse: Vec<_> = diagnosis.remarks.iter().filter(|remark| remark.level > Level::Note).collect();
    assert!(worse.is_empty(), "{worse:?}");
    assert!(diagnosis.to_string().contains("This machine can be provisioned."), "{diagnosis}");
}

#[test]
fn table_of_rungs() {
    use Chance::{No, Perhaps, Yes};
    let rows: [(&str, Change, [Chance; 5]); 12] = [
        ("no address", |v| v.http_boot_uri = false, [No, Yes, Yes, Yes, Yes]),
        ("targets not told", |v| v.boot_targets.clear(), [Perhaps, Perhaps, Perhaps, Yes, Yes]),
        ("no HTTP target", |v| v.boot_targets.retain(|t| t != "UefiHttp"), [No, No, Yes, Yes, Yes]),
        (
            "HTTP in the boot order",
            |v| {
                v.boot_targets.retain(|t| t != "UefiHttp");
                v.boot.options = vec![crate::view::BootOption {
                    name: Some("UEFI HTTP IPv4".into()),
                    ..Default::default()
                }];
            },
            [No, Perhaps, Yes, Yes, Yes],
        ),
        (
            "a setting keeps HTTP off",
            |v| {
                v.switches.push(Switch::HttpBootNeedsBiosSetting("IPv4HTTPSupport"));
                v.bios.insert("IPv4HTTPSupport_00A1".into(), "Disabled".into());
            },
            [Yes, Perhaps, Yes, Yes, Yes],
        ),
        (
            "the setting is on",
            |v| {
                v.switches.push(Switch::HttpBootNeedsBiosSetting("IPv4HTTPSupport"));
                v.bios.insert("IPv4HTTPSupport_00A1".into(), "Enabled".into());
            },
            [Yes, Yes, Yes, Yes, Yes],
        ),
        (
            "plain HTTP refused",
            |v| {
                v.switches.push(Switch::HttpBootNeedsTlsModeOff("HttpDev{}TlsMode"));
                v.bios.insert("HttpDev1TlsMode".into(), "OneWay".into());
            },
            [Yes, Perhaps, Yes, Yes, Yes],
        ),
        ("no drive", |v| v.media.clear(), [Yes, Yes, Yes, No, Yes]),
        ("drives without action", |v| v.media = vec![slot(false)], [Yes, Yes, Yes, Perhaps, Yes]),
        (
            "filled by PATCH",
            |v| {
                v.media = vec![slot(false)];
                v.switches.push(Switch::InsertByPatch);
            },
            [Yes, Yes, Yes, Yes, Yes],
        ),
        ("media not reliable", |v| v.switches.push(Switch::NoGenericMedia), [Yes, Yes, Yes, No, Yes]),
        ("IPMI off", |v| v.services[0].enabled = false, [Yes, Yes, Yes, Yes, No]),
    ];
    for (name, change, expected) in rows {
        let mut view = sound();
        change(&mut view);
        assert_eq!(chances(&view), expected, "{name}");
    }
}

fn remarks_of_boot() -> Vec<(Change, Level, &'static str)> {
    use Level::{Blocker, Good, Note, Trap};
    vec![
        (|v| v.inventory.system.serial = None, Blocker, "no system serial"),
        (|v| v.reset_types = vec!["Nmi".into()], Blocker, "only be switched so: Nmi"),
        (
            |v| {
                v.boot_targets = vec!["Hdd".into()];
                v.media.clear();
                v.services.clear();
                v.http_boot_uri = false;
                v.services.push(NetworkService { name: "IPMI".into(), enabled: false, port: None });
            },
            Blocker,
            "no way to make this machine boot",
        ),
        (
            |v| {
                v.boot.target = Some("Hdd".into());
                v.boot.enabled = Some("Continuous".into());
            },
            Trap,
            "for every boot: Hdd",
        ),
        (|v| v.boot.mode = Some("Legacy".into()), Trap, "legacy mode"),
        (|v| v.secure_boot = None, Trap, "cannot be read or set"),
        (|v| v.secure_boot.as_mut().unwrap().databases = None, Trap, "no key databases"),
        (|v| v.secure_boot.as_mut().unwrap().databases = Some(vec![]), Note, "empty or hidden"),
        (
            |v| v.secure_boot.as_mut().unwrap().mode = Some("SetupMode".into()),
            Good,
            "our keys can be enrolled",
        ),
    ]
}

fn remarks_of_the_rest() -> Vec<(Change, Level, &'static str)> {
    use Level::{Good, Note, Trap};
    vec![
        (|v| v.inventory.tpm = None, Note, "tells nothing of a TPM"),
        (
            |v| {
                v.bios.insert("TpmSecurity".into(), "Off".into());
            },
            Trap,
            "TpmSecurity is Off",
        ),
        (
            |v| {
                v.inventory.tpm = None;
                v.bios.insert("TPM2Algorithm".into(), "SHA256".into());
            },
            Note,
            "TPM2Algorithm = SHA256",
        ),
        (
            |v| v.gates.push(gate(Some(false))),
            Trap,
            "need the licence SFT-OOB-LIC or SFT-DCMS-SINGLE, which is not there",
        ),
        (|v| v.gates.push(gate(Some(true))), Good, "the licence is there"),
        (|v| v.gates.push(gate(None)), Note, "does not say whether it has one"),
        (
            |v| {
                v.accounts.as_mut().unwrap().accounts =
                    vec![Account { user: "ADMIN".into(), ..Account::default() }]
            },
            Note,
            "usual name are open: ADMIN",
        ),
        (
            |v| v.findings.push(Finding { severity: Severity::Error, url: "/u".into(), what: "gone".into() }),
            Trap,
            "/u: gone",
        ),
        (|v| v.switches.push(Switch::OnceMayBeIgnored), Note, "only the booted agent counts"),
    ]
}

#[test]
fn table_of_remarks() {
    for (change, level, text) in remarks_of_boot().into_iter().chain(remarks_of_the_rest()) {
        let mut view = sound();
        change(&mut view);
        let diagnosis = examine(&view);
        let found = diagnosis.remarks.iter().find(|remark| remark.what.contains(text));
        assert_eq!(found.map(|remark| remark.level), Some(level), "{text}: {diagnosis}");
        assert_eq!(diagnosis.ready, level != Level::Blocker, "{text}");
        assert!(diagnosis.to_string().contains(text), "{diagnosis}");
    }
}

fn gate(open: Option<bool>) -> Gate {
    let needs = ["SFT-OOB-LIC", "SFT-DCMS-SINGLE"].map(str::to_owned).to_vec();
    Gate { what: "updates".into(), needs, open }
}

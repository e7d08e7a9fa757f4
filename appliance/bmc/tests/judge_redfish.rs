//! The client against captured trees of real controllers, served over HTTPS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::path::PathBuf;

use appliance_bmc::{BmcError, BmcView, SensorKind, Severity};
use appliance_model::inventory::Bus;
use support::{Served, tree, unpack};

async fn view(name: &str) -> Result<BmcView, BmcError> {
    let dir = tempfile::tempdir().unwrap();
    read(name, unpack(name, dir.path())).await
}

async fn read(name: &str, root: PathBuf) -> Result<BmcView, BmcError> {
    let served = Served::start(0, tree(root)).await;
    let bmc = served.client(None);
    let view = bmc.inventory().await;
    bmc.log_out().await;
    if let Ok(view) = &view {
        let inventory = &view.inventory;
        println!("{name}: {:#?}", inventory.system);
        println!(
            "{} processors, {} modules, {} drives, {} ports; boots {:?}, resets {:?}",
            inventory.cpus.len(),
            inventory.dimms.len(),
            inventory.drives.len(),
            inventory.nics.len(),
            view.boot_targets,
            view.reset_types
        );
        for finding in &view.findings {
            println!("{:?} {}: {}", finding.severity, finding.url, finding.what);
        }
        println!("{name}: {} {:?} {:?}", view.system, view.service, view.manager);
        println!("  secure boot {:?}", view.secure_boot);
        println!("  boot {:?}", view.boot);
        println!(
            "  {} media, {} BIOS settings at {:?}",
            view.media.len(),
            view.bios.len(),
            view.bios_settings
        );
        println!(
            "  {} sensors, {} supplies, {} chassis, {} PCIe devices, {} GPUs, {} firmware, {} log entries",
            view.sensors.len(),
            view.power_supplies.len(),
            view.chassis.len(),
            view.pcie.len(),
            view.inventory.gpus.len(),
            view.firmware.len(),
            view.logs.len()
        );
        println!("  licences {:?}, gates {:?}", view.licences, view.gates);
        println!("  services {:?}", view.services.iter().map(|s| (&s.name, s.enabled)).collect::<Vec<_>>());
        println!("  accounts {:?}", view.accounts);
        println!("  events {:?} update {:?}", view.events, view.update);
        println!("  quirks {:?}", view.quirks.iter().map(|quirk| quirk.id).collect::<Vec<_>>());
        println!("{} requests", served.asked.lock().unwrap().len());
    }
    view
}

fn complete(view: &BmcView) {
    let inventory = &view.inventory;
    assert!(inventory.system.serial.is_some());
    assert!(
        !inventory.cpus.is_empty() && inventory.cpus.iter().all(|cpu| cpu.cores > 0),
        "{:?}",
        inventory.cpus
    );
    assert!(!inventory.dimms.is_empty());
    assert!(inventory.nics.iter().all(|nic| nic.mac.is_some()) && !inventory.nics.is_empty());
    let fatal: Vec<_> = view.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(fatal.is_empty(), "{fatal:#?}");
    assert!(!view.reset_types.is_empty() && !view.boot_targets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "reads the fixtures: cargo xtask judge"]
async fn judge_supermicro_sys_821ge() {
    let view = view("supermicro").await.unwrap();
    complete(&view);
    let inventory = &view.inventory;
    assert_eq!(view.system, "/redfish/v1/Systems/1");
    assert_eq!(inventory.system.serial.as_ref().unwrap().as_str(), "S889914X3710910");
    assert_eq!(inventory.system.bmc_version.as_deref(), Some("11.01.01"));
    assert_eq!((inventory.cpus.len(), inventory.dimms.len()), (2, 32));
    assert_eq!(inventory.dimms.iter().map(|dimm| dimm.bytes >> 30).sum::<u64>(), 2048);
    assert!(inventory.drives.len() >= 8 && inventory.drives.iter().all(|drive| drive.serial.is_some()));
    assert!(inventory.drives.iter().any(|drive| drive.bus == Bus::Nvme));
    assert!(view.boot_targets.iter().any(|target| target == "UefiHttp"));
    assert_eq!((view.boot.order.len(), view.boot.options.len(), view.media.len()), (12, 12, 3));
    assert!(view.media.iter().all(|slot| slot.insert), "{:?}", view.media);
    assert!(!view.http_boot_uri && view.bios.len() > 100, "{}", view.bios.len());
    let secure = view.secure_boot.as_ref().unwrap();
    assert_eq!((secure.mode.as_deref(), secure.databases.as_deref()), (Some("SetupMode"), Some(&[][..])));
    assert_eq!(view.licences.as_ref().unwrap()[0].name, "SFT-DCMS-SINGLE");
    assert_eq!(view.gates[0].open, Some(true));
    assert_eq!((view.power_supplies.len(), inventory.gpus.len(), view.pcie.len()), (8, 8, 26));
    assert!(
        inventory.gpus.iter().all(|gpu| gpu.serial.is_some() && gpu.model.contains("H100")),
        "{:?}",
        inventory.gpus
    );
    assert!(view.firmware.iter().any(|item| item.component == "HGX_FW_GPU_SXM_1" && item.version.is_some()));
    let inlet = view.sensors.iter().find(|sensor| sensor.name == "Inlet Temp").unwrap();
    assert_eq!((inlet.kind, inlet.value_milli), (SensorKind::Temperature, Some(21_000)));
    assert!(
        view.logs.len() > 100 && view.logs.iter().any(|entry| entry.severity.as_deref() == Some("Warning"))
    );
    assert!(view.services.iter().any(|service| service.name == "IPMI" && service.enabled));
    assert_eq!(view.accounts.as_ref().unwrap().lockout_attempts, Some(3));
    assert!(view.quirks.iter().any(|quirk| quirk.id == "supermicro-virtual-cd-is-usbcd"));
    assert!(view.bodies.len() > 200);
    assert!(view.reset_types.iter().any(|kind| kind == "PowerCycle"), "from ActionInfo");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "reads the fixtures: cargo xtask judge"]
async fn judge_hpe_dl385() {
    let view = view("hpe").await.unwrap();
    complete(&view);
    let inventory = &view.inventory;
    assert_eq!(inventory.system.serial.as_ref().unwrap().as_str(), "MXQ302099S");
    assert_eq!((inventory.cpus.len(), inventory.cpus[0].cores, inventory.dimms.len()), (2, 64, 16));
    assert_eq!(inventory.drives.len(), 18);
    assert_eq!(view.licences.as_ref().unwrap()[0].name, "iLO Advanced");
    assert_eq!(view.update.push.as_deref(), Some("/cgi-bin/uploadFile"));
    assert_eq!((view.media.len(), view.secure_boot.as_ref().unwrap().databases.as_ref()), (2, None));
    assert!(view.bios_settings.as_deref().unwrap().ends_with("/bios/settings/"), "spelt as it is told");
    assert!(view.services.iter().any(|service| service.name == "IPMI" && !service.enabled));
    assert!(view.power_supplies.len() == 2 && view.firmware.len() > 40 && !view.logs.is_empty());
    assert!(!view.reset_types.iter().any(|kind| kind == "PowerCycle"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "reads the fixtures: cargo xtask judge"]
async fn judge_dmtf_rackmount() {
    let view = view("dmtf-public-rackmount1").await.unwrap();
    complete(&view);
    assert_eq!(view.inventory.system.asset_tag.as_deref(), Some("Portland-45Z-2381"), "the chassis' tag");
    assert!(!view.inventory.drives.is_empty(), "the simple list");
    assert!(view.findings.iter().any(|finding| finding.what.contains("simple list")));
}

/// The archive may be cut before its service root: then the client has to say what it could not read.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "reads the fixtures: cargo xtask judge"]
async fn judge_dell_r750() {
    let dir = tempfile::tempdir().unwrap();
    let whole = unpack("dell", dir.path()).join("redfish/v1/index.json").is_file();
    match view("dell").await {
        Ok(view) => {
            complete(&view);
            assert!(!view.inventory.drives.is_empty());
        }
        Err(error) => {
            assert!(!whole, "{error}");
            assert!(matches!(error, BmcError::Refused { status: 404, .. }), "{error}");
        }
    }
}

/// Every folder in `SCALERFORGE_TREES` is one more tree (`NAME/redfish/v1/index.json`), of whatever maker.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "reads trees: cargo xtask judge"]
async fn judge_trees_that_are_given() {
    let Some(given) = std::env::var_os("SCALERFORGE_TREES") else { return };
    let mut worst = Vec::new();
    for entry in std::fs::read_dir(given).unwrap() {
        let root = entry.unwrap().path();
        if !root.join("redfish/v1/index.json").is_file() {
            continue;
        }
        let name = root.file_name().unwrap().display().to_string();
        match read(&name, root).await {
            Ok(view) => {
                let errors = view.findings.iter().filter(|finding| finding.severity == Severity::Error);
                worst.extend(errors.map(|finding| format!("{name}: {} {}", finding.url, finding.what)));
                if view.inventory.system.serial.is_none() {
                    worst.push(format!("{name}: no serial"));
                }
            }
            Err(error) => worst.push(format!("{name}: {error}")),
        }
    }
    assert!(worst.is_empty(), "{worst:#?}");
}

/// What the doctor says of each captured machine, rung by rung and by the words that matter.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "reads the fixtures: cargo xtask judge"]
async fn judge_doctor_of_real_trees() {
    use appliance_bmc::doctor::{Chance, examine};
    let yes = [Chance::No, Chance::Yes, Chance::Yes, Chance::Yes];
    // The HTTP device of this one demands HTTPS, no HTTP entry stands in the boot order.
    let http_setting = [Chance::No, Chance::Perhaps, Chance::Yes, Chance::Yes];
    let rows: [(&str, [Chance; 4], &[&str]); 2] = [
        (
            "supermicro",
            http_setting,
            &["the licence is there", "our keys can be enrolled", "SYS-821GE-TNHR", "UsbCd"],
        ),
        ("hpe", yes, &["no key databases", "a TPM 2.0 is there", "IPMI over the network is off"]),
    ];
    for (name, rungs, words) in rows {
        let diagnosis = examine(&view(name).await.unwrap());
        println!("{name}: {diagnosis}");
        let chances: Vec<Chance> = diagnosis.ladder.iter().take(4).map(|rung| rung.chance).collect();
        assert_eq!(chances, rungs, "{name}: {diagnosis}");
        for word in words {
            assert!(diagnosis.to_string().contains(word), "{name}: {word} in {diagnosis}");
        }
        assert!(diagnosis.ready && !diagnosis.to_string().contains("show no TPM"), "{name}: {diagnosis}");
    }
}

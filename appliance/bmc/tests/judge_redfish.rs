//! The client against captured trees of real controllers, served over HTTPS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use appliance_bmc::{BmcError, BmcView, Severity};
use appliance_model::inventory::Bus;
use support::{Served, tree};

fn archives() -> PathBuf {
    let told = std::env::var_os("SCALERFORGE_FIXTURES").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    told.unwrap_or_else(beside).join("redfish")
}

/// Unpacks an archive; gives the folder that holds the tree.
fn unpack(name: &str, into: &Path) -> PathBuf {
    let archive = archives().join(format!("{name}.tar.gz"));
    assert!(archive.is_file(), "{} is missing; set SCALERFORGE_FIXTURES", archive.display());
    // A cut archive still gives what it has; the tests say what they need of it.
    let _ = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(into).output().unwrap();
    std::fs::read_dir(into).unwrap().next().unwrap().unwrap().path()
}

async fn view(name: &str) -> Result<BmcView, BmcError> {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(0, tree(unpack(name, dir.path()))).await;
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

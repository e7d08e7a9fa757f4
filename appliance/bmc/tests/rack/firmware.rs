//! Secure Boot keys, BIOS settings and firmware.

use std::{collections::BTreeMap, time::Duration};

use appliance_bmc::{Allowed, BmcError, Database, Image, KeyState, Outcome, Planned, ResetKeys, UpdateWay};
use hil_tests_rack::BmcAction;
use serde_json::{Value, json};

use crate::bench::{Bench, SYSTEM, serve};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_enrolled_once() {
    for maker in ["hpe", "ami"] {
        let bench = Bench::start(maker).await;
        let (bmc, allowed) = (bench.client(), Allowed::secure_boot_keys(bench.serial()));
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["db".into()]).unwrap().self_signed(&key).unwrap();
        let before = bmc.secure_boot_keys().await.unwrap().database(Database::Db).unwrap().certificates.len();
        let post = format!("POST {SYSTEM}/SecureBoot/SecureBootDatabases/db/Certificates");
        bench.fault(&post, BmcAction::Status(503));
        let busy = bmc.enrol_certificate(&allowed, Database::Db, made.der(), None).await;
        assert!(matches!(busy, Err(BmcError::Refused { status: 503, .. })), "{busy:?}");
        bench.fault(&post, BmcAction::DropAnswer);
        let change = bmc.enrol_certificate(&allowed, Database::Db, made.der(), None).await.unwrap();
        assert_eq!(change.state, KeyState::Shown, "{maker}");
        let again = bmc.enrol_certificate(&allowed, Database::Db, made.der(), None).await.unwrap();
        assert_eq!(again.state, KeyState::AlreadyThere);
        let now = bmc.secure_boot_keys().await.unwrap().database(Database::Db).unwrap().certificates.len();
        assert_eq!((now, bench.done(&post)), (before + 1, 1), "{maker}");
        let delete = format!("DELETE {SYSTEM}/SecureBoot/SecureBootDatabases/db/Certificates");
        bench.fault(&delete, BmcAction::DropAnswer);
        let gone = bmc.delete_key(&allowed, change.url.as_deref().unwrap()).await.unwrap();
        assert_eq!((gone.state, bench.done(&delete)), (KeyState::Shown, 1), "{maker}");
        bench.fault("SecureBoot.ResetKeys", BmcAction::DropAnswer);
        let reset = bmc.reset_keys(&allowed, ResetKeys::DeleteAll, None).await.unwrap();
        assert_eq!((reset.state, bench.done("SecureBoot.ResetKeys")), (KeyState::Shown, 1), "{maker}");
        let enabled = bmc.enable_secure_boot().await.unwrap();
        assert_ne!(enabled.state, KeyState::AtNextStart);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_sent_once() {
    for maker in ["supermicro", "dell", "ami"] {
        let bench = Bench::start(maker).await;
        let (bmc, allowed) = (bench.client(), Allowed::bios_settings(bench.serial()));
        let wanted = BTreeMap::from([("SVMMode".to_owned(), Value::from("Disabled"))]);
        let patch = format!("PATCH {SYSTEM}/Bios");
        bench.fault(&patch, BmcAction::DropAnswer);
        let change = bmc.set_bios(&allowed, &wanted).await.unwrap();
        assert!(change.shown, "{maker}");
        assert!(bmc.set_bios(&allowed, &wanted).await.unwrap().sent.is_empty(), "{maker}");
        assert_eq!(bench.done(&patch), 1, "{maker}");
        let wanted = BTreeMap::from([("SVMMode".to_owned(), Value::from("Enabled"))]);
        bench.fault(&patch, BmcAction::Status(503));
        let busy = bmc.set_bios(&allowed, &wanted).await;
        assert!(matches!(busy, Err(BmcError::Refused { status: 503, .. })), "{maker}: {busy:?}");
        bmc.set_bios(&allowed, &wanted).await.unwrap();
        assert_eq!(bench.done(&patch), 2, "{maker}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firmware_is_sent_once_and_found_after_a_crash() {
    let address = serve("bmc-02.05.00.bin", vec![7; 4096]).await;
    let image = [&b"VERSION=02.06.00\n"[..], &[7; 4096]].concat();
    let component = "/redfish/v1/UpdateService/FirmwareInventory/BMC".to_owned();
    let rows = [
        ("supermicro", Image::Address(&address), "SimpleUpdate", UpdateWay::Simple, "02.05.00"),
        ("ami", Image::Bytes("bmc.bin", &image), "/update-multipart", UpdateWay::Multipart, "02.06.00"),
    ];
    for (maker, image, place, way, version) in rows {
        let bench = Bench::start(maker).await;
        let (bmc, allowed) = (bench.client(), Allowed::firmware(bench.serial()));
        bench.fault(place, BmcAction::Status(503));
        let targets = [component.clone()];
        let planned = bmc.plan_update(&targets).await.unwrap();
        let kept: Planned = serde_json::from_value(json!(planned)).unwrap();
        let busy = bmc.start_planned_update(&allowed, image, &planned).await;
        assert!(matches!(busy, Err(BmcError::Refused { status: 503, .. })), "{busy:?}");
        assert_eq!(bmc.find_update(&kept).await.unwrap(), None);
        bench.fault(place, BmcAction::DropAnswer);
        let started = bmc.start_planned_update(&allowed, image, &planned).await.unwrap();
        assert_eq!((started.way, bench.done(place)), (way, 1), "{maker}");
        // We died before this was written down: another run of ours finds it and goes on.
        let later = bench.client();
        let found = later.find_update(&kept).await.unwrap().unwrap();
        assert_eq!(found.task, started.task);
        let finished = later.finish_update(&found, Duration::from_secs(20)).await.unwrap();
        assert_eq!((finished.task.outcome, finished.updated[0].now.as_str()), (Outcome::Done, version));
        assert_eq!(bench.done(place), 1, "{maker}");
    }
}

//! The simulated BMC before its judges: DMTF's service validator, the interop validator with Ironic's profile, sushy,
//! DMTF's `rf_*` utilities.  Programs come from `cargo xtask prepare`; a missing one is a failure.

#![expect(clippy::unwrap_used, reason = "functions of a test: a panic is the failure message")]

mod judges;
#[path = "judges/python.rs"]
mod python;

use std::path::Path;

use judges::{PASSWORD, config, must, run, start};
use python::{folder, image, program, totals};

/// All schemas in one folder: DMTF's, then SNIA's where DMTF has none.
fn schemas(into: &Path) {
    let dmtf = nv_redfish_schema::REDFISH_CSDL_DIR;
    let snia = nv_redfish_schema::SWORDFISH_CSDL_DIR;
    for folder in [snia, dmtf] {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
        for file in entries.flatten() {
            std::fs::copy(file.path(), into.join(file.file_name())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_validator_finds_no_failure() {
    let (schema, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    schemas(schema.path());
    let (_fleet, bmc) = start(&config()).await;
    let mut command = program("rf_service_validator");
    command.args(["-u", "admin", "-p", PASSWORD, "-r", &bmc.url, "--skipschema", "--nooemcheck"]);
    command.arg("--schema_directory").arg(schema.path()).arg("--logdir").arg(logs.path());
    let (_, text) = run(command).await;
    let [passed, warned, failed, _] = totals(&text);
    println!("service validator: {passed} passed, {warned} warned, {failed} failed");
    assert_eq!(failed, 0, "{text}");
    assert!(passed > 2500, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interop_validator_finds_what_ironic_needs() {
    let logs = tempfile::tempdir().unwrap();
    let (_fleet, bmc) = start(&config()).await;
    let mut command = program("rf_interop_validator");
    command.args(["-u", "admin", "-p", PASSWORD, "-r", &bmc.url, "--logdir"]).arg(logs.path());
    command.arg(folder().join("OpenStackIronicProfile.v1_2_0.json"));
    let (_, text) = run(command).await;
    let [passed, warned, failed, _] = totals(&text);
    println!("interop validator, Ironic 1.2.0: {passed} passed, {warned} warned, {failed} failed");
    assert_eq!(failed, 0, "{text}");
    assert!(passed > 150, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sushy_drives_it() {
    let scratch = tempfile::tempdir().unwrap();
    let password = scratch.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let (_fleet, bmc) = start(&config()).await;
    let image = image("bmc-02.00.00.bin", vec![7; 100_000]).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/drive_with_sushy.py");
    let mut command = program("python");
    command.args(["-W", "ignore"]).arg(script).args([&bmc.url, "admin"]).arg(&password).arg(&image);
    let text = must(command).await;
    println!("sushy: {}", text.lines().last().unwrap());
    assert!(text.contains(" steps passed, 0 failed"), "{text}");
}

/// Program and arguments; `IMAGE`, `FILE` and `CERT` stand for what the test makes.
const UTILITIES: &[&str] = &[
    "rf_power_reset.py -t On",
    "rf_power_reset.py -i",
    "rf_boot_override.py -t Pxe",
    "rf_boot_override.py -i",
    "rf_power_reset.py -t ForceRestart",
    "rf_virtual_media.py info",
    "rf_virtual_media.py insert --image IMAGE --id Cd",
    "rf_virtual_media.py eject --id Cd",
    "rf_bios_settings.py -a SVMMode Disabled",
    "rf_bios_settings.py -reset",
    "rf_accounts.py",
    "rf_accounts.py -add carol carolspass12 Operator",
    "rf_accounts.py -setpassword carol carolsnewpass",
    "rf_accounts.py -setrole carol ReadOnly",
    "rf_accounts.py -delete carol",
    "rf_certificates.py info",
    "rf_certificates.py install --dest /redfish/v1/Systems/1/SecureBoot/SecureBootDatabases/db/Certificates --cert CERT",
    "rf_event_service.py info",
    "rf_event_service.py subscribe -dest https://127.0.0.1:9/events",
    "rf_event_service.py unsubscribe --id sub1",
    "rf_firmware_inventory.py",
    "rf_update.py -i FILE",
    "rf_logs.py",
    "rf_sel.py",
    "rf_logs.py -clear",
    "rf_sensor_list.py",
    "rf_sys_inventory.py",
    "rf_manager_config.py info",
    "rf_manager_config.py getprotocol",
    "rf_manager_config.py setprotocol -prot SSH -en",
    "rf_manager_config.py getnet",
    "rf_raw_request.py --request /redfish/v1/Systems/1",
    "rf_power_reset.py -t ForceOff",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_utilities_drive_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (certificate, firmware) = (scratch.path().join("db.pem"), scratch.path().join("bmc-03.00.00.bin"));
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["lab".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(&certificate, made.pem()).unwrap();
    std::fs::write(&firmware, "VERSION=03.00.00\n".repeat(1000)).unwrap();
    let image = image("bmc-02.00.00.iso", vec![7; 100_000]).await;
    let (_fleet, bmc) = start(&config()).await;
    for line in UTILITIES {
        let line = line
            .replace("IMAGE", &image)
            .replace("CERT", &certificate.display().to_string())
            .replace("FILE", &firmware.display().to_string());
        let mut words = line.split(' ');
        let mut command = program(words.next().unwrap());
        command.args(["-u", "admin", "-p", PASSWORD, "-r", &bmc.url]).args(words).current_dir(scratch.path());
        must(command).await;
    }
    println!("rf_* utilities: {} calls passed, 0 failed", UTILITIES.len());
}

//! A medium that a BMC was given boots a machine, and Secure Boot keys reach the firmware: for real, with QEMU.
//!
//! Needs root (or `unshare -rn`), QEMU, swtpm and Debian's OVMF; fails, not skips, when one is missing.

#![expect(clippy::unwrap_used, reason = "functions of a test: a panic is the failure message")]

mod bench;

use std::time::Duration;

use hil_tests_rack::{HostSpec, Rack, RackConfig, netns};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SYSTEM: &str = "/redfish/v1/Systems/1";

/// Wide, since eight emulators may share two cores; a quiet machine needs 5 s.
const FIRMWARE_SECONDS_MAX: u64 = 180;

#[test]
fn a_virtual_medium_is_a_drive_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let config = RackConfig {
        dir: folder.path().to_owned(),
        hosts: vec![HostSpec::lab(0)],
        ovmf_code: bench::firmware("OVMF_CODE_4M.fd"),
        ovmf_code_secure_boot: bench::firmware("OVMF_CODE_4M.secboot.fd"),
        ovmf_vars: bench::firmware("OVMF_VARS_4M.fd"),
    };
    netns::block_on_private(move || walk(config)).unwrap();
}

async fn walk(config: RackConfig) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let variables = config.dir.join("host-0/vars.fd");
    let rack = Rack::start(config).await.unwrap();
    let host = rack.host(0);
    let client = Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
    let send = async |method: Method, path: &str, body: Value| {
        let request = client.request(method, format!("{}{path}", host.bmc_url())).json(&body);
        let response = request.basic_auth(host.bmc_user(), Some(host.bmc_password())).send().await.unwrap();
        response.error_for_status().unwrap()
    };

    // A key is put into the databases: the firmware's variables have it from the next start on.
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["lab".to_owned()]).unwrap().self_signed(&key).unwrap();
    for database in ["PK", "KEK", "db"] {
        let path = format!("{SYSTEM}/SecureBoot/SecureBootDatabases/{database}/Certificates");
        let body = json!({ "CertificateString": made.pem(), "CertificateType": "PEM" });
        send(Method::POST, &path, body).await;
    }
    send(Method::PATCH, &format!("{SYSTEM}/SecureBoot"), json!({ "SecureBootEnable": true })).await;

    let image = serve(b"VIRTUAL MEDIUM").await;
    let slot = format!("{SYSTEM}/VirtualMedia/Cd");
    send(Method::POST, &format!("{slot}/Actions/VirtualMedia.InsertMedia"), json!({ "Image": image })).await;
    let boot = json!({ "Boot": { "BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once" } });
    send(Method::PATCH, SYSTEM, boot).await;
    send(Method::POST, &format!("{SYSTEM}/Actions/ComputerSystem.Reset"), json!({ "ResetType": "On" })).await;
    let limit = Duration::from_secs(FIRMWARE_SECONDS_MAX);
    // The medium holds no system: what counts is that the firmware tries it (OVMF calls every USB drive that).
    let line = host.wait_console("USB HARDDRIVE", limit).await.unwrap();
    println!("virtual CD tried at {} ms: {}", line.at.as_millis(), line.text);
    let blocks = host.qmp("query-named-block-nodes", json!({})).await.unwrap();
    let node = blocks.as_array().unwrap().iter().find(|node| node["node-name"] == "scd").unwrap();
    assert_eq!(node["ro"], true);
    let read = std::fs::read(host.folder().join("media-scd.img")).unwrap();
    assert!(read.starts_with(b"VIRTUAL MEDIUM"));
    send(Method::POST, &format!("{slot}/Actions/VirtualMedia.EjectMedia"), json!({})).await;

    let stored = std::fs::read(variables).unwrap();
    let count = stored.windows(made.der().len()).filter(|window| *window == made.der().as_ref()).count();
    assert_eq!(count, 3, "PK, KEK and db");
    rack.stop().await;
}

/// Serves a medium of 2 MiB that begins with `head`.
async fn serve(head: &[u8]) -> String {
    let mut bytes = head.to_vec();
    bytes.resize(2 << 20, 0);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&bytes).await;
        }
    });
    format!("http://{address}/medium.iso")
}

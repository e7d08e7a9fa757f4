//! One virtual server, for real: power on, firmware speaks, the plug is pulled, the BMC says so.
//!
//! Needs root (or `unshare -rn`), QEMU, swtpm and Debian's OVMF; fails, not skips, when one is missing.

#![expect(clippy::unwrap_used, reason = "functions of a test: a panic is the failure message")]

mod bench;

use std::time::Duration;

use hil_tests_rack::{Host, HostSpec, Rack, RackConfig, netns};
use reqwest::{Client, Method};
use serde_json::{Value, json};

const SYSTEM: &str = "/redfish/v1/Systems/1";

/// Wide, since eight emulators may share two cores; a quiet machine needs 3 s.
const FIRMWARE_SECONDS_MAX: u64 = 180;

#[test]
fn power_on_and_power_cut() {
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
    let rack = Rack::start(config).await.unwrap();
    let host = rack.host(0);
    let bmc = Bmc::of(host);
    assert_eq!(bmc.system().await["PowerState"], "Off");
    bmc.send(Method::PATCH, SYSTEM, boot_override("UefiHttp", "Once")).await;
    bmc.reset("On").await;
    let system = bmc.system().await;
    assert_eq!(system["PowerState"], "On");
    assert_eq!(system["Boot"]["BootSourceOverrideTarget"], "None", "the one-time override is used up");
    let limit = Duration::from_secs(FIRMWARE_SECONDS_MAX);
    // The LAN is empty: the firmware must try the network, and that first.
    let line = host.wait_console("HTTP", limit).await.unwrap();
    let network_ms = line.at.as_millis();
    println!("network boot tried at {network_ms} ms: {}", line.text);
    assert!(host.first_line_matching("NVME0001A").is_none(), "{}", host.console().tail(20));
    let status = host.qmp("query-status", json!({})).await.unwrap();
    assert_eq!(status["status"], "running");

    // The same thing boots again: a real reset of the same QEMU, seen as a second attempt on the same console.
    bmc.send(Method::PATCH, SYSTEM, boot_override("UefiHttp", "Continuous")).await;
    bmc.reset("ForceRestart").await;
    let tried = |text: &str| text.matches(">>Start HTTP").count();
    tokio::time::timeout(limit, async {
        while tried(&host.console().tail(100)) < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();

    // Something else boots after this reset, so the console starts anew.
    bmc.send(Method::PATCH, SYSTEM, boot_override("None", "Disabled")).await;
    bmc.reset("ForceRestart").await;
    let line = host.wait_console("NVME0001A", limit).await.unwrap();
    println!("drives tried at {} ms: {}", line.at.as_millis(), line.text);
    assert_eq!(tried(&host.console().tail(100)), 0);
    assert!(host.wait_console("No bootable option", limit).await.is_ok());

    host.power_cut().await;
    assert_eq!(bmc.system().await["PowerState"], "Off");
    assert!(rack.ek_roots_pem().unwrap().contains("BEGIN CERTIFICATE"));
    rack.stop().await;
}

fn boot_override(target: &str, enabled: &str) -> Value {
    json!({ "Boot": {
        "BootSourceOverrideTarget": target,
        "BootSourceOverrideEnabled": enabled,
        "BootSourceOverrideMode": "UEFI",
    }})
}

struct Bmc {
    client: Client,
    url: String,
    user: String,
    password: String,
}

impl Bmc {
    fn of(host: &Host) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
        let (user, password) = (host.bmc_user().to_owned(), host.bmc_password().to_owned());
        Self { client, url: host.bmc_url(), user, password }
    }

    async fn system(&self) -> Value {
        let request = self.client.get(format!("{}{SYSTEM}", self.url));
        let response = request.basic_auth(&self.user, Some(&self.password)).send().await.unwrap();
        response.error_for_status().unwrap().json().await.unwrap()
    }

    async fn reset(&self, kind: &str) {
        let path = format!("{SYSTEM}/Actions/ComputerSystem.Reset");
        self.send(Method::POST, &path, json!({ "ResetType": kind })).await;
    }

    async fn send(&self, method: Method, path: &str, body: Value) {
        let request = self.client.request(method, format!("{}{path}", self.url)).json(&body);
        let response = request.basic_auth(&self.user, Some(&self.password)).send().await.unwrap();
        response.error_for_status().unwrap();
    }
}

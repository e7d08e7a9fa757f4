//! What a technician does at the first server's BMC, past the appliance: by Redfish, with a program of somebody else's.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::Lab;

/// Has the server boot from the network once, and switches it on.
///
/// # Errors
/// What the BMC said.
pub async fn boot_from_network(lab: &Lab) -> anyhow::Result<()> {
    boot_once(lab, "UefiHttp").await
}

/// Has the server boot from `target` (Redfish's word) once, and switches it on.
///
/// # Errors
/// What the BMC said.
pub async fn boot_once(lab: &Lab, target: &str) -> anyhow::Result<()> {
    let over = json!({ "Boot": {
        "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target,
    } });
    redfish(lab, "PATCH", "/redfish/v1/Systems/1", over).await?;
    let on = json!({ "ResetType": "On" });
    redfish(lab, "POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", on).await
}

async fn redfish(lab: &Lab, method: &'static str, path: &str, body: Value) -> anyhow::Result<()> {
    let host = lab.rack.host(0);
    // The password goes by standard input: everybody on a machine can read its command lines.
    let login = format!("user = \"{}:{}\"\n", host.bmc_user(), host.bmc_password());
    let mut curl = tokio::process::Command::new("curl")
        .args(["--config", "-", "--silent", "--show-error", "--fail", "--insecure", "--request", method])
        .args(["--header", "content-type: application/json", "--data", &body.to_string()])
        .arg(host.bmc_url() + path)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    curl.stdin.take().context("no standard input")?.write_all(login.as_bytes()).await?;
    let output = curl.wait_with_output().await?;
    ensure!(output.status.success(), "{method} {path}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

//! Units on a host that systemd runs: what its kernel says of them is what its TPM signed, whatever became of the host.

use anyhow::{Context as _, ensure};
use attest_evidence::Evidence;
use hil_tests_scenarios::Lab;
use serde_json::{Value, json};

use crate::{LIMIT, said::cli};

/// The site's wishes: large pages, ports in two classes, parts of drives that have room for two.
pub(crate) const WISHES: &str = "page_kib = 2048\nclasses = 2\npart_gib = 1";
/// Room for two parts of a GiB, and for what LVM keeps in front of them.
pub(crate) const CUT_BYTES: u64 = 2200 << 20;
/// The drive that is cut.
pub(crate) const CUT: &str = "NVME0001B";

/// Waits until the units are as planned, and checks them against the manifest that the newest evidence carries: slices
/// with the cores that are theirs alone and their memory, large pages, traffic classes, volumes in the places and with
/// the identities that follow from drive and unit.  The manifest, as it was signed.
pub(crate) async fn are_real(lab: &Lab, id: &str, evidence: &Evidence) -> anyhow::Result<String> {
    let manifest = evidence.attachments.manifest.clone().context("evidence without a manifest")?;
    let manifest = String::from_utf8(manifest)?;
    let signed: Value = serde_json::from_str(&manifest)?;
    let read = read_back(lab, id).await?;
    // Beside what is real, the agent says in words what it tried in vain.
    for what in ["groups", "pages", "drives", "ports", "unit_root"] {
        ensure!(signed["real"][what] == read[what], "{what}: {read}\nwas signed as {}", signed["real"]);
    }
    ensure!(read["gaps"].as_array().is_none_or(Vec::is_empty), "{read}");
    slices(&read)?;
    ensure!(read["pages"][0]["count"].as_u64().is_some_and(|count| count >= 64), "{read}");
    let ports = read["ports"].as_array().context("no ports")?;
    ensure!(
        ports.iter().any(|port| port["classes"]["count"] == 2 && port["classes"]["mbps"] == 333),
        "{read}"
    );
    volumes(&read)?;
    Ok(manifest)
}

/// What the kernel said last; every difference has gone.
async fn read_back(lab: &Lab, id: &str) -> anyhow::Result<Value> {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        let (code, text, err) = cli(lab, &["unit", "real", id, "--json"]).await?;
        let view: Value = serde_json::from_str(&text).unwrap_or_default();
        if code == 0 && view["differences"] == json!([]) && view["real"].is_object() {
            return Ok(view["real"].clone());
        }
        ensure!(tokio::time::Instant::now() < end, "{text}{err}\n{}", lab.scene().await);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

/// One slice for all units, whose core is a partition of its own; below it one for each core and each piece of memory.
fn slices(read: &Value) -> anyhow::Result<()> {
    let groups = read["groups"].as_array().context("no groups")?;
    let path = |group: &Value| group["path"].as_str().unwrap_or_default().to_owned();
    let all = groups.first().context("no group")?;
    ensure!(path(all) == "scalerforge.slice" && all["alone"] == true && all["cpus"] == json!([1]), "{read}");
    ensure!(all["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{read}");
    let of = |kind: &str| {
        let start = format!("scalerforge.slice/scalerforge-{kind}.slice/scalerforge-{kind}-");
        let own = groups.iter().filter(move |group| path(group).starts_with(&start));
        own.cloned().collect::<Vec<_>>()
    };
    let (compute, memory) = (of("compute"), of("memory"));
    ensure!(compute.len() == 1 && compute[0]["cpus"] == json!([1]), "{read}");
    let limited = |group: &Value| group["memory_bytes"].is_u64() && group["large_bytes"].is_u64();
    ensure!(!memory.is_empty() && memory.iter().all(limited), "{read}");
    Ok(())
}

fn volumes(read: &Value) -> anyhow::Result<()> {
    let drives = read["drives"].as_array().context("no drives")?;
    let parts: Vec<&Value> = drives.iter().filter(|drive| drive["start"].is_u64()).collect();
    ensure!(parts.len() == 2, "{read}");
    for (number, part) in (0_u64..).zip(parts) {
        ensure!(part["serial"] == CUT && part["bytes"] == 1_u64 << 30, "{part}");
        ensure!(part["start"] == (1 << 20) + (number << 30), "{part}");
        let said = |what: &str| part["volume"][what].as_str().unwrap_or_default().to_owned();
        let unit = part["unit"].as_str().unwrap_or_default().replace('-', "--");
        let name = said("name");
        ensure!(name.starts_with(&format!("scalerforge_{CUT}_")) && name.ends_with(&unit), "{part}");
        ensure!(said("uuid").len() == "LVM-".len() + 64, "{part}");
    }
    Ok(())
}

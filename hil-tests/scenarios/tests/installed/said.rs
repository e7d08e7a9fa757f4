//! What the appliance says of the host, and its node's evidence.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use appliance_api::residence::ResidenceView;
use attest_evidence::Evidence;
use hil_tests_scenarios::{Lab, VERIFIER_ADDRESS};
use serde_json::Value;

use crate::{LIMIT, releases::sealed_values};

/// Where the host lives, as it is told.
pub(crate) async fn residence(lab: &Lab, id: &str) -> anyhow::Result<ResidenceView> {
    let (_, out, err) = cli(lab, &["host", "residence", id, "--json"]).await?;
    serde_json::from_str(&out).with_context(|| format!("{out}{err}"))
}

/// Waits until a residence is in this state.
pub(crate) async fn settled(lab: &Lab, id: &str, state: &str) -> anyhow::Result<()> {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        match residence(lab, id).await {
            Ok(view) if view.state == state => return Ok(()),
            Ok(_) | Err(_) if tokio::time::Instant::now() < end => {}
            Ok(view) => anyhow::bail!("{view:?}\n{}", lab.scene().await),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// It lives there, and the floor is that release's.
pub(crate) async fn lives(
    lab: &Lab,
    id: &str,
    (slot, version): (&str, &str),
    drive: &str,
) -> anyhow::Result<()> {
    let view = residence(lab, id).await?;
    let home = view.home.clone().with_context(|| format!("{view:?}"))?;
    ensure!(home.slot == slot && home.release.version == version, "{view:?}");
    ensure!(home.drive.as_deref() == Some(drive) && view.floor == home.release.epoch, "{view:?}");
    Ok(())
}

/// Runs `scalerforge`: its exit code, output and errors.
pub(crate) async fn cli(lab: &Lab, arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
    let arguments: Vec<&std::ffi::OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    lab.command(&arguments).await
}

/// Waits for evidence of the node that is of this release and verifies as any other, newer than `than`.
pub(crate) async fn shows_itself(
    lab: &Lab,
    release: &Path,
    node: &str,
    than: Option<&Evidence>,
) -> anyhow::Result<Evidence> {
    shows(lab, &sealed_values(lab, release)?, node, than).await
}

/// [`shows_itself`], of the image with the reference values in this file.
pub(crate) async fn shows(
    lab: &Lab,
    reference: &str,
    node: &str,
    than: Option<&Evidence>,
) -> anyhow::Result<Evidence> {
    let file = lab.site().join("newest.evidence");
    let (path, roots) = (file.display().to_string(), lab.site().join("endorsement").display().to_string());
    let verify = ["evidence", "verify", &path, "--roots", &roots, "--reference", reference];
    let verify = [&verify[..], &["--allow-software-tpm", "--json"]].concat();
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        let bytes = asked(format!("/v1/nodes/{node}/evidence")).await.unwrap_or_default();
        std::fs::write(&file, &bytes)?;
        let (code, out, err) = cli(lab, &verify).await?;
        let shown = Evidence::decode(&bytes).ok().filter(|_| code == 0);
        if let Some(shown) = shown
            && than.is_none_or(|than| shown.statement.sequence > than.statement.sequence)
        {
            checked_by_firmware(&out, reference)?;
            return Ok(shown);
        }
        ensure!(tokio::time::Instant::now() < end, "{out}{err}\n{}", lab.scene().await);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The log of this start says that Secure Boot was on, and PCR 4 has the value that follows from it.
fn checked_by_firmware(verdict: &str, reference: &str) -> anyhow::Result<()> {
    let verdict: Value = serde_json::from_str(verdict)?;
    ensure!(verdict["facts"]["secure_boot"] == true, "Secure Boot is not said to be on: {verdict}");
    if verdict["facts"]["tried_in_vain"].is_u64() {
        // What was tried in vain is in PCR 4 as well: the verifier has read past it.
        return Ok(());
    }
    let checks = verdict["checks"].as_array().context("no checks")?;
    let four = checks.iter().find(|check| check["name"] == "pcr-4").context("PCR 4 was not judged")?;
    let reference: Value = serde_json::from_slice(&std::fs::read(reference)?)?;
    let pcrs = reference["pcrs"].as_array().context("no reference values")?;
    let accepted = pcrs.iter().find(|pcr| pcr["pcr"] == 4).and_then(|pcr| pcr["accepted"].as_array());
    let on = accepted.into_iter().flatten().find(|one| {
        one["value"] == four["measured"]
            && one["holds_for"].as_str().is_some_and(|why| why.starts_with("Secure Boot on"))
    });
    ensure!(on.is_some(), "{four} is not PCR 4 under Secure Boot: {accepted:?}");
    Ok(())
}

/// Waits until verifiers are told that the node is in order, or that it is not and why; the reason.
pub(crate) async fn in_order(lab: &Lab, node: &str, wanted: bool) -> anyhow::Result<String> {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        let told = asked(format!("/v1/nodes/{node}")).await;
        let view: Value = serde_json::from_slice(&told.unwrap_or_default()).unwrap_or_default();
        if view["in_order"] == wanted {
            return Ok(view["why"].as_str().unwrap_or_default().to_owned());
        }
        ensure!(tokio::time::Instant::now() < end, "{view}\n{}", lab.scene().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What a verifier is answered.
async fn asked(path: String) -> anyhow::Result<Vec<u8>> {
    let url = format!("http://{VERIFIER_ADDRESS}{path}");
    tokio::task::spawn_blocking(move || anyhow::Ok(ureq::get(&url).call()?.body_mut().read_to_vec()?)).await?
}

//! The drive with the host's system dies and a blank one takes its place: the machine comes back from the network as the
//! same node, says what it lost, and gets a system again on a person's word.

use anyhow::{Context as _, ensure};
use attest_evidence::Evidence;
use hil_tests_scenarios::Lab;
use serde_json::json;

use crate::{
    DRIVE, LIMIT, Node, SERIAL,
    releases::Releases,
    said::{cli, in_order, lives, residence, shows, shows_itself},
    units,
};

/// The drive that a technician puts in.
pub(crate) const SPARE: &str = "NVME0001N";

/// `before` is its evidence, and `manifest` what that one signs.
pub(crate) async fn replaced(
    lab: &Lab,
    releases: &Releases,
    host: &Node<'_>,
    (before, manifest): (&Evidence, &str),
) -> anyhow::Result<()> {
    let Node { id, node } = *host;
    let stake = serde_json::to_value(lab.chain_view().await?.nodes)?;
    let transaction = lab.wait_stage(SERIAL, "registered", LIMIT).await?.transaction;
    let machine = lab.rack.host(0);
    machine.power_cut().await;
    machine.exchange_drive(0, SPARE)?;
    machine.bmc_lie("/redfish/v1/Systems/1/Storage/1/Drives/1", json!({ "SerialNumber": SPARE }));
    machine.power_on().await?;

    machine.wait_console("quoting for registration", LIMIT).await?;
    lab.wait_log(&["the drive with this host's system is gone", DRIVE], LIMIT).await?;
    let lost = residence(lab, id).await?;
    for words in [
        &format!("drive {DRIVE} did not start"),
        "install on SERIAL",
        &format!("drive {DRIVE} is not in the machine any more"),
    ] {
        ensure!(lost.doing.contains(words), "{words}: {lost:?}");
    }
    // That an update came to nothing before is still told, and bars nothing.
    ensure!(lost.barred.is_none(), "{lost:?}");
    let view = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
    ensure!(view.node.as_deref() == Some(node) && view.why.waiting_for.contains("did not start"), "{view:?}");
    // Its firmware tried a blank drive first, and nothing ran from it: what runs is proven as the image that it is.
    let reference = lab.site().join("images/reference.json").display().to_string();
    let seen = shows(lab, &reference, node, Some(before)).await?;
    in_order(lab, node, true).await?;
    let (code, out, err) = cli(lab, &["host", "update", id]).await?;
    ensure!(code != 0 && err.contains("no system that runs"), "{out}{err}");

    put_back(lab, id).await?;
    lives(lab, id, ("a", "1.2"), SPARE).await?;
    let after = shows_itself(lab, &releases.second, node, Some(&seen)).await?;
    let same = units::are_real(lab, id, &after).await?;
    in_order(lab, node, true).await?;
    ensure!(same == manifest, "{same}\nwas {manifest}");
    ensure!(
        after.node == before.node && after.tpm.ak_public == before.tpm.ak_public,
        "another machine's evidence"
    );
    let view = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
    ensure!(view.node.as_deref() == Some(node) && view.transaction == transaction, "{view:?}");
    let stakes = serde_json::to_value(lab.chain_view().await?.nodes)?;
    ensure!(stakes == stake && stakes.as_array().context("no nodes")?.len() == 1, "{stakes} was {stake}");
    Ok(())
}

/// Nothing is written without the words; with them, the release is on the new drive and proven.
async fn put_back(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let install = ["host", "install", id, "--drive", SPARE, "--permit"];
    let (code, _, err) = cli(lab, &[&install[..], &["install on it"]].concat()).await?;
    ensure!(code != 0 && err.contains("Nothing was written"), "{err}");
    let permit = format!("install on {SPARE}");
    let (code, out, err) = cli(lab, &[&install[..], &[&permit]].concat()).await?;
    ensure!(code == 0, "{out}{err}\n{}", lab.scene().await);
    let view = residence(lab, id).await?;
    ensure!(view.state == "settled" && !view.doing.contains("did not start"), "{view:?}");
    Ok(())
}

//! A server whose BMC knows no network boot: the appliance goes down its ladder to a virtual CD, and believes no rung
//! but the one whose ticket the booted agent shows.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hil_tests_scenarios::{Artefacts, Lab, LabConfig, run};
use serde_json::json;

/// Emulation on two busy cores; a quiet machine takes a minute.
const LIMIT: Duration = Duration::from_secs(600);
const SERIAL: &str = "LAB00001";

#[test]
fn a_server_without_network_boot_is_enrolled_by_a_virtual_cd() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let mut config = LabConfig::new("ladder", 1);
        config.medium = true;
        let targets =
            json!({ "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Hdd", "Cd", "UsbCd"] });
        config.lies = vec![(0, "/redfish/v1/Systems/1".into(), json!({ "Boot": targets }))];
        let lab = Lab::start(config, &artefacts).await?;
        let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;

        let detail = lab.host(&host.id).await?;
        let boots = detail.boots_by.context("nothing is recorded of how it booted")?;
        let closed = |way: &str| boots.ways.iter().find(|one| one.way.contains(way))?.closed.clone();
        for way in ["boot URL", "UEFI HTTP", "PXE"] {
            let why = closed(way).with_context(|| format!("{way} was open: {boots:?}"))?;
            ensure!(why.contains("no boot target"), "{way}: {why}");
        }
        ensure!(closed("virtual CD").is_none(), "{boots:?}");
        let [only] = boots.tries.as_slice() else { anyhow::bail!("not one try: {boots:?}") };
        let outcome = only.outcome.as_deref().unwrap_or_default();
        ensure!(only.way.contains("virtual CD") && outcome.starts_with("proved: "), "{boots:?}");
        ensure!(host.boot_ticket.as_deref().is_some_and(|text| text.contains("virtual medium")), "{host:?}");

        // The same image, so the same reference values: where it came from changes no PCR that they name.
        let node = host.node.as_deref().context("a registered host without a node")?;
        let reference = artefacts.image.join("reference.json");
        let (code, out, err) = lab.judged(node, &reference, &[]).await?;
        ensure!(code == 0, "refused: {out}{err}");
        let (_, said, _) = lab.command(&["host", "show", &host.id].map(AsRef::as_ref)).await?;
        ensure!(said.contains("last proved: our boot medium as a virtual CD"), "{said}");
        taken_out(&lab, &host.id).await?;
        lab.stop().await;
        Ok(())
    })
}

/// A machine that looks at CDs first must not meet a spent ticket at its next boot.
async fn taken_out(lab: &Lab, host: &str) -> anyhow::Result<()> {
    let end = tokio::time::Instant::now() + LIMIT;
    while lab.host(host).await?.boots_by.is_some_and(|boots| boots.medium.is_some()) {
        ensure!(tokio::time::Instant::now() < end, "the medium is still in\n{}", lab.scene().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

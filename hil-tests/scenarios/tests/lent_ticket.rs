//! A server that boots by PXE: its firmware leaves no URL in the log, so its agent gets the boot ticket by DHCP.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use appliance_api::operator::HostView;
use hil_tests_scenarios::{Artefacts, Lab, LabConfig, boot_once, run, say_hello};
use serde_json::{Value, json};

/// Emulation on two busy cores; a quiet machine takes a minute.
const LIMIT: Duration = Duration::from_secs(600);
const SERIAL: &str = "LAB00001";

/// No BMC is known and no UEFI HTTP boot used.  The appliance is killed in the moment between telling the ticket and
/// being shown it.
#[test]
fn a_server_booted_by_pxe_is_enrolled_by_the_ticket_its_agent_was_told() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let mut config = LabConfig::new("lent-ticket", 1);
        config.bmcs = false;
        let mut lab = Lab::start(config, &artefacts).await?;
        lab.wait("the appliance to answer", LIMIT, |_| Some(())).await?;
        boot_once(&lab, "Pxe").await?;
        let ticket = journaled(&lab, "told").await?;
        lab.kill_appliance().await?;
        lab.start_appliance()?;
        let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
        another_machine(&lab, &ticket).await?;

        let boot_ticket = host.boot_ticket.as_deref().unwrap_or_default();
        ensure!(boot_ticket.starts_with("boot ticket came by DHCP"), "{host:?}");
        let (_, said, _) = lab.command(&["host", "why", &host.id].map(AsRef::as_ref)).await?;
        ensure!(said.contains(boot_ticket), "`host why` does not say how the ticket came: {said}");
        let mac = lab.rack.host(0).spec().boot_mac.to_string();
        let (_, said, err) = lab.command(&["boot", "why", &mac].map(AsRef::as_ref)).await?;
        ensure!(said.contains("its boot ticket came by DHCP"), "{said}{err}");

        // What was booted is in the log none the less, and the evidence may claim what it would by HTTP boot: here, with
        // a TPM made of software, nothing.
        let node = host.node.as_deref().context("a registered host without a node")?;
        let verdict = judged(&lab, &artefacts, node).await?;
        ensure!(verdict["facts"]["boot_url"].is_null(), "the log has a boot URL: {verdict}");
        ensure!(verdict["tier"] == "T0" && host.tier.as_deref() == Some("T0"), "{host:?} {verdict}");
        lab.stop().await;
        Ok(())
    })
}

/// IPv4 ends between firmware and agent: no address is left for it.  The agent gets its address, the appliance's and its
/// ticket by DHCPv6.
#[test]
fn an_agent_without_ipv4_is_told_all_by_dhcpv6() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let mut config = LabConfig::new("lent-ticket6", 1);
        (config.bmcs, config.v6) = (false, true);
        let mut lab = Lab::start(config, &artefacts).await?;
        lab.wait("the appliance to answer", LIMIT, |_| Some(())).await?;
        boot_once(&lab, "Pxe").await?;
        journaled(&lab, "fetched").await?;
        lab.kill_appliance().await?;
        let file = lab.site().join("scalerforge.toml");
        let text = std::fs::read_to_string(&file)?;
        let kept = "last = \"10.77.0.100\"\n[pxe.reservations]\n\"02:00:00:00:00:99\" = \"10.77.0.100\"\n";
        let full = text.replace("last = \"10.77.0.199\"\n", kept);
        ensure!(full != text, "the site file has another pool");
        std::fs::write(&file, full)?;
        lab.start_appliance()?;
        let known = |hosts: &[HostView]| hosts.iter().find(|host| host.node.is_some()).cloned();
        let host = lab.wait("the server to be attested", LIMIT, known).await?;
        ensure!(host.boot_ticket.is_some_and(|how| how.starts_with("boot ticket came by DHCP")));
        let console = lab.rack.host(0).console().tail(200);
        ensure!(
            console.contains("has fd77::99 by DHCPv6") && console.contains("https://[fd77::1]:8443"),
            "{console}"
        );
        let (_, leases, err) = lab.command(&["boot", "leases"].map(AsRef::as_ref)).await?;
        ensure!(leases.contains("fd77::99") && !leases.contains("10.77.0.1"), "{leases}{err}");
        lab.stop().await;
        Ok(())
    })
}

/// Waits for a record of this kind in the journal and answers its ticket.  Once `told` is there, the reply may leave.
async fn journaled(lab: &Lab, kind: &str) -> anyhow::Result<String> {
    let journal = lab.site().join("pxe/journal.jsonl");
    let end = tokio::time::Instant::now() + LIMIT;
    while tokio::time::Instant::now() < end {
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(ticket) = lines.find_map(|line| line[kind]["ticket"].as_str().map(str::to_owned)) {
            return Ok(ticket);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bail!("no ticket was {kind}\n{}", lab.scene().await)
}

/// Anybody on the LAN can have read the ticket: it is no use to a machine without the port, nor to one that says it had it.
async fn another_machine(lab: &Lab, ticket: &str) -> anyhow::Result<()> {
    let port = lab.rack.host(0).spec().boot_mac.to_string();
    for (macs, words) in [
        (json!(["02:00:00:00:00:01"]), "which the machine showing it does not have"),
        (json!([port, "02:00:00:00:00:01"]), "already spent by another boot"),
    ] {
        let hello = json!({
            "protocol": 1, "agent": "0.1.0", "ticket": ticket, "ticket_source": "dhcp", "boot_url": null,
            "serial": "OTHER001", "uuid": null, "macs": macs, "boot_nonce": "11".repeat(32),
        });
        let (status, answer) = say_hello(lab, hello).await?;
        let why = answer["error"].as_str().unwrap_or_default();
        ensure!(status == 403 && why.contains(words) && why.contains(&port), "{status}: {answer}");
    }
    ensure!(lab.hosts().await?.len() == 1, "the other machine became a host");
    Ok(())
}

/// What a stranger's verifier says.
async fn judged(lab: &Lab, artefacts: &Artefacts, node: &str) -> anyhow::Result<Value> {
    let reference = artefacts.image.join("reference.json");
    let (code, out, err) = lab.judged(node, &reference, &["--json"]).await?;
    ensure!(code == 0, "refused: {out}{err}");
    Ok(serde_json::from_str(&out)?)
}

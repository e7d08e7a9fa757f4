//! Machines that must not become nodes, each refused for its own reason; and a ticket in the wrong hands.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use appliance_api::operator::HostView;
use hil_tests_rack::{EkKind, HostSpec};
use hil_tests_scenarios::{Artefacts, Lab, LabConfig, run, say_hello};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn an_agent_altered_by_one_byte_is_quarantined_by_its_pcr() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let mut config = LabConfig::new("altered", 1);
        config.altered_image = true;
        let lab = Lab::start(config, &artefacts).await?;
        let host = quarantined(&lab, "LAB00001").await?;
        let why = &host.why.waiting_for;
        let expected = reference(&artefacts.image, 4)?;
        let actual = reference(&artefacts.altered_image, 4)?;
        ensure!(expected != actual, "the altered image has the same PCR 4");
        ensure!(why.contains("PCR 4") && why.contains(&expected) && why.contains(&actual), "{why}");
        ensure!(lab.chain_view().await?.nodes.is_empty(), "an altered image was registered");
        lab.stop().await;
        Ok(())
    })
}

#[test]
fn a_copied_tpm_and_an_unknown_maker_are_refused_for_their_own_reasons() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let mut config = LabConfig::new("endorsement", 3);
        config.hosts[1] = HostSpec::lab(1).with_ek(EkKind::CopyOf(0));
        config.hosts[2] = HostSpec::lab(2).with_ek(EkKind::UntrustedCa);
        let lab = Lab::start(config, &artefacts).await?;
        let ended = |hosts: &[HostView]| {
            let ended = |host: &&HostView| matches!(host.stage.as_str(), "registered" | "quarantined");
            (hosts.iter().filter(ended).count() == 3).then(|| hosts.to_vec())
        };
        let hosts = lab.wait("three servers to be judged", LIMIT * 2, ended).await?;
        let of = |index: usize| {
            let serial = &lab.rack.host(index).spec().serial;
            hosts.iter().find(|host| host.serial == *serial).context("a host is missing")
        };
        // Whichever of the twins shows its endorsement key first is the node.
        let twins = [of(0)?, of(1)?];
        let copy =
            twins.iter().find(|host| host.stage == "quarantined").context("both twins were registered")?;
        ensure!(twins.iter().any(|host| host.stage == "registered"), "{twins:?}\n{}", lab.scene().await);
        ensure!(copy.why.waiting_for.contains("already the identity of h-"), "{:?}", copy.why);
        let unknown = of(2)?;
        ensure!(unknown.stage == "quarantined", "{unknown:?}");
        ensure!(unknown.why.waiting_for.contains("chains to no trusted root"), "{:?}", unknown.why);
        ensure!(lab.chain_view().await?.nodes.len() == 1);
        lab.stop().await;
        Ok(())
    })
}

#[test]
fn a_ticket_shown_by_another_machine_is_refused_and_not_spent() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let lab = Lab::start(LabConfig::new("ticket", 1), &artefacts).await?;
        let ticket = ticket(&lab).await?;
        let mac = lab.rack.host(0).spec().boot_mac.to_string();
        // Another machine, honest about its ports; then one that claims the ports of the first.
        for macs in [json!(["02:00:00:00:00:01"]), json!([mac, "02:00:00:00:00:01"])] {
            let hello = json!({
                "protocol": 1, "agent": "0.1.0", "ticket": ticket, "boot_url": null, "serial": "OTHER001",
                "uuid": null, "macs": macs, "boot_nonce": "11".repeat(32),
            });
            let (status, answer) = say_hello(&lab, hello).await?;
            let why = answer["error"].as_str().unwrap_or_default();
            ensure!(
                status == 403 && why.contains("LAB00001") && why.contains("OTHER001"),
                "{status}: {answer}"
            );
        }
        // One that knows all of the first machine and says that it got its ticket in a way in which it cannot have.
        let url = format!("http://10.77.0.1:8080/boot/{}/discovery.efi", "22".repeat(16));
        for (source, boot_url, words) in [
            ("dhcp", Value::Null, "has told it to nobody"),
            ("measured-url", Value::Null, "names another or none"),
            ("measured-url", json!(url), "names another or none"),
        ] {
            let hello = json!({
                "protocol": 1, "agent": "0.1.0", "ticket": ticket, "ticket_source": source, "boot_url": boot_url,
                "serial": "LAB00001", "uuid": null, "macs": [mac], "boot_nonce": "11".repeat(32),
            });
            let (status, answer) = say_hello(&lab, hello).await?;
            let why = answer["error"].as_str().unwrap_or_default();
            ensure!(status == 403 && why.contains(words), "{status}: {answer}");
        }
        // The machine that was booted is not harmed by the attempt.
        let known = |hosts: &[HostView]| {
            hosts.iter().find(|host| host.serial == "LAB00001" && host.node.is_some()).cloned()
        };
        lab.wait("the right machine to be attested", LIMIT, known).await?;
        ensure!(lab.hosts().await?.len() == 1, "the other machine became a host");
        lab.stop().await;
        Ok(())
    })
}

async fn quarantined(lab: &Lab, serial: &str) -> anyhow::Result<HostView> {
    let ended = |hosts: &[HostView]| {
        let host = hosts.iter().find(|host| host.serial == serial)?;
        matches!(host.stage.as_str(), "registered" | "quarantined").then(|| host.clone())
    };
    let host = lab.wait("the server to be judged", LIMIT, ended).await?;
    ensure!(host.stage == "quarantined", "{serial} was registered\n{}", lab.scene().await);
    Ok(host)
}

/// The accepted value of a PCR with Secure Boot off: the first that the build lists.
fn reference(image: &std::path::Path, pcr: u64) -> anyhow::Result<String> {
    let json: Value = serde_json::from_slice(&std::fs::read(image.join("reference.json"))?)?;
    let entry = json["pcrs"].as_array().and_then(|pcrs| pcrs.iter().find(|entry| entry["pcr"] == pcr));
    let value = entry.and_then(|entry| entry["accepted"][0]["value"].as_str());
    value.map(str::to_owned).context("the reference has no such PCR")
}

/// The ticket that DHCP handed to the first server: in clear on the LAN, so anybody there can read it.
async fn ticket(lab: &Lab) -> anyhow::Result<String> {
    let journal = lab.site().join("pxe/journal.jsonl");
    for _ in 0..6000 {
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(ticket) =
            lines.filter_map(|line| line["ticket"]["ticket"].as_str().map(str::to_owned)).next()
        {
            return Ok(ticket);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("no ticket was minted\n{}", lab.scene().await)
}

//! Two servers at once, from power-on to the chain, and what a stranger can do with the evidence afterwards.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hil_tests_scenarios::{Artefacts, Browser, Lab, LabConfig, run};

/// Emulation on two busy cores; a quiet machine takes a minute.
const LIMIT: Duration = Duration::from_secs(600);

/// The bar for the appliance's memory.
const RSS_BYTES_MAX: u64 = 150 << 20;

#[test]
fn two_servers_become_scalernodes_and_a_stranger_can_check_them() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let mut config = LabConfig::new("whole-way", 2);
        config.carve = "page_kib = 2048\nfunctions = 2\nclasses = 2\npart_gib = 1".into();
        config.hosts[1].functions = true;
        // Its firmware tries PXE first, which is refused at once: PCR 4 shows a boot option that was tried in vain.
        config.hosts[1].pxe_first = true;
        config.pxe = "uefi_pxe = \"http\"".into();
        // Room for two parts of a GiB, and for what LVM keeps in front of them.
        config.hosts[1].drives[1].bytes = 2200 << 20;
        let lab = Lab::start(config, &artefacts).await?;
        let all = |hosts: &[appliance_api::operator::HostView]| {
            let ended = |host: &&appliance_api::operator::HostView| {
                matches!(host.stage.as_str(), "registered" | "quarantined")
            };
            (hosts.iter().filter(ended).count() == 2).then(|| hosts.to_vec())
        };
        let hosts = lab.wait("both servers to be registered", LIMIT, all).await?;
        let chain = lab.chain_view().await?;
        ensure!(chain.nodes.len() == 2, "the chain has {:?}\n{}", chain.nodes, lab.scene().await);
        let rss = lab.appliance_rss_bytes().context("no memory figure")?;
        ensure!(rss <= RSS_BYTES_MAX, "the appliance holds {rss} bytes");
        for host in &hosts {
            ensure!(host.stage == "registered", "{host:?}\n{}", lab.scene().await);
            let node = host.node.as_deref().context("a registered host without a node")?;
            let on_chain =
                chain.nodes.iter().find(|on_chain| on_chain.node == node).context("not on chain")?;
            ensure!(on_chain.name.ends_with(&host.serial), "{on_chain:?} is not {}", host.serial);
            ensure!(on_chain.class == "lab" && on_chain.collateral == "3 ICNT", "{on_chain:?}");
            two_witnesses(&lab, &host.id).await?;
            units_are_real(&lab, &host.id, &host.serial).await?;
            stranger(&lab, &artefacts, (node, &host.serial), &on_chain.evidence).await?;
        }
        lab.wait_log(&["tried other boot options in vain", "options=1"], LIMIT).await?;
        let nodes: Vec<&str> = hosts.iter().filter_map(|host| host.node.as_deref()).collect();
        page(&lab, &nodes, &hosts[0].id).await?;
        lab.stop().await;
        Ok(())
    })
}

/// What the agent saw is what the rack built, and the BMC agrees about the drives.
async fn two_witnesses(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let detail = lab.host(id).await?;
    let inventory = detail.inventory.context("no inventory")?;
    let spec = lab
        .rack
        .hosts()
        .iter()
        .map(|host| host.spec())
        .find(|spec| spec.serial == detail.host.serial)
        .context("a host that is not in the rack")?;
    let text = inventory.to_string();
    for drive in &spec.drives {
        ensure!(text.contains(&drive.serial), "the agent did not see drive {}", drive.serial);
    }
    for mac in [spec.boot_mac, spec.data_mac] {
        ensure!(text.contains(&mac.to_string()), "the agent did not see port {mac}");
    }
    let errors: Vec<_> = detail.findings.iter().filter(|finding| finding["severity"] == "error").collect();
    ensure!(errors.is_empty(), "the witnesses disagree: {errors:?}");
    Ok(())
}

/// A real kernel says what was planned: cores that are the units' alone, memory in large pages, virtual functions,
/// volumes in the places and with the identities that follow from drive and unit.
async fn units_are_real(lab: &Lab, id: &str, serial: &str) -> anyhow::Result<()> {
    let (code, text, err) = lab.command(&["unit", "real", id, "--json"].map(AsRef::as_ref)).await?;
    ensure!(code == 0, "{text}{err}");
    let view: serde_json::Value = serde_json::from_str(&text)?;
    ensure!(view["differences"] == serde_json::json!([]), "{text}");
    let real = &view["real"];
    ensure!(
        real["groups"][0]["alone"] == true && real["groups"][0]["cpus"] == serde_json::json!([1]),
        "{text}"
    );
    ensure!(real["pages"][0]["count"].as_u64().is_some_and(|count| count >= 128), "{text}");
    let ports = real["ports"].as_array().context("no ports")?;
    let functions: Vec<u64> = ports.iter().filter_map(|port| port["functions"].as_u64()).collect();
    let spec = lab.rack.hosts().iter().map(|host| host.spec()).find(|spec| spec.serial == serial);
    let virtual_functions = spec.is_some_and(|spec| spec.functions);
    let wanted: &[u64] = if virtual_functions { &[2] } else { &[] };
    ensure!(functions == wanted, "{text}");
    // A port without them is divided by the kernel's queues: two classes, and the host's own.
    let classes = ports.iter().find(|port| port["classes"]["count"] == 2 && port["classes"]["mbps"] == 333);
    ensure!(virtual_functions || classes.is_some(), "{text}");
    let drives = real["drives"].as_array().context("no drives")?;
    let parts: Vec<&serde_json::Value> = drives.iter().filter(|drive| drive["start"].is_u64()).collect();
    ensure!(parts.len() == if virtual_functions { 2 } else { 0 }, "{text}");
    for (number, part) in (0_u64..).zip(parts) {
        ensure!(part["bytes"] == 1_u64 << 30 && part["start"] == (1 << 20) + (number << 30), "{part}");
        let said = |what: &str| part["volume"][what].as_str().unwrap_or_default().to_owned();
        let (unit, serial) =
            (part["unit"].as_str().unwrap_or_default(), part["serial"].as_str().unwrap_or_default());
        let name = said("name");
        let named =
            name.starts_with(&format!("scalerforge_{serial}_")) && name.ends_with(&unit.replace('-', "--"));
        ensure!(named && said("uuid").len() == "LVM-".len() + 64, "{part}");
    }
    // A node is what it was registered with.
    let permit = format!("UNCARVE {serial}");
    let arguments = ["unit", "uncarve", id, "--permit", &permit];
    let (code, _, err) = lab.command(&arguments.map(AsRef::as_ref)).await?;
    ensure!(code != 0 && err.contains("registered ScalerNode"), "{err}");
    Ok(())
}

/// Offline, with the file alone: our verifier, a changed reference, a changed byte, and somebody else's tool.
async fn stranger(
    lab: &Lab,
    artefacts: &Artefacts,
    (node, serial): (&str, &str),
    digest: &str,
) -> anyhow::Result<()> {
    let file = lab.evidence(node);
    let reference = artefacts.image.join("reference.json");
    let (code, out, err) = lab.judged(node, &reference, &["--json"]).await?;
    ensure!(code == 0, "refused: {out}{err}");
    let verdict: serde_json::Value = serde_json::from_str(&out)?;
    ensure!(verdict["facts"]["evidence"] == digest, "the chain has another digest than the file");
    let spec = lab.rack.hosts().iter().map(|host| host.spec()).find(|spec| spec.serial == serial);
    let tried = spec.is_some_and(|spec| spec.pxe_first);
    let in_vain = verdict["facts"]["tried_in_vain"].as_u64();
    ensure!(in_vain == tried.then_some(1), "boot options tried in vain: {in_vain:?}");
    for pcr in ["pcr-4", "pcr-11", "pcr-12"] {
        let checks = verdict["checks"].as_array().context("no checks")?;
        let check = checks.iter().find(|check| check["name"] == pcr).context("a PCR was not judged")?;
        // PCR 4 has one value with Secure Boot and one without; the measured one must be among them.
        let measured = check["measured"].as_str().context("no measured value")?;
        let expected = check["expected"].as_str().unwrap_or_default();
        let listed = expected.contains(measured) != (tried && pcr == "pcr-4");
        ensure!(check["outcome"] == "pass" && listed && measured.len() == 64, "{check}");
    }
    let other = artefacts.altered_image.join("reference.json");
    let (code, out, _) = lab.judged(node, &other, &["--json"]).await?;
    ensure!(code == 1 && out.contains("pcr-11"), "another image's reference was accepted: {out}");

    let parts = lab.site().join("parts");
    let arguments =
        ["evidence".as_ref(), "export".as_ref(), file.as_os_str(), "--dir".as_ref(), parts.as_os_str()];
    let (code, out, err) = lab.command(&arguments).await?;
    ensure!(code == 0, "export: {out}{err}");
    let nonce = std::fs::read_to_string(parts.join("nonce.hex"))?;
    let check = tokio::process::Command::new("tpm2_checkquote")
        .current_dir(&parts)
        .args([
            "-u",
            "ak.pem",
            "-m",
            "quote.msg",
            "-s",
            "quote.sig",
            "-f",
            "quote.pcrs",
            "-g",
            "sha256",
            "-q",
        ])
        .arg(nonce.trim())
        .output()
        .await?;
    ensure!(check.status.success(), "tpm2_checkquote: {}", String::from_utf8_lossy(&check.stderr));
    Ok(())
}

/// The pages, in a real browser: the rack and the chain without anybody reloading them, and what the burn-in came to.
async fn page(lab: &Lab, nodes: &[&str], host: &str) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_secs(60);
    let browser = Browser::open("http://127.0.0.1:8090/", &lab.site().join("browser")).await?;
    let mut words = vec!["2 servers, 2 ScalerNodes", "LAB00001", "LAB00002", "registered", "R1-U07"];
    words.extend(nodes);
    browser.wait_text(&words, LOOK).await?;
    browser.picture(&lab.site().join("page.png")).await?;
    let judge = format!("scalerforge burn-in judge {host}.jsonl");
    for (path, words, picture) in [
        (format!("hosts/{host}/burn-in"), ["Passed", "Stages", "Over time", judge.as_str()], "burn-in.png"),
        (
            format!("hosts/{host}/burn-in/report"),
            ["Passed", "LAB0000", "Signature", judge.as_str()],
            "report.png",
        ),
        ("models".into(), ["Fleet by model", "models, ", "in stage", "the same as numbers"], "models.png"),
    ] {
        browser.go(&format!("http://127.0.0.1:8090/{path}")).await?;
        browser.wait_text(&words, LOOK).await?;
        browser.picture(&lab.site().join(picture)).await?;
    }
    browser.close().await
}

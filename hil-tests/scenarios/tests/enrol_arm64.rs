//! A server with 64-bit ARM processors goes the whole way to a ScalerNode: it is given its own image, and its quote is
//! verified against what the build computed of that one.
//!
//! QEMU gives it a TPM in memory, for which only Debian's kernel for virtual machines has a driver, so that kernel is in the
//! image here; everything else in it is what real servers get.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use appliance_api::operator::HostView;
use hil_tests_rack::HostSpec;
use hil_tests_scenarios::{Artefacts, Lab, LabConfig, run};

/// Every instruction is emulated, on two busy cores.
const LIMIT: Duration = Duration::from_secs(2400);

/// Where `cargo xtask soak --arm64` puts images.
const VARIABLE: &str = "SCALERFORGE_ARM64";

#[test]
#[ignore = "builds for another processor: cargo xtask soak --arm64"]
fn an_arm64_server_becomes_a_scalernode() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let made = std::env::var_os(VARIABLE).context("run by `cargo xtask soak --arm64`")?;
        let image = PathBuf::from(made).join("virtual");
        let mut config = LabConfig::new("enrol-arm64", 1);
        config.hosts = vec![HostSpec::lab(0).with_arm64()];
        config.silence_seconds_max = 120;
        config.sections = format!(
            "\n[image.arm64]\nuki = {:?}\nreference = {:?}\n",
            image.join("discovery.efi").display().to_string(),
            image.join("reference.json").display().to_string()
        );
        let lab = Lab::start(config, &artefacts).await?;
        let ended = |hosts: &[HostView]| {
            let host = hosts.first()?;
            matches!(host.stage.as_str(), "registered" | "quarantined").then(|| host.clone())
        };
        let host = lab.wait("the ARM server to be registered", LIMIT, ended).await?;
        ensure!(host.stage == "registered", "{host:?}\n{}", lab.scene().await);
        let detail = lab.host(&host.id).await?;
        let inventory = detail.inventory.context("no inventory")?.to_string();
        ensure!(inventory.contains("Neoverse-N1"), "{inventory}");
        let errors: Vec<_> =
            detail.findings.iter().filter(|finding| finding["severity"] == "error").collect();
        ensure!(errors.is_empty(), "the witnesses disagree: {errors:?}");
        stranger(&lab, host.node.as_deref().context("a registered host without a node")?).await?;
        lab.stop().await;
        Ok(())
    })
}

/// Offline, with the file alone: its PCRs are those of the ARM image, and not those of the other.
async fn stranger(lab: &Lab, node: &str) -> anyhow::Result<()> {
    for (reference, expected) in [("images/arm64/reference.json", 0), ("images/reference.json", 1)] {
        let reference = lab.site().join(reference);
        let (code, out, err) = lab.judged(node, &reference, &[]).await?;
        ensure!(code == expected, "{}: {out}{err}", reference.display());
        ensure!(expected == 0 || out.contains("pcr-11"), "refused for another reason: {out}");
    }
    Ok(())
}

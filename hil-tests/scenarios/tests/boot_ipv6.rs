//! Boots over IPv6 alone, on real firmware: HTTP boot and PXE with the address from DHCPv6, the prefix from our router
//! advertisement and the file from option 59.  The agent that comes up then uses IPv4, as it always does.

use std::{path::Path, process::Command};

use anyhow::{Context as _, ensure};
use hil_tests_rack::bench::{Bench, BootMachine, Way};
use hil_tests_scenarios::{
    Artefacts,
    boot::{Service, Serving, ovmf, watch},
    run,
};

const AGENT: &str = "dhcp scalerforge-agent";

/// IPv6 of the bench's LAN.
const V6: &str = r#"
[pxe.v6]
address = "fd77::1"
prefix = "fd77::/64"
router_advertisements = true

[pxe.v6.pool]
first = "fd77::1:0:0:0"
last = "fd77::ffff:ffff:ffff:ffff"
"#;

#[test]
fn http_and_pxe_over_ipv6() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let folder = artefacts.scratch.join("boot-ipv6");
        let bench = bench(&folder)?;
        let mut faults = Vec::new();
        let pxe: &[&str] = &["dhcp6 PXEClient", "tftp discovery.efi", AGENT];
        let http: &[&str] = &[
            "dhcp6 PXEClient",
            "tftp refused-http-follows",
            "dhcp6 HTTPClient",
            "HEAD discovery.efi",
            "GET discovery.efi",
            AGENT,
        ];
        for (number, name, uefi_pxe, steps) in [(1, "http6", "http", http), (2, "pxe6", "uki", pxe)] {
            let machine = BootMachine::new(name, number, ovmf(&artefacts), Way::V6);
            let serving = Serving { mode: "full", uefi_pxe, image: None, arm64: None, more: V6 };
            let service = Service::start(&folder.join("service"), &serving, &artefacts).await?;
            let booting = bench.boot(&machine).await?;
            let outcome = watch(&machine, booting).await.and_then(|shown| shown.demand(steps));
            if let Err(error) = outcome {
                faults.push(format!("{name}: {error:#}\n--- service\n{}", service.said()));
            }
            service.stop().await;
        }
        ensure!(faults.is_empty(), "{}", faults.join("\n\n"));
        Ok(())
    })
}

fn bench(folder: &Path) -> anyhow::Result<Bench> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    let bench = Bench::start(folder)?;
    let words = ["-6", "addr", "add", "fd77::1/64", "dev", "br0", "nodad"];
    let done = Command::new("ip").args(words).status().context("running ip")?;
    ensure!(done.success(), "ip {words:?}: {done}");
    Ok(bench)
}

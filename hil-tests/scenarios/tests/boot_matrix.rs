//! Every way a server comes from the network into the agent, on real firmware: alone on its LAN, beside a rival DHCP
//! server, and through a relay.  Each boot must take the expected steps, and must never wait for an answer that we did
//! not give.

use std::path::Path;

use anyhow::Context as _;
use hil_tests_rack::bench::{Bench, BootMachine, Far, Firmware, Way};
use hil_tests_scenarios::{
    Artefacts,
    boot::{Service, Serving, ovmf, watch},
    run,
};

/// Name of the boot, `pxe.uefi_pxe`, firmware is UEFI, way, steps.
type Row = (&'static str, &'static str, bool, Way, &'static [&'static str]);

const AGENT: &str = "dhcp scalerforge-agent";

const ROWS: [Row; 5] = [
    ("http", "uki", true, Way::Http, &["dhcp HTTPClient", "HEAD discovery.efi", "GET discovery.efi", AGENT]),
    ("pxe-uki", "uki", true, Way::Pxe, &["dhcp PXEClient", "tftp discovery.efi", AGENT]),
    (
        "pxe-ipxe",
        "ipxe",
        true,
        Way::Pxe,
        // It looks for a script of its own first, which is refused at once.
        &[
            "dhcp PXEClient",
            "tftp snponly.efi",
            "tftp autoexec.ipxe",
            "dhcp iPXE",
            "GET boot.ipxe",
            "GET vmlinuz",
            "GET initrd",
            AGENT,
        ],
    ),
    ("bios", "ipxe", false, Way::Pxe, &["dhcp iPXE", "GET boot.ipxe", "GET vmlinuz", "GET initrd", AGENT]),
    (
        "pxe-refused",
        "http",
        true,
        Way::Pxe,
        &[
            "dhcp PXEClient",
            "tftp refused-http-follows",
            "dhcp HTTPClient",
            "HEAD discovery.efi",
            "GET discovery.efi",
            AGENT,
        ],
    ),
];

#[test]
fn every_way_alone_on_the_lan() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let folder = artefacts.scratch.join("boot-alone");
        let bench = bench(&folder)?;
        all(&folder, &bench, None, "full", &artefacts).await
    })
}

#[test]
fn every_way_beside_a_rival() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let folder = artefacts.scratch.join("boot-rival");
        let bench = bench(&folder)?;
        let _rival = bench.rival().await?;
        all(&folder, &bench, None, "proxy", &artefacts).await
    })
}

#[test]
fn every_way_through_a_relay() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let folder = artefacts.scratch.join("boot-relay");
        let bench = bench(&folder)?;
        let far = bench.far().await?;
        all(&folder, &bench, Some(&far), "full", &artefacts).await
    })
}

fn bench(folder: &Path) -> anyhow::Result<Bench> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    Ok(Bench::start(folder)?)
}

/// Boots every row and tells of all that went wrong at once: a run takes minutes.
async fn all(
    folder: &Path,
    bench: &Bench,
    far: Option<&Far>,
    mode: &str,
    artefacts: &Artefacts,
) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    let mut running: Option<(&str, Service)> = None;
    for (number, (name, uefi_pxe, uefi, way, steps)) in (1..).zip(ROWS) {
        let firmware = if uefi { ovmf(artefacts) } else { Firmware::Bios };
        let machine = BootMachine::new(name, number, firmware, way);
        // Rows that want the same of the service share one.
        let service = match running.take() {
            Some((same, service)) if same == uefi_pxe => service,
            other => {
                if let Some((_, service)) = other {
                    service.stop().await;
                }
                let serving = Serving { mode, uefi_pxe, image: None, arm64: None, more: "" };
                Service::start(&folder.join("service"), &serving, artefacts).await?
            }
        };
        let booting = match far {
            Some(far) => far.boot(&machine).await?,
            None => bench.boot(&machine).await?,
        };
        let outcome = watch(&machine, booting).await.and_then(|shown| match far {
            Some(_) => shown.demand_through_relay(steps),
            None => shown.demand(steps),
        });
        if let Err(error) = outcome {
            faults.push(format!("{name}: {error:#}\n--- service\n{}", service.said()));
        }
        running = Some((uefi_pxe, service));
    }
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n\n"));
    Ok(())
}

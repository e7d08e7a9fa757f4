//! Every way a server comes from the network into the agent, on real firmware: alone on its LAN, beside a rival DHCP
//! server, through a relay with option 82, and through a relay that asks the rival too.  Each boot must take the expected
//! steps, and must never wait for an answer that we did not give.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use hil_tests_rack::bench::{Bench, BootMachine, Far, Firmware, Relaying, Way};
use hil_tests_scenarios::{
    Artefacts,
    boot::{Service, Serving, authority, ovmf, watch},
    run,
};

/// One boot.
struct Row {
    /// Name of the machine.
    name: &'static str,
    /// The last number of its address.
    number: u8,
    /// `pxe.uefi_pxe`.
    uefi_pxe: &'static str,
    by: By,
    steps: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum By {
    Http,
    Https,
    Pxe,
    Bios,
}

const AGENT: &str = "dhcp scalerforge-agent";

const HTTP: Row = Row {
    name: "http",
    number: 1,
    uefi_pxe: "uki",
    by: By::Http,
    steps: &["dhcp HTTPClient", "HEAD discovery.efi", "GET discovery.efi", AGENT],
};

/// The only one that [`OFFER`] sends to HTTPS.
const HTTPS: Row = Row {
    name: "https",
    number: 2,
    uefi_pxe: "uki",
    by: By::Https,
    steps: &["dhcp HTTPClient", "https", AGENT],
};

const PXE: Row = Row {
    name: "pxe-uki",
    number: 3,
    uefi_pxe: "uki",
    by: By::Pxe,
    steps: &["dhcp PXEClient", "tftp discovery.efi", AGENT],
};

const IPXE: Row = Row {
    name: "pxe-ipxe",
    number: 4,
    uefi_pxe: "ipxe",
    by: By::Pxe,
    // It looks for a script of its own first, which is refused at once.
    steps: &[
        "dhcp PXEClient",
        "tftp snponly.efi",
        "tftp autoexec.ipxe",
        "dhcp iPXE",
        "GET boot.ipxe",
        "GET vmlinuz",
        "GET initrd",
        AGENT,
    ],
};

/// QEMU's card for a BIOS is iPXE itself.
const BIOS: Row = Row {
    name: "bios",
    number: 5,
    uefi_pxe: "ipxe",
    by: By::Bios,
    steps: &["dhcp iPXE", "GET boot.ipxe", "GET vmlinuz", "GET initrd", AGENT],
};

/// The same card, whose first words reach the service as those of plain PXE.
const PLAIN_BIOS: Row = Row {
    name: "bios-plain",
    number: 6,
    uefi_pxe: "ipxe",
    by: By::Bios,
    steps: &[
        "dhcp iPXE",
        "tftp undionly.kpxe",
        "dhcp iPXE",
        "GET boot.ipxe",
        "GET vmlinuz",
        "GET initrd",
        AGENT,
    ],
};

const REFUSED: Row = Row {
    name: "pxe-refused",
    number: 7,
    uefi_pxe: "http",
    by: By::Pxe,
    steps: &[
        "dhcp PXEClient",
        "tftp refused-http-follows",
        "dhcp HTTPClient",
        "HEAD discovery.efi",
        "GET discovery.efi",
        AGENT,
    ],
};

const OFFER: &str = r#"
[pxe.https]
certificate = "../boot.pem"
key = "../boot.key"

[[pxe.https.offer_to]]
mac = "52:54:00:78:00:02"
"#;

/// HTTPS alone is in `boot_secure`.
#[test]
fn every_way_alone_on_the_lan() -> anyhow::Result<()> {
    run(|| async {
        let place = Place::new("boot-alone")?;
        place.boots(None, "full", &[HTTP, PXE, IPXE, BIOS, REFUSED]).await
    })
}

#[test]
fn every_way_beside_a_rival() -> anyhow::Result<()> {
    run(|| async {
        let place = Place::new("boot-rival")?;
        let _rival = place.bench.rival().await?;
        place.boots(None, "proxy", &[HTTP, HTTPS, PXE, IPXE, BIOS]).await
    })
}

#[test]
fn every_way_through_a_relay_with_option_82() -> anyhow::Result<()> {
    run(|| async {
        let place = Place::new("boot-relay")?;
        let far = place.bench.far(Relaying::MarkedPlain).await?;
        let outcome = place.boots(Some(&far), "full", &[HTTP, HTTPS, PXE, IPXE, PLAIN_BIOS]).await;
        let refused = far.refused();
        ensure!(refused.is_empty(), "the relay did not pass on: {refused}\n{outcome:?}");
        outcome
    })
}

/// A relay that asks both: one boot of UEFI by PXE and HTTP, one of a BIOS.
#[test]
fn beside_a_rival_through_a_relay() -> anyhow::Result<()> {
    run(|| async {
        let place = Place::new("boot-relay-rival")?;
        let _rival = place.bench.rival().await?;
        let far = place.bench.far(Relaying::ToBoth).await?;
        place.boots(Some(&far), "proxy", &[REFUSED, BIOS]).await
    })
}

/// A bench and what its service needs.
struct Place {
    folder: PathBuf,
    bench: Bench,
    authority: Vec<u8>,
    artefacts: Artefacts,
}

impl Place {
    fn new(name: &str) -> anyhow::Result<Self> {
        let artefacts = Artefacts::find()?;
        let folder = artefacts.scratch.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
        }
        let bench = Bench::start(&folder)?;
        let authority = authority(&folder)?;
        Ok(Self { folder, bench, authority, artefacts })
    }

    fn machine(&self, row: &Row) -> BootMachine {
        let (firmware, way) = match row.by {
            By::Http => (ovmf(&self.artefacts), Way::Http),
            By::Https => (ovmf(&self.artefacts), Way::Https(self.authority.clone())),
            By::Pxe => (ovmf(&self.artefacts), Way::Pxe),
            By::Bios => (Firmware::Bios, Way::Pxe),
        };
        BootMachine::new(row.name, row.number, firmware, way)
    }

    /// Boots every row and tells of all that went wrong at once: a run takes minutes.
    async fn boots(&self, far: Option<&Far>, mode: &str, rows: &[Row]) -> anyhow::Result<()> {
        let mut faults = Vec::new();
        let mut running: Option<(&str, Service)> = None;
        for row in rows {
            let machine = self.machine(row);
            // Rows that want the same of the service share one.
            let service = match running.take() {
                Some((same, service)) if same == row.uefi_pxe => service,
                other => {
                    if let Some((_, service)) = other {
                        service.stop().await;
                    }
                    let uefi_pxe = row.uefi_pxe;
                    let serving = Serving { mode, uefi_pxe, image: None, arm64: None, more: OFFER };
                    Service::start(&self.folder.join("service"), &serving, &self.artefacts).await?
                }
            };
            let booting = match far {
                Some(far) => far.boot(&machine).await?,
                None => self.bench.boot(&machine).await?,
            };
            let outcome = watch(&machine, booting).await.and_then(|shown| match far {
                Some(_) => shown.demand_through_relay(row.steps),
                None => shown.demand(row.steps),
            });
            if let Err(error) = outcome {
                faults.push(format!("{}: {error:#}\n--- service\n{}", row.name, service.said()));
            }
            running = Some((row.uefi_pxe, service));
        }
        ensure!(faults.is_empty(), "{}", faults.join("\n\n"));
        Ok(())
    }
}

//! An appliance from its image: the ISO starts as a CD in a machine with nothing else, takes answers and a list of BMCs
//! from a stick, and makes a node of a server, by its own DHCP, over the page's API.  Then the same build's disks, its installer, its update
//! and its factory reset (`sticks.rs`), the installer at the screen (`screen.rs`), and its start over the network (`network.rs`).
//!
//! Not part of the ordinary run, which it would lengthen by minutes: `cargo xtask soak --appliance`.

mod media;
mod network;
mod page;
mod screen;
mod sticks;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use appliance_model::Mac;
use hil_tests_rack::{Guest, GuestSpec, HostSpec, Plugged, Rack, RackConfig};
use hil_tests_scenarios::{Artefacts, run};
use page::Page;

/// Two emulated machines on two busy cores.
const LIMIT: Duration = Duration::from_secs(900);
const SERIAL: &str = "LAB00001";
const PASSWORD: &str = "a password of the first run";
/// What the first run is told that people's port is.
const AT: &str = "10.76.0.2";

/// The appliance's machine: a port to servers, a port to people.
fn machine(artefacts: &Artefacts, name: &str, media: Vec<Plugged>) -> GuestSpec {
    let port = |bridge: &str, last| (bridge.to_owned(), Mac([0x52, 0x54, 0, 0x79, 0, last]));
    GuestSpec {
        name: name.to_owned(),
        folder: artefacts.scratch.join("from-image").join(name),
        ovmf_code: artefacts.ovmf_code.clone(),
        ovmf_vars: artefacts.ovmf_vars.clone(),
        cpus: 2,
        // Half of it is for the site, which wants a gibibyte.
        memory_mib: 3072,
        media,
        ports: vec![port("br0", 1), port("br2", 2)],
        tpm: false,
        clock: None,
    }
}

/// A rack of one server, its BMC behind people's LAN, and nobody at the appliance's address.
async fn rack(dir: &Path, artefacts: &Artefacts) -> anyhow::Result<Rack> {
    let rack = Rack::start(RackConfig {
        dir: dir.join("rack"),
        hosts: vec![HostSpec::lab(0)],
        ovmf_code: artefacts.ovmf_code.clone(),
        ovmf_code_secure_boot: artefacts.boot.ovmf_code_secure_boot.clone(),
        ovmf_vars: artefacts.ovmf_vars.clone(),
    })
    .await?;
    rack.lan().step_aside()?;
    rack.lan().office()?;
    Ok(rack)
}

/// An empty folder below the scratch directory.
fn folder(artefacts: &Artefacts) -> anyhow::Result<PathBuf> {
    let dir = artefacts.scratch.join("from-image");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("clearing {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

#[test]
#[ignore = "minutes of emulation; `cargo xtask soak --appliance` runs it"]
fn an_appliance_from_its_iso_makes_a_node_of_a_server() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let dir = folder(&artefacts)?;
        let image = media::image(&artefacts)?;
        let rack = rack(&dir, &artefacts).await?;
        let stick = media::stick(&dir, &rack, PASSWORD)?;
        let media = vec![Plugged::Cd(image.join("appliance.iso")), Plugged::Stick(stick)];
        let guest = Guest::start(&machine(&artefacts, "iso", media)).await?;
        let enrolled = enrol(&guest, &rack).await;
        let scene = || format!("\n--- the appliance{}", guest.console().tail(60));
        let took = enrolled.with_context(scene)?;
        println!("power-on to the page {:.0} s (emulated), to the node {:.0} s", took.page, took.node);
        guest.stop().await?;
        rack.stop().await;
        Ok(())
    })
}

/// What a drive has beside the image.
const MORE_BYTES: u64 = 4 << 30;

#[test]
#[ignore = "minutes of emulation; `cargo xtask soak --appliance` runs it"]
fn two_builds_are_the_same_and_their_disks_remember() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let dir = folder(&artefacts)?;
        let image = media::image(&artefacts)?;
        media::same_again(&artefacts)?;
        let rack = rack(&dir, &artefacts).await?;
        let stick = Plugged::Stick(media::stick(&dir, &rack, PASSWORD)?);

        // A drive with a TPM beside it: the state is sealed, and there at the next start, without the stick.
        let raw = Plugged::Raw(media::drive(&image.join("appliance.raw"), &dir, MORE_BYTES)?);
        let mut spec = machine(&artefacts, "raw", vec![raw.clone(), stick.clone()]);
        spec.tpm = true;
        let first =
            starts(&spec, &["making the state's partition", "sealed to this machine's TPM", READY], PAGE)
                .await?;
        spec.media = vec![raw];
        let second = starts(&spec, &["sealed to this machine's TPM"], PAGE).await?;
        println!(
            "raw: power-on to the page {first:.0} s with its first run, {second:.0} s afterwards (emulated)"
        );

        // A virtual disk, no TPM, and a clock that began again in 1970: said, a site is made, and its service waits.
        let qcow2 = Plugged::Qcow2(media::drive(&image.join("appliance.qcow2"), &dir, 0)?);
        let mut spec = machine(&artefacts, "qcow2", vec![qcow2, stick]);
        spec.clock = Some("1970-01-01T00:10:00".to_owned());
        let said = [
            "in clear, because this machine has no TPM",
            "a clock that began again in 1970",
            "set it in the firmware's setup",
            READY,
        ];
        starts(&spec, &said, WAITS).await?;
        rack.stop().await;
        Ok(())
    })
}

/// What the first run says when it has made a site.
const READY: &str = "/var/lib/scalerforge is ready.";
/// What the appliance says when people can reach it.
const PAGE: &str = "the page asks for the admin's password there";

/// What it says instead with a clock by which nothing may be signed or verified.
const WAITS: &str = "waiting with everything";

/// Starts a machine, waits until it has said all of this and the last of it, and pulls the plug; the seconds until then.
async fn starts(spec: &GuestSpec, said: &[&str], last: &str) -> anyhow::Result<f64> {
    let guest = Guest::start(spec).await?;
    for words in said.iter().chain(&[last]) {
        guest.wait_console(words, LIMIT).await.with_context(|| guest.console().tail(60))?;
    }
    let took = guest.console().first_line_matching(last).context("no last word")?;
    guest.stop().await?;
    Ok(took.as_secs_f64())
}

/// Seconds since the appliance's power-on.
struct Took {
    page: f64,
    node: f64,
}

async fn enrol(guest: &Guest, rack: &Rack) -> anyhow::Result<Took> {
    guest.wait_console("scalerforge start ", LIMIT).await?;
    guest.wait_console(READY, LIMIT).await?;
    let line = guest.wait_console(PAGE, LIMIT).await?;
    let page = Page::new(AT, PASSWORD);
    let id = page.host(SERIAL, "found", LIMIT).await?.id;
    // Nothing is done to a server before a person wants it.
    ensure!(!rack.host(0).console().lines().iter().any(|line| line.text.contains("scalerforge")));
    page.post(&format!("/api/v1/hosts/{id}/enrol"), serde_json::json!({})).await?;
    let waiting =
        page.host(SERIAL, "approving", LIMIT).await.with_context(|| rack.host(0).console().tail(30))?;
    ensure!(waiting.boot_ticket.is_none(), "it booted by a measured URL: {waiting:?}");
    page.post(&format!("/api/v1/hosts/{id}/approve"), serde_json::json!({ "stake": "3000000000000000000" }))
        .await?;
    let host = page.host(SERIAL, "registered", LIMIT).await?;
    let node = host.node.context("a registered host without a node")?;
    let chain = page.chain().await?;
    ensure!(chain.nodes.iter().any(|one| one.node == node && one.class == "lab"), "{:?}", chain.nodes);
    let now = guest.console().since_power_on();
    Ok(Took { page: line.at.as_secs_f64(), node: now.as_secs_f64() })
}

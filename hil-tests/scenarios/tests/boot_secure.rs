//! Secure Boot stays on: our image by HTTPS under the site's own key, and Debian's signed chain under the keys that
//! servers leave the factory with.  An image that nobody has signed is refused by the firmware itself, and so are one that
//! was revoked and a server whose authority it does not have.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use hil_tests_rack::bench::{Bench, BootMachine, Firmware, Way, revoking_variables, secure_boot_variables};
use hil_tests_scenarios::{
    Artefacts,
    boot::{Service, Serving, authority, read, signing_files, watch},
    run,
};

const LIMIT: Duration = Duration::from_secs(300);

/// Where the service is told to serve by HTTPS, to all firmware.
const HTTPS: &str = r#"
[pxe.https]
certificate = "../boot.pem"
key = "../boot.key"
offer = true
"#;

#[test]
fn our_image_boots_by_https_under_the_sites_keys_and_nothing_else_does() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let folder = emptied(artefacts.scratch.join("boot-signed"))?;
        let unsigned = artefacts.image.join("discovery.efi");
        let (signed, certificate) = sign(&folder, &unsigned)?;
        let variables = folder.join("keys.fd");
        let empty = std::fs::read(&artefacts.ovmf_vars)?;
        let full = "OVMF's variables have no room";
        std::fs::write(&variables, secure_boot_variables(&empty, &certificate).context(full)?)?;
        let revoking = folder.join("revoking.fd");
        let digest = image_seal::pe::Image::parse(&std::fs::read(&signed)?)?.authenticode()?;
        std::fs::write(&revoking, revoking_variables(&empty, &certificate, &[digest]).context(full)?)?;
        let firmware = Firmware::Uefi {
            code: artefacts.boot.ovmf_code_secure_boot.clone(),
            variables,
            secure_boot: true,
        };
        let distrusting = Firmware::Uefi {
            code: artefacts.boot.ovmf_code_secure_boot.clone(),
            variables: revoking,
            secure_boot: true,
        };
        let authority = authority(&folder)?;
        let bench = Bench::start(&folder)?;

        let serving =
            Serving { mode: "full", uefi_pxe: "uki", image: Some(&signed), arm64: None, more: HTTPS };
        let service = Service::start(&folder.join("service"), &serving, &artefacts).await?;
        let machine = BootMachine::new("signed", 1, firmware.clone(), Way::Https(authority));
        let shown = watch(&machine, bench.boot(&machine).await?).await?;
        shown.demand(&["dhcp HTTPClient", "https", "dhcp scalerforge-agent"])?;

        let machine = BootMachine::new("bare", 2, firmware.clone(), Way::Http);
        let booting = bench.boot(&machine).await?;
        booting.wait_console("Could not retrieve NBP file size", LIMIT).await?;
        let why = service.why(&machine, "the TLS handshake failed").await?;
        ensure!(why.contains("enrol that authority"), "what is to be done is not said: {why}");
        ensure!(!why.contains("boot it again"), "it would end the same way: {why}");
        let shown = read(&machine, &booting.stop().await)?;
        ensure!(shown.steps == ["dhcp HTTPClient", "https"], "expected an attempt by HTTPS alone: {shown:?}");
        service.stop().await;

        let serving = Serving { more: "", ..serving };
        let service = Service::start(&folder.join("service"), &serving, &artefacts).await?;
        refused(&bench, &BootMachine::new("revoked", 3, distrusting, Way::Http)).await?;
        service.stop().await;

        let serving = Serving { image: None, arm64: None, ..serving };
        let _service = Service::start(&folder.join("service"), &serving, &artefacts).await?;
        refused(&bench, &BootMachine::new("unsigned", 4, firmware, Way::Http)).await
    })
}

/// The firmware loads the image and does not start it.
async fn refused(bench: &Bench, machine: &BootMachine) -> anyhow::Result<()> {
    let booting = bench.boot(machine).await?;
    booting.wait_console("Access Denied", LIMIT).await?;
    let shown = read(machine, &booting.stop().await)?;
    ensure!(shown.steps.contains(&"GET discovery.efi".to_owned()), "refused before it was loaded: {shown:?}");
    ensure!(!shown.steps.iter().any(|step| step.contains("agent")), "it was started: {shown:?}");
    Ok(())
}

/// The chain shim → GRUB → Debian's kernel, each signed by whom the one before trusts, from our service: shim and GRUB
/// under a ticket, GRUB's menu, which it asks for by a fixed name, by the machine's address.
#[test]
fn debians_signed_chain_boots_under_factory_keys() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let folder = emptied(artefacts.scratch.join("boot-shim"))?;
        let boot = &artefacts.boot;
        let bench = Bench::start(&folder)?;
        let more = "uefi_http = \"shim\"";
        let serving = Serving { mode: "full", uefi_pxe: "shim", image: None, arm64: None, more };
        let service = Service::start(&folder.join("service"), &serving, &artefacts).await?;
        let firmware = Firmware::Uefi {
            code: boot.ovmf_code_secure_boot.clone(),
            variables: boot.ovmf_vars_microsoft.clone(),
            secure_boot: true,
        };
        // What shim and GRUB ask for and can do without is refused at once.
        let loaders =
            ["revocations_sku.efi", "revocations_sbat.efi", "shim_certificate_0.efi", "grubx64.efi"];
        let lists = ["command.lst", "fs.lst", "crypto.lst", "terminal.lst", "grub.cfg"];
        let all = |verb: &str, names: &[&str]| -> Vec<String> {
            names.iter().map(|name| format!("{verb} {name}")).collect()
        };
        let agent = || vec!["dhcp scalerforge-agent".to_owned()];

        let machine = BootMachine::new("shim", 1, firmware.clone(), Way::Pxe);
        let shown = watch(&machine, bench.boot(&machine).await?).await?;
        let files = [&["shimx64.efi"][..], &loaders, &lists].concat();
        let steps = [
            vec!["dhcp PXEClient".to_owned()],
            all("tftp", &files),
            all("GET", &["vmlinuz", "initrd"]),
            agent(),
        ];
        shown.demand(&steps.concat()).with_context(|| service.said())?;

        let machine = BootMachine::new("shim-http", 2, firmware, Way::Http);
        let shown = watch(&machine, bench.boot(&machine).await?).await?;
        // GRUB asks for the length of each file first.
        let both = |name: &str| ["HEAD", "GET"].map(|verb| format!("{verb} {name}")).to_vec();
        let steps = [
            vec!["dhcp HTTPClient".to_owned()],
            both("shimx64.efi"),
            all("GET", &loaders),
            all("HEAD", &lists),
            vec!["GET grub.cfg".to_owned()],
            both("vmlinuz"),
            both("initrd"),
            agent(),
        ];
        shown.demand(&steps.concat()).with_context(|| service.said())
    })
}

fn emptied(folder: PathBuf) -> anyhow::Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Makes a key for this test and signs the image with it, as an appliance does; answers the signed image and the certificate (DER).
fn sign(folder: &Path, image: &Path) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    let (key, pem) = signing_files(folder, "db")?;
    let signed = folder.join("signed.efi");
    let key = image_seal::Key::from_pem(&std::fs::read_to_string(key)?)?;
    let certificate = image_seal::authenticode::certificate_of_pem(&std::fs::read(pem)?)?;
    std::fs::write(&signed, image_seal::authenticode::sign(&std::fs::read(image)?, &key, &certificate)?)?;
    Ok((signed, certificate))
}

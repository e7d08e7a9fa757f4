//! The bench itself, with dnsmasq in the place of the server under test: what fails here is the bench's fault.
//!
//! Needs root (or `unshare -rn`), QEMU, dnsmasq, and the package cache with OVMF and iPXE.

#![expect(clippy::unwrap_used, reason = "functions of a test: a panic is the failure message")]

mod bench;

use std::path::Path;
use std::time::Duration;

use hil_tests_rack::bench::{Bench, BootMachine, Firmware, Relaying, Way, dnsmasq};
use hil_tests_rack::netns;

/// Wide, since eight emulators may share two cores; a quiet machine needs 15 s.
const LIMIT: Duration = Duration::from_secs(240);

fn uefi() -> Firmware {
    Firmware::Uefi {
        code: bench::firmware("OVMF_CODE_4M.fd"),
        variables: bench::firmware("OVMF_VARS_4M.fd"),
        secure_boot: false,
    }
}

/// dnsmasq as boot server with its files in `folder`.
fn boot_server(folder: &Path, lines: &[&str]) -> Vec<String> {
    std::fs::create_dir_all(folder).unwrap();
    let mut words = dnsmasq(folder);
    words.extend(["--interface=br0", "--enable-tftp", "--no-ping"].map(ToOwned::to_owned));
    words.push(format!("--tftp-root={}", folder.display()));
    words.extend(lines.iter().map(|line| format!("--{line}")));
    words
}

#[test]
fn uefi_behind_the_relay_loads_its_file_by_tftp() {
    let folder = tempfile::tempdir().unwrap();
    netns::block_on_private(move || async move {
        let files = folder.path().join("reference");
        let lines = [
            "dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,1h",
            "dhcp-range=10.79.0.100,10.79.0.150,255.255.255.0,1h",
            "dhcp-boot=snponly.efi",
        ];
        let words = boot_server(&files, &lines);
        std::fs::copy(bench::firmware("snponly.efi"), files.join("snponly.efi")).unwrap();
        let bench = Bench::start(folder.path()).unwrap();
        let _server = bench.reference("reference", "dnsmasq", &words, "DHCP, IP range").await.unwrap();
        let far = bench.far(Relaying::Marked).await.unwrap();
        let booting = far.boot(&BootMachine::new("far", 1, uefi(), Way::Pxe)).await.unwrap();
        booting.wait_console("iPXE initialising devices", LIMIT).await.unwrap();
        let record = std::fs::metadata(booting.stop().await).unwrap();
        assert!(record.len() > 200_000, "the file's packets are missing in the record");
    })
    .unwrap();
}

#[test]
fn bios_beside_the_rival_boots_from_a_proxy() {
    let folder = tempfile::tempdir().unwrap();
    netns::block_on_private(move || async move {
        let files = folder.path().join("reference");
        let lines = ["dhcp-range=10.77.0.0,proxy,255.255.255.0", "pxe-service=X86PC,reference,boot.ipxe"];
        let words = boot_server(&files, &lines);
        std::fs::write(files.join("boot.ipxe"), "#!ipxe\necho reached ${net0/ip}\nsleep 1000\n").unwrap();
        let bench = Bench::start(folder.path()).unwrap();
        let _rival = bench.rival().await.unwrap();
        let _server = bench.reference("reference", "dnsmasq", &words, "DHCP, proxy").await.unwrap();
        let booting = bench.boot(&BootMachine::new("bios", 2, Firmware::Bios, Way::Pxe)).await.unwrap();
        // The address is the rival's, the script ours.
        booting.wait_console("reached 10.77.0.2", LIMIT).await.unwrap();
        booting.stop().await;
    })
    .unwrap();
}

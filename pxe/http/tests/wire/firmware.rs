//! HTTPS boot as firmware without elliptic curves asks for it, by OpenSSL's own client.

use std::{
    net::Ipv4Addr,
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use pxe_http::{FirmwareTls, FirmwareTlsError};

use crate::world::{World, limits};

fn openssl(arguments: &[&str]) -> Output {
    let output = Command::new("openssl").args(arguments).stdin(Stdio::null()).output();
    output.expect("the openssl program, package openssl")
}

fn identity(kind: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
    let made = openssl(
        &[
            &["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=boot.test"][..],
            &["-keyout", key.to_str().unwrap(), "-out", certificate.to_str().unwrap()],
            kind,
        ]
        .concat(),
    );
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (std::fs::read(certificate).unwrap(), std::fs::read(key).unwrap())
}

#[test]
fn edk2s_suites_get_the_image() {
    let (certificate, key) = identity(&["-newkey", "rsa:2048"]);
    let place = OnceLock::new();
    let world = World::with(limits(), 5_000_011, |server| {
        let tls = FirmwareTls::new(&certificate, &key).unwrap();
        place.set(server.also_firmware((Ipv4Addr::LOCALHOST, 0).into(), tls).unwrap()).unwrap();
    });
    let at = place.into_inner().unwrap();
    let file = world.folder.path().join("fetched");
    // What edk2's hello offers, one by one: 009f 009e 006b 0067 009d 009c 003d 003c.
    for suite in [
        "DHE-RSA-AES256-GCM-SHA384",
        "DHE-RSA-AES128-GCM-SHA256",
        "DHE-RSA-AES256-SHA256",
        "DHE-RSA-AES128-SHA256",
        "AES256-GCM-SHA384",
        "AES128-GCM-SHA256",
        "AES256-SHA256",
        "AES128-SHA256",
    ] {
        let fetched = Command::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--fail", "--http1.1", "--tls-max", "1.2"])
            .args(["--ciphers", suite, "--output"])
            .arg(&file)
            .arg(format!("https://{at}/image"))
            .output()
            .expect("the curl program, package curl");
        assert!(fetched.status.success(), "{suite}: {}", String::from_utf8_lossy(&fetched.stderr));
        assert!(std::fs::read(&file).unwrap() == world.image, "{suite}");
    }
    // What firmware of this kind would never be offered by rustls, and what nobody should be.
    let connect = at.to_string();
    let old = openssl(&["s_client", "-connect", &connect, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(String::from_utf8_lossy(&old.stdout).contains("Cipher is (NONE)"));
}

#[test]
fn keys_that_cannot_work_are_named() {
    let (certificate, key) = identity(&["-newkey", "rsa:2048"]);
    let (_, other) = identity(&["-newkey", "rsa:2048"]);
    let (curve_certificate, curve_key) =
        identity(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    assert!(matches!(FirmwareTls::new(&certificate, &other), Err(FirmwareTlsError::Context(_))));
    assert!(matches!(FirmwareTls::new(&curve_certificate, &curve_key), Err(FirmwareTlsError::NotRsa)));
    assert!(matches!(FirmwareTls::new(b"", &key), Err(FirmwareTlsError::NoCertificate)));
    assert!(matches!(FirmwareTls::new(&certificate, b"rubbish"), Err(FirmwareTlsError::Key(_))));
}

//! HTTPS boot end to end: DHCP names the URL, and a client as poor as firmware fetches the image from it.  `openssl`
//! makes the certificate and `curl` is the client: neither shares code with rustls.

#![cfg(feature = "https-boot")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{net::Ipv4Addr, path::Path, process::Command, time::Duration};

use appliance_model::Now;
use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v4::{DhcpOption, Message, MessageType, Opcode, OptionCode},
};
use pxe_server::{Clock, Config, PxeServer, StartError, wire};
use tokio::net::UdpSocket;

const US: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn config(folder: &Path) -> Config {
    let text = r#"
        address = "127.0.0.1"
        subnet = "127.0.0.0/16"
        relays = ["127.0.0.1"]
        dhcp_port = 0
        http_port = 0
        tftp_port = 0
        boot_server_port = 0
        pool = { first = "127.0.0.100", last = "127.0.0.107" }
        images = { x64 = "discovery.efi" }
        [https]
        port = 0
        certificate = "boot.pem"
        key = "boot.key"
        [[https.offer_to]]
        class = "HTTPClient:Arch:00016:UNDI:003001"
    "#;
    Config::try_from(toml::from_str::<wire::Config>(text).unwrap()).unwrap().in_folder(folder)
}

fn certificate(folder: &Path, key: &[&str]) {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args(["req", "-x509", "-nodes", "-subj", "/CN=boot", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-newkey", key[0], "-keyout", "boot.key", "-out", "boot.pem"])
        .args(&key[1..])
        .output()
        .expect("openssl is a tool of the tests");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The URL in the offer to a client of this class.
async fn url(dhcp: std::net::SocketAddr, class: &str) -> String {
    let relay = UdpSocket::bind((US, 0)).await.unwrap();
    let unset = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(1, unset, unset, unset, US, &[2, 0, 0, 0, 0, 1]);
    message.set_opcode(Opcode::BootRequest);
    message.opts_mut().insert(DhcpOption::MessageType(MessageType::Discover));
    message.opts_mut().insert(DhcpOption::ClassIdentifier(class.as_bytes().to_vec()));
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    relay.send_to(&bytes, dhcp).await.unwrap();
    let mut buffer = [0; 1500];
    let answer = tokio::time::timeout(Duration::from_secs(60), relay.recv(&mut buffer));
    let length = answer.await.expect("an answer").unwrap();
    let offer = Message::decode(&mut Decoder::new(&buffer[..length])).unwrap();
    match offer.opts().get(OptionCode::BootfileName) {
        Some(DhcpOption::BootfileName(name)) => String::from_utf8(name.clone()).unwrap(),
        _ => panic!("no boot file: {offer:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn firmware_that_the_site_names_boots_by_https() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let image = [b"MZ".as_slice(), &[7; 3_000_000]].concat();
    std::fs::write(folder.join("discovery.efi"), &image).unwrap();
    certificate(folder, &["rsa:2048"]);
    let clock = Clock::new(|| Now(1_000_000));
    let (handle, server) = PxeServer::start(config(folder), &folder.join("pxe"), clock).await.unwrap();
    tokio::spawn(server.run());
    let dhcp = handle.dhcp_addresses()[0];
    let secret = url(dhcp, "HTTPClient:Arch:00016:UNDI:003001").await;
    assert!(secret.starts_with("https://127.0.0.1:"), "{secret}");
    let plain = url(dhcp, "HTTPClient:Arch:00016:UNDI:003016").await;
    assert!(plain.starts_with("http://127.0.0.1:"), "others are not sent there: {plain}");
    // What edk2 without elliptic curves has: RSA key exchange, TLS 1.2.
    let fetched = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--tls-max", "1.2", "--ciphers", "AES128-SHA256"])
        .arg("--cacert")
        .arg(folder.join("boot.pem"))
        .arg(&secret)
        .output()
        .await
        .expect("curl is a tool of the tests");
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert!(fetched.stdout == image, "{} bytes came", fetched.stdout.len());
}

#[tokio::test]
async fn a_key_that_firmware_cannot_take_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    std::fs::write(folder.join("discovery.efi"), b"MZ").unwrap();
    certificate(folder, &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let clock = Clock::new(|| Now(1_000_000));
    let error = PxeServer::start(config(folder), &folder.join("pxe"), clock).await.unwrap_err();
    let StartError::Https { path, source } = &error else { panic!("{error}") };
    assert_eq!(path, &folder.join("boot.key"));
    assert!(source.to_string().contains("is not RSA"), "{source}");
}

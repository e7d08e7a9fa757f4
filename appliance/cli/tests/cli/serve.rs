//! What `serve` refuses to start with: each in one paragraph that says what, where and what to do, and changes nothing.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Stdio},
};

use crate::{path, refused, run, scalerforge, site::Site};

#[track_caller]
fn refuses(site: &Site, words: &[&str]) {
    let before = site.listing();
    let output = run(&["serve", "--site", path(&site.dir())]);
    refused(&output, words);
    assert_eq!(site.listing(), before, "the site directory was changed");
}

#[test]
fn a_directory_that_is_no_site() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    for dir in [dir.path(), &absent] {
        let output = run(&["serve", "--site", path(dir)]);
        refused(
            &output,
            &[path(&dir.join("scalerforge.toml")), "`scalerforge site init DIR`", "--site", "No such file"],
        );
    }
    assert!(!absent.exists());
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    let rows = [
        ("[site]\n", "[site]\ncolour = \"blue\"\n", "colour", "unknown field `colour`"),
        ("subnet =", "subnett =", "subnett", "unknown field `subnett`"),
        ("first =", "frist =", "frist", "unknown field `frist`"),
        ("[registration]", "[registry]", "[registry]", "unknown field `registry`"),
    ];
    for (from, to, place, words) in rows {
        let site = Site::new();
        site.edit(from, to);
        let place = format!("scalerforge.toml line {}:", site.line(place));
        refuses(&site, &[&place, words, "nothing was started"]);
    }
}

#[test]
fn values_that_make_no_sense_are_named_with_their_key() {
    let absent = "image.uki names";
    let rows: [(&str, &str, &[&str]); 16] = [
        (
            "first = \"127.0.0.100\"",
            "first = \"127.0.1.100\"",
            &["pxe.pool.first: `127.0.1.100`", "pxe.subnet 127.0.0.0/24", "correct"],
        ),
        ("last = \"127.0.0.199\"", "last = \"10.0.0.1\"", &["pxe.pool.last: `10.0.0.1`", "scalerforge.toml"]),
        ("subnet = \"127.0.0.0/24\"", "subnet = \"127.0.0.0\"", &["pxe.subnet", "no prefix length"]),
        (
            "uki = \"discovery.efi\"",
            "uki = \"absent.efi\"",
            &[absent, "absent.efi", "cannot be read", "correct the path"],
        ),
        ("uki = \"discovery.efi\"", "uki = \"endorsement\"", &[absent, "endorsement", "Is a directory"]),
        ("uki = \"discovery.efi\"", "uki = \"ca.pem\"", &["ca.pem", "does not begin with MZ"]),
        ("reference = \"reference.json\"", "reference = \"no.json\"", &["image.reference names", "no.json"]),
        (
            "reference = \"reference.json\"",
            "reference = \"ca.pem\"",
            &["image.reference: `ca.pem` is not a file of reference"],
        ),
        (
            "reference = \"reference.json\"",
            "reference = \"reference.json\"\n[image.arm64]\nuki = \"no.efi\"\nreference = \"reference.json\"",
            &["image.arm64.uki names", "no.efi"],
        ),
        (
            "reference = \"reference.json\"",
            "reference = \"reference.json\"\n[image.arm64]\nuki = \"discovery.efi\"\nreference = \"reference.json\"",
            &["image.arm64.uki: ", "discovery.efi is not for arm64", "--arch arm64"],
        ),
        ("profile = \"demo\"", "profile = \"gentle\"", &["burn_in.profile: `gentle`", "smoke, admit"]),
        (
            "endorsement_dir = \"endorsement\"",
            "endorsement_dir = \"nowhere\"",
            &["nowhere", "trust.endorsement_dir", "No such file"],
        ),
        (
            "chain_id = 777077",
            "chain_id = 777077\nregistry = \"0x12\"",
            &["chain.registry: `0x12`", "40 hex digits"],
        ),
        (
            "chain_id = 777077",
            "chain_id = 777077\nrpc_url = \"ftp://x\"",
            &["chain.rpc_url: `ftp://x`", "http:// or https://"],
        ),
        (
            "silence_seconds_max = 30",
            "silence_seconds_max = 5",
            &["site.silence_seconds_max: `5`", "more than the 10 s"],
        ),
        (
            "reward_share_permille = 200",
            "reward_share_permille = 2000",
            &["reward_share_permille: `2000`", "1000"],
        ),
    ];
    for (from, to, words) in rows {
        let site = Site::new();
        site.edit(from, to);
        refuses(&site, words);
    }
}

#[test]
fn bmcs_without_encryption_or_password() {
    let bmc = |url: &str, file: &str| {
        format!(
            "booking_days_max = 365\n[[bmc]]\nurl = \"{url}\"\nuser = \"admin\"\npassword_file = \"{file}\"\n"
        )
    };
    let site = Site::new();
    site.edit("booking_days_max = 365\n", &bmc("http://10.78.0.11", "ca.pem"));
    refuses(&site, &["bmc.url: `http://10.78.0.11`", "https://"]);
    site.edit("booking_days_max = 365\n", &bmc("https://10.78.0.11", "absent.password"));
    refuses(&site, &["bmc.password_file names", "absent.password"]);
}

#[test]
fn keys_that_cannot_be_used() {
    let site = Site::new();
    let key = site.file("operator.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    refuses(&site, &[path(&key), "mode 0644", "chmod 600"]);

    let secret = "zz".repeat(32);
    let site = Site::new();
    site.write("operator.key", &secret);
    let output = run(&["serve", "--site", path(&site.dir())]);
    refused(&output, &[path(&site.file("operator.key")), "64 hex digits"]);
    assert!(!crate::text(&output.stderr).contains(&secret), "a key file's content is never repeated");

    for name in ["operator.key", "deployer.key", "attestor.key", "ca.key"] {
        let site = Site::new();
        std::fs::remove_file(site.file(name)).unwrap();
        refuses(&site, &[path(&site.file(name)), "No such file"]);
    }
}

#[test]
fn an_address_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    for section in ["agent", "operator"] {
        let site = Site::new();
        let from = format!("[{section}]\nlisten = \"127.0.0.1:0\"");
        site.edit(&from, &format!("[{section}]\nlisten = \"{at}\""));
        refuses(&site, &[&format!("cannot listen on {at} for {section}s"), "is another appliance running"]);
    }
    let site = Site::new();
    site.edit("http_port = 0", &format!("http_port = {}", at.port()));
    refuses(&site, &["machines cannot be booted", &at.to_string()]);
}

#[test]
fn a_chain_with_another_id() {
    let site = Site::new();
    let chain = DevelopmentChain::start(&site.file("deployer.key"), 4242);
    site.edit("chain_id = 777077", &format!("chain_id = 777077\nrpc_url = \"{}\"", chain.url));
    refuses(&site, &[&chain.url, "has id 4242", "says 777077", "correct the URL or the chain id"]);
}

/// `scalerforge chain devnet` in a directory of its own.
struct DevelopmentChain {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl DevelopmentChain {
    fn start(fund: &Path, id: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = scalerforge()
            .args(["chain", "devnet", "--listen", "127.0.0.1:0", "--chain-id", &id.to_string()])
            .arg("--dir")
            .arg(dir.path())
            .arg("--fund")
            .arg(fund)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"), "{line}");
        Self { child, url, _dir: dir }
    }
}

impl Drop for DevelopmentChain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

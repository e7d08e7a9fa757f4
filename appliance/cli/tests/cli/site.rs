//! A site directory that would work, for tests to spoil.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use image_seal::uki;
use tempfile::TempDir;

use crate::{path, run};

#[path = "../../../../image/seal/src/tiny.rs"]
pub(crate) mod tiny;

/// On loopback, with ports that the system chooses: needs no root and disturbs nobody.
const CONFIG: &str = r#"[site]
name = "test"
enrolment = "auto"
approval = "auto"
silence_seconds_max = 30

[pxe]
address = "127.0.0.1"
subnet = "127.0.0.0/24"
api_url = "https://127.0.0.1:8443"
dhcp_port = 0
http_port = 0
tftp_port = 0
boot_server_port = 0

[pxe.pool]
first = "127.0.0.100"
last = "127.0.0.199"

[image]
uki = "discovery.efi"
reference = "reference.json"

[agent]
listen = "127.0.0.1:0"

[operator]
listen = "127.0.0.1:0"

[burn_in]
profile = "demo"

[trust]
endorsement_dir = "endorsement"
allow_software_tpm = true

[chain]
chain_id = 777077
operator_key_file = "operator.key"
fee_gwei_max = 100

[registration]
region = "eu-west"
hp_id = 1
location_code = 83
reservation_price_icnt = 10
reward_share_permille = 200
commitment_days = 1080
booking_days_max = 365
"#;

/// The smallest image that can be sealed; nothing boots from it.
fn base() -> Vec<u8> {
    let parts = uki::Parts {
        stub: &tiny::tiny_with_room(),
        kernel: &tiny::tiny(16),
        kernel_release: "6",
        initrd: b"initrd",
        os_release: "NAME=test\nVERSION_ID=1\n",
        command_line: "quiet",
    };
    uki::assemble(&parts).unwrap()
}

/// A site directory of this test's own.
pub(crate) struct Site {
    dir: TempDir,
}

impl Site {
    /// One that `serve` accepts.
    pub(crate) fn new() -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        assert!(run(&["site", "init", path(&site.dir())]).status.success());
        let uki = base();
        let reference = uki::measure(None, &uki).unwrap();
        site.write("reference.json", &serde_json::to_string(&reference).unwrap());
        std::fs::write(site.file("discovery.efi"), uki).unwrap();
        site.write("scalerforge.toml", CONFIG);
        site
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("site")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    /// Replaces a part of the site file that is there once.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        assert_eq!(CONFIG.matches(from).count(), 1, "{from}");
        self.write("scalerforge.toml", &CONFIG.replace(from, to));
    }

    /// Writes more behind the site file.
    pub(crate) fn append(&self, text: &str) {
        self.write("scalerforge.toml", &format!("{CONFIG}{text}"));
    }

    /// The line of the site file, from 1, where this text is.
    pub(crate) fn line(&self, text: &str) -> usize {
        let config = std::fs::read_to_string(self.file("scalerforge.toml")).unwrap();
        config.lines().position(|line| line.contains(text)).unwrap() + 1
    }

    /// Every file and directory with its content's digest.
    pub(crate) fn listing(&self) -> BTreeMap<PathBuf, Option<[u8; 32]>> {
        let mut listing = BTreeMap::new();
        list(&self.dir(), &mut listing);
        // Made once at a site's first start, however it ends: the sealed images, and the keys that they are signed with.
        listing
            .retain(|path, _| !["images", "keys"].iter().any(|made| path.starts_with(self.dir().join(made))));
        listing
    }
}

fn list(dir: &Path, listing: &mut BTreeMap<PathBuf, Option<[u8; 32]>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, listing);
            listing.insert(path, None);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            listing.insert(path, Some(attest_evidence::digest(&bytes)));
        }
    }
}

//! What a release is, what it is sealed into, and what stays of it.

use image_seal::{
    pe::Image,
    uki::{Parts as Uki, assemble},
};

use super::*;
use crate::secure_boot::BootKeys;

#[path = "../../../../../image/seal/src/tiny.rs"]
mod tiny;

/// A folder with a release of four small parts; `bend` changes its description.
fn built(bend: impl FnOnce(&mut serde_json::Value)) -> Result<Release, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut parts = Vec::new();
    for (role, file) in [("loader", "loader.efi"), ("uki", "host.efi"), ("root", "r"), ("verity", "v")] {
        fs::write(dir.path().join(file), role).unwrap();
        let sha256 = digest(role.as_bytes()).to_string();
        parts.push(serde_json::json!({ "role": role, "file": file, "bytes": role.len(), "sha256": sha256 }));
    }
    let root_hash = "01".repeat(32);
    let mut json = serde_json::json!({
        "name": "scalerforge-host", "version": "1.2", "epoch": 3, "root_hash": root_hash, "parts": parts
    });
    bend(&mut json);
    fs::write(dir.path().join(RELEASE_FILE), json.to_string()).unwrap();
    read(dir.path()).map(|(release, _)| release).map_err(|error| crate::chain_of(&error))
}

#[test]
fn a_release_is_what_it_was_built_as_or_none() {
    assert_eq!(built(|_| {}).unwrap().epoch, 3);
    let refused = |why: &str, bend: &dyn Fn(&mut serde_json::Value)| {
        let error = built(bend).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    refused("other bytes than it was built with", &|json| json["parts"][2]["bytes"] = 9.into());
    refused("other bytes", &|json| json["parts"][0]["sha256"] = "00".repeat(32).into());
    refused("exactly one part for Verity", &|json| drop(json["parts"].as_array_mut().unwrap().pop()));
    refused("exactly one part for Loader", &|json| json["parts"][1]["role"] = "loader".into());
    refused("is called", &|json| json["parts"][2]["file"] = "../r".into());
    refused("cannot open", &|json| json["parts"][2]["file"] = "gone".into());
    refused("other letters", &|json| json["version"] = "1 2".into());
    refused("unknown field", &|json| json["more"] = 1.into());
}

#[test]
fn what_was_sealed_before_is_known_and_only_its_values_stay() {
    let dir = tempfile::tempdir().unwrap();
    let release = built(|_| {}).unwrap();
    let reference = serde_json::json!({
        "name": "host-1", "uki_sha256": "02".repeat(32), "bank": "sha256", "pcrs": []
    });
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    for folder in [&old, &new] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join(UKI), "uki").unwrap();
        let known = serde_json::json!({ "release": release, "reference": reference });
        fs::write(folder.join(KNOWN), known.to_string()).unwrap();
    }
    slim(dir.path(), &new);
    assert!(!old.join(UKI).exists() && new.join(UKI).exists());
    let found = known(dir.path());
    assert_eq!((found.len(), found[0].release == release), (2, true));
    fs::write(old.join(KNOWN), "{").unwrap();
    assert_eq!(known(dir.path()).len(), 1, "what is not readable is not believed");
    let releases = Releases { current: None, known: found };
    assert!(releases.named("host-1").is_some() && releases.named("host-2").is_none());
}

/// A release whose loader and UKI are images.
fn images(dir: &Path) -> Host {
    let uki = Uki {
        stub: &tiny::tiny_with_room(),
        kernel: &tiny::tiny(16),
        kernel_release: "6",
        initrd: b"initrd",
        os_release: "NAME=x\n",
        command_line: "quiet",
    };
    let (uki, loader) = (assemble(&uki).unwrap(), tiny::tiny(0));
    let parts: [(&str, &[u8]); 4] =
        [("loader", &loader), ("uki", &uki), ("root", b"root"), ("verity", b"verity")];
    let parts = parts.map(|(role, bytes)| {
        fs::write(dir.join(role), bytes).unwrap();
        let sha256 = digest(bytes).to_string();
        serde_json::json!({ "role": role, "file": role, "bytes": bytes.len(), "sha256": sha256 })
    });
    let root_hash = "01".repeat(32);
    let json = serde_json::json!({
        "name": "x", "version": "1", "epoch": 1, "root_hash": root_hash, "parts": parts
    });
    fs::write(dir.join(RELEASE_FILE), json.to_string()).unwrap();
    Host { release: dir.to_owned(), appliance: "https://10.77.0.1:8443".into() }
}

/// Firmware that trusts this site alone starts both, and an order names the signed files.
#[test]
fn loader_and_system_are_signed_by_a_site_that_has_a_key() {
    let (built, site) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let host = images(built.path());
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem();
    for own in [true, false] {
        let keys = BootKeys::open(site.path(), own).unwrap();
        let seal = SealKeys { boot: keys.signer(), policy: Some(keys.policy()) };
        let releases = Releases::open(site.path(), Some(&host), ca.as_bytes(), &seal).unwrap();
        let current = releases.current().unwrap();
        for role in [Role::Loader, Role::Uki] {
            let part = current.parts().into_iter().find(|part| part.role == role).unwrap();
            let bytes = fs::read(current.part(part.sha256).unwrap().1).unwrap();
            assert_eq!(digest(&bytes), part.sha256, "{role:?}");
            assert_eq!(Image::parse(&bytes).unwrap().is_signed().unwrap(), own, "{role:?}");
            if let Some((_, certificate)) = keys.signer() {
                assert!(bytes.windows(certificate.len()).any(|some| some == certificate), "{role:?}");
            }
        }
    }
}

//! Known vulnerabilities stop each kind of build, before anything is made, unless somebody accepts them.

use std::{fs, path::Path, process::Output};

use serde_json::Value;

use crate::{path, refused, run, text};

/// A lock of one package, and no kernel: what stops a build behind the vulnerabilities, without a mirror.
fn lock(dir: &Path, version: &str) -> String {
    let file = dir.join(format!("lock-{version}.json"));
    let sha256 = "ab".repeat(32);
    let text = format!(
        r#"{{"suite": "trixie", "packages": [{{"name": "libssl3t64", "version": "{version}", "architecture": "amd64",
            "sets": ["host"], "source": "openssl", "archive": "release", "path": "pool/main/o/openssl/libssl3t64.deb",
            "bytes": 1, "sha256": "{sha256}"}}]}}"#
    );
    fs::write(&file, text).unwrap();
    path(&file).to_owned()
}

const TRACKER: &str = r#"{
    "openssl": {"CVE-2026-1000": {"description": "reads too far", "releases": {"trixie":
        {"status": "resolved", "fixed_version": "3.5.8-1", "urgency": "not yet assigned"}}}},
    "zlib": {"CVE-2026-1001": {"releases": {"trixie": {"status": "open", "urgency": "high"}}}}
}"#;

#[test]
fn a_build_of_a_vulnerable_lock_stops_before_it_makes_anything() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| path(&dir.path().join(name)).to_owned();
    let (old, new) = (lock(dir.path(), "3.5.7-1"), lock(dir.path(), "3.5.8-1"));
    let (data, accept, out, cache) = (at("data"), at("accept"), at("out"), at("cache"));
    fs::write(&data, TRACKER).unwrap();
    fs::write(&accept, "CVE-2026-1000 nothing here speaks TLS\n").unwrap();
    let builds: [&[&str]; 3] = [
        &["build", "--agent", "none"],
        &["build-host", "--agent", "none", "--start", "none"],
        &["build-appliance", "--start", "none", "--discovery", "none", "--host", "none"],
    ];
    for build in builds {
        let with = |lock: &str, more: &[&str]| -> Output {
            let from = ["--out", &out, "--cache", &cache, "--lock", lock];
            run(&[&["image"], build, &from, more].concat())
        };
        let words = [
            "1 critical vulnerabilities",
            "nothing was built",
            "CVE-2026-1000 (openssl 3.5.7-1, fixed in 3.5.8-1)",
            "`scalerforge image lock`",
            "--cve-accept",
        ];
        refused(&with(&old, &["--cve-data", &data]), &words);
        assert!(!Path::new(&out).exists() && !Path::new(&cache).exists(), "{build:?} made something");
        for (lock, more) in [
            (&new, &["--cve-data", data.as_str()][..]),
            (&old, &["--cve-data", &data, "--cve-accept", &accept]),
        ] {
            let said = text(&with(lock, more).stderr);
            assert!(!said.contains("vulnerabilities") && !said.is_empty(), "{build:?} goes on: {said}");
        }
        refused(&with(&old, &["--cve-accept", &accept]), &["--cve-data", "--cve-mirror"]);
        let _ = fs::remove_dir_all(&out);
        let _ = fs::remove_dir_all(&cache);
    }
}

#[test]
fn the_report_names_its_lock_and_what_stops_a_build() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::write(&data, TRACKER).unwrap();
    for (version, critical) in [("3.5.7-1", 1), ("3.5.8-1", 0)] {
        let lock = lock(dir.path(), version);
        let output = run(&["image", "cve", "--json", "--lock", &lock, "--cve-data", path(&data)]);
        assert_eq!(output.status.code(), Some(critical), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["critical"], critical);
        assert_eq!((&report["sources"], &report["tracker"]["known"]), (&1.into(), &1.into()));
        let digest = image_build::Lock::parse(&fs::read_to_string(&lock).unwrap()).unwrap().digest();
        assert_eq!(report["lock"], digest);
        assert!(report["mirror"].is_null(), "nobody asked it");
    }
}

//! `carve plan` over two files, and one unit of what it planned shown without the others.

use std::path::Path;

use appliance_model::units::Manifest;
use attest_evidence::{Purpose, Target, digest};

use crate::{evidence::for_purpose, path, refused, run, text};

/// Four cores with two threads each, one node, two drives, a port.
fn machine(dir: &Path) -> [String; 2] {
    let thread = |cpu: u32| serde_json::json!({"cpu": cpu, "core": cpu % 4, "socket": 0, "node": 0});
    let drive = |serial: &str| {
        serde_json::json!({
            "name": null, "bus": "nvme", "model": null, "serial": serial, "firmware": null,
            "bytes": 4_000_000_000_000_u64, "wwid": null, "namespace": 1, "rotational": false, "node": 0,
            "pci": null, "health": null
        })
    };
    let inventory = serde_json::json!({
        "system": {"serial": "SYS-1"},
        "threads": (0..8).map(thread).collect::<Vec<_>>(),
        "memory_bytes": 64_u64 << 30,
        "memory_nodes": [{"node": 0, "bytes": 64_u64 << 30}],
        "drives": [drive("FAST1"), drive("DUMB1")],
        "nics": [{"name": "eth0", "mac": "02:00:00:00:00:01", "speed_mbps": 25_000}],
    });
    let outcome = |serial: &str, iops: u64| {
        let figure = |name: &str, value: u64, unit: &str| serde_json::json!({"name": name, "device": format!("drive {serial}"), "value": value, "unit": unit});
        let figures = [
            figure("random-read-rate", iops, "operations-per-second"),
            figure("random-read-p99", 200, "microseconds"),
            figure("failed-reads", 0, "count"),
        ];
        serde_json::json!({"task": format!("storage/drive-read/{serial}"), "boot": 1, "seconds": 5,
            "done": {"kind": "measured", "figures": figures, "faults": [], "coverage": []}})
    };
    let report = serde_json::json!({
        "course": {"profile": "smoke", "profile_digest": "", "serial": "SYS-1", "stages": []},
        "outcomes": [outcome("FAST1", 400_000), outcome("DUMB1", 150)],
        "verdict": {"verdict": "pass", "coverage": []},
        "stream": {"lines": 0, "sha256": "00".repeat(32)},
    });
    [("inventory.json", inventory), ("burn-in.json", report)].map(|(name, value)| {
        let file = dir.join(name);
        std::fs::write(&file, value.to_string()).unwrap();
        path(&file).to_owned()
    })
}

#[test]
fn a_plan_says_what_is_sold_and_hosted_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let [inventory, burn_in] = machine(dir.path());
    let plan = ["carve", "plan", "--inventory", &inventory, "--burn-in", &burn_in];
    let output = run(&plan);
    let said = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{said}");
    for words in [
        "SYS-1: lab · capacity 3 cores to sell",
        "no    compute          3 cores to sell, needs 16; 60 GiB of memory to sell, needs 32",
        "units: 3 compute, ",
        "the host keeps CPUs 0 4 and ",
        "drive FAST1: Fast, 400000 random reads a second",
        "drive DUMB1: Slow, 150 random reads a second, 99 in 100 within 200 µs; fast needs 20000 a second",
        "hosts 1 × storage-small, 1 × storage-large, 1 × compute-small, each kind alone",
        "then 25000 Mbit/s left on the freest port, needs 100000; 3 cores left, needs 96; ",
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
    let output = run(&[&plan[..], &["--place", "storage-small=1", "--place", "compute-small"]].concat());
    let said = text(&output.stdout);
    assert!(said.contains("hosts 1 × storage-small, 1 × compute-small\n"), "{said}");
    refused(&run(&[&plan[..], &["--place", "moon"]].concat()), &["no instance `moon`", "storage-small"]);
    refused(&run(&[&plan[..], &["--place", "gpu-8=x"]].concat()), &["`gpu-8=x` ends in no number"]);
    let passed = text(&std::fs::read(&burn_in).unwrap());
    let failed = passed.replace(
        r#"{"coverage":[],"verdict":"pass"}"#,
        r#"{"reasons":["cpu 3: a known answer came out wrong"],"verdict":"fail"}"#,
    );
    assert_ne!(failed, passed);
    std::fs::write(&burn_in, failed).unwrap();
    let output = run(&plan);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("NOT CARVED: burn-in did not pass: cpu 3"), "{output:?}");
}

#[test]
fn one_unit_is_shown_without_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let [inventory, burn_in] = machine(dir.path());
    let output = run(&["carve", "plan", "--inventory", &inventory, "--burn-in", &burn_in, "--json"]);
    let planned: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(planned["faults"].as_array().unwrap().len(), 0);
    let root = planned["unit_root"].as_str().unwrap().to_owned();
    let manifest: Manifest = serde_json::from_value(planned["manifest"].clone()).unwrap();
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut unit_root = [0; 32];
    unit_root.copy_from_slice(&hex::decode(&root).unwrap());
    let purpose = Purpose::Registration {
        target: Target { chain_id: 1, registry: [1; 20], operator: [2; 20] },
        unit_root,
        manifest: digest(&manifest),
    };
    let file = dir.path().join("node.evidence");
    std::fs::write(&file, for_purpose(purpose, Some(manifest))).unwrap();
    let output = run(&["unit", "prove", path(&file), "storage-0001"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let proof = dir.path().join("proof.json");
    std::fs::write(&proof, &output.stdout).unwrap();
    for by in [["--root", root.as_str()], ["--evidence", path(&file)]] {
        let output = run(&["unit", "verify", path(&proof), by[0], by[1]]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("storage-0001: fast drive FAST1 of 4000 GB, node 0\nleaf "), "{said}");
        assert_eq!(said.contains("`evidence verify` says"), by[0] == "--evidence");
    }
    let altered = text(&std::fs::read(&proof).unwrap()).replace("4000000000000", "8000000000000");
    std::fs::write(&proof, altered).unwrap();
    let output = run(&["unit", "verify", path(&proof), "--root", &root]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).starts_with("REFUSED: the proof leads to root "), "{output:?}");
    refused(&run(&["unit", "prove", path(&file), "moon-0000"]), &["no unit `moon-0000`", "compute-0000"]);
    refused(&run(&["unit", "verify", path(&file), "--root", &root]), &["the proof cannot be read"]);
    std::fs::write(&file, for_purpose(Purpose::Admission, None)).unwrap();
    refused(&run(&["unit", "prove", path(&file), "x"]), &["evidence for admission"]);
    let output = run(&["unit", "verify", path(&proof)]);
    assert!(text(&output.stderr).contains("--root <HEX>|--evidence <FILE>"), "{output:?}");
}

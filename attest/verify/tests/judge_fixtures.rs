//! Logs and certificates that nobody on this project made: read from `$SCALERFORGE_FIXTURES` by `cargo xtask judge`.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

use std::{collections::BTreeMap, env, fs, path::PathBuf, process::Command};

use attest_verify::{endorsement::Roots, secure_boot};
use attest_wire::eventlog::{Bank, EventLog, boot_url, loaded_images};

/// 2026-01-01.
const NOW: u64 = 1_767_225_600;

fn fixtures(folder: &str) -> PathBuf {
    let root = env::var_os("SCALERFORGE_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"),
        PathBuf::from,
    );
    root.join(folder)
}

fn logs() -> BTreeMap<String, Vec<u8>> {
    let folder = fixtures("tpm-eventlogs");
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut logs = BTreeMap::new();
    for file in files {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "bin") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            logs.insert(name, fs::read(&path).unwrap());
        }
    }
    logs
}

#[test]
#[ignore = "reads the fixtures: cargo xtask judge"]
fn judge_every_event_log_parses_and_replays() {
    let logs = logs();
    assert!(logs.len() >= 9, "found only {:?}", logs.keys());
    for (name, bytes) in &logs {
        let log = EventLog::parse(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        for bank in log.banks() {
            let replay = log.replay(*bank).unwrap_or_else(|error| panic!("{name}, {bank}: {error}"));
            println!(
                "{name}: {} events, {bank}, locality {}, images {}, PCR 0 {}",
                log.events().len(),
                replay.startup_locality(),
                loaded_images(&log).len(),
                replay.value(0).map_or("none".into(), hex::encode),
            );
        }
        println!(
            "{name}: separators missing {:?}, {:?}",
            secure_boot::odd_separators(&log),
            secure_boot::state(&log)
        );
        assert_eq!(boot_url(&log), None, "{name} was not booted over HTTP");
    }
}

#[test]
#[ignore = "reads the fixtures: cargo xtask judge"]
fn judge_no_mutation_of_a_real_log_panics() {
    for (name, bytes) in &logs() {
        // Every byte of the first 4 KiB, then every 13th: the header and all kinds of events are hit.
        for place in (0..bytes.len()).filter(|place| *place < 4096 || place % 13 == 0) {
            let mut mutant = bytes.clone();
            mutant[place] ^= 0xff;
            for bytes in [&mutant[..], &bytes[..place]] {
                if let Ok(log) = EventLog::parse(bytes) {
                    let _ = log.replay(Bank::Sha256);
                    let _ = boot_url(&log);
                }
            }
        }
        println!("{name}: survived");
    }
}

#[test]
#[ignore = "reads the fixtures: cargo xtask judge"]
fn judge_endorsement_roots_are_read() {
    let mut roots = Roots::default();
    for file in ["roots.pem", "intermediates.pem"] {
        let pem = fs::read(fixtures("tpm-ek-roots").join(file)).unwrap();
        let blocks = String::from_utf8_lossy(&pem).matches("-----BEGIN CERTIFICATE-----").count();
        let added =
            if file == "roots.pem" { roots.add_roots_pem(&pem) } else { roots.add_pem(&pem) }.unwrap();
        println!("{file}: {blocks} certificates, {added:?}");
        assert_eq!(added.roots + added.intermediates + added.unreadable.len(), blocks);
        assert!(added.unreadable.is_empty(), "{file}: {:?}", added.unreadable);
    }
    assert!(!roots.is_empty());
    // The makers' own signatures are the judge of path building.
    let loose = roots.loose(NOW);
    assert!(loose.is_empty(), "leading to no root:\n{}", loose.join("\n"));
}

/// tpm2-tools read the same logs: their PCR values are the second opinion, all of them, in every bank.
#[test]
#[ignore = "reads the fixtures: cargo xtask judge"]
fn judge_replays_as_tpm2_eventlog_does() {
    for (name, bytes) in &logs() {
        let path = fixtures("tpm-eventlogs").join(format!("{name}.bin"));
        let output = Command::new("tpm2_eventlog").arg(path).output().expect("tpm2-tools are installed");
        let text = String::from_utf8_lossy(&output.stdout);
        let log = EventLog::parse(bytes).unwrap();
        let Some((_, values)) = text.split_once("\npcrs:\n") else {
            assert_eq!(name, "short_no_action_eventlog", "tpm2_eventlog refused it");
            continue;
        };
        let mut bank = None;
        let mut compared = 0;
        for line in values.lines() {
            let (key, value) = line.split_once(':').unwrap();
            bank = match key.trim() {
                "sha1" => Some(Bank::Sha1),
                "sha256" => Some(Bank::Sha256),
                "sha384" => Some(Bank::Sha384),
                "sha512" | "sm3_256" => None,
                pcr => {
                    let Some(bank) = bank else { continue };
                    let own = log.replay(bank).unwrap();
                    let own = own.value(pcr.parse().unwrap()).map(hex::encode);
                    assert_eq!(own.as_deref(), value.trim().strip_prefix("0x"), "{name}, PCR {pcr}");
                    compared += 1;
                    Some(bank)
                }
            };
        }
        println!("{name}: {compared} values agree");
        assert!(compared > 0);
    }
}

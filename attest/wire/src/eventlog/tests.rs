//! Logs made by hand here; real ones are read by `attest/verify/tests/judge_fixtures.rs`.

use alloc::{vec, vec::Vec};

use super::*;

fn header(algorithms: &[(u16, u16)]) -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    data.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
    for (id, bytes) in algorithms {
        data.extend(id.to_le_bytes());
        data.extend(bytes.to_le_bytes());
    }
    data.push(0);
    sha1_event(0, EV_NO_ACTION, &[0; 20], &data)
}

fn sha1_event(pcr: u32, kind: u32, digest: &[u8; 20], data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(pcr.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(digest);
    bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(data);
    bytes
}

fn agile_event(pcr: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(pcr.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(0x000bu16.to_le_bytes());
    bytes.extend(Bank::Sha256.hash(&[data]));
    bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(data);
    bytes
}

fn image_load(url: &[u8]) -> Vec<u8> {
    let mut path = vec![1, 1, 6, 0, 0, 0];
    path.extend([3, 24]);
    path.extend(u16::try_from(url.len() + 4).unwrap().to_le_bytes());
    path.extend(url);
    path.extend([0x7f, 0xff, 4, 0]);
    let mut data = vec![0; 24];
    data.extend(u64::try_from(path.len()).unwrap().to_le_bytes());
    data.extend(path);
    data
}

fn small_log() -> Vec<u8> {
    let mut log = header(&[(0x000b, 32)]);
    log.extend(agile_event(0, EV_NO_ACTION, b"StartupLocality\0\x03"));
    log.extend(agile_event(0, 8, b"firmware"));
    log.extend(agile_event(
        4,
        EV_EFI_BOOT_SERVICES_APPLICATION,
        &image_load(b"http://10.77.0.1:8080/boot/a/d.efi"),
    ));
    log.extend(agile_event(4, EV_EFI_BOOT_SERVICES_APPLICATION, &image_load(b"")));
    log
}

#[test]
fn replays_with_startup_locality_and_reads_the_boot_url() {
    let bytes = small_log();
    let log = EventLog::parse(&bytes).unwrap();
    assert_eq!(log.banks(), [Bank::Sha256]);
    assert_eq!(log.events().len(), 4);
    assert!(log.events()[1].data_is_measured(Bank::Sha256));
    let replay = log.replay(Bank::Sha256).unwrap();
    let mut start = [0; 32];
    start[31] = 3;
    let digest = Bank::Sha256.hash(&[b"firmware"]);
    assert_eq!(replay.value(0).unwrap(), Bank::Sha256.hash(&[&start, &digest]));
    assert_eq!(replay.value(7), None);
    assert_eq!(boot_url(&log).as_deref(), Some("http://10.77.0.1:8080/boot/a/d.efi"));
    assert_eq!(log.replay(Bank::Sha1).unwrap_err().what, Fault::NoSuchBank(Bank::Sha1));
}

#[test]
fn hcrtm_without_a_locality_event_starts_at_four() {
    let mut bytes = header(&[(0x000b, 32)]);
    bytes.extend(agile_event(0, EV_EFI_HCRTM_EVENT, b"HCRTM"));
    assert_eq!(EventLog::parse(&bytes).unwrap().replay(Bank::Sha256).unwrap().startup_locality(), 4);
}

#[test]
fn refuses_with_the_reason() {
    let head = header(&[(0x000b, 32)]);
    let with = |event: Vec<u8>| [head.clone(), event].concat();
    let mut two = agile_event(0, 1, b"");
    two[8] = 2;
    let mut other_algorithm = agile_event(0, 1, b"");
    other_algorithm[12] = 0x0c;
    let mut bomb = agile_event(0, 1, b"");
    let end = bomb.len();
    bomb[end - 4..].copy_from_slice(&[0xff; 4]);
    let rows = [
        (Vec::new(), Fault::Empty),
        (vec![0; 10], Fault::Truncated { field: "digest" }),
        (header(&[(0x000b, 20)]), Fault::Algorithms),
        (header(&[(0x000b, 32), (0x000b, 32)]), Fault::Algorithms),
        (header(&[]), Fault::Algorithms),
        (with(agile_event(24, 1, b"")), Fault::PcrIndex(24)),
        (with(two), Fault::DigestCount(2)),
        (with(other_algorithm), Fault::DigestAlgorithm(0x0c)),
        (with(bomb), Fault::EventSize { declared: u32::MAX, left: 0 }),
        (with(vec![0]), Fault::Truncated { field: "pcrIndex" }),
    ];
    for (bytes, fault) in rows {
        assert_eq!(EventLog::parse(&bytes).unwrap_err().what, fault, "{bytes:?}");
    }
    let late = [agile_event(0, 1, b""), agile_event(0, EV_NO_ACTION, b"StartupLocality\0\x03")].concat();
    let twice = agile_event(0, EV_NO_ACTION, b"StartupLocality\0\x03").repeat(2);
    let odd = agile_event(0, EV_NO_ACTION, b"StartupLocality\0\x01");
    for events in [late, twice, odd] {
        let bytes = with(events);
        let log = EventLog::parse(&bytes).unwrap();
        assert_eq!(log.replay(Bank::Sha256).unwrap_err().what, Fault::StartupLocality);
    }
}

#[test]
fn every_truncation_and_every_flipped_byte_is_survived() {
    let whole = small_log();
    let exercise = |bytes: &[u8]| {
        if let Ok(log) = EventLog::parse(bytes) {
            let _ = log.replay(Bank::Sha256);
            let _ = boot_url(&log);
        }
    };
    for end in 0..whole.len() {
        exercise(&whole[..end]);
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[end] ^= 1 << bit;
            exercise(&flipped);
        }
    }
}

#[test]
fn a_device_path_that_lies_has_no_url() {
    let good = image_load(b"http://h/x");
    assert!(boot::boot_url(&log_of(&good)).is_some());
    for (place, value) in [(24, 0xff), (24, 1), (34, 0), (34, 0xff), (36, b'\n')] {
        let mut bad = good.clone();
        bad[place] = value;
        // 24: length of the path; 34: type and length fields of nodes; 36: the URL's text.
        let log = [header(&[(0x000b, 32)]), agile_event(4, EV_EFI_BOOT_SERVICES_APPLICATION, &bad)].concat();
        let _ = boot_url(&EventLog::parse(&log).unwrap());
    }
    let mut control = good;
    control[44] = b'\n';
    assert_eq!(boot::boot_url(&log_of(&control)), None);
}

fn log_of(data: &[u8]) -> EventLog<'static> {
    let bytes = [header(&[(0x000b, 32)]), agile_event(4, EV_EFI_BOOT_SERVICES_APPLICATION, data)].concat();
    EventLog::parse(Vec::leak(bytes)).unwrap()
}

/// A log in the bank of `bank` whose PCR 4 has these digests' words; `+` before them marks an action.
fn tried(bank: Bank, words: &[&[u8]]) -> Vec<u8> {
    let length = u16::try_from(bank.digest_bytes()).unwrap();
    let mut log = header(&[(bank.algorithm(), length)]);
    for text in words {
        let (kind, text) = match text.strip_prefix(b"+") {
            Some(text) => (EV_EFI_ACTION, text),
            None => (EV_EFI_BOOT_SERVICES_APPLICATION, *text),
        };
        log.extend([4u32.to_le_bytes(), kind.to_le_bytes(), 1u32.to_le_bytes()].concat());
        log.extend(bank.algorithm().to_le_bytes());
        log.extend(bank.hash(&[text]));
        log.extend(0u32.to_le_bytes());
    }
    log
}

const CALLING: &[u8] = b"+Calling EFI Application from Boot Option";
const RETURNING: &[u8] = b"+Returning from EFI Application from Boot Option";
const END: &[u8] = &[0; 4];

#[test]
fn only_tries_right_behind_the_separator_are_read_past() {
    let image: &[u8] = b"image";
    for bank in [Bank::Sha256, Bank::Sha384] {
        let replayed = |words: &[&[u8]]| {
            let bytes = tried(bank, words);
            EventLog::parse(&bytes).unwrap().replay(bank).unwrap().value(4).unwrap().to_vec()
        };
        let straight = replayed(&[CALLING, END, image]);
        // What PCR 4 has, how many tries are read past, and whether the rest is a boot without them.
        type Row<'a> = (&'a [&'a [u8]], Option<(usize, bool)>);
        let rows: [Row<'_>; 9] = [
            (&[CALLING, END, image], None),
            (&[CALLING, END, RETURNING, CALLING, image], Some((1, true))),
            (&[CALLING, END, RETURNING, CALLING, RETURNING, CALLING, image], Some((2, true))),
            // What ran stays in the value, and so does what came after it.
            (&[CALLING, END, RETURNING, CALLING, b"evil", RETURNING, CALLING, image], Some((1, false))),
            (&[CALLING, END, b"evil", RETURNING, CALLING, image], None),
            (&[CALLING, END, RETURNING, b"evil", CALLING, image], None),
            (&[CALLING, RETURNING, CALLING, END, image], None),
            (&[CALLING, RETURNING, CALLING, image], None),
            (&[CALLING, END, RETURNING], None),
        ];
        for (words, expected) in rows {
            let bytes = tried(bank, words);
            let found = EventLog::parse(&bytes).unwrap().straight_boot(bank);
            let found = found.map(|found| (found.in_vain, found.pcr4 == straight));
            assert_eq!(found, expected, "{words:?}");
        }
    }
    for (count, read) in [(BOOT_ATTEMPTS_MAX, true), (BOOT_ATTEMPTS_MAX + 1, false)] {
        let words = [&[CALLING, END][..], &[RETURNING, CALLING].repeat(count), &[image]].concat();
        let bytes = tried(Bank::Sha256, &words);
        let log = EventLog::parse(&bytes).unwrap();
        assert_eq!(log.straight_boot(Bank::Sha256).is_some(), read);
        assert_eq!(log.straight_boot(Bank::Sha384), None, "the log lacks the bank");
    }
}

//! Both ways with other people's tools on one software TPM: 200 quotes made by tpm2-tools hold for our parser and
//! signature check, and 200 of ours hold for `tpm2_checkquote`.  Selections and nonces differ from quote to quote.
//! Needs swtpm, swtpm-tools and tpm2-tools with the swtpm TCTI; fails where they are missing.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

mod machine;

use std::{collections::BTreeMap, fs, process::Command, time::Instant};

use attest_tpm::Tpm;
use attest_verify::crypto::{Crypto as _, Key, Pure};
use attest_wire::{
    AlgId, Attest, Body, HashAlg, Hierarchy, Public, PublicKey, Signature, SignatureValue,
    templates::Template, tpm2_tools,
};
use machine::{Machine, hex, text};

/// Quotes in each direction.
const QUOTES: u32 = 200;
/// Of theirs, every fifth is by an RSA key below the endorsement key, the others by a P-256 primary like ours.
const RSA_EVERY: u32 = 5;
/// Where their keys are kept.
const ECC: &str = "0x81010020";
const RSA: &str = "0x81010021";
/// PCRs that anybody may extend at locality 0.
const PRIMED: [u8; 10] = [0, 1, 2, 4, 7, 9, 11, 14, 15, 23];

type Values = BTreeMap<u8, [u8; 32]>;

/// Numbers that differ and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[2]).collect()
    }

    fn pcrs(&mut self) -> Vec<u8> {
        loop {
            let mask = self.next();
            let pcrs: Vec<u8> = (0..24).filter(|pcr| mask & 1 << pcr != 0).collect();
            if !pcrs.is_empty() {
                return pcrs;
            }
        }
    }
}

/// tpm2-tools with the TPM of this machine, nobody else being connected.
fn tools(machine: &Machine, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(machine.path(""))
        .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", machine.path("tpm.sock").display()))
        .output()
        .expect("tpm2-tools are installed (Debian: tpm2-tools, libtss2-tcti-swtpm0)");
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output));
}

/// Unloads what the tools have left loaded.
fn free(machine: &Machine) {
    for what in ["-t", "-l", "-s"] {
        tools(machine, "tpm2_flushcontext", &[what]);
    }
}

/// A machine whose PCRs are not all zero, and their values.
fn primed() -> (Machine, Tpm, Values) {
    let mut machine = Machine::new();
    drop(machine.power_on());
    let extend: Vec<String> =
        PRIMED.iter().map(|pcr| format!("{pcr}:sha256={}", hex(&[*pcr + 1; 32]))).collect();
    let arguments: Vec<&str> = extend.iter().map(String::as_str).collect();
    tools(&machine, "tpm2_pcrextend", &arguments);
    let mut tpm = Tpm::open(&machine.path("tpm.sock")).unwrap();
    let values: Values = tpm.pcr_read(&(0..24).collect::<Vec<_>>()).unwrap().into_iter().collect();
    assert!(PRIMED.iter().all(|pcr| values[pcr] != [0; 32]));
    (machine, tpm, values)
}

fn selected<'a>(values: &'a Values, pcrs: &[u8]) -> Vec<(u8, &'a [u8])> {
    pcrs.iter().map(|pcr| (*pcr, values[pcr].as_slice())).collect()
}

/// What our parsers and our signature check make of a quote of theirs.
fn holds(machine: &Machine, key: &Public, nonce: &[u8], pcrs: &[u8], values: &Values) {
    let read = |name: &str| fs::read(machine.path(name)).unwrap();
    let attest = Attest::parse(&read("theirs.msg")).unwrap();
    let signature = Signature::parse(&read("theirs.sig")).unwrap();
    assert_eq!(attest.raw(), read("theirs.msg"));
    assert_eq!(attest.extra_data, nonce);
    let Body::Quote { selection, pcr_digest } = &attest.body else { panic!("{attest:?}") };
    let [bank] = selection.banks() else { panic!("{selection:?}") };
    assert_eq!((bank.alg, bank.pcrs().collect::<Vec<_>>()), (AlgId::SHA256, pcrs.to_vec()));
    let parts: Vec<&[u8]> = pcrs.iter().map(|pcr| values[pcr].as_slice()).collect();
    assert_eq!(*pcr_digest, HashAlg::Sha256.digest(&parts));
    assert_eq!(signature.hash(), AlgId::SHA256);
    let good = |message: &[u8]| match (key.key(), signature.value()) {
        (PublicKey::Ecc { .. }, SignatureValue::Ecdsa { .. }) => {
            Pure.p256(&key.p256_point().unwrap(), message, &signature.p256().unwrap())
        }
        (PublicKey::Rsa { modulus, .. }, SignatureValue::Rsassa { signature }) => {
            let key = Key::Rsa { modulus, exponent: &[1, 0, 1] };
            Pure.x509(key, HashAlg::Sha256, message, signature)
        }
        other => panic!("{other:?}"),
    };
    assert!(good(attest.raw()));
    let mut altered = attest.raw().to_vec();
    *altered.last_mut().unwrap() ^= 1;
    assert!(!good(&altered));
    // Their file of values is, byte for byte, the one that we write for them.
    assert_eq!(read("theirs.pcrs"), tpm2_tools::pcr_file(AlgId::SHA256, &selected(values, pcrs)).unwrap());
}

fn public(machine: &Machine, name: &str) -> Public {
    // TPM2B_PUBLIC: a length, then the structure.
    Public::parse(&fs::read(machine.path(name)).unwrap()[2..]).unwrap()
}

/// `unique` of our template as the tools want it: TPMS_ECC_POINT as it lies in memory, sizes little-endian.
fn unique() -> Vec<u8> {
    let template = Template::AkP256.public();
    let [x, y] = [-66_isize, -32].map(|from| {
        let start = template.len().checked_add_signed(from).unwrap();
        [&[32, 0][..], &template[start..start + 32], &[0; 96]].concat()
    });
    [x, y].concat()
}

#[test]
fn two_hundred_quotes_by_tpm2_quote_hold_for_us() {
    let (machine, mut tpm, values) = primed();
    let own = tpm.create_ak().unwrap();
    drop(tpm);
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign";
    fs::write(machine.path("unique"), unique()).unwrap();
    let primary = ["-C", "e", "-G", "ecc256:ecdsa-sha256:null", "-g", "sha256", "-u", "unique", "-a"];
    tools(&machine, "tpm2_createprimary", &[&primary[..], &[attributes, "-c", "ecc.ctx"]].concat());
    tools(&machine, "tpm2_readpublic", &["-c", "ecc.ctx", "-f", "tss", "-o", "ecc.pub"]);
    free(&machine);
    tools(&machine, "tpm2_createek", &["-G", "rsa", "-c", "ek.ctx"]);
    free(&machine);
    let createak = [
        "-C", "ek.ctx", "-G", "rsa", "-g", "sha256", "-s", "rsassa", "-c", "rsa.ctx", "-f", "tss", "-u",
        "rsa.pub",
    ];
    tools(&machine, "tpm2_createak", &createak);
    // Kept under handles: loading a context for each quote would fill the TPM, which has no resource manager here.
    for (context, handle) in [("ecc.ctx", ECC), ("rsa.ctx", RSA)] {
        free(&machine);
        tools(&machine, "tpm2_evictcontrol", &["-C", "o", "-c", context, handle]);
    }
    free(&machine);
    let keys = [public(&machine, "ecc.pub"), public(&machine, "rsa.pub")];
    // By the same template the TPM derives the same key, whoever asks.
    assert_eq!(keys[0].name(), own.name());

    let begun = now();
    let mut numbers = Numbers(0x5ca1_ab1e);
    let mut held = [0_u32; 2];
    for quote in 0..QUOTES {
        let rsa = quote % RSA_EVERY == 0;
        let (pcrs, length) = (numbers.pcrs(), 1 + usize::try_from(quote % 32).unwrap());
        let nonce = numbers.bytes(length);
        let list: Vec<String> = pcrs.iter().map(u8::to_string).collect();
        let (selection, qualifying) = (format!("sha256:{}", list.join(",")), hex(&nonce));
        let key = if rsa { RSA } else { ECC };
        tools(
            &machine,
            "tpm2_quote",
            &[
                "-c",
                key,
                "-l",
                &selection,
                "-q",
                &qualifying,
                "-g",
                "sha256",
                "-m",
                "theirs.msg",
                "-s",
                "theirs.sig",
                "-o",
                "theirs.pcrs",
            ],
        );
        holds(&machine, &keys[usize::from(rsa)], &nonce, &pcrs, &values);
        if !rsa {
            let attest = Attest::parse(&fs::read(machine.path("theirs.msg")).unwrap()).unwrap();
            assert_eq!(attest.qualified_signer, own.name().qualified(Hierarchy::Endorsement));
        }
        held[usize::from(rsa)] += 1;
    }
    assert_eq!(held, [QUOTES - QUOTES / RSA_EVERY, QUOTES / RSA_EVERY]);
    println!("{held:?} quotes of theirs in {:.1} s", begun.elapsed().as_secs_f64());
}

#[test]
fn two_hundred_quotes_of_ours_hold_for_tpm2_checkquote() {
    let (machine, mut tpm, values) = primed();
    let ak = tpm.create_ak().unwrap();
    fs::write(machine.path("ak.pub"), machine::sized(ak.public().raw())).unwrap();
    let begun = now();
    let mut numbers = Numbers(0x0dd_ba11);
    let check = |nonce: &[u8]| {
        let qualifying = hex(nonce);
        let output = Command::new("tpm2_checkquote")
            .current_dir(machine.path(""))
            .args(["-u", "ak.pub", "-m", "ours.msg", "-s", "ours.sig", "-f", "ours.pcrs", "-g", "sha256"])
            .args(["-q", &qualifying])
            .output()
            .expect("tpm2_checkquote is installed (Debian: tpm2-tools)");
        (output.status.success(), text(&output))
    };
    let (mut held, mut refused) = (0, 0);
    for _ in 0..QUOTES {
        let pcrs = numbers.pcrs();
        let mut nonce: [u8; 32] = numbers.bytes(32).try_into().unwrap();
        let quote = tpm.quote(&ak, &nonce, &pcrs).unwrap();
        assert_eq!(quote.pcrs, pcrs.iter().map(|pcr| (*pcr, values[pcr])).collect::<Vec<_>>());
        fs::write(machine.path("ours.msg"), quote.attest.raw()).unwrap();
        fs::write(machine.path("ours.sig"), quote.signature.raw()).unwrap();
        let file = tpm2_tools::pcr_file(AlgId::SHA256, &selected(&values, &pcrs)).unwrap();
        fs::write(machine.path("ours.pcrs"), file).unwrap();
        let (good, said) = check(&nonce);
        assert!(good, "{pcrs:?}: {said}");
        held += 1;
        // Now and then that it would have refused: otherwise its word means nothing.
        if held % 20 == 0 {
            nonce[0] ^= 1;
            assert!(!check(&nonce).0);
            refused += 1;
        }
    }
    assert_eq!((held, refused), (QUOTES, QUOTES / 20));
    println!("{held} quotes of ours in {:.1} s", begun.elapsed().as_secs_f64());
}

#[expect(clippy::disallowed_methods, reason = "says how long it took, and decides nothing by it")]
fn now() -> Instant {
    Instant::now()
}

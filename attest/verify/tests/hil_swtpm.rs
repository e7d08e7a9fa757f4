//! Whole evidence from a real software TPM, and every way of tampering with it that policy knows by name.
//! Needs swtpm and tpm2-tools; fails where they are missing.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

use std::{fs, process::Command};

use attest_evidence::{
    Accepted, Attachments, Endorsements, Evidence, Hex32, Logs, Nonce, Pcr, Purpose, ReferenceBank,
    ReferencePcr, ReferenceValues, Statement, Target, TpmPart, digest, qualifying_data,
};
use attest_tpm::Tpm;
use attest_verify::{
    Policy, REQUIRED_PCRS, Tier,
    binding::{Seen, challenger_public, sign_binding},
    challenge::{self, make_credential},
    endorsement::{Roots, certified},
    export, node_id, unit_root, verify,
};
use attest_wire::templates::Template;

mod firmware;
mod machine;
use firmware::URL;
use machine::Machine;

/// The challenger's private key: any 32 bytes below the order.
const CHALLENGER: [u8; 32] = [0x21; 32];
const IMAGE: &[u8] = b"the discovery image";
/// The certificates of `swtpm_localca` are made when the test runs.
fn now() -> u64 {
    let output = Command::new("date").arg("+%s").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// What to put into a statement.
struct Order<'a> {
    nonce: Nonce,
    previous: Option<[u8; 32]>,
    sequence: u64,
    registration: Option<(Target, &'a [u8])>,
}

fn admission() -> Order<'static> {
    Order { nonce: Nonce::Verifier([7; 32]), previous: None, sequence: 0, registration: None }
}

/// What agent and appliance do together: quote, challenge, binding statement, file.
fn evidence(machine: &Machine, tpm: &mut Tpm, order: &Order<'_>) -> Evidence {
    let (eks, _) = tpm.create_eks();
    let eks: Vec<_> = eks.iter().map(|ek| ek.public().clone()).collect();
    let certificates: Vec<Vec<u8>> =
        tpm.read_certificates().unwrap().found.into_iter().map(|found| found.der).collect();
    let (ek, certificate) = certified(&eks, &certificates).unwrap();
    let ak = tpm.create_ak().unwrap();
    let node = node_id(ek.name().bytes());
    let inventory = b"{\"serial\":\"S1\"}".to_vec();
    let burn_in = order.registration.map(|_| b"{\"passed\":true}".to_vec());
    let statement = Statement {
        purpose: order.registration.map_or(Purpose::Admission, |(target, manifest)| Purpose::Registration {
            target,
            unit_root: unit_root(manifest).unwrap(),
            manifest: digest(manifest),
        }),
        nonce: order.nonce,
        node,
        ak_name: ak.name().bytes().to_vec(),
        inventory: Some(digest(&inventory)),
        burn_in: burn_in.as_deref().map(digest),
        uefi_log: digest(&machine.log),
        previous: order.previous,
        sequence: order.sequence,
        host_key: None,
    };
    let quote = tpm.quote(&ak, &qualifying_data(&statement), &REQUIRED_PCRS).unwrap();
    let seen = Seen {
        ek_certificate: digest(certificate),
        ak_name: &ak.name(),
        node,
        tpm_firmware: quote.attest.firmware_version,
        time: now(),
    };
    let pcrs =
        quote.pcrs.iter().map(|(index, value)| Pcr { bank: 0x0b, index: *index, digest: value.to_vec() });
    let issuer = fs::read(machine.path("issuer.der")).unwrap();
    Evidence {
        node,
        tpm: TpmPart {
            ak_public: ak.public().raw().to_vec(),
            attest: quote.attest.raw().to_vec(),
            signature: quote.signature.raw().to_vec(),
            pcrs: pcrs.collect(),
        },
        endorsements: Endorsements {
            ek_certificates: vec![certificate.to_vec()],
            ek_public: ek.raw().to_vec(),
            intermediates: vec![issuer],
            bindings: vec![sign_binding(&CHALLENGER, &seen).unwrap()],
            iak: None,
        },
        logs: Logs { uefi: machine.log.clone() },
        statement,
        attachments: Attachments {
            inventory: Some(inventory),
            burn_in,
            manifest: order.registration.map(|(_, manifest)| manifest.to_vec()),
        },
        previous: order.previous,
    }
}

fn machine() -> Machine {
    let machine = Machine::new();
    let output = Command::new("openssl")
        .args(["x509", "-outform", "DER", "-in"])
        .arg(machine.path("ca/issuer.pem"))
        .arg("-out")
        .arg(machine.path("issuer.der"))
        .output()
        .expect("openssl is installed");
    assert!(output.status.success());
    machine
}

/// Policy of the appliance: the machine's own CA, the image as it was measured.
fn policy(machine: &Machine, measured: &Evidence) -> Policy {
    let mut roots = Roots::default();
    assert_eq!(roots.add_pem(&machine.ca_pem("swtpm-localca-rootca-cert.pem")).unwrap().roots, 1);
    let entry = |pcr: u8| ReferencePcr {
        pcr,
        accepted: vec![Accepted {
            value: Hex32(value(measured, pcr).try_into().unwrap()),
            holds_for: "booted by firmware".into(),
        }],
    };
    Policy {
        roots,
        reference: vec![ReferenceValues {
            name: "discovery".into(),
            uki_sha256: Hex32([0; 32]),
            bank: ReferenceBank::Sha256,
            pcrs: [4, 11, 12, 13].map(entry).into(),
        }],
        allow_software_tpm: true,
        challengers: vec![challenger_public(&CHALLENGER).unwrap()],
        k: 1,
        expected_nonce: Some(measured.statement.nonce),
        last_seen: None,
    }
}

fn value(evidence: &Evidence, pcr: u8) -> Vec<u8> {
    evidence.tpm.pcrs.iter().find(|one| one.index == pcr).unwrap().digest.clone()
}

fn manifest() -> Vec<u8> {
    let unit =
        |n: u32| format!(r#"{{"id":"compute-{n}","resource":{{"kind":"compute","cpus":[{n}]}},"node":0}}"#);
    format!(
        r#"{{"version":1,"serial":"S1","class":"compute","capacity":3,"units":[{},{},{}],"reserved_cpus":[],"reserved_bytes":0}}"#,
        unit(0),
        unit(1),
        unit(2)
    )
    .into_bytes()
}

const TARGET: Target = Target { chain_id: 31337, registry: [0x55; 20], operator: [0x66; 20] };

#[test]
fn credentials_made_in_software_are_activated_by_the_tpm() {
    let mut machine = machine();
    let mut tpm = machine.boot(IMAGE);
    let ak = tpm.create_ak().unwrap();
    for template in [Template::EkRsa2048, Template::EkP256] {
        let ek = tpm.create_ek(template).unwrap();
        for round in 1..=4u8 {
            let secret = [round; 32];
            let made = make_credential(ek.public(), &ak.name(), &secret, &[round ^ 0x5a; 64]).unwrap();
            assert_eq!(
                tpm.activate(&ek, &ak, &made.credential_blob, &made.encrypted_secret).unwrap(),
                secret
            );
            let wrong = make_credential(ek.public(), &ek.name(), &secret, &[round; 64]).unwrap();
            assert!(tpm.activate(&ek, &ak, &wrong.credential_blob, &wrong.encrypted_secret).is_err());
        }
    }
    let transcript = challenge::transcript(&[1; 32], &ak.name(), &[2; 32], &[3; 32]);
    let answer = challenge::answer(&[9; 32], &transcript);
    assert!(challenge::is_answer(&[9; 32], &transcript, &answer));
    assert!(!challenge::is_answer(&[8; 32], &transcript, &answer));
    assert!(!challenge::is_answer(&[9; 32], &transcript, &answer[..31]));
}

#[test]
fn admission_then_registration_is_bound() {
    let mut machine = machine();
    let mut tpm = machine.boot(IMAGE);
    let first = evidence(&machine, &mut tpm, &admission());
    let mut policy = policy(&machine, &first);
    let verdict = verify(&first, &policy, now());
    assert!(verdict.is_accepted(), "{verdict:#?}");
    assert_eq!((verdict.tier, verdict.facts.secure_boot), (Tier::T0, Some(false)));
    assert!(verdict.why_not_higher.contains("software TPM"));
    assert_eq!(verdict.facts.boot_url.as_deref(), Some(URL));
    let attested = verdict.accept().unwrap();
    assert_eq!(attested.evidence_digest(), first.digest());
    assert_eq!(attested.clone().bind().unwrap_err().check, "purpose");

    let manifest = manifest();
    let nonce = Nonce::Block { chain_id: 31337, number: 5, hash: [5; 32], node: first.node, sequence: 1 };
    let order =
        Order { nonce, previous: Some(first.digest()), sequence: 1, registration: Some((TARGET, &manifest)) };
    let second = evidence(&machine, &mut tpm, &order);
    policy.expected_nonce = Some(nonce);
    policy.last_seen = Some(attested.last_seen().clone());
    let file = second.encode();
    let verdict = verify(&Evidence::decode(&file).unwrap(), &policy, now());
    assert!(verdict.is_accepted(), "{verdict:#?}");
    let bound = verdict.accept().unwrap().bind().unwrap();
    assert_eq!((bound.target(), bound.unit_root()), (TARGET, unit_root(&manifest).unwrap()));
    assert_eq!(bound.attested().ak_name(), attested.ak_name());

    // The old file again, and a file that skips one.
    assert_eq!(verify(&first, &policy, now()).accept().unwrap_err().check, "nonce");
    policy.expected_nonce = None;
    assert_eq!(verify(&first, &policy, now()).accept().unwrap_err().check, "sequence");
    policy.last_seen.as_mut().unwrap().reset_count += 1;
    assert_eq!(verify(&second, &policy, now()).accept().unwrap_err().check, "tpm-counters");
    policy.last_seen = None;
    policy.challengers.clear();
    assert_eq!(verify(&second, &policy, now()).accept().unwrap_err().check, "bindings");
    policy.k = 0;
    assert_eq!(verify(&second, &policy, now()).accept().unwrap().bind().unwrap_err().check, "bindings");

    // Another boot of another image: PCR 4 and 11 say so.
    let mut tpm = machine.boot(b"the discovery image, one byte changed");
    let altered = evidence(&machine, &mut tpm, &admission());
    let rejection = verify(&altered, &policy, now()).accept().unwrap_err();
    assert_eq!(rejection.check, "pcr-4");
    assert!(rejection.to_string().contains("did not boot the image it should have"), "{rejection}");
    assert_eq!(rejection.measured, hex::encode(value(&altered, 4)));
    assert_eq!(rejection.expected, hex::encode(value(&first, 4)));
}

#[test]
fn each_tampering_is_refused_for_its_own_reason() {
    let mut machine = machine();
    let mut tpm = machine.boot(IMAGE);
    let other = machine_certificate();
    let manifest = manifest();
    let order = Order { registration: Some((TARGET, &manifest)), ..admission() };
    let good = evidence(&machine, &mut tpm, &order);
    let policy = policy(&machine, &good);
    assert!(verify(&good, &policy, now()).is_accepted());

    type Tamper = Box<dyn Fn(&mut Evidence)>;
    let rows: Vec<(&str, Tamper)> = vec![
        ("nonce", Box::new(|e| e.statement.nonce = Nonce::Verifier([8; 32]))),
        ("qualifying-data", Box::new(|e| e.statement.sequence = 9)),
        ("ak-name", Box::new(|e| e.statement.ak_name[5] ^= 1)),
        ("pcr-digest", Box::new(|e| e.tpm.pcrs[3].digest[0] ^= 1)),
        (
            "pcr-value-lengths",
            Box::new(|e| {
                let byte = e.tpm.pcrs[3].digest.pop().unwrap();
                e.tpm.pcrs[4].digest.insert(0, byte);
            }),
        ),
        ("pcr-values-match-selection", Box::new(|e| e.tpm.pcrs[8].index = 8)),
        ("pcr-values-match-selection", Box::new(|e| drop(e.tpm.pcrs.pop()))),
        ("pcr-values-match-selection", Box::new(|e| e.tpm.pcrs.swap(0, 1))),
        ("attest-magic", Box::new(|e| e.tpm.attest[0] = 0)),
        ("attest-type", Box::new(|e| e.tpm.attest[5] = 0x19)),
        ("attest-structure", Box::new(|e| e.tpm.attest.push(0))),
        ("quote-signature", Box::new(|e| *e.tpm.signature.last_mut().unwrap() ^= 1)),
        ("signature-structure", Box::new(|e| e.tpm.signature.push(0))),
        ("ak-attributes", Box::new(|e| e.tpm.ak_public[5] &= !1)),
        ("log-digest", Box::new(|e| *e.logs.uefi.last_mut().unwrap() ^= 1)),
        ("ek-certificate", Box::new(move |e| e.endorsements.ek_certificates = vec![other.clone()])),
        ("ek-chain", Box::new(|e| e.endorsements.intermediates.clear())),
        ("bindings", Box::new(|e| e.endorsements.bindings.clear())),
        ("bindings", Box::new(|e| *e.endorsements.bindings[0].last_mut().unwrap() ^= 1)),
        ("node-id", Box::new(|e| e.node[0] ^= 1)),
        ("attachment-inventory", Box::new(|e| e.attachments.inventory = Some(b"{}".to_vec()))),
        ("attachment-burn-in", Box::new(|e| e.attachments.burn_in = None)),
        ("attachment-manifest", Box::new(|e| e.attachments.manifest.as_mut().unwrap()[12] ^= 1)),
        ("previous", Box::new(|e| e.previous = Some([0; 32]))),
    ];
    for (check, tamper) in rows {
        let mut bad = good.clone();
        tamper(&mut bad);
        let verdict = verify(&bad, &policy, now());
        let failed: Vec<&str> = verdict.failures().map(|check| &*check.name).collect();
        assert!(failed.contains(&check), "{check}: {failed:?}");
        assert!(verdict.accept().is_err() && !verdict.is_accepted());
        assert_eq!(verdict.tier, Tier::T0);
    }
    // Policies that ask for more than there is.
    let strict = Policy { allow_software_tpm: false, ..policy.clone() };
    assert_eq!(verify(&good, &strict, now()).accept().unwrap_err().check, "hardware-tpm");
    let rootless = Policy { roots: Roots::default(), ..policy.clone() };
    assert_eq!(verify(&good, &rootless, now()).accept().unwrap_err().check, "ek-chain");
    assert_eq!(verify(&good, &policy, 1_000).accept().unwrap_err().check, "ek-certificate");
    let two = Policy { k: 2, ..policy.clone() };
    assert_eq!(verify(&good, &two, now()).accept().unwrap_err().check, "bindings");
}

/// EK certificate of another machine.
fn machine_certificate() -> Vec<u8> {
    let mut other = machine();
    let mut tpm = other.boot(IMAGE);
    tpm.read_certificates().unwrap().found.remove(0).der
}

#[test]
fn no_flipped_byte_of_an_accepted_file_is_accepted() {
    let mut machine = machine();
    let mut tpm = machine.boot(IMAGE);
    let manifest = manifest();
    let good =
        evidence(&machine, &mut tpm, &Order { registration: Some((TARGET, &manifest)), ..admission() });
    let policy = policy(&machine, &good);
    let (file, now) = (good.encode(), now());
    assert!(verify(&Evidence::decode(&file).unwrap(), &policy, now).is_accepted());
    let mut accepted = Vec::new();
    for place in 0..file.len() {
        let mut flipped = file.clone();
        flipped[place] ^= 0x40;
        if Evidence::decode(&flipped).is_ok_and(|evidence| verify(&evidence, &policy, now).is_accepted()) {
            accepted.push(place);
        }
    }
    assert_eq!(accepted, [0usize; 0], "of {} bytes", file.len());
}

#[test]
fn exported_parts_satisfy_tpm2_checkquote() {
    let mut machine = machine();
    let mut tpm = machine.boot(IMAGE);
    let good = evidence(&machine, &mut tpm, &admission());
    for (name, bytes) in export(&good).unwrap() {
        fs::write(machine.path(name), bytes).unwrap();
    }
    let nonce = fs::read_to_string(machine.path("nonce.hex")).unwrap();
    let output = Command::new("tpm2_checkquote")
        .current_dir(machine.folder.path())
        .args([
            "-u",
            "ak.pem",
            "-m",
            "quote.msg",
            "-s",
            "quote.sig",
            "-f",
            "quote.pcrs",
            "-g",
            "sha256",
            "-q",
            &nonce,
        ])
        .output()
        .expect("tpm2-tools are installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new("tpm2_eventlog").arg(machine.path("eventlog.bin")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let shown = format!("11 : 0x{}", hex::encode(value(&good, 11)));
    assert!(output.status.success() && text.contains(&shown), "{text}");
}

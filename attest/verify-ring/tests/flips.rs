//! "Every byte of an accepted evidence file flipped once: never accepted, never a panic."
//!
//! Here, because the files of a real boot have tens of thousands of bytes, and each is a signature to check.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

use attest_evidence::{Evidence, Nonce, ReferenceValues, binding::SignedBinding};
use attest_verify::{Policy, Verifier, endorsement::Roots};
use attest_verify_ring::Ring;

/// (file, roots, reference values, nonce, seconds since 1970).
type Row = (&'static str, &'static str, &'static str, Option<[u8; 32]>, u64);

const FILES: [Row; 3] = [
    ("files/good-registration", "policy/root.pem", "policy/reference.json", Some([7; 32]), 1_767_225_600),
    ("files/good-admission", "policy/root.pem", "policy/reference.json", Some([7; 32]), 1_767_225_600),
    (
        "virtual-rack/registration",
        "virtual-rack/rack.pem",
        "virtual-rack/reference.json",
        None,
        1_795_246_332,
    ),
];

fn read(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../vectors/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn no_byte_of_an_accepted_file_can_be_flipped() {
    for (name, root, reference, nonce, now) in FILES {
        let good = read(&format!("{name}.evidence"));
        let evidence = Evidence::decode(&good).unwrap();
        let mut roots = Roots::default();
        roots.add_pem(&read(root)).unwrap();
        // All that signed are believed and asked for: a statement that does not count is a remark otherwise.
        let signed = evidence.endorsements.bindings.iter();
        let challengers: Vec<[u8; 64]> =
            signed.map(|one| SignedBinding::decode(one).unwrap().binding.challenger).collect();
        assert!(!challengers.is_empty(), "{name}");
        let policy = Policy {
            roots,
            reference: vec![ReferenceValues::from_json(&read(reference)).unwrap()],
            allow_software_tpm: true,
            k: challengers.len(),
            challengers,
            expected_nonce: Some(nonce.map_or(evidence.statement.nonce, Nonce::Verifier)),
            last_seen: None,
        };
        let mut verifier = Verifier::new(policy, &Ring);
        let verdict = verifier.verify(&good, now).unwrap();
        assert!(verdict.is_accepted(), "{name}: {:#?}", verdict.failures().collect::<Vec<_>>());
        let (mut unread, mut refused) = (0, 0);
        for place in 0..good.len() {
            let mut bad = good.clone();
            // Another bit at each place.
            bad[place] ^= 1 << (place % 8);
            match verifier.verify(&bad, now) {
                Ok(verdict) => {
                    assert!(!verdict.is_accepted(), "{name}, byte {place}");
                    refused += 1;
                }
                Err(_) => unread += 1,
            }
        }
        println!("{name}: {} bytes, {refused} refused, {unread} no evidence", good.len());
    }
}

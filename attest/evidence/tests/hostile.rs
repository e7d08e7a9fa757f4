//! Every way of being almost an evidence file ends in an error that names a place, never in a panic.

use attest_evidence::{
    Attachments, Endorsements, Evidence, Hex32, Iak, Logs, Nonce, ParseReference, Pcr, Purpose,
    ReferenceValues, Statement, TpmPart,
    binding::{Binding, SignedBinding},
    cbor::{self, Fault},
};
use proptest::prelude::*;

fn evidence() -> Evidence {
    Evidence {
        node: [1; 32],
        tpm: TpmPart {
            ak_public: vec![1; 90],
            attest: vec![2; 145],
            signature: vec![3; 72],
            pcrs: (0..8).map(|index| Pcr { bank: 11, index, digest: vec![index; 32] }).collect(),
        },
        endorsements: Endorsements {
            ek_certificates: vec![vec![4; 300]],
            ek_public: vec![5; 100],
            intermediates: vec![vec![6; 30]],
            bindings: vec![vec![7; 30]],
            iak: Some(Iak {
                certificates: vec![vec![8; 20]],
                public: vec![9; 10],
                attest: vec![10; 12],
                signature: vec![11; 14],
            }),
        },
        logs: Logs { uefi: vec![8; 500] },
        statement: Statement {
            purpose: Purpose::Admission,
            nonce: Nonce::Verifier([9; 32]),
            node: [1; 32],
            ak_name: vec![0; 34],
            inventory: Some([3; 32]),
            burn_in: None,
            uefi_log: [4; 32],
            previous: None,
            sequence: 70_000,
            host_key: None,
        },
        attachments: Attachments { inventory: Some(b"{}".to_vec()), ..Default::default() },
        previous: None,
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused_with_a_place() {
    let whole = evidence().encode();
    for end in 0..whole.len() {
        let error = Evidence::decode(&whole[..end]).unwrap_err();
        assert!(error.offset <= end, "{error}");
        assert!(matches!(error.fault, Fault::Truncated | Fault::Length(_)), "{end}: {error}");
    }
}

#[test]
fn a_flipped_byte_is_refused_or_gives_another_file() {
    let (whole, original) = (evidence().encode(), evidence());
    for place in 0..whole.len() {
        for mask in [0x01, 0x20, 0x80, 0xff] {
            let mut flipped = whole.clone();
            flipped[place] ^= mask;
            if let Ok(read) = Evidence::decode(&flipped) {
                assert_ne!(read, original, "byte {place}");
                assert_eq!(read.encode(), flipped, "byte {place}: two encodings of one content");
            }
        }
    }
}

#[test]
fn errors_name_the_field() {
    let profile = || (1, Some(cbor::text("scalerforge/evidence/v1")));
    let statement = evidence().statement.encode();
    let with_extra = [&[statement[0] + 1][..], &statement[1..], &[0x18, 99, 0]].concat();
    let rows: [(Vec<u8>, &str); 5] = [
        (cbor::map([(1, Some(cbor::text("other")))]), "profile"),
        (cbor::map([profile()]), "node-id"),
        (cbor::map([profile(), (2, Some(cbor::bytes(&[0; 31])))]), "node-id"),
        (cbor::array(&[]), "evidence"),
        ([evidence().encode(), vec![0]].concat(), "CBOR"),
    ];
    for (bytes, field) in rows {
        assert_eq!(Evidence::decode(&bytes).unwrap_err().field, field);
    }
    assert_eq!(Statement::decode(&with_extra).unwrap_err().fault, Fault::UnknownKey(99));
    // A registration's fields do not belong into an admission.
    let mixed = cbor::map([
        (1, Some(cbor::unsigned(1))),
        (2, Some(evidence().statement.nonce.encode())),
        (3, Some(cbor::bytes(&[1; 32]))),
        (5, Some(cbor::bytes(&[0; 34]))),
        (6, Some(cbor::bytes(&[0; 32]))),
        (9, Some(cbor::bytes(&[0; 32]))),
        (11, Some(cbor::unsigned(0))),
    ]);
    assert_eq!(Statement::decode(&mixed).unwrap_err().fault, Fault::UnknownKey(6));
}

#[test]
fn reference_values_are_strict() {
    let good = format!(
        r#"{{"name":"discovery","uki_sha256":"{0}","bank":"sha256","pcrs":[{{"pcr":11,"accepted":[{{"value":"{0}","holds_for":"always"}}]}}]}}"#,
        "ab".repeat(32)
    );
    let read = ReferenceValues::from_json(good.as_bytes()).unwrap();
    assert_eq!(read.uki_sha256, Hex32([0xab; 32]));
    assert_eq!(serde_json::to_string(&read).unwrap(), good);
    for bad in [
        good.replace("\"name\"", "\"nam\""),
        good.replace("sha256\",\"pcrs", "sha1\",\"pcrs"),
        good.replacen("abab", "ab", 1),
        good.replace("\"name\":", "\"extra\":1,\"name\":"),
    ] {
        assert!(matches!(ReferenceValues::from_json(bad.as_bytes()), Err(ParseReference::Json(_))), "{bad}");
    }
    let beyond = good.replace("\"pcr\":11", "\"pcr\":24");
    assert!(matches!(ReferenceValues::from_json(beyond.as_bytes()), Err(ParseReference::Pcr(24))));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(0u8.., 0..300)) {
        let _ = Evidence::decode(&bytes);
        let _ = Statement::decode(&bytes);
        let _ = SignedBinding::decode(&bytes);
        let _ = ReferenceValues::from_json(&bytes);
    }

    #[test]
    fn whatever_is_written_is_read(
        sequence in 0u64.., time in 0u64.., node in proptest::array::uniform32(0u8..),
        log in proptest::collection::vec(0u8.., 0..2000), number in 0u64..,
    ) {
        let mut file = evidence();
        file.statement.sequence = sequence;
        file.statement.nonce = Nonce::Block { chain_id: time, number, hash: node, node, sequence };
        file.logs.uefi = log;
        prop_assert_eq!(Evidence::decode(&file.encode()).unwrap(), file.clone());
        prop_assert_eq!(Nonce::decode(&file.statement.nonce.encode()).unwrap(), file.statement.nonce);
        let binding = Binding {
            ek_certificate: node, ak_name: vec![0; 34], node, tpm_firmware: sequence, time, challenger: [7; 64],
        };
        let read = SignedBinding::decode(&binding.envelope(&[1; 64])).unwrap();
        prop_assert_eq!(read.signed, binding.to_be_signed());
        prop_assert_eq!(read.binding, binding);
    }
}

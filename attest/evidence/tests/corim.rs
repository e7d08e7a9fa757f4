//! The signed reference file, byte by byte, and as another implementation of the draft reads it.
//! **If the first test fails, change your code, not this test**: files with these bytes exist.

use attest_evidence::{
    Accepted, Hex32, ReferenceBank, ReferencePcr, ReferenceValues, cbor,
    corim::{CORIM_BYTES_MAX, Corim, CorimFile},
};
use corim::types::{
    common::MeasuredElement,
    corim::ConciseTagChoice,
    measurement::DigestAlg,
    signed::{decode_signed_corim, validate_signed_corim_payload},
};

const SIGNER: [u8; 64] = [0x66; 64];
const SIGNATURE: [u8; 64] = [0x77; 64];

fn accepted(byte: u8, holds_for: &str) -> Accepted {
    Accepted { value: Hex32([byte; 32]), holds_for: holds_for.into() }
}

fn file() -> Corim {
    Corim {
        reference: ReferenceValues {
            name: "img-1.2".into(),
            uki_sha256: Hex32([0x11; 32]),
            bank: ReferenceBank::Sha256,
            pcrs: vec![
                ReferencePcr { pcr: 4, accepted: vec![accepted(0x44, "off"), accepted(0x45, "on")] },
                ReferencePcr { pcr: 11, accepted: vec![accepted(0xbb, "any")] },
            ],
        },
        version: "1.2".into(),
    }
}

fn hexed(text: &str) -> String {
    hex::encode(text)
}

/// A reference triple: `values` is what stands in its measurement.
fn triple(values: &str) -> String {
    format!("82 a100a2 016b{} 0267{} 81 {values}", hexed("scalerforge"), hexed("img-1.2"))
}

fn comid() -> String {
    let d = |byte: &str| format!("02 81 82 01 5820{}", byte.repeat(32));
    [
        format!("a2 01 a10067{} 04 a100 84", hexed("img-1.2")),
        triple(&format!("a2 0063{} 01 a2 00 a10063{} {}", hexed("uki"), hexed("1.2"), d("11"))),
        triple(&format!("a2 0004 01 a2 {} 0b63{}", d("44"), hexed("off"))),
        triple(&format!("a2 0004 01 a2 {} 0b62{}", d("45"), hexed("on"))),
        triple(&format!("a2 000b 01 a2 {} 0b63{}", d("bb"), hexed("any"))),
    ]
    .concat()
    .replace(' ', "")
}

fn unsigned() -> String {
    let comid = comid();
    format!("d901f5 a2 0067{} 01 81 d901fa 59{:04x}{comid}", hexed("img-1.2"), comid.len() / 2)
        .replace(' ', "")
}

#[test]
fn corim_v1() {
    assert_eq!(hex::encode(file().encode()), unsigned());
    assert_eq!(CorimFile::decode(&file().encode()).unwrap(), CorimFile::Unsigned(file()));

    let meta = format!("a100a10077{}", hexed("scalerforge image build"));
    let protected = format!(
        "a4 0126 0374{} 045840{} 0858{:02x}{meta}",
        hexed("application/rim+cbor"),
        "66".repeat(64),
        meta.len() / 2
    )
    .replace(' ', "");
    let (head, body) = (protected.len() / 2, unsigned().len() / 2);
    let signed =
        format!("84 6a{} 58{head:02x}{protected} 40 59{body:04x}{}", hexed("Signature1"), unsigned());
    assert_eq!(hex::encode(file().to_be_signed(&SIGNER)), signed.replace(' ', ""));
    let envelope =
        format!("d284 58{head:02x}{protected} a0 59{body:04x}{} 5840{}", unsigned(), "77".repeat(64));
    assert_eq!(hex::encode(file().envelope(&SIGNER, &SIGNATURE)), envelope.replace(' ', ""));
    let CorimFile::Signed(read) = CorimFile::decode(&file().envelope(&SIGNER, &SIGNATURE)).unwrap() else {
        panic!("not signed")
    };
    assert_eq!((read.corim, read.signer, read.signature), (file(), SIGNER, SIGNATURE));
    assert_eq!(read.signed, file().to_be_signed(&SIGNER));
}

#[test]
fn another_implementation_reads_the_same() {
    let (map, comids) = corim::validate::decode_and_validate_at(&file().encode(), 0).unwrap();
    assert_eq!(map.id.to_string(), "img-1.2");
    assert!(matches!(map.tags.as_slice(), [ConciseTagChoice::Comid(_)]));
    let records = comids[0].triples.reference_triples.as_ref().unwrap();
    let mut seen = Vec::new();
    for record in records {
        let class = record.0.class.as_ref().unwrap();
        assert_eq!((class.vendor.as_deref(), class.model.as_deref()), (Some("scalerforge"), Some("img-1.2")));
        let [measurement] = record.1.as_slice() else { panic!("{record:?}") };
        let [digest] = measurement.mval.digests.as_deref().unwrap() else { panic!("{record:?}") };
        assert!(matches!(digest.0, DigestAlg::Int(1)), "{digest:?}");
        let element = if let Some(MeasuredElement::Uint(pcr)) = &measurement.mkey {
            pcr.to_string()
        } else if let Some(MeasuredElement::Text(text)) = &measurement.mkey {
            text.clone()
        } else {
            panic!("{measurement:?}")
        };
        seen.push((element, digest.1[0], measurement.mval.name.clone()));
    }
    let row =
        |element: &str, byte: u8, name: Option<&str>| (element.to_owned(), byte, name.map(str::to_owned));
    assert_eq!(
        seen,
        [
            row("uki", 0x11, None),
            row("4", 0x44, Some("off")),
            row("4", 0x45, Some("on")),
            row("11", 0xbb, Some("any"))
        ]
    );

    let signed = decode_signed_corim(&file().envelope(&SIGNER, &SIGNATURE)).unwrap();
    assert_eq!(signed.protected().kid.as_deref(), Some(SIGNER.as_slice()));
    assert_eq!(signed.protected().alg.to_i64(), -7);
    assert_eq!(signed.signature, SIGNATURE);
    assert_eq!(signed.to_be_signed(&[]).unwrap(), file().to_be_signed(&SIGNER));
    validate_signed_corim_payload(&signed, 0).unwrap();
}

#[test]
fn every_flipped_or_missing_byte_is_refused_or_says_something_else() {
    for whole in [file().encode(), file().envelope(&SIGNER, &SIGNATURE)] {
        for end in 0..whole.len() {
            CorimFile::decode(&whole[..end]).unwrap_err();
        }
        for place in 0..whole.len() {
            for mask in [0x01, 0x20, 0x80, 0xff] {
                let mut flipped = whole.clone();
                flipped[place] ^= mask;
                match CorimFile::decode(&flipped) {
                    Err(_) => {}
                    Ok(CorimFile::Unsigned(corim)) => assert_eq!(corim.encode(), flipped),
                    Ok(CorimFile::Signed(signed)) => {
                        let again = signed.corim.envelope(&signed.signer, &signed.signature);
                        assert_eq!(again, flipped);
                        let same = signed.signature != SIGNATURE;
                        assert!(same || signed.signed != file().to_be_signed(&SIGNER), "byte {place}");
                    }
                }
            }
        }
    }
}

#[test]
fn refused_with_the_reason() {
    let altered = |alter: fn(&mut Corim)| {
        let mut corim = file();
        alter(&mut corim);
        corim.encode()
    };
    let rows: [(Vec<u8>, &str); 8] = [
        (altered(|corim| corim.reference.pcrs[1].pcr = 24), "comid.mkey: is not `uki` or a PCR from 0 to 23"),
        (altered(|corim| corim.reference.name = String::new()), "corim.id: has to be 1 to 256 bytes"),
        (altered(|corim| corim.version = "1\n".into()), "comid.version: has to be 1 to 256 bytes"),
        (
            altered(|corim| corim.reference.pcrs[0].accepted[0].holds_for = "x".repeat(257)),
            "comid.name: has to",
        ),
        (cbor::tag(500, &cbor::map([])), "corim: is not a CoRIM"),
        (cbor::tag(501, &cbor::map([])), "corim.id: is missing"),
        (b"{}".to_vec(), "the file ends here"),
        (vec![0; CORIM_BYTES_MAX + 1], "larger than 65536 bytes"),
    ];
    for (bytes, expected) in rows {
        let said = CorimFile::decode(&bytes).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
    // PCRs in another order are written in ascending order; an empty list is not written.
    let mut turned = file();
    turned.reference.pcrs.reverse();
    turned.reference.pcrs.push(ReferencePcr { pcr: 12, accepted: vec![] });
    assert_eq!(turned.encode(), file().encode());
}

//! The TPM structures: a real quote read field by field, one row per way to be malformed, and mutations.
//!
//! The bytes were made by a software TPM (swtpm 0.7.1) with this project's templates; `tpm2_checkquote` accepted
//! them.  If a test with literal bytes fails, change your code, not the test: evidence with such bytes is out there.

use attest_wire::{
    AlgId, Attest, Attributes, Body, ClockInfo, Curve, HashAlg, Hierarchy, Name, PcrSelection, PcrSelections,
    Problem, Public, PublicKey, Reader, Scheme, Signature, SignatureValue, Symmetric, WireError, Writer,
    templates::{AK_ATTRIBUTES, AK_DOMAIN, EK_ATTRIBUTES, POLICY_A, Template, policy_b_384},
};
use proptest::{prelude::*, sample::Index};

const AK: &str = "0023000b00050472000000100018000b0003001000202958bce5f239a6f03e795041f655ed7e54058b7c4595cc89c62ce312\
                  0a52bf0f002068761951e57f02686c2f33070e8315ca16be2a35f35b4186bbae91651affcb42";
const QUOTE: &str = "ff54434780180022000b9269ab73974189f74f4b12986ab8bb561e65598db0c51b5364477ce110a403d30020424242424242\
                     4242424242424242424242424242424242424242424242424242000000000000018e00000002000000000120191023001636\
                     3600000001000b03fffa0000205c55c8f4db4010ba9203d83536d0609856af8c847ac039e37e7dde8fbd574b61";
const SIGNATURE: &str = "0018000b00204c9cb11293073e6d03be5486c47d7da6797c613ad943fe5d5439d198d345167c0020a7e9d1f8eeda43a52\
                         8f6ab408487feb447b51e60bc4de8d952981f6e835c5657";
const EK_P256: &str = "0023000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa00060080004300100\
                       00300100020b8f69a7fd98e508ba136a707e2b8e55dd8c757020e52bc3df7534eaa50aec3950020b9d207fcf35b9fb0deba48\
                       037bd49cec9ee0906abe74641119b17b7a90d49364";

#[test]
fn a_real_quote_reads_field_by_field() {
    let ak = Public::parse(&bytes(AK)).unwrap();
    let quote = Attest::parse(&bytes(QUOTE)).unwrap();
    assert_eq!(quote.raw(), bytes(QUOTE));
    assert_eq!(quote.qualified_signer, ak.name().qualified(Hierarchy::Endorsement));
    for other in [Hierarchy::Owner, Hierarchy::Null, Hierarchy::Platform] {
        assert_ne!(quote.qualified_signer, ak.name().qualified(other));
    }
    assert_eq!(quote.extra_data, [0x42; 32]);
    assert_eq!(quote.clock, ClockInfo { clock: 398, reset_count: 2, restart_count: 0, safe: true });
    assert_eq!(quote.firmware_version, 0x2019_1023_0016_3636);
    let Body::Quote { selection, pcr_digest } = &quote.body else { panic!("{quote:?}") };
    let [bank] = selection.banks() else { panic!("{selection:?}") };
    assert_eq!(bank.alg, AlgId::SHA256);
    assert_eq!(bank.pcrs().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15]);
    // A software TPM without firmware: all of these PCRs were zero.
    assert_eq!(*pcr_digest, HashAlg::Sha256.digest(&[[0; 32].as_slice(); 14]));

    let signature = Signature::parse(&bytes(SIGNATURE)).unwrap();
    assert_eq!((signature.raw(), signature.hash()), (bytes(SIGNATURE).as_slice(), AlgId::SHA256));
    assert_eq!(signature.p256().unwrap()[..], [&bytes(SIGNATURE)[6..38], &bytes(SIGNATURE)[40..]].concat());
}

#[test]
fn keys_follow_their_templates() {
    let ak = Public::parse(&bytes(AK)).unwrap();
    assert_eq!((ak.name_alg(), ak.attributes(), ak.auth_policy()), (HashAlg::Sha256, AK_ATTRIBUTES, &[][..]));
    let PublicKey::Ecc { symmetric, scheme, curve, x, .. } = ak.key() else { panic!("{ak:?}") };
    assert_eq!((*symmetric, *scheme, *curve), (Symmetric::Null, Scheme::Ecdsa(AlgId::SHA256), Curve::P256));
    assert_eq!(ak.p256_point().unwrap()[..33], [&[4], x.as_slice()].concat());
    assert_eq!(ak.name().bytes(), [&[0, 0x0b], HashAlg::Sha256.digest(&[&bytes(AK)]).as_slice()].concat());
    assert_eq!(Name::parse(ak.name().bytes()).unwrap(), ak.name());

    let ek = Public::parse(&bytes(EK_P256)).unwrap();
    assert_eq!((ek.attributes(), ek.auth_policy()), (EK_ATTRIBUTES, &POLICY_A[..]));
    for (template, public, difference) in [
        (Template::AkP256, &ak, None),
        (Template::EkP256, &ek, None),
        (Template::EkP256, &ak, Some("objectAttributes")),
        (Template::EkRsa2048, &ek, Some("type")),
    ] {
        assert_eq!(template.differs(public), difference);
    }
    // Each byte before the key itself matters: flipping one must break the parsing or show as a difference.
    for at in 0..22 {
        let mut other = bytes(AK);
        other[at] ^= 1;
        assert!(
            Public::parse(&other).map_or(true, |other| Template::AkP256.differs(&other).is_some()),
            "byte {at}"
        );
    }
}

#[test]
fn templates_are_pinned() {
    for (template, length, digest) in [
        (Template::EkRsa2048, 314, "32503929a1287eedaa3e89d932f9b51a6f92abd0fa57721ffa6fc041e04f7498"),
        (Template::EkP256, 122, "0f1277a2f3f382e7f75db466fac234182a8d62f97dfbaae7b06fdf52bda51467"),
        (Template::AkP256, 88, "dfb2033f0f8739c9dfffa53fae58fe0f74cc55e76e2dae8ed60473032d8f3a7c"),
        (Template::EkP384, 74, "07a006fac337f6b3451362be5f925bb9c121b9d3cd44470f4bbf14f6387b9168"),
        (Template::IakP256, 62, "59e68f5e39564aec1f707e5d17a630dfa4ee7a66e3c7496b007dd5acf035c841"),
        (Template::IakP384, 78, "d7da16226ebda3472c94494123ffe1855ab739fc001c6348bfb8dc1c1da9465f"),
    ] {
        let raw = template.public();
        let public = Public::parse(&raw).unwrap();
        assert_eq!(template.differs(&public), None);
        assert_eq!(
            (raw.len(), hex(&HashAlg::Sha256.digest(&[&raw]))),
            (length, digest.to_owned()),
            "{template:?}"
        );
    }
    // As the EK Credential Profile prints PolicyB.
    let policy_b = hex(&policy_b_384());
    assert!(policy_b.starts_with("b26e7d28") && policy_b.ends_with("0e12"), "{policy_b}");
    assert_eq!(AK_ATTRIBUTES, Attributes(0x0005_0472));
    let names: Vec<_> = AK_ATTRIBUTES.names().collect();
    let expected =
        ["fixedTPM", "fixedParent", "sensitiveDataOrigin", "userWithAuth", "noDA", "restricted", "sign"];
    assert_eq!(names, expected);
    assert!(Template::AkP256.public().windows(32).any(|window| window == AK_DOMAIN));
}

/// Where to patch, with what, and then: which field is wrong, at which byte, and how.
type Row = (usize, &'static [u8], &'static str, usize, Problem);

const fn refused(value: u64) -> Problem {
    Problem::Refused { value }
}

const fn too_long(length: usize, most: usize) -> Problem {
    Problem::TooLong { length, most }
}

const BAD_QUOTES: &[Row] = &[
    (0, &[0xfe], "TPMS_ATTEST.magic", 0, refused(0xfe54_4347)),
    (4, &[0x80, 0x19], "TPMS_ATTEST.type", 4, refused(0x8019)),
    (6, &[0xff], "TPMS_ATTEST.qualifiedSigner", 6, too_long(0xff22, 66)),
    (8, &[0, 4], "TPM2B_NAME.nameAlg", 8, refused(4)),
    (8, &[0, 12], "TPM2B_NAME.digest", 10, Problem::Truncated { needed: 48, left: 32 }),
    (42, &[0, 67], "TPMS_ATTEST.extraData", 42, too_long(67, 66)),
    (92, &[2], "TPMS_CLOCK_INFO.safe", 92, refused(2)),
    (101, &[0xff; 4], "TPML_PCR_SELECTION.count", 101, too_long(0xffff_ffff, 16)),
    (107, &[5], "TPMS_PCR_SELECTION.sizeofSelect", 107, too_long(5, 4)),
    (112, &[31], "TPMS_ATTEST", 144, Problem::Trailing { bytes: 1 }),
];

const BAD_PUBLICS: &[Row] = &[
    (0, &[0, 8], "TPMT_PUBLIC.type", 0, refused(8)),
    (2, &[0, 4], "TPMT_PUBLIC.nameAlg", 2, refused(4)),
    (4, &[0x80], "TPMT_PUBLIC.objectAttributes", 4, refused(0x8005_0472)),
    (12, &[0, 0x1a], "TPMT_ASYM_SCHEME.scheme", 12, refused(0x1a)),
    (16, &[0, 1], "TPMS_ECC_PARMS.curveID", 16, refused(1)),
    (18, &[0, 0x20], "TPMS_ECC_PARMS.kdf", 18, refused(0x20)),
    (20, &[0, 33], "TPMT_PUBLIC.unique.ecc.x", 20, too_long(33, 32)),
    (54, &[0, 31], "TPMT_PUBLIC", 87, Problem::Trailing { bytes: 1 }),
];

const BAD_SIGNATURES: &[Row] = &[
    (0, &[0, 5], "TPMT_SIGNATURE.sigAlg", 0, refused(5)),
    (4, &[0, 0], "TPMS_SIGNATURE_ECC.signatureR", 4, Problem::WrongLength { length: 0, expected: 1 }),
    (4, &[0, 67], "TPMS_SIGNATURE_ECC.signatureR", 4, too_long(67, 66)),
];

#[test]
fn malformed_structures_say_where() {
    fn check(good: &str, rows: &[Row], parse: fn(&[u8]) -> Option<WireError>) {
        assert_eq!(parse(&bytes(good)), None);
        for &(at, patch, field, offset, problem) in rows {
            let mut bytes = bytes(good);
            bytes[at..at + patch.len()].copy_from_slice(patch);
            assert_eq!(parse(&bytes), Some(WireError { field, offset, problem }));
        }
    }
    check(QUOTE, BAD_QUOTES, |bytes| Attest::parse(bytes).err());
    check(AK, BAD_PUBLICS, |bytes| Public::parse(bytes).err());
    check(SIGNATURE, BAD_SIGNATURES, |bytes| Signature::parse(bytes).err());
    let error = Attest::parse(&bytes(QUOTE)[..50]).unwrap_err();
    assert_eq!(error.to_string(), "TPMS_ATTEST.extraData at byte 44: needs 32 bytes, 6 are left");
}

#[test]
fn certifications_read_too() {
    let name = Public::parse(&bytes(AK)).unwrap().name();
    let head = bytes(QUOTE);
    let raw = Writer::new(512)
        .bytes("magic", &head[..4])
        .u16("type", 0x8017)
        .bytes("signer to firmwareVersion", &head[6..101])
        .sized("name", name.bytes())
        .sized("qualifiedName", name.qualified(Hierarchy::Endorsement).bytes())
        .finish()
        .unwrap();
    let expected = Body::Certify { qualified_name: name.qualified(Hierarchy::Endorsement), name };
    assert_eq!(Attest::parse(&raw).unwrap().body, expected);
}

#[test]
fn short_integers_are_filled_up() {
    let fixed = |r: &[u8], s: &[u8]| {
        let raw =
            Writer::new(256).u16("alg", 0x18).u16("hash", 0xb).sized("r", r).sized("s", s).finish().unwrap();
        Signature::parse(&raw).unwrap().p256()
    };
    let filled = fixed(&[1; 31], &[2]).unwrap();
    assert_eq!((filled[..3].to_vec(), filled[31..33].to_vec(), filled[63]), (vec![0, 1, 1], vec![1, 0], 2));
    assert_eq!(fixed(&[1; 33], &[2; 32]), None);
    let rsa = Writer::new(256).u16("alg", 0x14).u16("hash", 0xb).sized("sig", &[9; 128]).finish().unwrap();
    let rsa = Signature::parse(&rsa).unwrap();
    assert_eq!((rsa.value(), rsa.p256()), (&SignatureValue::Rsassa { signature: vec![9; 128] }, None));
}

#[test]
fn selections_round_trip() {
    for pcrs in [&[][..], &[0], &[23], &[0, 8, 16], &[1, 2, 3, 7, 9, 15]] {
        let selection = PcrSelection::new(AlgId::SHA384, pcrs).unwrap();
        let list = PcrSelections::one(selection).unwrap();
        let mut reader = Reader::new(list.raw());
        assert_eq!(PcrSelections::read(&mut reader).unwrap(), list);
        assert_eq!(list.banks()[0].pcrs().collect::<Vec<_>>(), pcrs);
        assert_eq!(list.raw()[..7], [0, 0, 0, 1, 0, 0x0c, 3]);
    }
    assert_eq!(PcrSelection::new(AlgId::SHA256, &[24]), None);
    let five = PcrSelection { alg: AlgId::SHA256, mask: 1, select_bytes: 5 };
    assert!(PcrSelections::one(five).is_err());
}

#[test]
fn a_writer_remembers_what_did_not_fit() {
    let problem = |length, most| Problem::TooLong { length, most };
    let error = |field, offset, problem| Err(WireError { field, offset, problem });
    assert_eq!(Writer::new(3).u16("a", 1).u16("b", 2).u8("c", 3).finish(), error("b", 2, problem(4, 3)));
    let long = vec![0; 65536];
    assert_eq!(
        Writer::new(1 << 20).sized("a", &long).u8("b", 1).finish(),
        error("a", 0, problem(65536, 65535))
    );
    assert_eq!(Writer::new(4).sized("a", &[7, 8]).finish().unwrap(), [0, 2, 7, 8]);
}

/// What every parser must hold to on any bytes: it returns, an error points into the input, and what it accepts is
/// what it was given, to the byte.
fn all_parsers_hold(bytes: &[u8]) -> Result<(), TestCaseError> {
    let raws = [
        Attest::parse(bytes).map(|attest| attest.raw().to_vec()),
        Public::parse(bytes).map(|public| public.raw().to_vec()),
        Signature::parse(bytes).map(|signature| signature.raw().to_vec()),
        Name::parse(bytes).map(|name| name.bytes().to_vec()),
    ];
    for raw in raws {
        match raw {
            Ok(raw) => prop_assert_eq!(&raw[..], bytes),
            Err(error) => prop_assert!(error.offset <= bytes.len(), "{}", error),
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn mutated_structures_never_panic(
        good in prop::sample::select(vec![AK, QUOTE, SIGNATURE, EK_P256]),
        flips in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        keep in any::<Option<Index>>(),
        tail in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = bytes(good);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(keep) = keep {
            bytes.truncate(keep.index(bytes.len()));
        }
        bytes.extend(tail);
        all_parsers_hold(&bytes)?;
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        all_parsers_hold(&bytes)?;
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    for good in [AK, QUOTE, SIGNATURE, EK_P256] {
        let mut bytes = bytes(good);
        let parses = |bytes: &[u8]| {
            Attest::parse(bytes).is_ok() || Public::parse(bytes).is_ok() || Signature::parse(bytes).is_ok()
        };
        assert!(parses(&bytes));
        assert!((0..bytes.len()).all(|end| !parses(&bytes[..end])));
        bytes.push(0);
        assert!(!parses(&bytes));
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit =
        |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

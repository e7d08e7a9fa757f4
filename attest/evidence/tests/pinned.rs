//! The wire, byte by byte.  **If a test here fails, change your code, not this test**: files with these bytes exist, and
//! TPMs have signed their hashes.

use attest_evidence::{
    Attachments, Endorsements, Evidence, Logs, Nonce, Pcr, Purpose, Statement, Target, TpmPart, anchor,
    binding::{Binding, SignedBinding},
    digest, qualifying_data,
};

fn hexed(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

fn admission() -> Statement {
    Statement {
        purpose: Purpose::Admission,
        nonce: Nonce::Verifier([0x11; 32]),
        node: [0x22; 32],
        ak_name: [vec![0, 0x0b], vec![0x33; 32]].concat(),
        inventory: None,
        burn_in: None,
        uefi_log: [0x44; 32],
        previous: None,
        sequence: 0,
        host_key: None,
    }
}

fn registration() -> Statement {
    Statement {
        purpose: Purpose::Registration {
            target: Target { chain_id: 31337, registry: [0x55; 20], operator: [0x66; 20] },
            unit_root: [0x77; 32],
            manifest: [0x78; 32],
        },
        nonce: Nonce::Block { chain_id: 31337, number: 300, hash: [0x12; 32], node: [0x22; 32], sequence: 1 },
        inventory: Some([0x88; 32]),
        burn_in: Some([0x99; 32]),
        previous: Some([0xaa; 32]),
        sequence: 1,
        ..admission()
    }
}

fn evidence() -> Evidence {
    Evidence {
        node: [0x22; 32],
        tpm: TpmPart {
            ak_public: vec![1],
            attest: vec![2],
            signature: vec![3],
            pcrs: vec![
                Pcr { bank: 0x0b, index: 0, digest: vec![4; 2] },
                Pcr { bank: 0x0b, index: 24, digest: vec![] },
            ],
        },
        endorsements: Endorsements {
            ek_certificates: vec![vec![5], vec![6]],
            ek_public: vec![7],
            ..Default::default()
        },
        logs: Logs { uefi: vec![8] },
        statement: admission(),
        attachments: Attachments { manifest: Some(vec![9]), ..Default::default() },
        previous: None,
    }
}

fn binding() -> Binding {
    Binding {
        ek_certificate: [1; 32],
        ak_name: vec![0, 0x0b],
        node: [2; 32],
        tpm_firmware: 0x2019_1023,
        time: 1_700_000_000,
        challenger: [3; 64],
    }
}

const R11: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const R22: &str = "2222222222222222222222222222222222222222222222222222222222222222";
const R33: &str = "3333333333333333333333333333333333333333333333333333333333333333";
const R44: &str = "4444444444444444444444444444444444444444444444444444444444444444";

#[test]
fn admission_statement_v1() {
    let wanted = format!("a6010102a20101025820{R11}035820{R22}055822000b{R33}095820{R44}0b00");
    assert_eq!(hexed(&admission().encode()), wanted);
    assert_eq!(Statement::decode(&admission().encode()).unwrap(), admission());
    assert_eq!(anchor(&admission()), [0; 32]);
}

#[test]
fn registration_statement_v1() {
    let r = |digits: &str, bytes: usize| digits.repeat(bytes);
    let wanted = [
        "ac0102".to_owned(),
        format!("02a601020319 7a6904 19012c 055820{} 065820{R22} 0701", r("12", 32)),
        format!("035820{R22}"),
        format!("04a301197a690254{}0354{}", r("55", 20), r("66", 20)),
        format!("055822000b{R33}"),
        format!("065820{}", r("77", 32)),
        format!("075820{}", r("88", 32)),
        format!("085820{}", r("99", 32)),
        format!("095820{R44}"),
        format!("0a5820{}", r("aa", 32)),
        "0b01".to_owned(),
        format!("0c5820{}", r("78", 32)),
    ]
    .concat()
    .replace(' ', "");
    assert_eq!(hexed(&registration().encode()), wanted);
    assert_eq!(Statement::decode(&registration().encode()).unwrap(), registration());
}

#[test]
fn evidence_v1() {
    let statement = hexed(&admission().encode());
    let wanted = format!(
        "a7 01 77 {} 025820{R22} 03a4 014101 024102 034103 0482 830b00420404 830b181840 04a2 0182 4105 4106 024107 05a1 \
         014108 0658{:02x}{statement} 07a1 034109",
        hexed(b"scalerforge/evidence/v1"),
        statement.len() / 2,
    )
    .replace(' ', "");
    assert_eq!(hexed(&evidence().encode()), wanted);
    assert_eq!(Evidence::decode(&evidence().encode()).unwrap(), evidence());
    assert_eq!(evidence().digest(), digest(&evidence().encode()));
}

#[test]
fn host_key_v1_1() {
    let statement = Statement { host_key: Some([0xbb; 20]), ..admission() };
    let wanted =
        format!("a7010102a20101025820{R11}035820{R22}055822000b{R33}095820{R44}0b000d54{}", "bb".repeat(20));
    assert_eq!(hexed(&statement.encode()), wanted);
    assert_eq!(Statement::decode(&statement.encode()).unwrap(), statement);
    let evidence = Evidence { statement, ..evidence() };
    let head = format!("a7017819{}02", hexed(b"scalerforge/evidence/v1.1"));
    assert!(hexed(&evidence.encode()).starts_with(&head));
    assert_eq!(Evidence::decode(&evidence.encode()).unwrap(), evidence);
}

#[test]
fn qualifying_data_v1() {
    assert_eq!(
        hexed(&qualifying_data(&admission())),
        "dc0794751e5bd1f25b4ad71ade30d44ca76ab1c37ac13e3d1bf4877deb006c3f"
    );
    assert_eq!(
        hexed(&anchor(&registration())),
        "c826c5247eec1342d72351cfdd85f80a2c57912bb4142e51d856a080df3662de"
    );
    assert_eq!(
        hexed(&qualifying_data(&registration())),
        "9b68c09fb2225db0e3d87fb0ba4d9d1a968bc3559838bda45bbb8b53cc0904cd"
    );
}

#[test]
fn binding_v1() {
    let payload = format!(
        "a7 01 76{} 025820{} 0342000b 045820{} 051a20191023 061a6553f100 075840{}",
        hexed(b"scalerforge/binding/v1"),
        "01".repeat(32),
        "02".repeat(32),
        "03".repeat(64)
    )
    .replace(' ', "");
    let length = payload.len() / 2;
    let signed =
        format!("84 6a{} 43a10126 40 58{length:02x}{payload}", hexed(b"Signature1")).replace(' ', "");
    assert_eq!(hexed(&binding().to_be_signed()), signed);
    let envelope = binding().envelope(&[0xee; 64]);
    assert_eq!(hexed(&envelope), format!("d28443a10126a058{length:02x}{payload}5840{}", "ee".repeat(64)));
    let read = SignedBinding::decode(&envelope).unwrap();
    assert_eq!((read.binding, read.signature, hexed(&read.signed)), (binding(), [0xee; 64], signed));
}

#[test]
fn json_has_the_same_names() {
    let json = evidence().to_json();
    assert_eq!(json["profile"], "scalerforge/evidence/v1");
    assert_eq!(json["tpm"]["pcrs"][0], serde_json::json!([11, 0, "BAQ"]));
    assert_eq!(json["statement"]["purpose"], "admission");
    assert_eq!(json["statement"]["node-id"], json["node-id"]);
    assert!(json["statement"].get("target").is_none());
    assert_eq!(registration().to_json()["target"]["chain-id"], 31337);
}

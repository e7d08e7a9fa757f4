//! Writes the first corpus of every target: whole files of the vectors, and their parts.

use std::{fs, path::Path};

use attest_evidence::{
    Accepted, Evidence, Hex32, ReferenceBank, ReferencePcr, ReferenceValues, binding::SignedBinding,
    corim::Corim,
};
use hil_tests_fuzz::{policy, seeds};

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let put = |target: &str, bytes: &[u8]| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder).unwrap();
        let name: String =
            attest_evidence::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        fs::write(folder.join(name), bytes).unwrap();
    };
    let wire = |kind: u8, bytes: &[u8]| put("wire", &[&[kind], bytes].concat());
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../attest/verify/tests/data/ovmf-uki.bin");
    put("eventlog", &fs::read(log).unwrap());
    for file in seeds() {
        put("evidence", &file);
        let Ok(evidence) = Evidence::decode(&file) else { continue };
        wire(0, &evidence.tpm.ak_public);
        wire(0, &evidence.endorsements.ek_public);
        wire(1, &evidence.tpm.attest);
        wire(2, &evidence.tpm.signature);
        put("eventlog", &evidence.logs.uefi);
        put("binding", &evidence.statement.encode());
        for bytes in &evidence.endorsements.bindings {
            put("binding", bytes);
            let _ = SignedBinding::decode(bytes);
        }
        for der in evidence.endorsements.ek_certificates.iter().chain(&evidence.endorsements.intermediates) {
            put("x509", der);
        }
    }
    put("tftp", b"\0\x01boot/00112233445566778899aabbccddeeff/discovery.efi\0octet\0tsize\00\0blksize\01468\0windowsize\064\0");
    for class in ["PXEClient:Arch:00007:UNDI:003001", "HTTPClient:Arch:00016:UNDI:003001"] {
        put("dhcp4", &pxe_wire::dhcp4::Writer::discover([2, 0, 0, 0, 0, 1], 7, class).finish().unwrap());
    }
    for reference in policy().reference.into_iter().chain([small()]) {
        let corim = Corim { reference, version: "0.1.0".into() };
        put("corim", &corim.encode());
        put("corim", &corim.envelope(&[7; 64], &[8; 64]));
    }
}

fn small() -> ReferenceValues {
    let accepted = |byte: u8| Accepted { value: Hex32([byte; 32]), holds_for: format!("case {byte}") };
    ReferenceValues {
        name: "small".into(),
        uki_sha256: Hex32([9; 32]),
        bank: ReferenceBank::Sha256,
        pcrs: vec![ReferencePcr { pcr: 4, accepted: vec![accepted(1), accepted(2)] }],
    }
}

//! The first inputs of every target: whole files of the vectors, and their parts.

use std::{fs, path::Path};

use crate::{policy, publications, seeds};
use attest_evidence::{
    Accepted, Evidence, Hex32, ReferenceBank, ReferencePcr, ReferenceValues, binding::SignedBinding,
    corim::Corim,
};

/// Gives each to `put`, with the name of its target.
pub fn each(put: &mut dyn FnMut(&str, &[u8])) {
    let put = std::cell::RefCell::new(put);
    let put = |target: &str, bytes: &[u8]| (*put.borrow_mut())(target, bytes);
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
    put("tftp", b"\0\x01boot/00112233445566778899aabbccddeeff/discovery.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x0064\0");
    for class in ["PXEClient:Arch:00007:UNDI:003001", "HTTPClient:Arch:00016:UNDI:003001"] {
        put("dhcp4", &pxe_wire::dhcp4::Writer::discover([2, 0, 0, 0, 0, 1], 7, class).finish().unwrap());
    }
    for request in [
        "GET /boot/00112233445566778899aabbccddeeff/discovery.efi HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n",
        "HEAD /images/sha256/00 HTTP/1.0\r\n\r\n",
    ] {
        put("http", request.as_bytes());
    }
    for seed in crate::ipmi::seeds() {
        put("ipmi", &seed);
    }
    let redfish = "HTTP/1.1 200 OK\r\nST: urn:dmtf-org:service:redfish-rest:1:0\r\nAL: https://10.78.0.11:8443/redfish/v1/\r\n\r\n";
    put("announce", redfish.as_bytes());
    let mut named = crate::announce::mdns_question();
    (named[2], named[7]) = (0x84, 1);
    named.extend(*b"\xc0\x0c\0\x0c\0\x01\0\0\0\x0a\0\x02\xc0\x0c");
    put("announce", &named);
    for file in publications() {
        put("publication", &file);
    }
    let story = crate::stream::story();
    let after: String = story.split_inclusive('\n').skip(3).collect();
    put("stream", &[&[0], story.as_bytes()].concat());
    put("stream", &[&[1], after.as_bytes()].concat());
    put("stream", &[&[2][..], &[0; 8], b"\x01\0abc\xff\"\x03", b"\x0e\x01\x05klmno", &[3; 8]].concat());
    dhcp6(put);
    for reference in policy().reference.into_iter().chain([small()]) {
        let corim = Corim { reference, version: "0.1.0".into() };
        put("corim", &corim.encode());
        put("corim", &corim.envelope(&[7; 64], &[8; 64]));
    }
}

/// A SOLICIT as edk2 sends it, the same through two relays, a REQUEST, and a router advertisement.
fn dhcp6(put: impl Fn(&str, &[u8])) {
    use pxe_wire::{dhcp6::Duid, ra::Advertisement};
    let option = |code: u16, value: &[u8]| {
        [&code.to_be_bytes()[..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
    };
    let client = option(1, Duid::of_uuid([5; 16]).as_bytes());
    let address = option(5, &[&[0xfd; 16][..], &[0; 8]].concat());
    let class = [&[0, 0, 1, 87, 0, 33][..], b"HTTPClient:Arch:00016:UNDI:003001"].concat();
    let rest = [
        option(3, &[&[0; 12][..], &address].concat()),
        option(6, &[0, 59, 0, 60, 0, 23, 0, 16]),
        option(8, &[0, 0]),
        option(62, &[1, 3, 1]),
        option(61, &[0, 16]),
        option(16, &class),
    ]
    .concat();
    let solicit = [&[1, 1, 2, 3][..], &client, &rest].concat();
    let server = option(2, Duid::of_uuid([7; 16]).as_bytes());
    put("dhcp6", &[&[3, 1, 2, 3][..], &client, &server, &rest].concat());
    let relayed = (0..2u8).fold(solicit.clone(), |inner, hops| {
        let more = [option(18, b"eth0"), option(79, &[0, 1, 2, 0, 0, 0, 0, 1]), option(9, &inner)].concat();
        [&[12, hops][..], &[0xfd; 16], &[0xfe; 16], &more].concat()
    });
    put("dhcp6", &solicit);
    put("dhcp6", &relayed);
    put("dhcp6", &Advertisement { managed: true, mac: Some([2; 6]), ..Advertisement::default() }.write());
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

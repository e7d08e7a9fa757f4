//! TPM structures: what parses keeps its bytes, has a name, and parses again from them.

use attest_wire::{Attest, Body, PcrSelections, Public, Reader, Signature, templates::Template};

/// One input.
pub fn run(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 => {
            if let Ok(public) = Public::parse(bytes) {
                assert_eq!(public.raw(), bytes);
                assert_eq!(public.name(), Public::parse(public.raw()).unwrap().name());
                let _ = (public.p256_point(), public.auth_policy(), Template::AkP256.differs(&public));
                let _ = attest_verify::node_id(public.name().bytes());
            }
        }
        1 => {
            if let Ok(attest) = Attest::parse(bytes) {
                assert_eq!(attest.raw(), bytes);
                if let Body::Quote { selection, .. } = &attest.body {
                    let count: u32 = selection.banks().iter().map(|bank| bank.count()).sum();
                    let listed: usize = selection.banks().iter().map(|bank| bank.pcrs().count()).sum();
                    assert_eq!(usize::try_from(count), Ok(listed));
                }
            }
        }
        2 => {
            if let Ok(signature) = Signature::parse(bytes) {
                assert_eq!(signature.raw(), bytes);
                let _ = signature.p256();
            }
        }
        _ => {
            let mut reader = Reader::new(bytes);
            if let Ok(selections) = PcrSelections::read(&mut reader) {
                assert!(bytes.starts_with(selections.raw()));
            }
        }
    }
}

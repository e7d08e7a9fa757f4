//! The verifier's own MakeCredential against a real TPM: all endorsement keys, and what must not work.

mod machine;

use attest_tpm::ResponseCode;
use attest_verify::challenge::{ENTROPY_BYTES, make_credential};
use machine::Machine;

#[test]
fn our_credentials_activate_on_all_endorsement_keys() {
    let mut machine = Machine::new();
    let mut tpm = machine.power_on();
    let ak = tpm.create_ak().unwrap();
    let (eks, failed) = tpm.create_eks();
    assert!(failed.is_empty(), "{failed:?}");
    for (at, ek) in eks.iter().enumerate() {
        // Several ephemeral keys and seeds: about one in 128 has a coordinate that starts with a zero byte.
        for round in 0..150_u8 {
            let entropy: Vec<u8> =
                (0..ENTROPY_BYTES).map(|byte| u8::try_from(byte).unwrap().wrapping_mul(31) ^ round).collect();
            let secret = [round.wrapping_add(1); 32];
            let credential = make_credential(ek.public(), &ak.name(), &secret, &entropy).unwrap();
            let recovered = tpm.activate(ek, &ak, &credential.credential_blob, &credential.encrypted_secret);
            assert_eq!(recovered.unwrap(), secret, "{:?}, round {round}", ek.template());

            if round == 0 {
                let other = &eks[(at + 1) % eks.len()];
                assert!(
                    tpm.activate(other, &ak, &credential.credential_blob, &credential.encrypted_secret)
                        .is_err()
                );
                let wrong = make_credential(ek.public(), &ek.name(), &secret, &entropy).unwrap();
                let error =
                    tpm.activate(ek, &ak, &wrong.credential_blob, &wrong.encrypted_secret).unwrap_err();
                assert_eq!(error.code().map(ResponseCode::plain), Some(ResponseCode::INTEGRITY), "{error}");
            }
        }
    }
}

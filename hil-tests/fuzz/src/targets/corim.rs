//! Reference files: one encoding for each content, and what is read can be written as the JSON form and read again.

use attest_evidence::corim::CorimFile;

/// One input.
pub fn run(input: &[u8]) {
    let Ok(file) = CorimFile::decode(input) else { return };
    match &file {
        CorimFile::Unsigned(corim) => assert_eq!(corim.encode(), input),
        CorimFile::Signed(signed) => {
            assert_eq!(signed.corim.envelope(&signed.signer, &signed.signature), input);
            assert_eq!(signed.corim.to_be_signed(&signed.signer), signed.signed);
        }
    }
    let reference = &file.corim().reference;
    assert!(reference.pcrs.iter().all(|entry| entry.pcr <= 23 && !entry.accepted.is_empty()));
}

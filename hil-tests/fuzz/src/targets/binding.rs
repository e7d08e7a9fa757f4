//! Binding statements (COSE_Sign1): one encoding for each content.

use attest_evidence::{Nonce, Statement, binding::SignedBinding};

/// One input.
pub fn run(input: &[u8]) {
    if let Ok(statement) = Statement::decode(input) {
        assert_eq!(statement.encode(), input);
        let _ =
            (attest_evidence::qualifying_data(&statement), matches!(statement.nonce, Nonce::Block { .. }));
    }
    let Ok(signed) = SignedBinding::decode(input) else { return };
    assert_eq!(signed.binding.envelope(&signed.signature), input);
    assert_eq!(signed.binding.to_be_signed(), signed.signed);
}

//! A quote of a real (software) TPM passes the contract's check, whichever half its signature's s is in.
//!
//! Needs `swtpm` and `tpm2-tools` and fails without them.  It is the proof that the parser in Solidity, the synthetic
//! quotes of the other tests, and TPMs mean the same bytes.
#![expect(clippy::unwrap_used, reason = "tests and what they stand on")]

#[path = "chain/node.rs"]
#[expect(dead_code, reason = "only a part of it is needed here")]
mod node;
#[path = "chain/support.rs"]
#[expect(dead_code, reason = "only a part of it is needed here")]
mod support;
#[path = "chain/swtpm.rs"]
mod swtpm;

use support::{FEE_CAP, Machine, bind, world};
use swtpm::Swtpm;

/// Enough quotes that both halves occur, but for one time in 2⁶³.
const QUOTES_MAX: usize = 64;

#[tokio::test]
async fn a_quote_of_a_real_tpm_passes_the_contract() {
    let world = world("swtpm").await;
    let tpm = Swtpm::start();
    let mut intent = Machine::new("swtpm", "machine").intent(&world).await;
    (intent.ak_x, intent.ak_y) = tpm.make_key();
    let at = world.chain.head().await.unwrap();
    intent.bindings = vec![bind(&world, "deployer", at.timestamp_unix + 3600, &intent)];
    // The synthetic quote holds the right qualifying data at its place.
    let qualifying = intent.quote[44..76].to_vec();
    let (mut low, mut high) = (0, 0);
    for _ in 0..QUOTES_MAX {
        let (quote, signature) = tpm.quote(&qualifying);
        assert_eq!(quote.len(), intent.quote.len());
        if signature.normalize_s().is_some() {
            high += 1
        } else {
            low += 1
        }
        intent.quote = quote;
        intent.signature_r = signature.r().to_bytes().into();
        intent.signature_s = signature.s().to_bytes().into();
        world.registry.preflight(&intent, world.operator.address(), FEE_CAP).await.unwrap();
        if low > 0 && high > 0 {
            break;
        }
    }
    assert!(low > 0 && high > 0, "{low} low, {high} high");
    world.approve(intent.collateral).await;
    assert!(world.register(&intent).await.registered.is_some());
}

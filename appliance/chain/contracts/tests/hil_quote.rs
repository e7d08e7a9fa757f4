//! Quotes of a real (software) TPM register a node on the contracts, whichever half their signature's s is in.
//!
//! Needs `swtpm` and `tpm2-tools` and fails without them.
#![expect(clippy::unwrap_used, reason = "tests and what they stand on")]

#[path = "contracts/evm.rs"]
#[expect(dead_code, reason = "only a part of it is needed here")]
mod evm;
#[path = "contracts/sent.rs"]
#[expect(dead_code, reason = "only a part of it is needed here")]
mod sent;
#[path = "../../client/tests/chain/swtpm.rs"]
mod swtpm;
#[path = "contracts/world.rs"]
#[expect(dead_code, reason = "only a part of it is needed here")]
mod world;

use alloy::primitives::B256;
use chain_contracts::{ScalerNodes, nodes::ScalerNodes as N};
use swtpm::Swtpm;
use world::{DEPOSIT, Machine, TOKEN, World, bind, payment};

/// Enough quotes that both halves occur, but for one time in 2⁶³.
const QUOTES_MAX: usize = 64;

#[test]
fn quotes_of_a_real_tpm_register_a_node() {
    let tpm = Swtpm::start();
    let (x, y) = tpm.make_key();
    let (x, y) = (B256::new(x), B256::new(y));
    let mut world = World::new();
    let owner = world.owner.address();
    world.deposit(owner, 60 * TOKEN);
    let machine = Machine::new("swtpm");
    let mut attestation = machine.attest(&world, owner);
    (attestation.akX, attestation.akY) = (x, y);
    let until = world.evm.time + 60;
    attestation.bindings =
        world.attestors.iter().take(2).map(|by| bind(&world, by, until, machine.node, (x, y))).collect();
    let call = ScalerNodes::expectedQualifyingDataCall {
        operator: owner,
        nodeId: machine.node,
        unitRoot: attestation.unitRoot,
        statementDigest: attestation.statementDigest,
    };
    let qualifying = world.evm.ask(world.plan.nodes, &call).unwrap();
    let (mut low, mut high) = (0, 0);
    let begun = world.evm.clone();
    for _ in 0..QUOTES_MAX {
        let (quote, signature) = tpm.quote(qualifying.as_slice());
        attestation.quote = quote.into();
        attestation.r = B256::from_slice(&signature.r().to_bytes());
        attestation.s = B256::from_slice(&signature.s().to_bytes());
        world.evm = begun.clone();
        if let Some(turned) = signature.normalize_s() {
            high += 1;
            let sent =
                machine.send(&mut world, owner, machine.params(), attestation.clone(), payment(DEPOSIT));
            assert!(sent.err().unwrap().is::<N::SignatureNotLowS>());
            attestation.s = B256::from_slice(&turned.s().to_bytes());
        } else {
            low += 1;
        }
        machine.send(&mut world, owner, machine.params(), attestation.clone(), payment(DEPOSIT)).unwrap();
        assert_eq!(world.node(machine.node).owner, owner);
        if low > 0 && high > 0 {
            break;
        }
    }
    assert!(low > 0 && high > 0, "{low} low, {high} high");
}

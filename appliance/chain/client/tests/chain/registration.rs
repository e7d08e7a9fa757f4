//! The whole way of a registration on a real chain, and every reason why one is refused.

use alloy::{primitives::U256, sol_types::SolCall as _};
use appliance_model::{Digest, Icnt, NodeId, Permille, Seconds};
use chain_client::{
    Broadcast, Error, Finality, Intent, NodeStatus, Outcome, Purpose, SignedTransaction, Source,
};
use chain_contracts::ScalerTerms;
use serde_json::json;

use crate::support::{FEE_CAP, Machine, World, ask, attest_bytes, world};

#[tokio::test]
async fn a_node_is_registered_and_read_back() {
    let world = world("registration").await;
    let machine = Machine::new("registration", "first");
    let intent = machine.intent(&world).await;
    let operator = world.operator.address();

    let sheet = world.registry.preflight(&intent, operator, FEE_CAP).await.unwrap();
    assert_eq!(sheet.demand.factors[1], "node part 60 ICNT = 2 x 100 ICNT x market factor 1 x 30 %");
    let network = "network part 300 ICNT = 2 of 10000 x 0.5 % of 300000000 ICNT; others may put it up";
    assert_eq!((sheet.demand.factors[2].as_str(), sheet.demand.attestors), (network, 1));
    assert_eq!((sheet.source, sheet.approve), (Source::Permit, None));
    let payment =
        world.registry.pay(&world.operator, sheet.source, intent.collateral, sheet.at).await.unwrap();
    let call = world.registry.register_call(&intent, &payment).unwrap();
    let signed = world.sign(&world.operator, &call).await.unwrap();
    assert_eq!((signed.nonce, signed.purpose), (0, Purpose::Register));
    // What is stored is what is sent.
    let stored = serde_json::to_string(&signed).unwrap();
    let signed: SignedTransaction = serde_json::from_str(&stored).unwrap();
    let receipt = world.send(&signed).await;
    assert_eq!(world.chain.broadcast(&signed).await.unwrap(), Broadcast::AlreadyMined);

    let event = receipt.registered.clone().unwrap();
    assert_eq!((event.node, event.operator), (machine.node, operator));
    assert_eq!(event.collateral, intent.collateral);
    let state = world.registry.node(machine.node).await.unwrap().unwrap();
    assert_eq!((state.status, state.owner), (NodeStatus::Registered, operator));
    assert_eq!((state.capacity, state.location, state.unit_root), (2, 83, intent.unit_root));
    assert_eq!(state.committed_until_unix, state.registered_at_unix + intent.commitment.0);
    let found = world.registry.nodes().await.unwrap();
    let [record] = found.nodes.as_slice() else { panic!("{found:?}") };
    assert!(found.complete);
    assert_eq!((record.status, record.owner, record.operator), (NodeStatus::Registered, operator, operator));
    assert_eq!((record.name.as_str(), record.class.as_str()), ("rack-1-slot-7", "storage"));
    assert_eq!((record.capacity, record.location, record.hp_id), (2, 83, 42));
    assert_eq!(record.reward_share_parts, 250_000_000_000_000_000);
    assert_eq!((record.ak_x, record.unit_root), (intent.ak_x, intent.unit_root));
    assert_eq!((record.block, record.collateral), (receipt.block, intent.collateral));
    assert_eq!(record.committed_until_unix, state.committed_until_unix);
    assert!(world.chain.finality(receipt.block).await.unwrap() >= Finality::Latest);
    assert_eq!(world.registry.node(NodeId([7; 32])).await.unwrap(), None);
    println!("register {} gas", receipt.gas_used);
    assert!(receipt.gas_used < 290_000);
}

#[tokio::test]
async fn contract_and_core_compute_the_same_collateral() {
    let world = world("formula").await;
    let at = world.chain.head().await.unwrap();
    for class in ["lab", "storage", "compute", "gpu"] {
        let terms = world.registry.terms_at(at, "eu-west", class).await.unwrap();
        for capacity in [0, 1, 2, 3, 7, 1_000_003, u64::from(u32::MAX)] {
            let call = ScalerTerms::requirementCall {
                regionId: "eu-west".into(),
                hwClass: class.into(),
                capacity: U256::from(capacity).to(),
            };
            let to = format!("0x{}", world.deployment.terms);
            let data = alloy::hex::encode_prefixed(call.abi_encode());
            let found = ask(&world.url, "eth_call", json!([{"to": to, "data": data}, "latest"])).await;
            let found: alloy::primitives::Bytes = found.as_str().unwrap().parse().unwrap();
            let found = ScalerTerms::requirementCall::abi_decode_returns(&found).unwrap();
            let ours = terms.demand(capacity).unwrap();
            let ours = (U256::from(ours.node.0), U256::from(ours.network.0));
            assert_eq!((found.nodePart, found.networkPart), ours, "{class} {capacity}");
        }
    }
}

#[tokio::test]
async fn both_halves_of_s_register() {
    let world = world("halves").await;
    let order =
        alloy::primitives::uint!(0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551_U256);
    let (mut low, mut high) = (0, 0);
    for number in 0..2 {
        let machine = Machine::new("halves", &format!("machine {number}"));
        let mut intent = machine.intent(&world).await;
        let s = U256::from_be_bytes(intent.signature_s);
        let is_high = s > order >> 1;
        // p256 may give either half: the first machine sends the low one, the second the high one.
        if is_high != (number == 1) {
            intent.signature_s = (order - s).to_be_bytes();
        }
        if number == 1 {
            high += 1
        } else {
            low += 1
        }
        world.approve(intent.collateral).await;
        assert!(world.register(&intent).await.registered.is_some());
    }
    assert_eq!((low, high), (1, 1));
}

#[tokio::test]
async fn one_endorsement_key_is_one_node_and_one_attestation_key_too() {
    let world = world("sybil").await;
    let first = Machine::new("sybil", "first");
    let intent = first.intent(&world).await;
    world.approve(Icnt(intent.collateral.0 * 3)).await;
    world.register(&intent).await;

    let mut same_ek = Machine::new("sybil", "second");
    same_ek.node = first.node;
    let mut same_ak = Machine::new("sybil", "first");
    same_ak.node = NodeId([9; 32]);
    for (machine, error, sentence) in [
        (same_ek, "NodeAlreadyRegistered", "one endorsement key is one node"),
        (same_ak, "AttestationKeyInUse", "was registered with this attestation key"),
    ] {
        let intent = machine.intent(&world).await;
        refused(&world, &intent, error, sentence).await;
    }
    assert_eq!(world.registry.nodes().await.unwrap().nodes.len(), 1);
}

#[tokio::test]
async fn each_wrong_field_is_refused_in_words() {
    let world = world("refusals").await;
    let machine = Machine::new("refusals", "machine");
    let good = machine.intent(&world).await;
    world.registry.preflight(&good, world.operator.address(), FEE_CAP).await.unwrap();
    type Spoil = fn(&mut Intent);
    let rows: [(Spoil, &str, &str); 16] = [
        (|i| i.name = "x".repeat(31), "InvalidName", "31 bytes; it must have 1 to 30"),
        (|i| i.name.clear(), "InvalidName", "0 bytes"),
        (|i| i.region = "moon".into(), "InvalidRegion", "knows no region `moon`"),
        (|i| i.class = "abacus".into(), "InvalidHwClass", "`abacus`"),
        (|i| i.capacity = 0, "InvalidCapacity", "at least 1"),
        (|i| i.location = 249, "InvalidLocation", "0 to 248"),
        (|i| i.reward_share = Permille(1001), "InvalidNodeRewardShare", "1001"),
        (
            |i| i.commitment = Seconds(86_400),
            "InvalidCommitmentDuration",
            "is 1 days; it must be from 1080 days",
        ),
        (
            |i| i.max_booking = Seconds(0),
            "InvalidMaxBookingDuration",
            "no longer than the commitment of 1080 days",
        ),
        (
            |i| i.collateral.0 -= 1,
            "NotEnoughCollateral",
            "0.000000000000000001 ICNT below the required 60 ICNT",
        ),
        (|i| i.capacity = 10_000, "NotEnoughCollateral", "299940 ICNT below the required 300000 ICNT"),
        (|i| i.collateral.0 *= 10_000, "ERC20InsufficientBalance", "send it 500000 ICNT"),
        (|i| i.bindings.clear(), "NotEnoughAttestors", "and 0 have given it: get 1 more"),
        (
            |i| i.unit_root = Digest::of(b"other units"),
            "QuoteForSomethingElse",
            "ask the machine for a new one",
        ),
        (|i| i.signature_r[5] ^= 1, "QuoteSignatureInvalid", "did not sign this quote"),
        (|i| i.signature_s = [0; 32], "QuoteSignatureInvalid", "not one on P-256"),
    ];
    for (spoil, error, sentence) in rows {
        let mut intent = good.clone();
        spoil(&mut intent);
        refused(&world, &intent, error, sentence).await;
    }
    // A quote for another operator.
    let mut intent = good.clone();
    machine.attest(&world, world.deployer.address(), &mut intent);
    refused(&world, &intent, "QuoteForSomethingElse", "another chain, registry, operator").await;
}

#[tokio::test]
async fn the_contract_parses_quotes_strictly() {
    let world = world("parser").await;
    let machine = Machine::new("parser", "machine");
    let good = machine.intent(&world).await;
    let qualifying: [u8; 32] = good.quote[44..76].try_into().unwrap();
    let put = |at: usize, byte: u8| {
        let mut bytes = good.quote.clone();
        bytes[at] = byte;
        bytes
    };
    let long = [good.quote.clone(), vec![0]].concat();
    for (quote, error, sentence) in [
        (put(0, 0), "QuoteNotFromTpm", "0x00544347"),
        (put(5, 0x17), "QuoteWrongType", "0x8017, not a quote"),
        (put(7, 33), "QuoteSignerName", "0x0021000b"),
        (put(43, 20), "QuoteExtraDataSize", "20 bytes, not 32"),
        (put(44, !good.quote[44]), "QuoteForSomethingElse", "another chain"),
        (put(104, 2), "QuoteBankCount", "2 PCR banks"),
        (put(106, 4), "QuoteBankNotSha256", "0x0004, not SHA-256"),
        (put(107, 4), "QuoteLength", "145 bytes, not 146"),
        (put(107, 5), "QuoteSelectionSize", "5 bytes, not 2 to 4"),
        (attest_bytes(&qualifying, [0x7F, 0xF2, 0]), "QuotePcrsMissing", "leaves out PCRs 7, 11"),
        (attest_bytes(&qualifying, [0xFF, 0xFA, 0x81]), "QuotePcrsForbidden", "PCRs from 16 on (0x8100)"),
        (put(112, 31), "QuoteDigestSize", "31 bytes, not 32"),
        (long, "QuoteLength", "146 bytes, not 145"),
    ] {
        let mut intent = good.clone();
        machine.sign(&mut intent, quote);
        refused(&world, &intent, error, sentence).await;
    }
    for length in 0..good.quote.len() {
        let mut intent = good.clone();
        machine.sign(&mut intent, good.quote[..length].to_vec());
        refused(&world, &intent, "QuoteLength", "bytes, not 145").await;
    }
}

#[tokio::test]
async fn any_changed_byte_in_a_signed_quote_is_refused() {
    let world = world("bits").await;
    let good = Machine::new("bits", "machine").intent(&world).await;
    for position in 0..good.quote.len() {
        let mut intent = good.clone();
        intent.quote[position] ^= 1 << (position % 8);
        refused(&world, &intent, "Quote", "").await;
    }
}

#[tokio::test]
async fn collateral_comes_back_after_the_commitment_and_not_before() {
    let world = world("retire").await;
    let machine = Machine::new("retire", "machine");
    let intent = machine.intent(&world).await;
    world.approve(intent.collateral).await;
    world.register(&intent).await;
    let retire = world.registry.retire_call(machine.node);
    let early = world.sign(&world.operator, &retire).await;
    assert_eq!(early.unwrap_err().refusal().unwrap().error, "StillCommitted");

    ask(&world.url, "evm_increaseTime", json!([intent.commitment.0])).await;
    ask(&world.url, "evm_mine", json!([])).await;
    let stranger = world.sign(&world.deployer, &retire).await;
    assert_eq!(stranger.unwrap_err().refusal().unwrap().error, "NotTheOperator");
    assert_eq!(world.do_it(&retire).await.outcome, Outcome::Success);
    let state = world.registry.node(machine.node).await.unwrap().unwrap();
    assert_eq!(state.status, NodeStatus::Retired);
    assert_eq!(world.registry.nodes().await.unwrap().nodes[0].status, NodeStatus::Retired);
    // What was locked lies in the owner's deposit, and the owner takes it out.
    let operator = world.operator.address();
    let all = Icnt::tokens(100_000).unwrap();
    let funds = world.funds(operator, operator).await;
    assert_eq!((funds.deposit, funds.balance.0), (intent.collateral, all.0 - intent.collateral.0));
    world.do_it(&world.registry.withdraw_call(intent.collateral, operator)).await;
    assert_eq!(world.funds(operator, operator).await.balance, all);
    refused(&world, &intent, "NodeAlreadyRegistered", "one endorsement key").await;
}

/// Preflight says no: with an error whose name begins so, in a sentence with these words.
async fn refused(world: &World, intent: &Intent, error: &str, words: &str) {
    let operator = world.operator.address();
    match world.registry.preflight(intent, operator, FEE_CAP).await {
        Err(Error::Refused { refusal, .. }) => {
            assert!(refusal.error.starts_with(error), "{error}: {refusal}");
            assert!(refusal.sentence.contains(words), "{words}: {refusal}");
        }
        other => panic!("{error}: {other:?}"),
    }
}

#[tokio::test]
async fn whose_word_counts_is_the_contracts_to_say() {
    let world = world("attestors").await;
    let at = world.chain.head().await.unwrap();
    let (deployer, operator) = (world.deployer.address(), world.operator.address());
    for (class, attestor, counts) in
        [("storage", deployer, true), ("storage", operator, false), ("lab", deployer, false)]
    {
        let found = world.registry.attestor_counts(at, "eu-west", class, attestor).await.unwrap();
        assert_eq!(found, counts, "{class} {attestor}");
    }
    let error = world.registry.attestor_counts(at, "eu-west", "ether", deployer).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().error, "InvalidHwClass");
}

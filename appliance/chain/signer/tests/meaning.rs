//! What is signed, in words: calls, proposals in files, Safe's hash, typed data.

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
    eips::{eip2718::Encodable2718 as _, eip2930::AccessList},
    primitives::{B256, TxKind, U256, address, aliases::U96, b256, hex, keccak256},
    signers::{SignerSync as _, local::PrivateKeySigner},
    sol_types::{SolCall as _, SolValue as _},
};
use appliance_model::{Address, Digest, Icnt, NodeId};
use chain_contracts::{nodes, token, vault};
use chain_signer::{Consent, NoProposal, Proposal, Safe, SafeTransaction, Spend, Typed, meaning, same};

const TO: Address = Address([0x22; 20]);

fn approve(amount: u128) -> Vec<u8> {
    token::IcntMock::approveCall { spender: [0x55; 20].into(), value: U256::from(amount) }.abi_encode()
}

fn registration(collateral: u128) -> (nodes::ScalerNodes::Registration, nodes::ScalerNodes::Attestation) {
    let params = nodes::ScalerNodes::Registration {
        regionId: "eu-west".into(),
        name: "rack-7\u{202e}".into(),
        hpId: U256::from(1),
        capacity: U256::from(64),
        location: 83,
        reservationPrice: U256::ZERO,
        hwClass: "compute".into(),
        nodeRewardShare: U256::ZERO,
        collateralAmount: U256::from(collateral),
        commitmentDuration: U256::from(86_400 * 90),
    };
    let attestation = nodes::ScalerNodes::Attestation {
        nodeId: B256::repeat_byte(7),
        akX: B256::ZERO,
        akY: B256::ZERO,
        statementDigest: B256::ZERO,
        unitRoot: B256::ZERO,
        evidenceDigest: B256::ZERO,
        maxBookingDuration: 1,
        quote: vec![1; 145].into(),
        r: B256::ZERO,
        s: B256::ZERO,
        bindings: Vec::new(),
    };
    (params, attestation)
}

fn payment() -> nodes::Accounts::Payment {
    nodes::Accounts::Payment {
        source: 0,
        nonce: U256::ZERO,
        deadline: U256::ZERO,
        signature: Vec::new().into(),
    }
}

fn batch(count: usize) -> Vec<u8> {
    let (params, attestation) = registration(5_000_000_000_000_000_000);
    nodes::ScalerNodes::registerBatchCall {
        owner: [9; 20].into(),
        params: vec![params; count],
        attestations: vec![attestation; count],
        payment: payment(),
    }
    .abi_encode()
}

#[test]
fn calls_say_what_they_do_and_cost() {
    let none = Spend::NONE;
    let icnt = |tokens: u128| Icnt(tokens * 1_000_000_000_000_000_000);
    let (params, _) = registration(icnt(3).0);
    let icn = (
        params.regionId,
        params.name,
        params.hpId,
        params.capacity,
        U256::from(params.location),
        params.reservationPrice,
        params.hwClass,
        params.nodeRewardShare,
        params.collateralAmount,
        params.commitmentDuration,
    );
    let at_icn = [vec![0xde, 0xad, 0xbe, 0xef], icn.abi_encode()].concat();
    let operator = vault::CollateralVault::setOperatorCall {
        operator: [8; 20].into(),
        enabled: true,
        registrationsPerDay: 10,
        retirementsPerDay: 2,
        collateralPerDay: alloy::primitives::Uint::from(500_000_u64),
    };
    let top_up = vault::CollateralVault::topUpCall {
        nodeId: B256::repeat_byte(7),
        amount: U96::from(icnt(2).0),
        payment: vault::Accounts::Payment {
            source: 1,
            nonce: U256::ZERO,
            deadline: U256::ZERO,
            signature: Vec::new().into(),
        },
    };
    let transfer = token::IcntMock::transferCall { to: [6; 20].into(), value: U256::from(icnt(4).0) };
    let rows: [(Vec<u8>, &str, Spend); 7] = [
        (approve(icnt(7).0), "take 7 ICNT of token", Spend { allowed: icnt(7), ..none }),
        (transfer.abi_encode(), "send 4 ICNT of token", Spend { moved: icnt(4), ..none }),
        (
            batch(3),
            "stakes 5 ICNT from the owner's deposit for 90 days",
            Spend { staked: icnt(15), registrations: 3, ..none },
        ),
        (at_icn, "at ICN as 64 of class compute", Spend { staked: icnt(3), registrations: 1, ..none }),
        (operator.abi_encode(), "register 10 nodes with 500 ICNT", Spend { allowed: icnt(500), ..none }),
        (top_up.abi_encode(), "add 2 ICNT to the collateral", Spend { staked: icnt(2), ..none }),
        (nodes::ScalerNodes::retireCall { nodeId: B256::repeat_byte(7) }.abi_encode(), "for good", none),
    ];
    for (input, words, spend) in rows {
        let found = meaning(Some(TO), U256::ZERO, &input);
        assert!(found.understood && found.words.iter().any(|said| said.contains(words)), "{:?}", found.words);
        assert_eq!(found.spend, spend, "{words}");
        assert!(found.words.iter().all(|said| said.is_ascii()), "{:?}", found.words);
        // One byte more or less is another call.
        let cut = meaning(Some(TO), U256::ZERO, &input[..input.len() - 1]);
        assert!(!cut.understood, "{:?}", cut.words);
    }
    for (to, input) in [(None, approve(1)), (Some(TO), vec![1, 2, 3]), (Some(TO), vec![0xAA; 68])] {
        assert!(!meaning(to, U256::ZERO, &input).understood);
    }
    let coin = meaning(Some(TO), U256::from(1_500_000_000_000_000_000_u64), &[]);
    assert_eq!((coin.spend.gas_wei, coin.understood), (1_500_000_000_000_000_000, true));
}

fn transaction(input: Vec<u8>) -> TxEip1559 {
    TxEip1559 {
        chain_id: 8453,
        nonce: 7,
        gas_limit: 300_000,
        max_fee_per_gas: 2_000_000,
        max_priority_fee_per_gas: 1_000_000,
        to: TxKind::Call(TO.0.into()),
        value: U256::ZERO,
        access_list: AccessList::default(),
        input: input.into(),
    }
}

#[test]
fn a_proposal_comes_back_as_it_went_or_not_at_all() {
    let signer = PrivateKeySigner::from_slice(&[0x11; 32]).unwrap();
    let from = Address(signer.address().into_array());
    let asked = transaction(batch(2));
    let made = Proposal::new(from, &asked, 2_000_000_000).unwrap();
    let text = serde_json::to_string_pretty(&made).unwrap();
    let read = Proposal::read(text.as_bytes(), 1_999_999_999).unwrap();
    assert_eq!(read, made);
    assert_eq!((read.transaction().unwrap(), read.nodes.len()), (asked.clone(), 2));
    assert_eq!(read.collateral, Icnt(10_000_000_000_000_000_000));
    assert!(matches!(Proposal::read(text.as_bytes(), 2_000_000_001), Err(NoProposal::Expired)));
    // Every field is under the checksum.
    for (from, to) in [
        ("\"nonce\": 7", "\"nonce\": 8"),
        ("\"chain_id\": 8453", "\"chain_id\": 1"),
        ("2000000000", "2000000009"),
        ("rack-7", "rack-8"),
        ("\"max_fee_per_gas\": \"2000000\"", "\"max_fee_per_gas\": \"9000000\""),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        assert!(matches!(Proposal::read(changed.as_bytes(), 1), Err(NoProposal::Changed)), "{from}");
    }
    // A checksum made anew does not let words lie.
    let compact = serde_json::to_string(&made).unwrap();
    let summed = |digest: &str| format!("\"sha256\":\"{digest}\"");
    let none = summed(&"0".repeat(64));
    let zeros =
        compact.replace(&summed(&made.sha256.to_string()), &none).replace("stakes 5 ICNT", "stakes 0 ICNT");
    let lying = zeros.replace(&none, &summed(&Digest::of(zeros.as_bytes()).to_string()));
    let lying = Proposal::read(lying.as_bytes(), 1).unwrap_err();
    assert!(matches!(&lying, NoProposal::Lies { means } if means.contains("5 ICNT")), "{lying}");
    // What is brought back is compared.
    let signature = signer.sign_hash_sync(&asked.signature_hash()).unwrap();
    let raw = TxEnvelope::from(asked.clone().into_signed(signature)).encoded_2718();
    same(&asked, &raw, from).unwrap();
    assert!(same(&transaction(batch(1)), &raw, from).unwrap_err().to_string().contains("another data"));
    assert!(same(&asked, &raw, Address([1; 20])).is_err());
}

#[test]
fn a_safes_hash_is_what_its_contract_computes() {
    // SAFE_TX_TYPEHASH and DOMAIN_SEPARATOR_TYPEHASH of Safe 1.3.0 and 1.4.1 (Safe.sol), and its encodeTransactionData
    // put together by hand.
    let type_hash = b256!("bb8310d486368db6bd6f849402fdd73ad53d316b5a4b2644ad6efe0f941286d8");
    let domain_hash = b256!("47e79534a245952e8b16893a336b85a3d9ea9fa8c573f3d803afb92a79469218");
    let safe = Safe { account: Address([0x5A; 20]), chain_id: 8453, nonce: 12 };
    let domain = (domain_hash, U256::from(8453), address!("5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"));
    let separator = keccak256(domain.abi_encode());
    let by_hand = |to: alloy::primitives::Address, data: &[u8], operation: u8| {
        let none = alloy::primitives::Address::ZERO;
        let zero = U256::ZERO;
        let fields = (
            type_hash,
            to,
            zero,
            keccak256(data),
            U256::from(operation),
            zero,
            zero,
            zero,
            none,
            none,
            U256::from(12),
        );
        keccak256([&[0x19, 0x01], &separator[..], &keccak256(fields.abi_encode())[..]].concat())
    };
    let call = |data: Vec<u8>| SafeTransaction { to: TO, value: U256::ZERO, data };
    let (one, two) = (call(approve(1)), call(batch(1)));
    assert_eq!(safe.hash(std::slice::from_ref(&one)), by_hand(TO.0.into(), &one.data, 0).0);
    // multiSend(bytes) is 0x8d80ff0a; each call is packed as operation, recipient, value, length, data.
    let packed = |call: &SafeTransaction| {
        let length = U256::from(call.data.len()).to_be_bytes::<32>();
        [&[0][..], &TO.0, &[0; 32], &length, &call.data].concat()
    };
    let both = [packed(&one), packed(&two)].concat();
    let data =
        [hex!("8d80ff0a").to_vec(), (alloy::primitives::Bytes::from(both),).abi_encode_params()].concat();
    let multi_send = address!("9641d764fc13c8B624c04430C7356C1C7C8102e2");
    assert_eq!(safe.hash(&[one.clone(), two.clone()]), by_hand(multi_send, &data, 1).0);
    let file = safe.builder(&[one.clone(), two], "two calls", 1_700_000_000_000);
    assert_eq!((&file["version"], &file["chainId"]), (&"1.0".into(), &"8453".into()));
    assert_eq!(file["transactions"][0]["data"], hex::encode_prefixed(&one.data));
    assert_eq!(file["transactions"].as_array().unwrap().len(), 2);
}

#[test]
fn typed_data_is_what_the_contract_and_the_host_hash() {
    let registry = Address([0x77; 20]);
    let domain = (
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
        keccak256("Scalerforge registry"),
        keccak256("1"),
        U256::from(5),
        alloy::primitives::Address::from(registry.0),
    );
    let separator = keccak256(domain.abi_encode());
    let digest =
        |fields: Vec<u8>| keccak256([&[0x19, 0x01], &separator[..], &keccak256(fields)[..]].concat()).0;
    let node = NodeId([7; 32]);
    let binding = Typed::binding(5, registry, node, (&[1; 32], &[2; 32]), 99);
    let kind = keccak256("Binding(bytes32 nodeId,bytes32 akX,bytes32 akY,uint64 validUntil)");
    let fields = (kind, B256::new([7; 32]), B256::new([1; 32]), B256::new([2; 32]), 99_u64);
    assert_eq!(binding.hash(), digest(fields.abi_encode()));
    let consent = Consent {
        chain_id: 5,
        registry,
        node,
        operator: Address([3; 20]),
        owner: Address([4; 20]),
        unit_root: Digest([5; 32]),
        class: "compute".into(),
        capacity: 64,
        commitment_seconds: 86_400,
    };
    let typed = Typed::consent(&consent);
    let kind = keccak256(
        "NodeConsent(bytes32 nodeId,address registry,address operator,address owner,bytes32 unitRoot,string hwClass,\
         uint256 capacity,uint256 commitmentDuration)",
    );
    let account = alloy::primitives::Address::repeat_byte;
    let fields = (
        kind,
        B256::new([7; 32]),
        account(0x77),
        account(3),
        account(4),
        B256::new([5; 32]),
        keccak256("compute"),
        U256::from(64),
        U256::from(86_400),
    );
    assert_eq!(typed.hash(), digest(fields.abi_encode()));
    let host = PrivateKeySigner::from_slice(&[0x21; 32]).unwrap();
    let signature = host.sign_hash_sync(&typed.hash().into()).unwrap();
    assert_eq!(typed.signer(&signature.as_bytes()), Some(Address(host.address().into_array())));
    // The same word by the other s, a word cut short, and another word are not the host's.
    let n = U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let high = alloy::primitives::Signature::new(signature.r(), n - signature.s(), !signature.v());
    assert_eq!(typed.signer(&high.as_bytes()), None);
    assert_eq!(typed.signer(&signature.as_bytes()[..64]), None);
    let other = Typed::consent(&Consent { capacity: 65, ..consent });
    assert_ne!(other.signer(&signature.as_bytes()), Some(Address(host.address().into_array())));
}

//! What contracts do not reach: the precompile's own answers, old transaction types, what runs out of gas, what is
//! refused before it runs, logs by filter, estimates.

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEnvelope, TxLegacy},
    eips::{Encodable2718 as _, eip2930::AccessListItem},
    primitives::{Address, B256, Bytes, Signature, TxKind, U256, address, bytes, hex, keccak256},
    signers::SignerSync as _,
    sol_types::{SolCall as _, SolEvent as _},
};
use chain_contracts::{IcntMock, ScalerTerms, token::IcntMock as Token};
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use revm::primitives::hardfork::SpecId;
use serde_json::{Value, json};

use crate::{
    evm::{CHAIN_ID, Evm, FEE_MAX, TX_GAS_MAX, account, key},
    world::{Machine, TOKEN, World},
};

/// Where EIP-7951 puts it.
const P256VERIFY: Address = address!("0000000000000000000000000000000000000100");

#[test]
fn the_precompile_answers_alike() {
    let mut evm = Evm::new(SpecId::OSAKA);
    let machine = Machine::new("precompile");
    let digest = keccak256("message");
    let signature: p256::ecdsa::Signature = machine.ak.sign_prehash(digest.as_slice()).unwrap();
    let (x, y) = machine.point();
    let good = [digest.to_vec(), signature.to_bytes().to_vec(), x.to_vec(), y.to_vec()].concat();
    let mut rows = vec![(good.clone(), true), (Vec::new(), false)];
    rows.push((good[..159].to_vec(), false));
    rows.push(([good.as_slice(), &[0]].concat(), false));
    // Digest, r, s, x, y: each with a bit turned, and each as zero.
    for word in 0..5 {
        let mut turned = good.clone();
        turned[word * 32 + 31] ^= 1;
        rows.push((turned, false));
        let mut zero = good.clone();
        zero[word * 32..(word + 1) * 32].fill(0);
        rows.push((zero, false));
    }
    for (input, valid) in rows {
        let said = evm.call(&json!({"to": P256VERIFY, "data": hex::encode_prefixed(&input)})).unwrap();
        let one = B256::with_last_byte(1);
        assert_eq!(said.as_ref(), if valid { one.as_slice() } else { &[] }, "{}", hex::encode(&input));
        let tx = signed(call(&mut evm, P256VERIFY, input.into()));
        assert!(evm.include(&tx).status());
    }
}

#[test]
fn transactions_of_all_types_and_ends_leave_the_same_receipts() {
    let mut evm = Evm::new(SpecId::OSAKA);
    let from = account("rich");
    // Stores, logs, answers: PUSH1 1 PUSH0 SSTORE PUSH1 7 PUSH0 PUSH0 LOG1.
    let stores = bytes!("60015f5560075f5fa1");
    // INVALID; a loop without end; REVERT with nothing; SELFDESTRUCT to the zero address.
    for (code, ends_well) in [
        (stores.clone(), true),
        (bytes!("fe"), false),
        (bytes!("5b5f56"), false),
        (bytes!("5f5ffd"), false),
        (bytes!("5fff"), true),
        // Code that begins with 0xEF is refused (EIP-3541); 24 577 bytes of it are too many (EIP-170).
        (bytes!("60ef5f5360015ff3"), false),
        (bytes!("6160015ff3"), false),
    ] {
        let nonce = evm.nonce(from);
        let tx = TxEip1559 { to: TxKind::Create, input: code.clone(), gas_limit: 500_000, ..tx(nonce) };
        assert_eq!(evm.include(&signed(tx)).status(), ends_well, "{code}");
    }
    let nonce = evm.nonce(from);
    let to = TxKind::Call(account("anybody"));
    let legacy = TxLegacy {
        chain_id: Some(CHAIN_ID),
        nonce,
        gas_price: FEE_MAX,
        gas_limit: 30_000,
        to,
        value: U256::from(7),
        input: bytes!("00ff00ff"),
    };
    assert!(evm.include(&signed(legacy)).status());
    let listed = AccessListItem { address: account("anybody"), storage_keys: vec![B256::ZERO; 3] };
    let nonce = evm.nonce(from);
    let old = TxEip2930 {
        chain_id: CHAIN_ID,
        nonce,
        gas_price: FEE_MAX,
        gas_limit: 100_000,
        to,
        value: U256::from(7),
        access_list: vec![listed].into(),
        input: stores,
    };
    assert!(evm.include(&signed(old)).status());
    evm.pair.agree("eth_getBalance", &json!([account("anybody"), "latest"]));
}

#[test]
fn what_cannot_run_is_refused_in_the_same_words() {
    let mut evm = Evm::new(SpecId::OSAKA);
    let from = account("rich");
    evm.nonce(account("poor"));
    let first = evm.nonce(from);
    evm.include(&signed(tx(first)));
    let nonce = first + 1;
    for (what, raw, words) in [
        ("a nonce that was used", raw(signed(tx(first))), "nonce too low"),
        ("another chain", raw(signed(TxEip1559 { chain_id: 8453, ..tx(nonce) })), "chain"),
        ("more than the cap", raw(signed(TxEip1559 { gas_limit: TX_GAS_MAX + 1, ..tx(nonce) })), "gas"),
        ("too little to begin", raw(signed(TxEip1559 { gas_limit: 20_999, ..tx(nonce) })), "intrinsic gas"),
        (
            "more than there is",
            raw(signed(TxEip1559 { value: U256::MAX >> 1, ..tx(nonce) })),
            "insufficient funds",
        ),
        (
            "a tip above the fee",
            raw(signed(TxEip1559 { max_priority_fee_per_gas: FEE_MAX + 1, ..tx(nonce) })),
            "max priority fee",
        ),
        (
            "init code of 49 153 bytes",
            raw(signed(TxEip1559 { to: TxKind::Create, input: vec![0; 49_153].into(), ..tx(nonce) })),
            "initcode",
        ),
        ("no transaction", "0x02c0".into(), ""),
    ] {
        for answer in evm.pair.both("eth_sendRawTransaction", &json!([raw])) {
            let error = answer.expect_err(what);
            let text = error["message"].as_str().unwrap().to_lowercase();
            assert!(text.contains(words), "{what}: {text}");
        }
    }
    // Twice, and another one in its place: dearer by a little, dearer by enough.
    let raise = |tip: u128, fee: u128| TxEip1559 {
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: tip,
        gas_limit: 30_000,
        ..tx(nonce)
    };
    let send = |evm: &Evm, tx: TxEip1559| {
        evm.pair.both("eth_sendRawTransaction", &json!([raw(signed(tx))])).map(|answer| match answer {
            Ok(_) => String::new(),
            Err(error) => error["message"].as_str().unwrap().to_owned(),
        })
    };
    let none = [String::new(), String::new()];
    assert_eq!(send(&evm, raise(1_000, FEE_MAX)), none);
    let [ours, anvil] = send(&evm, raise(1_000, FEE_MAX));
    assert_eq!([ours.as_str(), &anvil], ["already known", "transaction already imported"]);
    // Ours wants a tenth more, as geth does; anvil takes any dearer one.
    let [ours, anvil] = send(&evm, raise(1_001, FEE_MAX + 1));
    assert_eq!([ours.as_str(), &anvil], ["replacement transaction underpriced", ""]);
    assert_eq!(send(&evm, raise(1_100, FEE_MAX / 10 * 11)), none);
    evm.mine();
    evm.pair.agree("eth_getTransactionCount", &json!([from, "latest"]));
}

#[test]
fn a_question_may_be_asked_in_a_contracts_name() {
    let mut world = World::new();
    let call = ScalerTerms::removeCall { id: 1, capacity: U256::ZERO.to() }.abi_encode();
    for (from, allowed) in [(world.plan.nodes, true), (world.plan.vault, false), (world.governor, false)] {
        let message = json!({"from": from, "to": world.plan.terms, "data": hex::encode_prefixed(&call)});
        assert_eq!(world.evm.call(&message).is_ok(), allowed, "{from}");
    }
    world.evm.mine();
}

#[test]
fn logs_and_estimates_agree() {
    let mut world = World::new();
    let (owner, token) = (world.owner.address(), world.token);
    for n in 0..3 {
        world.mint(account("booker"), TOKEN + n);
        world.approve(owner, account("booker"), n);
    }
    let approval = Token::Approval::SIGNATURE_HASH;
    for filter in [
        json!({"fromBlock": "0x0", "toBlock": "latest"}),
        json!({"address": token}),
        json!({"address": [token, world.plan.terms], "fromBlock": "0x5", "toBlock": "0x28"}),
        json!({"address": token, "topics": [approval], "fromBlock": "0x0"}),
        json!({"address": token, "topics": [null, owner.into_word()], "fromBlock": "0x0"}),
        json!({"topics": [[approval, B256::ZERO], null, account("booker").into_word()], "fromBlock": "0x0"}),
        json!({"topics": [B256::ZERO], "fromBlock": "0x0"}),
    ] {
        let [ours, anvil] = world.evm.pair.both("eth_getLogs", &json!([filter])).map(|answer| {
            let mut logs = answer.unwrap();
            for log in logs.as_array_mut().unwrap() {
                log.as_object_mut().unwrap().remove("blockHash");
            }
            logs
        });
        assert_eq!(ours, anvil, "{filter}");
    }
    let transfer = IcntMock::transferCall { to: account("next"), value: U256::from(1) }.abi_encode();
    let machine = Machine::new("one");
    world.deposit(owner, 60 * TOKEN);
    let register = chain_contracts::ScalerNodes::registerCall {
        owner,
        params: machine.params(),
        attestation: machine.attest(&world, owner),
        payment: crate::world::payment(crate::world::DEPOSIT),
        passport: Vec::new(),
    };
    for (to, data) in
        [(token, transfer), (world.plan.nodes, register.abi_encode()), (account("next"), vec![])]
    {
        let message = json!({"from": owner, "to": to, "data": hex::encode_prefixed(data)});
        let [ours, anvil] = world.evm.pair.both("eth_estimateGas", &json!([message])).map(|answer| {
            let gas: U256 = answer.unwrap().as_str().unwrap().parse().unwrap();
            u64::try_from(gas).unwrap()
        });
        // geth's tolerance, which ours has: 1.5 % above the least.
        assert!(ours.abs_diff(anvil) * 1_000 <= anvil * 15, "{to}: {ours}, {anvil}");
    }
    let refused = json!([{"from": account("thief"), "to": world.plan.terms, "data": "0x79ba5097"}]);
    let [ours, anvil] = world.evm.pair.both("eth_estimateGas", &refused).map(Result::unwrap_err);
    assert_eq!((&ours["code"], &ours["data"]), (&anvil["code"], &anvil["data"]));
    assert_ne!(ours["data"], Value::Null);
}

/// A transfer of nothing to somebody, by the rich.
fn tx(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 100_000,
        max_fee_per_gas: FEE_MAX,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(account("anybody")),
        ..TxEip1559::default()
    }
}

fn call(evm: &mut Evm, to: Address, input: Bytes) -> TxEip1559 {
    let nonce = evm.nonce(account("rich"));
    TxEip1559 { to: TxKind::Call(to), input, ..tx(nonce) }
}

fn signed<T: SignableTransaction<Signature>>(tx: T) -> TxEnvelope
where
    TxEnvelope: From<alloy::consensus::Signed<T>>,
{
    let signature = key("rich").sign_hash_sync(&tx.signature_hash()).unwrap();
    tx.into_signed(signature).into()
}

fn raw(tx: TxEnvelope) -> String {
    hex::encode_prefixed(tx.encoded_2718())
}

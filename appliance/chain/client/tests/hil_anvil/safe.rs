//! The owner is a Safe 1.4.1, as its makers compiled it, at the addresses that it has on real chains; two of its three
//! owners sign.  What we write for it is executed by it, and the operator does what the Safe allowed, and no more.

use std::path::Path;

use alloy::{
    primitives::{Address as ChainAddress, B256, Bytes, U256, address},
    signers::{SignerSync as _, local::PrivateKeySigner},
    sol,
    sol_types::SolCall as _,
};
use appliance_model::{Address, Icnt};
use chain_client::{
    Call, Error, Grant, Outcome, Payment, Purpose,
    signer::{Safe, SafeTransaction},
};
use serde_json::{Value, json};

use crate::support::{COMMITMENT, Machine, World, ask, secret, world};

/// Where Safe's contracts are on every chain (safe-deployments, 1.4.1).
const SINGLETON: ChainAddress = address!("41675C099F32341bf84BFc5382aF534df5C7461a");
const FACTORY: ChainAddress = address!("4e1DCf7AD4e460CfD30791CCC4F9c8a4f820ec67");
const MULTI_SEND: ChainAddress = address!("9641d764fc13c8B624c04430C7356C1C7C8102e2");
const FALLBACK: ChainAddress = address!("fd0732Dc9E303f09fCEf3a7388Ad10A83459Ec99");

sol! {
    #[allow(clippy::too_many_arguments, reason = "as Safe has it")]
    interface ISafe {
        function setup(address[] owners, uint256 threshold, address to, bytes data, address fallbackHandler,
            address paymentToken, uint256 payment, address paymentReceiver) external;
        function createProxyWithNonce(address singleton, bytes initializer, uint256 saltNonce) external returns (address proxy);
        function nonce() external view returns (uint256);
        function getTransactionHash(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas,
            uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, uint256 nonce)
            external view returns (bytes32);
        function execTransaction(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas,
            uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, bytes signatures)
            external payable returns (bool success);
        function multiSend(bytes transactions) external payable;
    }
}

/// A Safe with three owners.
struct Account {
    at: ChainAddress,
    owners: Vec<PrivateKeySigner>,
}

impl Account {
    async fn new(world: &World) -> Self {
        for (at, file) in [
            (SINGLETON, "Safe.sol/Safe.json"),
            (FACTORY, "proxies/SafeProxyFactory.sol/SafeProxyFactory.json"),
            (MULTI_SEND, "libraries/MultiSendCallOnly.sol/MultiSendCallOnly.json"),
            (FALLBACK, "handler/CompatibilityFallbackHandler.sol/CompatibilityFallbackHandler.json"),
        ] {
            ask(&world.url, "anvil_setCode", json!([at, code(file)])).await;
        }
        let signer =
            |name: &str| PrivateKeySigner::from_bytes(&B256::new(secret(&world.test, name))).unwrap();
        let mut owners: Vec<_> = ["first", "second", "third"].map(signer).into();
        // Safe takes signatures in the order of their accounts.
        owners.sort_by_key(PrivateKeySigner::address);
        let setup = ISafe::setupCall {
            owners: owners.iter().map(PrivateKeySigner::address).collect(),
            threshold: U256::from(2),
            to: ChainAddress::ZERO,
            data: Bytes::new(),
            fallbackHandler: FALLBACK,
            paymentToken: ChainAddress::ZERO,
            payment: U256::ZERO,
            paymentReceiver: ChainAddress::ZERO,
        };
        let call = ISafe::createProxyWithNonceCall {
            singleton: SINGLETON,
            initializer: setup.abi_encode().into(),
            saltNonce: U256::from(7),
        };
        let call = Call::new(ours(FACTORY), call.abi_encode(), Purpose::Deploy);
        let head = world.chain.head().await.unwrap().number;
        let made = world.chain.simulate(&call, world.deployer.address(), head).await.unwrap();
        let at = ISafe::createProxyWithNonceCall::abi_decode_returns(&made).unwrap();
        assert_eq!(world.do_as(&world.deployer, &call).await.outcome, Outcome::Success);
        Self { at, owners }
    }

    async fn asked<C: alloy::sol_types::SolCall>(&self, world: &World, call: &C) -> C::Return {
        let head = world.chain.head().await.unwrap().number;
        let call = Call::new(ours(self.at), call.abi_encode(), Purpose::Deploy);
        let answer = world.chain.simulate(&call, world.deployer.address(), head).await.unwrap();
        C::abi_decode_returns(&answer).unwrap()
    }

    /// What Safe's transaction builder makes of our file, with the signatures of these owners.
    async fn exec(&self, world: &World, calls: &[Call], signers: &[usize]) -> Result<(), Error> {
        let nonce = self.asked(world, &ISafe::nonceCall {}).await.to::<u64>();
        let safe = Safe { account: ours(self.at), chain_id: world.chain.id(), nonce };
        let ours: Vec<SafeTransaction> = calls.iter().map(SafeTransaction::from).collect();
        let file = safe.builder(&ours, "a test", 0);
        let (to, data, operation) = built(&file);
        let zero = (U256::ZERO, ChainAddress::ZERO);
        let theirs = ISafe::getTransactionHashCall {
            to,
            value: zero.0,
            data: data.clone(),
            operation,
            safeTxGas: zero.0,
            baseGas: zero.0,
            gasPrice: zero.0,
            gasToken: zero.1,
            refundReceiver: zero.1,
            nonce: U256::from(nonce),
        };
        let hash = self.asked(world, &theirs).await;
        assert_eq!(hash.0, safe.hash(&ours), "the hash that we show is not the Safe's");
        let signatures = signers.iter().flat_map(|owner| {
            let signed = self.owners[*owner].sign_hash_sync(&hash).unwrap();
            signed.as_bytes()
        });
        let exec = ISafe::execTransactionCall {
            to,
            value: zero.0,
            data,
            operation,
            safeTxGas: zero.0,
            baseGas: zero.0,
            gasPrice: zero.0,
            gasToken: zero.1,
            refundReceiver: zero.1,
            signatures: signatures.collect(),
        };
        // Whoever has coins brings it: who signed counts.
        let call = Call::new(Address(self.at.into_array()), exec.abi_encode(), Purpose::Deploy);
        let signed = world.sign(&world.deployer, &call).await?;
        assert_eq!(world.send(&signed).await.outcome, Outcome::Success);
        Ok(())
    }
}

/// The transaction that Safe's builder makes of a file: one call as it is, several through MultiSendCallOnly.
fn built(file: &Value) -> (ChainAddress, Bytes, u8) {
    let calls = file["transactions"].as_array().unwrap();
    let read = |call: &Value| {
        let to: ChainAddress = call["to"].as_str().unwrap().parse().unwrap();
        assert_eq!((&call["value"], &call["contractMethod"]), (&json!("0"), &Value::Null));
        let data: Bytes = call["data"].as_str().unwrap().parse().unwrap();
        (to, data)
    };
    if let [one] = calls.as_slice() {
        let (to, data) = read(one);
        return (to, data, 0);
    }
    let mut packed = Vec::new();
    for (to, data) in calls.iter().map(read) {
        packed.push(0);
        packed.extend(to.0);
        packed.extend([0; 32]);
        packed.extend(U256::from(data.len()).to_be_bytes::<32>());
        packed.extend(data);
    }
    (MULTI_SEND, ISafe::multiSendCall { transactions: packed.into() }.abi_encode().into(), 1)
}

/// What a contract of Safe's is on a chain.
fn code(file: &str) -> String {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../second/node_modules/@safe-global/safe-contracts");
    let file = folder.join("build/artifacts/contracts").join(file);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!("{}: {error}; `npm ci` in appliance/chain/second fetches it", file.display())
    });
    serde_json::from_str::<Value>(&text).unwrap()["deployedBytecode"].as_str().unwrap().to_owned()
}

fn ours(account: ChainAddress) -> Address {
    Address(account.into_array())
}

fn limits(registrations: u16, collateral: Icnt) -> Grant {
    Grant {
        enabled: true,
        registrations_per_day: registrations,
        retirements_per_day: 1,
        collateral_per_day: collateral,
        registrations: 0,
        retirements: 0,
        collateral: Icnt(0),
    }
}

#[tokio::test]
async fn a_safe_owns_what_the_operator_registers_within_its_limits() {
    let world = world("safe-owner").await;
    let safe = Account::new(&world).await;
    let machines = ["one", "two"].map(|name| Machine::new("safe-owner", name));
    let mut intents = Vec::new();
    for machine in &machines {
        let mut intent = machine.intent(&world).await;
        intent.owner = ours(safe.at);
        intents.push(intent);
    }
    let stake = intents[0].collateral;
    let whole = Icnt(stake.0 * 3);
    let mint = chain_contracts::IcntMock::mintCall { to: safe.at, amount: U256::from(whole.0) };
    let mint = Call::new(world.registry.token(), mint.abi_encode(), Purpose::Deploy);
    world.do_as(&world.deployer, &mint).await;

    // One file: the deposit, and what the operator may do.  One owner is not enough for it, and two are.
    let operator = world.operator.address();
    let mandate = world.registry.mandate_calls(operator, whole, &limits(1, whole)).unwrap();
    assert_eq!(mandate.len(), 3);
    let refused = safe.exec(&world, &mandate, &[1]).await.unwrap_err();
    assert!(format!("{refused:?}").contains("GS020"), "{refused:?}");
    safe.exec(&world, &mandate, &[0, 2]).await.unwrap();
    let funds =
        world.registry.funds_at(world.chain.head().await.unwrap(), ours(safe.at), operator).await.unwrap();
    assert_eq!((funds.deposit, funds.balance, funds.allowance), (whole, Icnt(0), Icnt(0)));
    assert_eq!(funds.grant, Some(limits(1, whole)));

    // One today; the second is above the limit, until the Safe says otherwise.
    let register = |intent| world.registry.register_call(intent, &Payment::deposit()).unwrap();
    assert_eq!(world.do_it(&register(&intents[0])).await.outcome, Outcome::Success);
    let refused = world.sign(&world.operator, &register(&intents[1])).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().error, "DailyLimit", "{refused:?}");
    let more = [world.registry.set_operator_call(operator, &limits(2, whole)).unwrap()];
    safe.exec(&world, &more, &[0, 1]).await.unwrap();
    assert_eq!(world.do_it(&register(&intents[1])).await.outcome, Outcome::Success);
    let node = world.registry.node(intents[1].node).await.unwrap().unwrap();
    assert_eq!(node.owner, ours(safe.at));

    // The operator retires one when its time has come, and cannot have the collateral; the Safe can.
    ask(&world.url, "evm_increaseTime", json!([COMMITMENT.0 + 1])).await;
    ask(&world.url, "evm_mine", json!([])).await;
    assert_eq!(world.do_it(&world.registry.retire_call(intents[0].node)).await.outcome, Outcome::Success);
    let withdraw = world.registry.withdraw_call(stake, operator);
    let refused = world.sign(&world.operator, &withdraw).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().error, "NotEnoughDeposit", "{refused:?}");
    // Two thirds of what was put in: one third was never staked.
    let home = [world.registry.withdraw_call(Icnt(stake.0 * 2), ours(safe.at))];
    safe.exec(&world, &home, &[1, 2]).await.unwrap();
    let funds =
        world.registry.funds_at(world.chain.head().await.unwrap(), ours(safe.at), operator).await.unwrap();
    assert_eq!((funds.deposit, funds.balance), (Icnt(0), Icnt(stake.0 * 2)));
}

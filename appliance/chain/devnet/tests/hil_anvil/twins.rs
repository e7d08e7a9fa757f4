//! In the place of the contracts' tests' EVM: two chains behind JSON-RPC, which have to agree on everything.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
    eips::Encodable2718 as _,
    primitives::{Address, Bytes, Log, TxKind, U256, hex, keccak256},
    rpc::types::TransactionReceipt,
    signers::{SignerSync as _, local::PrivateKeySigner},
    sol_types::SolCall,
};
use revm::primitives::hardfork::SpecId;
use serde_json::{Value, json};

use crate::{
    rpc::{Answer, Pair},
    sent::{Refused, Sent},
};

/// The chain id that signatures in these tests are for.
pub(crate) const CHAIN_ID: u64 = chain_devnet::CHAIN_ID;
/// EIP-7825.
pub(crate) const TX_GAS_MAX: u64 = 16_777_216;
/// The first block's time, as in the tests that run in process.
const START: u64 = 1_800_000_000;
/// 10 gwei.
pub(crate) const FEE_MAX: u128 = 10_000_000_000;

/// Keys of all accounts that tests named; they know accounts by address, and a chain wants signatures.
static KEYS: Mutex<Option<HashMap<Address, PrivateKeySigner>>> = Mutex::new(None);

/// Who signs: a key of this name.
pub(crate) fn key(what: &str) -> PrivateKeySigner {
    let key = PrivateKeySigner::from_bytes(&keccak256(what)).unwrap();
    KEYS.lock().unwrap().get_or_insert_default().insert(key.address(), key.clone());
    key
}

/// An account that signs nothing but transactions.
pub(crate) fn account(what: &str) -> Address {
    key(what).address()
}

fn key_of(account: Address) -> PrivateKeySigner {
    let keys = KEYS.lock().unwrap();
    keys.as_ref().and_then(|keys| keys.get(&account)).unwrap_or_else(|| panic!("no key of {account}")).clone()
}

/// Both chains as one EVM.
pub(crate) struct Evm {
    pub(crate) pair: Pair,
    /// Accounts that have money for gas.
    endowed: HashSet<Address>,
    /// Of the newest block.
    mined: u64,
    /// Of every transaction from now on, Unix seconds.
    pub(crate) time: u64,
}

impl Evm {
    /// Osaka rules: no others are asked for here.
    pub(crate) fn new(spec: SpecId) -> Self {
        assert_eq!(spec, SpecId::OSAKA);
        let rich = account("rich");
        Self { pair: Pair::start(rich), endowed: HashSet::from([rich]), mined: 0, time: START }
    }

    /// Makes a contract.
    pub(crate) fn create(&mut self, from: Address, code: Bytes) -> Address {
        let nonce = self.nonce(from);
        self.run(from, TxKind::Create, code, U256::ZERO).unwrap();
        let address = from.create(nonce);
        self.pair.agree("eth_getCode", &json!([address, "latest"]));
        address
    }

    /// Sends a transaction.
    pub(crate) fn send<C: SolCall>(&mut self, from: Address, to: Address, call: &C) -> Result<Sent, Refused> {
        self.run(from, TxKind::Call(to), call.abi_encode().into(), U256::ZERO)
    }

    /// Asks, and changes nothing.
    pub(crate) fn ask<C: SolCall>(&mut self, to: Address, call: &C) -> Result<C::Return, Refused> {
        self.keep_time();
        let message = json!({"to": to, "data": hex::encode_prefixed(call.abi_encode())});
        Ok(C::abi_decode_returns(&self.call(&message)?).unwrap())
    }

    /// Of the next transaction.
    pub(crate) fn nonce(&mut self, account: Address) -> u64 {
        self.endow(account);
        let nonce = self.pair.agree("eth_getTransactionCount", &json!([account, "pending"]));
        u64::from_str_radix(nonce.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    /// What a message returns, or reverts with: the same on both chains.
    pub(crate) fn call(&self, message: &Value) -> Result<Bytes, Refused> {
        let [ours, anvil] = self.pair.both("eth_call", &json!([message, "latest"])).map(returned);
        assert_eq!(ours, anvil, "eth_call {message}");
        ours
    }

    /// Makes a block of what is there, and compares what the two chains say of it.
    pub(crate) fn mine(&mut self) {
        for answer in self.pair.both("evm_mine", &json!([U256::from(self.time)])) {
            answer.unwrap();
        }
        self.mined = self.time;
        let [ours, anvil] = self.pair.both("eth_getBlockByNumber", &json!(["latest", false])).map(|answer| {
            let block = answer.unwrap();
            // Not the hashes and what follows from them; not the base fee, for which ours has a floor.
            let same = [
                "number",
                "timestamp",
                "gasUsed",
                "gasLimit",
                "transactionsRoot",
                "receiptsRoot",
                "logsBloom",
                "transactions",
            ];
            same.map(|field| block[field].clone())
        });
        assert_eq!(ours, anvil);
    }

    /// Makes an empty block if time has been moved, so that questions are asked at the present.
    fn keep_time(&mut self) {
        if self.time > self.mined {
            self.mine();
        }
    }

    fn endow(&mut self, account: Address) {
        if self.endowed.insert(account) {
            let amount = U256::from(10).pow(U256::from(21));
            self.run(self::account("rich"), TxKind::Call(account), Bytes::new(), amount).unwrap();
        }
    }

    fn run(&mut self, from: Address, to: TxKind, input: Bytes, value: U256) -> Result<Sent, Refused> {
        self.keep_time();
        let nonce = self.nonce(from);
        let mut message = json!({"from": from, "data": input, "value": value, "gas": U256::from(TX_GAS_MAX)});
        if let TxKind::Call(to) = to {
            message["to"] = json!(to);
        }
        let said = self.call(&message);
        let tx = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: TX_GAS_MAX,
            max_fee_per_gas: FEE_MAX,
            max_priority_fee_per_gas: 1,
            to,
            value,
            input,
            ..TxEip1559::default()
        };
        let signature = key_of(from).sign_hash_sync(&tx.signature_hash()).unwrap();
        let receipt = self.include(&tx.into_signed(signature).into());
        assert_eq!(receipt.status(), said.is_ok(), "asked, it said {said:?}");
        let logs: Vec<Log> = receipt.logs().iter().map(|log| log.inner.clone()).collect();
        Ok(Sent { gas: receipt.gas_used, output: said?, logs })
    }

    /// Sends, makes a block, and compares the receipts.
    pub(crate) fn include(&mut self, tx: &TxEnvelope) -> TransactionReceipt {
        let raw = hex::encode_prefixed(tx.encoded_2718());
        let hash = self.pair.agree("eth_sendRawTransaction", &json!([raw]));
        self.mine();
        let [ours, anvil] =
            self.pair.both("eth_getTransactionReceipt", &json!([hash])).map(|answer| answer.unwrap());
        assert_eq!(comparable(ours.clone()), comparable(anvil));
        serde_json::from_value(ours).unwrap()
    }
}

/// What both chains have to say of a transaction.
fn comparable(mut receipt: Value) -> Value {
    // What follows from the block's hash and its base fee, and what anvil says of blobs where there are none.
    const OTHERS: [&str; 5] =
        ["blockHash", "effectiveGasPrice", "blobGasPrice", "blobGasUsed", "blockTimestamp"];
    let object = receipt.as_object_mut().unwrap();
    object.retain(|field, _| !OTHERS.contains(&field.as_str()));
    for log in receipt["logs"].as_array_mut().unwrap() {
        log.as_object_mut().unwrap().remove("blockHash");
    }
    receipt
}

/// The bytes that a call gave back, or reverted with; anything else ends the test.
fn returned(answer: Answer) -> Result<Bytes, Refused> {
    let bytes = |value: &Value| value.as_str().unwrap().parse::<Bytes>().unwrap();
    match answer {
        Ok(value) => Ok(bytes(&value)),
        Err(error) => {
            assert_eq!(error["code"], 3, "{error}");
            Err(Refused(bytes(&error["data"])))
        }
    }
}

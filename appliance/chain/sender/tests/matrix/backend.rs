//! The chain behind the nodes: a real development chain, with a pool of our own in front of it, blocks on demand,
//! `safe` and `finalized` that lag, base fees as high as a test wants, and re-organisations.
//!
//! A re-organisation cuts the chain's file back to an earlier block, opens it again and mines other blocks on top.

use std::{collections::BTreeMap, fs, path::Path};

use alloy::{
    consensus::{Transaction as _, TxEnvelope},
    eips::eip2718::Decodable2718 as _,
    primitives::{Address, B256, Bytes, U256, keccak256},
};
use axum::{Router, body::Body, http::Request};
use chain_devnet::{Devnet, Genesis, Mining};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower_service::Service as _;

/// Blocks between the head and `safe`, and `finalized`.
pub(crate) const SAFE_LAG: u64 = 3;
pub(crate) const FINAL_LAG: u64 = 6;

/// An answer of a node: a result or an error object.
pub(crate) type Answer = Result<Value, Value>;

pub(crate) struct Pooled {
    pub(crate) raw: Bytes,
    pub(crate) hash: B256,
    max_fee: u128,
    tip: u128,
}

pub(crate) struct Backend {
    dir: TempDir,
    genesis: Genesis,
    router: Option<Router>,
    /// Length of the chain's file when this block was the head.
    lengths: BTreeMap<u64, u64>,
    pub(crate) pool: BTreeMap<(Address, u64), Pooled>,
    /// What a unit of gas costs, if more than the chain itself asks.
    pub(crate) base_fee: u128,
    time: u64,
}

fn refused(message: &str) -> Answer {
    Err(json!({ "code": -32000, "message": message }))
}

pub(crate) fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_default().trim_start_matches("0x");
    u64::from_str_radix(text, 16).unwrap_or_default()
}

impl Backend {
    /// A chain that goes on from a copy of the one in `base`.
    pub(crate) async fn new(base: &Path, genesis: &Genesis) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::copy(base.join("chain.log"), dir.path().join("chain.log")).expect("a copy of the chain");
        let mut backend = Self {
            dir,
            genesis: genesis.clone(),
            router: None,
            lengths: BTreeMap::new(),
            pool: BTreeMap::new(),
            base_fee: 0,
            time: 0,
        };
        backend.open();
        let head = backend.forward("eth_getBlockByNumber", json!(["latest", false])).await.expect("a head");
        backend.time = number(&head["timestamp"]);
        let head = number(&head["number"]);
        backend.lengths.insert(head, backend.length());
        backend
    }

    fn open(&mut self) {
        let mining = Mining::Interval(std::time::Duration::from_secs(3600));
        let devnet = Devnet::open_with(self.dir.path(), &self.genesis, mining).expect("the chain opens");
        self.router = Some(devnet.router());
    }

    fn length(&self) -> u64 {
        fs::metadata(self.dir.path().join("chain.log")).expect("the chain's file").len()
    }

    /// Asks the chain itself.
    pub(crate) async fn forward(&mut self, method: &str, params: Value) -> Answer {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let request = Request::post("/")
            .header("content-type", "application/json")
            .body(Body::from(body))
            .expect("a request");
        let router = self.router.as_mut().expect("an open chain");
        let Ok(response) = router.call(request).await;
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let mut answer: Value = serde_json::from_slice(&bytes).expect("JSON");
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["result"].take()),
        }
    }

    pub(crate) async fn head(&mut self) -> u64 {
        number(&self.forward("eth_blockNumber", json!([])).await.expect("a head"))
    }

    async fn count(&mut self, account: Address, at: Value) -> u64 {
        number(&self.forward("eth_getTransactionCount", json!([account, at])).await.expect("a count"))
    }

    /// What a node at block `head` answers.
    pub(crate) async fn answer(&mut self, method: &str, mut params: Value, head: u64) -> Answer {
        let at = if method == "eth_getBlockByNumber" { 0 } else { 1 };
        if let Some(tag) = params.get_mut(at).filter(|tag| tag.is_string()) {
            let lag = match tag.as_str().unwrap_or_default() {
                "latest" => Some(0),
                "safe" => Some(SAFE_LAG),
                "finalized" => Some(FINAL_LAG),
                _ => None,
            };
            match lag {
                Some(lag) => *tag = json!(format!("0x{:x}", head.saturating_sub(lag))),
                None if tag == "pending" && method == "eth_getTransactionCount" => {
                    return self.pending(params, head).await;
                }
                None => {}
            }
        }
        match method {
            "eth_sendRawTransaction" => self.send(&params).await,
            "eth_blockNumber" => Ok(json!(format!("0x{head:x}"))),
            "eth_getTransactionByHash" => {
                let wanted = params[0].as_str().unwrap_or_default().to_owned();
                match self.pool.values().any(|pooled| pooled.hash.to_string() == wanted) {
                    true => Ok(json!({ "hash": wanted })),
                    false => self.forward(method, params).await,
                }
            }
            "eth_getTransactionReceipt" => {
                let receipt = self.forward(method, params).await?;
                Ok(if number(&receipt["blockNumber"]) > head { Value::Null } else { receipt })
            }
            "eth_getBlockByNumber" | "eth_feeHistory" => {
                let mut answer = self.forward(method, params).await?;
                self.show_fee(&mut answer);
                Ok(answer)
            }
            _ => self.forward(method, params).await,
        }
    }

    fn show_fee(&self, answer: &mut Value) {
        let dear = json!(format!("0x{:x}", self.base_fee));
        let raise = |fee: &mut Value| {
            if u128::from(number(fee)) < self.base_fee {
                *fee = dear.clone();
            }
        };
        match answer.get_mut("baseFeePerGas") {
            Some(Value::Array(fees)) => fees.iter_mut().for_each(raise),
            Some(fee) => raise(fee),
            None => {}
        }
    }

    async fn pending(&mut self, params: Value, head: u64) -> Answer {
        let account: Address = serde_json::from_value(params[0].clone()).expect("an address");
        let mut next = self.count(account, json!(format!("0x{head:x}"))).await;
        while self.pool.contains_key(&(account, next)) {
            next += 1;
        }
        Ok(json!(format!("0x{next:x}")))
    }

    /// The pool's rules: no used nonces, and a tenth more for a replacement.
    async fn send(&mut self, params: &Value) -> Answer {
        let raw: Bytes = serde_json::from_value(params[0].clone()).expect("bytes");
        let envelope = TxEnvelope::decode_2718(&mut raw.as_ref()).expect("a transaction");
        let signer = envelope.signature().recover_address_from_prehash(&envelope.signature_hash());
        let (sender, hash) = (signer.expect("a sender"), keccak256(&raw));
        let nonce = envelope.nonce();
        if nonce < self.count(sender, json!("latest")).await {
            return refused("nonce too low");
        }
        let tip = envelope.max_priority_fee_per_gas().unwrap_or_default();
        let new = Pooled { raw, hash, max_fee: envelope.max_fee_per_gas(), tip };
        match self.pool.get(&(sender, nonce)) {
            Some(old) if old.hash == hash => return refused("already known"),
            Some(old) if new.max_fee * 10 < old.max_fee * 11 || new.tip * 10 < old.tip * 11 => {
                return refused("replacement transaction underpriced");
            }
            Some(_) | None => {}
        }
        self.pool.insert((sender, nonce), new);
        Ok(json!(hash))
    }

    /// A block of what pays enough; an empty one if `with` says so.
    pub(crate) async fn mine(&mut self, with_pool: bool) {
        self.time += 2;
        let keys: Vec<_> = self.pool.keys().copied().filter(|_| with_pool).collect();
        for (sender, nonce) in keys {
            let Some(pooled) = self.pool.get(&(sender, nonce)) else { continue };
            // Another transaction of the account must go first: it comes before this one in the map.
            if pooled.max_fee < self.base_fee {
                continue;
            }
            let raw = pooled.raw.clone();
            if self.forward("eth_sendRawTransaction", json!([raw])).await.is_err() {
                self.pool.remove(&(sender, nonce));
            }
        }
        self.forward("evm_mine", json!([format!("0x{:x}", self.time)])).await.expect("a block");
        let head = self.head().await;
        self.lengths.insert(head, self.length());
        let senders: Vec<Address> = self.pool.keys().map(|(sender, _)| *sender).collect();
        for sender in senders {
            let used = self.count(sender, json!("latest")).await;
            self.pool.retain(|(other, nonce), _| *other != sender || *nonce >= used);
        }
    }

    /// Takes the last `depth` blocks away and puts `depth + 1` others in their place.  What was in them waits in the
    /// pool again, or is forgotten.
    pub(crate) async fn reorganise(&mut self, depth: u64, keep: bool, again_at_once: bool) {
        let head = self.head().await;
        let fork = head.saturating_sub(depth);
        let Some(length) = self.lengths.get(&fork).copied() else { return };
        let mut lost = Vec::new();
        for block in fork + 1..=head {
            let at = json!([format!("0x{block:x}"), false]);
            let block = self.forward("eth_getBlockByNumber", at).await.expect("a block");
            for hash in block["transactions"].as_array().into_iter().flatten() {
                lost.push(self.forward("eth_getRawTransactionByHash", json!([hash])).await.expect("bytes"));
            }
        }
        // The chain locks its file: it must be gone before it is opened again.
        self.router = None;
        let file =
            fs::OpenOptions::new().write(true).open(self.dir.path().join("chain.log")).expect("the file");
        file.set_len(length).expect("cut the chain's file");
        drop(file);
        self.lengths.retain(|block, _| *block <= fork);
        self.open();
        for raw in lost {
            if keep {
                let _ = self.send(&json!([raw])).await;
            }
        }
        // Other times, other hashes.
        self.time += 1;
        for _ in 0..=depth {
            self.mine(keep && again_at_once).await;
        }
    }

    /// Every transaction of `account` in the chain: input, and whether it succeeded.
    pub(crate) async fn sent_by(&mut self, account: Address, from: u64) -> Vec<(Bytes, bool)> {
        let mut found = Vec::new();
        for block in from..=self.head().await {
            let at = json!([format!("0x{block:x}"), true]);
            let block = self.forward("eth_getBlockByNumber", at).await.expect("a block");
            for transaction in block["transactions"].as_array().into_iter().flatten() {
                let sender: Address = serde_json::from_value(transaction["from"].clone()).expect("a sender");
                if sender != account {
                    continue;
                }
                let input = serde_json::from_value(transaction["input"].clone()).expect("an input");
                let receipt = self.forward("eth_getTransactionReceipt", json!([transaction["hash"]])).await;
                found.push((input, receipt.expect("a receipt")["status"] == "0x1"));
            }
        }
        found
    }

    pub(crate) async fn coin(&mut self, account: Address) -> U256 {
        let answer = self.forward("eth_getBalance", json!([account, "latest"])).await.expect("a balance");
        serde_json::from_value(answer).expect("a number")
    }
}

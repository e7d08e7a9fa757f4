//! JSON-RPC 2.0: requests, batches, errors as geth numbers and words them, and the table of methods.

use std::sync::RwLock;

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, Bytes, U256},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Error, chain::Chain, reads, simulate};

/// Calls in one batch at most.
const BATCH_MAX: usize = 100;

/// What goes back instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: i64,
    pub(crate) message: String,
    /// Revert data.
    pub(crate) data: Option<Bytes>,
}

impl Refusal {
    fn new(code: i64, message: String) -> Self {
        Self { code, message, data: None }
    }

    /// What geth says about a transaction or a block it can't take.
    pub(crate) fn server(message: String) -> Self {
        Self::new(-32000, message)
    }

    /// Parameters that are not what the method takes.
    pub(crate) fn params(message: String) -> Self {
        Self::new(-32602, message)
    }

    /// A question whose answer would be too large.
    pub(crate) fn limit(message: String) -> Self {
        Self::new(-32005, message)
    }

    /// The EVM reverted; `data` is what it returned.
    pub(crate) fn revert(message: String, data: Bytes) -> Self {
        Self { code: 3, message, data: Some(data) }
    }

    pub(crate) fn no_block() -> Self {
        Self::server("header not found".into())
    }

    pub(crate) fn pruned() -> Self {
        let kept = crate::state::HISTORY_BLOCKS_MAX;
        Self::server(format!("historical state is not available: this chain keeps the last {kept} blocks"))
    }

    pub(crate) fn stopped() -> Self {
        Self::new(
            -32603,
            "the chain stopped after an internal error; restart it, nothing acknowledged is lost".into(),
        )
    }

    pub(crate) fn disk(error: Error) -> Self {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::new(-32603, format!("{error}{cause}"))
    }

    fn into_json(self) -> Value {
        match self.data {
            Some(data) => json!({ "code": self.code, "message": self.message, "data": data }),
            None => json!({ "code": self.code, "message": self.message }),
        }
    }
}

/// One call.
#[derive(Debug, Deserialize)]
struct Request {
    jsonrpc: Option<String>,
    method: String,
    #[serde(default)]
    params: Value,
    id: Option<Value>,
}

/// Answers one body, single or batch.  `None`: there was nothing to answer.
pub(crate) fn answer(chain: &RwLock<Chain>, body: &[u8], now: u64) -> Option<String> {
    let parsed: Result<Value, _> = serde_json::from_slice(body);
    let value = match parsed {
        Err(error) => Some(wrap(Value::Null, Err(Refusal::new(-32700, format!("parse error: {error}"))))),
        Ok(Value::Array(calls)) if calls.is_empty() => {
            Some(wrap(Value::Null, Err(Refusal::new(-32600, "empty batch".into()))))
        }
        Ok(Value::Array(calls)) if calls.len() > BATCH_MAX => {
            let text = format!("batch too large: {} calls, limit {BATCH_MAX}", calls.len());
            Some(wrap(Value::Null, Err(Refusal::new(-32600, text))))
        }
        Ok(Value::Array(calls)) => {
            let answers: Vec<_> = calls.into_iter().filter_map(|call| one(chain, call, now)).collect();
            (!answers.is_empty()).then_some(Value::Array(answers))
        }
        Ok(call) => one(chain, call, now),
    };
    value.map(|value| value.to_string())
}

fn one(chain: &RwLock<Chain>, call: Value, now: u64) -> Option<Value> {
    let id = call.get("id").cloned().unwrap_or(Value::Null);
    let request = match Request::deserialize(call) {
        Ok(request) if request.jsonrpc.as_deref() == Some("2.0") => request,
        Ok(_) => {
            return Some(wrap(
                id,
                Err(Refusal::new(-32600, "invalid request: jsonrpc must be \"2.0\"".into())),
            ));
        }
        Err(error) => return Some(wrap(id, Err(Refusal::new(-32600, format!("invalid request: {error}"))))),
    };
    let params = match request.params {
        Value::Array(params) => Ok(params),
        Value::Null => Ok(Vec::new()),
        Value::Object(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(Refusal::params("params must be an array".into()))
        }
    };
    let result = params.and_then(|params| dispatch(chain, &request.method, &Params(params), now));
    // A call without an id is a notification: done, and not answered.
    request.id.map(|id| wrap(id, result))
}

fn wrap(id: Value, result: Result<Value, Refusal>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(refusal) => json!({ "jsonrpc": "2.0", "id": id, "error": refusal.into_json() }),
    }
}

/// A call's parameters, by position.
#[derive(Debug)]
pub(crate) struct Params(Vec<Value>);

impl Params {
    /// The parameter at `index`; an error that names it if it is absent or not a `T`.
    pub(crate) fn need<T: DeserializeOwned>(&self, index: usize) -> Result<T, Refusal> {
        match self.0.get(index) {
            None | Some(Value::Null) => {
                Err(Refusal::params(format!("missing value for required argument {index}")))
            }
            Some(value) => T::deserialize(value)
                .map_err(|error| Refusal::params(format!("invalid argument {index}: {error}"))),
        }
    }

    /// The parameter at `index`, or what stands for an absent one.
    pub(crate) fn or<T: DeserializeOwned>(&self, index: usize, absent: T) -> Result<T, Refusal> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(absent),
            Some(_) => self.need(index),
        }
    }

    /// A number written as a JSON number or as hex text.
    pub(crate) fn number(&self, index: usize) -> Result<u64, Refusal> {
        match self.0.get(index) {
            Some(Value::Number(number)) => number
                .as_u64()
                .ok_or_else(|| Refusal::params(format!("invalid argument {index}: not a count"))),
            Some(_) | None => u64::try_from(self.need::<U256>(index)?)
                .map_err(|_| Refusal::params(format!("invalid argument {index}: too large"))),
        }
    }

    /// A block, the newest if absent.
    pub(crate) fn block(&self, index: usize) -> Result<BlockId, Refusal> {
        self.or(index, BlockId::latest())
    }

    /// Refuses what this chain doesn't do, rather than ignore it.
    pub(crate) fn refuse(&self, index: usize, what: &str) -> Result<(), Refusal> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(()),
            Some(_) => Err(Refusal::params(format!("argument {index}: this chain does not support {what}"))),
        }
    }
}

fn dispatch(chain: &RwLock<Chain>, method: &str, params: &Params, now: u64) -> Result<Value, Refusal> {
    if let Some(done) = write(chain, method, params, now) {
        return done;
    }
    let chain = chain.read().map_err(|_| Refusal::stopped())?;
    read(&chain, method, params, now)
}

/// Methods that change the chain; `None` for all others.
fn write(chain: &RwLock<Chain>, method: &str, params: &Params, now: u64) -> Option<Result<Value, Refusal>> {
    let change = |act: &dyn Fn(&mut Chain) -> Result<Value, Refusal>| {
        let mut chain = chain.write().map_err(|_| Refusal::stopped())?;
        act(&mut chain)
    };
    let done = match method {
        "eth_sendRawTransaction" => params.need::<Bytes>(0).and_then(|raw| {
            let hash = change(&|chain| chain.submit(raw.clone(), now).map(|hash| json!(hash)));
            if let Err(refusal) = &hash {
                tracing::debug!(error = %refusal.message, "refused a transaction");
            }
            hash
        }),
        "evm_mine" => params.or::<Option<U256>>(0, None).and_then(|time| {
            let time =
                time.map(u64::try_from).transpose().map_err(|_| Refusal::params("time too large".into()))?;
            change(&|chain| chain.mine_any(now, time).map(|()| json!("0x0")))
        }),
        "evm_setAutomine" => params.need::<bool>(0).and_then(|on| {
            change(&|chain| {
                chain.automine = on;
                if on { chain.mine_each(now).map(|()| json!(true)) } else { Ok(json!(true)) }
            })
        }),
        "evm_increaseTime" => params.number(0).and_then(|seconds| {
            change(&|chain| chain.advance(seconds).map(|offset| json!(U256::from(offset))))
        }),
        _ => return None,
    };
    Some(done)
}

fn read(chain: &Chain, method: &str, params: &Params, now: u64) -> Result<Value, Refusal> {
    match method {
        "web3_clientVersion" => Ok(json!(concat!("scalerforge-devnet/", env!("CARGO_PKG_VERSION")))),
        "net_version" => Ok(json!(chain.chain_id.to_string())),
        "net_listening" => Ok(json!(true)),
        "eth_syncing" => Ok(json!(false)),
        "eth_accounts" => Ok(json!([])),
        "eth_chainId" => Ok(json!(U256::from(chain.chain_id))),
        "eth_blockNumber" => Ok(json!(U256::from(chain.head_number()))),
        "eth_gasPrice" => Ok(json!(U256::from(reads::gas_price(chain)))),
        "eth_maxPriorityFeePerGas" => Ok(json!(U256::from(reads::TIP))),
        "eth_feeHistory" => reads::fee_history(chain, params),
        "eth_getBalance" => {
            let account = reads::view(chain, params.block(1)?)?.account(params.need::<Address>(0)?);
            Ok(json!(account.balance))
        }
        "eth_getCode" => {
            let code = reads::view(chain, params.block(1)?)?.code(params.need::<Address>(0)?);
            Ok(json!(code.original_bytes()))
        }
        "eth_getStorageAt" => {
            let view = reads::view(chain, params.block(2)?)?;
            let word = view.slot(params.need::<Address>(0)?, params.need::<U256>(1)?);
            Ok(json!(B256::from(word)))
        }
        "eth_getTransactionCount" => reads::transaction_count(chain, params),
        "eth_call" => simulate::call(chain, params, now),
        "eth_estimateGas" => simulate::estimate(chain, params, now),
        "eth_getTransactionByHash" => Ok(reads::transaction(chain, &params.need::<B256>(0)?)),
        "eth_getRawTransactionByHash" => Ok(reads::raw_transaction(chain, &params.need::<B256>(0)?)),
        "eth_getTransactionReceipt" => Ok(reads::receipt(chain, &params.need::<B256>(0)?)),
        "eth_getBlockByNumber" | "eth_getBlockByHash" => {
            let block = params.need::<BlockId>(0)?;
            Ok(reads::block(chain, block, params.or(1, false)?))
        }
        "debug_getRawHeader" => Ok(reads::raw_header(chain, params.need(0)?)),
        "eth_getBlockReceipts" => Ok(reads::block_receipts(chain, params.need(0)?)),
        "eth_getLogs" => reads::logs(chain, params),
        _ => Err(Refusal::new(-32601, format!("the method {method} does not exist/is not available"))),
    }
}

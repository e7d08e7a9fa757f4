//! Both chains, started for one test, and JSON-RPC to either.

use alloy::primitives::{Address, U256};
use chain_devnet::{CHAIN_ID, Devnet, Genesis, Mining};
use serde_json::{Value, json};

use crate::anvil::Anvil;

/// Seconds since 1970, before any time that the tests use.
const BEGIN: u64 = 1_700_000_000;

/// What a chain answered: the result, or the error object.
pub(crate) type Answer = Result<Value, Value>;

/// A chain to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// The development chain.
    Ours,
    /// The other one.
    Anvil,
}

/// Both chains, with `rich` rich on both.
pub(crate) struct Pair {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    ours: String,
    anvil: Anvil,
    _directory: tempfile::TempDir,
}

impl Pair {
    pub(crate) fn start(rich: Address) -> Self {
        // Blocks are made when the tests say so.
        let begin = BEGIN.to_string();
        let anvil =
            Anvil::start(&["--no-mining", "--timestamp", &begin, "--block-base-fee-per-gas", "5000000"]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let wei = U256::from(10).pow(U256::from(27));
        let genesis = Genesis { chain_id: CHAIN_ID, accounts: vec![(rich, wei)] };
        let never = Mining::Interval(std::time::Duration::from_secs(1 << 30));
        let devnet = Devnet::open_with(directory.path(), &genesis, never).unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let ours = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            let ended = chain_devnet::serve(listener, devnet).await;
            panic!("the development chain ended: {ended:?}");
        });
        // One provider of TLS for the process; a second test in it finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let pair = Self { runtime, client, ours, anvil, _directory: directory };
        pair.ask(Which::Anvil, "anvil_setBalance", json!([rich, wei])).unwrap();
        pair
    }

    pub(crate) fn ask(&self, which: Which, method: &str, params: Value) -> Answer {
        let url = match which {
            Which::Ours => &self.ours,
            Which::Anvil => &self.anvil.url,
        };
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer: Value = self.runtime.block_on(async {
            self.client.post(url).json(&body).send().await.unwrap().json().await.unwrap()
        });
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["result"].take()),
        }
    }

    /// Asks both.
    pub(crate) fn both(&self, method: &str, params: &Value) -> [Answer; 2] {
        [Which::Ours, Which::Anvil].map(|which| self.ask(which, method, params.clone()))
    }

    /// Asks both, whose results have to be equal.
    pub(crate) fn agree(&self, method: &str, params: &Value) -> Value {
        let [ours, anvil] = self.both(method, params);
        assert_eq!(ours, anvil, "{method} {params}");
        ours.unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }
}

//! The connection to one chain: who it is, where its head is, what it charges, and sending stored bytes.

use std::{fmt, sync::Arc, time::Duration};

use alloy::{
    consensus::BlockHeader as _,
    eips::{BlockId, BlockNumberOrTag},
    network::Ethereum,
    primitives::{B256, Bytes},
    providers::{Provider as _, RootProvider},
    rpc::{client::RpcClient, types::TransactionRequest},
    sol_types::SolCall,
    transports::{TransportError, http::Http},
};
use appliance_model::Address;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    nodes::{Failover, Node},
};

/// A local node answers in milliseconds, a distant one in seconds; this leaves room for an estimate on a busy one.
const ANSWER_SECONDS_MAX: u64 = 20;
/// Opening the connection alone.
const CONNECT_SECONDS_MAX: u64 = 5;

/// A block by number and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Height.
    pub number: u64,
    /// Hash, hex in JSON.
    #[serde(with = "alloy::hex::serde")]
    pub hash: [u8; 32],
    /// The block's own time, seconds since 1970.
    pub timestamp_unix: u64,
}

/// How certain a block is, by the chain's own tags: counting blocks has no meaning where their pace changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finality {
    /// Seen; a reorganisation can take it away.
    Latest,
    /// Its data is on the layer below.
    Safe,
    /// Done.
    Finalized,
}

/// Which transactions of an account are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Those in blocks.
    Latest,
    /// Those in the pool as well: the next free nonce.
    Pending,
}

/// What a transaction offers, in wei per gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fees {
    /// The most that is paid, tip included.
    pub max_fee_per_gas: u128,
    /// The tip.
    pub max_priority_fee_per_gas: u128,
}

impl Fees {
    /// Fees that replace a stuck transaction: an eighth more, since nodes want at least a tenth.
    #[must_use]
    pub fn raised(self) -> Self {
        let more = |fee: u128| fee.saturating_add(fee / 8).saturating_add(1);
        Self {
            max_fee_per_gas: more(self.max_fee_per_gas),
            max_priority_fee_per_gas: more(self.max_priority_fee_per_gas),
        }
    }
}

/// A connection to the chain with the configured id.  Cheap to clone.
#[derive(Clone)]
pub struct Chain {
    provider: RootProvider<Ethereum>,
    shown_url: String,
    id: u64,
    nodes: Arc<[Node]>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({} at {})", self.id, self.shown_url)
    }
}

impl Chain {
    /// Connects and makes sure that it is the chain `expected_chain_id`.
    ///
    /// Installs ring as the process's TLS provider if it has none yet.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::Down`], [`Error::WrongChain`], or what else the node says.
    pub async fn connect(rpc_url: &str, expected_chain_id: u64) -> Result<Self, Error> {
        Self::connect_any(&[rpc_url], expected_chain_id).await
    }

    /// Connects to several nodes of one chain: what the first does not answer is asked of the next.  Those that answer
    /// now must have the chain id; the others are asked for it before anything is spent ([`Chain::agreed`]).
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::WrongChain`]; [`Error::Down`] and the like if no node answers.
    pub async fn connect_any<U: AsRef<str>>(rpc_urls: &[U], expected_chain_id: u64) -> Result<Self, Error> {
        let (mut transports, mut nodes) = (Vec::new(), Vec::new());
        for url in rpc_urls {
            let (transport, shown_url, local) = transport(url.as_ref())?;
            let provider = RootProvider::new(RpcClient::new(transport.clone(), local));
            transports.push(transport);
            nodes.push(Node { provider, shown_url });
        }
        let shown_url = nodes.iter().map(|node| node.shown_url.as_str()).collect::<Vec<_>>().join(" or ");
        let provider = RootProvider::new(RpcClient::new(Failover::new(transports), true));
        let chain = Self { provider, shown_url, id: expected_chain_id, nodes: nodes.into() };
        let mut trouble = None;
        let mut answered = false;
        for node in chain.nodes().iter() {
            match chain.alone(node).demand_id().await {
                Ok(()) => answered = true,
                Err(error @ Error::WrongChain { .. }) => return Err(error),
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if !answered => Err(error),
            Some(_) => Ok(chain),
            None if answered => Ok(chain),
            None => Err(Error::Url { text: String::new() }),
        }
    }

    /// Makes sure that it is the configured chain.
    pub(crate) async fn demand_id(&self) -> Result<(), Error> {
        let found = self.ask("asking for the chain's id", self.provider.get_chain_id()).await?;
        if found == self.id {
            return Ok(());
        }
        Err(Error::WrongChain { url: self.shown_url.clone(), found, expected: self.id })
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The same chain through one of its nodes.
    pub(crate) fn alone(&self, node: &Node) -> Self {
        let (provider, shown_url) = (node.provider.clone(), node.shown_url.clone());
        Self { provider, shown_url, id: self.id, nodes: Arc::new([node.clone()]) }
    }

    /// The chain's id, as configured and as it said.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Scheme, host and port: what may be shown of the RPC URL.
    #[must_use]
    pub fn shown_url(&self) -> &str {
        &self.shown_url
    }

    /// The newest block.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn head(&self) -> Result<Block, Error> {
        self.head_at(Finality::Latest).await
    }

    /// The newest block that is at least this certain.
    ///
    /// # Errors
    /// [`Error::Down`] and the like; [`Error::Answer`] where the chain has no such block yet.
    pub async fn head_at(&self, finality: Finality) -> Result<Block, Error> {
        let tag = match finality {
            Finality::Latest => BlockNumberOrTag::Latest,
            Finality::Safe => BlockNumberOrTag::Safe,
            Finality::Finalized => BlockNumberOrTag::Finalized,
        };
        let during = "asking for the newest block";
        let block = self.ask(during, self.provider.get_block_by_number(tag).into_future()).await?;
        let Some(block) = block else {
            return Err(self.nonsense(during, format!("no block is `{tag}`")));
        };
        let (number, timestamp_unix) = (block.header.number(), block.header.timestamp());
        Ok(Block { number, hash: block.header.hash.0, timestamp_unix })
    }

    /// The block with this number, if the chain has it.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn block(&self, number: u64) -> Result<Option<Block>, Error> {
        let tag = BlockNumberOrTag::Number(number);
        let asked = self.provider.get_block_by_number(tag).into_future();
        let block = self.ask("asking for a block by its number", asked).await?;
        Ok(block.map(|block| Block {
            number: block.header.number(),
            hash: block.header.hash.0,
            timestamp_unix: block.header.timestamp(),
        }))
    }

    /// How certain the block with this number is now.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn finality(&self, block: u64) -> Result<Finality, Error> {
        for finality in [Finality::Finalized, Finality::Safe] {
            match self.head_at(finality).await {
                Ok(head) if head.number >= block => return Ok(finality),
                // A young chain has no such block, and some nodes answer that with an error.
                Ok(_) | Err(Error::Answer { .. } | Error::Rejected { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(Finality::Latest)
    }

    /// What to offer so that a transaction goes into one of the next blocks, never above `cap` (wei per gas).
    ///
    /// # Errors
    /// [`Error::FeesAboveCap`] while even the next block costs more; [`Error::Down`] and the like.
    pub async fn fees(&self, cap: u128) -> Result<Fees, Error> {
        let during = "asking what gas costs";
        let estimate = self.ask(during, self.provider.estimate_eip1559_fees()).await?;
        let tip = estimate.max_priority_fee_per_gas;
        if estimate.max_fee_per_gas <= cap {
            return Ok(Fees { max_fee_per_gas: estimate.max_fee_per_gas, max_priority_fee_per_gas: tip });
        }
        // The estimate has room for several dearer blocks: the cap may still be above the present price.
        let block =
            self.ask(during, self.provider.get_block_by_number(BlockNumberOrTag::Latest).into_future());
        let base = block.await?.and_then(|block| block.header.base_fee_per_gas()).unwrap_or(0);
        let base_fee = u128::from(base).saturating_add(tip);
        if base_fee > cap {
            return Err(Error::FeesAboveCap { base_fee, cap });
        }
        Ok(Fees { max_fee_per_gas: cap, max_priority_fee_per_gas: tip })
    }

    /// Transactions that `account` has sent: with [`Count::Pending`] the next nonce.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn transaction_count(&self, account: Address, count: Count) -> Result<u64, Error> {
        let tag = match count {
            Count::Latest => BlockId::latest(),
            Count::Pending => BlockId::pending(),
        };
        let account = account.0.into();
        let asked = self.provider.get_transaction_count(account).block_id(tag).into_future();
        self.ask("counting the account's transactions", asked).await
    }

    /// Transactions that `account` had sent by the end of block `at`.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn transaction_count_at(&self, account: Address, at: u64) -> Result<u64, Error> {
        let account = account.0.into();
        let asked = self.provider.get_transaction_count(account).block_id(BlockId::number(at)).into_future();
        self.ask("counting the account's transactions", asked).await
    }

    /// What `account` has for gas at block `at`, wei; more than 128 bits reads as the most that fits.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn gas_balance(&self, account: Address, at: u64) -> Result<u128, Error> {
        let asked = self.provider.get_balance(account.0.into()).block_id(BlockId::number(at)).into_future();
        let wei = self.ask("reading the gas balance", asked).await?;
        Ok(u128::try_from(wei).unwrap_or(u128::MAX))
    }

    /// `web3_clientVersion`.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn client_version(&self) -> Result<String, Error> {
        let version = self.ask("asking the node's name", self.provider.get_client_version()).await?;
        Ok(version.chars().filter(|c| !c.is_control()).take(200).collect())
    }

    /// Whether the chain says that it is for development: deployments are refused elsewhere.
    ///
    /// # Errors
    /// [`Error::NotDevelopment`]; [`Error::Down`] and the like.
    pub async fn demand_development(&self) -> Result<(), Error> {
        let client = self.client_version().await?;
        let name = client.to_ascii_lowercase();
        if name.contains("scalerforge-devnet") || name.contains("anvil") {
            return Ok(());
        }
        Err(Error::NotDevelopment { url: self.shown_url.clone(), client })
    }

    /// Calls a contract's view function in the state after block `at`.
    pub(crate) async fn view<C: SolCall>(
        &self,
        during: &'static str,
        to: Address,
        call: &C,
        at: u64,
    ) -> Result<C::Return, Error> {
        let request = TransactionRequest::default().to(to.0.into()).input(call.abi_encode().into());
        let answer = self.call(during, request, at).await?;
        C::abi_decode_returns(&answer)
            .map_err(|error| self.nonsense(during, format!("{} of {to} returned {error}", C::SIGNATURE)))
    }

    /// `eth_call` in the state after block `at`.
    pub(crate) async fn call(
        &self,
        during: &'static str,
        request: TransactionRequest,
        at: u64,
    ) -> Result<Bytes, Error> {
        self.ask(during, self.provider.call(request).block(BlockId::number(at)).into_future()).await
    }

    /// `eth_estimateGas` in the newest state.
    pub(crate) async fn gas(&self, during: &'static str, request: TransactionRequest) -> Result<u64, Error> {
        self.ask(during, self.provider.estimate_gas(request).block(BlockId::latest()).into_future()).await
    }

    /// Whether there is code at `address`.
    pub(crate) async fn has_code(&self, address: Address) -> Result<bool, Error> {
        let asked = self.provider.get_code_at(address.0.into()).into_future();
        Ok(!self.ask("looking for a contract", asked).await?.is_empty())
    }

    pub(crate) async fn raw_receipt(
        &self,
        hash: B256,
    ) -> Result<Option<alloy::rpc::types::TransactionReceipt>, Error> {
        self.ask("asking for a receipt", self.provider.get_transaction_receipt(hash)).await
    }

    /// Whether the node has the transaction, in a block or in its pool.
    pub(crate) async fn knows(&self, hash: B256) -> Result<bool, Error> {
        // As raw JSON: only whether it is there matters, and some chains have types of their own in it.
        let asked = self
            .provider
            .client()
            .request::<_, Option<serde_json::Value>>("eth_getTransactionByHash", (hash,));
        Ok(self.ask("looking for a transaction", asked).await?.is_some())
    }

    pub(crate) async fn send_raw(&self, raw: &[u8]) -> Result<B256, Error> {
        let bytes = Bytes::copy_from_slice(raw);
        let asked = self.provider.client().request::<_, B256>("eth_sendRawTransaction", (bytes,));
        self.ask("sending a transaction", asked).await
    }

    pub(crate) fn nonsense(&self, during: &'static str, what: String) -> Error {
        Error::Answer { during, url: self.shown_url.clone(), what }
    }

    pub(crate) fn provider(&self) -> &RootProvider<Ethereum> {
        &self.provider
    }

    pub(crate) async fn ask<T>(
        &self,
        during: &'static str,
        asked: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, Error> {
        asked.await.map_err(|error| Error::of_transport(during, &self.shown_url, error))
    }
}

/// An HTTP client with limits, what may be shown of its URL, and whether it is on this machine.
fn transport(rpc_url: &str) -> Result<(Http<reqwest::Client>, String, bool), Error> {
    let wrong =
        || Error::Url { text: rpc_url.chars().take_while(|c| *c != '@' && *c != '?').take(60).collect() };
    let url = reqwest::Url::parse(rpc_url).map_err(|_| wrong())?;
    let host = url.host_str().unwrap_or_default().to_owned();
    if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
        return Err(wrong());
    }
    // Fails only if there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .timeout(Duration::from_secs(ANSWER_SECONDS_MAX))
        .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
        .redirect(reqwest::redirect::Policy::none());
    let local = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    if local {
        builder = builder.no_proxy();
    }
    let http = builder.build().map_err(|_| wrong())?;
    let shown_url = shown_parts(&url, &host);
    Ok((Http::with_client(http, url), shown_url, local))
}

/// Scheme, host and port of an RPC URL: what may be shown of it, because paths and users hold access keys.  Nothing of what
/// is no URL.
#[must_use]
pub fn shown_url(rpc_url: &str) -> String {
    let url = reqwest::Url::parse(rpc_url).ok();
    url.map(|url| shown_parts(&url, url.host_str().unwrap_or_default())).unwrap_or_default()
}

fn shown_parts(url: &reqwest::Url, host: &str) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", url.scheme())
}

#[cfg(test)]
mod tests {
    #[test]
    fn access_keys_in_urls_are_not_shown() {
        let shown = super::shown_url;
        assert_eq!(
            shown("https://user:secret@node.example:8443/v2/secret?key=secret"),
            "https://node.example:8443"
        );
        assert_eq!(shown("http://127.0.0.1:8545/"), "http://127.0.0.1:8545");
        assert_eq!(shown("secret"), "");
    }
}

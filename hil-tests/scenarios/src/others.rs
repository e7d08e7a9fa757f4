//! What other people do on a lab's chain: the owner of the collateral, a HyperNode, and time itself.

use std::path::Path;

use alloy::sol_types::SolCall as _;
use anyhow::{Context as _, ensure};
use appliance_model::{Digest, Icnt, NodeId};
use chain_client::{Call, Chain, Count, Funds, Grant, OperatorKey, Payment, Purpose, Registry};
use chain_contracts::{anomalies::Anomalies, vault::CollateralVault};
use serde_json::{Value, json};

/// More than a development chain asks for.
const FEE_WEI_MAX: u128 = 1_000_000_000_000;

/// Somebody with the key that deployed a lab's chain: it owns the terms and has tokens, is the one attestor and the one
/// HyperNode, and here it is the owner of the nodes as well.
#[derive(Debug)]
pub struct Others {
    url: String,
    key: OperatorKey,
    chain: Chain,
    registry: Registry,
}

impl Others {
    /// Who has the key in `file`, at the chain of this URL, once the registry is there.
    ///
    /// # Errors
    /// If the file has no key, or the chain no registry.
    pub async fn at(url: &str, chain_id: u64, registry: &str, file: &Path) -> anyhow::Result<Self> {
        let key = OperatorKey::read(file)?;
        let chain = Chain::connect(url, chain_id).await?;
        let registry = Registry::open(&chain, registry.parse().context("the registry's address")?).await?;
        Ok(Self { url: url.to_owned(), key, chain, registry })
    }

    /// Puts tokens into the owner's deposit.
    ///
    /// # Errors
    /// What the contracts say.
    pub async fn deposit(&self, amount: Icnt) -> anyhow::Result<()> {
        self.send(self.registry.approve_call(amount)).await?;
        self.send(self.registry.deposit_call(amount, &Payment::approval())).await
    }

    /// Says what `operator` may do in a day.
    ///
    /// # Errors
    /// What the contracts say.
    pub async fn allow(&self, operator: &OperatorKey, limits: &Grant) -> anyhow::Result<()> {
        self.send(self.registry.set_operator_call(operator.address(), limits)?).await
    }

    /// What the owner has, and what `operator` may do and did today.
    ///
    /// # Errors
    /// If the chain does not answer.
    pub async fn funds(&self, operator: &OperatorKey) -> anyhow::Result<Funds> {
        let head = self.chain.head().await?;
        Ok(self.registry.funds_at(head, self.key.address(), operator.address()).await?)
    }

    /// Reports a node that is not what it is paid for: one report opens a case.
    ///
    /// # Errors
    /// What the contracts say.
    pub async fn report(&self, node: NodeId, kind: u8, report: Digest) -> anyhow::Result<()> {
        let call = Anomalies::reportCall { nodeId: node.0.into(), kind, digest: report.0.into() };
        self.to_anomalies(call.abi_encode()).await
    }

    /// Says that it is whole again.
    ///
    /// # Errors
    /// What the contracts say.
    pub async fn restored(&self, node: NodeId, report: Digest) -> anyhow::Result<()> {
        let call = Anomalies::restoredCall { nodeId: node.0.into(), digest: report.0.into() };
        self.to_anomalies(call.abi_encode()).await
    }

    async fn to_anomalies(&self, input: Vec<u8>) -> anyhow::Result<()> {
        let head = self.chain.head().await?;
        let ask =
            Call::new(self.registry.vault(), CollateralVault::anomaliesCall {}.abi_encode(), Purpose::Deploy);
        let answer = self.chain.simulate(&ask, self.key.address(), head.number).await?;
        let anomalies = CollateralVault::anomaliesCall::abi_decode_returns(&answer)?;
        self.send(Call::new(appliance_model::Address(anomalies.into_array()), input, Purpose::Deploy)).await
    }

    /// Lets so many seconds pass on the chain.
    ///
    /// # Errors
    /// If it is no development chain.
    pub async fn pass(&self, seconds: u64) -> anyhow::Result<()> {
        rpc(&self.url, "evm_increaseTime", json!([seconds])).await?;
        self.mine().await
    }

    /// Whether transactions get a block at once, each its own; else they wait for [`Others::mine`].
    ///
    /// # Errors
    /// If it is no development chain.
    pub async fn mine_at_once(&self, at_once: bool) -> anyhow::Result<()> {
        rpc(&self.url, "evm_setAutomine", json!([at_once])).await.map(drop)
    }

    /// A block with all that waits.
    ///
    /// # Errors
    /// If it is no development chain.
    pub async fn mine(&self) -> anyhow::Result<()> {
        rpc(&self.url, "evm_mine", json!([])).await.map(drop)
    }

    /// How many transactions of an account are in blocks.
    ///
    /// # Errors
    /// If the chain does not answer.
    pub async fn transactions(&self, account: &OperatorKey) -> anyhow::Result<u64> {
        Ok(self.chain.transaction_count(account.address(), Count::Latest).await?)
    }

    async fn send(&self, call: Call) -> anyhow::Result<()> {
        let nonce = self.chain.transaction_count(self.key.address(), Count::Pending).await?;
        let fees = self.chain.fees(FEE_WEI_MAX).await?;
        let signed = self.chain.sign_call(&self.key, &call, nonce, fees).await?;
        self.chain.broadcast(&signed).await?;
        // On a chain that mines when it is told.
        self.mine().await?;
        let receipt = self.registry.receipt(signed.hash).await?.context("a call is in no block")?;
        ensure!(receipt.outcome == chain_client::Outcome::Success, "undone by the contract: {call:?}");
        Ok(())
    }
}

/// What a chain itself answers.
///
/// # Errors
/// What it says instead.
pub async fn rpc(url: &str, method: &'static str, params: Value) -> anyhow::Result<Value> {
    let url = url.to_owned();
    tokio::task::spawn_blocking(move || {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer: Value = ureq::post(url).send_json(body)?.body_mut().read_json()?;
        let result = answer["result"].take();
        ensure!(answer["error"].is_null(), "{method}: {answer}");
        Ok(result)
    })
    .await?
}

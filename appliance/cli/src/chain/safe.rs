//! An owner that is a Safe: what every file for its transaction builder needs to know, and how one is written.
//!
//! A chain is asked and nothing is changed; no key is read.  The Safe's owners sign in their own application.

use std::{path::PathBuf, process::ExitCode};

use appliance_model::Address;
use chain_client::{
    Chain, Registry,
    signer::{Safe, SafeTransaction},
};
use clap::Args;

use super::sign::for_owner;

#[derive(Debug, Args)]
pub(super) struct Owner {
    /// The owner: the Safe's account, as the site file's `chain.owner` names it.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) safe: Address,
    /// The Safe's next nonce, as its application shows it.
    #[arg(long)]
    nonce: u64,
    /// The registry.
    #[arg(long, value_name = "ADDRESS")]
    registry: Address,
    /// The chain's JSON-RPC; may be named more than once.
    #[arg(long, value_name = "URL", required = true)]
    rpc: Vec<String>,
    /// The chain's id: another chain is refused.
    #[arg(long)]
    chain_id: u64,
    /// Write the transaction builder's file here; it must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Owner {
    /// Writes the calls that are made for it, if it can make them as things stand.
    pub(super) fn write(
        &self,
        calls: impl AsyncFnOnce(&Chain, &Registry) -> anyhow::Result<Vec<SafeTransaction>>,
    ) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let made = runtime.block_on(async {
            let chain = Chain::connect_any(&self.rpc, self.chain_id).await?;
            let registry = Registry::open(&chain, self.registry).await?;
            calls(&chain, &registry).await
        })?;
        let safe = Safe { account: self.safe, chain_id: self.chain_id, nonce: self.nonce };
        for_owner(safe, &made, &self.out)?;
        Ok(ExitCode::SUCCESS)
    }
}

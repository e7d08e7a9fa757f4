//! `scalerforge chain passport`: what an owner that is a Safe does to stake a passport on a node that its operator has
//! registered.
//!
//! The vault takes a passport at a registration only from an owner that registers itself, so where an operator does, the
//! owner stakes it afterwards.  This asks a chain and changes nothing; no key is read.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use appliance_model::{Address, NodeId, PassportId};
use chain_client::{
    Chain, NodeStatus, Registry,
    signer::{Safe, SafeTransaction},
};
use clap::Args;

use super::sign::for_owner;

#[derive(Debug, Args)]
pub(crate) struct Passport {
    /// The node, which the Safe owns.
    node: NodeId,
    /// The passport's number.
    #[arg(long)]
    number: PassportId,
    /// The owner: the Safe's account.
    #[arg(long, value_name = "ADDRESS")]
    safe: Address,
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

pub(super) fn run(verb: &Passport) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let calls = runtime.block_on(verb.calls())?;
    let safe = Safe { account: verb.safe, chain_id: verb.chain_id, nonce: verb.nonce };
    for_owner(safe, &calls, &verb.out)?;
    Ok(ExitCode::SUCCESS)
}

impl Passport {
    /// The calls, if the Safe can make them as things stand.
    async fn calls(&self) -> anyhow::Result<Vec<SafeTransaction>> {
        let (node, safe, number) = (self.node, self.safe, self.number);
        let chain = Chain::connect_any(&self.rpc, self.chain_id).await?;
        let registry = Registry::open(&chain, self.registry).await?;
        match registry.node(node).await? {
            Some(found) if found.owner != safe => {
                bail!(
                    "node {node} belongs to 0x{}: only that stakes a passport on it, not 0x{safe}",
                    found.owner
                )
            }
            Some(found) if found.status == NodeStatus::Registered => {}
            Some(_) => bail!("node {node} has retired: a passport is staked on nodes that are registered"),
            None => bail!("the registry has no node {node}: register it first, then stake the passport"),
        }
        let at = chain.head().await?;
        let found = registry.passport(at, safe, number).await?;
        let collection = registry.passports_contract(at).await?;
        let approve = (!found.approved).then(|| registry.approve_passport_call(collection, number));
        let stake = registry.stake_passport_call(node, number);
        Ok(approve.iter().chain([&stake]).map(SafeTransaction::from).collect())
    }
}

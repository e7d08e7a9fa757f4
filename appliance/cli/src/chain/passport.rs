//! `scalerforge chain passport`: what an owner that is a Safe does to stake a passport on a node that its operator has
//! registered.
//!
//! The vault takes a passport at a registration only from an owner that registers itself, so where an operator does, the
//! owner stakes it afterwards.

use std::process::ExitCode;

use anyhow::bail;
use appliance_model::{NodeId, PassportId};
use chain_client::{Chain, NodeStatus, Registry, signer::SafeTransaction};
use clap::Args;

use super::safe::Owner;

#[derive(Debug, Args)]
pub(crate) struct Passport {
    /// The node, which the Safe owns.
    node: NodeId,
    /// The passport's number.
    #[arg(long)]
    number: PassportId,
    #[command(flatten)]
    owner: Owner,
}

pub(super) fn run(verb: &Passport) -> anyhow::Result<ExitCode> {
    verb.owner.write(async |chain, registry| verb.calls(chain, registry).await)
}

impl Passport {
    /// The calls, if the Safe can make them as things stand.
    async fn calls(&self, chain: &Chain, registry: &Registry) -> anyhow::Result<Vec<SafeTransaction>> {
        let (node, safe, number) = (self.node, self.owner.safe, self.number);
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

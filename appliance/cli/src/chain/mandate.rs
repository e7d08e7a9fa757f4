//! `scalerforge chain mandate`: what the owner of the collateral has to do once, where it is a Safe, so that an appliance's
//! key can register nodes for it: a deposit, and limits a day.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use appliance_model::{Address, Icnt};
use chain_client::{Chain, Grant, Registry, signer::SafeTransaction};
use clap::Args;

use super::safe::Owner;

#[derive(Debug, Args)]
pub(crate) struct Mandate {
    /// The operator: the account that `scalerforge chain status` shows.
    #[arg(long, value_name = "ADDRESS")]
    operator: Address,
    /// Whole ICNT that go from the Safe into its deposit.
    #[arg(long, default_value_t = 0)]
    deposit_icnt: u64,
    /// Nodes that the operator may register a day; with 0 in all three it may do nothing any more.
    #[arg(long)]
    registrations: u16,
    /// Nodes that it may retire a day.
    #[arg(long)]
    retirements: u16,
    /// Whole ICNT that it may stake a day.
    #[arg(long)]
    collateral_icnt: u64,
    #[command(flatten)]
    owner: Owner,
}

pub(super) fn run(verb: &Mandate) -> anyhow::Result<ExitCode> {
    verb.owner.write(async |chain, registry| verb.calls(chain, registry).await)
}

impl Mandate {
    /// The calls, if the Safe can make them as things stand.
    async fn calls(&self, chain: &Chain, registry: &Registry) -> anyhow::Result<Vec<SafeTransaction>> {
        let tokens = |whole| Icnt::tokens(whole).context("more ICNT than there can be");
        let (deposit, collateral) = (tokens(self.deposit_icnt)?, tokens(self.collateral_icnt)?);
        let limits = Grant {
            enabled: (self.registrations, self.retirements, self.collateral_icnt) != (0, 0, 0),
            registrations_per_day: self.registrations,
            retirements_per_day: self.retirements,
            collateral_per_day: collateral,
            registrations: 0,
            retirements: 0,
            collateral: Icnt(0),
        };
        let (safe, operator) = (self.owner.safe, self.operator);
        if safe == operator {
            bail!("0x{safe} is both: an owner needs nobody's limits to act for itself");
        }
        let funds = registry.funds_at(chain.head().await?, safe, operator).await?;
        if funds.balance < deposit {
            let missing = Icnt(deposit.0 - funds.balance.0);
            bail!("0x{safe} holds {} and is to deposit {deposit}: send it {missing} first", funds.balance);
        }
        let calls = registry.mandate_calls(operator, deposit, &limits)?;
        Ok(calls.iter().map(SafeTransaction::from).collect())
    }
}

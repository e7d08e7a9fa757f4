//! `scalerforge chain`: what the appliance sees of its chain, and a development chain to run by itself.

mod alerts;
mod key;
mod mandate;
mod passport;
mod preflight;
mod safe;
mod sign;
mod spend;
mod what_if;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use appliance_api::operator::ChainView;
use clap::Subcommand;

use crate::{client::Appliance, host::print, say, serve::start_log};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The chain, the operator's account, and the nodes as the chain has them.
    Status {
        #[command(flatten)]
        appliance: Appliance,
    },
    /// What people must know of the nodes.  Exit status 1: something urgent is open.
    Alerts(alerts::Alerts),
    /// Keystore files: make one, look at one, take a key into one.
    #[command(subcommand)]
    Key(key::Verb),
    /// What the operator's account may spend; with amounts, allow it: costs are shown, and the words have to be typed.
    Permit(Box<spend::Permit>),
    /// Take a permission back.
    Revoke(spend::Revoke),
    /// The book of signatures: each one asked for, what it means, what became of it.
    Audit(spend::Audit),
    /// Transactions that wait to be signed elsewhere, and a file of one.
    Export(sign::Export),
    /// Sign an exported transaction here, where the key is.  Needs no appliance.
    Sign(Box<sign::Sign>),
    /// Bring a signed transaction back.
    Import(sign::Import),
    /// Exported transactions as a file for a Safe's transaction builder, and the hash that its owners compare.
    Safe(Box<sign::SafeFile>),
    /// What the owner of the collateral does where it is a Safe: the deposit, and what its operator may do a day, as a file
    /// for its transaction builder.
    Mandate(Box<mandate::Mandate>),
    /// What the owner of a node does where it is a Safe, to stake a passport on it: a file for its transaction builder.
    Passport(Box<passport::Passport>),
    /// Everything that would stop a registration, and what it costs; nothing is signed.  Exit status 1: it is refused.
    Preflight(Box<preflight::Preflight>),
    /// What a commitment costs, what ends before it does, and what is missing on which day, by numbers that you declare.
    WhatIf(Box<what_if::WhatIf>),
    /// Run a development chain by itself.  It proves nothing to anybody.
    Devnet {
        /// Where it keeps its blocks.
        #[arg(long)]
        dir: PathBuf,
        /// Loopback address to listen on.
        #[arg(long, default_value = "127.0.0.1:8545")]
        listen: SocketAddr,
        /// Chain id.
        #[arg(long, default_value_t = chain_devnet::CHAIN_ID)]
        chain_id: u64,
        /// Key file of the account that gets the money (a site's deployer.key).
        #[arg(long)]
        fund: PathBuf,
        /// A block every so many milliseconds instead of one a transaction.
        #[arg(long)]
        interval_ms: Option<u64>,
    },
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Status { appliance } => status(&appliance)?,
        Verb::Alerts(asked) => return alerts::run(&asked),
        Verb::Key(verb) => return key::run(verb),
        Verb::Permit(verb) => return spend::permit(*verb),
        Verb::Revoke(verb) => return spend::revoke(&verb),
        Verb::Audit(verb) => return spend::audit(&verb),
        Verb::Export(verb) => return sign::export(&verb),
        Verb::Sign(verb) => return sign::sign(&verb),
        Verb::Import(verb) => return sign::import(&verb),
        Verb::Safe(verb) => return sign::safe(&verb),
        Verb::Mandate(verb) => return mandate::run(&verb),
        Verb::Passport(verb) => return passport::run(&verb),
        Verb::Preflight(call) => return preflight::run(&call),
        Verb::WhatIf(call) => return what_if::run(&call),
        Verb::Devnet { dir, listen, chain_id, fund, interval_ms } => {
            let key = chain_client::OperatorKey::read(&fund)?;
            let genesis = appliance_server::site::genesis(chain_id, Some(&key));
            let mining = interval_ms.map_or(chain_devnet::Mining::Automine, |interval| {
                chain_devnet::Mining::Interval(Duration::from_millis(interval))
            });
            let devnet = chain_devnet::Devnet::open_with(&dir, &genesis, mining)?;
            start_log();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(listen)
                    .await
                    .with_context(|| format!("cannot listen on {listen}"))?;
                let listen = listener.local_addr()?;
                say!("development chain {chain_id} on http://{listen}");
                chain_devnet::serve(listener, devnet).await?;
                anyhow::Ok(())
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn status(appliance: &Appliance) -> anyhow::Result<()> {
    let chain: ChainView = appliance.get("/api/v1/chain")?;
    if appliance.json {
        return print(&chain);
    }
    let kind = if chain.development { "embedded development chain" } else { "chain" };
    say!("{kind} {} at {}", chain.chain_id, chain.rpc_url);
    say!("block     {}", chain.head.map_or_else(|| "none: not reached".into(), |head| head.to_string()));
    say!("registry  {}", chain.registry.as_deref().unwrap_or("-"));
    say!(
        "operator  {} holds {}",
        chain.operator.as_deref().unwrap_or("-"),
        chain.balance.as_deref().unwrap_or("?")
    );
    if let Some(trouble) = &chain.trouble {
        say!("trouble   {trouble}");
    }
    say!("nodes     {}", chain.nodes.len());
    for node in chain.nodes {
        say!("  {}  {:<30} {} {}  {}", node.node, node.name, node.class, node.capacity, node.collateral);
    }
    Ok(())
}

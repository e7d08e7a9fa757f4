//! `scalerforge chain preflight`: everything that would stop a registration, and what it costs, before anybody signs.
//!
//! It asks a chain and changes nothing; no key is read.  A refusal comes with what would mend it.

use std::{fs::File, io::Read as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use appliance_model::Address;
use chain_client::{
    Chain, CostSheet, Error, IcnRegistry, IcnSettings, Intent, Limits, Network, RegisterSignature, Registry,
};
use clap::{Args, ValueEnum};

use crate::{host::print, say};

/// An intent is a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
const GWEI: u128 = 1_000_000_000;

#[derive(Debug, Args)]
pub(crate) struct Preflight {
    /// What is to be registered: an intent, as `host show HOST --json` and `chain export` have it (JSON).
    #[arg(long, value_name = "FILE")]
    intent: PathBuf,
    /// The chain's JSON-RPC; may be named more than once.
    #[arg(long, value_name = "URL", required = true)]
    rpc: Vec<String>,
    /// The chain's id: another chain is refused.
    #[arg(long)]
    chain_id: u64,
    /// The registry.
    #[arg(long, value_name = "ADDRESS")]
    registry: Address,
    /// The account that would sign.
    #[arg(long, value_name = "ADDRESS")]
    operator: Address,
    /// The most that may be paid for a unit of gas, gwei.
    #[arg(long, default_value_t = 100)]
    fee_gwei_max: u64,
    /// Which contracts the registry is.
    #[arg(long, value_enum, default_value_t = Adapter::Reference)]
    adapter: Adapter,
    /// ICNT on this chain; only with `--adapter icn`.
    #[arg(long, value_name = "ADDRESS", required_if_eq("adapter", "icn"))]
    token: Option<Address>,
    /// The registration's signature or selector; only with `--adapter icn`.
    #[arg(long, value_name = "TEXT", required_if_eq("adapter", "icn"))]
    register_signature: Option<RegisterSignature>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Adapter {
    /// The contracts of this project.
    Reference,
    /// ICN's own, as far as it is publicly known.
    Icn,
}

pub(super) fn run(call: &Preflight) -> anyhow::Result<ExitCode> {
    let named = || format!("read {}", call.intent.display());
    let mut text = String::new();
    File::open(&call.intent)
        .with_context(named)?
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(named)?;
    let intent: Intent =
        serde_json::from_str(&text).with_context(|| format!("{} is no intent", call.intent.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(call.ask(&intent));
    match found {
        Ok(sheet) if call.json => print(&sheet)?,
        Ok(sheet) => tell(&sheet),
        Err(Error::Refused { during, refusal }) => {
            if call.json {
                print(&serde_json::json!({"during": during, "refused": refusal}))?;
            } else {
                say!("REFUSED while {during}: {refusal}");
            }
            return Ok(ExitCode::from(1));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

impl Preflight {
    async fn ask(&self, intent: &Intent) -> Result<CostSheet, Error> {
        let chain = Chain::connect_any(&self.rpc, self.chain_id).await?;
        let network = match (self.adapter, self.token, self.register_signature) {
            (Adapter::Icn, Some(token), Some(register)) => {
                let settings = IcnSettings { registry: self.registry, token, hp_id: intent.hp_id, register };
                Network::Icn(IcnRegistry::open(&chain, settings).await?)
            }
            (Adapter::Reference | Adapter::Icn, _, _) => {
                Network::Reference(Registry::open(&chain, self.registry).await?)
            }
        };
        let limits = Limits { fee_wei_max: u128::from(self.fee_gwei_max) * GWEI, in_flight: 0 };
        network.preflight(intent, self.operator, limits).await
    }
}

fn tell(sheet: &CostSheet) {
    say!("would be taken, by the state after block {}", sheet.at.number);
    say!("collateral  {}, to be locked", sheet.collateral);
    sheet.demand.factors.iter().for_each(|why| say!("            {why}"));
    if sheet.demand.network.0 > 0 {
        say!(
            "            {} more for the network part, by anybody, before it is booked",
            sheet.demand.network
        );
    }
    let funds = &sheet.funds;
    say!("there is    {} of 0x{}, deposit {}", funds.balance, funds.owner, funds.deposit);
    match sheet.approve {
        Some(amount) => say!("paid by     {:?}; {amount} have to be approved first", sheet.source),
        None => say!("paid by     {:?}", sheet.source),
    }
    let (gas, wei) = (sheet.gas_max, sheet.gas_wei_max);
    say!("gas         at most {gas}, {wei} wei; 0x{} has {} wei", funds.operator, funds.gas_wei);
}

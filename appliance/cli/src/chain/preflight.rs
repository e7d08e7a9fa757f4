//! `scalerforge chain preflight`: everything that would stop a registration, and what it costs, before anybody signs.
//!
//! It asks a chain and changes nothing; no key is read.  A refusal comes with what would mend it.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use appliance_api::preflight::{PreflightView, RefusedView};
use appliance_model::{Address, HostId, Seconds};
use chain_client::{
    Chain, CostSheet, Error, IcnRegistry, IcnSettings, Intent, Limits, Network, Refusal, RegisterSignature,
    Registry,
};
use clap::{Args, ValueEnum};
use serde::Deserialize as _;

use crate::{client::Appliance, host::print, say};

/// An intent is a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
const GWEI: u128 = 1_000_000_000;

#[derive(Debug, Args)]
pub(crate) struct Preflight {
    /// Host id: asks the appliance that registers it.
    #[arg(required_unless_present = "intent", conflicts_with = "intent")]
    host: Option<HostId>,
    /// What is to be registered (JSON; `chain preflight HOST --json` has it under `intent`); no appliance is asked.
    #[arg(long, value_name = "FILE", requires_all = ["rpc", "chain_id", "registry", "operator"])]
    intent: Option<PathBuf>,
    /// The chain's JSON-RPC; may be named more than once.
    #[arg(long, value_name = "URL", requires = "intent")]
    rpc: Vec<String>,
    /// The chain's id: another chain is refused.
    #[arg(long, requires = "intent")]
    chain_id: Option<u64>,
    /// The registry.
    #[arg(long, value_name = "ADDRESS", requires = "intent")]
    registry: Option<Address>,
    /// The account that would sign.
    #[arg(long, value_name = "ADDRESS", requires = "intent")]
    operator: Option<Address>,
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
    #[command(flatten)]
    appliance: Appliance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Adapter {
    /// The contracts of this project.
    Reference,
    /// ICN's own, as far as it is publicly known.
    Icn,
}

pub(super) fn run(call: &Preflight) -> anyhow::Result<ExitCode> {
    let found = match (&call.host, &call.intent) {
        (Some(host), _) => call.appliance.get(&format!("/api/v1/hosts/{host}/preflight"))?,
        (None, Some(file)) => call.alone(file)?,
        (None, None) => bail!("name a host, or a file with --intent"),
    };
    let PreflightView { sheet, refused, .. } = &found;
    if call.appliance.json {
        print(&found)?;
    } else if let Some(refused) = refused {
        say!("REFUSED: {} ({})", refused.sentence, refused.error);
    } else if let Some(sheet) = sheet {
        tell(&CostSheet::deserialize(sheet).context("the appliance is of another version")?);
    }
    Ok(ExitCode::from(u8::from(refused.is_some())))
}

impl Preflight {
    /// Asks the chain from here.
    fn alone(&self, file: &Path) -> anyhow::Result<PreflightView> {
        let named = || format!("read {}", file.display());
        let mut text = String::new();
        let opened = File::open(file).with_context(named)?;
        opened.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(named)?;
        let intent: Intent =
            serde_json::from_str(&text).with_context(|| format!("{} is no intent", file.display()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sheet, refused) = match runtime.block_on(self.ask(&intent))? {
            Ok(sheet) => (Some(serde_json::to_value(sheet)?), None),
            Err(Refusal { error, sentence }) => (None, Some(RefusedView { error, sentence })),
        };
        Ok(PreflightView { intent: serde_json::to_value(intent)?, sheet, refused })
    }

    async fn ask(&self, intent: &Intent) -> anyhow::Result<Result<CostSheet, Refusal>> {
        let (Some(chain_id), Some(registry), Some(operator)) = (self.chain_id, self.registry, self.operator)
        else {
            bail!("--intent needs --chain-id, --registry and --operator");
        };
        let chain = Chain::connect_any(&self.rpc, chain_id).await?;
        let network = match (self.adapter, self.token, self.register_signature) {
            (Adapter::Icn, Some(token), Some(register)) => {
                let settings = IcnSettings { registry, token, hp_id: intent.hp_id, register };
                Network::Icn(IcnRegistry::open(&chain, settings).await?)
            }
            (Adapter::Reference | Adapter::Icn, _, _) => {
                Network::Reference(Registry::open(&chain, registry).await?)
            }
        };
        let limits = Limits { fee_wei_max: u128::from(self.fee_gwei_max) * GWEI, in_flight: 0 };
        match network.preflight(intent, operator, limits).await {
            Ok(sheet) => Ok(Ok(sheet)),
            Err(Error::Refused { refusal, .. }) => Ok(Err(refusal)),
            Err(error) => Err(error.into()),
        }
    }
}

fn tell(sheet: &CostSheet) {
    say!("would be taken, by the state after block {}", sheet.at.number);
    say!("collateral  {}, to be locked", sheet.collateral);
    sheet.demand.factors.iter().for_each(|why| say!("            {why}"));
    if let Some(passport) = &sheet.passport {
        let leave = if passport.approved { "" } else { "; the vault has to be let take it first" };
        let worth = passport.passport.worth(Seconds(sheet.at.timestamp_unix));
        say!("            and passport {}, worth {worth} now{leave}", passport.id);
    }
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

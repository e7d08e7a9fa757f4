//! The reference contracts on a development chain: token, registry, one region, three classes, and a grant.

use std::time::Duration;

use alloy::{
    primitives::{Address as ChainAddress, B256, U256},
    rpc::types::TransactionRequest,
    sol_types::{SolCall, SolConstructor as _},
};
use appliance_model::{Address, Icnt};
use chain_contracts::{IcntMock, ScalerNodeRegistry};
use serde::{Deserialize, Serialize};

use crate::{
    Chain, Count, Error, Fees, OperatorKey, Outcome, Purpose, Registry, TxHash, registry::with_margin,
    transaction::Draft,
};

/// The region that a development registry has.
pub const REFERENCE_REGION: &str = "eu-west";

/// A hardware class of the development registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReferenceClass {
    /// Its name.
    pub class: &'static str,
    /// Full collateral for one unit of capacity, whole ICNT; the registry asks for 30 % of it.
    pub tokens_per_unit: u64,
    /// What a unit of capacity is.
    pub unit: &'static str,
}

/// The classes that a development registry has.  The rates are made up: the real ones are ICN's to say.
pub const REFERENCE_CLASSES: [ReferenceClass; 4] = [
    ReferenceClass { class: "lab", tokens_per_unit: 10, unit: "core" },
    ReferenceClass { class: "storage", tokens_per_unit: 100, unit: "TiB" },
    ReferenceClass { class: "compute", tokens_per_unit: 25, unit: "core" },
    ReferenceClass { class: "gpu", tokens_per_unit: 2000, unit: "GPU" },
];

/// How long a deployment waits for each of its transactions.
const MINED_SECONDS_MAX: u64 = 60;
const NOT_MINED: &str = "was not mined within a minute";
/// How often it asks.
const POLL_MILLISECONDS: u64 = 50;
/// A development chain costs nothing, but a cap is demanded everywhere: 1000 gwei.
const FEE_CAP: u128 = 1_000_000_000_000;

/// Where the reference contracts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The development ICNT.
    pub token: Address,
    /// The registry.
    pub registry: Address,
}

impl Chain {
    /// Deploys token and registry from `deployer`, sets region and classes, and sees to it that `operator` holds at
    /// least `grant` tokens and `gas_wei` for gas.
    ///
    /// The addresses follow from the deployer's first two nonces, so it may be run again at any time: it looks at
    /// what is there and does only what is missing.  `deployer` must be used for nothing else.
    ///
    /// # Errors
    /// [`Error::NotDevelopment`] on any other chain, before anything is sent; [`Error::Deployment`]; [`Error::Down`].
    pub async fn deploy_reference(
        &self,
        deployer: &OperatorKey,
        operator: Address,
        grant: Icnt,
        gas_wei: u128,
    ) -> Result<Deployment, Error> {
        self.demand_development().await?;
        self.settled(deployer.address()).await?;
        let sender: ChainAddress = deployer.address().0.into();
        let token = Address(sender.create(0).into_array());
        let registry = Address(sender.create(1).into_array());
        if !self.has_code(token).await? {
            self.step(deployer, "the token", None, IcntMock::BYTECODE.to_vec(), U256::ZERO).await?;
        }
        if !self.has_code(registry).await? {
            let argument = ScalerNodeRegistry::constructorCall { token_: token.0.into() }.abi_encode();
            let code = [ScalerNodeRegistry::BYTECODE.to_vec(), argument].concat();
            self.step(deployer, "the registry", None, code, U256::ZERO).await?;
        }
        let opened = Registry::open(self, registry).await?;
        if opened.token() != token {
            let what = "is at the place of another contract: the deployer's key was used for something else";
            return Err(Error::Deployment { step: "the registry".into(), what });
        }
        self.set_classes(deployer, &opened).await?;
        self.grant(deployer, &opened, operator, grant, gas_wei).await?;
        Ok(Deployment { token, registry })
    }

    /// Waits until nothing of an earlier run is in the pool: its contracts are about to exist.
    async fn settled(&self, deployer: Address) -> Result<(), Error> {
        let wait = Duration::from_secs(MINED_SECONDS_MAX);
        let polled = async {
            while self.transaction_count(deployer, Count::Pending).await?
                > self.transaction_count(deployer, Count::Latest).await?
            {
                tokio::time::sleep(Duration::from_millis(POLL_MILLISECONDS)).await;
            }
            Ok(())
        };
        let failed = |_| Error::Deployment { step: "what an earlier run sent".into(), what: NOT_MINED };
        tokio::time::timeout(wait, polled).await.map_err(failed)?
    }

    async fn set_classes(&self, deployer: &OperatorKey, registry: &Registry) -> Result<(), Error> {
        let at = self.head().await?;
        let mut region_known = false;
        for reference in REFERENCE_CLASSES {
            match registry.terms_at(at, REFERENCE_REGION, reference.class).await {
                Ok(_) => continue,
                Err(Error::Refused { .. }) => {}
                Err(other) => return Err(other),
            }
            let region = REFERENCE_REGION.to_owned();
            if !region_known {
                let call = ScalerNodeRegistry::setRegionCall { regionId: region.clone(), known: true };
                self.step(deployer, "the region", Some(registry.address()), call.abi_encode(), U256::ZERO)
                    .await?;
                region_known = true;
            }
            let call = ScalerNodeRegistry::setHwClassCall {
                regionId: region,
                hwClass: reference.class.into(),
                known: true,
                // The registry counts in the token's smallest part, times 10¹⁸.
                collateralReq: U256::from(reference.tokens_per_unit) * U256::from(10).pow(U256::from(36)),
            };
            let step = format!("class {}", reference.class);
            self.step(deployer, &step, Some(registry.address()), call.abi_encode(), U256::ZERO).await?;
        }
        Ok(())
    }

    async fn grant(
        &self,
        deployer: &OperatorKey,
        registry: &Registry,
        operator: Address,
        grant: Icnt,
        gas_wei: u128,
    ) -> Result<(), Error> {
        let funds = registry.funds_at(self.head().await?, operator).await?;
        if let Some(missing) = grant.0.checked_sub(funds.balance.0).filter(|missing| *missing > 0) {
            let call = IcntMock::mintCall { to: operator.0.into(), amount: U256::from(missing) };
            let token = Some(registry.token());
            self.step(deployer, "the operator's tokens", token, call.abi_encode(), U256::ZERO).await?;
        }
        if let Some(missing) = gas_wei.checked_sub(funds.gas_wei).filter(|missing| *missing > 0) {
            let gas = U256::from(missing);
            self.step(deployer, "the operator's gas", Some(operator), Vec::new(), gas).await?;
        }
        Ok(())
    }

    /// One transaction, sent and waited for.
    async fn step(
        &self,
        deployer: &OperatorKey,
        step: &str,
        to: Option<Address>,
        input: Vec<u8>,
        value: U256,
    ) -> Result<(), Error> {
        let failed = |what| Error::Deployment { step: step.to_owned(), what };
        let mut request = TransactionRequest::default()
            .from(deployer.address().0.into())
            .input(input.clone().into())
            .value(value);
        request.to = Some(to.map_or(alloy::primitives::TxKind::Create, |to| ChainAddress::from(to.0).into()));
        let gas_limit = with_margin(self.gas("simulating a step of the deployment", request).await?);
        let nonce = self.transaction_count(deployer.address(), Count::Pending).await?;
        let fees: Fees = self.fees(FEE_CAP).await?;
        let draft = Draft { to, input: &input, gas_limit, nonce, fees, purpose: Purpose::Deploy, value };
        let signed = self.sign(deployer, draft).await?;
        self.broadcast(&signed).await?;
        let wait = Duration::from_secs(MINED_SECONDS_MAX);
        match tokio::time::timeout(wait, self.mined(signed.hash)).await {
            Ok(Ok(Outcome::Success)) => Ok(()),
            Ok(Ok(Outcome::Reverted)) => Err(failed("was undone by the contract")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(failed(NOT_MINED)),
        }
    }

    async fn mined(&self, hash: TxHash) -> Result<Outcome, Error> {
        loop {
            if let Some(receipt) = self.raw_receipt(B256::new(hash.0)).await? {
                return Ok(if receipt.status() { Outcome::Success } else { Outcome::Reverted });
            }
            tokio::time::sleep(Duration::from_millis(POLL_MILLISECONDS)).await;
        }
    }
}

//! The reference network on a development chain: token, Permit2's stand-in, passports, the five contracts, one region,
//! four classes, and grants.
//!
//! The deployer owns the terms, and is the one attestor and the one HyperNode of the network, so that one key that
//! everybody with the site directory has can play every part that is not the operator's.

use std::time::Duration;

use alloy::{
    primitives::{Address as ChainAddress, B256, U256},
    rpc::types::{Filter, TransactionRequest},
    sol_types::{SolCall, SolEvent as _},
};
use appliance_model::{Address, Icnt};
use chain_contracts::{
    Around, IcntMock, IcntPlainMock, PassportMock, Permit2Mock, Plan, plan,
    terms::ScalerTerms::{
        self as terms, Class, setAttestorCall, setClassCall, setFactorsCall, setHyperNodeCall,
        setPassportTermsCall, setRegionCall,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    Block, Chain, Count, Error, Fees, OperatorKey, Outcome, Purpose, Registry, TxHash,
    registry::{chain_address, with_margin},
    transaction::Draft,
};

/// The region that a development network has.
pub const REFERENCE_REGION: &str = "eu-west";

/// A hardware class of the development network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReferenceClass {
    /// Its name.
    pub class: &'static str,
    /// Full collateral for one unit of capacity, whole ICNT; the node part is 30 % of it.
    pub tokens_per_unit: u64,
    /// What a unit of capacity is.
    pub unit: &'static str,
    /// Attestors that have to vouch for a node.
    pub attestors: u8,
    /// Network part of the class, in millionths of the circulating supply.
    pub network_millionths: u64,
    /// Units of capacity that share the network part at least.
    pub baseline: u64,
}

/// The classes that a development network has.  The rates are made up: the real ones are ICN's to say.  `lab` takes
/// nodes that nobody vouches for and asks for no network part.
pub const REFERENCE_CLASSES: [ReferenceClass; 4] = [
    ReferenceClass {
        class: "lab",
        tokens_per_unit: 10,
        unit: "core",
        attestors: 0,
        network_millionths: 0,
        baseline: 1000,
    },
    ReferenceClass {
        class: "storage",
        tokens_per_unit: 100,
        unit: "TiB",
        attestors: 1,
        network_millionths: 5000,
        baseline: 10_000,
    },
    ReferenceClass {
        class: "compute",
        tokens_per_unit: 25,
        unit: "core",
        attestors: 1,
        network_millionths: 2000,
        baseline: 50_000,
    },
    ReferenceClass {
        class: "gpu",
        tokens_per_unit: 2000,
        unit: "GPU",
        attestors: 1,
        network_millionths: 3000,
        baseline: 1000,
    },
];

impl ReferenceClass {
    fn terms(&self) -> Class {
        let day = 86_400;
        Class {
            // In the token's smallest part, times 10¹⁸.
            collateralReq: (U256::from(self.tokens_per_unit) * U256::from(10).pow(U256::from(36))).to(),
            totalCapacity: 0,
            baselineCapacity: self.baseline,
            networkShare: self.network_millionths * 1_000_000_000_000,
            // Beside 0-7, 11 and 12 what our images measure into: 9 and 13 to 15.
            requiredPcrs: U256::from(0xFAFF).to(),
            attestorsNeeded: self.attestors,
            restoreWindow: day,
            slashPeriod: day,
            slashBps: 1000,
            slashBpsMax: 5000,
            attestorMask: 1,
            priceMax: U256::from(1000 * TOKEN).to(),
            known: true,
        }
    }
}

/// One token.
const TOKEN: u128 = 1_000_000_000_000_000_000;
/// What there is of the development token beside grants, and what of it counts as circulating (ICNT's own figures).
const SUPPLY_TOKENS: u128 = 700_000_000;
const CIRCULATING_TOKENS: u128 = 300_000_000;
/// What a development passport counts for, and the seconds until it counts for nothing.
const PASSPORT_TOKENS: u128 = 50;
const PASSPORT_SECONDS: u32 = 48 * 30 * 86_400;
/// Full node parts, in percent, that have to be there: ICN's figure.
const COLLATERAL_PERCENT: u8 = 30;

/// Blocks of a development chain in which its deployment is looked for.
const FIRST_BLOCKS: u64 = 9_999;
/// How long a deployment waits for each of its transactions.
const MINED_SECONDS_MAX: u64 = 60;
const NOT_MINED: &str = "was not mined within a minute";
/// How often it asks.
const POLL_MILLISECONDS: u64 = 50;
/// A development chain costs nothing, but a cap is demanded everywhere: 1000 gwei.
const FEE_CAP: u128 = 1_000_000_000_000;

/// Which token a development network has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DevelopmentToken {
    /// One that takes permits (EIP-2612).
    WithPermits,
    /// One that takes approvals only.
    Plain,
}

/// Where the reference contracts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The development ICNT.
    pub token: Address,
    /// Permit2's stand-in.
    pub permit2: Address,
    /// The development passports.
    pub passports: Address,
    /// `ScalerTerms`.
    pub terms: Address,
    /// `CollateralVault`.
    pub vault: Address,
    /// `ScalerNodes`: the registry.
    pub registry: Address,
    /// `Anomalies`.
    pub anomalies: Address,
    /// `Bookings`.
    pub bookings: Address,
}

impl Chain {
    /// Deploys token, Permit2's stand-in, passports and the five contracts from `deployer`, sets region, classes and
    /// terms, and sees to it that `operator` holds at least `grant` tokens and `gas_wei` for gas.
    ///
    /// The addresses follow from the deployer's first nonces, so it may be run again at any time: it looks at what is
    /// there and does only what is missing.  Nothing else may be sent by `deployer` before it is done.
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
        let token = DevelopmentToken::WithPermits;
        self.deploy_reference_with(deployer, token, operator, grant, gas_wei).await
    }

    /// [`Self::deploy_reference`] with the token of one's choice; a network keeps the one that it was made with.
    ///
    /// # Errors
    /// As [`Self::deploy_reference`].
    pub async fn deploy_reference_with(
        &self,
        deployer: &OperatorKey,
        token: DevelopmentToken,
        operator: Address,
        grant: Icnt,
        gas_wei: u128,
    ) -> Result<Deployment, Error> {
        let (token_name, token_code) = match token {
            DevelopmentToken::WithPermits => ("IcntMock", IcntMock::BYTECODE.clone()),
            DevelopmentToken::Plain => ("IcntPlainMock", IcntPlainMock::BYTECODE.clone()),
        };
        self.demand_development().await?;
        self.settled(deployer.address()).await?;
        let sender = chain_address(deployer.address());
        let [token, permit2, passports] = [0, 1, 2].map(|nonce| sender.create(nonce));
        let around = Around { token, permit2, passports, owner: sender, treasury: sender };
        let plan = plan(sender, 3, around);
        let others = [
            (token_name, token, token_code),
            ("Permit2Mock", permit2, Permit2Mock::BYTECODE.clone()),
            ("PassportMock", passports, PassportMock::BYTECODE.clone()),
        ];
        let five = plan.members.iter().map(|member| (member.name, member.address, member.code.clone()));
        for (nonce, (name, address, code)) in (0..).zip(others.into_iter().chain(five)) {
            if self.has_code(ours(address)).await? {
                continue;
            }
            if self.transaction_count(deployer.address(), Count::Pending).await? != nonce {
                return Err(Error::Deployment { step: name.into(), what: TAKEN });
            }
            self.step(deployer, name, None, code.to_vec(), U256::ZERO).await?;
        }
        let deployment = deployment(&plan, &around);
        let opened = Registry::open(self, deployment.registry).await.map_err(|error| {
            if error.is_down() {
                return error;
            }
            Error::Deployment { step: "ScalerNodes".into(), what: TAKEN }
        })?;
        if (opened.token(), opened.vault()) != (deployment.token, deployment.vault) {
            return Err(Error::Deployment { step: "ScalerNodes".into(), what: TAKEN });
        }
        self.set_terms(deployer, &opened).await?;
        self.set_classes(deployer, &opened).await?;
        self.grant(deployer, &opened, operator, grant, gas_wei).await?;
        Ok(deployment)
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

    /// Supply, factors, passports and the HyperNode.
    async fn set_terms(&self, deployer: &OperatorKey, registry: &Registry) -> Result<(), Error> {
        let at = self.head().await?.number;
        let (token, to) = (registry.token(), registry.terms_contract());
        let during = "looking at what is deployed";
        let circulating = self.view(during, to, &terms::circulatingSupplyCall {}, at).await?;
        if circulating.is_zero() {
            let supply = self.view(during, token, &IcntMock::totalSupplyCall {}, at).await?;
            if supply < U256::from(SUPPLY_TOKENS * TOKEN) {
                let amount = U256::from(SUPPLY_TOKENS * TOKEN) - supply;
                let call = IcntMock::mintCall { to: chain_address(deployer.address()), amount };
                self.asked(deployer, "the supply", token, &call).await?;
            }
            let circulating = U256::from(CIRCULATING_TOKENS * TOKEN).to();
            let call = setFactorsCall { factor: TOKEN, circulating, percent: COLLATERAL_PERCENT };
            self.asked(deployer, "the factors", to, &call).await?;
        }
        if self.view(during, to, &terms::passportValueCall {}, at).await?.is_zero() {
            let value = U256::from(PASSPORT_TOKENS * TOKEN).to();
            let call = setPassportTermsCall { value, decay: PASSPORT_SECONDS };
            self.asked(deployer, "the passports' terms", to, &call).await?;
        }
        let hyper_node = chain_address(deployer.address());
        if !self.view(during, to, &terms::isHyperNodeCall(hyper_node), at).await? {
            let call = setHyperNodeCall { hyperNode: hyper_node, known: true };
            self.asked(deployer, "the HyperNode", to, &call).await?;
        }
        Ok(())
    }

    /// Region, classes and the attestor: each only where it is not yet.
    async fn set_classes(&self, deployer: &OperatorKey, registry: &Registry) -> Result<(), Error> {
        let at: Block = self.head().await?;
        let (to, region) = (registry.terms_contract(), REFERENCE_REGION.to_owned());
        for reference in REFERENCE_CLASSES {
            let class = reference.class;
            match registry.terms_at(at, REFERENCE_REGION, class).await {
                Ok(_) => continue,
                Err(Error::Refused { refusal, .. }) => {
                    // Later classes read the same block: the region is said once.
                    if refusal.error == "InvalidRegion" && class == REFERENCE_CLASSES[0].class {
                        let call = setRegionCall { regionId: region.clone(), known: true };
                        self.asked(deployer, "the region", to, &call).await?;
                    }
                }
                Err(other) => return Err(other),
            }
            let (region, hw_class) = (region.clone(), class.to_owned());
            let call = setClassCall { regionId: region, hwClass: hw_class, terms: reference.terms() };
            self.asked(deployer, &format!("class {class}"), to, &call).await?;
        }
        let attestor = deployer.address();
        if !registry.was_named(attestor).await? {
            let call = setAttestorCall { attestor: chain_address(attestor), place: 0, known: true };
            self.asked(deployer, "the attestor", to, &call).await?;
        }
        Ok(())
    }

    async fn grant(
        &self,
        deployer: &OperatorKey,
        registry: &Registry,
        account: Address,
        grant: Icnt,
        gas_wei: u128,
    ) -> Result<(), Error> {
        let funds = registry.funds_at(self.head().await?, account, account).await?;
        if let Some(missing) = grant.0.checked_sub(funds.balance.0).filter(|missing| *missing > 0) {
            let call = IcntMock::mintCall { to: chain_address(account), amount: U256::from(missing) };
            self.asked(deployer, "the operator's tokens", registry.token(), &call).await?;
        }
        if let Some(missing) = gas_wei.checked_sub(funds.gas_wei).filter(|missing| *missing > 0) {
            let gas = U256::from(missing);
            self.step(deployer, "the operator's gas", Some(account), Vec::new(), gas).await?;
        }
        Ok(())
    }

    async fn asked<C: SolCall>(
        &self,
        deployer: &OperatorKey,
        step: &str,
        to: Address,
        call: &C,
    ) -> Result<(), Error> {
        self.step(deployer, step, Some(to), call.abi_encode(), U256::ZERO).await
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

impl Registry {
    /// Whether a deployment has said already that this is the attestor.  The contract has no view of it but its log; on a
    /// chain too long for one question it is said again, which changes nothing.
    async fn was_named(&self, attestor: Address) -> Result<bool, Error> {
        let last = self.chain().head().await?.number.min(FIRST_BLOCKS);
        let filter = Filter::new()
            .address(chain_address(self.terms_contract()))
            .event_signature(terms::AttestorSet::SIGNATURE_HASH)
            .topic1(chain_address(attestor).into_word())
            .from_block(0_u64)
            .to_block(last);
        Ok(!self.chain().logs("looking at what is deployed", &filter).await?.is_empty())
    }
}

/// What stands in the way of a deployment.
const TAKEN: &str = "cannot be made at its place: the deployer's key was used for something else before, or for contracts \
                     of an earlier version; begin with a new development chain (remove the site's directory `chain`)";

fn ours(address: ChainAddress) -> Address {
    Address(address.into_array())
}

fn deployment(plan: &Plan, around: &Around) -> Deployment {
    Deployment {
        token: ours(around.token),
        permit2: ours(around.permit2),
        passports: ours(around.passports),
        terms: ours(plan.terms),
        vault: ours(plan.vault),
        registry: ours(plan.nodes),
        anomalies: ours(plan.anomalies),
        bookings: ours(plan.bookings),
    }
}

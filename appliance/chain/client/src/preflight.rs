//! Everything that would stop a registration, found before anything is signed or paid.

use appliance_model::{Address, Icnt};
use serde::{Deserialize, Serialize};

use crate::{
    Block, Call, Chain, Count, Demand, Error, Fees, Funds, Intent, OwnedPassport, Payment, Refusal, Registry,
    Source,
};

/// Gas of an approval and a registration where they cannot be simulated yet.  Measured: 46 016 and 285 087 (GAS.md), and
/// 596 344 where a chain has no P256VERIFY; the rest is room for longer names.
const APPROVE_GAS: u64 = 60_000;
const REGISTER_GAS: u64 = 700_000;
/// What a passport adds: measured 84 000.
const PASSPORT_GAS: u64 = 100_000;

/// How often a transaction that waits has to be outbid, in percent: nodes take a replacement from here on.
const OUTBID_PERCENT: u128 = 110;

/// What a registration may cost, and what is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most that is paid for a unit of gas, wei.
    pub fee_wei_max: u128,
    /// The operator's transactions that wait in the pool and are known to the caller: they are not stuck.
    pub in_flight: u64,
}

impl From<u128> for Limits {
    /// This fee cap, and nothing under way.
    fn from(fee_wei_max: u128) -> Self {
        Self { fee_wei_max, in_flight: 0 }
    }
}

/// What a registration costs and needs.  It would succeed at block `at`, after the approval it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostSheet {
    /// The block at which everything was read.
    pub at: Block,
    /// What the network asks, and why.
    pub demand: Demand,
    /// What the intent stakes.
    pub collateral: Icnt,
    /// What there is.
    pub funds: Funds,
    /// Where the collateral comes from.
    pub source: Source,
    /// What the vault must be approved first; `None` if nothing.
    pub approve: Option<Icnt>,
    /// The passport that is staked with it; where the vault may not take it yet, that has to be approved first.
    #[serde(default)]
    pub passport: Option<OwnedPassport>,
    /// The most gas that all transactions of it may take.
    pub gas_max: u64,
    /// What they offer for it.
    pub fees: Fees,
    /// The most that gas may cost, wei.
    #[serde(with = "crate::wei")]
    pub gas_wei_max: u128,
}

impl Registry {
    /// Checks an intent against the terms, the funds and the contracts themselves, all at one block.
    ///
    /// The contract is simulated even where an approval or a permit is still to be signed: it takes the collateral
    /// last, so a simulation that stops at the allowance has passed every other check.
    ///
    /// # Errors
    /// [`Error::Refused`] with what would mend it; [`Error::FeesAboveCap`] and [`Error::Down`]: try again later.
    pub async fn preflight(
        &self,
        intent: &Intent,
        operator: Address,
        limits: impl Into<Limits> + Send,
    ) -> Result<CostSheet, Error> {
        let limits = limits.into();
        // What is wrong with the intent itself is said first.
        self.register_call(intent, &Payment::deposit())?;
        let at = self.chain().head().await?;
        self.chain().demand_nonce(operator, limits.in_flight).await?;
        let terms = self.terms_at(at, &intent.region, &intent.class).await?;
        let demand = terms.demand(intent.capacity)?;
        let funds = self.funds_at(at, intent.owner, operator).await?;
        let passport = self.staked_with(intent, operator, &demand, at).await?;
        covered(intent, &demand, &funds)?;
        let source = self.source(&funds, intent.collateral).await?;
        if source != Source::Deposit {
            let (token, vault) = (self.token(), self.vault());
            self.chain().demand_movable(token, vault, at, intent.owner, intent.collateral).await?;
        }
        let approve =
            (source == Source::Approval && funds.allowance < intent.collateral).then_some(intent.collateral);
        let unpaid = approve.is_some() || matches!(source, Source::Permit | Source::Permit2);
        let payment = if source == Source::Deposit { Payment::deposit() } else { Payment::approval() };
        let call = self.register_call(intent, &payment)?;
        let untaken = passport.is_some_and(|passport| !passport.approved);
        let gas_max =
            expect_gas(self.chain(), &call, operator, at, Unpaid { tokens: unpaid, passport: untaken })
                .await?;
        let (fees, gas_wei_max) = self.chain().affordable(&funds, gas_max, limits).await?;
        let collateral = intent.collateral;
        Ok(CostSheet { at, demand, collateral, funds, source, approve, passport, gas_max, fees, gas_wei_max })
    }
}

impl Chain {
    /// Refuses an account whose transactions wait in the pool: what is signed now would wait behind them.
    pub(crate) async fn demand_nonce(&self, account: Address, in_flight: u64) -> Result<(), Error> {
        let mined = self.transaction_count(account, Count::Latest).await?;
        let pending = self.transaction_count(account, Count::Pending).await?;
        let waiting = pending.saturating_sub(mined);
        if waiting <= in_flight {
            return Ok(());
        }
        let foreign = waiting - in_flight;
        let now = self.fees(u128::MAX).await?.max_fee_per_gas;
        let outbid = now.saturating_mul(OUTBID_PERCENT) / 100;
        Err(refused(
            "NonceStuck",
            format!(
                "{foreign} of 0x{account}'s transactions are in no block and not ours, the first with nonce {mined}: \
                 wait for it, or replace nonce {mined} with one that offers {outbid} wei for a unit of gas, and a tenth \
                 above what it offers itself"
            ),
        ))
    }

    /// What to offer, and the most that it costs; refuses an operator who has not as much.
    pub(crate) async fn affordable(
        &self,
        funds: &Funds,
        gas_max: u64,
        limits: Limits,
    ) -> Result<(Fees, u128), Error> {
        let fees = self.fees(limits.fee_wei_max).await?;
        let gas_wei_max = u128::from(gas_max).saturating_mul(fees.max_fee_per_gas);
        let (has, operator) = (funds.gas_wei, funds.operator);
        if let Some(missing) = gas_wei_max.checked_sub(has).filter(|missing| *missing > 0) {
            let sentence = format!(
                "0x{operator} has {has} wei for gas and may need {gas_wei_max}: send it {missing} wei more"
            );
            return Err(refused("InsufficientFunds", sentence));
        }
        Ok((fees, gas_wei_max))
    }
}

/// What a registration still needs its owner's leave for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unpaid {
    /// Its tokens.
    pub(crate) tokens: bool,
    /// Its passport, which the vault takes before the tokens.
    pub(crate) passport: bool,
}

/// The most gas that is still to be paid for, if the contract would take the registration.
pub(crate) async fn expect_gas(
    chain: &Chain,
    call: &Call,
    operator: Address,
    at: Block,
    unpaid: Unpaid,
) -> Result<u64, Error> {
    match chain.simulate(call, operator, at.number).await {
        Ok(_) => chain.gas_limit(call, operator).await,
        Err(Error::Refused { refusal, .. })
            if (unpaid.tokens && refusal.error == "ERC20InsufficientAllowance")
                || (unpaid.passport && refusal.error == "ERC721InsufficientApproval") =>
        {
            let passport = if unpaid.passport { APPROVE_GAS + PASSPORT_GAS } else { 0 };
            Ok(APPROVE_GAS + REGISTER_GAS + passport)
        }
        Err(other) => Err(other),
    }
}

pub(crate) fn refused(error: &str, sentence: String) -> Error {
    Error::Refused { during: "checking the registration", refusal: Refusal::new(error, sentence) }
}

/// What can be said with a number before the contract is asked.
pub(crate) fn covered(intent: &Intent, demand: &Demand, funds: &Funds) -> Result<(), Error> {
    let given = intent.collateral;
    // With a passport it was looked at with that.
    let lacks = if intent.passport.is_some() { None } else { demand.node.0.checked_sub(given.0) };
    if let Some(missing) = lacks.filter(|missing| *missing > 0) {
        let (missing, why) = (Icnt(missing), demand.factors.get(1).cloned().unwrap_or_default());
        let sentence =
            format!("the collateral of {given} is {missing} below the required {}: {why}", demand.node);
        return Err(refused("NotEnoughCollateral", sentence));
    }
    let (signed, wanted) = (intent.bindings.len(), usize::from(demand.attestors));
    if signed < wanted {
        let (class, missing) = (&intent.class, wanted - signed);
        let sentence = format!(
            "class {class} wants the word of {wanted} attestors that the attestation key sits in this TPM, and {signed} \
             have given it: get {missing} more"
        );
        return Err(refused("NotEnoughAttestors", sentence));
    }
    if let Some(missing) = given.0.checked_sub(funds.available().0).filter(|missing| *missing > 0) {
        let (missing, owner) = (Icnt(missing), funds.owner);
        if funds.owner == funds.operator && funds.balance >= funds.deposit {
            let sentence =
                format!("{owner} has {} but the collateral is {given}: send it {missing}", funds.balance);
            return Err(refused("ERC20InsufficientBalance", sentence));
        }
        let sentence = format!(
            "the deposit of {owner} is {} but the collateral is {given}: deposit {missing} more",
            funds.deposit
        );
        return Err(refused("NotEnoughDeposit", sentence));
    }
    Ok(())
}

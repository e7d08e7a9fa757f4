//! What an owner has for collateral, and what its operator may do with it and has for gas, read at one block.

use appliance_model::{Address, Icnt};
use chain_contracts::{IcntMock, vault::CollateralVault as abi};
use serde::{Deserialize, Serialize};

use crate::{
    Block, Error, Registry,
    registry::{amount, small},
};

/// Smallest parts in a thousandth of a token.
pub(crate) const MILLITOKEN: u128 = 1_000_000_000_000_000;

/// What there is for registrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Funds {
    /// The block.
    pub at: Block,
    /// Whose collateral it is.
    pub owner: Address,
    /// Who sends the transactions.
    pub operator: Address,
    /// The owner's deposit in the vault.
    pub deposit: Icnt,
    /// Tokens that the owner holds.
    pub balance: Icnt,
    /// Tokens that the vault may take of them; the most that fits stands for any more.
    pub allowance: Icnt,
    /// Tokens that Permit2 may take of them.
    pub permit2_allowance: Icnt,
    /// What the operator has for gas, wei.
    #[serde(with = "crate::wei")]
    pub gas_wei: u128,
    /// What the owner lets the operator do; `None` where they are one account.
    pub grant: Option<Grant>,
}

/// What an owner lets an operator do in a day (UTC), and what of it is used up at the block's own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Whether it may do anything at all.
    pub enabled: bool,
    /// Registrations a day.
    pub registrations_per_day: u16,
    /// Retirements a day.
    pub retirements_per_day: u16,
    /// Collateral a day.
    pub collateral_per_day: Icnt,
    /// Registrations today.
    pub registrations: u16,
    /// Retirements today.
    pub retirements: u16,
    /// Collateral today.
    pub collateral: Icnt,
}

impl Funds {
    /// The most collateral that one registration can take: an operator's out of the deposit only, an owner's out of
    /// the deposit or out of what it holds, but not half and half.
    #[must_use]
    pub fn available(&self) -> Icnt {
        if self.owner == self.operator { self.deposit.max(self.balance) } else { self.deposit }
    }
}

impl Registry {
    /// What there is in the state after `at`.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn funds_at(&self, at: Block, owner: Address, operator: Address) -> Result<Funds, Error> {
        let (chain, token, number) = (self.chain(), self.token(), at.number);
        let account = owner.0.into();
        let during = "reading the token balance";
        let balance = chain.view(during, token, &IcntMock::balanceOfCall { account }, number).await?;
        let during = "reading the deposit";
        let call = abi::depositsCall { owner: account };
        let deposit = chain.view(during, self.vault(), &call, number).await?;
        let gas_wei = chain.gas_balance(operator, number).await?;
        Ok(Funds {
            at,
            owner,
            operator,
            deposit: amount(deposit),
            balance: amount(balance),
            allowance: self.allowance(owner, self.vault(), number).await?,
            permit2_allowance: self.allowance(owner, self.permit2(), number).await?,
            gas_wei,
            grant: if owner == operator { None } else { Some(self.grant_at(at, owner, operator).await?) },
        })
    }

    async fn allowance(&self, owner: Address, spender: Address, at: u64) -> Result<Icnt, Error> {
        let call = IcntMock::allowanceCall { owner: owner.0.into(), spender: spender.0.into() };
        let found = self.chain().view("reading the token allowance", self.token(), &call, at).await?;
        Ok(amount(found))
    }

    async fn grant_at(&self, at: Block, owner: Address, operator: Address) -> Result<Grant, Error> {
        let call = abi::grantCall { owner: owner.0.into(), operator: operator.0.into() };
        let during = "reading the operator's limits";
        let found = self.chain().view(during, self.vault(), &call, at.number).await?;
        let milli = |number| Icnt(u128::from(small(number)).saturating_mul(MILLITOKEN));
        // Yesterday's use does not count.
        let today = u64::from(found.day) == at.timestamp_unix / 86_400;
        Ok(Grant {
            enabled: found.enabled,
            registrations_per_day: found.registrationsPerDay,
            retirements_per_day: found.retirementsPerDay,
            collateral_per_day: milli(found.collateralPerDay.to()),
            registrations: if today { found.registrations } else { 0 },
            retirements: if today { found.retirements } else { 0 },
            collateral: if today { milli(found.collateral.to()) } else { Icnt(0) },
        })
    }
}

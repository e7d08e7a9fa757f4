//! Everything that would stop a registration, found before anything is signed or paid.

use alloy::rpc::types::TransactionRequest;
use appliance_collateral::{Requirement, required};
use appliance_model::{Address, Icnt};
use serde::{Deserialize, Serialize};

use crate::{Block, Error, Fees, Funds, Intent, Refusal, Registry, registry::with_margin};

/// Gas of an approval and a registration where they cannot be simulated yet.  Measured: 46 016 and 541 534;
/// the rest is room for longer names.
const APPROVE_GAS: u64 = 60_000;
const REGISTER_GAS: u64 = 700_000;

/// What a registration costs and needs.  It would succeed at block `at`, after the approval it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostSheet {
    /// The block at which everything was read.
    pub at: Block,
    /// The least collateral, with its factors.
    pub requirement: Requirement,
    /// What the intent stakes.
    pub collateral: Icnt,
    /// What the operator has.
    pub funds: Funds,
    /// What must be approved first; `None` if the allowance is enough.
    pub approve: Option<Icnt>,
    /// The most gas that both transactions may take.
    pub gas_max: u64,
    /// What they offer for it.
    pub fees: Fees,
    /// The most that gas may cost, wei.
    pub gas_wei_max: u128,
}

impl Registry {
    /// Checks an intent against the terms, the operator's funds and the contract itself, all at one block.
    ///
    /// The contract is simulated even before the approval: it takes the collateral last, so a simulation that stops
    /// at the allowance has passed every other check.
    ///
    /// # Errors
    /// [`Error::Refused`] with what would mend it; [`Error::FeesAboveCap`] and [`Error::Down`]: try again later.
    pub async fn preflight(
        &self,
        intent: &Intent,
        operator: Address,
        fee_cap: u128,
    ) -> Result<CostSheet, Error> {
        let during = "checking the registration";
        let refused = |refusal| Error::Refused { during, refusal };
        let input = self.register_input(intent)?;
        let at = self.chain().head().await?;
        let terms = self.terms_at(at, &intent.region, &intent.class).await?.terms;
        let requirement = required(&terms, intent.capacity)
            .map_err(|error| refused(Refusal::new("TooLarge", error.to_string())))?;
        if let Some(missing) = requirement.shortfall(intent.collateral) {
            let given = intent.collateral;
            let sentence = format!("the collateral of {given} is {missing} below the required {requirement}");
            return Err(refused(Refusal::new("NotEnoughCollateral", sentence)));
        }
        let funds = self.funds_at(at, operator).await?;
        if funds.balance < intent.collateral {
            let (has, needs) = (funds.balance, intent.collateral);
            let missing = Icnt(needs.0 - has.0);
            let sentence = format!("{operator} has {has} but the collateral is {needs}: send it {missing}");
            return Err(refused(Refusal::new("ERC20InsufficientBalance", sentence)));
        }
        let approve = (funds.allowance < intent.collateral).then_some(intent.collateral);
        let gas_max = self.simulate(&input, operator, at, approve.is_some()).await?;
        let fees = self.chain().fees(fee_cap).await?;
        let gas_wei_max = u128::from(gas_max).saturating_mul(fees.max_fee_per_gas);
        if funds.gas_wei < gas_wei_max {
            let missing = gas_wei_max - funds.gas_wei;
            let sentence = format!(
                "{operator} has {} wei for gas and may need {gas_wei_max}: send it {missing} wei more",
                funds.gas_wei
            );
            return Err(refused(Refusal::new("InsufficientFunds", sentence)));
        }
        let collateral = intent.collateral;
        Ok(CostSheet { at, requirement, collateral, funds, approve, gas_max, fees, gas_wei_max })
    }

    /// The most gas that is still to be paid for, if the contract would take the registration.
    async fn simulate(
        &self,
        input: &[u8],
        operator: Address,
        at: Block,
        unapproved: bool,
    ) -> Result<u64, Error> {
        let during = "simulating the registration";
        let request = TransactionRequest::default()
            .from(operator.0.into())
            .to(self.address().0.into())
            .input(input.to_vec().into());
        match self.chain().call(during, request.clone(), at.number).await {
            Ok(_) => Ok(with_margin(self.chain().gas(during, request).await?)),
            Err(Error::Refused { refusal, .. })
                if unapproved && refusal.error == "ERC20InsufficientAllowance" =>
            {
                Ok(APPROVE_GAS + REGISTER_GAS)
            }
            Err(other) => Err(other),
        }
    }
}

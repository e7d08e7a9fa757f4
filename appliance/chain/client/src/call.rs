//! A contract call before anybody signs it: it can be simulated, signed, exported for signing elsewhere, or queued.

use alloy::{primitives::U256, rpc::types::TransactionRequest};
use appliance_model::Address;
use chain_signer::SafeTransaction;

use crate::{
    Chain, Error, Fees, OperatorKey, Purpose, SignedTransaction,
    registry::{chain_address, with_margin},
    transaction::Draft,
};

/// What is asked of a contract.  It says nothing of who sends it, when, or what is paid for gas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The contract.
    pub to: Address,
    /// Selector and arguments.
    pub input: Vec<u8>,
    /// The chain's own coin that goes with it, wei.
    pub value: u128,
    /// What it is for.
    pub purpose: Purpose,
    /// What is being done while the chain is asked about it; stands in front of its refusals.
    pub during: &'static str,
}

impl Call {
    /// A call that sends none of the chain's coin.
    #[must_use]
    pub fn new(to: Address, input: Vec<u8>, purpose: Purpose) -> Self {
        Self { to, input, value: 0, purpose, during: purpose.simulated() }
    }

    fn request(&self, from: Address) -> TransactionRequest {
        TransactionRequest::default()
            .from(chain_address(from))
            .to(self.to.0.into())
            .input(self.input.clone().into())
            .value(U256::from(self.value))
    }
}

impl From<&Call> for SafeTransaction {
    fn from(call: &Call) -> Self {
        Self { to: call.to, value: U256::from(call.value), data: call.input.clone() }
    }
}

impl Chain {
    /// Whether `call` of `from` would succeed in the state after block `at`; gives what it returned.
    ///
    /// # Errors
    /// [`Error::Refused`] with the contract's reason; [`Error::Down`] and the like.
    pub async fn simulate(&self, call: &Call, from: Address, at: u64) -> Result<Vec<u8>, Error> {
        Ok(self.call(call.during, call.request(from), at).await?.to_vec())
    }

    /// The gas limit for `call` of `from`: a fifth above what it takes in the newest state.
    ///
    /// # Errors
    /// [`Error::Refused`] with the contract's reason; [`Error::Down`] and the like.
    pub async fn gas_limit(&self, call: &Call, from: Address) -> Result<u64, Error> {
        Ok(with_margin(self.gas(call.during, call.request(from)).await?))
    }

    /// Simulates `call` in the newest state, and signs it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the contract's reason; [`Error::Down`] and the like.  Nothing is sent.
    pub async fn sign_call(
        &self,
        key: &OperatorKey,
        call: &Call,
        nonce: u64,
        fees: Fees,
    ) -> Result<SignedTransaction, Error> {
        let gas_limit = self.gas_limit(call, key.address()).await?;
        let draft = Draft {
            to: Some(call.to),
            input: &call.input,
            gas_limit,
            nonce,
            fees,
            purpose: call.purpose,
            value: U256::from(call.value),
        };
        self.sign(key, draft).await
    }
}

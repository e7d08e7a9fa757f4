//! What a sender needs after the first send: where a transaction is, and the same call signed with other fees.

use alloy::primitives::{B256, U256};

use crate::{
    Call, Chain, Error, Fees, OperatorKey, Outcome, Place, SignedTransaction, TxHash, transaction::Draft,
};

impl Chain {
    /// Signs `call` with exactly this gas limit, without another look at the chain: for the replacement of what was
    /// simulated before, and is perhaps in a block by now.
    ///
    /// # Errors
    /// [`Error::Signing`].
    pub async fn sign_again(
        &self,
        key: &OperatorKey,
        call: &Call,
        gas_limit: u64,
        nonce: u64,
        fees: Fees,
    ) -> Result<SignedTransaction, Error> {
        let (to, value) = (Some(call.to), U256::from(call.value));
        let draft = Draft { to, input: &call.input, gas_limit, nonce, fees, purpose: call.purpose, value };
        self.sign(key, draft).await
    }

    /// Where a transaction is: its block and what became of it there; `None` while it is in no block.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn place(&self, hash: TxHash) -> Result<Option<Place>, Error> {
        let Some(found) = self.raw_receipt(B256::new(hash.0)).await? else { return Ok(None) };
        let (Some(block), Some(block_hash)) = (found.block_number, found.block_hash) else { return Ok(None) };
        let outcome = if found.status() { Outcome::Success } else { Outcome::Reverted };
        Ok(Some(Place { hash, block, block_hash: block_hash.0, outcome }))
    }
}

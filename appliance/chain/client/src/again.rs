//! What a sender needs after the first send: where a transaction is, the same call signed with other fees, and what signed
//! bytes say that somebody else kept.

use alloy::{
    consensus::{Transaction as _, TxEnvelope},
    eips::eip2718::Decodable2718 as _,
    primitives::{B256, U256},
};
use appliance_model::Address;

use crate::{
    Call, Chain, Error, Fees, OperatorKey, Outcome, Place, Purpose, SignedTransaction, TxHash,
    transaction::Draft,
};

/// What signed bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The bytes, with their hash and nonce.
    pub transaction: SignedTransaction,
    /// What is called.
    pub call: Call,
    /// Their gas limit.
    pub gas_limit: u64,
    /// What they offer.
    pub fees: Fees,
    /// The chain that they are for.
    pub chain_id: u64,
    /// Whose signature they bear.
    pub account: Address,
}

impl SignedTransaction {
    /// Reads an EIP-1559 transaction that calls a contract; `None` if the bytes are anything else.
    #[must_use]
    pub fn open(raw: &[u8], purpose: Purpose) -> Option<Opened> {
        let mut rest = raw;
        let envelope = TxEnvelope::decode_2718(&mut rest).ok()?;
        let signed = envelope.as_eip1559().filter(|_| rest.is_empty())?;
        let signer = signed.signature().recover_address_from_prehash(&signed.signature_hash()).ok()?;
        let body = signed.tx();
        let to = Address(body.to()?.into_array());
        let value = body.value.try_into().ok()?;
        Some(Opened {
            transaction: SignedTransaction {
                raw: raw.to_vec(),
                hash: TxHash(signed.hash().0),
                nonce: body.nonce,
                purpose,
            },
            call: Call { value, ..Call::new(to, body.input.to_vec(), purpose) },
            gas_limit: body.gas_limit,
            fees: Fees {
                max_fee_per_gas: body.max_fee_per_gas,
                max_priority_fee_per_gas: body.max_priority_fee_per_gas,
            },
            chain_id: body.chain_id,
            account: Address(signer.into_array()),
        })
    }
}

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

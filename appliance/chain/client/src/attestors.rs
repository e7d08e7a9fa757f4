//! Whose word about an attestation key counts for a class.
//!
//! The contract has no list to read: it counts signers when it admits a node, and only the registry may ask it to.  So
//! it is asked in the registry's name, in a question that changes nothing, whether it would count this one.

use alloy::{primitives::Uint, rpc::types::TransactionRequest, sol_types::SolCall as _};
use appliance_model::Address;
use chain_contracts::ScalerTerms;

use crate::{Block, Error, Registry, registry::chain_address};

impl Registry {
    /// Whether the word of `attestor` counts for nodes of this class, in the state after `at`.
    ///
    /// # Errors
    /// [`Error::Refused`] for a region or class that is not known; [`Error::Down`] and the like.
    pub async fn attestor_counts(
        &self,
        at: Block,
        region: &str,
        class: &str,
        attestor: Address,
    ) -> Result<bool, Error> {
        let needed = self.terms_at(at, region, class).await?.attestors_needed;
        if needed == 0 {
            return Ok(false);
        }
        // Named twice: one that counts is found to be counted twice, and any other one is found to be none.
        let signers = vec![chain_address(attestor); usize::from(needed.max(2))];
        let call = ScalerTerms::admitCall {
            regionId: region.into(),
            hwClass: class.into(),
            capacity: Uint::from(1),
            signers,
        };
        let request = TransactionRequest::default()
            .from(chain_address(self.address()))
            .to(chain_address(self.terms_contract()))
            .input(call.abi_encode().into());
        let during = "asking whether an attestor's word counts";
        match self.chain().call(during, request, at.number).await {
            Ok(_) => Err(self.chain().nonsense(during, "counted one attestor twice".into())),
            Err(error) => match error.refusal().map(|refusal| refusal.error.as_str()) {
                Some("AttestorCountedTwice") => Ok(true),
                Some("NotAnAttestor") => Ok(false),
                Some(_) | None => Err(error),
            },
        }
    }
}

//! Whether a token would do what a registration needs of it, asked before anything is signed.

use alloy::{
    primitives::U256,
    rpc::types::TransactionRequest,
    sol,
    sol_types::{SolCall as _, SolValue as _},
};
use appliance_model::{Address, Icnt};

use crate::{Block, Chain, Error, Refusal, registry::chain_address};

sol! {
    interface Movable {
        function approve(address spender, uint256 amount) external returns (bool);
        function transfer(address to, uint256 amount) external returns (bool);
    }
}

impl Chain {
    /// Refuses a token that would not move `amount` from `account` to `to`, or not let it be moved: some answer `false`
    /// where others fail, and a registration would cost its gas and stop half way.  Nothing is sent.
    pub(crate) async fn demand_movable(
        &self,
        token: Address,
        to: Address,
        at: Block,
        account: Address,
        amount: Icnt,
    ) -> Result<(), Error> {
        let (receiver, number) = (chain_address(to), U256::from(amount.0));
        let asked = [
            ("transfer", Movable::transferCall { to: receiver, amount: number }.abi_encode()),
            ("approve", Movable::approveCall { spender: receiver, amount: number }.abi_encode()),
        ];
        let during = "asking the token whether it would move the collateral";
        for (name, input) in asked {
            let request = TransactionRequest::default()
                .from(chain_address(account))
                .to(token.0.into())
                .input(input.into());
            let answer = self.call(during, request, at.number).await?;
            // Old tokens answer nothing, and revert when they refuse.
            if answer.is_empty() || bool::abi_decode(&answer) == Ok(true) {
                continue;
            }
            let sentence = format!(
                "the token 0x{token} answers `false` to {name} of {amount} by 0x{account}: it would not move, and the gas \
                 would be lost; ask its issuer whether it is paused or the account is blocked, and correct the address if \
                 it is not ICNT"
            );
            return Err(Error::Refused { during, refusal: Refusal::new("TokenReturnsFalse", sentence) });
        }
        Ok(())
    }
}

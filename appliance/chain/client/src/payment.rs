//! Where collateral comes from: the owner's deposit, a permit of the token (EIP-2612), Permit2, or an approval.
//!
//! Whether a token takes permits is found out by asking it.  Its domain separator is reckoned here as well and must be
//! the token's own: what is signed is then known to mean this token on this chain, and nothing else.

use alloy::{
    primitives::{Bytes, U256, keccak256},
    sol,
    sol_types::{Eip712Domain, SolCall, SolValue as _},
};
use appliance_model::{Address, Icnt};
use chain_contracts::{nodes, vault};
use chain_signer::{Allowance, Typed};
use serde::{Deserialize, Serialize};

use crate::{Block, Error, Funds, OperatorKey, Registry, registry::chain_address};

/// How long a permit can be used, seconds: longer than a transaction may be stuck.  It lets only the vault take the
/// tokens, and the vault only for their owner.
const PERMIT_SECONDS: u64 = 7 * 86_400;

/// Where the tokens of a payment come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The owner's deposit in the vault.
    Deposit,
    /// What the owner has approved the vault to take.
    Approval,
    /// A signed permit of the token itself (EIP-2612).
    Permit,
    /// A signed permit of Permit2, which the token's owner has approved.
    Permit2,
}

/// A payment as a call carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// Where from.
    pub source: Source,
    /// Permit2's nonce, big-endian; zero elsewhere.
    #[serde(with = "alloy::hex::serde")]
    pub nonce: [u8; 32],
    /// Until when a signature counts, seconds since 1970.
    pub deadline_unix: u64,
    /// r, s and v; empty without a permit.
    #[serde(with = "alloy::hex::serde")]
    pub signature: Vec<u8>,
}

impl Payment {
    /// Out of the owner's deposit.
    #[must_use]
    pub fn deposit() -> Self {
        Self::plain(Source::Deposit)
    }

    /// Out of what the owner has approved the vault to take.
    #[must_use]
    pub fn approval() -> Self {
        Self::plain(Source::Approval)
    }

    fn plain(source: Source) -> Self {
        Self { source, nonce: [0; 32], deadline_unix: 0, signature: Vec::new() }
    }

    pub(crate) fn for_nodes(&self) -> nodes::Accounts::Payment {
        let (source, nonce, deadline, signature) = self.fields();
        nodes::Accounts::Payment { source, nonce, deadline, signature }
    }

    pub(crate) fn for_vault(&self) -> vault::Accounts::Payment {
        let (source, nonce, deadline, signature) = self.fields();
        vault::Accounts::Payment { source, nonce, deadline, signature }
    }

    fn fields(&self) -> (u8, U256, U256, Bytes) {
        let source = match self.source {
            Source::Deposit => 0,
            Source::Approval => 1,
            Source::Permit => 2,
            Source::Permit2 => 3,
        };
        let nonce = U256::from_be_bytes(self.nonce);
        (source, nonce, U256::from(self.deadline_unix), self.signature.clone().into())
    }
}

sol! {
    /// What tokens and Permit2 say of the domain that they check signatures in.
    interface Domains {
        function eip712Domain() external view returns (
            bytes1 fields, string name, string version, uint256 chainId, address verifyingContract, bytes32 salt,
            uint256[] extensions
        );
        function DOMAIN_SEPARATOR() external view returns (bytes32);
        function name() external view returns (string);
        function version() external view returns (string);
        function nonces(address owner) external view returns (uint256);
    }
}

impl Registry {
    /// Where `amount` is best taken from: the deposit where it has to be or suffices, else a permit of the token, else
    /// Permit2 where that is approved, else an approval (which may have to be made first).
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn source(&self, funds: &Funds, amount: Icnt) -> Result<Source, Error> {
        if funds.owner != funds.operator || funds.deposit >= amount {
            return Ok(Source::Deposit);
        }
        if funds.allowance >= amount {
            return Ok(Source::Approval);
        }
        if self.token_domain(funds.at, funds.owner).await?.is_some() {
            return Ok(Source::Permit);
        }
        if funds.permit2_allowance >= amount && self.permit2_domain(funds.at).await?.is_some() {
            return Ok(Source::Permit2);
        }
        Ok(Source::Approval)
    }

    /// A payment of `amount` from this source; permits are signed by `key`, the owner's.
    ///
    /// # Errors
    /// [`Error::Answer`] where there is no domain to sign for; [`Error::Signing`]; [`Error::Down`] and the like.
    pub async fn pay(
        &self,
        key: &OperatorKey,
        source: Source,
        amount: Icnt,
        at: Block,
    ) -> Result<Payment, Error> {
        match source {
            Source::Deposit => Ok(Payment::deposit()),
            Source::Approval => Ok(Payment::approval()),
            Source::Permit => self.permit(key, amount, at).await,
            Source::Permit2 => self.permit2_transfer(key, amount, at).await,
        }
    }

    async fn permit(&self, key: &OperatorKey, amount: Icnt, at: Block) -> Result<Payment, Error> {
        let during = "signing a permit of the token";
        let Some((domain, nonce)) = self.token_domain(at, key.address()).await? else {
            return Err(self.chain().nonsense(during, format!("token {} takes no permits", self.token())));
        };
        let deadline_unix = at.timestamp_unix.saturating_add(PERMIT_SECONDS);
        let allowance = self.asked_for(key, amount, nonce, deadline_unix);
        let signature = sign(key, &Typed::permit(domain, &allowance)).await?;
        Ok(Payment { source: Source::Permit, nonce: [0; 32], deadline_unix, signature })
    }

    async fn permit2_transfer(&self, key: &OperatorKey, amount: Icnt, at: Block) -> Result<Payment, Error> {
        let during = "signing a permit of Permit2";
        let Some(domain) = self.permit2_domain(at).await? else {
            return Err(self.chain().nonsense(during, format!("{} is no Permit2", self.permit2())));
        };
        let deadline_unix = at.timestamp_unix.saturating_add(PERMIT_SECONDS);
        // Permit2's nonces have no order: one that follows from what is paid at which block is free unless the very
        // same payment was made already.
        let nonce = keccak256((chain_address(key.address()), at.number, U256::from(amount.0)).abi_encode());
        let allowance = self.asked_for(key, amount, nonce.into(), deadline_unix);
        let signature = sign(key, &Typed::permit2(domain, &allowance)).await?;
        Ok(Payment { source: Source::Permit2, nonce: nonce.0, deadline_unix, signature })
    }

    fn asked_for(&self, key: &OperatorKey, amount: Icnt, nonce: U256, deadline_unix: u64) -> Allowance {
        let (token, owner, spender) = (self.token(), key.address(), self.vault());
        Allowance { token, owner, spender, amount, nonce, deadline_unix }
    }

    /// The token's domain and `owner`'s next nonce, if it takes permits.
    async fn token_domain(&self, at: Block, owner: Address) -> Result<Option<(Eip712Domain, U256)>, Error> {
        let token = self.token();
        let Some(domain) = self.domain(token, at).await? else { return Ok(None) };
        let call = Domains::noncesCall { owner: chain_address(owner) };
        Ok(self.try_view(token, &call, at).await?.map(|nonce| (domain, nonce)))
    }

    /// Permit2's own domain has no version; its stand-in on development chains says its whole domain.
    async fn permit2_domain(&self, at: Block) -> Result<Option<Eip712Domain>, Error> {
        let permit2 = self.permit2();
        let domain = match self.try_view(permit2, &Domains::eip712DomainCall {}, at).await? {
            Some(said) => self.domain_of(permit2, said.name, Some(said.version)),
            None => self.domain_of(permit2, "Permit2".into(), None),
        };
        match self.try_view(permit2, &Domains::DOMAIN_SEPARATORCall {}, at).await? {
            Some(said) => Ok((said == domain.separator()).then_some(domain)),
            None => Ok(self.chain().has_code(permit2).await?.then_some(domain)),
        }
    }

    /// A token's domain, where its name and version make the separator that it says.
    async fn domain(&self, token: Address, at: Block) -> Result<Option<Eip712Domain>, Error> {
        let Some(said) = self.try_view(token, &Domains::DOMAIN_SEPARATORCall {}, at).await? else {
            return Ok(None);
        };
        let (name, version) = match self.try_view(token, &Domains::eip712DomainCall {}, at).await? {
            Some(domain) => (domain.name, domain.version),
            None => {
                let Some(name) = self.try_view(token, &Domains::nameCall {}, at).await? else {
                    return Ok(None);
                };
                let version = self.try_view(token, &Domains::versionCall {}, at).await?;
                (name, version.unwrap_or_else(|| "1".into()))
            }
        };
        let domain = self.domain_of(token, name, Some(version));
        Ok((said == domain.separator()).then_some(domain))
    }

    fn domain_of(&self, contract: Address, name: String, version: Option<String>) -> Eip712Domain {
        Eip712Domain {
            name: Some(name.into()),
            version: version.map(Into::into),
            chain_id: Some(U256::from(self.chain().id())),
            verifying_contract: Some(chain_address(contract)),
            salt: None,
        }
    }

    /// What a view returned, or `None` if the contract has no such view.
    async fn try_view<C: SolCall>(
        &self,
        to: Address,
        call: &C,
        at: Block,
    ) -> Result<Option<C::Return>, Error> {
        match self.chain().view("asking which payments are taken", to, call, at.number).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_down() => Err(error),
            Err(_) => Ok(None),
        }
    }
}

/// r, s and v of an EIP-712 signature.
async fn sign(key: &OperatorKey, typed: &Typed) -> Result<Vec<u8>, Error> {
    let signed = key.sign_typed(typed).await;
    signed.map(Vec::from).map_err(|source| Error::Signing { purpose: "a permit", source: Box::new(source) })
}

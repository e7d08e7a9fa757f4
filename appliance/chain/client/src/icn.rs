//! The adapter for ICN's own registry, as far as that is publicly known.
//!
//! Known are the ten registration fields, the rule of the collateral, the errors, and how nodes are read; not known are
//! the registration's selector and who verifies a node, so the one is configured ([`RegisterSignature`]) and the other
//! is only watched: a node is registered, then ICN's verifier gives it a daemon's address or rejects it, and only then
//! can others delegate to it.  No address has a default: a wrong one costs money.
//!
//! It was tried against a mock at the wire (`IcnRegistryMock.sol`), never against ICN.  What does not look as it is known
//! to look is refused: another layout of nodes, or storage that holds no terms.

mod abi;
mod country;
mod layout;
mod network;
mod node;
mod refusal;
mod selector;

use std::sync::{Arc, Mutex};

use alloy::{primitives::U256, rpc::types::TransactionRequest, sol_types::SolCall as _};
use appliance_collateral::Terms;
use appliance_model::{Address, Icnt};

use self::{
    abi::{Icn, Params, Token},
    layout::{Found, Layout},
    network::{Ours, name_of},
    node::amount,
};
use crate::{Block, Call, Chain, Error, Intent, Purpose, Refusal, terms::choose};

pub use country::{country, location};
pub(crate) use network::unknown;
pub use node::{
    Booking as IcnBooking, Node as IcnNode, Registration as IcnRegistration, Standing as IcnStanding,
};
pub(crate) use refusal::of_icn;
pub use selector::{NotASignature, RegisterSignature};

/// Nodes that are looked through at most for one of ours; ICN had a few hundred when this was written.
const NODES_MAX: u64 = 10_000;
/// The token's decimals that everything here is counted in.
const DECIMALS: u8 = 18;
/// One thousandth of ICN's fixed point.
const PERMILLE: u64 = 1_000_000_000_000_000;

/// Where ICN is, and how it is spoken to.  Nothing of it has a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcnSettings {
    /// ICN's proxy.
    pub registry: Address,
    /// ICNT on this chain.
    pub token: Address,
    /// ICN's number of the hardware provider: nodes of others are not ours, whatever their names.
    pub hp_id: u64,
    /// The registration's call.
    pub register: RegisterSignature,
}

/// What an account has, read at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcnHoldings {
    /// Tokens it holds.
    pub balance: Icnt,
    /// Tokens that the registry may take; the most that fits stands for any more.
    pub allowance: Icnt,
    /// For gas, wei.
    pub gas_wei: u128,
}

/// ICN's registry on one chain.
#[derive(Debug, Clone)]
pub struct IcnRegistry {
    chain: Chain,
    settings: IcnSettings,
    version: u64,
    ours: Arc<Mutex<Ours>>,
}

impl IcnRegistry {
    /// The registry that `settings` names, once it looks like ICN's.
    ///
    /// # Errors
    /// [`Error::NotTheContract`] where there is no code, the token does not count in 10⁻¹⁸, or the registry's storage is
    /// not ICN's; [`Error::Down`] and the like.
    pub async fn open(chain: &Chain, settings: IcnSettings) -> Result<Self, Error> {
        let missing = |address, expected, found: String| Error::NotTheContract {
            address,
            expected,
            chain_id: chain.id(),
            found,
        };
        for (address, expected) in
            [(settings.registry, "registry of ICN"), (settings.token, "token that is ICNT")]
        {
            if !chain.has_code(address).await? {
                return Err(missing(address, expected, "there is no contract".into()));
            }
        }
        let at = chain.head().await?.number;
        let during = "asking the token for its decimals";
        match chain.view(during, settings.token, &Token::decimalsCall {}, at).await {
            Ok(DECIMALS) => {}
            Ok(other) => {
                let found = format!("it counts with {other} decimals, ICNT has {DECIMALS}");
                return Err(missing(settings.token, "token that is ICNT", found));
            }
            Err(error) if error.is_down() => return Err(error),
            Err(error) => return Err(missing(settings.token, "token that is ICNT", error.to_string())),
        }
        let version = Layout { chain, registry: settings.registry, at }.version().await?;
        Ok(Self { chain: chain.clone(), settings, version, ours: Arc::default() })
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The registry's address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.settings.registry
    }

    /// The collateral token's address.
    #[must_use]
    pub fn token(&self) -> Address {
        self.settings.token
    }

    /// The registry's version, as it keeps it.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The terms of a class in the state after `at`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the regions or classes that there are; [`Error::Down`] and the like.
    pub async fn terms_at(&self, at: Block, region: &str, class: &str) -> Result<Terms, Error> {
        let refusal = match self.layout(at.number).terms(region, class).await? {
            Found::Terms(terms) => return Ok(terms),
            Found::NoRegion { known } => {
                let sentence = format!("ICN knows no region `{region}`: {}", choose(&known));
                Refusal::new("InvalidRegion", sentence)
            }
            Found::NoClass { known } => {
                let sentence = format!("ICN's region `{region}` has no class `{class}`: {}", choose(&known));
                Refusal::new("InvalidHwClass", sentence)
            }
        };
        Err(Error::Refused { during: "reading ICN's terms", refusal })
    }

    /// Whether `account` is the hardware provider `hp_id`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the number that it is, or the account that the number has; [`Error::Down`] and the like.
    pub async fn demand_provider(&self, at: Block, hp_id: u64, account: Address) -> Result<(), Error> {
        let layout = self.layout(at.number);
        let owner = layout.provider(hp_id).await?;
        if owner == Some(account) {
            return Ok(());
        }
        let sentence = match (layout.provider_of(account).await?, owner) {
            (0, Some(owner)) => {
                format!("hardware provider {hp_id} is 0x{owner}, not 0x{account}: sign with that account")
            }
            (0, None) => format!(
                "0x{account} is no hardware provider of ICN, and there is none of number {hp_id}: ask ICN to be taken"
            ),
            (own, _) => {
                format!("0x{account} is hardware provider {own}, not {hp_id}: set registration.hp_id = {own}")
            }
        };
        let refusal = Refusal::new("InvalidHP", sentence);
        Err(Error::Refused { during: "checking the hardware provider", refusal })
    }

    /// What `account` has in the state after `at`.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn holdings_at(&self, at: Block, account: Address) -> Result<IcnHoldings, Error> {
        let owner = account.0.into();
        let token = self.settings.token;
        let call = Token::balanceOfCall { account: owner };
        let balance = self.chain.view("reading the token balance", token, &call, at.number).await?;
        let call = Token::allowanceCall { owner, spender: self.settings.registry.0.into() };
        let allowance = self.chain.view("reading the token allowance", token, &call, at.number).await?;
        let gas_wei = self.chain.gas_balance(account, at.number).await?;
        Ok(IcnHoldings { balance: amount(balance), allowance: amount(allowance), gas_wei })
    }

    /// The call that lets the registry take exactly `amount`.
    #[must_use]
    pub fn approve_call(&self, amount: Icnt) -> Call {
        let call =
            Token::approveCall { spender: self.settings.registry.0.into(), amount: U256::from(amount.0) };
        Call::new(self.settings.token, call.abi_encode(), Purpose::Approve)
    }

    /// The call that registers a node.  Of `intent` ICN is told ten fields: it knows no quote, no units and no longest
    /// booking.  The node's name there is made from its id, so that it can be found again.
    ///
    /// # Errors
    /// [`Error::Refused`] where no chain needs to be asked to see that it cannot be.
    pub fn register_call(&self, intent: &Intent) -> Result<Call, Error> {
        intent.check().map_err(|refusal| Error::Refused { during: "checking the registration", refusal })?;
        if intent.passport.is_some() {
            return Err(unknown("way to stake a passport with a registration"));
        }
        let params = Params {
            regionId: intent.region.clone(),
            name: name_of(intent.node),
            hpId: U256::from(intent.hp_id),
            capacity: U256::from(intent.capacity),
            location: intent.location,
            reservationPrice: U256::from(intent.reservation_price.0),
            hwClass: intent.class.clone(),
            nodeRewardShare: U256::from(intent.reward_share.0) * U256::from(PERMILLE),
            collateralAmount: U256::from(intent.collateral.0),
            commitmentDuration: U256::from(intent.commitment.0),
        };
        let input = self.settings.register.encode(&params);
        Ok(Call::new(self.settings.registry, input, Purpose::Register))
    }

    /// The node of this number in the state after `at`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Answer`] where the registry answers in a layout that is not known; [`Error::Down`] and the like.
    pub async fn node_at(&self, at: Block, id: u64) -> Result<Option<IcnNode>, Error> {
        let during = "reading a node";
        let scaler_node = U256::from(id);
        let input = Icn::getScalerNodeCall { scalerNodeId: scaler_node }.abi_encode();
        let request = TransactionRequest::default().to(self.settings.registry.0.into()).input(input.into());
        let answer = match self.chain.call(during, request, at.number).await {
            Err(Error::Refused { refusal, .. }) if refusal.error == "InvalidScalerNode" => return Ok(None),
            other => other?,
        };
        let nonsense = |what| self.chain.nonsense(during, what);
        let mut node = IcnNode::read(id, &answer).map_err(nonsense)?;
        if node.registration == IcnRegistration::None {
            return Ok(None);
        }
        let registry = self.settings.registry;
        let call = Icn::getProtocolScalerNodeStatusCall { scalerNodeId: scaler_node };
        node.standing = IcnStanding::of(self.chain.view(during, registry, &call, at.number).await?);
        let call = Icn::getNodeTotalDelegatedICNTCall { nodeId: scaler_node };
        node.delegated = amount(self.chain.view(during, registry, &call, at.number).await?);
        Ok(Some(node))
    }

    /// The newest node of this provider and name among the newest 10 000: ICN keeps no identity of a machine, so the
    /// name, which we choose, is the only thing to know a node by.
    ///
    /// # Errors
    /// [`Error::Answer`] where the registry answers in a layout that is not known; [`Error::Down`] and the like.
    pub async fn find_at(&self, at: Block, hp_id: u64, name: &str) -> Result<Option<IcnNode>, Error> {
        let last = self.layout(at.number).last_node().await?;
        for id in (0..=last).rev().take(usize::try_from(NODES_MAX).unwrap_or(usize::MAX)) {
            match self.node_at(at, id).await? {
                Some(node) if node.hp_id == hp_id && node.name == name => return Ok(Some(node)),
                Some(_) | None => {}
            }
        }
        Ok(None)
    }

    fn layout(&self, at: u64) -> Layout<'_> {
        Layout { chain: &self.chain, registry: self.settings.registry, at }
    }
}

//! Passports: tokens of their owner (ERC-721) that count as collateral of one node and fade from the day they are first
//! staked.
//!
//! The vault takes one at a registration from the owner itself only: an operator's registration with a passport is undone,
//! and a batch has no place for any.  Where owner and operator are two, the owner stakes it afterwards
//! ([`Registry::stake_passport_call`]).  Which passports an owner has is read from their collection's log; a collection
//! answers for one at a time.

use std::collections::BTreeSet;

use alloy::{
    primitives::{B256, U256},
    rpc::types::Filter,
    sol_types::SolEvent as _,
};
use appliance_collateral::{Passport, Saving};
use appliance_model::{Address, Icnt, NodeId, PassportId, Seconds};
use chain_contracts::{
    PassportMock, passports::PassportMock as abi, terms::ScalerTerms, vault::CollateralVault,
};
use serde::{Deserialize, Serialize};

use crate::{
    Block, Call, Demand, Error, Intent, Purpose, Registry,
    preflight::refused,
    registry::{amount, chain_address, small},
};

/// Passports of one owner that are looked at.
const PASSPORTS_MAX: usize = 100;
/// The log is asked for in ranges of so many blocks, newest first, and so often: half a year of Base.
const LOG_BLOCKS: u64 = 500_000;
/// What a chain's node may still refuse, and gives up on.
const LOG_BLOCKS_LEAST: u64 = 500;
const QUESTIONS_MAX: usize = 32;

/// So long a registration may wait for its block: a passport that fades already counts for what it is worth then.
const WAIT: u64 = 86_400;

/// A passport that its owner holds, at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnedPassport {
    /// Its number.
    pub id: PassportId,
    /// Whether it was staked before: then it fades since.
    pub used: bool,
    /// Whether the vault may take it already.
    pub approved: bool,
    /// Its worth; of one that was never staked, as if it were staked in this block.
    pub passport: Passport,
}

/// The passports of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passports {
    /// Those that were found, by their numbers.
    pub found: Vec<OwnedPassport>,
    /// Whether these are all that the owner holds.
    pub complete: bool,
}

impl OwnedPassport {
    /// The least that it counts for in a registration that is signed now.
    fn counts(&self, at: Block) -> Icnt {
        let wait = if self.used { WAIT } else { 0 };
        self.passport.worth(Seconds(at.timestamp_unix.saturating_add(wait)))
    }

    /// What it spares a node with this demand over its commitment, registered in block `at` or soon after.
    #[must_use]
    pub fn saving(&self, demand: &Demand, at: Block, commitment: Seconds) -> Saving {
        let from = Seconds(at.timestamp_unix);
        // Its commitment may begin a day later, and so end.
        let until = from.0.saturating_add(commitment.0).saturating_add(if self.used { WAIT } else { 0 });
        self.passport.saving(demand.node, from, Seconds(until))
    }
}

impl Registry {
    /// The address of the passports' collection.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn passports_contract(&self, at: Block) -> Result<Address, Error> {
        let during = "asking the vault for its passports";
        let call = CollateralVault::passportsCall {};
        Ok(Address(self.chain().view(during, self.vault(), &call, at.number).await?.into_array()))
    }

    /// The passports that `owner` holds in the state after `at`.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn passports(&self, at: Block, owner: Address) -> Result<Passports, Error> {
        let during = "looking for the owner's passports";
        let collection = self.passports_contract(at).await?;
        let call = PassportMock::balanceOfCall { owner: chain_address(owner) };
        let held = small(self.chain().view(during, collection, &call, at.number).await?);
        let mut found = Vec::new();
        if held > 0 {
            for id in self.received(at, collection, owner, held).await? {
                match self.passport(at, owner, id).await {
                    Ok(passport) => found.push(passport),
                    // It came and went.
                    Err(Error::Refused { .. }) => {}
                    Err(other) => return Err(other),
                }
            }
        }
        let complete = u64::try_from(found.len()).unwrap_or(u64::MAX) >= held;
        Ok(Passports { found, complete })
    }

    /// The numbers of passports that `owner` has ever received, newest first, until it has as many as it holds.
    async fn received(
        &self,
        at: Block,
        collection: Address,
        owner: Address,
        held: u64,
    ) -> Result<BTreeSet<PassportId>, Error> {
        let during = "looking for the owner's passports";
        let (mut ids, mut end, mut span) = (BTreeSet::new(), at.number, LOG_BLOCKS);
        for _ in 0..QUESTIONS_MAX {
            let first = end.saturating_sub(span - 1);
            let filter = Filter::new()
                .address(chain_address(collection))
                .event_signature(abi::Transfer::SIGNATURE_HASH)
                .topic2(chain_address(owner).into_word())
                .from_block(first)
                .to_block(end);
            let logs = match self.chain().logs(during, &filter).await {
                Ok(logs) => logs,
                Err(Error::Rejected { .. }) if span > LOG_BLOCKS_LEAST => {
                    span /= 4;
                    continue;
                }
                Err(other) => return Err(other),
            };
            for log in logs.iter().rev().filter(|log| !log.removed) {
                if let Ok(event) = abi::Transfer::decode_log_data(log.data())
                    && ids.len() < PASSPORTS_MAX
                {
                    ids.insert(PassportId(event.tokenId.to_be_bytes()));
                }
            }
            if first == 0 || ids.len() >= PASSPORTS_MAX {
                break;
            }
            // One that came twice was away in between; who holds as many as were found has nothing older.
            let mut present = 0;
            for id in &ids {
                present += u64::from(self.holder(at, collection, *id).await? == Some(owner));
            }
            if present >= held {
                break;
            }
            end = first - 1;
        }
        Ok(ids)
    }

    async fn holder(&self, at: Block, collection: Address, id: PassportId) -> Result<Option<Address>, Error> {
        let during = "looking for a passport's owner";
        match self
            .chain()
            .view(during, collection, &PassportMock::ownerOfCall { tokenId: number(id) }, at.number)
            .await
        {
            Ok(holder) => Ok(Some(Address(holder.into_array()))),
            Err(Error::Refused { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Passport `id` as `owner` can stake it in the state after `at`.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is none of this number, or it is not the owner's to stake; [`Error::Down`] and the
    /// like.
    pub async fn passport(&self, at: Block, owner: Address, id: PassportId) -> Result<OwnedPassport, Error> {
        let collection = self.passports_contract(at).await?;
        let (chain, vault) = (self.chain(), self.vault());
        match self.holder(at, collection, id).await? {
            Some(holder) if holder == owner => {}
            Some(holder) if holder == vault => {
                let sentence = format!(
                    "passport {id} is staked on a node already: it counts for one, and comes back to who owns that when it \
                     retires; name another"
                );
                return Err(refused("PassportInUse", sentence));
            }
            Some(holder) => {
                let sentence = format!(
                    "passport {id} belongs to 0x{holder}, and the node's owner is 0x{owner}: send it to 0x{owner}, or name \
                     another"
                );
                return Err(refused("ERC721IncorrectOwner", sentence));
            }
            None => {
                let sentence = format!("there is no passport {id} at 0x{collection}; name another");
                return Err(refused("ERC721NonexistentToken", sentence));
            }
        }
        let during = "reading a passport";
        let call = CollateralVault::passportRecordCall { tokenId: number(id) };
        let record = chain.view(during, vault, &call, at.number).await?;
        let used = !record.since.is_zero();
        let passport = if used {
            Passport {
                value: amount(U256::from(record.value)),
                decay: Seconds(record.decay.into()),
                since: Seconds(small(U256::from(record.since))),
                aged: Seconds(record.aged.into()),
            }
        } else {
            let terms = self.terms_contract();
            let value = chain.view(during, terms, &ScalerTerms::passportValueCall {}, at.number).await?;
            let decay = chain.view(during, terms, &ScalerTerms::passportDecayCall {}, at.number).await?;
            Passport {
                value: amount(U256::from(value)),
                decay: Seconds(decay.into()),
                since: Seconds(at.timestamp_unix),
                aged: Seconds(0),
            }
        };
        let call = PassportMock::getApprovedCall { tokenId: number(id) };
        let one = chain.view(during, collection, &call, at.number).await?;
        let (owner, operator) = (chain_address(owner), chain_address(vault));
        let call = PassportMock::isApprovedForAllCall { owner, operator };
        let approved = one == operator || chain.view(during, collection, &call, at.number).await?;
        Ok(OwnedPassport { id, used, approved, passport })
    }

    /// The passport that an intent names, if the vault would take it from `operator` and it makes up what the intent's
    /// tokens lack.
    pub(crate) async fn staked_with(
        &self,
        intent: &Intent,
        operator: Address,
        demand: &Demand,
        at: Block,
    ) -> Result<Option<OwnedPassport>, Error> {
        let Some(id) = intent.passport else { return Ok(None) };
        if intent.owner != operator {
            let sentence = format!(
                "0x{operator} registers for 0x{}, and only an owner itself brings a passport to a registration: put up the \
                 whole node part, {}, and let the owner stake passport {id} on the node afterwards",
                intent.owner, demand.node
            );
            return Err(refused("NotTheOwner", sentence));
        }
        let found = self.passport(at, intent.owner, id).await?;
        let counts = found.counts(at);
        let sum = Icnt(intent.collateral.0.saturating_add(counts.0));
        if let Some(missing) = demand.node.0.checked_sub(sum.0).filter(|missing| *missing > 0) {
            let faded = if counts == Icnt(0) { "has faded and counts for nothing" } else { "counts for" };
            let counted = if counts == Icnt(0) { String::new() } else { format!(" {counts}") };
            let sentence = format!(
                "passport {id} {faded}{counted}: with it the collateral of {} is {} below the required {}; stake {} or more",
                intent.collateral,
                Icnt(missing),
                demand.node,
                Icnt(intent.collateral.0.saturating_add(missing))
            );
            return Err(refused("NotEnoughCollateral", sentence));
        }
        Ok(Some(found))
    }

    /// Lets the vault take one passport of the sender, and no other.
    #[must_use]
    pub fn approve_passport_call(&self, collection: Address, id: PassportId) -> Call {
        let call = PassportMock::approveCall { to: chain_address(self.vault()), tokenId: number(id) };
        Call::new(collection, alloy::sol_types::SolCall::abi_encode(&call), Purpose::Approve)
    }

    /// Stakes a passport of the sender, who owns the node, on a node that is registered.
    #[must_use]
    pub fn stake_passport_call(&self, node: NodeId, id: PassportId) -> Call {
        let call = CollateralVault::stakePassportCall { nodeId: B256::new(node.0), passport: number(id) };
        Call::new(self.vault(), alloy::sol_types::SolCall::abi_encode(&call), Purpose::TopUp)
    }
}

/// As the collection counts.
pub(crate) fn number(id: PassportId) -> U256 {
    U256::from_be_bytes(id.0)
}

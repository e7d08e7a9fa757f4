//! Where ICN's registry keeps its terms: read as storage, because nobody has published the functions that tell them.
//!
//! The places follow from ERC-7201 and the order of the registry's fields.  They are checked before they are believed: a
//! registry of another version that moved a field is refused, never read as numbers.

use alloy::{
    eips::BlockId,
    primitives::{B256, U256, b256, keccak256},
    providers::Provider as _,
};
use appliance_collateral::Terms;
use appliance_model::{Address, Seconds};

use crate::{Chain, Error};

/// ERC-7201 place of `icnregistry.storage`.
const ROOT: B256 = b256!("0xe32462c3d0235542581986c483958675ee491e3e4515282b8d0df00d74e47200");
/// Fields by their place behind [`ROOT`].
const VERSION: u64 = 0;
const LAST_NODE: u64 = 1;
const COLLATERAL_PERCENT: u64 = 5;
const MARKET_FACTOR: u64 = 6;
const REGIONS: u64 = 7;
const PROVIDERS: u64 = 9;
const REGION_IDS: u64 = 14;
const PROVIDER_OF: u64 = 19;

/// Regions and classes that are listed at most; more are not shown.
const LISTED_MAX: u64 = 32;
/// ICN's least market factor (10⁻² in its fixed point), its full percentage, and a year that no class is made before.
const FACTOR_MIN: u64 = 10_000_000_000_000_000;
const PERCENT_ALL: u128 = 100_000_000_000_000_000_000;
const YEAR_2023_UNIX: u64 = 1_672_531_200;
/// ICN's least commitment: 36 months of 30 days.
pub(super) const COMMITMENT_MIN: Seconds = Seconds(36 * 30 * 86_400);

/// What is read from the registry's storage, all in the state after one block.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) chain: &'a Chain,
    pub(super) registry: Address,
    /// Block number.
    pub(super) at: u64,
}

/// What came of a search for a region and a class.
#[derive(Debug)]
pub(super) enum Found {
    Terms(Terms),
    NoRegion { known: Vec<String> },
    NoClass { known: Vec<String> },
}

impl Layout<'_> {
    /// The registry's version; refuses what does not look like ICN's storage.
    pub(super) async fn version(&self) -> Result<u64, Error> {
        let version = self.number(place(VERSION)).await?;
        let percent = self.read(place(COLLATERAL_PERCENT)).await?;
        let factor = self.read(place(MARKET_FACTOR)).await?;
        let plausible = (1..1_000_000).contains(&version)
            && factor >= U256::from(FACTOR_MIN)
            && factor.bit_len() <= 96
            && !percent.is_zero()
            && percent <= U256::from(PERCENT_ALL);
        if plausible {
            return Ok(version);
        }
        Err(Error::NotTheContract {
            address: self.registry,
            expected: "registry of ICN",
            chain_id: self.chain.id(),
            found: format!(
                "version {version}, collateral percentage {percent} and market factor {factor} are not where ICN \
                 keeps them"
            ),
        })
    }

    /// How many nodes were ever registered: the highest number of one.
    pub(super) async fn last_node(&self) -> Result<u64, Error> {
        self.number(place(LAST_NODE)).await
    }

    pub(super) async fn terms(&self, region: &str, class: &str) -> Result<Found, Error> {
        let region_at = mapped(region.as_bytes(), place(REGIONS));
        // A bool: ICN stores one in the lowest byte, alone in its word.
        if self.read(region_at).await? != U256::ONE {
            return Ok(Found::NoRegion { known: self.texts(place(REGION_IDS)).await? });
        }
        let class_at = mapped(class.as_bytes(), region_at + U256::from(3));
        let made = self.number(class_at).await?;
        if made == 0 {
            return Ok(Found::NoClass { known: self.texts(region_at + U256::from(2)).await? });
        }
        let collateral_req = self.read(class_at + U256::ONE).await?;
        if made < YEAR_2023_UNIX || collateral_req.is_zero() || collateral_req.bit_len() > 128 {
            let what = format!(
                "class `{class}` of region `{region}` was made at {made} and asks for {collateral_req} a unit, which \
                 cannot be: ICN's storage has changed"
            );
            return Err(self.chain.nonsense("reading ICN's terms", what));
        }
        Ok(Found::Terms(Terms {
            collateral_req,
            market_adjustment_factor: self.read(place(MARKET_FACTOR)).await?,
            min_collateral_percent: self.read(place(COLLATERAL_PERCENT)).await?,
            min_commitment: COMMITMENT_MIN,
        }))
    }

    /// The account of a hardware provider; `None` if there is no such provider, or it is switched off.
    pub(super) async fn provider(&self, hp_id: u64) -> Result<Option<Address>, Error> {
        let word = self.read(mapped(&U256::from(hp_id).to_be_bytes::<32>(), place(PROVIDERS))).await?;
        let bytes = word.to_be_bytes::<32>();
        // Packed from the right: a bool, then the account.
        let (account, on) = (<[u8; 20]>::try_from(&bytes[11..31]), bytes[31]);
        Ok(account.ok().filter(|account| on == 1 && *account != [0; 20]).map(Address))
    }

    /// The number of the hardware provider with this account; 0 if it is none.
    pub(super) async fn provider_of(&self, account: Address) -> Result<u64, Error> {
        let mut key = [0; 32];
        key[12..].copy_from_slice(&account.0);
        self.number(mapped(&key, place(PROVIDER_OF))).await
    }

    /// A list of short texts; those of more than 31 bytes are left out.
    async fn texts(&self, at: U256) -> Result<Vec<String>, Error> {
        let count = self.number(at).await?.min(LISTED_MAX);
        let first = U256::from_be_bytes(keccak256(at.to_be_bytes::<32>()).0);
        let mut texts = Vec::new();
        for index in 0..count {
            let word = self.read(first.wrapping_add(U256::from(index))).await?.to_be_bytes::<32>();
            // The last byte of a text under 32 bytes is twice its length.
            let length = usize::from(word[31] / 2);
            let text = word.get(..length).filter(|_| word[31] % 2 == 0 && length < 32);
            if let Some(text) = text.and_then(|text| std::str::from_utf8(text).ok()) {
                texts.push(text.chars().filter(|c| !c.is_control()).collect());
            }
        }
        Ok(texts)
    }

    async fn number(&self, at: U256) -> Result<u64, Error> {
        Ok(super::node::small(self.read(at).await?))
    }

    async fn read(&self, at: U256) -> Result<U256, Error> {
        self.chain.storage("reading ICN's terms", self.registry, at, self.at).await
    }
}

impl Chain {
    /// A word of a contract's storage in the state after block `at`.
    async fn storage(&self, during: &'static str, of: Address, key: U256, at: u64) -> Result<U256, Error> {
        let asked = self.provider().get_storage_at(of.0.into(), key).block_id(BlockId::number(at));
        self.ask(during, asked.into_future()).await
    }
}

/// The place of a field of the registry.
fn place(field: u64) -> U256 {
    U256::from_be_bytes(ROOT.0).wrapping_add(U256::from(field))
}

/// The place of a mapping's value.
fn mapped(key: &[u8], mapping: U256) -> U256 {
    let hashed = keccak256([key, mapping.to_be_bytes::<32>().as_slice()].concat());
    U256::from_be_bytes(hashed.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_one_that_erc_7201_says() {
        let inner = U256::from_be_bytes(keccak256("icnregistry.storage").0) - U256::ONE;
        let mut root = keccak256(inner.to_be_bytes::<32>());
        root.0[31] = 0;
        assert_eq!(root, ROOT);
    }
}

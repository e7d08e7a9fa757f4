//! Networks as people write them.

use std::net::Ipv4Addr;

/// An address and the bits of its network: `10.77.0.1/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) address: Ipv4Addr,
    pub(crate) bits: u8,
}

/// Smaller networks have no room for a pool; larger ones no operator.
const BITS: std::ops::RangeInclusive<u8> = 8..=29;
/// A proposed pool is the upper half of its network, and at most so many addresses.
const POOL_MAX: u32 = 1 << 15;

impl Home {
    /// Reads `10.77.0.1/24`; the address must be a host's.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let home = Self { address: address.trim().parse().ok()?, bits: bits.trim().parse().ok()? };
        (BITS.contains(&home.bits) && home.has(home.address)).then_some(home)
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0)
    }

    /// The network's own address.
    pub(crate) fn base(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & self.mask())
    }

    fn broadcast(self) -> u32 {
        u32::from(self.base()) | !self.mask()
    }

    /// Whether a host of this network can have that address.
    pub(crate) fn has(self, other: Ipv4Addr) -> bool {
        let other_number = u32::from(other);
        other_number & self.mask() == u32::from(self.base())
            && other != self.base()
            && other_number != self.broadcast()
    }

    /// Whether the two networks share addresses.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let mask = self.mask() & other.mask();
        u32::from(self.address) & mask == u32::from(other.address) & mask
    }

    /// The network as `10.77.0.0/24`.
    pub(crate) fn subnet(self) -> String {
        format!("{}/{}", self.base(), self.bits)
    }

    /// The upper half of the network, without its last address.
    pub(crate) fn upper_half(self) -> Pool {
        let half = (!self.mask() / 2).saturating_add(1).min(POOL_MAX);
        let last = self.broadcast().saturating_sub(1);
        let first = last.saturating_sub(half.saturating_sub(2));
        Pool { first: Ipv4Addr::from(first), last: Ipv4Addr::from(last) }
    }
}

impl std::fmt::Display for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Addresses to hand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) first: Ipv4Addr,
    pub(crate) last: Ipv4Addr,
}

impl Pool {
    /// Reads `10.77.0.100-10.77.0.199`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let pool = Self { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? };
        (pool.first <= pool.last).then_some(pool)
    }
}

impl std::fmt::Display for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

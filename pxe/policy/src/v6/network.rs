//! Links with IPv6.

use std::{collections::BTreeSet, fmt, net::Ipv6Addr};

use pxe_wire::dhcp6::Request;

use super::leases::{Leases6, Pool6};

/// Addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet6 {
    base: Ipv6Addr,
    bits: u8,
}

impl Subnet6 {
    /// The subnet of `base`, whose bits behind the prefix must be zero.  `None` if they are not, or if the prefix is
    /// not between 32 and 112 bits long, or not of unicast addresses for more than one link.
    #[must_use]
    pub fn new(base: Ipv6Addr, bits: u8) -> Option<Self> {
        let subnet = Self { base, bits };
        let usable = !base.is_multicast() && !base.is_unicast_link_local() && !base.is_unspecified();
        ((32..=112).contains(&bits) && usable && subnet.contains(base)).then_some(subnet)
    }

    /// Its first address.
    #[must_use]
    pub fn base(self) -> Ipv6Addr {
        self.base
    }

    /// How many bits are shared.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(self, address: Ipv6Addr) -> bool {
        let behind = 128u32.saturating_sub(self.bits.into());
        let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
        u128::from(address) & mask == u128::from(self.base)
    }
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// A pool and where it is.
#[derive(Debug, Clone)]
pub struct Network6 {
    /// Its addresses.
    pub subnet: Subnet6,
    /// It is the link that we are on ourselves.
    pub ours: bool,
    /// Relays' link addresses that speak for it without lying in it.
    pub relays: BTreeSet<Ipv6Addr>,
    /// Addresses to hand out.
    pub pool: Pool6,
}

/// The network of the client's link: what the relay next to it says (RFC 8415, 13.1); without a relay our own.
pub(super) fn network_of(networks: &[(Network6, Leases6)], request: &Request) -> Option<usize> {
    if request.relays.is_empty() {
        return networks.iter().position(|(network, _)| network.ours);
    }
    let link = request.relays.iter().rev().map(|relay| relay.link).find(|link| !link.is_unspecified())?;
    networks.iter().position(|(network, _)| network.subnet.contains(link) || network.relays.contains(&link))
}

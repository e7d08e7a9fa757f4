//! Where requests come in and which addresses belong where.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr};

use crate::{client::BootRequest, leases::Pool};

/// Addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    base: Ipv4Addr,
    bits: u8,
}

impl Subnet {
    /// The subnet of `base`, whose bits behind the prefix must be zero.  `None` if they are not, or if the prefix is
    /// not between 8 and 30 bits long.
    #[must_use]
    pub fn new(base: Ipv4Addr, bits: u8) -> Option<Self> {
        let subnet = Self { base, bits };
        ((8..=30).contains(&bits) && subnet.contains(base)).then_some(subnet)
    }

    /// The mask.
    #[must_use]
    pub fn mask(self) -> Ipv4Addr {
        let host_bits = 32u32.saturating_sub(self.bits.into());
        Ipv4Addr::from(u32::MAX.checked_shl(host_bits).unwrap_or(0))
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & u32::from(self.mask()) == u32::from(self.base)
    }

    /// Whether `address` can be a host's: neither the network's nor the broadcast address.
    #[must_use]
    pub fn host(self, address: Ipv4Addr) -> bool {
        let last = u32::from(self.base) | !u32::from(self.mask());
        self.contains(address) && address != self.base && u32::from(address) != last
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// What an interface does at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// It answers nobody.
    Nothing,
    /// It says what to boot; addresses are another server's business.
    Boot,
    /// Addresses and boot files for machines that are announced or have a reservation; the others get nothing.
    Known,
    /// Addresses and boot files.
    All,
}

/// Where requests come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Our address there: the server identifier.
    pub address: Ipv4Addr,
    /// What it does.
    pub serving: Serving,
}

/// A pool and where it is.
#[derive(Debug, Clone)]
pub struct Network {
    /// Index of the interface through which it is reached.
    pub interface: usize,
    /// Its addresses.
    pub subnet: Subnet,
    /// Relays that speak for it beyond those inside the subnet.
    pub relays: BTreeSet<Ipv4Addr>,
    /// Addresses to hand out.
    pub pool: Pool,
}

/// Which of our doors a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Port 67.
    Dhcp,
    /// Port 4011, where PXE clients ask a boot server that sent a proxy offer (PXE 2.1, 2.2.4).
    BootServer,
}

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// Index of the interface.
    pub interface: usize,
    /// Which port.
    pub port: Port,
}

/// The network of the client's link: what the relay says of it (RFC 3527, RFC 3011, `giaddr`); without a relay the
/// interface's own, or, for a client that renews from afar, the one its address lies in.
pub(crate) fn network_of<'a>(
    mut networks: impl Iterator<Item = &'a Network>,
    own: Ipv4Addr,
    interface: usize,
    request: &BootRequest,
) -> Option<usize> {
    if let Some(relay) = request.relay {
        let told = request.relay_info.as_ref().and_then(|info| info.link).or(request.subnet);
        let link = told.unwrap_or(relay);
        return networks.position(|network| {
            network.subnet.contains(link) || (told.is_none() && network.relays.contains(&relay))
        });
    }
    let mut local = None;
    for (index, network) in networks.enumerate() {
        if request.current.is_some_and(|current| network.subnet.contains(current)) {
            return Some(index);
        }
        if local.is_none() && network.interface == interface && network.subnet.contains(own) {
            local = Some(index);
        }
    }
    local
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use appliance_model::{Mac, Seconds};
    use pxe_wire::dhcp4::{Kind, RelayInfo};

    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn network(base: &str, interface: usize, relays: &[&str]) -> Network {
        let pool = Pool {
            first: ip(base),
            last: ip(base),
            never: BTreeSet::new(),
            reservations: BTreeMap::new(),
            lease: Seconds(60),
        };
        let subnet = Subnet::new(ip(base), 24).unwrap();
        Network { interface, subnet, relays: relays.iter().map(|text| ip(text)).collect(), pool }
    }

    #[test]
    fn the_link_decides() {
        let networks = [
            network("10.0.0.0", 0, &[]),
            network("10.1.0.0", 1, &[]),
            network("10.9.0.0", 0, &["192.168.0.1"]),
        ];
        struct Row(usize, Option<&'static str>, Option<&'static str>, Option<&'static str>, Option<usize>);
        let rows = [
            Row(0, None, None, None, Some(0)),
            Row(1, None, None, None, Some(1)),
            Row(0, Some("10.9.0.1"), None, None, Some(2)),
            Row(0, Some("192.168.0.1"), None, None, Some(2)),
            Row(0, Some("192.168.0.1"), Some("10.1.0.0"), None, Some(1)),
            Row(0, Some("192.168.0.1"), Some("10.5.0.0"), None, None),
            Row(0, Some("192.168.0.2"), None, None, None),
            Row(0, None, None, Some("10.9.0.77"), Some(2)),
            Row(0, None, None, Some("172.16.0.1"), Some(0)),
            Row(0, None, Some("10.9.0.0"), None, Some(0)),
        ];
        for Row(interface, relay, link, current, expected) in rows {
            let own = if interface == 0 { ip("10.0.0.1") } else { ip("10.1.0.1") };
            let info = RelayInfo { link: link.map(ip), ..RelayInfo::default() };
            let request = BootRequest {
                relay: relay.map(ip),
                relay_info: Some(info),
                current: current.map(ip),
                ..BootRequest::new(Kind::Request, Mac([2; 6]))
            };
            let got = network_of(networks.iter(), own, interface, &request);
            assert_eq!(got, expected, "{relay:?} {link:?} {current:?}");
        }
    }

    #[test]
    fn subnets_are_checked() {
        assert!(Subnet::new(ip("10.0.0.1"), 24).is_none());
        assert!(Subnet::new(ip("10.0.0.0"), 31).is_none());
        let subnet = Subnet::new(ip("10.0.0.0"), 24).unwrap();
        assert_eq!((subnet.mask(), subnet.to_string()), (ip("255.255.255.0"), "10.0.0.0/24".into()));
        assert!(
            subnet.host(ip("10.0.0.9")) && !subnet.host(ip("10.0.0.255")) && !subnet.host(ip("10.0.0.0"))
        );
    }
}

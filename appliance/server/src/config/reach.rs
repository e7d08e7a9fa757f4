//! Where controllers are looked for, and what may be done with their accounts: checked before anything is asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ConfigError, Reader, wire};

/// Addresses of all ranges together: a class B network takes half an hour at the usual pace.
const ADDRESSES_MAX: u128 = 65_536;
/// Ports that are asked.
const PORTS_MAX: usize = 4;
/// Connections a second: what a small site's switches do not notice.
const PER_SECOND: std::ops::RangeInclusive<u32> = 1..=1000;
/// Between two rounds, in seconds.
const EVERY_SECONDS_MIN: u64 = 10;
/// IPMI carries names of 16 bytes.
const USER_BYTES_MAX: usize = 16;

/// Where controllers are looked for, understood.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// Addresses that are asked.
    pub spans: Vec<Span>,
    /// Ports that are asked.
    pub ports: Vec<u16>,
    /// Connections begun in a second, at most.
    pub per_second_max: u32,
    /// Seconds between two rounds.
    pub every_seconds: u64,
    /// Whether leased addresses are asked.
    pub dhcp: bool,
    /// Our addresses from which LANs are asked by multicast.
    pub multicast_from: Vec<Ipv4Addr>,
}

/// Addresses from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    first: IpAddr,
    last: IpAddr,
}

impl Span {
    /// `10.78.0.0/24` without its network and broadcast addresses, `10.78.0.10-10.78.0.99`, or one address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((first, last)) = text.split_once('-') {
            let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            return (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last });
        }
        let Some((address, length)) = text.split_once('/') else {
            let first = text.trim().parse().ok()?;
            return Some(Self { first, last: first });
        };
        let (address, length): (IpAddr, u32) = (address.trim().parse().ok()?, length.trim().parse().ok()?);
        match address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(length).unwrap_or(0);
                let low = u32::from(address) & !host;
                // Links of two (RFC 3021) and single addresses have no network and broadcast address.
                let edge = u32::from(length < 31);
                let ends = (low.checked_add(edge)?, (low | host).checked_sub(edge)?);
                let [first, last] = [ends.0, ends.1].map(|bits| IpAddr::V4(Ipv4Addr::from(bits)));
                (length <= 32).then_some(Self { first, last })
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(length).unwrap_or(0);
                let low = u128::from(address) & !host;
                let [first, last] = [low, low | host].map(|bits| IpAddr::V6(Ipv6Addr::from(bits)));
                (length <= 128).then_some(Self { first, last })
            }
        }
    }

    /// How many addresses there are.
    #[must_use]
    pub fn count(&self) -> u128 {
        let (first, last) = self.bits();
        (last - first).saturating_add(1)
    }

    /// The addresses, lowest first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let ((first, last), v4) = (self.bits(), self.first.is_ipv4());
        (first..=last).map(move |bits| match (v4, u32::try_from(bits)) {
            (true, Ok(bits)) => IpAddr::V4(Ipv4Addr::from(bits)),
            (true, Err(_)) | (false, _) => IpAddr::V6(Ipv6Addr::from(bits)),
        })
    }

    fn bits(&self) -> (u128, u128) {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip),
        };
        (bits(self.first), bits(self.last))
    }
}

impl Reader<'_> {
    pub(super) fn discovery(&self, wire: wire::Discovery) -> Result<Discovery, ConfigError> {
        let span = |text: &String| {
            Span::parse(text).ok_or_else(|| {
                self.value("discovery.ranges", text, "a range such as 10.78.0.0/24 or 10.78.0.10-10.78.0.99")
            })
        };
        let spans = wire.ranges.iter().map(span).collect::<Result<Vec<Span>, _>>()?;
        let count = spans.iter().map(Span::count).fold(0, u128::saturating_add);
        if count > ADDRESSES_MAX {
            let expected = format!("at most {ADDRESSES_MAX} addresses together");
            return Err(self.value("discovery.ranges", &wire.ranges.join(", "), &expected));
        }
        let few = (1..=PORTS_MAX).contains(&wire.ports.len()) && !wire.ports.contains(&0);
        if !few {
            let expected = format!("one to {PORTS_MAX} ports");
            return Err(self.value("discovery.ports", &format!("{:?}", wire.ports), &expected));
        }
        if !PER_SECOND.contains(&wire.connections_per_second_max) {
            let (value, expected) =
                (wire.connections_per_second_max.to_string(), "1 to 1000 connections a second");
            return Err(self.value("discovery.connections_per_second_max", &value, expected));
        }
        if wire.every_seconds < EVERY_SECONDS_MIN {
            let expected = format!("at least {EVERY_SECONDS_MIN} s");
            return Err(self.value("discovery.every_seconds", &wire.every_seconds.to_string(), &expected));
        }
        let address = |text: &String| {
            text.parse().map_err(|_| {
                self.value("discovery.multicast_from", text, "an IPv4 address of ours, such as 10.78.0.1")
            })
        };
        Ok(Discovery {
            spans,
            ports: wire.ports,
            per_second_max: wire.connections_per_second_max,
            every_seconds: wire.every_seconds,
            dhcp: wire.dhcp,
            multicast_from: wire.multicast_from.iter().map(address).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn credentials(&self, wire: wire::Credentials) -> Result<wire::Credentials, ConfigError> {
        if let Some(name) = &wire.own_account
            && (name.is_empty()
                || name.len() > USER_BYTES_MAX
                || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        {
            let expected = format!("a name of 1 to {USER_BYTES_MAX} letters and digits");
            return Err(self.value("credentials.own_account", name, &expected));
        }
        Ok(wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_counted_without_their_edges() {
        for (text, wanted) in [
            ("10.78.0.0/24", Some(("10.78.0.1", "10.78.0.254", 254))),
            ("10.78.0.9/31", Some(("10.78.0.8", "10.78.0.9", 2))),
            ("10.78.0.9/32", Some(("10.78.0.9", "10.78.0.9", 1))),
            ("10.78.0.7", Some(("10.78.0.7", "10.78.0.7", 1))),
            ("10.78.0.250-10.78.1.3", Some(("10.78.0.250", "10.78.1.3", 10))),
            ("0.0.0.0/0", Some(("0.0.0.1", "255.255.255.254", 4_294_967_294))),
            ("fd78::/126", Some(("fd78::", "fd78::3", 4))),
            ("10.78.0.3-10.78.0.1", None),
            ("10.78.0.3-fd78::1", None),
            ("10.78.0.0/33", None),
            ("10.78.0.0/-1", None),
            ("all", None),
            ("", None),
        ] {
            let span = Span::parse(text);
            let found = span.map(|span| {
                let last = if span.count() < 1000 { span.addresses().last() } else { Some(span.last) };
                (span.addresses().next().unwrap().to_string(), last.unwrap().to_string(), span.count())
            });
            let wanted = wanted.map(|(first, last, count)| (first.to_owned(), last.to_owned(), count));
            assert_eq!(found, wanted, "{text}");
        }
        assert_eq!(Span::parse("::/0").unwrap().count(), u128::MAX);
    }
}

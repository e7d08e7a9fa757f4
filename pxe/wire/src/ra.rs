//! Router solicitations and advertisements (RFC 4861, 4.1 and 4.2), as far as a boot server needs them.
//!
//! We advertise a prefix that is on the link and the word that addresses come by DHCPv6; a router we are not.  Others'
//! advertisements are read to be told of.  Neighbours' affairs are the kernel's.

use std::net::Ipv6Addr;

/// Longer than any advertisement on Ethernet.
const BYTES_MAX: usize = 1500;
/// Prefixes kept of one advertisement.
const PREFIXES_MAX: usize = 16;
/// Neighbour discovery is believed only from the link itself (RFC 4861, 6.1): a router would have counted this down.
pub const HOP_LIMIT: u8 = 255;

/// A prefix in an advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Its address.
    pub base: Ipv6Addr,
    /// Its length.
    pub bits: u8,
    /// Its addresses are reached without a router.
    pub on_link: bool,
    /// Hosts may make their own addresses from it.
    pub autonomous: bool,
    /// Seconds it may be used at all.
    pub valid: u32,
    /// Seconds it may be used for new connections.
    pub preferred: u32,
}

/// A router advertisement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advertisement {
    /// M: addresses come by DHCPv6.
    pub managed: bool,
    /// O: other options come by DHCPv6.
    pub other: bool,
    /// Seconds the sender is a default router; zero: it is none.
    pub router_seconds: u16,
    /// Prefixes.
    pub prefixes: Vec<Prefix>,
    /// The sender's Ethernet address.
    pub mac: Option<[u8; 6]>,
}

/// What we listen for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asks for routers; its Ethernet address, if it says so.
    Solicitation(Option<[u8; 6]>),
    /// A router, or somebody like us.
    Advertisement(Advertisement),
}

/// Reads an ICMPv6 message that arrived with `hop_limit`.  The kernel has checked its checksum.  `None`: neither of the
/// two, or not as RFC 4861, 6.1 wants it.
#[must_use]
pub fn read(bytes: &[u8], hop_limit: u8) -> Option<Heard> {
    if hop_limit != HOP_LIMIT || bytes.len() > BYTES_MAX {
        return None;
    }
    match bytes {
        [133, 0, _, _, rest @ ..] => {
            let mut mac = None;
            for (kind, value) in options(rest.get(4..)?)? {
                if kind == 1 {
                    mac = value.get(..6).and_then(|mac| mac.try_into().ok());
                }
            }
            Some(Heard::Solicitation(mac))
        }
        [134, 0, _, _, _, flags, r1, r2, rest @ ..] => {
            let mut heard = Advertisement {
                managed: flags & 0x80 != 0,
                other: flags & 0x40 != 0,
                router_seconds: u16::from_be_bytes([*r1, *r2]),
                ..Advertisement::default()
            };
            for (kind, value) in options(rest.get(8..)?)? {
                match kind {
                    1 => heard.mac = value.get(..6).and_then(|mac| mac.try_into().ok()),
                    3 if heard.prefixes.len() < PREFIXES_MAX => heard.prefixes.extend(prefix(value)),
                    _ => {}
                }
            }
            Some(Heard::Advertisement(heard))
        }
        _ => None,
    }
}

/// Type and value of each option; `None` if one has no length or runs past the end.
fn options(mut rest: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut all = Vec::new();
    while let Some(([kind, eights], _)) = rest.split_first_chunk::<2>() {
        let (option, after) = rest.split_at_checked(usize::from(*eights).checked_mul(8)?)?;
        all.push((*kind, option.get(2..)?));
        rest = after;
    }
    rest.is_empty().then_some(all)
}

fn prefix(value: &[u8]) -> Option<Prefix> {
    let [bits, flags, rest @ ..] = value else { return None };
    let (times, rest) = rest.split_first_chunk::<8>()?;
    let [a, b, c, d, e, f, g, h] = *times;
    let base: [u8; 16] = rest.get(4..20)?.try_into().ok()?;
    (*bits <= 128).then_some(Prefix {
        base: base.into(),
        bits: *bits,
        on_link: flags & 0x80 != 0,
        autonomous: flags & 0x40 != 0,
        valid: u32::from_be_bytes([a, b, c, d]),
        preferred: u32::from_be_bytes([e, f, g, h]),
    })
}

/// A router solicitation.
#[must_use]
pub fn solicitation(mac: Option<[u8; 6]>) -> Vec<u8> {
    let mut bytes = vec![133, 0, 0, 0, 0, 0, 0, 0];
    link_layer(&mut bytes, mac);
    bytes
}

impl Advertisement {
    /// As ICMPv6; the kernel puts the checksum in.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let flags = u8::from(self.managed) << 7 | u8::from(self.other) << 6;
        let [r1, r2] = self.router_seconds.to_be_bytes();
        // Hop limit, reachable time and retransmission timer are not ours to say: zero.
        let mut bytes = vec![134, 0, 0, 0, 0, flags, r1, r2, 0, 0, 0, 0, 0, 0, 0, 0];
        for prefix in self.prefixes.iter().take(PREFIXES_MAX) {
            let flags = u8::from(prefix.on_link) << 7 | u8::from(prefix.autonomous) << 6;
            bytes.extend([3, 4, prefix.bits, flags]);
            bytes.extend(prefix.valid.to_be_bytes());
            bytes.extend(prefix.preferred.to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(prefix.base.octets());
        }
        link_layer(&mut bytes, self.mac);
        bytes
    }
}

fn link_layer(bytes: &mut Vec<u8>, mac: Option<[u8; 6]>) {
    if let Some(mac) = mac {
        bytes.extend([1, 1]);
        bytes.extend(mac);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What radvd sends for one prefix, by hand from RFC 4861.
    const BY_HAND: &str = "8600000040c00708000000000000000003044080000151800000384000000000\
        fd7700000000000000000000000000000101020000000101";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn advertisement() -> Advertisement {
        let prefix = Prefix {
            base: "fd77::".parse().unwrap(),
            bits: 64,
            on_link: true,
            autonomous: false,
            valid: 86400,
            preferred: 14400,
        };
        Advertisement {
            managed: true,
            other: true,
            router_seconds: 1800,
            prefixes: vec![prefix],
            mac: Some([2, 0, 0, 0, 1, 1]),
        }
    }

    #[test]
    fn an_advertisement_by_hand_is_read_and_written() {
        let mut hex = bytes(BY_HAND);
        assert_eq!(read(&hex, 255), Some(Heard::Advertisement(advertisement())));
        // We do not say how many hops a packet may take.
        hex[4] = 0;
        assert_eq!(advertisement().write(), hex);
        assert_eq!(read(&solicitation(Some([2; 6])), 255), Some(Heard::Solicitation(Some([2; 6]))));
        assert_eq!(read(&solicitation(None), 255), Some(Heard::Solicitation(None)));
    }

    #[test]
    fn what_came_over_a_router_or_is_torn_counts_for_nothing() {
        let hex = bytes(BY_HAND);
        assert_eq!(read(&hex, 254), None);
        for end in 0..hex.len() {
            let whole = end == 16 || end == 48;
            assert_eq!(read(&hex[..end], 255).is_some(), whole, "{end}");
        }
        let mut endless = hex.clone();
        endless[17] = 0;
        assert_eq!(read(&endless, 255), None, "an option without length");
        let mut wide = hex;
        wide[18] = 129;
        let Some(Heard::Advertisement(heard)) = read(&wide, 255) else { panic!("not read") };
        assert!(heard.prefixes.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(Heard::Advertisement(heard)) = read(&bytes, 255) {
                prop_assert!(read(&heard.write(), 255).is_some());
            }
        }
    }
}

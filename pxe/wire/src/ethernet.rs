//! Ethernet frames as far as a boot server needs them: an ARP probe, its answer, and UDP over IPv4.
//!
//! A reply to a client that has no address yet, and does not ask for a broadcast, cannot leave through a UDP socket: the
//! kernel would ask by ARP for an address that nobody answers to.  It leaves as a whole frame.

use std::net::Ipv4Addr;

/// EtherType of ARP.
const ARP: [u8; 2] = [0x08, 0x06];
/// EtherType of IPv4.
const IPV4: [u8; 2] = [0x08, 0x00];
/// IP protocol number of UDP.
const UDP: u8 = 17;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Somebody says where an address is.
    ArpReply {
        /// Whose hardware address.
        mac: [u8; 6],
        /// Which address.
        address: Ipv4Addr,
    },
    /// A datagram.
    Udp {
        /// Hardware address of whoever put it on this link.
        mac: [u8; 6],
        /// From.
        source: (Ipv4Addr, u16),
        /// To.
        target: (Ipv4Addr, u16),
        /// What.
        payload: &'a [u8],
    },
}

/// Reads a frame; `None` if it is of no interest here (fragments included) or does not hold what its lengths say.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Frame<'_>> {
    let mac = array(frame, 6)?;
    let rest = frame.get(14..)?;
    match array::<2>(frame, 12)? {
        ARP => {
            // Ethernet and IPv4, reply.
            let known = rest.get(..8)? == [0, 1, 8, 0, 6, 4, 0, 2];
            let (mac, address) = (array(rest, 8)?, array::<4>(rest, 14)?);
            known.then(|| Frame::ArpReply { mac, address: address.into() })
        }
        IPV4 => {
            let [version, _] = array(rest, 0)?;
            let header = usize::from(version & 15).checked_mul(4)?;
            let total = usize::from(u16::from_be_bytes(array(rest, 2)?));
            let fragment = u16::from_be_bytes(array(rest, 6)?) & 0x3fff;
            if version >> 4 != 4 || header < 20 || fragment != 0 || *rest.get(9)? != UDP {
                return None;
            }
            let (source, target) = (array::<4>(rest, 12)?, array::<4>(rest, 16)?);
            let datagram = rest.get(header..total)?;
            let length = usize::from(u16::from_be_bytes(array(datagram, 4)?));
            let port = |at| Some(u16::from_be_bytes(array(datagram, at)?));
            Some(Frame::Udp {
                mac,
                source: (source.into(), port(0)?),
                target: (target.into(), port(2)?),
                payload: datagram.get(8..length)?,
            })
        }
        _ => None,
    }
}

/// Asks who has `address`, in the way that disturbs nobody's ARP table (RFC 5227, 2.1.1: no sender address).
#[must_use]
pub fn arp_probe(own: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let unset = [0; 4];
    [&[0xff; 6][..], &own, &ARP, &[0, 1, 8, 0, 6, 4, 0, 1], &own, &unset, &[0; 6], &address.octets()].concat()
}

/// A datagram in its frame; `None` if it does not fit one.
#[must_use]
pub fn udp(
    (from, to): ([u8; 6], [u8; 6]),
    source: (Ipv4Addr, u16),
    target: (Ipv4Addr, u16),
    payload: &[u8],
) -> Option<Vec<u8>> {
    let length = u16::try_from(payload.len().checked_add(8)?).ok()?;
    let total = length.checked_add(20).filter(|total| *total <= 1500)?;
    let [l0, l1] = length.to_be_bytes();
    let [t0, t1] = total.to_be_bytes();
    let addresses = [source.0.octets(), target.0.octets()].concat();
    let mut ip = [&[0x45, 0, t0, t1, 0, 0, 0x40, 0, 64, UDP, 0, 0], addresses.as_slice()].concat();
    let sum = checksum(&[&ip]);
    set(&mut ip, 10, sum);
    let ports = [source.1.to_be_bytes(), target.1.to_be_bytes()].concat();
    let mut datagram = [ports.as_slice(), &[l0, l1, 0, 0], payload].concat();
    let sum = checksum(&[&addresses, &[0, UDP, l0, l1], &datagram]);
    // RFC 768: zero means "no checksum", so a sum of zero is sent as ones.
    set(&mut datagram, 6, if sum == 0 { 0xffff } else { sum });
    Some([&to[..], &from, &IPV4, &ip, &datagram].concat())
}

fn set(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *field = value.to_be_bytes();
    }
}

/// RFC 1071, over parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            let high = pair.first().copied().unwrap_or(0);
            let low = pair.get(1).copied().unwrap_or(0);
            sum = sum.saturating_add(u16::from_be_bytes([high, low]).into());
        }
    }
    while let Some(carry) = sum.checked_shr(16).filter(|carry| *carry > 0) {
        sum = (sum & 0xffff).saturating_add(carry);
    }
    !u16::try_from(sum & 0xffff).unwrap_or(0)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

    #[test]
    fn checksums_are_those_of_the_rfc() {
        // RFC 1071, 3.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        let source = (Ipv4Addr::new(10, 0, 0, 1), 67);
        let frame = udp((A, B), source, (Ipv4Addr::new(10, 0, 0, 9), 68), b"odd").unwrap();
        let ip = &frame[14..34];
        assert_eq!(checksum(&[ip]), 0, "a sum over itself is zero");
        assert_eq!(checksum(&[&ip[12..20], &[0, 17, 0, 11], &frame[34..]]), 0);
        assert!(udp((A, B), source, source, &[0; 1473]).is_none());
    }

    #[test]
    fn an_answer_to_a_probe_is_read() {
        let mut answer = arp_probe(A, Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!((answer.len(), read(&answer)), (42, None), "a question is no answer");
        answer[21] = 2;
        answer[28..32].copy_from_slice(&[10, 0, 0, 9]);
        let address = Ipv4Addr::new(10, 0, 0, 9);
        assert_eq!(read(&answer), Some(Frame::ArpReply { mac: A, address }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(payload in proptest::collection::vec(any::<u8>(), 0..1472), ends in any::<[u8; 12]>()) {
            let end = |at: usize| {
                let ip: [u8; 4] = ends[at..at + 4].try_into().unwrap();
                (Ipv4Addr::from(ip), u16::from_be_bytes([ends[at + 4], ends[at + 5]]))
            };
            let frame = udp((A, B), end(0), end(6), &payload).unwrap();
            prop_assert_eq!(
                read(&frame),
                Some(Frame::Udp { mac: A, source: end(0), target: end(6), payload: &payload })
            );
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..2usize) {
            let mut frame = bytes;
            if let Some(field) = frame.get_mut(12..14) {
                field.copy_from_slice([&ARP, &IPV4][kind]);
            }
            let _ = read(&frame);
        }
    }
}

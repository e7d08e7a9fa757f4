//! Link Layer Discovery Protocol (IEEE 802.1AB): what a switch says of itself and of the port we hang on.
//!
//! Parser only; [`crate::live`] listens.  A frame is what anybody on the cable sends: every length is checked, every
//! list is bounded, and texts lose their control characters because people print them.

use std::net::{Ipv4Addr, Ipv6Addr};

use appliance_model::inventory::Neighbour;

/// `ETH_P_LLDP`.
pub const ETHERTYPE: u16 = 0x88cc;

/// Destination, source, type.
const HEAD_BYTES: usize = 14;

/// More elements than fit into a frame with anything in them.
const ELEMENTS_MAX: usize = 256;

/// More addresses than anybody manages a switch by.
const MANAGEMENT_MAX: usize = 8;

/// Names of the capability bits, lowest first.
const CAPABILITIES: [&str; 11] = [
    "other",
    "repeater",
    "bridge",
    "access-point",
    "router",
    "telephone",
    "docsis",
    "station",
    "customer-bridge",
    "service-bridge",
    "relay",
];

/// Reads an Ethernet frame; `None` if it is no LLDP, lacks one of the three elements that every frame begins with, or
/// says good-bye (a time to live of zero).
#[must_use]
pub fn parse(frame: &[u8]) -> Option<Neighbour> {
    if *frame.get(12..)?.first_chunk()? != ETHERTYPE.to_be_bytes() {
        return None;
    }
    let mut rest = frame.get(HEAD_BYTES..)?;
    let chassis = chassis(element(&mut rest, 1)?)?;
    let port = port(element(&mut rest, 2)?)?;
    let ttl_seconds = u16::from_be_bytes(*element(&mut rest, 3)?.first_chunk()?);
    if ttl_seconds == 0 {
        return None;
    }
    let mut neighbour = Neighbour { chassis, port, ttl_seconds, ..Neighbour::default() };
    for _ in 0..ELEMENTS_MAX {
        match next(&mut rest) {
            None | Some((0, _)) => break,
            Some((kind, value)) => take(kind, value, &mut neighbour),
        }
    }
    Some(neighbour)
}

/// Seven bits of type and nine of length, then the value.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let head = u16::from_be_bytes(*rest.first_chunk()?);
    let kind = u8::try_from(head >> 9).ok()?;
    let end = 2 + usize::from(head & 0x1ff);
    let value = rest.get(2..end)?;
    *rest = rest.get(end..)?;
    Some((kind, value))
}

fn element<'a>(rest: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    next(rest).filter(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

fn take(kind: u8, value: &[u8], into: &mut Neighbour) {
    match kind {
        4 => into.port_description = text(value),
        5 => into.system_name = text(value),
        6 => into.system_description = text(value),
        7 => {
            if let Some([_, _, high, low]) = value.first_chunk() {
                let on = u16::from_be_bytes([*high, *low]);
                let names = CAPABILITIES.iter().enumerate().filter(|(bit, _)| on >> bit & 1 == 1);
                into.capabilities = names.map(|(_, name)| (*name).to_owned()).collect();
            }
        }
        8 if into.management.len() < MANAGEMENT_MAX => {
            // The length counts the address family too.
            if let Some((length, rest)) = value.split_first()
                && let Some(address) = rest.get(..usize::from(*length)).and_then(network)
            {
                into.management.push(address);
            }
        }
        127 => match value {
            // 802.1: port VLAN id; 0 is none.
            [0x00, 0x80, 0xc2, 1, high, low, ..] => {
                into.vlan = Some(u16::from_be_bytes([*high, *low])).filter(|vlan| *vlan != 0);
            }
            // 802.3: largest frame.
            [0x00, 0x12, 0x0f, 4, high, low, ..] => {
                into.frame_bytes_max = Some(u16::from_be_bytes([*high, *low]))
            }
            _ => {}
        },
        _ => {}
    }
}

fn chassis(value: &[u8]) -> Option<String> {
    match value.split_first()? {
        (4, address) => mac(address),
        (5, address) => network(address),
        (_, name) => text(name),
    }
}

fn port(value: &[u8]) -> Option<String> {
    match value.split_first()? {
        (3, address) => mac(address),
        (4, address) => network(address),
        (_, name) => text(name),
    }
}

fn mac(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 6] = bytes.try_into().ok()?;
    Some(appliance_model::Mac(bytes).to_string())
}

/// IANA's address family, then the address.
fn network(bytes: &[u8]) -> Option<String> {
    let (family, address) = bytes.split_first()?;
    match family {
        1 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).to_string()),
        2 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_string()),
        6 => mac(address),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    let text: String = String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(elements: &[(u8, &[u8])]) -> Vec<u8> {
        let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1, 0x88, 0xcc];
        for (kind, value) in elements {
            let head = u16::from(*kind) << 9 | u16::try_from(value.len()).unwrap();
            frame.extend(head.to_be_bytes());
            frame.extend(*value);
        }
        frame
    }

    fn whole() -> Vec<u8> {
        frame(&[
            (1, &[4, 0xaa, 0xbb, 0xcc, 0, 1, 2]),
            (2, b"\x05Ethernet1/7"),
            (3, &[0, 120]),
            (4, b"to rack 7\x1b[2J"),
            (5, b"leaf-1"),
            (6, b"Switch OS 9"),
            (7, &[0, 0x14, 0, 0x14]),
            (8, &[5, 1, 10, 0, 0, 2, 2, 0, 0, 0, 1, 0]),
            (127, &[0x00, 0x80, 0xc2, 1, 0, 77]),
            (127, &[0x00, 0x12, 0x0f, 4, 0x24, 0x00]),
            (0, &[]),
            (5, b"behind the end"),
        ])
    }

    #[test]
    fn a_switch_is_told() {
        let found = parse(&whole()).unwrap();
        assert_eq!((found.chassis.as_str(), found.port.as_str()), ("aa:bb:cc:00:01:02", "Ethernet1/7"));
        assert_eq!((found.ttl_seconds, found.vlan, found.frame_bytes_max), (120, Some(77), Some(9216)));
        assert_eq!(found.system_name.as_deref(), Some("leaf-1"));
        assert_eq!(found.port_description.as_deref(), Some("to rack 7[2J"));
        assert_eq!(found.management, ["10.0.0.2"]);
        assert_eq!(found.capabilities, ["bridge", "router"]);
    }

    #[test]
    fn what_is_no_neighbour() {
        let begin: &[(u8, &[u8])] = &[(1, b"\x07name"), (2, b"\x05port"), (3, &[0, 1])];
        assert!(parse(&frame(begin)).is_some());
        for (elements, why) in [
            (&[(1, &b"\x07name"[..]), (2, b"\x05port"), (3, &[0, 0])][..], "good-bye"),
            (&[(2, b"\x05port"), (1, b"\x07name"), (3, &[0, 1])], "out of order"),
            (&[(1, b"\x07name"), (2, b"\x05port")], "no time to live"),
            (&[(1, b""), (2, b"\x05port"), (3, &[0, 1])], "empty chassis"),
            (&[(1, &[4, 1, 2]), (2, b"\x05port"), (3, &[0, 1])], "half an address"),
        ] {
            assert_eq!(parse(&frame(elements)), None, "{why}");
        }
        let mut other = frame(begin);
        other[13] = 0;
        assert_eq!(parse(&other), None);
    }

    proptest! {
        #[test]
        fn any_frame_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = parse(&bytes);
            let mut framed = frame(&[]);
            framed.extend(&bytes);
            let _ = parse(&framed);
        }

        #[test]
        fn a_damaged_frame_is_survived(at in 0_usize..120, value: u8, cut in 0_usize..200) {
            let mut bytes = whole();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(cut);
            if let Some(found) = parse(&bytes) {
                let texts = [Some(found.chassis), found.system_name, found.system_description];
                prop_assert!(texts.iter().flatten().all(|text| !text.contains(char::is_control)));
            }
        }
    }
}

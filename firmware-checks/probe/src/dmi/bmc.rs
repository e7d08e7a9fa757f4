//! SMBIOS records about the BMC: the IPMI device (type 38) and the Redfish host interface (type 42, DMTF DSP0270).

use std::net::{Ipv4Addr, Ipv6Addr};

use appliance_model::inventory::{BmcSeen, Inventory};
use smbioslib::UndefinedStruct;

/// Type 42's "network host interface".
const NETWORK: u8 = 0x40;
/// Protocol "Redfish over IP".
const REDFISH: u8 = 4;

pub(super) fn ipmi(entry: &UndefinedStruct, inventory: &mut Inventory) {
    let interface = entry.get_field_byte(0x04).and_then(|code| match code {
        1 => Some("KCS"),
        2 => Some("SMIC"),
        3 => Some("BT"),
        4 => Some("SSIF"),
        _ => None,
    });
    let version = entry.get_field_byte(0x05).filter(|version| *version != 0);
    let bmc = inventory.bmc.get_or_insert_with(BmcSeen::default);
    bmc.interface = interface.map(str::to_owned);
    bmc.ipmi = version.map(|version| format!("{}.{}", version >> 4, version & 0x0f));
    inventory.sources.insert("bmc".into(), "SMBIOS types 38 and 42".into());
}

pub(super) fn redfish(entry: &UndefinedStruct, inventory: &mut Inventory) {
    if let Some(found) = service(&entry.fields) {
        let bmc = inventory.bmc.get_or_insert_with(BmcSeen::default);
        bmc.redfish_address = found.redfish_address;
        bmc.redfish_port = found.redfish_port;
        bmc.redfish_host = found.redfish_host;
        inventory.sources.insert("bmc".into(), "SMBIOS types 38 and 42".into());
    }
}

/// The first Redfish protocol record of a network host interface.
fn service(record: &[u8]) -> Option<BmcSeen> {
    let (kind, length) = (*record.get(4)?, *record.get(5)?);
    if kind != NETWORK {
        return None;
    }
    let mut rest = record.get(6 + usize::from(length)..)?;
    let (count, mut protocols) = rest.split_first()?;
    for _ in 0..*count {
        let [protocol, length, tail @ ..] = protocols else { return None };
        let data = tail.get(..usize::from(*length))?;
        if *protocol == REDFISH {
            return Some(over_ip(data));
        }
        rest = tail.get(usize::from(*length)..)?;
        protocols = rest;
    }
    None
}

fn over_ip(data: &[u8]) -> BmcSeen {
    let array = || data.get(52..)?.first_chunk::<16>().copied();
    let address = match (data.get(51), array()) {
        (Some(1), Some([a, b, c, d, ..])) => Some(Ipv4Addr::new(a, b, c, d).to_string()),
        (Some(2), Some(bytes)) => Some(Ipv6Addr::from(bytes).to_string()),
        _ => None,
    };
    let port = data.get(84..).and_then(|rest| rest.first_chunk()).map(|port| u16::from_le_bytes(*port));
    let name = data.get(90).and_then(|length| data.get(91..91 + usize::from(*length)));
    let name = name.map(|name| String::from_utf8_lossy(name).trim_matches('\0').trim().to_owned());
    BmcSeen {
        // An address that the BMC gets later is written as zeros.
        redfish_address: address.filter(|address| address != "0.0.0.0" && address != "::"),
        redfish_port: port.filter(|port| *port != 0),
        redfish_host: name.filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic())),
        ..BmcSeen::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(address: [u8; 4]) -> Vec<u8> {
        let mut data = vec![0_u8; 91];
        data[51] = 1;
        data[52..56].copy_from_slice(&address);
        data[84..86].copy_from_slice(&443_u16.to_le_bytes());
        data[90] = 3;
        data.extend(b"bmc");
        let mut record = vec![42, 0, 0, 0, NETWORK, 2, 4, 0, 1, REDFISH, u8::try_from(data.len()).unwrap()];
        record.extend(data);
        record
    }

    #[test]
    fn a_service_is_found() {
        let found = service(&record([169, 254, 3, 254])).unwrap();
        assert_eq!(found.redfish_address.as_deref(), Some("169.254.3.254"));
        assert_eq!((found.redfish_port, found.redfish_host.as_deref()), (Some(443), Some("bmc")));
        assert_eq!(service(&record([0; 4])).unwrap().redfish_address, None);
    }

    #[test]
    fn cuts_and_lies_are_survived() {
        let whole = record([169, 254, 3, 254]);
        for cut in 0..whole.len() {
            service(&whole[..cut]);
            let mut wrong = whole.clone();
            wrong[cut] = 0xff;
            service(&wrong);
        }
    }
}

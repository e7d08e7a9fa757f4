//! LAN and serial-over-LAN settings (IPMI 2.0, chapters 23 and 26).

use std::net::{IpAddr, SocketAddr};

use super::codec::Message;
use super::{Context, Reply, byte, code, privilege};
use crate::bmc::desk::Desk;

/// What clients can set that is not elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) port: u16,
    pub(crate) restore_policy: u8,
    pub(crate) boot_efi: bool,
    address: [u8; 4],
    mask: [u8; 4],
    gateway: [u8; 4],
    source: u8,
    mac: [u8; 6],
}

impl Settings {
    pub(crate) fn new(desk: &Desk, bound: SocketAddr) -> Self {
        let address = match bound.ip() {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        let appliance_model::Mac([a, b, c, d, e, _]) = desk.server.spec().boot_mac;
        Self {
            port: bound.port(),
            // Back to what it was.
            restore_policy: 1,
            boot_efi: true,
            address,
            mask: [255, 255, 255, 0],
            gateway: [0; 4],
            source: 1,
            mac: [a, b, c, d, e, 0xfe],
        }
    }
}

pub(super) fn command(context: &mut Context<'_>, message: &Message) -> Reply {
    let data = message.data.as_slice();
    match message.command {
        0x01 => set(context, data),
        0x02 => get(context, data),
        0x21 => context.needs(privilege::ADMINISTRATOR).map(|()| Vec::new()),
        0x22 => serial(context, data),
        _ => Err(code::INVALID_COMMAND),
    }
}

fn set(context: &mut Context<'_>, data: &[u8]) -> Reply {
    context.needs(privilege::ADMINISTRATOR)?;
    let parameter = byte(data, 1)?;
    let four = || -> Result<[u8; 4], u8> {
        data.get(2..6).and_then(|b| b.try_into().ok()).ok_or(code::INVALID_LENGTH)
    };
    match parameter {
        0 | 10 | 16 | 20 | 24 => {}
        3 => context.settings.address = four()?,
        4 => context.settings.source = byte(data, 2)? & 0x0f,
        6 => context.settings.mask = four()?,
        12 => context.settings.gateway = four()?,
        _ => return Err(0x80),
    }
    Ok(Vec::new())
}

fn get(context: &Context<'_>, data: &[u8]) -> Reply {
    context.needs(privilege::OPERATOR)?;
    let (channel, parameter) = (byte(data, 0)?, byte(data, 1)?);
    let settings = &context.settings;
    let mut answer = vec![0x11];
    if channel & 0x80 != 0 {
        return Ok(answer);
    }
    let suites: Vec<u8> = [(3, context.policy.suite_3), (17, context.policy.suite_17)]
        .into_iter()
        .filter_map(|(number, on)| on.then_some(number))
        .collect();
    match parameter {
        // Set complete; no authentication types of 1.5.
        0 | 1 | 21 => answer.push(0),
        2 => answer.extend([0; 5]),
        3 => answer.extend(settings.address),
        4 => answer.push(settings.source),
        5 => answer.extend(settings.mac),
        6 => answer.extend(settings.mask),
        7 => answer.extend([64, 0x40, 0x10]),
        8 => answer.extend(623_u16.to_le_bytes()),
        10 => answer.push(0x02),
        11 => answer.push(0x02),
        12 => answer.extend(settings.gateway),
        13 | 15 => answer.extend([0; 6]),
        14 => answer.extend([0; 4]),
        16 => answer.extend(*b"public\0\0\0\0\0\0\0\0\0\0\0\0"),
        20 => answer.extend([0, 0]),
        22 => answer.push(u8::try_from(suites.len()).unwrap_or(0)),
        23 => {
            let mut list = vec![0];
            list.extend(suites);
            list.resize(17, 0);
            answer.extend(list);
        }
        // Administrators by every suite.
        24 => answer.extend([0, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44]),
        _ => return Err(0x80),
    }
    Ok(answer)
}

fn serial(context: &Context<'_>, data: &[u8]) -> Reply {
    context.needs(privilege::OPERATOR)?;
    let mut answer = vec![0x11];
    match byte(data, 1)? {
        0 => answer.push(0),
        1 => answer.push(1),
        // Encryption and authentication are demanded, of users.
        2 => answer.push(0xc2),
        3 => answer.extend([0x05, 0x60]),
        4 => answer.extend([0x07, 0x32]),
        // 115.2 kbit/s.
        5 | 6 => answer.push(0x0a),
        7 => answer.push(1),
        8 => answer.extend(context.settings.port.to_le_bytes()),
        _ => return Err(0x80),
    }
    Ok(answer)
}

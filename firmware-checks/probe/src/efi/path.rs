//! Device paths in UEFI's text form (UEFI Specification 10.3 and 10.6), as far as boot entries of servers use them.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::files::uuid;

/// More nodes than any path has.
const NODES_MAX: usize = 64;

/// Longer texts are cut: a URL may have 2 KiB.
const TEXT_CHARS_MAX: usize = 4096;

/// The nodes of a path, joined by slashes; several paths by commas.
pub(super) fn text(path: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = path;
    let mut separator = "";
    for _ in 0..NODES_MAX {
        let [kind, subtype, low, high, ..] = *rest else { break };
        let bytes = usize::from(u16::from_le_bytes([low, high]));
        let Some(body) = rest.get(4..bytes) else { break };
        match (kind, subtype) {
            (0x7f, 0xff) => break,
            (0x7f, _) => separator = ",",
            _ => {
                text.push_str(separator);
                node(kind, subtype, body, &mut text);
                separator = "/";
            }
        }
        rest = rest.get(bytes..).unwrap_or_default();
    }
    if text.chars().count() > TEXT_CHARS_MAX { text.chars().take(TEXT_CHARS_MAX).collect() } else { text }
}

/// Text of 16-bit characters; control characters are left out, because people print this.
pub(super) fn text16(bytes: &[u8]) -> String {
    let units =
        bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).take_while(|unit| *unit != 0);
    let text =
        char::decode_utf16(units.take(TEXT_CHARS_MAX)).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
    text.filter(|c| !c.is_control()).collect()
}

fn number<const N: usize>(body: &[u8], at: usize) -> Option<[u8; N]> {
    body.get(at..)?.first_chunk().copied()
}

fn node(kind: u8, subtype: u8, body: &[u8], text: &mut String) {
    let known = known(kind, subtype, body);
    let known = known.unwrap_or_else(|| {
        let data = body.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02X}");
            hex
        });
        format!("Path({kind},{subtype},{data})")
    });
    text.push_str(&known);
}

fn known(kind: u8, subtype: u8, body: &[u8]) -> Option<String> {
    let byte = |at: usize| body.get(at).copied();
    let u16 = |at| number(body, at).map(u16::from_le_bytes);
    let u32 = |at| number(body, at).map(u32::from_le_bytes);
    Some(match (kind, subtype) {
        (1, 1) => format!("Pci(0x{:X},0x{:X})", byte(1)?, byte(0)?),
        // PNP0A03 and PNP0A08: PCI and PCI Express roots.
        (2, 1) => match u32(0)? {
            0x0a03_41d0 => format!("PciRoot(0x{:X})", u32(4)?),
            0x0a08_41d0 => format!("PcieRoot(0x{:X})", u32(4)?),
            hid => format!("Acpi(0x{hid:08X},0x{:X})", u32(4)?),
        },
        (3, 2) => format!("Scsi(0x{:X},0x{:X})", u16(0)?, u16(2)?),
        (3, 5) => format!("USB(0x{:X},0x{:X})", byte(0)?, byte(1)?),
        (3, 11) => {
            let address: [u8; 6] = number(body, 0)?;
            let hex: String = address.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("MAC({hex},0x{:X})", byte(32)?)
        }
        (3, 12) => format!("IPv4({})", Ipv4Addr::from(number::<4>(body, 4)?)),
        (3, 13) => format!("IPv6({})", Ipv6Addr::from(number::<16>(body, 16)?)),
        (3, 18) => format!("Sata(0x{:X},0x{:X},0x{:X})", u16(0)?, u16(2)?, u16(4)?),
        (3, 20) => format!("Vlan({})", u16(0)?),
        (3, 23) => {
            let eui: [u8; 8] = number(body, 4)?;
            let eui: Vec<String> = eui.iter().rev().map(|byte| format!("{byte:02X}")).collect();
            format!("NVMe(0x{:X},{})", u32(0)?, eui.join("-"))
        }
        (3, 24) => {
            let uri = String::from_utf8_lossy(body);
            format!("Uri({})", uri.chars().filter(|c| !c.is_control()).collect::<String>())
        }
        (4, 1) => {
            let (part, signature, format) = (u32(0)?, number::<16>(body, 20)?, byte(37)?);
            let name = match format {
                2 => uuid(&signature).to_ascii_uppercase(),
                1 => format!("0x{:08X}", u32::from_le_bytes(*signature.first_chunk()?)),
                _ => "0".into(),
            };
            format!("HD({part},{},{name})", if format == 2 { "GPT" } else { "MBR" })
        }
        (4, 2) => format!("CDROM(0x{:X})", u32(0)?),
        (4, 4) => text16(body),
        (4, 6) => format!("FvFile({})", uuid(&number(body, 0)?).to_ascii_uppercase()),
        (4, 7) => format!("Fv({})", uuid(&number(body, 0)?).to_ascii_uppercase()),
        (5, 1) => {
            let name: Vec<u8> = body.get(4..)?.iter().copied().take_while(|byte| *byte != 0).collect();
            let name = String::from_utf8_lossy(&name).chars().filter(|c| !c.is_control()).collect::<String>();
            format!("BBS(0x{:X},{name})", u16(0)?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(nodes: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let mut path = Vec::new();
        for (kind, subtype, body) in nodes.iter().chain([&(0x7f, 0xff, &[][..])]) {
            path.extend([*kind, *subtype]);
            path.extend(u16::try_from(body.len() + 4).unwrap().to_le_bytes());
            path.extend(*body);
        }
        path
    }

    #[test]
    fn paths_are_printed_as_firmware_does() {
        let root: &[u8] = &[0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0];
        let mut mac = [0_u8; 33];
        mac[..6].copy_from_slice(&[0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        mac[32] = 1;
        let mut disk = [0_u8; 38];
        (disk[0], disk[20], disk[37], disk[36]) = (1, 0xab, 2, 2);
        let file: Vec<u8> = "\\EFI\\BOOT\\X.EFI\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (nodes, expected) in [
            (
                &[(2, 1, root), (1, 1, &[0, 2]), (3, 11, &mac), (3, 12, &[0; 23]), (3, 24, b"http://a/b")][..],
                "PciRoot(0x0)/Pci(0x2,0x0)/MAC(525400123456,0x1)/IPv4(0.0.0.0)/Uri(http://a/b)",
            ),
            (
                &[(4, 1, &disk), (4, 4, &file)],
                "HD(1,GPT,000000AB-0000-0000-0000-000000000000)/\\EFI\\BOOT\\X.EFI",
            ),
            (&[(3, 23, &[1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])], "NVMe(0x1,08-07-06-05-04-03-02-01)"),
            (&[(9, 9, &[0xab])], "Path(9,9,AB)"),
            (&[(1, 1, &[0])], "Path(1,1,00)"),
        ] {
            assert_eq!(text(&path(nodes)), expected);
        }
        let whole = path(&[(2, 1, root), (3, 11, &mac), (4, 1, &disk), (4, 4, &file)]);
        for cut in 0..whole.len() {
            text(&whole[..cut]);
            for value in [0, 0xff] {
                let mut wrong = whole.clone();
                wrong[cut] = value;
                text(&wrong);
            }
        }
    }
}

//! SMBIOS (DMTF DSP0134): who made the machine (types 0 to 3), its sockets (4), slots (9), memory modules (17), and how
//! its BMC is reached (38, 42).

mod bmc;

use appliance_model::{
    Serial,
    inventory::{Dimm, Inventory},
};
use smbioslib::{SMBiosData, UndefinedStruct};

use crate::files::{Tree, uuid};

const PATH: &str = "sys/firmware/dmi/tables/DMI";

/// Needs the processors and PCI functions that the kernel lists, to write their labels on them.
pub(crate) fn read(tree: &Tree, inventory: &mut Inventory) {
    let Some(bytes) = tree.bytes(PATH).filter(|bytes| !bytes.is_empty()) else {
        let why = if tree.exists(PATH) { "the SMBIOS table is for root's eyes" } else { "no SMBIOS table" };
        inventory.gaps.push(format!("{why}: maker, serial and memory modules are not known from inside"));
        return;
    };
    let table = SMBiosData::from_vec_and_version(bytes, None);
    let mut board = Board::default();
    for entry in table.iter() {
        take(entry, inventory);
        board.take(entry);
    }
    board.label(inventory);
    inventory.sources.insert("system".into(), "SMBIOS types 0 to 3".into());
    inventory.sources.insert("dimms".into(), "SMBIOS type 17".into());
    if inventory.system.serial.is_none() {
        inventory
            .gaps
            .push("SMBIOS type 1 has no system serial: it must be written with the maker's tool".into());
    }
    if inventory.dimms.is_empty() {
        inventory.gaps.push("SMBIOS lists no memory modules".into());
    }
}

/// The first record of a kind wins: further boards and chassis are parts of blades and sleds.
fn take(entry: &UndefinedStruct, inventory: &mut Inventory) {
    let system = &mut inventory.system;
    match entry.header.struct_type() {
        0 if system.bios_vendor.is_none() => {
            system.bios_vendor = text(entry, 0x04);
            system.bios_version = text(entry, 0x05);
            system.bios_date = text(entry, 0x08);
        }
        1 if system.manufacturer.is_none() && system.serial.is_none() => {
            system.manufacturer = text(entry, 0x04);
            system.product = text(entry, 0x05);
            system.serial = serial(entry, 0x07);
            system.uuid = entry.get_field_data(0x08, 0x18).and_then(told);
            system.sku = text(entry, 0x19);
        }
        2 if system.board_product.is_none() && system.board_serial.is_none() => {
            system.board_manufacturer = text(entry, 0x04);
            system.board_product = text(entry, 0x05);
            system.board_version = text(entry, 0x06);
            system.board_serial = serial(entry, 0x07);
        }
        3 if system.chassis_serial.is_none() && system.asset_tag.is_none() => {
            system.chassis_serial = serial(entry, 0x07);
            system.asset_tag = text(entry, 0x08);
        }
        17 => inventory.dimms.extend(dimm(entry)),
        38 => bmc::ipmi(entry, inventory),
        42 => bmc::redfish(entry, inventory),
        _ => {}
    }
}

/// `None` for an empty slot.
fn dimm(entry: &UndefinedStruct) -> Option<Dimm> {
    let bytes = match entry.get_field_word(0x0c)? {
        0 | 0xffff => return None,
        // Too large for 15 bits of MiB: the extended size, 31 bits of MiB.
        0x7fff => u64::from(entry.get_field_dword(0x1c)? & 0x7fff_ffff) << 20,
        // The top bit says KiB.
        size if size & 0x8000 != 0 => u64::from(size & 0x7fff) << 10,
        size => u64::from(size) << 20,
    };
    let speed = match entry.get_field_word(0x20).or_else(|| entry.get_field_word(0x15)) {
        Some(0xffff) => entry.get_field_dword(0x58).map(|speed| speed & 0x7fff_ffff),
        speed => speed.map(u32::from),
    };
    let width = |offset| entry.get_field_word(offset).filter(|bits| !matches!(bits, 0 | 0xffff));
    let most = match entry.get_field_word(0x15) {
        Some(0xffff) => entry.get_field_dword(0x54).map(|speed| speed & 0x7fff_ffff),
        speed => speed.map(u32::from),
    };
    Some(Dimm {
        bank: text(entry, 0x11),
        kind: entry.get_field_byte(0x12).and_then(kind).map(str::to_owned),
        buffer: entry.get_field_word(0x13).and_then(buffer).map(str::to_owned),
        ranks: entry.get_field_byte(0x1b).map(|ranks| u32::from(ranks & 0x0f)).filter(|ranks| *ranks != 0),
        ecc: width(0x08).zip(width(0x0a)).map(|(total, data)| total > data),
        speed_max_mts: most.filter(|speed| *speed != 0),
        millivolts: entry.get_field_word(0x26).filter(|volts| *volts != 0).map(u32::from),
        asset_tag: text(entry, 0x19),
        slot: text(entry, 0x10).or_else(|| text(entry, 0x11)).unwrap_or_else(|| "unnamed".into()),
        bytes,
        speed_mts: speed.filter(|speed| *speed != 0),
        manufacturer: text(entry, 0x17),
        part: text(entry, 0x1a),
        serial: serial(entry, 0x18),
        ..Dimm::default()
    })
}

/// Memory types of SMBIOS 3.9, table 79, as far as servers of today have them.
fn kind(code: u8) -> Option<&'static str> {
    Some(match code {
        0x12 => "DDR",
        0x13 => "DDR2",
        0x18 => "DDR3",
        0x1a => "DDR4",
        0x1b => "LPDDR",
        0x1c => "LPDDR2",
        0x1d => "LPDDR3",
        0x1e => "LPDDR4",
        0x1f => "logical non-volatile device",
        0x20 => "HBM",
        0x21 => "HBM2",
        0x22 => "DDR5",
        0x23 => "LPDDR5",
        0x24 => "HBM3",
        _ => return None,
    })
}

/// Bits 13 to 15 of the type detail.
fn buffer(bits: u16) -> Option<&'static str> {
    match bits >> 13 {
        0b001 => Some("registered"),
        0b010 => Some("unbuffered"),
        0b100 | 0b101 => Some("load-reduced"),
        _ => None,
    }
}

/// What the board's print calls its sockets and slots.
#[derive(Debug, Default)]
struct Board {
    /// Populated processor sockets in the order of their records: label and serial.
    sockets: Vec<(Option<String>, Option<Serial>)>,
    /// PCI address without function → label.
    slots: Vec<(String, String)>,
}

impl Board {
    fn take(&mut self, entry: &UndefinedStruct) {
        match entry.header.struct_type() {
            // A central processor, and the bit that says its socket is populated.
            4 if entry.get_field_byte(0x05) == Some(3)
                && entry.get_field_byte(0x18).is_some_and(|status| status & 0x40 != 0) =>
            {
                self.sockets.push((text(entry, 0x04), serial(entry, 0x20)));
            }
            9 => {
                let place = || {
                    let (segment, bus) = (entry.get_field_word(0x0d)?, entry.get_field_byte(0x0f)?);
                    let device = entry.get_field_byte(0x10)? >> 3;
                    let known = segment != 0xffff && (bus, device) != (0xff, 0x1f);
                    known.then(|| format!("{segment:04x}:{bus:02x}:{device:02x}."))
                };
                self.slots.extend(place().zip(text(entry, 0x04)));
            }
            _ => {}
        }
    }

    fn label(self, inventory: &mut Inventory) {
        // With another number of records than packages, nobody knows which is which.
        if self.sockets.len() == inventory.cpus.len() {
            for (cpu, (slot, serial)) in inventory.cpus.iter_mut().zip(self.sockets) {
                (cpu.slot, cpu.serial) = (slot, serial);
            }
        }
        for device in &mut inventory.pci {
            let slot = self.slots.iter().find(|(address, _)| device.address.starts_with(address.as_str()));
            device.slot = slot.map(|(_, label)| label.clone());
        }
    }
}

/// What firmware writes when it has nothing to say counts as nothing, as for serials.
fn text(entry: &UndefinedStruct, offset: usize) -> Option<String> {
    serial(entry, offset).map(|text| text.as_str().to_owned())
}

fn serial(entry: &UndefinedStruct, offset: usize) -> Option<Serial> {
    Serial::parse(&entry.get_field_string(offset).ok()?)
}

/// Firmware that has nothing to say writes all zeros or all ones.
fn told(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    (bytes != [0; 16] && bytes != [0xff; 16]).then(|| uuid(&bytes))
}

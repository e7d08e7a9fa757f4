//! SMBIOS types 0 to 3 and 17 (DMTF DSP0134): who made the machine, and its memory modules.

use appliance_model::{
    Serial,
    inventory::{Dimm, Inventory},
};
use smbioslib::{SMBiosData, UndefinedStruct};

use crate::files::Tree;

const PATH: &str = "sys/firmware/dmi/tables/DMI";

pub(crate) fn read(tree: &Tree, inventory: &mut Inventory) {
    let Some(bytes) = tree.bytes(PATH).filter(|bytes| !bytes.is_empty()) else {
        inventory
            .gaps
            .push("no SMBIOS table: maker, serial and memory modules are not known from inside".into());
        return;
    };
    let table = SMBiosData::from_vec_and_version(bytes, None);
    for entry in table.iter() {
        take(entry, inventory);
    }
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
            system.uuid = entry.get_field_data(0x08, 0x18).and_then(uuid);
        }
        2 if system.board_product.is_none() && system.board_serial.is_none() => {
            system.board_manufacturer = text(entry, 0x04);
            system.board_product = text(entry, 0x05);
            system.board_serial = serial(entry, 0x07);
        }
        3 if system.chassis_serial.is_none() && system.asset_tag.is_none() => {
            system.chassis_serial = serial(entry, 0x07);
            system.asset_tag = text(entry, 0x08);
        }
        17 => inventory.dimms.extend(dimm(entry)),
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
    Some(Dimm {
        slot: text(entry, 0x10).or_else(|| text(entry, 0x11)).unwrap_or_else(|| "unnamed".into()),
        bytes,
        speed_mts: speed.filter(|speed| *speed != 0),
        manufacturer: text(entry, 0x17),
        part: text(entry, 0x1a),
        serial: serial(entry, 0x18),
        ..Dimm::default()
    })
}

/// What firmware writes when it has nothing to say counts as nothing, as for serials.
fn text(entry: &UndefinedStruct, offset: usize) -> Option<String> {
    serial(entry, offset).map(|text| text.as_str().to_owned())
}

fn serial(entry: &UndefinedStruct, offset: usize) -> Option<Serial> {
    Serial::parse(&entry.get_field_string(offset).ok()?)
}

/// Since SMBIOS 2.6 the first three fields are little-endian.
fn uuid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    if bytes == [0; 16] || bytes == [0xff; 16] {
        return None;
    }
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (place, index) in order.into_iter().enumerate() {
        if [4, 6, 8, 10].contains(&place) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", bytes.get(index).copied().unwrap_or_default()));
    }
    Some(text)
}

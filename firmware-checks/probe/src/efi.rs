//! UEFI's variables: what is booted, in which order, and whose signatures count.
//!
//! `efivarfs` writes four bytes of attributes before each variable's data.  Variables are the firmware's, and anybody
//! who was root: sizes are bounded, and what does not parse is left out with a gap.

mod path;

use appliance_model::inventory::{Boot, BootEntry, Inventory, KeyDatabase};
use sha2::{Digest as _, Sha256};

use crate::files::Tree;

const PATH: &str = "sys/firmware/efi/efivars";
/// `EFI_GLOBAL_VARIABLE`.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`.
const SECURITY: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";

/// `EFI_CERT_X509_GUID` and `EFI_CERT_SHA256_GUID`, as stored.
const X509: [u8; 16] =
    [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
const SHA256: [u8; 16] =
    [0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28];

/// More entries than any firmware keeps.
const ENTRIES_MAX: usize = 256;

pub(crate) fn read(tree: &Tree, inventory: &mut Inventory) {
    let names = tree.names(PATH);
    secure_boot(tree, !names.is_empty(), inventory);
    if names.is_empty() {
        return;
    }
    let variable = |name: &str, guid: &str| -> Option<Vec<u8>> {
        let mut bytes = tree.bytes(&format!("{PATH}/{name}-{guid}"))?;
        (bytes.len() > 4).then(|| bytes.split_off(4))
    };
    let global = |name: &str| variable(name, GLOBAL);
    let word = |name: &str| global(name)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
    let flag = |name: &str| global(name)?.first().map(|byte| *byte == 1);
    let order = global("BootOrder").unwrap_or_default();
    let mut boot = Boot {
        current: word("BootCurrent"),
        next: word("BootNext"),
        order: order.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).take(ENTRIES_MAX).collect(),
        setup_mode: flag("SetupMode"),
        deployed_mode: flag("DeployedMode"),
        audit_mode: flag("AuditMode"),
        ..Boot::default()
    };
    let number = |name: &String| {
        let digits = name.strip_prefix("Boot")?.strip_suffix(GLOBAL)?.strip_suffix('-')?;
        (digits.len() == 4).then(|| u16::from_str_radix(digits, 16).ok())?
    };
    for number in names.iter().filter_map(number).take(ENTRIES_MAX) {
        match global(&format!("Boot{number:04X}")).and_then(|data| entry(number, &data)) {
            Some(entry) => boot.entries.push(entry),
            None => inventory.gaps.push(format!("boot entry {number:04X} could not be read")),
        }
    }
    boot.entries.sort_by_key(|entry| entry.number);
    for (name, guid) in [("PK", GLOBAL), ("KEK", GLOBAL), ("db", SECURITY), ("dbx", SECURITY)] {
        boot.keys.extend(variable(name, guid).map(|data| database(name, &data)));
    }
    inventory.boot = Some(boot);
    inventory.sources.insert("boot".into(), "EFI variables".into());
}

/// The variable's four bytes of attributes are followed by one byte: 1 if signatures are enforced.
fn secure_boot(tree: &Tree, variables: bool, inventory: &mut Inventory) {
    match tree.bytes(&format!("{PATH}/SecureBoot-{GLOBAL}")).as_deref() {
        Some([_, _, _, _, value]) => {
            inventory.system.secure_boot = Some(*value == 1);
            inventory.sources.insert("secure_boot".into(), "EFI variable SecureBoot".into());
        }
        // Firmware that shows its variables but not this one was built without Secure Boot.
        None if variables => inventory.system.secure_boot = Some(false),
        Some(_) | None => {
            inventory.gaps.push("Secure Boot state: the EFI variable could not be read".into());
        }
    }
}

/// `EFI_LOAD_OPTION`: attributes, length of the device path, description, device path, data for the program.
fn entry(number: u16, data: &[u8]) -> Option<BootEntry> {
    let attributes = u32::from_le_bytes(*data.first_chunk()?);
    let path_bytes = usize::from(u16::from_le_bytes(*data.get(4..)?.first_chunk()?));
    let rest = data.get(6..)?;
    let characters = rest.as_chunks().0;
    let end = characters.iter().position(|pair| *pair == [0, 0])?;
    let path = rest.get(end * 2 + 2..)?.get(..path_bytes)?;
    Some(BootEntry {
        number,
        description: path::text16(rest.get(..end * 2)?),
        active: attributes & 1 != 0,
        hidden: attributes & 8 != 0,
        path: path::text(path),
    })
}

/// `EFI_SIGNATURE_LIST`s: type, size of the list, of its head and of each signature (an owner's GUID, then the data).
fn database(name: &str, data: &[u8]) -> KeyDatabase {
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut found = KeyDatabase { name: name.into(), sha256: hex(data), ..KeyDatabase::default() };
    let mut rest = data;
    while let Some((kind, list, tail)) = list(rest) {
        let count = u32::try_from(list.len()).unwrap_or(u32::MAX);
        match kind {
            X509 => found.certificates.extend(list.iter().map(|certificate| hex(certificate))),
            SHA256 => found.digests = found.digests.saturating_add(count),
            _ => found.others = found.others.saturating_add(count),
        }
        rest = tail;
    }
    found
}

type List<'a> = ([u8; 16], Vec<&'a [u8]>, &'a [u8]);

fn list(bytes: &[u8]) -> Option<List<'_>> {
    let number = |at: usize| usize::try_from(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok();
    let (whole, head, each) = (number(16)?, number(20)?, number(24)?);
    let body = bytes.get(..whole)?.get(28usize.checked_add(head)?..)?;
    // Each signature begins with its owner.
    let signatures = (each > 16).then(|| body.chunks_exact(each).filter_map(|one| one.get(16..)))?;
    Some((*bytes.first_chunk()?, signatures.collect(), bytes.get(whole..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(description: &str, path: &[u8]) -> Vec<u8> {
        let mut data = 1_u32.to_le_bytes().to_vec();
        data.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
        data.extend(description.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        data.extend(path);
        data.extend(b"data for the program");
        data
    }

    #[test]
    fn entries_are_read() {
        let data = option("UEFI HTTP", &[0x7f, 0xff, 4, 0]);
        let found = entry(3, &data).unwrap();
        assert_eq!((found.number, found.description.as_str()), (3, "UEFI HTTP"));
        assert!(found.active && !found.hidden && found.path.is_empty());
        for cut in 0..data.len() {
            entry(0, &data[..cut]);
            let mut wrong = data.clone();
            wrong[cut] = 0xff;
            entry(0, &wrong);
        }
        // A description without an end, and a path longer than the variable.
        assert_eq!(entry(0, &data[..20]), None);
    }

    #[test]
    fn databases_are_counted() {
        let one = |kind: [u8; 16], signatures: &[&[u8]]| {
            let each = 16 + signatures[0].len();
            let whole = 28 + each * signatures.len();
            let mut list = kind.to_vec();
            for number in [whole, 0, each] {
                list.extend(u32::try_from(number).unwrap().to_le_bytes());
            }
            for signature in signatures {
                list.extend([0; 16]);
                list.extend(*signature);
            }
            list
        };
        let data = [one(X509, &[b"certificate"]), one(SHA256, &[&[1; 32], &[2; 32]]), one([9; 16], &[b"x"])]
            .concat();
        let found = database("db", &data);
        assert_eq!((found.certificates.len(), found.digests, found.others), (1, 2, 1));
        let certificate = Sha256::digest(b"certificate");
        assert!(found.certificates[0].starts_with(&format!("{:02x}{:02x}", certificate[0], certificate[1])));
        for cut in 0..data.len() {
            database("db", &data[..cut]);
            let mut wrong = data.clone();
            wrong[cut] = 0xff;
            database("db", &wrong);
            wrong[cut] = 0;
            database("db", &wrong);
        }
    }
}

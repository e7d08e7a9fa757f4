//! What hardware is in this machine, told from inside: SMBIOS, sysfs, procfs, and the drives' own logs.
//!
//! [`probe`] reads files below a root path, so a recorded tree is as good as a machine.  [`live::complete`] adds
//! what only open devices tell (drives' identity, health and logs, ports' firmware).  [`smart`] judges drives by a
//! printed table of rules (`SMART.md`), whoever asked them.  Everything a machine says is hostile input: bounded,
//! checked, and left out with a word in `gaps` when it makes no sense.  Nothing is ever made up, and nothing is written.

pub mod ata;
mod cpu;
mod dmi;
mod drive;
mod files;
pub mod live;
mod nic;
pub mod nvme;
mod pci;
pub mod scsi;
pub mod smart;

use std::path::Path;

use appliance_model::inventory::Inventory;

use files::Tree;

/// Takes the inventory of the machine whose `/sys` and `/proc` lie below `root` (`/` for this one).
pub fn probe(root: &Path) -> Inventory {
    let tree = Tree::new(root);
    let mut inventory = Inventory::default();
    dmi::read(&tree, &mut inventory);
    cpu::read(&tree, &mut inventory);
    pci::read(&tree, &mut inventory);
    drive::read(&tree, &mut inventory);
    nic::read(&tree, &mut inventory);
    secure_boot(&tree, &mut inventory);
    if !tree.exists("sys/class/tpm/tpm0") {
        inventory.gaps.push("no TPM: switch it on in the BIOS setup, or fit one".into());
    }
    inventory
}

/// The variable's four bytes of attributes are followed by one byte: 1 if signatures are enforced.
fn secure_boot(tree: &Tree, inventory: &mut Inventory) {
    let path = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    match tree.bytes(path).as_deref() {
        Some([_, _, _, _, value]) => {
            inventory.system.secure_boot = Some(*value == 1);
            inventory.sources.insert("secure_boot".into(), "EFI variable SecureBoot".into());
        }
        // Firmware that shows its variables but not this one was built without Secure Boot.
        None if !tree.names("sys/firmware/efi/efivars").is_empty() => {
            inventory.system.secure_boot = Some(false)
        }
        Some(_) | None => {
            inventory.gaps.push("Secure Boot state: the EFI variable could not be read".into());
        }
    }
}

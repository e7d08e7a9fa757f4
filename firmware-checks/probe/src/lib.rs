//! What hardware is in this machine, told from inside: SMBIOS, sysfs, procfs, and the drives' own logs.
//!
//! [`probe`] reads files below a root path, so a recorded tree is as good as a machine.  [`live::complete`] adds
//! what only open devices tell (drives' identity, health and logs, ports' firmware).  [`smart`] judges drives by a
//! printed table of rules (`SMART.md`), whoever asked them.  Everything a machine says is hostile input: bounded,
//! checked, and left out with a word in `gaps` when it makes no sense.  Nothing is ever made up, and nothing
//! is written; [`live::Raw`] sends what another room has made up its mind about.

pub mod ata;
mod cpu;
mod dmi;
mod drive;
mod edac;
mod efi;
mod files;
pub mod gpu;
pub mod live;
pub mod lldp;
mod nic;
pub mod nvme;
mod pci;
mod place;
pub mod scsi;
pub mod smart;

use std::path::Path;

use appliance_model::inventory::{Drive, Inventory};

use files::Tree;

/// Takes the inventory of the machine whose `/sys` and `/proc` lie below `root` (`/` for this one).
pub fn probe(root: &Path) -> Inventory {
    let tree = Tree::new(root);
    let mut inventory = Inventory::default();
    cpu::read(&tree, &mut inventory);
    pci::read(&tree, &mut inventory);
    dmi::read(&tree, &mut inventory);
    edac::read(&tree, &mut inventory);
    drive::read(&tree, &mut inventory);
    nic::read(&tree, &mut inventory);
    efi::read(&tree, &mut inventory);
    place::read(&tree, &mut inventory);
    inventory
}

/// The drives alone, as the kernel names them now.
pub fn drives(root: &Path) -> Vec<Drive> {
    let mut inventory = Inventory::default();
    drive::read(&Tree::new(root), &mut inventory);
    inventory.drives
}

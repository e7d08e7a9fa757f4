//! The drives that count, by their makers' serials: kernel names move.

use std::collections::BTreeSet;

use appliance_model::{
    Serial,
    inventory::{Bus, Drive, Inventory},
};
use thiserror::Error;

/// Why no plan could be made.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// No size of memory.
    #[error("the inventory does not say how much memory the machine has: take it again, or look at its gaps")]
    Memory,
    /// No logical CPUs.
    #[error("the inventory lists no logical CPUs: burn-in needs the agent's inventory, not the BMC's")]
    Cpus,
    /// A drive nobody could name.
    #[error(
        "drive {name} ({model}) gives no serial, so it cannot be tested under a name that lasts: \
         check its controller's pass-through, or take it out"
    )]
    Nameless {
        /// Kernel name.
        name: String,
        /// Model, if known.
        model: String,
    },
    /// Two drives with one serial.
    #[error(
        "two drives give the serial {serial}: a clone or a controller that makes serials up; take one out"
    )]
    Twins {
        /// The serial.
        serial: String,
    },
}

/// The drives that count, by serial, in its order.  Several namespaces of one NVMe drive are one drive.
pub(super) fn named(inventory: &Inventory) -> Result<Vec<(&Serial, &Drive)>, PlanError> {
    let mut seen: BTreeSet<(&str, Option<u32>)> = BTreeSet::new();
    let mut named = Vec::new();
    for drive in inventory.drives.iter().filter(|drive| counts(drive)) {
        let serial = drive.serial.as_ref().ok_or_else(|| PlanError::Nameless {
            name: drive.name.clone().unwrap_or_else(|| "without a name".into()),
            model: drive.model.clone().unwrap_or_else(|| "model unknown".into()),
        })?;
        let known = seen.iter().any(|(other, _)| *other == serial.as_str());
        if !seen.insert((serial.as_str(), drive.namespace)) || (known && drive.namespace.is_none()) {
            return Err(PlanError::Twins { serial: serial.to_string() });
        }
        if !known {
            named.push((serial, drive));
        }
    }
    named.sort_by_key(|(serial, _)| serial.as_str());
    Ok(named)
}

/// Sticks and the BMC's virtual media are not part of what a provider rents out; empty readers have no size.
fn counts(drive: &Drive) -> bool {
    drive.bus != Bus::Usb && drive.bytes > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive(serial: Option<&str>, bus: Bus, namespace: Option<u32>) -> Drive {
        let serial = serial.and_then(Serial::parse);
        Drive { name: Some("nvme0n1".into()), bus, serial, bytes: 1 << 30, namespace, ..Drive::default() }
    }

    #[test]
    fn each_drive_counts_once_and_under_its_own_name() {
        let nvme = |serial, namespace| drive(Some(serial), Bus::Nvme, Some(namespace));
        let nameless = PlanError::Nameless { name: "nvme0n1".into(), model: "model unknown".into() };
        let twins = || PlanError::Twins { serial: "B".into() };
        for (drives, expected) in [
            (vec![], Ok(vec![])),
            (vec![nvme("B", 1), drive(Some("A"), Bus::Sata, None)], Ok(vec!["A", "B"])),
            (vec![nvme("B", 2), nvme("B", 1)], Ok(vec!["B"])),
            (vec![drive(None, Bus::Usb, None)], Ok(vec![])),
            (vec![drive(None, Bus::Sata, None)], Err(nameless)),
            (vec![nvme("B", 1), nvme("B", 1)], Err(twins())),
            (vec![nvme("B", 1), drive(Some("B"), Bus::Sata, None)], Err(twins())),
        ] {
            let inventory = Inventory { drives, ..Inventory::default() };
            let found = named(&inventory);
            let serials = found.map(|found| found.into_iter().map(|(serial, _)| serial.as_str()).collect());
            assert_eq!(serials, expected);
        }
    }
}

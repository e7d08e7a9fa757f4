//! From an inventory and a profile to steps.  Drives are named by their makers' serials: kernel names move.

use std::collections::BTreeSet;

use appliance_model::{
    Serial,
    burn_in::{Plan, Step, Work},
    inventory::{Bus, Drive, Inventory},
};
use thiserror::Error;

use crate::Profile;

/// Memory left to the kernel and the agent while patterns run.
const MEMORY_LEFT_MEBIBYTES: u64 = 256;

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

/// Makes the steps this machine goes through under `profile`.  The same inventory gives the same steps.
pub fn plan(inventory: &Inventory, profile: &Profile) -> Result<Plan, PlanError> {
    if inventory.threads.is_empty() {
        return Err(PlanError::Cpus);
    }
    let total = inventory.memory_bytes.ok_or(PlanError::Memory)? >> 20;
    let mebibytes = profile.memory.walk_mebibytes_max.min(total.saturating_sub(MEMORY_LEFT_MEBIBYTES).max(1));
    let mut steps = vec![
        Step { id: "cpu".into(), work: Work::CpuVerify, seconds: profile.cpu.seconds },
        Step {
            id: "memory".into(),
            work: Work::MemoryPattern { mebibytes },
            seconds: profile.memory.seconds,
        },
    ];
    steps.extend(drives(inventory, profile)?);
    Ok(Plan { profile: profile.name.clone(), profile_digest: profile.digest.to_string(), steps })
}

/// One step a drive.
fn drives(inventory: &Inventory, profile: &Profile) -> Result<Vec<Step>, PlanError> {
    let step = |(serial, _): (&Serial, &Drive)| Step {
        id: format!("drive-{serial}-read"),
        work: Work::DriveRead { serial: serial.clone() },
        seconds: profile.drive.seconds,
    };
    Ok(named(inventory)?.into_iter().map(step).collect())
}

/// The drives that count, by serial, in its order.  Several namespaces of one NVMe drive are one drive.
pub(crate) fn named(inventory: &Inventory) -> Result<Vec<(&Serial, &Drive)>, PlanError> {
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
pub(crate) mod tests {
    use appliance_model::inventory::Thread;

    use super::*;

    fn drive(serial: Option<&str>, bus: Bus, namespace: Option<u32>) -> Drive {
        Drive {
            name: Some("nvme0n1".into()),
            bus,
            model: None,
            serial: serial.and_then(Serial::parse),
            firmware: None,
            bytes: 1 << 30,
            wwid: None,
            namespace,
            bay: None,
            sector_bytes: None,
            sector_bytes_physical: None,
            rotational: None,
            node: None,
            pci: None,
            health: None,
            smart: None,
        }
    }

    pub(crate) fn blank_drive() -> Drive {
        drive(None, Bus::Nvme, None)
    }

    fn machine(drives: Vec<Drive>) -> Inventory {
        Inventory {
            threads: vec![Thread::default()],
            memory_bytes: Some(1 << 30),
            drives,
            ..Inventory::default()
        }
    }

    #[test]
    fn plans() {
        let profile = Profile::built_in("demo").unwrap();
        let nvme = |serial, namespace| drive(Some(serial), Bus::Nvme, Some(namespace));
        for (drives, expected) in [
            (vec![], Ok(vec!["cpu", "memory"])),
            (
                vec![nvme("B", 1), drive(Some("A"), Bus::Sata, None)],
                Ok(vec!["cpu", "memory", "drive-A-read", "drive-B-read"]),
            ),
            (vec![nvme("B", 2), nvme("B", 1)], Ok(vec!["cpu", "memory", "drive-B-read"])),
            (vec![drive(None, Bus::Usb, None)], Ok(vec!["cpu", "memory"])),
            (
                vec![drive(None, Bus::Sata, None)],
                Err(PlanError::Nameless { name: "nvme0n1".into(), model: "model unknown".into() }),
            ),
            (vec![nvme("B", 1), nvme("B", 1)], Err(PlanError::Twins { serial: "B".into() })),
            (
                vec![nvme("B", 1), drive(Some("B"), Bus::Sata, None)],
                Err(PlanError::Twins { serial: "B".into() }),
            ),
        ] {
            let plan = plan(&machine(drives), &profile);
            let ids = plan.map(|plan| plan.steps.into_iter().map(|step| step.id).collect::<Vec<_>>());
            assert_eq!(ids, expected.map(|ids| ids.into_iter().map(String::from).collect()));
        }
    }

    #[test]
    fn memory_is_bounded_by_profile_and_machine() {
        let profile = Profile::built_in("smoke").unwrap();
        for (bytes, expected) in [(64 << 30, (64 << 10) - 256), (100 << 20, 1)] {
            let inventory = Inventory { memory_bytes: Some(bytes), ..machine(vec![]) };
            let steps = plan(&inventory, &profile).unwrap().steps;
            assert_eq!(steps[1].work, Work::MemoryPattern { mebibytes: expected });
        }
        assert_eq!(
            plan(&Inventory { memory_bytes: None, ..machine(vec![]) }, &profile),
            Err(PlanError::Memory)
        );
        assert_eq!(plan(&Inventory::default(), &profile), Err(PlanError::Cpus));
    }
}

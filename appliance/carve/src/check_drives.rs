//! The checker's look at drives: each that is sold is there once and healthy; parts of one lie on it, and none on another.

use std::collections::BTreeMap;

use appliance_model::{
    inventory::{Drive, Grade, Inventory},
    units::{Manifest, Resource, Unit},
};

use crate::Fault;

/// What is nobody's at either end of a drive that is cut.
const MEBIBYTE: u64 = 1 << 20;

/// Behind the first of these, parts begin and end on multiples of so much.
const EXTENT: u64 = 4 * MEBIBYTE;

/// A unit's claim on a drive.
struct Claim<'a> {
    unit: &'a Unit,
    bytes: u64,
    start: Option<u64>,
}

/// How many drives a manifest sells from.
pub(crate) fn count(manifest: &Manifest) -> u128 {
    claims(manifest).len() as u128
}

pub(crate) fn check(inventory: &Inventory, manifest: &Manifest) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (serial, claims) in claims(manifest) {
        let part = format!("drive {serial}");
        let named = |drive: &&Drive| drive.serial.as_ref().is_some_and(|one| one.as_str() == serial);
        let mut found = inventory.drives.iter().filter(named);
        let (drive, other) = (found.next(), found.next());
        for claim in &claims {
            let id = || claim.unit.id.clone();
            match (drive, other) {
                (Some(drive), None) => {
                    let gone = drive.smart.as_ref().is_some_and(|judged| judged.grade == Grade::Fail);
                    if gone || drive.health.as_ref().is_some_and(|health| health.passed == Some(false)) {
                        faults.push(Fault::Failing { id: id(), part: part.clone() });
                    }
                }
                (Some(_), Some(_)) => {
                    let part = format!("{part}, a serial that two drives have");
                    faults.push(Fault::Twice { id: id(), part });
                }
                (None, _) => faults.push(Fault::Absent { id: id(), part: part.clone() }),
            }
        }
        if let (Some(drive), None) = (drive, other) {
            room(drive, &part, &claims, &mut faults);
        }
    }
    faults
}

/// Whether what is sold of a drive has room on it, side by side.
fn room(drive: &Drive, part: &str, claims: &[Claim<'_>], faults: &mut Vec<Fault>) {
    // Whole drives stand first.
    let mut free_from = MEBIBYTE;
    let mut whole = false;
    for claim in claims {
        let id = claim.unit.id.clone();
        let Some(start) = claim.start else {
            if claim.bytes != drive.bytes {
                let (found, expected) = (claim.bytes.to_string(), drive.bytes.to_string());
                let part = format!("{part} bytes");
                faults.push(Fault::Differs { id: id.clone(), part, found, expected });
            }
            if whole {
                faults.push(Fault::Twice { id, part: part.to_owned() });
            }
            whole = true;
            continue;
        };
        let end = u128::from(start) + u128::from(claim.bytes);
        let beside = end + u128::from(MEBIBYTE) > u128::from(drive.bytes) || start < MEBIBYTE;
        if beside || start % EXTENT != MEBIBYTE || claim.bytes % EXTENT != 0 || claim.bytes == 0 {
            let found = format!("at byte {start} with {}", claim.bytes);
            let expected =
                format!("4 MiB or a multiple, behind the first and before the last MiB of {}", drive.bytes);
            faults.push(Fault::Differs { id, part: format!("part of {part}"), found, expected });
        } else if whole || start < free_from {
            faults.push(Fault::Twice { id, part: format!("{part} at byte {start}") });
        }
        free_from = free_from.max(u64::try_from(end).unwrap_or(u64::MAX));
    }
}

/// Claims by drive, in the order of where they begin.
fn claims(manifest: &Manifest) -> BTreeMap<&str, Vec<Claim<'_>>> {
    let mut claims: BTreeMap<&str, Vec<Claim<'_>>> = BTreeMap::new();
    for unit in &manifest.units {
        if let Resource::Storage { serial, bytes, start, .. } = &unit.resource {
            claims.entry(serial.as_str()).or_default().push(Claim { unit, bytes: *bytes, start: *start });
        }
    }
    claims.values_mut().for_each(|all| all.sort_by_key(|claim| claim.start));
    claims
}

//! Is this still the machine that was registered?  Compared by the serials of the parts that its units are made of.
//!
//! Addresses, firmware versions, temperatures and the kernel's names may change; parts may not: units were carved from
//! them, and somebody has booked them.  A drive that no unit is of, such as the one that the host's own system is on, may
//! die and be replaced: the machine is who its TPM says it is, whatever its drives hold.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::{
    Serial,
    inventory::{Bus, Drive, Inventory},
};

use crate::Refusal;

/// What differs between the machine that was `registered` and the one `found` now; `None` if nothing that counts does.
/// `sold` are the drives that units are of; where nobody knows, all count.
#[must_use]
pub fn drift(registered: &Inventory, found: &Inventory, sold: Option<&BTreeSet<Serial>>) -> Option<Refusal> {
    let is_spare = |drive: &&Drive| match (&drive.serial, sold) {
        (Some(serial), Some(sold)) => !sold.contains(serial),
        // What has no name cannot be told from what is sold.
        (None, _) | (_, None) => false,
    };
    let (before, now) = (parts(registered, is_spare), parts(found, is_spare));
    let short = |from: &BTreeMap<String, usize>, than: &BTreeMap<String, usize>| -> Vec<String> {
        let lacks = |(part, count): (&String, &usize)| {
            (*count > than.get(part).copied().unwrap_or(0)).then(|| part.clone())
        };
        from.iter().filter_map(lacks).collect()
    };
    let (gone, mut new) = (short(&before, &now), short(&now, &before));
    let (spares_before, spares_now) = (spares(registered, is_spare), spares(found, is_spare));
    let more = spares_now.values().sum::<usize>().saturating_sub(spares_before.values().sum());
    // In the place of one that is gone stands another; what is more is named.
    new.extend(short(&spares_now, &spares_before).into_iter().take(more));
    if gone.is_empty() && new.is_empty() {
        return None;
    }
    let list = |parts: Vec<String>| if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
    Some(Refusal {
        rule: "drift".into(),
        text: format!(
            "the machine has other parts than were registered: {} gone, {} new. Put the old parts back, or retire \
             the node and enrol the machine again with `host retry` (a drive that no unit is of may be exchanged)",
            list(gone),
            list(new)
        ),
    })
}

/// How often each part is there that counts, in words that name it.
fn parts(inventory: &Inventory, is_spare: impl Fn(&&Drive) -> bool) -> BTreeMap<String, usize> {
    let drives = fixed(inventory).filter(|drive| !is_spare(drive)).map(drive_words);
    let modules = inventory.dimms.iter().map(|dimm| {
        named("memory module", dimm.serial.as_ref(), &format!("{}, {} bytes", dimm.slot, dimm.bytes))
    });
    let board = inventory.system.board_serial.as_ref().map(|serial| format!("board {serial}"));
    counted(drives.chain(modules).chain(board))
}

/// How often each drive is there that no unit is of.
fn spares(inventory: &Inventory, is_spare: impl Fn(&&Drive) -> bool) -> BTreeMap<String, usize> {
    counted(fixed(inventory).filter(is_spare).map(drive_words))
}

/// Media that a BMC or a technician plugs in come by USB, and no unit is carved from them.
fn fixed(inventory: &Inventory) -> impl Iterator<Item = &Drive> {
    inventory.drives.iter().filter(|drive| drive.bus != Bus::Usb)
}

fn drive_words(drive: &Drive) -> String {
    let namespace = drive.namespace.map_or(String::new(), |id| format!(" namespace {id}"));
    let by = format!("{}, {} bytes", drive.model.as_deref().unwrap_or("model unknown"), drive.bytes);
    named("drive", drive.serial.as_ref(), &by) + &namespace
}

fn named(what: &str, serial: Option<&Serial>, else_by: &str) -> String {
    match serial {
        Some(serial) => format!("{what} {serial}"),
        None => format!("{what} without serial ({else_by})"),
    }
}

fn counted(words: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut parts = BTreeMap::new();
    for part in words {
        *parts.entry(part).or_insert(0) += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these drives and memory modules; `-` is a part without a serial.
    fn machine(drives: &[&str], modules: &[&str]) -> Inventory {
        let serial = |serial: &str| match serial {
            "-" => "null".to_owned(),
            serial => format!("{serial:?}"),
        };
        let list = |of: &dyn Fn(&str) -> String, names: &[&str]| {
            names.iter().map(|name| of(name)).collect::<Vec<_>>().join(",")
        };
        let drive = |name: &str| {
            format!(
                r#"{{"name":null,"bus":"nvme","model":"M","serial":{},"firmware":null,"bytes":7,"wwid":null,"namespace":1,"rotational":false,"node":null,"pci":null,"health":null}}"#,
                serial(name)
            )
        };
        let module = |name: &str| {
            format!(
                r#"{{"slot":"A1","bytes":9,"speed_mts":null,"manufacturer":null,"part":null,"serial":{}}}"#,
                serial(name)
            )
        };
        Inventory {
            drives: serde_json::from_str(&format!("[{}]", list(&drive, drives))).unwrap(),
            dimms: serde_json::from_str(&format!("[{}]", list(&module, modules))).unwrap(),
            ..Inventory::default()
        }
    }

    #[test]
    fn parts_that_were_exchanged_are_named() {
        let registered = machine(&["D1", "D2"], &["M1", "-"]);
        for (drives, modules, words) in [
            (&["D2", "D1"][..], &["-", "M1"][..], None),
            (&["D1"], &["M1", "-"], Some("drive D2 namespace 1 gone, nothing new")),
            (&["D1", "D2", "D3"], &["M1", "-"], Some("nothing gone, drive D3 namespace 1 new")),
            (&["D1", "D2", "D2"], &["M1", "-"], Some("nothing gone, drive D2 namespace 1 new")),
            (&["D1", "D2"], &["M2", "-"], Some("memory module M1 gone, memory module M2 new")),
            (&["D1", "D2"], &["M1"], Some("memory module without serial (A1, 9 bytes) gone")),
            (&["D1", "-"], &["M1", "-"], Some("drive without serial (M, 7 bytes) namespace 1 new")),
        ] {
            let found = drift(&registered, &machine(drives, modules), None);
            match words {
                None => assert_eq!(found, None),
                Some(words) => {
                    let found = found.unwrap();
                    assert_eq!(found.rule, "drift");
                    assert!(found.text.contains(words), "{}", found.text);
                }
            }
        }
    }

    /// Units are of D1 and of what has no serial; the host's own system is on S1.
    #[test]
    fn a_drive_that_is_not_sold_may_be_exchanged_and_no_other() {
        let registered = machine(&["D1", "S1", "-"], &["M1"]);
        let sold = BTreeSet::from([Serial::parse("D1").unwrap()]);
        for (drives, words) in [
            (&["D1", "S1", "-"][..], None),
            (&["D1", "S2", "-"], None),
            (&["D1", "-"], None),
            (&["D1", "S1", "S2", "-"], Some("nothing gone, drive S2 namespace 1 new")),
            (&["D1", "S2", "S3", "-"], Some("nothing gone, drive S2 namespace 1 new")),
            (&["D2", "S1", "-"], Some("drive D1 namespace 1 gone")),
            (&["S1", "-"], Some("drive D1 namespace 1 gone, nothing new")),
            (&["D1", "D1", "S1", "-"], Some("nothing gone, drive D1 namespace 1 new")),
            (&["D1", "S1"], Some("drive without serial (M, 7 bytes) namespace 1 gone")),
        ] {
            let found = drift(&registered, &machine(drives, &["M1"]), Some(&sold)).map(|found| found.text);
            match words {
                None => assert_eq!(found, None, "{drives:?}"),
                Some(words) => assert!(found.as_ref().is_some_and(|text| text.contains(words)), "{found:?}"),
            }
        }
    }

    #[test]
    fn what_may_change_is_no_drift() {
        let registered = machine(&["D1"], &["M1"]);
        let mut found = registered.clone();
        found.drives[0].name = Some("nvme7n1".into());
        found.drives[0].firmware = Some("2.0".into());
        found.system.bios_version = Some("9".into());
        found.gaps.push("no TPM facts".into());
        assert_eq!(drift(&registered, &found, None), None);
    }
}

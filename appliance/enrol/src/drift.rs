//! Is this still the machine that was registered?  Compared by the serials of the parts that its units are made of.
//!
//! Addresses, firmware versions, temperatures and the kernel's names may change; parts may not: units were carved from
//! them, and somebody has booked them.

use std::collections::BTreeMap;

use appliance_model::inventory::{Bus, Inventory};

use crate::Refusal;

/// What differs between the machine that was `registered` and the one `found` now; `None` if nothing that counts does.
#[must_use]
pub fn drift(registered: &Inventory, found: &Inventory) -> Option<Refusal> {
    let (before, now) = (parts(registered), parts(found));
    let short = |from: &BTreeMap<String, usize>, than: &BTreeMap<String, usize>| -> Vec<String> {
        let lacks = |(part, count): (&String, &usize)| {
            (*count > than.get(part).copied().unwrap_or(0)).then(|| part.clone())
        };
        from.iter().filter_map(lacks).collect()
    };
    let (gone, new) = (short(&before, &now), short(&now, &before));
    if gone.is_empty() && new.is_empty() {
        return None;
    }
    let list = |parts: Vec<String>| if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
    Some(Refusal {
        rule: "drift".into(),
        text: format!(
            "the machine has other parts than were registered: {} gone, {} new. Put the old parts back, or retire \
             the node and enrol the machine again with `host retry`",
            list(gone),
            list(new)
        ),
    })
}

/// How often each part is there, in words that name it.
fn parts(inventory: &Inventory) -> BTreeMap<String, usize> {
    let named = |what: &str, serial: Option<String>, else_by: String| match serial {
        Some(serial) => format!("{what} {serial}"),
        None => format!("{what} without serial ({else_by})"),
    };
    let text = |serial: &Option<appliance_model::Serial>| serial.as_ref().map(ToString::to_string);
    // Media that a BMC or a technician plugs in come by USB, and no unit is carved from them.
    let fixed = inventory.drives.iter().filter(|drive| drive.bus != Bus::Usb);
    let drives = fixed.map(|drive| {
        let namespace = drive.namespace.map_or(String::new(), |id| format!(" namespace {id}"));
        let by = format!("{}, {} bytes", drive.model.as_deref().unwrap_or("model unknown"), drive.bytes);
        named("drive", text(&drive.serial), by) + &namespace
    });
    let modules = inventory.dimms.iter().map(|dimm| {
        named("memory module", text(&dimm.serial), format!("{}, {} bytes", dimm.slot, dimm.bytes))
    });
    let board = inventory.system.board_serial.as_ref().map(|serial| format!("board {serial}"));
    let mut parts = BTreeMap::new();
    for part in drives.chain(modules).chain(board) {
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
            let found = drift(&registered, &machine(drives, modules));
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

    #[test]
    fn what_may_change_is_no_drift() {
        let registered = machine(&["D1"], &["M1"]);
        let mut found = registered.clone();
        found.drives[0].name = Some("nvme7n1".into());
        found.drives[0].firmware = Some("2.0".into());
        found.system.bios_version = Some("9".into());
        found.gaps.push("no TPM facts".into());
        assert_eq!(drift(&registered, &found), None);
    }
}

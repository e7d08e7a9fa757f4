//! Memory errors counted by the kernel's EDAC drivers, per controller and per module.

use appliance_model::inventory::{Inventory, MemoryController, ModuleErrors};

use crate::files::Tree;

const PATH: &str = "sys/devices/system/edac/mc";

pub(crate) fn read(tree: &Tree, inventory: &mut Inventory) {
    for name in tree.names(PATH) {
        let of = |file: &str| format!("{PATH}/{name}/{file}");
        if !tree.exists(&of("mc_name")) {
            continue;
        }
        let entries = tree.names(&of("")).into_iter();
        let modules = entries.filter(|entry| entry.starts_with("dimm") || entry.starts_with("rank"));
        let module = |entry: String| ModuleErrors {
            label: tree.text(&of(&format!("{entry}/dimm_label"))).unwrap_or_else(|| entry.clone()),
            location: tree.text(&of(&format!("{entry}/dimm_location"))),
            corrected: tree.number(&of(&format!("{entry}/dimm_ce_count"))),
            uncorrected: tree.number(&of(&format!("{entry}/dimm_ue_count"))),
        };
        inventory.memory_controllers.push(MemoryController {
            kind: tree.text(&of("mc_name")),
            corrected: tree.number(&of("ce_count")),
            uncorrected: tree.number(&of("ue_count")),
            corrected_nowhere: tree.number(&of("ce_noinfo_count")),
            uncorrected_nowhere: tree.number(&of("ue_noinfo_count")),
            modules: modules.map(module).collect(),
            name,
        });
    }
    if inventory.memory_controllers.is_empty() {
        if inventory.dimms.iter().any(|dimm| dimm.ecc == Some(true)) {
            let gap =
                "the memory has ECC, and no EDAC driver counts its errors: load the one for this processor";
            inventory.gaps.push(gap.into());
        }
        return;
    }
    inventory.sources.insert("memory_controllers".into(), "/sys/devices/system/edac".into());
    let Inventory { dimms, memory_controllers, .. } = inventory;
    let modules = || memory_controllers.iter().flat_map(|controller| &controller.modules);
    for dimm in dimms {
        // Drivers label modules by their channels, unless somebody has told the board's names; a guess would blame
        // the wrong one.
        let mut named = modules().filter(|module| module.label.trim() == dimm.slot);
        if let (Some(module), None) = (named.next(), named.next()) {
            (dimm.corrected, dimm.uncorrected) = (module.corrected, module.uncorrected);
        }
    }
}

//! What surrounds the operating system: TPM, BMC, hypervisor, as the kernel and the firmware tell.

use appliance_model::inventory::{Inventory, Tpm};

use crate::files::Tree;

pub(crate) fn read(tree: &Tree, inventory: &mut Inventory) {
    tpm(tree, inventory);
    bmc(tree, inventory);
    hypervisor(tree, inventory);
}

/// Who made the TPM only the TPM itself tells; whoever may ask it fills that in.
fn tpm(tree: &Tree, inventory: &mut Inventory) {
    const PATH: &str = "sys/class/tpm/tpm0";
    if !tree.exists(PATH) {
        inventory.gaps.push("no TPM: switch it on in the BIOS setup, or fit one".into());
        return;
    }
    let version = match tree.number::<u8>(&format!("{PATH}/tpm_version_major")) {
        Some(2) => "2.0",
        Some(1) => "1.2",
        Some(_) | None => return,
    };
    let banks = tree.names(PATH).into_iter();
    inventory.tpm = Some(Tpm {
        version: Some(version.into()),
        banks: banks.filter_map(|name| Some(name.strip_prefix("pcr-")?.to_owned())).collect(),
        ..Tpm::default()
    });
    inventory.sources.insert("tpm".into(), "/sys/class/tpm".into());
}

/// The IPMI driver asks the BMC for its firmware version once.
fn bmc(tree: &Tree, inventory: &mut Inventory) {
    const PATH: &str = "sys/bus/platform/devices";
    let devices = tree.names(PATH).into_iter().filter(|name| name.starts_with("ipmi_bmc"));
    let told = |name: String| tree.text(&format!("{PATH}/{name}/firmware_revision"));
    if let Some(version) = devices.filter_map(told).next() {
        inventory.system.bmc_version = Some(version);
        inventory.sources.insert("bmc_version".into(), "IPMI driver".into());
    }
}

/// Processors tell a guest that it is one; what kind, the firmware's words do.
fn hypervisor(tree: &Tree, inventory: &mut Inventory) {
    if !inventory.cpus.iter().any(|cpu| cpu.flags.iter().any(|flag| flag == "hypervisor")) {
        return;
    }
    let system = &mut inventory.system;
    let words = [&system.manufacturer, &system.product].into_iter().flatten().cloned().collect::<Vec<_>>();
    let named = tree.text("sys/hypervisor/type").or((!words.is_empty()).then(|| words.join(" ")));
    system.hypervisor = Some(named.unwrap_or_else(|| "of unknown kind".into()));
    inventory.sources.insert("hypervisor".into(), "CPUID flag, SMBIOS".into());
}

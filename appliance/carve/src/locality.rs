//! Where in the machine a unit is, beyond its NUMA node, and what it offers to confidential workloads.

use std::collections::HashMap;

use appliance_model::{
    inventory::{Gpu, Inventory},
    units::Confidential,
};

/// Bridges above a device at most; a path that is longer goes round in a circle.
const DEPTH_MAX: usize = 32;

/// The tree of PCI functions.
#[derive(Debug)]
pub(crate) struct Bridges<'a> {
    above: HashMap<&'a str, Option<&'a str>>,
}

impl<'a> Bridges<'a> {
    pub(crate) fn of(inventory: &'a Inventory) -> Self {
        let functions = inventory.pci.iter();
        Self { above: functions.map(|one| (one.address.as_str(), one.parent.as_deref())).collect() }
    }

    /// Addresses from the root port down to the device; empty if the device or one of its bridges is unknown.
    pub(crate) fn path(&self, device: Option<&str>) -> Vec<String> {
        let (mut path, mut next) = (Vec::new(), device);
        while let Some(address) = next {
            let Some(above) = self.above.get(address) else { return Vec::new() };
            if path.len() == DEPTH_MAX {
                return Vec::new();
            }
            path.push(address.to_owned());
            next = *above;
        }
        path.reverse();
        path
    }
}

/// What the cores of one socket offer.  The kernel takes a flag away if firmware has not switched the feature on.
pub(crate) fn of_socket(inventory: &Inventory, socket: u32) -> Vec<Confidential> {
    let cpu = inventory.cpus.iter().find(|cpu| cpu.socket == socket);
    let has = |flag: &str| cpu.is_some_and(|cpu| cpu.flags.iter().any(|own| own == flag));
    let offers = [("sev_snp", Confidential::SevSnp), ("tdx_host_platform", Confidential::Tdx)];
    offers.into_iter().filter(|(flag, _)| has(flag)).map(|(_, offer)| offer).collect()
}

/// What a GPU offers.
pub(crate) fn of_gpu(gpu: &Gpu) -> Vec<Confidential> {
    let told = gpu.confidential.unwrap_or_default();
    let on = told.on == Some(true) && told.developer_mode != Some(true);
    if on { vec![Confidential::Gpu] } else { Vec::new() }
}

//! The checker's look at where units are said to be and at what they offer to confidential workloads.  A unit may say
//! nothing of its place; what it says must be so.

use std::collections::HashMap;

use appliance_model::{
    inventory::{Inventory, PciDevice, Thread},
    units::{Confidential, Manifest, Resource, Unit},
};

use crate::Fault;

/// What the inventory says of a unit's part.
#[derive(Debug, Default)]
struct Place<'a> {
    node: Option<u32>,
    pci: Option<&'a str>,
    offers: Vec<Confidential>,
}

struct Machine<'a> {
    inventory: &'a Inventory,
    threads: HashMap<u32, Thread>,
    functions: HashMap<&'a str, &'a PciDevice>,
}

pub(crate) fn check(inventory: &Inventory, manifest: &Manifest) -> Vec<Fault> {
    let machine = Machine {
        inventory,
        threads: inventory.threads.iter().map(|thread| (thread.cpu, *thread)).collect(),
        functions: inventory.pci.iter().map(|one| (one.address.as_str(), one)).collect(),
    };
    manifest.units.iter().flat_map(|unit| machine.unit(unit)).collect()
}

impl<'a> Machine<'a> {
    fn unit(&self, unit: &Unit) -> Vec<Fault> {
        let Some(place) = self.place(&unit.resource) else {
            // A part that is not there is another check's finding; memory is counted by node.
            let stray = !unit.pcie.is_empty() || !unit.confidential.is_empty();
            let found = format!("{:?} {:?}", unit.pcie, unit.confidential);
            let fault =
                || Fault::Elsewhere { id: unit.id.clone(), found, expected: "nothing of the kind".into() };
            return stray.then(fault).into_iter().collect();
        };
        let mut faults = Vec::new();
        let mut elsewhere = |found: String, expected: String| {
            faults.push(Fault::Elsewhere { id: unit.id.clone(), found, expected });
        };
        if unit.node.is_some() && unit.node != place.node {
            let say = |node: Option<u32>| node.map_or("no node".to_owned(), |node| format!("node {node}"));
            elsewhere(say(unit.node), say(place.node));
        }
        if let (Some(last), pci) = (unit.pcie.last(), place.pci)
            && pci != Some(last)
        {
            elsewhere(last.clone(), pci.unwrap_or("no PCI address").to_owned());
        } else if let Some(broken) = self.broken(&unit.pcie) {
            elsewhere(unit.pcie.join(" "), broken);
        }
        if unit.confidential.iter().any(|offer| !place.offers.contains(offer)) {
            let (found, expected) = (format!("{:?}", unit.confidential), format!("{:?}", place.offers));
            faults.push(Fault::Offers { id: unit.id.clone(), found, expected });
        }
        faults
    }

    /// The first step of a path that the inventory does not have, in its words.
    fn broken(&self, path: &[String]) -> Option<String> {
        let mut above: Option<&str> = None;
        for address in path {
            match self.functions.get(address.as_str()) {
                Some(function) if function.parent.as_deref() == above => above = Some(address),
                Some(function) => {
                    let parent = function.parent.as_deref().unwrap_or("nothing");
                    return Some(format!("that {address} is below {parent}"));
                }
                None => return Some(format!("nothing of {address}")),
            }
        }
        None
    }

    fn place(&self, resource: &Resource) -> Option<Place<'a>> {
        let inventory = self.inventory;
        match resource {
            Resource::Compute { cpus } => {
                let thread = cpus.first().and_then(|cpu| self.threads.get(cpu))?;
                let flags = inventory.cpus.iter().filter(|cpu| cpu.socket == thread.socket).take(1);
                let flags: Vec<&str> = flags.flat_map(|cpu| &cpu.flags).map(String::as_str).collect();
                let mut offers = Vec::new();
                if flags.contains(&"sev_snp") {
                    offers.push(Confidential::SevSnp);
                }
                if flags.contains(&"tdx_host_platform") {
                    offers.push(Confidential::Tdx);
                }
                Some(Place { node: Some(thread.node), pci: None, offers })
            }
            Resource::Memory { .. } => None,
            Resource::Storage { serial, .. } => {
                let drive = inventory.drives.iter().find(|drive| drive.serial.as_ref() == Some(serial))?;
                Some(Place { node: drive.node, pci: drive.pci.as_deref(), offers: Vec::new() })
            }
            Resource::Network { mac, .. } => {
                let nic = inventory.nics.iter().find(|nic| nic.mac == Some(*mac))?;
                Some(Place { node: nic.node, pci: nic.pci.as_deref(), offers: Vec::new() })
            }
            Resource::Gpu { uuid, .. } | Resource::GpuSlice { gpu: uuid, .. } => {
                let gpu = inventory.gpus.iter().find(|gpu| gpu.uuid == *uuid)?;
                let on = gpu
                    .confidential
                    .is_some_and(|told| told.on.unwrap_or(false) && !told.developer_mode.unwrap_or(false));
                let offers = if on { vec![Confidential::Gpu] } else { Vec::new() };
                Some(Place { node: gpu.node, pci: gpu.pci.as_deref(), offers })
            }
        }
    }
}

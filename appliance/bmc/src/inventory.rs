//! The walk: from the service root to everything a machine is made of.

use appliance_model::{
    Serial,
    inventory::{Cpu, Dimm, Gpu, Inventory, System, Tpm},
};
use serde_json::Value;

use crate::{
    client::{Bmc, ROOT},
    control::{PowerState, boot_targets, reset_types},
    error::BmcError,
    field,
    quirks::Quirks,
    view::{BmcView, Severity},
    walk::Walk,
};

/// The machine's own resource, how it looks, and who made it.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) path: String,
    pub(crate) system: Value,
    pub(crate) quirks: Quirks,
}

impl Bmc {
    /// Reads what the controller says of its machine.  What cannot be read is a finding.
    ///
    /// # Errors
    /// When the controller cannot be asked at all, or lists no machine.
    pub async fn inventory(&self) -> Result<BmcView, BmcError> {
        let mut walk = Walk::new(self);
        let root = self.inner.get(ROOT).await?.body;
        self.inner.enter().await?;
        let Machine { path, system, quirks } = machine(&mut walk, self, &root).await?;
        let mut inventory = Inventory { system: identity(&system, &quirks), ..Inventory::default() };
        let place = (path.as_str(), &system);
        surroundings(&mut walk, &root, place, &quirks, &mut inventory.system).await;
        processors(&mut walk, &path, &system, &mut inventory).await;
        inventory.dimms = modules(&mut walk, &path, &system).await;
        inventory.drives = crate::storage::drives(&mut walk, &path, &system).await;
        inventory.nics = crate::network::ports(&mut walk, &path, &system, &quirks).await;
        inventory.tpm = tpm(&system);
        for (group, from) in [
            ("system", "redfish ComputerSystem, Chassis, Manager"),
            ("cpus", "redfish Processors"),
            ("dimms", "redfish Memory"),
            ("drives", "redfish Storage"),
            ("nics", "redfish EthernetInterfaces, NetworkAdapters"),
        ] {
            inventory.sources.insert(group.into(), from.into());
        }
        complete(&mut walk, &path, &inventory);
        let reset_types = reset_types(&mut walk, &path, &system).await;
        let mut findings = walk.findings;
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let texts = findings.iter().filter(|finding| finding.severity > Severity::Info);
        inventory.gaps = texts.map(|finding| format!("{}: {}", finding.url, finding.what)).collect();
        Ok(BmcView {
            inventory,
            findings,
            boot_targets: boot_targets(&system),
            http_boot_uri: field::at(&system, &["Boot"])
                .is_some_and(|boot| boot.get("HttpBootUri").is_some()),
            reset_types,
            power: PowerState::of(&system),
            system: path,
            pin: self.pin(),
        })
    }

    /// The machine this controller is for, read afresh.
    pub(crate) async fn machine(&self) -> Result<Machine, BmcError> {
        let root = self.inner.get(ROOT).await?.body;
        self.inner.enter().await?;
        machine(&mut Walk::new(self), self, &root).await
    }
}

/// Picks the machine among the systems a controller lists.
async fn machine(walk: &mut Walk<'_>, bmc: &Bmc, root: &Value) -> Result<Machine, BmcError> {
    let systems = walk.members(ROOT, root, &["Systems"]).await.unwrap_or_default();
    let count = systems.len();
    let likeness = |system: &Value| Quirks::of(root, system).likeness(system);
    let mut best: Option<(u32, String, Value)> = None;
    for (path, system) in systems {
        let score = likeness(&system);
        if best.as_ref().is_none_or(|(other, ..)| score > *other) {
            best = Some((score, path, system));
        }
    }
    let Some((_, path, system)) = best else {
        return Err(BmcError::NoSystem { url: bmc.inner.base.to_string() });
    };
    if count > 1 {
        walk.find(Severity::Info, &path, format!("one of {count} systems; taken for the machine itself"));
    }
    let quirks = Quirks::of(root, &system);
    Ok(Machine { path, system, quirks })
}

fn serial(value: &Value, path: &[&str]) -> Option<Serial> {
    Serial::parse(&field::text(value, path)?)
}

fn identity(system: &Value, quirks: &Quirks) -> System {
    System {
        manufacturer: field::text(system, &["Manufacturer"]),
        product: field::text(system, &["Model"]),
        serial: quirks.label_serial(system).and_then(|text| Serial::parse(&text)),
        uuid: field::text(system, &["UUID"]).map(|uuid| uuid.to_ascii_lowercase()),
        bios_version: field::text(system, &["BiosVersion"]),
        asset_tag: field::text(system, &["AssetTag"]),
        ..System::default()
    }
}

/// Chassis, controller and secure boot: what the system only links to.
async fn surroundings(
    walk: &mut Walk<'_>,
    root: &Value,
    (path, system): (&str, &Value),
    quirks: &Quirks,
    into: &mut System,
) {
    if let Some(chassis) = beside(walk, root, path, system, "Chassis", "Chassis").await {
        into.chassis_serial = quirks.label_serial(&chassis).and_then(|text| Serial::parse(&text));
        into.asset_tag = field::text(&chassis, &["AssetTag"]).or_else(|| into.asset_tag.take());
    }
    if let Some(manager) = beside(walk, root, path, system, "ManagedBy", "Managers").await {
        into.bmc_version = field::text(&manager, &["FirmwareVersion"]);
    }
    if let Some((_, secure)) = walk.linked(path, system, &["SecureBoot"]).await {
        let current = field::text(&secure, &["SecureBootCurrentBoot"]);
        let told = current.map(|state| state == "Enabled");
        into.secure_boot = told.or_else(|| field::flag(&secure, &["SecureBootEnable"]));
    }
}

/// The first resource that the system's `Links` name, else the first of the root's collection (Huawei has no
/// `ManagedBy`).
async fn beside(
    walk: &mut Walk<'_>,
    root: &Value,
    path: &str,
    system: &Value,
    link: &str,
    collection: &str,
) -> Option<Value> {
    let links = field::links(system, &["Links", link]);
    if let Some(first) = links.first() {
        let first = walk.follow(path, first)?;
        return walk.resource(&first).await;
    }
    let what = format!("no link to its {collection}; took the first one");
    walk.find(Severity::Info, path, what);
    walk.members(ROOT, root, &[collection]).await?.into_iter().next().map(|(_, value)| value)
}

async fn processors(walk: &mut Walk<'_>, path: &str, system: &Value, inventory: &mut Inventory) {
    let members = walk.members(path, system, &["Processors"]).await.unwrap_or_default();
    for (url, processor) in members.iter().filter(|(_, processor)| !field::absent(processor)) {
        let model = field::text(processor, &["Model"]);
        match field::text(processor, &["ProcessorType"]).as_deref() {
            Some("CPU") | None => {
                let count = |name| field::small(processor, &[name]);
                let cores = count("TotalCores").or_else(|| count("TotalEnabledCores"));
                if cores.is_none() {
                    walk.find(Severity::Warning, url, "the processor does not say how many cores it has");
                }
                inventory.cpus.push(Cpu {
                    socket: u32::try_from(inventory.cpus.len()).unwrap_or(u32::MAX),
                    model,
                    cores: cores.unwrap_or_default(),
                    threads: count("TotalThreads").unwrap_or_default(),
                    microcode: field::text(processor, &["ProcessorId", "MicrocodeInfo"]),
                });
            }
            Some("GPU") => inventory.gpus.push(Gpu {
                uuid: field::text(processor, &["UUID"]).unwrap_or_default(),
                model: model.unwrap_or_default(),
                serial: serial(processor, &["SerialNumber"]),
                ..Gpu::default()
            }),
            Some(_) => {}
        }
    }
    let told = field::small(system, &["ProcessorSummary", "Count"]);
    let read = inventory.cpus.len();
    if let Some(told) = told.filter(|told| read != 0 && usize::try_from(*told) != Ok(read)) {
        let what = format!("the summary speaks of {told} processors, {read} could be read");
        walk.find(Severity::Warning, path, what);
    }
    if inventory.cpus.is_empty() {
        let count = told.unwrap_or(0).min(64);
        let what = format!("no processor could be read; the summary speaks of {count}");
        walk.find(Severity::Error, path, what);
        let model = field::text(system, &["ProcessorSummary", "Model"]);
        inventory.cpus.extend((0..count).map(|socket| Cpu {
            socket,
            model: model.clone(),
            ..Cpu::default()
        }));
    }
}

async fn modules(walk: &mut Walk<'_>, path: &str, system: &Value) -> Vec<Dimm> {
    let members = walk.members(path, system, &["Memory"]).await.unwrap_or_default();
    let mut dimms = Vec::new();
    for (url, memory) in &members {
        let mebibytes = field::number(memory, &["CapacityMiB"]).unwrap_or(0);
        if field::absent(memory) || mebibytes == 0 {
            continue;
        }
        let slot = field::text(memory, &["DeviceLocator"])
            .or_else(|| field::text(memory, &["Location", "PartLocation", "ServiceLabel"]))
            .or_else(|| field::text(memory, &["Id"]));
        if slot.is_none() {
            walk.find(Severity::Warning, url, "the memory module does not say where it sits");
        }
        dimms.push(Dimm {
            slot: slot.unwrap_or_default(),
            bytes: mebibytes.saturating_mul(1 << 20),
            speed_mts: field::small(memory, &["OperatingSpeedMhz"]),
            manufacturer: field::text(memory, &["Manufacturer"]),
            part: field::text(memory, &["PartNumber"]),
            serial: serial(memory, &["SerialNumber"]),
        });
    }
    let told = field::number(system, &["MemorySummary", "TotalSystemMemoryGiB"]);
    let sum: u64 = dimms.iter().map(|dimm| dimm.bytes >> 30).sum();
    if let Some(told) = told.filter(|told| *told != sum) {
        let what = format!("the summary speaks of {told} GiB of memory, the modules add up to {sum} GiB");
        walk.find(Severity::Warning, path, what);
    }
    dimms
}

/// That there is a TPM 2.0; a controller knows nothing more of it that the agent could confirm.
fn tpm(system: &Value) -> Option<Tpm> {
    let modules = field::at(system, &["TrustedModules"])?.as_array()?;
    let version_2 = |module: &Value| field::text(module, &["InterfaceType"]).as_deref() == Some("TPM2_0");
    modules.iter().any(|module| !field::absent(module) && version_2(module)).then(Tpm::default)
}

/// Says what a complete inventory would have and this one lacks.
fn complete(walk: &mut Walk<'_>, path: &str, inventory: &Inventory) {
    let system = &inventory.system;
    let lacks = [
        (
            system.serial.is_none(),
            Severity::Error,
            "no system serial: this machine cannot be joined with its agent",
        ),
        (inventory.dimms.is_empty(), Severity::Error, "no memory module could be read"),
        (inventory.drives.is_empty(), Severity::Warning, "no drive could be read"),
        (
            inventory.nics.is_empty(),
            Severity::Warning,
            "no network port could be read: boot requests of this machine will come from a stranger",
        ),
        (system.bmc_version.is_none(), Severity::Info, "the controller does not tell its firmware version"),
    ];
    for (lack, severity, what) in lacks {
        if lack {
            walk.find(severity, path, what);
        }
    }
}

//! The walk: from the service root to everything a machine is made of.

use std::sync::Arc;

use appliance_model::{
    Serial,
    inventory::{Cpu, Dimm, Inventory, System, Tpm},
};
use serde_json::Value;

use crate::{
    body,
    boot::boot_targets,
    client::{Bmc, ROOT},
    control_plane,
    error::BmcError,
    field, firmware_settings,
    power::{reset_types, shown_power},
    quirks::{Quirks, Switch, Who, likeness},
    view::{BmcView, Service, Severity},
    walk::Walk,
};

/// What stays true of a controller while we speak to it.
#[derive(Debug)]
pub(crate) struct Known {
    /// The machine's own resource.
    pub(crate) path: String,
    /// Its manager's, where there is one.
    pub(crate) manager: Option<String>,
    pub(crate) quirks: Arc<Quirks>,
    /// Its chassis' serial, for a machine that tells none.
    pub(crate) chassis_serial: Option<Serial>,
}

/// The machine's own resource, how it looks, and how to treat it.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) path: String,
    pub(crate) system: Arc<Value>,
    pub(crate) manager: Option<String>,
    pub(crate) quirks: Arc<Quirks>,
    chassis_serial: Option<Serial>,
}

impl Machine {
    /// The serial it is known by: its own, else its chassis'.
    pub(crate) fn serial(&self) -> Option<Serial> {
        let own = self.quirks.label_serial(&self.system).and_then(|text| Serial::parse(&text));
        own.or_else(|| self.chassis_serial.clone())
    }
}

/// How much of what a controller knows is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What the machine is made of, how it boots, and what the controller can do: for sweeps.
    Machine,
    /// That, with sensors, logs, firmware, BIOS settings, PCIe devices, licences and accounts.
    Everything,
}

impl Bmc {
    /// Reads everything the controller says.  What cannot be read is a finding.
    ///
    /// # Errors
    /// When the controller cannot be asked at all, or lists no machine.
    pub async fn inventory(&self) -> Result<BmcView, BmcError> {
        self.survey(Depth::Everything).await
    }

    /// Reads what the controller says, as much as wanted.  What cannot be read is a finding.
    ///
    /// # Errors
    /// When the controller cannot be asked at all, or lists no machine.
    pub async fn survey(&self, depth: Depth) -> Result<BmcView, BmcError> {
        let mut walk = Walk::new(self);
        let root = self.inner.get(ROOT).await?.body;
        self.inner.enter().await?;
        let found = find_machine(&mut walk, self, &root, &PARTS).await?;
        let Machine { path, system, quirks, .. } = &found.machine;
        let mut inventory = Inventory { system: identity(&mut walk, &found), ..Inventory::default() };
        processors(&mut walk, path, system, &mut inventory).await;
        inventory.dimms = modules(&mut walk, path, system).await;
        inventory.drives = crate::storage::drives(&mut walk, path, system).await;
        inventory.nics = crate::network::ports(&mut walk, path, system).await;
        inventory.tpm = tpm(system);
        complete(&mut walk, &found.machine, &inventory);
        let reset_types = reset_types(&mut walk, path, system).await;
        walk.gravity = Severity::Warning;
        let mut view = BmcView {
            reset_types,
            manager: found.machine.manager.clone(),
            service: service(&root, &found),
            boot_targets: boot_targets(system),
            http_boot_uri: field::at(system, &["Boot"]).is_some_and(|boot| boot.get("HttpBootUri").is_some()),
            power: shown_power(system),
            system: path.clone(),
            pin: self.pin(),
            certificate: self.inner.pinning.certificate(),
            quirks: quirks.notes(),
            switches: quirks.switches().collect(),
            ..BmcView::bare(inventory)
        };
        around(&mut walk, &root, &found, &mut view).await;
        if depth == Depth::Everything {
            beyond(&mut walk, &root, &found, &mut view).await;
        } else {
            crate::control_plane::firmware(&mut walk, &root, &mut view, false).await;
        }
        view.bodies = self.inner.bodies().digests();
        Ok(finish(walk, view))
    }

    /// The machine this controller is for, read afresh.  Which of the systems it is, is found out once.
    pub(crate) async fn machine(&self) -> Result<Machine, BmcError> {
        let known = self.inner.known().clone();
        if let Some(known) = known {
            match self.inner.get(&known.path).await {
                Ok(answer) if answer.body.is_object() => {
                    return Ok(Machine {
                        path: known.path.clone(),
                        system: Arc::new(answer.body),
                        manager: known.manager.clone(),
                        quirks: Arc::clone(&known.quirks),
                        chassis_serial: known.chassis_serial.clone(),
                    });
                }
                // Renamed by an update, or gone: look again.
                Ok(_) | Err(BmcError::Refused { status: 404, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let root = self.inner.get(ROOT).await?.body;
        self.inner.enter().await?;
        Ok(find_machine(&mut Walk::new(self), self, &root, &[]).await?.machine)
    }
}

/// The machine with what stands around it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) machine: Machine,
    pub(crate) manager: Option<(String, Arc<Value>)>,
    pub(crate) chassis: Option<(String, Arc<Value>)>,
    /// Other systems: GPU baseboards, partitions.
    pub(crate) others: Vec<(String, Arc<Value>)>,
}

/// The collections of what a machine is made of.
const PARTS: [&str; 4] = ["Processors", "Memory", "Storage", "EthernetInterfaces"];

/// Picks the machine among the systems a controller lists, and learns who made it.  `parts` of it are read on the way.
pub(crate) async fn find_machine(
    walk: &mut Walk<'_>,
    bmc: &Bmc,
    root: &Value,
    parts: &[&str],
) -> Result<Found, BmcError> {
    let systems = walk.members(ROOT, root, &["Systems"]).await.unwrap_or_default();
    let count = systems.len();
    let mut best: Option<(u32, usize)> = None;
    for (at, (_, system)) in systems.iter().enumerate() {
        let score = likeness(system);
        if best.is_none_or(|(other, _)| score > other) {
            best = Some((score, at));
        }
    }
    let mut others = systems;
    let Some((path, system)) = best.map(|(_, at)| others.remove(at)) else {
        let why = walk.findings.last().map(|finding| format!(" ({}: {})", finding.url, finding.what));
        return Err(BmcError::NoSystem { url: bmc.inner.base.to_string(), why: why.unwrap_or_default() });
    };
    if count > 1 {
        walk.find(Severity::Info, &path, format!("one of {count} systems; taken for the machine itself"));
    }
    walk.ahead(&system, parts, &["Chassis", "ManagedBy"]).await;
    let chassis = beside(walk, root, &path, &system, "Chassis", "Chassis").await;
    let manager = beside(walk, root, &path, &system, "ManagedBy", "Managers").await;
    let value =
        |place: &Option<(String, Arc<Value>)>| place.as_ref().map(|(_, v)| Arc::clone(v)).unwrap_or_default();
    let who = Who::of(root, &system, &value(&manager), &value(&chassis));
    let quirks = Arc::new(Quirks::of(&who));
    let at = manager.as_ref().map(|(path, _)| path.clone());
    let chassis_serial =
        chassis.as_ref().and_then(|(_, one)| quirks.label_serial(one)).and_then(|text| Serial::parse(&text));
    let known = Known {
        path: path.clone(),
        manager: at.clone(),
        quirks: Arc::clone(&quirks),
        chassis_serial: chassis_serial.clone(),
    };
    *bmc.inner.known() = Some(Arc::new(known));
    let machine = Machine { path, system, manager: at, quirks, chassis_serial };
    Ok(Found { machine, manager, chassis, others })
}

/// What decides how the machine can be booted.
async fn around(walk: &mut Walk<'_>, root: &Value, found: &Found, view: &mut BmcView) {
    let Machine { path, system, quirks, .. } = &found.machine;
    let manager = found.manager.as_ref().map(|(url, value)| (url.as_str(), value.as_ref()));
    view.boot = firmware_settings::boot(walk, path, system).await;
    view.secure_boot = firmware_settings::secure_boot(walk, path, system, quirks).await;
    if let Some(secure) = &view.secure_boot {
        view.inventory.system.secure_boot = secure.current.or(secure.enabled);
    }
    view.media = firmware_settings::media(walk, (path, system), manager).await;
    match manager {
        Some(manager) => view.services = control_plane::services(walk, manager).await,
        None => walk.find(Severity::Warning, path, "no manager: nothing is known of the controller itself"),
    }
    view.chassis.extend(found.chassis.iter().map(|(url, chassis)| body::chassis(url, chassis)));
    view.events = control_plane::events(walk, root).await;
    if view.certificate.as_ref().is_some_and(|shown| !shown.in_time) {
        let what =
            "its certificate is expired or not yet valid; the controller is known by its key all the same";
        walk.find(Severity::Info, ROOT, what);
    }
}

/// All the rest.
async fn beyond(walk: &mut Walk<'_>, root: &Value, found: &Found, view: &mut BmcView) {
    let Machine { path, system, quirks, .. } = &found.machine;
    firmware_settings::bios(walk, path, system, view).await;
    let mut all: Vec<(String, Arc<Value>)> = found.chassis.iter().cloned().collect();
    for (url, chassis) in walk.members(ROOT, root, &["Chassis"]).await.unwrap_or_default() {
        if all.iter().all(|(known, _)| *known != url) {
            view.chassis.push(body::chassis(&url, &chassis));
            all.push((url, chassis));
        }
    }
    for (url, chassis) in &all {
        let (sensors, supplies) = (&mut view.sensors, &mut view.power_supplies);
        body::readings(walk, (url, chassis), sensors, supplies).await;
    }
    all.insert(0, (path.clone(), Arc::clone(system)));
    view.pcie = body::devices(walk, &all).await;
    body::gpus(walk, &found.others, &view.pcie, &mut view.inventory.gpus).await;
    control_plane::firmware(walk, root, view, true).await;
    control_plane::licences(walk, root, quirks, view).await;
    let mut logged: Vec<(&str, &Value)> = vec![(path, system)];
    logged.extend(found.manager.iter().map(|(url, value)| (url.as_str(), value.as_ref())));
    control_plane::logs(walk, &logged, &mut view.logs).await;
    view.accounts = control_plane::accounts(walk, root).await;
    for (lack, what) in [
        (view.sensors.is_empty(), "no sensors"),
        (view.power_supplies.is_empty(), "no power supplies"),
        (view.accounts.is_none(), "no account service: passwords cannot be changed through this controller"),
    ] {
        if lack {
            walk.find(Severity::Info, path, what);
        }
    }
}

/// Findings in order, and their texts where the inventory keeps them.
fn finish(walk: Walk<'_>, mut view: BmcView) -> BmcView {
    for (group, from) in [
        ("system", "redfish ComputerSystem, Chassis, Manager"),
        ("cpus", "redfish Processors"),
        ("dimms", "redfish Memory"),
        ("drives", "redfish Storage"),
        ("nics", "redfish EthernetInterfaces, NetworkAdapters"),
        ("gpus", "redfish Processors, PCIeDevices"),
    ] {
        view.inventory.sources.insert(group.into(), from.into());
    }
    view.findings = walk.findings;
    view.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let texts = view.findings.iter().filter(|finding| finding.severity > Severity::Info);
    view.inventory.gaps = texts.map(|finding| format!("{}: {}", finding.url, finding.what)).collect();
    view
}

fn service(root: &Value, found: &Found) -> Service {
    let text = |name: &str| field::text(root, &[name]);
    Service {
        vendor: text("Vendor"),
        product: text("Product"),
        redfish: text("RedfishVersion"),
        uuid: text("UUID"),
        manager_model: found.manager.as_ref().and_then(|(_, manager)| field::text(manager, &["Model"])),
    }
}

fn serial(value: &Value, path: &[&str]) -> Option<Serial> {
    Serial::parse(&field::text(value, path)?)
}

/// What the machine is called, by system, chassis and manager.
fn identity(walk: &mut Walk<'_>, found: &Found) -> System {
    let Machine { path, system, quirks, .. } = &found.machine;
    let label = |resource: &Value| quirks.label_serial(resource).and_then(|text| Serial::parse(&text));
    let chassis = found.chassis.as_ref();
    let chassis_serial = chassis.and_then(|(_, chassis)| label(chassis));
    let serial = found.machine.serial();
    if label(system).is_none() && serial.is_some() {
        let what = "the system has no serial; its chassis' serial stands for it, which may not be what the machine itself tells";
        walk.find(Severity::Warning, path, what);
    }
    let of_chassis = |name: &str| chassis.and_then(|(_, chassis)| field::text(chassis, &[name]));
    System {
        manufacturer: field::text(system, &["Manufacturer"]).or_else(|| of_chassis("Manufacturer")),
        product: field::text(system, &["Model"]).or_else(|| of_chassis("Model")),
        serial,
        uuid: field::text(system, &["UUID"]).map(|uuid| uuid.to_ascii_lowercase()),
        bios_version: field::text(system, &["BiosVersion"]),
        asset_tag: of_chassis("AssetTag").or_else(|| field::text(system, &["AssetTag"])),
        chassis_serial,
        bmc_version: found
            .manager
            .as_ref()
            .and_then(|(_, manager)| field::text(manager, &["FirmwareVersion"])),
        ..System::default()
    }
}

/// The first resource that the system's `Links` name, else the first of the root's collection: some have no
/// `ManagedBy`.
async fn beside(
    walk: &mut Walk<'_>,
    root: &Value,
    path: &str,
    system: &Value,
    link: &str,
    collection: &str,
) -> Option<(String, Arc<Value>)> {
    let links = field::links(system, &["Links", link]);
    if let Some(first) = links.first() {
        let first = walk.follow(path, first)?;
        return walk.resource(&first).await.map(|value| (first, value));
    }
    let what = format!("no link to its {collection}; took the first one");
    walk.find(Severity::Info, path, what);
    walk.members(ROOT, root, &[collection]).await?.into_iter().next()
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
                    ..Cpu::default()
                });
            }
            Some("GPU") => inventory.gpus.push(body::gpu(processor)),
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
        let (severity, what) = match count {
            // Some tell nothing while the machine is off, boards for networks never do.
            0 => (Severity::Warning, "it lists no processor".to_owned()),
            _ => (Severity::Error, format!("no processor could be read; the summary speaks of {count}")),
        };
        walk.find(severity, path, what);
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
            ..Dimm::default()
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
fn complete(walk: &mut Walk<'_>, machine: &Machine, inventory: &Inventory) {
    let Machine { path, system: value, quirks, .. } = machine;
    let system = &inventory.system;
    // An error where the controller speaks of memory; some tell nothing while the machine is off.
    let told = field::number(value, &["MemorySummary", "TotalSystemMemoryGiB"]).is_some_and(|told| told > 0);
    let memory_lack = if told { Severity::Error } else { Severity::Warning };
    let lacks = [
        (
            system.serial.is_none(),
            Severity::Error,
            "no system serial: this machine cannot be joined with its agent",
        ),
        (inventory.dimms.is_empty(), memory_lack, "no memory module could be read"),
        (inventory.drives.is_empty(), Severity::Warning, "no drive could be read"),
        (
            inventory.nics.is_empty(),
            if quirks.has(Switch::NoPortsListed) { Severity::Info } else { Severity::Warning },
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

//! Kinds of parts, each with what names it, where it sits, and what of it a blueprint compares.

use appliance_model::inventory::{Bus, Cpu, Dimm, Drive, Gpu, Nic};

use crate::{
    blueprint::{Cards, Cpus, Dimms, Drives, Gpus, Ports},
    machine::Card,
    quantity::{BitRate, Pattern, Size, Transfers},
    report::Severity,
    slot::{same_bays, same_slots},
};

/// What a part wants to be compared.
pub(crate) trait Part {
    /// `DIMM`.
    const NOUN: &'static str;
    /// Where it sits, if that is known.
    fn place(&self) -> Option<&str>;
    /// Names the place: `drive bay 3`.
    fn at(place: &str) -> String;
    /// Names the part where its place is not known.
    fn itself(&self) -> String;
    /// What it is, in a few words.
    fn is(&self) -> String;
    /// For each place of `ours`, which of `theirs` is the same.
    fn same_places(ours: &[&str], theirs: &[&str]) -> Vec<Option<usize>>;
    /// Whether a machine may have it without the blueprint saying so.
    fn may_be_extra(&self) -> bool {
        false
    }
}

/// A group of a blueprint.
pub(crate) trait Group {
    type Part: Part;
    fn count(&self) -> u32;
    fn places(&self) -> &[String];
    fn severity(&self) -> Severity;
    /// What is wanted, in a few words.
    fn is(&self) -> String;
    /// What is wrong with this part; `Err` for what could not be checked.
    fn differs(&self, part: &Self::Part) -> Vec<Difference>;
}

/// One thing that is otherwise, or was not told.
pub(crate) enum Difference {
    /// Found, expected, and whether it is the part itself or only how it runs.
    Wrong {
        found: String,
        expected: String,
        severity: Severity,
    },
    Untold {
        what: String,
    },
}

/// Wrong unless one of `patterns` fits; no pattern wants anything.
fn text(patterns: &[Pattern], told: Option<&str>, what: &str, severity: Severity) -> Option<Difference> {
    if patterns.is_empty() {
        return None;
    }
    let told = told.map(str::trim).filter(|told| !told.is_empty());
    let Some(told) = told else { return Some(Difference::Untold { what: what.to_owned() }) };
    if patterns.iter().any(|pattern| pattern.fits(told)) {
        return None;
    }
    let expected = patterns.iter().map(|pattern| pattern.0.as_str()).collect::<Vec<_>>().join(" or ");
    Some(Difference::Wrong { found: told.to_owned(), expected, severity })
}

/// Wrong if what is told is not `good`; said by `say`.
fn value<T: ToString + Copy>(
    told: Option<T>,
    good: impl Fn(T) -> bool,
    (what, wanted): (&str, String),
    severity: Severity,
) -> Option<Difference> {
    match told {
        None => Some(Difference::Untold { what: what.to_owned() }),
        Some(told) if good(told) => None,
        Some(told) => Some(Difference::Wrong { found: told.to_string(), expected: wanted, severity }),
    }
}

impl Part for Cpu {
    const NOUN: &'static str = "CPU";
    fn place(&self) -> Option<&str> {
        None
    }
    fn at(place: &str) -> String {
        format!("CPU {place}")
    }
    fn itself(&self) -> String {
        format!("CPU socket {}", self.socket)
    }
    fn is(&self) -> String {
        self.model.clone().unwrap_or_else(|| format!("{} cores", self.cores))
    }
    fn same_places(ours: &[&str], _: &[&str]) -> Vec<Option<usize>> {
        vec![None; ours.len()]
    }
}

impl Group for Cpus {
    type Part = Cpu;
    fn count(&self) -> u32 {
        self.count
    }
    fn places(&self) -> &[String] {
        &[]
    }
    fn severity(&self) -> Severity {
        self.severity
    }
    fn is(&self) -> String {
        self.name.clone()
    }
    fn differs(&self, cpu: &Cpu) -> Vec<Difference> {
        let model = text(&self.model, cpu.model.as_deref(), "model", self.severity);
        let cores = self.cores.and_then(|wanted| {
            let told = (cpu.cores > 0).then(|| format!("{} cores", cpu.cores));
            let words = format!("{wanted} cores");
            let good = words.clone();
            match told {
                None => Some(Difference::Untold { what: "cores".into() }),
                Some(told) if told == good => None,
                Some(found) => Some(Difference::Wrong { found, expected: words, severity: self.severity }),
            }
        });
        model.into_iter().chain(cores).collect()
    }
}

impl Part for Dimm {
    const NOUN: &'static str = "DIMM";
    fn place(&self) -> Option<&str> {
        Some(&self.slot)
    }
    fn at(place: &str) -> String {
        // `P1-DIMMB2` says what it is, `B2` does not.
        if place.to_ascii_uppercase().contains("DIMM") { place.to_owned() } else { format!("DIMM {place}") }
    }
    fn itself(&self) -> String {
        self.serial.as_ref().map_or("a DIMM".to_owned(), |serial| format!("DIMM with serial {serial}"))
    }
    fn is(&self) -> String {
        let part = self.part.as_ref().map(|part| format!(" {}", part.trim())).unwrap_or_default();
        format!("{}{part}", Size(self.bytes))
    }
    fn same_places(ours: &[&str], theirs: &[&str]) -> Vec<Option<usize>> {
        same_slots(ours, theirs)
    }
}

impl Group for Dimms {
    type Part = Dimm;
    fn count(&self) -> u32 {
        self.count.unwrap_or_else(|| u32::try_from(self.slots.len()).unwrap_or(u32::MAX))
    }
    fn places(&self) -> &[String] {
        &self.slots
    }
    fn severity(&self) -> Severity {
        self.severity
    }
    fn is(&self) -> String {
        self.size.to_string()
    }
    fn differs(&self, dimm: &Dimm) -> Vec<Difference> {
        let told = (dimm.bytes > 0).then_some(Size(dimm.bytes));
        let size = value(told, |size| size == self.size, ("size", self.size.to_string()), self.severity);
        let speed = self.speed_min.and_then(|least| {
            let told = dimm.speed_mts.map(Transfers);
            let wanted = ("speed", format!("{least} or more"));
            value(told, |speed| speed >= least, wanted, Severity::Warning)
        });
        let part = text(&self.part, dimm.part.as_deref(), "part number", Severity::Warning);
        size.into_iter().chain(speed).chain(part).collect()
    }
}

impl Part for Drive {
    const NOUN: &'static str = "drive";
    fn place(&self) -> Option<&str> {
        self.bay.as_deref()
    }
    fn at(place: &str) -> String {
        format!("drive bay {place}")
    }
    fn itself(&self) -> String {
        self.serial.as_ref().map_or("a drive".to_owned(), |serial| format!("drive {serial}"))
    }
    fn is(&self) -> String {
        let size = Size(self.bytes).sold();
        self.model.as_ref().map_or(size.clone(), |model| format!("{} {size}", model.trim()))
    }
    fn same_places(ours: &[&str], theirs: &[&str]) -> Vec<Option<usize>> {
        same_bays(ours, theirs)
    }
}

impl Group for Drives {
    type Part = Drive;
    fn count(&self) -> u32 {
        self.count.unwrap_or_else(|| u32::try_from(self.bays.len()).unwrap_or(u32::MAX))
    }
    fn places(&self) -> &[String] {
        &self.bays
    }
    fn severity(&self) -> Severity {
        self.severity
    }
    fn is(&self) -> String {
        let size = self.size.sold();
        if self.name.contains(&size) { self.name.clone() } else { format!("{} {size}", self.name) }
    }
    fn differs(&self, drive: &Drive) -> Vec<Difference> {
        let mut all = Vec::new();
        if drive.bytes == 0 {
            all.push(Difference::Untold { what: "size".into() });
        } else if !self.size.about(Size(drive.bytes)) {
            let found = Part::is(drive);
            all.push(Difference::Wrong { found, expected: Group::is(self), severity: self.severity });
        }
        match self.bus {
            Some(_) if drive.bus == Bus::Unknown => {
                all.push(Difference::Untold { what: "how it is attached".into() });
            }
            Some(bus) if bus != drive.bus => all.push(Difference::Wrong {
                found: format!("{:?}", drive.bus).to_uppercase(),
                expected: format!("{bus:?}").to_uppercase(),
                severity: self.severity,
            }),
            Some(_) | None => {}
        }
        all.extend(text(&self.model, drive.model.as_deref(), "model", self.severity));
        all
    }
}

impl Part for Card {
    const NOUN: &'static str = "card";
    fn place(&self) -> Option<&str> {
        self.slot.as_deref()
    }
    fn at(place: &str) -> String {
        format!("PCIe slot {place}")
    }
    fn itself(&self) -> String {
        format!("PCIe device {}", self.address)
    }
    fn is(&self) -> String {
        format!("card {}", self.id)
    }
    fn same_places(ours: &[&str], theirs: &[&str]) -> Vec<Option<usize>> {
        same_bays(ours, theirs)
    }
}

impl Group for Cards {
    type Part = Card;
    fn count(&self) -> u32 {
        self.count.unwrap_or_else(|| u32::try_from(self.slots.len()).unwrap_or(u32::MAX))
    }
    fn places(&self) -> &[String] {
        &self.slots
    }
    fn severity(&self) -> Severity {
        self.severity
    }
    fn is(&self) -> String {
        self.name.clone()
    }
    fn differs(&self, card: &Card) -> Vec<Difference> {
        let mut all: Vec<_> = text(&self.id, Some(&card.id), "PCI id", self.severity).into_iter().collect();
        for difference in &mut all {
            if let Difference::Wrong { expected, .. } = difference {
                *expected = format!("{} ({expected})", self.name);
            }
        }
        if let Some(least) = self.link_min {
            let wanted = ("link", format!("a link of {least} or more"));
            all.extend(value(card.link, |link| link.reaches(least), wanted, Severity::Warning));
        }
        all
    }
}

impl Part for Nic {
    const NOUN: &'static str = "network port";
    fn place(&self) -> Option<&str> {
        None
    }
    fn at(place: &str) -> String {
        format!("network port {place}")
    }
    fn itself(&self) -> String {
        let by = self.mac.map(|mac| mac.to_string()).or_else(|| self.name.clone());
        format!("network port {}", by.unwrap_or_default())
    }
    fn is(&self) -> String {
        self.driver.as_ref().map_or("network port".to_owned(), |driver| format!("port of {driver}"))
    }
    fn same_places(ours: &[&str], _: &[&str]) -> Vec<Option<usize>> {
        vec![None; ours.len()]
    }
}

impl Group for Ports {
    type Part = Nic;
    fn count(&self) -> u32 {
        self.count
    }
    fn places(&self) -> &[String] {
        &[]
    }
    fn severity(&self) -> Severity {
        self.severity
    }
    fn is(&self) -> String {
        let driver = self.driver.first().map(|driver| format!(" by {}", driver.0)).unwrap_or_default();
        let speed = self.speed_min.map(|speed| format!(" of {speed}")).unwrap_or_default();
        format!("port{driver}{speed}")
    }
    fn differs(&self, nic: &Nic) -> Vec<Difference> {
        let driver = text(&self.driver, nic.driver.as_deref(), "driver", self.severity);
        let speed = self.speed_min.and_then(|least| {
            let told = nic.speed_max_mbps.or(nic.speed_mbps).map(BitRate);
            let wanted = ("speed", format!("{least} or more"));
            value(told, |speed| speed >= least, wanted, self.severity)
        });
        driver.into_iter().chain(speed).collect()
    }
}

impl Part for Gpu {
    const NOUN: &'static str = "GPU";
    fn place(&self) -> Option<&str> {
        None
    }
    fn at(place: &str) -> String {
        format!("GPU {place}")
    }
    fn itself(&self) -> String {
        let by = self.serial.as_ref().map(ToString::to_string).or_else(|| self.pci.clone());
        format!("GPU {}", by.unwrap_or_else(|| self.uuid.clone()))
    }
    fn is(&self) -> String {
        self.model.clone()
    }
    fn same_places(ours: &[&str], _: &[&str]) -> Vec<Option<usize>> {
        vec![None; ours.len()]
    }
}

impl Group for Gpus {
    type Part = Gpu;
    fn count(&self) -> u32 {
        self.count
    }
    fn places(&self) -> &[String] {
        &[]
    }
    fn severity(&self) -> Severity {
        self.severity
    }
    fn is(&self) -> String {
        self.name.clone()
    }
    fn differs(&self, gpu: &Gpu) -> Vec<Difference> {
        let model = text(&self.model, Some(&gpu.model), "model", self.severity);
        let memory = self.memory_min.and_then(|least| {
            let told = (gpu.bytes > 0).then_some(Size(gpu.bytes));
            let wanted = ("memory", format!("{least} or more"));
            value(told, |size| size >= least, wanted, self.severity)
        });
        model.into_iter().chain(memory).collect()
    }
}

//! Writes a blueprint from a good machine, so that the next ones can be compared with it.
//!
//! Only what another machine of the same build has too is written: models, sizes, places.  Serials and firmware are not:
//! the one are each machine's own, the other is a baseline's matter.

use serde::Serialize;

use crate::{
    Machine,
    blueprint::{Cards, Cpus, Dimms, Drives, Gpus, Parts, Ports, TpmPart},
    document::Applies,
    quantity::{BitRate, Pattern, Size, Transfers},
    report::Severity,
    slot::{same_bays, same_slots},
};

/// Why no blueprint can be written from a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FromError {
    /// The name makes no id.
    #[error("`{name}` makes no id for a blueprint; use letters, digits and dashes")]
    Name {
        /// The name.
        name: String,
    },
    /// Too little is known of it.
    #[error("no blueprint can be written from this machine: {}; read its inventory again", lacks.join("; "))]
    Lacks {
        /// What is not known.
        lacks: Vec<String>,
    },
}

/// The header and parts as a file has them.
#[derive(Serialize)]
struct File {
    kind: &'static str,
    format: u32,
    id: String,
    version: u32,
    title: String,
    exercised: bool,
    note: String,
    #[serde(rename = "match")]
    applies: Applies,
    #[serde(flatten)]
    parts: Parts,
}

/// The text of a blueprint that `machine` matches, under an id made of `name`.
///
/// # Errors
/// If the machine does not tell enough of itself to be an example for others.
pub fn blueprint_from(machine: &Machine, name: &str) -> Result<String, FromError> {
    let id: Vec<String> = name
        .to_ascii_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let id = id.join("-");
    if id.is_empty() || id.len() > 80 {
        return Err(FromError::Name { name: name.chars().take(200).collect() });
    }
    let lacks = lacks(machine);
    if !lacks.is_empty() {
        return Err(FromError::Lacks { lacks });
    }
    let exactly = |texts: &[String]| texts.iter().map(|text| Pattern::exactly(text)).collect();
    let file = File {
        kind: "blueprint",
        format: 1,
        id,
        version: 1,
        title: format!("{name}, as one machine was found"),
        exercised: true,
        note: "Written from one machine.  Read it before others are held to it: what that machine had too much of is \
               wanted here, and what it did not tell is not."
            .into(),
        applies: Applies {
            manufacturer: Vec::new(),
            product: exactly(&machine.products),
            board: Vec::new(),
        },
        parts: Parts {
            cpu: cpus(machine),
            dimm: dimms(machine),
            drive: drives(machine),
            card: cards(machine),
            port: ports(machine),
            gpu: gpus(machine),
            tpm: machine.tpm.clone().flatten().map(|tpm| TpmPart {
                banks: tpm.banks,
                severity: Severity::Blocking,
            }),
        },
    };
    toml::to_string(&file).map_err(|error| FromError::Lacks { lacks: vec![error.to_string()] })
}

fn lacks(machine: &Machine) -> Vec<String> {
    let mut lacks = Vec::new();
    if machine.products.is_empty() {
        lacks.push("it tells no model".to_owned());
    }
    if machine.dimms.as_ref().is_none_or(Vec::is_empty) {
        lacks.push("it tells no memory modules".into());
    }
    if machine.cpus.as_ref().is_none_or(Vec::is_empty) {
        lacks.push("it tells no processors".into());
    }
    let mute = machine.drives.iter().flatten().filter(|drive| drive.bytes == 0);
    lacks.extend(mute.map(|drive| {
        let serial = drive.serial.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("drive {serial} tells no size")
    }));
    if machine.gpus.is_none() && machine.gpu_functions.is_some_and(|count| count > 0) {
        lacks.push("it has GPUs that no driver answers for".into());
    }
    lacks
}

/// Equal ones together, in the order of the first of each.
fn groups<T, K: PartialEq>(all: &[T], key: impl Fn(&T) -> K) -> Vec<(K, Vec<&T>)> {
    let mut groups: Vec<(K, Vec<&T>)> = Vec::new();
    for one in all {
        let key = key(one);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.push(one),
            None => groups.push((key, vec![one])),
        }
    }
    groups
}

/// The names of places, if all parts of the machine have one that can be told from the others'.
fn named<'a>(
    all: impl Iterator<Item = Option<&'a str>>,
    same: fn(&[&'a str], &[&'a str]) -> Vec<Option<usize>>,
) -> bool {
    let Some(names) = all.collect::<Option<Vec<_>>>() else { return false };
    same(&names, &names).iter().enumerate().all(|(at, found)| *found == Some(at))
}

fn count<T>(group: &[T]) -> u32 {
    u32::try_from(group.len()).unwrap_or(u32::MAX)
}

fn exactly(text: Option<&str>) -> Vec<Pattern> {
    text.map(str::trim).filter(|text| !text.is_empty()).map(Pattern::exactly).into_iter().collect()
}

fn cpus(machine: &Machine) -> Vec<Cpus> {
    let all = machine.cpus.as_deref().unwrap_or_default();
    let each =
        groups(all, |cpu| (cpu.model.clone(), cpu.cores)).into_iter().map(|((model, cores), group)| Cpus {
            count: count(&group),
            name: model.clone().unwrap_or_else(|| "CPU".into()),
            model: exactly(model.as_deref()),
            cores: (cores > 0).then_some(cores),
            severity: Severity::Blocking,
        });
    each.collect()
}

fn dimms(machine: &Machine) -> Vec<Dimms> {
    let all = machine.dimms.as_deref().unwrap_or_default();
    let placed = named(all.iter().map(|dimm| Some(&*dimm.slot)), same_slots);
    let key = |dimm: &appliance_model::inventory::Dimm| (dimm.bytes, dimm.part.clone(), dimm.speed_mts);
    let each = groups(all, key).into_iter().map(|((bytes, part, speed), group)| Dimms {
        count: (!placed).then(|| count(&group)),
        slots: if placed { group.iter().map(|dimm| dimm.slot.clone()).collect() } else { vec![] },
        size: Size(bytes),
        speed_min: speed.filter(|speed| *speed > 0).map(Transfers),
        part: exactly(part.as_deref()),
        severity: Severity::Blocking,
    });
    each.collect()
}

fn drives(machine: &Machine) -> Vec<Drives> {
    use appliance_model::inventory::{Bus, Drive};
    let all = machine.drives.as_deref().unwrap_or_default();
    let placed = named(all.iter().map(|drive| drive.bay.as_deref()), same_bays);
    let key = |drive: &Drive| (drive.bytes, drive.model.clone(), drive.bus);
    let each = groups(all, key).into_iter().map(|((bytes, model, bus), group)| Drives {
        count: (!placed).then(|| count(&group)),
        bays: if placed { group.iter().filter_map(|drive| drive.bay.clone()).collect() } else { vec![] },
        name: model.as_deref().map_or("drive", str::trim).to_owned(),
        size: Size(bytes),
        bus: (bus != Bus::Unknown).then_some(bus),
        model: exactly(model.as_deref()),
        severity: Severity::Blocking,
    });
    each.collect()
}

fn cards(machine: &Machine) -> Vec<Cards> {
    let all = machine.cards.as_deref().unwrap_or_default();
    let placed = named(all.iter().map(|card| card.slot.as_deref()), same_bays);
    let each =
        groups(all, |card| (card.id.clone(), card.link)).into_iter().map(|((id, link), group)| Cards {
            count: (!placed).then(|| count(&group)),
            slots: if placed { group.iter().filter_map(|card| card.slot.clone()).collect() } else { vec![] },
            name: format!("card {id}"),
            id: vec![Pattern::exactly(&id)],
            link_min: link,
            severity: Severity::Blocking,
        });
    each.collect()
}

fn ports(machine: &Machine) -> Vec<Ports> {
    let all = machine.ports.as_deref().unwrap_or_default();
    let key = |nic: &appliance_model::inventory::Nic| (nic.driver.clone(), nic.speed_max_mbps);
    let each = groups(all, key).into_iter().map(|((driver, speed), group)| Ports {
        count: count(&group),
        driver: exactly(driver.as_deref()),
        speed_min: speed.filter(|speed| *speed > 0).map(BitRate),
        severity: Severity::Blocking,
    });
    each.collect()
}

fn gpus(machine: &Machine) -> Vec<Gpus> {
    let all = machine.gpus.as_deref().unwrap_or_default();
    let each =
        groups(all, |gpu| (gpu.model.clone(), gpu.bytes)).into_iter().map(|((model, bytes), group)| Gpus {
            count: count(&group),
            name: model.trim().to_owned(),
            model: exactly(Some(&model)),
            memory_min: (bytes > 0).then_some(Size(bytes)),
            severity: Severity::Blocking,
        });
    each.collect()
}

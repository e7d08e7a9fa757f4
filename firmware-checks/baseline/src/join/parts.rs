//! Memory modules, drives and GPUs of two witnesses, paired.

use std::collections::BTreeMap;

use appliance_model::{
    Serial,
    inventory::{Bus, Dimm, Drive, Gpu, Inventory},
};

use super::{Found, alike, within};
use crate::{quantity::Size, report::Severity, slot::same_slots};

/// Serials that one witness names twice: a copied label, or one part listed by two paths.
fn twice<'a>(serials: impl Iterator<Item = &'a Serial>) -> Vec<&'a Serial> {
    let mut count = BTreeMap::new();
    for serial in serials {
        *count.entry(serial).or_insert(0u32) += 1;
    }
    count.into_iter().filter(|(_, count)| *count > 1).map(|(serial, _)| serial).collect()
}

fn duplicates<'a>(
    group: &str,
    noun: &str,
    ours: impl Iterator<Item = &'a Serial>,
    theirs: impl Iterator<Item = &'a Serial>,
    found: &mut Found<'_>,
) {
    let what = |serial: &Serial| format!("{noun} {serial}: more than one with this serial");
    for serial in twice(ours) {
        found.add(Severity::Warning, (group, what(serial)), "more than one", "-");
    }
    for serial in twice(theirs) {
        found.add(Severity::Warning, (group, what(serial)), "-", "more than one");
    }
}

/// Controllers print module serials with dates or vendor bytes around them: one within the other is the same.
fn same_serial(one: &Serial, other: &Serial) -> bool {
    one == other || {
        let (short, long) =
            if one.as_str().len() < other.as_str().len() { (one, other) } else { (other, one) };
        short.as_str().len() >= 6 && long.as_str().contains(short.as_str())
    }
}

pub(super) fn memory(in_band: &Inventory, bmc: &Inventory, found: &mut Found<'_>) {
    let (ours, theirs) = (&in_band.dimms, &bmc.dimms);
    if ours.is_empty() || theirs.is_empty() {
        return;
    }
    let serials =
        |dimms: &'_ [Dimm]| -> Vec<Serial> { dimms.iter().filter_map(|dimm| dimm.serial.clone()).collect() };
    let (serials_a, serials_b) = (serials(ours), serials(theirs));
    duplicates("dimms", "memory module", serials_a.iter(), serials_b.iter(), found);
    let slots: Vec<&str> = ours.iter().map(|dimm| dimm.slot.as_str()).collect();
    let slots_b: Vec<&str> = theirs.iter().map(|dimm| dimm.slot.as_str()).collect();
    let at_slot = same_slots(&slots, &slots_b);
    let mut taken = vec![false; theirs.len()];
    let mut rest: Vec<usize> = Vec::new();
    let mut take = |at: usize| taken.get_mut(at).is_some_and(|taken| !std::mem::replace(taken, true));
    // By serial first; among equal serials the one in the same slot.
    for (index, dimm) in ours.iter().enumerate() {
        let place = at_slot.get(index).copied().flatten();
        let same = |at: &usize| match (&dimm.serial, theirs.get(*at).and_then(|other| other.serial.as_ref()))
        {
            (Some(one), Some(other)) => same_serial(one, other),
            (_, _) => false,
        };
        let by_serial = place.into_iter().chain(0..theirs.len()).filter(same).find(|at| take(*at));
        match by_serial.and_then(|at| Some((at, theirs.get(at)?))) {
            Some((at, other)) => module(dimm, other, place == Some(at) || place.is_none(), found),
            None => rest.push(index),
        }
    }
    // Then by slot.
    for index in rest {
        let Some(dimm) = ours.get(index) else { continue };
        let place = at_slot.get(index).copied().flatten().filter(|at| take(*at));
        match place.and_then(|at| theirs.get(at)) {
            Some(other) => {
                let what = format!("memory module in {}: serial", dimm.slot);
                let pair = (dimm.serial.as_ref(), other.serial.as_ref());
                found.differ(Severity::Warning, ("dimms", &what), pair, |_, _| false);
                module(dimm, other, true, found);
            }
            None => found.add(Severity::Warning, ("dimms", name(dimm)), "present", "absent"),
        }
    }
    for (other, _) in theirs.iter().zip(taken).filter(|(_, taken)| !taken) {
        found.add(Severity::Warning, ("dimms", name(other)), "absent", "present");
    }
}

fn name(dimm: &Dimm) -> String {
    match &dimm.serial {
        Some(serial) => format!("memory module {serial} in {}", dimm.slot),
        None => format!("memory module in {}", dimm.slot),
    }
}

fn module(one: &Dimm, other: &Dimm, same_place: bool, found: &mut Found<'_>) {
    let serial = one.serial.as_ref().map_or_else(|| format!("in {}", one.slot), Serial::to_string);
    if !same_place && !one.slot.is_empty() && !other.slot.is_empty() {
        let what = format!("memory module {serial} sits in another slot");
        found.add(Severity::Warning, ("dimms", what), &one.slot, &other.slot);
    }
    let what = format!("memory module {serial} size");
    sizes(("dimms", &what), one.bytes, other.bytes, found);
    let what = format!("memory module {serial} part number");
    let pair = (one.part.as_ref(), other.part.as_ref());
    found.differ(Severity::Info, ("dimms", &what), pair, |a, b| within(a, b));
    let what = format!("memory module {serial} speed in MT/s");
    // Some controllers tell what the module could do instead of what it does.
    let pair = (one.speed_mts.as_ref(), other.speed_mts.as_ref());
    found.differ(Severity::Info, ("dimms", &what), pair, |a, b| a == b || one.speed_max_mts == Some(*b));
}

/// Compares two sizes.  Bytes differ where one counts a namespace and the other the medium: a thousandth is nothing.  And
/// where one took powers of ten for powers of two, that is what is said.
fn sizes((group, what): (&str, &str), one: u64, other: u64, found: &mut Found<'_>) {
    let (small, large) = (one.min(other), one.max(other));
    if small == 0 || large - small <= large / 1000 {
        return;
    }
    let wide = |bytes: u64| u128::from(bytes);
    // 1024ⁿ for 1000ⁿ, from kilobytes to terabytes.
    let mistaken = (1..=4u32).any(|power| {
        let scaled = wide(small) * 1024u128.pow(power) / 1000u128.pow(power);
        scaled.abs_diff(wide(large)) <= wide(large) / 1000
    });
    let say = |bytes: u64| Size(bytes).to_string();
    if mistaken {
        let what = format!("{what}: one counts in powers of ten, the other in powers of two");
        found.add(Severity::Info, (group, what), say(one), say(other));
    } else {
        found.add(Severity::Warning, (group, what), say(one), say(other));
    }
}

pub(super) fn drives(in_band: &Inventory, bmc: &Inventory, found: &mut Found<'_>) {
    // A technician's stick and the controller's virtual media come by USB and go again.
    let ours: Vec<&Drive> = in_band.drives.iter().filter(|drive| drive.bus != Bus::Usb).collect();
    let theirs: Vec<&Drive> = bmc.drives.iter().collect();
    // Namespaces of one drive share its serial, and are one drive.
    let first = ours.iter().filter(|drive| drive.namespace.is_none_or(|id| id <= 1));
    let of = |drive: &&'_ Drive| drive.serial.clone();
    let (serials_a, serials_b): (Vec<_>, Vec<_>) =
        (first.copied().filter_map(|drive| of(&drive)).collect(), theirs.iter().filter_map(of).collect());
    duplicates("drives", "drive", serials_a.iter(), serials_b.iter(), found);
    let mut taken = vec![false; theirs.len()];
    let mut silent: Vec<&Drive> = Vec::new();
    let mut done: Vec<&Serial> = Vec::new();
    for drive in &ours {
        let Some(serial) = &drive.serial else {
            silent.push(drive);
            continue;
        };
        if done.contains(&serial) {
            continue;
        }
        done.push(serial);
        let at = theirs.iter().position(|other| other.serial.as_ref() == Some(serial));
        let Some((at, other)) = at.and_then(|at| Some((at, theirs.get(at)?))) else {
            silent.push(drive);
            continue;
        };
        for (taken, other) in taken.iter_mut().zip(&theirs) {
            *taken |= other.serial.as_ref() == Some(serial);
        }
        debug_assert!(taken.get(at).copied().unwrap_or(true));
        let bytes = ours.iter().filter(|one| one.serial == drive.serial).map(|one| one.bytes).sum();
        one_drive(&serial.to_string(), drive, bytes, other, found);
    }
    without_serial(&silent, &theirs, &mut taken, found);
}

fn one_drive(name: &str, one: &Drive, bytes: u64, other: &Drive, found: &mut Found<'_>) {
    sizes(("drives", &format!("drive {name} bytes")), bytes, other.bytes, found);
    let what = format!("drive {name} model");
    let pair = (one.model.as_ref(), other.model.as_ref());
    found.differ(Severity::Info, ("drives", &what), pair, |a, b| within(a, b));
    let what = format!("drive {name} firmware");
    let pair = (one.firmware.as_ref(), other.firmware.as_ref());
    found.differ(Severity::Info, ("drives", &what), pair, |a, b| alike(a, b));
    if let (Some(a), Some(b)) = (&one.bay, &other.bay)
        && crate::slot::same_bays(&[a], &[b]).first().copied().flatten().is_none()
    {
        found.add(Severity::Warning, ("drives", format!("drive {name} sits in another bay")), a, b);
    }
}

/// Drives that no serial joins: one side without a serial is joined by model and size, the rest stand alone.
fn without_serial(ours: &[&Drive], theirs: &[&Drive], taken: &mut [bool], found: &mut Found<'_>) {
    for drive in ours {
        let fits = |other: &Drive| {
            let silent = drive.serial.is_none() || other.serial.is_none();
            let model = match (&drive.model, &other.model) {
                (Some(one), Some(other)) => within(one, other),
                (_, _) => true,
            };
            silent && model && Size(drive.bytes).about(Size(other.bytes))
        };
        let at = theirs.iter().zip(taken.iter()).position(|(other, taken)| !taken && fits(other));
        if let Some(taken) = at.and_then(|at| taken.get_mut(at)) {
            *taken = true;
            continue;
        }
        // Most controllers see no drives behind plain SATA ports: that is their limit, not a lie.
        let severity = if theirs.is_empty() { Severity::Info } else { Severity::Warning };
        found.add(severity, ("drives", label(drive)), "present", "absent");
    }
    for (other, _) in theirs.iter().zip(taken.iter()).filter(|(_, taken)| !**taken) {
        found.add(Severity::Warning, ("drives", label(other)), "absent", "present");
    }
}

fn label(drive: &Drive) -> String {
    let size = Size(drive.bytes).sold();
    match (&drive.serial, &drive.model) {
        (Some(serial), _) => format!("drive {serial}"),
        (None, Some(model)) => format!("drive without serial ({} {size})", model.trim()),
        (None, None) => format!("drive without serial ({size})"),
    }
}

/// GPUs by serial, UUID or PCI address, whatever both tell.
pub(super) fn gpus(in_band: &Inventory, bmc: &Inventory, found: &mut Found<'_>) {
    let (ours, theirs) = (&in_band.gpus, &bmc.gpus);
    // Without a driver the agent sees none, and many controllers see none at all.
    if ours.is_empty() || theirs.is_empty() {
        return;
    }
    let of = |gpus: &[Gpu]| -> Vec<Serial> { gpus.iter().filter_map(|gpu| gpu.serial.clone()).collect() };
    duplicates("gpus", "GPU", of(ours).iter(), of(theirs).iter(), found);
    let uuid = |gpu: &Gpu| gpu.uuid.trim_start_matches("GPU-").to_ascii_lowercase();
    let mut taken = vec![false; theirs.len()];
    let name = |gpu: &Gpu| {
        let by = gpu.serial.as_ref().map(ToString::to_string).or_else(|| gpu.pci.clone());
        format!("GPU {}", by.unwrap_or_else(|| gpu.uuid.clone()))
    };
    for gpu in ours {
        let same = |other: &Gpu| match (&gpu.serial, &other.serial) {
            (Some(one), Some(other)) => one == other,
            (_, _) if !gpu.uuid.is_empty() && !other.uuid.is_empty() => uuid(gpu) == uuid(other),
            (_, _) => gpu.pci.is_some() && gpu.pci == other.pci,
        };
        let mute = |other: &Gpu| {
            (other.serial.is_none() && other.uuid.is_empty() && other.pci.is_none())
                && within(&gpu.model, &other.model)
        };
        let free = |test: &dyn Fn(&Gpu) -> bool, taken: &[bool]| {
            theirs.iter().zip(taken).position(|(other, taken)| !taken && test(other))
        };
        let at = free(&same, &taken).or_else(|| free(&mute, &taken));
        let Some((other, taken)) = at.and_then(|at| Some((theirs.get(at)?, taken.get_mut(at)?))) else {
            found.add(Severity::Warning, ("gpus", name(gpu)), "present", "absent");
            continue;
        };
        *taken = true;
        if !within(&gpu.model, &other.model) {
            let what = format!("{} model", name(gpu));
            found.add(Severity::Warning, ("gpus", what), &gpu.model, &other.model);
        }
        let what = format!("{} VBIOS", name(gpu));
        let pair = (gpu.vbios.as_ref(), other.vbios.as_ref());
        found.differ(Severity::Info, ("gpus", &what), pair, |a, b| alike(a, b));
    }
    for (other, _) in theirs.iter().zip(taken).filter(|(_, taken)| !taken) {
        found.add(Severity::Warning, ("gpus", name(other)), "absent", "present");
    }
}

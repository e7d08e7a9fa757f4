//! Parts of GPUs (MIG), made by the program that can load the driver's library.
//!
//! What is there already is not made again.  A part is in the record before it is made, so that only our own are taken
//! away again; MIG itself is never switched.

use std::{io, path::Path};

use appliance_model::{
    inventory::{Inventory, MigPlace},
    real::Gpu,
};

use super::{Gate, record::Record};

/// Has a program change a GPU; its words where it does not.
pub(super) type Order = fn(&Path, &[&str]) -> Result<(), String>;

/// Makes the parts that are not there.
pub(super) fn make(
    (program, order): (&Path, Order),
    (wanted, inventory): (&[Gpu], &Inventory),
    record: &mut Record,
    gate: Gate<'_>,
    gaps: &mut Vec<String>,
) -> io::Result<()> {
    for (unit, part) in wanted.iter().filter_map(|gpu| Some((&gpu.unit, gpu.part.as_ref()?))) {
        if is_there(inventory, &part.gpu, part.place) {
            continue;
        }
        gate(Path::new(&part.gpu))?;
        record.part(&part.gpu, part.place)?;
        if let Err(why) = tell((program, order), "make-part", &part.gpu, part.place) {
            gaps.push(format!("{unit}: {why}"));
        }
    }
    Ok(())
}

/// Takes away the parts that the record has, last ones first.
pub(super) fn undo((program, order): (&Path, Order), record: &Record, gate: Gate<'_>) -> io::Result<()> {
    for (gpu, place) in record.parts().rev() {
        gate(Path::new(gpu))?;
        tell((program, order), "remove-part", gpu, place).map_err(io::Error::other)?;
    }
    Ok(())
}

fn is_there(inventory: &Inventory, gpu: &str, place: MigPlace) -> bool {
    let own = inventory.gpus.iter().filter(|one| one.uuid == gpu).filter_map(|one| one.mig.as_ref());
    own.flat_map(|mig| &mig.instances).any(|part| part.place == Some(place))
}

fn tell(
    (program, order): (&Path, Order),
    verb: &str,
    gpu: &str,
    MigPlace { slices, start }: MigPlace,
) -> Result<(), String> {
    let (slices, start) = (slices.to_string(), start.to_string());
    order(program, &[verb, "--gpu", gpu, "--slices", &slices, "--start", &start])
}

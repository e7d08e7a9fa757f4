//! GPUs in the parts that the site wants: which there are, and where.  Nobody here touches a GPU.
//!
//! MIG has to be on already.  What is cut otherwise stays as it is and is sold so; what is cut as wanted, by us or not, is
//! the same units again, because a place and not a UUID names them.

use appliance_model::{
    inventory::{Gpu, MigMode, MigPlace, MigProfile},
    units::Resource,
};

/// The parts of `slices` slices that this GPU can have, in order; empty where it can have none, or is cut otherwise.
pub(crate) fn parts(gpu: &Gpu, mig: &MigMode, slices: u32) -> Vec<Resource> {
    let Some(kind) = mig.profiles.iter().find(|kind| kind.slices == slices && kind.size > 0) else {
        return Vec::new();
    };
    let places = places(kind, gpu.bytes);
    let ours = |place: Option<MigPlace>| {
        place.is_some_and(|place| place.slices == slices && places.contains(&place.start))
    };
    if !mig.instances.iter().all(|part| ours(part.place)) {
        return Vec::new();
    }
    let part = |start| Resource::GpuSlice {
        uuid: format!("{}/{slices}g@{start}", gpu.uuid),
        gpu: gpu.uuid.clone(),
        profile: format!("{} MIG {slices}g", gpu.model),
        bytes: kind.bytes,
        place: Some(MigPlace { slices, start }),
    };
    places.into_iter().map(part).collect()
}

/// Where parts of a kind begin that lie beside one another.
fn places(kind: &MigProfile, bytes: u64) -> Vec<u32> {
    let fit = bytes.checked_div(kind.bytes).and_then(|fit| u32::try_from(fit).ok()).unwrap_or(0);
    let most = usize::try_from(kind.count_max.min(fit)).unwrap_or(0);
    let mut starts = kind.starts.clone();
    starts.sort_unstable();
    let mut free = 0;
    starts.retain(|start| {
        let fits = *start >= free;
        if fits {
            free = start.saturating_add(kind.size);
        }
        fits
    });
    starts.truncate(most);
    starts
}

//! Parts of a GPU (MIG): what there can be, made, and taken away again.
//!
//! A part is a GPU instance with one compute instance that has all of it; where it lies (profile and first memory slice)
//! names it, because its UUID is known only afterwards.  Each call can be repeated: what is there already is not made
//! again, half a part is finished, and what is gone is gone.  MIG itself is never switched on or off: that resets a GPU.

use std::ffi::OsStr;

use appliance_model::inventory::{MigPlace, MigProfile};
use nvml_wrapper::{
    Device, Nvml,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::{
    NVML_GPU_INSTANCE_PROFILE_1_SLICE, NVML_GPU_INSTANCE_PROFILE_2_SLICE, NVML_GPU_INSTANCE_PROFILE_3_SLICE,
    NVML_GPU_INSTANCE_PROFILE_4_SLICE, NVML_GPU_INSTANCE_PROFILE_6_SLICE, NVML_GPU_INSTANCE_PROFILE_7_SLICE,
    NVML_GPU_INSTANCE_PROFILE_8_SLICE, nvmlComputeInstance_t, nvmlGpuInstance_t, nvmlGpuInstancePlacement_t,
};

use crate::{open, told};

/// The plain kinds, by compute slices; those with other engines or more memory have numbers of their own.  Compute
/// instances of all of a part have the same numbers.
const KINDS: [(u32, u32); 7] = [
    (1, NVML_GPU_INSTANCE_PROFILE_1_SLICE),
    (2, NVML_GPU_INSTANCE_PROFILE_2_SLICE),
    (3, NVML_GPU_INSTANCE_PROFILE_3_SLICE),
    (4, NVML_GPU_INSTANCE_PROFILE_4_SLICE),
    (6, NVML_GPU_INSTANCE_PROFILE_6_SLICE),
    (7, NVML_GPU_INSTANCE_PROFILE_7_SLICE),
    (8, NVML_GPU_INSTANCE_PROFILE_8_SLICE),
];

/// No GPU has more places or parts; the library's count is not believed beyond it.
const PLACES_MAX: usize = 64;

/// The plain kinds of parts that this GPU can be cut into.
pub(crate) fn profiles(nvml: &Nvml, device: &Device<'_>, no: &mut Vec<String>) -> Vec<MigProfile> {
    let mut found = Vec::new();
    for (slices, kind) in KINDS {
        let info = match device.profile_info(kind) {
            Ok(info) => info,
            // Kinds that this board does not have are refused with either word.
            Err(NvmlError::NotSupported | NvmlError::InvalidArg | NvmlError::FailedToLoadSymbol(_)) => {
                continue;
            }
            Err(error) => {
                told::<()>(no, "MIG profile", Err(error));
                continue;
            }
        };
        let Some(places) = told(no, "MIG places", places(nvml, device, info.id)) else { continue };
        found.push(MigProfile {
            id: info.id,
            slices,
            bytes: info.memory_size_mb.saturating_mul(1 << 20),
            count_max: info.instance_count,
            size: places.first().map_or(0, |place| place.size),
            starts: places.iter().map(|place| place.start).collect(),
        });
    }
    found
}

/// Where a part lies, if it is of one of these kinds.
pub(crate) fn place(
    nvml: &Nvml,
    device: &Device<'_>,
    part: &Device<'_>,
    kinds: &[MigProfile],
) -> Result<Option<MigPlace>, NvmlError> {
    let id = gpu_instance_id(nvml, part)?;
    let (profile, placement) = about(nvml, by_id(nvml, device, id)?)?;
    let kind = kinds.iter().find(|kind| kind.id == profile);
    Ok(kind.map(|kind| MigPlace { slices: kind.slices, start: placement.start }))
}

/// Makes a part of so many slices at a place of a GPU, unless it is there.
///
/// # Errors
/// In words: what was tried, on which GPU, what the driver said.
pub fn make(library: Option<&OsStr>, gpu: &str, slices: u32, start: u32) -> Result<(), String> {
    let nvml = open(library)?;
    let at = At::of(&nvml, gpu, slices, start)?;
    let instance = match at.find()? {
        Some(instance) => instance,
        None => {
            let place = places(&nvml, &at.device, at.profile).map_err(at.said("asking for its places"))?;
            let place = place.into_iter().find(|place| place.start == start);
            let place = place.ok_or_else(|| at.words("no part can begin there"))?;
            create(&nvml, &at.device, at.profile, place).map_err(at.said("making it"))?
        }
    };
    let kind = compute_kind(&nvml, instance, at.kind).map_err(at.said("asking what computes in it"))?;
    if computing(&nvml, instance, kind).map_err(at.said("looking what computes in it"))?.is_empty() {
        compute(&nvml, instance, kind).map_err(at.said("making what computes in it"))?;
    }
    Ok(())
}

/// Takes such a part away, if it is there.
///
/// # Errors
/// As for [`make`]; a part that is in use stays.
pub fn remove(library: Option<&OsStr>, gpu: &str, slices: u32, start: u32) -> Result<(), String> {
    let nvml = open(library)?;
    let at = At::of(&nvml, gpu, slices, start)?;
    let Some(instance) = at.find()? else { return Ok(()) };
    let kind = compute_kind(&nvml, instance, at.kind).map_err(at.said("asking what computes in it"))?;
    for one in computing(&nvml, instance, kind).map_err(at.said("looking what computes in it"))? {
        destroy_compute(&nvml, one).map_err(at.said("taking away what computes in it"))?;
    }
    destroy(&nvml, instance).map_err(at.said("taking it away"))
}

/// A place of a GPU.
struct At<'a> {
    nvml: &'a Nvml,
    device: Device<'a>,
    gpu: &'a str,
    slices: u32,
    start: u32,
    kind: u32,
    profile: u32,
    count_max: u32,
}

impl<'a> At<'a> {
    fn of(nvml: &'a Nvml, gpu: &'a str, slices: u32, start: u32) -> Result<Self, String> {
        let before = |why: &dyn std::fmt::Display| format!("a part of {slices} slices of {gpu}: {why}");
        let device = nvml.device_by_uuid(gpu).map_err(|error| before(&error))?;
        let kind = KINDS.iter().find(|(found, _)| *found == slices).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| before(&"there is no such kind"))?;
        let on = device.mig_mode().map_err(|error| before(&error))?.current == 1;
        if !on {
            return Err(before(&"MIG is off; `nvidia-smi -mig 1` switches it on, which resets the GPU"));
        }
        let info = device.profile_info(kind).map_err(|error| before(&error))?;
        Ok(Self { nvml, device, gpu, slices, start, kind, profile: info.id, count_max: info.instance_count })
    }

    fn words(&self, why: &str) -> String {
        format!("a part of {} slices of {} from slice {}: {why}", self.slices, self.gpu, self.start)
    }

    fn said(&self, doing: &'static str) -> impl Fn(NvmlError) -> String + use<'_, 'a> {
        move |error| self.words(&format!("{doing}: {error}"))
    }

    fn find(&self) -> Result<Option<nvmlGpuInstance_t>, String> {
        let said = self.said("looking for it");
        let all = instances(self.nvml, &self.device, self.profile, self.count_max).map_err(&said)?;
        for instance in all {
            if about(self.nvml, instance).map_err(&said)?.1.start == self.start {
                return Ok(Some(instance));
            }
        }
        Ok(None)
    }
}

/// `nvmlDeviceGetGpuInstancePossiblePlacements_v2`: the wrapper's own list is always empty.
#[expect(unsafe_code, reason = "the wrapper does not take over what the call writes")]
fn places(
    nvml: &Nvml,
    device: &Device<'_>,
    profile: u32,
) -> Result<Vec<nvmlGpuInstancePlacement_t>, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlDeviceGetGpuInstancePossiblePlacements_v2.as_ref())?;
    let mut count = 0;
    // SAFETY: the handle belongs to `nvml`; without a list only the number is written.
    nvml_try(unsafe { call(device.handle(), profile, std::ptr::null_mut(), &raw mut count) })?;
    let mut list = vec![nvmlGpuInstancePlacement_t { start: 0, size: 0 }; room(count)];
    count = u32::try_from(list.len()).unwrap_or(0);
    // SAFETY: as above, and the list has room for `count`.
    nvml_try(unsafe { call(device.handle(), profile, list.as_mut_ptr(), &raw mut count) })?;
    list.truncate(room(count));
    Ok(list)
}

fn room(count: u32) -> usize {
    usize::try_from(count).unwrap_or(0).min(PLACES_MAX)
}

/// `nvmlDeviceGetGpuInstances`.
#[expect(unsafe_code, reason = "the wrapper does not have this call")]
fn instances(
    nvml: &Nvml,
    device: &Device<'_>,
    profile: u32,
    count_max: u32,
) -> Result<Vec<nvmlGpuInstance_t>, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlDeviceGetGpuInstances.as_ref())?;
    // The interface wants room for as many as there can be.
    let mut list = vec![std::ptr::null_mut(); room(count_max)];
    let mut count = u32::try_from(list.len()).unwrap_or(0);
    // SAFETY: the handle belongs to `nvml`, and the list has room for as many as this kind can have.
    nvml_try(unsafe { call(device.handle(), profile, list.as_mut_ptr(), &raw mut count) })?;
    list.truncate(room(count));
    Ok(list)
}

/// `nvmlGpuInstanceGetInfo`: profile and place.
#[expect(unsafe_code, reason = "the wrapper does not have this call")]
fn about(nvml: &Nvml, instance: nvmlGpuInstance_t) -> Result<(u32, nvmlGpuInstancePlacement_t), NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlGpuInstanceGetInfo.as_ref())?;
    // SAFETY: the structure is numbers and a handle, for which zeros are a value.
    let mut info = unsafe { std::mem::zeroed::<nvml_wrapper_sys::bindings::nvmlGpuInstanceInfo_t>() };
    // SAFETY: the instance is the library's, and the structure outlives the call.
    nvml_try(unsafe { call(instance, &raw mut info) })?;
    Ok((info.profileId, info.placement))
}

/// `nvmlDeviceGetGpuInstanceId`.
#[expect(unsafe_code, reason = "the wrapper does not have this call")]
fn gpu_instance_id(nvml: &Nvml, part: &Device<'_>) -> Result<u32, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlDeviceGetGpuInstanceId.as_ref())?;
    let mut id = 0;
    // SAFETY: the handle belongs to `nvml`, and the number outlives the call.
    nvml_try(unsafe { call(part.handle(), &raw mut id) })?;
    Ok(id)
}

/// `nvmlDeviceGetGpuInstanceById`.
#[expect(unsafe_code, reason = "the wrapper does not have this call")]
fn by_id(nvml: &Nvml, device: &Device<'_>, id: u32) -> Result<nvmlGpuInstance_t, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlDeviceGetGpuInstanceById.as_ref())?;
    let mut instance = std::ptr::null_mut();
    // SAFETY: the handle belongs to `nvml`, and there is room for one.
    nvml_try(unsafe { call(device.handle(), id, &raw mut instance) })?;
    Ok(instance)
}

/// `nvmlDeviceCreateGpuInstanceWithPlacement`.
#[expect(unsafe_code, reason = "the wrapper does not have this call")]
fn create(
    nvml: &Nvml,
    device: &Device<'_>,
    profile: u32,
    place: nvmlGpuInstancePlacement_t,
) -> Result<nvmlGpuInstance_t, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlDeviceCreateGpuInstanceWithPlacement.as_ref())?;
    let mut instance = std::ptr::null_mut();
    // SAFETY: the handle belongs to `nvml`; the place is read and the instance written during the call.
    nvml_try(unsafe { call(device.handle(), profile, &raw const place, &raw mut instance) })?;
    Ok(instance)
}

/// `nvmlGpuInstanceGetComputeInstanceProfileInfo`: the driver's number for a compute instance that has all of a part.
#[expect(unsafe_code, reason = "the wrapper does not have this call")]
fn compute_kind(nvml: &Nvml, instance: nvmlGpuInstance_t, kind: u32) -> Result<u32, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlGpuInstanceGetComputeInstanceProfileInfo.as_ref())?;
    // SAFETY: the structure is numbers, for which zeros are a value.
    let mut info =
        unsafe { std::mem::zeroed::<nvml_wrapper_sys::bindings::nvmlComputeInstanceProfileInfo_t>() };
    // SAFETY: the instance is the library's, and the structure outlives the call; 0 is the only kind of engines.
    nvml_try(unsafe { call(instance, kind, 0, &raw mut info) })?;
    Ok(info.id)
}

/// `nvmlGpuInstanceGetComputeInstances`.
#[expect(unsafe_code, reason = "the wrapper does not have this call")]
fn computing(
    nvml: &Nvml,
    instance: nvmlGpuInstance_t,
    profile: u32,
) -> Result<Vec<nvmlComputeInstance_t>, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlGpuInstanceGetComputeInstances.as_ref())?;
    let mut list = vec![std::ptr::null_mut(); PLACES_MAX];
    let mut count = u32::try_from(list.len()).unwrap_or(0);
    // SAFETY: the instance is the library's, and the list has more room than there can be.
    nvml_try(unsafe { call(instance, profile, list.as_mut_ptr(), &raw mut count) })?;
    list.truncate(room(count));
    Ok(list)
}

/// `nvmlGpuInstanceCreateComputeInstance`.
#[expect(unsafe_code, reason = "the wrapper does not have this call")]
fn compute(nvml: &Nvml, instance: nvmlGpuInstance_t, profile: u32) -> Result<(), NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlGpuInstanceCreateComputeInstance.as_ref())?;
    let mut made = std::ptr::null_mut();
    // SAFETY: the instance is the library's, and there is room for one.
    nvml_try(unsafe { call(instance, profile, &raw mut made) })
}

/// `nvmlComputeInstanceDestroy`.
#[expect(unsafe_code, reason = "the wrapper does not have this call")]
fn destroy_compute(nvml: &Nvml, one: nvmlComputeInstance_t) -> Result<(), NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlComputeInstanceDestroy.as_ref())?;
    // SAFETY: the library gave this handle, and it is not used again.
    nvml_try(unsafe { call(one) })
}

/// `nvmlGpuInstanceDestroy`.
#[expect(unsafe_code, reason = "the wrapper does not have this call")]
fn destroy(nvml: &Nvml, instance: nvmlGpuInstance_t) -> Result<(), NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlGpuInstanceDestroy.as_ref())?;
    // SAFETY: the library gave this handle, and it is not used again.
    nvml_try(unsafe { call(instance) })
}

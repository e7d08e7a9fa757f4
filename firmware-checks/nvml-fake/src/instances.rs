//! NVML's calls about parts of a board (MIG): kinds, places, instances made and destroyed.
//!
//! What is made stands in the file of what is different now, so that the next process finds it.  As on a real board, an
//! instance without something that computes in it is no device, and one that is in use stays (`faults.busy`).

#![expect(unsafe_code, reason = "a C library: names that are exported, and pointers that callers lend")]

use std::{ffi::c_uint, fs};

use nvml_wrapper_sys::bindings::{
    nvmlComputeInstance_t, nvmlComputeInstanceProfileInfo_t, nvmlDevice_t, nvmlGpuInstance_t,
    nvmlGpuInstanceInfo_t, nvmlGpuInstancePlacement_t, nvmlGpuInstanceProfileInfo_t, nvmlReturn_t,
};
use serde_json::{Value, json};

use crate::{
    boards::{Board, machine, now_path},
    calls::{
        DRIVER_NOT_LOADED, INSUFFICIENT_SIZE, INVALID_ARGUMENT, NOT_FOUND, NOT_SUPPORTED, board, code,
        part_of, put,
    },
};

const IN_USE: nvmlReturn_t = 19;
const INSUFFICIENT_RESOURCES: nvmlReturn_t = 23;
const UNKNOWN: nvmlReturn_t = 999;

/// Handles of instances: these, a thousand for each board, and the instance's number.
const GPU_INSTANCES: usize = 0x20_0000;
const COMPUTE_INSTANCES: usize = 0x40_0000;
const EACH: usize = 0x1000;

fn number(value: &Value, name: &str) -> u32 {
    value.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

fn on(board: &'static Board) -> Result<&'static Board, nvmlReturn_t> {
    board.flag("/mig/mode_current").filter(|on| *on).map(|_| board).ok_or(NOT_SUPPORTED)
}

/// A kind by the interface's number, or by the driver's.
fn kind(board: &'static Board, name: &str, is: c_uint) -> Result<&'static Value, nvmlReturn_t> {
    let all = board.list("/mig/profiles");
    all.iter().find(|one| one.get(name).is_some() && number(one, name) == is).ok_or(NOT_SUPPORTED)
}

/// The board's place among boards, and an instance of it.
fn instance(handle: usize, from: usize) -> Result<(usize, &'static Board, &'static Value), nvmlReturn_t> {
    let rest = handle.checked_sub(from).ok_or(INVALID_ARGUMENT)?;
    let (place, id) = (rest / EACH, u64::try_from(rest % EACH).map_err(|_| INVALID_ARGUMENT)?);
    let board = machine().ok_or(DRIVER_NOT_LOADED)?.boards.get(place).ok_or(INVALID_ARGUMENT)?;
    let all = board.list("/mig/instances");
    let found = all.iter().find(|one| one.get("id").and_then(Value::as_u64) == Some(id));
    Ok((place, board, found.ok_or(NOT_FOUND)?))
}

fn handle(from: usize, place: usize, one: &Value) -> usize {
    from + place * EACH + usize::try_from(number(one, "id")).unwrap_or(0)
}

/// Writes what the board is cut into now.
fn keep(board: &Board, instances: &[Value]) -> Result<(), nvmlReturn_t> {
    let path = now_path().ok_or(UNKNOWN)?;
    let mut now: Value = fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_else(|| json!({}));
    let uuid = board.text("/uuid").ok_or(UNKNOWN)?;
    crate::boards::merge(&mut now, &json!({ uuid: { "mig": { "instances": instances } } }));
    fs::write(path, now.to_string()).map_err(|_| UNKNOWN)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstanceProfileInfo(
    device: nvmlDevice_t,
    profile: c_uint,
    into: *mut nvmlGpuInstanceProfileInfo_t,
) -> nvmlReturn_t {
    let info = board(device).and_then(|board| {
        let one = kind(board, "kind", profile)?;
        Ok(nvmlGpuInstanceProfileInfo_t {
            id: number(one, "id"),
            isP2pSupported: 0,
            sliceCount: number(one, "slices"),
            instanceCount: number(one, "count"),
            multiprocessorCount: 0,
            copyEngineCount: 0,
            decoderCount: 0,
            encoderCount: 0,
            jpegCount: 0,
            ofaCount: 0,
            memorySizeMB: number(one, "memory_mb").into(),
        })
    });
    // SAFETY: the caller lends the structure.
    code(info.and_then(|info| unsafe { put(into, info) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstancePossiblePlacements_v2(
    device: nvmlDevice_t,
    profile: c_uint,
    places: *mut nvmlGpuInstancePlacement_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    code(board(device).and_then(|board| {
        let one = kind(board, "id", profile)?;
        let starts = one.get("starts").and_then(Value::as_array).ok_or(NOT_SUPPORTED)?;
        let starts: Vec<u32> =
            starts.iter().filter_map(|start| u32::try_from(start.as_u64()?).ok()).collect();
        if count.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        if !places.is_null() {
            // SAFETY: not null, and the caller's number.
            if usize::try_from(unsafe { count.read() }).unwrap_or(0) < starts.len() {
                return Err(INSUFFICIENT_SIZE);
            }
            for (at, start) in starts.iter().enumerate() {
                let place = nvmlGpuInstancePlacement_t { start: *start, size: number(one, "size") };
                // SAFETY: the caller lends room for as many as `count` said.
                unsafe { put(places.add(at), place) }?;
            }
        }
        // SAFETY: the caller lends a number.
        unsafe { put(count, c_uint::try_from(starts.len()).unwrap_or(0)) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceCreateGpuInstanceWithPlacement(
    device: nvmlDevice_t,
    profile: c_uint,
    place: *const nvmlGpuInstancePlacement_t,
    into: *mut nvmlGpuInstance_t,
) -> nvmlReturn_t {
    let made = || {
        let board = on(board(device)?)?;
        let one = kind(board, "id", profile)?;
        if place.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: not null, and the caller's structure.
        let wanted = unsafe { place.read() };
        let starts = one.get("starts").and_then(Value::as_array).ok_or(NOT_SUPPORTED)?;
        if !starts.iter().any(|start| start.as_u64() == Some(wanted.start.into())) {
            return Err(INVALID_ARGUMENT);
        }
        let mut all = board.list("/mig/instances").to_vec();
        let (from, to) = (wanted.start, wanted.start + number(one, "size"));
        if all
            .iter()
            .any(|old| number(old, "start") < to && from < number(old, "start") + number(old, "size"))
        {
            return Err(INSUFFICIENT_RESOURCES);
        }
        let id = all.iter().map(|old| number(old, "id")).max().unwrap_or(0) + 1;
        let uuid = board.text("/uuid").unwrap_or_default();
        all.push(json!({
            "id": id, "profile": profile, "start": from, "size": number(one, "size"), "compute": false,
            "uuid": format!("MIG-{uuid}-{id}"),
            "name": format!("{} MIG {}g", board.text("/name").unwrap_or_default(), number(one, "slices")),
            "memory": { "total_bytes": u64::from(number(one, "memory_mb")) << 20 },
        }));
        keep(board, &all)?;
        Ok(GPU_INSTANCES + (device.addr() - 1) * EACH + usize::try_from(id).unwrap_or(0))
    };
    // SAFETY: the caller lends room for a handle.
    code(made().and_then(|handle| unsafe { put(into, std::ptr::without_provenance_mut(handle)) }))
}

/// Handles into a list that the caller lends.
///
/// # Safety
/// `into` has room for as many as `count` says.
unsafe fn list<T>(handles: &[usize], into: *mut *mut T, count: *mut c_uint) -> Result<(), nvmlReturn_t> {
    if into.is_null() || count.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: not null, and the caller's number.
    if usize::try_from(unsafe { count.read() }).unwrap_or(0) < handles.len() {
        return Err(INSUFFICIENT_SIZE);
    }
    for (at, handle) in handles.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { put(into.add(at), std::ptr::without_provenance_mut(*handle)) }?;
    }
    // SAFETY: not null, and the caller's number.
    unsafe { put(count, c_uint::try_from(handles.len()).unwrap_or(0)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstances(
    device: nvmlDevice_t,
    profile: c_uint,
    into: *mut nvmlGpuInstance_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    let handles = board(device).and_then(on).map(|board| {
        let all = board.list("/mig/instances").iter();
        let own = all.filter(|one| one.get("id").is_some() && number(one, "profile") == profile);
        own.map(|one| handle(GPU_INSTANCES, device.addr() - 1, one)).collect::<Vec<_>>()
    });
    // SAFETY: the caller lends such a list.
    code(handles.and_then(|handles| unsafe { list(&handles, into, count) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlGpuInstanceGetInfo(
    one: nvmlGpuInstance_t,
    into: *mut nvmlGpuInstanceInfo_t,
) -> nvmlReturn_t {
    let info = instance(one.addr(), GPU_INSTANCES).map(|(place, _, one)| nvmlGpuInstanceInfo_t {
        device: std::ptr::without_provenance_mut(place + 1),
        id: number(one, "id"),
        profileId: number(one, "profile"),
        placement: nvmlGpuInstancePlacement_t { start: number(one, "start"), size: number(one, "size") },
    });
    // SAFETY: the caller lends the structure.
    code(info.and_then(|info| unsafe { put(into, info) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstanceId(device: nvmlDevice_t, into: *mut c_uint) -> nvmlReturn_t {
    let id = part_of(device).and_then(|part| {
        part.get("id").and_then(Value::as_u64).and_then(|id| c_uint::try_from(id).ok()).ok_or(NOT_SUPPORTED)
    });
    // SAFETY: the caller lends a number.
    code(id.and_then(|id| unsafe { put(into, id) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstanceById(
    device: nvmlDevice_t,
    id: c_uint,
    into: *mut nvmlGpuInstance_t,
) -> nvmlReturn_t {
    let found = board(device).and_then(|_| {
        let id = usize::try_from(id).ok().filter(|id| *id < EACH).ok_or(INVALID_ARGUMENT)?;
        let handle = GPU_INSTANCES + (device.addr() - 1) * EACH + id;
        instance(handle, GPU_INSTANCES).map(|_| handle)
    });
    // SAFETY: the caller lends room for a handle.
    code(found.and_then(|handle| unsafe { put(into, std::ptr::without_provenance_mut(handle)) }))
}

/// Something that computes in an instance and has all of it: its number is a hundred more than the interface's.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlGpuInstanceGetComputeInstanceProfileInfo(
    one: nvmlGpuInstance_t,
    profile: c_uint,
    engines: c_uint,
    into: *mut nvmlComputeInstanceProfileInfo_t,
) -> nvmlReturn_t {
    let info = instance(one.addr(), GPU_INSTANCES).and_then(|(_, board, one)| {
        let slices = number(kind(board, "id", number(one, "profile"))?, "slices");
        if engines != 0 || number(kind(board, "kind", profile)?, "slices") > slices {
            return Err(NOT_SUPPORTED);
        }
        Ok(nvmlComputeInstanceProfileInfo_t {
            id: profile + 100,
            sliceCount: slices,
            instanceCount: 1,
            multiprocessorCount: 0,
            sharedCopyEngineCount: 0,
            sharedDecoderCount: 0,
            sharedEncoderCount: 0,
            sharedJpegCount: 0,
            sharedOfaCount: 0,
        })
    });
    // SAFETY: the caller lends the structure.
    code(info.and_then(|info| unsafe { put(into, info) }))
}

/// Says of an instance whether something computes in it.
fn set_computing(handle: usize, from: usize, computes: bool) -> Result<usize, nvmlReturn_t> {
    let (place, board, one) = instance(handle, from)?;
    if computes == (one.get("compute") == Some(&json!(true))) {
        return Err(if computes { INSUFFICIENT_RESOURCES } else { NOT_FOUND });
    }
    if board.flag("/faults/busy") == Some(true) {
        return Err(IN_USE);
    }
    let mut all = board.list("/mig/instances").to_vec();
    for other in all.iter_mut().filter(|other| other.get("id") == one.get("id")) {
        crate::boards::merge(other, &json!({ "compute": computes }));
    }
    keep(board, &all)?;
    Ok(crate::instances::handle(COMPUTE_INSTANCES, place, one))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlGpuInstanceCreateComputeInstance(
    one: nvmlGpuInstance_t,
    profile: c_uint,
    into: *mut nvmlComputeInstance_t,
) -> nvmlReturn_t {
    let known = (100..=106).contains(&profile);
    let made = if known { set_computing(one.addr(), GPU_INSTANCES, true) } else { Err(INVALID_ARGUMENT) };
    // SAFETY: the caller lends room for a handle.
    code(made.and_then(|handle| unsafe { put(into, std::ptr::without_provenance_mut(handle)) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlGpuInstanceGetComputeInstances(
    one: nvmlGpuInstance_t,
    _profile: c_uint,
    into: *mut nvmlComputeInstance_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    let handles = instance(one.addr(), GPU_INSTANCES).map(|(place, _, one)| {
        let computes = one.get("compute") == Some(&json!(true));
        computes.then(|| handle(COMPUTE_INSTANCES, place, one)).into_iter().collect::<Vec<_>>()
    });
    // SAFETY: the caller lends such a list.
    code(handles.and_then(|handles| unsafe { list(&handles, into, count) }))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlComputeInstanceDestroy(one: nvmlComputeInstance_t) -> nvmlReturn_t {
    code(set_computing(one.addr(), COMPUTE_INSTANCES, false).map(drop))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlGpuInstanceDestroy(one: nvmlGpuInstance_t) -> nvmlReturn_t {
    code(instance(one.addr(), GPU_INSTANCES).and_then(|(_, board, one)| {
        if one.get("compute") == Some(&json!(true)) {
            return Err(IN_USE);
        }
        let all = board.list("/mig/instances");
        let rest: Vec<Value> = all.iter().filter(|other| other.get("id") != one.get("id")).cloned().collect();
        keep(board, &rest)
    }))
}

//! NVML's calls (NVIDIA Management Library API reference), as many as a probe of boards needs: the driver, and who a
//! board is.

#![expect(unsafe_code, reason = "a C library: names that are exported, and pointers that callers lend")]

use std::ffi::{CStr, c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlMemory_v2_t, nvmlPciInfo_t, nvmlReturn_t};
use serde_json::Value;

use crate::boards::{Board, Machine, machine};

const SUCCESS: nvmlReturn_t = 0;
pub(crate) const INVALID_ARGUMENT: nvmlReturn_t = 2;
pub(crate) const NOT_SUPPORTED: nvmlReturn_t = 3;
pub(crate) const NOT_FOUND: nvmlReturn_t = 6;
pub(crate) const INSUFFICIENT_SIZE: nvmlReturn_t = 7;
pub(crate) const DRIVER_NOT_LOADED: nvmlReturn_t = 9;
const GPU_IS_LOST: nvmlReturn_t = 15;

/// Handles of instances count from here, those of boards from 1.
const INSTANCES: usize = 0x1_0000;
/// Instances of one board.
const INSTANCES_EACH: usize = 0x100;

/// What a handle names: a board, or a part of one.
struct Thing {
    board: &'static Board,
    part: Option<&'static Value>,
}

fn thing(handle: nvmlDevice_t) -> Result<Thing, nvmlReturn_t> {
    let machine = machine().ok_or(DRIVER_NOT_LOADED)?;
    let number = handle.addr();
    let (place, part) = match number.checked_sub(INSTANCES) {
        Some(number) => (number / INSTANCES_EACH, Some(number % INSTANCES_EACH)),
        None => (number.checked_sub(1).ok_or(INVALID_ARGUMENT)?, None),
    };
    let board = machine.boards.get(place).ok_or(INVALID_ARGUMENT)?;
    if board.is_lost() {
        return Err(GPU_IS_LOST);
    }
    let part = match part {
        Some(part) => Some(*devices(board).get(part).ok_or(INVALID_ARGUMENT)?),
        None => None,
    };
    Ok(Thing { board, part })
}

/// The parts of a board that are devices: those in which something computes.
fn devices(board: &'static Board) -> Vec<&'static Value> {
    let all = board.list("/mig/instances").iter();
    all.filter(|part| part.get("compute").and_then(Value::as_bool) != Some(false)).collect()
}

pub(crate) fn part_of(handle: nvmlDevice_t) -> Result<&'static Value, nvmlReturn_t> {
    thing(handle)?.part.ok_or(INVALID_ARGUMENT)
}

pub(crate) fn board(handle: nvmlDevice_t) -> Result<&'static Board, nvmlReturn_t> {
    thing(handle).map(|thing| thing.board)
}

pub(crate) fn code(result: Result<(), nvmlReturn_t>) -> nvmlReturn_t {
    result.err().unwrap_or(SUCCESS)
}

pub(crate) fn is(value: Option<bool>) -> Result<c_uint, nvmlReturn_t> {
    value.map(c_uint::from).ok_or(NOT_SUPPORTED)
}

/// # Safety
/// `into` is null or writable.
pub(crate) unsafe fn put<T>(into: *mut T, value: T) -> Result<(), nvmlReturn_t> {
    if into.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: the caller's promise.
    unsafe { into.write(value) };
    Ok(())
}

/// # Safety
/// `into` is null or has room for `room` bytes.
unsafe fn put_text(into: *mut c_char, room: c_uint, text: &str) -> Result<(), nvmlReturn_t> {
    let room = usize::try_from(room).map_err(|_| INVALID_ARGUMENT)?;
    if into.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    if text.len() >= room {
        return Err(INSUFFICIENT_SIZE);
    }
    for (place, byte) in text.bytes().chain([0]).enumerate() {
        // SAFETY: `place` is at most the text's length, which is below `room`.
        unsafe { into.add(place).write(c_char::from_ne_bytes([byte])) };
    }
    Ok(())
}

/// Calls that answer with a text of the board.
macro_rules! texts {
    ($($name:ident $pointer:literal)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(device: nvmlDevice_t, into: *mut c_char, room: c_uint) -> nvmlReturn_t {
            // SAFETY: the caller lends `room` bytes.
            code(board(device).and_then(|board| unsafe { put_text(into, room, board.text($pointer).ok_or(NOT_SUPPORTED)?) }))
        }
    )* };
}

texts! {
    nvmlDeviceGetSerial "/serial"
    nvmlDeviceGetBoardPartNumber "/board_part_number"
    nvmlDeviceGetVbiosVersion "/vbios_version"
    nvmlDeviceGetInforomImageVersion "/inforom/image_version"
}

/// Calls that answer with a number of the board.
macro_rules! numbers {
    ($($name:ident $pointer:literal)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(device: nvmlDevice_t, into: *mut c_uint) -> nvmlReturn_t {
            // SAFETY: the caller lends a number.
            code(board(device).and_then(|board| unsafe { put(into, board.small($pointer).ok_or(NOT_SUPPORTED)?) }))
        }
    )* };
}

numbers! {
    nvmlDeviceGetNumaNodeId "/numa_node"
    nvmlDeviceGetCurrPcieLinkGeneration "/pcie/current_link_gen"
    nvmlDeviceGetMaxPcieLinkGeneration "/pcie/max_link_gen"
    nvmlDeviceGetCurrPcieLinkWidth "/pcie/current_link_width"
    nvmlDeviceGetMaxPcieLinkWidth "/pcie/max_link_width"
    nvmlDeviceGetPcieReplayCounter "/pcie/replay_counter"
    nvmlDeviceGetEnforcedPowerLimit "/power/enforced_limit_mw"
    nvmlDeviceGetPowerManagementLimit "/power/enforced_limit_mw"
    nvmlDeviceGetPowerManagementDefaultLimit "/power/default_limit_mw"
    nvmlDeviceGetPowerUsage "/power/current_draw_mw"
    nvmlDeviceGetMaxMigDeviceCount "/mig/max_gpu_instances"
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    if machine().is_some() { SUCCESS } else { DRIVER_NOT_LOADED }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> nvmlReturn_t {
    nvmlInit_v2()
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(_result: nvmlReturn_t) -> *const c_char {
    c"played".as_ptr()
}

/// A text of the driver.
///
/// # Safety
/// `into` is null or has room for `room` bytes.
unsafe fn system(name: &str, into: *mut c_char, room: c_uint) -> nvmlReturn_t {
    let text = |machine: &'static Machine| machine.system.get(name).and_then(Value::as_str);
    let text = machine().ok_or(DRIVER_NOT_LOADED).and_then(|machine| text(machine).ok_or(NOT_SUPPORTED));
    // SAFETY: the caller's promise.
    code(text.and_then(|text| unsafe { put_text(into, room, text) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(into: *mut c_char, room: c_uint) -> nvmlReturn_t {
    // SAFETY: the caller lends `room` bytes.
    unsafe { system("driver_version", into, room) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetNVMLVersion(into: *mut c_char, room: c_uint) -> nvmlReturn_t {
    // SAFETY: the caller lends `room` bytes.
    unsafe { system("nvml_version", into, room) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(into: *mut c_int) -> nvmlReturn_t {
    let part = |name: &str| machine()?.system.get(name)?.as_i64().and_then(|n| c_int::try_from(n).ok());
    let version = || Some(part("cuda_version_major")? * 1000 + part("cuda_version_minor")? * 10);
    // SAFETY: the caller lends a number.
    code(version().ok_or(NOT_SUPPORTED).and_then(|version| unsafe { put(into, version) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCount_v2(into: *mut c_uint) -> nvmlReturn_t {
    let count = machine().and_then(|machine| c_uint::try_from(machine.boards.len()).ok());
    // SAFETY: the caller lends a number.
    code(count.ok_or(DRIVER_NOT_LOADED).and_then(|count| unsafe { put(into, count) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, into: *mut nvmlDevice_t) -> nvmlReturn_t {
    let place = usize::try_from(index)
        .ok()
        .filter(|place| machine().is_some_and(|machine| *place < machine.boards.len()));
    // SAFETY: the caller lends room for a handle.
    code(
        place
            .ok_or(INVALID_ARGUMENT)
            .and_then(|place| unsafe { put(into, std::ptr::without_provenance_mut(place + 1)) }),
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, into: *mut nvmlDevice_t) -> nvmlReturn_t {
    if uuid.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: not null, and the caller's text.
    let uuid = unsafe { CStr::from_ptr(uuid) };
    let same = |board: &Board| board.text("/uuid").is_some_and(|text| text.as_bytes() == uuid.to_bytes());
    let place = machine().ok_or(DRIVER_NOT_LOADED).and_then(|machine| {
        let place = machine.boards.iter().position(same).ok_or(NOT_FOUND)?;
        if machine.boards.get(place).is_some_and(Board::is_lost) { Err(GPU_IS_LOST) } else { Ok(place) }
    });
    // SAFETY: the caller lends room for a handle.
    code(place.and_then(|place| unsafe { put(into, std::ptr::without_provenance_mut(place + 1)) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetIndex(device: nvmlDevice_t, into: *mut c_uint) -> nvmlReturn_t {
    let index = board(device).and_then(|_| c_uint::try_from(device.addr() - 1).map_err(|_| INVALID_ARGUMENT));
    // SAFETY: the caller lends a number.
    code(index.and_then(|index| unsafe { put(into, index) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvmlDevice_t,
    index: c_uint,
    into: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    let handle = || {
        let board = board(device)?;
        let part = usize::try_from(index).map_err(|_| INVALID_ARGUMENT)?;
        devices(board).get(part).ok_or(NOT_FOUND)?;
        Ok(INSTANCES + (device.addr() - 1) * INSTANCES_EACH + part)
    };
    // SAFETY: the caller lends room for a handle.
    code(handle().and_then(|handle| unsafe { put(into, std::ptr::without_provenance_mut(handle)) }))
}

/// A text that boards and their parts both have.
///
/// # Safety
/// `into` is null or has room for `room` bytes.
unsafe fn name(device: nvmlDevice_t, member: &str, into: *mut c_char, room: c_uint) -> nvmlReturn_t {
    let text = thing(device).and_then(|thing| match thing.part {
        Some(part) => part.get(member).and_then(Value::as_str).ok_or(NOT_SUPPORTED),
        None => thing.board.text(&format!("/{member}")).ok_or(NOT_SUPPORTED),
    });
    // SAFETY: the caller's promise.
    code(text.and_then(|text| unsafe { put_text(into, room, text) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetName(
    device: nvmlDevice_t,
    into: *mut c_char,
    room: c_uint,
) -> nvmlReturn_t {
    // SAFETY: the caller lends `room` bytes.
    unsafe { name(device, "name", into, room) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetUUID(
    device: nvmlDevice_t,
    into: *mut c_char,
    room: c_uint,
) -> nvmlReturn_t {
    // SAFETY: the caller lends `room` bytes.
    unsafe { name(device, "uuid", into, room) }
}

/// The only call without a length: the interface promises 80 bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGspFirmwareVersion(
    device: nvmlDevice_t,
    into: *mut c_char,
) -> nvmlReturn_t {
    let text = board(device).and_then(|board| board.text("/gsp_firmware/version").ok_or(NOT_SUPPORTED));
    // SAFETY: the caller lends 80 bytes.
    code(text.and_then(|text| unsafe { put_text(into, 80, text) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetArchitecture(device: nvmlDevice_t, into: *mut c_uint) -> nvmlReturn_t {
    let names = ["kepler", "maxwell", "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"];
    let number = |board: &'static Board| {
        let place = names.iter().position(|name| board.text("/architecture") == Some(name))?;
        // Kepler is 2.
        c_uint::try_from(place + 2).ok()
    };
    // SAFETY: the caller lends a number.
    code(board(device).and_then(|board| unsafe { put(into, number(board).ok_or(NOT_SUPPORTED)?) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    into: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    let memory = thing(device).and_then(|thing| {
        let of = |name: &str| match thing.part {
            Some(part) => part.get("memory").and_then(|memory| memory.get(name)).and_then(Value::as_u64),
            None => thing.board.number(&format!("/memory/{name}")),
        };
        let or_zero = |name: &str| of(name).unwrap_or(0);
        Ok(nvmlMemory_v2_t {
            version: 0,
            total: of("total_bytes").ok_or(NOT_SUPPORTED)?,
            reserved: or_zero("reserved_bytes"),
            free: or_zero("free_bytes"),
            used: or_zero("used_bytes"),
        })
    });
    // SAFETY: the caller lends the structure.
    code(memory.and_then(|memory| unsafe { put(into, memory) }))
}

/// A structure with an address, written as the driver does: domain of eight digits, capitals.
pub(crate) fn pci(address: &str, ids: (u32, u32)) -> nvmlPciInfo_t {
    let mut numbers = address.split([':', '.']).map(|part| u32::from_str_radix(part, 16).unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (domain, bus, device, function) = (next(), next(), next(), next());
    let texts = [
        format!("{domain:04X}:{bus:02X}:{device:02X}.{function:X}"),
        format!("{domain:08X}:{bus:02X}:{device:02X}.{function:X}"),
    ];
    let mut info = nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain,
        bus,
        device,
        pciDeviceId: ids.0,
        pciSubSystemId: ids.1,
        busId: [0; 32],
    };
    for (place, text) in info.busIdLegacy.iter_mut().take(15).zip(texts[0].bytes()) {
        *place = c_char::from_ne_bytes([text]);
    }
    for (place, text) in info.busId.iter_mut().take(31).zip(texts[1].bytes()) {
        *place = c_char::from_ne_bytes([text]);
    }
    info
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetPciInfo_v3(device: nvmlDevice_t, into: *mut nvmlPciInfo_t) -> nvmlReturn_t {
    let info = board(device).and_then(|board| {
        let id = |name: &str| board.small(&format!("/pci/{name}")).unwrap_or(0);
        Ok(pci(board.text("/pci/bus_id").ok_or(NOT_SUPPORTED)?, (id("device_id"), id("subsystem_id"))))
    });
    // SAFETY: the caller lends the structure.
    code(info.and_then(|info| unsafe { put(into, info) }))
}

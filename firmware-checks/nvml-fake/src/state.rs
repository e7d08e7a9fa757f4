//! NVML's calls about a board's state: errors, limits, links, confidential computing.

#![expect(unsafe_code, reason = "a C library: names that are exported, and pointers that callers lend")]

use std::ffi::{c_int, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlConfComputeSystemCaps_t, nvmlDevice_t, nvmlFieldValue_t, nvmlPciInfo_t, nvmlReturn_t,
    nvmlSystemConfComputeSettings_t,
};

use crate::{
    boards::{Board, machine},
    calls::{
        DRIVER_NOT_LOADED, INSUFFICIENT_SIZE, INVALID_ARGUMENT, NOT_SUPPORTED, board, code, is, pci, put,
    },
};

/// Two numbers at once: a mode now and after the next reset, or a range.
///
/// # Safety
/// Both pointers are null or writable.
unsafe fn pair(
    values: Result<(c_uint, c_uint), nvmlReturn_t>,
    into: (*mut c_uint, *mut c_uint),
) -> nvmlReturn_t {
    code(values.and_then(|(one, two)| {
        // SAFETY: the caller's promise.
        unsafe { put(into.0, one) }?;
        // SAFETY: the caller's promise.
        unsafe { put(into.1, two) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetEccMode(
    device: nvmlDevice_t,
    now: *mut c_uint,
    next: *mut c_uint,
) -> nvmlReturn_t {
    let modes = board(device)
        .and_then(|board| Ok((is(board.flag("/ecc/mode_current"))?, is(board.flag("/ecc/mode_pending"))?)));
    // SAFETY: the caller lends two numbers.
    unsafe { pair(modes, (now, next)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: nvmlDevice_t,
    now: *mut c_uint,
    next: *mut c_uint,
) -> nvmlReturn_t {
    let modes = board(device)
        .and_then(|board| Ok((is(board.flag("/mig/mode_current"))?, is(board.flag("/mig/mode_pending"))?)));
    // SAFETY: the caller lends two numbers.
    unsafe { pair(modes, (now, next)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetPowerManagementLimitConstraints(
    device: nvmlDevice_t,
    least: *mut c_uint,
    most: *mut c_uint,
) -> nvmlReturn_t {
    let range = board(device).and_then(|board| {
        let of = |pointer: &str| board.small(pointer).ok_or(NOT_SUPPORTED);
        Ok((of("/power/min_limit_mw")?, of("/power/max_limit_mw")?))
    });
    // SAFETY: the caller lends two numbers.
    unsafe { pair(range, (least, most)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: nvmlDevice_t,
    error: c_uint,
    counter: c_uint,
    into: *mut c_ulonglong,
) -> nvmlReturn_t {
    let count = board(device).and_then(|board| {
        let kind = if error == 0 { "single_bit" } else { "double_bit" };
        let since = if counter == 0 { "volatile" } else { "aggregate" };
        let count = board.number(&format!("/ecc/errors/{since}/{kind}/total")).ok_or(NOT_SUPPORTED)?;
        // Fault: more errors at each question.
        let growth = board.number(&format!("/faults/ecc_growth/{kind}")).unwrap_or(0);
        Ok(count + growth * board.ask())
    });
    // SAFETY: the caller lends a number.
    code(count.and_then(|count| unsafe { put(into, count) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetRemappedRows(
    device: nvmlDevice_t,
    correctable: *mut c_uint,
    uncorrectable: *mut c_uint,
    pending: *mut c_uint,
    failure: *mut c_uint,
) -> nvmlReturn_t {
    let rows = board(device).and_then(|board| {
        let of = |name: &str| board.small(&format!("/remapped_rows/{name}")).ok_or(NOT_SUPPORTED);
        let flag = |name: &str| is(board.flag(&format!("/remapped_rows/{name}")));
        Ok([of("correctable")?, of("uncorrectable")?, flag("pending")?, flag("failure_occurred")?])
    });
    code(rows.and_then(|rows| {
        for (value, into) in rows.into_iter().zip([correctable, uncorrectable, pending, failure]) {
            // SAFETY: the caller lends four numbers.
            unsafe { put(into, value) }?;
        }
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetRetiredPages_v2(
    device: nvmlDevice_t,
    cause: c_uint,
    count: *mut c_uint,
    addresses: *mut c_ulonglong,
    times: *mut c_ulonglong,
) -> nvmlReturn_t {
    let kind = if cause == 0 { "single_bit_retirement" } else { "double_bit_retirement" };
    code(board(device).and_then(|board| {
        // Boards that remap rows retire no pages.
        let pages = board.small(&format!("/retired_pages/{kind}/count")).ok_or(NOT_SUPPORTED)?;
        if count.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: not null, and the caller's number.
        let room = unsafe { count.read() };
        // SAFETY: the same number.
        unsafe { put(count, pages) }?;
        if room < pages || pages > 0 && (addresses.is_null() || times.is_null()) {
            return Err(INSUFFICIENT_SIZE);
        }
        for page in 0..pages {
            let place = usize::try_from(page).map_err(|_| INVALID_ARGUMENT)?;
            // SAFETY: the caller lends `room` entries in both lists, and `pages` is not more.
            unsafe { put(addresses.add(place), c_ulonglong::from(page) << 16) }?;
            // SAFETY: as above.
            unsafe { put(times.add(place), 0) }?;
        }
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetRetiredPagesPendingStatus(
    device: nvmlDevice_t,
    into: *mut c_uint,
) -> nvmlReturn_t {
    let pending = board(device).and_then(|board| is(board.flag("/retired_pages/pending_retirement")));
    // SAFETY: the caller lends a number.
    code(pending.and_then(|pending| unsafe { put(into, pending) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTemperature(
    device: nvmlDevice_t,
    _sensor: c_uint,
    into: *mut c_uint,
) -> nvmlReturn_t {
    let celsius =
        board(device).and_then(|board| board.small("/thermal/temperature_gpu_c").ok_or(NOT_SUPPORTED));
    // SAFETY: the caller lends a number.
    code(celsius.and_then(|celsius| unsafe { put(into, celsius) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetClockInfo(
    device: nvmlDevice_t,
    kind: c_uint,
    into: *mut c_uint,
) -> nvmlReturn_t {
    let names = ["graphics_mhz", "sm_mhz", "memory_mhz", "video_mhz"];
    let rate = board(device).and_then(|board| {
        let place = usize::try_from(kind).map_err(|_| INVALID_ARGUMENT)?;
        let name = names.get(place).ok_or(INVALID_ARGUMENT)?;
        board.small(&format!("/clocks/{name}")).ok_or(NOT_SUPPORTED)
    });
    // SAFETY: the caller lends a number.
    code(rate.and_then(|rate| unsafe { put(into, rate) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTemperatureThreshold(
    device: nvmlDevice_t,
    kind: c_uint,
    into: *mut c_uint,
) -> nvmlReturn_t {
    let name = match kind {
        0 => "/thermal/shutdown_threshold_c",
        1 => "/thermal/slowdown_threshold_c",
        3 => "/thermal/max_operating_c",
        _ => "/thermal/none",
    };
    let celsius = board(device).and_then(|board| board.small(name).ok_or(NOT_SUPPORTED));
    // SAFETY: the caller lends a number.
    code(celsius.and_then(|celsius| unsafe { put(into, celsius) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(
    device: nvmlDevice_t,
    into: *mut c_ulonglong,
) -> nvmlReturn_t {
    let names = [
        ("gpu_idle", 0x01),
        ("applications_clocks_setting", 0x02),
        ("sw_power_cap", 0x04),
        ("hw_slowdown", 0x08),
        ("sync_boost", 0x10),
        ("sw_thermal_slowdown", 0x20),
        ("hw_thermal_slowdown", 0x40),
        ("hw_power_brake_slowdown", 0x80),
        ("display_clocks_setting", 0x100),
    ];
    let bits = board(device).map(|board| {
        let set = |name: &str| board.flag(&format!("/clocks_throttle_reasons/{name}")) == Some(true);
        names.iter().filter(|(name, _)| set(name)).map(|(_, bit)| bit).sum()
    });
    // SAFETY: the caller lends a number.
    code(bits.and_then(|bits| unsafe { put(into, bits) }))
}

/// A board with such a link.
fn linked(device: nvmlDevice_t, link: c_uint) -> Result<&'static Board, nvmlReturn_t> {
    let board = board(device)?;
    let links = board.nvlink("links_per_gpu").ok_or(NOT_SUPPORTED)?;
    if link < links { Ok(board) } else { Err(INVALID_ARGUMENT) }
}

/// Whether it is up: fault `links_down` names those that are not.
fn up(board: &Board, link: c_uint) -> bool {
    !board.list("/faults/links_down").iter().any(|down| down.as_u64() == Some(u64::from(link)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetNvLinkState(
    device: nvmlDevice_t,
    link: c_uint,
    into: *mut c_uint,
) -> nvmlReturn_t {
    // SAFETY: the caller lends a number.
    code(linked(device, link).and_then(|board| unsafe { put(into, c_uint::from(up(board, link))) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetNvLinkVersion(
    device: nvmlDevice_t,
    link: c_uint,
    into: *mut c_uint,
) -> nvmlReturn_t {
    let version = linked(device, link).and_then(|board| board.nvlink("version").ok_or(NOT_SUPPORTED));
    // SAFETY: the caller lends a number.
    code(version.and_then(|version| unsafe { put(into, version) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetNvLinkErrorCounter(
    device: nvmlDevice_t,
    link: c_uint,
    counter: c_uint,
    into: *mut c_ulonglong,
) -> nvmlReturn_t {
    let names = ["replay", "recovery", "crc_flit", "crc_data", "ecc_data"];
    let count = linked(device, link).and_then(|board| {
        if board.nvlink("fields_only").is_some() {
            return Err(NOT_SUPPORTED);
        }
        let place = usize::try_from(counter).map_err(|_| INVALID_ARGUMENT)?;
        let name = names.get(place).ok_or(INVALID_ARGUMENT)?;
        Ok(board.number(&format!("/faults/link_errors/{link}/{name}")).unwrap_or(0))
    });
    // SAFETY: the caller lends a number.
    code(count.and_then(|count| unsafe { put(into, count) }))
}

/// Fields of links only, which newer boards have instead of the counters above.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    fields: *mut nvmlFieldValue_t,
) -> nvmlReturn_t {
    let Ok(count) = usize::try_from(count) else { return INVALID_ARGUMENT };
    if fields.is_null() {
        return INVALID_ARGUMENT;
    }
    for place in 0..count {
        // SAFETY: not null, and the caller lends `count` structures.
        let field = unsafe { &mut *fields.add(place) };
        let name = match field.fieldId {
            161 => "replay",
            162 => "recovery",
            163 => "crc",
            _ => "none",
        };
        let known = linked(device, field.scopeId).ok().filter(|board| board.nvlink("fields_only").is_some());
        match known {
            Some(board) if name != "none" => {
                let pointer = format!("/faults/link_errors/{}/{name}", field.scopeId);
                field.value.ullVal = board.number(&pointer).unwrap_or(0);
                // NVML_VALUE_TYPE_UNSIGNED_LONG_LONG.
                (field.valueType, field.nvmlReturn) = (3, 0);
            }
            _ => field.nvmlReturn = NOT_SUPPORTED,
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetNvLinkRemotePciInfo_v2(
    device: nvmlDevice_t,
    link: c_uint,
    into: *mut nvmlPciInfo_t,
) -> nvmlReturn_t {
    let info =
        linked(device, link).and_then(|board| Ok(pci(board.other_end(link).ok_or(NOT_SUPPORTED)?, (0, 0))));
    // SAFETY: the caller lends the structure.
    code(info.and_then(|info| unsafe { put(into, info) }))
}

/// What the first board's section `confidential_compute` or its feature of that name says.
fn confidential(name: &str) -> Result<c_uint, nvmlReturn_t> {
    let board = machine().and_then(|machine| machine.boards.first()).ok_or(DRIVER_NOT_LOADED)?;
    let can = board.flag("/features/confidential_compute").ok_or(NOT_SUPPORTED)?;
    Ok(match name {
        "capable" => c_uint::from(can),
        name => board.small(&format!("/confidential_compute/{name}")).unwrap_or(0),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetConfComputeCapabilities(
    into: *mut nvmlConfComputeSystemCaps_t,
) -> nvmlReturn_t {
    let capabilities = || {
        Ok(nvmlConfComputeSystemCaps_t { cpuCaps: confidential("cpu")?, gpusCaps: confidential("capable")? })
    };
    // SAFETY: the caller lends the structure.
    code(capabilities().and_then(|capabilities| unsafe { put(into, capabilities) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetConfComputeSettings(
    into: *mut nvmlSystemConfComputeSettings_t,
) -> nvmlReturn_t {
    if into.is_null() {
        return INVALID_ARGUMENT;
    }
    let settings = || Ok((confidential("on")?, confidential("developer_mode")?));
    code(settings().map(|(on, developer_mode)| {
        // SAFETY: not null, and the caller's structure.
        let into = unsafe { &mut *into };
        (into.ccFeature, into.devToolsMode, into.environment, into.multiGpuMode) =
            (on, developer_mode, on * 2, 0);
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetConfComputeGpusReadyState(into: *mut c_uint) -> nvmlReturn_t {
    // SAFETY: the caller lends a number.
    code(confidential("ready").and_then(|ready| unsafe { put(into, ready) }))
}

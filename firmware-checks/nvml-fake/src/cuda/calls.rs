//! CUDA's calls (CUDA Driver API reference), as many as burn-in needs.

#![expect(unsafe_code, reason = "a C library: names that are exported, and pointers that callers lend")]

use std::{
    cell::Cell,
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    ptr, slice,
};

use super::{
    parse,
    run::Launch,
    state::{
        Code, INVALID_CONTEXT, INVALID_DEVICE, INVALID_HANDLE, INVALID_PTX, INVALID_VALUE, NO_DEVICE,
        NOT_FOUND, OUT_OF_MEMORY, board, driver,
    },
};
use crate::boards::machine;

type Handle = *mut c_void;

thread_local! {
    /// The thread's context: a GPU's number from 1.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The calling thread's GPU.
fn current() -> Result<usize, Code> {
    CURRENT.get().checked_sub(1).ok_or(INVALID_CONTEXT)
}

fn code(result: Result<(), Code>) -> Code {
    result.err().unwrap_or(0)
}

/// # Safety
/// `into` is null or writable.
unsafe fn put<T>(into: *mut T, value: T) -> Result<(), Code> {
    if into.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's promise.
    unsafe { into.write(value) };
    Ok(())
}

fn handle(number: usize) -> Handle {
    ptr::without_provenance_mut(number)
}

/// A GPU's number, if there is one.
fn device(number: c_int) -> Result<usize, Code> {
    usize::try_from(number).ok().filter(|place| board(*place).is_some()).ok_or(INVALID_DEVICE)
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> Code {
    if machine().is_some_and(|machine| !machine.boards.is_empty()) { 0 } else { NO_DEVICE }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: Code, into: *mut *const c_char) -> Code {
    let name = match error {
        1 => c"CUDA_ERROR_INVALID_VALUE",
        2 => c"CUDA_ERROR_OUT_OF_MEMORY",
        100 => c"CUDA_ERROR_NO_DEVICE",
        218 => c"CUDA_ERROR_INVALID_PTX",
        700 => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        719 => c"CUDA_ERROR_LAUNCH_FAILED",
        _ => return INVALID_VALUE,
    };
    // SAFETY: the caller lends room for a pointer.
    code(unsafe { put(into, name.as_ptr()) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(into: *mut c_int) -> Code {
    let count = machine().and_then(|machine| c_int::try_from(machine.boards.len()).ok()).ok_or(NO_DEVICE);
    // SAFETY: the caller lends a number.
    code(count.and_then(|count| unsafe { put(into, count) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(into: *mut c_int, index: c_int) -> Code {
    // SAFETY: the caller lends a number.
    code(device(index).and_then(|_| unsafe { put(into, index) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid_v2(into: *mut [u8; 16], index: c_int) -> Code {
    let uuid = device(index).and_then(|place| {
        let text = board(place).and_then(|board| board.text("/uuid")).unwrap_or_default();
        let digits: Vec<u8> = text.trim_start_matches("GPU").bytes().filter(|byte| *byte != b'-').collect();
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
            *byte = pair.ok_or(INVALID_DEVICE)?;
        }
        Ok(bytes)
    });
    // SAFETY: the caller lends 16 bytes.
    code(uuid.and_then(|uuid| unsafe { put(into, uuid) }))
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxSetFlags_v2(index: c_int, _flags: c_uint) -> Code {
    code(device(index).map(|_| ()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(into: *mut Handle, index: c_int) -> Code {
    // SAFETY: the caller lends room for a handle.
    code(device(index).and_then(|place| unsafe { put(into, handle(place + 1)) }))
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(index: c_int) -> Code {
    code(device(index).map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: Handle) -> Code {
    if context.addr() > driver().gpus.len() {
        return INVALID_CONTEXT;
    }
    CURRENT.set(context.addr());
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> Code {
    code(current().and_then(|place| driver().wait(place)))
}

/// Free bytes, and all.
fn room(place: usize) -> Result<(u64, u64), Code> {
    let number = |pointer| board(place).and_then(|board| board.number(pointer));
    let total = number("/cuda/total_bytes").ok_or(INVALID_DEVICE)?;
    let free = number("/cuda/free_bytes").unwrap_or(total);
    let used = driver().gpus.get(place).map_or(0, |gpu| gpu.memory.used());
    Ok((free.saturating_sub(used), total))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Code {
    code(current().and_then(room).and_then(|(have, all)| {
        let size = |bytes: u64| usize::try_from(bytes).map_err(|_| INVALID_VALUE);
        // SAFETY: the caller lends two numbers.
        unsafe { put(free, size(have)?) }?;
        // SAFETY: as above.
        unsafe { put(total, size(all)?) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(into: *mut u64, bytes: usize) -> Code {
    let at = current().and_then(|place| {
        let (free, _) = room(place)?;
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        if bytes as u64 > free {
            return Err(OUT_OF_MEMORY);
        }
        driver().gpus.get_mut(place).and_then(|gpu| gpu.memory.take(bytes as u64)).ok_or(OUT_OF_MEMORY)
    });
    // SAFETY: the caller lends a number.
    code(at.and_then(|at| unsafe { put(into, at) }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(at: u64) -> Code {
    let free = |place: usize| driver().gpus.get_mut(place).and_then(|gpu| gpu.memory.give(at));
    code(current().and_then(|place| free(place).ok_or(INVALID_VALUE)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(into: *mut Handle, bytes: usize, _flags: c_uint) -> Code {
    let words = vec![0_u64; bytes.div_ceil(8)].into_boxed_slice();
    // SAFETY: the caller lends room for a pointer; the memory is left to it for ever.
    code(unsafe { put(into, Box::into_raw(words).cast()) })
}

/// The process ends soon after.
#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(_at: Handle) -> Code {
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) -> Code {
    if from.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: the caller lends that many bytes.
    let from = unsafe { slice::from_raw_parts(from.cast::<u8>(), bytes) };
    code(current().and_then(|place| driver().bring(place, to, from)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: Handle, from: u64, bytes: usize) -> Code {
    if to.is_null() {
        return INVALID_VALUE;
    }
    code(current().and_then(|place| driver().fetch(place, from, bytes)).map(|copy| {
        // SAFETY: the caller lends that many bytes, which are nobody else's.
        unsafe { ptr::copy_nonoverlapping(copy.as_ptr(), to.cast::<u8>(), copy.len()) };
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyPeer(to: u64, there: Handle, from: u64, here: Handle, bytes: usize) -> Code {
    let copy = || {
        let (here, there) = (here.addr().checked_sub(1)?, there.addr().checked_sub(1)?);
        let mut driver = driver();
        let copy = driver.gpus.get(here)?.memory.get(from, bytes)?.to_vec();
        driver.gpus.get_mut(there)?.memory.put(to, &copy)
    };
    code(copy().ok_or(INVALID_VALUE))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8_v2(at: u64, byte: u8, bytes: usize) -> Code {
    let set =
        |place: usize| driver().gpus.get_mut(place).and_then(|gpu| gpu.memory.put(at, &vec![byte; bytes]));
    code(current().and_then(|place| set(place).ok_or(INVALID_VALUE)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(into: *mut Handle, text: *const c_char) -> Code {
    if text.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: not null, and the caller's text.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let module = parse::program(&text).map_err(|why| {
        eprintln!("nvml-fake: {why}");
        INVALID_PTX
    });
    code(module.and_then(|module| {
        let mut driver = driver();
        driver.programs.push(module);
        // SAFETY: the caller lends room for a handle.
        unsafe { put(into, handle(driver.programs.len())) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(into: *mut Handle, module: Handle, name: *const c_char) -> Code {
    if name.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: not null, and the caller's text.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let mut driver = driver();
    let known = module
        .addr()
        .checked_sub(1)
        .filter(|program| driver.programs.get(*program).is_some_and(|program| program.contains_key(&name)));
    code(known.ok_or(NOT_FOUND).and_then(|program| {
        driver.kernels.push((program, name));
        // SAFETY: the caller lends room for a handle.
        unsafe { put(into, handle(driver.kernels.len())) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    kernel: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    _grid_z: c_uint,
    threads: c_uint,
    _threads_y: c_uint,
    _threads_z: c_uint,
    _shared: c_uint,
    _stream: Handle,
    list: *mut Handle,
    _extra: *mut Handle,
) -> Code {
    let launch = || {
        let place = current()?;
        let mut driver = driver();
        let (name, kernel) = driver.kernel(kernel.addr()).ok_or(INVALID_HANDLE)?;
        if list.is_null() {
            return Err(INVALID_VALUE);
        }
        let mut values = Vec::new();
        for (index, (_, bytes)) in kernel.parameters.iter().enumerate() {
            // SAFETY: the caller lends one pointer for each parameter.
            let value = unsafe { *list.add(index) };
            values.push(match bytes {
                // SAFETY: a parameter of this size stands there, wherever it is.
                4 => u64::from(unsafe { value.cast::<u32>().read_unaligned() }),
                // SAFETY: as above.
                _ => unsafe { value.cast::<u64>().read_unaligned() },
            });
        }
        let launch = Launch { kernel: &kernel, values: &values, grid: (grid_x, grid_y), threads };
        driver.launch(place, &name, launch)
    };
    code(launch())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceCanAccessPeer(into: *mut c_int, one: c_int, two: c_int) -> Code {
    let can = device(one).and_then(|one| {
        device(two)?;
        Ok(c_int::from(board(one).and_then(|board| board.flag("/cuda/peers")).unwrap_or(false)))
    });
    // SAFETY: the caller lends a number.
    code(can.and_then(|can| unsafe { put(into, can) }))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxEnablePeerAccess(_context: Handle, _flags: c_uint) -> Code {
    code(current().map(|_| ()))
}

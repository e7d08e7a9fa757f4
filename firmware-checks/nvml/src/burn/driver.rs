//! CUDA's driver library, as much of it as burning in needs: contexts, memory, kernels, copies.
//!
//! `cudarc` finds and loads the library; the calls are looked up by name here, because its own wrappers panic over a
//! missing one and hold every answer for a known one.  A call that fails comes back as a sentence with its name.

#![expect(unsafe_code, reason = "a C library: functions by name, and pointers lent to them")]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    fmt::Write as _,
    ptr,
};

use cudarc::driver::sys;

/// More GPUs than any machine has.
const GPUS_MAX: i32 = 64;
/// `CU_CTX_SCHED_BLOCKING_SYNC`: whoever waits sleeps, as other burn-in needs the CPUs.
const BLOCKING: c_uint = 4;
/// `CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED`.
const ALREADY: c_int = 704;

type Handle = *mut c_void;

/// The calls, by their names in the library.
macro_rules! calls {
    ($($name:ident($($kind:ty),*);)*) => {
        #[expect(non_snake_case, reason = "the library's own names")]
        #[derive(Clone, Copy)]
        struct Calls { $($name: unsafe extern "C" fn($($kind),*) -> c_int,)* }

        impl Calls {
            fn load() -> Result<Self, String> {
                // SAFETY: loading NVIDIA's library runs its initialisers, as in any program that uses CUDA; the caller
                // has seen that it is there, so this does not panic.
                let library = unsafe { sys::culib() };
                Ok(Self { $(
                    // SAFETY: the signature is the one in the CUDA driver API reference.
                    $name: *unsafe { library.get(stringify!($name)) }
                        .map_err(|error| format!("the NVIDIA driver lacks {}: {error}", stringify!($name)))?,
                )* })
            }
        }
    };
}

calls! {
    cuInit(c_uint);
    cuGetErrorName(c_int, *mut *const c_char);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut c_int, c_int);
    cuDeviceGetUuid_v2(*mut [u8; 16], c_int);
    cuDevicePrimaryCtxSetFlags_v2(c_int, c_uint);
    cuDevicePrimaryCtxRetain(*mut Handle, c_int);
    cuDevicePrimaryCtxRelease_v2(c_int);
    cuCtxSetCurrent(Handle);
    cuCtxSynchronize();
    cuMemGetInfo_v2(*mut usize, *mut usize);
    cuMemAlloc_v2(*mut u64, usize);
    cuMemFree_v2(u64);
    cuMemHostAlloc(*mut Handle, usize, c_uint);
    cuMemFreeHost(Handle);
    cuMemcpyHtoD_v2(u64, *const c_void, usize);
    cuMemcpyDtoH_v2(Handle, u64, usize);
    cuMemcpyPeer(u64, Handle, u64, Handle, usize);
    cuMemsetD8_v2(u64, u8, usize);
    cuModuleLoadData(*mut Handle, *const c_void);
    cuModuleGetFunction(*mut Handle, Handle, *const c_char);
    cuLaunchKernel(Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut Handle, *mut Handle);
    cuDeviceCanAccessPeer(*mut c_int, c_int, c_int);
    cuCtxEnablePeerAccess(Handle, c_uint);
}

/// The loaded driver.
#[derive(Clone, Copy)]
pub(super) struct Cuda {
    calls: Calls,
}

impl Cuda {
    /// Loads the library from where the system finds it.
    pub(super) fn open() -> Result<Self, String> {
        // SAFETY: loading NVIDIA's library runs its initialisers, as any program that uses CUDA does.
        if !unsafe { sys::is_culib_present() } {
            return Err("no NVIDIA driver: libcuda.so.1 could not be loaded".into());
        }
        let cuda = Self { calls: Calls::load()? };
        // SAFETY: takes a number.
        cuda.check("cuInit", unsafe { (cuda.calls.cuInit)(0) })?;
        Ok(cuda)
    }

    fn check(&self, call: &str, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        let mut name = ptr::null();
        // SAFETY: the pointer outlives the call.
        let known = unsafe { (self.calls.cuGetErrorName)(code, &raw mut name) } == 0 && !name.is_null();
        // SAFETY: a name that the library gave is a static text.
        let name = known.then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
        Err(format!("{call}: {} ({code})", name.as_deref().unwrap_or("an error without a name")))
    }

    /// The GPU with this NVML UUID, and the number and UUID of each other.
    pub(super) fn gpu(&self, uuid: &str) -> Result<(Gpu, Vec<(c_int, String)>), String> {
        let mut count = 0;
        // SAFETY: the pointer outlives the call.
        self.check("cuDeviceGetCount", unsafe { (self.calls.cuDeviceGetCount)(&raw mut count) })?;
        let mut all = Vec::new();
        for index in 0..count.clamp(0, GPUS_MAX) {
            let (mut device, mut bytes) = (0, [0; 16]);
            // SAFETY: the pointer outlives the call.
            self.check("cuDeviceGet", unsafe { (self.calls.cuDeviceGet)(&raw mut device, index) })?;
            // SAFETY: as above; the structure is 16 bytes.
            let code = unsafe { (self.calls.cuDeviceGetUuid_v2)(&raw mut bytes, device) };
            self.check("cuDeviceGetUuid", code)?;
            all.push((device, name(&bytes)));
        }
        let place = all.iter().position(|(_, known)| known.eq_ignore_ascii_case(uuid)).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|(_, uuid)| uuid.as_str()).collect();
            format!(
                "CUDA has no {uuid}, only [{}]: is it cut into instances (MIG), or hidden?",
                known.join(", ")
            )
        })?;
        let (device, _) = all.remove(place);
        Ok((self.open_gpu(device)?, all))
    }

    /// Another of them.
    pub(super) fn open_gpu(&self, device: c_int) -> Result<Gpu, String> {
        // Refused where the context is alive already, which does no harm.
        // SAFETY: takes numbers.
        let _ = unsafe { (self.calls.cuDevicePrimaryCtxSetFlags_v2)(device, BLOCKING) };
        let mut context = ptr::null_mut();
        // SAFETY: the pointer outlives the call.
        let code = unsafe { (self.calls.cuDevicePrimaryCtxRetain)(&raw mut context, device) };
        self.check("cuDevicePrimaryCtxRetain", code)?;
        let gpu = Gpu { cuda: *self, device, context };
        gpu.select()?;
        Ok(gpu)
    }
}

/// As NVML writes a UUID.
fn name(bytes: &[u8; 16]) -> String {
    let mut text = String::from("GPU-");
    for (place, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&place) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A GPU with its context, which is the calling thread's until another is selected.
pub(super) struct Gpu {
    cuda: Cuda,
    device: c_int,
    context: Handle,
}

/// A kernel.
#[derive(Clone, Copy)]
pub(super) struct Kernel(Handle);

impl Gpu {
    /// Makes it the calling thread's.
    pub(super) fn select(&self) -> Result<(), String> {
        // SAFETY: the context is held until this is dropped.
        self.check("cuCtxSetCurrent", unsafe { (self.cuda.calls.cuCtxSetCurrent)(self.context) })
    }

    fn check(&self, call: &str, code: c_int) -> Result<(), String> {
        self.cuda.check(call, code)
    }

    /// Free bytes, and all.
    pub(super) fn memory(&self) -> Result<(u64, u64), String> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the pointers outlive the call.
        let code = unsafe { (self.cuda.calls.cuMemGetInfo_v2)(&raw mut free, &raw mut total) };
        self.check("cuMemGetInfo", code)?;
        Ok((free as u64, total as u64))
    }

    /// Memory of this GPU.
    pub(super) fn allocate(&self, bytes: u64) -> Result<Block<'_>, String> {
        let (mut at, size) = (0, usize::try_from(bytes).map_err(|_| "more memory than there is")?);
        // SAFETY: the pointer outlives the call.
        let code = unsafe { (self.cuda.calls.cuMemAlloc_v2)(&raw mut at, size) };
        self.check("cuMemAlloc", code)?;
        Ok(Block { gpu: self, at, bytes })
    }

    /// Memory with these values.
    pub(super) fn upload<T: Plain>(&self, values: &[T]) -> Result<Block<'_>, String> {
        let block = self.allocate(size_of_val(values) as u64)?;
        block.write(values)?;
        Ok(block)
    }

    /// Memory of the host that the GPU reaches by itself, zeroed.
    pub(super) fn pinned(&self, words: usize) -> Result<Pinned<'_>, String> {
        let (mut at, bytes) = (ptr::null_mut(), words.saturating_mul(8));
        // SAFETY: the pointer outlives the call.
        let code = unsafe { (self.cuda.calls.cuMemHostAlloc)(&raw mut at, bytes, 0) };
        self.check("cuMemHostAlloc", code)?;
        let at = at.cast::<u64>();
        if at.is_null() || !at.is_aligned() {
            return Err("cuMemHostAlloc: memory at an odd place".into());
        }
        // SAFETY: the library lent `bytes` bytes there.
        unsafe { ptr::write_bytes(at, 0, words) };
        Ok(Pinned { gpu: self, at, words })
    }

    /// Compiles `text`.
    pub(super) fn module(&self, text: String) -> Result<Module<'_>, String> {
        let text = CString::new(text).map_err(|_| "a program with a zero byte")?;
        let mut module = ptr::null_mut();
        // SAFETY: the text ends with a zero byte and outlives the call.
        let code = unsafe { (self.cuda.calls.cuModuleLoadData)(&raw mut module, text.as_ptr().cast()) };
        self.check("cuModuleLoadData", code)?;
        Ok(Module { gpu: self, module })
    }

    /// Starts a kernel on a grid of blocks; its parameters must be those that its text declares, all of 64 bits.
    pub(super) fn launch(
        &self,
        kernel: Kernel,
        grid: (u32, u32),
        threads: u32,
        values: &[u64],
    ) -> Result<(), String> {
        let mut list: Vec<Handle> =
            values.iter().map(|value| ptr::from_ref(value).cast_mut().cast()).collect();
        // SAFETY: one pointer for each parameter, each to 64 bits that the driver copies before it returns.
        let code = unsafe {
            (self.cuda.calls.cuLaunchKernel)(
                kernel.0,
                grid.0,
                grid.1,
                1,
                threads,
                1,
                1,
                0,
                ptr::null_mut(),
                list.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        self.check("cuLaunchKernel", code)
    }

    /// Waits until all that was started is done.
    pub(super) fn finish(&self) -> Result<(), String> {
        // SAFETY: takes nothing.
        self.check("cuCtxSynchronize", unsafe { (self.cuda.calls.cuCtxSynchronize)() })
    }

    /// Whether copies to `other` need not pass the host, and if so, the way is opened.
    pub(super) fn reaches(&self, other: &Self) -> Result<bool, String> {
        let mut can = 0;
        // SAFETY: the pointer outlives the call.
        let code =
            unsafe { (self.cuda.calls.cuDeviceCanAccessPeer)(&raw mut can, self.device, other.device) };
        self.check("cuDeviceCanAccessPeer", code)?;
        if can == 0 {
            return Ok(false);
        }
        self.select()?;
        // SAFETY: the other context is alive.
        match unsafe { (self.cuda.calls.cuCtxEnablePeerAccess)(other.context, 0) } {
            0 | ALREADY => Ok(true),
            code => self.check("cuCtxEnablePeerAccess", code).map(|()| true),
        }
    }

    /// Copies all of `from` to the beginning of `to`, on another GPU.
    pub(super) fn copy_peer(&self, to: &Block<'_>, from: &Block<'_>) -> Result<(), String> {
        let bytes = usize::try_from(from.bytes.min(to.bytes)).map_err(|_| "more memory than there is")?;
        // SAFETY: both blocks are alive, in these contexts, and have that many bytes.
        let code = unsafe {
            (self.cuda.calls.cuMemcpyPeer)(to.at, to.gpu.context, from.at, from.gpu.context, bytes)
        };
        self.check("cuMemcpyPeer", code)
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: the context was retained once; blocks and modules borrow this, so none is left.
        unsafe { (self.cuda.calls.cuDevicePrimaryCtxRelease_v2)(self.device) };
    }
}

/// A loaded program.
pub(super) struct Module<'a> {
    gpu: &'a Gpu,
    module: Handle,
}

impl Module<'_> {
    pub(super) fn kernel(&self, name: &CStr) -> Result<Kernel, String> {
        let mut kernel = ptr::null_mut();
        // SAFETY: the name ends with a zero byte, and both outlive the call.
        let code =
            unsafe { (self.gpu.cuda.calls.cuModuleGetFunction)(&raw mut kernel, self.module, name.as_ptr()) };
        self.gpu.check("cuModuleGetFunction", code)?;
        Ok(Kernel(kernel))
    }
}

/// Numbers without padding or bits that mean nothing.
pub(super) trait Plain: Copy {}
impl Plain for u16 {}
impl Plain for u64 {}
impl Plain for f32 {}
impl Plain for f64 {}

/// Memory of a GPU.
pub(super) struct Block<'a> {
    gpu: &'a Gpu,
    /// Its address there.
    pub(super) at: u64,
    pub(super) bytes: u64,
}

impl Block<'_> {
    /// Copies `values` to its beginning.
    pub(super) fn write<T: Plain>(&self, values: &[T]) -> Result<(), String> {
        let bytes = size_of_val(values);
        if bytes as u64 > self.bytes {
            return Err("a copy beyond its end".into());
        }
        // SAFETY: both sides have that many bytes.
        let code = unsafe { (self.gpu.cuda.calls.cuMemcpyHtoD_v2)(self.at, values.as_ptr().cast(), bytes) };
        self.gpu.check("cuMemcpyHtoD", code)
    }

    /// Copies its beginning to `values`.
    pub(super) fn read<T: Plain>(&self, values: &mut [T]) -> Result<(), String> {
        let bytes = size_of_val(values);
        if bytes as u64 > self.bytes {
            return Err("a copy beyond its end".into());
        }
        // SAFETY: both sides have that many bytes, and any bits are a value of `T`.
        let code =
            unsafe { (self.gpu.cuda.calls.cuMemcpyDtoH_v2)(values.as_mut_ptr().cast(), self.at, bytes) };
        self.gpu.check("cuMemcpyDtoH", code)
    }

    /// Sets all bytes.
    pub(super) fn set(&self, byte: u8) -> Result<(), String> {
        let bytes = usize::try_from(self.bytes).map_err(|_| "more memory than there is")?;
        // SAFETY: the block has that many bytes.
        self.gpu.check("cuMemsetD8", unsafe { (self.gpu.cuda.calls.cuMemsetD8_v2)(self.at, byte, bytes) })
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        // SAFETY: allocated once, freed once; a GPU that is lost says so, and nothing more can be done.
        unsafe { (self.gpu.cuda.calls.cuMemFree_v2)(self.at) };
    }
}

/// Memory of the host that stays where it is.
pub(super) struct Pinned<'a> {
    gpu: &'a Gpu,
    at: *mut u64,
    words: usize,
}

impl Pinned<'_> {
    pub(super) fn words(&mut self) -> &mut [u64] {
        // SAFETY: the library lent this many words, they were set at the beginning, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.words) }
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        // SAFETY: allocated once, freed once.
        unsafe { (self.gpu.cuda.calls.cuMemFreeHost)(self.at.cast()) };
    }
}

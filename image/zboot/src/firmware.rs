//! The program itself, on UEFI firmware: finds the kernel in its own image, unpacks it into memory of its own, and goes on
//! there under its own handle, so that command line and initramfs reach the kernel as they reached this program.
//!
//! What fails is said on the console in one line, and the firmware gets an error status: it tries its next boot option.

#![expect(
    unsafe_code,
    reason = "firmware is tables of raw pointers, and a kernel is started by a jump into memory"
)]

use alloc::format;
use alloc::string::ToString as _;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::fmt::Display;
use core::mem;
use core::panic::PanicInfo;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicPtr, Ordering};

use image_zboot::{Error, Kernel};
use r_efi::efi::{self, Guid, Handle, Status, SystemTable};
use r_efi::protocols::{loaded_image, memory_attribute};

/// What the kernel wants to lie at a multiple of: elsewhere it would move itself once more.
const ALIGNMENT: usize = 2 << 20;
/// UEFI's pages, whatever the processor's are.
const PAGE_BYTES: usize = 4096;
/// What the firmware's pool aligns to.
const POOL_ALIGNMENT: usize = 8;

static HANDLE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static SYSTEM: AtomicPtr<SystemTable> = AtomicPtr::new(ptr::null_mut());

/// How UEFI enters a program, the kernel too.
type Entry = extern "efiapi" fn(Handle, *mut SystemTable) -> Status;

/// Why it ends: what is said, and what the firmware gets.
#[derive(Debug)]
enum Failure {
    Kernel(Error),
    Firmware { doing: &'static str, status: Status },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Kernel(error)
    }
}

#[unsafe(no_mangle)]
extern "efiapi" fn efi_main(handle: Handle, system: *mut SystemTable) -> Status {
    HANDLE.store(handle, Ordering::Relaxed);
    SYSTEM.store(system, Ordering::Relaxed);
    match start(handle, system) {
        // Only a kernel that failed comes back, and has said why.
        Ok(status) => status,
        Err(Failure::Kernel(error)) => {
            say(&error);
            match error {
                Error::Memory { .. } => Status::OUT_OF_RESOURCES,
                Error::Payload { .. } | Error::Damaged { .. } | Error::Kernel { .. } => Status::LOAD_ERROR,
            }
        }
        Err(Failure::Firmware { doing, status }) => {
            say(&format!(
                "the firmware refused to {doing} (status {:#x}), and the kernel was not started; update the machine's \
                 firmware, or start another image",
                status.as_usize()
            ));
            status
        }
    }
}

fn start(handle: Handle, system: *mut SystemTable) -> Result<Status, Failure> {
    let own = own_image(handle)?;
    // SAFETY: the firmware loaded this program there and keeps it for as long as it runs; nothing writes to it.
    let (base, bytes) = unsafe { ((*own).image_base, (*own).image_size) };
    let loaded = usize::try_from(bytes).map_err(|_| Error::Payload { what: "its size is absurd" })?;
    // SAFETY: as above.
    let program = unsafe { slice::from_raw_parts(base.cast::<u8>(), loaded) };
    let unpacked = image_zboot::unpack(image_zboot::find(program)?)?;
    let kernel = Kernel::parse(&unpacked)?;
    let memory = Pages::aligned(kernel.image_bytes())?;
    // SAFETY: the pages are ours alone until they are freed.
    kernel.place(unsafe { slice::from_raw_parts_mut(memory.begin as *mut u8, memory.bytes()) })?;
    let (entry, code, image_bytes) = (kernel.entry(), kernel.code(), kernel.image_bytes());
    drop(unpacked);
    publish(memory.begin, image_bytes);
    let protected = Protected::new(memory.begin, code.start, code.end, image_bytes)?;
    // SAFETY: `own` stays valid while the handle is; the kernel looks there for where it lies.
    unsafe {
        (*own).image_base = memory.begin as *mut c_void;
        (*own).image_size = image_bytes as u64;
    }
    // SAFETY: the layout was checked, the entry lies in its code, and the code is in memory as other eyes see it.
    let entry: Entry = unsafe { mem::transmute(memory.begin + entry) };
    let status = entry(handle, system);
    // It came back.  The firmware frees what it loaded by what stands here.
    // SAFETY: as above.
    unsafe {
        (*own).image_base = base;
        (*own).image_size = bytes;
    }
    drop(protected);
    drop(memory);
    Ok(status)
}

/// What the firmware says of this program.
fn own_image(handle: Handle) -> Result<*mut loaded_image::Protocol, Failure> {
    let mut found = ptr::null_mut();
    let mut name: Guid = loaded_image::PROTOCOL_GUID;
    // SAFETY: all three outlive the call.
    checked("say where it loaded this program", |boot| unsafe {
        (boot.handle_protocol)(handle, &raw mut name, &raw mut found)
    })?;
    Ok(found.cast())
}

/// Pages of memory for code, freed when dropped.
#[derive(Debug)]
struct Pages {
    begin: usize,
    count: usize,
}

impl Pages {
    /// At least `bytes` at a multiple of [`ALIGNMENT`].
    fn aligned(bytes: usize) -> Result<Self, Failure> {
        let none = Failure::Kernel(Error::Memory { bytes });
        let (count, slack) = (bytes.div_ceil(PAGE_BYTES), ALIGNMENT / PAGE_BYTES);
        let mut at = 0;
        // SAFETY: `at` outlives the call.
        let got = checked("give memory", |boot| unsafe {
            (boot.allocate_pages)(efi::ALLOCATE_ANY_PAGES, efi::LOADER_CODE, count + slack, &raw mut at)
        });
        let (Ok(()), Ok(got)) = (got, usize::try_from(at)) else { return Err(none) };
        let begin = got.next_multiple_of(ALIGNMENT);
        let before = (begin - got) / PAGE_BYTES;
        // What lies before and behind goes back; the kernel wants one piece, not this one.
        free(got, before);
        free(begin + count * PAGE_BYTES, slack - before);
        Ok(Self { begin, count })
    }

    fn bytes(&self) -> usize {
        self.count * PAGE_BYTES
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        free(self.begin, self.count);
    }
}

fn free(begin: usize, pages: usize) {
    if pages > 0 {
        // SAFETY: the caller has these pages from the firmware and does not use them any more.  A refusal costs memory.
        let _ = checked("take memory back", |boot| unsafe { (boot.free_pages)(begin as u64, pages) });
    }
}

/// Code that cannot be written to, and data that cannot be executed, where the firmware can do that; writable when dropped.
#[derive(Debug)]
struct Protected {
    firmware: *mut memory_attribute::Protocol,
    code: (u64, u64),
}

impl Protected {
    /// `code` and `code_end` count from `begin`.
    fn new(begin: usize, code: usize, code_end: usize, image_bytes: usize) -> Result<Option<Self>, Failure> {
        let mut name: Guid = memory_attribute::PROTOCOL_GUID;
        let mut found = ptr::null_mut();
        // SAFETY: both outlive the call.
        let there = checked("protect memory", |boot| unsafe {
            (boot.locate_protocol)(&raw mut name, ptr::null_mut(), &raw mut found)
        });
        if there.is_err() || found.is_null() {
            return Ok(None);
        }
        let firmware: *mut memory_attribute::Protocol = found.cast();
        let range =
            |from: usize, to: usize| ((begin + from) as u64, (to - from).next_multiple_of(PAGE_BYTES) as u64);
        let (code, data) = (range(code, code_end), range(code_end, image_bytes));
        // As Linux's: that firmware protects less than it could stops nobody, that it forbids to execute does.  No page is
        // writable and executable at a time.
        // SAFETY: the ranges are ours, and of whole pages.
        let status = unsafe {
            if data.1 > 0 {
                let _ = ((*firmware).set_memory_attributes)(firmware, data.0, data.1, efi::MEMORY_XP);
            }
            let _ = ((*firmware).set_memory_attributes)(firmware, code.0, code.1, efi::MEMORY_RO);
            ((*firmware).clear_memory_attributes)(firmware, code.0, code.1, efi::MEMORY_XP)
        };
        let protected = Self { firmware, code };
        if status.is_error() {
            return Err(Failure::Firmware { doing: "make memory executable", status });
        }
        Ok(Some(protected))
    }
}

impl Drop for Protected {
    fn drop(&mut self) {
        // SAFETY: as when they were set.
        unsafe {
            let _ = ((*self.firmware).clear_memory_attributes)(
                self.firmware,
                self.code.0,
                self.code.1,
                efi::MEMORY_RO,
            );
        }
    }
}

/// Has what was written as data be seen as instructions (Arm ARM, B2.4.4): data caches to the point of unification, then
/// the instruction caches of all processors.
fn publish(begin: usize, bytes: usize) {
    let sizes: usize;
    // SAFETY: reads a register that says how long lines are.
    unsafe { core::arch::asm!("mrs {}, ctr_el0", out(reg) sizes, options(nomem, nostack, preserves_flags)) };
    // DminLine: the logarithm of the shortest line, in words of four bytes.
    let line = 4_usize << ((sizes >> 16) & 15);
    for at in (begin..begin + bytes).step_by(line) {
        // SAFETY: cleans a line of memory that is ours.
        unsafe { core::arch::asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: changes nothing but what is cached.
    unsafe { core::arch::asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Asks the firmware; `doing` follows "refused to".
fn checked(doing: &'static str, ask: impl FnOnce(&efi::BootServices) -> Status) -> Result<(), Failure> {
    let system = SYSTEM.load(Ordering::Relaxed);
    // SAFETY: the firmware's tables stay until the kernel ends its boot services, and the kernel does not come back then.
    let boot = unsafe { system.as_ref().and_then(|system| system.boot_services.as_ref()) };
    let status = boot.map_or(Status::UNSUPPORTED, ask);
    if status.is_error() { Err(Failure::Firmware { doing, status }) } else { Ok(()) }
}

/// One line on the firmware's console.
fn say(text: &dyn Display) {
    let line = format!("zboot: {text}\r\n\0").to_string();
    let mut letters: alloc::vec::Vec<u16> = line.encode_utf16().collect();
    let system = SYSTEM.load(Ordering::Relaxed);
    // SAFETY: as in `checked`; the text ends with a NUL and outlives the call.
    unsafe {
        if let Some(console) =
            system.as_ref().map(|system| system.con_out).filter(|console| !console.is_null())
        {
            let _ = ((*console).output_string)(console, letters.as_mut_ptr());
        }
    }
}

/// The firmware's pool.
struct Pool;

#[global_allocator]
static POOL: Pool = Pool;

// SAFETY: what the firmware gives is as large as asked for and aligned to eight bytes; beyond that a place within is taken
// whose begin is remembered right before it.
unsafe impl GlobalAlloc for Pool {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let extra = if layout.align() > POOL_ALIGNMENT { layout.align() } else { 0 };
        let mut got = ptr::null_mut();
        let Some(bytes) = layout.size().checked_add(extra) else { return ptr::null_mut() };
        // SAFETY: `got` outlives the call.
        let asked = checked("give memory", |boot| unsafe {
            (boot.allocate_pool)(efi::LOADER_DATA, bytes, &raw mut got)
        });
        if asked.is_err() || extra == 0 {
            return if asked.is_ok() { got.cast() } else { ptr::null_mut() };
        }
        let begin = (got as usize + POOL_ALIGNMENT).next_multiple_of(layout.align());
        // SAFETY: at least eight bytes lie before it, and all of it lies within.
        unsafe { ((begin - POOL_ALIGNMENT) as *mut *mut c_void).write(got) };
        begin as *mut u8
    }

    unsafe fn dealloc(&self, begin: *mut u8, layout: Layout) {
        let got: *mut c_void = if layout.align() > POOL_ALIGNMENT {
            // SAFETY: `alloc` wrote it there.
            unsafe { ((begin as usize - POOL_ALIGNMENT) as *mut *mut c_void).read() }
        } else {
            begin.cast()
        };
        // SAFETY: it is from `alloc`.  A refusal costs memory.
        let _ = checked("take memory back", |boot| unsafe { (boot.free_pool)(got) });
    }
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    say(&format!("{info}; the kernel was not started: report this as a bug"));
    let handle = HANDLE.load(Ordering::Relaxed);
    // SAFETY: ends this program, whose handle it is.
    let _ = checked("end this program", |boot| unsafe {
        (boot.exit)(handle, Status::ABORTED, 0, ptr::null_mut())
    });
    loop {
        core::hint::spin_loop();
    }
}

//! glibc keeps large blocks that were freed for the next one of their size: an appliance that has sealed its images would
//! hold several times their size for ever.

/// Blocks from this size on are the kernel's again as soon as they are freed.
const LARGE_BYTES: libc::c_int = 1 << 20;

/// Has large blocks given back (mallopt(3)): naming the threshold ends its growth.
#[expect(unsafe_code, reason = "the C library's allocator has no other door")]
pub(super) fn give_back_large_blocks() {
    // SAFETY: the call sets a number of the allocator's, and no other thread runs yet.  Refused, memory is held as before.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
}

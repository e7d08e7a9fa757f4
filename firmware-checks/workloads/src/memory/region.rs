//! Memory taken from the kernel for a walk: bound to a NUMA node, locked, and given back in the end.

use std::{io, path::Path, ptr};

/// `MPOL_BIND` of the kernel's `include/uapi/linux/mempolicy.h`: pages come from these nodes or not at all.
const MPOL_BIND: libc::c_ulong = 2;

/// Nodes that a mask of ours can name; the kernel's own largest configuration has as many.
const NODES_MAX: u32 = 1024;

/// One anonymous mapping.
#[derive(Debug)]
pub(super) struct Region {
    start: *mut u64,
    words: usize,
    locked: bool,
}

// SAFETY: the mapping belongs to this value alone, and no thread minds which one it is used from.
#[expect(unsafe_code, reason = "a pointer of our own mapping")]
unsafe impl Send for Region {}

impl Region {
    /// Maps whole pages; `node` binds them to a NUMA node.
    #[expect(unsafe_code, reason = "mappings have no safe form in the standard library")]
    pub(super) fn new(words: usize, node: Option<u32>) -> io::Result<Self> {
        let bytes = words.saturating_mul(8);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut region = Self { start: start.cast(), words, locked: false };
        if let Some(node) = node {
            region.bind(node)?;
        }
        // Large pages where there are any: fewer look-ups on the way.  It works without.
        // SAFETY: the range is the mapping above.
        unsafe { libc::madvise(start, bytes, libc::MADV_HUGEPAGE) };
        Ok(region)
    }

    /// Has the kernel bring all pages in and keep them; to be called by the thread that will walk here.
    #[expect(unsafe_code, reason = "mlock has no safe form")]
    pub(super) fn lock(&mut self) {
        // SAFETY: the range is our mapping; mlock changes nothing in it.
        self.locked = unsafe { libc::mlock(self.start.cast(), self.words * 8) } == 0;
    }

    #[expect(unsafe_code, reason = "mbind has no safe form")]
    fn bind(&mut self, node: u32) -> io::Result<()> {
        if node >= NODES_MAX {
            return Err(io::Error::other(format!("node {node}, this build counts to {NODES_MAX}")));
        }
        let mut mask = [0_u64; NODES_MAX as usize / 64];
        if let Some(word) = mask.get_mut(node as usize / 64) {
            *word |= 1 << (node % 64);
        }
        let (bytes, bits) = (self.words * 8, libc::c_ulong::from(NODES_MAX));
        // SAFETY: the range is our mapping, and the mask is valid for as many bits as are named.
        let result =
            unsafe { libc::syscall(libc::SYS_mbind, self.start, bytes, MPOL_BIND, mask.as_ptr(), bits, 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Whether the kernel promised to keep the pages where they are.
    pub(super) fn locked(&self) -> bool {
        self.locked
    }

    #[expect(unsafe_code, reason = "a mapping is seen as words")]
    pub(super) fn words(&mut self) -> &mut [u64] {
        // SAFETY: the mapping is readable, writable, page-aligned, as long as said, and ours alone while borrowed;
        // any bits are a word.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.words) }
    }

    /// The physical address of word number `word`, where the kernel tells (to root, `Documentation/admin-guide/mm/
    /// pagemap.rst`: bit 63 present, bits 0 to 54 the frame).
    pub(super) fn physical(&self, root: &Path, word: usize) -> Option<u64> {
        use std::os::unix::fs::FileExt as _;
        let address = (self.start as usize).checked_add(word.checked_mul(8)?)? as u64;
        let pagemap = std::fs::File::open(root.join("proc/self/pagemap")).ok()?;
        let mut entry = [0; 8];
        pagemap.read_exact_at(&mut entry, address / 4096 * 8).ok()?;
        let entry = u64::from_le_bytes(entry);
        let frame = entry & ((1 << 55) - 1);
        (entry >> 63 == 1 && frame > 0).then(|| frame * 4096 + address % 4096)
    }
}

impl Drop for Region {
    #[expect(unsafe_code, reason = "mappings have no safe form in the standard library")]
    fn drop(&mut self) {
        // SAFETY: the range is the mapping made in `new`, and no borrow of it can be left.
        unsafe { libc::munmap(self.start.cast(), self.words * 8) };
    }
}

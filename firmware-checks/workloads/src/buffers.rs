//! Buffers that the kernel reads and writes: aligned for O_DIRECT, in large pages where there are any, so that a block of
//! a megabyte is one piece to the kernel and not 256.

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    ptr::NonNull,
};

use crate::drive::stamp::{GOLDEN, mix};

/// The strictest logical block of the drives we know.
const PAGE_BYTES: usize = 4096;

/// A large page of x86-64, and of ARM with pages of 4 KiB.
const LARGE_BYTES: usize = 2 << 20;

/// So many buffers of one size, one behind the other.
#[derive(Debug)]
pub(crate) struct Buffers {
    start: NonNull<u8>,
    layout: Layout,
    each: usize,
    count: usize,
}

impl Buffers {
    /// `count` buffers of `each` bytes, a multiple of 4096, all zero; `None` if that is no size.
    #[expect(unsafe_code, reason = "an alignment that no collection offers")]
    pub(crate) fn new(count: usize, each: usize) -> Option<Self> {
        let bytes = count.checked_mul(each).filter(|bytes| *bytes > 0 && each.is_multiple_of(PAGE_BYTES))?;
        let align = if bytes < LARGE_BYTES { PAGE_BYTES } else { LARGE_BYTES };
        let layout = Layout::from_size_align(bytes, align).ok()?;
        // SAFETY: the layout has a size.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        // SAFETY: the range was allocated above and belongs to nobody else; the advice changes none of its bytes.  It
        // has to come before the first touch, which is the next line, and what is refused is done without.
        unsafe {
            libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
            start.as_ptr().write_bytes(0, bytes);
        }
        Some(Self { start, layout, each, count })
    }

    /// Fills all of them with words without any order.
    pub(crate) fn scramble(&mut self) {
        let mut number = 0_u64;
        for index in 0..self.count {
            for word in self.bytes(index).chunks_exact_mut(8) {
                number += 1;
                word.copy_from_slice(&mix(number.wrapping_mul(GOLDEN)).to_le_bytes());
            }
        }
    }

    /// What the kernel wants to know of each of them.
    #[expect(unsafe_code, reason = "places in an allocation")]
    pub(crate) fn vectors(&self) -> Vec<libc::iovec> {
        let vector = |index: usize| libc::iovec {
            // SAFETY: the index is below the count, so the place is within the allocation.
            iov_base: unsafe { self.start.as_ptr().add(index * self.each) }.cast(),
            iov_len: self.each,
        };
        (0..self.count).map(vector).collect()
    }

    /// The bytes of one that is not in the kernel's hands; empty if there is none of this number.
    #[expect(unsafe_code, reason = "an allocation is seen as bytes")]
    pub(crate) fn bytes(&mut self, index: usize) -> &mut [u8] {
        if index >= self.count {
            return &mut [];
        }
        // SAFETY: the range is within the allocation, all of it was written, and ours alone while borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(index * self.each), self.each) }
    }
}

impl Drop for Buffers {
    #[expect(unsafe_code, reason = "the allocation was made here")]
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and no borrow of it can be left.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zero_and_apart() {
        for (count, each, align) in [(3, 8192, 4096), (4, 1 << 20, 2 << 20)] {
            let mut buffers = Buffers::new(count, each).unwrap();
            let places: Vec<usize> =
                buffers.vectors().iter().map(|vector| vector.iov_base as usize).collect();
            assert!(places[0].is_multiple_of(align) && places.is_sorted_by(|a, b| a + each == *b));
            assert!(buffers.bytes(1).len() == each && buffers.bytes(1).iter().all(|byte| *byte == 0));
            buffers.bytes(1).fill(7);
            assert!([0, 2].iter().all(|other| buffers.bytes(*other).iter().all(|byte| *byte == 0)));
            assert!(buffers.bytes(count).is_empty());
            buffers.scramble();
            let first: Vec<u8> = buffers.bytes(0).to_vec();
            assert!(first[..8] != first[8..16] && first != *buffers.bytes(1));
        }
        assert!(Buffers::new(0, 4096).is_none() && Buffers::new(1, 100).is_none());
    }
}

//! What words hold, block by block, and the loops that write and compare them.
//!
//! Writes go past the caches where the processor can (SSE2's streaming stores): what is tested is memory, and a line that
//! need not be fetched before it is overwritten saves a third of the traffic.

/// A pattern: what each word holds is known from its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Each word's own address: finds address lines that are stuck or crossed.
    Address,
    /// The same inverted, so that each cell has held both values.
    AddressInverted,
    /// All words the same.
    Solid(u64),
    /// Alternating bits, the other way round in every other word.
    Checkerboard(u64),
    /// One bit of each word set, the next one in the next word; the number shifts the start.
    WalkingOnes(u32),
    /// Words without any order, from a seed.
    Random(u64),
}

/// The alternating bits that begin a checkerboard.
pub const CHECKERS: u64 = 0x5555_5555_5555_5555;

/// 2⁶⁴ divided by the golden ratio, odd: multiples of it are spread evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Pattern {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::AddressInverted => "address inverted",
            Self::Solid(_) => "solid",
            Self::Checkerboard(_) => "checkerboard",
            Self::WalkingOnes(_) => "walking ones",
            Self::Random(_) => "random",
        }
    }

    /// What word number `index` holds.
    #[must_use]
    pub fn word(self, index: u64) -> u64 {
        match self {
            Self::Address => index * 8,
            Self::AddressInverted => !(index * 8),
            Self::Solid(word) => word,
            Self::Checkerboard(word) => word ^ (index & 1).wrapping_neg(),
            Self::WalkingOnes(shift) => {
                1_u64.rotate_left(shift.wrapping_add(u32::from(index.to_le_bytes()[0] & 63)))
            }
            Self::Random(seed) => {
                let word = index.wrapping_mul(GOLDEN) ^ seed;
                word ^ (word >> 29)
            }
        }
    }

    /// Writes a block whose first word has this number.
    pub fn write(self, block: &mut [u64], first: u64) {
        match self {
            Self::Address => store(block, first, |index| Self::Address.word(index)),
            Self::AddressInverted => store(block, first, |index| Self::AddressInverted.word(index)),
            Self::Solid(word) => store(block, first, |_| word),
            Self::Checkerboard(word) => store(block, first, |index| Self::Checkerboard(word).word(index)),
            Self::WalkingOnes(shift) => store(block, first, |index| Self::WalkingOnes(shift).word(index)),
            Self::Random(seed) => store(block, first, |index| Self::Random(seed).word(index)),
        }
    }

    /// Compares a block; `wrong` is told the number and the wrong bits of each word that differs.
    pub fn compare(self, block: &[u64], first: u64, wrong: &mut dyn FnMut(u64, u64)) {
        let same = match self {
            Self::Address => differ(block, first, |index| Self::Address.word(index)),
            Self::AddressInverted => differ(block, first, |index| Self::AddressInverted.word(index)),
            Self::Solid(word) => differ(block, first, |_| word),
            Self::Checkerboard(word) => differ(block, first, |index| Self::Checkerboard(word).word(index)),
            Self::WalkingOnes(shift) => differ(block, first, |index| Self::WalkingOnes(shift).word(index)),
            Self::Random(seed) => differ(block, first, |index| Self::Random(seed).word(index)),
        } == 0;
        if !same {
            for (word, index) in block.iter().zip(first..) {
                let bits = word ^ self.word(index);
                if bits != 0 {
                    wrong(index, bits);
                }
            }
        }
    }
}

/// All differing bits of a block, one over the other: no branch, so that it is made of vectors.
#[inline(always)]
fn differ(block: &[u64], first: u64, word: impl Fn(u64) -> u64) -> u64 {
    let mut all = 0;
    for (found, index) in block.iter().zip(first..) {
        all |= found ^ word(index);
    }
    all
}

/// Writes words, past the caches where that can be done.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "streaming stores have no safe form")]
fn store(block: &mut [u64], first: u64, word: impl Fn(u64) -> u64) {
    use std::arch::x86_64::{_mm_set_epi64x, _mm_sfence, _mm_stream_si128};
    let mut index = first;
    // SAFETY: any bits are a pair of words, and the pairs returned are aligned and of this block.
    let (head, pairs, tail) = unsafe { block.align_to_mut::<std::arch::x86_64::__m128i>() };
    for place in head {
        *place = word(index);
        index += 1;
    }
    for pair in pairs {
        let (low, high) = (word(index).cast_signed(), word(index + 1).cast_signed());
        // SAFETY: the place is aligned, nobody else holds it, and every x86-64 has SSE2.
        unsafe { _mm_stream_si128(pair, _mm_set_epi64x(high, low)) };
        index += 2;
    }
    for place in tail {
        *place = word(index);
        index += 1;
    }
    // SAFETY: every x86-64 has SSE; the fence orders the stores above before what comes next.
    unsafe { _mm_sfence() };
}

/// Writes words.
#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
fn store(block: &mut [u64], first: u64, word: impl Fn(u64) -> u64) {
    for (place, index) in block.iter_mut().zip(first..) {
        *place = word(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_bit_is_found_in_every_pattern() {
        let mut block = vec![0; 67];
        for (turn, pattern) in [
            Pattern::Address,
            Pattern::AddressInverted,
            Pattern::Solid(0),
            Pattern::Solid(u64::MAX),
            Pattern::Checkerboard(CHECKERS),
            Pattern::WalkingOnes(63),
            Pattern::Random(5),
        ]
        .into_iter()
        .enumerate()
        {
            // Also where the block does not begin at a pair of words.
            let block = &mut block[turn % 2..];
            pattern.write(block, 1000);
            let mut found = Vec::new();
            pattern.compare(block, 1000, &mut |index, bits| found.push((index, bits)));
            assert!(found.is_empty(), "{pattern:?}");
            block[17] ^= 1 << turn;
            pattern.compare(block, 1000, &mut |index, bits| found.push((index, bits)));
            assert_eq!(found, [(1017, 1 << turn)], "{pattern:?}");
        }
        // A crossed address line shows as two words that hold each other's address.
        Pattern::Address.write(&mut block, 0);
        block.swap(1, 33);
        let mut count = 0;
        Pattern::Address.compare(&block, 0, &mut |_, _| count += 1);
        assert_eq!(count, 2);
    }

    #[test]
    fn walking_ones_and_checkers() {
        assert_eq!(Pattern::WalkingOnes(63).word(1), 1);
        assert_eq!(Pattern::Checkerboard(CHECKERS).word(3), !CHECKERS);
    }
}

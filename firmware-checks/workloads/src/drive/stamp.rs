//! What is written to a drive: every sector says where it belongs, which run wrote it and in which pass.
//!
//! So a sector that comes back wrong is known for what it is: from another place, from an earlier pass, from somebody
//! else, or with bits turned over, and which.  A sector is 512 bytes, the smallest that drives have: a block that
//! was written in part shows at the sector where it breaks off.

use std::fmt;

/// Bytes of a sector.
pub const SECTOR_BYTES: usize = 512;

/// Words before the payload: place, seed, pass, and a check over these.
const HEAD_WORDS: usize = 4;

/// Mismatches that are kept with their place; the others are counted.
const KEPT_MAX: usize = 16;

/// Bits by which a head may differ from the one expected and still be called damaged; chance would turn 96 of 192.
const DAMAGED_BITS_MAX: u32 = 24;

/// Which run and which pass wrote a sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// One run's number.
    pub seed: u64,
    /// Pass of this run.
    pub generation: u64,
}

/// What a wrong sector holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// The right data for another place: a write or a read went astray.
    Misplaced {
        /// First byte of the place it belongs to.
        belongs: u64,
    },
    /// The data of another pass: a write was confirmed and did not arrive.
    Stale {
        /// The pass it is from.
        generation: u64,
    },
    /// Sectors of another run.
    OtherRun {
        /// Its number.
        seed: u64,
    },
    /// Bits turned over.
    Damaged {
        /// Byte on the drive of the first wrong word.
        byte: u64,
        /// Bits of this 64-bit word, lowest byte first, that differ.
        bits: u64,
        /// Words of the sector that differ.
        words: u32,
    },
    /// Nothing that we ever wrote.
    Foreign,
}

/// A wrong sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// First byte of the sector on the drive.
    pub offset: u64,
    /// What it holds.
    pub wrong: Wrong,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the sector at byte {} holds ", self.offset)?;
        match self.wrong {
            Wrong::Misplaced { belongs } => write!(f, "what belongs at byte {belongs}"),
            Wrong::Stale { generation } => {
                write!(f, "what pass {generation} wrote: a later write was confirmed and lost")
            }
            Wrong::OtherRun { .. } => f.write_str("what another run wrote: no write of this one arrived"),
            Wrong::Damaged { byte, bits, words } => {
                write!(f, "damaged data: {words} words differ, the first at byte {byte} in bits {bits:#018x}")
            }
            Wrong::Foreign => f.write_str("what nobody wrote here"),
        }
    }
}

/// What a verification has found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatches {
    /// Wrong sectors.
    pub count: u64,
    /// The first of them.
    pub kept: Vec<Mismatch>,
}

impl Stamp {
    /// Fills a block of whole sectors that belongs at byte `offset`.
    pub fn fill(self, offset: u64, block: &mut [u8]) {
        for (sector, place) in block.chunks_exact_mut(SECTOR_BYTES).zip((offset..).step_by(SECTOR_BYTES)) {
            for (bytes, word) in sector.chunks_exact_mut(8).zip(self.words(place)) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
    }

    /// Looks at a block that was read at byte `offset`.
    pub fn check(self, offset: u64, block: &[u8], found: &mut Mismatches) {
        for (sector, place) in block.chunks_exact(SECTOR_BYTES).zip((offset..).step_by(SECTOR_BYTES)) {
            let expected = self.words(place);
            let same = sector
                .chunks_exact(8)
                .zip(&expected)
                .fold(0, |differ, (bytes, word)| differ | (read(bytes) ^ word));
            if same == 0 {
                continue;
            }
            found.count += 1;
            if found.kept.len() < KEPT_MAX {
                found.kept.push(Mismatch { offset: place, wrong: self.name(place, sector, &expected) });
            }
        }
    }

    /// The sector that belongs at byte `place`.
    fn words(self, place: u64) -> [u64; SECTOR_BYTES / 8] {
        let mut words = [0; SECTOR_BYTES / 8];
        let head = [place, self.seed, self.generation, seal(place, self.seed, self.generation)];
        let base = mix(head[3] ^ place);
        // Additions and shifts only, so that eight words are made at once.
        for (index, word) in (0_u64..).zip(&mut words) {
            let value = base.wrapping_add(index.wrapping_mul(GOLDEN));
            *word = value ^ (value >> 29);
        }
        for (word, head) in words.iter_mut().zip(head) {
            *word = head;
        }
        words
    }

    fn name(self, place: u64, sector: &[u8], expected: &[u64; SECTOR_BYTES / 8]) -> Wrong {
        let found: Vec<u64> = sector.chunks_exact(8).map(read).collect();
        let [belongs, seed, generation, check, ..] = *found.as_slice() else { return Wrong::Foreign };
        if check == seal(belongs, seed, generation) {
            if seed != self.seed {
                return Wrong::OtherRun { seed };
            }
            if belongs != place {
                return Wrong::Misplaced { belongs };
            }
            if generation != self.generation {
                return Wrong::Stale { generation };
            }
        }
        let differs = |(index, (found, expected)): (u64, (&u64, &u64))| {
            (found != expected).then_some((index, found ^ expected))
        };
        let pairs = || (0_u64..).zip(found.iter().zip(expected)).filter_map(differs);
        let head_bits: u32 = pairs()
            .take_while(|(index, _)| *index < HEAD_WORDS as u64)
            .map(|(_, bits)| bits.count_ones())
            .sum();
        match pairs().next() {
            Some((index, bits)) if head_bits <= DAMAGED_BITS_MAX => {
                let words = u32::try_from(pairs().count()).unwrap_or(u32::MAX);
                Wrong::Damaged { byte: place + index * 8, bits, words }
            }
            Some(_) | None => Wrong::Foreign,
        }
    }
}

/// 2⁶⁴ divided by the golden ratio, odd: multiples of it are spread evenly.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn seal(place: u64, seed: u64, generation: u64) -> u64 {
    mix(place ^ mix(seed ^ mix(generation ^ GOLDEN)))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit of the input turns half of the output.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn read(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { seed: 7, generation: 3 };

    fn written(stamp: Stamp, offset: u64) -> Vec<u8> {
        let mut block = vec![0; 4096];
        stamp.fill(offset, &mut block);
        block
    }

    fn checked(offset: u64, block: &[u8]) -> Mismatches {
        let mut found = Mismatches::default();
        STAMP.check(offset, block, &mut found);
        found
    }

    #[test]
    fn what_was_written_is_right_and_everything_else_has_a_name() {
        let good = written(STAMP, 8192);
        assert_eq!(checked(8192, &good), Mismatches::default());
        let turned = |byte: usize, mask: u8| {
            let mut block = good.clone();
            block[byte] ^= mask;
            block
        };
        for (block, sector, wrong) in [
            (written(STAMP, 4096), 0, Wrong::Misplaced { belongs: 4096 }),
            (written(Stamp { generation: 2, ..STAMP }, 8192), 0, Wrong::Stale { generation: 2 }),
            (written(Stamp { seed: 9, ..STAMP }, 8192), 0, Wrong::OtherRun { seed: 9 }),
            (vec![0; 4096], 0, Wrong::Foreign),
            (turned(600, 4), 512, Wrong::Damaged { byte: 8192 + 600, bits: 4, words: 1 }),
            (turned(607, 0x80), 512, Wrong::Damaged { byte: 8192 + 600, bits: 1 << 63, words: 1 }),
            (turned(3, 1), 0, Wrong::Damaged { byte: 8192, bits: 1 << 24, words: 1 }),
        ] {
            let found = checked(8192, &block);
            assert_eq!(found.kept[0], Mismatch { offset: 8192 + sector, wrong });
        }
    }

    #[test]
    fn a_torn_block_shows_where_it_breaks_off() {
        let mut block = written(STAMP, 0);
        let old = written(Stamp { generation: 2, ..STAMP }, 0);
        block[2048..].copy_from_slice(&old[2048..]);
        let found = checked(0, &block);
        assert_eq!((found.count, found.kept[0].offset), (4, 2048));
    }
}

//! The same computations in plain arithmetic: no instruction made for the purpose, no vectors, nothing shared with the
//! libraries that use them.  Slow on purpose; the tests hold it against published vectors.

use std::hint::black_box;

/// FIPS 197, C.3.
pub(super) const AES_BLOCK: [u8; 16] =
    [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];

/// CRC-32C of [`bytes`], computed bit by bit in Python.
pub(super) const CRC32C: u32 = 0x54dc_4146;

/// Rows and columns of the matrices.
pub(super) const SIDE: usize = 64;

/// Steps of the generator.
pub(super) const LEAP: u64 = 100_000;

/// Round keys of AES-256, and the S-box they were made with.
pub(super) struct AesKeys {
    sbox: [u8; 256],
    rounds: Vec<[u8; 16]>,
}

/// Multiplication by x in AES's field (FIPS 197, 4.2.1).
fn double(byte: u8) -> u8 {
    (byte << 1) ^ if byte & 0x80 == 0 { 0 } else { 0x1b }
}

/// The S-box from its definition: the inverse in the field, then the affine map (FIPS 197, 5.1.1).
fn sbox() -> [u8; 256] {
    let mut sbox = [0x63; 256];
    let (mut power, mut inverse) = (1_u8, 1_u8);
    // 3 generates the field; 0xf6 is its inverse, so both walk the field in opposite directions.
    for _ in 0..255 {
        power ^= double(power);
        inverse ^= inverse << 1;
        inverse ^= inverse << 2;
        inverse ^= inverse << 4;
        inverse ^= if inverse & 0x80 == 0 { 0 } else { 0x09 };
        let rotated = (1..5).fold(inverse, |sum, by| sum ^ inverse.rotate_left(by));
        if let Some(place) = sbox.get_mut(usize::from(power)) {
            *place = rotated ^ 0x63;
        }
    }
    sbox
}

pub(super) fn aes_keys(key: &[u8; 32]) -> AesKeys {
    let sbox = sbox();
    let map = |byte: u8| sbox.get(usize::from(byte)).copied().unwrap_or(0);
    let mut words: Vec<[u8; 4]> = key.chunks_exact(4).filter_map(|word| word.try_into().ok()).collect();
    let mut constant = 1_u8;
    for index in 8..60 {
        let mut word = words.last().copied().unwrap_or_default();
        if index % 8 == 0 {
            word.rotate_left(1);
            word = word.map(map);
            word[0] ^= constant;
            constant = double(constant);
        } else if index % 8 == 4 {
            word = word.map(map);
        }
        let before = words.get(index - 8).copied().unwrap_or_default();
        words.push(std::array::from_fn(|byte| word[byte] ^ before[byte]));
    }
    let rounds =
        words.chunks_exact(4).map(|four| std::array::from_fn(|index| four[index / 4][index % 4])).collect();
    AesKeys { sbox, rounds }
}

pub(super) fn aes_encrypt(keys: &AesKeys, block: [u8; 16]) -> [u8; 16] {
    let mut state = black_box(block);
    for (round, key) in keys.rounds.iter().enumerate() {
        if round > 0 {
            let mapped = state.map(|byte| keys.sbox.get(usize::from(byte)).copied().unwrap_or(0));
            // ShiftRows: column c of row r comes from column c + r.
            state = std::array::from_fn(|index| mapped[(index + 4 * (index % 4)) % 16]);
            if round + 1 < keys.rounds.len() {
                state = mix_columns(&state);
            }
        }
        state = std::array::from_fn(|index| state[index] ^ key[index]);
    }
    state
}

fn mix_columns(state: &[u8; 16]) -> [u8; 16] {
    std::array::from_fn(|index| {
        let (column, row) = (index / 4 * 4, index % 4);
        let at = |by: usize| state[column + (row + by) % 4];
        double(at(0)) ^ double(at(1)) ^ at(1) ^ at(2) ^ at(3)
    })
}

/// SHA-256 of 32 bytes (FIPS 180-4, 6.2): one block.  Constants are computed as the standard defines them.
pub(super) fn sha256(message: &[u8; 32]) -> [u8; 32] {
    let (starts, constants) = roots();
    let mut words: Vec<u32> =
        message.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_be_bytes)).collect();
    words.extend([0x8000_0000, 0, 0, 0, 0, 0, 0, 256]);
    for index in 16..64 {
        let at = |back: usize| words.get(index - back).copied().unwrap_or(0);
        let (a, b) = (at(15), at(2));
        let small = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
        let large = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
        words.push(at(16).wrapping_add(small).wrapping_add(at(7)).wrapping_add(large));
    }
    let mut state = *starts;
    for (word, constant) in words.iter().zip(constants) {
        let [a, b, c, d, e, f, g, h] = state;
        let sum = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let first =
            h.wrapping_add(sum).wrapping_add((e & f) ^ (!e & g)).wrapping_add(*constant).wrapping_add(*word);
        let sum = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let second = sum.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        state = [first.wrapping_add(second), a, b, c, d.wrapping_add(first), e, f, g];
    }
    let mut digest = [0; 32];
    for (bytes, (state, start)) in digest.chunks_exact_mut(4).zip(state.iter().zip(starts)) {
        bytes.copy_from_slice(&state.wrapping_add(*start).to_be_bytes());
    }
    digest
}

/// The first 32 bits of the fractions of the square roots of 8 primes, and of the cube roots of 64.
fn roots() -> &'static ([u32; 8], [u32; 64]) {
    static ROOTS: std::sync::OnceLock<([u32; 8], [u32; 64])> = std::sync::OnceLock::new();
    ROOTS.get_or_init(|| {
        let prime = |number: &u128| (2..*number).all(|factor| !number.is_multiple_of(factor));
        let primes: Vec<u128> = (2..).filter(prime).take(64).collect();
        // The largest r with r^power ≤ prime · 2^(32·power) is the root with 32 bits behind the point.
        let fraction = |index: usize, power: u32| {
            let prime = primes.get(index).copied().unwrap_or(0);
            let mut root = 0_u128;
            for bit in (0..36).rev() {
                let larger = root | 1 << bit;
                if larger.pow(power) <= prime << (32 * power) {
                    root = larger;
                }
            }
            u32::try_from(root & u128::from(u32::MAX)).unwrap_or(0)
        };
        (std::array::from_fn(|index| fraction(index, 2)), std::array::from_fn(|index| fraction(index, 3)))
    })
}

pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    static TABLE: std::sync::OnceLock<[u32; 256]> = std::sync::OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 0 { 0 } else { 0x82f6_3b78 };
        std::array::from_fn(|byte| (0..8).fold(u32::try_from(byte).unwrap_or(0), |crc, _| step(crc)))
    });
    let step = |crc: u32, byte: &u8| {
        let index = usize::from(crc.to_le_bytes()[0] ^ byte);
        (crc >> 8) ^ table.get(index).copied().unwrap_or(0)
    };
    !bytes.iter().fold(!0, step)
}

/// Number `index` of a spread series (SplitMix64).
fn spread(index: u64) -> u64 {
    let value = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// 64 KiB of it.
pub(super) fn bytes() -> Vec<u8> {
    (1..=8192).flat_map(|index| spread(index).to_le_bytes()).collect()
}

/// Matrices with entries of 26 and of 20 bits: sums of 64 products stay below 2^52.
pub(super) fn matrices() -> (Vec<u64>, Vec<u64>) {
    let entries = (SIDE * SIDE) as u64;
    let a = (1..=entries).map(|index| spread(index) >> 38).collect();
    let b = (1 + entries..=2 * entries).map(|index| spread(index) >> 44).collect();
    (a, b)
}

pub(super) fn multiply(a: &[u64], b: &[u64]) -> Vec<u64> {
    let entry = |index: usize| {
        let row = a.get(index / SIDE * SIDE..).unwrap_or_default();
        let column = b.iter().skip(index % SIDE).step_by(SIDE);
        row.iter().zip(column).map(|(a, b)| a * b).sum()
    };
    (0..SIDE * SIDE).map(entry).collect()
}

/// A checksum that depends on the order.
pub(super) fn fold(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |sum, number| (sum ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31))
}

/// PCG's multiplier, increment and first state (O'Neill, 2014).
const GENERATOR: (u64, u64, u64) =
    (6_364_136_223_846_793_005, 1_442_695_040_888_963_407, 0x853c_49e6_748f_ea9b);

/// The generator's state after [`LEAP`] steps, one by one.
pub(super) fn steps() -> u64 {
    let (times, plus, start) = black_box(GENERATOR);
    (0..LEAP).fold(start, |state, _| state.wrapping_mul(times).wrapping_add(plus))
}

/// The same by squaring the step: composing x → a·x + c with itself (Brown, 1994).
pub(super) fn leap() -> u64 {
    let (mut times, mut plus, start) = black_box(GENERATOR);
    let (mut all_times, mut all_plus, mut left) = (1_u64, 0_u64, LEAP);
    while left > 0 {
        if left & 1 == 1 {
            all_times = all_times.wrapping_mul(times);
            all_plus = all_plus.wrapping_mul(times).wrapping_add(plus);
        }
        plus = plus.wrapping_mul(times.wrapping_add(1));
        times = times.wrapping_mul(times);
        left >>= 1;
    }
    start.wrapping_mul(all_times).wrapping_add(all_plus)
}

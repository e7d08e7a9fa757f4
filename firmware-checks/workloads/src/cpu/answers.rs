//! The workloads of a burn-in.  Answers are published test vectors, or were computed by other programs (OpenSSL, and
//! Python's integers), so that a processor that is wrong always the same way is seen too.

use std::hint::black_box;

use aes::{
    Aes256,
    cipher::{BlockEncrypt as _, KeyInit as _},
};
use sha2::{Digest as _, Sha256};

use super::{
    compare::Workload,
    plain::{self, CRC32C},
    vector,
};

/// All of them, for one CPU.
pub fn workloads(_cpu: u32) -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(AesChain),
        Box::new(ShaChain),
        Box::new(Checksum),
        Box::new(Multiply::new()),
        Box::new(Fused),
        Box::new(Integers),
        Box::new(Copies::new()),
    ]
}

/// Compares what two ways gave with what is known.
fn same<T: PartialEq + std::fmt::Debug>(known: T, ways: [(&str, T); 2]) -> Result<(), String> {
    for (way, found) in ways {
        if found != known {
            return Err(format!("{way} gave {found:x?}, known is {known:x?}"));
        }
    }
    Ok(())
}

/// AES-256 with the key and plaintext of FIPS 197, appendix C.3, encrypted over and over.
struct AesChain;

/// How often.
const AES_TIMES: usize = 1000;
/// `openssl enc -aes-256-cbc` over zeros with the plaintext as IV: block 1000.
const AES_KNOWN: u128 = 0xfbe6_e70f_40a2_46e8_1b19_eee7_4949_123c;

impl Workload for AesChain {
    fn name(&self) -> &'static str {
        "aes-256"
    }

    fn round(&mut self, _cpu: u32) -> Result<(), String> {
        let key: [u8; 32] = black_box(std::array::from_fn(|index| u8::try_from(index).unwrap_or(0)));
        let mut block = plain::AES_BLOCK.into();
        let cipher = Aes256::new(&key.into());
        (0..AES_TIMES).for_each(|_| cipher.encrypt_block(&mut block));
        let keys = plain::aes_keys(&key);
        let by_hand = (0..AES_TIMES).fold(plain::AES_BLOCK, |block, _| plain::aes_encrypt(&keys, block));
        let number = |bytes: [u8; 16]| u128::from_be_bytes(bytes);
        same(AES_KNOWN, [("the processor", number(block.into())), ("plain code", number(by_hand))])
    }
}

/// SHA-256 of SHA-256 of …, 2000 times.
struct ShaChain;

impl Workload for ShaChain {
    fn name(&self) -> &'static str {
        "sha-256"
    }

    fn round(&mut self, _cpu: u32) -> Result<(), String> {
        let first: [u8; 32] = Sha256::digest(black_box(b"scalerforge/cpu-verify/v1")).into();
        let by_hand = (0..2000).fold(first, |digest, _| plain::sha256(&digest));
        same(super::CHAIN, [("the processor", super::chain()), ("plain code", by_hand)])
    }
}

/// CRC-32C over 64 KiB: by the processor's instruction, and bit by bit in tables.
struct Checksum;

impl Workload for Checksum {
    fn name(&self) -> &'static str {
        "crc-32c"
    }

    fn round(&mut self, _cpu: u32) -> Result<(), String> {
        let bytes = black_box(plain::bytes());
        same(CRC32C, [("the processor", vector::crc32c(&bytes)), ("plain code", plain::crc32c(&bytes))])
    }
}

/// A product of two 64 × 64 matrices of whole numbers so small that no sum needs rounding: floating point, in the
/// widest vectors there are, must give what integers give, to the last bit.
struct Multiply {
    a: Vec<u64>,
    b: Vec<u64>,
    a_floats: Vec<f64>,
    b_floats: Vec<f64>,
}

/// Checksum of the product, from Python's integers.
const MULTIPLY_KNOWN: u64 = 0x33af_9900_a368_4eca;

impl Multiply {
    fn new() -> Self {
        let (a, b) = plain::matrices();
        #[expect(clippy::cast_precision_loss, reason = "entries have 26 and 20 bits")]
        let floats = |matrix: &[u64]| matrix.iter().map(|entry| *entry as f64).collect();
        Self { a_floats: floats(&a), b_floats: floats(&b), a, b }
    }
}

impl Workload for Multiply {
    fn name(&self) -> &'static str {
        "gemm"
    }

    fn round(&mut self, _cpu: u32) -> Result<(), String> {
        let by_integers = plain::multiply(black_box(&self.a), black_box(&self.b));
        for (way, product) in vector::multiply(black_box(&self.a_floats), black_box(&self.b_floats)) {
            let mut wrong = product.iter().zip(&by_integers).enumerate();
            #[expect(clippy::cast_precision_loss, reason = "sums have 52 bits")]
            if let Some((index, (found, known))) = wrong.find(|(_, (found, known))| **found != **known as f64)
            {
                return Err(format!("{way} gave {found} at {index}, integers give {known}"));
            }
        }
        let sum = plain::fold(&by_integers);
        same(MULTIPLY_KNOWN, [("integers", sum), ("integers", sum)])
    }
}

/// Fused multiply-adds that round at each step.
struct Fused;

impl Workload for Fused {
    fn name(&self) -> &'static str {
        "fma"
    }

    fn round(&mut self, _cpu: u32) -> Result<(), String> {
        same(super::FUSED, [("the processor", vector::fused()), ("plain code", super::fused())])
    }
}

/// A chain of multiplications and rotations, and a generator that is run step by step and by one leap.
struct Integers;

/// The generator's state after [`plain::LEAP`] steps, from Python's integers.
const LEAP_KNOWN: u64 = 0x7a0a_1ca1_d366_333b;

impl Workload for Integers {
    fn name(&self) -> &'static str {
        "integer"
    }

    fn round(&mut self, _cpu: u32) -> Result<(), String> {
        let chain = super::integers();
        same(super::INTEGERS, [("the chain", chain), ("the chain", chain)])?;
        same(LEAP_KNOWN, [("step by step", plain::steps()), ("the leap", plain::leap())])
    }
}

/// Copies of 64 KiB from and to places that are not aligned.
struct Copies {
    source: Vec<u8>,
    target: Vec<u8>,
    round: usize,
}

impl Copies {
    fn new() -> Self {
        let source = plain::bytes();
        Self { target: vec![0; source.len() + 64], source, round: 0 }
    }
}

impl Workload for Copies {
    fn name(&self) -> &'static str {
        "memcpy"
    }

    fn round(&mut self, _cpu: u32) -> Result<(), String> {
        self.round += 1;
        let (from, to) = (self.round % 31, self.round * 7 % 61);
        let length = self.source.len() - from;
        let (Some(source), Some(target)) = (self.source.get(from..), self.target.get_mut(to..to + length))
        else {
            return Err("no room: this is a fault of ours".into());
        };
        target.copy_from_slice(black_box(source));
        let target = &*black_box(target);
        // Byte by byte, so that the comparison is no copy of the copy.
        match source.iter().zip(target).position(|(source, target)| source != target) {
            Some(at) => Err(format!("byte {at} of {length} differs, copied from +{from} to +{to}")),
            None if from == 0 => {
                same(CRC32C, [("the copy", plain::crc32c(target)), ("the source", plain::crc32c(source))])
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        let key: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        // FIPS 197, C.3.
        let once = plain::aes_encrypt(&plain::aes_keys(&key), plain::AES_BLOCK);
        assert_eq!(u128::from_be_bytes(once), 0x8ea2_b7ca_5167_45bf_eafc_4990_4b49_6089);
        // RFC 3720, B.4 has the same polynomial; "123456789" is the catalogue's check value.
        assert_eq!((plain::crc32c(b"123456789"), vector::crc32c(b"123456789")), (0xe306_9283, 0xe306_9283));
        assert_eq!(plain::sha256(&[7; 32]), <[u8; 32]>::from(Sha256::digest([7; 32])));
    }

    #[test]
    fn this_machine_gives_every_known_answer() {
        for mut workload in workloads(0) {
            assert_eq!(workload.round(0), Ok(()), "{}", workload.name());
        }
        // As many as there are places to copy from.
        let mut copies = Copies::new();
        for _ in 0..31 {
            assert_eq!(copies.round(0), Ok(()));
        }
    }
}

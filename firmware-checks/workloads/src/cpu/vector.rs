//! The same computations by the instructions a processor has for them, where it has them.

use super::plain::SIDE;

/// The product of two matrices, by each width of vectors that this processor has.
pub(super) fn multiply(a: &[f64], b: &[f64]) -> Vec<(&'static str, Vec<f64>)> {
    #[cfg(target_arch = "x86_64")]
    {
        let mut all = Vec::new();
        if std::arch::is_x86_feature_detected!("avx512f") {
            all.push(("fma in 512 bits", wide512(a, b)));
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            all.push(("fma in 256 bits", wide256(a, b)));
        }
        all.push(("floating point", product(a, b, |x, y, sum| x * y + sum)));
        all
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        vec![("fma", product(a, b, f64::mul_add))]
    }
}

/// Row by row, so that the innermost loop runs along memory and can be made of vectors.
#[inline(always)]
fn product(a: &[f64], b: &[f64], fused: impl Fn(f64, f64, f64) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; SIDE * SIDE];
    for (sums, row) in sums.chunks_exact_mut(SIDE).zip(a.chunks_exact(SIDE)) {
        for (factor, line) in row.iter().zip(b.chunks_exact(SIDE)) {
            for (sum, entry) in sums.iter_mut().zip(line) {
                *sum = fused(*factor, *entry, *sum);
            }
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
fn wide512(a: &[f64], b: &[f64]) -> Vec<f64> {
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn inner(a: &[f64], b: &[f64]) -> Vec<f64> {
        product(a, b, |x, y, sum| x.mul_add(y, sum))
    }
    #[expect(unsafe_code, reason = "instructions that not every processor has")]
    // SAFETY: `multiply` looked whether this processor has them; AVX-512F includes the other two.
    unsafe {
        inner(a, b)
    }
}

#[cfg(target_arch = "x86_64")]
fn wide256(a: &[f64], b: &[f64]) -> Vec<f64> {
    #[target_feature(enable = "avx2,fma")]
    fn inner(a: &[f64], b: &[f64]) -> Vec<f64> {
        product(a, b, |x, y, sum| x.mul_add(y, sum))
    }
    #[expect(unsafe_code, reason = "instructions that not every processor has")]
    // SAFETY: `multiply` looked whether this processor has them.
    unsafe {
        inner(a, b)
    }
}

/// The chain of [`super::fused`], by the processor's own instruction.
pub(super) fn fused() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") {
        #[target_feature(enable = "fma")]
        fn inner() -> u64 {
            super::fused_by(|x, y, sum| x.mul_add(y, sum))
        }
        #[expect(unsafe_code, reason = "instructions that not every processor has")]
        // SAFETY: this processor has them, as the line above says.
        return unsafe { inner() };
    }
    super::fused()
}

/// CRC-32C by SSE 4.2, or in tables where there is no such instruction.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        #[target_feature(enable = "sse4.2")]
        fn inner(bytes: &[u8]) -> u32 {
            use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
            let words = bytes.chunks_exact(8);
            let rest = words.remainder();
            let crc = words
                .filter_map(|word| word.try_into().ok().map(u64::from_le_bytes))
                .fold(u64::from(u32::MAX), |crc, word| _mm_crc32_u64(crc, word));
            !rest.iter().fold(u32::try_from(crc).unwrap_or(0), |crc, byte| _mm_crc32_u8(crc, *byte))
        }
        #[expect(unsafe_code, reason = "instructions that not every processor has")]
        // SAFETY: this processor has them, as the line above says.
        return unsafe { inner(bytes) };
    }
    super::plain::crc32c(bytes)
}

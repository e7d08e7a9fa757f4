//! Products of matrices whose every value the host knows to the bit.
//!
//! The matrices repeat after 64 rows and columns, so the host needs to compute only 64 × 64 values, in the same order
//! of fused multiply-adds, and yet every part of the GPU makes, and is checked on, full-sized products.

use std::{
    ffi::CStr,
    time::{Duration, Instant},
};

use appliance_model::burn_in::gpu::{Ending, Products, Wrong};

use super::{
    Tell,
    driver::{Gpu, Kernel, Module, Plain},
    found, now, ptx, random, result_block,
};

/// The largest product: 8,192 × 8,192, half a gigabyte in FP64.
const ROWS_MAX: u64 = 8192;
/// The longest sum: the host needs 8 million multiply-adds for its part.
const DEPTH_MAX: u64 = 2048;
/// [`ptx::PERIOD`], as a length.
const COLUMNS: usize = 64;
/// How long the GPU is given work before somebody looks.
const BATCH: Duration = Duration::from_millis(200);
/// Products that are queued at most.
const BATCH_MAX: u32 = 64;

pub(super) fn run(gpu: &Gpu, time: Duration, tell: &Tell) -> Result<Ending, String> {
    let (free, _) = gpu.memory()?;
    let shape = Shape::fit(free);
    let module = gpu.module(ptx::module())?;
    let (mut products, mut left_out) = (Vec::new(), Vec::new());
    let tensor = gpu.module(ptx::tensor_module());
    let parts = if tensor.is_ok() { 3 } else { 2 };
    products.push(DOUBLE.run(gpu, &module, shape, time / parts, tell)?);
    products.push(SINGLE.run(gpu, &module, shape, time / parts, tell)?);
    match tensor {
        Ok(tensor) => products.push(half(gpu, (&tensor, &module), shape, time / parts, tell)?),
        Err(why) => left_out.push(format!("FP16 on tensor cores: the driver does not compile it: {why}")),
    }
    Ok(Ending::Compare { products, left_out })
}

/// How large the matrices are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// A power of two.
    rows: u64,
    depth: u64,
}

impl Shape {
    /// The largest that leaves half of the memory free.
    fn fit(free: u64) -> Self {
        let with = |rows: u64| Self { rows, depth: (rows / 4).min(DEPTH_MAX) };
        let bytes = |shape: Self| 8 * shape.rows * (shape.rows + 2 * shape.depth);
        let mut shape = with(ptx::TILE);
        while shape.rows < ROWS_MAX && bytes(with(shape.rows * 2)) <= free / 2 {
            shape = with(shape.rows * 2);
        }
        shape
    }

    fn values(self) -> u64 {
        self.rows * self.rows
    }
}

/// One precision: two matrices, the values in a period of their product, and its kernels.
struct Work<'a, T> {
    precision: &'a str,
    shape: Shape,
    left: Vec<T>,
    right: Vec<T>,
    /// What the kernel is told of the sums' length.
    steps: u64,
    kernels: (Kernel, Kernel),
}

impl<T: Plain> Work<'_, T> {
    /// `expected` is the period, `bytes` the size of a value.
    fn run<V: Plain>(
        &self,
        gpu: &Gpu,
        expected: &[V],
        time: Duration,
        tell: &Tell,
    ) -> Result<Products, String> {
        let Self { shape, kernels: (product, check), .. } = *self;
        let values = gpu.allocate(shape.values() * size_of::<V>() as u64)?;
        let (left, right) = (gpu.upload(&self.left)?, gpu.upload(&self.right)?);
        let (expected, result) = (gpu.upload(expected)?, result_block(gpu)?);
        let tiles = u32::try_from(shape.rows / ptx::TILE).map_err(|_| "too many rows")?;
        let blocks = u32::try_from(shape.values() / u64::from(ptx::THREADS)).unwrap_or(4096).min(4096);
        let shift = u64::from(shape.rows.trailing_zeros());
        let (mut count, mut batch, begin) = (0_u64, 1, now());
        loop {
            let start = now();
            for _ in 0..batch {
                // What an earlier product left there would be right even if this one did nothing.
                values.set(0xff)?;
                let matrices = [left.at, right.at, values.at, shape.rows, self.steps];
                gpu.launch(product, (tiles, tiles), ptx::THREADS, &matrices)?;
                let compared = [values.at, expected.at, result.at, shape.values(), shift];
                gpu.launch(check, (blocks, 1), ptx::THREADS, &compared)?;
            }
            gpu.finish()?;
            count += u64::from(batch);
            let (wrong, first) = found(&result, 1)?;
            tell.works(wrong);
            if begin.elapsed() >= time {
                tell.add(wrong);
                return Ok(self.products(count, begin, (wrong, first)));
            }
            if start.elapsed() < BATCH / 2 {
                batch = (batch * 2).min(BATCH_MAX);
            }
        }
    }

    fn products(&self, count: u64, begin: Instant, (wrong, first): (u64, Vec<Wrong>)) -> Products {
        let operations = u128::from(2 * self.shape.values() * self.shape.depth) * u128::from(count);
        let gigaflops = operations / begin.elapsed().as_nanos().max(1);
        Products {
            precision: self.precision.into(),
            rows: self.shape.rows,
            depth: self.shape.depth,
            count,
            gigaflops: u64::try_from(gigaflops).unwrap_or(u64::MAX),
            wrong,
            first,
        }
    }
}

/// `depth` rows of a period each.
fn period<T>(shape: Shape, seed: u64, of: impl Fn(u64) -> T) -> Vec<T> {
    (0..shape.depth * ptx::PERIOD).map(|index| of(random(seed ^ index))).collect()
}

/// The same, as wide as the matrix.
fn widened<T: Copy>(period: &[T], shape: Shape) -> Vec<T> {
    let repeats = shape.rows / ptx::PERIOD;
    period.chunks(COLUMNS).flat_map(|row| (0..repeats).flat_map(move |_| row.iter().copied())).collect()
}

/// Each value of a period: `step` takes one product into a sum.
fn known<T: Copy, V: Copy>(left: &[T], right: &[T], zero: V, step: impl Fn(T, T, V) -> V) -> Vec<V> {
    let mut sums = vec![zero; COLUMNS * COLUMNS];
    for (left, right) in left.chunks_exact(COLUMNS).zip(right.chunks_exact(COLUMNS)) {
        for (row, left) in sums.chunks_exact_mut(COLUMNS).zip(left) {
            for (sum, right) in row.iter_mut().zip(right) {
                *sum = step(*left, *right, *sum);
            }
        }
    }
    sums
}

/// Between ½ and 1, either sign, with all bits of the fraction in use.
fn f64_of(bits: u64) -> f64 {
    f64::from_bits(bits & 0x800f_ffff_ffff_ffff | 0x3fe0_0000_0000_0000)
}

fn f32_of(bits: u64) -> f32 {
    f32::from_bits((bits >> 32) as u32 & 0x807f_ffff | 0x3f00_0000)
}

/// A precision in which the host's own fused multiply-add gives the same bits.
struct Exact<'a, T> {
    precision: &'a str,
    kernels: (&'a CStr, &'a CStr),
    /// Of the left matrix, and of the right one.
    seeds: (u64, u64),
    of: fn(u64) -> T,
    fused: fn(T, T, T) -> T,
}

const DOUBLE: Exact<'_, f64> = Exact {
    precision: "fp64",
    kernels: (c"product_f64", c"check_b64"),
    seeds: (1 << 40, 2 << 40),
    of: f64_of,
    fused: f64::mul_add,
};

const SINGLE: Exact<'_, f32> = Exact {
    precision: "fp32",
    kernels: (c"product_f32", c"check_b32"),
    seeds: (3 << 40, 4 << 40),
    of: f32_of,
    fused: f32::mul_add,
};

impl<T: Plain + Default> Exact<'_, T> {
    fn run(
        &self,
        gpu: &Gpu,
        module: &Module<'_>,
        shape: Shape,
        time: Duration,
        tell: &Tell,
    ) -> Result<Products, String> {
        let Self { precision, kernels: (product, check), seeds, of, fused } = *self;
        let (left, right) = (period(shape, seeds.0, of), period(shape, seeds.1, of));
        let expected = known(&left, &right, T::default(), fused);
        let kernels = (module.kernel(product)?, module.kernel(check)?);
        let (left, right) = (widened(&left, shape), widened(&right, shape));
        Work { precision, shape, left, right, steps: shape.depth, kernels }.run(gpu, &expected, time, tell)
    }
}

/// Whole numbers from −15 to 15: their sums stay below 2²⁴, so that tensor cores cannot round.
fn whole_of(bits: u64) -> i16 {
    i16::try_from(bits % 31).unwrap_or(0) - 15
}

/// The FP16 number, in its bits.
fn half_of(whole: i16) -> u16 {
    let size = whole.unsigned_abs();
    let Some(top) = size.checked_ilog2() else { return 0 };
    // A sign, five bits of exponent (15 is 2⁰), ten of the fraction without its leading one.
    let exponent = u16::try_from(top + 15).unwrap_or(0) << 10;
    let fraction = (size << (10 - top)) & 0x3ff;
    u16::from(whole < 0) << 15 | exponent | fraction
}

/// Values of a period, in the order in which tensor cores take them (PTX, `mma.m16n8k16`): pieces of `tall` rows and 16
/// columns, one after the other along the sum; in each, what lane 0 holds, then lane 1.
fn pieces(period: &[i16], shape: Shape, tall: u64) -> Vec<u16> {
    let mut all = Vec::new();
    for piece in 0..shape.rows / tall {
        for (deep, lane) in (0..shape.depth / 16).flat_map(|deep| (0..32).map(move |lane| (deep, lane))) {
            // Two neighbours each: upper rows, lower rows, and both again eight columns on.
            for pair in 0..tall / 4 {
                let (lower, right) = if tall == 16 { (pair % 2, pair / 2) } else { (0, pair) };
                let row = piece * tall + lane / 4 + lower * 8;
                let column = deep * 16 + lane % 4 * 2 + right * 8;
                for column in [column, column + 1] {
                    let place = column * ptx::PERIOD + row % ptx::PERIOD;
                    let value = usize::try_from(place).ok().and_then(|place| period.get(place));
                    all.push(half_of(value.copied().unwrap_or(0)));
                }
            }
        }
    }
    all
}

fn half(
    gpu: &Gpu,
    (tensor, module): (&Module<'_>, &Module<'_>),
    shape: Shape,
    time: Duration,
    tell: &Tell,
) -> Result<Products, String> {
    let (left, right) = (period(shape, 5 << 40, whole_of), period(shape, 6 << 40, whole_of));
    let expected =
        known(&left, &right, 0.0, |left, right, sum: f32| f32::from(left) * f32::from(right) + sum);
    let kernels = (tensor.kernel(c"product_f16")?, module.kernel(c"check_b32")?);
    let (left, right) = (pieces(&left, shape, 16), pieces(&right, shape, 8));
    Work { precision: "fp16", shape, left, right, steps: shape.depth / 16, kernels }
        .run(gpu, &expected, time, tell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_fit() {
        for (free, rows, depth) in
            [(0, 128, 32), (1 << 20, 128, 32), (8 << 20, 512, 128), (150 << 30, 8192, 2048)]
        {
            assert_eq!(Shape::fit(free), Shape { rows, depth }, "{free}");
        }
    }

    #[test]
    fn halves_are_ieee() {
        for (whole, bits) in
            [(0, 0), (1, 0x3c00), (-1, 0xbc00), (2, 0x4000), (3, 0x4200), (15, 0x4b80), (-8, 0xc800)]
        {
            assert_eq!(half_of(whole), bits, "{whole}");
        }
        assert!((0..1000).map(|seed| whole_of(random(seed))).all(|whole| (-15..=15).contains(&whole)));
    }
}

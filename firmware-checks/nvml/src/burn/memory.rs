//! Patterns through a GPU's memory: each word is compared with what was written, and the next pattern written.

use std::time::Duration;

use appliance_model::burn_in::gpu::Ending;

use super::{
    Tell,
    driver::{Block, Gpu},
    found, now, ptx, result_block,
};

/// Memory is taken in blocks of at most this: one hole in the address space does not spoil it all.
const BLOCK_BYTES_MAX: u64 = 1 << 30;
/// Memory that is left alone, in thousandths: the driver needs some for itself.
const SPARE_PERMILLE: u64 = 30;
/// Blocks of threads: enough to fill any GPU several times.
const GRID: u64 = 4096;
/// Words that are all alike, and words that each name their place, so that a wrong address line shows as well.
const PATTERNS: [(u64, u64); 8] = [
    (0, 0),
    (0, u64::MAX),
    (0, 0x5555_5555_5555_5555),
    (0, 0xaaaa_aaaa_aaaa_aaaa),
    (0x9e37_79b9_7f4a_7c15, 0),
    (0x9e37_79b9_7f4a_7c15, u64::MAX),
    (0, 0x00ff_00ff_00ff_00ff),
    (0, 0xff00_ff00_ff00_ff00),
];

pub(super) fn run(gpu: &Gpu, time: Duration, tell: &Tell) -> Result<Ending, String> {
    let module = gpu.module(ptx::module())?;
    let (fill, turn) = (module.kernel(c"fill")?, module.kernel(c"turn")?);
    let result = result_block(gpu)?;
    let (free, total) = gpu.memory()?;
    let blocks = take(gpu, free)?;
    let bytes: u64 = blocks.iter().map(|block| block.bytes).sum();
    let begin = now();
    let mut patterns = PATTERNS.iter().copied().cycle();
    let mut pattern = patterns.next().unwrap_or_default();
    for (first, block) in places(&blocks) {
        let words = [block.at, block.bytes / 8, first, pattern.0, pattern.1];
        gpu.launch(fill, grid(block), ptx::THREADS, &words)?;
    }
    gpu.finish()?;
    let (mut moved, mut passes) = (bytes, 0);
    loop {
        let next = patterns.next().unwrap_or_default();
        for (first, block) in places(&blocks) {
            let words = [block.at, block.bytes / 8, first, pattern.0, pattern.1, next.0, next.1, result.at];
            gpu.launch(turn, grid(block), ptx::THREADS, &words)?;
        }
        gpu.finish()?;
        (pattern, passes, moved) = (next, passes + 1, moved + 2 * bytes);
        let (wrong, first) = found(&result, 8)?;
        tell.works(wrong);
        if begin.elapsed() >= time {
            tell.add(wrong);
            let rate = (u128::from(moved) * 1000 / begin.elapsed().as_millis().max(1)) >> 20;
            return Ok(Ending::Memory {
                bytes,
                free_bytes: free,
                total_bytes: total,
                passes,
                wrong,
                first,
                mebibytes_per_second: u64::try_from(rate).unwrap_or(u64::MAX),
            });
        }
    }
}

/// As much of the free memory as there is to be had.
fn take(gpu: &Gpu, free: u64) -> Result<Vec<Block<'_>>, String> {
    let mut left = free / 1000 * (1000 - SPARE_PERMILLE);
    let mut size = BLOCK_BYTES_MAX.min(left).next_multiple_of(8);
    let mut blocks = Vec::new();
    while left >= size.min(1 << 16) && size > 0 {
        let bytes = size.min(left) & !7;
        match gpu.allocate(bytes) {
            Ok(block) => {
                left -= bytes;
                blocks.push(block);
            }
            // Smaller pieces fit where larger ones do not.
            Err(_) if size > 1 << 16 => size = (size / 2) & !7,
            Err(_) if !blocks.is_empty() => break,
            Err(why) => return Err(why),
        }
    }
    if blocks.is_empty() { Err("the GPU has no free memory: who uses it?".into()) } else { Ok(blocks) }
}

/// Each with the number of its first word among all.
fn places<'a, 'b>(blocks: &'b [Block<'a>]) -> impl Iterator<Item = (u64, &'b Block<'a>)> {
    blocks.iter().scan(0, |words, block| {
        let first = *words;
        *words += block.bytes / 8;
        Some((first, block))
    })
}

fn grid(block: &Block<'_>) -> (u32, u32) {
    let blocks = (block.bytes / 8).div_ceil(u64::from(ptx::THREADS)).clamp(1, GRID);
    (u32::try_from(blocks).unwrap_or(1), 1)
}

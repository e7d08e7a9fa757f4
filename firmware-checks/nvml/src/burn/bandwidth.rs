//! Copies between host and GPU, and from GPU to GPU, with what arrived compared.

use std::time::{Duration, Instant};

use appliance_model::burn_in::gpu::{Ending, Wrong};

use super::{
    Tell,
    driver::{Block, Cuda, Gpu, Pinned},
    now, ptx, random,
};

/// Copies of this size reach the full rate of any link there is.
const COPY_BYTES_MAX: u64 = 256 << 20;

pub(super) fn run(
    cuda: &Cuda,
    gpu: &Gpu,
    others: &[(i32, String)],
    time: Duration,
    tell: &Tell,
) -> Result<Ending, String> {
    let (free, _) = gpu.memory()?;
    let bytes = COPY_BYTES_MAX.min(free / 4) & !7;
    let words = usize::try_from(bytes / 8).map_err(|_| "more memory than there is")?;
    let (mut out, mut back) = (gpu.pinned(words)?, gpu.pinned(words)?);
    out.words().iter_mut().zip(0..).for_each(|(word, index)| *word = random(index));
    let block = gpu.allocate(bytes)?;
    let parts = if others.is_empty() { 2 } else { 3 };
    let mut found = Compared::default();
    let to_gpu = {
        let words = out.words();
        rate(time / parts, bytes, tell, || block.write(words))?
    };
    let from_gpu = {
        let words = back.words();
        rate(time / parts, bytes, tell, || block.read(words))?
    };
    found.compare(&mut out, &mut back);
    tell.works(found.wrong);
    let (mut peers, mut unreached) = (Vec::new(), Vec::new());
    for (device, uuid) in others {
        let other = cuda.open_gpu(*device)?;
        if !gpu.reaches(&other)? {
            unreached.push(uuid.clone());
            continue;
        }
        other.select()?;
        let there = other.allocate(bytes)?;
        gpu.select()?;
        let each = time / parts / u32::try_from(others.len()).unwrap_or(u32::MAX);
        let rate = rate(each, bytes, tell, || copy(gpu, &there, &block))?;
        back.words().fill(0);
        other.select()?;
        there.read(back.words())?;
        found.compare(&mut out, &mut back);
        tell.works(found.wrong);
        peers.push((uuid.clone(), rate));
    }
    gpu.select()?;
    tell.add(found.wrong);
    let Compared { wrong, first } = found;
    Ok(Ending::Bandwidth { to_gpu, from_gpu, peers, unreached, wrong, first })
}

/// A copy between GPUs is only ordered; this waits for it.
fn copy(gpu: &Gpu, there: &Block<'_>, block: &Block<'_>) -> Result<(), String> {
    gpu.copy_peer(there, block)?;
    gpu.finish()
}

/// Copies again and again; MiB a second.
fn rate(
    time: Duration,
    bytes: u64,
    tell: &Tell,
    mut copy: impl FnMut() -> Result<(), String>,
) -> Result<u64, String> {
    let (begin, mut moved): (Instant, u128) = (now(), 0);
    loop {
        copy()?;
        moved += u128::from(bytes);
        tell.works(0);
        let passed = begin.elapsed();
        if passed >= time {
            let rate = (moved * 1_000_000 / passed.as_micros().max(1)) >> 20;
            return Ok(u64::try_from(rate).unwrap_or(u64::MAX));
        }
    }
}

#[derive(Default)]
struct Compared {
    wrong: u64,
    first: Vec<Wrong>,
}

impl Compared {
    fn compare(&mut self, out: &mut Pinned<'_>, back: &mut Pinned<'_>) {
        let pairs = out.words().iter().zip(back.words().iter()).zip((0..).step_by(8));
        for ((expected, got), place) in pairs.filter(|((expected, got), _)| expected != got) {
            self.wrong += 1;
            if (self.first.len() as u64) < ptx::KEPT {
                self.first.push(Wrong { place, got: *got, expected: *expected });
            }
        }
    }
}

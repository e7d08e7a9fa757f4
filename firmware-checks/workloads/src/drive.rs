//! Reads from a drive: 1 MiB in sequence with 8 in flight, then 4 KiB at random with 32 in flight, half the time each.

use std::{
    io::{Seek as _, SeekFrom},
    path::Path,
    time::Duration,
};

use appliance_model::{Serial, burn_in::Found};

use crate::{Watch, ring, watch::per_second};

const SEQUENTIAL_BYTES: u32 = 1 << 20;
const SEQUENTIAL_DEPTH: u16 = 8;
const RANDOM_BYTES: u32 = 4 << 10;
const RANDOM_DEPTH: u16 = 32;

/// Reads from the block device (or file) at `path` for `time`.
pub fn read(path: &Path, serial: &Serial, time: Duration, watch: Watch<'_>) -> Found {
    match measure(path, serial, time, watch) {
        Ok(_) if watch.stopped() => Found::Undone { why: "called off".into() },
        Ok(found) => found,
        Err(why) => Found::Undone { why: format!("{}: {why}", path.display()) },
    }
}

fn measure(path: &Path, serial: &Serial, time: Duration, watch: Watch<'_>) -> Result<Found, String> {
    let mut file =
        ring::open(path).map_err(|error| format!("could not be opened for direct reads: {error}"))?;
    // A block device's metadata has no length; its end has.
    let size = file.seek(SeekFrom::End(0)).map_err(|error| format!("does not tell its size: {error}"))?;
    let (blocks, pages) = (size / u64::from(SEQUENTIAL_BYTES), size / u64::from(RANDOM_BYTES));
    if blocks == 0 {
        return Err(format!("has {size} bytes, too few to measure"));
    }
    let half = time / 2;
    let halves = |base: u16| move |permille: u16| base + permille / 2;
    let (first, second) = (halves(0), halves(500));
    let mut block = 0;
    let tell = |permille| watch.tell(first(permille));
    let sequential = {
        let part = watch.part(&tell);
        ring::read(&file, SEQUENTIAL_BYTES, SEQUENTIAL_DEPTH, part.start(half), || {
            let offset = block % blocks * u64::from(SEQUENTIAL_BYTES);
            block += 1;
            offset
        })?
    };
    // Which pages are read need not be secret, only spread.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let tell = |permille| watch.tell(second(permille));
    let random = {
        let part = watch.part(&tell);
        ring::read(&file, RANDOM_BYTES, RANDOM_DEPTH, part.start(time - half), || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % pages * u64::from(RANDOM_BYTES)
        })?
    };
    let good = random.reads.saturating_sub(random.errors);
    Ok(Found::Drive {
        serial: serial.clone(),
        bytes: sequential.bytes + random.bytes,
        sequential_mebibytes_per_second: per_second(sequential.bytes, sequential.time) >> 20,
        random_iops: per_second(good, random.time),
        latency_p50_microseconds: random.latency.percentile(500),
        latency_p99_microseconds: random.latency.percentile(990),
        errors: sequential.errors + random.errors,
    })
}

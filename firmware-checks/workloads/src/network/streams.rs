//! Streams at full rate: the one that dials sends alone, then the other, then both.  What arrives is compared.
//!
//! A rate is what the receiver got within a window, without its first moments: what slow start and full buffers of the
//! window before make of them is no rate of the port.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{
    Seen,
    control::{Control, Step},
    second,
};
use crate::watch::{Clock, now, per_second};

/// What is sent over and over: long enough that no cache line is like the next.
const BLOCK_BYTES: usize = 1 << 16;
/// How long a read or a write may wait until it looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at the counters.
const TICK: Duration = Duration::from_millis(20);
/// Of each window, what is not counted: a tenth at its begin.
const RAMP: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of all streams of this end.
#[derive(Debug, Default)]
struct Moved {
    sent: AtomicU64,
    received: AtomicU64,
    wrong: AtomicU64,
    /// Whether this end sends now.
    sends: AtomicBool,
    over: AtomicBool,
}

pub(super) fn play(
    control: &mut Control,
    streams: Vec<TcpStream>,
    dials: bool,
    time: Duration,
    clock: &Clock<'_>,
    seen: &mut Seen,
) -> Result<(), String> {
    for stream in &streams {
        let set = stream.set_read_timeout(Some(LOOK)).and_then(|()| stream.set_write_timeout(Some(LOOK)));
        set.map_err(|error| format!("a stream: {error}"))?;
    }
    let (moved, block) = (Moved::default(), block());
    control.exchange(Step::Streams, [0; 4], PATIENCE)?;
    let (alone, both) = thread::scope(|scope| {
        for stream in &streams {
            scope.spawn(|| send(stream, &block, &moved));
            scope.spawn(|| receive(stream, &block, &moved));
        }
        let mut window = |sends: bool| {
            moved.sends.store(sends, Ordering::Relaxed);
            measure(time / 3, &moved, clock, seen)
        };
        let first = window(dials);
        let second = window(!dials);
        let both = window(true);
        moved.over.store(true, Ordering::Relaxed);
        (if dials { second } else { first }, both)
    });
    let wrong = moved.wrong.load(Ordering::Relaxed);
    let [out, out_both, theirs, _] = control.exchange(Step::Done, [alone, both, wrong, 0], PATIENCE)?;
    for stream in streams {
        let _ = stream.shutdown(Shutdown::Both);
    }
    (seen.rate_in, seen.rate_out) = (alone, out);
    seen.rate_both = both.saturating_add(out_both);
    seen.wrong_bytes = wrong.saturating_add(theirs);
    Ok(())
}

/// Waits for a window's end.  What was received in it, in bytes a second.
fn measure(time: Duration, moved: &Moved, clock: &Clock<'_>, seen: &mut Seen) -> u64 {
    let (begin, ramp) = (now(), time / RAMP);
    let mut counted = None;
    loop {
        let passed = begin.elapsed();
        let (received, sent) = (moved.received.load(Ordering::Relaxed), moved.sent.load(Ordering::Relaxed));
        note(&mut seen.curve_in, second(clock), received);
        note(&mut seen.curve_out, second(clock), sent);
        clock.tell();
        if passed >= ramp && counted.is_none() {
            counted = Some((passed, received));
        }
        if passed >= time || clock.stopped() {
            let (from, before) = counted.unwrap_or_default();
            return per_second(received.saturating_sub(before), passed.saturating_sub(from));
        }
        thread::sleep(TICK);
    }
}

/// The counter at the end of each second; [`super::Seen`] is made of the differences.
fn note(curve: &mut Vec<(u32, u64)>, second: u32, counter: u64) {
    match curve.last_mut() {
        Some((last, value)) if *last == second => *value = counter,
        Some(_) | None => curve.push((second, counter)),
    }
}

fn send(mut stream: &TcpStream, block: &[u8], moved: &Moved) {
    let mut at = 0;
    while !moved.over.load(Ordering::Relaxed) {
        if !moved.sends.load(Ordering::Relaxed) {
            thread::sleep(TICK);
            continue;
        }
        match stream.write(block.get(at..).unwrap_or_default()) {
            Ok(bytes) => {
                at = (at + bytes) % block.len();
                moved.sent.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(error) if passing(&error) => {}
            Err(_) => return,
        }
    }
}

fn receive(mut stream: &TcpStream, block: &[u8], moved: &Moved) {
    let (mut buffer, mut at) = (vec![0; BLOCK_BYTES], 0);
    while !moved.over.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => {
                let came = buffer.get(..bytes).unwrap_or_default();
                let wrong = differing(came, block, at);
                at = (at + bytes) % block.len();
                moved.wrong.fetch_add(wrong, Ordering::Relaxed);
                moved.received.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(error) if passing(&error) => {}
            Err(_) => return,
        }
    }
}

/// How many bytes are not those of the block that begins at `at` and starts again at its end.
fn differing(came: &[u8], block: &[u8], at: usize) -> u64 {
    let (first, rest) = came.split_at(came.len().min(block.len() - at));
    let pairs = [(first, block.get(at..).unwrap_or_default()), (rest, block)];
    let count = |(came, wanted): (&[u8], &[u8])| {
        let wanted = wanted.get(..came.len()).unwrap_or_default();
        if came == wanted { 0 } else { came.iter().zip(wanted).filter(|(a, b)| a != b).count() as u64 }
    };
    pairs.into_iter().map(count).sum()
}

/// The same at both ends (xorshift64*, Vigna 2014).
fn block() -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = (0..BLOCK_BYTES / 8).flat_map(|_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    });
    words.collect()
}

fn passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_found_wherever_the_block_begins() {
        let block = block();
        assert_eq!(block.len(), BLOCK_BYTES);
        for at in [0, 1, BLOCK_BYTES / 2, BLOCK_BYTES - 1] {
            let mut came: Vec<u8> = block.iter().cycle().skip(at).take(BLOCK_BYTES).copied().collect();
            assert_eq!(differing(&came, &block, at), 0);
            for place in [0, BLOCK_BYTES - at - 1, BLOCK_BYTES - 1] {
                came[place] ^= 0x10;
            }
            let changed =
                if BLOCK_BYTES - at - 1 == BLOCK_BYTES - 1 || at == BLOCK_BYTES - 1 { 1 } else { 3 };
            assert_eq!(differing(&came, &block, at), changed, "at {at}");
        }
    }
}

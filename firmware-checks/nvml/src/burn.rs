//! Work on one GPU through CUDA, while its counters are looked at every second.
//!
//! Lines of JSON go out as [`Line`] says; the last one is the result or the reason why there is none.  A driver that
//! hangs cannot be reasoned with: when the time is long over, the process ends itself.

mod bandwidth;
mod compare;
mod driver;
mod memory;
mod ptx;

use std::{
    ffi::{OsStr, OsString},
    io::{Read as _, Write as _},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use appliance_model::burn_in::gpu::{Counters, Ending, Line, Wrong};

use self::driver::{Block, Cuda, Gpu};

/// Time between two looks at the counters.
const LOOK: Duration = Duration::from_secs(1);

/// What a driver may need beyond the time asked for: a first context takes seconds, compiling for a new GPU as well.
const GRACE: Duration = Duration::from_secs(120);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Products of matrices.
    Compare,
    /// Patterns through memory.
    Memory,
    /// Copies.
    Bandwidth,
}

/// Works on the GPU with NVML UUID `uuid` for `time` and prints; `leash` ends the process when its input ends.  Whether
/// it was done.
pub fn burn(work: Work, uuid: &str, time: Duration, library: Option<&OsStr>, leash: bool) -> bool {
    if leash {
        thread::spawn(hold);
    }
    let tell = Tell::default();
    let (ended, end) = mpsc::channel();
    let library: Option<OsString> = library.map(OsStr::to_owned);
    let done = thread::scope(|scope| {
        let (tell, library) = (&tell, library.as_deref());
        scope.spawn(move || look(tell, uuid, library, time + GRACE, &end));
        let done = on(work, uuid, time, tell);
        drop(ended);
        done
    });
    let wrong = tell.wrong();
    let (line, good) = match done {
        Ok(result) => (Line::Done { result }, true),
        Err(why) => (Line::Failed { why, wrong }, false),
    };
    print(&line);
    good
}

fn on(work: Work, uuid: &str, time: Duration, tell: &Tell) -> Result<Ending, String> {
    let cuda = Cuda::open()?;
    let (gpu, others) = cuda.gpu(uuid)?;
    match work {
        Work::Compare => compare::run(&gpu, time, tell),
        Work::Memory => memory::run(&gpu, time, tell),
        Work::Bandwidth => bandwidth::run(&cuda, &gpu, &others, time, tell),
    }
}

/// What the one that works tells the one that looks.
#[derive(Debug, Default)]
struct Tell {
    works: AtomicBool,
    /// Wrong values of parts that are done, and of the part at work.
    before: AtomicU64,
    now: AtomicU64,
}

impl Tell {
    /// The GPU is at work, and this part has found so many wrong.
    fn works(&self, wrong: u64) {
        self.now.store(wrong, Ordering::Relaxed);
        self.works.store(true, Ordering::Relaxed);
    }

    /// A part is done.
    fn add(&self, wrong: u64) {
        self.now.store(0, Ordering::Relaxed);
        self.before.fetch_add(wrong, Ordering::Relaxed);
    }

    fn wrong(&self) -> u64 {
        self.before.load(Ordering::Relaxed).saturating_add(self.now.load(Ordering::Relaxed))
    }
}

/// Prints the GPU's counters every second while it works, until `end` is hung up.
fn look(tell: &Tell, uuid: &str, library: Option<&OsStr>, limit: Duration, end: &mpsc::Receiver<()>) {
    let (begin, nvml) = (now(), crate::open(library));
    let mut wait = Duration::from_millis(10);
    while end.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
        if begin.elapsed() > limit {
            let why = "the NVIDIA driver did not come back: the GPU hangs".into();
            print(&Line::Failed { why, wrong: tell.wrong() });
            std::process::exit(1);
        }
        if !tell.works.load(Ordering::Relaxed) {
            continue;
        }
        wait = LOOK;
        let counters = nvml.as_ref().ok().and_then(|nvml| crate::counters_of(nvml, uuid).ok()).map(Box::new);
        let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        print(&Line::Progress { milliseconds, wrong: tell.wrong(), counters });
    }
}

/// Waits for the end of the input, which comes when whoever started this is gone, and ends.
fn hold() {
    let mut byte = [0];
    while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
    std::process::exit(1);
}

/// One line, at once.  When nobody is left to tell, there is nothing left to do.
fn print(line: &Line) {
    let told = serde_json::to_vec(line).map_err(std::io::Error::other).and_then(|mut text| {
        text.push(b'\n');
        let mut out = std::io::stdout().lock();
        out.write_all(&text).and_then(|()| out.flush())
    });
    if let Err(error) = told {
        eprintln!("nvml-probe: a line could not be printed: {error}");
        std::process::exit(1);
    }
}

/// Prints the counters of one GPU; whether it has told any.
pub fn count(uuid: &str, library: Option<&OsStr>) -> bool {
    let counters: Result<Counters, String> =
        crate::open(library).and_then(|nvml| crate::counters_of(&nvml, uuid));
    let good = counters.is_ok();
    print(&match counters {
        Ok(counters) => Line::Counters { counters: Box::new(counters) },
        Err(why) => Line::Failed { why, wrong: 0 },
    });
    good
}

/// Where kernels count what is wrong, zeroed.
fn result_block(gpu: &Gpu) -> Result<Block<'_>, String> {
    gpu.upload(&vec![0_u64; result_words()])
}

fn result_words() -> usize {
    usize::try_from((ptx::KEPT_AT + ptx::KEPT * ptx::KEPT_BYTES) / 8).unwrap_or(0)
}

/// How many are wrong, and the first of them; places are counted in `unit`.
fn found(block: &Block<'_>, unit: u64) -> Result<(u64, Vec<Wrong>), String> {
    let mut words = vec![0; result_words()];
    block.read(&mut words)?;
    let wrong = words.first().copied().unwrap_or(0);
    let at = usize::try_from(ptx::KEPT_AT / 8).unwrap_or(0);
    let each = usize::try_from(ptx::KEPT_BYTES / 8).unwrap_or(1);
    let kept = words.get(at..).unwrap_or(&[]).chunks_exact(each);
    let first = kept.take(usize::try_from(wrong.min(ptx::KEPT)).unwrap_or(0)).filter_map(|entry| {
        let [place, got, expected, ..] = *entry else { return None };
        Some(Wrong { place: place.wrapping_mul(unit), got, expected })
    });
    Ok((wrong, first.collect()))
}

/// A number that looks random (SplitMix64).
fn random(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[expect(clippy::disallowed_methods, reason = "rates are measured here")]
fn now() -> Instant {
    Instant::now()
}

//! One task of a staged plan, from its work to figures with units.
//!
//! What nobody measured is left out, so that whoever judges sees it missing; a task that could not be done says why.
//! Where a figure comes from: `cpu`, `memory`, `drive`, [`Counters`], [`trace`].

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use appliance_model::{
    Serial,
    burn_in::staged::{Done, Figure, Series, SpanConsent, Unit, Work},
};

use crate::{
    Watch,
    aid::Aid,
    counters::Counters,
    cpu,
    drive::{Load, Measured, RANDOM, SEQUENTIAL, Span, Target, Writable, WriteConsent, stamp::Stamp},
    memory::{self, Ram},
    trace,
    watch::{now, per_second},
};

mod board;
mod curve;
mod gpu;
mod health;
mod network;
mod self_test;

pub use health::Asking;
pub use self_test::Opening;

/// Rounds after which a drive is not steady, whatever comes (SNIA PTS).
const ROUNDS_MAX: usize = 25;

/// A block device and the serial that it gives now.
pub type Found = Result<(PathBuf, Serial), String>;

/// The machine a task runs on, as its caller knows it.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// Where `/proc` and `/sys` are.
    pub root: &'a Path,
    /// Logical CPUs, by the kernel's numbers.
    pub cpus: &'a [u32],
    /// Looks up a drive by serial, now.
    pub drive: &'a dyn Fn(&Serial) -> Found,
    /// Asks a drive for its health, now; while a task runs, from a thread beside it.
    pub health: Asking<'a>,
    /// What takes a drive's commands.
    pub commands: Opening<'a>,
    /// What may be overwritten.
    pub consents: &'a [SpanConsent],
    /// Whether rounds of these rates are steady: the core's arithmetic.
    pub settled: &'a dyn Fn(&[u64]) -> bool,
    /// A number of this run alone, for stamps.
    pub seed: u64,
    /// The appliance, for what is not in the machine.
    pub aid: Option<&'a dyn Aid>,
}

impl fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("root", &self.root).field("cpus", &self.cpus).finish_non_exhaustive()
    }
}

/// What a task came to, and what it showed on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Figures, faults, coverage; or why there are none.
    pub done: Done,
    /// For plots.
    pub series: Vec<Series>,
}

impl Ran {
    /// Nothing was done.
    #[must_use]
    pub fn undone(why: impl Into<String>) -> Self {
        Self { done: Done::Undone { why: why.into() }, series: Vec::new() }
    }
}

/// Does the work for `time`.
#[must_use]
pub fn run(work: &Work, time: Duration, machine: Machine<'_>, watch: Watch<'_>) -> Ran {
    let found = match work {
        Work::CpuCompare => processors(time, machine, watch),
        Work::MemoryWalk { share_permille } => walk(*share_permille, time, machine, watch),
        Work::DriveRead { serial } => health::around(serial, machine, || read(serial, time, machine, watch)),
        Work::DriveSweep { serial, depths } => {
            health::around(serial, machine, || sweep(serial, depths, time, machine, watch))
        }
        Work::DriveSteady { serial, round_seconds } => {
            let round = Duration::from_secs((*round_seconds).into());
            health::around(serial, machine, || steady(serial, round, time, machine, watch))
        }
        Work::DriveVerify { serial, start, bytes } => {
            let wanted = SpanConsent { serial: serial.clone(), start: *start, bytes: *bytes };
            health::around(serial, machine, || verify(wanted, time, machine, watch))
        }
        Work::DriveSelfTest { serial, extended } => {
            health::around(serial, machine, || self_test::run((serial, *extended), time, machine, watch))
        }
        Work::GpuCompare { gpu } => gpu::run(gpu::Verb::Compare, gpu, time, machine, watch),
        Work::GpuMemory { gpu } => gpu::run(gpu::Verb::Memory, gpu, time, machine, watch),
        Work::GpuBandwidth { gpu } => gpu::run(gpu::Verb::Bandwidth, gpu, time, machine, watch),
        Work::Network { port } => network::run(*port, time, machine, watch),
        Work::Board => board::run(time, machine, watch),
    };
    match found {
        Ok(_) if watch.stopped() => Ran::undone("called off"),
        Ok(Findings { figures, faults, coverage, series, .. }) => {
            Ran { done: Done::Measured { figures, faults, coverage }, series }
        }
        Err(why) => Ran::undone(why),
    }
}

/// What a task found, as it comes together.
#[derive(Debug, Default)]
struct Findings {
    device: String,
    figures: Vec<Figure>,
    faults: Vec<String>,
    coverage: Vec<String>,
    series: Vec<Series>,
}

impl Findings {
    fn of(device: impl Into<String>) -> Self {
        Self { device: device.into(), ..Self::default() }
    }

    /// Adds a figure, if there is one.
    fn add(&mut self, name: &str, value: impl Into<Option<u64>>, unit: Unit) {
        let device = self.device.clone();
        self.figures.extend(value.into().map(|value| Figure {
            name: name.into(),
            device,
            value,
            unit,
            attained: None,
        }));
    }

    /// Adds the reads or writes that failed, each with its place.
    fn failed(&mut self, name: &str, all: &[&Measured]) {
        self.add(name, all.iter().map(|measured| measured.errors).sum::<u64>(), Unit::Count);
        for failure in all.iter().flat_map(|measured| &measured.failures) {
            let why = match failure.errno {
                0 => "the answer was short".into(),
                errno => std::io::Error::from_raw_os_error(errno).to_string(),
            };
            self.faults.push(format!("{}: byte {}: {why}", self.device, failure.offset));
        }
    }

    /// Adds a curve, if anything was seen.
    fn trace(
        &mut self,
        name: &str,
        unit: Unit,
        trace: &trace::Trace,
        of: impl Fn(&trace::Sample) -> Option<u32>,
    ) {
        let points: Vec<(u32, u64)> =
            trace.samples.iter().filter_map(|sample| Some((sample.second, u64::from(of(sample)?)))).collect();
        if !points.is_empty() {
            let (device, name) = (self.device.clone(), name.into());
            self.series.push(Series { device, name, unit, points });
        }
    }

    fn covered(&mut self, bytes: u64, whole: Span) {
        let permille =
            (u128::from(bytes) * 1000).checked_div(u128::from(whole.bytes())).unwrap_or(0).min(1000);
        self.coverage.push(format!(
            "{}: {} MiB moved, {}.{} % of its size at most",
            self.device,
            bytes >> 20,
            permille / 10,
            permille % 10
        ));
    }
}

fn processors(time: Duration, machine: Machine<'_>, watch: Watch<'_>) -> Result<Findings, String> {
    let before = Counters::read(machine.root);
    let cpus = machine.cpus;
    let (cores, trace) = trace::beside(machine.root, || cpu::compare(cpus, &cpu::workloads, time, watch));
    let (cores, grown) = (cores?, Counters::read(machine.root).since(before));
    let mut found = Findings::of("cpu");
    found.add("wrong-answers", cores.iter().map(|core| core.wrong).sum::<u64>(), Unit::Count);
    found.add("rounds", cores.iter().map(|core| core.rounds).min(), Unit::Count);
    found.add("machine-checks", grown.machine_checks, Unit::Count);
    found.add("throttles", grown.throttles, Unit::Count);
    found.add(
        "temperature-max",
        trace.millicelsius_max.map(|milli| u64::from(milli.div_ceil(1000))),
        Unit::Celsius,
    );
    found.add("frequency-min", trace.megahertz_min.map(u64::from), Unit::Megahertz);
    found.trace("temperature", Unit::Celsius, &trace, |sample| sample.millicelsius.map(|milli| milli / 1000));
    found.trace("frequency", Unit::Megahertz, &trace, |sample| sample.megahertz);
    for core in &cores {
        found.faults.extend(core.first.iter().map(|why| format!("cpu {}: {why}", core.cpu)));
    }
    found.coverage.push(format!("{} logical CPUs gave known answers", cores.len()));
    Ok(found)
}

fn walk(permille: u16, time: Duration, machine: Machine<'_>, watch: Watch<'_>) -> Result<Findings, String> {
    let before = Counters::read(machine.root);
    let nodes = memory::nodes(machine.root, permille)?;
    let walked = memory::walk(&nodes, &Ram, time, machine.root, watch)?;
    let grown = Counters::read(machine.root).since(before);
    let mut found = Findings::of("memory");
    found.add("wrong-words", walked.errors, Unit::Count);
    let total = memory::total_bytes(machine.root);
    let share = total.and_then(|total| (walked.bytes.saturating_mul(1000)).checked_div(total));
    found.add("walked", share.filter(|_| walked.passes > 0), Unit::Permille);
    found.add("locked", if walked.locked { 1000 } else { 0 }, Unit::Permille);
    found.add("memory-rate", walked.mebibytes_per_second(), Unit::MebibytesPerSecond);
    found.add("corrected-errors", grown.corrected, Unit::Count);
    found.add("uncorrected-errors", grown.uncorrected, Unit::Count);
    for flip in &walked.flips {
        let place = flip.physical.map_or("physical address unknown".into(), |at| format!("physical {at:#x}"));
        let node = flip.node.map(|node| format!(", node {node}")).unwrap_or_default();
        found.faults.push(format!(
            "memory: {place}{node}, byte {:#x} of CPU {}'s share: bits {:#018x} turned in pattern {}",
            flip.offset, flip.cpu, flip.bits, flip.pattern
        ));
    }
    found.coverage.push(format!(
        "{} of {} MiB of memory, {} passes",
        walked.bytes >> 20,
        total.unwrap_or(0) >> 20,
        walked.passes
    ));
    Ok(found)
}

/// Opens a drive for reading and checks that it is the one that was meant.
fn open(serial: &Serial, machine: Machine<'_>) -> Result<(Target, PathBuf), String> {
    let (path, seen) = (machine.drive)(serial)?;
    if seen != *serial {
        return Err(format!("{} is drive {seen} now, not {serial}", path.display()));
    }
    let target = Target::open(&path, serial).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok((target, path))
}

fn read(serial: &Serial, time: Duration, machine: Machine<'_>, watch: Watch<'_>) -> Result<Findings, String> {
    let (target, _) = open(serial, machine)?;
    let sequential = target.read(SEQUENTIAL, target.whole(), time / 2, watch.part(0, 2))?;
    let load = Load { order: crate::drive::Order::Random { seed: machine.seed }, ..RANDOM };
    let random = target.read(load, target.whole(), time - time / 2, watch.part(1, 2))?;
    let mut found = Findings::of(format!("drive {serial}"));
    found.failed("failed-reads", &[&sequential, &random]);
    found.add("sequential-read-rate", sequential.mebibytes_per_second(), Unit::MebibytesPerSecond);
    found.add("random-read-rate", random.operations_per_second(), Unit::OperationsPerSecond);
    found.add("random-read-p99", random.latency.p99_microseconds, Unit::Microseconds);
    found.add("random-read-p999", random.latency.p999_microseconds, Unit::Microseconds);
    let slowest = [sequential.slowest_second_permille(), random.slowest_second_permille()];
    found.add("slowest-second", slowest.into_iter().flatten().min(), Unit::Permille);
    found.rates("read-rate", &[&sequential, &random]);
    found.covered(sequential.bytes + random.bytes, target.whole());
    Ok(found)
}

fn sweep(
    serial: &Serial,
    depths: &[u16],
    time: Duration,
    machine: Machine<'_>,
    watch: Watch<'_>,
) -> Result<Findings, String> {
    let (target, _) = open(serial, machine)?;
    let each = time / u32::try_from(depths.len().max(1)).unwrap_or(u32::MAX);
    let points = target.sweep(RANDOM, depths, each, watch)?;
    let mut found = Findings::of(format!("drive {serial}"));
    found.failed("failed-reads", &points.iter().map(|(_, measured)| measured).collect::<Vec<_>>());
    found.add(
        "deep-read-rate",
        points.iter().map(|(_, point)| point.operations_per_second()).max(),
        Unit::OperationsPerSecond,
    );
    for (depth, point) in &points {
        found.add(
            &format!("read-rate-depth-{depth}"),
            point.operations_per_second(),
            Unit::OperationsPerSecond,
        );
        found.add(&format!("read-p99-depth-{depth}"), point.latency.p99_microseconds, Unit::Microseconds);
    }
    found.rates("read-rate", &points.iter().map(|(_, measured)| measured).collect::<Vec<_>>());
    found.covered(points.iter().map(|(_, point)| point.bytes).sum(), target.whole());
    Ok(found)
}

fn steady(
    serial: &Serial,
    each: Duration,
    time: Duration,
    machine: Machine<'_>,
    watch: Watch<'_>,
) -> Result<Findings, String> {
    let (target, _) = open(serial, machine)?;
    let fit = time.as_millis().checked_div(each.as_millis()).and_then(|rounds| usize::try_from(rounds).ok());
    let rounds = target.rounds(RANDOM, each, fit.unwrap_or(0).min(ROUNDS_MAX), machine.settled, watch)?;
    let rates: Vec<u64> = rounds.iter().map(Measured::operations_per_second).collect();
    let mut found = Findings::of(format!("drive {serial}"));
    found.failed("failed-reads", &rounds.iter().collect::<Vec<_>>());
    found.rates("read-rate", &rounds.iter().collect::<Vec<_>>());
    let window = rates.iter().rev().take(5);
    let average = window.clone().sum::<u64>().checked_div(window.count() as u64);
    found.add("steady-read-rate", average, Unit::OperationsPerSecond);
    if let Some(figure) = found.figures.last_mut().filter(|figure| figure.name == "steady-read-rate") {
        figure.attained = Some((machine.settled)(&rates));
    }
    found.coverage.push(format!("drive {serial}: {} rounds", rounds.len()));
    Ok(found)
}

fn verify(
    wanted: SpanConsent,
    time: Duration,
    machine: Machine<'_>,
    watch: Watch<'_>,
) -> Result<Findings, String> {
    let SpanConsent { serial, start, bytes } = &wanted;
    if !machine.consents.contains(&wanted) {
        return Err(format!(
            "nobody consented to {bytes} bytes from {start} on drive {serial}: nothing was written"
        ));
    }
    let span = Span::new(*start, *bytes).ok_or("the span is not whole pages: nothing was written")?;
    let (path, seen) = (machine.drive)(serial)?;
    // A block device of this machine; a file is its owner's own business.
    if let Some(disk) = path.strip_prefix(machine.root.join("dev")).ok().and_then(Path::to_str) {
        let spare = crate::erase::spare(machine.root, disk);
        spare.map_err(|why| format!("drive {serial}: {why}: nothing was written"))?;
    }
    let drive = Writable::open(&path, &seen, WriteConsent::given(serial.clone(), span))
        .map_err(|why| format!("{}: {why}", path.display()))?;
    let mut found = Findings::of(format!("drive {serial}"));
    let (begin, mut written, mut read, mut wrong, mut generation) = (now(), Vec::new(), Vec::new(), 0, 0);
    // Blocks as large as the span has whole ones of.
    let block_bytes =
        if bytes.is_multiple_of(SEQUENTIAL.block_bytes.into()) { SEQUENTIAL.block_bytes } else { 4096 };
    let load = Load { block_bytes, ..SEQUENTIAL };
    while !watch.stopped() {
        generation += 1;
        let stamp = Stamp { seed: machine.seed, generation };
        written.push(drive.fill(load, stamp, watch)?);
        let checked = drive.verify(load, stamp, watch)?;
        wrong += checked.mismatches.count;
        let name = |mismatch| format!("drive {serial}: pass {generation}: {mismatch}");
        found.faults.extend(checked.mismatches.kept.iter().map(name));
        read.push(checked.measured);
        if begin.elapsed() >= time || wrong > 0 {
            break;
        }
    }
    found.add("wrong-sectors", wrong, Unit::Count);
    found.failed("failed-writes", &written.iter().collect::<Vec<_>>());
    found.failed("failed-reads", &read.iter().collect::<Vec<_>>());
    found.rates("read-rate", &read.iter().collect::<Vec<_>>());
    let moved: u64 = written.iter().map(|measured| measured.bytes).sum();
    let took: Duration = written.iter().map(|measured| measured.time).sum();
    found.add("sequential-write-rate", per_second(moved, took) >> 20, Unit::MebibytesPerSecond);
    found
        .coverage
        .push(format!("drive {serial}: {} MiB written and read back, {generation} passes", bytes >> 20));
    Ok(found)
}

//! The program that works on a GPU: started, read line by line, and ended in time whatever it does.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use appliance_model::burn_in::gpu::{Counters, Ending, Line};

use super::{Verb, log::Log, share};
use crate::Watch;

/// A line with the counters of 18 links has 4 KiB.
const LINE_BYTES_MAX: u64 = 1 << 18;
/// How long counting may take: a driver that nobody uses loads first.
const COUNT: Duration = Duration::from_secs(60);
/// How long the program may take beyond its time: contexts, compiling, and its own patience with a driver that hangs.
const GRACE: Duration = Duration::from_secs(150);
/// How often the watch is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Looks that are kept; when there are more, every other one is dropped and the pace halved.
const SEEN_MAX: usize = 4096;
/// Lines that wait to be read.
const WAITING_MAX: usize = 16;
/// Reasons of the driver that are kept.
const HELD_MAX: usize = 16;

/// One look at a GPU at work.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) second: u32,
    pub(super) celsius: Option<u64>,
    pub(super) watts: Option<u64>,
    pub(super) megahertz: Option<u64>,
    /// How much of what it can do its link does, in thousandths.
    pub(super) link: Option<u64>,
    /// The same in words, if it is not all.
    pub(super) link_text: String,
    /// Whether heat or the hardware holds its clocks down.
    pub(super) slowed: Option<bool>,
}

#[derive(Debug, Default)]
pub(super) struct Samples {
    pub(super) seen: Vec<Sample>,
    /// Why its clocks were held down.
    pub(super) held: BTreeSet<String>,
    /// The hottest, and the most power, of all looks.
    pub(super) celsius_max: Option<u64>,
    pub(super) watts_max: Option<u64>,
    /// Looks so far, and of how many one is kept: 2 to this.
    looks: u64,
    pace: u32,
    /// Wrong values when it was last heard of.
    wrong: u64,
}

/// What came of the work, or why nothing did and how many wrong values there were until then.
type Ended = Result<Ending, (String, u64)>;

/// The counters of one GPU.
pub(super) fn counters(program: &Path, uuid: &str) -> Result<Counters, String> {
    let mut run = Run::start(program, &["counters", "--gpu", uuid])?;
    match run.lines.recv_timeout(COUNT) {
        Ok(Ok(Line::Counters { counters })) => Ok(*counters),
        Ok(Ok(Line::Failed { why, .. }) | Err(why)) => Err(why),
        Ok(Ok(Line::Progress { .. } | Line::Done { .. })) => Err("an answer to another question".into()),
        Err(mpsc::RecvTimeoutError::Timeout) => Err("the driver did not answer for a minute".into()),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(run.ending()),
    }
}

/// Works for `time`, and looks into the kernel's log meanwhile, which forgets.
pub(super) fn work(
    program: &Path,
    verb: Verb,
    uuid: &str,
    time: Duration,
    watch: Watch<'_>,
    log: &mut Option<Log>,
) -> Result<(Samples, Ended), String> {
    let word = match verb {
        Verb::Compare => "compare",
        Verb::Memory => "memory",
        Verb::Bandwidth => "bandwidth",
    };
    let seconds = time.as_secs().max(1).to_string();
    let mut run = Run::start(program, &[word, "--gpu", uuid, "--seconds", &seconds, "--leash"])?;
    let (clock, patience) = (watch.start(time), watch.start(time + GRACE));
    let mut samples = Samples::default();
    loop {
        clock.tell();
        if let Some(log) = log {
            log.poll();
        }
        if patience.over() {
            let why = if watch.stopped() { "called off" } else { "the GPU hangs: its program did not end" };
            return Ok((
                Samples { seen: std::mem::take(&mut samples.seen), ..samples },
                Err((why.into(), 0)),
            ));
        }
        let failed = |why: String, wrong: u64| Err((why, wrong));
        let ended = match run.lines.recv_timeout(LOOK) {
            Ok(Ok(Line::Progress { milliseconds, wrong, counters })) => {
                samples.note(milliseconds, wrong, counters.as_deref());
                continue;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => continue,
            Ok(Ok(Line::Counters { .. })) => failed("an answer to another question".into(), samples.wrong),
            Ok(Ok(Line::Done { result })) => Ok(result),
            Ok(Ok(Line::Failed { why, wrong })) => failed(why, wrong.max(samples.wrong)),
            Ok(Err(why)) => failed(why, samples.wrong),
            Err(mpsc::RecvTimeoutError::Disconnected) => failed(run.ending(), samples.wrong),
        };
        return Ok((samples, ended));
    }
}

impl Samples {
    fn note(&mut self, milliseconds: u64, wrong: u64, counters: Option<&Counters>) {
        self.wrong = wrong;
        let Some(counters) = counters else { return };
        let number = |value: Option<u32>| value.map(u64::from);
        // A limit on power is how such a GPU always works; heat and brakes are not.
        let bad = |reason: &&String| reason.as_str() != "sw-power-cap";
        let throttled = counters.throttled.as_ref();
        for reason in throttled.into_iter().flatten().filter(|reason| reason.len() <= 64) {
            if self.held.len() < HELD_MAX {
                self.held.insert(reason.clone());
            }
        }
        let link = counters.link.as_ref();
        let share = link.and_then(share);
        let text = link.filter(|_| share.is_some_and(|share| share < 1000)).map(|link| {
            let number = |value: Option<u32>| value.unwrap_or(0);
            format!(
                "{} of {} PCIe lanes, generation {} of {}",
                number(link.lanes),
                number(link.lanes_max),
                number(link.generation),
                number(link.generation_max)
            )
        });
        let celsius = number(counters.celsius);
        let watts = number(counters.milliwatts).map(|milliwatts| milliwatts.div_ceil(1000));
        self.celsius_max = self.celsius_max.max(celsius);
        self.watts_max = self.watts_max.max(watts);
        self.keep(Sample {
            second: u32::try_from(milliseconds / 1000).unwrap_or(u32::MAX),
            celsius,
            watts,
            megahertz: number(counters.megahertz),
            link: share,
            link_text: text.unwrap_or_default(),
            slowed: throttled.map(|reasons| reasons.iter().any(|reason| bad(&reason))),
        });
    }
}

impl Samples {
    fn keep(&mut self, sample: Sample) {
        let due = self.looks.trailing_zeros() >= self.pace;
        self.looks += 1;
        if !due {
            return;
        }
        self.seen.push(sample);
        if self.seen.len() > SEEN_MAX {
            let mut even = false;
            self.seen.retain(|_| {
                even = !even;
                even
            });
            self.pace += 1;
        }
    }
}

/// The program, which dies with this.
struct Run {
    child: Child,
    lines: mpsc::Receiver<Result<Line, String>>,
}

impl Run {
    fn start(program: &Path, arguments: &[&str]) -> Result<Self, String> {
        let mut child = Command::new(program)
            .args(arguments)
            // Its leash: it ends when this end is closed, even if this process is killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{} could not be started: {error}", program.display()))?;
        let (sender, lines) = mpsc::sync_channel(WAITING_MAX);
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || read(stdout, &sender));
        }
        Ok(Self { child, lines })
    }

    /// Why it ended without a last word.
    fn ending(&mut self) -> String {
        match self.child.try_wait() {
            Ok(Some(status)) => format!("its program ended without a result: {status}"),
            Ok(None) | Err(_) => "its program closed its output without a result".into(),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // One that waits for a dead GPU cannot even be killed: waited for briefly, then left to whoever is process 1.
        for _ in 0..20 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(LOOK / 10);
        }
    }
}

/// Sends each line; ends at one that is too long or makes no sense.
fn read(stdout: impl Read, sender: &mpsc::SyncSender<Result<Line, String>>) {
    let mut reader = BufReader::new(stdout);
    loop {
        let mut text = Vec::new();
        // One byte more than allowed, so that a line that was cut is seen.
        match reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut text) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = serde_json::from_slice(&text)
            .map_err(|error| format!("its program printed no such line: {error}"));
        let last = line.is_err();
        if sender.send(line).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_fit() {
        let (mut samples, mut counters) = (Samples::default(), Counters::default());
        for second in 0..260_000_u32 {
            counters.celsius = Some(if second == 200_001 { 91 } else { 60 });
            samples.note(u64::from(second) * 1000, 0, Some(&counters));
        }
        assert!((SEEN_MAX / 2..=SEEN_MAX).contains(&samples.seen.len()), "{}", samples.seen.len());
        let seconds: Vec<u32> = samples.seen.iter().map(|one| one.second).collect();
        assert!(seconds.windows(2).all(|pair| pair[1] - pair[0] == seconds[1]), "{:?}", &seconds[..4]);
        assert_eq!((samples.celsius_max, samples.watts_max), (Some(91), None));
    }
}

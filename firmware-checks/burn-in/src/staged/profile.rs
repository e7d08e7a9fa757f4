//! A profile of the second format with only legal values, and the digest of the bytes it was read from.

use std::collections::BTreeMap;

use appliance_model::{Digest, burn_in::staged::Unit};
use thiserror::Error;

use super::{figure, wire};

/// The largest profile read; ours are a few KiB.
const FILE_BYTES_MAX: usize = 64 << 10;

/// Four days: the longest soak is three, and ends.
const SECONDS_MAX: u32 = 4 * 86_400;

/// The unit of rules that compare with the fleet.
const OF_MEDIAN: &str = "permille-of-median";

/// The profiles this build knows, as file bytes.
const BUILT_IN: [&[u8]; 5] = [
    include_bytes!("../../data/demo.toml"),
    include_bytes!("../../data/smoke.toml"),
    include_bytes!("../../data/admit.toml"),
    include_bytes!("../../data/soak.toml"),
    include_bytes!("../../data/recheck.toml"),
];

/// What to run, for how long, and which rules hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Name, for people.
    pub name: String,
    /// What it is good for, in a sentence.
    pub about: String,
    /// SHA-256 of the file's bytes: the name that counts.
    pub digest: Digest,
    /// When all of it is ended, in seconds.
    pub seconds_max: u32,
    /// In order.
    pub stages: Vec<Stage>,
    /// What must hold.
    pub rules: Vec<Rule>,
}

/// A part with an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Unique in the profile.
    pub name: String,
    /// When it is ended, in seconds.
    pub seconds_max: u32,
    /// Drives that work at the same time; `None` is all.
    pub drives_at_once_max: Option<usize>,
    /// Whether all jobs run at the same time.
    pub together: bool,
    /// What to run.
    pub jobs: Vec<Job>,
}

/// A workload, on the machine or on each of its drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Which.
    pub kind: Kind,
    /// For how long, in seconds.
    pub seconds: u32,
    /// For how long on machines of a hardware class.
    pub class_seconds: BTreeMap<String, u32>,
    /// Memory: how much of it, in thousandths.
    pub share_permille: u16,
    /// Sweep: blocks in flight, rising.
    pub depths: Vec<u16>,
    /// Steady state: length of a round, in seconds.
    pub round_seconds: u32,
    /// Self-test: the whole surface instead of the short one.
    pub extended: bool,
}

/// The workloads there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Compare-workloads on every logical CPU.
    CpuCompare,
    /// Patterns and a march through memory.
    MemoryWalk,
    /// Sequential and random reads of each drive.
    DriveRead,
    /// Random reads of each drive at rising queue depths.
    DriveSweep,
    /// Random reads of each drive in rounds until they are steady.
    DriveSteady,
    /// Stamped writes, read back, on drives and spans with consent.
    DriveVerify,
    /// Each drive's own self-test.
    DriveSelfTest,
    /// Matrix products with known results on each GPU.
    GpuCompare,
    /// Patterns through each GPU's memory.
    GpuMemory,
    /// Copies to, from and between GPUs.
    GpuBandwidth,
    /// Full rate between each port that has a link and a partner in the rack.
    Network,
    /// What the management controller saw.
    Board,
}

/// What a workload is done once for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// The machine.
    Machine,
    /// Each drive.
    Drive,
    /// Each GPU.
    Gpu,
    /// Each port with a link.
    Port,
}

/// What must hold for a figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Name of the figure.
    pub figure: String,
    /// What it is counted in.
    pub unit: Unit,
    /// The bound.
    pub bound: Bound,
    /// Where the threshold comes from.
    pub origin: String,
    /// Whether a device may lack the figure: that it does is told in the coverage.  Else it leaves the verdict open.
    pub only_where_given: bool,
}

/// A bound on a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// No more than this.
    AtMost(u64),
    /// No less than this.
    AtLeast(u64),
    /// No less than this was looked at: less speaks against nobody, and is no pass.
    Covers(u64),
    /// No less than so many thousandths of the median of devices of the same model, if there are enough.
    OfMedian {
        /// Thousandths of the median.
        permille: u64,
        /// Other devices without which there is nothing to compare with.
        peers_min: usize,
    },
}

/// Why a profile was refused.
#[derive(Debug, Error)]
pub enum Refused {
    /// Larger than any profile.
    #[error("a burn-in profile may have {FILE_BYTES_MAX} bytes, this one has {bytes}: is it the right file?")]
    Large {
        /// Its size.
        bytes: usize,
    },
    /// Not UTF-8.
    #[error("the burn-in profile is not UTF-8 text: is it the right file?")]
    Text(#[source] std::str::Utf8Error),
    /// Not TOML, or a key too many or too few.
    #[error("burn-in profile, line {line}: {why}")]
    Syntax {
        /// From 1.
        line: usize,
        /// What is wrong, in the parser's words.
        why: String,
    },
    /// A value that makes no sense.
    #[error("burn-in profile, line {line}: {why}")]
    Value {
        /// From 1.
        line: usize,
        /// What is wrong and what it must be.
        why: String,
    },
}

impl Profile {
    /// Reads a profile file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(Refused::Large { bytes: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(Refused::Text)?;
        let file: wire::Profile = toml::from_str(text).map_err(|error| Refused::Syntax {
            line: error.span().map_or(0, |span| line(text, span.start)),
            // Its `Display` draws the place over several lines.
            why: error.message().to_owned(),
        })?;
        let reader = Reader { text };
        reader.check(&file.version, *file.version.get_ref() == 2, || "version must be 2".into())?;
        reader.check(&file.seconds_max, (1..=SECONDS_MAX).contains(file.seconds_max.get_ref()), || {
            format!("seconds_max must be 1 to {SECONDS_MAX}")
        })?;
        let mut stages: Vec<Stage> = Vec::new();
        for stage in &file.stage {
            let known = stages.iter().any(|other| other.name == *stage.name.get_ref());
            reader.check(&stage.name, !known, || "another stage has this name".into())?;
            stages.push(reader.stage(stage)?);
        }
        let rules = file.rule.iter().map(|rule| reader.rule(rule, &stages)).collect::<Result<_, _>>()?;
        let seconds_max = *file.seconds_max.get_ref();
        let sum: u64 = stages.iter().map(|stage| u64::from(stage.seconds_max)).sum();
        reader.check(&file.seconds_max, sum <= u64::from(seconds_max), || {
            format!("its stages may take {sum} s, more than seconds_max")
        })?;
        Ok(Self { name: file.name, about: file.about, digest: Digest::of(bytes), seconds_max, stages, rules })
    }

    /// The built-in profile of this name.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Self> {
        built_in().find(|profile| profile.name == name)
    }

    /// The built-in profile whose file has this SHA-256, in hex as a plan carries it.
    #[must_use]
    pub fn by_digest(hex: &str) -> Option<Self> {
        built_in().find(|profile| profile.digest.to_string() == hex)
    }
}

/// The file of the built-in profile of this name: what an opening of a result stream carries.
#[must_use]
pub fn built_in_text(name: &str) -> Option<&'static str> {
    let named = |bytes: &&[u8]| Profile::parse(bytes).is_ok_and(|profile| profile.name == name);
    std::str::from_utf8(BUILT_IN.into_iter().find(named)?).ok()
}

/// All staged profiles this build knows.
pub fn built_in() -> impl Iterator<Item = Profile> {
    BUILT_IN.iter().filter_map(|bytes| Profile::parse(bytes).ok())
}

impl Kind {
    /// Name in a profile.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuCompare => "cpu-compare",
            Self::MemoryWalk => "memory-walk",
            Self::DriveRead => "drive-read",
            Self::DriveSweep => "drive-sweep",
            Self::DriveSteady => "drive-steady",
            Self::DriveVerify => "drive-verify",
            Self::DriveSelfTest => "drive-self-test",
            Self::GpuCompare => "gpu-compare",
            Self::GpuMemory => "gpu-memory",
            Self::GpuBandwidth => "gpu-bandwidth",
            Self::Network => "network",
            Self::Board => "board",
        }
    }

    pub(super) const ALL: [Self; 12] = [
        Self::CpuCompare,
        Self::MemoryWalk,
        Self::DriveRead,
        Self::DriveSweep,
        Self::DriveSteady,
        Self::DriveVerify,
        Self::DriveSelfTest,
        Self::GpuCompare,
        Self::GpuMemory,
        Self::GpuBandwidth,
        Self::Network,
        Self::Board,
    ];

    /// What it is done once for.
    #[must_use]
    pub fn each(self) -> Each {
        match self {
            Self::CpuCompare | Self::MemoryWalk | Self::Board => Each::Machine,
            Self::DriveRead
            | Self::DriveSweep
            | Self::DriveSteady
            | Self::DriveVerify
            | Self::DriveSelfTest => Each::Drive,
            Self::GpuCompare | Self::GpuMemory | Self::GpuBandwidth => Each::Gpu,
            Self::Network => Each::Port,
        }
    }

    /// Whether it is over when it is done, and `seconds` is only the longest it may take.
    #[must_use]
    pub fn ends_by_itself(self) -> bool {
        matches!(self, Self::DriveSelfTest | Self::Board | Self::Network | Self::GpuBandwidth)
    }
}

/// From 1.
pub(super) fn line(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn check<T>(
        &self,
        at: &toml::Spanned<T>,
        fine: bool,
        why: impl FnOnce() -> String,
    ) -> Result<(), Refused> {
        if fine { Ok(()) } else { Err(Refused::Value { line: line(self.text, at.span().start), why: why() }) }
    }

    fn stage(&self, stage: &wire::Stage) -> Result<Stage, Refused> {
        let at = &stage.name;
        self.check(at, (1..=SECONDS_MAX).contains(&stage.seconds_max), || {
            format!("the stage's seconds_max must be 1 to {SECONDS_MAX}")
        })?;
        self.check(at, !stage.job.is_empty(), || "the stage has no job".into())?;
        if let Some(most) = &stage.drives_at_once_max {
            self.check(most, *most.get_ref() > 0, || "drives_at_once_max must be at least 1".into())?;
        }
        let jobs: Vec<Job> = stage.job.iter().map(|job| self.job(job)).collect::<Result<_, _>>()?;
        let on_drives = jobs.iter().filter(|job| job.kind.each() == Each::Drive).count();
        self.check(at, !stage.together || on_drives <= 1, || {
            "two jobs together on the same drives: what each measures would be the other's doing".into()
        })?;
        let at_once =
            stage.drives_at_once_max.as_ref().and_then(|most| usize::try_from(*most.get_ref()).ok());
        Ok(Stage {
            name: at.get_ref().clone(),
            seconds_max: stage.seconds_max,
            drives_at_once_max: at_once,
            together: stage.together,
            jobs,
        })
    }

    fn job(&self, job: &wire::Job) -> Result<Job, Refused> {
        let (at, name) = (&job.work, job.work.get_ref().as_str());
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) else {
            let names = Kind::ALL.map(Kind::name).join(", ");
            return Err(Refused::Value {
                line: line(self.text, at.span().start),
                why: format!("`{name}` is none of {names}"),
            });
        };
        let seconds = std::iter::once(job.seconds.get_ref()).chain(job.class_seconds.values());
        let fine = seconds.into_iter().all(|seconds| (2..=SECONDS_MAX).contains(seconds));
        self.check(&job.seconds, fine, || format!("a job takes 2 to {SECONDS_MAX} s"))?;
        for (key, given, wanted) in [
            ("share_permille", job.share_permille.is_some(), kind == Kind::MemoryWalk),
            ("depths", job.depths.is_some(), kind == Kind::DriveSweep),
            ("round_seconds", job.round_seconds.is_some(), kind == Kind::DriveSteady),
            ("extended", job.extended.is_some(), kind == Kind::DriveSelfTest),
        ] {
            self.check(at, given == wanted, || {
                let must = if wanted { "must be given" } else { "has no meaning" };
                format!("{key} {must} for {name}")
            })?;
        }
        let share = job.share_permille.unwrap_or(0);
        self.check(at, kind != Kind::MemoryWalk || (1..=1000).contains(&share), || {
            "share_permille must be 1 to 1000".into()
        })?;
        let depths = job.depths.clone().unwrap_or_default();
        let rising = depths.first() > Some(&0) && depths.is_sorted() && depths.last() <= Some(&1024);
        self.check(at, kind != Kind::DriveSweep || rising, || "depths rise from 1 to 1024".into())?;
        let round = job.round_seconds.unwrap_or(0);
        let rounds = u64::try_from(crate::steady::ROUNDS).unwrap_or(u64::MAX);
        let enough =
            round > 0 && u64::from(round).saturating_mul(rounds) <= u64::from(*job.seconds.get_ref());
        self.check(at, kind != Kind::DriveSteady || enough, || {
            format!("the time must suffice for {rounds} rounds of round_seconds")
        })?;
        Ok(Job {
            kind,
            seconds: *job.seconds.get_ref(),
            class_seconds: job.class_seconds.clone(),
            share_permille: share,
            depths,
            round_seconds: round,
            extended: job.extended.unwrap_or(false),
        })
    }

    fn rule(&self, rule: &wire::Rule, stages: &[Stage]) -> Result<Rule, Refused> {
        let name = rule.figure.get_ref().as_str();
        let unit = figure::unit(name);
        self.check(&rule.figure, unit.is_some(), || format!("`{name}` is no figure that a workload gives"))?;
        let unit = unit.unwrap_or(Unit::Count);
        let given = stages.iter().flat_map(|stage| &stage.jobs).any(|job| figure::given_by(name, job.kind));
        self.check(&rule.figure, given, || {
            format!("no job of this profile gives `{name}`: the rule would never be looked at")
        })?;
        self.check(&rule.origin, !rule.origin.get_ref().trim().is_empty(), || {
            "a threshold needs its origin".into()
        })?;
        let wire::Rule { at_most, at_least, covers_at_least, median_at_least, peers_min, .. } = *rule;
        let bound = match (at_most, at_least, covers_at_least, median_at_least, peers_min) {
            (Some(most), None, None, None, None) => Bound::AtMost(most),
            (None, Some(least), None, None, None) => Bound::AtLeast(least),
            (None, None, Some(least), None, None) => Bound::Covers(least),
            (None, None, None, Some(permille @ 1..=1000), Some(peers @ 1..)) => {
                Bound::OfMedian { permille, peers_min: usize::try_from(peers).unwrap_or(usize::MAX) }
            }
            _ => {
                let why =
                    "a rule has at_most, at_least, covers_at_least, or median_at_least (1 to 1000) with peers_min"
                    .into();
                return Err(Refused::Value { line: line(self.text, rule.figure.span().start), why });
            }
        };
        let wanted = if matches!(bound, Bound::OfMedian { .. }) { OF_MEDIAN } else { unit_name(unit) };
        self.check(&rule.unit, rule.unit.get_ref() == wanted, || format!("`{name}` is bounded in {wanted}"))?;
        Ok(Rule {
            figure: name.to_owned(),
            unit,
            bound,
            origin: rule.origin.get_ref().trim().to_owned(),
            only_where_given: rule.only_where_given,
        })
    }
}

/// As a profile writes it.
pub(crate) fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "count",
        Unit::Permille => "permille",
        Unit::MebibytesPerSecond => "mebibytes-per-second",
        Unit::OperationsPerSecond => "operations-per-second",
        Unit::Microseconds => "microseconds",
        Unit::Celsius => "celsius",
        Unit::Megahertz => "megahertz",
        Unit::Watts => "watts",
        Unit::Rpm => "rpm",
        Unit::Bytes => "bytes",
        Unit::Gigaflops => "gigaflops",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_is_legal_and_found_by_digest() {
        for (bytes, name) in BUILT_IN.iter().zip(["demo", "smoke", "admit", "soak", "recheck"]) {
            let profile = Profile::parse(bytes).map_err(|error| format!("{name}: {error}")).unwrap();
            assert_eq!(profile.name, name);
            assert_eq!(Profile::by_digest(&profile.digest.to_string()), Some(profile.clone()));
            let last = profile.stages.last().unwrap();
            assert!(last.together, "{name}: the last stage is everything at once");
            assert_eq!(Profile::built_in(name), Some(profile));
        }
        let hours = |name| f64::from(Profile::built_in(name).unwrap().seconds_max) / 3600.0;
        assert!(hours("demo") <= 0.05 && hours("smoke") <= 0.25 && hours("recheck") <= 0.3);
        assert!((2.0..=4.0).contains(&hours("admit")) && (24.0..=72.0).contains(&hours("soak")));
    }

    #[test]
    fn bad_profiles_are_refused_with_the_line() {
        let good = std::str::from_utf8(BUILT_IN[1]).unwrap();
        for (from, to, says) in [
            ("version = 2", "version = 1", "version must be 2"),
            ("seconds = ", "minutes = 2\nseconds = ", "unknown field `minutes`"),
            ("unit = \"count\"\n", "", "missing field `unit`"),
            ("unit = \"count\"", "unit = \"celsius\"", "is bounded in count"),
            ("figure = \"wrong-answers\"", "figure = \"wrong-answer\"", "is no figure"),
            ("figure = \"wrong-answers\"", "figure = \"wrong-sectors\"", "never be looked at"),
            ("work = \"cpu-compare\"", "work = \"cpu-burn\"", "is none of cpu-compare"),
            ("work = \"cpu-compare\"", "work = \"cpu-compare\"\ndepths = [1]", "depths has no meaning"),
            ("at_most = 0", "at_most = 0\nat_least = 1", "a rule has at_most, at_least"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            let error = Profile::parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(says), "{says}: {error}");
            // The line is the one that was changed, or near it where a key is missing.
            let changed = line(good, good.find(from).unwrap());
            let named = match error {
                Refused::Syntax { line, .. } | Refused::Value { line, .. } => line,
                Refused::Large { .. } | Refused::Text(_) => 0,
            };
            assert!(named.abs_diff(changed) <= 3, "{says}: line {named}, changed {changed}");
        }
        assert!(matches!(Profile::parse(&[0xff]), Err(Refused::Text(_))));
        assert!(matches!(Profile::parse(&vec![b'#'; FILE_BYTES_MAX + 1]), Err(Refused::Large { .. })));
    }
}

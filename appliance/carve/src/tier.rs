//! Whether a drive is sold, and as what.
//!
//! `fast` needs three things: every reading of burn-in reached [`FAST_IOPS_MIN`] random reads a second, in none of them
//! did one read in a hundred take longer than [`FAST_P99_MICROSECONDS_MAX`], and the drive does not say that it spins.
//! The worst reading counts, never the mean: a drive that is fast until its cache is full is slow.  Where rounds reached a
//! steady state, their rate counts and that of shorter reads does not.  What spins and measures fast was measured out of
//! a controller's cache, which the next tenant's data will not be in.

use appliance_model::{
    Serial,
    burn_in::staged::{Done, Report},
    inventory::{Bus, Drive, Grade},
    units::Tier,
};

/// Random 4 KiB reads a second that make a drive `fast`: no spinning disk comes near, any healthy flash drive passes.
pub const FAST_IOPS_MIN: u64 = 20_000;

/// The longest that 99 in 100 random reads may take on a `fast` drive: a spinning disk's seek.  Flash drives stay below
/// a tenth of it while they are healthy.
pub const FAST_P99_MICROSECONDS_MAX: u64 = 10_000;

/// A drive that is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiered {
    /// Its serial.
    pub serial: Serial,
    /// The tier.
    pub tier: Tier,
    /// The figures that decided, in words.
    pub why: String,
}

/// What burn-in measured of one drive: the worst of each figure over all tasks.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    /// Random reads a second, of reads that did not wait for a steady state.
    short: Worst,
    /// The same in a steady state that was reached.
    steady: Worst,
    p99_microseconds: Option<u64>,
    errors: u64,
}

/// The least of several rates, and how many there were.
#[derive(Debug, Clone, Copy, Default)]
struct Worst {
    least: Option<u64>,
    readings: u32,
}

impl Worst {
    fn add(&mut self, rate: u64) {
        self.least = Some(self.least.map_or(rate, |least| least.min(rate)));
        self.readings = self.readings.saturating_add(1);
    }
}

/// A drive's tier, or why it isn't sold.
pub(crate) fn tier(drive: &Drive, all: &[Drive], burn_in: &Report) -> Result<Tiered, String> {
    let serial = drive.serial.as_ref().ok_or("it has no serial, so nobody could tell it from another")?;
    if drive.bus == Bus::Usb {
        return Err("it is attached by USB: removable, or the BMC's virtual media".into());
    }
    if drive.bytes == 0 {
        return Err("it reports no capacity".into());
    }
    if all.iter().filter(|other| other.serial.as_ref() == Some(serial)).count() > 1 {
        return Err("another drive or namespace has the same serial".into());
    }
    if drive.health.as_ref().is_some_and(|health| health.passed == Some(false)) {
        return Err("its own health log says that it fails".into());
    }
    if let Some(judged) = drive.smart.as_ref().filter(|judged| judged.grade == Grade::Fail) {
        let reasons: Vec<_> = judged.reasons.iter().map(|reason| reason.text.as_str()).collect();
        return Err(format!("its health is judged as failing: {}", reasons.join("; ")));
    }
    let figures = figures(serial, burn_in).ok_or("burn-in has no measurement of it")?;
    if figures.errors > 0 {
        return Err(format!("burn-in saw {} failed reads", figures.errors));
    }
    let (tier, why) = decide(drive, figures);
    Ok(Tiered { serial: serial.clone(), tier, why })
}

fn figures(serial: &Serial, burn_in: &Report) -> Option<Figures> {
    let device = format!("drive {serial}");
    let mut worst = Figures::default();
    for outcome in &burn_in.outcomes {
        let Done::Measured { figures, .. } = &outcome.done else { continue };
        for figure in figures.iter().filter(|figure| figure.device == device) {
            match (figure.name.as_str(), figure.attained) {
                ("random-read-rate", _) => worst.short.add(figure.value),
                ("steady-read-rate", Some(true)) => worst.steady.add(figure.value),
                ("random-read-p99", _) => {
                    worst.p99_microseconds = worst.p99_microseconds.max(Some(figure.value));
                }
                ("failed-reads", _) => worst.errors = worst.errors.saturating_add(figure.value),
                _ => {}
            }
        }
    }
    (worst.short.readings + worst.steady.readings > 0).then_some(worst)
}

fn decide(drive: &Drive, figures: Figures) -> (Tier, String) {
    let (rate, state) = match figures.steady.least {
        Some(_) => (figures.steady, " in a steady state"),
        None => (figures.short, ""),
    };
    let iops = rate.least.unwrap_or(0);
    let worst = match rate.readings {
        0 | 1 => String::new(),
        readings => format!(", the worst of {readings} readings"),
    };
    let Some(p99_microseconds) = figures.p99_microseconds else {
        let why = format!("{iops} random reads a second{state}{worst}; how long they take was not measured");
        return (Tier::Slow, why);
    };
    let measured = format!("{iops} random reads a second{state}, 99 in 100 within {p99_microseconds} µs");
    if iops < FAST_IOPS_MIN {
        return (Tier::Slow, format!("{measured}{worst}; fast needs {FAST_IOPS_MIN} a second"));
    }
    if p99_microseconds > FAST_P99_MICROSECONDS_MAX {
        return (Tier::Slow, format!("{measured}{worst}; fast needs {FAST_P99_MICROSECONDS_MAX} µs"));
    }
    if drive.rotational == Some(true) {
        return (Tier::Slow, format!("{measured}{worst}, and it spins: a cache was measured, not the drive"));
    }
    (Tier::Fast, format!("{measured}{worst}"))
}

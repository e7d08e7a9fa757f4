//! What a machine's controller showed while the machine worked: many looks, one word at the end.
//!
//! A [`Record`] is kept as it grows, so that it outlives whoever keeps it; the time in which nobody looked is told as a
//! gap.  What the controller does not tell is left out, and a log that could not be read whole counts no events: a made-up
//! zero would pass a rule that nobody checked.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::{
    Digest, Now, Seconds,
    burn_in::{
        aid::BoardWord,
        staged::{Figure, Series, Unit},
    },
};
use serde::{Deserialize, Serialize};

/// Between two looks.
pub const LOOK_EVERY: Seconds = Seconds(30);
/// More between two looks than this is a gap.
const GAP_AFTER: Seconds = Seconds(100);
/// Gaps, critical sensors and events that are told one by one.
const LINES_MAX: usize = 64;
/// Events that were in the logs before.
const OLD_EVENTS_MAX: usize = 8192;
/// Points of a curve; when there are more, every other one goes.
const POINTS_MAX: usize = 512;
/// Characters of a controller's own text.
const TEXT_MAX: usize = 200;

/// What a reading is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Thousandths of a degree Celsius.
    Temperature,
    /// Thousandths of a revolution a minute.
    Fan,
    /// Thousandths of a watt.
    Power,
    /// Something else: only its health counts.
    Other,
}

/// One sensor, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Its name.
    pub name: String,
    /// What it measures.
    pub of: Of,
    /// How much, in thousandths.
    pub milli: Option<i64>,
    /// Whether the controller calls it critical; `None` where it does not say.
    pub critical: Option<bool>,
}

/// An entry of an event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What tells it from others: log, id, time.
    pub key: String,
    /// Whether the controller calls it critical.
    pub critical: bool,
    /// Its words.
    pub text: String,
}

/// All sensors and logs, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Sensors.
    pub readings: Vec<Reading>,
    /// Entries of all logs; `None` if one could not be read whole.
    pub events: Option<Vec<Event>>,
}

/// All looks of one burn-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Which burn-in.
    pub run: u64,
    began: Now,
    looks: u32,
    last: Option<Now>,
    gaps: Vec<(Now, Now)>,
    gaps_more: u32,
    missed: u32,
    why_missed: Option<String>,
    /// Points are kept of every so many looks.
    pace: u32,
    temperature: Vec<(Now, u64)>,
    power: Vec<(Now, u64)>,
    fan: Vec<(Now, u64)>,
    temperature_max: Option<u64>,
    power_max: Option<u64>,
    fan_min: Option<u64>,
    /// Whether any sensor tells its health.
    health_told: bool,
    critical: BTreeMap<String, (Now, String)>,
    critical_more: u32,
    /// Events of the first look; those of later ones are new.
    old: Option<BTreeSet<Digest>>,
    events: Vec<String>,
    events_count: u64,
    /// Whether the logs of the last look could be read whole.
    events_whole: bool,
}

impl Record {
    /// Of a burn-in that began then.
    #[must_use]
    pub fn new(run: u64, began: Now) -> Self {
        Self {
            run,
            began,
            looks: 0,
            last: None,
            gaps: Vec::new(),
            gaps_more: 0,
            missed: 0,
            why_missed: None,
            pace: 1,
            temperature: Vec::new(),
            power: Vec::new(),
            fan: Vec::new(),
            temperature_max: None,
            power_max: None,
            fan_min: None,
            health_told: false,
            critical: BTreeMap::new(),
            critical_more: 0,
            old: None,
            events: Vec::new(),
            events_count: 0,
            events_whole: false,
        }
    }

    /// When somebody looked last.
    #[must_use]
    pub fn last(&self) -> Option<Now> {
        self.last
    }

    /// Somebody looked.
    pub fn look(&mut self, look: &Look, now: Now) {
        self.gap_until(now);
        let readings = |of: Of| {
            let told = look.readings.iter().filter(move |reading| reading.of == of);
            told.filter_map(|reading| u64::try_from(reading.milli?).ok()).map(|milli| milli.div_ceil(1000))
        };
        let (hottest, power, slowest) =
            (readings(Of::Temperature).max(), readings(Of::Power).max(), readings(Of::Fan).min());
        self.temperature_max = self.temperature_max.max(hottest);
        self.power_max = self.power_max.max(power);
        self.fan_min = [self.fan_min, slowest].into_iter().flatten().min();
        if self.looks.is_multiple_of(self.pace.max(1)) {
            for (curve, value) in
                [(&mut self.temperature, hottest), (&mut self.power, power), (&mut self.fan, slowest)]
            {
                curve.extend(value.map(|value| (now, value)));
            }
            self.thin();
        }
        for reading in &look.readings {
            self.health_told |= reading.critical.is_some();
            if reading.critical == Some(true) {
                self.critical(reading, now);
            }
        }
        self.events(look.events.as_deref());
        self.looks = self.looks.saturating_add(1);
        self.last = Some(now);
    }

    /// Somebody wanted to look and could not.
    pub fn missed(&mut self, why: &str) {
        self.missed = self.missed.saturating_add(1);
        self.why_missed = Some(text(why));
    }

    /// What all of that says now.
    #[must_use]
    pub fn word(&self, now: Now) -> BoardWord {
        let Some(last) = self.last else {
            let why = self.why_missed.clone().unwrap_or_else(|| "nobody asked it yet".into());
            return BoardWord::Unseen { why: format!("the machine's controller told nothing: {why}") };
        };
        let mut figures = Vec::new();
        let mut add = |name: &str, value: Option<u64>, unit: Unit| {
            let name = name.to_owned();
            let device = "board".to_owned();
            figures.extend(value.map(|value| Figure { name, device, value, unit, attained: None }));
        };
        let sensors = u64::try_from(self.critical.len()).unwrap_or(u64::MAX);
        let sensors = sensors.saturating_add(self.critical_more.into());
        add("sensors-critical", Some(sensors).filter(|_| self.health_told), Unit::Count);
        add("events-critical", Some(self.events_count).filter(|_| self.events_whole), Unit::Count);
        add("power-max", self.power_max, Unit::Watts);
        add("fan-min", self.fan_min, Unit::Rpm);
        add("board-temperature-max", self.temperature_max, Unit::Celsius);
        let after = |at: Now| at.since(self.began).0;
        let sensors = self.critical.values().map(|(at, words)| format!("{words}, after {} s", after(*at)));
        BoardWord::Seen {
            figures,
            faults: sensors.chain(self.events.iter().map(|event| format!("event: {event}"))).collect(),
            coverage: self.coverage(last, now),
            series: self.series(),
        }
    }

    fn coverage(&self, last: Now, now: Now) -> Vec<String> {
        let after = |at: Now| at.since(self.began).0;
        let mut told = vec![format!("{} looks in {} s", self.looks, after(now))];
        let open = now.since(last).0 > GAP_AFTER.0;
        let gaps = self.gaps.iter().copied().chain(open.then_some((last, now)));
        told.extend(
            gaps.map(|(from, to)| format!("nobody looked from {} s to {} s", after(from), after(to))),
        );
        if self.gaps_more > 0 {
            told.push(format!("{} more gaps", self.gaps_more));
        }
        if let Some(why) = self.why_missed.as_ref().filter(|_| self.missed > 0) {
            told.push(format!("{} looks failed, the last one: {why}", self.missed));
        }
        if !self.events_whole {
            told.push("its event logs could not be read whole, so no events are counted".into());
        }
        told
    }

    fn series(&self) -> Vec<Series> {
        let curves = [
            ("temperature", Unit::Celsius, &self.temperature),
            ("power", Unit::Watts, &self.power),
            ("fan", Unit::Rpm, &self.fan),
        ];
        let series = |(name, unit, points): (&str, Unit, &Vec<(Now, u64)>)| {
            let second = |at: Now| u32::try_from(at.since(self.began).0).unwrap_or(u32::MAX);
            let points = points.iter().map(|(at, value)| (second(*at), *value)).collect();
            Series { device: "board".into(), name: name.into(), unit, points }
        };
        curves.into_iter().filter(|(_, _, points)| !points.is_empty()).map(series).collect()
    }

    fn gap_until(&mut self, now: Now) {
        let from = self.last.unwrap_or(self.began);
        if now.since(from).0 <= GAP_AFTER.0 {
            return;
        }
        if self.gaps.len() < LINES_MAX {
            self.gaps.push((from, now));
        } else {
            self.gaps_more = self.gaps_more.saturating_add(1);
        }
    }

    fn thin(&mut self) {
        let curves = [&mut self.temperature, &mut self.power, &mut self.fan];
        if curves.iter().all(|curve| curve.len() <= POINTS_MAX) {
            return;
        }
        self.pace = self.pace.saturating_mul(2);
        for curve in curves {
            let mut index = 0_usize;
            curve.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    fn critical(&mut self, reading: &Reading, now: Now) {
        let name = text(&reading.name);
        if self.critical.contains_key(&name) {
            return;
        }
        if self.critical.len() >= LINES_MAX {
            // Counted again at each look: more than enough is more than enough.
            self.critical_more = 1;
            return;
        }
        let value = reading.milli.map(|milli| match reading.of {
            Of::Temperature => format!(" at {} degrees C", milli / 1000),
            Of::Fan => format!(" at {} rpm", milli / 1000),
            Of::Power => format!(" at {} W", milli / 1000),
            Of::Other => String::new(),
        });
        let words = format!("sensor {name} is critical{}", value.unwrap_or_default());
        self.critical.insert(name, (now, words));
    }

    fn events(&mut self, events: Option<&[Event]>) {
        let Some(events) = events.filter(|events| events.len() <= OLD_EVENTS_MAX) else {
            self.events_whole = false;
            return;
        };
        let keys = events.iter().map(|event| Digest::of(event.key.as_bytes()));
        let Some(old) = &mut self.old else {
            // Whatever came before the first look came before us.
            self.old = Some(keys.collect());
            self.events_whole = true;
            return;
        };
        self.events_whole = true;
        for (event, key) in events.iter().zip(keys) {
            if old.len() >= OLD_EVENTS_MAX * 2 {
                self.events_whole = false;
                break;
            }
            if old.insert(key) && event.critical {
                self.events_count = self.events_count.saturating_add(1);
                if self.events.len() < LINES_MAX {
                    self.events.push(text(&event.text));
                }
            }
        }
    }
}

fn text(told: &str) -> String {
    told.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now(5_000_000 + seconds * 1000)
    }

    fn reading(name: &str, of: Of, value: i64, critical: Option<bool>) -> Reading {
        Reading { name: name.into(), of, milli: Some(value * 1000), critical }
    }

    fn look(celsius: i64, critical: bool, events: &[(&str, bool)]) -> Look {
        let event = |(key, critical): &(&str, bool)| Event {
            key: (*key).to_owned(),
            critical: *critical,
            text: format!("{key}\u{1b}[31m happened"),
        };
        Look {
            readings: vec![
                reading("CPU1", Of::Temperature, celsius, Some(critical)),
                reading("Inlet", Of::Temperature, 20, Some(false)),
                reading("FAN1", Of::Fan, 7000 - celsius, None),
                reading("PSU", Of::Power, celsius * 10, None),
            ],
            events: Some(events.iter().map(event).collect()),
        }
    }

    fn figure(word: &BoardWord, name: &str) -> Option<u64> {
        let BoardWord::Seen { figures, .. } = word else { return None };
        figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }

    #[test]
    fn what_turns_critical_is_named_and_what_was_before_is_not() {
        let mut record = Record::new(3, at(0));
        record.look(&look(60, false, &[("old", true)]), at(10));
        record.look(&look(98, true, &[("old", true), ("new", true), ("chatter", false)]), at(40));
        record.look(&look(70, false, &[("old", true), ("new", true), ("chatter", false)]), at(70));
        let json = serde_json::to_string(&record).unwrap();
        let record: Record = serde_json::from_str(&json).unwrap();
        let word = record.word(at(80));
        for (name, value) in [
            ("sensors-critical", 1),
            ("events-critical", 1),
            ("power-max", 980),
            ("fan-min", 6902),
            ("board-temperature-max", 98),
        ] {
            assert_eq!(figure(&word, name), Some(value), "{name}");
        }
        let BoardWord::Seen { faults, coverage, series, .. } = word else { panic!("seen") };
        assert_eq!(
            faults,
            ["sensor CPU1 is critical at 98 degrees C, after 40 s", "event: new[31m happened"]
        );
        assert_eq!(coverage, ["3 looks in 80 s"]);
        assert_eq!(series[0].points, [(10, 60), (40, 98), (70, 70)]);
    }

    #[test]
    fn what_nobody_saw_is_no_zero() {
        let mut record = Record::new(1, at(0));
        record.missed("no route to 10.0.0.9");
        let BoardWord::Unseen { why } = record.word(at(30)) else { panic!("nobody looked") };
        assert!(why.contains("no route to 10.0.0.9"));
        // An appliance that was away: the first look comes late, and so does the third.
        let silent = Look { readings: vec![reading("T", Of::Temperature, 30, None)], events: None };
        record.look(&silent, at(300));
        record.look(&silent, at(330));
        record.look(&silent, at(900));
        let word = record.word(at(1200));
        assert_eq!((figure(&word, "sensors-critical"), figure(&word, "events-critical")), (None, None));
        assert_eq!((figure(&word, "power-max"), figure(&word, "fan-min")), (None, None));
        let BoardWord::Seen { coverage, .. } = word else { panic!("seen") };
        let coverage = coverage.join("; ");
        for told in
            ["0 s to 300 s", "330 s to 900 s", "900 s to 1200 s", "1 looks failed", "not be read whole"]
        {
            assert!(coverage.contains(told), "{told}: {coverage}");
        }
    }

    #[test]
    fn three_days_stay_small() {
        let mut record = Record::new(1, at(0));
        for index in 0..8640_u32 {
            record.look(
                &look(40 + i64::from(index % 50), index % 7 == 0, &[("a", true)]),
                at(u64::from(index) * 30),
            );
        }
        let bytes = serde_json::to_vec(&record).unwrap().len();
        assert!(bytes < 64 << 10, "{bytes}");
        let BoardWord::Seen { series, .. } = record.word(at(8640 * 30)) else { panic!("seen") };
        assert!(series.iter().all(|series| (200..=POINTS_MAX).contains(&series.points.len())));
    }
}

//! A course as a person reads it before anything is started.

use std::fmt::Write as _;

use appliance_model::burn_in::staged::{Course, Task, Work};

use super::{Bound, Profile, Rule, plan::longest};

/// The whole course: who, how long, what in which order, and by which rules it will be judged.
#[must_use]
pub fn show(course: &Course, profile: &Profile) -> String {
    let total: u64 = course.stages.iter().flat_map(|stage| &stage.waves).map(|wave| longest(wave)).sum();
    let digest: String = course.profile_digest.chars().take(12).collect();
    let mut text = format!(
        "{} ({digest}): machine {}, about {}\n{}\n",
        course.profile,
        course.serial,
        span(total),
        profile.about
    );
    for (index, stage) in course.stages.iter().enumerate() {
        let _ = writeln!(text, "\n{}. {}, at most {}", index + 1, stage.name, span(stage.seconds_max.into()));
        if stage.waves.is_empty() {
            let _ = writeln!(text, "   nothing to do on this machine");
        }
        for wave in &stage.waves {
            let at_once = if wave.len() > 1 { format!(", {} at once", wave.len()) } else { String::new() };
            let _ = writeln!(text, "   {}{at_once}:", span(longest(wave)));
            for task in wave {
                let _ = writeln!(text, "     {}", words(task));
            }
        }
    }
    text.push_str("\nJudged by\n");
    for rule in &profile.rules {
        let _ = writeln!(text, "   {} ({})", rule_words(rule), rule.origin);
    }
    text
}

fn words(task: &Task) -> String {
    match &task.work {
        Work::CpuCompare => "every logical CPU computes known answers two ways".into(),
        Work::MemoryWalk { share_permille } => {
            format!(
                "patterns and a march through {}.{} % of memory",
                share_permille / 10,
                share_permille % 10
            )
        }
        Work::DriveRead { serial } => format!("drive {serial}: reads in sequence, then at random"),
        Work::DriveSweep { serial, depths } => {
            let depths: Vec<String> = depths.iter().map(ToString::to_string).collect();
            format!("drive {serial}: random reads with {} in flight", depths.join(", "))
        }
        Work::DriveSteady { serial, round_seconds } => {
            format!("drive {serial}: random reads in rounds of {round_seconds} s until they are steady")
        }
        Work::DriveVerify { serial, start, bytes } => {
            format!("drive {serial}: OVERWRITES {} MiB from byte {start}, and reads them back", bytes >> 20)
        }
        Work::DriveSelfTest { serial, extended } => {
            let which = if *extended { "extended" } else { "short" };
            format!("drive {serial}: its own {which} self-test")
        }
        Work::GpuCompare { gpu } => {
            format!("gpu {gpu}: matrix products, each compared with its known result")
        }
        Work::GpuMemory { gpu } => format!("gpu {gpu}: patterns through its memory"),
        Work::GpuBandwidth { gpu } => format!("gpu {gpu}: copies from and to the host, and to other GPUs"),
        Work::Network { port } => format!("port {port}: full rate to and from a partner"),
        Work::Board => "the controller's sensors, event log, power and fans".into(),
    }
}

/// A rule with its number and unit.
pub(super) fn rule_words(rule: &Rule) -> String {
    let (figure, unit) = (&rule.figure, rule.unit.symbol());
    let bound = match rule.bound {
        Bound::AtMost(most) => format!("{figure} at most {most}{unit}"),
        Bound::AtLeast(least) => format!("{figure} at least {least}{unit}"),
        Bound::Covers(least) => format!("{figure} at least {least}{unit}, or nothing is said"),
        Bound::OfMedian { permille, peers_min } => format!(
            "{figure} at least {}.{} % of the median of the same model, with {peers_min} others or more",
            permille / 10,
            permille % 10
        ),
    };
    if rule.only_where_given { format!("{bound}, of devices that tell it") } else { bound }
}

/// A length of time for people.
#[must_use]
pub fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use appliance_model::{Serial, burn_in::staged::SpanConsent};

    use super::*;
    use crate::staged::{plan, plan::tests::machine};

    #[test]
    fn a_person_can_read_it() {
        let profile = Profile::built_in("admit").unwrap();
        let consent = SpanConsent { serial: Serial::parse("A").unwrap(), start: 0, bytes: 1 << 30 };
        let course = plan(
            &machine(&["A", "B"]),
            &profile,
            crate::staged::Given { consents: &[consent], ..Default::default() },
        )
        .unwrap();
        let text = show(&course, &profile);
        for says in [
            "machine HOST, about ",
            "1. cpu, at most ",
            "drive A: OVERWRITES 1024 MiB from byte 0",
            "patterns and a march through 90.0 % of memory",
            ", 4 at once:",
            "wrong-answers at most 0 (",
            "at least 90.0 % of the median of the same model",
        ] {
            assert!(text.contains(says), "{says}:\n{text}");
        }
        assert_eq!([59, 60, 90, 7260].map(span), ["59 s", "1 min", "1 min 30 s", "2 h 1 min"]);
    }
}

//! From an inventory and a profile to a course: the same machine gives the same course.

use appliance_model::{
    Serial,
    burn_in::staged::{Course, SpanConsent, Stage, Task, Work},
    inventory::{Drive, Inventory},
};
use thiserror::Error;

use super::{
    Each, Job, Kind, Profile,
    drives::{PlanError, named},
    figure, profile,
};

/// Why no course could be made.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum CourseError {
    /// Nobody could say whose course it is.
    #[error(
        "the inventory gives no system serial, and a plan is for one machine: set it in the firmware, or take the inventory again"
    )]
    Serial,
    /// A drive, or no processor or memory.
    #[error(transparent)]
    Inventory(PlanError),
    /// More than the profile allows.
    #[error(
        "stage {stage} would take {seconds} s on this machine, the profile allows {seconds_max}: \
         raise seconds_max or drives_at_once_max"
    )]
    Long {
        /// The stage.
        stage: String,
        /// What it would take.
        seconds: u64,
        /// What it may take.
        seconds_max: u32,
    },
    /// A consent that fits no drive of this machine.
    #[error("consent to write {bytes} bytes from {start} on drive {serial}: {why}")]
    Consent {
        /// The drive it names.
        serial: String,
        /// First byte.
        start: u64,
        /// Length.
        bytes: u64,
        /// What is wrong.
        why: &'static str,
    },
}

/// A course that is not for this machine.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Misfit {
    /// Another machine's.
    #[error("the plan is for machine {plan}, this is {here}: nothing was started")]
    Machine {
        /// Whose it is.
        plan: String,
        /// Where it came.
        here: String,
    },
    /// A drive that is not here.
    #[error("task {task} is for drive {serial}, which is not in this machine: nothing was started")]
    Drive {
        /// The task.
        task: String,
        /// The drive.
        serial: String,
    },
    /// A GPU or port that is not here.
    #[error("task {task} is for {device}, which is not in this machine: nothing was started")]
    Device {
        /// The task.
        task: String,
        /// The device.
        device: String,
    },
}

/// What is known of a machine beside its inventory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// Its hardware class.
    pub class: Option<&'a str>,
    /// Drives are written only where these say so.
    pub consents: &'a [SpanConsent],
    /// Whether the appliance can ask its management controller.
    pub controller: bool,
    /// Whether there is somebody at the other end of its network: the appliance, or another machine of the rack.
    pub partners: bool,
}

/// Makes the stages that this machine goes through under `profile`.
pub fn plan(inventory: &Inventory, profile: &Profile, given: Given<'_>) -> Result<Course, CourseError> {
    let serial = inventory.system.serial.clone().ok_or(CourseError::Serial)?;
    if inventory.threads.is_empty() {
        return Err(CourseError::Inventory(PlanError::Cpus));
    }
    inventory.memory_bytes.ok_or(CourseError::Inventory(PlanError::Memory))?;
    let drives = named(inventory).map_err(CourseError::Inventory)?;
    check(given.consents, &drives)?;
    let maker = Maker { inventory, given, drives };
    let stages = profile.stages.iter().map(|stage| maker.stage(stage)).collect::<Result<_, _>>()?;
    let profile_digest = profile.digest.to_string();
    Ok(Course { profile: profile.name.clone(), profile_digest, serial, stages })
}

/// Whether this course is for this machine and the drives in it.
pub fn fits(course: &Course, inventory: &Inventory) -> Result<(), Misfit> {
    if inventory.system.serial.as_ref() != Some(&course.serial) {
        let here =
            inventory.system.serial.as_ref().map_or("a machine without a serial".into(), ToString::to_string);
        return Err(Misfit::Machine { plan: course.serial.to_string(), here });
    }
    for task in course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()) {
        if let Some(serial) = figure::serial(&task.work)
            && !inventory.drives.iter().any(|drive| drive.serial.as_ref() == Some(serial))
        {
            return Err(Misfit::Drive { task: task.id.clone(), serial: serial.to_string() });
        }
        let here = match &task.work {
            Work::GpuCompare { gpu } | Work::GpuMemory { gpu } | Work::GpuBandwidth { gpu } => {
                inventory.gpus.iter().any(|known| known.uuid == *gpu)
            }
            Work::Network { port } => inventory.nics.iter().any(|nic| nic.mac == Some(*port)),
            Work::CpuCompare
            | Work::MemoryWalk { .. }
            | Work::Board
            | Work::DriveRead { .. }
            | Work::DriveSweep { .. }
            | Work::DriveSteady { .. }
            | Work::DriveVerify { .. }
            | Work::DriveSelfTest { .. } => true,
        };
        if !here {
            return Err(Misfit::Device { task: task.id.clone(), device: figure::device(&task.work) });
        }
    }
    Ok(())
}

/// A plan's file that was refused.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("burn-in plan, line {line}: {why}")]
pub struct PlanRefused {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Reads a plan's file (the JSON of a [`Course`]) that is for this machine.
///
/// # Errors
/// What is no plan, or one for another machine's serials, with the line in which that stands.
pub fn read_plan(text: &str, inventory: &Inventory) -> Result<Course, PlanRefused> {
    let course: Course = serde_json::from_str(text).map_err(|error| {
        let why = error.to_string();
        // The parser's own place is told once.
        let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(why, _)| why).to_owned();
        PlanRefused { line: error.line(), why }
    })?;
    fits(&course, inventory).map_err(|misfit| {
        let named = match &misfit {
            Misfit::Machine { plan, .. } => plan,
            Misfit::Drive { task, .. } | Misfit::Device { task, .. } => task,
        };
        // As JSON writes it, which is how it stands there.
        let named = serde_json::Value::from(named.as_str()).to_string();
        let line = text.find(&named).map_or(1, |at| profile::line(text, at));
        PlanRefused { line, why: misfit.to_string() }
    })?;
    Ok(course)
}

fn check(consents: &[SpanConsent], drives: &[(&Serial, &Drive)]) -> Result<(), CourseError> {
    for (index, SpanConsent { serial, start, bytes }) in consents.iter().enumerate() {
        let drive = drives.iter().find(|(known, _)| *known == serial).map(|(_, drive)| *drive);
        let end = start.checked_add(*bytes);
        let why = match drive {
            None => "no such drive is in this machine",
            Some(drive) if end.is_none_or(|end| end > drive.bytes) => "the span reaches beyond the drive",
            Some(_) if *bytes == 0 || start % 4096 != 0 || bytes % 4096 != 0 => {
                "a span is whole pages of 4096 bytes"
            }
            Some(_) if consents.iter().take(index).any(|other| other.serial == *serial) => {
                "one span a drive: another consent names it already"
            }
            Some(_) => continue,
        };
        return Err(CourseError::Consent { serial: serial.to_string(), start: *start, bytes: *bytes, why });
    }
    Ok(())
}

struct Maker<'a> {
    inventory: &'a Inventory,
    given: Given<'a>,
    drives: Vec<(&'a Serial, &'a Drive)>,
}

impl Maker<'_> {
    fn stage(&self, stage: &profile::Stage) -> Result<Stage, CourseError> {
        let mut waves: Vec<Vec<Task>> = Vec::new();
        for job in &stage.jobs {
            let tasks = self.tasks(&stage.name, job);
            if stage.together {
                waves.resize(1, Vec::new());
                waves.iter_mut().for_each(|wave| wave.extend(tasks.iter().cloned()));
            } else {
                let bounded = stage.drives_at_once_max.filter(|_| job.kind.each() == Each::Drive);
                waves.extend(tasks.chunks(bounded.unwrap_or(usize::MAX).max(1)).map(<[Task]>::to_vec));
            }
        }
        waves.retain(|wave| !wave.is_empty());
        let seconds = waves.iter().map(|wave| longest(wave)).sum();
        if seconds > u64::from(stage.seconds_max) {
            let (stage, seconds_max) = (stage.name.clone(), stage.seconds_max);
            return Err(CourseError::Long { stage, seconds, seconds_max });
        }
        Ok(Stage { name: stage.name.clone(), seconds_max: stage.seconds_max, waves })
    }

    fn tasks(&self, stage: &str, job: &Job) -> Vec<Task> {
        let class = self.given.class.and_then(|class| job.class_seconds.get(class));
        let seconds = class.copied().unwrap_or(job.seconds);
        let task = |work: Work| {
            let part = figure::part(&work).map(|part| format!("/{part}")).unwrap_or_default();
            Task { id: format!("{stage}/{}{part}", job.kind.name()), work, seconds }
        };
        self.works(job).into_iter().map(task).collect()
    }

    /// One for each device that the job is about.
    fn works(&self, job: &Job) -> Vec<Work> {
        let drives = || self.drives.iter().map(|(serial, _)| (*serial).clone());
        let gpus = || self.inventory.gpus.iter().map(|gpu| gpu.uuid.clone());
        match job.kind {
            Kind::CpuCompare => vec![Work::CpuCompare],
            Kind::MemoryWalk => vec![Work::MemoryWalk { share_permille: job.share_permille }],
            Kind::DriveRead => drives().map(|serial| Work::DriveRead { serial }).collect(),
            Kind::DriveSweep => {
                drives().map(|serial| Work::DriveSweep { serial, depths: job.depths.clone() }).collect()
            }
            Kind::DriveSteady => drives()
                .map(|serial| Work::DriveSteady { serial, round_seconds: job.round_seconds })
                .collect(),
            Kind::DriveSelfTest => {
                drives().map(|serial| Work::DriveSelfTest { serial, extended: job.extended }).collect()
            }
            Kind::DriveVerify => {
                let mut consents: Vec<&SpanConsent> = self.given.consents.iter().collect();
                consents.sort_by_key(|consent| consent.serial.as_str());
                let work = |SpanConsent { serial, start, bytes }: &SpanConsent| Work::DriveVerify {
                    serial: serial.clone(),
                    start: *start,
                    bytes: *bytes,
                };
                consents.into_iter().map(work).collect()
            }
            Kind::GpuCompare => gpus().map(|gpu| Work::GpuCompare { gpu }).collect(),
            Kind::GpuMemory => gpus().map(|gpu| Work::GpuMemory { gpu }).collect(),
            Kind::GpuBandwidth => gpus().map(|gpu| Work::GpuBandwidth { gpu }).collect(),
            Kind::Network if self.given.partners => self.ports(),
            Kind::Board if self.given.controller => vec![Work::Board],
            Kind::Network | Kind::Board => Vec::new(),
        }
    }

    /// Ports that have a link; one without is a finding of the inventory, not of a load test.
    fn ports(&self) -> Vec<Work> {
        let mut ports: Vec<_> = self
            .inventory
            .nics
            .iter()
            .filter(|nic| nic.link_up == Some(true))
            .filter_map(|nic| nic.mac)
            .collect();
        ports.sort_unstable_by_key(ToString::to_string);
        ports.dedup();
        ports.into_iter().map(|port| Work::Network { port }).collect()
    }
}

/// How long a wave takes.
pub(super) fn longest(wave: &[Task]) -> u64 {
    wave.iter().map(|task| u64::from(task.seconds)).max().unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use appliance_model::inventory::{Bus, Thread};

    use super::*;

    pub(crate) fn machine(drives: &[&str]) -> Inventory {
        let drive = |serial: &&str| Drive {
            bytes: 1 << 40,
            bus: Bus::Nvme,
            serial: Serial::parse(serial),
            model: Some("MODEL".into()),
            namespace: Some(1),
            ..Drive::default()
        };
        let mut inventory = Inventory {
            threads: vec![Thread::default()],
            memory_bytes: Some(64 << 30),
            drives: drives.iter().map(drive).collect(),
            ..Inventory::default()
        };
        inventory.system.serial = Serial::parse("HOST");
        inventory.system.product = Some("BOX".into());
        inventory
    }

    fn consent(serial: &str, start: u64, bytes: u64) -> SpanConsent {
        SpanConsent { serial: Serial::parse(serial).unwrap(), start, bytes }
    }

    #[test]
    fn waves_are_as_wide_as_power_allows_and_the_last_stage_is_everything() {
        let profile = Profile::built_in("admit").unwrap();
        let serials: Vec<String> = (0..20).map(|index| format!("D{index:02}")).collect();
        let serials: Vec<&str> = serials.iter().map(String::as_str).collect();
        let course = plan(&machine(&serials), &profile, Given::default()).unwrap();
        let storage = course.stages.iter().find(|stage| stage.name == "storage").unwrap();
        let most =
            profile.stages.iter().find(|stage| stage.name == "storage").unwrap().drives_at_once_max.unwrap();
        assert!(storage.waves.iter().all(|wave| wave.len() <= most) && storage.waves.len() >= 2);
        let last = course.stages.last().unwrap();
        assert_eq!((last.waves.len(), last.waves[0].len()), (1, 22), "CPU, memory and 20 drives at once");
        let ids: Vec<&str> = course
            .stages
            .iter()
            .flat_map(|stage| stage.waves.iter().flatten())
            .map(|task| task.id.as_str())
            .collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len());
        assert!(!ids.iter().any(|id| id.contains("verify")), "nobody consented to a write");
        assert_eq!(plan(&machine(&serials), &profile, Given::default()), Ok(course));
    }

    #[test]
    fn writes_need_a_consent_that_fits() {
        let profile = Profile::built_in("admit").unwrap();
        let course = plan(
            &machine(&["A", "B"]),
            &profile,
            Given { consents: &[consent("B", 0, 1 << 30)], ..Given::default() },
        )
        .unwrap();
        let verify: Vec<&Task> = course
            .stages
            .iter()
            .flat_map(|stage| stage.waves.iter().flatten())
            .filter(|task| matches!(task.work, Work::DriveVerify { .. }))
            .collect();
        assert_eq!(verify.len(), 1);
        assert!(verify[0].id.ends_with("/B"));
        for (consents, says) in [
            (vec![consent("C", 0, 4096)], "no such drive"),
            (vec![consent("A", 0, 2 << 40)], "beyond the drive"),
            (vec![consent("A", 1, 4096)], "whole pages"),
            (vec![consent("A", 0, 4096), consent("A", 8192, 4096)], "one span a drive"),
        ] {
            let error =
                plan(&machine(&["A", "B"]), &profile, Given { consents: &consents, ..Given::default() })
                    .unwrap_err()
                    .to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn what_is_missing_and_what_takes_too_long() {
        let profile = Profile::built_in("smoke").unwrap();
        let mut nameless = machine(&[]);
        nameless.system.serial = None;
        assert_eq!(plan(&nameless, &profile, Given::default()), Err(CourseError::Serial));
        let empty = Inventory { threads: Vec::new(), ..machine(&[]) };
        assert_eq!(plan(&empty, &profile, Given::default()), Err(CourseError::Inventory(PlanError::Cpus)));
        let mut slow = profile.clone();
        slow.stages[0].jobs[0].seconds = slow.stages[0].seconds_max + 1;
        assert!(matches!(plan(&machine(&[]), &slow, Given::default()), Err(CourseError::Long { .. })));
        // A class has times of its own.
        let mut gpu = profile.clone();
        gpu.stages[0].jobs[0].class_seconds.insert("gpu".into(), 7);
        let first = |class| {
            plan(&machine(&[]), &gpu, Given { class, ..Given::default() }).unwrap().stages[0].waves[0][0]
                .seconds
        };
        assert_eq!((first(Some("gpu")), first(None)), (7, gpu.stages[0].jobs[0].seconds));
    }

    #[test]
    fn a_plan_for_another_machine_or_drive_is_refused() {
        let profile = Profile::built_in("smoke").unwrap();
        let course = plan(&machine(&["A"]), &profile, Given::default()).unwrap();
        assert_eq!(fits(&course, &machine(&["A", "B"])), Ok(()));
        assert!(
            matches!(fits(&course, &machine(&["B"])), Err(Misfit::Drive { serial, .. }) if serial == "A")
        );
        let mut other = machine(&["A"]);
        other.system.serial = Serial::parse("OTHER");
        assert!(matches!(fits(&course, &other), Err(Misfit::Machine { .. })));
        // As a file: with the line.
        let text = serde_json::to_string_pretty(&course).unwrap();
        assert_eq!(read_plan(&text, &machine(&["A"])), Ok(course));
        let line = |says: &str| text.lines().position(|line| line.contains(says)).unwrap() + 1;
        let unknown = text.replacen("\"seconds\"", "\"minutes\"", 1);
        for (text, inventory, at, why) in [
            (&text, &other, line("\"serial\": \"HOST\""), "the plan is for machine HOST, this is OTHER"),
            (&text, &machine(&["B"]), line("/A\""), "is for drive A, which is not in this machine"),
            (&unknown, &machine(&["A"]), line("\"seconds\""), "unknown field `minutes`"),
        ] {
            let refused = read_plan(text, inventory).unwrap_err();
            assert_eq!(refused.line, at, "{refused}");
            assert!(refused.why.contains(why) && !refused.why.contains(" at line "), "{refused}");
        }
    }
}

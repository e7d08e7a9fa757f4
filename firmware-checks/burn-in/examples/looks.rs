//! Writes what the page's tests look at: views of burn-ins made from real result streams.
//!
//! Argument: a folder.  Each story is a stream that [`Writer`] made of invented measurements of an invented machine, read
//! back by [`read`], judged by the profile in it, and drawn by `look`; so the page is shown what the appliance would show.
//! A drive's model is markup on purpose: what hardware says is text.

use std::{collections::BTreeMap, error::Error, path::Path};

use appliance_api::{agent::DeviceProgress, burn_in::BurnInView};
use appliance_model::{
    Mac, Now, Serial,
    burn_in::staged::{Done, Figure, Outcome, Peer, Series, Task, Unit},
    inventory::{Cpu, Dimm, Drive, Inventory, Nic, Thread},
};
use firmware_checks_burn_in::{
    staged::{Given, Measured, Profile, Seen, built_in_text, by_model, device, look, machine, models, plan},
    stream::{self, Dut, Opening, Writer, read},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const MARKUP: &str = "<img src=x onerror=\"document.title='owned'\"> 3.84TB";
const NVME: &str = "ACME FlashRack 7450 3.84TB";
const SLOW: &str = "S7450N0006";
const BEGAN: Now = Now(1_767_225_600_000);

/// Kind of work, name, unit, a good value.
const FIGURES: [(&str, &str, Unit, u64); 33] = [
    ("cpu-compare", "wrong-answers", Unit::Count, 0),
    ("cpu-compare", "rounds", Unit::Count, 184_467),
    ("cpu-compare", "machine-checks", Unit::Count, 0),
    ("cpu-compare", "throttles", Unit::Count, 0),
    ("cpu-compare", "temperature-max", Unit::Celsius, 78),
    ("cpu-compare", "frequency-min", Unit::Megahertz, 3_180),
    ("memory-walk", "wrong-words", Unit::Count, 0),
    ("memory-walk", "walked", Unit::Permille, 943),
    ("memory-walk", "locked", Unit::Permille, 943),
    ("memory-walk", "memory-rate", Unit::MebibytesPerSecond, 182_400),
    ("memory-walk", "corrected-errors", Unit::Count, 0),
    ("memory-walk", "uncorrected-errors", Unit::Count, 0),
    ("drive-read", "failed-reads", Unit::Count, 0),
    ("drive-read", "sequential-read-rate", Unit::MebibytesPerSecond, 6_500),
    ("drive-read", "random-read-rate", Unit::OperationsPerSecond, 812_000),
    ("drive-read", "random-read-p99", Unit::Microseconds, 310),
    ("drive-read", "random-read-p999", Unit::Microseconds, 720),
    ("drive-read", "slowest-second", Unit::Permille, 957),
    ("drive-read", "health-warnings", Unit::Count, 0),
    ("drive-read", "health-errors-grown", Unit::Count, 0),
    ("drive-read", "link-errors-grown", Unit::Count, 0),
    ("drive-read", "drive-temperature-max", Unit::Celsius, 61),
    ("drive-self-test", "self-tests-failed", Unit::Count, 0),
    ("drive-self-test", "health-warnings", Unit::Count, 0),
    ("drive-self-test", "health-errors-grown", Unit::Count, 0),
    ("drive-self-test", "link-errors-grown", Unit::Count, 0),
    ("drive-self-test", "drive-temperature-max", Unit::Celsius, 49),
    ("board", "sensors-critical", Unit::Count, 0),
    ("board", "events-critical", Unit::Count, 0),
    ("board", "power-max", Unit::Watts, 894),
    ("board", "fan-min", Unit::Rpm, 7_200),
    ("board", "board-temperature-max", Unit::Celsius, 46),
    ("drive-sweep", "deep-read-rate", Unit::OperationsPerSecond, 1_020_000),
];

/// How a story ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Story {
    /// In the middle of the storage stage, after a power cut.
    Running,
    /// One drive slows down and returns wrong data.
    Fail,
    /// Nothing is wrong.
    Pass,
    /// One drive could not be tested.
    Inconclusive,
}

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).ok_or("argument: FOLDER")?;
    let folder = Path::new(&folder);
    for (name, story) in [
        ("running", Story::Running),
        ("fail", Story::Fail),
        ("pass", Story::Pass),
        ("inconclusive", Story::Inconclusive),
    ] {
        let (text, view) = told(name, story)?;
        std::fs::write(folder.join(format!("{name}.jsonl")), text)?;
        std::fs::write(folder.join(format!("{name}.json")), serde_json::to_string(&view)?)?;
    }
    let (profile, inventory) = (profile()?, server());
    let course = plan(&inventory, &profile, Given::default())?;
    let known = models(&inventory);
    let waiting = look("waiting", summary(&inventory), Seen::planned(&course, &profile, &known));
    std::fs::write(folder.join("waiting.json"), serde_json::to_string(&waiting)?)?;
    std::fs::write(folder.join("models.json"), serde_json::to_string(&by_model(fleet(), &profile))?)?;
    Ok(())
}

fn profile() -> Result<Profile> {
    Ok(Profile::built_in("smoke").ok_or("the profile `smoke` is built in")?)
}

fn summary(inventory: &Inventory) -> appliance_api::burn_in::MachineView {
    machine(inventory, "SCF4820017", Some("R12-U07".into()))
}

/// The stream of a story, and what is seen of it.
fn told(host: &str, story: Story) -> Result<(String, BurnInView)> {
    let (inventory, profile) = (server(), profile()?);
    let opening = Opening {
        course: plan(&inventory, &profile, Given::default())?,
        profile: built_in_text("smoke").ok_or("the profile `smoke` is built in")?.into(),
        models: models(&inventory),
        peers: peers(),
        agent: "0.1.0".into(),
        dut: Dut {
            serial: inventory.system.serial.clone().ok_or("it has a serial")?,
            manufacturer: inventory.system.manufacturer.clone(),
            product: inventory.system.product.clone(),
        },
    };
    let (mut writer, mut boot, mut seconds) = (Writer::new(), 41, 0);
    let at = |seconds: u64| Now(BEGAN.0 + seconds * 1000);
    let mut text = writer.open(&opening, boot, at(0))?;
    let mut live = Vec::new();
    'course: for stage in &opening.course.stages {
        for wave in &stage.waves {
            for task in wave {
                text += &writer.begin(task, boot, at(seconds))?;
            }
            if story == Story::Running && boot == 41 && stage.name == "storage" {
                // The power went: whatever was under way begins again.
                boot += 1;
                seconds += 400;
                for task in wave {
                    text += &writer.begin(task, boot, at(seconds))?;
                    live.push(progress(task, live.len()));
                }
                break 'course;
            }
            seconds += wave.iter().map(|task| u64::from(task.seconds)).max().unwrap_or(0);
            for task in wave {
                let outcome = Outcome {
                    task: task.id.clone(),
                    boot,
                    seconds: task.seconds,
                    done: measured(task, story),
                };
                text += &writer.end(&outcome, &curves(task, story), at(seconds))?;
            }
        }
    }
    if story != Story::Running {
        let verdict = stream::judge(writer.run().ok_or("it is open")?);
        text += &writer.close(&verdict, at(seconds + 1))?;
    }
    let run = read(&text)?;
    let mut seen = Seen::of(&run);
    seen.live = &live;
    Ok((text, look(host, summary(&inventory), seen)))
}

fn progress(task: &Task, place: usize) -> DeviceProgress {
    let permille = u16::try_from(420 + place * 23 % 90).unwrap_or(500);
    let left = u64::from(task.seconds) * (1000 - u64::from(permille)) / 1000;
    DeviceProgress {
        task: task.id.clone(),
        device: device(&task.work),
        permille,
        seconds_left: u32::try_from(left).unwrap_or(0),
    }
}

fn kind(task: &Task) -> &str {
    task.id.split('/').nth(1).unwrap_or_default()
}

fn measured(task: &Task, story: Story) -> Done {
    let (device, kind) = (device(&task.work), kind(task));
    let slow = device.ends_with(SLOW) && kind == "drive-read";
    if slow && story == Story::Inconclusive {
        return Done::Undone { why: "the drive left the bus and did not come back within 30 s".into() };
    }
    let bad = slow && story == Story::Fail;
    let figures = FIGURES.iter().filter(|figure| figure.0 == kind).map(|(_, name, unit, good)| {
        let value = match *name {
            "random-read-rate" if bad => 402_117,
            "slowest-second" if bad => 71,
            "sequential-read-rate" | "random-read-rate" | "memory-rate" => {
                good - good * scatter(&device, 7) / 200
            }
            _ => *good,
        };
        Figure { name: (*name).into(), device: device.clone(), value, unit: *unit, attained: None }
    });
    let faults =
        if bad { vec!["9 blocks at byte 48,318,382,080 came back changed".into()] } else { Vec::new() };
    let coverage = match kind {
        "memory-walk" => "memory: 94.3 % walked, 4 passes".into(),
        "cpu-compare" => "cpu: all 96 logical CPUs".into(),
        "drive-read" => format!("{device}: 1.2 % of the LBA range read"),
        _ => format!("{device}: {kind} done"),
    };
    Done::Measured { figures: figures.collect(), faults, coverage: vec![coverage] }
}

/// Rate and temperature over time; a slow drive is hot, and slow once it is.
fn curves(task: &Task, story: Story) -> Vec<Series> {
    let (device, kind) = (device(&task.work), kind(task));
    let bad = device.ends_with(SLOW) && story == Story::Fail;
    let (name, unit, rate) = match kind {
        "drive-read" => ("read-rate", Unit::MebibytesPerSecond, 6_400),
        "memory-walk" => ("memory-rate", Unit::MebibytesPerSecond, 182_000),
        "cpu-compare" => ("frequency", Unit::Megahertz, 3_300),
        _ => return Vec::new(),
    };
    let steps: Vec<u32> = (0..=task.seconds).step_by(2).collect();
    let half = u64::from(task.seconds) / 2;
    let rates = steps.iter().map(|second| {
        let throttled = bad && u64::from(*second) > half;
        let rate = if throttled { rate * 3 / 10 } else { rate };
        (*second, rate - rate * scatter(&device, u64::from(*second)) / 250)
    });
    let heat = steps.iter().map(|second| {
        let warm = 38 + 24 * u64::from(*second) / u64::from(task.seconds.max(1));
        let hot = if bad { warm + 14 } else { warm };
        (*second, hot + scatter(&device, u64::from(*second) / 10) / 4)
    });
    let series =
        |name: &str, unit, points| Series { device: device.clone(), name: name.into(), unit, points };
    if kind == "memory-walk" {
        return vec![series(name, unit, rates.collect())];
    }
    vec![series(name, unit, rates.collect()), series("temperature", Unit::Celsius, heat.collect())]
}

/// From 0 to 9, always the same for the same device and place.
fn scatter(device: &str, place: u64) -> u64 {
    device.bytes().fold(place.wrapping_mul(31), |sum, byte| sum.wrapping_mul(33).wrapping_add(byte.into()))
        / 7
        % 10
}

fn server() -> Inventory {
    let drive = |index: u32| Drive {
        bytes: 3_840_755_982_336,
        bus: appliance_model::inventory::Bus::Nvme,
        serial: Serial::parse(&format!("S7450N{index:04}")),
        model: Some(if index == 8 { MARKUP.into() } else { NVME.into() }),
        firmware: Some("E2MU200".into()),
        namespace: Some(1),
        name: Some(format!("nvme{index}n1")),
        ..blank_drive()
    };
    let cpu = |socket| Cpu {
        socket,
        model: Some("AMD EPYC 9254 24-Core Processor".into()),
        cores: 24,
        threads: 48,
        ..Cpu::default()
    };
    let dimm = |slot: u32| Dimm {
        slot: format!("DIMM{slot}"),
        bytes: 32 << 30,
        manufacturer: Some("Memorex".into()),
        part: Some("M321R4GA3BB6".into()),
        ..Dimm::default()
    };
    let mut inventory = Inventory {
        cpus: vec![cpu(0), cpu(1)],
        threads: (0..96).map(|cpu| Thread { cpu, ..Thread::default() }).collect(),
        memory_bytes: Some(756 << 30),
        dimms: (0..24).map(dimm).collect(),
        drives: (1..=8).map(drive).collect(),
        nics: vec![Nic {
            driver: Some("mlx5_core".into()),
            mac: Some(Mac([0x02, 0, 0, 0, 0, 1])),
            speed_max_mbps: Some(25_000),
            ..Nic::default()
        }],
        ..Inventory::default()
    };
    let system = &mut inventory.system;
    (system.serial, system.manufacturer) = (Serial::parse("SCF4820017"), Some("Forgemaker".into()));
    (system.product, system.bios_version) = (Some("FM-2224".into()), Some("2.4".into()));
    inventory
}

fn blank_drive() -> Drive {
    serde_json::from_str(
        r#"{"name":null,"bus":"nvme","model":null,"serial":null,"firmware":null,"bytes":0,"wwid":null,"namespace":null,
           "rotational":false,"node":null,"pci":null,"health":null}"#,
    )
    .unwrap_or_default()
}

/// Twenty-three other servers' values.
fn fleet() -> Vec<Measured> {
    let mut values = Vec::new();
    let good: BTreeMap<&str, (Unit, u64)> =
        FIGURES.iter().map(|(_, name, unit, value)| (*name, (*unit, *value))).collect();
    for host in 0..24_u32 {
        for slot in 0..3 {
            for (model, stage, figure) in [
                (NVME, "storage", "sequential-read-rate"),
                (NVME, "storage", "random-read-rate"),
                ("Forgemaker FM-2224", "memory", "memory-rate"),
            ] {
                let device = match stage {
                    "memory" => "memory".to_owned(),
                    _ => format!("drive S74{host:02}N{slot:04}"),
                };
                if stage == "memory" && slot > 0 {
                    continue;
                }
                let Some((unit, good)) = good.get(figure) else { continue };
                let weak = figure == "random-read-rate" && host == 17 && slot == 1;
                let value = if weak { good / 2 } else { good - good * scatter(&device, 3) / 150 };
                values.push(Measured {
                    model: model.into(),
                    stage: stage.into(),
                    figure: figure.into(),
                    unit: *unit,
                    device,
                    host: format!("h-{host:012x}"),
                    serial: format!("SCF48200{host:02}"),
                    value,
                    at: Some(BEGAN),
                });
            }
        }
    }
    values
}

fn peers() -> Vec<Peer> {
    let peer = |value: Measured| Peer {
        device: format!("{} of {}", value.device, value.serial),
        model: value.model,
        stage: value.stage,
        figure: value.figure,
        value: value.value,
    };
    fleet().into_iter().map(peer).collect()
}

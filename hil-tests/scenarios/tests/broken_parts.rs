//! A machine whose parts fail while they are burnt in: each is named, by serial and rule, and it goes no further.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use appliance_api::burn_in::TaskState;
use hil_tests_scenarios::{Artefacts, Lab, LabConfig, run};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(600);
const SERIAL: &str = "LAB00001";

/// Its critical warning comes on meanwhile.
const WARNS: &str = "NVME0001A";
/// Holds other data than were written.
const FORGETS: &str = "NVME0001B";
/// Falls to a hundredth of its rate.
const SLOWS: &str = "SATA0001C";

/// The controller's sensors, and the one that it will call critical.
const THERMAL: &str = "/redfish/v1/Chassis/1/Thermal";
const HOT: &str = "CPU1 Temp";

/// Span of `FORGETS` that may be overwritten.
const SPAN_BYTES: u64 = 64 << 20;

/// Long enough for a fault to come in the middle; what is measured of CPU and memory is for others to show.
const PROFILE: &str = r#"version = 2
name = "faults"
about = "Reads and writes long enough for a part to fail meanwhile."
seconds_max = 500

[[stage]]
name = "reads"
seconds_max = 120
drives_at_once_max = 4

[[stage.job]]
work = "drive-read"
seconds = 24

[[stage]]
name = "writes"
seconds_max = 200

[[stage.job]]
work = "drive-verify"
seconds = 10

[[stage]]
name = "network"
seconds_max = 60

[[stage.job]]
work = "network"
seconds = 20

[[stage]]
name = "everything"
seconds_max = 40
together = true

[[stage.job]]
work = "cpu-compare"
seconds = 2

[[stage.job]]
work = "board"
seconds = 30

[[rule]]
figure = "health-warnings"
at_most = 0
unit = "count"
origin = "the drive's own word"
only_where_given = true

[[rule]]
figure = "slowest-second"
at_least = 50
unit = "permille"
origin = "an emulated disk on a busy host keeps a twentieth of its average"

[[rule]]
figure = "wrong-bytes"
at_most = 0
unit = "count"
origin = "hard rule"

[[rule]]
figure = "sensors-critical"
at_most = 0
unit = "count"
origin = "the controller's own word"

[[rule]]
figure = "wrong-sectors"
at_most = 0
unit = "count"
origin = "hard rule"
"#;

#[test]
fn each_part_that_fails_is_named() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let profile = artefacts.scratch.join("faults.toml");
        std::fs::create_dir_all(&artefacts.scratch)?;
        std::fs::write(&profile, PROFILE)?;
        let mut config = LabConfig::new("broken-parts", 1);
        config.profile = profile.display().to_string();
        config.burn_in =
            format!("consent = [{{ serial = \"{FORGETS}\", start = 0, bytes = {SPAN_BYTES} }}]\n");
        let lab = Lab::start(config, &artefacts).await?;
        lab.wait_log(&["stage=\"burning-in\""], LIMIT).await?;
        let id = lab.wait("the host", LIMIT, |hosts| hosts.first().map(|host| host.id.clone())).await?;

        lab.rack.host(0).bmc_lie(
            THERMAL,
            json!({ "Temperatures": [{ "MemberId": "1", "Name": HOT,
            "ReadingCelsius": 99, "Status": { "State": "Enabled", "Health": "Critical" } }] }),
        );
        // The second half of its task, random reads, has begun.
        wait_task(&lab, &id, &format!("reads/drive-read/{SLOWS}"), 550).await?;
        slow(&lab).await?;
        let warning =
            json!({"path": "/machine/peripheral/nvme0", "property": "smart_critical_warning", "value": 4});
        lab.rack.host(0).qmp("qom-set", warning).await?;
        wait_task(&lab, &id, &format!("writes/drive-verify/{FORGETS}"), 0).await?;
        let forgetting = Forgetting::start(lab.rack.host(0).folder().join("drive1.raw"))?;
        let host = lab.wait_stage(SERIAL, "quarantined", LIMIT).await?;
        forgetting.stop()?;

        for (device, rule) in
            [(WARNS, "health-warnings"), (SLOWS, "slowest-second"), (FORGETS, "wrong-sectors")]
        {
            let named = host
                .why
                .waiting_for
                .split("; ")
                .any(|reason| reason.contains(device) && reason.contains(rule));
            ensure!(named, "{device} breaks {rule}, and that is not said: {}", host.why.waiting_for);
        }
        ensure!(!host.why.waiting_for.contains("cpu"), "the processors are well: {}", host.why.waiting_for);
        played_with_the_appliance(&lab, &id).await?;
        anybody_can_judge(&lab, &id).await?;
        lab.stop().await;
        Ok(())
    })
}

/// No other machine is in the rack: the port that has an address was tested against the appliance.
async fn played_with_the_appliance(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let view = lab.burn_in(id).await?;
    let port = format!("network/network/{}", lab.rack.host(0).spec().boot_mac);
    let task = view.stages.iter().flat_map(|stage| &stage.tasks).find(|task| task.id == port);
    let task = task.with_context(|| format!("{port} is not planned"))?;
    let rate = task.figures.iter().find(|figure| figure.name == "network-rate");
    ensure!(rate.is_some_and(|rate| rate.value > 0), "no rate was measured: {task:?}");
    Ok(())
}

/// Waits until the task runs and so much of it is done.
async fn wait_task(lab: &Lab, id: &str, task: &str, permille: u16) -> anyhow::Result<()> {
    let end = tokio::time::Instant::now() + LIMIT;
    while tokio::time::Instant::now() < end {
        if let Ok(view) = lab.burn_in(id).await {
            let found = view.stages.iter().flat_map(|stage| &stage.tasks).find(|one| one.id == task);
            let found = found.with_context(|| format!("{task} is not planned"))?;
            match found.state {
                TaskState::Waiting => {}
                TaskState::Running if found.permille < permille => {}
                TaskState::Running => return Ok(()),
                TaskState::Done | TaskState::Undone => bail!("{task} ended before its fault came"),
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{task} did not get to {permille} permille\n{}", lab.scene().await)
}

/// Lets the third drive through twice a second only.
async fn slow(lab: &Lab) -> anyhow::Result<()> {
    let blocks = lab.rack.host(0).qmp("query-block", json!({})).await?;
    let named = |block: &&Value| block["inserted"]["node-name"] == "drive2";
    let block = blocks.as_array().and_then(|all| all.iter().find(named)).context("no third drive")?;
    let limits = json!({"id": block["qdev"], "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 2, "iops_rd": 0, "iops_wr": 0});
    lab.rack.host(0).qmp("block_set_io_throttle", limits).await?;
    Ok(())
}

/// Changes bytes of a drive behind the machine's back, until it is stopped.
struct Forgetting {
    enough: Arc<AtomicBool>,
    thread: thread::JoinHandle<std::io::Result<()>>,
}

impl Forgetting {
    fn start(file: PathBuf) -> anyhow::Result<Self> {
        let file =
            File::options().write(true).open(&file).with_context(|| format!("opening {}", file.display()))?;
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        let thread = thread::spawn(move || {
            let mut place = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                // Every part of the span comes round; a stamp is never all ones.
                place = (place + 7 * 4096) % SPAN_BYTES;
                file.write_all_at(&[0xff; 512], place)?;
                thread::sleep(Duration::from_millis(2));
            }
            Ok(())
        });
        Ok(Self { enough, thread })
    }

    fn stop(self) -> anyhow::Result<()> {
        self.enough.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(ended) => ended.context("changing the drive"),
            Err(_) => bail!("the thread that changes the drive ended badly"),
        }
    }
}

/// The result stream alone gives the same verdict to anybody, and does not once a line was changed.
async fn anybody_can_judge(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let stream = lab.burn_in_stream(id).await?;
    let file = lab.site().join("stream.jsonl");
    std::fs::write(&file, &stream)?;
    let (code, out, err) = judge(lab, &file).await?;
    ensure!(
        code == 1 && [WARNS, SLOWS, FORGETS].iter().all(|serial| out.contains(serial)),
        "{code}: {out}{err}"
    );
    let lines: Vec<&str> = stream.lines().collect();
    let (at, line) =
        lines.iter().enumerate().rfind(|(_, line)| line.contains("slowest-second")).context("no figure")?;
    let better = stream.replacen(line, &line.replacen("slowest-second", "slowest-minute", 1), 1);
    std::fs::write(&file, better)?;
    let (code, out, err) = judge(lab, &file).await?;
    let named = format!("line {}", at + 1);
    ensure!(code == 2 && err.contains(&named), "a changed {named} was not refused: {code}: {out}{err}");
    Ok(())
}

async fn judge(lab: &Lab, file: &Path) -> anyhow::Result<(i32, String, String)> {
    lab.command(&["burn-in".as_ref(), "judge".as_ref(), file.as_os_str()]).await
}

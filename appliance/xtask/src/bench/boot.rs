//! The discovery image beside a bare kernel: the same firmware, kernel, stub and drive; power-on until the first program
//! speaks.  What ours has more is its agent, drivers and their firmware.  Then an installed host, until it is proven.

mod host;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use hil_tests_rack::{Guest, GuestSpec, Plugged};
use hil_tests_scenarios::Artefacts;
use image_build::{Lock, Origin, Packages, cpio::Archive, medium, packages, uki};

use super::table::{Better, OURS, Table, median};
use crate::{prepare, run::run as run_command};

const BARE: &str = "a bare kernel";
/// How much longer ours may take.
const RATIO_MAX: f64 = 1.3;
const HOST: &str = "installed host";
/// How many seconds after that an installed host may be proven.
const PROVEN_SECONDS_MAX: f64 = 20.0;
/// Emulation on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// How often.
#[derive(Debug, Args)]
pub(super) struct Starts {
    /// Times that each is started.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Every sample as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(root: &Path, how: &Starts) -> anyhow::Result<()> {
    let (artefacts, _) = prepare::prepare(root, true)?;
    let folder = artefacts.scratch.join("bench-boot");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    let discovery = fs::read(artefacts.image.join("discovery.efi"))?;
    let drives = [
        (OURS, "scalerforge agent", drive(&folder, "ours", &discovery)?),
        (BARE, "bare kernel: up", drive(&folder, "bare", &bare(root, &artefacts, &folder)?)?),
    ];
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut table, mut both) = (Table::default(), [Vec::new(), Vec::new()]);
    for number in 0..how.runs {
        for ((who, says, drive), samples) in drives.iter().zip(&mut both) {
            let spec = machine(&artefacts, &folder.join(format!("{who}-{number}")), drive);
            let seconds = runtime.block_on(first_line(&spec, says))?;
            table.add("power-on to the first line", "s", Better::Less, who, seconds);
            samples.push(seconds);
        }
    }
    let proven = host::proven(&artefacts, &folder, how.runs)?;
    for seconds in &proven {
        table.add("power-on to a verified quote", "s", Better::Less, HOST, *seconds);
    }
    if how.json {
        println!("{}", table.json()?);
    } else {
        table.print();
    }
    let ratio = median(&both[0]) / median(&both[1]);
    if ratio > RATIO_MAX {
        bail!(
            "the discovery image takes {ratio:.2} of a bare kernel's time to its first line; the bar is {RATIO_MAX}"
        );
    }
    let (ours, proven) = (median(&both[0]), median(&proven));
    if proven > ours + PROVEN_SECONDS_MAX {
        bail!(
            "an installed host is proven {proven:.1} s after power-on, more than {PROVEN_SECONDS_MAX} s after the first line of the \
             discovery image ({ours:.1} s)"
        );
    }
    Ok(())
}

/// A UKI whose initramfs is one program.
fn bare(root: &Path, artefacts: &Artefacts, folder: &Path) -> anyhow::Result<Vec<u8>> {
    let program = folder.join("init");
    run_command(
        Command::new("rustc")
            .args([
                "--edition",
                "2024",
                "-O",
                "-C",
                "target-feature=+crt-static",
                "-C",
                "strip=symbols",
                "-o",
            ])
            .args([&program, &root.join("appliance/xtask/bench/bare.rs")]),
    )?;
    let mut initramfs = Archive::new();
    initramfs.directory("dev")?;
    initramfs.character("dev/console", 5, 1)?;
    initramfs.file("init", fs::read(&program)?, true)?;
    let lock = Lock::parse(&fs::read_to_string(&artefacts.lock)?)?;
    let origin = Origin { cache: &artefacts.cache, lock: &lock, snapshot: None };
    let packages: Packages = packages::fetch(origin, &mut |step| eprintln!("  {step}"))?;
    Ok(uki::assemble(&uki::Parts {
        stub: &fs::read(packages.stub())?,
        kernel: &fs::read(packages.kernel())?,
        kernel_release: packages.kernel_release(),
        initrd: &initramfs.to_bytes(),
        os_release: "ID=bare\nNAME=\"Bare kernel\"\nVERSION_ID=1\n",
        command_line: uki::COMMAND_LINE,
    })?)
}

fn drive(folder: &Path, name: &str, uki: &[u8]) -> anyhow::Result<PathBuf> {
    let file = folder.join(format!("{name}.img"));
    fs::write(&file, medium::medium(uki)?).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

fn machine(artefacts: &Artefacts, folder: &Path, drive: &Path) -> GuestSpec {
    GuestSpec {
        name: "boot".into(),
        folder: folder.to_owned(),
        ovmf_code: artefacts.ovmf_code.clone(),
        ovmf_vars: artefacts.ovmf_vars.clone(),
        cpus: 2,
        memory_mib: 1024,
        media: vec![Plugged::Raw(drive.to_owned())],
        ports: Vec::new(),
        tpm: true,
        clock: None,
    }
}

/// Seconds from power-on.
async fn first_line(spec: &GuestSpec, says: &str) -> anyhow::Result<f64> {
    let guest = Guest::start(spec).await?;
    let line = guest.wait_console(says, LIMIT).await.with_context(|| guest.console().tail(30));
    guest.stop().await?;
    Ok(line?.at.as_secs_f64())
}

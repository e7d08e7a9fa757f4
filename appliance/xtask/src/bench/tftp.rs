//! TFTP: the bars of `What must stand` are window 64 over 1 ms, and 200 clients at once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::{How, Spread, lan};
use crate::{
    prepare,
    run::{cargo, output, run as run_command},
    tools,
};

/// Debian packages; atftpd and tftpd-hpa cannot be installed side by side, so they are unpacked instead.
const PACKAGES: [&str; 4] = ["atftpd", "dnsmasq-base", "tftpd-hpa", "libwrap0"];
const SERVERS: [&str; 4] = ["ours", "dnsmasq", "atftpd", "tftpd-hpa"];
const PORT: u16 = 69;

/// One client shares its core with the server: on two idle virtual cores a lockstep measures wake-ups.
struct Case {
    name: &'static str,
    clients: u32,
    file_bytes: usize,
    window: u16,
    rtt_us: u32,
}

impl Case {
    /// With 200 clients only the best peer: the others take a process or a thread for each, and minutes.
    fn servers(&self) -> &'static [&'static str] {
        if self.clients < 200 { &SERVERS } else { &SERVERS[..2] }
    }
}

const CASES: [Case; 7] = [
    Case { name: "one, no distance, window 1", clients: 1, file_bytes: 16 << 20, window: 0, rtt_us: 0 },
    Case { name: "one, no distance, window 64", clients: 1, file_bytes: 64 << 20, window: 64, rtt_us: 0 },
    Case { name: "one, 1 ms, window 1", clients: 1, file_bytes: 1 << 20, window: 0, rtt_us: 1000 },
    Case { name: "one, 1 ms, window 64", clients: 1, file_bytes: 16 << 20, window: 64, rtt_us: 1000 },
    Case { name: "50 clients, window 1", clients: 50, file_bytes: 1_000_000, window: 0, rtt_us: 0 },
    Case { name: "200 clients, window 1", clients: 200, file_bytes: 1_000_000, window: 0, rtt_us: 0 },
    Case { name: "200 clients, window 16", clients: 200, file_bytes: 1_000_000, window: 16, rtt_us: 0 },
];

/// What the load generator prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Outcome {
    seconds: f64,
    megabytes_per_second: f64,
    failed: u64,
    failure: Option<String>,
    again: u64,
    agreed: (u16, u16),
}

#[derive(Debug, Clone, Serialize)]
struct Sample {
    case: &'static str,
    server: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
    cpu_seconds_per_gb: f64,
    peak_mib: f64,
}

/// Measures and prints.
pub(super) fn run(root: &Path, how: &How) -> anyhow::Result<()> {
    let bench = Setting::prepare(root)?;
    let cases = CASES.iter().filter(|case| how.case.as_ref().is_none_or(|part| case.name.contains(part)));
    for case in cases {
        let mut samples = Vec::new();
        for _ in 0..how.runs {
            for &server in case.servers() {
                let sample =
                    bench.sample(case, server).with_context(|| format!("{}: {server}", case.name))?;
                if how.json {
                    println!("{}", serde_json::to_string(&sample)?);
                }
                samples.push(sample);
            }
        }
        if !how.json {
            print(case, &samples);
        }
    }
    Ok(())
}

fn print(case: &Case, samples: &[Sample]) {
    println!("\n{}", case.name);
    println!(
        "{:<10} {:>22} {:>20} {:>22} {:>20} {:>8} {:>7} {:>6} {:>10}",
        "server", "MB/s", "time, x ours", "CPU s/GB", "CPU, x ours", "MiB", "failed", "again", "agreed"
    );
    let of = |server: &str| samples.iter().filter(|sample| sample.server == server).collect::<Vec<_>>();
    let ours = of("ours");
    for &server in case.servers() {
        let theirs = of(server);
        let spread = |value: fn(&Sample) -> f64| Spread::of(theirs.iter().map(|sample| value(sample)));
        // Each sample beside ours of the same turn.
        let ratio = |value: fn(&Sample) -> f64| {
            Spread::of(theirs.iter().zip(&ours).map(|(theirs, ours)| value(theirs) / value(ours)))
        };
        let show = |spread: Option<Spread>| spread.map_or_else(String::new, |spread| spread.to_string());
        println!(
            "{server:<10} {:>22} {:>20} {:>22} {:>20} {:>8.1} {:>7} {:>6} {:>10}",
            show(spread(|sample| sample.outcome.megabytes_per_second)),
            show(ratio(|sample| sample.outcome.seconds)),
            show(spread(|sample| sample.cpu_seconds_per_gb)),
            show(ratio(|sample| sample.cpu_seconds_per_gb)),
            theirs.iter().map(|sample| sample.peak_mib).fold(0.0, f64::max),
            theirs.iter().map(|sample| sample.outcome.failed).sum::<u64>(),
            theirs.iter().map(|sample| sample.outcome.again).sum::<u64>(),
            theirs.first().map_or_else(String::new, |sample| format!("{:?}", sample.outcome.agreed)),
        );
    }
    for sample in samples.iter().filter(|sample| sample.outcome.failed > 0) {
        println!("{}: {}", sample.server, sample.outcome.failure.as_deref().unwrap_or("no reason"));
    }
}

/// Programs, files and the LAN.
struct Setting {
    lan: lan::Lan,
    files: PathBuf,
    peers: PathBuf,
    ours: PathBuf,
    load: PathBuf,
}

impl Setting {
    fn prepare(root: &Path) -> anyhow::Result<Self> {
        run_command(cargo(root).args([
            "build",
            "--quiet",
            "--release",
            "-p",
            "pxe-tftp",
            "-p",
            "hil-tests-load",
            "--bin",
            "hil-tests-load",
            "--example",
            "serve",
        ]))?;
        let folder = root.join(".xtask/bench");
        let (files, peers) = (folder.join("tftp"), folder.join("peers"));
        fs::create_dir_all(&files)?;
        unpack(&folder, &peers)?;
        for bytes in CASES.iter().map(|case| case.file_bytes) {
            let file = files.join(name(bytes));
            if !file.is_file() {
                fs::write(&file, noise(bytes)).with_context(|| format!("writing {}", file.display()))?;
            }
        }
        let release = prepare::target(root).join("release");
        let (ours, load) = (release.join("examples/serve"), release.join("hil-tests-load"));
        Ok(Self { lan: lan::Lan::create()?, files, peers, ours, load })
    }

    fn sample(&self, case: &Case, server: &'static str) -> anyhow::Result<Sample> {
        let file = self.files.join(name(case.file_bytes));
        let (program, arguments) = self.server(server, &file);
        let server_process = self.lan.serve(&program, &arguments, PORT)?;
        let core = u8::from(case.clients > 1);
        let arguments: Vec<String> = [
            "tftp",
            "--server",
            &format!("{}:{PORT}", lan::SERVER),
            "--name",
            &name(case.file_bytes),
            "--file",
            &file.display().to_string(),
            "--clients",
            &case.clients.to_string(),
            "--window",
            &case.window.to_string(),
            "--rtt-us",
            &case.rtt_us.to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        let before = server_process.cpu_seconds();
        let printed = self.lan.ask(core, &self.load, &arguments)?;
        // The work of tftpd-hpa is done by children that nobody waits for, so the kernel adds it to no account.
        let counted = if server == "tftpd-hpa" { f64::NAN } else { 1.0 };
        let cpu = (server_process.cpu_seconds() - before) * counted;
        let outcome: Outcome = serde_json::from_str(&printed).with_context(|| format!("`{printed}`"))?;
        let gigabytes = outcome.megabytes_per_second * outcome.seconds / 1000.0;
        Ok(Sample {
            case: case.name,
            server,
            cpu_seconds_per_gb: cpu / gigabytes,
            peak_mib: server_process.peak_mib(),
            outcome,
        })
    }

    /// Program and arguments of a server in the foreground.
    fn server(&self, server: &str, file: &Path) -> (PathBuf, Vec<String>) {
        let folder = self.files.display();
        let at = lan::SERVER;
        let (program, line) = match server {
            "ours" => return (self.ours.clone(), vec![format!("{at}:{PORT}"), file.display().to_string()]),
            "dnsmasq" => (
                "usr/sbin/dnsmasq",
                format!(
                    "-k -C /dev/null --port=0 --user=root --enable-tftp --tftp-max=1000 \
                     --listen-address={at} --bind-interfaces --pid-file= --log-facility=/dev/null \
                     --tftp-root={folder}"
                ),
            ),
            "atftpd" => (
                "usr/sbin/atftpd",
                format!(
                    "--daemon --no-fork --user root --group root --maxthread 1000 --logfile /dev/null \
                     --verbose=0 --bind-address {at} --port {PORT} {folder}"
                ),
            ),
            _ => ("usr/sbin/in.tftpd", format!("-L --user root --address {at}:{PORT} --secure {folder}")),
        };
        (self.peers.join(program), line.split_whitespace().map(str::to_owned).collect())
    }
}

/// Fetches the peers' packages and unpacks them: nothing is installed, no service starts.
fn unpack(folder: &Path, peers: &Path) -> anyhow::Result<()> {
    let there =
        ["dnsmasq", "atftpd", "in.tftpd"].iter().all(|name| peers.join("usr/sbin").join(name).is_file());
    if there {
        return Ok(());
    }
    let packages = folder.join("packages");
    fs::create_dir_all(&packages)?;
    run_command(Command::new("apt-get").args(["-q", "update"]))?;
    run_command(Command::new("apt-get").current_dir(&packages).args(["-q", "download"]).args(PACKAGES))?;
    for package in fs::read_dir(&packages)? {
        output(Command::new("dpkg-deb").arg("-x").arg(package?.path()).arg(peers))?;
    }
    if !tools::present("taskset") {
        bail!("taskset (package util-linux) pins servers to cores, and is missing");
    }
    Ok(())
}

fn name(bytes: usize) -> String {
    format!("{bytes}.bin")
}

/// Bytes that differ from block to block (xorshift64, Marsaglia 2003).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}

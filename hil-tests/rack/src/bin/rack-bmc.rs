//! `rack-bmc`: simulated BMCs by the one or by the thousand, on the loopback.
//!
//! Prints one JSON line per BMC (address, account, serial), then `ready`, and serves until it is ended.  Read next:
//! `fleet.rs`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use hil_tests_rack::fleet::{Death, Fleet, FleetConfig, Places, parse_faults};
use hil_tests_rack::{IpmiPolicy, Quirks};

/// Simulated BMCs: Redfish and IPMI, from a built-in or a captured tree, with makers' quirks and faults by rule.
#[derive(Debug, Parser)]
#[command(name = "rack-bmc", version)]
struct Cli {
    /// First address and port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// First port, on the address of --bind.
    #[arg(long)]
    first_port: Option<u16>,
    /// How many BMCs.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Count addresses up (127.x.y.z) instead of ports.
    #[arg(long)]
    by_address: bool,
    /// A captured tree: a folder in Redfish-Mockup-Server's layout, or a .tar.gz of one.
    #[arg(long)]
    tree: Option<PathBuf>,
    /// A maker's quirks.
    #[arg(long, default_value = "plain")]
    vendor: String,
    /// Plain HTTP instead of HTTPS.
    #[arg(long)]
    http: bool,
    /// Name of the account.
    #[arg(long, default_value = "admin")]
    user: String,
    /// File with the password (first line); without it every BMC gets a random one, which is printed.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Shortest time of an answer in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms_min: u64,
    /// Longest time of an answer in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms_max: u64,
    /// So many of a thousand BMCs are dead.
    #[arg(long, default_value_t = 0)]
    dead_permille: u32,
    /// How they are dead; half and half without it.
    #[arg(long)]
    death: Option<How>,
    /// So many of a thousand requests fail with 503.
    #[arg(long, default_value_t = 0)]
    errors_permille: u32,
    /// IPMI on this UDP port (first one; 0 takes a free one).
    #[arg(long)]
    ipmi: Option<u16>,
    /// Offer cipher suite 3 (SHA-1) beside 17.
    #[arg(long)]
    ipmi_suite_3: bool,
    /// Offer cipher suite 3 only, as old BMCs do.
    #[arg(long)]
    ipmi_only_suite_3: bool,
    /// Fault rules: a TOML file of [[fault]] tables (path_contains, action, times).
    #[arg(long)]
    faults: Option<PathBuf>,
    /// The servers have power at the start.
    #[arg(long)]
    on: bool,
}

/// How a BMC is dead.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// Connections are refused.
    Refuses,
    /// Connections are taken and nothing is said.
    Silent,
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    match run(&cli) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("rack-bmc: {reason}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), String> {
    let config = config(cli)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let fleet = Fleet::start(&config).await.map_err(|error| chain(&error))?;
        let mut out = std::io::stdout().lock();
        let said = fleet.listed().iter().try_for_each(|bmc| writeln!(out, "{}", bmc.json()));
        said.and_then(|()| writeln!(out, "ready"))
            .and_then(|()| out.flush())
            .map_err(|error| error.to_string())?;
        drop(out);
        tokio::signal::ctrl_c().await.map_err(|error| error.to_string())
    })
}

fn config(cli: &Cli) -> Result<FleetConfig, String> {
    let first = SocketAddr::new(cli.bind.ip(), cli.first_port.unwrap_or(cli.bind.port()));
    let quirks = Quirks::preset(&cli.vendor)
        .ok_or_else(|| format!("no maker {}; known are {}", cli.vendor, Quirks::names().join(", ")))?;
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let account = cli
        .password_file
        .as_ref()
        .map(read)
        .transpose()?
        .map(|text| (cli.user.clone(), text.lines().next().unwrap_or_default().trim().to_owned()));
    let faults = cli.faults.as_ref().map(read).transpose()?.map(|text| parse_faults(&text)).transpose()?;
    let latency = (cli.latency_ms_max > 0).then(|| {
        let least = cli.latency_ms_min.min(cli.latency_ms_max);
        (Duration::from_millis(least), Duration::from_millis(cli.latency_ms_max))
    });
    let policy = match (cli.ipmi_only_suite_3, cli.ipmi_suite_3) {
        (true, _) => IpmiPolicy { suite_17: false, suite_3: true },
        (false, suite_3) => IpmiPolicy { suite_17: true, suite_3 },
    };
    Ok(FleetConfig {
        count: cli.count,
        places: if cli.by_address { Places::Addresses(first) } else { Places::Ports(first) },
        tree: cli.tree.clone(),
        quirks,
        plain: cli.http,
        account,
        latency,
        dead_permille: cli.dead_permille,
        death: cli.death.map(|how| match how {
            How::Refuses => Death::Refuses,
            How::Silent => Death::Silent,
        }),
        errors_permille: cli.errors_permille,
        ipmi: cli.ipmi.map(|port| (port, policy)),
        faults: faults.unwrap_or_default(),
        on: cli.on,
    })
}

/// The error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

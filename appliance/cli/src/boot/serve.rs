//! `scalerforge boot serve`: the boot service in the foreground, telling what it does in plain words.

use std::{
    fmt::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use appliance_server::boot_serve::{BootConfig, BootEvent, BootService, Handle};
use clap::Args;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{clock, port};
use crate::{say, serve::start_log};

const SAMPLE: &str = include_str!("boot.toml");
/// DHCP's server port.
const DHCP: u16 = 67;
/// Linux' "no such device", for which the standard library has no name.
const ENODEV: i32 = 19;
/// How often the interfaces are looked at for news: other servers are asked for each minute.
const LOOK: Duration = Duration::from_secs(1);

/// Either a file, or as much as a flat network needs.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Configuration file; `boot init` writes an example.
    #[arg(long, conflicts_with_all = ["interface", "address", "image", "mode", "pool", "state", "operator"],
        required_unless_present_all = ["interface", "address", "image"])]
    config: Option<PathBuf>,
    /// Interface of the provisioning LAN.
    #[arg(long, requires = "address")]
    interface: Option<String>,
    /// Our address there and the bits of its network, such as 10.77.0.1/24.
    #[arg(long, requires = "image")]
    address: Option<String>,
    /// The UEFI program (x64) that machines boot.
    #[arg(long, requires = "interface")]
    image: Option<PathBuf>,
    /// `listen`, `proxy`, `auto-proxy`, `full`, `reservation` or `off`.
    #[arg(long, default_value = "listen")]
    mode: String,
    /// Addresses to hand out, as FIRST-LAST; without, the upper half of the network.
    #[arg(long)]
    pool: Option<String>,
    /// Directory of leases and boot tickets.
    #[arg(long, default_value = "/var/lib/scalerforge-boot")]
    state: PathBuf,
    /// Where `boot list` and its like ask.
    #[arg(long, default_value = "127.0.0.1:8090")]
    operator: String,
    /// Print what happens as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Writes the example.
pub(crate) fn init(file: &Path) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut new = std::fs::File::create_new(file)
        .with_context(|| format!("cannot write {}; nothing is overwritten", file.display()))?;
    new.write_all(SAMPLE.as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
    say!("{} is an example. Edit interface, addresses and image, then start it with", file.display());
    say!("  scalerforge boot serve --config {}", file.display());
    Ok(())
}

pub(crate) fn run(flags: &Flags) -> anyhow::Result<ExitCode> {
    let config = match &flags.config {
        Some(file) => BootConfig::read(file)?,
        None => from_flags(flags)?,
    };
    start_log();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting")?;
    runtime.block_on(serve(config, flags.json))
}

async fn serve(config: BootConfig, json: bool) -> anyhow::Result<ExitCode> {
    // Ready before anything is opened: who asks us to stop at once is heard, too.
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = term.recv() => {}
        }
    };
    let state = config.state_dir().to_owned();
    let service = BootService::start(config).await.map_err(|error| explained(error.into()))?;
    let events = service.pxe().subscribe();
    let operator = service.operator();
    if json {
        let line =
            serde_json::json!({ "event": "started", "operator": operator.to_string(), "state_dir": state });
        say!("{line}");
    } else {
        banner(&service, &state);
    }
    let mut told = tokio::task::JoinSet::new();
    told.spawn(tell_events(events, json));
    told.spawn(tell_interfaces(service.pxe().clone(), json));
    service.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}

fn banner(service: &BootService, state: &Path) {
    let pxe = service.pxe();
    say!("Boot service alone: no TPM, no chain, no appliance.");
    say!("  HTTP     http://{}", pxe.http_address());
    say!("  TFTP     {}", pxe.tftp_address());
    say!("  leases   {} carried over from {}", pxe.leases().len(), state.display());
    say!("  ask      scalerforge boot list|why|status|leases|pcap --appliance http://{}", service.operator());
    // A server bound to another interface holds the port as well, and is no trouble.
    let own = format!("({})", std::process::id());
    let others: Vec<String> = port::holders(Path::new("/proc"), DHCP)
        .into_iter()
        .filter(|holder| !holder.ends_with(&own))
        .collect();
    if !others.is_empty() {
        say!(
            "  beside   {} on UDP port 67 of this machine: no harm if on another interface",
            others.join(", ")
        );
    }
    say!("Times are UTC. Ctrl-C stops it; no lease is lost.");
}

async fn tell_events(mut events: Receiver<BootEvent>, json: bool) {
    loop {
        match events.recv().await {
            Ok(event) if json => {
                let (mac, text) = (event.mac.to_string(), event.note.to_string());
                say!("{}", serde_json::json!({ "at_ms": event.at.0, "mac": mac, "text": text }));
            }
            Ok(event) => say!("{}  {}  {}", clock(event.at.0), event.mac, event.note),
            // Printing is slower than a room full of machines; the recorder has them all.
            Err(RecvError::Lagged(missed)) if json => say!("{}", serde_json::json!({ "missed": missed })),
            Err(RecvError::Lagged(missed)) => {
                say!("({missed} events were not printed; `scalerforge boot list` knows them)");
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Tells what an interface does and which mode would fit, whenever that changes.
async fn tell_interfaces(pxe: Handle, json: bool) {
    let mut told: Vec<(String, String)> = Vec::new();
    loop {
        let mut now = Vec::new();
        for view in pxe.interfaces() {
            let name = view.name.unwrap_or_else(|| view.address.to_string());
            let (survey, mode) = (view.survey, view.mode);
            let mut text = format!("mode {mode}: {}", view.why);
            // The reasons count questions and change each minute; what is told is what follows from them.
            let mut key = format!("{name} {text}");
            if ![mode.as_str(), "listen"].contains(&survey.proposal.as_str()) {
                key.push_str(survey.proposal.as_str());
                text.push_str(&format!("; proposal: {}", survey.why));
            }
            let line = if json {
                let proposal = survey.proposal.as_str();
                serde_json::json!({ "interface": name, "text": text, "proposal": proposal }).to_string()
            } else {
                format!("{name}: {text}")
            };
            now.push((key, line));
        }
        let is_news = |key: &String| !told.iter().any(|(old, _)| old == key);
        now.iter().filter(|(key, _)| is_news(key)).for_each(|(_, line)| say!("{line}"));
        told = now;
        tokio::time::sleep(LOOK).await;
    }
}

/// A configuration file's text made of flags: there is one way to understand either.
fn from_flags(flags: &Flags) -> anyhow::Result<BootConfig> {
    let (Some(interface), Some(address), Some(image)) = (&flags.interface, &flags.address, &flags.image)
    else {
        bail!("--interface, --address and --image belong together, or name a file with --config");
    };
    let (own, subnet, upper) = network(address)?;
    let (first, last) = match &flags.pool {
        Some(pool) => {
            let halves = pool.split_once('-');
            let halves = halves.with_context(|| {
                format!("--pool: `{pool}` is not FIRST-LAST, as in 10.77.0.100-10.77.0.199")
            })?;
            (halves.0.to_owned(), halves.1.to_owned())
        }
        None => upper,
    };
    // A JSON string is a TOML string; Rust's own quoting is not.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let path = |path: &Path| path.to_str().map(quoted).context("a path in the flags is not UTF-8");
    let mut text = String::new();
    writeln!(text, "state_dir = {}\noperator = {}\n[pxe]", path(&flags.state)?, quoted(&flags.operator))?;
    writeln!(text, "interface = {}\naddress = {}", quoted(interface), quoted(&own))?;
    writeln!(text, "subnet = {}\nmode = {}\n[pxe.pool]", quoted(&subnet), quoted(&flags.mode))?;
    writeln!(
        text,
        "first = {}\nlast = {}\n[pxe.images]\nx64 = {}",
        quoted(&first),
        quoted(&last),
        path(image)?
    )?;
    Ok(BootConfig::parse(&text, "the flags", Path::new("."))?)
}

/// `10.77.0.1/24`: our address, the network, and the upper half of the network without its last address.
fn network(text: &str) -> anyhow::Result<(String, String, (String, String))> {
    let parsed = || {
        let (address, bits) = text.split_once('/')?;
        let (address, bits): (Ipv4Addr, u32) = (address.parse().ok()?, bits.parse().ok()?);
        // Smaller networks have no half to speak of; larger ones no operator.
        let hosts = 1u32.checked_shl(32u32.checked_sub(bits)?).filter(|_| (8..=29).contains(&bits))?;
        let base = u32::from(address) & !hosts.checked_sub(1)?;
        let half = (hosts / 2).min(1 << 15);
        let last = base.checked_add(hosts.checked_sub(2)?)?;
        let first = last.checked_sub(half.checked_sub(2)?)?;
        let show = |number: u32| Ipv4Addr::from(number).to_string();
        Some((address.to_string(), format!("{}/{bits}", show(base)), (show(first), show(last))))
    };
    parsed().ok_or_else(|| {
        anyhow!("--address: `{text}` is not an IPv4 address with its network's bits, as in 10.77.0.1/24")
    })
}

/// What the server cannot know: who is in the way, and what this machine has instead.
fn explained(error: anyhow::Error) -> anyhow::Error {
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    let (kind, number) = (cause.map(std::io::Error::kind), cause.and_then(std::io::Error::raw_os_error));
    if kind == Some(std::io::ErrorKind::AddrInUse) {
        let holders = port::holders(Path::new("/proc"), DHCP);
        if !holders.is_empty() {
            return hinted(&error, &format!("UDP port {DHCP} is held by {}", holders.join(", ")));
        }
    }
    if number == Some(ENODEV) || kind == Some(std::io::ErrorKind::AddrNotAvailable) {
        return hinted(&error, &format!("this machine has the interfaces {}", interfaces().join(", ")));
    }
    error
}

fn hinted(error: &anyhow::Error, hint: &str) -> anyhow::Error {
    anyhow!("{}. {hint}", appliance_server::chain_of(error.as_ref()))
}

/// Names of the interfaces in our network namespace, which `/sys` need not show.
fn interfaces() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_makes_a_network_and_a_pool() {
        let rows = [
            ("10.77.0.1/24", Some(("10.77.0.0/24", "10.77.0.128", "10.77.0.254"))),
            ("192.168.4.9/29", Some(("192.168.4.8/29", "192.168.4.12", "192.168.4.14"))),
            ("10.0.0.1/8", Some(("10.0.0.0/8", "10.255.128.0", "10.255.255.254"))),
            ("10.77.0.1", None),
            ("10.77.0.1/33", None),
            ("10.77.0.1/30", None),
            ("host/24", None),
        ];
        for (text, expected) in rows {
            let found = network(text).ok();
            let expected = expected.map(|(subnet, first, last)| {
                let own = text.split('/').next().unwrap().to_owned();
                (own, subnet.to_owned(), (first.to_owned(), last.to_owned()))
            });
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn the_example_is_legal() {
        BootConfig::parse(SAMPLE, "boot.toml", Path::new(".")).unwrap();
    }
}

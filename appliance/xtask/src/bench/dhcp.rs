//! Leases: exchanges a second, what one costs, a power-on storm, and offers beside another server.
//!
//! Every server has one core and a fresh lease store for each figure; clients are behind a relay on the other core.
//! dnsmasq syncs its lease file before each ACK, Kea syncs nothing, we sync once for all that came together.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::{
    How,
    lan::{CLIENT, INTERFACE, Lan, SERVER},
    process::Server as Running,
    table::{Better, OURS, Table},
};
use crate::{
    prepare,
    run::{cargo, run as run_command},
    tools,
};

/// A server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Ours,
    Dnsmasq,
    Kea,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => OURS,
            Self::Dnsmasq => "dnsmasq",
            Self::Kea => "kea",
        }
    }
}

/// The LAN and its mask, as the cable's ends have it.
const SUBNET: &str = "10.98.0.0/15";
/// First and last address of the pool: 130,816 of them.
const POOL: [&str; 2] = ["10.98.1.0", "10.99.254.255"];
/// Different machines of a closed loop: fewer than the three quarters of the pool that strangers may hold.
const CLIENTS: &str = "50000";
/// How long it may take until each of them holds a lease.
const FILL_SECONDS: &str = "12";
/// Machines of the storm, and how long the slowest server may take.
const STORM: [&str; 2] = ["2000", "70"];

pub(super) fn run(root: &Path, how: &How) -> anyhow::Result<()> {
    for (program, package) in [("dnsmasq", "dnsmasq-base"), ("kea-dhcp4", "kea-dhcp4-server")] {
        if !tools::present(program) {
            bail!("the peer {program} is missing: apt-get install {package}");
        }
    }
    run_command(cargo(root).args([
        "build",
        "--quiet",
        "--release",
        "-p",
        "appliance-cli",
        "-p",
        "hil-tests-load",
    ]))?;
    let all = [Server::Ours, Server::Dnsmasq, Server::Kea];
    let wanted = |server: &Server| how.case.as_ref().is_none_or(|case| server.name().contains(case.as_str()));
    let servers: Vec<Server> = all.into_iter().filter(wanted).collect();
    let mut table = Table::default();
    let place = Place::new(root)?;
    for round in 1..=how.runs {
        for server in &servers {
            eprintln!("round {round} of {}: {}", how.runs, server.name());
            place.measure(*server, &mut table)?;
        }
    }
    if how.json {
        println!("{}", table.json()?);
    } else {
        table.print();
    }
    Ok(())
}

struct Place {
    lan: Lan,
    dir: PathBuf,
    scalerforge: PathBuf,
    load: PathBuf,
}

impl Place {
    fn new(root: &Path) -> anyhow::Result<Self> {
        let dir = root.join(".xtask/bench-dhcp");
        fs::create_dir_all(&dir)?;
        let built = prepare::target(root).join("release");
        Ok(Self {
            lan: Lan::create()?,
            dir: dir.canonicalize()?,
            scalerforge: built.join("scalerforge"),
            load: built.join("hil-tests-load"),
        })
    }

    fn measure(&self, server: Server, table: &mut Table) -> anyhow::Result<()> {
        let name = server.name();
        for (kind, what) in [("dora", "exchanges"), ("pxe", "PXE exchanges")] {
            let subject = self.start(server, "full")?;
            let before = subject.cpu_seconds();
            let said = self.load(&["--kind", kind, "--clients", CLIENTS])?;
            let used = subject.cpu_seconds() - before;
            let completed = number(&said, "completed")?;
            table.add(
                &format!("{what}, rate"),
                "1/s",
                Better::More,
                name,
                completed / number(&said, "seconds")?,
            );
            table.add(
                &format!("{what}, processor time"),
                "us each",
                Better::Less,
                name,
                used / completed.max(1.0) * 1e6,
            );
            table.add(&format!("{what}, p99"), "ms", Better::Less, name, number(&said, "p99_ms")?);
            let asked = completed + number(&said, "dropped")?;
            table.add(
                &format!("{what}, unanswered"),
                "%",
                Better::Less,
                name,
                number(&said, "dropped")? / asked.max(1.0) * 100.0,
            );
            table.add(
                &format!("{what}, an address twice"),
                "times",
                Better::Less,
                name,
                number(&said, "twice")?,
            );
            if kind == "dora" && server == Server::Ours {
                self.growth(&subject, table)?;
            }
            table.add("memory", "MiB", Better::Less, name, subject.peak_mib());
        }
        self.storm(server, table)?;
        if server == Server::Kea {
            // It has no proxy.
            return Ok(());
        }
        let subject = self.start(server, "proxy")?;
        let before = subject.cpu_seconds();
        let said = self.load(&["--kind", "offer", "--clients", CLIENTS])?;
        let used = subject.cpu_seconds() - before;
        let completed = number(&said, "completed")?;
        table.add("proxy offers, rate", "1/s", Better::More, name, completed / number(&said, "seconds")?);
        table.add(
            "proxy offers, processor time",
            "us each",
            Better::Less,
            name,
            used / completed.max(1.0) * 1e6,
        );
        Ok(())
    }

    fn storm(&self, server: Server, table: &mut Table) -> anyhow::Result<()> {
        let name = server.name();
        // It runs as long as it answers.
        let _subject = self.start(server, "full")?;
        let said = self.load(&["--kind", "storm", "--clients", STORM[0], "--seconds", STORM[1]])?;
        table.add(
            "storm of 2,000 in a second, the last is bound after",
            "s",
            Better::Less,
            name,
            number(&said, "seconds")?,
        );
        table.add("storm, unbound", "machines", Better::Less, name, number(&said, "dropped")?);
        table.add("storm, an address twice", "times", Better::Less, name, number(&said, "twice")?);
        Ok(())
    }

    /// Whether an exchange costs the same when 50,000 addresses are held: has each client bind one, then measures again.
    fn growth(&self, subject: &Running, table: &mut Table) -> anyhow::Result<()> {
        let filled = self.load(&["--kind", "dora", "--clients", CLIENTS, "--seconds", FILL_SECONDS])?;
        // They come one after the other, from the first.
        let held = number(&filled, "completed")?.min(CLIENTS.parse()?);
        table.add("leases held after filling", "leases", Better::More, OURS, held);
        let before = subject.cpu_seconds();
        let said = self.load(&["--kind", "dora", "--clients", CLIENTS])?;
        let used = subject.cpu_seconds() - before;
        let completed = number(&said, "completed")?;
        let each = used / completed.max(1.0) * 1e6;
        table.add("exchanges with 50,000 leases held, processor time", "us each", Better::Less, OURS, each);
        Ok(())
    }

    fn start(&self, server: Server, mode: &str) -> anyhow::Result<Running> {
        let folder = self.dir.join(server.name());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let (program, arguments) = match server {
            Server::Ours => self.ours(&folder, mode)?,
            Server::Dnsmasq => dnsmasq(&folder, mode),
            Server::Kea => kea(&folder)?,
        };
        self.lan.serve(&program, &arguments, 67)
    }

    fn ours(&self, folder: &Path, mode: &str) -> anyhow::Result<(PathBuf, Vec<String>)> {
        // Nothing is fetched; what the service wants to see is that it begins as a program does.
        fs::write(folder.join("image.efi"), b"MZ bench")?;
        let [first, last] = POOL;
        let pool = match mode {
            "full" => format!("[pxe.pool]\nfirst = \"{first}\"\nlast = \"{last}\"\n"),
            _ => String::new(),
        };
        let config = format!(
            "state_dir = \"state\"\noperator = \"127.0.0.1:8090\"\n[pxe]\nmode = \"{mode}\"\ninterface = \"{INTERFACE}\"\n\
             address = \"{SERVER}\"\nsubnet = \"{SUBNET}\"\nrelays = [\"{CLIENT}\"]\nuefi_pxe = \"uki\"\n{pool}\
             [pxe.images]\nx64 = \"image.efi\"\n"
        );
        let path = folder.join("boot.toml");
        fs::write(&path, config)?;
        let arguments = ["boot", "serve", "--config", &path.display().to_string()].map(str::to_owned);
        Ok((self.scalerforge.clone(), arguments.to_vec()))
    }

    fn load(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let server = format!("{SERVER}:67");
        let first = ["dhcp", "--server", &server, "--relay", CLIENT];
        let arguments: Vec<String> = first.iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        let said = self.lan.ask(1, &self.load, &arguments)?;
        serde_json::from_str(&said).with_context(|| format!("the load generator said {said:?}"))
    }
}

fn dnsmasq(folder: &Path, mode: &str) -> (PathBuf, Vec<String>) {
    let mut arguments: Vec<String> =
        ["-k", "-p0", "-C", "/dev/null", "--user=root", "--bind-interfaces", "-i", INTERFACE]
            .map(str::to_owned)
            .to_vec();
    arguments.push(format!("--log-facility={}", folder.join("log").display()));
    arguments.push(format!("--dhcp-leasefile={}", folder.join("leases").display()));
    if mode == "proxy" {
        arguments.push("--dhcp-range=10.98.0.0,proxy".to_owned());
        arguments.push("--pxe-service=x86-64_EFI,boot,image.efi".to_owned());
    } else {
        let [first, last] = POOL;
        arguments.push(format!("--dhcp-range={first},{last},255.254.0.0,1h"));
        let rest = ["--no-ping", "--dhcp-lease-max=100000", "--dhcp-authoritative"];
        let efi = ["--dhcp-match=set:efi,93,7", "--dhcp-boot=tag:efi,image.efi"];
        arguments.extend(rest.iter().chain(&efi).map(|word| (*word).to_owned()));
    }
    ("dnsmasq".into(), arguments)
}

fn kea(folder: &Path) -> anyhow::Result<(PathBuf, Vec<String>)> {
    let [first, last] = POOL;
    let log = serde_json::json!({ "output": folder.join("log") });
    let config = serde_json::json!({ "Dhcp4": {
        "interfaces-config": { "interfaces": [INTERFACE], "dhcp-socket-type": "udp" },
        "lease-database": { "type": "memfile", "persist": true, "name": folder.join("leases.csv"), "lfc-interval": 0 },
        "valid-lifetime": 3600,
        // Its own default in this version; on one core a second thread only costs.
        "multi-threading": { "enable-multi-threading": false },
        "client-classes": [
            { "name": "efi", "test": "option[93].hex == 0x0007", "boot-file-name": "image.efi" }
        ],
        "subnet4": [{ "id": 1, "subnet": SUBNET, "pools": [{ "pool": format!("{first} - {last}") }] }],
        "loggers": [{ "name": "kea-dhcp4", "severity": "ERROR", "output_options": [log] }],
    }});
    let path = folder.join("kea.json");
    fs::write(&path, serde_json::to_vec(&config)?)?;
    let shown = folder.display();
    let arguments = [
        format!("KEA_LOCKFILE_DIR={shown}"),
        format!("KEA_PIDFILE_DIR={shown}"),
        "kea-dhcp4".to_owned(),
        "-c".to_owned(),
        path.display().to_string(),
    ];
    Ok(("env".into(), arguments.to_vec()))
}

fn number(said: &Value, name: &str) -> anyhow::Result<f64> {
    said.get(name).and_then(Value::as_f64).with_context(|| format!("the load generator said no {name}"))
}

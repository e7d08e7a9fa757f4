//! Leases: exchanges a second, what one costs, a power-on storm, and offers beside another server.
//!
//! Every server has one core and a fresh lease store for each figure; clients are behind a relay on the other core.
//! dnsmasq syncs its lease file before each ACK, Kea syncs nothing, we sync once for all that came together.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context as _;
use serde_json::Value;

use super::{
    Bench,
    field::{CLIENT, Field, INTERFACE, SERVER, Side},
    need,
    subject::Subject,
    table::{Better, OURS, Table},
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

/// First and last address of the pool: 65,024 of them.
const POOL: [&str; 2] = ["10.9.1.0", "10.9.254.255"];
/// Different machines of a closed loop: fewer than the three quarters of the pool that strangers may hold.
const CLIENTS: &str = "48000";
/// Machines of the storm, and how long the slowest server may take.
const STORM: [&str; 2] = ["2000", "70"];

pub(super) fn run(root: &Path, bench: &Bench) -> anyhow::Result<Table> {
    need(&[("dnsmasq", "dnsmasq-base"), ("kea-dhcp4", "kea-dhcp4-server")])?;
    let all = [Server::Ours, Server::Dnsmasq, Server::Kea];
    let wanted =
        |server: &Server| bench.only.as_ref().is_none_or(|only| server.name().contains(only.as_str()));
    let servers: Vec<Server> = all.into_iter().filter(wanted).collect();
    let mut table = Table::default();
    let place = Place::new(root)?;
    for round in 1..=bench.runs {
        for server in &servers {
            eprintln!("round {round} of {}: {}", bench.runs, server.name());
            place.measure(*server, &mut table)?;
        }
    }
    Ok(table)
}

struct Place {
    field: Field,
    dir: std::path::PathBuf,
    scalerforge: std::path::PathBuf,
    load: std::path::PathBuf,
}

impl Place {
    fn new(root: &Path) -> anyhow::Result<Self> {
        let dir = root.join(".xtask/bench-dhcp");
        fs::create_dir_all(&dir)?;
        let built = crate::prepare::target(root).join("release");
        Ok(Self {
            field: Field::new()?,
            dir: dir.canonicalize()?,
            scalerforge: built.join("scalerforge"),
            load: built.join("hil-tests-load"),
        })
    }

    fn measure(&self, server: Server, table: &mut Table) -> anyhow::Result<()> {
        let name = server.name();
        for (kind, what) in [("dora", "exchanges"), ("pxe", "PXE exchanges")] {
            let subject = self.start(server, "full")?;
            let before = subject.usage()?;
            let said = self.load(&["--kind", kind, "--clients", CLIENTS])?;
            let used = subject.usage()?;
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
                (used.cpu - before.cpu) / completed.max(1.0) * 1e6,
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
            table.add("memory", "MiB", Better::Less, name, subject.usage()?.memory);
        }
        let subject = self.start(server, "full")?;
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
        drop(subject);
        if server == Server::Kea {
            // It has no proxy.
            return Ok(());
        }
        let subject = self.start(server, "proxy")?;
        let before = subject.usage()?;
        let said = self.load(&["--kind", "offer", "--clients", CLIENTS])?;
        let used = subject.usage()?;
        let completed = number(&said, "completed")?;
        table.add("proxy offers, rate", "1/s", Better::More, name, completed / number(&said, "seconds")?);
        table.add(
            "proxy offers, processor time",
            "us each",
            Better::Less,
            name,
            (used.cpu - before.cpu) / completed.max(1.0) * 1e6,
        );
        Ok(())
    }

    /// Whether an exchange costs the same when nearly all addresses are held: fills the pool, then measures again.
    fn growth(&self, subject: &Subject, table: &mut Table) -> anyhow::Result<()> {
        self.load(&["--kind", "dora", "--clients", CLIENTS, "--seconds", "8"])?;
        let before = subject.usage()?;
        let said = self.load(&["--kind", "dora", "--clients", CLIENTS])?;
        let used = subject.usage()?;
        let completed = number(&said, "completed")?;
        let each = (used.cpu - before.cpu) / completed.max(1.0) * 1e6;
        table.add("exchanges with 48,000 leases held, processor time", "us each", Better::Less, OURS, each);
        Ok(())
    }

    fn start(&self, server: Server, mode: &str) -> anyhow::Result<Subject> {
        let folder = self.dir.join(server.name());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let mut command = match server {
            Server::Ours => self.ours(&folder, mode)?,
            Server::Dnsmasq => self.dnsmasq(&folder, mode),
            Server::Kea => self.kea(&folder)?,
        };
        let field = &self.field;
        Subject::start(server.name(), &mut command, || {
            let mut ss = field.command(Side::Server, "ss");
            let said = ss.args(["-Hlun", "sport", "=", ":67"]).stderr(Stdio::null()).output();
            said.is_ok_and(|said| !said.stdout.is_empty())
        })
    }

    fn ours(&self, folder: &Path, mode: &str) -> anyhow::Result<Command> {
        // Nothing is fetched; what the service wants to see is that it begins as a program does.
        fs::write(folder.join("image.efi"), b"MZ bench")?;
        let [first, last] = POOL;
        let pool = if mode == "full" {
            format!("[pxe.pool]\nfirst = \"{first}\"\nlast = \"{last}\"\n")
        } else {
            String::new()
        };
        let config = format!(
            "state_dir = \"state\"\noperator = \"127.0.0.1:8090\"\n[pxe]\nmode = \"{mode}\"\ninterface = \"{INTERFACE}\"\n\
             address = \"{SERVER}\"\nsubnet = \"10.9.0.0/16\"\nrelays = [\"{CLIENT}\"]\nuefi_pxe = \"uki\"\n{pool}\
             [pxe.images]\nx64 = \"image.efi\"\n"
        );
        fs::write(folder.join("boot.toml"), config)?;
        let mut command = self.field.command(Side::Server, &self.scalerforge);
        command.args(["boot", "serve", "--config"]).arg(folder.join("boot.toml"));
        Ok(command)
    }

    fn dnsmasq(&self, folder: &Path, mode: &str) -> Command {
        let mut command = self.field.command(Side::Server, "dnsmasq");
        command.args(["-k", "-p0", "-C", "/dev/null", "--user=root", "--bind-interfaces", "-i", INTERFACE]);
        command.arg(format!("--log-facility={}", folder.join("log").display()));
        command.arg(format!("--dhcp-leasefile={}", folder.join("leases").display()));
        if mode == "proxy" {
            command.args(["--dhcp-range=10.9.0.0,proxy", "--pxe-service=x86-64_EFI,boot,image.efi"]);
            return command;
        }
        let [first, last] = POOL;
        command.arg(format!("--dhcp-range={first},{last},255.255.0.0,1h"));
        command.args(["--no-ping", "--dhcp-lease-max=100000", "--dhcp-authoritative"]);
        command.args(["--dhcp-match=set:efi,93,7", "--dhcp-boot=tag:efi,image.efi"]);
        command
    }

    fn kea(&self, folder: &Path) -> anyhow::Result<Command> {
        let [first, last] = POOL;
        let config = serde_json::json!({ "Dhcp4": {
            "interfaces-config": { "interfaces": [INTERFACE], "dhcp-socket-type": "udp" },
            "lease-database": { "type": "memfile", "persist": true, "name": folder.join("leases.csv"), "lfc-interval": 0 },
            "valid-lifetime": 3600,
            // Its own default in this version; on one core a second thread only costs.
            "multi-threading": { "enable-multi-threading": false },
            "client-classes": [{ "name": "efi", "test": "option[93].hex == 0x0007", "boot-file-name": "image.efi" }],
            "subnet4": [{ "id": 1, "subnet": "10.9.0.0/16", "pools": [{ "pool": format!("{first} - {last}") }] }],
            "loggers": [{ "name": "kea-dhcp4", "severity": "ERROR", "output_options": [{ "output": folder.join("log") }] }],
        }});
        let path = folder.join("kea.json");
        fs::write(&path, serde_json::to_vec(&config)?)?;
        let mut command = self.field.command(Side::Server, "kea-dhcp4");
        command.env("KEA_LOCKFILE_DIR", folder).env("KEA_PIDFILE_DIR", folder).arg("-c").arg(path);
        Ok(command)
    }

    fn load(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = self.field.command(Side::Client, &self.load);
        command.args(["dhcp", "--server", &format!("{SERVER}:67"), "--relay", CLIENT]).args(arguments);
        let said = crate::run::output(&mut command)?;
        serde_json::from_str(&said).with_context(|| format!("the load generator said {said:?}"))
    }
}

fn number(said: &Value, name: &str) -> anyhow::Result<f64> {
    said.get(name).and_then(Value::as_f64).with_context(|| format!("the load generator said no {name}"))
}

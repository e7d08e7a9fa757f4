//! HTTP: one image of 100 MiB for 1, 50 and 200 clients, plain and by TLS, new TLS connections, fleets of 500 and of
//! 10,000 that pull at once; beside Debian's nginx with `sendfile` and two workers.  And how long our own API takes to
//! answer while 500 pull from the same process.
//!
//! On the loopback, because a cable between namespaces costs more than the servers do.  The clients throw away what they
//! get in the kernel, so plain figures are the servers'; by TLS the clients decrypt on the same cores, and only the
//! servers' own processor time is compared.

use std::{
    fs,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{
    How, api,
    process::Server,
    table::{Better, OURS, Table},
};
use crate::{
    prepare,
    run::{cargo, output, run as run_command},
    tools,
};

const IMAGE_BYTES: usize = 100 << 20;
/// Each host of the fleet pulls so much of it: 500 of them finish in seconds on the loopback.
const FLEET_BYTES: &str = "20000000";
const FLEET: &str = "500";
/// The large fleet; each of it pulls so much.
const LARGE: [&str; 2] = ["10000", "1000000"];
const NGINX: &str = "nginx";
/// Our server without turns: what a fleet gets that shares the link evenly.
const EVENLY: &str = "evenly";

/// One kind of load.
struct Case {
    name: &'static str,
    load: &'static [&'static str],
    tls: bool,
    servers: &'static [&'static str],
    figures: Figures,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Figures {
    Bytes,
    Connections,
    Fleet,
}

const BOTH: &[&str] = &[OURS, NGINX];

const CASES: [Case; 7] = [
    Case {
        name: "plain, 1 client",
        load: &["--clients", "1", "--seconds", "3"],
        tls: false,
        servers: BOTH,
        figures: Figures::Bytes,
    },
    Case {
        name: "plain, 50 clients",
        load: &["--clients", "50", "--seconds", "3"],
        tls: false,
        servers: BOTH,
        figures: Figures::Bytes,
    },
    Case {
        name: "plain, 200 clients",
        load: &["--clients", "200", "--seconds", "4"],
        tls: false,
        servers: BOTH,
        figures: Figures::Bytes,
    },
    Case {
        name: "TLS, 50 clients",
        load: &["--clients", "50", "--seconds", "4", "--tls"],
        tls: true,
        servers: BOTH,
        figures: Figures::Bytes,
    },
    Case {
        name: "new TLS connections",
        load: &["--clients", "50", "--seconds", "3", "--tls", "--fresh", "--path", "/small"],
        tls: true,
        servers: BOTH,
        figures: Figures::Connections,
    },
    Case {
        name: "fleet of 500",
        load: &["--clients", FLEET, "--bytes", FLEET_BYTES],
        tls: false,
        servers: &[OURS, EVENLY, NGINX],
        figures: Figures::Fleet,
    },
    Case {
        name: "10,000 in line",
        load: &["--clients", LARGE[0], "--bytes", LARGE[1], "--attentive"],
        tls: false,
        servers: &[OURS, NGINX],
        figures: Figures::Fleet,
    },
];

/// What the load generator prints, as far as it is used.
#[derive(Debug, Deserialize)]
struct Outcome {
    answers: u64,
    failures: u64,
    failure: Option<String>,
    bytes: u64,
    seconds: f64,
    mean_seconds: f64,
    slowest_seconds: f64,
    silence_seconds: f64,
}

/// Measures and prints.
pub(super) fn run(root: &Path, how: &How) -> anyhow::Result<()> {
    let setting = Setting::prepare(root)?;
    let beside = how.case.as_ref().is_none_or(|part| api::NAME.contains(part));
    let desk = beside.then(|| api::Desk::prepare(root, &setting.folder)).transpose()?;
    let mut table = Table::default();
    for _ in 0..how.runs {
        if let Some(desk) = &desk {
            desk.sample(&mut table)?;
        }
        for case in CASES.iter().filter(|case| how.case.as_ref().is_none_or(|part| case.name.contains(part)))
        {
            for server in case.servers {
                setting
                    .sample(case, server, &mut table)
                    .with_context(|| format!("{}: {server}", case.name))?;
            }
        }
    }
    if how.json {
        println!("{}", table.json()?);
    } else {
        table.print();
    }
    Ok(())
}

struct Setting {
    folder: PathBuf,
    nginx: PathBuf,
    ours: PathBuf,
    load: PathBuf,
}

impl Setting {
    fn prepare(root: &Path) -> anyhow::Result<Self> {
        let build = ["build", "--quiet", "--release"];
        run_command(cargo(root).args(build).args(["-p", "pxe-http", "--example", "serve_http"]))?;
        run_command(cargo(root).args(build).args(["-p", "hil-tests-load"]))?;
        let bench = root.join(".xtask/bench");
        let folder = bench.join("http");
        fs::create_dir_all(folder.join("files"))?;
        let image = folder.join("files/image");
        if !image.is_file() {
            // Nothing on the way compresses, but a page of zeros might be shared.
            let mut bytes = vec![0; IMAGE_BYTES];
            fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            fs::write(folder.join("files/small"), bytes.get(..1024).unwrap_or_default())?;
            fs::write(&image, bytes).with_context(|| format!("writing {}", image.display()))?;
        }
        let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        output(
            Command::new("openssl")
                .args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=load.test"])
                .args(["-addext", "subjectAltName=DNS:load.test"])
                .args(curve)
                .arg("-keyout")
                .arg(key)
                .arg("-out")
                .arg(certificate),
        )?;
        let release = prepare::target(root).join("release");
        Ok(Self {
            nginx: nginx(&bench)?,
            ours: release.join("examples/serve_http"),
            load: release.join("hil-tests-load"),
            folder,
        })
    }

    fn sample(&self, case: &Case, server: &str, table: &mut Table) -> anyhow::Result<()> {
        let (plain, tls) = (free()?, free()?);
        let mut command =
            if server == NGINX { self.nginx(plain, tls)? } else { self.ours(server, plain, tls) };
        let process =
            Server::start(&mut command, |_| [plain, tls].iter().all(|at| TcpStream::connect(at).is_ok()))?;
        let at = if case.tls { tls } else { plain };
        let before = process.cpu_seconds();
        let printed =
            output(Command::new(&self.load).args(["http", "--target", &at.to_string()]).args(case.load))?;
        let cpu = process.cpu_seconds() - before;
        let outcome: Outcome = serde_json::from_str(&printed).with_context(|| format!("`{printed}`"))?;
        let reason = outcome.failure.unwrap_or_default();
        ensure!(outcome.failures == 0, "{} answers failed, the first: {reason}", outcome.failures);
        // Far below 2^53 each.
        let number = |n: u64| n.to_string().parse::<f64>().unwrap_or(f64::NAN);
        let gigabytes = number(outcome.bytes) / 1e9;
        let mut add = |figure: &str, unit, better, value: f64| {
            table.add(&format!("{}: {figure}", case.name), unit, better, server, value);
        };
        match case.figures {
            Figures::Bytes => {
                add("rate", "GB/s", Better::More, gigabytes / outcome.seconds);
                add("processor time", "CPU s/GB", Better::Less, cpu / gigabytes);
                add("peak memory", "MiB", Better::Less, process.peak_mib());
            }
            Figures::Connections => {
                add("rate", "1/s", Better::More, number(outcome.answers) / outcome.seconds);
                add("processor time", "CPU us each", Better::Less, cpu * 1e6 / number(outcome.answers));
            }
            Figures::Fleet => {
                add("mean completion", "s", Better::Less, outcome.mean_seconds);
                add("last completion", "s", Better::Less, outcome.slowest_seconds);
                // All of it where everybody shares evenly, half of it at the best.
                let part = outcome.mean_seconds / outcome.slowest_seconds;
                add("mean as a part of the last", "times", Better::Less, part);
                // Others sleep until much has come, and do not hear a little.
                if case.load.contains(&"--attentive") {
                    add("longest silence", "s", Better::Less, outcome.silence_seconds);
                }
                add("peak memory", "MiB", Better::Less, process.peak_mib());
            }
        }
        Ok(())
    }

    fn ours(&self, server: &str, plain: SocketAddr, tls: SocketAddr) -> Command {
        let mut command = Command::new(&self.ours);
        command
            .current_dir(&self.folder)
            .args(["--threads", "2", "--plain", &plain.to_string(), "--tls", &tls.to_string()])
            .args(["--file", "files/image", "--certificate", "certificate.pem", "--key", "key.pem"])
            .args(if server == EVENLY { &["--places", "100000"][..] } else { &[] });
        command
    }

    fn nginx(&self, plain: SocketAddr, tls: SocketAddr) -> anyhow::Result<Command> {
        let folder = self.folder.display();
        let text = format!(
            "daemon off; user root; worker_processes 2; worker_rlimit_nofile 20000; pid {folder}/pid; error_log {folder}/error.log;\n\
             events {{ worker_connections 16384; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n\
             client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;\n\
             uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t; root {folder}/files;\n\
             server {{ listen {plain}; }}\n\
             server {{ listen {tls} ssl; ssl_protocols TLSv1.2 TLSv1.3;\n\
             ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem; }} }}\n"
        );
        let file = self.folder.join("nginx.conf");
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        let mut command = Command::new(&self.nginx);
        command.arg("-e").arg(self.folder.join("error.log")).arg("-c").arg(file);
        Ok(command)
    }
}

/// nginx as installed, or unpacked from its Debian package: nothing is installed, no service starts.
fn nginx(bench: &Path) -> anyhow::Result<PathBuf> {
    if tools::present(NGINX) {
        return Ok(PathBuf::from("/usr/sbin/nginx"));
    }
    let peers = bench.join("peers");
    let program = peers.join("usr/sbin/nginx");
    if !program.is_file() {
        let packages = bench.join("packages-http");
        fs::create_dir_all(&packages)?;
        run_command(Command::new("apt-get").args(["-q", "update"]))?;
        run_command(Command::new("apt-get").current_dir(&packages).args(["-q", "download", NGINX]))?;
        for package in fs::read_dir(&packages)? {
            output(Command::new("dpkg-deb").arg("-x").arg(package?.path()).arg(&peers))?;
        }
    }
    Ok(program)
}

fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

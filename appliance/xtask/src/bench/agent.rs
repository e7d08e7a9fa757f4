//! The agent with nothing to do: what its loop costs while it waits for orders, minute after minute.
//!
//! It is the program that goes into the image, beside this system (`--connect`), and talks TLS to a stand-in that
//! answers as an appliance without orders does: each question for one after [`POLL_SECONDS_MAX`].  A real appliance
//! would want a boot ticket, and one that was measured.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use appliance_api::agent::{BODY_BYTES_MAX, Order, POLL_SECONDS_MAX, Work};
use clap::Args;
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

use super::{pairs::verdict, process::Server};
use crate::prepare;

/// How long.
#[derive(Debug, Args)]
pub(super) struct Idle {
    /// Seconds that it is watched.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// What it may take of one core.
const SHARE_MAX: f64 = 0.02;

pub(super) fn run(root: &Path, how: &Idle) -> anyhow::Result<()> {
    let agent = prepare::agent(root)?;
    let folder = root.join(".xtask/bench/agent");
    fs::create_dir_all(&folder)?;
    let appliance = Appliance::start()?;
    let ca = folder.join("ca.pem");
    fs::write(&ca, &appliance.ca)?;
    let mut command = Command::new(agent);
    command.args(["--connect", &appliance.url, "--ca"]).arg(&ca).arg("--state").arg(folder.join("state"));
    // From its first question on it has said hello and has nothing to do.
    let polls = || appliance.polls.load(Ordering::Relaxed);
    let agent = Server::start(&mut command, |_| polls() > 0)?;
    let (cpu_before, polls_before) = (agent.cpu_seconds(), polls());
    thread::sleep(Duration::from_secs(how.seconds.into()));
    let (cpu, polls) = (agent.cpu_seconds() - cpu_before, polls() - polls_before);
    let least = u64::from(how.seconds) / POLL_SECONDS_MAX / 2;
    ensure!(u64::from(polls) >= least, "it asked {polls} times in {} s: it does not poll", how.seconds);
    let share = cpu / f64::from(how.seconds);
    println!(
        "idle agent: {:.3} % of a core ({cpu:.2} s in {} s, {polls} questions), at most {:.1} MiB",
        share * 100.0,
        how.seconds,
        agent.peak_mib()
    );
    let broken = (share > SHARE_MAX).then(|| format!("it takes {:.3} %", share * 100.0));
    verdict("an idle agent takes less than 2 % of a core", broken.as_slice());
    Ok(())
}

/// An appliance that has no orders.
struct Appliance {
    url: String,
    ca: String,
    polls: Arc<AtomicU32>,
}

impl Appliance {
    fn start() -> anyhow::Result<Self> {
        let key = rcgen::KeyPair::generate()?;
        let mut names = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        names.is_ca = rcgen::IsCa::NoCa;
        let mut authority = rcgen::CertificateParams::new(Vec::new())?;
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate()?;
        let ca = authority.self_signed(&authority_key)?.pem();
        let certificate = names.signed_by(&key, &rcgen::Issuer::new(authority, authority_key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("https://{}", listener.local_addr()?);
        let polls = Arc::new(AtomicU32::new(0));
        let (config, counted) = (Arc::new(config), Arc::clone(&polls));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, polls) = (Arc::clone(&config), Arc::clone(&counted));
                thread::spawn(move || {
                    if let Err(error) = serve(stream, config, &polls) {
                        eprintln!("stand-in for an appliance: {error:#}");
                    }
                });
            }
        });
        Ok(Self { url, ca, polls })
    }
}

/// Answers one connection's questions until it ends.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, polls: &AtomicU32) -> anyhow::Result<()> {
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    loop {
        let (mut call, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse::<usize>()?.min(BODY_BYTES_MAX);
            } else if let Some(rest) = line.strip_prefix("post /agent/v1/") {
                rest.split(' ').next().unwrap_or_default().clone_into(&mut call);
            } else if line.is_empty() {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length])?;
        let answer = if call == "hello" {
            serde_json::json!({ "host": "h-000000000001", "session": "11".repeat(32) }).to_string()
        } else {
            polls.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_secs(POLL_SECONDS_MAX));
            serde_json::to_string(&Order { id: 0, work: Work::Wait })?
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.get_mut().write_all(format!("{head}{answer}").as_bytes()).context("answering")?;
    }
}

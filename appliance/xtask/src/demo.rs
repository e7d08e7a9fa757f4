//! `cargo xtask demo`: the whole way, on a virtual rack, while you watch.

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use appliance_api::operator::{ChainView, HostDetail, HostView};
use clap::Args;
use hil_tests_scenarios::{Artefacts, Lab, LabConfig};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::{prepare, tools};

/// The most servers a small machine can emulate at once.
const HOSTS_MAX: u8 = 8;

/// How long the slowest machine may take for all servers: emulation is slow, and two cores are all we ask for.
const LIMIT: Duration = Duration::from_secs(1800);

/// Stages in the order of the way.
const WAY: [&str; 18] = [
    "found",
    "booting",
    "discovering",
    "identifying",
    "challenging",
    "challenged",
    "admitting",
    "verifying",
    "admitted",
    "burning-in",
    "carving",
    "shaping",
    "binding",
    "sealing",
    "pricing",
    "approving",
    "registering",
    "registered",
];

/// How the demo runs.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Servers in the rack.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(HOSTS_MAX)))]
    hosts: u8,
    /// End when all are registered instead of staying up until Ctrl-C.
    #[arg(long)]
    exit: bool,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Port of the web page on 127.0.0.1.
    #[arg(long, default_value_t = 8090)]
    port: u16,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    seconds: f64,
    appliance_rss_mebibytes: Option<u64>,
    hosts: Vec<HostOutcome>,
    chain: ChainView,
}

#[derive(Debug, Serialize)]
struct HostOutcome {
    serial: String,
    position: Option<String>,
    node: Option<String>,
    tier: Option<String>,
    evidence: Option<String>,
    /// From power-on to the agent's first line on the console.
    agent_seconds: Option<f64>,
    /// Stage and the second it was entered, counted from the appliance's start.
    timeline: Vec<(String, f64)>,
}

pub(crate) fn run(root: &Path, demo: Demo) -> anyhow::Result<()> {
    tools::ensure(root, tools::Need::Demo)?;
    eprintln!("building");
    let (artefacts, _) = prepare::prepare(root, false)?;
    if !tools::is_root()? {
        // The lab needs a network namespace, and without root that needs a user namespace around it.  Everything is
        // built by now, so the second run of this program comes straight here.
        let program = std::env::current_exe()?;
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--"]).arg(program).args(std::env::args_os().skip(1));
        return crate::run::run(&mut command);
    }
    let listener = TcpListener::bind(("127.0.0.1", demo.port))
        .with_context(|| format!("port {} is taken; name another with --port", demo.port))?;
    hil_tests_scenarios::run(move || show(demo, listener, artefacts))
}

async fn show(demo: Demo, listener: TcpListener, artefacts: Artefacts) -> anyhow::Result<()> {
    let page = format!("http://{}", listener.local_addr()?);
    let begun = now();
    let mut config = LabConfig::new("demo", demo.hosts);
    config.operator = Some(listener);
    let mut lab = Lab::start(config, &artefacts).await?;
    eprintln!("\n  {} servers, page {page}\n", demo.hosts);
    let watched = tokio::select! {
        watched = watch(&mut lab, begun) => watched,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Err(error) = watched {
        lab.stop().await;
        return Err(error);
    }
    let outcome = outcome(&lab, begun).await?;
    if demo.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        print(&outcome);
    }
    if !demo.exit {
        eprintln!("\n  page {page} · Ctrl-C ends it");
        let _ = tokio::signal::ctrl_c().await;
    }
    lab.stop().await;
    Ok(())
}

/// Draws one bar a server until all are registered.
async fn watch(lab: &mut Lab, begun: Instant) -> anyhow::Result<()> {
    let board = MultiProgress::new();
    let terminal = std::io::stderr().is_terminal();
    if !terminal {
        board.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("  {prefix:<10} {bar:34} {msg}")?.progress_chars("━╸ ");
    let mut bars: BTreeMap<String, (ProgressBar, String)> = BTreeMap::new();
    let expected = lab.rack.hosts().len();
    loop {
        let hosts = lab.hosts().await.unwrap_or_default();
        for host in &hosts {
            let (bar, stage) = bars.entry(host.serial.clone()).or_insert_with(|| {
                let bar = board.add(ProgressBar::new(WAY.len() as u64 - 1));
                bar.set_style(style.clone());
                bar.set_prefix(host.serial.clone());
                (bar, String::new())
            });
            bar.set_position(place(&host.stage));
            let message = line(host);
            if *stage != host.stage {
                stage.clone_from(&host.stage);
                if !terminal {
                    eprintln!("{:>6.1} s  {}  {}", begun.elapsed().as_secs_f64(), host.serial, host.stage);
                }
            }
            bar.set_message(message);
        }
        if let Some(host) = hosts.iter().find(|host| host.stage == "quarantined") {
            bail!("{} was quarantined: {}", host.serial, host.why.waiting_for);
        }
        if hosts.iter().filter(|host| host.stage == "registered").count() == expected {
            return Ok(());
        }
        if let Some(status) = lab.appliance_ended()? {
            bail!("the appliance ended ({status})\n{}", lab.scene().await);
        }
        if begun.elapsed() > LIMIT {
            bail!("not all servers were registered within {} s\n{}", LIMIT.as_secs(), lab.scene().await);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn place(stage: &str) -> u64 {
    WAY.iter().position(|name| *name == stage).unwrap_or(0) as u64
}

fn line(host: &HostView) -> String {
    let note = host.progress_note.as_ref().map(|note| format!(" · {note}")).unwrap_or_default();
    let text = format!("{}: {}{note}", host.stage, host.why.waiting_for);
    text.chars().take(100).collect()
}

async fn outcome(lab: &Lab, begun: Instant) -> anyhow::Result<Outcome> {
    let seconds = begun.elapsed().as_secs_f64();
    let mut hosts = Vec::new();
    let mut start = u64::MAX;
    let mut details: Vec<HostDetail> = Vec::new();
    for host in lab.hosts().await? {
        let detail = lab.host(&host.id).await?;
        start = start.min(detail.journal.first().map_or(u64::MAX, |first| first.at_ms));
        details.push(detail);
    }
    for detail in details {
        let virtual_server = lab.rack.hosts().iter().find(|host| host.spec().serial == detail.host.serial);
        let agent = virtual_server.and_then(|host| host.first_line_matching("scalerforge agent"));
        let evidence = detail
            .host
            .node
            .as_ref()
            .map(|node| lab.site().join("evidence").join(format!("{node}.evidence")));
        hosts.push(HostOutcome {
            serial: detail.host.serial,
            position: detail.host.position,
            tier: detail.host.tier,
            evidence: evidence.filter(|file| file.exists()).map(|file| file.display().to_string()),
            node: detail.host.node,
            agent_seconds: agent.map(|time| time.as_secs_f64()),
            timeline: timeline(&detail.journal, start),
        });
    }
    let appliance_rss_mebibytes = lab.appliance_rss_bytes().map(|bytes| bytes >> 20);
    Ok(Outcome { seconds, appliance_rss_mebibytes, hosts, chain: lab.chain_view().await? })
}

/// When each stage was entered first.
fn timeline(journal: &[appliance_api::operator::JournalView], start: u64) -> Vec<(String, f64)> {
    let mut stages: Vec<(String, f64)> = Vec::new();
    for line in journal {
        if stages.last().is_none_or(|(stage, _)| *stage != line.stage) {
            let milliseconds = u32::try_from(line.at_ms.saturating_sub(start)).unwrap_or(u32::MAX);
            stages.push((line.stage.clone(), f64::from(milliseconds) / 1000.0));
        }
    }
    stages
}

fn print(outcome: &Outcome) {
    println!("\nTimeline (seconds from the first power-on)\n");
    let mut stages: Vec<&str> = Vec::new();
    for host in &outcome.hosts {
        for (stage, _) in &host.timeline {
            if !stages.contains(&stage.as_str()) {
                stages.push(stage);
            }
        }
    }
    print!("  {:<14}", "stage");
    for host in &outcome.hosts {
        print!("{:>12}", host.serial);
    }
    println!();
    for stage in stages {
        print!("  {stage:<14}");
        for host in &outcome.hosts {
            let at = host.timeline.iter().find(|(name, _)| name == stage).map(|(_, at)| format!("{at:.1}"));
            print!("{:>12}", at.unwrap_or_default());
        }
        println!();
    }
    println!("\nNodes, read back from chain {} ({})\n", outcome.chain.chain_id, outcome.chain.rpc_url);
    for node in &outcome.chain.nodes {
        println!("  {}  {:<14} {} {}  {}", node.node, node.name, node.class, node.capacity, node.collateral);
    }
    println!();
    for host in &outcome.hosts {
        let agent = host.agent_seconds.map_or_else(|| "?".into(), |seconds| format!("{seconds:.1}"));
        println!(
            "  {}: power-on to agent {agent} s, tier {}",
            host.serial,
            host.tier.as_deref().unwrap_or("-")
        );
        println!("      evidence {}", host.evidence.as_deref().unwrap_or("none"));
    }
    let rss = outcome.appliance_rss_mebibytes.map_or_else(|| "?".into(), |rss| rss.to_string());
    println!("\n  all registered after {:.0} s; appliance holds {rss} MiB", outcome.seconds);
}

#[expect(clippy::disallowed_methods, reason = "a demo that says how long it took")]
fn now() -> Instant {
    Instant::now()
}

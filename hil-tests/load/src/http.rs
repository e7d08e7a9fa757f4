//! Many HTTP clients at once, which drop what they get as cheaply as the kernel allows, so that the server is what is
//! measured.  Each client has an address of its own where the target is on the loopback, as each host of a fleet has.
//!
//! It reads answers strictly: anything but a 200 with the promised length is a failure and counted as one.

mod beside;
mod client;
mod tls;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use self::client::Client;

/// HTTP load.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// The server.
    #[arg(long)]
    pub target: SocketAddr,
    /// What to fetch.
    #[arg(long, default_value = "/image")]
    pub path: String,
    /// How many clients fetch it at once.
    #[arg(long, default_value_t = 50)]
    pub clients: usize,
    /// How long they repeat it; without, each fetches it once, all starting together.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// By TLS, whoever the server says it is.
    #[arg(long)]
    pub tls: bool,
    /// A new connection for each request.
    #[arg(long)]
    pub fresh: bool,
    /// Only the first so many bytes of the file, by a range: a smaller fleet image.
    #[arg(long)]
    pub bytes: Option<u64>,
    /// Wake for every byte, to see how long nothing comes.
    #[arg(long)]
    pub attentive: bool,
    /// Ask this path of `--beside-target` all the while, by one client, and say how long answers take.
    #[arg(long)]
    pub beside: Option<String>,
    /// Whom to ask beside the load.
    #[arg(long, requires = "beside")]
    pub beside_target: Option<SocketAddr>,
    /// Give each client an address of its own in 127/8 though the target is not there: for a target of this machine.
    #[arg(long)]
    pub spread: bool,
    /// Do not read what comes: clients that hold places and make no progress.
    #[arg(long, default_value_t = 0)]
    pub stuck: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers that came whole.
    pub answers: u64,
    /// Answers that did not.
    pub failures: u64,
    /// The first failure.
    pub failure: Option<String>,
    /// Bytes of bodies, those of unfinished answers too.
    pub bytes: u64,
    /// How long it took, from the first connection to the last byte.
    pub seconds: f64,
    /// Mean time of an answer, from the start of all where each client fetches once.
    pub mean_seconds: f64,
    /// The slowest answer.
    pub slowest_seconds: f64,
    /// The longest time that any client heard nothing; only `--attentive` ones wake for less than much.
    pub silence_seconds: f64,
    /// What was asked beside the load.
    pub beside: Option<Beside>,
}

/// Requests beside the load.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Beside {
    /// How many were answered.
    pub answers: u64,
    /// Time of an answer, milliseconds, median.
    pub p50_ms: f64,
    /// The same, 99th percentile.
    pub p99_ms: f64,
    /// The slowest.
    pub slowest_ms: f64,
}

struct Tally {
    outcome: Mutex<(Outcome, f64)>,
    start: Instant,
    until: Option<Duration>,
}

/// Runs it on a runtime of its own.
///
/// # Errors
/// When no thread can be started; what goes wrong at the wire is counted.
pub fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(all(plan))?;
    runtime.shutdown_background();
    Ok(outcome)
}

async fn all(plan: &Plan) -> anyhow::Result<Outcome> {
    let plan = Arc::new(plan.clone());
    let tls = if plan.tls { Some(tls::connector()?) } else { None };
    for n in 0..plan.stuck {
        let client = Client::connect(&plan, &None, source(&plan, n, 200)).await?;
        tokio::spawn(client.hold(plan.path.clone()));
    }
    let tally = Arc::new(Tally {
        outcome: Mutex::default(),
        start: now(),
        until: plan.seconds.map(Duration::from_secs_f64),
    });
    let beside = match (&plan.beside, plan.beside_target) {
        (Some(path), Some(target)) => {
            Some(beside::start(Plan { path: path.clone(), target, ..Plan::clone(&plan) }))
        }
        (Some(_), None) | (None, _) => None,
    };
    let mut clients = JoinSet::new();
    for n in 0..plan.clients {
        let (plan, tls, tally) = (Arc::clone(&plan), tls.clone(), Arc::clone(&tally));
        clients.spawn(async move { one(&plan, &tls, source(&plan, n, 1), &tally).await });
    }
    while clients.join_next().await.is_some() {}
    let (mut outcome, sum) = tally.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
    outcome.seconds = tally.start.elapsed().as_secs_f64();
    if let Some(beside) = beside {
        outcome.beside = Some(beside.end().await?);
    }
    // Counts of answers are far below 2^32.
    outcome.mean_seconds = sum / f64::from(u32::try_from(outcome.answers).unwrap_or(u32::MAX)).max(1.0);
    Ok(outcome)
}

/// 127.1.x.y for client n, if the target is on the loopback too.
fn source(plan: &Plan, n: usize, net: u8) -> Option<IpAddr> {
    let [.., high, low] = u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1).to_be_bytes();
    let here = matches!(plan.target.ip(), IpAddr::V4(address) if plan.spread || address.is_loopback());
    here.then(|| IpAddr::V4(Ipv4Addr::new(127, net, high, low)))
}

async fn one(plan: &Plan, tls: &Option<tls::Connector>, source: Option<IpAddr>, tally: &Tally) {
    let mut kept = None;
    loop {
        let begun = if plan.seconds.is_some() { now() } else { tally.start };
        let left = tally.until.map(|until| until.saturating_sub(tally.start.elapsed()));
        // A server that refuses at once would be asked for ever: what is ready wins over a timeout of nothing.
        if left.is_some_and(|left| left.is_zero()) {
            return;
        }
        let mut bytes = 0;
        let fetch = async {
            let mut client = match kept.take() {
                Some(client) => client,
                None => Client::connect(plan, tls, source).await?,
            };
            let silence = client.fetch(plan, &mut bytes).await?;
            anyhow::Ok((client, silence))
        };
        let fetched = match left {
            Some(left) => tokio::time::timeout(left, fetch).await.ok(),
            None => Some(fetch.await),
        };
        tally.count(bytes, begun.elapsed().as_secs_f64(), fetched.as_ref());
        let Some(fetched) = fetched else { return };
        if plan.seconds.is_none() {
            return;
        }
        match fetched {
            Ok((client, _)) => kept = (!plan.fresh).then_some(client),
            // A server that refuses at once must not be asked in a busy loop.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

impl Tally {
    fn count(&self, bytes: u64, seconds: f64, fetched: Option<&anyhow::Result<(Client, Duration)>>) {
        let mut guard = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, sum) = &mut *guard;
        outcome.bytes += bytes;
        match fetched {
            None => {}
            Some(Ok((_, silence))) => {
                outcome.answers += 1;
                outcome.silence_seconds = outcome.silence_seconds.max(silence.as_secs_f64());
                *sum += seconds;
                outcome.slowest_seconds = outcome.slowest_seconds.max(seconds);
            }
            Some(Err(error)) => {
                outcome.failures += 1;
                outcome.failure.get_or_insert(format!("{error:#}"));
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "to measure time is what this is for")]
fn now() -> Instant {
    Instant::now()
}

/// Thousands of clients need thousands of sockets; where that is not allowed, connecting fails and says so.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

#[cfg(test)]
mod tests;

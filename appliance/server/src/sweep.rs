//! Visits many management controllers: so many at once, results stored in batches, the dead named.
//!
//! A visit that fails is made again after a pause that doubles, and in places of its own, so that however many are
//! dead the healthy are not slowed.  What was read goes through a short queue into the store, a transaction a batch:
//! when the store is slow, the visits wait, and memory stays bounded.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use appliance_bmc::{Bmc, BmcError, BmcView, Contact, Depth, Keep, Options};
use appliance_model::{
    Mac,
    inventory::{Firmware, Inventory},
};
use appliance_store::{NewHost, StoreError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::chain_of;

/// How many at once, and how patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// First visits at once.
    pub at_once: usize,
    /// Repeated visits at once, beside the first ones.
    pub again_at_once: usize,
    /// Visits to one controller until it is given up; `None` never gives up.
    pub tries_max: Option<u32>,
    /// Before the second visit; doubles from visit to visit.
    pub pause: Duration,
    /// Where the doubling ends.
    pub pause_max: Duration,
    /// Results in one transaction.
    pub batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_once: 1024,
            again_at_once: 128,
            tries_max: None,
            pause: Duration::from_secs(2),
            pause_max: Duration::from_secs(60),
            batch: 64,
        }
    }
}

/// What one visit brought: a host, and its controller's inventory (JSON) where there is one.
pub type Read = (NewHost, Option<Vec<u8>>);

/// Why a visit failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// In words, with what was tried.
    pub why: String,
    /// The controller refused the password: asking soon again would lock the account.
    pub refused: bool,
}

impl<T: Into<String>> From<T> for Failed {
    fn from(why: T) -> Self {
        Self { why: why.into(), refused: false }
    }
}

impl Failed {
    /// From what a controller's client says.
    #[must_use]
    pub fn of(error: &BmcError) -> Self {
        let refused = matches!(error, BmcError::Login { .. } | BmcError::PasswordChange { .. });
        Self { why: chain_of(error), refused }
    }
}

/// A controller that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Its address.
    pub url: String,
    /// Visits made.
    pub tries: u32,
    /// What the last one met.
    pub why: String,
}

/// After a refused password: longer than makers lock an account by default.
const REFUSED_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Requests that one controller is sent at once, each on a connection of its own.
const REQUESTS_AT_ONCE: usize = 4;
/// Open files left to all the rest of the process.
const FILES_SPARE: usize = 512;

/// As many visits at once as the process may open connections for, after asking for as many as it may ask for.
fn affordable(limits: Limits) -> Limits {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return limits };
    let visits = limits.at_once.saturating_add(limits.again_at_once);
    let needed = visits.saturating_mul(REQUESTS_AT_ONCE).saturating_add(FILES_SPARE);
    let wanted = u64::try_from(needed).unwrap_or(u64::MAX).clamp(soft.min(hard), hard);
    let granted = if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() { wanted } else { soft };
    within(limits, usize::try_from(granted).unwrap_or(usize::MAX))
}

/// Limits that so many open files suffice for; repeated visits keep their part.
fn within(limits: Limits, files: usize) -> Limits {
    let room = files.saturating_sub(FILES_SPARE) / REQUESTS_AT_ONCE;
    if room >= limits.at_once.saturating_add(limits.again_at_once) {
        return limits;
    }
    let again_at_once = limits.again_at_once.min(room / 4).max(1);
    let at_once = limits.at_once.min(room.saturating_sub(again_at_once)).max(1);
    tracing::warn!(at_once, files, "fewer BMCs are visited at once; raise the limit of open files");
    Limits { at_once, again_at_once, ..limits }
}

/// Visits every target until it was read or is given up; the dead, in the order they were given up.
///
/// `visit` is what a visit does; `store` is given the results by batches and keeps a batch until it is stored.
pub async fn sweep<T, V, S>(
    targets: Vec<(String, T)>,
    limits: Limits,
    visit: impl Fn(T) -> V,
    mut store: impl FnMut(Vec<Read>) -> S,
) -> Vec<Dead>
where
    T: Clone,
    V: Future<Output = Result<Read, Failed>> + Send + 'static,
    S: Future<Output = ()>,
{
    let (results, mut queue) = mpsc::channel::<Read>(limits.batch.max(1));
    let storing = async {
        let mut batch = Vec::new();
        while queue.recv_many(&mut batch, limits.batch.max(1)).await > 0 {
            store(std::mem::take(&mut batch)).await;
        }
    };
    let (dead, ()) = tokio::join!(Sweep::new(targets, affordable(limits)).run(visit, results), storing);
    dead
}

/// One controller's way through the sweep.
#[derive(Debug)]
struct Turn<T> {
    url: String,
    target: T,
    tries: u32,
}

#[derive(Debug)]
struct Sweep<T> {
    limits: Limits,
    turns: Vec<Turn<T>>,
    fresh: VecDeque<usize>,
    /// Repeated visits by the time they are due.
    later: BTreeSet<(Instant, usize)>,
    /// First and repeated visits under way.
    first: usize,
    again: usize,
    dead: Vec<Dead>,
}

impl<T: Clone> Sweep<T> {
    fn new(targets: Vec<(String, T)>, limits: Limits) -> Self {
        let turns: Vec<_> = targets.into_iter().map(|(url, target)| Turn { url, target, tries: 0 }).collect();
        let (fresh, later, dead) = ((0..turns.len()).collect(), BTreeSet::new(), Vec::new());
        Self { limits, turns, fresh, later, first: 0, again: 0, dead }
    }

    async fn run<V>(mut self, visit: impl Fn(T) -> V, results: mpsc::Sender<Read>) -> Vec<Dead>
    where
        V: Future<Output = Result<Read, Failed>> + Send + 'static,
    {
        let mut under_way = JoinSet::new();
        loop {
            while let Some(at) = self.next() {
                let Some(turn) = self.turns.get_mut(at) else { continue };
                turn.tries += 1;
                let (work, results) = (visit(turn.target.clone()), results.clone());
                under_way.spawn(async move {
                    let read = match work.await {
                        // The other end goes only with this sweep.
                        Ok(read) => results.send(read).await.map_err(|_| Failed::from("the sweep was ended")),
                        Err(failed) => Err(failed),
                    };
                    (at, read)
                });
            }
            let free = self.again < self.limits.again_at_once.max(1);
            let due = self.later.first().map(|(due, _)| *due).filter(|_| free);
            let ended = match (under_way.is_empty(), due) {
                (true, None) => return self.dead,
                (true, Some(due)) => {
                    sleep_until(due).await;
                    continue;
                }
                (false, None) => under_way.join_next().await,
                (false, Some(due)) => tokio::select! {
                    ended = under_way.join_next() => ended,
                    () = sleep_until(due) => continue,
                },
            };
            match ended {
                Some(Ok((at, result))) => self.ended(at, result),
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => {}
            }
        }
    }

    /// The next visit that may begin now.
    fn next(&mut self) -> Option<usize> {
        if self.first < self.limits.at_once.max(1)
            && let Some(at) = self.fresh.pop_front()
        {
            self.first += 1;
            return Some(at);
        }
        let due = self.later.first().is_some_and(|(due, _)| *due <= Instant::now());
        if !due || self.again >= self.limits.again_at_once.max(1) {
            return None;
        }
        self.again += 1;
        self.later.pop_first().map(|(_, at)| at)
    }

    fn ended(&mut self, at: usize, result: Result<(), Failed>) {
        let Some(Turn { url, tries, .. }) = self.turns.get(at) else { return };
        let place = if *tries <= 1 { &mut self.first } else { &mut self.again };
        *place = place.saturating_sub(1);
        let Err(Failed { why, refused }) = result else { return };
        if self.limits.tries_max.is_some_and(|most| *tries >= most) {
            self.dead.push(Dead { url: url.clone(), tries: *tries, why });
            return;
        }
        let pause = pause(self.limits, *tries, refused);
        let seconds = pause.as_secs();
        tracing::warn!(bmc = url, tries, why, seconds, "this BMC could not be read; trying again");
        self.later.insert((Instant::now() + pause, at));
    }
}

/// After `tries` visits that failed.
fn pause(limits: Limits, tries: u32, refused: bool) -> Duration {
    if refused {
        return REFUSED_PAUSE;
    }
    let doubled = 2_u32.saturating_pow(tries.saturating_sub(1));
    limits.pause.saturating_mul(doubled).min(limits.pause_max)
}

/// Reads a controller: its pin, and what it says.  The session is ended whatever comes.
///
/// # Errors
/// When it cannot be asked, or lists no machine.
pub async fn read(contact: Contact, depth: Depth) -> Result<BmcView, Failed> {
    let url = contact.url.clone();
    let options = Options {
        requests_at_once: REQUESTS_AT_ONCE,
        connect_seconds_max: 5,
        connect_again: false,
        // Enough for conditional requests within one visit; more would be kept by each of a thousand.
        keep: Keep::Bodies { bytes_max: 64 << 10 },
        ..Options::default()
    };
    let bmc = Bmc::with(contact, options).map_err(|error| Failed::of(&error))?;
    let view = bmc.survey(depth).await;
    bmc.log_out().await;
    let mut view = view.map_err(|error| Failed::of(&error))?;
    view.pin = bmc.pin();
    for finding in &view.findings {
        let (severity, at) = (finding.severity, &finding.url);
        tracing::info!(bmc = url, ?severity, at, what = finding.what, "BMC finding");
    }
    Ok(view)
}

/// The host behind a controller and its inventory, for the store.
///
/// # Errors
/// When the controller names no system serial.
pub fn host(url: String, position: Option<String>, view: &BmcView) -> Result<Read, Failed> {
    let system = &view.inventory.system;
    let serial = system.serial.clone().ok_or("it names no system serial; set one in the BMC")?;
    let model = [system.manufacturer.as_deref(), system.product.as_deref()];
    let facts = NewHost {
        serial,
        model: Some(model.into_iter().flatten().collect::<Vec<_>>().join(" ")),
        position: position.or_else(|| system.asset_tag.clone()),
        bmc: Some(url),
        bmc_pin: view.pin.map(|pin| pin.0),
        macs: view.inventory.nics.iter().filter_map(|nic| nic.mac).collect::<Vec<Mac>>(),
    };
    Ok((facts, Some(serde_json::to_vec(&told(view)).unwrap_or_default())))
}

/// Stores a batch by `write`, which is tried until it stores.
pub async fn keep<W>(batch: Vec<Read>, write: impl Fn(Arc<Vec<Read>>) -> W)
where
    W: Future<Output = Result<(), StoreError>>,
{
    let batch = Arc::new(batch);
    while let Err(error) = write(Arc::clone(&batch)).await {
        tracing::error!(error = chain_of(&error), hosts = batch.len(), "not stored; trying again");
        tokio::time::sleep(Limits::default().pause).await;
    }
}

/// The controller's inventory with its lists of firmware and BIOS settings, which baselines are compared with.
fn told(view: &BmcView) -> Inventory {
    let mut inventory = view.inventory.clone();
    inventory.firmware.extend(view.firmware.iter().filter_map(|one| {
        // Some name every entry alike; then the component says more.
        let name = one.name.clone().filter(|name| name != "Software Inventory");
        Some(Firmware { name: name.unwrap_or_else(|| one.component.clone()), version: one.version.clone()? })
    }));
    inventory.bios_settings.extend(view.bios.clone());
    inventory
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use appliance_model::Serial;

    use super::*;

    fn row(number: usize) -> Read {
        let facts = NewHost {
            serial: Serial::parse(&format!("SWEPT{number}")).unwrap(),
            model: None,
            position: None,
            bmc: None,
            bmc_pin: None,
            macs: Vec::new(),
        };
        (facts, None)
    }

    /// Of a hundred, five are dead, ten fail once; few at once.
    #[tokio::test]
    async fn the_dead_are_named_and_take_no_place_of_the_healthy() {
        let pause = Duration::from_millis(5);
        let limits =
            Limits { at_once: 10, again_at_once: 2, tries_max: Some(3), pause, pause_max: pause, batch: 8 };
        let tries: Arc<Vec<AtomicUsize>> = Arc::new((0..100).map(|_| AtomicUsize::new(0)).collect());
        // Of first and of repeated visits: how many are running, and the most that were.
        let running: Arc<[[AtomicUsize; 2]; 2]> = Arc::default();
        let mut batches = Vec::new();
        let visit = |number: usize| {
            let (running, tries) = (running.clone(), tries.clone());
            async move {
                let tried = tries[number].fetch_add(1, Ordering::Relaxed);
                let [now, most] = &running[usize::from(tried > 0)];
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                match number {
                    _ if number.is_multiple_of(20) => Err(Failed::from("silent")),
                    _ if number % 10 == 1 && tried == 0 => Err(Failed::from("busy")),
                    _ => Ok(row(number)),
                }
            }
        };
        let targets = (0..100).map(|number| (format!("https://bmc-{number}"), number)).collect();
        let mut dead = sweep(targets, limits, visit, |batch| {
            batches.push(batch.len());
            std::future::ready(())
        })
        .await;
        dead.sort_by(|a, b| a.url.cmp(&b.url));
        let named: Vec<_> = dead.iter().map(|one| (one.url.as_str(), one.tries, one.why.as_str())).collect();
        let wanted =
            ["https://bmc-0", "https://bmc-20", "https://bmc-40", "https://bmc-60", "https://bmc-80"];
        assert_eq!(named, wanted.map(|url| (url, 3, "silent")));
        assert_eq!(batches.iter().sum::<usize>(), 95);
        assert!(batches.iter().all(|rows| *rows <= 8), "{batches:?}");
        let most = [0, 1].map(|kind| running[kind][1].load(Ordering::Relaxed));
        assert_eq!(most[0], 10);
        assert!(most[1] <= 2, "{most:?}");
    }

    #[test]
    fn few_open_files_mean_few_visits() {
        let limits = Limits { at_once: 1024, again_at_once: 128, ..Limits::default() };
        let rows = [(5120, (1024, 128)), (4096, (768, 128)), (1024, (96, 32)), (512, (1, 1))];
        for (files, expected) in rows {
            let got = within(limits, files);
            assert_eq!((got.at_once, got.again_at_once), expected, "{files}");
        }
    }

    #[test]
    fn pauses_double_and_a_refused_password_is_left_alone() {
        let limits = Limits::default();
        let seconds = |tries, refused| pause(limits, tries, refused).as_secs();
        assert_eq!([1, 2, 3, 6, 40].map(|tries| seconds(tries, false)), [2, 4, 8, 60, 60]);
        assert_eq!(seconds(1, true), 900);
    }

    /// A store that fails loses nothing.
    #[tokio::test]
    async fn a_batch_is_kept_until_it_is_stored() {
        let tries = AtomicUsize::new(0);
        keep(vec![row(1)], |batch| {
            let first = tries.fetch_add(1, Ordering::Relaxed) == 0;
            let missing = StoreError::NoHost(appliance_model::HostId::of_serial(&batch[0].0.serial));
            std::future::ready(if first { Err(missing) } else { Ok(()) })
        })
        .await;
        assert_eq!(tries.load(Ordering::Relaxed), 2);
    }
}

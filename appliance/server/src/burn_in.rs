//! Burn-ins of hosts: what is ordered, and what becomes of the result stream as it comes.
//!
//! Lines are read by the core's reader before they are kept, so that what is in the store is a stream as far as it goes,
//! whoever sent it; the host may die in the middle.  The verdict is computed here from the stream: the agent's own must
//! be the same.  The core makes pictures of it (`staged::look`), `api` hands them out, `fleet` compares models.

pub(crate) mod api;
mod fleet;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use appliance_api::agent::{BurnInOrder, StreamPart, Work};
use appliance_enrol::{Event, Refusal};
use appliance_model::{
    HostId, Seconds,
    burn_in::{
        Verdict,
        staged::{Course, Done, Figure, Outcome, Peer, Report, SpanConsent, Unit},
    },
    inventory::Inventory,
    real::Wishes,
    rules::Placement,
};
use appliance_store::{BurnInRun, HostRow, Kind, Store, StoreError};
use axum::http::StatusCode;
use firmware_checks_burn_in::{
    staged::{self, Given},
    stream::{self, Reader, Run},
};
use serde::{Deserialize, Serialize};

use crate::{
    agent_api::Refused,
    app::{App, now},
    chain_of, checks,
    executor::End,
};

/// A burn-in that was planned longer ago than it takes, and this, is not continued: the machine may have been opened.
const STALE_SECONDS: u64 = 86_400;

/// As much of a stream as is handed out at once.
const PART_BYTES_MAX: usize = 1 << 20;

/// What was ordered, as the store keeps it: the agent gets it whole, and the stream's opening must repeat it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ordered {
    pub(crate) course: Course,
    pub(crate) consents: Vec<SpanConsent>,
    pub(crate) profile: String,
    pub(crate) models: BTreeMap<String, String>,
    pub(crate) peers: Vec<Peer>,
}

impl Ordered {
    pub(crate) fn of(run: &BurnInRun) -> Option<Self> {
        serde_json::from_str(&run.plan).ok()
    }

    fn tasks(&self) -> usize {
        self.course.stages.iter().flat_map(|stage| stage.waves.iter()).map(Vec::len).sum()
    }

    /// Whether a stream was opened for this.
    fn opens(&self, run: &Run) -> bool {
        let opening = &run.opening;
        opening.course == self.course
            && opening.profile == self.profile
            && opening.models == self.models
            && opening.peers == self.peers
    }
}

/// Streams that are being read, by host: what is in the store is not read again for each line, nor for each look.
#[derive(Debug, Default)]
pub(crate) struct Desks(Mutex<HashMap<HostId, Arc<Mutex<Desk>>>>);

/// Streams that are kept in memory, a few MiB each after days: a rack and a half of servers.  Others are read again.
const DESKS_MAX: usize = 64;

#[derive(Debug, Default)]
struct Desk {
    run: u64,
    reader: Reader,
}

impl Desks {
    fn of(&self, host: &HostId) -> Arc<Mutex<Desk>> {
        let mut desks = lock(&self.0);
        if desks.len() >= DESKS_MAX && !desks.contains_key(host) {
            // One that nobody is at; whoever it was comes back to a new one.
            let idle = desks.iter().find(|(_, desk)| Arc::strong_count(desk) == 1);
            if let Some(idle) = idle.map(|(host, _)| host.clone()) {
                desks.remove(&idle);
            }
        }
        Arc::clone(desks.entry(host.clone()).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Reads what the store has of `run` and this desk has not.
    fn catch_up(&mut self, store: &Store, run: &BurnInRun) -> Result<(), StoreError> {
        if self.run != run.id || self.reader.lines() > run.head.lines {
            *self = Self { run: run.id, reader: Reader::default() };
        }
        while self.reader.lines() < run.head.lines {
            let before = self.reader.lines();
            let Some((first, text)) = store.burn_in_lines(run.id, before, PART_BYTES_MAX)? else { break };
            for line in whole_lines(&text).skip(skip(before, first)) {
                if let Err(refused) = self.reader.push(line) {
                    // Only what was read is kept, so somebody has changed the file.
                    tracing::error!(run = run.id, why = %refused, "the store's copy of a result stream is broken");
                    return Ok(());
                }
            }
            if self.reader.lines() == before {
                break;
            }
        }
        Ok(())
    }
}

/// What the stream of `run` says so far; nothing before its second line.
pub(crate) fn read(
    desks: &Desks,
    store: &Store,
    host: &HostId,
    run: &BurnInRun,
) -> Result<Option<Run>, StoreError> {
    let desk = desks.of(host);
    let mut desk = lock(&desk);
    desk.catch_up(store, run)?;
    Ok(desk.reader.run().cloned())
}

fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

fn skip(wanted: u64, first: u64) -> usize {
    usize::try_from(wanted.saturating_sub(first)).unwrap_or(usize::MAX)
}

fn unfit(rule: &str, text: impl Into<String>) -> Event {
    Event::Unfit(Refusal { rule: rule.to_owned(), text: text.into() })
}

/// Plans the burn-in.  The same machine gets the same plan, and then goes on with the stream it has.
pub(crate) async fn plan(app: &Arc<App>, host: &HostRow, inventory: &Inventory) -> Result<End, StoreError> {
    if let Some(why) = checks::stops(app, host, inventory).await? {
        return Ok(End::Done(Event::Unfit(why)));
    }
    let (host, inventory, planning) = (host.clone(), inventory.clone(), Arc::clone(app));
    let planned = app.db(move |store| make(&planning, store, &host, &inventory)).await?;
    Ok(End::Done(match planned {
        Ok((steps, done)) => Event::Planned { steps, done },
        Err(why) => unfit("burn-in-plan", why),
    }))
}

/// Tasks, and how many of them have an outcome; or why there is no plan.
fn make(
    app: &App,
    store: &Store,
    host: &HostRow,
    inventory: &Inventory,
) -> Result<Result<(u32, u32), String>, StoreError> {
    let profile = &app.config.burn_in.profile;
    let mut consents = app.config.consents_for(inventory);
    consents.extend(store.consents(&host.id)?.into_iter().map(|row| row.span));
    // A person's word about a drive replaces the site's.
    consents.reverse();
    consents.sort_by(|one, other| one.serial.as_str().cmp(other.serial.as_str()));
    consents.dedup_by(|one, other| one.serial == other.serial);
    let class = expected_class(app, inventory);
    let given = Given {
        class: class.as_deref(),
        consents: &consents,
        controller: host.facts.bmc.is_some(),
        // Another machine of the rack, or the appliance itself.
        partners: true,
    };
    let course = match staged::plan(inventory, profile, given) {
        Ok(course) => course,
        Err(error) => return Ok(Err(chain_of(&error))),
    };
    let open = store.burn_in(&host.id)?.filter(|run| run.ended_at.is_none());
    let known = open.as_ref().and_then(|run| Some((run, Ordered::of(run)?)));
    let continued = known.filter(|(run, ordered)| {
        let planned: u64 = course.stages.iter().map(|stage| u64::from(stage.seconds_max)).sum();
        ordered.course == course
            && ordered.consents == consents
            && now().since(run.at) <= Seconds(2 * planned + STALE_SECONDS)
    });
    let (run, ordered) = match continued {
        Some((run, ordered)) => (run.clone(), ordered),
        None => {
            // Other drives, other profile: what was measured under the old plan says nothing about this one.
            let models = staged::models(inventory);
            let peers = fleet::peers(store, &host.id, profile, &models)?;
            let text = app.config.burn_in.text.clone();
            let ordered = Ordered { course, consents, profile: text, models, peers };
            let plan = serde_json::to_string(&ordered).unwrap_or_default();
            (store.begin_burn_in(&host.id, &plan, stream::start(), now())?, ordered)
        }
    };
    let done = read(&app.desks, store, &host.id, &run)?.map_or(0, |run| run.outcomes.len());
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Ok((count(ordered.tasks()), count(done))))
}

/// The class that this machine will be of if it passes: some profiles test some classes longer.  What its drives will
/// measure is not known, and decides their tier, not the class.
fn expected_class(app: &App, inventory: &Inventory) -> Option<String> {
    let rules = app.config.checks.class_rules()?;
    let serials = inventory.drives.iter().filter_map(|drive| drive.serial.as_ref());
    let outcome = |serial| {
        let figure = Figure {
            name: "random-read-rate".into(),
            device: format!("drive {serial}"),
            value: 1,
            unit: Unit::OperationsPerSecond,
            attained: None,
        };
        let done = Done::Measured { figures: vec![figure], faults: Vec::new(), coverage: Vec::new() };
        Outcome { task: String::new(), boot: 0, seconds: 0, done }
    };
    let course = Course {
        profile: String::new(),
        profile_digest: String::new(),
        serial: inventory.system.serial.clone()?,
        stages: Vec::new(),
    };
    let verdict = Verdict::Pass { coverage: Vec::new() };
    let passed =
        Report { course, outcomes: serials.map(outcome).collect(), verdict, stream: stream::start() };
    let carved = appliance_carve::carve(inventory, &passed, &rules, &Placement::default(), Wishes::default());
    carved.ok().map(|carved| carved.manifest.class)
}

/// The order for a host that is burnt in.
pub(crate) async fn order(app: &Arc<App>, host: &HostRow) -> Result<Work, StoreError> {
    let (host, asked) = (host.clone(), Arc::clone(app));
    app.db(move |store| {
        let mut run = store.burn_in(&host.id)?.filter(|run| run.ended_at.is_none());
        if run.is_none() {
            // Planned by an earlier version of the appliance, in another format.
            let inventory = store.document(&host.id, Kind::Inventory)?;
            let inventory: Option<Inventory> =
                inventory.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if let Some(inventory) = inventory
                && make(&asked, store, &host, &inventory)?.is_ok()
            {
                run = store.burn_in(&host.id)?;
            }
        }
        let Some((so_far, ordered)) = run.and_then(|run| Some((run.head, Ordered::of(&run)?))) else {
            return Ok(Work::Wait);
        };
        let Ordered { course, consents, profile, models, peers } = ordered;
        Ok(Work::BurnIn(Box::new(BurnInOrder { course, consents, profile, models, peers, so_far })))
    })
    .await
}

/// Lines that were reported before, for an agent that has just been booted.
pub(crate) async fn part(app: &Arc<App>, host: &HostRow, from: u64) -> Result<StreamPart, StoreError> {
    let id = host.id.clone();
    app.db(move |store| {
        let Some(run) = store.burn_in(&id)? else { return Ok(StreamPart { lines: String::new() }) };
        let found = store.burn_in_lines(run.id, from, PART_BYTES_MAX)?;
        let lines = found.map_or_else(String::new, |(first, text)| {
            text.split_inclusive('\n').skip(skip(from, first)).collect()
        });
        Ok(StreamPart { lines })
    })
    .await
}

/// Takes lines of the stream.  What came twice counts once; what does not belong where it stands ends the burn-in.
pub(crate) async fn lines(app: &Arc<App>, host: &HostRow, from: u64, text: String) -> Result<Event, Refused> {
    let (id, taking) = (host.id.clone(), Arc::clone(app));
    let event = app.db(move |store| take(&taking.desks, store, &id, from, &text)).await?;
    app.bump();
    Ok(event)
}

fn take(desks: &Desks, store: &Store, host: &HostId, from: u64, text: &str) -> Result<Event, StoreError> {
    const RULE: &str = "burn-in-stream";
    let open = store.burn_in(host)?.filter(|run| run.ended_at.is_none());
    let Some((run, ordered)) = open.and_then(|run| Some((run.clone(), Ordered::of(&run)?))) else {
        return Ok(unfit(RULE, "there is no burn-in of this host; retry it"));
    };
    let desk = desks.of(host);
    let mut desk = lock(&desk);
    desk.catch_up(store, &run)?;
    let have = desk.reader.lines();
    if from > have {
        let missing = format!("burn-in result stream, line {}: it was left out", have + 1);
        return Ok(unfit(RULE, missing));
    }
    if !text.ends_with('\n') {
        return Ok(unfit(RULE, "burn-in result stream: the last line has no end: it was cut"));
    }
    let (mut kept, mut refused) = (String::new(), None);
    for line in whole_lines(text).skip(skip(have, from)) {
        let begins = desk.reader.run().is_none();
        if let Err(why) = desk.reader.push(line) {
            refused = Some(why.to_string());
            break;
        }
        if begins && desk.reader.run().is_some_and(|run| !ordered.opens(run)) {
            let why = "burn-in result stream, line 2: it opens another burn-in than was ordered";
            *desk = Desk::default();
            return Ok(unfit(RULE, why));
        }
        kept.push_str(line);
        kept.push('\n');
    }
    let Some((to, done)) = desk.reader.run().map(|run| (run.head, run.outcomes.len())) else {
        // Not even the opening: nothing that could be kept.
        *desk = Desk::default();
        return Ok(unfit(RULE, refused.unwrap_or_else(|| "the result stream has no opening".into())));
    };
    if !kept.is_empty() && !store.append_burn_in(run.id, run.head, &kept, to)? {
        // Somebody else was faster: the agent says it again, and is then told.
        *desk = Desk::default();
    }
    Ok(match refused {
        Some(why) => unfit(RULE, why),
        None => Event::StepDone { done: u32::try_from(done).unwrap_or(u32::MAX) },
    })
}

/// Takes the whole report, and judges its stream anew: the agent's verdict counts only if ours is the same.
pub(crate) async fn report(app: &Arc<App>, host: &HostRow, json: String) -> Result<Event, Refused> {
    let report: Report = serde_json::from_str(&json).map_err(|_| {
        Refused(StatusCode::BAD_REQUEST, "the report's burn-in is not what the protocol says".into())
    })?;
    let (id, taking) = (host.id.clone(), Arc::clone(app));
    Ok(app.db(move |store| judge(&taking.desks, store, &id, &report, &json)).await?)
}

fn judge(
    desks: &Desks,
    store: &Store,
    host: &HostId,
    report: &Report,
    json: &str,
) -> Result<Event, StoreError> {
    let refused = |text: &str| Ok(unfit("burn-in-report", text));
    let Some(run) = store.burn_in(host)?.filter(|run| run.ended_at.is_none()) else {
        return refused("the agent reports on a burn-in that nobody ordered; retry the host");
    };
    let (Some(ordered), Some(found)) = (Ordered::of(&run), read(desks, store, host, &run)?) else {
        return refused("the agent reports on a burn-in without a result stream; retry the host");
    };
    if report.course != ordered.course {
        return refused("the agent reports on another plan than the one it was given; retry the host");
    }
    if report.stream != found.head || report.outcomes != found.outcomes {
        return refused("the agent's report is not of the result stream that it has sent; retry the host");
    }
    let verdict = stream::judge(&found);
    if report.verdict != verdict || found.closed.as_ref() != Some(&verdict) {
        return refused(
            "the agent's verdict is not what its own results amount to; do not trust this machine",
        );
    }
    if matches!(verdict, Verdict::Pass { .. }) {
        store.keep_figures(host, &fleet::figures(host, &found, now()))?;
    }
    // Last, so that whoever sees the report sees the figures too.  The run stays open: a report that is repeated after
    // a lost answer, or after a power cut, finds it as it was.
    let report = store.put(host, Kind::BurnIn, json.as_bytes(), now())?;
    Ok(Event::BurnInDone { report, verdict })
}

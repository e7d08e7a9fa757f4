//! What the controllers of machines in burn-in see meanwhile: looked at every half minute, kept in the store, told to the
//! agent when it asks, so that it goes into the result stream.
//!
//! What it amounts to is the core's (`firmware_checks_burn_in::board`).  A machine's task here holds one session with its
//! controller as long as the burn-in lasts: one login instead of thousands in the controller's own log.  After a restart
//! the record goes on where it was, with a gap.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use appliance_bmc::{Bmc, BmcError, Pin, SensorKind, Vitals};
use appliance_enrol::Stage;
use appliance_model::{
    Digest, HostId,
    burn_in::aid::{BoardQuestion, BoardWord},
};
use appliance_store::{BurnInRun, HostRow, Kind, StoreError};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use firmware_checks_burn_in::board::{Event, LOOK_EVERY, Look, Of, Reading, Record};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    agent_api::{Refused, authenticate},
    app::{App, now},
    chain_of, config, controllers, ipmi, power,
};

/// How often it is looked for machines that have begun.
const TICK: Duration = Duration::from_secs(2);
/// Controllers that are asked at once.
const LOOKS_AT_ONCE_MAX: usize = 32;
/// One look, whatever the controller does.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// Between two looks, however often an agent asks.
const PAUSE: Duration = Duration::from_secs(5);
/// How long an agent waits for a fresh look; the last one is half a minute old at most.
const FRESH_WAIT: Duration = Duration::from_secs(10);

/// Machines that are watched now.
#[derive(Debug)]
pub(crate) struct Boards {
    bells: Mutex<HashMap<HostId, Arc<Bell>>>,
    places: Semaphore,
}

impl Default for Boards {
    fn default() -> Self {
        Self { bells: Mutex::default(), places: Semaphore::new(LOOKS_AT_ONCE_MAX) }
    }
}

/// Between who asks and who looks.
#[derive(Debug)]
struct Bell {
    wanted: Notify,
    looked: watch::Sender<u64>,
}

impl Boards {
    fn bells(&self) -> MutexGuard<'_, HashMap<HostId, Arc<Bell>>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches every machine that burns in, for as long as the appliance runs.
pub(crate) async fn run(app: Arc<App>) {
    let (mut watched, mut here) = (JoinSet::new(), HashSet::new());
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        while let Some(ended) = watched.try_join_next() {
            match ended {
                Ok(host) => drop(here.remove(&host)),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        let Ok(hosts) = app.db(appliance_store::Store::hosts).await else { continue };
        for host in hosts.into_iter().filter(burns) {
            if here.insert(host.id.clone()) {
                watched.spawn(watch(Arc::clone(&app), host.id));
            }
        }
    }
}

fn burns(host: &HostRow) -> bool {
    matches!(host.stage, Stage::BurningIn { .. })
}

/// Watches one machine until its burn-in is over.
async fn watch(app: Arc<App>, id: HostId) -> HostId {
    let bell = Arc::new(Bell { wanted: Notify::new(), looked: watch::Sender::new(0) });
    app.boards.bells().insert(id.clone(), Arc::clone(&bell));
    let mut line = Line(None);
    loop {
        match look(&app, &id, &mut line).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(host = %id, error = chain_of(&error), "a look at a board was not kept")
            }
        }
        bell.looked.send_modify(|count| *count += 1);
        tokio::time::sleep(PAUSE).await;
        let _ = timeout(Duration::from_secs(LOOK_EVERY.0) - PAUSE, bell.wanted.notified()).await;
    }
    app.boards.bells().remove(&id);
    line.hang_up(&app).await;
    id
}

/// The session with a controller, and with which account it was opened.
struct Line(Option<(config::Bmc, Bmc)>);

impl Line {
    async fn hang_up(&mut self, app: &Arc<App>) {
        if let Some((entry, bmc)) = self.0.take() {
            controllers::leave(app, &entry, &bmc).await;
        }
    }
}

/// Looks once, and writes down what was seen or why nothing was.  `false`: the machine does not burn in any more.
async fn look(app: &Arc<App>, id: &HostId, line: &mut Line) -> Result<bool, StoreError> {
    let name = id.clone();
    let (host, run) = app.db(move |store| Ok((store.host(&name)?, store.burn_in(&name)?))).await?;
    if !burns(&host) {
        return Ok(false);
    }
    let Some(run) = run.filter(|run| run.ended_at.is_none()) else { return Ok(true) };
    let Ok(_place) = app.boards.places.acquire().await else { return Ok(true) };
    let seen = match timeout(LOOK_MAX, seen(app, &host, line)).await {
        Ok(seen) => seen,
        Err(_) => {
            line.hang_up(app).await;
            Err(format!("it did not answer within {} s", LOOK_MAX.as_secs()))
        }
    };
    // Without a controller there is nothing to tell, and nothing to keep.
    let Some(seen) = seen.transpose() else { return Ok(true) };
    let (id, at) = (id.clone(), now());
    app.db(move |store| {
        let mut record = kept(store, &id, &run)?;
        match &seen {
            Ok(look) => record.look(look, at),
            Err(why) => record.missed(why),
        }
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        store.put(&id, Kind::Board, &bytes, at).map(|_| true)
    })
    .await
}

/// The record of this burn-in; a new one where the kept one is of another.
fn kept(store: &appliance_store::Store, id: &HostId, run: &BurnInRun) -> Result<Record, StoreError> {
    let kept = store.document(id, Kind::Board)?;
    let kept: Option<Record> = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(kept.filter(|record| record.run == run.id).unwrap_or_else(|| Record::new(run.id, run.at)))
}

/// What the controller shows; `None` where the machine has none that we know.
async fn seen(app: &Arc<App>, host: &HostRow, line: &mut Line) -> Result<Option<Look>, String> {
    let Some(entry) = controllers::of_host(app, host)? else { return Ok(None) };
    let other = |(known, _): &(config::Bmc, Bmc)| known.what != entry.what || known.url != entry.url;
    if line.0.as_ref().is_some_and(other) {
        line.hang_up(app).await;
    }
    if line.0.is_none() {
        let Some(bmc) = power::contact(&entry, host.facts.bmc_pin.map(Pin)) else {
            return power::by_ipmi(app, &entry, ipmi::vitals(&entry).await).await.map(Some);
        };
        line.0 = Some((entry, bmc));
    }
    let Some((_, bmc)) = &line.0 else { return Ok(None) };
    let vitals: Result<Vitals, BmcError> = bmc.vitals().await;
    match vitals {
        Ok(vitals) => Ok(Some(of(&vitals))),
        Err(error) => {
            line.hang_up(app).await;
            Err(chain_of(&error))
        }
    }
}

fn of(vitals: &Vitals) -> Look {
    let reading = |sensor: &appliance_bmc::Sensor| Reading {
        name: sensor.name.clone(),
        of: match sensor.kind {
            SensorKind::Temperature => Of::Temperature,
            SensorKind::FanSpeed => Of::Fan,
            SensorKind::Power => Of::Power,
            SensorKind::FanPercent | SensorKind::Voltage | SensorKind::Current | SensorKind::Other => {
                Of::Other
            }
        },
        milli: sensor.value_milli,
        critical: sensor.health.as_deref().map(|health| health == "Critical"),
    };
    let event = |entry: &appliance_bmc::LogEntry| {
        let told = |text: &Option<String>| text.clone().unwrap_or_default();
        let (id, when, message) = (told(&entry.id), told(&entry.when), told(&entry.message));
        Event {
            key: Digest::of(format!("{}\n{id}\n{when}\n{message}", entry.log).as_bytes()).to_string(),
            critical: entry.severity.as_deref() == Some("Critical"),
            text: format!("{} {id}, {when}: {message}", entry.log),
        }
    };
    let events = (!vitals.logs_cut).then(|| vitals.logs.iter().map(event).collect());
    Look { readings: vitals.sensors.iter().map(reading).collect(), events }
}

/// `POST /agent/v1/board`: what was seen since the burn-in began, with a fresh look.
pub(crate) async fn board(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Json(question): Json<BoardQuestion>,
) -> Result<Json<BoardWord>, Refused> {
    let host = authenticate(&app, &headers).await?;
    if question.order != host.generation || !burns(&host) {
        return Err(Refused(
            StatusCode::GONE,
            "this burn-in is not open any more; ask for the next order".into(),
        ));
    }
    let bell = app.boards.bells().get(&host.id).cloned();
    if let Some(bell) = bell {
        let mut looked = bell.looked.subscribe();
        bell.wanted.notify_one();
        let _ = timeout(FRESH_WAIT, looked.changed()).await;
    }
    let known = match controllers::of_host(&app, &host) {
        Ok(Some(_)) | Err(_) => true,
        Ok(None) => false,
    };
    let id = host.id.clone();
    let word = app.db(move |store| {
        let Some(run) = store.burn_in(&id)? else { return Ok(None) };
        Ok(Some(kept(store, &id, &run)?.word(now())))
    });
    let nobody = "no management controller of this machine is known; name it in the site file or import it";
    Ok(Json(match word.await?.filter(|_| known) {
        Some(word) => word,
        None => BoardWord::Unseen { why: nobody.into() },
    }))
}

#[cfg(test)]
mod tests {
    use appliance_bmc::{Contact, Options, Password};
    use appliance_model::Now;
    use hil_tests_rack::{
        Quirks,
        fleet::{Fleet, FleetConfig, Places},
    };
    use serde_json::json;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_sensor_and_an_event_that_turn_critical_under_load_are_told() {
        let config = FleetConfig {
            count: 1,
            places: Places::Ports(([127, 0, 0, 1], 0).into()),
            tree: None,
            quirks: Quirks::default(),
            plain: false,
            account: None,
            latency: None,
            dead_permille: 0,
            death: None,
            errors_permille: 0,
            ipmi: None,
            faults: Vec::new(),
            on: true,
        };
        let fleet = Fleet::start(&config).await.unwrap();
        let listed = &fleet.listed()[0];
        let (url, user) = (listed.url.clone(), listed.user.clone());
        let contact = Contact { url, user, password: Password::new(&listed.password), pin: None };
        let bmc = Bmc::with(contact, Options::default()).unwrap();
        let at = |second: u64| Now(1_000_000 + second * 1000);
        let mut record = Record::new(1, at(0));
        record.look(&of(&bmc.vitals().await.unwrap()), at(5));
        let hot = json!([{ "MemberId": "1", "Name": "CPU1 Temp", "ReadingCelsius": 99,
            "Status": { "State": "Enabled", "Health": "Critical" } }]);
        fleet.lie(0, "/redfish/v1/Chassis/1/Thermal", json!({ "Temperatures": hot }));
        let entries = "/redfish/v1/Systems/1/LogServices/SEL/Entries";
        let event = json!([{ "@odata.id": format!("{entries}/9"), "Id": "9", "Severity": "Critical",
            "Created": "2026-01-01T00:00:00Z", "Message": "CPU 1 thermal trip" }]);
        fleet.lie(0, entries, json!({ "Members": event, "Members@odata.count": 1 }));
        record.look(&of(&bmc.vitals().await.unwrap()), at(35));
        bmc.log_out().await;
        // An appliance that was restarted in between goes on with what it kept.
        let kept = serde_json::to_vec(&record).unwrap();
        let record: Record = serde_json::from_slice(&kept).unwrap();
        let BoardWord::Seen { figures, faults, series, .. } = record.word(at(40)) else { panic!("seen") };
        let figure = |name: &str| figures.iter().find(|one| one.name == name).map(|one| one.value);
        assert_eq!((figure("sensors-critical"), figure("events-critical")), (Some(1), Some(1)), "{faults:?}");
        assert_eq!(figure("board-temperature-max"), Some(99));
        assert!(figure("power-max").is_some() && figure("fan-min").is_some() && !series.is_empty());
        let faults = faults.join("; ");
        assert!(faults.contains("CPU1 Temp is critical") && faults.contains("thermal trip"), "{faults}");
    }
}

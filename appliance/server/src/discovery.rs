//! Reads each controller once with each password it may have: those of the site file, those imported and those found,
//! as soon as they are known.  The host behind one is remembered by its serial.
//!
//! Between visits it ends password changes that a crash has cut, and gives factory passwords up where the site file
//! says so.  Who is visited when is `controllers/ledger.rs`'s to say; how many at once `sweep.rs`'s.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use appliance_bmc::{Contact, Depth, Pin};
use appliance_model::Digest;
use appliance_store::{HostRow, Lockout, NewHost, Outcome, Sighting, Source, StoreError};
use tokio::{sync::mpsc, task::JoinSet, time::MissedTickBehavior};

use crate::{
    app::{App, now},
    chain_of, climb, config,
    controllers::{
        self,
        ledger::{Ended, Ledger},
    },
    custody,
    sweep::{self, Failed, Limits, Read},
    vault::PasswordLimits,
};

/// How often it is looked whether something is due or changed.
const TICK: Duration = Duration::from_secs(1);
/// Visits whose end waits to be written down.
const ENDS_MAX: usize = 1024;

/// What the store knew of a controller when the service started.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    pin: Option<Digest>,
    /// The appliance may have been restarted between a machine's hello and the end of its boot medium.
    booted: bool,
}

/// How a visit ended, on its way to ledger and store.
struct End {
    url: String,
    ended: Ended,
    outcome: Outcome,
    /// Of an account of the vault: what its controller told.
    account: Option<(String, custody::Met)>,
}

/// Visits controllers for as long as the appliance runs.
pub(crate) async fn run(app: Arc<App>) {
    let known = loop {
        match app.db(appliance_store::Store::hosts).await {
            Ok(hosts) => break Arc::new(before(hosts)),
            Err(error) => tracing::error!(error = chain_of(&error), "the hosts cannot be read; trying again"),
        }
        tokio::time::sleep(Limits::default().pause).await;
    };
    let (ends, mut ended) = mpsc::channel::<End>(ENDS_MAX);
    let (mut ledger, mut waves, mut custody) =
        (Ledger::default(), JoinSet::new(), custody::Custody::default());
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            _ = tick.tick() => {}
            _ = ended.recv_many(&mut batch, ENDS_MAX) => {}
            Some(result) = waves.join_next() => if let Err(panic) = result {
                tracing::error!(%panic, "a defect of the appliance ended visits to controllers");
            }
        }
        take(&app, &mut ledger, &mut custody, batch).await;
        match controllers::refresh(&app).await {
            Ok(true) => want(&app, &mut ledger).await,
            Ok(false) => {}
            Err(error) => {
                tracing::error!(error = chain_of(&error), "the accounts cannot be read; trying again")
            }
        }
        custody.go_on(&app);
        let due = ledger.due(now());
        if !due.is_empty() {
            waves.spawn(wave(Arc::clone(&app), due, Arc::clone(&known), ends.clone()));
        }
    }
}

/// Takes over what is to be visited, and lets people see it.
async fn want(app: &Arc<App>, ledger: &mut Ledger) {
    if let Err(error) = take_pins(app).await {
        tracing::error!(error = chain_of(&error), "keys of controllers were not taken over");
    }
    let targets = controllers::targets(app);
    ledger.want(targets.iter().map(|(url, what, _)| (url.clone(), *what)));
    let sighting = |(url, _, source): (String, Digest, Source)| Sighting {
        url,
        mac: None,
        serial: None,
        key: None,
        service: None,
        source,
    };
    let sightings: Vec<Sighting> = targets.into_iter().map(sighting).collect();
    if let Err(error) = app.db(move |store| store.sighted(&sightings, now()).map(drop)).await {
        tracing::error!(error = chain_of(&error), "which controllers there are was not written down");
    }
    app.bump();
}

/// An account of a machine whose controller we have met by the site file demands the key that it showed then.
async fn take_pins(app: &Arc<App>) -> Result<(), StoreError> {
    let accounts = app.controllers.accounts();
    if accounts.iter().all(|row| row.pin.is_some()) {
        return Ok(());
    }
    app.db(move |store| {
        let hosts = store.hosts()?;
        let pins: BTreeMap<&str, Digest> =
            hosts.iter().filter_map(|host| Some((host.facts.serial.as_str(), host.facts.bmc_pin?))).collect();
        for row in accounts.iter().filter(|row| row.pin.is_none()) {
            if let Some(pin) = row.account.serial.as_deref().and_then(|serial| pins.get(serial)) {
                store.pin_account(&row.account.name, *pin)?;
            }
        }
        Ok(())
    })
    .await
}

/// Takes over how visits ended.
async fn take(app: &Arc<App>, ledger: &mut Ledger, custody: &mut custody::Custody, batch: Vec<End>) {
    let mut outcomes = Vec::new();
    for end in batch {
        let turn = ledger.ended(&end.url, end.ended, now());
        if let (Outcome::Trouble(why), Some((tries, seconds))) = (&end.outcome, turn) {
            tracing::warn!(bmc = end.url, tries, why, seconds, "this BMC could not be read; trying again");
        }
        if let Some((name, met)) = end.account {
            custody.met(app, name, met);
        }
        outcomes.push((end.url, end.outcome));
    }
    if outcomes.is_empty() {
        return;
    }
    if let Err(error) = app.db(move |store| store.visited(&outcomes, now())).await {
        tracing::error!(error = chain_of(&error), "how controllers were read was not written down");
    }
    app.bump();
}

/// Visits each of these once.
async fn wave(
    app: Arc<App>,
    due: Vec<String>,
    known: Arc<BTreeMap<String, Before>>,
    ends: mpsc::Sender<End>,
) {
    let targets = due.into_iter().map(|url| (url.clone(), url)).collect();
    let visit = |url: String| {
        let (app, ends) = (Arc::clone(&app), ends.clone());
        let before = known.get(&url).copied().unwrap_or_default();
        async move {
            let (end, read) = visit(&app, url, before).await;
            // The other end lives as long as the appliance.
            let _ = ends.send(end).await;
            read
        }
    };
    let limits = Limits { tries_max: Some(1), ..Limits::default() };
    sweep::sweep(targets, limits, visit, |batch| store(&app, batch)).await;
}

fn before(hosts: Vec<HostRow>) -> BTreeMap<String, Before> {
    let known = |host: HostRow| {
        let before = Before { pin: host.facts.bmc_pin, booted: host.stage.boot().is_some() };
        Some((host.facts.bmc?, before))
    };
    hosts.into_iter().filter_map(known).collect()
}

async fn store(app: &Arc<App>, batch: Vec<Read>) {
    let write = |rows: Arc<Vec<Read>>| app.db(move |store| store.remember_all(&rows, now()));
    sweep::keep(batch, write).await;
    app.bump();
}

async fn visit(app: &Arc<App>, url: String, before: Before) -> (End, Result<Read, Failed>) {
    let entry = match controllers::at(app, &url) {
        Ok(Some(entry)) => entry,
        Ok(None) => {
            return failed(url, Ended::Failed, "neither site file nor vault names it any more".into());
        }
        // Its time comes; asking is free.
        Err(why) => return failed(url, Ended::Later(WAIT_SECONDS), why.into()),
    };
    let read = if entry.redfish {
        by_redfish(app, &entry, before).await
    } else {
        by_ipmi(&entry).await.map(|read| (read, PasswordLimits::default()))
    };
    match read {
        Ok((read, limits)) => {
            let outcome = outcome(app, &entry, &read);
            let serial = Some(read.0.serial.clone());
            let account = entry.account.map(|name| (name, custody::Met { limits, serial }));
            (End { url, ended: Ended::Read, outcome, account }, Ok(read))
        }
        // A password that must be changed is the right one.
        Err(why) if custody::must_change(&why.why) => {
            let account = entry.account.map(|name| (name, custody::Met::default()));
            let (end, read) = failed(url, Ended::Later(controllers::REFUSED_SECONDS), why);
            (End { account, ..end }, read)
        }
        Err(why) if why.refused => {
            let seconds = controllers::refused(app, &entry).await;
            tracing::debug!(bmc = url, why = why.why, "refused");
            let words = controllers::refused_words(&entry.user, seconds);
            failed(url, Ended::Later(seconds), Failed { why: words, refused: true })
        }
        Err(why) => failed(url, Ended::Failed, why),
    }
}

/// Between two looks at whether an account may be used again, in seconds.
const WAIT_SECONDS: u64 = 10;

fn failed(url: String, ended: Ended, why: Failed) -> (End, Result<Read, Failed>) {
    let outcome = Outcome::Trouble(why.why.clone());
    (End { url, ended, outcome, account: None }, Err(why))
}

/// What is written down of a controller that was read.
fn outcome(app: &App, entry: &config::Bmc, (facts, _): &Read) -> Outcome {
    let accounts = app.controllers.accounts();
    let account = accounts.iter().find(|row| Some(&row.account.name) == entry.account.as_ref());
    let serial = account.and_then(|row| row.account.serial.as_deref());
    match serial.filter(|serial| *serial != facts.serial.as_str()) {
        Some(serial) => Outcome::Trouble(format!(
            "its password was imported for the machine {serial}, and it says that it is {}; correct the list, or where \
             the controller is",
            facts.serial
        )),
        None => Outcome::Read(facts.serial.as_str().to_owned(), facts.bmc_pin),
    }
}

/// IPMI tells who a machine is and little more: no ports, no parts.
async fn by_ipmi(entry: &config::Bmc) -> Result<Read, Failed> {
    let identity = crate::ipmi::identity(entry).await?;
    let serial = identity.serial().and_then(appliance_model::Serial::parse);
    let serial =
        serial.ok_or("its FRU holds no serial of the machine; write one into it (`ipmitool fru edit`)")?;
    let product = identity.fru.as_ref().and_then(|fru| fru.product.as_ref());
    let facts = NewHost {
        serial,
        model: product.map(|product| product.name.clone()).filter(|name| !name.is_empty()),
        position: entry.position.clone(),
        bmc: Some(entry.url.clone()),
        bmc_pin: None,
        macs: Vec::new(),
    };
    Ok((facts, None))
}

async fn by_redfish(
    app: &Arc<App>,
    entry: &config::Bmc,
    before: Before,
) -> Result<(Read, PasswordLimits), Failed> {
    if before.booted {
        take_out(app, entry).await.map_err(|error| chain_of(&error))?;
    }
    let contact = Contact {
        url: entry.url.clone(),
        user: entry.user.clone(),
        password: entry.password.clone(),
        // An account's key is its own, so that a person can have it forgotten.
        pin: entry.pin.or(before.pin.filter(|_| entry.account.is_none())).map(Pin),
    };
    let view = sweep::read(contact, Depth::Everything).await?;
    let rules = view.accounts.as_ref();
    let limits = PasswordLimits {
        chars_min: rules.and_then(|rules| rules.password_chars_min),
        chars_max: rules.and_then(|rules| rules.password_chars_max),
    };
    if let Some(name) = &entry.account {
        keep(app, name, rules, view.pin).await.map_err(|error| chain_of(&error))?;
    }
    Ok((sweep::host(entry.url.clone(), entry.position.clone(), &view)?, limits))
}

/// Writes down what a login has shown of an account, where it is news.
async fn keep(
    app: &Arc<App>,
    name: &str,
    rules: Option<&appliance_bmc::Accounts>,
    pin: Option<Pin>,
) -> Result<(), StoreError> {
    let accounts = app.controllers.accounts();
    let Some(row) = accounts.iter().find(|row| row.account.name == name) else { return Ok(()) };
    let told = |rules: &appliance_bmc::Accounts| {
        let seconds = rules.lockout_seconds.unwrap_or_default();
        Some(Lockout { attempts: rules.lockout_attempts?, seconds })
    };
    let lockout = rules.and_then(told).filter(|lockout| row.lockout != Some(*lockout));
    let (pin, refused) = (pin.filter(|_| row.pin.is_none()), row.refused.is_some());
    if lockout.is_none() && pin.is_none() && !refused {
        return Ok(());
    }
    let name = name.to_owned();
    app.db(move |store| {
        if refused {
            store.keep_refusal(&name, None)?;
        }
        lockout.map_or(Ok(()), |lockout| store.keep_lockout(&name, lockout))?;
        pin.map_or(Ok(()), |pin| store.pin_account(&name, pin.0))
    })
    .await
}

/// Takes out what is left of a boot, by what the host's record says now.
async fn take_out(app: &Arc<App>, entry: &config::Bmc) -> Result<(), StoreError> {
    let hosts = app.db(appliance_store::Store::hosts).await?;
    let known = hosts.iter().find(|host| host.facts.bmc.as_ref() == Some(&entry.url));
    match known.filter(|known| known.stage.boot().is_some()) {
        Some(known) => climb::take_out(app, &known.id).await,
        None => Ok(()),
    }
}

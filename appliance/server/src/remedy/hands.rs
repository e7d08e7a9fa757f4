//! What a run does to a controller: looks, orders, follows, restarts, and reads the inventory again at the end.
//!
//! Each order is made once and its outcome told as it is: yes, no, certainly not sent, or not known.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use appliance_bmc::{Allowed, Bmc, BmcError, Image, Outcome, ResetKind};
use appliance_enrol::{
    Change, Event, FirmwareChange, ImageWay, Remedy, RemedyHappened, RemedyStep, Reply, Restart, Setting,
    Sight, Stage, TaskEnd, barred,
};
use appliance_model::Ticket;
use appliance_store::{HostRow, Kind, RemedyRow, StoreError};
use firmware_checks_baseline::Machine;
use serde_json::Value;
use tokio::time::Instant;

use super::{images, plan::sent};
use crate::{
    app::{App, now},
    chain_of, power, sweep,
};

/// How long one look at a task lasts: a vanished one is told from a slow one by then.
const FOLLOW_SECONDS: u64 = 60;
/// After a refused password: longer than makers lock an account by default.
const REFUSED_PAUSE: Duration = Duration::from_secs(15 * 60);

type Happened = RemedyHappened;

/// One run's access to its controller.
#[derive(Debug)]
pub(super) struct Hands<'a> {
    app: &'a Arc<App>,
    row: &'a RemedyRow,
    bmc: Option<(Bmc, HostRow)>,
    refused_until: Option<Instant>,
}

impl<'a> Hands<'a> {
    pub(super) fn new(app: &'a Arc<App>, row: &'a RemedyRow) -> Self {
        Self { app, row, bmc: None, refused_until: None }
    }

    /// Ends the session.
    pub(super) async fn rest(&mut self) {
        if let Some((bmc, host)) = self.bmc.take() {
            power::leave(self.app, &host, &bmc).await;
        }
    }

    /// Reads back what the present step is about.
    pub(super) async fn look(&mut self, state: &Remedy, key: Ticket) -> Result<Happened, StoreError> {
        let Some(step) = self.step(state) else { return Ok(Happened::Woke) };
        let bmc = match self.bmc().await? {
            Ok(bmc) => bmc,
            Err(why) => return Ok(Happened::NoAnswer(why)),
        };
        // Tasks are the mark of an order: only where one may follow, or is looked for.
        let marks = matches!(state, Remedy::Next { .. } | Remedy::Searching { .. });
        let seen = match &step.change {
            Change::Settings { settings } => settings_seen(&bmc, settings).await,
            Change::Firmware(change) => self.firmware_seen(&bmc, change).await,
        };
        let seen = match (seen, marks) {
            (Ok(sight), true) => bmc.tasks().await.map(|tasks| Sight { tasks, ..sight }),
            (seen, _) => seen,
        };
        // The mark of a restart, where one may follow or is looked for.
        let seen = match (seen, matches!(state, Remedy::Proving { .. })) {
            (Ok(sight), true) => bmc.last_reset().await.map(|reset| Sight { reset, ..sight }),
            (seen, _) => seen,
        };
        let mut sight = match seen {
            Ok(sight) => sight,
            Err(error) => return Ok(Happened::NoAnswer(self.trouble(&error).await)),
        };
        let host = self.row.host.clone();
        let fetched = self.app.db(move |store| store.remedy(&host)).await?.and_then(|row| row.fetched);
        sight.fetched = fetched.is_some() && fetched == state.key();
        Ok(Happened::Looked(sight, key))
    }

    /// Tells the controller of the present step's change, once.
    pub(super) async fn send(&mut self, state: &Remedy, key: Ticket) -> Result<Happened, StoreError> {
        if let Some(why) = self.barred().await? {
            return Ok(Happened::Barred(why));
        }
        let Some(step) = self.step(state) else { return Ok(Happened::Woke) };
        let bmc = match self.bmc().await? {
            Ok(bmc) => bmc,
            Err(why) => return Ok(Happened::Told(Reply::NotSent(why))),
        };
        let serial = self.row.plan.serial.clone();
        let told = match &step.change {
            Change::Settings { settings } => {
                let wanted: BTreeMap<String, Value> =
                    settings.iter().map(|(name, setting)| (name.clone(), sent(&setting.to))).collect();
                let changed = bmc.set_bios(&Allowed::bios_settings(serial), &wanted).await;
                // A task that ended has done its work; one that vanished tells nothing.
                changed.map(|change| {
                    change.task.filter(|_| matches!(change.outcome, Outcome::TimeUp | Outcome::AwaitsRestart))
                })
            }
            Change::Firmware(change) => match self.update(&bmc, change, key).await {
                Ok(told) => told,
                Err(why) => return Ok(Happened::Told(Reply::Refused(why))),
            },
        };
        let settings = matches!(step.change, Change::Settings { .. });
        Ok(Happened::Told(match told {
            Ok(task) => Reply::Accepted(task),
            Err(error) => {
                let why = self.trouble(&error).await;
                reply(&error, settings, why)
            }
        }))
    }

    /// Sends an image; `Err` is why it must not be sent.
    async fn update(
        &self,
        bmc: &Bmc,
        change: &FirmwareChange,
        key: Ticket,
    ) -> Result<Result<Option<String>, BmcError>, String> {
        let firmware =
            self.app.config.firmware.clone().ok_or("the site file names no firmware directory any more")?;
        let allowed = Allowed::firmware(self.row.plan.serial.clone());
        let targets = [change.target.clone()];
        let checking = change.clone();
        let started = match change.way {
            ImageWay::Fetch => {
                let serve = firmware
                    .serve
                    .clone()
                    .ok_or("the site file lets controllers fetch no images any more")?;
                blocking(move || images::open(&firmware.dir, &checking)).await?;
                let address = format!("{}{}", serve.url, images::path(key, &change.file));
                bmc.start_update(&allowed, Image::Address(&address), &targets).await
            }
            ImageWay::Push => {
                let bytes = blocking(move || images::whole(&firmware.dir, &checking)).await?;
                bmc.start_update(&allowed, Image::Bytes(&change.file, &bytes), &targets).await
            }
        };
        Ok(started.map(|started| started.task))
    }

    /// Looks at a task, for a while.
    pub(super) async fn follow(&mut self, task: &str) -> Result<Happened, StoreError> {
        let bmc = match self.bmc().await? {
            Ok(bmc) => bmc,
            Err(why) => return Ok(Happened::NoAnswer(why)),
        };
        let mut seen = bmc.follow_task(task, Duration::ZERO).await;
        if let Ok(followed) = &seen
            && followed.outcome == Outcome::TimeUp
        {
            let (id, percent) = (self.row.id, followed.percent);
            self.app.db(move |store| store.remedy_percent(id, percent)).await?;
            self.app.bump();
            seen = bmc.follow_task(task, Duration::from_secs(FOLLOW_SECONDS)).await;
        }
        let followed = match seen {
            Ok(followed) => followed,
            Err(error) => return Ok(Happened::NoAnswer(self.trouble(&error).await)),
        };
        let (id, percent) = (self.row.id, followed.percent);
        self.app.db(move |store| store.remedy_percent(id, percent)).await?;
        Ok(Happened::Task(match followed.outcome {
            Outcome::Done | Outcome::DoneWithWarnings | Outcome::Untracked => TaskEnd::Done,
            Outcome::AwaitsRestart => TaskEnd::AwaitsRestart,
            Outcome::Lost => TaskEnd::Lost,
            Outcome::TimeUp => TaskEnd::Running,
            Outcome::Failed => {
                let said = followed.messages.join("; ");
                TaskEnd::Failed(if said.is_empty() { followed.state } else { said })
            }
        }))
    }

    /// Restarts the machine, once.
    pub(super) async fn restart(&mut self, kind: Restart) -> Result<Happened, StoreError> {
        if let Some(why) = self.barred().await? {
            return Ok(Happened::Barred(why));
        }
        let kind = match kind {
            Restart::Host => ResetKind::Restart,
            Restart::PowerCycle => ResetKind::PowerCycle,
            Restart::No => return Ok(Happened::Woke),
        };
        let bmc = match self.bmc().await? {
            Ok(bmc) => bmc,
            Err(why) => return Ok(Happened::Restarted(Reply::NotSent(why))),
        };
        Ok(Happened::Restarted(match bmc.reset(kind).await {
            Ok(_) => Reply::Accepted(None),
            Err(error) => {
                let why = self.trouble(&error).await;
                reply(&error, false, why)
            }
        }))
    }

    /// Reads the inventory again, compares it, and lets the host go on.
    pub(super) async fn close(&mut self) -> Result<Happened, StoreError> {
        let bmc = match self.bmc().await? {
            Ok(bmc) => bmc,
            Err(why) => return Ok(Happened::NoAnswer(why)),
        };
        let view = match bmc.inventory().await {
            Ok(view) => view,
            Err(error) => return Ok(Happened::NoAnswer(self.trouble(&error).await)),
        };
        let host = self.host().await?;
        let url = host.facts.bmc.clone().unwrap_or_default();
        let read = sweep::host(url, host.facts.position.clone(), &view);
        let Ok((_, Some(inventory))) = read else {
            return Ok(Happened::NoAnswer("the BMC no longer tells whose inventory it shows".into()));
        };
        let (id, app, run) = (host.id.clone(), Arc::clone(self.app), self.row.id);
        let mended = self
            .app
            .db(move |store| {
                store.put(&id, Kind::BmcInventory, &inventory, now())?;
                // What the agent told is from before: it tells again at the next boot, and the burn-in was another
                // firmware's.
                for kind in [Kind::Inventory, Kind::Findings] {
                    store.forget(&id, kind)?;
                }
                store.end_burn_in(&id, now())?;
                let bmc = serde_json::from_slice(&inventory).ok();
                let checks = &app.config.checks;
                let reports = checks.reports(&Machine::of(None, bmc.as_ref()));
                store.put(&id, Kind::Checks, &serde_json::to_vec(&reports).unwrap_or_default(), now())?;
                let left: usize = reports.iter().map(|report| report.findings.len()).sum();
                let line = format!(
                    "the inventory was read again; findings of baselines and blueprints left: {left}"
                );
                store.tell_remedy(run, &line, now())?;
                Ok(checks.refusal(&reports, &[]).is_none())
            })
            .await?;
        if let Some(event) = next(&host.stage, mended) {
            self.app.advance(&host.id, event, None).await?;
        }
        Ok(Happened::Closed)
    }

    async fn firmware_seen(&self, bmc: &Bmc, change: &FirmwareChange) -> Result<Sight, BmcError> {
        let versions = bmc.firmware_versions().await?;
        let shown = versions.get(&change.target).cloned().unwrap_or_default();
        let catalogue = self.app.config.firmware.as_ref().and_then(|firmware| firmware.catalogue().ok());
        let image = catalogue.as_ref().and_then(|catalogue| {
            catalogue.images.iter().find(|image| image.sha256 == change.sha256 && image.file == change.file)
        });
        let same = shown.trim().eq_ignore_ascii_case(change.to.trim())
            || image.is_some_and(|image| image.scheme.same(&shown, &change.to));
        let shows = if shown.is_empty() { "no version".to_owned() } else { format!("version {shown}") };
        Ok(Sight {
            there: same,
            waiting: false,
            tasks: Default::default(),
            fetched: false,
            shows,
            reset: None,
        })
    }

    fn step(&self, state: &Remedy) -> Option<RemedyStep> {
        self.row.plan.steps.get(state.step()?).cloned()
    }

    async fn host(&self) -> Result<HostRow, StoreError> {
        let id = self.row.host.clone();
        self.app.db(move |store| store.host(&id)).await
    }

    /// Why the host may not be touched now.
    async fn barred(&self) -> Result<Option<String>, StoreError> {
        Ok(barred(&self.host().await?.stage))
    }

    /// The controller; the same session from look to look.
    async fn bmc(&mut self) -> Result<Result<Bmc, String>, StoreError> {
        if self.refused_until.is_some_and(|until| Instant::now() < until) {
            return Ok(Err("its BMC refused our password; it is not tried again so soon".into()));
        }
        self.refused_until = None;
        if self.bmc.is_none() {
            let host = self.host().await?;
            self.bmc = power::redfish(self.app, &host).map(|bmc| (bmc, host));
        }
        let bmc = self.bmc.as_ref().map(|(bmc, _)| bmc.clone());
        Ok(bmc.ok_or_else(|| "its BMC is not known any more, or speaks no Redfish".into()))
    }

    /// An error in words.  A refused password is not shown again for a while.
    async fn trouble(&mut self, error: &BmcError) -> String {
        if refuses_us(error) {
            self.rest().await;
            self.refused_until = Some(Instant::now() + REFUSED_PAUSE);
        }
        chain_of(error)
    }
}

async fn settings_seen(bmc: &Bmc, settings: &BTreeMap<String, Setting>) -> Result<Sight, BmcError> {
    let bios = bmc.bios().await?;
    let in_force = |name: &String| bios.attributes.get(name);
    let next = |name: &String| bios.pending.get(name).or_else(|| bios.attributes.get(name));
    let others: Vec<String> = settings
        .iter()
        .filter(|(name, setting)| in_force(name) != Some(&sent(&setting.to)))
        .map(|(name, _)| format!("{name} {}", in_force(name).unwrap_or(&Value::Null)))
        .collect();
    Ok(Sight {
        there: others.is_empty(),
        waiting: !others.is_empty()
            && settings.iter().all(|(name, setting)| next(name) == Some(&sent(&setting.to))),
        tasks: Default::default(),
        fetched: false,
        shows: others.join(", "),
        reset: None,
    })
}

/// What a failed order means.  `settings`: reads that follow the order are part of it, so that a lost one proves nothing.
fn reply(error: &BmcError, settings: bool, why: String) -> Reply {
    // Without settings only the order itself is no GET, and all GETs come before it.
    let before = |method: &str| method == "GET" && !settings;
    if let BmcError::NoAnswer { method, .. }
    | BmcError::TooLong { method, .. }
    | BmcError::NotJson { method, .. } = error
    {
        return if before(method) { Reply::NotSent(why) } else { Reply::NoAnswer };
    }
    if let BmcError::Refused { method, status, .. } = error {
        // A controller in trouble may have begun; one that says no to a read says nothing of the order.
        let clear = *status < 500 && (*method != "GET" || !settings);
        return match (clear, before(method)) {
            (true, _) => Reply::Refused(why),
            (false, true) => Reply::NotSent(why),
            (false, false) => Reply::NoAnswer,
        };
    }
    if refuses_us(error) {
        return if settings { Reply::NoAnswer } else { Reply::NotSent(why) };
    }
    Reply::Refused(why)
}

fn refuses_us(error: &BmcError) -> bool {
    matches!(error, BmcError::Login { .. } | BmcError::PasswordChange { .. } | BmcError::Revoked { .. })
}

/// What lets a host go on whose machine is another now.
fn next(stage: &Stage, mended: bool) -> Option<Event> {
    // Its agent vouched for the machine as it was.
    if stage.boot().is_some() {
        return Some(Event::PowerLost);
    }
    let checks = |rule: &str| matches!(rule, "baseline" | "blueprint");
    let stopped = matches!(stage, Stage::Quarantined { rule, .. } if checks(rule));
    (stopped && mended).then_some(Event::Retry)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_order_means_no_more_than_is_known() {
        let refused =
            |method, status| BmcError::Refused { method, url: String::new(), status, said: String::new() };
        let why = || "why".to_owned();
        let rows = [
            (refused("POST", 400), false, Reply::Refused(why())),
            (refused("POST", 503), false, Reply::NoAnswer),
            (refused("GET", 503), false, Reply::NotSent(why())),
            (refused("GET", 404), false, Reply::Refused(why())),
            (refused("PATCH", 400), true, Reply::Refused(why())),
            (refused("PATCH", 500), true, Reply::NoAnswer),
            (refused("GET", 404), true, Reply::NoAnswer),
            (BmcError::TooLong { method: "POST", url: String::new(), max: 1 }, false, Reply::NoAnswer),
            (BmcError::TooLong { method: "GET", url: String::new(), max: 1 }, false, Reply::NotSent(why())),
            (BmcError::Login { url: String::new(), user: String::new() }, false, Reply::NotSent(why())),
            (BmcError::Login { url: String::new(), user: String::new() }, true, Reply::NoAnswer),
            (BmcError::Lacks { url: String::new(), what: String::new() }, false, Reply::Refused(why())),
        ];
        for (error, settings, expected) in rows {
            assert_eq!(reply(&error, settings, why()), expected, "{error:?} {settings}");
        }
    }

    #[test]
    fn a_host_goes_on_only_if_what_stopped_it_is_mended() {
        let stopped = |rule: &str| Stage::Quarantined {
            was: "discovering".into(),
            rule: rule.into(),
            why: String::new(),
        };
        for (stage, mended, goes) in [
            (stopped("baseline"), true, true),
            (stopped("baseline"), false, false),
            (stopped("burn-in-failed"), true, false),
            (Stage::Found, true, false),
        ] {
            assert_eq!(next(&stage, mended).is_some(), goes, "{stage:?}");
        }
    }
}

//! Rescue: a person holds a server in the discovery image, to look at it over its console.
//!
//! The server is restarted once from the network, whatever system it has of its own; its agent is then told to stay as
//! it is.  What the stage or a residence would have it do waits; quotes and erases do not.  It refuses nothing that the
//! agent does not refuse: there is no shell there.  What is held is a document, so that it outlives the appliance, and
//! says whether the restart that belongs to it is done: one that a crash or a sick controller cut off is made up for
//! (`restart.rs`), and a person who asks again gets another.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use appliance_api::{
    agent::{Order, Work},
    operator::ProblemView,
    rescue::{RescuePermission, RescueView},
};
use appliance_enrol::Stage;
use appliance_model::{HostId, Now, Seconds};
use appliance_store::{HostRow, Kind, Store, StoreError};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use utoipa::OpenApi;

use crate::{
    app::{App, now},
    erase,
    operator_api::Problem,
    remedy, residence,
    told::told,
};

mod restart;

pub(crate) use restart::{Desk, came, run};

/// Names of people are kept as told; this is enough for any.
const BY_CHARS_MAX: usize = 100;

/// How long a restart is tried: a controller that is rebooted is back by then, and nobody expects it any more after it.
const RESTART_SECONDS_MAX: Seconds = Seconds(600);

/// How long a person waits for what comes of the first try.
const ANSWER_SECONDS_MAX: Duration = Duration::from_secs(60);

/// That somebody holds a host, or did: the record in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    by: String,
    at: Now,
    ended_at: Option<Now>,
    /// When the machine was restarted for it: into the discovery image, and once it has ended, out of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restarted_at: Option<Now>,
    /// Why the last try to restart it came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_restarted: Option<String>,
    /// When the discovery image's agent came for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    came_at: Option<Now>,
}

impl Held {
    fn begun(by: String, at: Now) -> Self {
        Self { by, at, ended_at: None, restarted_at: None, not_restarted: None, came_at: None }
    }

    /// `restart`: whether the machine has a system of its own to go back to.
    fn ended(self, at: Now, restart: bool) -> Self {
        let restarted_at = (!restart).then_some(at);
        Self { ended_at: Some(at), restarted_at, not_restarted: None, ..self }
    }

    /// Whether the machine is still to be restarted.
    fn unfinished(&self, now: Now) -> bool {
        let asked_at = self.ended_at.unwrap_or(self.at);
        self.restarted_at.is_none() && now.since(asked_at) <= RESTART_SECONDS_MAX
    }

    /// How far it is, for a person.
    fn note(&self, now: Now) -> String {
        let ended = self.ended_at.is_some();
        match (&self.not_restarted, self.restarted_at) {
            (_, Some(_)) if ended => "it is free, and goes on from where it was".into(),
            (_, Some(_)) if self.came_at.is_some() => {
                "its console shows a menu: addresses, what is wanted of it, its log, restart".into()
            }
            (_, Some(_)) => "it was restarted into the discovery image, whose console shows a menu".into(),
            (None, None) => "its restart is under way".into(),
            (Some(why), None) => {
                let held = if ended { "free" } else { "held" };
                let then = if self.unfinished(now) {
                    "it is tried again".to_owned()
                } else {
                    format!(
                        "it was tried for {} minutes: restart it by hand, or ask again",
                        RESTART_SECONDS_MAX.0 / 60
                    )
                };
                format!("it is {held}, and was not restarted by us: {why}; {then}")
            }
        }
    }
}

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/hosts/{id}/rescue", get(status).post(hold))
        .route("/api/v1/hosts/{id}/rescue/end", post(end))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(paths(status, hold, end), components(schemas(RescueView, RescuePermission)))]
pub(crate) struct Document;

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}

/// Whether a server is held, and what has to be typed for it.  Changes nothing.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/rescue", params(("id" = String, Path)),
    responses((status = 200, body = RescueView), (status = 404, body = ProblemView)))]
async fn status(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Json<RescueView>, Problem> {
    let host = host(&app, &text).await?;
    look(&app, &host, Asker::Onlooker).await
}

/// Restarts a server into the discovery image and holds it there.  One that is held already is restarted once more.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/rescue", params(("id" = String, Path)), request_body = RescuePermission,
    responses((status = 200, body = RescueView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn hold(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(permission): Json<RescuePermission>,
) -> Result<Json<RescueView>, Problem> {
    let host = host(&app, &text).await?;
    let words = words(&host.id);
    if permission.words != words {
        return Err(conflict(format!(
            "type the words \"{words}\": the server is restarted at once, whatever runs on it. Nothing was done"
        )));
    }
    if let Some(why) = barred(&app, &host).await? {
        return Err(conflict(format!("host {text} is not touched: {why}")));
    }
    let by = told(&permission.by, BY_CHARS_MAX);
    // Written first: an agent that comes back at once must find it.
    keep(&app, &host.id, Held::begun(by.clone(), now())).await?;
    tracing::warn!(host = %host.id, by, "a person holds this host in the discovery image");
    first_try(&app, &host.id).await?;
    look(&app, &host, Asker::Doer).await
}

/// Lets a server go: it goes on where it was, from its own system if it has one.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/rescue/end", params(("id" = String, Path)),
    responses((status = 200, body = RescueView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn end(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Json<RescueView>, Problem> {
    let host = host(&app, &text).await?;
    let Some(held) = held(&app, &host.id).await? else {
        return Err(conflict(format!("nobody holds host {text}")));
    };
    if let Some(why) = erase::holds(&app, &host.id).await? {
        return Err(conflict(why));
    }
    let restart = residence::at_home(&app, &host.id).await?;
    keep(&app, &host.id, held.ended(now(), restart)).await?;
    app.heard(&host.id);
    first_try(&app, &host.id).await?;
    look(&app, &host, Asker::Doer).await
}

/// Has the machine restarted, and waits for what comes of the first try.
async fn first_try(app: &Arc<App>, host: &HostId) -> Result<(), StoreError> {
    let mut changes = app.changes();
    app.bump();
    app.rescues.wake();
    let answered = async {
        loop {
            changes.mark_unchanged();
            let id = host.clone();
            let last = app.db(move |store| newest(store, &id)).await?;
            if last.is_none_or(|last| last.restarted_at.is_some() || last.not_restarted.is_some()) {
                return Ok(());
            }
            if changes.changed().await.is_err() {
                return Ok(());
            }
        }
    };
    // Whoever waited long enough is told that it is under way.
    tokio::time::timeout(ANSWER_SECONDS_MAX, answered).await.unwrap_or(Ok(()))
}

fn words(host: &HostId) -> String {
    format!("rescue {host}")
}

async fn barred(app: &Arc<App>, host: &HostRow) -> Result<Option<String>, StoreError> {
    if matches!(host.stage, Stage::Found) {
        return Ok(Some("nobody has asked for it: `host enrol` boots it".into()));
    }
    in_hand(app, &host.id).await
}

/// Why its power is not ours to switch, if something else is being done to a host.
async fn in_hand(app: &Arc<App>, host: &HostId) -> Result<Option<String>, StoreError> {
    if let Some(why) = erase::holds(app, host).await? {
        return Ok(Some(why));
    }
    if let Some(why) = remedy::holds(app, host).await? {
        return Ok(Some(why));
    }
    residence::holds(app, host).await
}

/// The order for the agent of a host that is held.
pub(crate) async fn order(app: &Arc<App>, host: &HostRow) -> Result<Option<Order>, StoreError> {
    let held = held(app, &host.id).await?;
    Ok(held.map(|held| Order {
        id: 0,
        work: Work::Hold {
            why: format!("{} holds this machine; `host rescue {} --end` lets it go", held.by, host.id),
        },
    }))
}

/// Whether a host is held: it is then started from the network, and nothing is decided about it.
pub(crate) async fn is_held(app: &Arc<App>, host: &HostId) -> Result<bool, StoreError> {
    Ok(held(app, host).await?.is_some())
}

/// All that are held.
pub(crate) async fn all(app: &Arc<App>) -> Result<BTreeSet<HostId>, StoreError> {
    app.db(|store| {
        let hosts = store.hosts()?.into_iter().map(|host| host.id);
        hosts.filter_map(|id| read(store, &id).map(|held| held.map(|_| id)).transpose()).collect()
    })
    .await
}

async fn held(app: &Arc<App>, host: &HostId) -> Result<Option<Held>, StoreError> {
    let id = host.clone();
    app.db(move |store| read(store, &id)).await
}

fn read(store: &Store, host: &HostId) -> Result<Option<Held>, StoreError> {
    Ok(newest(store, host)?.filter(|held| held.ended_at.is_none()))
}

fn newest(store: &Store, host: &HostId) -> Result<Option<Held>, StoreError> {
    let bytes = store.document(host, Kind::Rescue)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Writes a new record, whatever the one before says.
async fn keep(app: &Arc<App>, host: &HostId, held: Held) -> Result<(), StoreError> {
    let (desk, id) = (Arc::clone(app), host.clone());
    app.db(move |store| desk.rescues.replace(store, &id, &held)).await
}

async fn host(app: &Arc<App>, text: &str) -> Result<HostRow, Problem> {
    let id = crate::operator_api::id(text)?;
    Ok(app.db(move |store| store.host(&id)).await?)
}

/// Who is to be told: somebody who looks, or who has just held a server or let it go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    Onlooker,
    Doer,
}

async fn look(app: &Arc<App>, host: &HostRow, asker: Asker) -> Result<Json<RescueView>, Problem> {
    let id = host.id.clone();
    let last = app.db(move |store| newest(store, &id)).await?;
    let held = last.as_ref().is_some_and(|last| last.ended_at.is_none());
    let note = match &last {
        Some(last) if held || asker == Asker::Doer || last.unfinished(now()) => last.note(now()),
        Some(_) | None => match barred(app, host).await? {
            Some(why) => format!("not now: {why}"),
            None => "nobody holds it; holding it restarts it at once, whatever runs on it".to_owned(),
        },
    };
    Ok(Json(RescueView {
        host: host.id.to_string(),
        held,
        by: last.as_ref().map(|last| last.by.clone()),
        at_ms: last.as_ref().map(|last| last.at.0),
        words: words(&host.id),
        heard: held && last.is_some_and(|last| last.came_at.is_some()),
        note,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Now = Now(1_000_000);

    fn later(seconds: u64) -> Now {
        AT.after(Seconds(seconds))
    }

    #[test]
    fn a_restart_is_due_until_it_is_done_or_nobody_expects_it() {
        let held = Held::begun("ann".into(), AT);
        let done = Held { restarted_at: Some(later(2)), ..held.clone() };
        let ended = done.clone().ended(later(5000), true);
        for (held, at, due) in [
            (&held, later(0), true),
            (&held, later(600), true),
            (&held, later(601), false),
            (&done, later(3), false),
            (&ended, later(5001), true),
            (&ended, later(5601), false),
            (&done.clone().ended(later(5), false), later(5), false),
        ] {
            assert_eq!(held.unfinished(at), due, "{held:?} at {at:?}");
        }
    }

    #[test]
    fn what_a_person_is_told_follows_from_the_record() {
        let held = Held::begun("ann".into(), AT);
        let failed = Held { not_restarted: Some("the BMC is silent".into()), ..held.clone() };
        let done = Held { restarted_at: Some(later(9)), ..failed.clone() };
        let came = Held { came_at: Some(later(30)), ..done.clone() };
        for (held, at, words) in [
            (&held, later(1), "under way"),
            (&failed, later(1), "the BMC is silent; it is tried again"),
            (&failed, later(900), "tried for 10 minutes: restart it by hand"),
            (&done, later(10), "was restarted into the discovery image"),
            (&came, later(31), "shows a menu: addresses"),
            (&came.clone().ended(later(40), false), later(41), "goes on from where it was"),
            (&came.clone().ended(later(40), true), later(41), "under way"),
        ] {
            assert!(held.note(at).contains(words), "{}", held.note(at));
        }
    }

    /// If this fails, change your code, not this test: stores hold records of this form.
    #[test]
    fn records_of_older_versions_are_read() {
        let old = r#"{"by":"ann","at":1000000,"ended_at":null}"#;
        assert_eq!(serde_json::from_str::<Held>(old).unwrap(), Held::begun("ann".into(), AT));
    }
}

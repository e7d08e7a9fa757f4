//! Passports in the operator's API: what each would spare a host, and the words that allow one.

use std::sync::Arc;

use appliance_api::{
    operator::ProblemView,
    passports::{PassportPermission, PassportView, PassportsView},
};
use appliance_enrol::{Event, Stage};
use appliance_model::{Day, PassportId, Seconds};
use appliance_store::HostRow;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use chain_client::{Block, Demand, Error, Network, OwnedPassport};
use utoipa::OpenApi;

use super::{Leave, Unusable};
use crate::{app::App, chain_of, operator_api::Problem, told::told};

/// Names of people are kept as told; this is enough for any.
const BY_CHARS_MAX: usize = 100;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/v1/hosts/{id}/passports", get(state).post(allow))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(paths(state, allow), components(schemas(PassportsView, PassportView, PassportPermission)))]
pub(crate) struct Document;

/// The owner's passports, and what each would spare this host.  Changes nothing.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/passports", params(("id" = String, Path)),
    responses((status = 200, body = PassportsView), (status = 404, body = ProblemView),
        (status = 409, body = ProblemView), (status = 503, body = ProblemView)))]
async fn state(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Json<PassportsView>, Problem> {
    let asked = Asked::of(&app, &text).await?;
    Ok(Json(asked.view(&app).await?))
}

/// Says which passport this host's registration stakes: its price is read anew, and the stake that is left has to be
/// approved.  Nothing is signed.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/passports", params(("id" = String, Path)),
    request_body = PassportPermission,
    responses((status = 200, body = PassportsView), (status = 404, body = ProblemView),
        (status = 409, body = ProblemView), (status = 503, body = ProblemView)))]
async fn allow(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(permission): Json<PassportPermission>,
) -> Result<Json<PassportsView>, Problem> {
    let asked = Asked::of(&app, &text).await?;
    let serial = &asked.host.facts.serial;
    let words = permission.words.trim();
    let passport = if words == words_for_none(serial.as_str()) {
        None
    } else {
        let named = words
            .strip_prefix("STAKE PASSPORT ")
            .and_then(|rest| rest.strip_suffix(&format!(" ON {serial}")));
        let number = named.and_then(|number| number.parse::<PassportId>().ok());
        Some(number.ok_or_else(|| {
            let none = words_for_none(serial.as_str());
            conflict(format!(
                "the words are \"STAKE PASSPORT NUMBER ON {serial}\" or \"{none}\"; nothing was changed"
            ))
        })?)
    };
    if let Some(id) = passport {
        super::possible(&app, &asked.network)
            .map_err(|why| conflict(format!("{why}. Nothing was changed")))?;
        asked.usable(&app, id).await?;
    }
    {
        // As where a price is read: nobody else is promised it in between.
        let _purse = app.chain.purse().await;
        let promised = super::promised(&app, &asked.host.id).await?;
        if let Some((other, id)) = promised.iter().find(|(_, id)| Some(*id) == passport) {
            return Err(conflict(format!("passport {id} is promised to host {other}; nothing was changed")));
        }
        let by = told(&permission.by, BY_CHARS_MAX);
        super::keep(&app, &asked.host.id, Leave { passport, by: Some(by) }).await?;
    }
    tracing::info!(host = %asked.host.id, passport = passport.map(|id| id.to_string()), "which passport is staked was said");
    // A price that is being read at this moment knows nothing of it.
    app.advance(&asked.host.id, Event::Retry, None).await?;
    app.bump();
    Ok(Json(asked.view(&app).await?))
}

/// A host whose price is being made.
struct Asked {
    host: HostRow,
    network: Arc<Network>,
    head: Block,
    demand: Demand,
}

impl Asked {
    async fn of(app: &Arc<App>, text: &str) -> Result<Self, Problem> {
        let id = crate::operator_api::id(text)?;
        let host = app.db(move |store| store.host(&id)).await?;
        let (Stage::Pricing { carved, .. } | Stage::Approving { carved, .. }) = &host.stage else {
            let why = format!(
                "host {text} is {}: a passport is chosen while a stake waits for its approval",
                host.stage.name()
            );
            return Err(conflict(why));
        };
        let (network, head) = app.chain.ready().map_err(unusable)?;
        let region = &app.config.registration.region;
        let demand = network.demand(head, region, &carved.class, carved.capacity).await;
        Ok(Self { demand: demand.map_err(said)?, host, network, head })
    }

    async fn usable(&self, app: &App, id: PassportId) -> Result<OwnedPassport, Problem> {
        super::usable(app, &self.network, self.head, id, &self.demand).await.map_err(|why| match why {
            Unusable::Refused(why) => conflict(format!("{why}. Nothing was changed")),
            Unusable::Down(why) => unusable(why),
        })
    }

    async fn view(&self, app: &Arc<App>) -> Result<PassportsView, Problem> {
        let owner = app.chain.owner();
        let found = self.network.passports(self.head, owner).await.map_err(said)?;
        let promised = super::promised(app, &self.host.id).await?;
        let leave = super::standing(app, &self.host.id).await?;
        let (id, by) = leave.map_or((None, None), |leave| (leave.passport, Some(leave.by)));
        let commitment = super::commitment(app);
        let day = |at: u64| Day::of_unix(Seconds(at)).to_string();
        let serial = &self.host.facts.serial;
        let passports = found.found.iter().map(|passport| {
            let saving = passport.saving(&self.demand, self.head, commitment);
            let other = promised.iter().find(|(_, id)| *id == passport.id);
            let other = other.map(|(host, _)| format!("it is promised to host {host}"));
            let number = passport.id;
            PassportView {
                number: number.to_string(),
                worth: saving.at_first.to_string(),
                worth_at_end: saving.at_last.to_string(),
                saved: saving.saved.to_string(),
                stake: saving.own.to_string(),
                days_left: super::days_left(passport, self.head),
                barred: other.or_else(|| super::spares(app, passport, &self.demand, self.head).err()),
                words: format!("STAKE PASSPORT {number} ON {serial}"),
            }
        });
        Ok(PassportsView {
            host: self.host.id.to_string(),
            serial: serial.to_string(),
            owner: format!("0x{owner}"),
            node_part: self.demand.node.to_string(),
            from: day(self.head.timestamp_unix),
            until: day(self.head.timestamp_unix.saturating_add(commitment.0)),
            staked: id.map(|id| id.to_string()),
            by: by.map(|by| by.unwrap_or_else(|| "the site file".into())),
            passports: passports.collect(),
            complete: found.complete,
            barred: super::possible(app, &self.network).err(),
            words_for_none: words_for_none(serial.as_str()),
        })
    }
}

fn words_for_none(serial: &str) -> String {
    format!("STAKE NO PASSPORT ON {serial}")
}

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}

fn unusable(why: impl Into<String>) -> Problem {
    Problem(StatusCode::SERVICE_UNAVAILABLE, why.into())
}

fn said(error: Error) -> Problem {
    match error.refusal() {
        Some(refusal) => conflict(refusal.sentence.clone()),
        None => unusable(chain_of(&error)),
    }
}

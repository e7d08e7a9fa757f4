//! Signing in the operator's API: what may be spent, the permission, the book, and what goes to be signed elsewhere.

use std::sync::Arc;

use appliance_api::{
    operator::ProblemView,
    signing::{
        PermissionView, ProposalView, SheetView, SignatureView, SignedProposal, SpendPermission, SpendView,
        SpendingView,
    },
};
use appliance_model::Digest;
use appliance_store::{PermissionRow, Signer};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use chain_client::signer::{Ask, NoProposal, Permission, Proposal, Spend, coin, same};
use serde::Deserialize;
use utoipa::OpenApi;

use crate::{
    app::{App, now},
    chain_of,
    operator_api::Problem,
    signing,
    told::told,
};

/// Names of people are kept as told; this is enough for any.
const BY_CHARS_MAX: usize = 100;
/// What a registration with a permit takes on the reference registry, at most (`appliance/chain/GAS.md`).
const REGISTRATION_GAS: u128 = 290_000;
/// Lines of the book that are told unless more are asked for.
const LINES: u64 = 1000;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/chain/spending", get(spending).post(allow))
        .route("/api/v1/chain/spending/sheet", get(sheet))
        .route("/api/v1/chain/spending/{id}", delete(revoke))
        .route("/api/v1/chain/signatures", get(signatures))
        .route("/api/v1/chain/proposals", get(proposals))
        .route("/api/v1/chain/proposals/{id}", get(proposal).post(bring))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(
    paths(spending, sheet, allow, revoke, signatures, proposals, proposal, bring),
    components(schemas(
        SpendingView,
        SpendView,
        PermissionView,
        SheetView,
        SpendPermission,
        SignatureView,
        ProposalView,
        SignedProposal
    ))
)]
pub(crate) struct Document;

#[derive(Debug, Deserialize)]
struct Words {
    words: String,
}

#[derive(Debug, Deserialize)]
struct Limit {
    limit: Option<u64>,
}

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}

fn signer(app: &App) -> Signer {
    signing::signer(app.chain.operator().address(), app.config.chain.chain_id)
}

/// What the operator's account may spend and did.
#[utoipa::path(get, path = "/api/v1/chain/spending", responses((status = 200, body = SpendingView)))]
async fn spending(State(app): State<Arc<App>>) -> Result<Json<SpendingView>, Problem> {
    let (signer, at) = (signer(&app), now());
    let (spent, rows) = app
        .db(move |store| Ok((store.spent(signer, signing::window(at))?, store.permissions(signer)?)))
        .await?;
    let mut used = Spend::NONE;
    for spend in &spent {
        used = used.plus(signing::read_spend(spend).map_err(conflict)?);
    }
    Ok(Json(SpendingView {
        account: format!("0x{}", signer.account),
        chain_id: signer.chain,
        demanded: signing::demanded(signer.chain),
        used: shown(used),
        permissions: rows.into_iter().map(permission).collect(),
    }))
}

fn shown(spend: Spend) -> SpendView {
    SpendView {
        staked: spend.staked.to_string(),
        moved: spend.moved.to_string(),
        allowed: spend.allowed.to_string(),
        gas: coin(spend.gas_wei),
        registrations: spend.registrations,
    }
}

fn permission(row: PermissionRow) -> PermissionView {
    let holds = row.words.parse::<Permission>().is_ok_and(|words| words.holds(now()));
    PermissionView {
        id: row.id,
        words: row.words,
        by: row.by,
        at_ms: row.at.0,
        holds: holds && row.revoked_at.is_none(),
        revoked_at_ms: row.revoked_at.map(|at| at.0),
    }
}

/// What a permission would cost.  Changes nothing.
#[utoipa::path(get, path = "/api/v1/chain/spending/sheet",
    params(("words" = String, Query, description = "The words of the permission.")),
    responses((status = 200, body = SheetView), (status = 409, body = ProblemView)))]
async fn sheet(State(app): State<Arc<App>>, Query(asked): Query<Words>) -> Result<Json<SheetView>, Problem> {
    Ok(Json(made(&app, &asked.words).await?))
}

async fn made(app: &Arc<App>, words: &str) -> Result<SheetView, Problem> {
    let allowed: Permission = words.parse().map_err(|error| conflict(chain_of(&error)))?;
    if !allowed.holds(now()) {
        return Err(conflict(format!("{} is over; nothing was allowed", allowed.until)));
    }
    let signer = signer(app);
    let fee = app.chain.fee_cap();
    let each = REGISTRATION_GAS.saturating_mul(fee);
    let words = allowed.to_string();
    let mut lines = vec![
        format!("account 0x{} on chain {}", signer.account, signer.chain),
        format!(
            "in any 24 hours it may stake up to {}, move up to as much, and let others take up to as much",
            allowed.tokens
        ),
        format!(
            "and register up to {} node(s), and pay up to {} for gas",
            allowed.nodes,
            coin(allowed.gas_wei)
        ),
        format!(
            "a registration pays at most {} ({REGISTRATION_GAS} gas at the site's cap of {} gwei): the gas is enough for {} a \
             day at that price",
            coin(each),
            fee / 1_000_000_000,
            allowed.gas_wei.checked_div(each).unwrap_or(0)
        ),
        format!("to the end of {} (UTC), or until it is taken back", allowed.until),
    ];
    match funds(app).await {
        Ok(more) => lines.extend(more),
        Err(why) => lines.push(format!("what there is cannot be told now: {why}")),
    }
    let sheet = Digest::of(format!("{} {} {words}", signer.account, signer.chain).as_bytes()).to_string();
    Ok(SheetView { words, lines, sheet })
}

/// What there is to spend.
async fn funds(app: &Arc<App>) -> Result<Vec<String>, String> {
    let (network, head) = app.chain.ready()?;
    let (owner, operator) = (app.chain.owner(), app.chain.operator().address());
    let funds = network.funds_at(head, owner, operator).await.map_err(|error| chain_of(&error))?;
    Ok(vec![
        format!("owner 0x{owner} holds {}, and {} in its deposit", funds.balance, funds.deposit),
        format!("the operator's account has {} for gas (block {})", coin(funds.gas_wei), head.number),
    ])
}

/// Allows spending.  The words are repeated, and the sheet's digest.
#[utoipa::path(post, path = "/api/v1/chain/spending", request_body = SpendPermission,
    responses((status = 200, body = SpendingView), (status = 409, body = ProblemView)))]
async fn allow(
    State(app): State<Arc<App>>,
    Json(permission): Json<SpendPermission>,
) -> Result<Json<SpendingView>, Problem> {
    let sheet = made(&app, &permission.words).await?;
    if permission.sheet != sheet.sheet || permission.words != sheet.words {
        return Err(conflict(format!(
            "the permission is not for the sheet that was shown; look at it again and repeat \"{}\". Nothing was allowed",
            sheet.words
        )));
    }
    let by = told(&permission.by, BY_CHARS_MAX);
    let signer = signer(&app);
    tracing::info!(words = sheet.words, by, "spending is allowed");
    app.db(move |store| store.allow_spending(signer, &sheet.words, &sheet.sheet, &by, now())).await?;
    spending(State(app)).await
}

/// Takes a permission back.  What was signed stays signed.
#[utoipa::path(delete, path = "/api/v1/chain/spending/{id}", params(("id" = u64, Path)),
    responses((status = 204), (status = 404, body = ProblemView)))]
async fn revoke(State(app): State<Arc<App>>, Path(id): Path<u64>) -> Result<StatusCode, Problem> {
    if app.db(move |store| store.revoke_spending(id, now())).await? {
        tracing::info!(permission = id, "a permission was taken back");
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem(StatusCode::NOT_FOUND, format!("there is no permission {id} to take back")))
}

/// The book of signatures, newest first.
#[utoipa::path(get, path = "/api/v1/chain/signatures",
    params(("limit" = Option<u64>, Query, description = "Lines at most.")),
    responses((status = 200, body = [SignatureView])))]
async fn signatures(
    State(app): State<Arc<App>>,
    Query(asked): Query<Limit>,
) -> Result<Json<Vec<SignatureView>>, Problem> {
    let rows = app.db(move |store| store.signatures(asked.limit.unwrap_or(LINES))).await?;
    let mut lines = Vec::new();
    for row in rows {
        lines.push(SignatureView {
            id: row.id,
            at_ms: row.at.0,
            account: format!("0x{}", row.signer.account),
            chain_id: row.signer.chain,
            slot: row.slot,
            digest: row.digest,
            words: row.words,
            spend: shown(signing::read_spend(&row.spend).map_err(conflict)?),
            permission: row.permission,
            outcome: row.outcome,
            why: row.why,
            times: row.times,
        });
    }
    Ok(Json(lines))
}

/// What waits to be signed elsewhere.
#[utoipa::path(get, path = "/api/v1/chain/proposals", responses((status = 200, body = [ProposalView])))]
async fn proposals(State(app): State<Arc<App>>) -> Result<Json<Vec<ProposalView>>, Problem> {
    let signer = signer(&app);
    let rows = app.db(move |store| store.proposals(signer)).await?;
    let view = |row: appliance_store::ProposalRow| {
        let words = serde_json::from_str::<Proposal>(&row.json).map(|made| made.meaning).unwrap_or_default();
        ProposalView { id: row.id.to_string(), slot: row.slot, words, at_ms: row.at.0 }
    };
    Ok(Json(rows.into_iter().map(view).collect()))
}

/// A proposal's file.
#[utoipa::path(get, path = "/api/v1/chain/proposals/{id}", params(("id" = String, Path)),
    responses((status = 200, body = String, content_type = "application/json"), (status = 404, body = ProblemView)))]
async fn proposal(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let row = waiting(&app, &id).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], row.json).into_response())
}

async fn waiting(app: &Arc<App>, id: &str) -> Result<appliance_store::ProposalRow, Problem> {
    let signer = signer(app);
    let rows = app.db(move |store| store.proposals(signer)).await?;
    let mut found = rows.into_iter().filter(|row| !id.is_empty() && row.id.to_string().starts_with(id));
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (None, _) => Err(Problem(
            StatusCode::NOT_FOUND,
            "no such proposal waits to be signed; `scalerforge chain export` lists those that do".into(),
        )),
        (Some(_), Some(_)) => Err(conflict("several proposals begin so; name more of it")),
    }
}

/// Takes what was signed elsewhere.  It is compared field by field with what was proposed; whoever waits for it sends it.
#[utoipa::path(post, path = "/api/v1/chain/proposals/{id}", params(("id" = String, Path)), request_body = SignedProposal,
    responses((status = 200, body = ProposalView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn bring(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Json(signed): Json<SignedProposal>,
) -> Result<Json<ProposalView>, Problem> {
    let row = waiting(&app, &id).await?;
    let said = |error: NoProposal| conflict(chain_of(&error));
    let made = Proposal::read(row.json.as_bytes(), now().0 / 1000).map_err(said)?;
    let asked = made.transaction().map_err(said)?;
    let (spend, understood) = made.cost().map_err(said)?;
    let raw = hex::decode(signed.raw.trim().trim_start_matches("0x"))
        .map_err(|_| conflict("the signed transaction is no hex; nothing was taken"))?;
    let found = same(&asked, &raw, made.from).map_err(|error| conflict(chain_of(&error)))?;
    let ask = Ask {
        account: made.from,
        chain_id: made.chain_id,
        slot: row.slot.clone(),
        digest: found.signature_hash().0,
        words: made.meaning.clone(),
        spend,
        understood,
    };
    let id = row.id;
    let taken = app.db(move |store| signing::brought_back(store, &ask, id, &raw)).await?;
    if !taken {
        return Err(conflict("it was brought back already; nothing was changed"));
    }
    tracing::info!(proposal = %id, "signed elsewhere, and brought back");
    app.bump();
    Ok(Json(ProposalView { id: id.to_string(), slot: row.slot, words: made.meaning, at_ms: row.at.0 }))
}

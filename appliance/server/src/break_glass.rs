//! Break-glass: a person opens a host's own system for SSH, for one key and some minutes.
//!
//! The rules are `appliance_enrol::BreakGlass`; the store writes each turn before it is answered.  The addon is made and
//! signed here, and what the host will measure with it is computed from the sealed image (`image_seal::addon`): a quote
//! that shows exactly that is called break-glass by name.  It makes the agent's session the host's, so that it can be
//! opened and ended, and it proves nothing: the host is not registered, marked good, counted as proven or otherwise
//! touched until it quotes without the addon again.  Read next: `api.rs` (people), `residence/claims.rs` (quotes).

use std::{collections::BTreeSet, sync::Arc};

use appliance_api::agent::{
    Order, Outcome, Work,
    glass::{GlassWord, LINE_CHARS_MAX, LINES_ALL_MAX, LINES_MAX, PlantOrder, UnlockOrder},
};
use appliance_enrol::{BreakGlass, Door, GlassErrand, Glassed, Refusal};
use appliance_model::HostId;
use appliance_store::{GlassRow, HostRow, Store, StoreError};
use attest_evidence::{Evidence, Nonce, ReferenceValues};
use attest_verify::verify;
use axum::{Json, extract::State, http::HeaderMap, http::StatusCode};

use crate::{
    agent_api::{Refused, authenticate},
    app::{App, now},
    chain_of, proof,
    told::told,
};

pub(crate) mod api;
#[cfg(test)]
mod tests;

/// Orders of residences stay below this, claims begin above.
pub(crate) const ORDERS_FROM: u64 = 1 << 53;
const ORDERS_TO: u64 = 1 << 54;

/// Characters of one text that an agent tells.
const WORDS_MAX: usize = 300;

/// The name of computed values that are a host's with the addon.
pub(crate) const IMAGE: &str = "break-glass";

/// What the agent of a host gets while its glass is broken, instead of what its stage or residence has for it.
pub(crate) enum Turn {
    /// It is not.
    Off,
    /// This.
    Do(Box<Order>),
    /// Nothing now.
    Wait,
}

/// The turn that a report answers, if it is one.
pub(crate) fn named_by(order: u64) -> Option<u64> {
    order.checked_sub(ORDERS_FROM).filter(|_| order < ORDERS_TO)
}

pub(crate) async fn of(app: &Arc<App>, host: &HostId) -> Result<Option<GlassRow>, StoreError> {
    let id = host.clone();
    app.db(move |store| store.glass(&id)).await
}

/// The order for a host's agent.
pub(crate) async fn order(app: &Arc<App>, host: &HostRow) -> Result<Turn, StoreError> {
    let Some(row) = of(app, &host.id).await?.filter(|row| row.state.on()) else { return Ok(Turn::Off) };
    // Nobody is told to open what time has ended; the executor writes that down.
    let state = row.state.pass_time(now()).unwrap_or_else(|| row.state.clone());
    let work = match state.errand() {
        None => return Ok(Turn::Wait),
        Some(GlassErrand::Plant) => match addon(app, &host.id, &state) {
            Ok(addon) => Work::Plant(PlantOrder { addon: hex::encode(addon) }),
            Err(why) => {
                glassed(app, &host.id, Glassed::Failed { why }).await?;
                return Ok(Turn::Wait);
            }
        },
        Some(GlassErrand::Restart) => Work::Reboot,
        Some(GlassErrand::Open) => Work::Unlock(UnlockOrder {
            key: state.grant.key.clone(),
            seconds: state.grant.seconds_left(now()),
        }),
        Some(GlassErrand::Close) => Work::Lock,
    };
    Ok(Turn::Do(Box::new(Order { id: ORDERS_FROM + row.number, work })))
}

/// The addon, signed as the site's images are.
fn addon(app: &App, host: &HostId, glass: &BreakGlass) -> Result<Vec<u8>, String> {
    let words = glass.grant.words(host).to_string();
    let addon = image_seal::addon::addon(&words).map_err(|error| chain_of(&error))?;
    match app.boot_keys.signer() {
        Some((key, certificate)) => image_seal::authenticode::sign(&addon, key, certificate)
            .map_err(|error| format!("the addon cannot be signed: {}", chain_of(&error))),
        None => Ok(addon),
    }
}

/// Takes what an agent says of a turn.  What it says of an older one is nobody's business any more.
pub(crate) async fn take(
    app: &Arc<App>,
    host: &HostRow,
    number: u64,
    outcome: Outcome,
) -> Result<(), Refused> {
    if of(app, &host.id).await?.is_none_or(|row| row.number != number) {
        return Ok(());
    }
    let happened = match outcome {
        Outcome::Planted => Glassed::Planted,
        Outcome::Unlocked { host_key } => Glassed::Opened { host_key: told(&host_key, 64) },
        Outcome::Locked { restart } => Glassed::Closed { restart },
        Outcome::Leaving => Glassed::Leaves,
        Outcome::Failed { why } => Glassed::Failed { why: told(&why, WORDS_MAX) },
        Outcome::Inventory { .. }
        | Outcome::Identity { .. }
        | Outcome::Activated { .. }
        | Outcome::Quoted { .. }
        | Outcome::NodeConsent { .. }
        | Outcome::Carved { .. }
        | Outcome::BurnInLines { .. }
        | Outcome::BurnIn { .. }
        | Outcome::Occupied { .. }
        | Outcome::Installed { .. }
        | Outcome::Promoted { .. }
        | Outcome::Erase(_) => {
            let why = "the agent answered another order than it was given".into();
            return Err(Refused(StatusCode::CONFLICT, why));
        }
    };
    glassed(app, &host.id, happened).await?;
    Ok(())
}

/// `POST /agent/v1/glass`: what a host's SSH server said.
pub(crate) async fn heard(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Json(word): Json<GlassWord>,
) -> Result<StatusCode, Refused> {
    let host = authenticate(&app, &headers).await?;
    if word.lines.len() > LINES_MAX || word.from > LINES_ALL_MAX {
        return Err(Refused(StatusCode::BAD_REQUEST, "more lines than are told at once, or at all".into()));
    }
    let plain = |line: &String| told(line, LINE_CHARS_MAX);
    let lines: Vec<String> = word.lines.iter().map(plain).collect();
    for line in &lines {
        tracing::warn!(host = %host.id, line, "a host's SSH server");
    }
    let id = host.id.clone();
    let taken =
        app.db(move |store| store.hear_glass(&id, (&word.host_key, word.from), &lines, now())).await?;
    if !taken {
        return Err(Refused(StatusCode::CONFLICT, "no such opening is known; report the order first".into()));
    }
    app.bump();
    Ok(StatusCode::NO_CONTENT)
}

/// Writes what happened, and says it to everybody who listens.
pub(crate) async fn glassed(app: &Arc<App>, host: &HostId, happened: Glassed) -> Result<bool, StoreError> {
    let id = host.clone();
    let turned = app.db(move |store| store.glassed(&id, happened, now())).await?;
    if let Some(row) = of(app, host).await?.filter(|_| turned) {
        tracing::warn!(%host, turn = row.number, door = row.state.door.name(), words = row.state.words(), "break-glass");
    }
    app.bump();
    Ok(turned)
}

/// What a host's registers hold with its last addon, for each image of the release that it was made for.
pub(crate) fn references(app: &App, host: &HostId, glass: &BreakGlass) -> Vec<ReferenceValues> {
    let words = glass.grant.words(host).to_string();
    let images = app.releases.ingredients(&glass.grant.release);
    // Words of our own are always plain.
    images.filter_map(|image| image.with(IMAGE, &words).ok()).collect()
}

/// Whether evidence of a node shows its system with the addon, and nothing else that is new: why it is not accepted then.
pub(crate) async fn shown_by(
    app: &Arc<App>,
    host: &HostId,
    file: &Evidence,
    nonce: Option<Nonce>,
) -> Result<Option<Refusal>, StoreError> {
    let Some(row) = of(app, host).await? else { return Ok(None) };
    let reference = references(app, host, &row.state);
    if reference.is_empty()
        || verify(file, &proof::policy(app, reference, nonce, None), now().0 / 1000).accept().is_err()
    {
        return Ok(None);
    }
    if !row.state.on() {
        // It was over, and its addon is there all the same.
        glassed(app, host, Glassed::Shown).await?;
    }
    Ok(of(app, host).await?.and_then(|row| row.state.unproven()))
}

/// The hosts whose glass is broken; and what time brings.
pub(crate) async fn pass_time(app: &Arc<App>) -> Result<BTreeSet<HostId>, StoreError> {
    let rows = app
        .db(|store| {
            store.pass_glass_time(now())?;
            store.glasses()
        })
        .await?;
    Ok(rows.into_iter().filter(|row| row.state.on()).map(|row| row.host).collect())
}

/// Why nothing else is done to a host, if its glass is broken.  One that is stuck needs something else to be done.
pub(crate) async fn holds(app: &Arc<App>, host: &HostId) -> Result<Option<String>, StoreError> {
    let held = |row: &GlassRow| row.state.on() && !matches!(row.state.door, Door::Stuck { .. });
    let row = of(app, host).await?.filter(held);
    Ok(row.map(|row| {
        format!(
            "host {host} was opened for SSH by {}: {}; `host break-glass {host} --end` ends that",
            row.state.grant.by,
            row.state.words()
        )
    }))
}

/// An agent said hello from the discovery image, in a boot that was not known.
pub(crate) fn in_memory(store: &Store, host: &HostId) -> Result<(), StoreError> {
    store.glassed(host, Glassed::FromMemory, now()).map(drop)
}

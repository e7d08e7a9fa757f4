//! Units made real: the plan that an agent is ordered, what its kernel says, and what follows.
//!
//! Equal: the manifest names the real state, and that is what is quoted.  Something that is sold is missing: quarantine,
//! with the difference in words.  More than was planned, and nothing missing: quoted anew, as it is now.

pub(crate) mod api;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use appliance_api::agent::Work;
use appliance_carve::{compare, real_in, shape, with_real};
use appliance_enrol::{Event, Refusal, Stage};
use appliance_model::{
    Digest, HostId, Serial,
    inventory::Inventory,
    real::{Difference, Shape},
    units::{Manifest, Resource},
};
use appliance_store::{Ask, HostRow, Kind, RequestEnd, RequestRow, StoreError};
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, now},
    requests,
    told::told,
};

/// The rule that a host is quarantined by.
const RULE: &str = "carve-differs";

/// Differences that are named; a machine that lost everything has hundreds.
const NAMED_MAX: usize = 8;

/// What was ordered and what came of it, as the store keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// The plan; absent once it was undone.
    pub(crate) wanted: Option<Shape>,
    /// The kernel's word.
    pub(crate) real: Shape,
    /// When, milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// The order of a host whose units are to be made.
pub(crate) async fn order(app: &Arc<App>, host: &HostRow) -> Result<Work, StoreError> {
    Ok(match plan(app, &host.id).await? {
        Some((_, wanted)) => Work::Carve(Box::new(wanted)),
        None => Work::Wait,
    })
}

/// The agent has read its kernel back: the answer to that order, or to one for a quote that it would not make.
pub(crate) async fn shaped(app: &Arc<App>, host: &HostRow, real: Shape) -> Result<Event, StoreError> {
    let Some((manifest, wanted)) = plan(app, &host.id).await? else {
        return Ok(Event::Unfit(Refusal { rule: RULE.into(), text: "there are no units".into() }));
    };
    keep(app, &host.id, Some(&wanted), &real).await?;
    let differences = compare(&wanted, &real);
    if let Some(refusal) = refusal(&differences, &real) {
        return Ok(Event::Unfit(refusal));
    }
    if matches!(host.stage, Stage::Binding { .. }) {
        let text =
            "the units changed while they were to be quoted, and are whole; `host retry` begins anew".into();
        return Ok(Event::Unfit(Refusal { rule: RULE.into(), text }));
    }
    let (id, bytes) = (host.id.clone(), with_real(&manifest, &said(real)));
    app.db(move |store| store.put(&id, Kind::Manifest, &bytes, now())).await?;
    Ok(Event::Shaped)
}

/// Asks a host whose stage has no order to make its units (again), or to undo them; whether it has any.
pub(crate) async fn ask(app: &Arc<App>, host: &HostRow, ask: Ask) -> Result<bool, StoreError> {
    let wanted = match quoted(app, &host.id).await? {
        Some((_, wanted)) => wanted,
        None => match plan(app, &host.id).await? {
            // Evidence of a time when nobody asked the kernel is repeated as it is.
            Some((_, wanted)) if !host.stage.answers_verifiers() || ask == Ask::Uncarve => wanted,
            Some(_) | None => return Ok(false),
        },
    };
    let wanted = Box::new(wanted);
    let work = if ask == Ask::Uncarve { Work::Uncarve(wanted) } else { Work::Carve(wanted) };
    requests::put(app, &host.id, ask, false, &work).await?;
    app.bump();
    Ok(true)
}

/// A host that was asked outside its stage has answered.
pub(crate) async fn again(
    app: &Arc<App>,
    host: &HostRow,
    request: &RequestRow,
    real: Shape,
) -> Result<(), StoreError> {
    let Ok(Work::Carve(wanted)) = serde_json::from_str::<Work>(&request.work) else {
        return requests::fail(
            app,
            request,
            "the request was made by another version of the appliance".into(),
        )
        .await;
    };
    keep(app, &host.id, Some(&wanted), &real).await?;
    let refusal = refusal(&compare(&wanted, &real), &real);
    let digest = Digest::of(&serde_json::to_vec(&real).unwrap_or_default());
    requests::end(app, request.id, RequestEnd::Answered(digest), None).await?;
    match refusal {
        Some(why) => app.advance(&host.id, Event::Drifted(why), None).await.map(drop),
        None if host.stage.answers_verifiers() => requests::reattest(app, host).await,
        None => Ok(()),
    }
}

/// A node was asked for a quote and says that its units are not as they were quoted.
pub(crate) async fn instead(
    app: &Arc<App>,
    host: &HostRow,
    request: &RequestRow,
    real: Shape,
) -> Result<(), StoreError> {
    let asked: Option<Work> = serde_json::from_str(&request.work).ok();
    let manifest = match asked {
        Some(Work::Quote(order)) => order.manifest,
        Some(_) | None => None,
    };
    let said_before = manifest.as_deref().and_then(|text| real_in(text).ok().flatten());
    let manifest: Option<Manifest> = manifest.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let (Some(manifest), Some(said_before)) = (manifest, said_before) else {
        return requests::fail(app, request, "the agent answered another question than it was asked".into())
            .await;
    };
    keep(app, &host.id, Some(&said_before), &real).await?;
    let differences = compare(&said_before, &real);
    match refusal(&differences, &real) {
        Some(why) => {
            requests::fail(app, request, why.text.clone()).await?;
            app.advance(&host.id, Event::Drifted(why), None).await.map(drop)
        }
        None => {
            let why = format!("{}; it is quoted anew as it is now: ask again", words(&differences));
            requests::fail(app, request, why).await?;
            let text = String::from_utf8(with_real(&manifest, &said(real))).ok();
            requests::reattest_with(app, host, text).await
        }
    }
}

/// Why a host may not be registered as it is: a person has undone its units since they were quoted.
pub(crate) async fn undone(app: &Arc<App>, host: &HostRow) -> Result<Option<String>, StoreError> {
    let undone = kept(app, &host.id).await?.is_some_and(|kept| kept.wanted.is_none());
    Ok(undone.then(|| {
        let (id, serial) = (&host.id, &host.facts.serial);
        format!(
            "its units were undone by `unit uncarve`; `scalerforge unit carve {id} --permit \"CARVE {serial}\"` makes them again"
        )
    }))
}

/// Keeps what the kernel said.
pub(crate) async fn keep(
    app: &Arc<App>,
    host: &HostId,
    wanted: Option<&Shape>,
    real: &Shape,
) -> Result<(), StoreError> {
    let kept = Kept { wanted: wanted.cloned(), real: real.clone(), at_ms: now().0 };
    let (id, bytes) = (host.clone(), serde_json::to_vec(&kept).unwrap_or_default());
    app.db(move |store| store.put(&id, Kind::Real, &bytes, now()).map(drop)).await
}

pub(crate) async fn kept(app: &Arc<App>, host: &HostId) -> Result<Option<Kept>, StoreError> {
    let id = host.clone();
    let bytes = app.db(move |store| store.document(&id, Kind::Real)).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The units of a host, and what they are made of.
pub(crate) async fn plan(app: &Arc<App>, host: &HostId) -> Result<Option<(Manifest, Shape)>, StoreError> {
    let id = host.clone();
    let (manifest, inventory) = app
        .db(move |store| Ok((store.document(&id, Kind::Manifest)?, store.document(&id, Kind::Inventory)?)))
        .await?;
    let manifest: Option<Manifest> = manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let inventory: Option<Inventory> = inventory.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(manifest.zip(inventory).map(|(manifest, inventory)| {
        let wanted = shape(&manifest, &inventory, app.config.carve);
        (manifest, wanted)
    }))
}

/// Serials of the drives that units are of.
pub(crate) fn sold(manifest: &Manifest) -> BTreeSet<Serial> {
    let stores = manifest.units.iter().filter_map(|unit| {
        if let Resource::Storage { serial, .. } = &unit.resource { Some(serial.clone()) } else { None }
    });
    stores.collect()
}

/// What a node's last evidence says is real.
async fn quoted(app: &Arc<App>, host: &HostId) -> Result<Option<(String, Shape)>, StoreError> {
    let id = host.clone();
    let manifest = app.db(move |store| requests::quoted_manifest(store, &id)).await?;
    Ok(manifest.and_then(|text| real_in(&text).ok().flatten().map(|wanted| (text, wanted))))
}

/// What goes into a manifest: the state, without the words about what was tried.
fn said(real: Shape) -> Shape {
    Shape { gaps: Vec::new(), ..real }
}

/// Why a host cannot be sold as it is; nothing where all that is sold is there.
fn refusal(differences: &[Difference], real: &Shape) -> Option<Refusal> {
    let grave: Vec<Difference> = differences.iter().filter(|one| !one.more).cloned().collect();
    if grave.is_empty() {
        return None;
    }
    let gaps = real.gaps.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
    let gaps = if gaps.is_empty() { gaps } else { format!(" The agent said: {gaps}.") };
    let text = format!(
        "{}.{gaps} Mend what is named, or change [carve] in the site file, then `host retry`",
        words(&grave)
    );
    Some(Refusal { rule: RULE.into(), text: told(&text, 4000) })
}

fn words(differences: &[Difference]) -> String {
    let mut all: Vec<String> = differences.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if let Some(rest) = differences.len().checked_sub(NAMED_MAX).filter(|rest| *rest > 0) {
        all.push(format!("and {rest} more"));
    }
    all.join("; ")
}

//! Erases of hosts' drives: permission, the agent's order, its words, the certificate.
//!
//! The rules are `appliance_enrol::Erasing`; the store writes each turn before it is answered, and the agent does nothing
//! before that answer.  While a permission is open its host does not go on by itself: it is neither retried, approved nor
//! changed.  Read next: `erase/api.rs` (people), `erase/certificate.rs` (the paper).

use std::{collections::BTreeSet, sync::Arc};

use appliance_api::{
    agent::{Order, Outcome, Work},
    erase::{EraseOrder, EraseWord},
};
use appliance_model::{HostId, erase::Said};
use appliance_store::{HostRow, StoreError};
use axum::http::StatusCode;

use crate::{
    agent_api::Refused,
    app::{App, now},
    told::told,
};

pub(crate) mod api;
pub mod certificate;

/// Orders of stages and requests stay far below this.
const ORDERS_FROM: u64 = 1 << 48;

/// Those of residences begin here.
const ORDERS_TO: u64 = 1 << 52;

/// Places of one drive that an agent may tell of: a few more than it looks at.
const SAMPLES_MAX: usize = 2 * appliance_model::erase::SAMPLES_MAX;

/// The erase that a report answers, if it is one.
pub(crate) fn named_by(order: u64) -> Option<u64> {
    order.checked_sub(ORDERS_FROM).filter(|_| order < ORDERS_TO)
}

/// The order for the agent of a host whose drives are to be erased.  It comes before all others.
pub(crate) async fn order(app: &Arc<App>, host: &HostRow) -> Result<Option<Order>, StoreError> {
    let id = host.id.clone();
    let Some(row) = app.db(move |store| store.open_erase(&id)).await? else { return Ok(None) };
    let drives = row.drives.iter().filter_map(|drive| {
        let fresh = drive.state.pass_time(now()).is_none();
        drive.state.order(&drive.serial, &drive.content).filter(|_| fresh)
    });
    let drives: Vec<_> = drives.collect();
    // One that has begun is finished whatever its host has become.
    let barred = row.barred(&host.stage).is_some();
    if drives.is_empty() || barred && drives.iter().all(|drive| drive.begun.is_none()) {
        return Ok(None);
    }
    Ok(Some(Order { id: ORDERS_FROM + row.id, work: Work::Erase(EraseOrder { drives }) }))
}

/// Takes what an agent says; a refusal means that it must not go on.
pub(crate) async fn take(app: &Arc<App>, host: &HostRow, id: u64, outcome: Outcome) -> Result<(), Refused> {
    let refused = |why: String| Refused(StatusCode::CONFLICT, why);
    let word = match outcome {
        Outcome::Erase(word) => word,
        // The whole order came to nothing: an agent that cannot even look.
        Outcome::Failed { why } => return failed(app, host, id, why).await,
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
        | Outcome::Planted
        | Outcome::Unlocked { .. }
        | Outcome::Locked { .. }
        | Outcome::Leaving => {
            return Err(refused("the agent answered another order than it was given".into()));
        }
    };
    say(app, host, id, word).await?.map_err(refused)
}

async fn say(
    app: &Arc<App>,
    host: &HostRow,
    id: u64,
    word: EraseWord,
) -> Result<Result<(), String>, StoreError> {
    let EraseWord { serial, said } = word;
    let said = match bounded(said) {
        Ok(said) if said_of(&said).is_none_or(|of| *of == serial) => said,
        Ok(_) => return Ok(Err(format!("what is said of drive {serial} names another drive"))),
        Err(why) => return Ok(Err(why)),
    };
    let passing = matches!(said, Said::Going { .. });
    if !passing {
        tracing::info!(host = %host.id, drive = %serial, erase = id, said = name(&said), "erase");
    }
    let (this, key, erased) = (host.clone(), *app.keys.attestor(), serial.clone());
    let taken = app
        .db(move |store| {
            let evidence = store.accepted_evidence(&this.id)?.map(|row| row.digest.to_string());
            let certify = |row: &appliance_store::EraseRow, proven: &appliance_enrol::Erasing| {
                let made = certificate::certify(&key, &this, evidence.clone(), row, proven)?;
                serde_json::to_string_pretty(&made).ok()
            };
            store.erase_said(id, (&this.id, &erased), &said, &certify, now())
        })
        .await?;
    app.bump();
    Ok(taken)
}

async fn failed(app: &Arc<App>, host: &HostRow, id: u64, why: String) -> Result<(), Refused> {
    let this = host.id.clone();
    let row = app.db(move |store| store.open_erase(&this)).await?;
    let row = row.filter(|row| row.id == id);
    for drive in row.into_iter().flat_map(|row| row.drives).filter(|drive| !drive.state.ended()) {
        let word = EraseWord { serial: drive.serial, said: Said::Failed { why: why.clone() } };
        // Whether it is taken is the state's business; the agent has nothing to do about it.
        let _ = say(app, host, id, word).await?;
    }
    Ok(())
}

/// Texts and lists as long as they may be.
fn bounded(said: Said) -> Result<Said, String> {
    let words = |why: String| told(&why, 2000);
    Ok(match said {
        Said::Refused { why } => Said::Refused { why: words(why) },
        Said::Failed { why } => Said::Failed { why: words(why) },
        Said::Begins(begun) => {
            let long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > 128);
            let named = begun.samples.iter().any(|sample| long(&sample.was));
            if begun.samples.len() > SAMPLES_MAX
                || named
                || long(&begun.drive.model)
                || long(&begun.drive.firmware)
            {
                return Err("what is said of the drive is longer than it may be".into());
            }
            Said::Begins(begun)
        }
        said @ (Said::Going { .. } | Said::Erased | Said::ReadBack(_)) => said,
    })
}

fn said_of(said: &Said) -> Option<&appliance_model::Serial> {
    if let Said::Begins(begun) = said { Some(&begun.drive.serial) } else { None }
}

fn name(said: &Said) -> &'static str {
    match said {
        Said::Refused { .. } => "refused",
        Said::Begins(_) => "begins",
        Said::Going { .. } => "going",
        Said::Erased => "erased",
        Said::ReadBack(_) => "read back",
        Said::Failed { .. } => "failed",
    }
}

/// The hosts whose drives are being erased, or are to be.
pub(crate) async fn in_hand(app: &Arc<App>) -> Result<BTreeSet<HostId>, StoreError> {
    let open = app
        .db(|store| {
            store.pass_erase_time(now())?;
            store.open_erases()
        })
        .await?;
    Ok(open.into_iter().map(|row| row.host).collect())
}

/// Why nothing else is done to a host, if its drives are being erased.
pub(crate) async fn holds(app: &Arc<App>, host: &HostId) -> Result<Option<String>, StoreError> {
    let held = in_hand(app).await?.contains(host);
    Ok(held.then(|| {
        format!("drives of host {host} are being erased; `host erase {host} --status` shows how far that is")
    }))
}

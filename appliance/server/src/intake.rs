//! What an agent reports: stored first, then told to the core as an event.  All of it is hearsay until verified.

use std::sync::Arc;

use appliance_api::agent::Outcome;
use appliance_enrol::{Event, Order, Refusal};
use appliance_model::{Digest, inventory::Inventory};
use appliance_store::{HostRow, Kind, StoreError};
use attest_evidence::Attachments;
use axum::http::StatusCode;

use crate::{
    agent_api::Refused,
    app::{App, now},
    burn_in,
    challenge::{self, Challenge},
    checks,
    evidence::{self, Quoted},
    shaping, sightings,
    told::told,
};

/// Takes the answer to the host's open order.
pub(crate) async fn take(app: &Arc<App>, host: &HostRow, outcome: Outcome) -> Result<(), Refused> {
    if !answers(host.stage.order(), &outcome) {
        return Err(malformed("outcome"));
    }
    let event = match outcome {
        Outcome::Inventory { json } => inventory(app, host, json).await?,
        Outcome::Identity { .. } => identity(app, host, &outcome).await?,
        Outcome::Activated { answer } => challenge::answered(app, host, answer).await?,
        Outcome::Quoted { .. } => quoted(app, host, Quoted::read(outcome).map_err(malformed)?).await?,
        Outcome::BurnInLines { from, lines } => burn_in::lines(app, host, from, lines).await?,
        Outcome::BurnIn { json } => burn_in::report(app, host, json).await?,
        Outcome::Failed { why } => Event::AgentFailed { why: told(&why, 2000) },
        Outcome::Carved { real } => shaping::shaped(app, host, *real).await?,
        Outcome::NodeConsent { .. }
        | Outcome::Erase(_)
        | Outcome::Occupied { .. }
        | Outcome::Installed { .. }
        | Outcome::Promoted { .. }
        | Outcome::Planted
        | Outcome::Unlocked { .. }
        | Outcome::Locked { .. }
        | Outcome::Leaving => return Ok(()),
    };
    app.advance(&host.id, event, None).await?;
    Ok(())
}

/// Whether an outcome answers that order.  One that does not is not stored either: a second inventory, say, would
/// replace the one that was carved.
fn answers(order: Order, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Inventory { .. } => order == Order::Inventory,
        Outcome::Identity { .. } => order == Order::Identify,
        Outcome::Activated { .. } => order == Order::Activate,
        Outcome::Quoted { .. } => matches!(order, Order::QuoteAdmission | Order::QuoteRegistration),
        Outcome::BurnInLines { .. } | Outcome::BurnIn { .. } => order == Order::BurnIn,
        Outcome::Failed { .. } => order != Order::Wait,
        // Answers orders of another kind.
        Outcome::NodeConsent { .. }
        | Outcome::Erase(_)
        | Outcome::Occupied { .. }
        | Outcome::Installed { .. }
        | Outcome::Planted
        | Outcome::Unlocked { .. }
        | Outcome::Locked { .. }
        | Outcome::Promoted { .. } => false,
        // Instead of a quote, where the units are not real any more.
        Outcome::Carved { .. } => matches!(order, Order::Carve | Order::QuoteRegistration),
        Outcome::Leaving => true,
    }
}

fn malformed(what: &str) -> Refused {
    Refused(StatusCode::BAD_REQUEST, format!("the report's {what} is not what the protocol says"))
}

async fn inventory(app: &Arc<App>, host: &HostRow, json: String) -> Result<Event, Refused> {
    let inventory: Inventory = serde_json::from_str(&json).map_err(|_| malformed("inventory"))?;
    if inventory.system.serial.as_ref() != Some(&host.facts.serial) {
        let found = inventory.system.serial.map_or_else(|| "none".to_owned(), |serial| serial.to_string());
        return Ok(Event::Unfit(Refusal {
            rule: "serial".into(),
            text: format!("the machine booted as serial {} now reports serial {found}", host.facts.serial),
        }));
    }
    Ok(Event::Inventory { inventory: keep_inventory(app, host, inventory, json).await? })
}

/// Keeps an inventory, where it disagrees with what the BMC says, and what baselines and blueprints say of it.
pub(crate) async fn keep_inventory(
    app: &Arc<App>,
    host: &HostRow,
    inventory: Inventory,
    json: String,
) -> Result<Digest, StoreError> {
    if let Some(told) = inventory.bmc.clone() {
        // Asking an address takes seconds when nobody is there; the agent does not wait for it.
        let (app, host) = (Arc::clone(app), host.clone());
        tokio::spawn(async move { sightings::in_band(&app, &host, &told).await });
    }
    let (id, bytes, comparing) = (host.id.clone(), json.into_bytes(), Arc::clone(app));
    app.db(move |store| {
        checks::keep(&comparing.config.checks, store, &id, &inventory)?;
        store.put(&id, Kind::Inventory, &bytes, now())
    })
    .await
}

async fn identity(app: &Arc<App>, host: &HostRow, outcome: &Outcome) -> Result<Event, Refused> {
    let (id, bytes) = (host.id.clone(), serde_json::to_vec(outcome).map_err(|_| malformed("identity"))?);
    let digest = app.db(move |store| store.put(&id, Kind::Identity, &bytes, now())).await?;
    Ok(Event::Identity { identity: digest })
}

/// Puts the evidence file together.  Nothing in it is believed here: the next stage verifies it as a stranger would.
async fn quoted(app: &Arc<App>, host: &HostRow, quoted: Quoted) -> Result<Event, Refused> {
    let challenge = Challenge::load(app, &host.id).await?.ok_or_else(|| malformed("order"))?;
    let registration = host.stage.order() == appliance_enrol::Order::QuoteRegistration;
    let (id, judging) = (host.id.clone(), Arc::clone(app));
    let digest = app
        .db(move |store| {
            let attachments = Attachments {
                inventory: store.document(&id, Kind::Inventory)?,
                burn_in: if registration { store.document(&id, Kind::BurnIn)? } else { None },
                manifest: if registration { store.document(&id, Kind::Manifest)? } else { None },
            };
            let evidence = evidence::assemble(store, &id, &challenge, quoted, attachments)?;
            let evidence = evidence::settled(&judging, evidence);
            let kind = if registration { Kind::Registration } else { Kind::Admission };
            store.put(&id, kind, &evidence.encode(), now())
        })
        .await?;
    Ok(Event::Quoted { evidence: digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_answers_its_own_order_only() {
        let digest = Digest([1; 32]);
        let quoted = Outcome::Quoted {
            statement: String::new(),
            attest: String::new(),
            signature: String::new(),
            pcrs: vec![],
            uefi_log: String::new(),
            iak: None,
        };
        let rows: [(Outcome, &[Order]); 5] = [
            (Outcome::Inventory { json: "{}".into() }, &[Order::Inventory]),
            (Outcome::Activated { answer: digest }, &[Order::Activate]),
            (quoted, &[Order::QuoteAdmission, Order::QuoteRegistration]),
            (Outcome::BurnIn { json: "{}".into() }, &[Order::BurnIn]),
            (
                Outcome::Failed { why: "no TPM".into() },
                &[
                    Order::Inventory,
                    Order::Identify,
                    Order::Activate,
                    Order::QuoteAdmission,
                    Order::BurnIn,
                    Order::QuoteRegistration,
                ],
            ),
        ];
        let orders = [
            Order::Wait,
            Order::Inventory,
            Order::Identify,
            Order::Activate,
            Order::QuoteAdmission,
            Order::BurnIn,
            Order::QuoteRegistration,
        ];
        for (outcome, right) in rows {
            for order in orders {
                assert_eq!(answers(order, &outcome), right.contains(&order), "{outcome:?} to {order:?}");
            }
        }
    }
}

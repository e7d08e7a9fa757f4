//! From a host's stage to the agent's order.  The stage says which (`enrol`); here its contents are looked up.

use std::sync::Arc;

use appliance_api::agent::{QuoteOrder, Target, Work};
use appliance_enrol::{Order, Stage};
use appliance_model::HostId;
use appliance_store::{HostRow, Kind, StoreError};
use attest_evidence::Nonce;
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, now},
    burn_in,
    challenge::Challenge,
    custody, shaping,
};

/// The nonce of an open quote order: kept, so that the agent gets the same one however often it asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OpenNonce {
    /// The order it belongs to.
    generation: u64,
    /// Deterministic CBOR of the nonce object.
    cbor: String,
}

impl OpenNonce {
    /// The nonce object.
    pub(crate) fn nonce(&self) -> Option<Nonce> {
        Nonce::decode(&hex::decode(&self.cbor).ok()?).ok()
    }
}

/// The order for a host in its present stage.
pub(crate) async fn work(app: &Arc<App>, host: &HostRow) -> Result<Work, StoreError> {
    Ok(match host.stage.order() {
        Order::Wait => Work::Wait,
        Order::Inventory => Work::Inventory { bmc_account: custody::in_band(app, host).await? },
        Order::Identify => Work::Identify,
        Order::Activate => activate(app, &host.id).await?,
        Order::BurnIn => burn_in::order(app, host).await?,
        Order::Carve => shaping::order(app, host).await?,
        Order::QuoteAdmission => quote(app, host, false).await?,
        Order::QuoteRegistration => quote(app, host, true).await?,
    })
}

async fn activate(app: &Arc<App>, host: &HostId) -> Result<Work, StoreError> {
    Ok(match Challenge::load(app, host).await? {
        Some(challenge) => Work::Activate {
            credential_blob: challenge.credential_blob,
            encrypted_secret: challenge.encrypted_secret,
            transcript: challenge.transcript,
        },
        None => Work::Wait,
    })
}

async fn quote(app: &Arc<App>, host: &HostRow, registration: bool) -> Result<Work, StoreError> {
    let Some(challenge) = Challenge::load(app, &host.id).await? else { return Ok(Work::Wait) };
    // Evidence of a node is counted: admission, registration, then what it shows as a node.  A machine that is enrolled
    // again goes on counting, so that nobody takes its new evidence for an old file.
    let id = host.id.clone();
    let (newest, accepted) =
        app.db(move |store| Ok((store.newest_evidence(&id)?, store.accepted_evidence(&id)?))).await?;
    let sequence = newest.map_or(0, |row| row.sequence + 1) + u64::from(registration);
    let previous = match previous(&host.stage) {
        Some(admission) => Some(admission),
        None => accepted.map(|row| row.digest),
    };
    let Some(nonce) = nonce(app, host, &challenge, sequence).await? else { return Ok(Work::Wait) };
    let (target, manifest) = if registration {
        let id = host.id.clone();
        let manifest = app.db(move |store| store.document(&id, Kind::Manifest)).await?;
        // The registry's address is known once the chain was reached for the first time.
        let (Some(manifest), Some(target)) = (manifest, app.chain.target()) else { return Ok(Work::Wait) };
        (Some(target), String::from_utf8(manifest).ok())
    } else {
        (None, None)
    };
    Ok(Work::Quote(QuoteOrder {
        purpose: if registration { "registration" } else { "admission" }.into(),
        nonce,
        node: challenge.node,
        target: target.map(|target| Target {
            chain_id: target.chain_id,
            registry: target.registry,
            operator: target.operator,
        }),
        manifest,
        previous,
        sequence,
    }))
}

fn previous(stage: &Stage) -> Option<appliance_model::Digest> {
    if let Stage::Binding { attested, .. } = stage { Some(attested.evidence()) } else { None }
}

/// The open nonce of this order; made at the first asking.  With a chain in reach it names the newest block, so that
/// anybody can see that the quote is younger than that block; without one it is random, and proves that to us alone.
async fn nonce(
    app: &Arc<App>,
    host: &HostRow,
    challenge: &Challenge,
    sequence: u64,
) -> Result<Option<String>, StoreError> {
    let id = host.id.clone();
    let stored = app.db(move |store| store.document(&id, Kind::Nonce)).await?;
    let open: Option<OpenNonce> = stored.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(open) = open.filter(|open| open.generation == host.generation) {
        return Ok(Some(open.cbor));
    }
    let Ok(nonce) = challenge.nonce(app, sequence) else { return Ok(None) };
    let open = OpenNonce { generation: host.generation, cbor: hex::encode(nonce.encode()) };
    let (id, bytes) = (host.id.clone(), serde_json::to_vec(&open).unwrap_or_default());
    app.db(move |store| store.put(&id, Kind::Nonce, &bytes, now())).await?;
    Ok(Some(open.cbor))
}

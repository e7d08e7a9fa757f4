//! Evidence in, proof out: calls `attest-verify` with the site's policy.  Nothing is judged here.

use std::sync::Arc;

use appliance_enrol::Event;
use appliance_store::{HostRow, Judged, Kind, NewEvidence, StoreError};
use attest_evidence::{Evidence, Nonce, ReferenceValues};
use attest_verify::{Attested, Bound, LastSeen, Policy, Rejection, binding, verify};

use crate::{
    app::{App, now},
    boot_ticket::BootTicket,
    executor::End,
    orders::OpenNonce,
};

/// Verifies the evidence of admission.
pub(crate) async fn admission(app: &Arc<App>, host: &HostRow) -> Result<End, StoreError> {
    let id = host.id.clone();
    let bytes = app.db(move |store| store.document(&id, Kind::Admission)).await?.unwrap_or_default();
    Ok(End::Done(match attested(app, host, &bytes, true).await? {
        Ok(proof) => Event::Attested(Box::new(proof)),
        Err(why) => Event::Rejected(why),
    }))
}

/// Verifies the evidence for registration, and keeps the file where people find it.
pub(crate) async fn registration(app: &Arc<App>, host: &HostRow) -> Result<End, StoreError> {
    let id = host.id.clone();
    let bytes = app.db(move |store| store.document(&id, Kind::Registration)).await?.unwrap_or_default();
    let proof = match attested(app, host, &bytes, true).await? {
        Ok(proof) => proof.bind(),
        Err(why) => return Ok(End::Done(Event::Rejected(why))),
    };
    let bound = match proof {
        Ok(bound) => bound,
        Err(why) => return Ok(End::Done(Event::Rejected(Box::new(why)))),
    };
    let (id, row) = (host.id.clone(), accepted(bound.attested(), bytes.clone()));
    app.db(move |store| store.keep_evidence(&id, &row, now())).await?;
    if let Err(error) = keep(app, &bound, &bytes).await {
        return Ok(End::later(format!(
            "the evidence file cannot be written: {error}; check the site directory"
        )));
    }
    Ok(End::Done(Event::Bound(Box::new(bound))))
}

/// The proof in a stored evidence file, verified anew; its nonce was checked when it came in.
pub(crate) async fn bound(
    app: &Arc<App>,
    host: &HostRow,
    bytes: &[u8],
) -> Result<Result<Bound, Box<Rejection>>, StoreError> {
    Ok(attested(app, host, bytes, false).await?.and_then(|proof| proof.bind().map_err(Box::new)))
}

async fn attested(
    app: &Arc<App>,
    host: &HostRow,
    bytes: &[u8],
    with_nonce: bool,
) -> Result<Result<Attested, Box<Rejection>>, StoreError> {
    // Stored evidence was compared with the hello of its own boot when it came in, and there may have been another.
    let (expected_nonce, ticket) = if with_nonce {
        let id = host.id.clone();
        (open_nonce(app, host).await?, app.db(move |store| BootTicket::load(store, &id)).await?)
    } else {
        (None, None)
    };
    Ok(judge(app, bytes, expected_nonce, None, ticket))
}

/// Judges a file by the site's policy, and by how its machine said that it was booted.
pub(crate) fn judge(
    app: &App,
    bytes: &[u8],
    expected_nonce: Option<Nonce>,
    last_seen: Option<LastSeen>,
    ticket: Option<BootTicket>,
) -> Result<Attested, Box<Rejection>> {
    let evidence = Evidence::decode(bytes).map_err(|error| Box::new(unreadable(&error)))?;
    let reference = app.config.references().chain(app.releases.references()).cloned().collect();
    let verdict = verify(&evidence, &policy(app, reference, expected_nonce, last_seen), now().0 / 1000);
    let proof = verdict.accept().map_err(Box::new)?;
    if let Some(options) = verdict.facts.tried_in_vain {
        // It costs time at each start, and a person can mend it in the firmware's boot order.
        let node = &verdict.facts.node;
        tracing::info!(node, options, "its firmware tried other boot options in vain before the image");
    }
    ticket.map_or(Ok(()), |ticket| ticket.agrees(verdict.facts.boot_url.as_deref()))?;
    Ok(proof)
}

/// The site's policy for these images.
pub(crate) fn policy(
    app: &App,
    reference: Vec<ReferenceValues>,
    expected_nonce: Option<Nonce>,
    last_seen: Option<LastSeen>,
) -> Policy {
    Policy {
        roots: app.roots.clone(),
        reference,
        allow_software_tpm: app.config.allow_software_tpm,
        challengers: binding::challenger_public(app.keys.attestor()).into_iter().collect(),
        k: 1,
        expected_nonce,
        last_seen,
    }
}

/// Accepted evidence for the node's row, with what the next one is judged by.
pub(crate) fn accepted(proof: &Attested, bytes: Vec<u8>) -> NewEvidence {
    let seen = serde_json::to_string(proof.last_seen()).unwrap_or_default();
    NewEvidence { sequence: proof.statement().sequence, bytes, judged: Judged::Accepted { seen } }
}

/// A file that is no evidence at all.
fn unreadable(error: &attest_evidence::cbor::Error) -> Rejection {
    Rejection {
        check: "format".into(),
        what: format!("the stored evidence cannot be read: {error}; retry the host"),
        measured: String::new(),
        expected: String::new(),
    }
}

/// The nonce of the newest quote order: the quote in the evidence must answer it.
async fn open_nonce(app: &Arc<App>, host: &HostRow) -> Result<Option<Nonce>, StoreError> {
    let id = host.id.clone();
    let bytes = app.db(move |store| store.document(&id, Kind::Nonce)).await?;
    let open: Option<OpenNonce> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(open.and_then(|open| open.nonce()))
}

/// Writes the file whole or not at all.
async fn keep(app: &App, bound: &Bound, bytes: &[u8]) -> std::io::Result<()> {
    let dir = app.config.dir.join("evidence");
    tokio::fs::create_dir_all(&dir).await?;
    let node = appliance_model::NodeId(bound.node());
    let part = dir.join(format!("{node}.part"));
    tokio::fs::write(&part, bytes).await?;
    tokio::fs::File::open(&part).await?.sync_all().await?;
    tokio::fs::rename(part, dir.join(format!("{node}.evidence"))).await
}

//! Agents of installed systems: who they say they are counts for nothing until they have quoted.
//!
//! The host must have been admitted before, by a challenge that bound its attestation key to its endorsement key.  A
//! claim's agent is asked for one quote over a nonce of its own.  What makes it good: the key is that host's, the
//! registers are the computed ones of a release that this site has sealed, and the release is not below the floor.  A
//! quote by the right key over other registers is that machine's own word that it runs something else: quarantine.

use std::sync::Arc;

use appliance_api::agent::{Order, Outcome, QuoteOrder, Welcome, Work, host::Residence as Claimed};
use appliance_enrol::{Boot, Event, Glassed, Home, Lived, Refusal, Residence};
use appliance_model::{Digest, HostId, Serial, Session};
use appliance_store::{ClaimRow, Kind, NewClaim, Store, StoreError};
use attest_evidence::{Attachments, Evidence, Nonce, ReferenceValues};
use attest_verify::{Outcome as Check, Verdict, verify};
use axum::http::StatusCode;

use crate::{
    agent_api::Refused,
    app::{App, now},
    break_glass,
    challenge::Challenge,
    evidence::{self, Quoted},
    proof, requests, site,
    told::told,
};

/// Above the orders of turns.
pub(super) const ORDERS_FROM: u64 = 1 << 54;

/// Slots that a hello may say have failed: there are two.
const FAILED_MAX: usize = 2;

/// What a quote has shown.
enum Shown {
    /// A system of this site.
    System(Home),
    /// The host's own system, opened by a person: whose session it is, and no more.
    Opened,
}

/// Why a quote made no claim good.
enum Unproven {
    /// It is not that host's word, or cannot be judged: nothing follows for the host.
    Worthless(String),
    /// It is that host's word, and what it runs is not believed.
    Foreign(Refusal),
}

/// Opens a claim.
pub(crate) async fn hello(
    app: &Arc<App>,
    serial: &Serial,
    boot: Digest,
    claimed: &Claimed,
) -> Result<Welcome, Refused> {
    let forbidden = |why: String| Refused(StatusCode::FORBIDDEN, why);
    let broken = |error: site::SiteError| Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    let host = HostId::of_serial(serial);
    let id = host.clone();
    let known = app
        .db(move |store| Ok(store.host(&id).is_ok() && store.document(&id, Kind::Binding)?.is_some()))
        .await?;
    let challenge = Challenge::load(app, &host).await?;
    let (true, Some(challenge)) = (known, challenge) else {
        return Err(forbidden(format!(
            "server {serial} runs an installed system, and this appliance has never seen its TPM prove itself: boot it \
             from the network first"
        )));
    };
    let session = Session(site::random().map_err(broken)?);
    let id = host.clone();
    let newest = app.db(move |store| store.newest_evidence(&id)).await?;
    let nonce = challenge.nonce(app, newest.map_or(0, |row| row.sequence + 1)).map_err(broken)?;
    let mut claimed = claimed.clone();
    claimed.failed.truncate(FAILED_MAX);
    let claim = NewClaim {
        host: host.clone(),
        boot,
        session: session.fingerprint(),
        claim: serde_json::to_string(&claimed).unwrap_or_default(),
        nonce: hex::encode(nonce.encode()),
    };
    app.db(move |store| store.open_claim(&claim, now())).await?;
    tracing::info!(%host, release = claimed.release, version = claimed.version, slot = %claimed.slot, "an installed agent said hello; it has to prove itself");
    Ok(Welcome { host, session: session.reveal() })
}

/// The one order that an unproven agent gets.
pub(crate) async fn order(app: &Arc<App>, row: &ClaimRow) -> Result<Order, StoreError> {
    let host = row.claim.host.clone();
    let Some(challenge) = Challenge::load(app, &host).await? else {
        return Ok(Order { id: 0, work: Work::Wait });
    };
    let accepted =
        app.db(move |store| Ok((store.newest_evidence(&host)?, store.accepted_evidence(&host)?))).await?;
    Ok(Order {
        id: ORDERS_FROM + row.id,
        work: Work::Quote(QuoteOrder {
            purpose: "admission".into(),
            nonce: row.claim.nonce.clone(),
            node: challenge.node,
            target: None,
            manifest: None,
            previous: accepted.1.map(|row| row.digest),
            sequence: accepted.0.map_or(0, |row| row.sequence + 1),
        }),
    })
}

/// Takes the quote of an unproven agent.
pub(crate) async fn take(app: &Arc<App>, row: ClaimRow, order: u64, outcome: Outcome) -> Result<(), Refused> {
    if order.checked_sub(ORDERS_FROM) != Some(row.id) {
        return Ok(());
    }
    let host = row.claim.host.clone();
    match prove(app, &row, outcome).await? {
        Ok(Shown::System(home)) => proven(app, row, home).await.map_err(Into::into),
        Ok(Shown::Opened) => opened(app, row).await.map_err(Into::into),
        Err(Unproven::Worthless(why)) => {
            tracing::warn!(%host, why, "an installed agent did not prove itself");
            app.db(move |store| store.forget_claim(row.id)).await?;
            Err(Refused(StatusCode::FORBIDDEN, why))
        }
        Err(Unproven::Foreign(why)) => {
            tracing::warn!(%host, rule = why.rule, why = why.text, "an installed system is not believed");
            let text = why.text.clone();
            app.advance(&host, Event::Foreign(why), None).await?;
            let _ = super::lived(app, &host, Lived::Foreign).await?;
            app.db(move |store| store.forget_claim(row.id)).await?;
            Err(Refused(StatusCode::FORBIDDEN, text))
        }
    }
}

async fn prove(
    app: &Arc<App>,
    row: &ClaimRow,
    outcome: Outcome,
) -> Result<Result<Shown, Unproven>, StoreError> {
    let worthless = |why: &str| Ok(Err(Unproven::Worthless(why.to_owned())));
    if let Outcome::Failed { why } = &outcome {
        let why = told(why, 2000);
        return worthless(&format!("the agent could not quote: {why}"));
    }
    let Ok(quoted) = Quoted::read(outcome) else { return worthless("the report is no quote") };
    let Ok(claimed) = serde_json::from_str::<Claimed>(&row.claim.claim) else {
        return worthless("the claim was made by another version of the appliance");
    };
    let Some(challenge) = Challenge::load(app, &row.claim.host).await? else {
        return worthless("this host's TPM identity is not known any more: boot it from the network");
    };
    let host = row.claim.host.clone();
    let (file, residence, glass) = app
        .db(move |store| {
            let file = evidence::assemble(store, &host, &challenge, quoted, Attachments::default())?;
            Ok((file, store.residence(&host)?, store.glass(&host)?))
        })
        .await?;
    let file = evidence::settled(app, file);
    let nonce = hex::decode(&row.claim.nonce).ok().and_then(|bytes| Nonce::decode(&bytes).ok());
    let Some(nonce) = nonce else { return worthless("the question of this claim is not readable any more") };
    let with_addon = glass.map(|row| break_glass::references(app, &row.host, &row.state)).unwrap_or_default();
    let residence = residence.map(|row| row.state).unwrap_or_default();
    let judged = judge(app, &file, (nonce, with_addon), &claimed, &residence);
    // What is not that host's own word does not take the place of what is.
    if !matches!(judged, Err(Unproven::Worthless(_))) {
        let (host, bytes) = (row.claim.host.clone(), file.encode());
        app.db(move |store| store.put(&host, Kind::Residence, &bytes, now())).await?;
    }
    Ok(judged)
}

fn judge(
    app: &App,
    file: &Evidence,
    (nonce, with_addon): (Nonce, Vec<ReferenceValues>),
    claimed: &Claimed,
    residence: &Residence,
) -> Result<Shown, Unproven> {
    let reference = app.releases.references().cloned().chain(with_addon).collect();
    let policy = proof::policy(app, reference, Some(nonce), None);
    if policy.reference.is_empty() {
        return Err(Unproven::Worthless(
            "this site gives hosts no system of their own (`[host]` in the site file), so none can be judged"
                .into(),
        ));
    }
    let verdict = verify(file, &policy, now().0 / 1000);
    let release = verdict.facts.image.as_deref().and_then(|image| app.releases.named(image)).cloned();
    if let Err(why) = verdict.accept() {
        return Err(if foreign(&failed(&verdict)) {
            Unproven::Foreign(Refusal {
                rule: "host-image".into(),
                text: format!(
                    "the machine booted something from its drive that no release of this site is: {why}. It says that it is \
                     {} {}. Boot it from the network with `host retry` and install it anew",
                    claimed.release.escape_debug(),
                    claimed.version.escape_debug()
                ),
            })
        } else {
            Unproven::Worthless(why.to_string())
        });
    }
    if verdict.facts.image.as_deref() == Some(break_glass::IMAGE) {
        return Ok(Shown::Opened);
    }
    let Some(release) = release else {
        return Err(Unproven::Worthless("no release of this site has these registers".into()));
    };
    if let Some(why) = residence.refuses(&release) {
        return Err(Unproven::Foreign(why));
    }
    Ok(Shown::System(Home { slot: claimed.slot, release, drive: claimed.drive.clone() }))
}

/// The checks that failed.
pub(super) fn failed(verdict: &Verdict) -> Vec<&str> {
    let failed = verdict.checks.iter().filter(|check| check.outcome == Check::Fail);
    failed.map(|check| check.name.as_ref()).collect()
}

/// Whether all that fails is what was booted: then it is the right key's word.
fn foreign(failed: &[&str]) -> bool {
    !failed.is_empty() && failed.iter().all(|name| name.starts_with("pcr-"))
}

/// What a claim's boot changes before its session is the host's.  Done again after a crash, it asks the same in the place of
/// the question that was open.
fn another_boot(store: &Store, row: &ClaimRow) -> Result<(), StoreError> {
    let before = store.host(&row.claim.host)?;
    // So that the agent of this boot can answer who asks: its evidence says what it is.
    if before.stage.answers_verifiers() && before.boot != Some(row.claim.boot) {
        requests::ask_inventory(store, &row.claim.host)?;
    }
    // A boot from a drive has no ticket, and the one before it proves nothing of this boot.
    store.forget(&row.claim.host, Kind::BootTicket)
}

/// The session is the host's, so that it can be opened and ended; its stage and residence stay as they are.
async fn opened(app: &Arc<App>, row: ClaimRow) -> Result<(), StoreError> {
    let host = row.claim.host.clone();
    let good = app
        .db(move |store| {
            another_boot(store, &row)?;
            store.glass_claim(row.id, now())
        })
        .await?;
    app.heard(&host);
    let words = break_glass::of(app, &host).await?.map(|row| row.state.words()).unwrap_or_default();
    tracing::warn!(%host, good, break_glass = words, "a fresh quote shows a system that a person has opened");
    app.bump();
    Ok(())
}

/// The stage first: should we die in between, the agent is asked for its quote again, and the same boot is the same.
async fn proven(app: &Arc<App>, row: ClaimRow, home: Home) -> Result<(), StoreError> {
    let host = row.claim.host.clone();
    let claimed = serde_json::from_str::<Claimed>(&row.claim.claim).ok();
    let boot = Boot { nonce: row.claim.boot, at: now() };
    app.advance(&host, Event::Moved(boot), None).await?;
    let unpromoted = claimed.as_ref().is_some_and(|claimed| claimed.tries_left.is_some());
    let floor = claimed.as_ref().and_then(|claimed| claimed.floor);
    if !unpromoted && floor.is_none_or(|floor| floor < home.release.epoch) {
        tracing::warn!(%host, ?floor, epoch = home.release.epoch, "the rollback floor in the TPM is lower than what was marked good; it is raised again");
    }
    let failed = claimed.map(|claimed| claimed.failed).unwrap_or_default();
    let happened = Lived::Proven { home, unpromoted, floor, failed };
    let good = app
        .db(move |store| {
            another_boot(store, &row)?;
            // First: a crash in between has it quoted again, and nothing is forgotten.
            store.glassed(&row.claim.host, Glassed::Clean, now())?;
            store.prove_claim(row.id, happened, now())
        })
        .await?;
    app.heard(&host);
    let words = super::of(app, &host).await?.map(|row| row.state.words()).unwrap_or_default();
    tracing::info!(%host, good, residence = words, "an installed system was proven by a fresh quote");
    app.bump();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::foreign;

    #[test]
    fn only_the_right_keys_word_is_the_machines_own() {
        for (failed, expected) in [
            (&["pcr-11"][..], true),
            (&["pcr-4", "pcr-9", "pcr-11"], true),
            // Somebody without the key, or with an old quote, says nothing of this machine.
            (&["quote-signature", "pcr-11"], false),
            (&["pcr-11", "nonce"], false),
            (&["binding"], false),
            (&[], false),
        ] {
            assert_eq!(foreign(failed), expected, "{failed:?}");
        }
    }
}

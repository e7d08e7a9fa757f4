//! Where hosts live: systems on their drives, put there by their agents on a person's word, believed after a quote.
//!
//! The rules are `appliance_enrol::Residence`; the store writes each turn before it is answered.  An agent of an
//! installed system comes without a ticket: what it says of itself is a *claim* with a session of its own that gets one
//! order, a quote.  Only a quote by the attestation key that this host was admitted with, over the computed values of a
//! release that this site has sealed, makes the claim's session the host's (`claims.rs`).  Read next: `releases.rs`
//! (what hosts get), `api.rs` (people).

use std::{collections::BTreeSet, sync::Arc};

use appliance_api::agent::{
    Order, Outcome, Work,
    host::{InstallOrder, Place},
};
use appliance_enrol::{Errand, Housing, Lived, Refusal, Residence, install_barred};
use appliance_model::{HostId, inventory::Inventory, units::Manifest};
use appliance_store::{HostRow, Kind, ResidenceRow, StoreError};
use attest_evidence::{Evidence, Nonce};
use attest_verify::verify;
use axum::http::StatusCode;

use crate::{
    agent_api::Refused,
    app::{App, now},
    break_glass, chain_of, power, proof, shaping,
    told::told,
};

pub(crate) mod api;
pub(crate) mod claims;
pub(crate) mod parts;
mod releases;

pub(crate) use releases::{RELEASE_FILE, ReleaseError, Releases, SealKeys};

/// Orders of stages and requests stay far below this, those of erases too; claims begin above.
const ORDERS_FROM: u64 = 1 << 52;

/// Partitions and other things that one drive may be said to hold: what a GPT has room for.
const FOUND_MAX: usize = 130;

/// Characters of one text that an agent tells.
const WORDS_MAX: usize = 200;

/// The turn that a report answers, if it is one.
pub(crate) fn named_by(order: u64) -> Option<u64> {
    order.checked_sub(ORDERS_FROM).filter(|_| order < break_glass::ORDERS_FROM)
}

/// Whether this order is the host's open turn.
pub(crate) async fn is_turn(app: &Arc<App>, host: &HostId, order: u64) -> Result<bool, StoreError> {
    let Some(number) = named_by(order) else { return Ok(false) };
    Ok(of(app, host).await?.is_some_and(|row| row.number == number))
}

/// The order for a host's agent, where something is to be done about where it lives.  It comes before those of its stage.
pub(crate) async fn order(app: &Arc<App>, host: &HostRow) -> Result<Option<Order>, StoreError> {
    let Some(row) = of(app, &host.id).await? else { return Ok(None) };
    let work = match row.state.errand() {
        None => return Ok(None),
        Some(Errand::Restart) => Work::Reboot,
        Some(Errand::Promote(release)) => Work::Promote { release: release.clone() },
        Some(Errand::Install(job)) => {
            // The host may have gone on since it was allowed.
            if install_barred(&host.stage, sold(app, &host.id, &job.place).await?).is_some() {
                return Ok(None);
            }
            let current = app.releases.current().filter(|current| current.release == job.release);
            let Some(current) = current else {
                let why = "this appliance gives hosts another release by now; allow that one".into();
                let _ = lived(app, &host.id, Lived::Failed { why }).await?;
                return Ok(None);
            };
            Work::Install(Box::new(InstallOrder {
                release: current.release.clone(),
                parts: current.parts(),
                place: job.place.clone(),
            }))
        }
    };
    Ok(Some(Order { id: ORDERS_FROM + row.number, work }))
}

/// Takes what an agent says of a turn.  What it says of an older one is nobody's business any more.
pub(crate) async fn take(
    app: &Arc<App>,
    host: &HostRow,
    number: u64,
    outcome: Outcome,
) -> Result<(), Refused> {
    let refused = |why: String| Refused(StatusCode::CONFLICT, why);
    let Some(row) = of(app, &host.id).await?.filter(|row| row.number == number) else { return Ok(()) };
    app.end_progress(&host.id);
    let happened = match outcome {
        Outcome::Installed { drive, slot, root_hash, entry, milliseconds, .. } => {
            tracing::info!(host = %host.id, %drive, %slot, %root_hash, entry = words(entry), milliseconds, "installed");
            if let Housing::Asked { job, .. } = &row.state.housing
                && let Place::Fresh { drive: wanted, .. } = &job.place
            {
                if *wanted != drive {
                    return Err(refused(format!("drive {wanted} was to be written, not {drive}")));
                }
                // The agent has put the drive first in the firmware's own order; a controller that can say so too, does.
                from_disk_next(app, host).await;
            }
            Lived::Written { slot, root_hash }
        }
        Outcome::Occupied { mut found, digest, .. } => {
            found.truncate(FOUND_MAX);
            for one in &mut found {
                (one.name, one.holds) =
                    (words(std::mem::take(&mut one.name)), words(std::mem::take(&mut one.holds)));
            }
            Lived::Occupied { found, digest }
        }
        Outcome::Promoted { slot, floor } => Lived::Promoted { slot, floor },
        Outcome::Leaving => Lived::Leaves,
        Outcome::Failed { why } => Lived::Failed { why: words(why) },
        Outcome::Inventory { .. }
        | Outcome::Identity { .. }
        | Outcome::Activated { .. }
        | Outcome::Quoted { .. }
        | Outcome::NodeConsent { .. }
        | Outcome::Carved { .. }
        | Outcome::BurnInLines { .. }
        | Outcome::BurnIn { .. }
        | Outcome::Planted
        | Outcome::Unlocked { .. }
        | Outcome::Locked { .. }
        | Outcome::Erase(_) => {
            return Err(refused("the agent answered another order than it was given".into()));
        }
    };
    lived(app, &host.id, happened).await?.map_err(refused)
}

/// Writes what happened, and says it to everybody who listens.
pub(crate) async fn lived(
    app: &Arc<App>,
    host: &HostId,
    happened: Lived,
) -> Result<Result<(), String>, StoreError> {
    let id = host.clone();
    let taken = app.db(move |store| store.lived(&id, happened, now())).await?;
    if let Some(row) = of(app, host).await? {
        tracing::info!(%host, turn = row.number, residence = row.state.words(), "residence");
    }
    app.bump();
    Ok(taken)
}

pub(crate) async fn of(app: &Arc<App>, host: &HostId) -> Result<Option<ResidenceRow>, StoreError> {
    let id = host.clone();
    app.db(move |store| store.residence(&id)).await
}

/// The hosts that are in the middle of something; and what time brings, and whose turn it is.
pub(crate) async fn pass_time(app: &Arc<App>) -> Result<BTreeSet<HostId>, StoreError> {
    let rows = app
        .db(|store| {
            store.pass_residence_time(now())?;
            store.residences()
        })
        .await?;
    if let Some((host, happened)) = next_in_line(&rows) {
        let _ = lived(app, &host, happened).await?;
    }
    Ok(rows.into_iter().filter(|row| row.state.busy()).map(|row| row.host).collect())
}

/// One host after the other; and none after one that came to nothing.
fn next_in_line(rows: &[ResidenceRow]) -> Option<(HostId, Lived)> {
    let (row, job) = rows.iter().find_map(|row| match &row.state.housing {
        Housing::Queued { job } => Some((row, job)),
        Housing::Settled
        | Housing::Asked { .. }
        | Housing::Occupied { .. }
        | Housing::Written { .. }
        | Housing::Restarting { .. }
        | Housing::Promoting { .. }
        | Housing::Failed { .. } => None,
    })?;
    let came_to_nothing = rows.iter().find(|other| {
        matches!(&other.state.housing, Housing::Failed { job: tried, at, .. }
            if tried.release == job.release && *at >= row.at)
    });
    if let Some(other) = came_to_nothing {
        let why = format!("not begun, because the update of host {} came to nothing", other.host);
        return Some((row.host.clone(), Lived::Failed { why }));
    }
    let free = rows.iter().all(|row| !row.state.busy());
    free.then(|| (row.host.clone(), Lived::Begins))
}

/// Why nothing else is done to a host, if it is in the middle of something.
pub(crate) async fn holds(app: &Arc<App>, host: &HostId) -> Result<Option<String>, StoreError> {
    let row = of(app, host).await?.filter(|row| row.state.busy());
    let Some(row) = row else { return break_glass::holds(app, host).await };
    Ok(Some(format!("host {host} {}; `host residence {host}` shows how far that is", row.state.words())))
}

/// Whether a host has a system of its own that it should be started from.
pub(crate) async fn at_home(app: &Arc<App>, host: &HostId) -> Result<bool, StoreError> {
    Ok(of(app, host).await?.is_some_and(|row| row.state.starts_from_drive()))
}

/// Why evidence of a host that has lost its system is not accepted, and is no drift: it shows the discovery image, and
/// before it something that the firmware started from a drive and that came back.
pub(crate) async fn strayed(
    app: &Arc<App>,
    host: &HostId,
    file: &Evidence,
    nonce: Option<Nonce>,
) -> Result<Option<Refusal>, StoreError> {
    let Some(why) = of(app, host).await?.and_then(|row| row.state.unproven()) else { return Ok(None) };
    let policy = proof::policy(app, app.config.references().cloned().collect(), nonce, None);
    let verdict = verify(file, &policy, now().0 / 1000);
    Ok((claims::failed(&verdict) == ["pcr-4"]).then_some(why))
}

/// Says that the drive with a host's system is not in the machine any more, where a new inventory shows that.
pub(crate) async fn looked_at(
    app: &Arc<App>,
    host: &HostId,
    inventory: &Inventory,
) -> Result<(), StoreError> {
    let row = of(app, host).await?;
    if let Some((row, drive)) = row.as_ref().and_then(|row| Some((row, row.state.gone(inventory)?))) {
        tracing::warn!(%host, %drive, residence = row.state.words(), "the drive with this host's system is gone");
    }
    Ok(())
}

/// Serial of the drive that a host lives on: it is not sold.
pub(crate) async fn own_drive(
    app: &Arc<App>,
    host: &HostId,
) -> Result<Option<appliance_model::Serial>, StoreError> {
    Ok(of(app, host).await?.and_then(|row| drive_of(&row.state)))
}

fn drive_of(state: &Residence) -> Option<appliance_model::Serial> {
    if let Housing::Promoting { home, .. } = &state.housing {
        return home.drive.clone();
    }
    state.home.as_ref().and_then(|home| home.drive.clone())
}

/// An agent said hello from the discovery image, in a boot that was not known: what was to be started was not.
pub(crate) fn in_memory(store: &appliance_store::Store, host: &HostId) -> Result<(), StoreError> {
    if store.residence(host)?.is_some() {
        let _ = store.lived(host, Lived::FromMemory, now())?;
    }
    Ok(())
}

/// Whether the drive that a place names is among a host's units.
pub(crate) async fn sold(app: &Arc<App>, host: &HostId, place: &Place) -> Result<bool, StoreError> {
    let Place::Fresh { drive, .. } = place else { return Ok(false) };
    let id = host.clone();
    let manifest = app.db(move |store| store.document(&id, Kind::Manifest)).await?;
    let Some(manifest) = manifest.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok()) else {
        return Ok(false);
    };
    Ok(shaping::sold(&manifest).contains(drive))
}

/// Tells a host's controller to start from a drive, as far as it can be told.
async fn from_disk_next(app: &Arc<App>, host: &HostRow) {
    if let Some(bmc) = power::redfish(app, host) {
        if let Err(error) = bmc.set_boot_once(appliance_bmc::BootTarget::Hdd).await {
            tracing::warn!(host = %host.id, error = %chain_of(&error), "the controller was not told to start from the drive");
        }
        power::leave(app, host, &bmc).await;
    }
}

fn words(text: String) -> String {
    told(&text, WORDS_MAX)
}

#[cfg(test)]
mod tests {
    use appliance_api::agent::host::{Release, Slot};
    use appliance_enrol::{Home, Job};
    use appliance_model::{Digest, Now};

    use super::*;

    fn release(byte: u8) -> Release {
        Release { name: "host".into(), version: "1".into(), epoch: 1, root_hash: Digest([byte; 32]) }
    }

    fn job() -> Job {
        Job { release: release(2), place: Place::Other, by: "ann".into() }
    }

    /// A host in that state since that second.
    fn row(host: u8, housing: Housing, since: u64) -> ResidenceRow {
        let serial = appliance_model::Serial::parse(&format!("S{host}")).unwrap_or_else(|| unreachable!());
        let home = Home { slot: Slot::A, release: release(1), drive: None };
        let state = Residence { home: Some(home), floor: 1, astray: None, housing };
        ResidenceRow { host: HostId::of_serial(&serial), number: 1, state, at: Now(since) }
    }

    #[test]
    fn one_after_the_other_and_none_after_a_failure() {
        let queued = |host, since| row(host, Housing::Queued { job: job() }, since);
        let failed = |host, at| {
            row(host, Housing::Failed { job: job(), at: Now(at), why: "it did not start".into() }, at)
        };
        let busy = row(9, Housing::asked(job(), Now(1)), 1);
        let settled = row(8, Housing::Settled, 1);
        let first = queued(1, 10);
        for (rows, expected) in [
            (vec![], None),
            (vec![settled.clone()], None),
            (vec![settled.clone(), first.clone(), queued(2, 10)], Some(Ok(()))),
            (vec![first.clone(), busy.clone()], None),
            (vec![failed(3, 9), first.clone()], Some(Ok(()))),
            (vec![failed(3, 11), first.clone(), busy], Some(Err("came to nothing"))),
        ] {
            match (next_in_line(&rows), expected) {
                (None, None) => {}
                (Some((host, Lived::Begins)), Some(Ok(()))) => assert_eq!(host, first.host),
                (Some((host, Lived::Failed { why })), Some(Err(words))) => {
                    assert!(host == first.host && why.contains(words), "{why}");
                }
                (found, expected) => panic!("{found:?} {expected:?}"),
            }
        }
    }

    #[test]
    fn orders_of_turns_claims_and_erases_are_told_apart() {
        for (order, turn) in [
            (1, None),
            (1 << 48, None),
            (ORDERS_FROM, Some(0)),
            (ORDERS_FROM + 7, Some(7)),
            (break_glass::ORDERS_FROM, None),
            (claims::ORDERS_FROM, None),
            (u64::MAX, None),
        ] {
            assert_eq!(named_by(order), turn, "{order}");
            assert!(turn.is_none() || crate::erase::named_by(order).is_none());
        }
    }

    #[test]
    fn the_drive_a_host_lives_on() {
        let drive = appliance_model::Serial::parse("D1");
        let home = Home { slot: Slot::B, release: release(2), drive: drive.clone() };
        let promoting = row(1, Housing::Promoting { home, job: None }, 1);
        assert_eq!(drive_of(&promoting.state), drive, "what runs, before it is marked good");
        assert_eq!(drive_of(&row(1, Housing::Settled, 1).state), None);
    }
}

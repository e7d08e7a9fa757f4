//! Passports at registrations: which one a host's registration stakes, and who allowed that.
//!
//! None is ever staked because it is there.  A person types the words for one ([`api`]), or the site file says
//! `registration.passports = "use"`; either is written down as the host's before its price is read, so that one passport
//! is promised to one host whatever is priced at the same time.  What it spares is part of the price, and the stake that
//! is approved is what is left.  The contract takes passports from an owner that registers itself: where an operator
//! registers for another owner, and in a fleet's batch, none is used.

pub(crate) mod api;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use appliance_enrol::{Spared, Stage};
use appliance_model::{Day, HostId, Icnt, PassportId, Seconds};
use appliance_store::{HostRow, Kind, Store, StoreError};
use chain_client::{Block, Demand, Error, Network, OwnedPassport};
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, now},
    chain_of,
    config::wire,
};

/// A day.
const DAY: u64 = 86_400;

/// Passports that are not used and named in a cost sheet.
const OFFERED_MAX: usize = 3;

/// Which passport a host's registration may stake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Leave {
    /// `None`: a person wants none to be.
    pub(crate) passport: Option<PassportId>,
    /// Who said so; `None`: the site file.
    pub(crate) by: Option<String>,
}

/// What a passport does to a price.
pub(crate) struct Priced {
    /// Staked with the registration.
    pub(crate) spared: Option<Spared>,
    /// Lines for the cost sheet.
    pub(crate) factors: Vec<String>,
}

/// Whether this site's registrations can stake passports at all, or why not.
pub(crate) fn possible(app: &App, network: &Network) -> Result<(), String> {
    if !matches!(network, Network::Reference(_)) {
        return Err("ICN has no way to stake a passport that is publicly known".into());
    }
    let (owner, operator) = (app.chain.owner(), app.chain.operator().address());
    if owner == operator {
        return Ok(());
    }
    Err(format!(
        "0x{operator} registers for 0x{owner}, and the vault takes a passport only from an owner that registers itself: the \
         owner stakes it on the node when that is registered (`scalerforge chain passport`), and it counts then"
    ))
}

/// How long a node of this site is committed.
pub(crate) fn commitment(app: &App) -> Seconds {
    Seconds(u64::from(app.config.registration.commitment_days) * DAY)
}

/// What the owner's passports do to the price of `host`; `Err` where the one that was allowed cannot be staked now.
pub(crate) async fn price(
    app: &Arc<App>,
    host: &HostRow,
    (network, head): (&Network, Block),
    demand: &Demand,
) -> Result<Result<Priced, String>, StoreError> {
    let none = |factors| Ok(Ok(Priced { spared: None, factors }));
    if possible(app, network).is_err() {
        return none(Vec::new());
    }
    let by_site = app.config.registration.passports == wire::Passports::Use;
    // One choice at a time: what is promised is written down before the next one looks.
    let _purse = if by_site { Some(app.chain.purse().await) } else { None };
    let leave = standing(app, &host.id).await?;
    let promised = promised(app, &host.id).await?;
    match leave {
        Some(Leave { passport: None, .. }) => return none(Vec::new()),
        Some(Leave { passport: Some(id), by }) => {
            let found = usable(app, network, head, id, demand).await;
            let taken = promised.iter().any(|(_, other)| *other == id);
            match found {
                Ok(found) if !taken => return Ok(Ok(staked(app, &found, demand, head))),
                Ok(_) | Err(Unusable::Refused(_)) if by.is_none() => {
                    let host = host.id.clone();
                    app.db(move |store| store.forget(&host, Kind::Passport)).await?;
                }
                Ok(_) => {
                    let why = format!("passport {id} is promised to another host");
                    return Ok(Err(withdrawn(host, &why)));
                }
                Err(Unusable::Refused(why)) => return Ok(Err(withdrawn(host, &why))),
                Err(Unusable::Down(why)) => return Ok(Err(why)),
            }
        }
        None => {}
    }
    let found = match network.passports(head, app.chain.owner()).await {
        Ok(found) => found.found,
        // Without the list a host is priced without a passport, unless the site wants one to be used.
        Err(_) if !by_site => return none(Vec::new()),
        Err(error) => return Ok(Err(chain_of(&error))),
    };
    let saved = |passport: &OwnedPassport| passport.saving(demand, head, commitment(app)).saved;
    let mut free: Vec<OwnedPassport> = found
        .into_iter()
        .filter(|passport| !promised.iter().any(|(_, id)| *id == passport.id) && saved(passport) > Icnt(0))
        .collect();
    // What spares most goes first; of two alike the lower number.
    free.sort_by_key(|passport| (std::cmp::Reverse(saved(passport)), passport.id));
    if !by_site {
        let offered = free.iter().take(OFFERED_MAX).map(|passport| {
            format!(
                "passport {} is not used; it would spare {}: `scalerforge host passport {}`",
                passport.id,
                saved(passport),
                host.id
            )
        });
        return none(offered.collect());
    }
    let Some(best) = free.first() else { return none(Vec::new()) };
    keep(app, &host.id, Leave { passport: Some(best.id), by: None }).await?;
    Ok(Ok(staked(app, best, demand, head)))
}

/// Why a passport cannot be staked.
pub(crate) enum Unusable {
    /// The chain's word.
    Refused(String),
    /// Nobody knows now.
    Down(String),
}

/// A passport that the owner can stake and that spares something.
pub(crate) async fn usable(
    app: &App,
    network: &Network,
    head: Block,
    id: PassportId,
    demand: &Demand,
) -> Result<OwnedPassport, Unusable> {
    let found = network.passport(head, app.chain.owner(), id).await.map_err(|error: Error| {
        match error.refusal() {
            Some(refusal) => Unusable::Refused(refusal.sentence.clone()),
            None => Unusable::Down(chain_of(&error)),
        }
    })?;
    spares(app, &found, demand, head).map_err(Unusable::Refused)?;
    Ok(found)
}

/// Whether it spares anything over this site's commitment, or why not, with the commitment for which it would.
pub(crate) fn spares(app: &App, found: &OwnedPassport, demand: &Demand, head: Block) -> Result<(), String> {
    let saving = found.saving(demand, head, commitment(app));
    if saving.saved > Icnt(0) {
        return Ok(());
    }
    if demand.node == Icnt(0) {
        return Err("the network asks nothing of this node's owner".into());
    }
    let (id, days) = (found.id, app.config.registration.commitment_days);
    Err(format!(
        "passport {id} is worth {} now and nothing in {} days, before the commitment of {days} days ends: the owner's part \
         has to be whole to the end, so it spares nothing; a shorter registration.commitment_days, or another passport would",
        saving.at_first,
        days_left(found, head)
    ))
}

/// Whole days from `head` on for which it is worth something.
pub(crate) fn days_left(found: &OwnedPassport, head: Block) -> u64 {
    let last = found.passport.worth_until(Icnt(1)).unwrap_or(Seconds(0));
    last.0.saturating_sub(head.timestamp_unix) / DAY
}

fn staked(app: &App, found: &OwnedPassport, demand: &Demand, head: Block) -> Priced {
    let saving = found.saving(demand, head, commitment(app));
    let until = Day::of_unix(Seconds(head.timestamp_unix.saturating_add(commitment(app).0)));
    let factor = format!(
        "passport {} is staked and spares {}: worth {} now, fading to {} when the commitment ends on {until}; staked of the \
         owner's own: {} of {}",
        found.id, saving.saved, saving.at_first, saving.at_last, saving.own, demand.node
    );
    Priced { spared: Some(Spared { passport: found.id, saved: saving.saved }), factors: vec![factor] }
}

/// Why the passport of an approved price may not be staked: somebody has said otherwise since.
pub(crate) async fn no_longer_allowed(
    app: &Arc<App>,
    host: &HostRow,
    passport: Option<PassportId>,
) -> Result<Option<String>, StoreError> {
    let Some(id) = passport else { return Ok(None) };
    let allowed = standing(app, &host.id).await?.and_then(|leave| leave.passport);
    Ok((allowed != Some(id)).then(|| {
        format!(
            "its stake was approved with passport {id}, and nobody allows that any more: `scalerforge host retry {}` reads              the price anew",
            host.id
        )
    }))
}

fn withdrawn(host: &HostRow, why: &str) -> String {
    format!(
        "{why}; `scalerforge host passport {} --permit \"STAKE NO PASSPORT ON {}\"` goes on without one",
        host.id, host.facts.serial
    )
}

/// What was said about a host's passport and holds: what the site file said once, it has to say still.
async fn standing(app: &Arc<App>, host: &HostId) -> Result<Option<Leave>, StoreError> {
    let by_site = app.config.registration.passports == wire::Passports::Use;
    Ok(leave(app, host).await?.filter(|leave| by_site || leave.by.is_some()))
}

/// What was said about a host's passport.
async fn leave(app: &Arc<App>, host: &HostId) -> Result<Option<Leave>, StoreError> {
    let id = host.clone();
    let bytes = app.db(move |store| store.document(&id, Kind::Passport)).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

pub(crate) async fn keep(app: &Arc<App>, host: &HostId, leave: Leave) -> Result<(), StoreError> {
    let (id, bytes) = (host.clone(), serde_json::to_vec(&leave).unwrap_or_default());
    app.db(move |store| store.put(&id, Kind::Passport, &bytes, now()).map(drop)).await
}

/// Passports that are promised to hosts other than this one.  One of a node that was registered or retired is where the
/// chain says it is, and is nobody's promise.
pub(crate) async fn promised(app: &Arc<App>, but: &HostId) -> Result<Vec<(HostId, PassportId)>, StoreError> {
    let (but, by_site) = (but.clone(), app.config.registration.passports == wire::Passports::Use);
    app.db(move |store| promises(store, &but, by_site)).await
}

fn promises(store: &Store, but: &HostId, by_site: bool) -> Result<Vec<(HostId, PassportId)>, StoreError> {
    let mut found = Vec::new();
    for (host, bytes) in store.documents(Kind::Passport)? {
        let leave: Option<Leave> = serde_json::from_slice(&bytes).ok();
        let leave = leave.filter(|leave| by_site || leave.by.is_some());
        if let Some(id) = leave.and_then(|leave| leave.passport)
            && host != *but
            && !matches!(store.host(&host)?.stage, Stage::Registered { .. } | Stage::Retired { .. })
        {
            found.push((host, id));
        }
    }
    Ok(found)
}

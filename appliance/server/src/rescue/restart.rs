//! The one hand that restarts machines for rescues: what the record says is still to be done is done, after a crash too.
//!
//! A restart that was done and whose record was not written is done once more: the machine is held, so nothing is lost by
//! it.  Read next: `rescue.rs` (who asks, and what is kept).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use appliance_model::{HostId, Now};
use appliance_store::{Kind, Store, StoreError};
use tokio::sync::Notify;

use super::{Held, in_hand, newest};
use crate::{
    app::{App, now},
    chain_of,
    executor::End,
    power,
};

/// Between two tries: long enough to leave a sick controller alone.
const RETRY: Duration = Duration::from_secs(3);

/// Who waits for whom: records are changed by one at a time, and the loop wakes when somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    turn: Mutex<()>,
    asked: Notify,
}

impl Desk {
    pub(super) fn wake(&self) {
        self.asked.notify_one();
    }

    /// Changes a record, if it is still about the same; whether it was.
    pub(super) fn change(
        &self,
        store: &Store,
        host: &HostId,
        change: impl FnOnce(&mut Held) -> bool,
    ) -> Result<bool, StoreError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut held) = newest(store, host)? else { return Ok(false) };
        let changed = change(&mut held);
        if changed {
            write(store, host, &held)?;
        }
        Ok(changed)
    }

    /// Puts a record in the place of the one before.
    pub(super) fn replace(&self, store: &Store, host: &HostId, held: &Held) -> Result<(), StoreError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        write(store, host, held)
    }
}

fn write(store: &Store, host: &HostId, held: &Held) -> Result<(), StoreError> {
    store.put(host, Kind::Rescue, &serde_json::to_vec(held).unwrap_or_default(), now()).map(drop)
}

/// Restarts what is to be restarted, until the appliance ends.
pub(crate) async fn run(app: &Arc<App>) {
    loop {
        match unfinished(app).await {
            Ok(due) => {
                futures_util::future::join_all(due.into_iter().map(|(host, held)| restart(app, host, held)))
                    .await;
            }
            Err(error) => {
                tracing::error!(error = %chain_of(&error), "what is held cannot be read; trying again");
            }
        }
        // Whether somebody asked or time is over: the same is done.
        let _ = tokio::time::timeout(RETRY, app.rescues.asked.notified()).await;
    }
}

async fn unfinished(app: &Arc<App>) -> Result<Vec<(HostId, Held)>, StoreError> {
    app.db(|store| {
        let hosts = store.hosts()?.into_iter().map(|host| host.id);
        let records = hosts.filter_map(|id| newest(store, &id).map(|held| Some((id, held?))).transpose());
        records.filter(|record| record.as_ref().map_or(true, |(_, held)| held.unfinished(now()))).collect()
    })
    .await
}

async fn restart(app: &Arc<App>, host: HostId, held: Held) {
    let outcome = match tried(app, &host).await {
        Ok(End::Done(_)) => Ok(()),
        Ok(End::Later { why, .. }) => Err(why),
        Err(error) => Err(chain_of(&error)),
    };
    match &outcome {
        Ok(()) => tracing::info!(%host, ended = held.ended_at.is_some(), "restarted for a rescue"),
        Err(why) => tracing::warn!(%host, why, "not restarted for a rescue yet"),
    }
    let (desk, id) = (Arc::clone(app), host.clone());
    let kept =
        app.db(move |store| desk.rescues.change(store, &id, |now_held| noted(now_held, &held, outcome)));
    if let Err(error) = kept.await {
        tracing::error!(%host, error = %chain_of(&error), "that a machine was restarted could not be written");
    }
    app.bump();
}

/// Writes what came of a try into the record, if it is still the one that was tried for.
fn noted(held: &mut Held, tried: &Held, outcome: Result<(), String>) -> bool {
    if (held.at, held.ended_at) != (tried.at, tried.ended_at) || held.restarted_at.is_some() {
        return false;
    }
    match outcome {
        Ok(()) => (held.restarted_at, held.not_restarted) = (Some(now()), None),
        Err(why) => held.not_restarted = Some(why),
    }
    true
}

async fn tried(app: &Arc<App>, id: &HostId) -> Result<End, StoreError> {
    let wanted = id.clone();
    let host = app.db(move |store| store.host(&wanted)).await?;
    if let Some(why) = in_hand(app, id).await? {
        return Ok(End::later(why));
    }
    power::on(app, &host, 1).await
}

/// The discovery image's agent came in a boot that was not known: whether for a rescue.  Then no restart is missing.
pub(crate) fn came(app: &App, store: &Store, host: &HostId, at: Now) -> Result<bool, StoreError> {
    app.rescues.change(store, host, |held| {
        if held.ended_at.is_some() {
            return false;
        }
        held.restarted_at.get_or_insert(at);
        held.came_at = Some(at);
        true
    })
}

#[cfg(test)]
mod tests {
    use appliance_model::Seconds;

    use super::*;

    #[test]
    fn what_came_of_a_try_is_written_for_what_was_tried() {
        let at = Now(1_000);
        let held = Held::begun("ann".into(), at);
        let mut record = held.clone();
        assert!(noted(&mut record, &held, Err("silent".into())));
        assert!(record.restarted_at.is_none() && record.not_restarted.as_deref() == Some("silent"));
        assert!(noted(&mut record, &held, Ok(())));
        assert!(record.restarted_at.is_some() && record.not_restarted.is_none());
        // Its agent came meanwhile, somebody asked again, or let it go.
        let again = Held::begun("bob".into(), at.after(Seconds(1)));
        let ended = held.clone().ended(at.after(Seconds(2)), true);
        for mut other in [record, again, ended] {
            let before = other.clone();
            assert!(!noted(&mut other, &held, Err("late".into())));
            assert_eq!(other, before);
        }
    }
}

//! What all parts of the running appliance share, and the one way to let an event meet a host.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use appliance_api::agent::DeviceProgress;
use appliance_enrol::{Event, Stage, Step};
use appliance_model::{HostId, Now, Seconds};
use appliance_store::{Advanced, Store, StoreError};
use tokio::sync::watch;

use crate::{
    board::Boards, burn_in::Desks, chain::ChainLink, chain_watch::Watch, config::Config,
    controllers::Controllers, partners::Partners, programs::Programs, publication::Publications, rescue,
    residence::Releases, secure_boot::BootKeys, site::Keys, strangers::Strangers,
};

/// How far a host's order is, as its agent last said.  Kept in memory: it is worth nothing after a restart.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) permille: u16,
    pub(crate) note: String,
    pub(crate) devices: Vec<DeviceProgress>,
}

/// The running appliance.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) keys: Keys,
    pub(crate) boot_keys: BootKeys,
    pub(crate) store: Store,
    pub(crate) pxe: pxe_server::Handle,
    pub(crate) chain: ChainLink,
    pub(crate) roots: attest_verify::endorsement::Roots,
    pub(crate) publications: Publications,
    pub(crate) strangers: Strangers,
    pub(crate) controllers: Controllers,
    pub(crate) desks: Desks,
    pub(crate) partners: Partners,
    pub(crate) boards: Boards,
    pub(crate) watch: Watch,
    pub(crate) releases: Releases,
    pub(crate) programs: Programs,
    pub(crate) rescues: rescue::Desk,
    live: Mutex<Live>,
    changed: watch::Sender<u64>,
    started: Now,
}

#[derive(Debug, Default)]
struct Live {
    progress: HashMap<HostId, Progress>,
    heard: HashMap<HostId, Now>,
    /// When the site itself last got evidence of a node, and when it last asked for some.
    reattested: HashMap<HostId, Now>,
    asked: HashMap<HostId, Now>,
}

/// Reads the clock.  The executor's side of the house is the only one that does.
#[expect(clippy::disallowed_methods, reason = "the one place where the appliance reads the time")]
pub(crate) fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The parts an [`App`] is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) keys: Keys,
    pub(crate) boot_keys: BootKeys,
    pub(crate) store: Store,
    pub(crate) pxe: pxe_server::Handle,
    pub(crate) chain: ChainLink,
    pub(crate) roots: attest_verify::endorsement::Roots,
    pub(crate) controllers: Controllers,
    pub(crate) releases: Releases,
    pub(crate) programs: Programs,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { config, keys, boot_keys, store, pxe, chain, roots, controllers, releases, programs } =
            parts;
        Arc::new(Self {
            config,
            keys,
            boot_keys,
            store,
            pxe,
            chain,
            roots,
            publications: Publications::default(),
            strangers: Strangers::default(),
            controllers,
            desks: Desks::default(),
            partners: Partners::default(),
            boards: Boards::default(),
            watch: Watch::default(),
            releases,
            programs,
            rescues: rescue::Desk::default(),
            live: Mutex::default(),
            changed: watch::Sender::new(0),
            started: now(),
        })
    }

    /// Runs a store call on a thread that may block.
    pub(crate) async fn db<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let app = Arc::clone(self);
        match tokio::task::spawn_blocking(move || call(&app.store)).await {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Lets `event` meet `host`, tells everybody who listens, and logs the move.
    pub(crate) async fn advance(
        self: &Arc<Self>,
        host: &HostId,
        event: Event,
        finished: Option<i64>,
    ) -> Result<Advanced, StoreError> {
        let summary = event.summary();
        let id = host.clone();
        let advanced = self.db(move |store| store.advance(&id, event, finished, now())).await?;
        match &advanced.step {
            Step::Move { to, .. } => {
                // A burn-in goes on where one of its tasks has ended.
                if !matches!(to, Stage::BurningIn { done: 1.., .. }) {
                    self.live().progress.remove(host);
                }
                if let Stage::Quarantined { rule, why, .. } = to {
                    tracing::warn!(%host, serial = %advanced.host.facts.serial, rule, why, "quarantined");
                } else {
                    tracing::info!(%host, stage = to.name(), event = summary, "moved");
                }
                self.bump();
            }
            Step::Ignore { why } => tracing::debug!(%host, event = summary, why, "ignored"),
            Step::Wait { .. } => {}
        }
        Ok(advanced)
    }

    /// Something that people see has changed.
    pub(crate) fn bump(&self) {
        self.changed.send_modify(|revision| *revision = revision.wrapping_add(1));
    }

    /// Wakes at each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Notes that the host's agent was heard.
    pub(crate) fn heard(&self, host: &HostId) {
        self.live().heard.insert(host.clone(), now());
    }

    /// When the host's agent was last heard; the start of this appliance if not since.
    pub(crate) fn last_heard(&self, host: &HostId) -> Now {
        self.live().heard.get(host).copied().unwrap_or(self.started)
    }

    /// Notes evidence that the site itself has asked for.
    pub(crate) fn reattested(&self, host: &HostId) {
        self.live().reattested.insert(host.clone(), now());
    }

    /// When the site itself last got evidence of a host, if that is remembered.
    pub(crate) fn last_reattested(&self, host: &HostId) -> Option<Now> {
        self.live().reattested.get(host).copied()
    }

    /// Whether the site did not ask the host within `pause`; if so, it counts as asked now.
    pub(crate) fn may_ask(&self, host: &HostId, pause: Seconds) -> bool {
        let mut live = self.live();
        let at = now();
        if live.asked.get(host).is_some_and(|last| at.since(*last).0 < pause.0) {
            return false;
        }
        live.asked.insert(host.clone(), at);
        true
    }

    pub(crate) fn set_progress(&self, host: &HostId, progress: Progress) {
        self.live().progress.insert(host.clone(), progress);
        self.bump();
    }

    /// What its agent worked on is done, or was given up.
    pub(crate) fn end_progress(&self, host: &HostId) {
        self.live().progress.remove(host);
    }

    pub(crate) fn progress(&self, host: &HostId) -> Option<Progress> {
        self.live().progress.get(host).cloned()
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

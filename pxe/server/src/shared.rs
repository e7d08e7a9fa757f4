//! What the sockets' threads and the handle share.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use appliance_model::{Mac, Now};
use pxe_policy::{
    Desk, Scout, Scout6,
    recorder::{Around, Frame, Limits, Note, Recorder},
};
use tokio::sync::broadcast;

use crate::{config::Config, journal::Journal, server::Clock, tally::Tally};

/// Events a slow listener may be behind before it misses some: one power-on of a few hundred hosts.
const BEHIND_MAX: usize = 4096;
/// Addresses that other servers gave and whose machines we heard of: the largest fleet.
const HEARD_MAX: usize = 10_000;

/// One thing that happened to one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEvent {
    /// When.
    pub at: Now,
    /// To whom.
    pub mac: Mac,
    /// What.
    pub note: Note,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) desk: Arc<Mutex<Desk>>,
    pub(crate) journal: Journal,
    pub(crate) tally: Tally,
    pub(crate) clock: Clock,
    /// One for each interface.
    pub(crate) scouts: Vec<Mutex<Scout>>,
    /// The one interface with IPv6.
    scout6: Mutex<Scout6>,
    recorder: Mutex<Recorder>,
    listeners: broadcast::Sender<BootEvent>,
    /// Who has an address that another server gave.
    heard: Mutex<BTreeMap<Ipv4Addr, Mac>>,
}

/// What the recorder gets of one exchange.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) mac: Mac,
    pub(crate) known: bool,
    pub(crate) frames: Vec<Frame>,
    pub(crate) note: Option<Note>,
}

impl Shared {
    pub(crate) fn new(config: Config, desk: Arc<Mutex<Desk>>, journal: Journal, clock: Clock) -> Self {
        let (listeners, _) = broadcast::channel(BEHIND_MAX);
        let now = clock.now();
        let scouts = config.interfaces.iter().map(|_| Mutex::new(Scout::new(now))).collect();
        let shared = Self {
            config,
            desk,
            journal,
            tally: Tally::default(),
            clock,
            scouts,
            scout6: Mutex::new(Scout6::new(now)),
            recorder: Mutex::new(Recorder::new(Limits::default())),
            listeners,
            heard: Mutex::default(),
        };
        shared.set_around(false);
        shared
    }

    /// Tells the recorder's rules where they are.
    pub(crate) fn set_around(&self, proxy: bool) {
        let own = self.config.interfaces.iter().map(|interface| interface.address).collect();
        self.recorder().set_around(Around { own, proxy, agents: self.config.api_url.is_some() });
    }

    /// Never held over an `.await` or a disk.  A panic elsewhere leaves the desk usable: its methods finish or do
    /// nothing.
    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn scout(&self, interface: usize) -> Option<MutexGuard<'_, Scout>> {
        self.scouts.get(interface).map(|scout| scout.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn scout6(&self) -> MutexGuard<'_, Scout6> {
        self.scout6.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records one thing that happened.
    pub(crate) fn tell(&self, mac: Mac, note: Note) {
        let known = self.desk().knows(mac);
        self.record(vec![Moment { mac, known, frames: Vec::new(), note: Some(note) }]);
    }

    /// Records a batch.
    pub(crate) fn record(&self, moments: Vec<Moment>) {
        let at = self.clock.now();
        // Copies are made for those who listen; mostly nobody does.
        let heard = self.listeners.receiver_count() > 0;
        let mut recorder = self.recorder();
        for Moment { mac, known, frames, note } in moments {
            frames.into_iter().for_each(|frame| recorder.frame(mac, known, frame));
            let Some(note) = note else { continue };
            tracing::debug!(%mac, %note, "boot");
            if heard {
                // A listener that left is no error.
                let _ = self.listeners.send(BootEvent { at, mac, note: note.clone() });
            }
            recorder.note(mac, known, at, note);
        }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<BootEvent> {
        self.listeners.subscribe()
    }

    /// `mac` has `address`, which another server gave it.
    pub(crate) fn heard(&self, address: Ipv4Addr, mac: Mac) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= HEARD_MAX && !heard.contains_key(&address) {
            heard.pop_first();
        }
        heard.insert(address, mac);
    }

    /// Who has `address`, as far as we know: whose TFTP or HTTP request it is.
    pub(crate) fn who(&self, address: IpAddr) -> Option<Mac> {
        let address = match address {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => return self.desk().holder6(address),
        };
        let ours = self.desk().holder(address);
        ours.or_else(|| self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&address).copied())
    }
}

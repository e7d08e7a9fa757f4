//! What the rest of the appliance can ask of a running server.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use appliance_model::{Digest, Mac, Now, Ticket};
use pxe_policy::{Desk, LeaseState, Stance, TicketRefusal, TooManyHosts};
use tokio::sync::broadcast;

use crate::{
    events::{BootEvent, Ring, What},
    journal::{Journal, NotDurable},
    server::Clock,
};

/// Events a slow listener may be behind before it misses some: one power-on of a few hundred hosts.
const BEHIND_MAX: usize = 4096;

/// Why a ticket was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedeemError {
    /// The ticket is no good.
    #[error("the boot ticket was refused")]
    Refused(#[source] TicketRefusal),
    /// The ticket is good, but its use could not be recorded; the agent should repeat its hello.
    #[error("the boot ticket is good but its use could not be recorded; repeat the hello")]
    NotDurable(#[source] NotDurable),
}

/// Why a stance was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StanceError {
    /// No room.
    #[error("the boot stance of {mac} was not set")]
    TooMany {
        /// The machine.
        mac: Mac,
        /// The limit.
        #[source]
        source: TooManyHosts,
    },
    /// It holds now, but not after a restart.
    #[error("the boot stance of {mac} holds, but could not be recorded; set it again")]
    NotDurable {
        /// The machine.
        mac: Mac,
        /// The cause.
        #[source]
        source: NotDurable,
    },
}

/// A lease, for a person to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseView {
    /// Who.
    pub mac: Mac,
    /// What.
    pub address: Ipv4Addr,
    /// Until when.
    pub until: Now,
    /// Whether the client has taken it.
    pub bound: bool,
}

/// What cannot be told of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets that were not a DHCP client's.
    pub odd_packets: u64,
    /// Packets from relays that the configuration does not name.
    pub foreign_relays: u64,
    /// Replies that could not be sent.
    pub unsent: u64,
    /// HTTP requests under a ticket that is unknown, spent or expired.
    pub unknown_tickets: u64,
    /// HTTP requests for anything else.
    pub odd_requests: u64,
    /// PXE firmware sent on to HTTP boot.
    pub refused_tftp: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) odd_packets: AtomicU64,
    pub(crate) foreign_relays: AtomicU64,
    pub(crate) unsent: AtomicU64,
    pub(crate) unknown_tickets: AtomicU64,
    pub(crate) odd_requests: AtomicU64,
    pub(crate) refused_tftp: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What the sockets' loops and the handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) desk: Arc<Mutex<Desk>>,
    pub(crate) journal: Journal,
    pub(crate) tally: Tally,
    pub(crate) clock: Clock,
    ring: Mutex<Ring>,
    listeners: broadcast::Sender<BootEvent>,
}

impl Shared {
    pub(crate) fn new(desk: Arc<Mutex<Desk>>, journal: Journal, clock: Clock) -> Self {
        let (listeners, _) = broadcast::channel(BEHIND_MAX);
        Self { desk, journal, tally: Tally::default(), clock, ring: Mutex::default(), listeners }
    }

    /// Never held over an `.await`.  A panic elsewhere leaves the desk usable: its methods finish or do nothing.
    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, mac: Mac, what: What) {
        let at = self.clock.now();
        let known = self.desk().stance(mac) != Stance::Stranger;
        tracing::debug!(%mac, %what, "boot");
        let event = BootEvent { at, mac, what };
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone(), known);
        // Nobody listening is no error.
        let _ = self.listeners.send(event);
    }
}

/// Speaks to a running server.  Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) dhcp: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) tftp: SocketAddr,
}

impl Handle {
    /// Spends a boot ticket shown by a machine that has the ports `macs`; says which port it was issued to.  The
    /// same `boot_nonce` again is the same redemption.  When this returns `Ok`, the redemption is on disk.
    ///
    /// # Errors
    /// When the ticket is no good, or its use could not be recorded.
    pub async fn redeem(
        &self,
        ticket: Ticket,
        macs: &[Mac],
        boot_nonce: Digest,
        now: Now,
    ) -> Result<Mac, RedeemError> {
        let (mac, fresh, pending) = {
            let mut desk = self.shared.desk();
            let (mac, change) = desk.redeem(ticket, macs, boot_nonce, now).map_err(RedeemError::Refused)?;
            // Also a repeated redemption waits: the first may still be on its way to the disk.
            (mac, change.is_some(), self.shared.journal.queue(change))
        };
        pending.durable().await.map_err(RedeemError::NotDurable)?;
        if fresh {
            self.shared.tell(mac, What::TicketSpent { ticket });
        }
        Ok(mac)
    }

    /// The port that an unspent ticket was issued to, without spending it.
    #[must_use]
    pub fn issued_to(&self, ticket: Ticket, now: Now) -> Option<Mac> {
        self.shared.desk().open_ticket(ticket, now)
    }

    /// Says what is wanted of a machine, from its next packet on and after restarts.
    ///
    /// # Errors
    /// When there are too many machines, or it could not be recorded.
    pub async fn set_stance(&self, mac: Mac, stance: Stance) -> Result<(), StanceError> {
        let pending = {
            let mut desk = self.shared.desk();
            let change =
                desk.set_stance(mac, stance).map_err(|source| StanceError::TooMany { mac, source })?;
            self.shared.journal.queue(change)
        };
        pending.durable().await.map_err(|source| StanceError::NotDurable { mac, source })
    }

    /// What is wanted of a machine.
    #[must_use]
    pub fn stance(&self, mac: Mac) -> Stance {
        self.shared.desk().stance(mac)
    }

    /// The latest events of all machines, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<BootEvent> {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// Events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<BootEvent> {
        self.shared.listeners.subscribe()
    }

    /// All leases.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseView> {
        let view = |lease: pxe_policy::Lease| LeaseView {
            mac: lease.mac,
            address: lease.address,
            until: lease.until,
            bound: lease.state == LeaseState::Bound,
        };
        self.shared.desk().leases().map(view).collect()
    }

    /// What was counted since start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let tally = &self.shared.tally;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            odd_packets: read(&tally.odd_packets),
            foreign_relays: read(&tally.foreign_relays),
            unsent: read(&tally.unsent),
            unknown_tickets: read(&tally.unknown_tickets),
            odd_requests: read(&tally.odd_requests),
            refused_tftp: read(&tally.refused_tftp),
        }
    }

    /// Where DHCP listens.
    #[must_use]
    pub fn dhcp_address(&self) -> SocketAddr {
        self.dhcp
    }

    /// Where boot HTTP listens.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Where PXE firmware is sent on.
    #[must_use]
    pub fn tftp_address(&self) -> SocketAddr {
        self.tftp
    }
}

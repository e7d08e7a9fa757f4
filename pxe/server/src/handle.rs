//! What the rest of the appliance can ask of a running server.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use appliance_model::{Digest, Mac, Now, Ticket};
use pxe_policy::{
    LeaseState, Mode, Name, Serving, Stance, Survey, TicketRefusal, TicketsFull, TooManyHosts, path,
    recorder::{Line, Machine, Note, Verdict},
};
use tokio::sync::broadcast;

use crate::{
    files::Stock,
    journal::NotDurable,
    media::MediumError,
    shared::{BootEvent, Shared},
    tally::Counters,
};

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

/// Why nothing was planted for a machine.
#[derive(Debug, thiserror::Error)]
pub enum PlantError {
    /// No room.
    #[error("no boot ticket for {mac}")]
    Full {
        /// The machine.
        mac: Mac,
        /// The limit.
        #[source]
        source: TicketsFull,
    },
    /// It could not be recorded.
    #[error("the boot ticket of {mac} could not be recorded; it is tried again")]
    NotDurable {
        /// The machine.
        mac: Mac,
        /// The cause.
        #[source]
        source: NotDurable,
    },
    /// The boot medium could not be made.
    #[error("no boot medium for {mac}")]
    Medium {
        /// The machine.
        mac: Mac,
        /// The cause.
        #[source]
        source: MediumError,
    },
    /// The system has no randomness.
    #[error("the system gives no random numbers; look at its log")]
    Random,
}

/// What was planted for one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planted {
    /// The ticket.
    pub ticket: Ticket,
    /// Where it is to be fetched.
    pub url: String,
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

/// An interface, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceView {
    /// Its name; `None` where the server listens on an address only.
    pub name: Option<String>,
    /// Our address there.
    pub address: Ipv4Addr,
    /// What it is configured for.
    pub mode: Mode,
    /// What it does at this moment.
    pub serving: Serving,
    /// Why it does that.
    pub why: String,
    /// What was heard there, and the mode we would choose.
    pub survey: Survey,
}

/// Speaks to a running server.  Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stock: Arc<Stock>,
    pub(crate) dhcp: Vec<SocketAddr>,
    pub(crate) boot_server: Vec<SocketAddr>,
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
        let (mac, fresh, by_dhcp, pending) = {
            let mut desk = self.shared.desk();
            let by_dhcp = desk.told_by_dhcp(ticket);
            let (mac, change) = desk.redeem(ticket, macs, boot_nonce, now).map_err(RedeemError::Refused)?;
            // Also a repeated redemption waits: the first may still be on its way to the disk.
            (mac, change.is_some(), by_dhcp, self.shared.journal.queue(change))
        };
        pending.durable().await.map_err(RedeemError::NotDurable)?;
        if fresh {
            self.shared.tell(mac, Note::AgentUp { by_dhcp });
        }
        Ok(mac)
    }

    /// A boot URL with a ticket for `mac`, to be given to its management controller.  When this returns `Ok`, the
    /// ticket is on disk.
    ///
    /// # Errors
    /// See [`PlantError`].
    pub async fn plant(&self, mac: Mac) -> Result<Planted, PlantError> {
        let ticket = self.ticket_for(mac).await?;
        Ok(Planted { ticket, url: self.url(ticket, Name::Planted) })
    }

    /// A boot medium with a ticket for `mac`, for its management controller to attach.
    ///
    /// # Errors
    /// See [`PlantError`].
    pub async fn plant_medium(&self, mac: Mac) -> Result<Planted, PlantError> {
        let failed = |source| PlantError::Medium { mac, source };
        self.stock.media.possible().map_err(failed)?;
        let ticket = self.ticket_for(mac).await?;
        let (stock, shared) = (Arc::clone(&self.stock), Arc::clone(&self.shared));
        let written = tokio::task::spawn_blocking(move || {
            let now = shared.clock.now();
            stock.media.write(ticket, |ticket| shared.desk().open_ticket(ticket, now).is_some())
        });
        match written.await {
            Ok(result) => result.map_err(failed)?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        Ok(Planted { ticket, url: self.url(ticket, Name::Medium) })
    }

    /// Whether [`Handle::plant_medium`] could work here.
    ///
    /// # Errors
    /// Why not.
    pub fn has_medium(&self) -> Result<(), MediumError> {
        self.stock.media.possible()
    }

    async fn ticket_for(&self, mac: Mac) -> Result<Ticket, PlantError> {
        let mut fresh = [0; 16];
        getrandom::fill(&mut fresh).map_err(|_| PlantError::Random)?;
        let now = self.shared.clock.now();
        let (ticket, pending) = {
            let mut desk = self.shared.desk();
            let (ticket, change) =
                desk.plant(mac, Ticket(fresh), now).map_err(|source| PlantError::Full { mac, source })?;
            (ticket, self.shared.journal.queue(change))
        };
        pending.durable().await.map_err(|source| PlantError::NotDurable { mac, source })?;
        Ok(ticket)
    }

    fn url(&self, ticket: Ticket, name: Name) -> String {
        format!("http://{}/{}", self.http, path(ticket, name))
    }

    /// The port that an unspent ticket was issued to, without spending it.
    #[must_use]
    pub fn issued_to(&self, ticket: Ticket, now: Now) -> Option<Mac> {
        self.shared.desk().open_ticket(ticket, now)
    }

    /// Whether an open ticket was handed to an agent by DHCP (option 225).  Such a ticket proves less than one in a
    /// measured boot URL: whoever can send from that MAC can have it.
    #[must_use]
    pub fn told_by_dhcp(&self, ticket: Ticket) -> bool {
        self.shared.desk().told_by_dhcp(ticket)
    }

    /// Says what is wanted of a machine.
    ///
    /// # Errors
    /// When there is no room, or it could not be recorded.
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

    /// Why a machine is where it is, also one that was never seen.
    #[must_use]
    pub fn why(&self, mac: Mac) -> Verdict {
        let now = self.shared.clock.now();
        let around6 = self.around6(now);
        let mut recorder = self.shared.recorder();
        recorder.set_around6(around6);
        recorder.why(mac, now).unwrap_or_else(|| recorder.unseen(mac, now))
    }

    /// All machines that something is recorded of.
    #[must_use]
    pub fn machines(&self) -> Vec<Machine> {
        self.shared.recorder().list()
    }

    /// What happened to a machine, oldest first.
    #[must_use]
    pub fn story(&self, mac: Mac) -> Option<Vec<Line>> {
        self.shared.recorder().story(mac)
    }

    /// Every datagram kept of a machine, as a pcapng file.
    #[must_use]
    pub fn capture(&self, mac: Mac) -> Option<Vec<u8>> {
        self.shared.recorder().pcap(mac)
    }

    /// Bytes that the flight recorder uses.
    #[must_use]
    pub fn recorded_bytes(&self) -> usize {
        self.shared.recorder().bytes()
    }

    /// Events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<BootEvent> {
        self.shared.subscribe()
    }

    /// The interfaces: what they do, whom they heard, and what we propose.
    #[must_use]
    pub fn interfaces(&self) -> Vec<InterfaceView> {
        let now = self.shared.clock.now();
        let view = |(index, interface): (usize, &crate::config::Interface)| {
            let scout = self.shared.scout(index)?;
            let (serving, why) = scout.serving(interface.mode, now);
            Some(InterfaceView {
                name: interface.name.clone(),
                address: interface.address,
                mode: interface.mode,
                serving,
                why,
                survey: scout.survey(now),
            })
        };
        self.shared.config.interfaces.iter().enumerate().filter_map(view).collect()
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
        self.shared.tally.read()
    }

    /// Where DHCP listens, one for each interface that is not off.
    #[must_use]
    pub fn dhcp_addresses(&self) -> &[SocketAddr] {
        &self.dhcp
    }

    /// Where PXE boot server requests (port 4011) are heard, as above.
    #[must_use]
    pub fn boot_server_addresses(&self) -> &[SocketAddr] {
        &self.boot_server
    }

    /// Where boot HTTP listens on the first interface.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Where TFTP listens on the first interface.
    #[must_use]
    pub fn tftp_address(&self) -> SocketAddr {
        self.tftp
    }
}

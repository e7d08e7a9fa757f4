//! One request in, one reply out, and what must be on disk before the reply leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use appliance_model::{Digest, Mac, Now, Seconds, Ticket};
use pxe_wire::dhcp6::Duid;

use crate::{
    client::{BootRequest, Client, Kind, Name},
    decide::{Answer, Boot, Site, Stance, decide},
    leases::{Lease, LeaseState, Leases},
    network::{Door, Interface, Network, Port, Serving, network_of},
    recorder::{Quiet, Words},
    tickets::{Issued, Redeemed, TicketBook, TicketRefusal, TicketsFull},
    v6::{Lease6, Side},
};

/// How many machines may have a stance: the largest fleet one appliance is meant for, ten times.
const STANCES_MAX: usize = 100_000;

/// Machines that may hold tickets where addresses are another server's business: the largest fleet.
const PROXIED_MAX: usize = 10_000;

/// Former server identifiers that are remembered: nobody moves a server more often within a lease.
const FORMER_MAX: usize = 32;

/// More machines were announced than there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{STANCES_MAX} machines have a boot stance already, which is the limit: retire some")]
pub struct TooManyHosts;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// OFFER or ACK.
    Give(Give),
    /// NAK.
    Refuse {
        /// Who says so: option 54.
        server: Ipv4Addr,
        /// Why, in words.
        why: &'static str,
    },
    /// Nothing.
    Silence {
        /// Which kind of reason.
        quiet: Quiet,
        /// Why, in words.
        why: Words,
    },
}

/// Which positive reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveKind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK.
    Ack,
}

/// An OFFER or ACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Give {
    /// Which.
    pub kind: GiveKind,
    /// Who says so: option 54.
    pub server: Ipv4Addr,
    /// The address, with its lease time; `None` answers INFORM, and is a proxy's.
    pub lease: Option<(Ipv4Addr, Seconds)>,
    /// Index of the network whose mask and router go with it.
    pub network: Option<usize>,
    /// Who asked: decides which class the reply carries.
    pub client: Client,
    /// What to boot.
    pub file: Option<File>,
    /// Whether to name the API (option 224).
    pub api: bool,
    /// The ticket for an agent that has none in its boot URL (option 225).
    pub ticket: Option<Ticket>,
    /// Why, in words.
    pub why: &'static str,
}

/// What to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// A file by HTTP, under this ticket.
    Http(Ticket, Name),
    /// A file by HTTPS, under this ticket.
    Https(Ticket, Name),
    /// A file by TFTP, under this ticket.
    Tftp(Ticket, Name),
    /// A file that our TFTP port refuses ([`Boot::RefusedTftp`]).
    RefusedTftp,
}

/// Something that changed, in absolute words: applying it twice is applying it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A lease as it is now.
    Lease(Lease),
    /// A machine lost its leases and its tickets.
    Gone(Mac),
    /// An address is left alone until then.
    Declined(Ipv4Addr, Now),
    /// A ticket was issued.
    Ticket(Issued),
    /// What starts our agent was fetched in full under a ticket.
    Fetched(Ticket),
    /// A ticket was handed to an agent by DHCP.
    Told(Ticket),
    /// A ticket was spent.
    Spent(Redeemed),
    /// What is wanted of a machine.
    Stance(Mac, Stance),
    /// We answer under this server identifier.
    Server(Ipv4Addr),
    /// An IPv6 lease as it is now.
    Lease6(Lease6),
    /// An IPv6 address is left alone until then.
    Declined6(Ipv6Addr, Now),
    /// Who we are in DHCPv6.
    Server6(Duid),
}

/// The reply and the changes to make durable first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What to send.
    pub reply: Reply,
    /// What to write before it is sent.  An OFFER writes nothing: whoever takes it comes back with a REQUEST, and
    /// whoever does not must not cost a disk anything.  The one exception is an agent's, which may bring its ticket:
    /// that is written once a ticket, and only after an image went out under it.
    pub changes: Vec<Change>,
}

/// Leases, tickets and stances of all provisioning LANs.
#[derive(Debug)]
pub struct Desk {
    pub(crate) site: Site,
    interfaces: Vec<Interface>,
    networks: Vec<(Network, Leases)>,
    pub(crate) tickets: TicketBook,
    pub(crate) v6: Side,
    stances: BTreeMap<Mac, Stance>,
    /// Identifiers under which we ever answered: hosts that got one from us may still name it.
    servers: BTreeSet<Ipv4Addr>,
}

impl Desk {
    /// An empty desk.
    #[must_use]
    pub fn new(site: Site, interfaces: Vec<Interface>, networks: Vec<Network>) -> Self {
        // Whoever gets an address from us may get a ticket: pools and reservations bound the book.
        let size = |network: &Network| {
            let pool = &network.pool;
            let span = u32::from(pool.last).saturating_sub(u32::from(pool.first)).saturating_add(1);
            usize::try_from(span).unwrap_or(usize::MAX).saturating_add(pool.reservations.len())
        };
        let holders = networks.iter().map(size).fold(0, usize::saturating_add).max(PROXIED_MAX);
        let networks = networks
            .into_iter()
            .map(|network| {
                let leases = Leases::new(network.pool.clone());
                (network, leases)
            })
            .collect();
        Self {
            site,
            interfaces,
            networks,
            tickets: TicketBook::new(holders),
            v6: Side::default(),
            stances: BTreeMap::new(),
            servers: BTreeSet::new(),
        }
    }

    /// Answers `request`.  `fresh` is 16 random bytes, used if a ticket has to be minted.
    pub fn answer(&mut self, door: Door, request: &BootRequest, fresh: Ticket, now: Now) -> Outcome {
        let Some(interface) = self.interfaces.get(door.interface).copied() else {
            return silence(Quiet::Other, "it came through an interface that is not configured", None);
        };
        let asks = Asks { request, interface, door, fresh, now };
        match (interface.serving, door.port) {
            (Serving::Nothing, _) => silence(Quiet::Listening, "this interface only listens", None),
            (Serving::Boot | Serving::Known | Serving::All, Port::BootServer) => self.boot_server(asks),
            (Serving::Boot, Port::Dhcp) => self.proxy(asks),
            (Serving::Known | Serving::All, Port::Dhcp) => self.serve(asks),
        }
    }

    /// Spends a boot ticket; the changes must be on disk before anybody is told.
    ///
    /// # Errors
    /// See [`TicketRefusal`].
    pub fn redeem(
        &mut self,
        ticket: Ticket,
        macs: &[Mac],
        boot_nonce: Digest,
        now: Now,
    ) -> Result<(Mac, Option<Change>), TicketRefusal> {
        let (redeemed, changed) = self.tickets.redeem(ticket, macs, boot_nonce, now)?;
        Ok((redeemed.issued.mac, changed.then_some(Change::Spent(redeemed))))
    }

    /// A ticket for a machine that is about to be booted by its management controller, and not by DHCP's word.  The
    /// change must be on disk before the controller is told.
    ///
    /// # Errors
    /// When there is no room.
    pub fn plant(
        &mut self,
        mac: Mac,
        fresh: Ticket,
        now: Now,
    ) -> Result<(Ticket, Option<Change>), TicketsFull> {
        let ticket = self.tickets.mint(mac, true, fresh, now)?.ticket;
        Ok((ticket, self.tickets.confirm(mac).map(Change::Ticket)))
    }

    /// Whom an unspent ticket belongs to.
    #[must_use]
    pub fn open_ticket(&self, ticket: Ticket, now: Now) -> Option<Mac> {
        self.tickets.open(ticket, now)
    }

    /// The ticket that `mac` can still spend.
    #[must_use]
    pub fn ticket_of(&self, mac: Mac, now: Now) -> Option<Ticket> {
        self.tickets.present(mac).filter(|ticket| self.tickets.open(*ticket, now).is_some())
    }

    /// Somebody asked for a file under an open ticket, which therefore has to last.
    pub fn asked(&mut self, mac: Mac) -> Option<Change> {
        self.tickets.confirm(mac).map(Change::Ticket)
    }

    /// `name` went out in full under the ticket of `mac` that starts with the byte `mark`.
    pub fn fetched(&mut self, mac: Mac, name: Name, mark: u8) -> Option<Change> {
        let ticket = self.tickets.present(mac).filter(|ticket| ticket.0[0] == mark)?;
        (name.starts_the_agent() && self.tickets.fetched(ticket)).then_some(Change::Fetched(ticket))
    }

    /// What is wanted of `mac`.
    #[must_use]
    pub fn stance(&self, mac: Mac) -> Stance {
        self.stances.get(&mac).copied().unwrap_or_default()
    }

    /// Whether somebody has spoken for `mac`, or it has a reservation.
    #[must_use]
    pub fn knows(&self, mac: Mac) -> bool {
        self.stances.contains_key(&mac)
            || self.networks.iter().any(|(_, leases)| leases.knows(mac))
            || self.knows6(mac)
    }

    /// Says what is wanted of `mac`; a machine with a stance is known and keeps its address.
    ///
    /// # Errors
    /// When there is no room for another machine.
    pub fn set_stance(&mut self, mac: Mac, stance: Stance) -> Result<Option<Change>, TooManyHosts> {
        if self.stance(mac) == stance {
            return Ok(None);
        }
        if self.stances.len() >= STANCES_MAX && !self.stances.contains_key(&mac) {
            return Err(TooManyHosts);
        }
        self.apply(Change::Stance(mac, stance));
        Ok(Some(Change::Stance(mac, stance)))
    }

    /// What an interface does from now on.  Says whether that is news.
    pub fn set_serving(&mut self, interface: usize, serving: Serving) -> bool {
        let Some(interface) = self.interfaces.get_mut(interface) else { return false };
        std::mem::replace(&mut interface.serving, serving) != serving
    }

    /// Our identifiers that the journal does not have yet.
    pub fn identify(&mut self) -> Vec<Change> {
        let own: Vec<Ipv4Addr> = self.interfaces.iter().map(|interface| interface.address).collect();
        own.into_iter().filter(|address| self.servers.insert(*address)).map(Change::Server).collect()
    }

    /// The lease `mac` has, the one in the first network where it has several.
    #[must_use]
    pub fn lease(&self, mac: Mac) -> Option<Lease> {
        self.networks.iter().find_map(|(_, leases)| leases.of(mac))
    }

    /// Who holds `address`.
    #[must_use]
    pub fn holder(&self, address: Ipv4Addr) -> Option<Mac> {
        self.networks.iter().find_map(|(_, leases)| leases.holder(address))
    }

    /// Whether an open ticket was handed to an agent by DHCP.
    #[must_use]
    pub fn told_by_dhcp(&self, ticket: Ticket) -> bool {
        self.tickets.told(ticket)
    }

    /// All leases.
    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        self.networks.iter().flat_map(|(_, leases)| leases.iter())
    }

    /// From now on free addresses of the networks on `interface` are probed.
    pub fn expect_probes(&mut self, interface: usize) {
        self.near(interface).for_each(Leases::expect_probes);
    }

    /// Free addresses of the LAN at `interface` to probe next, at most `max`.
    pub fn to_probe(&mut self, interface: usize, max: usize, now: Now) -> Vec<Ipv4Addr> {
        self.near(interface).flat_map(|leases| leases.to_probe(max, now)).take(max).collect()
    }

    /// What a probe found.
    pub fn probed(&mut self, interface: usize, address: Ipv4Addr, in_use: bool, now: Now) {
        self.near(interface).for_each(|leases| leases.probed(address, in_use, now));
    }

    /// Leases of the networks that `interface` is itself in: probes reach those only.
    fn near(&mut self, interface: usize) -> impl Iterator<Item = &mut Leases> {
        let own = self.interfaces.get(interface).map(|interface| interface.address);
        self.networks
            .iter_mut()
            .filter(move |(network, _)| {
                network.interface == interface && own.is_some_and(|own| network.subnet.contains(own))
            })
            .map(|(_, leases)| leases)
    }

    /// Applies a change read from the journal.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Lease(lease) => {
                let place = self.networks.iter_mut().find(|(_, l)| l.covers(lease.mac, lease.address));
                let loser = place.and_then(|(_, leases)| leases.put(lease));
                loser.into_iter().for_each(|mac| self.tickets.forget(mac));
            }
            Change::Gone(mac) => {
                self.networks.iter_mut().for_each(|(_, leases)| leases.remove(mac));
                self.tickets.forget(mac);
            }
            Change::Declined(address, until) => {
                self.networks.iter_mut().for_each(|(_, leases)| leases.put_declined(address, until));
            }
            Change::Ticket(issued) => self.tickets.put_open(issued),
            Change::Fetched(ticket) => {
                self.tickets.fetched(ticket);
            }
            Change::Told(ticket) => self.tickets.put_told(ticket),
            Change::Spent(redeemed) => self.tickets.put_spent(redeemed),
            Change::Stance(mac, stance) => {
                let known = stance != Stance::Stranger;
                self.networks.iter_mut().for_each(|(_, leases)| leases.recognise(mac, known));
                self.recognise6(mac, known);
                if known {
                    self.stances.insert(mac, stance);
                } else {
                    self.stances.remove(&mac);
                }
            }
            Change::Lease6(lease) => self.put6(lease),
            Change::Declined6(address, until) => self.put_declined6(address, until),
            Change::Server6(server) => self.put_server6(server),
            Change::Server(address) => {
                if self.servers.len() < FORMER_MAX {
                    self.servers.insert(address);
                }
            }
        }
    }

    /// Everything, as the changes that lead here from an empty desk.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Change> {
        let servers = self.servers.iter().copied().map(Change::Server);
        let stances = self.stances.iter().map(|(mac, stance)| Change::Stance(*mac, *stance));
        let leases = self.leases().map(Change::Lease);
        let declined = self.networks.iter().flat_map(|(_, leases)| leases.declined());
        let declined = declined.map(|(address, until)| Change::Declined(address, until));
        let tickets = self.tickets.entries().flat_map(|(spent, open)| {
            let fetched = open.filter(|open| open.fetched).map(|open| Change::Fetched(open.issued.ticket));
            let told = open.filter(|open| open.told).map(|open| Change::Told(open.issued.ticket));
            let open = open.map(|open| Change::Ticket(open.issued));
            [spent.map(Change::Spent), open, fetched, told].into_iter().flatten()
        });
        servers.chain(stances).chain(leases).chain(declined).chain(tickets).chain(self.snapshot6()).collect()
    }
}

/// A request and where it came from.
#[derive(Debug, Clone, Copy)]
struct Asks<'a> {
    request: &'a BootRequest,
    interface: Interface,
    door: Door,
    fresh: Ticket,
    now: Now,
}

#[path = "desk_answers.rs"]
mod answers;

fn silence(quiet: Quiet, why: impl Into<Words>, changes: impl IntoIterator<Item = Change>) -> Outcome {
    Outcome { reply: Reply::Silence { quiet, why: why.into() }, changes: changes.into_iter().collect() }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;

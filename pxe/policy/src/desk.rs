//! One request in, one reply out, and what must be on disk before the reply leaves.

use std::{collections::BTreeMap, net::Ipv4Addr};

use appliance_model::{Digest, Mac, Now, Seconds, Ticket};

use crate::{
    decide::{Answer, Boot, Site, Stance, decide},
    leases::{Lease, LeaseState, Leases, Pool},
    request::{BootRequest, Kind},
    tickets::{Issued, Redeemed, TicketBook, TicketRefusal},
};

/// How many machines may have a stance: the largest fleet one appliance is meant for, ten times.
const STANCES_MAX: usize = 100_000;

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
        /// Why, in words.
        why: &'static str,
    },
    /// Nothing.
    Silence {
        /// Why, in words.
        why: String,
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
    /// The address, with its lease time; `None` answers INFORM.
    pub lease: Option<(Ipv4Addr, Seconds)>,
    /// What to boot.
    pub file: Option<File>,
    /// Whether to name the API (option 224).
    pub api: bool,
    /// Why, in words.
    pub why: &'static str,
}

/// What to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// The discovery image by HTTP, under this ticket.
    Http(Ticket),
    /// A file that our TFTP port refuses ([`Boot::RefusedTftp`]).
    RefusedTftp,
}

/// Something that changed, in absolute words: applying it twice is applying it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A lease as it is now.
    Lease(Lease),
    /// A machine lost its lease and its tickets.
    Gone(Mac),
    /// An address is left alone until then.
    Declined(Ipv4Addr, Now),
    /// A ticket was issued.
    Ticket(Issued),
    /// A ticket was spent.
    Spent(Redeemed),
    /// What is wanted of a machine.
    Stance(Mac, Stance),
}

/// The reply and the changes to make durable first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What to send.
    pub reply: Reply,
    /// What to write before it is sent.
    pub changes: Vec<Change>,
}

/// Leases, tickets and stances of one provisioning LAN.
#[derive(Debug)]
pub struct Desk {
    server: Ipv4Addr,
    site: Site,
    leases: Leases,
    tickets: TicketBook,
    stances: BTreeMap<Mac, Stance>,
}

impl Desk {
    /// An empty desk of the server at `server`.
    #[must_use]
    pub fn new(server: Ipv4Addr, site: Site, pool: Pool) -> Self {
        // Whoever gets a ticket has an address: the pool and the reservations bound the book.
        let span = u32::from(pool.last).saturating_sub(u32::from(pool.first)).saturating_add(1);
        let holders = usize::try_from(span).unwrap_or(usize::MAX).saturating_add(pool.reservations.len());
        let tickets = TicketBook::new(holders);
        Self { server, site, leases: Leases::new(pool), tickets, stances: BTreeMap::new() }
    }

    /// Answers `request`.  `fresh` is 16 random bytes, used if a ticket has to be minted.
    pub fn answer(&mut self, request: &BootRequest, fresh: Ticket, now: Now) -> Outcome {
        let mac = request.mac;
        match request.kind {
            Kind::Release => {
                let lease = request.current.and_then(|address| self.leases.release(mac, address, now));
                silence("it gave its address back: nothing to answer", lease.map(Change::Lease))
            }
            Kind::Decline => {
                let gone = request.requested.and_then(|a| Some((a, self.leases.decline(mac, a, now)?)));
                let changes =
                    gone.map(|(address, until)| [Change::Gone(mac), Change::Declined(address, until)]);
                silence(
                    "it found its address in use: that address rests 10 minutes",
                    changes.into_iter().flatten(),
                )
            }
            Kind::Discover | Kind::Request | Kind::Inform => {
                match decide(request, &self.stance(mac), &self.site) {
                    Answer::Silence { why } => silence(why, None),
                    Answer::Offer { boot, api, why } => self.give(request, boot, api, why, fresh, now),
                }
            }
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

    /// Whom an unspent ticket belongs to.
    #[must_use]
    pub fn open_ticket(&self, ticket: Ticket, now: Now) -> Option<Mac> {
        self.tickets.open(ticket, now)
    }

    /// What is wanted of `mac`.
    #[must_use]
    pub fn stance(&self, mac: Mac) -> Stance {
        self.stances.get(&mac).copied().unwrap_or_default()
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

    /// The lease `mac` has.
    #[must_use]
    pub fn lease(&self, mac: Mac) -> Option<Lease> {
        self.leases.of(mac)
    }

    /// All leases.
    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        self.leases.iter()
    }

    /// Applies a change read from the journal.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Lease(lease) => self.leases.put(lease),
            Change::Gone(mac) => {
                self.leases.remove(mac);
                self.tickets.forget(mac);
            }
            Change::Declined(address, until) => self.leases.put_declined(address, until),
            Change::Ticket(issued) => self.tickets.put_open(issued),
            Change::Spent(redeemed) => self.tickets.put_spent(redeemed),
            Change::Stance(mac, stance) => {
                self.leases.recognise(mac, stance != Stance::Stranger);
                if stance == Stance::Stranger {
                    self.stances.remove(&mac);
                } else {
                    self.stances.insert(mac, stance);
                }
            }
        }
    }

    /// Everything, as the changes that lead here from an empty desk.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Change> {
        let stances = self.stances.iter().map(|(mac, stance)| Change::Stance(*mac, *stance));
        let leases = self.leases.iter().map(Change::Lease);
        let declined = self.leases.declined().map(|(address, until)| Change::Declined(address, until));
        let tickets = self
            .tickets
            .entries()
            .flat_map(|(spent, open)| spent.map(Change::Spent).into_iter().chain(open.map(Change::Ticket)));
        stances.chain(leases).chain(declined).chain(tickets).collect()
    }

    fn give(
        &mut self,
        request: &BootRequest,
        boot: Option<Boot>,
        api: bool,
        why: &'static str,
        fresh: Ticket,
        now: Now,
    ) -> Outcome {
        let mut changes = Vec::new();
        let (kind, lease) = match request.kind {
            Kind::Inform => (GiveKind::Ack, None),
            Kind::Discover => match self.offer(request.mac, request.requested, now, &mut changes) {
                Ok(lease) => (GiveKind::Offer, Some(lease)),
                Err(why) => return Outcome { reply: Reply::Silence { why }, changes },
            },
            Kind::Request => match self.confirm(request, now, &mut changes) {
                Ok(lease) => (GiveKind::Ack, Some(lease)),
                Err(reply) => return Outcome { reply, changes },
            },
            Kind::Decline | Kind::Release => return silence("nothing to answer", None),
        };
        let file = match boot {
            None => None,
            Some(Boot::RefusedTftp) => Some(File::RefusedTftp),
            Some(Boot::Http) => match self.tickets.mint(request.mac, fresh, now) {
                Ok((issued, new)) => {
                    changes.extend(new.then_some(Change::Ticket(issued)));
                    Some(File::Http(issued.ticket))
                }
                Err(full) => return Outcome { reply: Reply::Silence { why: full.to_string() }, changes },
            },
        };
        let lease = lease.map(|lease| (lease.address, self.leases.lease_time()));
        Outcome { reply: Reply::Give(Give { kind, lease, file, api, why }), changes }
    }

    fn offer(
        &mut self,
        mac: Mac,
        wanted: Option<Ipv4Addr>,
        now: Now,
        changes: &mut Vec<Change>,
    ) -> Result<Lease, String> {
        let (lease, changed, loser) =
            self.leases.offer(mac, wanted, now).map_err(|no_address| no_address.to_string())?;
        if let Some(loser) = loser {
            self.tickets.forget(loser);
            changes.push(Change::Gone(loser));
        }
        changes.extend(changed.then_some(Change::Lease(lease)));
        Ok(lease)
    }

    /// RFC 2131, 4.3.2: a REQUEST selects an offer, checks an old address after a restart, or renews.
    fn confirm(
        &mut self,
        request: &BootRequest,
        now: Now,
        changes: &mut Vec<Change>,
    ) -> Result<Lease, Reply> {
        if request.server.is_some_and(|server| server != self.server) {
            let offered = self.leases.of(request.mac).filter(|lease| lease.state == LeaseState::Offered);
            if let Some(lease) = offered.and_then(|l| self.leases.release(request.mac, l.address, now)) {
                changes.push(Change::Lease(lease));
            }
            return Err(Reply::Silence { why: "it took another DHCP server's offer".into() });
        }
        let Some(address) = request.current.or(request.requested) else {
            return Err(Reply::Refuse { why: "it asked to confirm an address and named none" });
        };
        // We are the only server of this LAN, so a client whose lease we do not know gets it if it is free, and
        // a NAK otherwise: silence, as the RFC has it for several servers, would only cost it a minute.
        if self.leases.of(request.mac).is_none() {
            self.offer(request.mac, Some(address), now, changes).map_err(|why| Reply::Silence { why })?;
        }
        match self.leases.confirm(request.mac, address, now) {
            Some(lease) => {
                changes.push(Change::Lease(lease));
                Ok(lease)
            }
            None => Err(Reply::Refuse { why: "the address it asked to confirm is not its own" }),
        }
    }
}

fn silence(why: &str, changes: impl IntoIterator<Item = Change>) -> Outcome {
    Outcome { reply: Reply::Silence { why: why.into() }, changes: changes.into_iter().collect() }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;

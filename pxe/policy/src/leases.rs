//! Who holds which address.  Sticky by MAC, so that firmware, agent and installed system of one machine share one.
//!
//! A machine somebody has spoken for (*known*) never loses its address.  Strangers hold at most three quarters of the
//! pool, and lose an expired address when another machine needs it, the longest expired first.
//!
//! Free addresses are probed ahead of need ([`Leases::to_probe`]), so that a new machine gets one at which nobody
//! answered a moment ago, and nobody waits for a probe.  Where the stock runs out, an unprobed address is given: a client
//! probes, too (RFC 2131, 4.4.1), and its DECLINE lets the address rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use appliance_model::{Mac, Now, Seconds};

/// How long an address is kept for a client that was offered it: RFC 2131 clients answer within seconds; a minute
/// covers a firmware that collects offers and a slow relay.
const OFFER_HOLD: Seconds = Seconds(60);

/// How long an address is left alone that a client found in use.
const DECLINE_HOLD: Seconds = Seconds(600);

/// How many free addresses are kept probed: a rack row switched on at once.
const STOCK: usize = 512;

/// How long a probe counts: 512 addresses in 5 minutes are two ARP requests a second.
const PROBE_HOLD: Seconds = Seconds(300);

/// The addresses there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// First address handed out.
    pub first: Ipv4Addr,
    /// Last address handed out.
    pub last: Ipv4Addr,
    /// Never handed out: our own address, a router.
    pub never: BTreeSet<Ipv4Addr>,
    /// Fixed addresses, inside the pool or outside.
    pub reservations: BTreeMap<Mac, Ipv4Addr>,
    /// How long a lease lasts.
    pub lease: Seconds,
}

/// How far a lease is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// Offered; not taken yet.
    Offered,
    /// Taken.
    Bound,
    /// Given back; kept for the same machine until somebody needs it.
    Released,
}

/// An address and who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Who.
    pub mac: Mac,
    /// What.
    pub address: Ipv4Addr,
    /// Until when; afterwards a stranger's address may go to somebody else.
    pub until: Now,
    /// How far.
    pub state: LeaseState,
}

/// Why there is no address to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// The pool is used up.
    #[error("all {size} addresses of the pool are held: widen pxe.pool or retire hosts")]
    PoolFull {
        /// Addresses in the pool.
        size: usize,
    },
    /// Strangers hold all they may.
    #[error(
        "machines that nobody has announced hold all {max} addresses they may: announce this one (its BMC does), \
         or widen pxe.pool"
    )]
    TooManyStrangers {
        /// Addresses strangers may hold.
        max: usize,
    },
}

/// All leases.
#[derive(Debug)]
pub struct Leases {
    pool: Pool,
    size: usize,
    reserved: BTreeSet<Ipv4Addr>,
    /// Free addresses where nobody answered, and when.  `None`: nobody probes.
    probed: Option<BTreeMap<Ipv4Addr, Now>>,
    /// Where probing goes on.
    cursor: Ipv4Addr,
    by_mac: BTreeMap<Mac, Lease>,
    holder: BTreeMap<Ipv4Addr, Mac>,
    free: BTreeSet<Ipv4Addr>,
    declined: BTreeMap<Ipv4Addr, Now>,
    known: BTreeSet<Mac>,
    /// Strangers inside the pool by expiry, so that the longest expired is found without a search.
    strangers: BTreeSet<(Now, Mac)>,
}

impl Leases {
    /// Nobody holds anything yet.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        let kept: BTreeSet<Ipv4Addr> = pool.reservations.values().copied().collect();
        let free: BTreeSet<Ipv4Addr> = (u32::from(pool.first)..=u32::from(pool.last))
            .map(Ipv4Addr::from)
            .filter(|address| !pool.never.contains(address) && !kept.contains(address))
            .collect();
        let known = pool.reservations.keys().copied().collect();
        Self {
            size: free.len(),
            reserved: kept,
            probed: None,
            cursor: pool.first,
            free,
            known,
            pool,
            by_mac: BTreeMap::new(),
            holder: BTreeMap::new(),
            declined: BTreeMap::new(),
            strangers: BTreeSet::new(),
        }
    }

    /// The lease `mac` has.
    #[must_use]
    pub fn of(&self, mac: Mac) -> Option<Lease> {
        self.by_mac.get(&mac).copied()
    }

    /// Who holds `address`.
    #[must_use]
    pub fn holder(&self, address: Ipv4Addr) -> Option<Mac> {
        self.holder.get(&address).copied()
    }

    /// All leases.
    pub fn iter(&self) -> impl Iterator<Item = Lease> {
        self.by_mac.values().copied()
    }

    /// Addresses left alone because somebody else uses them, and until when.
    pub fn declined(&self) -> impl Iterator<Item = (Ipv4Addr, Now)> {
        self.declined.iter().map(|(address, until)| (*address, *until))
    }

    /// Whether `mac` is a host of ours.
    #[must_use]
    pub fn knows(&self, mac: Mac) -> bool {
        self.known.contains(&mac)
    }

    /// Whether `address` could be leased to `mac` here.
    #[must_use]
    pub fn covers(&self, mac: Mac, address: Ipv4Addr) -> bool {
        self.pool.reservations.get(&mac) == Some(&address) || self.in_pool(address)
    }

    /// From now on somebody probes; until then every free address counts as free.
    pub fn expect_probes(&mut self) {
        self.probed.get_or_insert_default();
    }

    /// Free addresses to probe next, at most `max`, so that the stock stays full and fresh.
    pub fn to_probe(&mut self, max: usize, now: Now) -> Vec<Ipv4Addr> {
        let Some(probed) = &mut self.probed else { return Vec::new() };
        probed.retain(|_, at| now.since(*at) < PROBE_HOLD);
        let missing = STOCK.min(self.free.len()).saturating_sub(probed.len()).min(max);
        let after = self.free.range(self.cursor..).chain(self.free.range(..self.cursor));
        let next: Vec<Ipv4Addr> =
            after.filter(|address| !probed.contains_key(address)).take(missing).copied().collect();
        if let Some(last) = next.last() {
            self.cursor = Ipv4Addr::from(u32::from(*last).saturating_add(1));
        }
        next
    }

    /// What a probe of a free address found.  An address in use rests as a declined one does.
    pub fn probed(&mut self, address: Ipv4Addr, in_use: bool, now: Now) {
        if !self.free.contains(&address) {
            return;
        }
        if in_use {
            self.put_declined(address, now.after(DECLINE_HOLD));
        } else if let Some(probed) = &mut self.probed {
            probed.insert(address, now);
        }
    }

    /// How long a lease lasts.
    #[must_use]
    pub fn lease_time(&self) -> Seconds {
        self.pool.lease
    }

    /// From now on `mac` is a host of ours, or no longer.
    pub fn recognise(&mut self, mac: Mac, known: bool) {
        let entry = self.by_mac.get(&mac).filter(|lease| self.in_pool(lease.address)).map(|l| (l.until, mac));
        if known {
            self.known.insert(mac);
            entry.map(|entry| self.strangers.remove(&entry));
        } else if !self.pool.reservations.contains_key(&mac) {
            self.known.remove(&mac);
            entry.map(|entry| self.strangers.insert(entry));
        }
    }

    /// Finds an address for `mac` and holds it.  `Ok` has the lease, whether it changed, and who lost it.
    ///
    /// # Errors
    /// When there is no address for this machine.
    pub fn offer(
        &mut self,
        mac: Mac,
        wanted: Option<Ipv4Addr>,
        now: Now,
    ) -> Result<(Lease, bool, Option<Mac>), NoAddress> {
        let reserved = self.pool.reservations.get(&mac).copied();
        let held = self.of(mac).filter(|lease| reserved.is_none_or(|address| address == lease.address));
        if let Some(held) = held {
            let fresh = held.until >= now.after(Seconds(OFFER_HOLD.0 / 2));
            if fresh && held.state != LeaseState::Released {
                return Ok((held, false, None));
            }
        }
        self.forgive(now);
        let mut loser = None;
        let address = match (reserved, held) {
            (Some(address), _) => address,
            (None, Some(held)) => held.address,
            (None, None) => {
                loser = self.make_room(mac, now)?;
                self.pick(mac, wanted).ok_or(NoAddress::PoolFull { size: self.size })?
            }
        };
        let lease = Lease { mac, address, until: now.after(OFFER_HOLD), state: LeaseState::Offered };
        self.put(lease);
        Ok((lease, true, loser))
    }

    /// Binds `address` to `mac`, if it is theirs.
    pub fn confirm(&mut self, mac: Mac, address: Ipv4Addr, now: Now) -> Option<Lease> {
        let held = self.of(mac).filter(|lease| lease.address == address)?;
        if self.pool.reservations.get(&mac).is_some_and(|reserved| *reserved != address) {
            return None;
        }
        let lease = Lease { until: now.after(self.pool.lease), state: LeaseState::Bound, ..held };
        self.put(lease);
        Some(lease)
    }

    /// Takes `address` back from `mac`, if it is theirs.
    pub fn release(&mut self, mac: Mac, address: Ipv4Addr, now: Now) -> Option<Lease> {
        let held = self.of(mac).filter(|lease| lease.address == address)?;
        let lease = Lease { until: now, state: LeaseState::Released, ..held };
        self.put(lease);
        Some(lease)
    }

    /// Leaves `address` alone for a while: `mac`, who holds it, found it in use.  `None` if it does not hold it, so
    /// that one machine cannot spoil the others' addresses.
    pub fn decline(&mut self, mac: Mac, address: Ipv4Addr, now: Now) -> Option<Now> {
        self.of(mac).filter(|lease| lease.address == address)?;
        self.remove(mac);
        let until = now.after(DECLINE_HOLD);
        self.put_declined(address, until);
        Some(until)
    }

    /// Restores a declined address.  Not more than a quarter of the pool: the rest stays in use whatever clients say.
    pub fn put_declined(&mut self, address: Ipv4Addr, until: Now) {
        if self.declined.len() < (self.size / 4).max(1) && self.take(address) {
            self.declined.insert(address, until);
        }
    }

    /// Restores or renews a lease; ignores one that the pool no longer covers.  In a journal the later record is the
    /// true one: says who lost the address to it.
    pub fn put(&mut self, lease: Lease) -> Option<Mac> {
        if !self.covers(lease.mac, lease.address) {
            return None;
        }
        let loser = self.holder.get(&lease.address).copied().filter(|holder| *holder != lease.mac);
        if let Some(loser) = loser {
            self.remove(loser);
        }
        self.remove(lease.mac);
        self.take(lease.address);
        self.declined.remove(&lease.address);
        self.holder.insert(lease.address, lease.mac);
        self.by_mac.insert(lease.mac, lease);
        if !self.known.contains(&lease.mac) {
            self.strangers.insert((lease.until, lease.mac));
        }
        loser
    }

    /// No longer free.
    fn take(&mut self, address: Ipv4Addr) -> bool {
        if let Some(probed) = &mut self.probed {
            probed.remove(&address);
        }
        self.free.remove(&address)
    }

    /// Drops the lease of `mac`.
    pub fn remove(&mut self, mac: Mac) {
        if let Some(lease) = self.by_mac.remove(&mac) {
            self.strangers.remove(&(lease.until, mac));
            self.holder.remove(&lease.address);
            if self.in_pool(lease.address) {
                self.free.insert(lease.address);
            }
        }
    }

    fn in_pool(&self, address: Ipv4Addr) -> bool {
        (self.pool.first..=self.pool.last).contains(&address)
            && !self.pool.never.contains(&address)
            && !self.reserved.contains(&address)
    }

    fn strangers_max(&self) -> usize {
        (self.size - self.size / 4).max(1)
    }

    /// Frees a stranger's expired address if `mac` could not have one otherwise.
    fn make_room(&mut self, mac: Mac, now: Now) -> Result<Option<Mac>, NoAddress> {
        let stranger = !self.known.contains(&mac);
        let crowded = stranger && self.strangers.len() >= self.strangers_max();
        if !crowded && !self.free.is_empty() {
            return Ok(None);
        }
        match self.strangers.first().copied() {
            Some((until, loser)) if until < now => {
                self.remove(loser);
                Ok(Some(loser))
            }
            Some(_) | None if crowded => Err(NoAddress::TooManyStrangers { max: self.strangers_max() }),
            Some(_) | None => Err(NoAddress::PoolFull { size: self.size }),
        }
    }

    /// The wanted address if it is free, else one by hash of the MAC, so that a lost journal gives most machines
    /// their old address again.
    fn pick(&self, mac: Mac, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let stock = self.probed.as_ref().filter(|probed| !probed.is_empty());
        let good = |address: &Ipv4Addr| {
            self.free.contains(address) && stock.is_none_or(|probed| probed.contains_key(address))
        };
        if let Some(wanted) = wanted.filter(good) {
            return Some(wanted);
        }
        let size = u32::try_from(self.size).ok()?.max(1);
        let hash = mac.0.iter().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add((*byte).into()));
        let start = Ipv4Addr::from(u32::from(self.pool.first).saturating_add(hash % size));
        if let Some(probed) = stock {
            return probed.range(start..).chain(probed.range(..start)).next().map(|(address, _)| *address);
        }
        self.free.range(start..).next().or_else(|| self.free.first()).copied()
    }

    /// Declined addresses whose time is over may be tried again.
    fn forgive(&mut self, now: Now) {
        let over: Vec<Ipv4Addr> =
            self.declined.iter().filter(|(_, until)| **until <= now).map(|(address, _)| *address).collect();
        for address in over {
            self.declined.remove(&address);
            self.free.insert(address);
        }
    }
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;

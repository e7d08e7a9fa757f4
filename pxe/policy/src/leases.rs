//! Who holds which address.  Sticky by MAC, so that firmware, agent and installed system of one machine share one.
//!
//! A machine somebody has spoken for (*known*) never loses its address.  Strangers hold at most three quarters of the
//! pool, and lose an expired address when another machine needs it, the longest expired first.

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

    /// All leases.
    pub fn iter(&self) -> impl Iterator<Item = Lease> {
        self.by_mac.values().copied()
    }

    /// Addresses left alone because somebody else uses them, and until when.
    pub fn declined(&self) -> impl Iterator<Item = (Ipv4Addr, Now)> {
        self.declined.iter().map(|(address, until)| (*address, *until))
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
        if self.declined.len() < (self.size / 4).max(1) && self.free.remove(&address) {
            self.declined.insert(address, until);
        }
    }

    /// Restores or renews a lease; ignores one that the pool no longer covers.
    pub fn put(&mut self, lease: Lease) {
        let reserved = self.pool.reservations.get(&lease.mac) == Some(&lease.address);
        let fits = reserved || self.in_pool(lease.address);
        let taken = self.holder.get(&lease.address).is_some_and(|holder| *holder != lease.mac);
        if !fits || taken {
            return;
        }
        self.remove(lease.mac);
        self.free.remove(&lease.address);
        self.declined.remove(&lease.address);
        self.holder.insert(lease.address, lease.mac);
        self.by_mac.insert(lease.mac, lease);
        if !self.known.contains(&lease.mac) {
            self.strangers.insert((lease.until, lease.mac));
        }
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
            && !self.pool.reservations.values().any(|reserved| *reserved == address)
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
        if let Some(wanted) = wanted.filter(|wanted| self.free.contains(wanted)) {
            return Some(wanted);
        }
        let size = u32::try_from(self.size).ok()?.max(1);
        let hash = mac.0.iter().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add((*byte).into()));
        let start = Ipv4Addr::from(u32::from(self.pool.first).saturating_add(hash % size));
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
mod tests {
    use super::*;

    fn mac(n: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, n])
    }
    fn ip(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, n)
    }
    fn at(seconds: u64) -> Now {
        Now(1_000_000).after(Seconds(seconds))
    }
    /// Addresses .10 to .17; .10 is ours, .11 is reserved for MAC 99: six are free.
    fn leases() -> Leases {
        Leases::new(Pool {
            first: ip(10),
            last: ip(17),
            never: BTreeSet::from([ip(10)]),
            reservations: BTreeMap::from([(mac(99), ip(11))]),
            lease: Seconds(3600),
        })
    }

    #[test]
    fn an_address_sticks_to_its_mac() {
        let mut l = leases();
        let first = l.offer(mac(1), None, at(0)).unwrap().0;
        assert_eq!(l.offer(mac(1), Some(ip(17)), at(1)).unwrap(), (first, false, None));
        assert_eq!(l.confirm(mac(1), first.address, at(2)).unwrap().until, at(3602));
        assert_eq!(l.confirm(mac(1), ip(17), at(2)), None);
        assert_eq!(l.confirm(mac(2), first.address, at(2)), None);
        l.release(mac(1), first.address, at(5)).unwrap();
        let later = l.offer(mac(1), None, at(90_000)).unwrap().0;
        assert_eq!((later.address, later.state), (first.address, LeaseState::Offered));
        assert_eq!(
            leases().offer(mac(1), None, at(0)).unwrap().0.address,
            first.address,
            "also without history"
        );
    }

    #[test]
    fn reservations_and_forbidden_addresses_hold() {
        let mut l = leases();
        assert_eq!(l.offer(mac(99), Some(ip(15)), at(0)).unwrap().0.address, ip(11));
        for wanted in [ip(10), ip(11), ip(200)] {
            let got = l.offer(mac(1), Some(wanted), at(0)).unwrap().0.address;
            assert!((ip(12)..=ip(17)).contains(&got), "{wanted} {got}");
        }
        assert_eq!(l.offer(mac(2), Some(ip(16)), at(0)).unwrap().0.address, ip(16));
    }

    #[test]
    fn a_flood_of_strangers_leaves_room_for_known_hosts() {
        let mut l = leases();
        l.recognise(mac(50), true);
        let host = l.offer(mac(50), None, at(0)).unwrap().0;
        l.confirm(mac(50), host.address, at(0)).unwrap();
        for n in 100..250 {
            let got = l.offer(mac(n), None, at(1));
            assert_eq!(got.is_ok(), n < 105, "{n}: {got:?}");
        }
        assert!(matches!(l.offer(mac(3), None, at(1)), Err(NoAddress::TooManyStrangers { max: 5 })));
        l.recognise(mac(51), true);
        assert!(matches!(l.offer(mac(51), None, at(2)), Err(NoAddress::PoolFull { .. })));
        // The offers nobody took expire; the known host's lease has expired too, and stays.
        let (lease, _, loser) = l.offer(mac(51), None, at(7200)).unwrap();
        assert_ne!(lease.address, host.address);
        assert!(loser.is_some());
        assert_eq!(l.of(mac(50)).unwrap().address, host.address);
        assert_eq!(l.by_mac.len(), l.holder.len());
        assert!(l.by_mac.len() <= 6 && l.strangers.len() == 4);
    }

    #[test]
    fn a_declined_address_rests_and_comes_back() {
        let mut l = leases();
        let lease = l.offer(mac(1), Some(ip(14)), at(0)).unwrap().0;
        assert_eq!(l.decline(mac(2), lease.address, at(1)), None, "only its holder may decline it");
        l.decline(mac(1), lease.address, at(1)).unwrap();
        assert_ne!(l.offer(mac(1), Some(ip(14)), at(2)).unwrap().0.address, ip(14));
        assert_eq!(l.offer(mac(2), Some(ip(14)), at(700)).unwrap().0.address, ip(14));
    }

    #[test]
    fn leases_of_another_pool_are_ignored() {
        let mut l = leases();
        let old = Lease { mac: mac(1), address: ip(77), until: at(9), state: LeaseState::Bound };
        l.put(old);
        assert_eq!(l.of(mac(1)), None);
    }
}

//! Who holds which IPv6 address.  By DUID and IAID; a machine (MAC) holds at most four.
//!
//! A link has more addresses than any table: the table is what is bounded here.  As in IPv4, strangers hold at most three
//! quarters of it and lose expired entries first, and a machine somebody has spoken for loses nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use appliance_model::{Mac, Now, Seconds};
use pxe_wire::dhcp6::Duid;

use crate::leases::LeaseState;

/// How long an address is kept for a client that was offered it; as in IPv4.
const OFFER_HOLD: Seconds = Seconds(60);
/// How long an address is left alone that a client found in use; as in IPv4.
const DECLINE_HOLD: Seconds = Seconds(600);
/// Entries in all: the largest IPv4 pool.
const ENTRIES_MAX: usize = 65_536;
/// Entries of one machine: firmware's own configuration and its boot attempt, the agent, the installed system.
const MACHINE_MAX: usize = 4;
/// Pools up to this size are searched in full.
const SEARCH_MAX: usize = 4096;
/// Tries in a larger pool, of which at most half is ever used: all of them fail once in 2⁶⁴ times.
const TRIES_MAX: u64 = 64;

/// The addresses there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool6 {
    /// First address handed out.
    pub first: Ipv6Addr,
    /// Last address handed out.
    pub last: Ipv6Addr,
    /// Never handed out: our own address.
    pub never: BTreeSet<Ipv6Addr>,
    /// Addresses kept for machines, inside the range or not.  A machine with one gets no other, by whichever DUID and IAID
    /// it asks: the last that asked has it.
    pub reservations: BTreeMap<Mac, Ipv6Addr>,
    /// How long a lease lasts.
    pub lease: Seconds,
}

/// An address and who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease6 {
    /// Which client.
    pub duid: Duid,
    /// Which of its interfaces.
    pub iaid: u32,
    /// Which machine.
    pub mac: Mac,
    /// What.
    pub address: Ipv6Addr,
    /// Until when.
    pub until: Now,
    /// How far.
    pub state: LeaseState,
}

impl Lease6 {
    fn key(&self) -> Key {
        (self.duid, self.iaid)
    }
}

type Key = (Duid, u32);

/// Why there is no address to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress6 {
    /// The pool or its table is used up.
    #[error("all {max} places of the IPv6 pool are held: widen pxe.v6.pool or retire hosts")]
    PoolFull {
        /// Places.
        max: usize,
    },
    /// Strangers hold all they may.
    #[error(
        "machines that nobody has announced hold all {max} IPv6 addresses they may: announce this one (its BMC does), \
         or widen pxe.v6.pool"
    )]
    TooManyStrangers {
        /// Addresses strangers may hold.
        max: usize,
    },
}

/// All leases of one pool.
#[derive(Debug)]
pub struct Leases6 {
    pool: Pool6,
    max: usize,
    by_client: BTreeMap<Key, Lease6>,
    holder: BTreeMap<Ipv6Addr, Key>,
    by_mac: BTreeMap<Mac, BTreeSet<Key>>,
    declined: BTreeMap<Ipv6Addr, Now>,
    known: BTreeSet<Mac>,
    /// Addresses of the reservations.
    reserved: BTreeSet<Ipv6Addr>,
    /// Strangers by expiry, so that the longest expired is found without a search.
    strangers: BTreeSet<(Now, Key)>,
}

impl Leases6 {
    /// Nobody holds anything yet.
    #[must_use]
    pub fn new(pool: Pool6) -> Self {
        let size = usize::try_from(size(&pool)).unwrap_or(usize::MAX);
        let reserved: BTreeSet<Ipv6Addr> = pool.reservations.values().copied().collect();
        let taken = pool.never.union(&reserved).filter(|address| within(&pool, **address)).count();
        let size = size.saturating_sub(taken);
        let max = if size <= SEARCH_MAX { size } else { (size / 2).min(ENTRIES_MAX) };
        let known = pool.reservations.keys().copied().collect();
        Self {
            pool,
            max: max.saturating_add(reserved.len()),
            reserved,
            by_client: BTreeMap::new(),
            holder: BTreeMap::new(),
            by_mac: BTreeMap::new(),
            declined: BTreeMap::new(),
            known,
            strangers: BTreeSet::new(),
        }
    }

    /// The lease a client's interface has.
    #[must_use]
    pub fn of(&self, duid: Duid, iaid: u32) -> Option<Lease6> {
        self.by_client.get(&(duid, iaid)).copied()
    }

    /// Who holds `address`.
    #[must_use]
    pub fn holder(&self, address: Ipv6Addr) -> Option<Mac> {
        self.by_client.get(self.holder.get(&address)?).map(|lease| lease.mac)
    }

    /// All leases.
    pub fn iter(&self) -> impl Iterator<Item = Lease6> {
        self.by_client.values().copied()
    }

    /// Addresses left alone, and until when.
    pub fn declined(&self) -> impl Iterator<Item = (Ipv6Addr, Now)> {
        self.declined.iter().map(|(address, until)| (*address, *until))
    }

    /// Whether `address` could be leased here.
    #[must_use]
    pub fn covers(&self, address: Ipv6Addr) -> bool {
        (within(&self.pool, address) && !self.pool.never.contains(&address))
            || self.reserved.contains(&address)
    }

    /// The address reserved for `mac`.
    #[must_use]
    pub fn reserved(&self, mac: Mac) -> Option<Ipv6Addr> {
        self.pool.reservations.get(&mac).copied()
    }

    /// Whether `mac` may have `address`: what is reserved is one machine's.
    fn may_have(&self, mac: Mac, address: Ipv6Addr) -> bool {
        self.covers(address) && (!self.reserved.contains(&address) || self.reserved(mac) == Some(address))
    }

    /// How long a lease lasts.
    #[must_use]
    pub fn lease_time(&self) -> Seconds {
        self.pool.lease
    }

    /// From now on `mac` is a host of ours, or no longer.
    pub fn recognise(&mut self, mac: Mac, known: bool) {
        if self.pool.reservations.contains_key(&mac) {
            return;
        }
        let changed = if known { self.known.insert(mac) } else { self.known.remove(&mac) };
        if !changed {
            return;
        }
        for key in self.by_mac.get(&mac).into_iter().flatten() {
            let Some(lease) = self.by_client.get(key) else { continue };
            if known {
                self.strangers.remove(&(lease.until, *key));
            } else {
                self.strangers.insert((lease.until, *key));
            }
        }
    }

    /// Finds an address and holds it.
    ///
    /// # Errors
    /// When there is none for this machine.
    pub fn offer(
        &mut self,
        (duid, iaid): Key,
        mac: Mac,
        wanted: &[Ipv6Addr],
        now: Now,
    ) -> Result<Lease6, NoAddress6> {
        let reserved = self.reserved(mac);
        let held = self.of(duid, iaid).filter(|held| match reserved {
            Some(address) => held.address == address,
            None => !self.reserved.contains(&held.address),
        });
        if let Some(held) = held.filter(|held| held.mac == mac && held.state != LeaseState::Released)
            && held.until >= now.after(Seconds(OFFER_HOLD.0 / 2))
        {
            return Ok(held);
        }
        let address = match (reserved, held) {
            (Some(address), _) => address,
            (None, Some(held)) => held.address,
            (None, None) => {
                self.declined.retain(|_, until| *until > now);
                self.make_room(mac, now)?;
                self.pick((duid, iaid), wanted).ok_or(NoAddress6::PoolFull { max: self.max })?
            }
        };
        let lease =
            Lease6 { duid, iaid, mac, address, until: now.after(OFFER_HOLD), state: LeaseState::Offered };
        self.put(lease);
        Ok(lease)
    }

    /// Binds `address`, if it is theirs.
    pub fn confirm(&mut self, key: Key, mac: Mac, address: Ipv6Addr, now: Now) -> Option<Lease6> {
        let held = self.by_client.get(&key).copied().filter(|lease| lease.address == address)?;
        let lease = Lease6 { mac, until: now.after(self.pool.lease), state: LeaseState::Bound, ..held };
        self.put(lease);
        Some(lease)
    }

    /// Takes `address` back, if it is theirs.
    pub fn release(&mut self, key: Key, address: Ipv6Addr, now: Now) -> Option<Lease6> {
        let held = self.by_client.get(&key).copied().filter(|lease| lease.address == address)?;
        let lease = Lease6 { until: now, state: LeaseState::Released, ..held };
        self.put(lease);
        Some(lease)
    }

    /// Leaves `address` alone for a while, if it is theirs: they found it in use.
    pub fn decline(&mut self, key: Key, address: Ipv6Addr, now: Now) -> Option<Now> {
        self.by_client.get(&key).filter(|lease| lease.address == address)?;
        let until = now.after(DECLINE_HOLD);
        self.put_declined(address, until);
        Some(until)
    }

    /// Restores a declined address; whoever held it holds it no longer.  Not more than a quarter of the table.
    pub fn put_declined(&mut self, address: Ipv6Addr, until: Now) {
        if let Some(key) = self.holder.get(&address).copied() {
            self.remove(key);
        }
        if self.covers(address)
            && !self.reserved.contains(&address)
            && self.declined.len() < (self.max / 4).clamp(1, SEARCH_MAX)
        {
            self.declined.insert(address, until);
        }
    }

    /// Restores or renews a lease; ignores one that the pool no longer covers.  In a journal the later record is the
    /// true one: who held the address before has lost it.
    pub fn put(&mut self, lease: Lease6) {
        if !self.may_have(lease.mac, lease.address) {
            return;
        }
        if let Some(holder) = self.holder.get(&lease.address).copied() {
            self.remove(holder);
        }
        self.remove(lease.key());
        let others = self.by_mac.get(&lease.mac).into_iter().flatten();
        if others.clone().count() >= MACHINE_MAX
            && let Some(first) = others.min_by_key(|key| self.by_client.get(key).map(|l| l.until)).copied()
        {
            self.remove(first);
        }
        // A journal may hold what was pushed out before it was written anew.
        if self.by_client.len() >= self.max {
            let Some((_, oldest)) = self.strangers.first().copied() else { return };
            self.remove(oldest);
        }
        self.declined.remove(&lease.address);
        self.holder.insert(lease.address, lease.key());
        self.by_mac.entry(lease.mac).or_default().insert(lease.key());
        self.by_client.insert(lease.key(), lease);
        if !self.known.contains(&lease.mac) {
            self.strangers.insert((lease.until, lease.key()));
        }
    }

    fn remove(&mut self, key: Key) {
        let Some(lease) = self.by_client.remove(&key) else { return };
        self.strangers.remove(&(lease.until, key));
        self.holder.remove(&lease.address);
        if let Some(keys) = self.by_mac.get_mut(&lease.mac) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_mac.remove(&lease.mac);
            }
        }
    }

    fn strangers_max(&self) -> usize {
        (self.max - self.max / 4).max(1)
    }

    /// Frees a stranger's expired entry if `mac` could not have one otherwise.
    fn make_room(&mut self, mac: Mac, now: Now) -> Result<(), NoAddress6> {
        // Its own oldest entry makes room for its newest.
        if self.by_mac.get(&mac).is_some_and(|keys| keys.len() >= MACHINE_MAX) {
            return Ok(());
        }
        let crowded = !self.known.contains(&mac) && self.strangers.len() >= self.strangers_max();
        if !crowded && self.by_client.len().saturating_add(self.declined.len()) < self.max {
            return Ok(());
        }
        match self.strangers.first().copied() {
            Some((until, loser)) if until < now => {
                self.remove(loser);
                Ok(())
            }
            Some(_) | None if crowded => Err(NoAddress6::TooManyStrangers { max: self.strangers_max() }),
            Some(_) | None => Err(NoAddress6::PoolFull { max: self.max }),
        }
    }

    fn free(&self, address: Ipv6Addr) -> bool {
        self.covers(address)
            && !self.reserved.contains(&address)
            && !self.holder.contains_key(&address)
            && !self.declined.contains_key(&address)
    }

    /// A wanted address if it is free, else one by hash of the client, so that a lost journal gives most machines their
    /// old address again.
    fn pick(&self, (duid, iaid): Key, wanted: &[Ipv6Addr]) -> Option<Ipv6Addr> {
        if let Some(wanted) = wanted.iter().find(|address| self.free(**address)) {
            return Some(*wanted);
        }
        let size = size(&self.pool);
        let at =
            |offset: u128| Ipv6Addr::from(u128::from(self.pool.first).saturating_add(offset % size.max(1)));
        let seed = duid.as_bytes().iter().copied().chain(iaid.to_be_bytes());
        let (high, low) = (spread(1, seed.clone()), spread(2, seed));
        let start = u128::from(high) << 64 | u128::from(low);
        if usize::try_from(size).is_ok_and(|size| size <= SEARCH_MAX) {
            return (0..size).map(|step| at((start % size).saturating_add(step))).find(|a| self.free(*a));
        }
        (0..TRIES_MAX)
            .map(|turn| at(start.wrapping_mul(u128::from(turn).wrapping_mul(2).wrapping_add(1))))
            .find(|address| self.free(*address))
    }
}

fn within(pool: &Pool6, address: Ipv6Addr) -> bool {
    (pool.first..=pool.last).contains(&address)
}

fn size(pool: &Pool6) -> u128 {
    u128::from(pool.last).saturating_sub(u128::from(pool.first)).saturating_add(1)
}

/// FNV-1a: spreads, and is the same after a restart.  Who invents DUIDs that meet only shifts his own address.
fn spread(turn: u8, bytes: impl Iterator<Item = u8>) -> u64 {
    std::iter::once(turn).chain(bytes).fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

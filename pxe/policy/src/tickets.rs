//! Boot tickets: minted into a boot URL, spent once by the agent that was booted with it.
//!
//! A ticket belongs to one MAC.  The same ticket is named again while firmware repeats itself (OFFER, ACK, retries),
//! for [`REUSE`]; it is accepted for [`LIFE`].  Redeeming twice with the same boot nonce is one redemption whose
//! answer got lost; with another nonce it is somebody else's boot.
//!
//! A ticket is *idle* until its machine came back for more: an ACK, a download.  Idle tickets of strangers make room for
//! others, the oldest first, so that invented MACs can fill the book but not close it.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::{Digest, Mac, Now, Seconds, Ticket};

/// How long one ticket is named again to the same MAC.  A firmware's whole round of boot attempts (PXE and HTTP over
/// both IP versions, about 4 min unanswered) fits twice.
const REUSE: Seconds = Seconds(600);

/// How long a ticket is accepted: handed out at the last moment of [`REUSE`], it still leaves 20 min for a slow
/// download and a long POST.
const LIFE: Seconds = Seconds(1800);

/// A ticket as issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issued {
    /// The ticket.
    pub ticket: Ticket,
    /// Whom it was issued to.
    pub mac: Mac,
    /// When.
    pub minted: Now,
}

/// A ticket that was spent, by whom and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redeemed {
    /// The ticket as it was issued.
    pub issued: Issued,
    /// The boot that spent it.
    pub boot_nonce: Digest,
    /// When.
    pub at: Now,
}

/// Why a ticket was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketRefusal {
    /// Never issued, or long replaced.
    #[error("boot ticket {ticket} was never issued here, or a newer one replaced it: boot the machine again")]
    Unknown {
        /// The ticket shown.
        ticket: Ticket,
    },
    /// Another boot spent it already.
    #[error("boot ticket {ticket} was already spent by another boot of {issued_to}: boot the machine again")]
    Spent {
        /// The ticket shown.
        ticket: Ticket,
        /// Whom it was issued to.
        issued_to: Mac,
    },
    /// Too old.
    #[error("boot ticket {ticket} of {issued_to} is {age} s old, {max} s is the limit: boot the machine again", age = age.0, max = LIFE.0)]
    Expired {
        /// The ticket shown.
        ticket: Ticket,
        /// Whom it was issued to.
        issued_to: Mac,
        /// Its age.
        age: Seconds,
    },
    /// The machine that shows it does not have the port it was issued to.
    #[error("boot ticket {ticket} was issued to {issued_to}, which the machine showing it does not have")]
    OtherMachine {
        /// The ticket shown.
        ticket: Ticket,
        /// Whom it was issued to.
        issued_to: Mac,
    },
}

/// There is no room for another machine's ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{max} machines hold boot tickets, which is the limit; old tickets free their place after 30 minutes"
)]
pub struct TicketsFull {
    /// The limit.
    pub max: usize,
}

/// One machine's tickets: at most one that can be spent and one that was.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    open: Option<Open>,
    spent: Option<Redeemed>,
}

/// A ticket that can be spent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) issued: Issued,
    /// Whether the journal has it.
    written: bool,
    /// Whether a file that starts our agent was fetched under it in full.
    pub(crate) fetched: bool,
    /// Whether it was handed to an agent by DHCP.
    pub(crate) told: bool,
}

/// All tickets.
#[derive(Debug)]
pub struct TicketBook {
    slots: BTreeMap<Mac, Slot>,
    by_ticket: BTreeMap<Ticket, Mac>,
    /// Idle tickets of strangers.
    idle: BTreeSet<(Now, Mac)>,
    max: usize,
}

impl TicketBook {
    /// An empty book for at most `max` machines.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { slots: BTreeMap::new(), by_ticket: BTreeMap::new(), idle: BTreeSet::new(), max }
    }

    /// The ticket for `mac`: its present one, or `fresh` (16 random bytes) if that is spent, old or missing.  A
    /// stranger's ticket (`known` is false) may have to make room for another's until [`TicketBook::confirm`].
    ///
    /// # Errors
    /// When the book is full of tickets that may not make room.
    pub fn mint(&mut self, mac: Mac, known: bool, fresh: Ticket, now: Now) -> Result<Issued, TicketsFull> {
        if let Some(open) = self.slots.get(&mac).and_then(|slot| slot.open)
            && now.since(open.issued.minted) < REUSE
        {
            return Ok(open.issued);
        }
        if !self.slots.contains_key(&mac) && self.slots.len() >= self.max {
            match self.idle.first().copied() {
                Some((_, oldest)) => self.forget(oldest),
                None => self.sweep(now),
            }
            if self.slots.len() >= self.max {
                return Err(TicketsFull { max: self.max });
            }
        }
        let issued = Issued { ticket: fresh, mac, minted: now };
        self.put(Open { issued, written: false, fetched: false, told: false });
        if !known {
            self.idle.insert((now, mac));
        }
        Ok(issued)
    }

    /// The machine came back for more: its ticket stays from now on.  Says what the journal has to have.
    pub fn confirm(&mut self, mac: Mac) -> Option<Issued> {
        let open = self.slots.get_mut(&mac)?.open.as_mut()?;
        self.idle.remove(&(open.issued.minted, mac));
        let fresh = !open.written;
        open.written = true;
        fresh.then_some(open.issued)
    }

    /// A file that starts our agent went out in full under this ticket.  Says whether that is news.
    pub fn fetched(&mut self, ticket: Ticket) -> bool {
        let slot = self.by_ticket.get(&ticket).and_then(|mac| self.slots.get_mut(mac));
        let open = slot.and_then(|slot| slot.open.as_mut()).filter(|open| open.issued.ticket == ticket);
        open.is_some_and(|open| !std::mem::replace(&mut open.fetched, true))
    }

    /// The ticket for the agent of `mac`, which has no boot URL in its log: the open one, if what starts an agent was
    /// fetched under it.  Says whether it is told for the first time, which the journal has to have.
    pub fn for_agent(&mut self, mac: Mac, now: Now) -> Option<(Ticket, bool)> {
        let open = self.slots.get_mut(&mac)?.open.as_mut().filter(|open| open.fetched)?;
        let good = now.since(open.issued.minted) <= LIFE;
        good.then(|| (open.issued.ticket, !std::mem::replace(&mut open.told, true)))
    }

    /// The open ticket of `mac`, of whatever age.
    #[must_use]
    pub fn present(&self, mac: Mac) -> Option<Ticket> {
        Some(self.slots.get(&mac)?.open?.issued.ticket)
    }

    /// Whether an open ticket was handed out by [`TicketBook::for_agent`].
    #[must_use]
    pub fn told(&self, ticket: Ticket) -> bool {
        let slot = self.by_ticket.get(&ticket).and_then(|mac| self.slots.get(mac));
        slot.and_then(|slot| slot.open).is_some_and(|open| open.issued.ticket == ticket && open.told)
    }

    /// Whom an unspent, unexpired ticket belongs to: the question of the HTTP server.
    #[must_use]
    pub fn open(&self, ticket: Ticket, now: Now) -> Option<Mac> {
        let open = self.slots.get(self.by_ticket.get(&ticket)?)?.open?.issued;
        (open.ticket == ticket && now.since(open.minted) <= LIFE).then_some(open.mac)
    }

    /// Spends `ticket` for the boot `boot_nonce` of a machine that has the ports `macs`.
    ///
    /// # Errors
    /// See [`TicketRefusal`].  Nothing changes then: a stranger cannot use up another machine's ticket.
    pub fn redeem(
        &mut self,
        ticket: Ticket,
        macs: &[Mac],
        boot_nonce: Digest,
        now: Now,
    ) -> Result<(Redeemed, bool), TicketRefusal> {
        let unknown = TicketRefusal::Unknown { ticket };
        let Some(slot) = self.by_ticket.get(&ticket).and_then(|mac| self.slots.get(mac)).copied() else {
            return Err(unknown);
        };
        let ours = |issued: Issued| {
            if macs.contains(&issued.mac) {
                Ok(issued.mac)
            } else {
                Err(TicketRefusal::OtherMachine { ticket, issued_to: issued.mac })
            }
        };
        if let Some(spent) = slot.spent.filter(|spent| spent.issued.ticket == ticket) {
            let issued_to = ours(spent.issued)?;
            if spent.boot_nonce == boot_nonce {
                return Ok((spent, false));
            }
            return Err(TicketRefusal::Spent { ticket, issued_to });
        }
        let Some(issued) = slot.open.map(|open| open.issued).filter(|open| open.ticket == ticket) else {
            return Err(unknown);
        };
        let issued_to = ours(issued)?;
        let age = now.since(issued.minted);
        if age > LIFE {
            return Err(TicketRefusal::Expired { ticket, issued_to, age });
        }
        let redeemed = Redeemed { issued, boot_nonce, at: now };
        self.put_spent(redeemed);
        Ok((redeemed, true))
    }

    /// Forgets a machine's tickets: its address went to somebody else.
    pub fn forget(&mut self, mac: Mac) {
        if let Some(slot) = self.slots.remove(&mac) {
            self.drop_open(slot.open);
            self.unlink(slot.spent.map(|spent| spent.issued.ticket));
        }
    }

    /// Restores an issued ticket from the journal.
    pub fn put_open(&mut self, issued: Issued) {
        self.put(Open { issued, written: true, fetched: false, told: false });
    }

    /// Restores from the journal that an open ticket was handed to an agent by DHCP.
    pub fn put_told(&mut self, ticket: Ticket) {
        let slot = self.by_ticket.get(&ticket).and_then(|mac| self.slots.get_mut(mac));
        let open = slot.and_then(|slot| slot.open.as_mut()).filter(|open| open.issued.ticket == ticket);
        open.into_iter().for_each(|open| open.told = true);
    }

    /// Restores a redemption from the journal.
    pub fn put_spent(&mut self, redeemed: Redeemed) {
        let issued = redeemed.issued;
        let slot = self.slots.entry(issued.mac).or_default();
        let replaced = slot.spent.replace(redeemed).map(|old| old.issued.ticket);
        let open = slot.open.take_if(|open| open.issued.ticket == issued.ticket);
        self.unlink(replaced);
        self.drop_open(open);
        self.by_ticket.insert(issued.ticket, issued.mac);
    }

    /// Everything in the book that the journal has: per machine the spent ticket and the open one.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Option<Redeemed>, Option<Open>)> {
        self.slots.values().map(|slot| (slot.spent, slot.open.filter(|open| open.written)))
    }

    fn put(&mut self, open: Open) {
        let slot = self.slots.entry(open.issued.mac).or_default();
        let old = slot.open.replace(open);
        self.drop_open(old);
        self.by_ticket.insert(open.issued.ticket, open.issued.mac);
    }

    fn drop_open(&mut self, open: Option<Open>) {
        if let Some(open) = open {
            self.idle.remove(&(open.issued.minted, open.issued.mac));
            self.unlink(Some(open.issued.ticket));
        }
    }

    fn unlink(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.by_ticket.remove(&ticket);
        }
    }

    /// Drops machines whose only ticket was never spent and can no longer be: they never came up.  A machine that
    /// did come up keeps its place, so that its agent can say hello again.
    fn sweep(&mut self, now: Now) {
        let dead = |slot: &Slot| {
            slot.spent.is_none() && slot.open.is_none_or(|open| now.since(open.issued.minted) > LIFE)
        };
        let gone: Vec<Mac> = self.slots.iter().filter(|(_, slot)| dead(slot)).map(|(mac, _)| *mac).collect();
        for mac in gone {
            self.forget(mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const T1: Ticket = Ticket([1; 16]);
    const T2: Ticket = Ticket([2; 16]);
    const BOOT1: Digest = Digest([11; 32]);
    const BOOT2: Digest = Digest([12; 32]);

    fn at(seconds: u64) -> Now {
        Now(1_000_000).after(Seconds(seconds))
    }

    fn book() -> TicketBook {
        let mut book = TicketBook::new(4);
        assert_eq!(book.mint(A, true, T1, at(0)).unwrap().ticket, T1);
        book
    }

    #[test]
    fn one_boot_keeps_one_ticket() {
        let mut book = book();
        assert_eq!(
            book.mint(A, true, T2, at(599)).unwrap().ticket,
            T1,
            "repeated offers name the same ticket"
        );
        assert_eq!(book.mint(A, true, T2, at(600)).unwrap().ticket, T2, "an old one is replaced");
        assert_eq!(book.open(T1, at(600)), None);
        assert_eq!(book.open(T2, at(600)), Some(A));
    }

    #[test]
    fn a_spent_ticket_is_replaced_at_the_next_boot() {
        let mut book = book();
        book.redeem(T1, &[A], BOOT1, at(30)).unwrap();
        assert_eq!(book.open(T1, at(31)), None);
        assert_eq!(book.mint(A, true, T2, at(60)).unwrap().ticket, T2);
        let again = book.redeem(T1, &[A], BOOT1, at(70)).unwrap();
        assert_eq!((again.0.issued.mac, again.1), (A, false), "the old agent may still repeat its hello");
        book.redeem(T2, &[A], BOOT2, at(90)).unwrap();
        assert_eq!(book.redeem(T1, &[A], BOOT1, at(91)).unwrap_err(), TicketRefusal::Unknown { ticket: T1 });
    }

    #[test]
    fn table_of_redemptions() {
        let refused = |seconds, macs: &[Mac], boot| book().redeem(T1, macs, boot, at(seconds)).unwrap_err();
        assert_eq!(refused(5, &[B], BOOT1), TicketRefusal::OtherMachine { ticket: T1, issued_to: A });
        assert_eq!(refused(5, &[], BOOT1), TicketRefusal::OtherMachine { ticket: T1, issued_to: A });
        assert_eq!(
            refused(1801, &[A], BOOT1),
            TicketRefusal::Expired { ticket: T1, issued_to: A, age: Seconds(1801) }
        );
        let mut book = book();
        assert_eq!(book.redeem(T2, &[A], BOOT1, at(5)).unwrap_err(), TicketRefusal::Unknown { ticket: T2 });
        assert!(book.redeem(T1, &[B, A], BOOT1, at(5)).unwrap().1);
        assert!(!book.redeem(T1, &[A], BOOT1, at(9999)).unwrap().1, "the same boot is the same redemption");
        assert_eq!(
            book.redeem(T1, &[A], BOOT2, at(6)).unwrap_err(),
            TicketRefusal::Spent { ticket: T1, issued_to: A }
        );
        assert_eq!(
            book.redeem(T1, &[B], BOOT1, at(6)).unwrap_err(),
            TicketRefusal::OtherMachine { ticket: T1, issued_to: A }
        );
    }

    #[test]
    fn a_flood_neither_grows_the_book_nor_closes_it() {
        let mut book = book();
        book.redeem(T1, &[A], BOOT1, at(1)).unwrap();
        let stranger = |round: u8| Mac([2, 9, 9, 9, 9, round]);
        for round in 0..50u8 {
            book.mint(stranger(round), false, Ticket([100 + round; 16]), at(2)).unwrap();
            if round < 2 {
                assert!(book.confirm(stranger(round)).is_some());
                assert!(book.confirm(stranger(round)).is_none(), "written once");
            }
        }
        assert_eq!((book.slots.len(), book.by_ticket.len(), book.idle.len()), (4, 4, 1));
        assert!(book.open(Ticket([100; 16]), at(3)).is_some(), "whoever came back stays");
        assert!(!book.redeem(T1, &[A], BOOT1, at(3)).unwrap().1, "the known host is still there");
        book.mint(B, true, T2, at(4)).unwrap();
        assert!(book.idle.is_empty());
        let refused = book.mint(stranger(60), false, Ticket([9; 16]), at(5));
        assert_eq!(refused, Err(TicketsFull { max: 4 }), "all that are left came back or are known");
        assert!(
            book.mint(stranger(60), false, Ticket([9; 16]), at(2000)).is_ok(),
            "dead ones free their place"
        );
    }

    #[test]
    fn an_agent_without_a_url_gets_the_ticket_its_image_was_fetched_under() {
        let mut book = book();
        assert_eq!(book.for_agent(A, at(1)), None);
        assert!(book.fetched(T1) && !book.fetched(T1) && !book.fetched(T2));
        assert!(!book.told(T1));
        assert_eq!(book.for_agent(A, at(2)), Some((T1, true)));
        assert_eq!(book.for_agent(A, at(2)), Some((T1, false)), "written once");
        assert!(book.told(T1));
        assert_eq!(book.for_agent(B, at(2)), None);
        assert_eq!(book.for_agent(A, at(1801)), None);
        book.redeem(T1, &[A], BOOT1, at(3)).unwrap();
        assert_eq!(book.for_agent(A, at(4)), None);
        book.mint(A, true, T2, at(5)).unwrap();
        assert_eq!(book.for_agent(A, at(6)), None, "a new ticket starts without");
    }
}

//! Boot tickets: minted into a boot URL, spent once by the agent that was booted with it.
//!
//! A ticket belongs to one MAC.  The same ticket is named again while firmware repeats itself (OFFER, ACK, retries),
//! for [`REUSE`]; it is accepted for [`LIFE`].  Redeeming twice with the same boot nonce is one redemption whose
//! answer got lost; with another nonce it is somebody else's boot.

use std::collections::BTreeMap;

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
    open: Option<Issued>,
    spent: Option<Redeemed>,
}

/// All tickets.
#[derive(Debug)]
pub struct TicketBook {
    slots: BTreeMap<Mac, Slot>,
    by_ticket: BTreeMap<Ticket, Mac>,
    max: usize,
}

impl TicketBook {
    /// An empty book for at most `max` machines.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { slots: BTreeMap::new(), by_ticket: BTreeMap::new(), max }
    }

    /// The ticket for `mac`: its present one, or `fresh` (16 random bytes) if that is spent, old or missing.
    ///
    /// # Errors
    /// When the book is full of other machines' tickets.
    pub fn mint(&mut self, mac: Mac, fresh: Ticket, now: Now) -> Result<(Issued, bool), TicketsFull> {
        if let Some(open) = self.slots.get(&mac).and_then(|slot| slot.open)
            && now.since(open.minted) < REUSE
        {
            return Ok((open, false));
        }
        if !self.slots.contains_key(&mac) && self.slots.len() >= self.max {
            self.sweep(now);
            if self.slots.len() >= self.max {
                return Err(TicketsFull { max: self.max });
            }
        }
        let issued = Issued { ticket: fresh, mac, minted: now };
        self.put_open(issued);
        Ok((issued, true))
    }

    /// Whom an unspent, unexpired ticket belongs to: the question of the HTTP server.
    #[must_use]
    pub fn open(&self, ticket: Ticket, now: Now) -> Option<Mac> {
        let open = self.slots.get(self.by_ticket.get(&ticket)?)?.open?;
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
        let Some(issued) = slot.open.filter(|open| open.ticket == ticket) else { return Err(unknown) };
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
            self.unlink(slot.open.map(|open| open.ticket));
            self.unlink(slot.spent.map(|spent| spent.issued.ticket));
        }
    }

    /// Restores an issued ticket from the journal.
    pub fn put_open(&mut self, issued: Issued) {
        let slot = self.slots.entry(issued.mac).or_default();
        let old = slot.open.replace(issued);
        self.unlink(old.map(|old| old.ticket));
        self.by_ticket.insert(issued.ticket, issued.mac);
    }

    /// Restores a redemption from the journal.
    pub fn put_spent(&mut self, redeemed: Redeemed) {
        let issued = redeemed.issued;
        let slot = self.slots.entry(issued.mac).or_default();
        let replaced = slot.spent.replace(redeemed).map(|old| old.issued.ticket);
        if slot.open.is_some_and(|open| open.ticket == issued.ticket) {
            slot.open = None;
        }
        self.unlink(replaced);
        self.by_ticket.insert(issued.ticket, issued.mac);
    }

    /// Everything in the book, for the journal's compaction.
    pub fn entries(&self) -> impl Iterator<Item = (Option<Redeemed>, Option<Issued>)> {
        self.slots.values().map(|slot| (slot.spent, slot.open))
    }

    fn unlink(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.by_ticket.remove(&ticket);
        }
    }

    /// Drops machines whose only ticket was never spent and can no longer be: they never came up.  A machine that
    /// did come up keeps its place, so that its agent can say hello again.
    fn sweep(&mut self, now: Now) {
        let dead =
            |slot: &Slot| slot.spent.is_none() && slot.open.is_none_or(|open| now.since(open.minted) > LIFE);
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
        assert_eq!(book.mint(A, T1, at(0)).unwrap().0.ticket, T1);
        book
    }

    #[test]
    fn one_boot_keeps_one_ticket() {
        let mut book = book();
        assert_eq!(book.mint(A, T2, at(599)).unwrap().0.ticket, T1, "repeated offers name the same ticket");
        assert_eq!(book.mint(A, T2, at(600)).unwrap().0.ticket, T2, "an old one is replaced");
        assert_eq!(book.open(T1, at(600)), None);
        assert_eq!(book.open(T2, at(600)), Some(A));
    }

    #[test]
    fn a_spent_ticket_is_replaced_at_the_next_boot() {
        let mut book = book();
        book.redeem(T1, &[A], BOOT1, at(30)).unwrap();
        assert_eq!(book.open(T1, at(31)), None);
        assert_eq!(book.mint(A, T2, at(60)).unwrap().0.ticket, T2);
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
    fn a_flood_neither_grows_the_book_nor_evicts() {
        let mut book = book();
        book.redeem(T1, &[A], BOOT1, at(1)).unwrap();
        for round in 0..50u8 {
            let mac = Mac([2, 9, 9, 9, 9, round]);
            let minted = book.mint(mac, Ticket([100 + round; 16]), at(2));
            assert_eq!(minted.is_ok(), round < 3, "{round}");
        }
        assert_eq!(book.slots.len(), 4);
        assert_eq!(book.by_ticket.len(), 4);
        assert!(!book.redeem(T1, &[A], BOOT1, at(3)).unwrap().1, "the known host is still there");
        assert!(book.mint(B, T2, at(2000)).is_ok(), "tickets that were never used free their place");
        assert_eq!(book.by_ticket.len(), book.slots.len());
    }
}

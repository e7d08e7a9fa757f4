//! One line of the journal.  Its form is pinned by a test: sites have such files.

use std::net::Ipv4Addr;

use appliance_model::{Digest, Mac, Now, Ticket};
use pxe_policy::{Change, Issued, Lease, LeaseState, Redeemed, Stance};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Record {
    Lease { mac: Mac, address: Ipv4Addr, until: Now, state: StateRecord },
    Gone { mac: Mac },
    Declined { address: Ipv4Addr, until: Now },
    Ticket { ticket: Ticket, mac: Mac, minted: Now },
    Spent { ticket: Ticket, mac: Mac, minted: Now, boot_nonce: Digest, at: Now },
    Stance { mac: Mac, stance: StanceRecord },
    Fetched { ticket: Ticket },
    Server { address: Ipv4Addr },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StateRecord {
    Offered,
    Bound,
    Released,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StanceRecord {
    Stranger,
    Discover,
    LocalDisk,
    Ignore,
}

impl From<Change> for Record {
    fn from(change: Change) -> Self {
        match change {
            Change::Lease(Lease { mac, address, until, state }) => Self::Lease {
                mac,
                address,
                until,
                state: match state {
                    LeaseState::Offered => StateRecord::Offered,
                    LeaseState::Bound => StateRecord::Bound,
                    LeaseState::Released => StateRecord::Released,
                },
            },
            Change::Gone(mac) => Self::Gone { mac },
            Change::Declined(address, until) => Self::Declined { address, until },
            Change::Ticket(Issued { ticket, mac, minted }) => Self::Ticket { ticket, mac, minted },
            Change::Spent(Redeemed { issued: Issued { ticket, mac, minted }, boot_nonce, at }) => {
                Self::Spent { ticket, mac, minted, boot_nonce, at }
            }
            Change::Fetched(ticket) => Self::Fetched { ticket },
            Change::Server(address) => Self::Server { address },
            Change::Stance(mac, stance) => Self::Stance {
                mac,
                stance: match stance {
                    Stance::Stranger => StanceRecord::Stranger,
                    Stance::Discover => StanceRecord::Discover,
                    Stance::LocalDisk => StanceRecord::LocalDisk,
                    Stance::Ignore => StanceRecord::Ignore,
                },
            },
        }
    }
}

impl From<Record> for Change {
    fn from(record: Record) -> Self {
        match record {
            Record::Lease { mac, address, until, state } => {
                let state = match state {
                    StateRecord::Offered => LeaseState::Offered,
                    StateRecord::Bound => LeaseState::Bound,
                    StateRecord::Released => LeaseState::Released,
                };
                Self::Lease(Lease { mac, address, until, state })
            }
            Record::Gone { mac } => Self::Gone(mac),
            Record::Declined { address, until } => Self::Declined(address, until),
            Record::Ticket { ticket, mac, minted } => Self::Ticket(Issued { ticket, mac, minted }),
            Record::Spent { ticket, mac, minted, boot_nonce, at } => {
                Self::Spent(Redeemed { issued: Issued { ticket, mac, minted }, boot_nonce, at })
            }
            Record::Fetched { ticket } => Self::Fetched(ticket),
            Record::Server { address } => Self::Server(address),
            Record::Stance { mac, stance } => Self::Stance(
                mac,
                match stance {
                    StanceRecord::Stranger => Stance::Stranger,
                    StanceRecord::Discover => Stance::Discover,
                    StanceRecord::LocalDisk => Stance::LocalDisk,
                    StanceRecord::Ignore => Stance::Ignore,
                },
            ),
        }
    }
}

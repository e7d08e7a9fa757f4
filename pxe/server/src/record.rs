//! One line of the journal.  Its form is pinned by a test: sites have such files.

use std::net::{Ipv4Addr, Ipv6Addr};

use appliance_model::{Digest, Mac, Now, Ticket};
use pxe_policy::{Change, Issued, Lease, Lease6, LeaseState, Redeemed, Stance};
use pxe_wire::dhcp6::Duid;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    Told { ticket: Ticket },
    Server { address: Ipv4Addr },
    Lease6 { duid: DuidRecord, iaid: u32, mac: Mac, address: Ipv6Addr, until: Now, state: StateRecord },
    Declined6 { address: Ipv6Addr, until: Now },
    Server6 { duid: DuidRecord },
}

/// Hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DuidRecord(Duid);

impl Serialize for DuidRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DuidRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
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
            Change::Lease(Lease { mac, address, until, state }) => {
                Self::Lease { mac, address, until, state: state.into() }
            }
            Change::Gone(mac) => Self::Gone { mac },
            Change::Declined(address, until) => Self::Declined { address, until },
            Change::Ticket(Issued { ticket, mac, minted }) => Self::Ticket { ticket, mac, minted },
            Change::Spent(Redeemed { issued: Issued { ticket, mac, minted }, boot_nonce, at }) => {
                Self::Spent { ticket, mac, minted, boot_nonce, at }
            }
            Change::Fetched(ticket) => Self::Fetched { ticket },
            Change::Told(ticket) => Self::Told { ticket },
            Change::Server(address) => Self::Server { address },
            Change::Lease6(Lease6 { duid, iaid, mac, address, until, state }) => {
                let state = state.into();
                Self::Lease6 { duid: DuidRecord(duid), iaid, mac, address, until, state }
            }
            Change::Declined6(address, until) => Self::Declined6 { address, until },
            Change::Server6(duid) => Self::Server6 { duid: DuidRecord(duid) },
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
                let state = state.into();
                Self::Lease(Lease { mac, address, until, state })
            }
            Record::Gone { mac } => Self::Gone(mac),
            Record::Declined { address, until } => Self::Declined(address, until),
            Record::Ticket { ticket, mac, minted } => Self::Ticket(Issued { ticket, mac, minted }),
            Record::Spent { ticket, mac, minted, boot_nonce, at } => {
                Self::Spent(Redeemed { issued: Issued { ticket, mac, minted }, boot_nonce, at })
            }
            Record::Fetched { ticket } => Self::Fetched(ticket),
            Record::Told { ticket } => Self::Told(ticket),
            Record::Server { address } => Self::Server(address),
            Record::Lease6 { duid, iaid, mac, address, until, state } => {
                let state = state.into();
                Self::Lease6(Lease6 { duid: duid.0, iaid, mac, address, until, state })
            }
            Record::Declined6 { address, until } => Self::Declined6(address, until),
            Record::Server6 { duid } => Self::Server6(duid.0),
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

impl From<LeaseState> for StateRecord {
    fn from(state: LeaseState) -> Self {
        match state {
            LeaseState::Offered => Self::Offered,
            LeaseState::Bound => Self::Bound,
            LeaseState::Released => Self::Released,
        }
    }
}

impl From<StateRecord> for LeaseState {
    fn from(state: StateRecord) -> Self {
        match state {
            StateRecord::Offered => Self::Offered,
            StateRecord::Bound => Self::Bound,
            StateRecord::Released => Self::Released,
        }
    }
}

/// If one of these fails, change your code, not the test: sites have such files.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_ipv6_is_pinned() {
        let duid = Duid::new(&[0, 3, 0, 1, 2, 0, 0, 0, 0, 1]).unwrap();
        let lease = Lease6 {
            duid,
            iaid: 7,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            address: "fd77::12".parse().unwrap(),
            until: Now(9),
            state: LeaseState::Bound,
        };
        let rows = [
            (
                Change::Lease6(lease),
                r#"{"lease6":{"duid":"00030001020000000001","iaid":7,"mac":"02:00:00:00:00:01","address":"fd77::12","until":9,"state":"bound"}}"#,
            ),
            (
                Change::Declined6("fd77::13".parse().unwrap(), Now(99)),
                r#"{"declined6":{"address":"fd77::13","until":99}}"#,
            ),
            (
                Change::Server6(Duid::of_uuid([0xab; 16])),
                r#"{"server6":{"duid":"0004abababababababababababababababab"}}"#,
            ),
        ];
        for (change, text) in rows {
            assert_eq!(serde_json::to_string(&Record::from(change)).unwrap(), text);
            assert_eq!(Change::from(serde_json::from_str::<Record>(text).unwrap()), change);
        }
        assert!(serde_json::from_str::<Record>(r#"{"server6":{"duid":"zz"}}"#).is_err());
    }
}

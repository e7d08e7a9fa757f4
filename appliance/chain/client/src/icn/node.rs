//! A ScalerNode as ICN's registry answers it, in either of the two layouts that are known.
//!
//! The layouts differ by a field in the middle, so that the wrong one reads plausible nonsense.  Which one it is can be
//! told from the answer itself: the place of the first text is the size of the head.  Anything else is refused.

use alloy::{primitives::U256, sol_types::SolValue as _};
use appliance_model::{Address, Icnt, Seconds};
use serde::{Deserialize, Serialize};

use super::abi::{Booked, NodeWithBookings, NodeWithoutBookings};

/// Bytes of a word of the ABI.
const WORD: usize = 32;
/// Size of the head of [`NodeWithBookings`]: 21 words and two bookings of three.
const HEAD_WITH_BOOKINGS: u64 = 27 * 32;
/// Size of the head of [`NodeWithoutBookings`].
const HEAD_WITHOUT_BOOKINGS: u64 = 21 * 32;
/// A node is under 2 KiB; nothing near this is one.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Texts of a node on screens: the name has 30 bytes at most, ids are shorter.
const TEXT_CHARS_MAX: usize = 64;

/// The registry's own word on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Registration {
    /// There is none.
    None,
    /// Registered; the network's verifier has not looked yet.
    Registered,
    /// The verifier took it and gave it a daemon's address.
    Validated,
    /// The verifier refused it.
    Rejected,
    /// A value that is not known here.
    Other(u8),
}

/// The protocol's word on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// There is none.
    None,
    /// Registered, not in service.
    Registered,
    /// In service.
    Active,
    /// Booked by a service provider.
    Booked,
    /// Out of service for good.
    Offboarded,
    /// A value that is not known here.
    Other(u8),
}

impl Registration {
    fn of(number: U256) -> Self {
        match u8::try_from(number).unwrap_or(u8::MAX) {
            0 => Self::None,
            1 => Self::Registered,
            2 => Self::Validated,
            3 => Self::Rejected,
            other => Self::Other(other),
        }
    }
}

impl Standing {
    pub(super) fn of(number: U256) -> Self {
        match u8::try_from(number).unwrap_or(u8::MAX) {
            0 => Self::None,
            1 => Self::Registered,
            2 => Self::Active,
            3 => Self::Booked,
            4 => Self::Offboarded,
            other => Self::Other(other),
        }
    }
}

/// A booking of a whole node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// Price, without the network's margin.
    pub price: Icnt,
    /// Unix seconds.
    pub start_unix: u64,
    /// How long.
    pub period: Seconds,
}

/// A node of ICN's registry.  Numbers above 64 (amounts: 128) bits read as the most that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// ICN's number of the node.
    pub id: u64,
    /// The registry's word.
    pub registration: Registration,
    /// The protocol's word.
    pub standing: Standing,
    /// Its name.
    pub name: String,
    /// ICN's number of the hardware provider.
    pub hp_id: u64,
    /// Cluster that it was put into.
    pub cluster: String,
    /// Hardware class.
    pub class: String,
    /// In the class's own measure.
    pub capacity: u64,
    /// Of that, booked.
    pub utilized: u64,
    /// See [`super::country`].
    pub location: u8,
    /// Price below which it is not booked.
    pub reservation_price: Icnt,
    /// Fixed point: 10¹⁸ is all.
    pub reward_share_parts: u64,
    /// The provider's own collateral.
    pub collateral: Icnt,
    /// What delegators have put up.
    pub delegated: Icnt,
    /// Unix seconds.
    pub committed_from_unix: u64,
    /// Commitment.
    pub commitment: Seconds,
    /// The key of its daemon, once the verifier has set it.
    pub daemon: Option<Address>,
    /// The present booking and the one after it, as far as this version tells.
    pub bookings: Vec<Booking>,
    /// ICN's number of the service provider who booked it; 0 is nobody.
    pub sp_id: u64,
}

impl Node {
    /// Where the node stands and who has to do what, for people: the pair of both words.
    #[must_use]
    pub fn words(&self) -> String {
        use {Registration as R, Standing as S};
        let booked = || format!("booked by service provider {}", self.sp_id);
        match (self.registration, self.standing) {
            (_, S::Offboarded) => "offboarded: out of service, its collateral is free".into(),
            (R::None, _) => "not registered".into(),
            (R::Rejected, _) => {
                "rejected by ICN's verifier: ask ICN for its reason; the collateral is held".into()
            }
            (R::Registered, S::None | S::Registered) => {
                "registered: ICN's verifier looks at it next; nobody can delegate before that".into()
            }
            (R::Validated, S::None | S::Registered) => {
                "validated: not active yet; collateral that is missing may be delegated now".into()
            }
            (R::Validated, S::Active) => "active: can be booked".into(),
            (R::Validated, S::Booked) => booked(),
            (R::Registered, S::Active | S::Booked) => {
                "registry and protocol disagree: not validated, yet in service; ask ICN".into()
            }
            (R::Other(number), _) => format!("of a registration status {number} that is not known here"),
            (_, S::Other(number)) => format!("of a protocol status {number} that is not known here"),
        }
    }

    /// Reads an answer to `getScalerNode`.
    ///
    /// # Errors
    /// What is wrong with it, where it is of neither layout.
    pub(super) fn read(id: u64, answer: &[u8]) -> Result<Self, String> {
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(format!("a node of {} bytes", answer.len()));
        }
        let broken = |error: alloy::sol_types::Error| format!("a node that does not decode: {error}");
        // Word 0 points to the node; its third word to the name, which is the first thing behind the head.
        match word(answer, 3) {
            Some(HEAD_WITH_BOOKINGS) => NodeWithBookings::abi_decode_validate(answer)
                .map(|node| {
                    let (bookings, sp) = (node.bookings.clone(), node.spId);
                    Self::with(id, without(node), &bookings, sp)
                })
                .map_err(broken)?,
            Some(HEAD_WITHOUT_BOOKINGS) => NodeWithoutBookings::abi_decode_validate(answer)
                .map(|node| {
                    let sp = node.spId;
                    Self::with(id, node, &[], sp)
                })
                .map_err(broken)?,
            head => Err(format!(
                "a node of a layout that is not known here (its first text begins at byte {}, not at 672 or 864): \
                 ICN's interface has changed, and nothing is read from it",
                head.map_or_else(|| "?".into(), |at| at.to_string())
            )),
        }
    }

    fn with(id: u64, found: NodeWithoutBookings, bookings: &[Booked], sp: U256) -> Result<Self, String> {
        let Ok(location) = u8::try_from(found.location) else {
            return Err(format!("a node in country {}", found.location));
        };
        let booking = |booked: &Booked| Booking {
            price: amount(booked.price),
            start_unix: small(booked.start),
            period: Seconds(small(booked.period)),
        };
        Ok(Self {
            id,
            registration: Registration::of(found.status),
            standing: Standing::None,
            name: text(&found.name),
            hp_id: small(found.hpId),
            cluster: text(&found.clusterId),
            class: text(&found.hwClass),
            capacity: small(found.totalCapacity),
            utilized: small(found.utilizedCapacity),
            location,
            reservation_price: amount(found.reservationPrice),
            reward_share_parts: small(found.nodeRewardShare),
            collateral: amount(found.collateralAmount),
            delegated: Icnt(0),
            committed_from_unix: small(found.commitmentStart),
            commitment: Seconds(small(found.commitmentDuration)),
            daemon: (!found.daemonAddress.is_zero()).then(|| Address(found.daemonAddress.into_array())),
            bookings: bookings.iter().filter(|booked| !booked.start.is_zero()).map(booking).collect(),
            sp_id: small(sp),
        })
    }
}

/// The fields that both layouts have.
fn without(node: NodeWithBookings) -> NodeWithoutBookings {
    NodeWithoutBookings {
        status: node.status,
        creationDate: node.creationDate,
        name: node.name,
        totalCapacity: node.totalCapacity,
        utilizedCapacity: node.utilizedCapacity,
        hpId: node.hpId,
        location: node.location,
        clusterId: node.clusterId,
        reservationPrice: node.reservationPrice,
        bookingPrice: node.priceUnused,
        nodeRewardShare: node.nodeRewardShare,
        hwClass: node.hwClass,
        daemonAddress: node.daemonAddress,
        collateralAmount: node.collateralAmount,
        commitmentDuration: node.commitmentDuration,
        commitmentStart: node.commitmentStart,
        spUnused: node.spUnused,
        activationEra: node.activationEra,
        startBookingPeriod: node.startUnused,
        bookingPeriod: node.periodUnused,
        spId: node.spId,
    }
}

/// The word at this place, if it is a small number.
fn word(answer: &[u8], index: usize) -> Option<u64> {
    let bytes = answer.get(index * WORD..(index + 1) * WORD)?;
    u64::try_from(U256::from_be_slice(bytes)).ok()
}

fn text(found: &str) -> String {
    found.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

pub(super) fn amount(number: U256) -> Icnt {
    Icnt(u128::try_from(number).unwrap_or(u128::MAX))
}

pub(super) fn small(number: U256) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeWithoutBookings {
        NodeWithoutBookings {
            status: U256::from(2),
            creationDate: U256::from(1_700_000_000),
            name: "zrh-1-2M47".into(),
            totalCapacity: U256::from(9),
            utilizedCapacity: U256::ZERO,
            hpId: U256::from(42),
            location: U256::from(215),
            clusterId: "eu-west-1".into(),
            reservationPrice: U256::from(5),
            bookingPrice: U256::ZERO,
            nodeRewardShare: U256::from(250),
            hwClass: "storage".into(),
            daemonAddress: [7; 20].into(),
            collateralAmount: U256::from(60),
            commitmentDuration: U256::from(93_312_000),
            commitmentStart: U256::from(1_700_000_001),
            spUnused: [0; 20].into(),
            activationEra: U256::from(12),
            startBookingPeriod: U256::ZERO,
            bookingPeriod: U256::ZERO,
            spId: U256::from(3),
        }
    }

    #[test]
    fn a_node_reads_the_same_in_both_layouts_or_not_at_all() {
        let short = node().abi_encode();
        let read = Node::read(7, &short).unwrap();
        assert_eq!((read.sp_id, read.location, read.hp_id), (3, 215, 42));
        assert_eq!((read.registration, read.daemon), (Registration::Validated, Some(Address([7; 20]))));
        let NodeWithoutBookings { status, creationDate, name, totalCapacity, utilizedCapacity, hpId, .. } =
            node();
        let NodeWithoutBookings { location, clusterId, reservationPrice, nodeRewardShare, hwClass, .. } =
            node();
        let NodeWithoutBookings { daemonAddress, collateralAmount, commitmentDuration, .. } = node();
        let NodeWithoutBookings { commitmentStart, spUnused, activationEra, spId, .. } = node();
        let booked = Booked { price: U256::from(5), start: U256::from(9), period: U256::from(10) };
        let none = Booked { price: U256::ZERO, start: U256::ZERO, period: U256::ZERO };
        let long = NodeWithBookings {
            status,
            creationDate,
            name,
            totalCapacity,
            utilizedCapacity,
            hpId,
            location,
            clusterId,
            reservationPrice,
            priceUnused: U256::ZERO,
            nodeRewardShare,
            hwClass,
            daemonAddress,
            collateralAmount,
            commitmentDuration,
            commitmentStart,
            spUnused,
            activationEra,
            startUnused: U256::ZERO,
            periodUnused: U256::ZERO,
            bookings: [booked, none],
            spId,
        }
        .abi_encode();
        let both = Node::read(7, &long).unwrap();
        let booking = Booking { price: Icnt(5), start_unix: 9, period: Seconds(10) };
        assert_eq!(both.bookings, [booking]);
        assert_eq!(Node { bookings: Vec::new(), ..both }, read);
        // Whatever else comes is refused, and nothing panics.
        for spoilt in [&short, &long] {
            for length in 0..spoilt.len() {
                // A text's last padding may be missing: nothing is lost with it.
                let cut = Node::read(7, &spoilt[..length]);
                assert!(cut.is_err() || cut == Node::read(7, spoilt), "{length}");
            }
            for at in 0..spoilt.len() {
                let mut bytes = spoilt.clone();
                bytes[at] ^= 0xA5;
                let _ = Node::read(7, &bytes);
            }
        }
        let mut drifted = short.clone();
        drifted[4 * WORD - 1] ^= 0x20;
        assert!(Node::read(7, &drifted).unwrap_err().contains("ICN's interface has changed"));
        assert!(Node::read(7, &vec![0; ANSWER_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn each_pair_of_words_is_a_sentence() {
        let mut node = Node::read(7, &node().abi_encode()).unwrap();
        for (registration, standing, words) in [
            (1_u8, 1_u8, "ICN's verifier looks at it next"),
            (2, 1, "may be delegated now"),
            (2, 2, "can be booked"),
            (2, 3, "booked by service provider 3"),
            (3, 1, "rejected by ICN's verifier"),
            (2, 4, "out of service"),
            (1, 3, "disagree"),
            (9, 2, "status 9"),
            (2, 77, "protocol status 77"),
            (0, 0, "not registered"),
        ] {
            node.registration = Registration::of(U256::from(registration));
            node.standing = Standing::of(U256::from(standing));
            assert!(node.words().contains(words), "{registration} {standing}: {}", node.words());
        }
    }
}

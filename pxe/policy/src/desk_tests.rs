//! Transcripts of whole exchanges with the desk.

use std::collections::{BTreeMap, BTreeSet};

use pxe_wire::dhcp4::RelayInfo;

use super::*;
use crate::{Pool, Stock, Subnet, UefiPxe};

const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const T1: Ticket = Ticket([1; 16]);
const T2: Ticket = Ticket([2; 16]);
const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn at(seconds: u64) -> Now {
    Now(1_000_000).after(Seconds(seconds))
}

fn pool() -> Pool {
    Pool {
        first: Ipv4Addr::new(10, 0, 0, 10),
        last: Ipv4Addr::new(10, 0, 0, 17),
        never: BTreeSet::from([US]),
        reservations: BTreeMap::new(),
        lease: Seconds(3600),
    }
}

const DOOR: Door = Door { interface: 0, port: Port::Dhcp };
const BOOT_DOOR: Door = Door { interface: 0, port: Port::BootServer };
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

fn serving(serving: Serving) -> Desk {
    let stock = Stock { x64: true, arm64: true, kernel: true, ..Stock::default() };
    let network = Network {
        interface: 0,
        subnet: Subnet::new(Ipv4Addr::new(10, 0, 0, 0), 24).unwrap(),
        relays: BTreeSet::new(),
        pool: pool(),
    };
    let far = Network {
        subnet: Subnet::new(Ipv4Addr::new(10, 9, 0, 0), 24).unwrap(),
        pool: Pool { first: Ipv4Addr::new(10, 9, 0, 10), last: Ipv4Addr::new(10, 9, 0, 17), ..pool() },
        ..network.clone()
    };
    let site = Site { stock, uefi_pxe: UefiPxe::Uki, ..Site::default() };
    Desk::new(site, vec![Interface { address: US, serving }], vec![network, far])
}

fn desk() -> Desk {
    serving(Serving::All)
}

fn ask(desk: &mut Desk, request: &BootRequest, fresh: Ticket, now: Now) -> Outcome {
    desk.answer(DOOR, request, fresh, now)
}

fn http(kind: Kind) -> BootRequest {
    BootRequest {
        vendor_class: Some("HTTPClient:Arch:00016:UNDI:003001".into()),
        arch: Some(16),
        ..BootRequest::new(kind, A)
    }
}

fn given(outcome: &Outcome) -> &Give {
    match &outcome.reply {
        Reply::Give(give) => give,
        Reply::Refuse { why, .. } => panic!("refused: {why}"),
        Reply::Silence { why, .. } => panic!("silent: {why}"),
    }
}

fn bound(desk: &mut Desk, seconds: u64) -> Ipv4Addr {
    let offer = ask(desk, &http(Kind::Discover), T1, at(seconds));
    let (address, _) = given(&offer).lease.unwrap();
    let request = BootRequest { server: Some(US), requested: Some(address), ..http(Kind::Request) };
    let ack = ask(desk, &request, T2, at(seconds + 1));
    assert_eq!(given(&ack).kind, GiveKind::Ack);
    assert_eq!(given(&ack).file, given(&offer).file, "OFFER and ACK name one ticket");
    address
}

#[test]
fn a_boot_from_discover_to_redemption() {
    let mut desk = desk();
    let address = bound(&mut desk, 0);
    assert_eq!(desk.open_ticket(T1, at(2)), Some(A));
    let agent = BootRequest {
        vendor_class: Some("scalerforge-agent".into()),
        client_id_raw: Some(vec![9; 20]),
        ..BootRequest::new(Kind::Discover, A)
    };
    let outcome = ask(&mut desk, &agent, T2, at(40));
    let give = given(&outcome);
    assert_eq!((give.lease, give.file, give.api), (Some((address, Seconds(3600))), None, true));
    let (mac, change) = desk.redeem(T1, &[A], Digest([7; 32]), at(41)).unwrap();
    assert!(mac == A && change.is_some());
    assert_eq!(desk.open_ticket(T1, at(42)), None);
    let again = ask(&mut desk, &http(Kind::Discover), T2, at(50));
    assert_eq!(
        given(&again).file,
        Some(File::Http(T2, Name::Discovery)),
        "the next boot gets its own ticket"
    );
}

#[test]
fn a_restart_loses_nothing_and_offers_write_nothing() {
    let mut first = desk();
    let mut journal = first.identify();
    for seconds in [0, 4, 8] {
        let outcome = ask(&mut first, &http(Kind::Discover), T1, at(seconds));
        assert!(outcome.changes.is_empty(), "{seconds}: {:?}", outcome.changes);
    }
    let address = first.lease(A).unwrap().address;
    let request = BootRequest { server: Some(US), requested: Some(address), ..http(Kind::Request) };
    let outcome = ask(&mut first, &request, T2, at(9));
    assert_eq!(outcome.changes.len(), 2, "the lease and the ticket that was offered");
    journal.extend(outcome.changes);
    assert_eq!(ask(&mut first, &request, T2, at(9)).changes.len(), 1, "a lease again, the ticket once");
    journal.extend(first.fetched(A, Name::Discovery, 1));
    assert_eq!(first.fetched(A, Name::Discovery, 1), None);
    journal.extend(first.set_stance(A, Stance::Discover).unwrap());
    let mut replayed = desk();
    journal.iter().for_each(|change| replayed.apply(*change));
    let mut compacted = desk();
    replayed.snapshot().iter().for_each(|change| compacted.apply(*change));
    assert_eq!(compacted.snapshot(), first.snapshot());
    let agent = BootRequest { vendor_class: Some("scalerforge-agent".into()), ..http(Kind::Discover) };
    assert_eq!(given(&ask(&mut compacted, &agent, T2, at(10))).ticket, Some(T1));
    journal.extend(first.redeem(T1, &[A], Digest([7; 32]), at(10)).unwrap().1);
    journal.iter().for_each(|change| compacted.apply(*change));
    assert!(matches!(compacted.redeem(T1, &[A], Digest([8; 32]), at(10)), Err(TicketRefusal::Spent { .. })));
    assert!(compacted.redeem(T1, &[A], Digest([7; 32]), at(10)).is_ok());
    assert_eq!(given(&ask(&mut compacted, &agent, T2, at(11))).ticket, None, "spent");
}

#[test]
fn table_of_requests() {
    let other = Ipv4Addr::new(10, 0, 0, 2);
    let far = Ipv4Addr::new(192, 168, 1, 5);
    struct Row(Option<Ipv4Addr>, Option<Ipv4Addr>, Option<Ipv4Addr>, &'static str);
    let rows = [
        Row(Some(US), None, None, "nak"),
        Row(Some(US), Some(far), None, "nak"),
        Row(Some(other), Some(far), None, "silence"),
        Row(None, Some(far), None, "nak"),
        Row(None, None, Some(far), "nak"),
        Row(None, None, None, "nak"),
        Row(None, Some(Ipv4Addr::new(10, 0, 0, 12)), None, "ack"),
        Row(None, None, Some(Ipv4Addr::new(10, 0, 0, 12)), "ack"),
    ];
    for Row(server, requested, current, expected) in rows {
        let request = BootRequest { server, requested, current, ..http(Kind::Request) };
        let got = match ask(&mut desk(), &request, T1, at(0)).reply {
            Reply::Give(_) => "ack",
            Reply::Refuse { .. } => "nak",
            Reply::Silence { .. } => "silence",
        };
        assert_eq!(got, expected, "{request:?}");
    }
}

#[test]
fn release_and_decline_are_heard_but_not_answered() {
    let mut desk = desk();
    let address = bound(&mut desk, 0);
    let stranger =
        BootRequest { current: Some(address), ..BootRequest::new(Kind::Release, Mac([2, 0, 0, 0, 0, 2])) };
    assert!(ask(&mut desk, &stranger, T1, at(5)).changes.is_empty(), "only the holder can release");
    let release = BootRequest { current: Some(address), ..http(Kind::Release) };
    assert_eq!(ask(&mut desk, &release, T1, at(6)).changes.len(), 1);
    assert_eq!(bound(&mut desk, 7), address);
    let decline = BootRequest { requested: Some(address), ..http(Kind::Decline) };
    assert_eq!(ask(&mut desk, &decline, T1, at(9)).changes.len(), 2);
    assert_ne!(bound(&mut desk, 10), address);
}

#[test]
fn inform_gets_options_and_no_address() {
    let outcome = ask(&mut desk(), &http(Kind::Inform), T1, at(0));
    let give = given(&outcome);
    assert_eq!((give.kind, give.lease, give.file, give.api), (GiveKind::Ack, None, None, true));
    assert!(outcome.changes.is_empty());
}

#[test]
fn a_machine_that_loses_its_address_loses_its_ticket() {
    let mut desk = desk();
    bound(&mut desk, 0);
    for n in 100..120u8 {
        let mac = Mac([2, 0, 0, 0, 0, n]);
        let request = BootRequest { mac, ..http(Kind::Discover) };
        let _ = ask(&mut desk, &request, Ticket([n; 16]), at(90_000));
    }
    assert_eq!(desk.lease(A), None);
    assert_eq!(desk.open_ticket(T1, at(90_001)), None);
}

fn pxe(kind: Kind) -> BootRequest {
    BootRequest { vendor_class: Some("PXEClient:Arch:00007:UNDI:003001".into()), arch: Some(7), ..http(kind) }
}

fn quiet(outcome: &Outcome) -> Quiet {
    match &outcome.reply {
        Reply::Silence { quiet, .. } => *quiet,
        Reply::Give(_) | Reply::Refuse { .. } => panic!("answered: {outcome:?}"),
    }
}

#[test]
fn beside_another_server_only_those_who_boot_are_answered_and_without_an_address() {
    let mut desk = serving(Serving::Boot);
    let offer = ask(&mut desk, &pxe(Kind::Discover), T1, at(0));
    let give = given(&offer);
    assert_eq!((give.kind, give.lease, give.network), (GiveKind::Offer, None, None));
    assert_eq!(give.file, Some(File::Tftp(T1, Name::Discovery)));
    assert!(offer.changes.is_empty());
    let rival = Ipv4Addr::new(10, 0, 0, 3);
    let request = BootRequest { server: Some(rival), requested: Some(rival), ..pxe(Kind::Request) };
    assert_eq!(quiet(&ask(&mut desk, &request, T2, at(1))), Quiet::OtherServer(rival));
    let request = BootRequest { current: Some(Ipv4Addr::new(10, 0, 0, 40)), ..pxe(Kind::Request) };
    let ack = desk.answer(BOOT_DOOR, &request, T2, at(2));
    assert_eq!((given(&ack).kind, given(&ack).file), (GiveKind::Ack, Some(File::Tftp(T1, Name::Discovery))));
    assert_eq!(ack.changes.len(), 1, "now the ticket is written");
    let mut other = http(Kind::Discover);
    assert_eq!(given(&ask(&mut desk, &other, T2, at(3))).file, Some(File::Http(T1, Name::Discovery)));
    other.vendor_class = Some("MSFT 5.0".into());
    assert_eq!(quiet(&ask(&mut desk, &other, T2, at(3))), Quiet::Other);
    desk.fetched(A, Name::Discovery, 1);
    let agent = BootRequest { vendor_class: Some("scalerforge-agent".into()), ..http(Kind::Discover) };
    let outcome = ask(&mut desk, &agent, T2, at(4));
    assert_eq!((given(&outcome).lease, given(&outcome).api, given(&outcome).ticket), (None, true, Some(T1)));
    assert_eq!(outcome.changes, [Change::Told(T1)], "on disk before the agent has it");
    let again = ask(&mut desk, &agent, T2, at(4));
    assert_eq!((given(&again).ticket, again.changes.len()), (Some(T1), 0));
    let mut restarted = serving(Serving::Boot);
    desk.snapshot().into_iter().for_each(|change| restarted.apply(change));
    assert!(restarted.told_by_dhcp(T1) && restarted.snapshot() == desk.snapshot());
    assert!(desk.set_serving(0, Serving::Nothing));
    assert_eq!(quiet(&ask(&mut desk, &agent, T2, at(5))), Quiet::Listening);
    assert_eq!(quiet(&desk.answer(BOOT_DOOR, &request, T2, at(5))), Quiet::Listening);
    assert_eq!(desk.leases().count(), 0);
}

#[test]
fn in_reservation_mode_only_the_known_get_addresses() {
    let mut desk = serving(Serving::Known);
    assert_eq!(quiet(&ask(&mut desk, &http(Kind::Discover), T1, at(0))), Quiet::Told);
    desk.set_stance(A, Stance::Discover).unwrap();
    assert!(given(&ask(&mut desk, &http(Kind::Discover), T1, at(0))).lease.is_some());
}

#[test]
fn relays_get_addresses_of_their_link_and_may_name_themselves() {
    let mut desk = desk();
    let far = |kind| BootRequest { relay: Some(RELAY), ..http(kind) };
    let offer = ask(&mut desk, &far(Kind::Discover), T1, at(0));
    let (address, _) = given(&offer).lease.unwrap();
    assert_eq!((address.octets()[1], given(&offer).network), (9, Some(1)));
    let info = RelayInfo { server_override: Some(RELAY), ..RelayInfo::default() };
    let overridden = |kind| BootRequest { relay_info: Some(info.clone()), ..far(kind) };
    assert_eq!(given(&ask(&mut desk, &overridden(Kind::Discover), T1, at(1))).server, RELAY);
    let take = |kind| BootRequest { server: Some(RELAY), requested: Some(address), ..overridden(kind) };
    assert_eq!(given(&ask(&mut desk, &take(Kind::Request), T1, at(2))).lease.unwrap().0, address);
    // Renewing by unicast, past the relay.
    let renew = BootRequest { current: Some(address), ..http(Kind::Request) };
    assert_eq!(given(&ask(&mut desk, &renew, T1, at(3))).lease.unwrap().0, address);
    // The same port on two links: one lease in each, and neither disturbs the other.
    let near = bound(&mut desk, 4);
    assert_ne!(near, address);
    assert_eq!(given(&ask(&mut desk, &renew, T1, at(6))).lease.unwrap().0, address);
    let link = RelayInfo { link: Some(Ipv4Addr::new(10, 0, 0, 0)), ..RelayInfo::default() };
    let selected = BootRequest { relay_info: Some(link), ..far(Kind::Discover) };
    assert_eq!(given(&ask(&mut desk, &selected, T1, at(7))).lease.unwrap().0, near);
    let nowhere = BootRequest { relay: Some(Ipv4Addr::new(172, 16, 0, 1)), ..http(Kind::Discover) };
    assert_eq!(quiet(&ask(&mut desk, &nowhere, T1, at(8))), Quiet::Other);
}

#[test]
fn a_server_that_moved_is_still_known_by_its_old_identifier() {
    let old = Ipv4Addr::new(10, 0, 0, 2);
    let mut desk = desk();
    let take = BootRequest {
        server: Some(old),
        requested: Some(Ipv4Addr::new(10, 0, 0, 12)),
        ..http(Kind::Request)
    };
    assert_eq!(quiet(&ask(&mut desk, &take, T1, at(0))), Quiet::OtherServer(old));
    desk.apply(Change::Server(old));
    assert_eq!(desk.identify(), [Change::Server(US)]);
    assert!(desk.identify().is_empty());
    assert_eq!(given(&ask(&mut desk, &take, T1, at(1))).server, US);
}

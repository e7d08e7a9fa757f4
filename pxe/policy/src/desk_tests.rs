//! Transcripts of whole exchanges with the desk.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

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

fn desk() -> Desk {
    Desk::new(US, Site::default(), pool())
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
        Reply::Refuse { why } => panic!("refused: {why}"),
        Reply::Silence { why } => panic!("silent: {why}"),
    }
}

fn bound(desk: &mut Desk, seconds: u64) -> Ipv4Addr {
    let offer = desk.answer(&http(Kind::Discover), T1, at(seconds));
    let (address, _) = given(&offer).lease.unwrap();
    let request = BootRequest { server: Some(US), requested: Some(address), ..http(Kind::Request) };
    let ack = desk.answer(&request, T2, at(seconds + 1));
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
        client_id: Some(vec![9; 20]),
        ..BootRequest::new(Kind::Discover, A)
    };
    let outcome = desk.answer(&agent, T2, at(40));
    let give = given(&outcome);
    assert_eq!((give.lease, give.file, give.api), (Some((address, Seconds(3600))), None, true));
    let (mac, change) = desk.redeem(T1, &[A], Digest([7; 32]), at(41)).unwrap();
    assert!(mac == A && change.is_some());
    assert_eq!(desk.open_ticket(T1, at(42)), None);
    let again = desk.answer(&http(Kind::Discover), T2, at(50));
    assert_eq!(given(&again).file, Some(File::Http(T2)), "the next boot gets its own ticket");
}

#[test]
fn a_restart_loses_nothing_and_repeated_packets_write_nothing() {
    let mut first = desk();
    let mut journal = Vec::new();
    for (kind, seconds) in [(Kind::Discover, 0), (Kind::Discover, 4), (Kind::Discover, 8)] {
        let outcome = first.answer(&http(kind), T1, at(seconds));
        assert_eq!(outcome.changes.is_empty(), seconds > 0, "{seconds}");
        journal.extend(outcome.changes);
    }
    journal.extend(first.set_stance(A, Stance::Discover).unwrap());
    journal.extend(first.redeem(T1, &[A], Digest([7; 32]), at(9)).unwrap().1);
    let mut replayed = desk();
    journal.iter().for_each(|change| replayed.apply(*change));
    let mut compacted = desk();
    replayed.snapshot().iter().for_each(|change| compacted.apply(*change));
    assert_eq!(compacted.snapshot(), first.snapshot());
    assert!(matches!(compacted.redeem(T1, &[A], Digest([8; 32]), at(10)), Err(TicketRefusal::Spent { .. })));
    assert!(compacted.redeem(T1, &[A], Digest([7; 32]), at(10)).is_ok());
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
        let got = match desk().answer(&request, T1, at(0)).reply {
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
    assert!(desk.answer(&stranger, T1, at(5)).changes.is_empty(), "only the holder can release");
    let release = BootRequest { current: Some(address), ..http(Kind::Release) };
    assert_eq!(desk.answer(&release, T1, at(6)).changes.len(), 1);
    assert_eq!(bound(&mut desk, 7), address);
    let decline = BootRequest { requested: Some(address), ..http(Kind::Decline) };
    assert_eq!(desk.answer(&decline, T1, at(9)).changes.len(), 2);
    assert_ne!(bound(&mut desk, 10), address);
}

#[test]
fn inform_gets_options_and_no_address() {
    let outcome = desk().answer(&http(Kind::Inform), T1, at(0));
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
        let _ = desk.answer(&request, Ticket([n; 16]), at(90_000));
    }
    assert_eq!(desk.lease(A), None);
    assert_eq!(desk.open_ticket(T1, at(90_001)), None);
}

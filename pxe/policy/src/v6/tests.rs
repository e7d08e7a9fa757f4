//! Transcripts of the IPv6 side, pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use appliance_model::{Mac, Now, Seconds, Ticket};
use pxe_wire::{
    dhcp6::{Duid, IaNa, Kind, Relay, ReplyKind, Request, Status},
    ra::Advertisement,
};

use super::*;
use crate::{Mode, Name, Site, Stance, Stock, Strangers, UefiPxe};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const HTTP: &str = "HTTPClient:Arch:00016:UNDI:003001";

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Now {
    Now(1_000_000).after(Seconds(seconds))
}

fn pool(first: &str, last: &str) -> Pool6 {
    let (never, reservations) = (BTreeSet::new(), BTreeMap::new());
    Pool6 { first: ip(first), last: ip(last), never, reservations, lease: Seconds(3600) }
}

fn duid(number: u16) -> Duid {
    let [high, low] = number.to_be_bytes();
    Duid::new(&[0, 2, 0, 0, 0, 9, high, low]).unwrap()
}

fn desk(strangers: Strangers, last: &str) -> (crate::Desk, Duid) {
    let stock = Stock { x64: true, kernel: true, ..Stock::default() };
    let site = Site { strangers, uefi_pxe: UefiPxe::Uki, stock, ..Site::default() };
    let mut desk = crate::Desk::new(site, Vec::new(), Vec::new());
    let network = |prefix: &str, ours, pool| Network6 {
        subnet: Subnet6::new(ip(prefix), 64).unwrap(),
        ours,
        relays: BTreeSet::new(),
        pool,
    };
    desk.serve6(vec![
        network("fd77::", true, pool("fd77::1000", last)),
        network("fd79::", false, pool("fd79::1000", "fd79::ffff:ffff:ffff:ffff")),
    ]);
    let (server, change) = desk.identify6([7; 16]);
    assert_eq!(change, Some(Change::Server6(server)));
    assert_eq!(desk.identify6([8; 16]), (server, None), "made once");
    (desk, server)
}

fn request(kind: Kind, class: &str, addresses: &[Ipv6Addr]) -> Request {
    Request {
        kind,
        xid: [1, 2, 3],
        client: Some(duid(1)),
        server: None,
        ias: vec![IaNa { iaid: 7, addresses: addresses.to_vec() }],
        wanted: Vec::new(),
        elapsed: None,
        rapid_commit: false,
        enterprise: Some(343),
        vendor_class: Some(class.into()).filter(|class: &String| !class.is_empty()),
        user_class: None,
        arch: None,
        nii: None,
        relays: Vec::new(),
    }
}

fn ask(desk: &mut crate::Desk, mac: Mac, request: &Request, seconds: u64) -> Outcome6 {
    let fresh = Ticket([u8::try_from(seconds % 256).unwrap(); 16]);
    desk.answer6(Asks6 { request, mac, serving: Serving::All, fresh, now: at(seconds) })
}

fn given(outcome: &Outcome6) -> &Give6 {
    match &outcome.reply {
        Reply6::Give(give) => give,
        Reply6::Silence { why, .. } => panic!("silence: {why}"),
    }
}

fn why(outcome: &Outcome6) -> &str {
    match &outcome.reply {
        Reply6::Give(give) => panic!("{give:?}"),
        Reply6::Silence { why, .. } => why,
    }
}

#[test]
fn firmware_boots_by_http_and_what_it_was_told_is_journaled_first() {
    let (mut desk, server) = desk(Strangers::Boot, "fd77::ffff");
    let offer = ask(&mut desk, MAC, &request(Kind::Solicit, HTTP, &[]), 0);
    let give = given(&offer);
    assert!(offer.changes.is_empty() && give.kind == ReplyKind::Advertise && give.only);
    let address = give.address().unwrap();
    let file = give.file;
    assert!(matches!(file, Some(File::Http(_, Name::Discovery))), "{file:?}");
    let mut take = Request { server: Some(server), ..request(Kind::Request, HTTP, &[address]) };
    let reply = ask(&mut desk, MAC, &take, 1);
    assert_eq!((given(&reply).address(), given(&reply).file), (Some(address), file));
    assert!(
        matches!(reply.changes.as_slice(), [Change::Lease6(lease), Change::Ticket(issued)]
            if lease.address == address && lease.mac == MAC && issued.mac == MAC),
        "{:?}",
        reply.changes
    );
    assert_eq!(desk.holder6(address), Some(MAC));
    // A restart: the journal brings everything back, and renewing goes on.
    let (mut again, _) = self::desk(Strangers::Boot, "fd77::ffff");
    desk.snapshot().into_iter().for_each(|change| again.apply(change));
    assert_eq!(again.snapshot(), desk.snapshot());
    take.kind = Kind::Renew;
    assert_eq!(given(&ask(&mut again, MAC, &take, 60)).address(), Some(address));
    // Another server was chosen: silence.
    take.server = Some(Duid::of_uuid([1; 16]));
    assert!(why(&ask(&mut again, MAC, &take, 61)).contains("another DHCPv6 server"));
}

#[test]
fn an_agent_is_told_the_api_and_its_ticket_also_beside_another_server() {
    let agent = |kind| Request { enterprise: Some(32_473), ..request(kind, "scalerforge-agent", &[]) };
    let (mut desk, _) = desk(Strangers::Boot, "fd77::ffff");
    let offer = ask(&mut desk, MAC, &agent(Kind::Solicit), 0);
    let give = given(&offer);
    assert_eq!((give.api, give.ticket, give.file, offer.changes.len()), (true, None, None, 0));
    assert!(!given(&ask(&mut desk, MAC, &request(Kind::Solicit, HTTP, &[]), 1)).api);
    let (ticket, mark) = (Ticket([1; 16]), 1);
    desk.fetched(MAC, Name::Discovery, mark);
    let offer = ask(&mut desk, MAC, &agent(Kind::Solicit), 2);
    assert_eq!((given(&offer).ticket, &offer.changes[..]), (Some(ticket), &[Change::Told(ticket)][..]));
    let asks = |desk: &mut crate::Desk, kind| {
        let (request, serving) = (agent(kind), Serving::Boot);
        desk.answer6(Asks6 { request: &request, mac: MAC, serving, fresh: Ticket([9; 16]), now: at(3) })
    };
    for (kind, reply) in [(Kind::Solicit, ReplyKind::Advertise), (Kind::InformationRequest, ReplyKind::Reply)]
    {
        let outcome = asks(&mut desk, kind);
        let give = given(&outcome);
        assert_eq!((give.kind, give.api, give.ticket), (reply, true, Some(ticket)), "{kind:?}");
        assert_eq!((give.address(), outcome.changes.len()), (None, 0));
    }
    assert!(why(&asks(&mut desk, Kind::Rebind)).contains("another server's business"));
}

#[test]
fn a_reserved_address_is_its_machines_alone_whatever_duid_asks() {
    let reserved = ip("fd77::99");
    let pool = Pool6 { reservations: [(MAC, reserved)].into(), ..pool("fd77::10", "fd77::13") };
    let mut leases = Leases6::new(pool);
    let (one, two) = ((Duid::of_uuid([1; 16]), 1), (Duid::of_uuid([2; 16]), 1));
    let other = Mac([2, 0, 0, 0, 0, 2]);
    // Somebody else asks for it, and a journal from before the reservation says he has it.
    assert_ne!(leases.offer(two, other, &[reserved], at(0)).unwrap().address, reserved);
    let state = crate::LeaseState::Bound;
    let old = |mac, address| Lease6 { duid: two.0, iaid: 2, mac, address, until: at(900), state };
    leases.put(old(other, reserved));
    assert_eq!(leases.holder(reserved), None);
    // The machine had another address before; it renews, as its firmware and as its agent.
    leases.put(old(MAC, ip("fd77::12")));
    assert_eq!(leases.offer((two.0, 2), MAC, &[ip("fd77::12")], at(1)).unwrap().address, reserved);
    assert_eq!(leases.confirm((two.0, 2), MAC, reserved, at(1)).unwrap().address, reserved);
    assert_eq!(leases.offer(one, MAC, &[], at(2)).unwrap().address, reserved);
    assert_eq!((leases.of(two.0, 2), leases.holder(reserved)), (None, Some(MAC)));
    // The pool is for the others: all of it.
    for n in 3..6u32 {
        let mac = Mac([2, 0, 0, 0, 1, u8::try_from(n).unwrap()]);
        assert!(leases.offer((two.0, n), mac, &[], at(3)).is_ok(), "{n}");
    }
    leases.put_declined(reserved, at(900));
    assert_eq!(leases.offer(one, MAC, &[], at(4)).unwrap().address, reserved, "a reservation does not rest");
}

#[test]
fn silence_rules_are_those_of_ipv4() {
    let solicit = |class: &str| request(Kind::Solicit, class, &[]);
    let (mut desk, _) = desk(Strangers::Silence, "fd77::ffff");
    assert!(why(&ask(&mut desk, MAC, &solicit(HTTP), 0)).contains("pxe.strangers"));
    desk.set_stance(MAC, Stance::Discover).unwrap();
    assert!(given(&ask(&mut desk, MAC, &solicit(HTTP), 1)).file.is_some());
    let mut pxe = given(&ask(&mut desk, MAC, &solicit("PXEClient:Arch:00007"), 2)).clone();
    assert!(matches!(pxe.file, Some(File::Tftp(_, Name::Discovery))), "{pxe:?}");
    let ipxe = Request { user_class: Some("iPXE".into()), ..solicit("PXEClient:Arch:00007") };
    pxe = given(&ask(&mut desk, MAC, &ipxe, 3)).clone();
    assert!(matches!(pxe.file, Some(File::Http(_, Name::Script))), "{pxe:?}");
    desk.set_stance(MAC, Stance::LocalDisk).unwrap();
    assert!(why(&ask(&mut desk, MAC, &solicit(HTTP), 4)).contains("from its disk"));
    assert!(given(&ask(&mut desk, MAC, &solicit(""), 5)).file.is_none());
    desk.set_stance(MAC, Stance::Ignore).unwrap();
    assert!(why(&ask(&mut desk, MAC, &solicit(""), 6)).contains("ignore"));
    let asks = |serving| {
        Asks6 { request: &solicit(HTTP), mac: MAC, serving, fresh: Ticket([1; 16]), now: at(7) }.serving
    };
    for (serving, class, words) in [
        (Serving::Nothing, HTTP, "only listens"),
        (Serving::Known, HTTP, "reservation"),
        (Serving::Boot, "PXEClient:Arch:00007", "another server's business"),
    ] {
        let request = solicit(class);
        let mac = Mac([2, 0, 0, 0, 0, 99]);
        let outcome = desk.answer6(Asks6 {
            request: &request,
            mac,
            serving: asks(serving),
            fresh: Ticket([1; 16]),
            now: at(8),
        });
        assert!(why(&outcome).contains(words), "{:?}", outcome.reply);
    }
}

#[test]
fn beside_another_server_only_http_firmware_gets_a_url_and_no_address() {
    let (mut desk, _) = desk(Strangers::Boot, "fd77::ffff");
    let request = request(Kind::Solicit, HTTP, &[]);
    let asks =
        Asks6 { request: &request, mac: MAC, serving: Serving::Boot, fresh: Ticket([1; 16]), now: at(0) };
    let outcome = desk.answer6(asks);
    let give = given(&outcome);
    assert!(give.ias.is_empty() && !give.only && give.file.is_some(), "{give:?}");
}

#[test]
fn rapid_commit_confirm_release_and_decline() {
    let (mut desk, server) = desk(Strangers::Boot, "fd77::ffff");
    let rapid = Request { rapid_commit: true, ..request(Kind::Solicit, "", &[]) };
    let reply = ask(&mut desk, MAC, &rapid, 0);
    assert!(given(&reply).rapid && given(&reply).kind == ReplyKind::Reply && reply.changes.len() == 1);
    let address = given(&reply).address().unwrap();
    let status = |outcome: &Outcome6| given(outcome).status.unwrap().0;
    for (address, expected) in [(address, Status::Success), (ip("fd99::1"), Status::NotOnLink)] {
        let confirm = ask(&mut desk, MAC, &request(Kind::Confirm, "", &[address]), 1);
        assert_eq!(status(&confirm), expected);
    }
    let with = |kind, address| Request { server: Some(server), ..request(kind, "", &[address]) };
    let released = ask(&mut desk, MAC, &with(Kind::Release, address), 2);
    assert!(
        matches!(released.changes.as_slice(), [Change::Lease6(l)] if l.state == crate::LeaseState::Released)
    );
    let foreign = ask(&mut desk, MAC, &with(Kind::Release, ip("fd77::1fff")), 3);
    assert!(matches!(given(&foreign).ias.as_slice(), [(7, Ia6::Refused { status: Status::NoBinding, .. })]));
    ask(&mut desk, MAC, &with(Kind::Request, address), 4);
    let declined = ask(&mut desk, MAC, &with(Kind::Decline, address), 5);
    assert!(matches!(declined.changes.as_slice(), [Change::Declined6(a, _)] if *a == address));
    let other = given(&ask(&mut desk, MAC, &request(Kind::Solicit, "", &[address]), 6)).address();
    assert!(other.is_some_and(|other| other != address), "it rests: {other:?}");
    // What nobody here ever leased is asked for anew.
    let renew =
        ask(&mut desk, MAC, &Request { client: Some(duid(2)), ..with(Kind::Renew, ip("fd99::9")) }, 7);
    assert!(matches!(given(&renew).ias.as_slice(), [(7, Ia6::Refused { status: Status::NoBinding, .. })]));
}

#[test]
fn one_machine_is_one_mac() {
    let link_local = ip("fe80::ff:fe00:1");
    let relay =
        |peer, client_mac| Relay { hops: 0, link: ip("fd79::1"), peer, interface_id: None, client_mac };
    let of = |raw: &[u8]| Request { client: Duid::new(raw), ..request(Kind::Solicit, "", &[]) };
    let ll = of(&[0, 3, 0, 1, 2, 0, 0, 0, 0, 9]);
    let uuid = of(Duid::of_uuid([5; 16]).as_bytes());
    let relayed = |peer, mac| Request { relays: vec![relay(peer, mac)], ..ll.clone() };
    let rows = [
        (&uuid, link_local, Some(MAC)),
        (&ll, link_local, Some(MAC)),
        (&ll, ip("fe80::1234"), Some(Mac([2, 0, 0, 0, 0, 9]))),
        (&uuid, ip("fe80::1234"), None),
        (&of(&[0, 3, 0, 1, 3, 0, 0, 0, 0, 9]), ip("fe80::1234"), None),
        (&relayed(link_local, None), ip("fd79::1"), Some(MAC)),
        (&relayed(link_local, Some(Mac([2, 7, 7, 7, 7, 7]))), ip("fd79::1"), Some(Mac([2, 7, 7, 7, 7, 7]))),
    ];
    for (request, from, mac) in rows {
        assert_eq!(machine(request, from), mac, "{request:?}");
    }
    // The relay's link decides where the address is from.
    let (mut desk, _) = desk(Strangers::Boot, "fd77::ffff");
    let far = ask(&mut desk, MAC, &relayed(link_local, None), 0);
    assert!(Subnet6::new(ip("fd79::"), 64).unwrap().contains(given(&far).address().unwrap()));
    let mut lost = relayed(link_local, None);
    lost.relays[0].link = ip("fd80::1");
    assert!(why(&ask(&mut desk, MAC, &lost, 1)).contains("no pxe.v6 network"));
}

#[test]
fn tables_stay_bounded_and_strangers_do_not_push_out_hosts() {
    let mut leases = Leases6::new(pool("fd77::1000", "fd77::103f"));
    leases.recognise(MAC, true);
    let own = leases.offer((duid(0), 1), MAC, &[], at(0)).unwrap();
    leases.confirm((duid(0), 1), MAC, own.address, at(0)).unwrap();
    let stranger = |n: u16| Mac([2, 1, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    let got = (1..1000u16).filter(|n| leases.offer((duid(*n), 1), stranger(*n), &[], at(1)).is_ok()).count();
    assert_eq!(got, 48, "three quarters of 64");
    assert!(leases.offer((duid(2000), 1), MAC, &[], at(1)).is_ok(), "a host has the rest");
    // Their time is over: others may have their places, the host keeps its own.
    assert!(
        (3000..3100u16)
            .all(|n| leases.offer((duid(n), 1), stranger(n), &[], at(3000 + u64::from(n) * 61)).is_ok())
    );
    assert_eq!(leases.of(duid(0), 1).map(|lease| lease.address), Some(own.address));
    // Firmware invents an IAID for every attempt.
    for iaid in 0..100 {
        leases.offer((duid(0), iaid), MAC, &[], at(4)).unwrap();
    }
    assert_eq!(leases.iter().filter(|lease| lease.mac == MAC).count(), 4);
    let addresses: BTreeSet<Ipv6Addr> = leases.iter().map(|lease| lease.address).collect();
    assert_eq!(addresses.len(), leases.iter().count(), "no address twice");
    let mut wide = Leases6::new(pool("fd77::1000", "fd77::ffff:ffff:ffff:ffff"));
    let got = (0..2000u16).filter(|n| wide.offer((duid(*n), 1), stranger(*n), &[], at(1)).is_ok()).count();
    assert_eq!((got, wide.iter().map(|l| l.address).collect::<BTreeSet<_>>().len()), (2000, 2000));
}

#[test]
fn there_is_no_router_only_after_asking_in_vain_and_a_word_of_one_ends_that() {
    let asked = |seconds: &[u64]| {
        let mut routers = Routers::default();
        seconds.iter().for_each(|second| routers.asked(at(*second)));
        routers
    };
    assert!(!Routers::default().absent(at(100)), "nobody asked");
    let rows: [(&[u64], u64, bool); 4] =
        [(&[0, 1], 9, false), (&[0, 1, 3], 3, false), (&[0, 1, 3], 4, true), (&[0, 1, 3, 63], 64, true)];
    for (questions, now, absent) in rows {
        assert_eq!(asked(questions).absent(at(now)), absent, "{questions:?} {now}");
    }
    let mut routers = asked(&[0, 1, 3]);
    routers.heard(at(5));
    assert!(!routers.absent(at(5)) && !routers.absent(at(1904)), "it may be silent for half an hour");
    assert!(routers.absent(at(1905)), "it has gone");
    let mut early = Routers::default();
    early.heard(at(0));
    [1, 2, 3].into_iter().for_each(|second| early.asked(at(second)));
    assert!(!early.absent(at(10)), "it spoke before we asked");
    let mut routers = asked(&[0, 1, 3]);
    routers.cut_off();
    assert!(!routers.absent(at(9)));
    [10, 11, 13].into_iter().for_each(|second| routers.asked(at(second)));
    assert!(!routers.absent(at(13)) && routers.absent(at(14)));
}

#[test]
fn only_a_machine_that_boots_from_us_is_told_that_there_is_no_router() {
    let (mut desk, _) = desk(Strangers::Boot, "fd77::ffff");
    let from = ip("fe80::ff:fe00:1");
    assert!(!desk.boots6(from, None, at(0)), "it has asked for nothing");
    desk.tickets.mint(MAC, false, Ticket([1; 16]), at(0)).unwrap();
    let other = Mac([2, 0, 0, 0, 0, 2]);
    let rows = [
        (from, None, 1, true),
        (ip("fe80::1234"), Some(MAC), 1, true),
        (ip("fe80::1234"), None, 1, false),
        (from, Some(other), 1, false),
        (from, None, 1801, false),
    ];
    for (from, mac, now, told) in rows {
        assert_eq!(desk.boots6(from, mac, at(now)), told, "{from} {mac:?} {now}");
    }
}

#[test]
fn other_servers_and_routers_are_told_of() {
    let mut scout = Scout6::new(at(0));
    assert!(scout.survey(at(1)).why.contains("nothing is known yet"));
    scout.probed();
    assert!(scout.survey(at(1)).why.contains("router_advertisements"));
    assert_eq!(scout.serving(Mode::AutoProxy, at(1)).0, Serving::Boot);
    assert_eq!(scout.serving(Mode::AutoProxy, at(5)).0, Serving::All);
    assert!(scout.server(duid(9), Some(ip("fe80::9")), (true, true), at(6)));
    assert!(!scout.server(duid(9), None, (true, false), at(7)));
    assert_eq!(scout.serving(Mode::AutoProxy, at(8)).0, Serving::Boot);
    let says = Advertisement { managed: true, router_seconds: 1800, ..Advertisement::default() };
    assert!(scout.router(ip("fe80::1"), says.clone(), at(8)) && !scout.router(ip("fe80::1"), says, at(9)));
    let survey = scout.survey(at(10));
    for words in ["fe80::9 gives addresses and boot files", "fe80::1 (a router) tells machines to ask DHCPv6"]
    {
        assert!(survey.why.contains(words), "{}", survey.why);
    }
    assert_eq!(scout.serving(Mode::AutoProxy, at(400)).0, Serving::All, "it has gone");
    for n in 0..1000u16 {
        let _ = scout.server(duid(n), None, (false, false), at(11));
    }
    assert_eq!(scout.survey(at(12)).rivals.len(), 32);
    // Named is not heard: it pushes nobody into `proxy`, hides no real server and keeps none alive.
    let mut scout = Scout6::new(at(0));
    for n in 0..1000u16 {
        let _ = scout.server(duid(n), None, (true, false), at(11));
    }
    assert_eq!(scout.serving(Mode::AutoProxy, at(12)).0, Serving::All);
    assert!(scout.survey(at(12)).why.contains("of which nothing was heard"));
    assert!(scout.server(duid(2000), Some(ip("fe80::9")), (true, false), at(13)));
    assert_eq!(scout.serving(Mode::AutoProxy, at(14)).0, Serving::Boot);
    for second in 15..313 {
        assert!(!scout.server(duid(2000), None, (true, false), at(second)));
    }
    assert_eq!(scout.serving(Mode::AutoProxy, at(313)).0, Serving::All);
}

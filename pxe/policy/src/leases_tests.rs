//! Who gets which address, and who loses it.

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
    assert_eq!(leases().offer(mac(1), None, at(0)).unwrap().0.address, first.address, "also without history");
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

#[test]
fn new_machines_get_probed_addresses_while_there_are_some() {
    let mut l = leases();
    assert!(l.to_probe(9, at(0)).is_empty(), "nobody probes yet");
    l.expect_probes();
    assert_eq!(l.to_probe(4, at(0)), (12..16).map(ip).collect::<Vec<_>>());
    for n in [12, 13, 15] {
        l.probed(ip(n), n == 13, at(1));
    }
    assert_eq!(l.to_probe(9, at(1)), [ip(16), ip(17), ip(14)], "goes on behind the last");
    assert_eq!(l.offer(mac(1), Some(ip(13)), at(2)).unwrap().0.address, ip(15));
    assert_eq!(l.offer(mac(2), Some(ip(14)), at(2)).unwrap().0.address, ip(12));
    let third = l.offer(mac(3), Some(ip(14)), at(2)).unwrap().0.address;
    assert_eq!(third, ip(14), "nothing probed is left: better unprobed than late");
    l.probed(third, true, at(3));
    assert_eq!(l.of(mac(3)).unwrap().address, third, "an answer at an address in use is its holder's own");
    l.probed(ip(16), false, at(3));
    assert_eq!(l.to_probe(9, at(4)), [ip(17)]);
    assert_eq!(l.to_probe(9, at(304)).len(), 2, "old probes do not count");
}

#[test]
fn in_a_journal_the_later_record_is_true() {
    let mut l = leases();
    let lease = |n, until| Lease { mac: mac(n), address: ip(14), until: at(until), state: LeaseState::Bound };
    assert_eq!(l.put(lease(1, 5)), None);
    assert_eq!(l.put(lease(2, 9)), Some(mac(1)));
    assert_eq!((l.of(mac(1)), l.of(mac(2))), (None, Some(lease(2, 9))));
}

#[test]
fn fifty_thousand_strangers_each_have_an_address_of_a_15() {
    let (first, last) = (Ipv4Addr::new(10, 98, 1, 0), Ipv4Addr::new(10, 99, 254, 255));
    let (never, reservations) = (BTreeSet::new(), BTreeMap::new());
    let mut l = Leases::new(Pool { first, last, never, reservations, lease: Seconds(3600) });
    let mut held = BTreeSet::new();
    for n in 0..50_000_u32 {
        let [.., a, b, c] = n.to_be_bytes();
        let mac = Mac([2, 0, 0, a, b, c]);
        let address = l.offer(mac, None, at(0)).unwrap().0.address;
        assert!(held.insert(address) && l.confirm(mac, address, at(1)).is_some(), "{address} twice");
    }
    assert_eq!((l.strangers.len(), l.free.len()), (50_000, l.size - 50_000));
}

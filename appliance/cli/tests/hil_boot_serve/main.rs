//! `scalerforge boot serve` as a whole: two network namespaces, a cable between them, machines that boot, and a power cut
//! in the middle.  Needs root (or CAP_SYS_ADMIN), `ip` and `tcpdump`, and fails without them.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a failed unwrap is a failed test")]

mod client;
mod lan;

use std::{collections::BTreeMap, net::Ipv4Addr};

use client::Offer;
use lan::{Lan, mac};

const MACHINES: u8 = 40;

#[test]
fn kill_minus_9_loses_no_lease_and_no_ticket() {
    let lan = Lan::new();
    let mut service = lan.serve("full");
    let client = lan.client();
    // Half of them hear an ACK before the cut; the others are somewhere in between.
    let mut promised: BTreeMap<u8, Offer> = BTreeMap::new();
    for n in 0..MACHINES {
        let offer = client.offer(mac(n));
        assert!(offer.url.ends_with("/discovery.efi"), "{offer:?}");
        if n % 2 == 0 {
            promised.insert(n, client.take(mac(n), &offer));
        }
    }
    for n in MACHINES..2 * MACHINES {
        client.say_discover(mac(n));
    }
    service.kill();

    let service = lan.serve("full");
    let leases = service.ask(&["boot", "leases", "--json"]);
    let held: BTreeMap<String, String> = leases
        .as_array()
        .unwrap()
        .iter()
        .map(|lease| (lease["mac"].as_str().unwrap().into(), lease["address"].as_str().unwrap().into()))
        .collect();
    client.configure(promised.values().next().unwrap().address);
    let mut addresses: Vec<Ipv4Addr> = Vec::new();
    for (n, before) in &promised {
        let name = mac(*n).map(|byte| format!("{byte:02x}")).join(":");
        assert_eq!(held.get(&name), Some(&before.address.to_string()), "machine {n}");
        // It restarts too, and asks for what it had.
        let after = client.take(mac(*n), before);
        assert_eq!((after.address, &after.url), (before.address, &before.url), "machine {n}");
        // The ticket it was promised before the cut opens the image after it.
        assert_eq!(client.fetch(&before.url), lan.image(), "machine {n}");
        addresses.push(before.address);
    }
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), promised.len(), "no address twice");
}

#[test]
fn what_it_says_of_machines() {
    let lan = Lan::new();
    let service = lan.serve("full");
    let client = lan.client();
    let offer = client.offer(mac(1));
    let taken = client.take(mac(1), &offer);
    client.configure(taken.address);
    assert_eq!(client.fetch(&taken.url), lan.image());

    let name = "02:77:00:00:00:01";
    let why = service.until(&["boot", "why", name, "--json"], |why| why["verdict"]["code"] == "loaded");
    assert_eq!(why["verdict"]["state"], "fine");
    let story: Vec<&str> =
        why["story"].as_array().unwrap().iter().filter_map(|line| line["text"].as_str()).collect();
    for words in
        ["it sent DISCOVER (HTTP boot, x64 UEFI by HTTP (16))", "we sent OFFER of 10.77.0.1", "we sent ACK"]
    {
        assert!(story.iter().any(|line| line.contains(words)), "no `{words}` in {story:#?}");
    }
    let listed = service.ask(&["boot", "list", "--json"]);
    let machine = listed.as_array().unwrap().iter().find(|machine| machine["mac"] == name).unwrap();
    assert_eq!((&machine["state"], machine["address"].as_str()), (&"fine".into(), Some("10.77.0.100")));

    let unseen = service.run(&["boot", "why", "02:77:00:00:00:02"]);
    assert_eq!(unseen.status.code(), Some(1), "trouble");
    let said = String::from_utf8(unseen.stdout).unwrap();
    assert!(said.contains("never-seen") && said.contains("neighbour 02:77:00:00:00:01"), "{said}");

    let capture = service.run(&["boot", "pcap", name]);
    assert!(capture.status.success());
    let read = lan.tcpdump(&capture.stdout);
    assert!(read.matches("DHCP-Message").count() >= 4 && !read.contains("bad udp cksum"), "{read}");
    for words in ["Discover", "Offer", "Request", "ACK", "HTTPClient:Arch:00016"] {
        assert!(read.contains(words), "no `{words}` in {read}");
    }
    let metrics = service.metrics();
    for words in ["scalerforge_boot_leases_bound 1\n", "# TYPE scalerforge_boot_leases gauge"] {
        assert!(metrics.contains(words), "no `{words}` in {metrics}");
    }
}

#[test]
fn listening_answers_nobody_and_says_so() {
    let lan = Lan::new();
    let service = lan.serve("listen");
    let client = lan.client();
    client.say_discover(mac(1));
    let why = service
        .until(&["boot", "why", "02:77:00:00:00:01", "--json"], |why| why["verdict"]["code"] == "listening");
    assert!(why["verdict"]["next"].as_str().unwrap().contains("pxe.mode"));
    assert_eq!(service.ask(&["boot", "leases", "--json"]), serde_json::json!([]));
}

#[test]
fn what_it_refuses_to_start_with() {
    let lan = Lan::new();
    let rows: [(&[&str], &[&str]); 3] = [
        (&["--interface", "nowhere0"], &["nowhere0", "this machine has the interfaces", "s0"]),
        (
            &["--address", "10.99.0.1/24", "--pool", "10.99.0.9-10.99.0.99"],
            &["10.99.0.1", "no interface has this address"],
        ),
        (&["--image", "/absent.efi"], &["/absent.efi", "cannot be read"]),
    ];
    for (flags, words) in rows {
        let said = lan.refused(flags);
        for word in words {
            assert!(said.contains(word), "no `{word}` in: {said}");
        }
    }
    let other = lan.udp_67();
    let said = lan.refused(&[]);
    assert!(said.contains(&format!("({})", std::process::id())), "{said}");
    drop(other);
}

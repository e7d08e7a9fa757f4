//! Many clients at one desk: caps, floods, strangers, events.

use std::sync::Mutex;

use pxe_wire::tftp::{ack, request};

use super::*;
use crate::{Malformed, Opened, Options, Refusal};

const MS: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl Files for Told {
    fn open(&self, name: &str, _from: SocketAddr) -> Result<Opened, Refusal> {
        if name == "boot/x.efi" {
            return Ok(Opened { bytes: Bytes::from(vec![7; 100_000]), tag: 5 });
        }
        Err(Refusal { code: Code::NotFound, text: "no such boot file".into() })
    }

    fn tell(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

struct Ethernet;

impl Route for Ethernet {
    fn mtu(&self, _client: SocketAddr) -> u16 {
        1500
    }
}

struct Bench {
    desk: Desk<Ethernet>,
    told: Arc<Told>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let told = Arc::new(Told::default());
        Self { desk: Desk::new(told.clone(), limits, Ethernet), told }
    }

    fn ask(&mut self, from: SocketAddr, options: &Options, now: Duration) -> Vec<Parcel> {
        self.desk.request(from, None, &request("boot/x.efi", Mode::Octet, options), now);
        std::mem::take(&mut self.desk.outbox)
    }

    fn ack(&mut self, socket: usize, from: SocketAddr, block: u16, now: Duration) -> Vec<Parcel> {
        self.desk.packet(socket, from, &ack(block), now);
        std::mem::take(&mut self.desk.outbox)
    }

    fn events(&self) -> Vec<What> {
        self.told.0.lock().unwrap().drain(..).map(|event| event.what).collect()
    }
}

fn client(address: u32, port: u16) -> SocketAddr {
    (address.to_be_bytes(), port).into()
}

fn windowed() -> Options {
    Options { block_bytes: Some(9000), window_blocks: Some(100), file_bytes: Some(0), timeout_seconds: None }
}

fn first_packet(parcels: &[Parcel]) -> &[u8] {
    match parcels {
        [Parcel { body: Body::Packet(packet), .. }] => packet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transfer_from_request_to_done() {
    let mut bench = Bench::new(Limits::default());
    let from = client(1, 2000);
    let sent = bench.ask(from, &windowed(), MS);
    assert_eq!(first_packet(&sent), b"\0\x06tsize\x00100000\0blksize\x001468\0windowsize\x0064\0");
    let socket = sent[0].socket;
    let sent = bench.ack(socket, from, 0, MS * 2);
    assert!(matches!(sent[0].body, Body::Blocks { first: 1, count: 64, block_bytes: 1468, .. }), "{sent:?}");
    assert!(matches!(bench.ack(socket, from, 64, MS * 3)[0].body, Body::Blocks { first: 65, count: 5, .. }));
    assert!(bench.ack(socket, from, 69, MS * 4).is_empty());
    let events = bench.events();
    assert!(matches!(events[0], What::Started { file_bytes: 100_000, path_mtu: 1500, .. }), "{events:?}");
    assert!(matches!(events[1], What::Done { bytes: 100_000, resent_blocks: 0, .. }), "{events:?}");
    // The same port belongs to nobody now.
    assert_eq!(first_packet(&bench.ack(socket, from, 69, MS * 5)), b"\0\x05\0\x05no such transfer\0");
}

#[test]
fn another_port_is_another_transfer() {
    let mut bench = Bench::new(Limits::default());
    let from = client(1, 2000);
    let socket = bench.ask(from, &windowed(), MS)[0].socket;
    let wrong = bench.ack(socket + 1, from, 0, MS);
    assert_eq!(first_packet(&wrong)[..4], [0, 5, 0, 5], "an ACK to a port that does not answer this client");
    assert_eq!(first_packet(&bench.ack(socket, client(2, 2000), 0, MS))[..4], [0, 5, 0, 5]);
    // Errors are never answered.
    bench.desk.packet(socket, client(2, 2000), b"\0\x05\0\0x\0", MS);
    bench.desk.request(client(2, 2000), None, b"\0\x05\0\0x\0", MS);
    bench.desk.request(client(2, 2000), None, b"\0\x04\0\0", MS);
    assert!(bench.desk.outbox.is_empty());
    assert_eq!(bench.ack(socket, from, 0, MS).len(), 1);
}

#[test]
fn refusals() {
    let mut bench = Bench::new(Limits::default());
    let from = client(1, 2000);
    for (packet, answer, told) in [
        (&b"\0\x01../etc/passwd\0octet\0"[..], &b"\0\x05\0\x01"[..], What::Refused(Code::NotFound)),
        (b"\0\x02x\0octet\0", b"\0\x05\0\x02", What::WriteAttempt { name: "x".to_owned() }),
        (b"\0\x01boot/x.efi\0netascii\0", b"\0\x05\0\x04", What::WrongMode),
        (b"\0\x01\0octet\0", b"\0\x05\0\x04", What::Malformed(Malformed::NoName)),
    ] {
        bench.desk.request(from, None, packet, MS);
        let sent = std::mem::take(&mut bench.desk.outbox);
        assert_eq!(first_packet(&sent)[..4], *answer, "{packet:?}");
        assert_eq!(bench.events(), [told]);
    }
    bench.desk.request(from, None, b"\0\x09junk", MS);
    assert!(bench.desk.outbox.is_empty(), "what is not even TFTP gets no answer");
}

#[test]
fn firmware_asks_for_the_size_and_then_for_the_file() {
    let mut bench = Bench::new(Limits::default());
    let from = client(1, 2000);
    let socket = bench.ask(from, &windowed(), MS)[0].socket;
    bench.desk.packet(socket, from, b"\0\x05\0\x08User aborted\nthe transfer\0", MS);
    let text = "User aborted?the transfer".to_owned();
    let events = bench.events();
    assert!(
        matches!(&events[1], What::Broken { why, .. } if *why == Broken::ByClient { code: Code::Options, text }),
        "{events:?}"
    );
    assert_eq!(bench.ask(from, &windowed(), MS).len(), 1, "the same port again");
}

#[test]
fn a_client_that_restarts_is_served_afresh() {
    let mut bench = Bench::new(Limits::default());
    let from = client(1, 2000);
    let socket = bench.ask(from, &windowed(), MS)[0].socket;
    assert!(bench.ask(from, &windowed(), MS * 2).is_empty(), "the answer is on its way");
    assert_eq!(bench.ask(from, &windowed(), MS * 900).len(), 1, "it may be lost");
    bench.ack(socket, from, 0, MS * 901);
    assert_eq!(bench.ask(from, &windowed(), MS * 902).len(), 1, "a new transfer");
    let why = |what: &What| matches!(what, What::Broken { why: Broken::AskedAgain, .. });
    assert_eq!(bench.events().iter().filter(|what| why(what)).count(), 1);
    assert_eq!(bench.desk.per_client.get(&from.ip()), Some(&1));
}

#[test]
fn one_address_cannot_have_it_all() {
    let mut bench = Bench::new(Limits { transfers_per_client_max: 3, ..Limits::default() });
    let sent: usize = (0..5000).map(|port| bench.ask(client(1, 1000 + port), &windowed(), MS).len()).sum();
    assert_eq!(sent, 3);
    assert_eq!(bench.ask(client(2, 1000), &windowed(), MS).len(), 1, "another one is served");
    assert_eq!(bench.events().iter().filter(|what| **what == What::TooMany).count(), 5);
}

#[test]
fn forged_requests_displace_each_other_and_nobody_else() {
    let limits = Limits { unanswered_max: 50, transfers_max: 60, ..Limits::default() };
    let mut bench = Bench::new(limits);
    let real = client(1, 1000);
    let socket = bench.ask(real, &windowed(), MS)[0].socket;
    bench.ack(socket, real, 0, MS);
    for address in 100..50_100 {
        bench.ask(client(address, 69), &windowed(), MS);
    }
    assert_eq!(bench.desk.transfers.len(), 51);
    assert_eq!(bench.desk.unanswered_count, 50);
    assert!(bench.desk.alarms.len() < 1300 && bench.desk.unanswered.len() < 1300);
    assert_eq!(bench.desk.per_client.len(), 51);
    assert_eq!(bench.ack(socket, real, 64, MS * 2).len(), 1, "the real one goes on");
    // All of them are silent: nobody is left but him, and then nobody.
    for second in 1..200 {
        bench.desk.expire(Duration::from_secs(second));
    }
    assert_eq!((bench.desk.transfers.len(), bench.desk.per_client.len(), bench.desk.alarms.len()), (0, 0, 0));
    assert_eq!(bench.desk.unanswered_count, 0);
}

#[test]
fn a_path_that_swallows_large_packets_is_found_out() {
    let mut bench = Bench::new(Limits::default());
    let from = client(1, 1000);
    let socket = bench.ask(from, &windowed(), MS)[0].socket;
    bench.ack(socket, from, 0, MS * 2);
    let mut cut = false;
    while !cut {
        let now = bench.desk.deadline().unwrap();
        bench.desk.expire(now);
        for parcel in std::mem::take(&mut bench.desk.outbox) {
            cut |= matches!(parcel.body, Body::Blocks { fragment: true, .. });
        }
    }
    let events = bench.events();
    let lost = |what: &What| {
        matches!(what, What::Lost { block: 1, times: 3, block_bytes: 1468, only_small_pass: true, .. })
    };
    assert!(events.iter().any(lost), "{events:?}");
    let sent = bench.ack(socket, from, 4, MS * 9000);
    assert!(matches!(sent[0].body, Body::Blocks { fragment: true, .. }), "it stays so: {sent:?}");
    let pass = What::FragmentsPass { block_bytes: 1468, next_block_bytes: 1024 };
    assert_eq!(bench.events(), [pass]);
    let sent = bench.ask(client(1, 1001), &windowed(), MS * 9001);
    assert_eq!(first_packet(&sent), b"\0\x06tsize\x00100000\0blksize\x001024\0windowsize\x0064\0");
}

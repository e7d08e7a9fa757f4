//! What must hold for any bytes, with dhcproto as the second opinion on packets we read and make.

use std::net::Ipv6Addr;

use appliance_model::Mac;
use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v6::{self, Architecture, DhcpOption, IAAddr, IANA, OptionCode, RelayMessage, Status as Oracle},
};
use proptest::prelude::*;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const DUID: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn encode(message: &impl Encodable) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

/// What edk2's HTTP boot sends.
fn solicit() -> v6::Message {
    let mut message = v6::Message::new_with_id(v6::MessageType::Solicit, [1, 2, 3]);
    let options = message.opts_mut();
    options.insert(DhcpOption::ClientId(DUID.to_vec()));
    options.insert(DhcpOption::IANA(IANA { id: 7, t1: 0, t2: 0, opts: v6::DhcpOptions::new() }));
    options.insert(DhcpOption::ElapsedTime(100));
    options.insert(DhcpOption::ClientArchType(vec![Architecture::from(16)]));
    // dhcproto writes classes with a wrong length.
    let class = [&[0, 0, 1, 87, 0, 33][..], b"HTTPClient:Arch:00016:UNDI:003001"].concat();
    options.insert(DhcpOption::Unknown(v6::UnknownOption::new(OptionCode::Unknown(16), class)));
    options.insert(DhcpOption::Unknown(v6::UnknownOption::new(OptionCode::Unknown(62), vec![1, 3, 1])));
    message
}

fn relayed(inner: DhcpOption, hops: u8, id: &[u8]) -> RelayMessage {
    // dhcproto makes relay messages only by reading them.
    let mut bytes = vec![12, hops];
    bytes.extend(ip("fd79::1").octets());
    bytes.extend(ip("fe80::ff:fe00:1").octets());
    let mut relay = RelayMessage::decode(&mut Decoder::new(&bytes)).unwrap();
    relay.opts_mut().insert(inner);
    relay.opts_mut().insert(DhcpOption::InterfaceId(id.to_vec()));
    relay
}

/// `solicit` wrapped by hand, `times` times; each with its own interface id.
fn wrapped(times: u8) -> Vec<u8> {
    (0..times).fold(encode(&solicit()), |inner, hops| {
        let mut bytes = vec![12, hops];
        bytes.extend(ip("fd79::1").octets());
        bytes.extend(ip("fe80::ff:fe00:1").octets());
        for (code, value) in [(18u16, vec![hops; 3]), (79, [&[0, 1][..], &MAC].concat()), (9, inner)] {
            bytes.extend(code.to_be_bytes());
            bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend(value);
        }
        bytes
    })
}

#[test]
fn a_firmwares_solicit_is_read() {
    let request = Request::read(&encode(&solicit())).unwrap();
    assert_eq!((request.kind, request.xid, request.elapsed), (Kind::Solicit, [1, 2, 3], Some(100)));
    assert_eq!(request.client.unwrap().kind(), DuidKind::Ethernet(MAC));
    assert_eq!(request.ias, [IaNa { iaid: 7, addresses: vec![] }]);
    assert_eq!((request.arch, request.enterprise, request.nii), (Some(16), Some(343), Some([1, 3, 1])));
    assert_eq!(request.vendor_class.as_deref(), Some("HTTPClient:Arch:00016:UNDI:003001"));
    assert!(!request.rapid_commit && request.relays.is_empty());
}

#[test]
fn relays_are_unwrapped_and_the_answer_is_wrapped_again() {
    let request = Request::read(&wrapped(2)).unwrap();
    let hops: Vec<u8> = request.relays.iter().map(|relay| relay.hops).collect();
    assert_eq!(hops, [1, 0], "the nearest to us first");
    assert_eq!(request.relays[1].client_mac, Some(Mac(MAC)));
    let server = Duid::of_uuid([9; 16]);
    let mut reply = Writer::reply(&request, ReplyKind::Reply, &server);
    reply.status(Status::Success, "as you wish");
    let bytes = reply.finish().unwrap();
    // By hand: type, hops, two addresses, then options 18 and 9, twice.
    assert_eq!((bytes[0], bytes[1], &bytes[34..41]), (13, 1, &[0, 18, 0, 3, 1, 1, 1][..]));
    let inner = &bytes[45..];
    assert_eq!((inner[0], inner[1], &inner[34..41]), (13, 0, &[0, 18, 0, 3, 0, 0, 0][..]));
    let message = v6::Message::decode(&mut Decoder::new(&inner[45..])).unwrap();
    assert_eq!(message.msg_type(), v6::MessageType::Reply);
    assert!(matches!(message.opts().get(OptionCode::StatusCode), Some(DhcpOption::StatusCode(code))
        if code.status == Oracle::Success && code.msg == "as you wish"));
    assert_eq!(Request::read(&wrapped(8)).unwrap().relays.len(), 8);
    assert_eq!(Request::read(&wrapped(9)), Err(Odd::Relays));
    assert_eq!(
        Request::read(&encode(&relayed(DhcpOption::RapidCommit, 0, b"eth0"))),
        Err(Odd::Empty),
        "a relay that forwards nothing"
    );
}

#[test]
fn the_second_opinion_reads_our_answers() {
    let request = Request::read(&encode(&solicit())).unwrap();
    let server = Duid::of_uuid([9; 16]);
    let mut reply = Writer::reply(&request, ReplyKind::Advertise, &server);
    reply.option(code::PREFERENCE, &[255]);
    let given = Given { address: ip("fd77::1234"), preferred: 1800, valid: 3600 };
    reply.ia_na(7, (900, 1440), &[given]);
    reply.ia_na_refused(8, Status::NoAddress, "none left");
    reply.option(code::BOOT_URL, b"http://[fd77::1]:8080/boot/00/discovery.efi");
    reply.vendor_class(343, "HTTPClient");
    let bytes = reply.finish().unwrap();
    let message = v6::Message::decode(&mut Decoder::new(&bytes)).unwrap();
    let options = message.opts();
    assert_eq!((message.msg_type(), message.xid()), (v6::MessageType::Advertise, [1, 2, 3]));
    assert_eq!(options.get(OptionCode::ClientId), Some(&DhcpOption::ClientId(DUID.to_vec())));
    assert_eq!(options.get(OptionCode::ServerId), Some(&DhcpOption::ServerId(server.as_bytes().to_vec())));
    let ias = options.get_all(OptionCode::IANA).unwrap();
    assert_eq!(ias.len(), 2);
    let DhcpOption::IANA(ia) = &ias[0] else { panic!("no IA_NA: {options:?}") };
    assert_eq!((ia.id, ia.t1, ia.t2), (7, 900, 1440));
    let Some(DhcpOption::IAAddr(IAAddr { addr, preferred_life, valid_life, .. })) =
        ia.opts.get(OptionCode::IAAddr)
    else {
        panic!("no address: {ia:?}")
    };
    assert_eq!((*addr, *preferred_life, *valid_life), (given.address, 1800, 3600));
    let told = Told::read(&bytes).unwrap();
    assert_eq!((told.server, told.leases, told.boots), (server, true, true));
}

#[test]
fn table_of_refusals() {
    let good = encode(&solicit());
    let with = |kind: u8, more: &[u8]| [&[kind], &good[1..], more].concat();
    let server = [0, 2, 0, 3, 9, 9, 9];
    let many: Vec<u8> = [0, 99, 0, 0].repeat(65);
    let rows = [
        (vec![], Odd::Short),
        (vec![1, 0, 0], Odd::Short),
        (vec![12; 33], Odd::Short),
        (vec![0; 2049], Odd::Long),
        (with(2, &[]), Odd::Type { told: 2 }),
        (with(13, &[]), Odd::Type { told: 13 }),
        (with(1, &[0]), Odd::Tail),
        (with(1, &[0, 6, 0, 3, 0, 59]), Odd::Truncated { code: 6 }),
        (with(1, &[0, 6, 0, 1, 0]), Odd::Length { code: 6 }),
        (with(1, &[0, 8, 0, 2, 0, 0]), Odd::Twice { code: 8 }),
        (with(1, &[0, 14, 0, 1, 0]), Odd::Length { code: 14 }),
        (with(1, &[0, 3, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Odd::Length { code: 3 }),
        (with(1, &many), Odd::TooMany { max: 64 }),
        (with(1, &server), Odd::Unwanted { code: 2 }),
        (with(3, &[]), Odd::Missing { code: 2 }),
        (with(11, &[]), Odd::Unwanted { code: 3 }),
        (vec![1, 0, 0, 0], Odd::Missing { code: 1 }),
        (vec![1, 0, 0, 0, 0, 1, 0, 2, 0, 1], Odd::Length { code: 1 }),
    ];
    for (bytes, odd) in rows {
        assert_eq!(Request::read(&bytes), Err(odd), "{bytes:02x?}");
    }
    assert!(Request::read(&with(3, &server)).is_ok());
    assert!(Request::read(&[11, 0, 0, 0]).is_ok(), "an INFORMATION-REQUEST needs no client");
}

#[test]
fn duids_are_told_apart_and_survive_as_text() {
    let rows: [(&[u8], DuidKind); 5] = [
        (&[0, 1, 0, 1, 9, 9, 9, 9, 2, 0, 0, 0, 0, 1], DuidKind::Ethernet(MAC)),
        (&DUID, DuidKind::Ethernet(MAC)),
        (&[0, 2, 0, 0, 0xab, 0x11, 1, 2, 3], DuidKind::Enterprise(43793)),
        (&[0, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5], DuidKind::Uuid([5; 16])),
        (&[0, 3, 0, 6, 1, 2], DuidKind::Other),
    ];
    for (raw, kind) in rows {
        let duid = Duid::new(raw).unwrap();
        assert_eq!((duid.kind(), duid.as_bytes()), (kind, raw));
        assert_eq!(duid.to_string().parse(), Ok(duid));
    }
    assert_eq!((Duid::new(&[0, 1]), Duid::new(&[0; 131])), (None, None));
    assert!(["", "0", "00", "zz0000", "0 0 00"].iter().all(|bad| bad.parse::<Duid>().is_err()));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Request::read(&bytes);
        let _ = Told::read(&bytes);
    }

    #[test]
    fn whatever_is_read_can_be_answered(kind in 0u8..13, more in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = encode(&solicit());
        bytes[0] = kind;
        bytes.extend(more);
        if let Ok(request) = Request::read(&bytes) {
            let bytes = Writer::reply(&request, ReplyKind::Reply, &Duid::of_uuid([1; 16])).finish().unwrap();
            prop_assert!(Told::read(&bytes).is_ok());
        }
    }
}

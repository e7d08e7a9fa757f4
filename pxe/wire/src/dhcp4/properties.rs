//! What must hold for any bytes, with dhcproto as the second opinion on packets we make.

use std::net::Ipv4Addr;

use appliance_model::Mac;
use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v4::{self, DhcpOption, OptionCode},
};
use proptest::prelude::*;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A packet by hand: header, cookie, then `options` as they are.
fn packet(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[28..34].copy_from_slice(&MAC);
    bytes[236..].copy_from_slice(&[99, 130, 83, 99]);
    bytes.extend(options);
    bytes
}

#[test]
fn a_firmwares_discover_is_read() {
    let unset = Ipv4Addr::UNSPECIFIED;
    let mut message = v4::Message::new_with_id(7, unset, unset, unset, unset, &MAC);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(v4::MessageType::Discover));
    options.insert(DhcpOption::ClassIdentifier(b"HTTPClient:Arch:00016:UNDI:003001\0".to_vec()));
    options.insert(DhcpOption::ClientSystemArchitecture(16.into()));
    options.insert(DhcpOption::ClientMachineIdentifier([vec![0], vec![5; 16]].concat()));
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    let request = BootRequest::read(&bytes).unwrap();
    assert_eq!(request.vendor_class.as_deref(), Some("HTTPClient:Arch:00016:UNDI:003001"));
    assert_eq!((request.kind, request.arch, request.uuid), (Kind::Discover, Some(16), Some([5; 16])));
    assert_eq!((request.relay, request.current, request.server, request.xid), (None, None, None, 7));
}

#[test]
fn table_of_refusals() {
    let read = |bytes: &[u8]| BootRequest::read(bytes).unwrap_err();
    let good = packet(&[53, 1, 1, 255]);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let many: Vec<u8> = [53, 1, 1].into_iter().chain([77, 0].into_iter().cycle().take(400)).collect();
    let giant: Vec<u8> =
        (0..3).flat_map(|_| [vec![60, 255], vec![b'x'; 255]].concat()).chain([53, 1, 1]).collect();
    let rows = [
        (good[..239].to_vec(), Odd::Short),
        (vec![0; 1501], Odd::Long),
        (with(236, 0), Odd::NoCookie),
        (with(0, 2), Odd::Direction),
        (with(2, 200), Odd::NotEthernet),
        (with(28, 0xff), Odd::GroupAddress),
        (packet(&[255]), Odd::NoType),
        (packet(&[53, 1, 2, 255]), Odd::Type { told: 2 }),
        (packet(&[53, 2, 1, 1, 255]), Odd::Length { code: 53 }),
        (packet(&[53, 1, 1, 60, 200, b'x']), Odd::Truncated { code: 60 }),
        (packet(&[53, 1, 1, 60]), Odd::Truncated { code: 60 }),
        (packet(&[53, 1, 1, 50, 3, 1, 2, 3]), Odd::Length { code: 50 }),
        (packet(&[53, 1, 1, 52, 1, 4]), Odd::Overload { told: 4 }),
        (packet(&[53, 1, 1, 52, 0]), Odd::Length { code: 52 }),
        (packet(&many), Odd::TooMany { max: 128 }),
        (packet(&giant), Odd::Giant { code: 60 }),
    ];
    for (bytes, expected) in rows {
        assert_eq!(read(&bytes), expected, "{:?}", bytes.get(240..));
    }
}

#[test]
fn overload_is_followed_once_and_pieces_are_joined_in_the_rfcs_order() {
    let mut bytes = packet(&[53, 1, 1, 52, 1, 3, 60, 3, b'P', b'X', b'E', 255]);
    // The file field overloads again, and again itself: that is not followed.
    bytes[108..118].copy_from_slice(&[52, 1, 3, 60, 3, b'C', b'l', b'i', 255, 0]);
    bytes[44..50].copy_from_slice(&[60, 3, b'e', b'n', b't', 255]);
    let request = BootRequest::read(&bytes).unwrap();
    assert_eq!(request.vendor_class.as_deref(), Some("PXEClient"));
    let message = Message::read(&bytes).unwrap();
    assert!(message.file.is_empty() && message.sname.is_empty());
}

#[test]
fn classes_ids_and_relays() {
    let class = |value: &[u8]| {
        let bytes = packet(&[&[53, 1, 1, 77, u8::try_from(value.len()).unwrap()], value].concat());
        BootRequest::read(&bytes).unwrap().user_class
    };
    assert_eq!(class(b"iPXE").as_deref(), Some("iPXE"));
    assert_eq!(class(b"\x04iPXE").as_deref(), Some("iPXE"));
    assert_eq!(class(b"\x04iPXE\x03foo").as_deref(), Some("iPXE"));
    assert_eq!(class(&[200, 1, 2]), None);
    let request = BootRequest::read(&packet(&[
        53, 1, 1, 61, 7, 1, 2, 0, 0, 0, 0, 1, 175, 0, 43, 7, 71, 4, 0, 1, 0, 2, 255, 82, 18, 1, 2, b'p',
        b'1', 5, 4, 10, 0, 9, 0, 11, 4, 10, 0, 9, 1, 9, 0,
    ]))
    .unwrap();
    assert_eq!(request.client_id, Some(ClientId::Ethernet(MAC)));
    assert!(request.ipxe);
    assert_eq!(request.boot_item(), Some((1, 2)));
    let info = request.relay_info.unwrap();
    assert_eq!(info.raw.len(), 18);
    assert_eq!(info.circuit.as_deref(), Some(&b"p1"[..]));
    assert_eq!(info.link, Some(Ipv4Addr::new(10, 0, 9, 0)));
    assert_eq!(info.server_override, Some(Ipv4Addr::new(10, 0, 9, 1)));
    let duid = BootRequest::read(&packet(&[53, 1, 1, 61, 7, 255, 0, 0, 0, 9, 0, 4])).unwrap();
    assert_eq!(duid.client_id, Some(ClientId::Duid { iaid: 9, duid: vec![0, 4] }));
}

fn request() -> impl Strategy<Value = BootRequest> {
    let options = (
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 17)),
        proptest::option::of(any::<u16>()),
    );
    (any::<u32>(), any::<bool>(), proptest::option::of(any::<[u8; 4]>()), options).prop_map(
        |(xid, broadcast, relay, (raw, id, uuid, size_max))| BootRequest {
            xid,
            broadcast,
            relay: relay.map(Ipv4Addr::from),
            relay_info: raw.map(|raw| RelayInfo { raw, ..RelayInfo::default() }),
            client_id_raw: id,
            uuid_raw: uuid,
            size_max,
            ..BootRequest::new(Kind::Discover, Mac(MAC))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = BootRequest::read(&bytes);
    }

    #[test]
    fn no_options_panic_and_nothing_is_longer_than_the_packet(
        options in proptest::collection::vec(any::<u8>(), 0..700),
        fields in proptest::collection::vec(any::<u8>(), 192),
    ) {
        let mut bytes = packet(&[&[53, 1, 1], options.as_slice()].concat());
        bytes[44..236].copy_from_slice(&fields);
        if let Ok(message) = Message::read(&bytes) {
            let total: usize = message.options.pieces().map(|(_, value)| value.len()).sum();
            prop_assert!(total <= bytes.len());
        }
        let _ = BootRequest::read(&bytes).map(|request| request.boot_item());
    }

    #[test]
    fn dhcproto_reads_what_we_write(request in request(), url in "[a-z0-9:/.]{0,300}") {
        let mut writer = Writer::reply(&request, ReplyKind::Offer);
        writer.set_given(Ipv4Addr::new(10, 0, 0, 9));
        writer.seconds(code::LEASE, 3600);
        writer.set_file(&url);
        let Some(bytes) = writer.finish() else {
            // Only a small client refuses.
            prop_assert!(url.len() + request.relay_info.map_or(0, |info| info.raw.len()) > 150);
            return Ok(());
        };
        let limit = usize::from(request.size_max.unwrap_or(576)).clamp(576, 1500);
        prop_assert!((300..=limit - 28).contains(&bytes.len()), "{} {limit}", bytes.len());
        let read = v4::Message::decode(&mut Decoder::new(&bytes)).unwrap();
        prop_assert_eq!(read.xid(), request.xid);
        prop_assert_eq!(read.chaddr(), &MAC[..]);
        prop_assert_eq!(read.flags().broadcast(), request.broadcast);
        prop_assert_eq!(read.giaddr(), request.relay.unwrap_or(Ipv4Addr::UNSPECIFIED));
        prop_assert_eq!(read.opts().msg_type(), Some(v4::MessageType::Offer));
        prop_assert_eq!(
            read.opts().get(OptionCode::AddressLeaseTime),
            Some(&DhcpOption::AddressLeaseTime(3600))
        );
        let own = Message::read(&bytes).unwrap();
        let relay = own.options.get(code::RELAY).unwrap();
        prop_assert_eq!(
            relay.as_deref().unwrap_or_default(),
            request.relay_info.map(|info| info.raw).unwrap_or_default()
        );
        let file = own.options.get(code::FILE).unwrap().unwrap();
        prop_assert_eq!(file.as_ref(), url.as_bytes());
        prop_assert_eq!(own.options.pieces().last().map(|(code, _)| code == code::RELAY), Some(relay.is_some()));
    }
}

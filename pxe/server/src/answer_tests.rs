//! What firmware is told, and where it is told.

use appliance_model::{Mac, Seconds, Ticket};
use pxe_policy::{Name, Platform};
use pxe_wire::dhcp4::Message;

use super::*;

const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const HELD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 8);

fn config() -> Config {
    let text = r#"
        address = "10.0.0.1"
        subnet = "10.0.0.0/24"
        api_url = "https://10.0.0.1:8443"
        router = "10.0.0.254"
        pool = { first = "10.0.0.9", last = "10.0.0.99" }
    "#;
    toml::from_str::<crate::wire::Config>(text).unwrap().try_into().unwrap()
}

fn request(kind: Kind) -> BootRequest {
    BootRequest { xid: 7, ..BootRequest::new(kind, Mac([2, 0, 0, 0, 0, 1])) }
}

fn give(kind: GiveKind, client: Client, lease: bool, file: Option<File>) -> Reply {
    let lease = lease.then_some((GIVEN, Seconds(3600)));
    let network = lease.map(|_| 0);
    Reply::Give(Give {
        kind,
        server: US,
        lease,
        network,
        client,
        file,
        api: false,
        ticket: None,
        why: "test",
    })
}

fn written(request: &BootRequest, reply: &Reply) -> Vec<u8> {
    let around = Around { own: US, boot_base: "http://10.0.0.1:8080".into(), https_base: None };
    packet(request, reply, &around, &config()).unwrap()
}

#[test]
fn destinations_as_rfc_2131_and_pxe_have_them() {
    use Destination::{Everybody, Frame, Relay};
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 8), 4011);
    let offer = give(GiveKind::Offer, Client::Other, true, None);
    let proxied = give(GiveKind::Offer, Client::Http(Platform::X64), false, None);
    let nak = Reply::Refuse { server: US, why: "test" };
    let plain = request(Kind::Discover);
    let broadcast = BootRequest { broadcast: true, ..plain.clone() };
    let renewing = BootRequest { current: Some(HELD), ..request(Kind::Request) };
    let relayed = BootRequest { relay: Some(RELAY), ..renewing.clone() };
    let rows = [
        (&plain, &offer, Port::Dhcp, Frame(GIVEN)),
        (&broadcast, &offer, Port::Dhcp, Everybody),
        (&plain, &proxied, Port::Dhcp, Everybody),
        (&plain, &nak, Port::Dhcp, Everybody),
        (&renewing, &offer, Port::Dhcp, Destination::Client(SocketAddrV4::new(HELD, 68))),
        (&renewing, &nak, Port::Dhcp, Everybody),
        (&relayed, &offer, Port::Dhcp, Relay(SocketAddrV4::new(RELAY, 67))),
        (&relayed, &nak, Port::Dhcp, Relay(SocketAddrV4::new(RELAY, 67))),
        (&renewing, &proxied, Port::BootServer, Destination::Client(from)),
    ];
    for (request, reply, port, expected) in rows {
        assert_eq!(destination(request, from, port, reply, &config()), expected, "{request:?} {reply:?}");
    }
}

#[test]
fn an_http_offer_has_class_url_and_addresses() {
    let file = Some(File::Http(Ticket([0xab; 16]), Name::Discovery));
    let bytes =
        written(&request(Kind::Discover), &give(GiveKind::Offer, Client::Http(Platform::X64), true, file));
    let message = Message::read(&bytes).unwrap();
    let url = format!("http://10.0.0.1:8080/boot/{}/discovery.efi", "ab".repeat(16));
    assert_eq!(message.options.text(code::CLASS).as_deref(), Some("HTTPClient"));
    assert_eq!(message.options.text(code::FILE).as_deref(), Some(url.as_str()));
    assert_eq!(message.file, url.as_bytes());
    assert_eq!(message.options.fixed(code::MASK).unwrap(), Some([255, 255, 255, 0]));
    assert_eq!(message.options.fixed(code::ROUTER).unwrap(), Some([10, 0, 0, 254]));
    assert_eq!(message.options.fixed(code::REBINDING).unwrap(), Some(3150u32.to_be_bytes()));
    assert_eq!((message.yiaddr, message.xid), (GIVEN, 7));
}

/// tianocore/edk2 issue 6944: a proxy's offer with discovery control is counted and never kept.
#[test]
fn edk2_gets_no_discovery_control_in_a_proxys_offer() {
    let file = Some(File::Tftp(Ticket([0xab; 16]), Name::Discovery));
    let control = |kind, client, lease| {
        let bytes = written(&request(Kind::Discover), &give(kind, client, lease, file));
        let message = Message::read(&bytes).unwrap();
        assert_eq!(message.options.text(code::CLASS).as_deref(), Some("PXEClient"));
        assert_eq!(message.siaddr, US);
        assert_eq!(message.options.fixed(code::TFTP_SERVERS).unwrap(), Some(US.octets()));
        assert!(message.options.text(code::FILE).unwrap().ends_with("/discovery.efi"));
        message.options.get(code::VENDOR).unwrap().is_some()
    };
    assert!(!control(GiveKind::Offer, Client::Pxe(Platform::X64), false));
    assert!(control(GiveKind::Ack, Client::Pxe(Platform::X64), false), "port 4011");
    assert!(control(GiveKind::Offer, Client::Pxe(Platform::X64), true), "with an address");
    assert!(control(GiveKind::Offer, Client::Pxe(Platform::Bios), false), "old ROMs need it");
}

#[test]
fn an_agent_gets_url_and_ticket_and_a_relay_a_broadcast_nak() {
    let mut reply = give(GiveKind::Ack, Client::Agent, true, None);
    if let Reply::Give(give) = &mut reply {
        (give.api, give.ticket) = (true, Some(Ticket([0xab; 16])));
    }
    let bytes = written(&request(Kind::Request), &reply);
    let message = Message::read(&bytes).unwrap();
    assert_eq!(message.options.text(code::API_URL).as_deref(), Some("https://10.0.0.1:8443"));
    assert_eq!(message.options.text(code::TICKET), Some("ab".repeat(16)));
    assert_eq!(message.options.text(code::CLASS), None);
    let relayed = BootRequest { relay: Some(RELAY), ..request(Kind::Request) };
    let bytes = written(&relayed, &Reply::Refuse { server: US, why: "not its own" });
    let nak = Message::read(&bytes).unwrap();
    assert_eq!((nak.flags, nak.giaddr, nak.yiaddr), (0x8000, RELAY, Ipv4Addr::UNSPECIFIED));
    assert_eq!(nak.options.text(code::MESSAGE).as_deref(), Some("not its own"));
    // Nor has an answer of a proxy an address that a relay could send it to.
    let proxied = written(&relayed, &give(GiveKind::Offer, Client::Ipxe(Platform::Bios), false, None));
    let leased = written(&relayed, &give(GiveKind::Offer, Client::Ipxe(Platform::Bios), true, None));
    assert_eq!([proxied, leased].map(|bytes| Message::read(&bytes).unwrap().flags), [0x8000, 0]);
}

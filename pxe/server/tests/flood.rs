//! A flood of invented machines: memory stays bounded, the disk is left alone, and known hosts are served all along.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use appliance_model::{Mac, Now};
use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v4::{DhcpOption, Message, MessageType, Opcode},
};
use pxe_server::{Clock, Config, PxeServer, Stance, wire};

const US: Ipv4Addr = Ipv4Addr::LOCALHOST;
const HOST: Mac = Mac([2, 0, 0, 0, 0, 1]);
const FLOOD: u32 = 100_000;

fn config() -> Config {
    let text = r#"
        address = "127.0.0.1"
        subnet = "127.0.0.0/16"
        api_url = "https://127.0.0.1:8443"
        relays = ["127.0.0.1"]
        dhcp_port = 0
        boot_server_port = 0
        http_port = 0
        tftp_port = 0
        pool = { first = "127.0.1.0", last = "127.0.4.255" }
    "#;
    toml::from_str::<wire::Config>(text).unwrap().try_into().unwrap()
}

fn message(kind: MessageType, mac: [u8; 6]) -> Message {
    let unset = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(0xabcd, unset, unset, unset, US, &mac);
    message.set_opcode(Opcode::BootRequest);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    let class = b"HTTPClient:Arch:00016:UNDI:003001".to_vec();
    message.opts_mut().insert(DhcpOption::ClassIdentifier(class));
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

/// The answer of that type to the known host.  It repeats itself as a client does, since a full socket may lose a packet;
/// so a second answer to an earlier question may come, too.
fn ask(socket: &UdpSocket, message: &Message, wanted: MessageType) -> Message {
    let mut buffer = [0; 1500];
    for _ in 0..100 {
        socket.send(&bytes(message)).unwrap();
        while let Ok(length) = socket.recv(&mut buffer) {
            let answer = Message::decode(&mut Decoder::new(&buffer[..length])).unwrap();
            if answer.chaddr() == HOST.0 && answer.opts().msg_type() == Some(wanted) {
                return answer;
            }
        }
    }
    panic!("the known host got no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_strangers_neither_fill_memory_nor_starve_a_known_host() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("discovery.efi");
    std::fs::write(&path, b"MZ").unwrap();
    let clock = Clock::new(|| Now(1_000_000));
    let state = dir.path().join("pxe");
    let (handle, server) = PxeServer::start(config().with_image(&path), &state, clock).await.unwrap();
    let running = tokio::spawn(server.run());
    handle.set_stance(HOST, Stance::Discover).await.unwrap();
    let at = handle.dhcp_addresses()[0];
    let before = std::fs::metadata(state.join("journal.jsonl")).unwrap().len();
    let flooded = tokio::task::spawn_blocking(move || {
        let flood = UdpSocket::bind((US, 0)).unwrap();
        let host = UdpSocket::bind((US, 0)).unwrap();
        host.connect(at).unwrap();
        host.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut packet = bytes(&message(MessageType::Discover, [2, 9, 0, 0, 0, 0]));
        let mut served = 0;
        for n in 0..FLOOD {
            packet[30..34].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
            flood.send_to(&packet, at).unwrap();
            if n % 10_000 == 5_000 {
                let offer = ask(&host, &message(MessageType::Discover, HOST.0), MessageType::Offer);
                let mut request = message(MessageType::Request, HOST.0);
                request.opts_mut().insert(DhcpOption::ServerIdentifier(US));
                request.opts_mut().insert(DhcpOption::RequestedIpAddress(offer.yiaddr()));
                assert_eq!(ask(&host, &request, MessageType::Ack).yiaddr(), offer.yiaddr());
                served += 1;
            }
        }
        served
    });
    assert_eq!(flooded.await.unwrap(), 10);
    // Strangers hold three quarters of the pool at most, and the recorder's budget for them is 16 MiB.
    assert!(handle.leases().len() <= 1024 / 4 * 3 + 1, "{}", handle.leases().len());
    assert!(handle.recorded_bytes() <= 64 << 20, "{}", handle.recorded_bytes());
    assert!(handle.counters().packets > u64::from(FLOOD / 10), "{:?}", handle.counters());
    let grown = std::fs::metadata(state.join("journal.jsonl")).unwrap().len() - before;
    assert!(grown < 20_000, "offers cost the disk nothing; the known host's leases cost {grown} bytes");
    assert!(!running.is_finished());
    running.abort();
}

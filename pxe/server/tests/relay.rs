//! The server over real sockets, asked as a relay asks: unicast, high ports, no root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use appliance_model::{Digest, Mac, Now, Ticket};
use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v4::{DhcpOption, Message, MessageType, Opcode, OptionCode},
};
use pxe_server::{
    Clock, Config, Handle, PxeServer, RedeemError, StartError, TicketRefusal,
    recorder::{Note, Quiet},
    wire,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

const US: Ipv4Addr = Ipv4Addr::LOCALHOST;
const HTTP: &str = "HTTPClient:Arch:00016:UNDI:003001";
const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

struct Site {
    handle: Handle,
    seconds: Arc<AtomicU64>,
    relay: UdpSocket,
}

fn config() -> Config {
    let text = r#"
        address = "127.0.0.1"
        subnet = "127.0.0.0/16"
        api_url = "https://127.0.0.1:8443"
        relays = ["127.0.0.1"]
        dhcp_port = 0
        http_port = 0
        tftp_port = 0
        boot_server_port = 0
        pool = { first = "127.0.0.100", last = "127.0.0.107" }
    "#;
    toml::from_str::<wire::Config>(text).unwrap().try_into().unwrap()
}

fn image() -> Vec<u8> {
    let mut image = b"MZ".to_vec();
    image.extend((0..3_000_000u32).map(|n| n.to_le_bytes()[1]));
    image
}

async fn start(dir: &Path) -> Site {
    let path = dir.join("discovery.efi");
    std::fs::write(&path, image()).unwrap();
    let seconds = Arc::new(AtomicU64::new(1000));
    let clock = {
        let seconds = Arc::clone(&seconds);
        Clock::new(move || Now(seconds.load(Ordering::Relaxed) * 1000))
    };
    let config = config().with_image(&path);
    let (handle, server) = PxeServer::start(config, &dir.join("pxe"), clock).await.unwrap();
    tokio::spawn(server.run());
    let relay = UdpSocket::bind((US, 0)).await.unwrap();
    Site { handle, seconds, relay }
}

fn message(kind: MessageType, mac: Mac, class: &str) -> Message {
    let unset = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(0xabcd, unset, unset, unset, US, &mac.0);
    message.set_opcode(Opcode::BootRequest);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    message.opts_mut().insert(DhcpOption::ClassIdentifier(class.as_bytes().to_vec()));
    message
}

impl Site {
    async fn send(&self, message: &Message) {
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).unwrap();
        self.relay.send_to(&bytes, self.handle.dhcp_addresses()[0]).await.unwrap();
    }

    async fn ask(&self, message: &Message) -> Message {
        self.send(message).await;
        let mut buffer = [0; 1500];
        let answer = tokio::time::timeout(Duration::from_secs(60), self.relay.recv(&mut buffer));
        let length = answer.await.expect("an answer").unwrap();
        assert!(length >= 300);
        Message::decode(&mut Decoder::new(&buffer[..length])).unwrap()
    }

    /// DISCOVER to ACK; gives the address and the boot URL's path.
    async fn boot(&self, mac: Mac) -> (Ipv4Addr, String) {
        let offer = self.ask(&message(MessageType::Discover, mac, HTTP)).await;
        assert_eq!(offer.opts().msg_type(), Some(MessageType::Offer));
        let mut request = message(MessageType::Request, mac, HTTP);
        request.opts_mut().insert(DhcpOption::ServerIdentifier(US));
        request.opts_mut().insert(DhcpOption::RequestedIpAddress(offer.yiaddr()));
        let ack = self.ask(&request).await;
        assert_eq!(ack.opts().msg_type(), Some(MessageType::Ack));
        assert_eq!(ack.yiaddr(), offer.yiaddr());
        assert_eq!(url(&ack), url(&offer));
        let base = format!("http://{}", self.handle.http_address());
        (ack.yiaddr(), url(&ack).strip_prefix(&base).unwrap().to_owned())
    }

    async fn http(&self, request: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.handle.http_address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        (String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase(), bytes[end..].to_vec())
    }
}

fn url(message: &Message) -> String {
    assert_eq!(
        message.opts().get(OptionCode::ClassIdentifier),
        Some(&DhcpOption::ClassIdentifier(b"HTTPClient".to_vec()))
    );
    let Some(DhcpOption::BootfileName(name)) = message.opts().get(OptionCode::BootfileName) else {
        panic!("no boot file: {message}");
    };
    let field = message.fname().unwrap();
    assert_eq!(field.strip_suffix(b"\0").unwrap_or(field), name.as_slice());
    String::from_utf8(name.clone()).unwrap()
}

fn ticket(path: &str) -> Ticket {
    path.split('/').nth(2).unwrap().parse().unwrap()
}

fn get(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: us\r\nConnection: close\r\n{more}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_boots_and_its_agent_spends_the_ticket() {
    let dir = tempfile::tempdir().unwrap();
    let site = start(dir.path()).await;
    let (address, path) = site.boot(A).await;
    assert_eq!(address.octets()[..3], [127, 0, 0]);

    let (head, body) = site.http(&get("HEAD", &path, "")).await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-length: 3000002"), "{head}");
    assert!(body.is_empty());
    let (head, body) = site.http(&get("GET", &path, "")).await;
    assert!(head.contains("content-length: 3000002") && body == image(), "{head}");
    let (head, body) = site.http(&get("GET", &path, "Range: bytes=2-5\r\n")).await;
    assert!(head.starts_with("http/1.1 206") && head.contains("content-range: bytes 2-5/3000002"), "{head}");
    assert_eq!(body, image()[2..6]);
    let (head, _) = site.http(&get("POST", &path, "")).await;
    assert!(head.starts_with("http/1.1 405"), "{head}");

    let agent = site.ask(&message(MessageType::Discover, A, "scalerforge-agent")).await;
    assert_eq!(agent.yiaddr(), address, "firmware and agent share the address");
    let Some(DhcpOption::Unknown(api)) = agent.opts().get(OptionCode::Unknown(224)) else {
        panic!("no API URL: {agent}");
    };
    assert_eq!(api.data(), b"https://127.0.0.1:8443");

    let now = Now(1_000_000);
    let boot = Digest([7; 32]);
    let shown = ticket(&path);
    let refused = site.handle.redeem(shown, &[B], boot, now).await.unwrap_err();
    assert_eq!(refused, RedeemError::Refused(TicketRefusal::OtherMachine { ticket: shown, issued_to: A }));
    assert_eq!(site.handle.redeem(shown, &[B, A], boot, now).await, Ok(A));
    assert_eq!(site.handle.redeem(shown, &[A], boot, now).await, Ok(A), "a repeated hello");
    assert!(site.handle.redeem(shown, &[A], Digest([8; 32]), now).await.is_err());
    let (head, _) = site.http(&get("GET", &path, "")).await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    let (head, _) = site.http(&get("GET", "/etc/passwd", "")).await;
    assert!(head.starts_with("http/1.1 404"), "{head}");

    let counters = site.handle.counters();
    assert_eq!((counters.unknown_tickets, counters.odd_requests), (1, 2));
    let story = site.handle.story(A).unwrap();
    let told = |words: &str| story.iter().any(|line| line.text.contains(words));
    assert!(told("loaded discovery.efi, 3000002 bytes"), "{story:#?}");
    assert!(told("its agent came up"), "{story:#?}");
    assert!(site.handle.capture(A).unwrap().len() > 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let site = start(dir.path()).await;
    let (address, path) = site.boot(A).await;
    let (_, spent) = site.boot(B).await;
    let boot = Digest([7; 32]);
    site.handle.redeem(ticket(&spent), &[B], boot, Now(1_000_000)).await.unwrap();

    // What a `kill -9` at this moment would leave behind: the file as it is, nothing flushed by us.
    let after = tempfile::tempdir().unwrap();
    std::fs::create_dir(after.path().join("pxe")).unwrap();
    let file = Path::new("pxe").join("journal.jsonl");
    std::fs::copy(dir.path().join(&file), after.path().join(&file)).unwrap();
    let second = start(after.path()).await;
    let (same_address, same_path) = second.boot(A).await;
    assert_eq!((same_address, ticket(&same_path)), (address, ticket(&path)));
    let (head, _) = second.http(&get("HEAD", &same_path, "")).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let again = second.handle.redeem(ticket(&spent), &[B], Digest([9; 32]), Now(1_000_000)).await;
    assert!(matches!(again, Err(RedeemError::Refused(TicketRefusal::Spent { .. }))), "{again:?}");
    let repeated = second.handle.redeem(ticket(&spent), &[B], boot, Now(1_000_000)).await;
    assert_eq!(repeated, Ok(B));
}

#[tokio::test(flavor = "multi_thread")]
async fn stances_and_strange_packets() {
    let dir = tempfile::tempdir().unwrap();
    let site = start(dir.path()).await;
    let mut events = site.handle.subscribe();
    site.handle.set_stance(A, pxe_server::Stance::Ignore).await.unwrap();
    site.send(&message(MessageType::Discover, A, HTTP)).await;
    let event = tokio::time::timeout(Duration::from_secs(60), events.recv()).await.unwrap().unwrap();
    assert_eq!((event.mac, event.at), (A, Now(1_000_000)));
    assert!(matches!(event.note, Note::Unanswered { quiet: Quiet::Told, .. }), "{event:?}");

    site.relay.send_to(&[1; 40], site.handle.dhcp_addresses()[0]).await.unwrap();
    let mut foreign = message(MessageType::Discover, B, HTTP);
    foreign.set_giaddr(Ipv4Addr::new(127, 0, 0, 9));
    site.send(&foreign).await;
    let mut wrong = message(MessageType::Request, B, HTTP);
    wrong.opts_mut().insert(DhcpOption::RequestedIpAddress(Ipv4Addr::new(192, 168, 1, 1)));
    assert_eq!(site.ask(&wrong).await.opts().msg_type(), Some(MessageType::Nak));
    let counters = site.handle.counters();
    assert_eq!((counters.odd_packets, counters.foreign_relays), (1, 1));

    let pxe = site.ask(&message(MessageType::Discover, B, "PXEClient:Arch:00007:UNDI:003001")).await;
    assert_eq!(pxe.siaddr(), US);
    let tftp = UdpSocket::bind((US, 0)).await.unwrap();
    tftp.send_to(b"\0\x01refused-http-follows\0octet\0", site.handle.tftp_address()).await.unwrap();
    let mut buffer = [0; 100];
    let length =
        tokio::time::timeout(Duration::from_secs(60), tftp.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer[..length], b"\0\x05\0\x01use HTTP boot\0");
    site.seconds.store(9000, Ordering::Relaxed);
    let first = site.boot(B).await;
    assert_eq!(site.handle.counters().reasons.get("odd_packet_short"), Some(&1));
    site.seconds.store(9601, Ordering::Relaxed);
    assert_ne!(site.boot(B).await.1, first.1, "an old ticket is replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_said_in_one_paragraph() {
    let dir = tempfile::tempdir().unwrap();
    let clock = || Clock::new(|| Now(0));
    let missing = dir.path().join("nothing.efi");
    let state = dir.path().join("pxe");
    let start = async |path: &Path| PxeServer::start(config().with_image(path), &state, clock()).await;
    let error = start(&missing).await.unwrap_err();
    assert!(matches!(error, StartError::Image { .. }));
    assert!(error.to_string().contains("nothing.efi cannot be read, so nothing can be booted"), "{error}");
    assert!(!dir.path().join("pxe").exists(), "nothing was changed");
    let text = dir.path().join("text.efi");
    std::fs::write(&text, "hello").unwrap();
    let error = start(&text).await.unwrap_err();
    assert!(error.to_string().contains("does not start as a PE image does"), "{error}");
}

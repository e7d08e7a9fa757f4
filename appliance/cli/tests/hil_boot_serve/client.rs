//! Machines that boot by UEFI HTTP: DHCP with bytes of our own making, and an HTTP GET.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::lan::Lan;

/// A client repeats itself after this; answers come within milliseconds, fsync included.
const REPEAT: Duration = Duration::from_secs(2);
/// Far more than a busy machine needs.
const TRIES: usize = 25;
const PATIENCE: Duration = Duration::from_secs(50);

const CLASS: &[u8] = b"HTTPClient:Arch:00016:UNDI:003001";

/// What a server promised.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) address: Ipv4Addr,
    pub(crate) url: String,
    server: Ipv4Addr,
}

/// UDP port 68 on one interface, shared by any number of invented machines.
pub(crate) struct Client {
    socket: UdpSocket,
}

/// The client, used from the other side of the cable.
pub(crate) struct Wire<'a> {
    pub(crate) client: Arc<Client>,
    pub(crate) lan: &'a Lan,
}

impl Wire<'_> {
    pub(crate) fn offer(&self, mac: [u8; 6]) -> Offer {
        self.lan.on(&self.client, move |client| client.ask(mac, 1, None))
    }

    pub(crate) fn take(&self, mac: [u8; 6], offer: &Offer) -> Offer {
        let offer = offer.clone();
        self.lan.on(&self.client, move |client| client.ask(mac, 3, Some(&offer)))
    }

    /// Asks and does not wait.
    pub(crate) fn say_discover(&self, mac: [u8; 6]) {
        self.lan.on(&self.client, move |client| client.send(&request(mac, 1, None)));
    }

    pub(crate) fn configure(&self, address: Ipv4Addr) {
        self.lan.address_there(address.to_string());
    }

    /// The body behind a URL of ours.
    pub(crate) fn fetch(&self, url: &str) -> Vec<u8> {
        let url = url.to_owned();
        self.lan.on(&self.client, move |_| get(&url))
    }
}

impl Client {
    pub(crate) fn open(interface: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        socket.bind_device(Some(interface.as_bytes())).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(REPEAT)).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68)).into()).unwrap();
        Self { socket: socket.into() }
    }

    fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, (Ipv4Addr::BROADCAST, 67)).unwrap();
    }

    /// Repeats a question until the answer to it comes.
    fn ask(&self, mac: [u8; 6], kind: u8, offer: Option<&Offer>) -> Offer {
        let mut buffer = [0; 1500];
        for _ in 0..TRIES {
            self.send(&request(mac, kind, offer));
            while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
                // An OFFER answers a DISCOVER, an ACK a REQUEST.
                let expected = if kind == 1 { 2 } else { 5 };
                if let Some(answer) = reply(&buffer[..length], mac, expected) {
                    return answer;
                }
            }
        }
        panic!("no answer to message type {kind}")
    }
}

fn request(mac: [u8; 6], kind: u8, offer: Option<&Offer>) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&[9, 9, 9, mac[5]]);
    bytes[10] = 0x80;
    bytes[28..34].copy_from_slice(&mac);
    bytes.extend([99, 130, 83, 99, 53, 1, kind, 93, 2, 0, 16, 94, 3, 1, 3, 1]);
    bytes.extend([60, u8::try_from(CLASS.len()).unwrap()]);
    bytes.extend(CLASS);
    if let Some(offer) = offer {
        bytes.extend([&[50, 4], &offer.address.octets()[..], &[54, 4], &offer.server.octets()].concat());
    }
    bytes.push(255);
    bytes.resize(300, 0);
    bytes
}

fn reply(bytes: &[u8], mac: [u8; 6], kind: u8) -> Option<Offer> {
    if bytes.first() != Some(&2) || bytes.get(28..34) != Some(&mac) {
        return None;
    }
    let (mut told, mut url, mut server) = (0, String::new(), Ipv4Addr::UNSPECIFIED);
    let mut rest = bytes.get(240..)?;
    while let [code, length, after @ ..] = rest {
        let (value, after) = after.split_at_checked(usize::from(*length))?;
        match code {
            53 => told = *value.first()?,
            54 => server = Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?),
            67 => url = String::from_utf8(value.to_vec()).ok()?,
            255 => break,
            _ => {}
        }
        rest = after;
    }
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(16..20)?).ok()?);
    (told == kind).then_some(Offer { address, url, server })
}

fn get(url: &str) -> Vec<u8> {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    answer.split_off(end + 4)
}

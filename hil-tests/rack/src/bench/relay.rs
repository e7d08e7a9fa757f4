//! A relay agent of our own (RFC 1542, RFC 3046), stricter than those in use: it marks each request with option 82 and
//! passes on no answer that does not bring the mark back byte for byte.
//!
//! On request it also plays a card with plain PXE in its ROM: QEMU has none but iPXE, so from a machine's first
//! transaction it takes away what iPXE says of itself.  What it refused stands in `relay.log`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::error::RackError;

const PORT: u16 = 67;

/// Fields before the options, and the cookie (RFC 951, RFC 2131).
const FIXED_BYTES: usize = 240;

/// No relay makes a shorter one (RFC 1542, 2.1).
const MESSAGE_BYTES_MIN: usize = 300;

const MESSAGE_BYTES_MAX: usize = 4096;

/// Requests that went round more relays than this are dropped (RFC 1542, 4.1.1).
const HOPS_MAX: u8 = 16;

const PAD: u8 = 0;
const USER_CLASS: u8 = 77;
const AGENT_INFORMATION: u8 = 82;
const IPXE: u8 = 175;
const END: u8 = 255;

/// What is done beside passing on.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// Our address on the machines' LAN.
    pub(crate) own: Ipv4Addr,
    /// Where requests go.
    pub(crate) servers: Vec<Ipv4Addr>,
    /// Each machine's first transaction loses iPXE's options.
    pub(crate) plain_pxe: bool,
}

/// A relay at work; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    refused: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

/// The relay's two sockets, made inside its namespace.
#[derive(Debug)]
pub(crate) struct Sockets {
    machines: std::net::UdpSocket,
    servers: std::net::UdpSocket,
}

impl Sockets {
    /// One on `port`, for broadcasts, and one for what is sent to `own`.
    pub(crate) fn open(port: &str, own: Ipv4Addr) -> io::Result<Self> {
        let open = |address: Ipv4Addr, device: Option<&[u8]>| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_reuse_address(true)?;
            socket.set_broadcast(true)?;
            socket.bind_device(device)?;
            socket.set_nonblocking(true)?;
            socket.bind(&SocketAddrV4::new(address, PORT).into())?;
            Ok::<_, io::Error>(socket.into())
        };
        Ok(Self { machines: open(Ipv4Addr::UNSPECIFIED, Some(port.as_bytes()))?, servers: open(own, None)? })
    }
}

impl Relay {
    /// Begins to relay; writes into `folder`.
    pub(crate) fn start(sockets: Sockets, habits: Habits, folder: &Path) -> Result<Self, RackError> {
        let adopt = |socket| UdpSocket::from_std(socket).map_err(RackError::io("watch a socket of", folder));
        let (machines, servers) = (adopt(sockets.machines)?, adopt(sockets.servers)?);
        let refused = Arc::<Mutex<String>>::default();
        let (words, file) = (Arc::clone(&refused), folder.join("relay.log"));
        let task = tokio::spawn(async move {
            let mut desk = Desk { habits, first: HashMap::new() };
            loop {
                if let Err(why) = one(&mut desk, &machines, &servers).await {
                    let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                    let _ = writeln!(words, "{why}");
                    // A log that cannot be written is missed by whoever looks for it; the count stands.
                    let _ = std::fs::write(&file, words.as_bytes());
                }
            }
        });
        Ok(Self { refused, task })
    }

    /// What was not passed on, and why; a line each.
    pub(crate) fn refused(&self) -> String {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes one message on, or says why not.
async fn one(desk: &mut Desk, machines: &UdpSocket, servers: &UdpSocket) -> Result<(), String> {
    let (mut asked, mut told) = ([0; MESSAGE_BYTES_MAX], [0; MESSAGE_BYTES_MAX]);
    let broken = |error: io::Error| error.to_string();
    tokio::select! {
        came = machines.recv_from(&mut asked) => {
            let (count, from) = came.map_err(broken)?;
            let request = desk.up(asked.get(..count).unwrap_or_default()).map_err(|why| format!("from {from}: {why}"))?;
            for server in desk.habits.servers.clone() {
                servers.send_to(&request, (server, PORT)).await.map_err(|error| format!("to {server}: {error}"))?;
            }
        }
        came = servers.recv_from(&mut told) => {
            let (count, from) = came.map_err(broken)?;
            let reply = desk.down(told.get(..count).unwrap_or_default()).map_err(|why| format!("from {from}: {why}"))?;
            // To all: the machine may not own its address yet.
            let all = SocketAddr::from((Ipv4Addr::BROADCAST, 68));
            machines.send_to(&reply, all).await.map_err(broken)?;
        }
    }
    Ok(())
}

struct Desk {
    habits: Habits,
    /// Each machine's first transaction.
    first: HashMap<[u8; 6], [u8; 4]>,
}

type Options = Vec<(u8, Vec<u8>)>;

impl Desk {
    /// A request as it goes on to the servers.
    fn up(&mut self, message: &[u8]) -> Result<Vec<u8>, &'static str> {
        let (mut head, mut options) = read(message, 1)?;
        if options.iter().any(|(code, _)| *code == AGENT_INFORMATION) {
            return Err("a machine that says what only a relay may say");
        }
        let hops = head.get_mut(3).ok_or("too short")?;
        *hops = hops.checked_add(1).filter(|hops| *hops <= HOPS_MAX).ok_or("too many hops")?;
        let (mac, transaction) = (part::<6>(&head, 28)?, part::<4>(&head, 4)?);
        head.get_mut(24..28).ok_or("too short")?.copy_from_slice(&self.habits.own.octets());
        let first = *self.first.entry(mac).or_insert(transaction) == transaction;
        if self.habits.plain_pxe && first {
            options.retain(|(code, _)| !matches!(*code, USER_CLASS | IPXE));
        }
        options.push((AGENT_INFORMATION, mark(mac)));
        Ok(written(head, &options))
    }

    /// An answer as it goes on to the machine.
    fn down(&self, message: &[u8]) -> Result<Vec<u8>, &'static str> {
        let (head, mut options) = read(message, 2)?;
        if part::<4>(&head, 24)? != self.habits.own.octets() {
            return Err("an answer that names another relay");
        }
        let mark = (AGENT_INFORMATION, mark(part(&head, 28)?));
        let before = options.len();
        options.retain(|option| *option != mark);
        if before.checked_sub(options.len()) != Some(1) {
            return Err("an answer that does not bring option 82 back as it was, once");
        }
        if options.iter().any(|(code, _)| *code == AGENT_INFORMATION) {
            return Err("an answer with an option 82 that is not ours");
        }
        Ok(written(head, &options))
    }
}

/// Circuit and remote id: a switch port's name, and the machine's address.
fn mark(mac: [u8; 6]) -> Vec<u8> {
    let mut value = vec![1, 7];
    value.extend(b"far/1/1");
    value.extend([2, 6]);
    value.extend(mac);
    value
}

fn part<const N: usize>(head: &[u8], at: usize) -> Result<[u8; N], &'static str> {
    let bytes = head.get(at..at.saturating_add(N)).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or("too short")
}

/// The fixed part with the cookie, and the options.
fn read(message: &[u8], direction: u8) -> Result<(Vec<u8>, Options), &'static str> {
    let (head, mut rest) = message.split_at_checked(FIXED_BYTES).ok_or("too short")?;
    if head.first() != Some(&direction) || !head.ends_with(&[99, 130, 83, 99]) {
        return Err("no DHCP, or in the wrong direction");
    }
    let mut options = Vec::new();
    loop {
        match rest {
            [] | [END, ..] => return Ok((head.to_vec(), options)),
            [PAD, behind @ ..] => rest = behind,
            [code, length, behind @ ..] => {
                let (value, behind) = behind.split_at_checked((*length).into()).ok_or("an option is cut")?;
                options.push((*code, value.to_vec()));
                rest = behind;
            }
            [_] => return Err("an option is cut"),
        }
    }
}

fn written(mut message: Vec<u8>, options: &[(u8, Vec<u8>)]) -> Vec<u8> {
    for (code, value) in options {
        // Each came with a length of one byte, and ours is short.
        let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
        message.extend([*code, length]);
        message.extend(value);
    }
    message.push(END);
    message.resize(message.len().max(MESSAGE_BYTES_MIN), PAD);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> Desk {
        let own = Ipv4Addr::new(10, 79, 0, 1);
        Desk { habits: Habits { own, servers: Vec::new(), plain_pxe: true }, first: HashMap::new() }
    }

    fn message(direction: u8, transaction: u8, options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 236];
        (message[0], message[7], message[33]) = (direction, transaction, 9);
        message.extend([99, 130, 83, 99]);
        message.extend(options);
        message
    }

    #[test]
    fn a_request_gets_the_mark_and_only_an_answer_with_it_passes() {
        let mut desk = desk();
        let first = desk.up(&message(1, 1, &[53, 1, 1, 77, 4, b'i', b'P', b'X', b'E', 175, 0, 255])).unwrap();
        let (head, options) = read(&first, 1).unwrap();
        assert_eq!((head[3], &head[24..28]), (1, &[10, 79, 0, 1][..]));
        assert_eq!(options, [(53, vec![1]), (82, mark([0, 0, 0, 0, 0, 9]))], "it is not known as iPXE");
        let later = desk.up(&message(1, 2, &[77, 1, 7, 255])).unwrap();
        assert_eq!(read(&later, 1).unwrap().1[0], (77, vec![7]), "iPXE that was loaded is itself");

        let answer = |options: &[(u8, Vec<u8>)]| {
            let mut head = message(2, 1, &[]);
            head[24..28].copy_from_slice(&[10, 79, 0, 1]);
            desk.down(&written(head, options)).map(|reply| read(&reply, 2).unwrap().1)
        };
        let mark = || (82, mark([0, 0, 0, 0, 0, 9]));
        assert_eq!(answer(&[(53, vec![2]), mark()]), Ok(vec![(53, vec![2])]));
        for bad in [vec![], vec![mark(), mark()], vec![(82, vec![1])], vec![mark(), (82, vec![1])]] {
            assert!(answer(&bad).is_err(), "{bad:?}");
        }
        for bad in [&message(2, 1, &[])[..], &message(1, 1, &[82, 0]), &message(1, 1, &[53]), &[0; 9]] {
            assert!(desk.up(bad).is_err());
        }
    }
}

//! One client: its socket, what it has, what it says next.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::Plan;

/// A client asks again after so much silence, as most firmware does.
const PATIENCE: Duration = Duration::from_secs(1);
/// And gives up after so many times.
const AGAIN_MAX: u32 = 10;
/// Largest datagram there is.
const PACKET_BYTES_MAX: usize = 65_536;

/// What a packet meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// There was none.
    Nothing,
    /// Nothing to answer yet.
    Something,
    /// This is to be sent; after the last one the client has the file.
    Answer {
        /// The packet.
        packet: Vec<u8>,
        /// The file is whole.
        last: bool,
    },
    /// The client gives up.
    Failed,
}

/// What one client saw.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) bytes: u64,
    pub(super) again: u64,
    pub(super) gaps: u64,
    pub(super) twice: u64,
    pub(super) agreed: (u16, u16),
    pub(super) failure: Option<String>,
}

pub(super) struct Client<'a> {
    socket: UdpSocket,
    server: SocketAddr,
    file: &'a [u8],
    request: Vec<u8>,
    /// The port that answers is known.
    connected: bool,
    block: usize,
    window: u64,
    /// Blocks that arrived in order.
    have: u64,
    /// Of these, since the last answer.
    since_answer: u64,
    /// A gap was told and nothing has arrived in order since.
    gap_told: bool,
    heard_at: Instant,
    silences: u32,
    over: bool,
    packet: Vec<u8>,
    tally: Tally,
}

impl<'a> Client<'a> {
    pub(super) fn new(plan: &Plan, file: &'a [u8], now: Instant) -> anyhow::Result<Self> {
        let any: SocketAddr = if plan.server.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(any).context("a client's socket; is `ulimit -n` above the clients?")?;
        socket.set_nonblocking(true)?;
        let mut request = format!("\0\u{1}{}\0octet\0", plan.name).into_bytes();
        if plan.block > 0 || plan.window > 0 {
            request.extend_from_slice(b"tsize\x000\0");
        }
        for (option, value) in [("blksize", plan.block), ("windowsize", plan.window)] {
            if value > 0 {
                request.extend_from_slice(format!("{option}\0{value}\0").as_bytes());
            }
        }
        let tally = Tally { agreed: (512, 1), ..Tally::default() };
        Ok(Self {
            socket,
            server: plan.server,
            file,
            request,
            connected: false,
            block: 512,
            window: 1,
            have: 0,
            since_answer: 0,
            gap_told: false,
            heard_at: now,
            silences: 0,
            over: false,
            packet: vec![0; PACKET_BYTES_MAX.min(usize::from(plan.block.max(512)) + 64)],
            tally,
        })
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Sends the request.
    pub(super) fn ask(&mut self, now: Instant) -> anyhow::Result<()> {
        self.heard_at = now;
        self.socket.send_to(&self.request, self.server).context("sending a request")?;
        Ok(())
    }

    /// Sends an answer.  A failure is a lost packet: the server, or silence, will show it.
    pub(super) fn send(&self, packet: &[u8]) {
        let _ = self.socket.send(packet);
    }

    /// Takes one packet.
    pub(super) fn hear(&mut self, now: Instant) -> Heard {
        if self.over {
            // What comes now is an echo; it is taken so that the socket is quiet.
            return if self.socket.recv(&mut self.packet).is_ok() {
                Heard::Something
            } else {
                Heard::Nothing
            };
        }
        let received = if self.connected {
            self.socket.recv(&mut self.packet)
        } else {
            self.socket.recv_from(&mut self.packet).and_then(|(length, from)| {
                self.socket.connect(from)?;
                self.connected = true;
                Ok(length)
            })
        };
        let length = match received {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::Nothing,
            Err(error) => return self.fail(format!("receiving: {error}")),
        };
        self.heard_at = now;
        self.silences = 0;
        let packet = std::mem::take(&mut self.packet);
        let heard = self.understand(packet.get(..length).unwrap_or_default());
        self.packet = packet;
        heard
    }

    fn understand(&mut self, packet: &[u8]) -> Heard {
        match packet {
            [0, 6, options @ ..] if self.have == 0 => {
                if let Err(wrong) = self.agree(options) {
                    return self.fail(wrong);
                }
                Heard::Answer { packet: ack(0), last: false }
            }
            // An OACK again: the ACK of it crossed it.
            [0, 6, ..] => Heard::Something,
            [0, 3, high, low, data @ ..] => self.data(u16::from_be_bytes([*high, *low]), data),
            [0, 5, _, code, text @ ..] => {
                self.fail(format!("the server says {code}: {}", String::from_utf8_lossy(text)))
            }
            other => self.fail(format!("not TFTP: {:02x?}", other.get(..8).unwrap_or(other))),
        }
    }

    fn data(&mut self, number: u16, data: &[u8]) -> Heard {
        let expected = self.have + 1;
        let ahead = u64::from(number.wrapping_sub(low(expected)));
        if ahead > 0 {
            if ahead > self.window {
                self.tally.twice += 1;
                return Heard::Something;
            }
            self.tally.gaps += u64::from(!self.gap_told);
            if std::mem::replace(&mut self.gap_told, true) {
                return Heard::Something;
            }
            self.since_answer = 0;
            return Heard::Answer { packet: ack(self.have), last: false };
        }
        let start = usize::try_from(self.have).unwrap_or(usize::MAX).saturating_mul(self.block);
        let end = start.saturating_add(self.block).min(self.file.len());
        if self.file.get(start..end) != Some(data) {
            return self.fail(format!("block {expected} has {} bytes that are not the file's", data.len()));
        }
        self.have = expected;
        self.gap_told = false;
        self.since_answer += 1;
        self.tally.bytes += data.len() as u64;
        let last = data.len() < self.block;
        if !last && self.since_answer < self.window {
            return Heard::Something;
        }
        self.since_answer = 0;
        self.over = last;
        Heard::Answer { packet: ack(self.have), last }
    }

    fn agree(&mut self, options: &[u8]) -> Result<(), String> {
        let mut words = options.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            let number: u64 = value.parse().map_err(|_| format!("option {name} is `{value}`"))?;
            match &*name.to_ascii_lowercase() {
                "blksize" => self.block = usize::try_from(number).unwrap_or(usize::MAX),
                "windowsize" => self.window = number,
                "tsize" if number != self.file.len() as u64 => return Err(format!("tsize is {number}")),
                _ => {}
            }
        }
        let agreed = (u16::try_from(self.block), u16::try_from(self.window));
        let (Ok(block @ 8..), Ok(window @ 1..)) = agreed else {
            return Err(format!("blksize {}, windowsize {}", self.block, self.window));
        };
        self.tally.agreed = (block, window);
        Ok(())
    }

    /// Says again what nobody answered.  True if the client ends by it.
    pub(super) fn look(&mut self, now: Instant, give_up: bool) -> bool {
        if self.over {
            return false;
        }
        if give_up || self.silences > AGAIN_MAX {
            self.fail(format!("no answer after block {}, asked {} times again", self.have, self.tally.again));
            return true;
        }
        if now.duration_since(self.heard_at) >= PATIENCE {
            self.heard_at = now;
            self.silences += 1;
            self.tally.again += 1;
            self.since_answer = 0;
            if self.connected {
                self.send(&ack(self.have));
            } else {
                let _ = self.socket.send_to(&self.request, self.server);
            }
        }
        false
    }

    fn fail(&mut self, why: String) -> Heard {
        self.tally.failure = Some(why);
        self.over = true;
        Heard::Failed
    }
}

fn ack(block: u64) -> Vec<u8> {
    let [high, low] = low(block).to_be_bytes();
    vec![0, 4, high, low]
}

fn low(block: u64) -> u16 {
    u16::try_from(block & 0xffff).unwrap_or_default()
}

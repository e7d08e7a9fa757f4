//! IPMI 2.0 over LAN (RMCP+), as a BMC speaks it: cipher suites 17 and 3, RAKP, privilege levels, chassis, SEL, SDR,
//! FRU, LAN and user settings, serial over LAN.
//!
//! It is written from the specification (IPMI 2.0 revision 1.1, chapter 13 and the command chapters) and shares no
//! code with our client (`appliance/ipmi`).  It refuses sessions of IPMI 1.5, suites without integrity or encryption,
//! and anything malformed by silence.  Users, power and the log are those that Redfish shows.

mod app;
mod chassis;
mod codec;
mod crypto;
mod handshake;
mod lan;
mod sol;
mod storage;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::codec::{Message, Packet, payload};
use self::crypto::Keys;
use super::desk::Desk;
use crate::error::RackError;

/// Most sessions, half-open ones included.
const SESSIONS_MAX: usize = 16;

/// Idle life of a session (IPMI 2.0, 6.12.15).
const SESSION_SECONDS: u64 = 60;

/// How often unacknowledged console output is sent again.
const TICK: Duration = Duration::from_millis(300);

/// Which cipher suites are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpmiPolicy {
    /// SHA-256 and AES.
    pub suite_17: bool,
    /// SHA-1 and AES.
    pub suite_3: bool,
}

impl Default for IpmiPolicy {
    fn default() -> Self {
        Self { suite_17: true, suite_3: true }
    }
}

/// Completion codes (IPMI 2.0, table 5-2).
pub(crate) mod code {
    pub(crate) const OK: u8 = 0x00;
    pub(crate) const INVALID_COMMAND: u8 = 0xc1;
    pub(crate) const INVALID_LENGTH: u8 = 0xc7;
    pub(crate) const OUT_OF_RANGE: u8 = 0xc9;
    pub(crate) const NOT_PRESENT: u8 = 0xcb;
    pub(crate) const INVALID_FIELD: u8 = 0xcc;
    pub(crate) const PRIVILEGE: u8 = 0xd4;
    pub(crate) const NOT_NOW: u8 = 0xd5;
}

/// Privilege levels (IPMI 2.0, 6.8).
pub(crate) mod privilege {
    pub(crate) const USER: u8 = 2;
    pub(crate) const OPERATOR: u8 = 3;
    pub(crate) const ADMINISTRATOR: u8 = 4;
}

/// One session, from Open Session on.
#[derive(Debug)]
pub(crate) struct Session {
    console_id: u32,
    peer: SocketAddr,
    suite: crypto::Suite,
    used: Instant,
    stage: handshake::Stage,
    /// Highest that was asked for and is allowed.
    ceiling: u8,
    privilege: u8,
    user: String,
    received: Window,
    sent: u32,
    sol: Option<sol::Console>,
}

/// Which sequence numbers came already (IPMI 2.0, 6.12.13).
#[derive(Debug, Default)]
struct Window {
    highest: u32,
    seen: u32,
}

impl Window {
    fn accepts(&mut self, number: u32) -> bool {
        if number == 0 {
            return false;
        }
        if number > self.highest {
            let ahead = number - self.highest;
            if ahead > 16 && self.highest != 0 {
                return false;
            }
            self.seen = if ahead >= 32 { 0 } else { self.seen << ahead } | 1;
            self.highest = number;
            return true;
        }
        let behind = self.highest - number;
        if behind >= 16 || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

/// What one command sees.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) desk: &'a Arc<Desk>,
    pub(crate) policy: IpmiPolicy,
    pub(crate) settings: &'a mut lan::Settings,
    pub(crate) session: Option<(u32, &'a mut Session)>,
    pub(crate) serial: &'a mpsc::Sender<(u32, Vec<u8>)>,
    pub(crate) open_sessions: u8,
    pub(crate) end: bool,
}

/// The answer to a command: data, or a completion code.
pub(crate) type Reply = Result<Vec<u8>, u8>;

struct Server {
    socket: UdpSocket,
    desk: Arc<Desk>,
    policy: IpmiPolicy,
    settings: lan::Settings,
    sessions: BTreeMap<u32, Session>,
    serial: mpsc::Sender<(u32, Vec<u8>)>,
}

/// Starts listening.
pub(crate) async fn start(
    bind: SocketAddr,
    policy: IpmiPolicy,
    desk: Arc<Desk>,
) -> Result<(SocketAddr, AbortHandle), RackError> {
    let fault = || RackError::io("listen for IPMI on", bind.to_string());
    let socket = UdpSocket::bind(bind).await.map_err(fault())?;
    let address = socket.local_addr().map_err(fault())?;
    let (serial, output) = mpsc::channel(256);
    let settings = lan::Settings::new(&desk, address);
    let server = Server { socket, desk, policy, settings, sessions: BTreeMap::new(), serial };
    Ok((address, tokio::spawn(server.run(output)).abort_handle()))
}

impl Server {
    async fn run(mut self, mut output: mpsc::Receiver<(u32, Vec<u8>)>) {
        let mut bytes = vec![0_u8; 2048];
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut bytes) => {
                    if let Ok((count, peer)) = received {
                        let packet = bytes.get(..count).unwrap_or_default().to_vec();
                        self.take(&packet, peer).await;
                    }
                }
                Some((id, text)) = output.recv() => {
                    if let Some(console) = self.sessions.get_mut(&id).and_then(|session| session.sol.as_mut()) {
                        console.queue(&text);
                    }
                    self.pump(id).await;
                }
                _ = ticks.tick() => {
                    let old = Duration::from_secs(SESSION_SECONDS);
                    self.sessions.retain(|_, session| session.used.elapsed() < old || session.sol.is_some());
                    for id in self.sessions.keys().copied().collect::<Vec<_>>() {
                        self.pump(id).await;
                    }
                }
            }
        }
    }

    /// One datagram; what makes no sense gets no answer.
    async fn take(&mut self, bytes: &[u8], peer: SocketAddr) {
        if let Some(pong) = codec::pong(bytes) {
            self.send(&pong, peer).await;
            return;
        }
        let Some(packet) = codec::parse(bytes) else { return };
        match packet {
            Packet::Plain(message) => {
                if let Some(answer) = self.without_session(&message).await {
                    self.send(&codec::plain(&answer), peer).await;
                }
            }
            Packet::Plus { kind, session: 0, payload: body, .. } => {
                let answer = match kind {
                    payload::IPMI => match Message::parse(&body) {
                        Some(message) => {
                            self.without_session(&message).await.map(|bytes| (payload::IPMI, bytes))
                        }
                        None => None,
                    },
                    _ => handshake::step(&mut self.sessions, &self.desk, self.policy, kind, &body, peer),
                };
                if let Some((kind, answer)) = answer {
                    self.send(&codec::plus(kind, 0, 0, &answer), peer).await;
                }
            }
            Packet::Plus { session, .. } => self.within(session, bytes, peer).await,
        }
    }

    async fn within(&mut self, id: u32, bytes: &[u8], peer: SocketAddr) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let handshake::Stage::Open(keys) = &session.stage else { return };
        let Some((kind, sequence, body)) = codec::open(bytes, session.suite, keys) else { return };
        if !session.received.accepts(sequence) {
            return;
        }
        session.used = Instant::now();
        session.peer = peer;
        match kind {
            payload::IPMI => {
                let Some(message) = Message::parse(&body) else { return };
                let (answer, end) = self.command(&message, Some(id)).await;
                self.reply(id, payload::IPMI, &message.answer(answer)).await;
                if end {
                    self.sessions.remove(&id);
                } else {
                    self.pump(id).await;
                }
            }
            payload::SOL => {
                let answer = session.sol.as_mut().and_then(|console| console.take(&body));
                if let Some(answer) = answer {
                    self.reply(id, payload::SOL, &answer).await;
                }
                self.pump(id).await;
            }
            _ => {}
        }
    }

    /// Sends the console output that is due.
    async fn pump(&mut self, id: u32) {
        let due = self.sessions.get_mut(&id).and_then(|session| session.sol.as_mut()?.due());
        if let Some(packet) = due {
            self.reply(id, payload::SOL, &packet).await;
        }
    }

    async fn without_session(&mut self, message: &Message) -> Option<Vec<u8>> {
        if !app::is_public(message) {
            return None;
        }
        let (answer, _) = self.command(message, None).await;
        Some(message.answer(answer))
    }

    async fn command(&mut self, message: &Message, id: Option<u32>) -> (Reply, bool) {
        self.desk.catch_up();
        let open_sessions = u8::try_from(self.sessions.len()).unwrap_or(u8::MAX);
        let session = id.and_then(|id| self.sessions.get_mut(&id).map(|session| (id, session)));
        let mut context = Context {
            desk: &self.desk,
            policy: self.policy,
            settings: &mut self.settings,
            session,
            serial: &self.serial,
            open_sessions,
            end: false,
        };
        let reply = dispatch(&mut context, message).await;
        (reply, context.end)
    }

    async fn reply(&mut self, id: u32, kind: u8, body: &[u8]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let handshake::Stage::Open(keys) = &session.stage else { return };
        session.sent = session.sent.wrapping_add(1).max(1);
        let Some(bytes) = codec::seal(kind, session.console_id, session.sent, body, session.suite, keys)
        else {
            return;
        };
        let peer = session.peer;
        self.send(&bytes, peer).await;
    }

    async fn send(&self, bytes: &[u8], peer: SocketAddr) {
        if let Err(error) = self.socket.send_to(bytes, peer).await {
            tracing::debug!(error = %error, "IPMI answer not sent");
        }
    }
}

impl Context<'_> {
    /// The session's privilege; without a session the lowest.
    pub(crate) fn privilege(&self) -> u8 {
        self.session.as_ref().map_or(0, |(_, session)| session.privilege)
    }

    pub(crate) fn needs(&self, wanted: u8) -> Result<(), u8> {
        if self.privilege() >= wanted { Ok(()) } else { Err(code::PRIVILEGE) }
    }
}

/// Network functions (IPMI 2.0, table 5-1).
async fn dispatch(context: &mut Context<'_>, message: &Message) -> Reply {
    match message.function {
        0x00 => chassis::command(context, message).await,
        0x04 | 0x0a => storage::command(context, message),
        0x06 => app::command(context, message).await,
        0x0c => lan::command(context, message),
        _ => Err(code::INVALID_COMMAND),
    }
}

/// The byte at a place, or "request data length invalid".
pub(crate) fn byte(data: &[u8], at: usize) -> Result<u8, u8> {
    data.get(at).copied().ok_or(code::INVALID_LENGTH)
}

/// Two bytes, least significant first.
pub(crate) fn word(data: &[u8], at: usize) -> Result<u16, u8> {
    Ok(u16::from_le_bytes([byte(data, at)?, byte(data, at + 1)?]))
}

/// The session keys are for this module's children only.
type SessionKeys = Keys;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_takes_each_number_once() {
        let mut window = Window::default();
        for (number, wanted) in [
            (0, false),
            (5, true),
            (5, false),
            (4, true),
            (4, false),
            (21, true),
            (5, false),
            (6, true),
            (99, false),
        ] {
            assert_eq!(window.accepts(number), wanted, "{number}");
        }
    }
}

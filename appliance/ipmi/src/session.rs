//! A session over UDP: repeats what got no answer, closes what it opened.
//!
//! One request is on its way at a time: many controllers can do no more.  A request that is repeated keeps its own
//! number, so that the controller can tell it from a new one, and gets a new number of the session, without which
//! its replay window would drop it unheard.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use tokio::{net::UdpSocket, time};

use crate::{
    Policy, Suite,
    command::{Link, refused},
    error::IpmiError,
    handshake::{Entropy, Handshake, Level, Login, Progress, Refusal, Step},
    live::Live,
    message::{Answer, Family, Reply, Request},
    packet::{DATAGRAM_BYTES_MAX, Kind},
};

/// The port of IPMI over LAN.
pub const PORT: u16 = 623;
/// A controller forgets a session after 60 s without a word (22.17 allows 3 s less): half of that keeps it.
pub const KEEP_ALIVE_SECONDS: u64 = 30;
/// How often a request is put again to a controller that says it is busy.
const BUSY_TRIES_MAX: u32 = 6;
/// Serial data that waits to be read; what is beyond goes unacknowledged and is sent again.
const SERIAL_PACKETS_MAX: usize = 64;

/// How patient we are.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Wait for the first answer, milliseconds; each repetition waits half as long again.
    pub first_milliseconds: u64,
    /// How often a datagram is sent.
    pub tries: u32,
}

impl Default for Timing {
    /// Six tries in about 20 s: controllers pause for some seconds when their host is reset.
    fn default() -> Self {
        Self { first_milliseconds: 1_000, tries: 6 }
    }
}

impl Timing {
    fn wait(self, attempt: u32) -> Duration {
        let half_more = |wait: u64, _| wait.saturating_add(wait / 2).min(60_000);
        Duration::from_millis((0..attempt).fold(self.first_milliseconds, half_more))
    }
}

/// A session with a controller.  [`Session::close`] it; dropped, it says goodbye once without waiting.
#[derive(Debug)]
pub struct Session {
    host: String,
    socket: UdpSocket,
    live: Live,
    level: Level,
    timing: Timing,
    number: u8,
    open: bool,
    pub(crate) serial: VecDeque<Vec<u8>>,
}

/// What came while we waited for something else.
#[derive(Debug, Default)]
struct Heard {
    count: u32,
    last: String,
}

impl Heard {
    fn note(&mut self, what: impl std::fmt::Display) {
        self.count = self.count.saturating_add(1);
        self.last = what.to_string();
    }

    fn words(&self) -> String {
        if self.count == 0 {
            return String::new();
        }
        format!(" ({} things came that were not taken, the last: {})", self.count, self.last)
    }
}

impl Session {
    /// Opens a session, with the best suite that the policy allows, and raises it to the login's privilege.
    ///
    /// # Errors
    /// When the controller cannot be reached, refuses, or breaks the rules.
    pub async fn open(
        address: SocketAddr,
        login: &Login,
        policy: Policy,
        timing: Timing,
    ) -> Result<Self, IpmiError> {
        let host = address.to_string();
        let mut suites = policy.suites().iter().copied().peekable();
        while let Some(suite) = suites.next() {
            match attempt(&host, address, login, suite, timing).await {
                Err(IpmiError::NoSession { source, .. })
                    if source.is_about_the_suite() && suites.peek().is_some() =>
                {
                    tracing::warn!(host, %suite, "the controller does not have the suite; the site allows a weaker one");
                }
                Err(error) => return Err(error),
                Ok((socket, live)) => {
                    let mut session = Self {
                        host,
                        socket,
                        live,
                        level: login.level(),
                        timing,
                        number: 0,
                        open: true,
                        serial: VecDeque::new(),
                    };
                    session.raise(login.level()).await?;
                    return Ok(session);
                }
            }
        }
        Err(IpmiError::CannotBe { host, why: "no cipher suite is allowed for this controller" })
    }

    /// The suite in use.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.live.suite()
    }

    /// The privilege that the session has.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Tells the controller that we are still there; to be called every [`KEEP_ALIVE_SECONDS`] of silence.
    ///
    /// # Errors
    /// When there is no answer: the session is lost.
    pub async fn keep_alive(&mut self) -> Result<(), IpmiError> {
        let request = Request::new("keeping the session alive", Family::App, 0x01, &[]);
        self.ask(&request).await.map(|_| ())
    }

    /// Closes the session (22.19).
    ///
    /// # Errors
    /// When the controller does not answer; it forgets the session by itself then.
    pub async fn close(mut self) -> Result<(), IpmiError> {
        let request = closing(&self.live);
        let answer = self.exchange(&request).await;
        self.open = false;
        match answer? {
            Answer { code: 0, .. } => Ok(()),
            Answer { code, .. } => Err(refused(&self.host, &request, code)),
        }
    }

    /// A session begins with the privilege of a user, whatever was asked for in Open Session (22.18).
    async fn raise(&mut self, level: Level) -> Result<(), IpmiError> {
        let request = Request::new("raising the session's privilege", Family::App, 0x3b, &[level.number()]);
        let answer = self.ask(&request).await?;
        if answer.code != 0 {
            return Err(refused(&self.host, &request, answer.code));
        }
        let got = answer.data.first().map_or(0, |got| got & 0x0f);
        if got < level.number() {
            let source = Refusal::Privilege { wanted: level, got };
            return Err(IpmiError::NoSession { host: self.host.clone(), source });
        }
        Ok(())
    }

    async fn exchange(&mut self, request: &Request) -> Result<Answer, IpmiError> {
        self.number = (self.number + 1) & 0x3f;
        let frame = request.frame(self.number);
        let mut heard = Heard::default();
        for attempt in 0..self.timing.tries {
            self.send(Kind::Message, &frame).await?;
            let until = time::Instant::now() + self.timing.wait(attempt);
            while let Some((kind, payload)) = self.hear(until, &mut heard).await {
                match kind {
                    Kind::Message => match Reply::read(&payload) {
                        Some(reply) if reply.answers(request, self.number) => return Ok(reply.answer),
                        Some(_) => heard.note("an answer to another request"),
                        None => heard.note("a message with a wrong checksum"),
                    },
                    Kind::Sol => self.keep_serial(payload),
                    Kind::OpenRequest
                    | Kind::OpenResponse
                    | Kind::Rakp1
                    | Kind::Rakp2
                    | Kind::Rakp3
                    | Kind::Rakp4 => heard.note("a handshake's message within the session"),
                }
            }
        }
        let (host, tries, what) = (self.host.clone(), self.timing.tries, request.what.to_owned());
        Err(IpmiError::NoAnswer { host, what, tries, heard: heard.words() })
    }

    pub(crate) fn keep_serial(&mut self, payload: Vec<u8>) {
        if self.serial.len() < SERIAL_PACKETS_MAX {
            self.serial.push_back(payload);
        }
    }

    /// Sends a payload under the next number.
    pub(crate) async fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), IpmiError> {
        let iv = random(&self.host)?;
        let over = || IpmiError::Over { host: self.host.clone(), why: "its packet numbers are used up" };
        let datagram = self.live.seal(kind, payload, iv).ok_or_else(over)?;
        match self.socket.send(&datagram).await {
            Ok(_) => Ok(()),
            // Said by an earlier datagram's fate; the repetition finds out.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
            Err(source) => Err(IpmiError::Io { host: self.host.clone(), what: "sending to", source }),
        }
    }

    /// The next payload of this session; `None` at the deadline.
    pub(crate) async fn hear_serial(&mut self, until: time::Instant) -> Option<(Kind, Vec<u8>)> {
        self.hear(until, &mut Heard::default()).await
    }

    async fn hear(&mut self, until: time::Instant, heard: &mut Heard) -> Option<(Kind, Vec<u8>)> {
        let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
        loop {
            match time::timeout_at(until, self.socket.recv(&mut buffer)).await.ok()? {
                Ok(length) => match self.live.open(buffer.get(..length).unwrap_or_default()) {
                    Ok(opened) => return Some(opened),
                    Err(unfit) => heard.note(unfit),
                },
                Err(error) => refused_port(heard, &error, until).await,
            }
        }
    }
}

impl Link for Session {
    fn host(&self) -> &str {
        &self.host
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, IpmiError> {
        let mut tries = 0;
        loop {
            let answer = self.exchange(request).await?;
            tries += 1;
            if answer.code != 0xc0 || tries == BUSY_TRIES_MAX {
                return Ok(answer);
            }
            time::sleep(Duration::from_millis(200 * u64::from(tries))).await;
        }
    }
}

impl Drop for Session {
    /// Controllers have room for a few sessions only.
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let frame = closing(&self.live).frame(self.number.wrapping_add(1));
        if let Some(datagram) =
            random(&self.host).ok().and_then(|iv| self.live.seal(Kind::Message, &frame, iv))
        {
            let _ = self.socket.try_send(&datagram);
        }
    }
}

fn closing(live: &Live) -> Request {
    Request::new("closing the session", Family::App, 0x3c, &live.id().to_le_bytes())
}

/// An ICMP message says that nobody listens.  It may be forged or of a controller that is starting, so we wait on.
async fn refused_port(heard: &mut Heard, error: &std::io::Error, until: time::Instant) {
    heard.note(format_args!("the network's word that {error}"));
    let soon = time::Instant::now() + Duration::from_millis(50);
    time::sleep_until(soon.min(until)).await;
}

fn random<const N: usize>(host: &str) -> Result<[u8; N], IpmiError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|source| IpmiError::Entropy { host: host.to_owned(), source })?;
    Ok(bytes)
}

/// One handshake; a second one if ours had to repeat itself and the controller lost the thread over it.
async fn attempt(
    host: &str,
    address: SocketAddr,
    login: &Login,
    suite: Suite,
    timing: Timing,
) -> Result<(UdpSocket, Live), IpmiError> {
    let io = |what| move |source| IpmiError::Io { host: host.to_owned(), what, source };
    let any: SocketAddr = if address.is_ipv4() { ([0u8; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.map_err(io("binding a socket for"))?;
    socket.connect(address).await.map_err(io("connecting to"))?;
    let mut repeated = false;
    match shake(host, &socket, login, suite, timing, &mut repeated).await {
        Err(IpmiError::NoSession {
            source: Refusal::Status { step: Step::Rakp1 | Step::Rakp3, status: 0x02 | 0x08, .. },
            ..
        }) if repeated => {
            let live = shake(host, &socket, login, suite, timing, &mut repeated).await?;
            Ok((socket, live))
        }
        live => Ok((socket, live?)),
    }
}

async fn shake(
    host: &str,
    socket: &UdpSocket,
    login: &Login,
    suite: Suite,
    timing: Timing,
    repeated: &mut bool,
) -> Result<Live, IpmiError> {
    let entropy = Entropy {
        session: u32::from_le_bytes(random(host)?),
        tag: u8::from_le_bytes(random(host)?),
        random: random(host)?,
    };
    let (mut handshake, mut datagram) = Handshake::start(login.clone(), suite, entropy);
    let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
    let mut heard = Heard::default();
    'step: loop {
        for attempt in 0..timing.tries {
            *repeated |= attempt > 0;
            match socket.send(&datagram).await {
                Err(source) if source.kind() != std::io::ErrorKind::ConnectionRefused => {
                    return Err(IpmiError::Io { host: host.to_owned(), what: "sending to", source });
                }
                Ok(_) | Err(_) => {}
            }
            let until = time::Instant::now() + timing.wait(attempt);
            while let Ok(received) = time::timeout_at(until, socket.recv(&mut buffer)).await {
                let length = match received {
                    Ok(length) => length,
                    Err(error) => {
                        refused_port(&mut heard, &error, until).await;
                        continue;
                    }
                };
                let refused = |source| IpmiError::NoSession { host: host.to_owned(), source };
                match handshake.receive(buffer.get(..length).unwrap_or_default()).map_err(refused)? {
                    Progress::Send(next) => {
                        datagram = next;
                        continue 'step;
                    }
                    Progress::Done(live) => return Ok(*live),
                    Progress::Ignored => heard.note("a datagram that is none of this handshake"),
                }
            }
        }
        let (what, tries) = (format!("{} ({suite})", handshake.step()), timing.tries);
        return Err(IpmiError::NoAnswer { host: host.to_owned(), what, tries, heard: heard.words() });
    }
}

//! Opening a session: Get Channel Authentication Capabilities, Open Session, RAKP 1 to 4 (IPMI 2.0, 13.15 to 13.24
//! and 22.13).  No socket, clock or dice: datagrams and entropy come in, datagrams go out.
//!
//! Everything that comes in is a stranger's until RAKP 2's code is right, and the controller's only after RAKP 4's.
//! What is not meant for this handshake is ignored; what is meant for it and wrong ends it with a name.  The suite
//! is the one that was asked for or there is no session: an answer that names another is a refusal, never a choice.

use crate::{
    bytes::Reader,
    crypto::{Password, Suite, USER_BYTES_MAX},
    live::{Keys, Live},
    message::{Family, Reply, Request, completion},
    packet::{self, DATAGRAM_BYTES_MAX, Kind},
};

/// What a session may do (table 6-1): commands below and at the level are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Reads.
    User,
    /// Power, boot flags, SOL.
    Operator,
    /// Users, LAN settings.
    Administrator,
}

impl Level {
    /// Its number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::User => 2,
            Self::Operator => 3,
            Self::Administrator => 4,
        }
    }
}

/// Who logs in, and as what.
#[derive(Debug, Clone)]
pub struct Login {
    user: String,
    password: Password,
    key: Option<Password>,
    level: Level,
}

impl Login {
    /// `None` if the user's name has more than 16 bytes, which IPMI cannot carry.
    #[must_use]
    pub fn new(user: impl Into<String>, password: Password, level: Level) -> Option<Self> {
        let user = user.into();
        (user.len() <= USER_BYTES_MAX).then_some(Self { user, password, key: None, level })
    }

    /// With the controller's own key (KG), where one is set.
    #[must_use]
    pub fn with_key(self, key: Password) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The privilege that is asked for.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }
}

/// What only chance may choose.
#[derive(Debug, Clone, Copy)]
pub struct Entropy {
    /// Our session id; zero is made one, since zero means "no session".
    pub session: u32,
    /// The tag of the handshake's messages.
    pub tag: u8,
    /// Our random number.
    pub random: [u8; 16],
}

/// Where a handshake stands: what was sent and awaits its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Get Channel Authentication Capabilities.
    Capabilities,
    /// Open Session Request.
    Open,
    /// RAKP Message 1.
    Rakp1,
    /// RAKP Message 3.
    Rakp3,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Capabilities => "Get Channel Authentication Capabilities",
            Self::Open => "Open Session",
            Self::Rakp1 => "RAKP 1",
            Self::Rakp3 => "RAKP 3",
        })
    }
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Capabilities were refused.
    #[error("{} was answered with code {code:#04x} ({}); the LAN channel may forbid the privilege asked for", Step::Capabilities, completion(*code))]
    Capabilities {
        /// Completion code.
        code: u8,
    },
    /// No IPMI 2.0.
    #[error(
        "the controller says that this LAN channel speaks no IPMI 2.0 (RMCP+); sessions of IPMI 1.5 are not \
         opened, so switch RMCP+ on in its settings or update its firmware"
    )]
    NoRmcpPlus,
    /// A status of RMCP+ that means no.
    #[error("the answer to {step} for {suite} was status {status:#04x}: {}", status_words(*status))]
    Status {
        /// What was asked.
        step: Step,
        /// With which suite.
        suite: Suite,
        /// Status (table 13-15).
        status: u8,
    },
    /// Another suite than the one asked for.
    #[error(
        "the controller answered Open Session for {asked} with the algorithms {got:?}; nothing weaker than what was \
         asked for is used. Somebody may be in between, else its firmware is broken: update it"
    )]
    OtherAlgorithms {
        /// What was asked for.
        asked: Suite,
        /// Authentication, integrity, confidentiality.
        got: [u8; 3],
    },
    /// Less privilege than asked for.
    #[error(
        "the controller grants privilege level {got} at most and {} was asked for; raise the user's or the \
         channel's limit, or ask for less", wanted.number()
    )]
    Privilege {
        /// What was wanted.
        wanted: Level,
        /// What there is.
        got: u8,
    },
    /// Too short, or with a session id of zero.
    #[error(
        "the answer to {step} has {length} bytes and is none that the specification knows; update the controller's firmware"
    )]
    Malformed {
        /// What was asked.
        step: Step,
        /// Bytes of the answer.
        length: usize,
    },
    /// RAKP 2's code is wrong.
    #[error(
        "RAKP 2 carries a wrong code: either the password is wrong, or whoever answers is not the controller that \
         knows it. It is not tried again, controllers lock accounts: correct the password in the site's file"
    )]
    Password,
    /// RAKP 4's code is wrong.
    #[error(
        "RAKP 4 carries a wrong code although the password was right: the controller has a key of its own (KG) set \
         and it is not the one given, or somebody is in between"
    )]
    Key,
}

impl Refusal {
    /// Whether the controller merely said that it does not have this suite: the one case in which another allowed
    /// suite is tried.
    #[must_use]
    pub fn is_about_the_suite(&self) -> bool {
        match self {
            Self::Status { step: Step::Open, status, .. } => {
                matches!(status, 0x04..=0x07 | 0x10 | 0x11)
            }
            Self::Status { .. }
            | Self::Capabilities { .. }
            | Self::NoRmcpPlus
            | Self::OtherAlgorithms { .. }
            | Self::Privilege { .. }
            | Self::Malformed { .. }
            | Self::Password
            | Self::Key => false,
        }
    }
}

/// Table 13-15.
fn status_words(status: u8) -> &'static str {
    match status {
        0x01 | 0x0b => {
            "it has no room for another session; wait a minute, or close the sessions of other programs"
        }
        0x02 | 0x08 => "it does not know the session; try again",
        0x04..=0x07 | 0x10 | 0x11 => {
            "it does not have the suite; switch it on in its settings, or allow suite 3 for it"
        }
        0x09 | 0x0a => {
            "the user or the channel may not have that privilege; raise its limit, or ask for less"
        }
        0x0c | 0x0d => "it does not know the user; correct the name in the site's file",
        0x0f => "our code was wrong for it: the password differs; correct it in the site's file",
        _ => "update the controller's firmware if it stays so",
    }
}

/// What a datagram led to.
#[derive(Debug)]
pub enum Progress {
    /// Send this and wait for the next.
    Send(Vec<u8>),
    /// The session stands.
    Done(Box<Live>),
    /// It was not for us; wait on.
    Ignored,
}

#[derive(Debug)]
enum State {
    Capabilities,
    Open,
    Rakp1 { theirs: u32 },
    Rakp3 { theirs: u32, guid: [u8; 16], keys: Keys },
}

/// One attempt to open one session.
#[derive(Debug)]
pub struct Handshake {
    login: Login,
    suite: Suite,
    entropy: Entropy,
    state: State,
}

impl Handshake {
    /// Begins, and says what to send.
    #[must_use]
    pub fn start(login: Login, suite: Suite, entropy: Entropy) -> (Self, Vec<u8>) {
        let entropy = Entropy { session: entropy.session.max(1), ..entropy };
        let first = packet::outside(&capabilities(login.level).frame(entropy.tag));
        (Self { login, suite, entropy, state: State::Capabilities }, first)
    }

    /// What is awaited.
    #[must_use]
    pub fn step(&self) -> Step {
        match self.state {
            State::Capabilities => Step::Capabilities,
            State::Open => Step::Open,
            State::Rakp1 { .. } => Step::Rakp1,
            State::Rakp3 { .. } => Step::Rakp3,
        }
    }

    /// Takes in a datagram.
    ///
    /// # Errors
    /// When the controller, or who speaks in its place, refuses or breaks the rules; the handshake is over then.
    pub fn receive(&mut self, datagram: &[u8]) -> Result<Progress, Refusal> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Ok(Progress::Ignored);
        }
        let expected = match self.state {
            State::Capabilities => return self.capabilities(datagram),
            State::Open => Kind::OpenResponse,
            State::Rakp1 { .. } => Kind::Rakp2,
            State::Rakp3 { .. } => Kind::Rakp4,
        };
        let Some(packet) = packet::read(datagram, 0) else { return Ok(Progress::Ignored) };
        let plain = !packet.encrypted && !packet.authenticated && packet.session == 0;
        if packet.kind != expected || !plain || packet.payload.first() != Some(&self.entropy.tag) {
            return Ok(Progress::Ignored);
        }
        let step = self.step();
        let malformed = Refusal::Malformed { step, length: packet.payload.len() };
        let mut reader = Reader::new(packet.payload);
        // Tag, status, two bytes of each message's own, our session id.  Some refusals end after the status.
        let (Some([_, status, level, _]), Some(ours)) = (reader.array(), reader.u32()) else {
            let status = packet.payload.get(1).copied().unwrap_or(0);
            return Err(if status == 0 { malformed } else { self.refused(step, status) });
        };
        if ours != self.entropy.session {
            return Ok(Progress::Ignored);
        }
        if status != 0 {
            return Err(self.refused(step, status));
        }
        match &self.state {
            State::Capabilities => Ok(Progress::Ignored),
            State::Open => self.opened(level, reader).ok_or(malformed)?,
            State::Rakp1 { theirs } => {
                let theirs = *theirs;
                self.rakp2(theirs, reader).ok_or(malformed)?
            }
            State::Rakp3 { theirs, guid, keys } => {
                let (theirs, guid, keys) = (*theirs, *guid, keys.clone());
                self.rakp4(theirs, guid, keys, reader.rest())
            }
        }
    }

    fn refused(&self, step: Step, status: u8) -> Refusal {
        Refusal::Status { step, suite: self.suite, status }
    }

    fn capabilities(&mut self, datagram: &[u8]) -> Result<Progress, Refusal> {
        let reply = packet::read_outside(datagram).and_then(Reply::read);
        let request = capabilities(self.login.level);
        let Some(reply) = reply.filter(|reply| reply.answers(&request, self.entropy.tag)) else {
            return Ok(Progress::Ignored);
        };
        if reply.answer.code != 0 {
            return Err(Refusal::Capabilities { code: reply.answer.code });
        }
        let data = reply.answer.data;
        // Channel, types (bit 7: the extended bytes are there), status, extended (bit 1: 2.0 is spoken).
        let Some([_, types, _, extended]) = data.first_chunk() else {
            return Err(Refusal::Malformed { step: Step::Capabilities, length: data.len() });
        };
        if types & 0x80 == 0 || extended & 0x02 == 0 {
            return Err(Refusal::NoRmcpPlus);
        }
        self.state = State::Open;
        let [authentication, integrity, confidentiality] = self.suite.algorithms();
        let mut payload = vec![self.entropy.tag, self.login.level.number(), 0, 0];
        payload.extend_from_slice(&self.entropy.session.to_le_bytes());
        for (kind, algorithm) in [(0, authentication), (1, integrity), (2, confidentiality)] {
            payload.extend_from_slice(&[kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        Ok(Progress::Send(packet::opening(Kind::OpenRequest, &payload)))
    }

    fn opened(&mut self, level: u8, mut reader: Reader<'_>) -> Option<Result<Progress, Refusal>> {
        let theirs = reader.u32().filter(|id| *id != 0)?;
        let mut got = [0; 3];
        for (expected, place) in (0u8..).zip(&mut got) {
            let [kind, _, _, length, algorithm, _, _, _] = reader.array()?;
            if kind != expected || length != 8 {
                return None;
            }
            *place = algorithm & 0x3f;
        }
        if got != self.suite.algorithms() {
            return Some(Err(Refusal::OtherAlgorithms { asked: self.suite, got }));
        }
        let (wanted, level) = (self.login.level, level & 0x0f);
        // Zero is said by controllers that do not fill it in; Set Session Privilege Level will tell.
        if level != 0 && level < wanted.number() {
            return Some(Err(Refusal::Privilege { wanted, got: level }));
        }
        self.state = State::Rakp1 { theirs };
        let mut payload = vec![self.entropy.tag, 0, 0, 0];
        payload.extend_from_slice(&theirs.to_le_bytes());
        payload.extend_from_slice(&self.entropy.random);
        payload.extend_from_slice(&[self.role(), 0, 0]);
        payload.extend_from_slice(&self.name());
        Some(Ok(Progress::Send(packet::opening(Kind::Rakp1, &payload))))
    }

    /// The privilege, and "look the user up by name alone" (table 13-11): some controllers find no user otherwise.
    fn role(&self) -> u8 {
        0x10 | self.login.level.number()
    }

    /// The user's name behind its length, as it is sent and authenticated.
    fn name(&self) -> Vec<u8> {
        let user = self.login.user.as_bytes();
        let length = u8::try_from(user.len()).unwrap_or(0);
        [&[length][..], user].concat()
    }

    fn rakp2(&mut self, theirs: u32, mut reader: Reader<'_>) -> Option<Result<Progress, Refusal>> {
        let random: [u8; 16] = reader.array()?;
        let guid: [u8; 16] = reader.array()?;
        let code = reader.rest();
        let length = self.suite.exchange_length();
        if code.len() != length {
            return None;
        }
        let (password, role, name) = (self.login.password.reveal(), [self.role()], self.name());
        let (ours, ours_random) = (self.entropy.session.to_le_bytes(), self.entropy.random);
        let parts: [&[u8]; 7] = [&ours, &theirs.to_le_bytes(), &ours_random, &random, &guid, &role, &name];
        if !self.suite.verifies(password, &parts, code, length) {
            return Some(Err(Refusal::Password));
        }
        let answer = self.suite.hmac(password, &[&random, &ours, &role, &name]);
        let key = self.login.key.as_ref().unwrap_or(&self.login.password).reveal();
        let keys = Keys::derive(self.suite, key, &[&ours_random, &random, &role, &name]);
        self.state = State::Rakp3 { theirs, guid, keys };
        let mut payload = vec![self.entropy.tag, 0, 0, 0];
        payload.extend_from_slice(&theirs.to_le_bytes());
        payload.extend_from_slice(&answer);
        Some(Ok(Progress::Send(packet::opening(Kind::Rakp3, &payload))))
    }

    fn rakp4(&self, theirs: u32, guid: [u8; 16], keys: Keys, code: &[u8]) -> Result<Progress, Refusal> {
        let parts: [&[u8]; 3] = [&self.entropy.random, &theirs.to_le_bytes(), &guid];
        if code.len() != self.suite.code_length() {
            return Err(Refusal::Malformed { step: Step::Rakp3, length: code.len() + 8 });
        }
        if !keys.confirms(&parts, code) {
            return Err(Refusal::Key);
        }
        Ok(Progress::Done(Box::new(Live::new(keys, self.entropy.session, theirs, guid))))
    }
}

/// Get Channel Authentication Capabilities of the channel that we come by, with the extended data (22.13).
fn capabilities(level: Level) -> Request {
    Request::new("asking what the channel offers", Family::App, 0x38, &[0x8e, level.number()])
}

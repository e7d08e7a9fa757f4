//! Opening a session: Open Session, then RAKP messages 1 to 4 (IPMI 2.0, 13.17 to 13.24).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::codec::payload;
use super::crypto::Suite;
use super::{IpmiPolicy, SESSIONS_MAX, Session, SessionKeys, privilege};
use crate::bmc::desk::Desk;
use crate::bmc::sessions::{Account, Role, random, same};

/// How long a handshake may take.
const HANDSHAKE_SECONDS: u64 = 10;

/// Status codes (IPMI 2.0, table 13-15).
mod status {
    pub(super) const OK: u8 = 0x00;
    pub(super) const NO_RESOURCES: u8 = 0x01;
    pub(super) const INVALID_SESSION: u8 = 0x02;
    pub(super) const UNAUTHORIZED_ROLE: u8 = 0x0a;
    pub(super) const UNAUTHORIZED_NAME: u8 = 0x0d;
    pub(super) const INVALID_CHECK: u8 = 0x0f;
    pub(super) const NO_SUITE: u8 = 0x11;
}

/// How far a session has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// The suite is agreed on.
    Agreed,
    /// Challenges are exchanged; the client must prove that it knows the password.
    Challenged(Box<Challenge>),
    /// Open.
    Open(Box<SessionKeys>),
}

/// What both sides hash.
pub(crate) struct Challenge {
    theirs: [u8; 16],
    ours: [u8; 16],
    /// Role byte, length of the name, name.
    who: Vec<u8>,
    password: Vec<u8>,
    place: String,
}

impl std::fmt::Debug for Challenge {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Takes one message of the handshake; says what to answer.
pub(crate) fn step(
    sessions: &mut BTreeMap<u32, Session>,
    desk: &Arc<Desk>,
    policy: IpmiPolicy,
    kind: u8,
    body: &[u8],
    peer: SocketAddr,
) -> Option<(u8, Vec<u8>)> {
    let young = Duration::from_secs(HANDSHAKE_SECONDS);
    sessions.retain(|_, session| matches!(session.stage, Stage::Open(_)) || session.used.elapsed() < young);
    match kind {
        payload::OPEN => Some((payload::OPEN_ANSWER, open(sessions, policy, body, peer)?)),
        payload::RAKP1 => Some((payload::RAKP2, challenge(sessions, desk, body)?)),
        payload::RAKP3 => Some((payload::RAKP4, prove(sessions, desk, body)?)),
        _ => None,
    }
}

fn number(body: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?))
}

fn open(
    sessions: &mut BTreeMap<u32, Session>,
    policy: IpmiPolicy,
    body: &[u8],
    peer: SocketAddr,
) -> Option<Vec<u8>> {
    let (tag, role, console_id) = (*body.first()?, *body.get(1)? & 0x0f, number(body, 4)?);
    let refuse = |status: u8| {
        let mut answer = vec![tag, status, role, 0];
        answer.extend(console_id.to_le_bytes());
        answer
    };
    let algorithms = [*body.get(12)? & 0x3f, *body.get(20)? & 0x3f, *body.get(28)? & 0x3f];
    let offered = [(Suite::Seventeen, policy.suite_17), (Suite::Three, policy.suite_3)];
    let suite = offered.into_iter().find(|(suite, on)| *on && suite.numbers()[1..] == algorithms);
    let Some((suite, _)) = suite else { return Some(refuse(status::NO_SUITE)) };
    if sessions.len() >= SESSIONS_MAX {
        return Some(refuse(status::NO_RESOURCES));
    }
    let mut bytes = [0; 4];
    random(&mut bytes).ok()?;
    // Zero means "no session".
    let id = u32::from_le_bytes(bytes).max(1);
    let ceiling = if role == 0 { privilege::ADMINISTRATOR } else { role };
    sessions.insert(
        id,
        Session {
            console_id,
            peer,
            suite,
            used: Instant::now(),
            stage: Stage::Agreed,
            ceiling,
            privilege: 0,
            user: String::new(),
            received: super::Window::default(),
            sent: 0,
            sol: None,
        },
    );
    let mut answer = vec![tag, status::OK, ceiling, 0];
    answer.extend(console_id.to_le_bytes());
    answer.extend(id.to_le_bytes());
    for (kind, algorithm) in (0_u8..).zip(algorithms) {
        answer.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
    Some(answer)
}

/// RAKP 1 in, RAKP 2 out.
fn challenge(sessions: &mut BTreeMap<u32, Session>, desk: &Desk, body: &[u8]) -> Option<Vec<u8>> {
    let (tag, id) = (*body.first()?, number(body, 4)?);
    let theirs: [u8; 16] = body.get(8..24)?.try_into().ok()?;
    let (role, length) = (*body.get(24)?, usize::from(*body.get(27)?));
    let name = body.get(28..28 + length)?;
    let Some(session) = sessions.get_mut(&id).filter(|session| matches!(session.stage, Stage::Agreed)) else {
        return Some(vec![tag, status::INVALID_SESSION, 0, 0, 0, 0, 0, 0]);
    };
    let console_id = session.console_id;
    let refuse = |status: u8| {
        let mut answer = vec![tag, status, 0, 0];
        answer.extend(console_id.to_le_bytes());
        Some(answer)
    };
    let account = std::str::from_utf8(name).ok().and_then(|name| desk.door.user(name));
    let Some(account) = account.filter(|account| !account.is_locked() && !account.password.is_empty()) else {
        return refuse(status::UNAUTHORIZED_NAME);
    };
    let asked = match role & 0x0f {
        0 => privilege::ADMINISTRATOR,
        asked => asked,
    };
    if asked > level(account.role) {
        return refuse(status::UNAUTHORIZED_ROLE);
    }
    let mut ours = [0; 16];
    random(&mut ours).ok()?;
    session.ceiling = session.ceiling.min(asked);
    session.user.clone_from(&account.user);
    let mut who = vec![role, *body.get(27)?];
    who.extend_from_slice(name);
    let guid = guid(desk);
    let key = account.password.into_bytes();
    let proof = session
        .suite
        .hmac(&key, &[&session.console_id.to_le_bytes(), &id.to_le_bytes(), &theirs, &ours, &guid, &who]);
    session.stage =
        Stage::Challenged(Box::new(Challenge { theirs, ours, who, password: key, place: account.place }));
    let mut answer = vec![tag, status::OK, 0, 0];
    answer.extend(session.console_id.to_le_bytes());
    answer.extend(ours);
    answer.extend(guid);
    answer.extend(proof);
    Some(answer)
}

/// RAKP 3 in, RAKP 4 out.
fn prove(sessions: &mut BTreeMap<u32, Session>, desk: &Desk, body: &[u8]) -> Option<Vec<u8>> {
    let (tag, said, id) = (*body.first()?, *body.get(1)?, number(body, 4)?);
    let session = sessions.get_mut(&id)?;
    let Stage::Challenged(challenge) = &session.stage else {
        return Some(vec![tag, status::INVALID_SESSION, 0, 0, 0, 0, 0, 0]);
    };
    if said != status::OK {
        // The client found our proof wrong: it has another password.
        count_wrong(desk, challenge);
        sessions.remove(&id);
        return None;
    }
    let suite = session.suite;
    let wanted = suite
        .hmac(&challenge.password, &[&challenge.ours, &session.console_id.to_le_bytes(), &challenge.who]);
    let mut answer = vec![tag, status::OK, 0, 0];
    answer.extend(session.console_id.to_le_bytes());
    if !same(body.get(8..)?, &wanted) {
        count_wrong(desk, challenge);
        sessions.remove(&id);
        if let Some(place) = answer.get_mut(1) {
            *place = status::INVALID_CHECK;
        }
        return Some(answer);
    }
    let integrity_key =
        suite.hmac(&challenge.password, &[&challenge.theirs, &challenge.ours, &challenge.who]);
    let mut check = suite.hmac(&integrity_key, &[&challenge.theirs, &id.to_le_bytes(), &guid(desk)]);
    check.truncate(suite.code_bytes());
    answer.extend(check);
    session.stage = Stage::Open(Box::new(SessionKeys::new(suite, &integrity_key)?));
    // Every session starts as a user and must ask for more (IPMI 2.0, 22.18).
    session.privilege = session.ceiling.min(privilege::USER);
    session.used = Instant::now();
    Some(answer)
}

fn count_wrong(desk: &Desk, challenge: &Challenge) {
    if let Some(Account { user, .. }) = desk.door.account(&challenge.place) {
        // A password that nobody has counts as one wrong guess.
        drop(desk.door.knows(&user, ""));
    }
}

/// A role as a privilege level.
pub(crate) fn level(role: Role) -> u8 {
    match role {
        Role::ReadOnly => privilege::USER,
        Role::Operator => privilege::OPERATOR,
        Role::Administrator => privilege::ADMINISTRATOR,
    }
}

/// The system's GUID: its UUID in the order of SMBIOS, least significant byte of each field first.
pub(crate) fn guid(desk: &Desk) -> [u8; 16] {
    let digits: Vec<u32> = desk.server.spec().uuid.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |sum, digit| sum << 4 | u8::try_from(*digit).unwrap_or(0));
    }
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

//! Users (IPMI 2.0, 22.26 to 22.31): list them, and make or change one.

use crate::{
    bytes::Reader,
    command::{Link, data, odd},
    crypto::{PASSWORD_BYTES_MAX, Password, USER_BYTES_MAX},
    error::IpmiError,
    handshake::Level,
    message::{Family, Request},
};

/// A user's slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number; 1 is the one without a name.
    pub id: u8,
    /// The name; empty if the slot is free.
    pub name: String,
    /// Whether the user may log in by LAN.
    pub lan: bool,
    /// The highest privilege, as numbered on the wire; 15 is none.
    pub limit: u8,
    /// Whether the slot's name cannot be changed.
    pub fixed: bool,
}

/// Numbers are six bits.
const USERS_MAX: u8 = 63;

struct Access {
    slots: u8,
    fixed: u8,
    lan: bool,
    limit: u8,
}

async fn access<L: Link>(link: &mut L, channel: u8, id: u8) -> Result<Access, IpmiError> {
    let request = Request::new("what a user may", Family::App, 0x44, &[channel & 0x0f, id]);
    let bytes = data(link, &request).await?;
    let Some([slots, _enabled, fixed, access]) = bytes.first_chunk().copied() else {
        return Err(odd(link, &request, bytes.len(), "four are the least"));
    };
    let slots = (slots & 0x3f).min(USERS_MAX);
    Ok(Access { slots, fixed: fixed & 0x3f, lan: access & 0x10 != 0, limit: access & 0x0f })
}

async fn name<L: Link>(link: &mut L, id: u8) -> Result<String, IpmiError> {
    let request = Request::new("a user's name", Family::App, 0x46, &[id]);
    let answer = link.ask(&request).await?;
    // A free slot answers with a code on some.
    if answer.code != 0 {
        return Ok(String::new());
    }
    let bytes: [u8; USER_BYTES_MAX] = Reader::new(&answer.data)
        .array()
        .ok_or_else(|| odd(link, &request, answer.data.len(), "a name has sixteen"))?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned())
}

/// All slots of a channel.
///
/// # Errors
/// When the controller cannot be asked or answers oddly.
pub async fn list<L: Link>(link: &mut L, channel: u8) -> Result<Vec<User>, IpmiError> {
    let slots = access(link, channel, 1).await?.slots;
    let mut users = Vec::new();
    for id in 1..=slots {
        let access = access(link, channel, id).await?;
        let name = name(link, id).await?;
        users.push(User { id, name, lan: access.lan, limit: access.limit, fixed: id <= access.fixed });
    }
    Ok(users)
}

/// Sets a slot's name.
///
/// # Errors
/// When the name is longer than sixteen bytes, or the controller refuses.
pub async fn set_name<L: Link>(link: &mut L, id: u8, name: &str) -> Result<(), IpmiError> {
    let mut bytes = [0; 1 + USER_BYTES_MAX];
    if name.len() > USER_BYTES_MAX {
        return Err(IpmiError::CannotBe {
            host: link.host().to_owned(),
            why: "a user's name has sixteen bytes at most",
        });
    }
    for (place, byte) in bytes.iter_mut().zip([id].iter().chain(name.as_bytes())) {
        *place = *byte;
    }
    data(link, &Request::new("a user's name", Family::App, 0x45, &bytes)).await.map(|_| ())
}

/// What Set User Password does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Disable,
    Enable,
    Set,
    Test,
}

async fn password_operation<L: Link>(
    link: &mut L,
    id: u8,
    operation: Operation,
    password: Option<&Password>,
) -> Result<(), IpmiError> {
    let (what, number) = match operation {
        Operation::Disable => ("disabling a user", 0),
        Operation::Enable => ("enabling a user", 1),
        Operation::Set => ("setting a user's password", 2),
        Operation::Test => ("testing a user's password", 3),
    };
    // A password of up to sixteen bytes is kept as such: some controllers store only those.
    let long = password.is_some_and(|password| password.reveal().len() > 16);
    let mut body = vec![if long { 0x80 | id } else { id }, number];
    if let Some(password) = password {
        let mut padded = [0; PASSWORD_BYTES_MAX];
        for (place, byte) in padded.iter_mut().zip(password.reveal()) {
            *place = *byte;
        }
        body.extend_from_slice(if long { &padded } else { padded.get(..16).unwrap_or_default() });
    }
    data(link, &Request::new(what, Family::App, 0x47, &body)).await.map(|_| ())
}

/// Sets a slot's password and has the controller confirm it.
///
/// # Errors
/// When the controller refuses, for instance because its rules want another password, or has kept sixteen bytes of a
/// longer one, with which a login by the whole would fail.
pub async fn set_password<L: Link>(link: &mut L, id: u8, password: &Password) -> Result<(), IpmiError> {
    password_operation(link, id, Operation::Set, Some(password)).await?;
    password_operation(link, id, Operation::Test, Some(password)).await?;
    let Some(head) = password.reveal().get(..16).filter(|_| password.reveal().len() > 16) else {
        return Ok(());
    };
    let head = Password::new(head);
    match password_operation(link, id, Operation::Test, head.as_ref()).await {
        // It is not this password, as should be.
        Err(IpmiError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => Err(IpmiError::NotShown {
            host: link.host().to_owned(),
            what: "a password of more than sixteen bytes",
            found: "it kept the first sixteen; set one of at most sixteen".to_owned(),
        }),
    }
}

/// Lets a user log in by a LAN channel with a level at most.
///
/// # Errors
/// When the controller refuses.
pub async fn set_access<L: Link>(link: &mut L, channel: u8, id: u8, level: Level) -> Result<(), IpmiError> {
    // Bit 7: change what follows; bit 4: IPMI messaging.
    let body = [0x90 | (channel & 0x0f), id, level.number(), 0];
    data(link, &Request::new("what a user may", Family::App, 0x43, &body)).await.map(|_| ())
}

/// Enables or disables a user.
///
/// # Errors
/// When the controller refuses.
pub async fn set_enabled<L: Link>(link: &mut L, id: u8, enabled: bool) -> Result<(), IpmiError> {
    let operation = if enabled { Operation::Enable } else { Operation::Disable };
    password_operation(link, id, operation, None).await
}

/// Makes a user, or sets the one that has this name, and returns its slot.
///
/// # Errors
/// When no slot is free or the controller refuses a step.
pub async fn create<L: Link>(
    link: &mut L,
    channel: u8,
    name: &str,
    password: &Password,
    level: Level,
) -> Result<u8, IpmiError> {
    let users = list(link, channel).await?;
    let free = || users.iter().find(|user| user.id > 1 && user.name.is_empty() && !user.fixed);
    let slot = users.iter().find(|user| user.name == name).or_else(free);
    let Some(id) = slot.map(|user| user.id) else {
        return Err(IpmiError::CannotBe { host: link.host().to_owned(), why: "no slot for a user is free" });
    };
    if users.iter().all(|user| user.name != name) {
        set_name(link, id, name).await?;
    }
    set_password(link, id, password).await?;
    set_access(link, channel, id, level).await?;
    set_enabled(link, id, true).await?;
    let shown = self::name(link, id).await?;
    if shown != name {
        let found = format!("slot {id} is called `{shown}`");
        return Err(IpmiError::NotShown { host: link.host().to_owned(), what: "a user's name", found });
    }
    Ok(id)
}

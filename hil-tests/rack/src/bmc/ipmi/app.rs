//! Application commands (IPMI 2.0, chapters 20, 22 and 24): device, sessions, channels, users, payloads.

use super::codec::Message;
use super::crypto::Suite;
use super::handshake::{guid, level};
use super::{Context, Reply, byte, code, privilege, sol};
use crate::bmc::accounts;
use crate::bmc::sessions::{Account, Role};

/// The LAN channel's number.
const CHANNEL: u8 = 1;

/// User ids; the first is the nameless user, which does not exist here.
const USERS_MAX: u8 = 16;

/// The nameless user's place before the accounts.
const NAMELESS: usize = 1;

/// Whether a command may be sent before there is a session.
pub(super) fn is_public(message: &Message) -> bool {
    message.function == 0x06 && matches!(message.command, 0x37 | 0x38 | 0x54)
}

pub(super) async fn command(context: &mut Context<'_>, message: &Message) -> Reply {
    let data = message.data.as_slice();
    match message.command {
        0x01 => Ok(device()),
        0x02 | 0x03 => {
            context.needs(privilege::ADMINISTRATOR)?;
            context.desk.door.log_all_out();
            Ok(Vec::new())
        }
        // Self test: no error.
        0x04 => Ok(vec![0x55, 0x00]),
        // ACPI power state: S0 or S5, D0.
        0x07 => Ok(vec![if context.desk.server.is_on() { 0x00 } else { 0x05 }, 0x00]),
        0x08 | 0x37 => Ok(guid(context.desk).to_vec()),
        // Global enables: the event log.
        0x2f => Ok(vec![0x08]),
        0x38 => capabilities(data),
        0x3b => raise(context, data),
        0x3c => close(context, data),
        0x3d => session_info(context),
        0x41 => channel_access(context, data),
        0x42 => Ok(vec![channel(byte(data, 0)?)?, 0x04, 0x01, 0x81, 0xf2, 0x1b, 0x00, 0x00, 0x00]),
        0x54 => suites(context, data),
        0x43..=0x47 => users(context, message.command, data),
        0x48 => activate(context, data),
        0x49 => deactivate(context, data),
        0x4a => {
            let active = context.session.as_ref().is_some_and(|(_, session)| session.sol.is_some());
            Ok(vec![0x01, u8::from(active), 0x00])
        }
        0x4b => Ok(vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        0x4c => context.needs(privilege::ADMINISTRATOR).map(|()| Vec::new()),
        // Everybody may use the console.
        0x4d => Ok(vec![0x02, 0x00, 0x00, 0x00]),
        // Standard payloads: IPMI and SOL; session setup.
        0x4e => Ok(vec![0x03, 0x00, 0x3f, 0x00, 0x00, 0x00, 0x00, 0x00]),
        0x4f => Ok(vec![0x01]),
        _ => Err(code::INVALID_COMMAND),
    }
}

fn device() -> Vec<u8> {
    // Device 20h, revision 1 with SDRs, firmware 1.02, IPMI 2.0; sensors, SDR, SEL, FRU, chassis; maker
    // unspecified; product 1.
    vec![0x20, 0x81, 0x01, 0x02, 0x02, 0x8f, 0x00, 0x00, 0x00, 0x01, 0x00, 0x03, 0x00, 0x00, 0x00]
}

/// This channel by its number or as "the one this comes by".
fn channel(number: u8) -> Result<u8, u8> {
    match number & 0x0f {
        0x0e | CHANNEL => Ok(CHANNEL),
        _ => Err(code::INVALID_FIELD),
    }
}

fn capabilities(data: &[u8]) -> Reply {
    let channel = channel(byte(data, 0)?)?;
    byte(data, 1)?;
    // RMCP+ only: no authentication type of 1.5; named users; per-message authentication.
    Ok(vec![channel, 0x80, 0x04, 0x02, 0, 0, 0, 0])
}

fn suites(context: &Context<'_>, data: &[u8]) -> Reply {
    let channel = channel(byte(data, 0)?)?;
    let index = usize::from(byte(data, 2)? & 0x3f);
    let mut records = Vec::new();
    for (suite, on) in [(Suite::Three, context.policy.suite_3), (Suite::Seventeen, context.policy.suite_17)] {
        if on {
            let [number, authentication, integrity, confidentiality] = suite.numbers();
            records.extend([0xc0, number, authentication, 0x40 | integrity, 0x80 | confidentiality]);
        }
    }
    let mut answer = vec![channel];
    answer.extend(records.chunks(16).nth(index).unwrap_or_default());
    Ok(answer)
}

/// Set Session Privilege Level.
fn raise(context: &mut Context<'_>, data: &[u8]) -> Reply {
    let wanted = byte(data, 0)? & 0x0f;
    let Some((_, session)) = &mut context.session else { return Err(code::NOT_NOW) };
    if wanted > session.ceiling {
        return Err(0x81);
    }
    if wanted >= privilege::USER {
        session.privilege = wanted;
    } else if wanted != 0 {
        return Err(0x80);
    }
    Ok(vec![session.privilege])
}

fn close(context: &mut Context<'_>, data: &[u8]) -> Reply {
    let wanted = u32::from_le_bytes([byte(data, 0)?, byte(data, 1)?, byte(data, 2)?, byte(data, 3)?]);
    match &context.session {
        Some((id, _)) if *id == wanted => {
            context.end = true;
            Ok(Vec::new())
        }
        Some(_) | None => Err(0x87),
    }
}

fn session_info(context: &Context<'_>) -> Reply {
    let Some((_, session)) = &context.session else { return Err(code::NOT_NOW) };
    let user = user_id(context, &session.user).unwrap_or(0);
    // Handle, possible and active sessions, user, privilege, IPMI 2.0 on this channel, the peer.
    let mut answer = vec![0x01, 16, context.open_sessions, user, session.privilege, 0x10 | CHANNEL];
    let address = match session.peer.ip() {
        std::net::IpAddr::V4(address) => address.octets(),
        std::net::IpAddr::V6(_) => [0; 4],
    };
    answer.extend(address);
    answer.extend([0; 6]);
    answer.extend(session.peer.port().to_le_bytes());
    Ok(answer)
}

fn channel_access(context: &Context<'_>, data: &[u8]) -> Reply {
    context.needs(privilege::USER)?;
    channel(byte(data, 0)?)?;
    // Always available, user-level authentication on; administrators at most.
    Ok(vec![0x22, privilege::ADMINISTRATOR])
}

fn account(context: &Context<'_>, id: u8) -> Result<Option<Account>, u8> {
    if id == 0 || id > USERS_MAX {
        return Err(code::INVALID_FIELD);
    }
    let place = usize::from(id).checked_sub(NAMELESS + 1);
    Ok(place.and_then(|place| context.desk.door.accounts().into_iter().nth(place)))
}

fn user_id(context: &Context<'_>, name: &str) -> Option<u8> {
    let place = context.desk.door.accounts().iter().position(|account| account.user == name)?;
    u8::try_from(place + NAMELESS + 1).ok()
}

/// Access, names and passwords of users.
fn users(context: &mut Context<'_>, command: u8, data: &[u8]) -> Reply {
    let at = usize::from(matches!(command, 0x43 | 0x44));
    let id = byte(data, at)? & 0x3f;
    let account = account(context, id)?;
    let text = |from: usize, length: usize| {
        let bytes = data.get(from..).unwrap_or_default();
        let bytes = bytes.get(..length.min(bytes.len())).unwrap_or_default();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
    };
    match command {
        0x44 => {
            context.needs(privilege::OPERATOR)?;
            let enabled = context.desk.door.accounts().iter().filter(|account| account.enabled).count();
            let access = account.as_ref().map_or(0x0f, |account| 0x30 | level(account.role));
            let on = if account.is_some_and(|account| account.enabled) { 0x40 } else { 0x80 };
            Ok(vec![USERS_MAX, on | u8::try_from(enabled).unwrap_or(0), 1, access])
        }
        0x46 => {
            context.needs(privilege::OPERATOR)?;
            let mut name = account.map(|account| account.user).unwrap_or_default().into_bytes();
            name.resize(16, 0);
            Ok(name)
        }
        _ => {
            context.needs(privilege::ADMINISTRATOR)?;
            change(context, command, data, id, account, text)
        }
    }
}

fn change(
    context: &Context<'_>,
    command: u8,
    data: &[u8],
    id: u8,
    account: Option<Account>,
    text: impl Fn(usize, usize) -> String,
) -> Reply {
    if usize::from(id) <= NAMELESS {
        return Err(code::INVALID_FIELD);
    }
    let new = account.is_none();
    let mut account = match account {
        Some(account) => account,
        // A name may be given to the next free slot.
        None if command == 0x45 => accounts::empty(context.desk),
        None => return Err(code::NOT_PRESENT),
    };
    match command {
        0x43 => {
            if let Some(role) = role(byte(data, 2)? & 0x0f) {
                account.role = role;
            }
        }
        0x45 => account.user = text(1, 16),
        _ => match byte(data, 1)? & 3 {
            0 => account.enabled = false,
            1 => account.enabled = true,
            2 => account.password = text(2, if byte(data, 0)? & 0x80 == 0 { 16 } else { 20 }),
            _ => {
                let given = text(2, 20);
                return if given == account.password { Ok(Vec::new()) } else { Err(0x80) };
            }
        },
    }
    if new && account.user.is_empty() {
        return Ok(Vec::new());
    }
    if accounts::put(context.desk, account) { Ok(Vec::new()) } else { Err(code::OUT_OF_RANGE) }
}

fn role(level: u8) -> Option<Role> {
    match level {
        privilege::USER => Some(Role::ReadOnly),
        privilege::OPERATOR => Some(Role::Operator),
        privilege::ADMINISTRATOR => Some(Role::Administrator),
        _ => None,
    }
}

/// Activate Payload: the serial console.
fn activate(context: &mut Context<'_>, data: &[u8]) -> Reply {
    context.needs(privilege::USER)?;
    if byte(data, 0)? & 0x3f != 1 || byte(data, 1)? & 0x0f != 1 {
        return Err(0x82);
    }
    let Some((id, session)) = &mut context.session else { return Err(code::NOT_NOW) };
    if session.sol.is_some() {
        return Err(0x80);
    }
    let line = context.desk.server.serial().ok_or(0x81_u8)?;
    session.sol = Some(sol::Console::start(*id, line, context.serial.clone()));
    let size = sol::PIECE_MAX.to_le_bytes();
    let mut answer = vec![0, 0, 0, 0, size[0], size[1], size[0], size[1]];
    answer.extend(context.settings.port.to_le_bytes());
    answer.extend([0xff, 0xff]);
    Ok(answer)
}

fn deactivate(context: &mut Context<'_>, data: &[u8]) -> Reply {
    byte(data, 1)?;
    let Some((_, session)) = &mut context.session else { return Err(code::NOT_NOW) };
    // 80h: it is already inactive.
    session.sol.take().map(|_| Vec::new()).ok_or(0x80)
}

//! Commands and responses: framing, authorisations, and asking again when the TPM is busy.

use std::time::Duration;

use attest_wire::{Problem, Reader, WireError, Writer};

use crate::{ResponseCode, TpmError, Transport};

/// Largest command: TPM2_MAX_COMMAND_SIZE of every TPM we know is 4096.
const COMMAND_BYTES_MAX: usize = 4096;

/// How often a busy TPM is asked, and how long it gets between two tries at most: together about 20 seconds, more
/// than a self-test takes.
const TRIES_MAX: u32 = 40;
const PAUSE_MILLIS_MAX: u64 = 640;

const TAG_NO_SESSIONS: u16 = 0x8001;
const TAG_SESSIONS: u16 = 0x8002;

/// TPM_RS_PW: "the authorisation is a password", here always the empty one.
const PASSWORD: u32 = 0x4000_0009;

/// A command's name and code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code {
    pub(crate) name: &'static str,
    code: u32,
    /// Whether a handle stands in front of the response's parameters.
    answers_handle: bool,
}

const fn code(name: &'static str, code: u32) -> Code {
    Code { name, code, answers_handle: false }
}

pub(crate) const CREATE_PRIMARY: Code =
    Code { name: "TPM2_CreatePrimary", code: 0x131, answers_handle: true };
pub(crate) const STARTUP: Code = code("TPM2_Startup", 0x144);
pub(crate) const ACTIVATE_CREDENTIAL: Code = code("TPM2_ActivateCredential", 0x147);
pub(crate) const CERTIFY: Code = code("TPM2_Certify", 0x148);
pub(crate) const NV_UNDEFINE_SPACE: Code = code("TPM2_NV_UndefineSpace", 0x122);
pub(crate) const NV_DEFINE_SPACE: Code = code("TPM2_NV_DefineSpace", 0x12a);
pub(crate) const NV_INCREMENT: Code = code("TPM2_NV_Increment", 0x134);
pub(crate) const NV_WRITE: Code = code("TPM2_NV_Write", 0x137);
pub(crate) const NV_WRITE_LOCK: Code = code("TPM2_NV_WriteLock", 0x138);
pub(crate) const NV_READ: Code = code("TPM2_NV_Read", 0x14e);
pub(crate) const POLICY_SECRET: Code = code("TPM2_PolicySecret", 0x151);
pub(crate) const HMAC: Code = code("TPM2_HMAC", 0x155);
pub(crate) const QUOTE: Code = code("TPM2_Quote", 0x158);
pub(crate) const FLUSH_CONTEXT: Code = code("TPM2_FlushContext", 0x165);
pub(crate) const NV_READ_PUBLIC: Code = code("TPM2_NV_ReadPublic", 0x169);
pub(crate) const START_AUTH_SESSION: Code =
    Code { name: "TPM2_StartAuthSession", code: 0x176, answers_handle: true };
pub(crate) const GET_CAPABILITY: Code = code("TPM2_GetCapability", 0x17a);
pub(crate) const PCR_READ: Code = code("TPM2_PCR_Read", 0x17e);

/// How a handle's use is authorised.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Auth {
    /// The empty password.
    Empty,
    /// A policy session, which stays open.
    Policy(u32),
}

/// A response without its header and authorisations.
#[derive(Debug)]
pub(crate) struct Response {
    /// The handle, of commands that answer one; else 0.
    pub(crate) handle: u32,
    /// The parameters.
    pub(crate) parameters: Vec<u8>,
}

/// Sends a command until the TPM has time for it.
pub(crate) fn send(
    transport: &mut dyn Transport,
    command: Code,
    handles: &[u32],
    auths: &[Auth],
    parameters: Writer,
) -> Result<Response, TpmError> {
    let name = command.name;
    let bytes = frame(command, handles, auths, parameters)
        .map_err(|source| TpmError::Command { command: name, source })?;
    let mut pause = 5;
    let mut last = ResponseCode(0);
    for _ in 0..TRIES_MAX {
        let answer =
            transport.exchange(&bytes).map_err(|source| TpmError::Exchange { command: name, source })?;
        match parse(command, !auths.is_empty(), &answer) {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(code)) if code.asks_again() => {
                last = code;
                transport.pause(Duration::from_millis(pause));
                pause = (pause * 2).min(PAUSE_MILLIS_MAX);
            }
            Ok(Err(code)) => return Err(TpmError::Refused { command: name, code }),
            Err(source) => return Err(TpmError::Response { command: name, source }),
        }
    }
    Err(TpmError::Busy { command: name, code: last, tries: TRIES_MAX })
}

fn frame(command: Code, handles: &[u32], auths: &[Auth], parameters: Writer) -> Result<Vec<u8>, WireError> {
    let mut body = Writer::new(COMMAND_BYTES_MAX - 10).u32("commandCode", command.code);
    for handle in handles {
        body = body.u32("handle", *handle);
    }
    if !auths.is_empty() {
        let mut area = Writer::new(512);
        for auth in auths {
            // A password is no session that could continue; a policy session does, since we close it ourselves.
            let (handle, attributes) = match auth {
                Auth::Empty => (PASSWORD, 0),
                Auth::Policy(session) => (*session, 1),
            };
            area = area
                .u32("sessionHandle", handle)
                .sized("nonceCaller", &[])
                .u8("sessionAttributes", attributes)
                .sized("hmac", &[]);
        }
        let area = area.finish()?;
        body = body.u32("authorizationSize", length(&area)?).bytes("authorizationArea", &area);
    }
    let body = body.bytes("parameters", &parameters.finish()?).finish()?;
    let tag = if auths.is_empty() { TAG_NO_SESSIONS } else { TAG_SESSIONS };
    Writer::new(COMMAND_BYTES_MAX)
        .u16("tag", tag)
        .u32("commandSize", length(&body)?.saturating_add(6))
        .bytes("command", &body)
        .finish()
}

fn length(bytes: &[u8]) -> Result<u32, WireError> {
    u32::try_from(bytes.len()).map_err(|_| WireError {
        field: "size",
        offset: 0,
        problem: Problem::TooLong { length: bytes.len(), most: COMMAND_BYTES_MAX },
    })
}

fn parse(command: Code, sessions: bool, bytes: &[u8]) -> Result<Result<Response, ResponseCode>, WireError> {
    let mut reader = Reader::new(bytes);
    let at_tag = reader.clone();
    let tag = reader.u16("tag")?;
    let at_size = reader.clone();
    let size = usize::try_from(reader.u32("responseSize")?).unwrap_or(usize::MAX);
    if size != bytes.len() {
        let problem = Problem::WrongLength { length: size, expected: bytes.len() };
        return Err(at_size.error("responseSize", problem));
    }
    let code = reader.u32("responseCode")?;
    if code != 0 {
        return Ok(Err(ResponseCode(code)));
    }
    // A response has sessions exactly if its command had; anything else would be read wrongly.
    let expected = if sessions { TAG_SESSIONS } else { TAG_NO_SESSIONS };
    if tag != expected {
        return Err(at_tag.error("tag", Problem::Refused { value: tag.into() }));
    }
    let handle = if command.answers_handle { reader.u32("handle")? } else { 0 };
    let parameters = if sessions {
        let count = usize::try_from(reader.u32("parameterSize")?).unwrap_or(usize::MAX);
        // Authorisations follow; with a password or a policy session they prove nothing, so they are not looked at.
        reader.bytes("parameters", count)?
    } else {
        reader.rest()
    };
    Ok(Ok(Response { handle, parameters: parameters.into() }))
}

//! The rollback floor: a number in NV memory that only grows, and that a new disk or a new system does not reset.
//!
//! A TPM begins a new counter at the largest value that any counter of it ever had, so the counter alone says nothing:
//! a second index keeps what it began with, and is locked once it is written.  The floor is the difference.  Both
//! belong to the owner hierarchy, as all that an operating system may define: whoever has the TPM's owner password (it
//! is empty) can take the indices away.  So a floor that is gone is for the appliance to notice; this module says
//! `None`, and never guesses.  A cut between two steps leaves no floor, or the old one; the next raise goes on from there.

use attest_wire::{Reader, WireError, Writer};

use crate::{
    Tpm, TpmError,
    command::{Auth, NV_DEFINE_SPACE, NV_INCREMENT, NV_READ, NV_UNDEFINE_SPACE, NV_WRITE, NV_WRITE_LOCK},
    nv::{OWNER, nv_public},
};

/// The counter.  In the range that TCG's "Registry of Reserved TPM 2.0 Handles" leaves to the owner.
pub const COUNTER: u32 = 0x0180_0a5f;
/// What the counter began with.
pub const BASE: u32 = 0x0180_0a60;
/// Most steps in one raise: a counter has a million in its life, and an epoch that jumps is a mistake.
pub const STEPS_MAX: u32 = 256;

const SHA256: u16 = 0x000b;
const OWNER_WRITE: u32 = 1 << 1;
const COUNTS: u32 = 1 << 4;
const WRITE_LOCKED: u32 = 1 << 11;
const WRITE_DEFINE: u32 = 1 << 13;
const OWNER_READ: u32 = 1 << 17;
const AUTH_READ: u32 = 1 << 18;
const NO_DA: u32 = 1 << 25;
const WRITTEN: u32 = 1 << 29;
/// Set by the TPM as it goes.
const STATES: u32 = WRITE_LOCKED | WRITTEN;
const COUNTER_KIND: u32 = OWNER_WRITE | COUNTS | OWNER_READ | AUTH_READ | NO_DA;
const BASE_KIND: u32 = OWNER_WRITE | WRITE_DEFINE | OWNER_READ | AUTH_READ | NO_DA;
const VALUE_BYTES: u16 = 8;

/// An index of ours as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Index {
    Absent,
    /// Defined, and never written.
    Blank,
    Value {
        number: u64,
        locked: bool,
    },
}

/// The floor; `None` where there is none (yet).
///
/// # Errors
/// When the TPM does not answer, or somebody else's index is at our place.
pub fn read(tpm: &mut Tpm) -> Result<Option<u32>, TpmError> {
    let (counter, base) = (index(tpm, COUNTER, COUNTER_KIND)?, index(tpm, BASE, BASE_KIND)?);
    let (Index::Value { number, .. }, Index::Value { number: base, locked: true }) = (counter, base) else {
        return Ok(None);
    };
    let floor = number.checked_sub(base).and_then(|floor| u32::try_from(floor).ok());
    floor.map(Some).ok_or_else(|| TpmError::Unexpected {
        command: NV_READ.name,
        asked: format!("the counter {COUNTER:#010x} at or above what it began with, {base}"),
        answered: number.to_string(),
    })
}

/// Raises the floor to `to`, making it first where there is none; never lowers it.  Gives the floor as it is then.
///
/// # Errors
/// When the TPM refuses, as one whose owner hierarchy has a password does; when `to` is more than [`STEPS_MAX`] above
/// the floor.
pub fn raise(tpm: &mut Tpm, to: u32) -> Result<u32, TpmError> {
    let floor = match read(tpm)? {
        Some(floor) => floor,
        None => make(tpm)?,
    };
    let steps = to.saturating_sub(floor);
    if steps > STEPS_MAX {
        return Err(TpmError::Unexpected {
            command: NV_INCREMENT.name,
            asked: format!("an epoch at most {STEPS_MAX} above the floor, which is {floor}"),
            answered: format!("epoch {to}"),
        });
    }
    for _ in 0..steps {
        tpm.send(NV_INCREMENT, &[OWNER, COUNTER], &[Auth::Empty], Writer::new(0))?;
    }
    read(tpm)?.ok_or_else(|| TpmError::Unexpected {
        command: NV_READ.name,
        asked: "the floor that was just raised".into(),
        answered: "none".into(),
    })
}

/// Both indices, whatever an interrupted attempt has left; the floor is 0 then.
fn make(tpm: &mut Tpm) -> Result<u32, TpmError> {
    if index(tpm, COUNTER, COUNTER_KIND)? == Index::Absent {
        define(tpm, COUNTER, COUNTER_KIND)?;
    }
    if index(tpm, COUNTER, COUNTER_KIND)? == Index::Blank {
        tpm.send(NV_INCREMENT, &[OWNER, COUNTER], &[Auth::Empty], Writer::new(0))?;
    }
    let Index::Value { number, .. } = index(tpm, COUNTER, COUNTER_KIND)? else {
        return Err(TpmError::Unexpected {
            command: NV_READ.name,
            asked: "a counter with a value".into(),
            answered: "one without".into(),
        });
    };
    match index(tpm, BASE, BASE_KIND)? {
        Index::Absent => define(tpm, BASE, BASE_KIND)?,
        Index::Blank | Index::Value { locked: false, .. } => {}
        // Its counter is gone: a lock ends with its index only.
        Index::Value { locked: true, .. } => {
            tpm.send(NV_UNDEFINE_SPACE, &[OWNER, BASE], &[Auth::Empty], Writer::new(0))?;
            define(tpm, BASE, BASE_KIND)?;
        }
    }
    let value = Writer::new(16).sized("data", &number.to_be_bytes()).u16("offset", 0);
    tpm.send(NV_WRITE, &[OWNER, BASE], &[Auth::Empty], value)?;
    tpm.send(NV_WRITE_LOCK, &[OWNER, BASE], &[Auth::Empty], Writer::new(0))?;
    Ok(0)
}

fn define(tpm: &mut Tpm, index: u32, kind: u32) -> Result<(), TpmError> {
    let public = Writer::new(16)
        .u32("nvIndex", index)
        .u16("nameAlg", SHA256)
        .u32("attributes", kind)
        .sized("authPolicy", &[])
        .u16("dataSize", VALUE_BYTES)
        .finish()
        .map_err(|source| TpmError::Command { command: NV_DEFINE_SPACE.name, source })?;
    let parameters = Writer::new(32).sized("auth", &[]).sized("publicInfo", &public);
    tpm.send(NV_DEFINE_SPACE, &[OWNER], &[Auth::Empty], parameters).map(|_| ())
}

fn index(tpm: &mut Tpm, index: u32, kind: u32) -> Result<Index, TpmError> {
    if !tpm.handles(index, index)?.contains(&index) {
        return Ok(Index::Absent);
    }
    let public = tpm.ask(crate::command::NV_READ_PUBLIC, &[index], &[], Writer::new(0), nv_public)?;
    if public.attributes & !STATES != kind || public.bytes != VALUE_BYTES {
        return Err(TpmError::Unexpected {
            command: crate::command::NV_READ_PUBLIC.name,
            asked: format!("our own NV index {index:#010x}; if it is nobody's, undefine it"),
            answered: format!("attributes {:#010x}, {} bytes", public.attributes, public.bytes),
        });
    }
    if public.attributes & WRITTEN == 0 {
        return Ok(Index::Blank);
    }
    let question = Writer::new(4).u16("size", VALUE_BYTES).u16("offset", 0);
    let number = tpm.ask(NV_READ, &[index, index], &[Auth::Empty], question, number)?;
    Ok(Index::Value { number, locked: public.attributes & WRITE_LOCKED != 0 })
}

fn number(reader: &mut Reader<'_>) -> Result<u64, WireError> {
    let bytes = reader.sized_exact("TPM2B_MAX_NV_BUFFER", VALUE_BYTES.into())?;
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

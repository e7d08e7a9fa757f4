//! What an installed system remembers, made unreadable: its key where it is sealed, all of it where it lies in clear.
//!
//! From the back to the front, so that what was begun still looks like what it was, and is done again after a cut.

use std::io;

use crate::{
    Device, Span,
    gpt::{self, Guid, Table},
};

/// The kind of the partition; `state.repart.d/50-state.conf` has the same.
pub const STATE: Guid = Guid(0x7d1a_5c3e_4f0b_8a6d_9e21_5ca1_ef0a_57a7_u128.to_be_bytes());
/// How a sealed one begins (LUKS 2, 5.1).
const LUKS: &[u8] = b"LUKS\xba\xbe";
/// Both headers and all key slots of LUKS 2 as cryptsetup lays them out (16 MiB), twice over.
const KEYS_BYTES: u64 = 32 << 20;
/// Written at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// How a drive keeps what its system remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It has no place for it, or the place is blank.
    Nothing,
    /// Under a key that is on the drive, sealed.
    Sealed,
    /// As it is.
    Clear,
}

/// Looks, and changes nothing.
///
/// # Errors
/// When the drive does not read.
pub fn look(device: &mut dyn Device) -> io::Result<Kept> {
    let Some((start, bytes)) = place(device)? else { return Ok(Kept::Nothing) };
    kept(&mut Span::new(device, start, bytes)?)
}

/// Makes it unreadable; says what it was.  Doing it again is doing it once.
///
/// # Errors
/// When the drive does not write, or reads back something else than what was written.
pub fn forget(device: &mut dyn Device) -> io::Result<Kept> {
    let Some((start, bytes)) = place(device)? else { return Ok(Kept::Nothing) };
    let mut span = Span::new(device, start, bytes)?;
    let was = kept(&mut span)?;
    let end = match was {
        Kept::Nothing => return Ok(was),
        Kept::Sealed => KEYS_BYTES.min(bytes),
        Kept::Clear => bytes,
    };
    let mut at = end;
    while at > 0 {
        let from = at.saturating_sub(CHUNK_BYTES);
        // What makes it what it is goes last, behind a barrier.
        if from == 0 {
            span.barrier()?;
        }
        span.write(from, &blank(at - from)?)?;
        at = from;
    }
    span.barrier()?;
    span.forget()?;
    let mut keys = blank(KEYS_BYTES.min(bytes))?;
    span.read(0, &mut keys)?;
    if keys.iter().any(|byte| *byte != 0) {
        return Err(io::Error::other("what was erased reads back: this drive is failing, destroy it"));
    }
    Ok(was)
}

fn blank(bytes: u64) -> io::Result<Vec<u8>> {
    Ok(vec![0; usize::try_from(bytes).map_err(io::Error::other)?])
}

fn place(device: &mut dyn Device) -> io::Result<Option<(u64, u64)>> {
    let Table::Partitions(found) = gpt::read(device)? else { return Ok(None) };
    Ok(found.iter().find(|part| part.kind == STATE).map(|part| (part.start, part.bytes)))
}

fn kept(span: &mut Span<'_>) -> io::Result<Kept> {
    let mut head = blank(CHUNK_BYTES.min(span.bytes()))?;
    span.read(0, &mut head)?;
    Ok(if head.starts_with(LUKS) {
        Kept::Sealed
    } else if head.iter().all(|byte| *byte == 0) {
        Kept::Nothing
    } else {
        Kept::Clear
    })
}

//! Options as they lie in a message.

use super::{Odd, code};

/// Options at one level of a message.  Firmware sends about ten.
const PIECES_MAX: usize = 64;

/// Options in the order in which they came; their lengths were checked, their values not.
#[derive(Debug, Clone, Default)]
pub struct Options<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Options<'a> {
    /// Finds the options in `field`, which they must fill.
    ///
    /// # Errors
    /// See [`Odd`].
    pub fn read(field: &'a [u8]) -> Result<Self, Odd> {
        let mut all = Vec::new();
        let mut rest = field;
        while let Some(([a, b, c, d], after)) = rest.split_first_chunk::<4>() {
            let code = u16::from_be_bytes([*a, *b]);
            let length = usize::from(u16::from_be_bytes([*c, *d]));
            let (value, after) = after.split_at_checked(length).ok_or(Odd::Truncated { code })?;
            if all.len() >= PIECES_MAX {
                return Err(Odd::TooMany { max: PIECES_MAX });
            }
            all.push((code, value));
            rest = after;
        }
        if rest.is_empty() { Ok(Self(all)) } else { Err(Odd::Tail) }
    }

    /// An option that may be there once.
    ///
    /// # Errors
    /// [`Odd::Twice`].
    pub fn one(&self, code: u16) -> Result<Option<&'a [u8]>, Odd> {
        let mut all = self.all(code);
        let first = all.next();
        if all.next().is_some() { Err(Odd::Twice { code }) } else { Ok(first) }
    }

    /// An option of exactly `N` bytes that may be there once.
    ///
    /// # Errors
    /// [`Odd::Twice`], [`Odd::Length`].
    pub fn fixed<const N: usize>(&self, code: u16) -> Result<Option<[u8; N]>, Odd> {
        let Some(value) = self.one(code)? else { return Ok(None) };
        value.try_into().map(Some).map_err(|_| Odd::Length { code })
    }

    /// A list of numbers that may be there once; at most `max` of them are kept.
    ///
    /// # Errors
    /// [`Odd::Twice`], [`Odd::Length`].
    pub fn numbers(&self, code: u16, max: usize) -> Result<Vec<u16>, Odd> {
        let (pairs, rest) = self.one(code)?.unwrap_or_default().as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Odd::Length { code });
        }
        Ok(pairs.iter().take(max).map(|pair| u16::from_be_bytes(*pair)).collect())
    }

    /// All options of this number, in order.
    pub fn all(&self, code: u16) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(own, _)| *own == code).map(|(_, value)| *value)
    }

    /// All options, in order: for those who show packets to people.
    pub fn pieces(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        self.0.iter().copied()
    }
}

/// The first text in a class option: each is preceded by its length (RFC 8415, 21.15 and 21.16).
pub(super) fn first_class(mut rest: &[u8]) -> Result<Option<String>, Odd> {
    let odd = Odd::Length { code: code::VENDOR_CLASS };
    let mut first = None;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (value, after) = after.split_at_checked(length).ok_or(odd)?;
        first = first.or_else(|| text(value));
        rest = after;
    }
    if rest.is_empty() { Ok(first) } else { Err(odd) }
}

/// Printable ASCII of at most 255 bytes without trailing zeros: it is shown to people and compared with words we know.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
    let sane = text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    sane.then(|| text.to_owned())
}

//! Deterministic CBOR (RFC 8949, 4.2.1), the part that evidence needs, and nothing more lenient.
//!
//! Known: unsigned and negative integers, byte and text strings, arrays, maps with unsigned integer keys, tags.
//! Refused: any other encoding of the same content (long integers, indefinite lengths, unsorted or repeated keys),
//! floats, simple values, trailing bytes, nesting deeper than [`DEPTH_MAX`], more than [`ITEMS_MAX`] items.
//! Memory is bounded by the input: a declared length is compared with what is left before anything is set aside.

use std::fmt;

/// Deepest nesting.  Evidence itself uses five levels.
pub const DEPTH_MAX: usize = 8;
/// Most items of one document; evidence has a few hundred.
pub const ITEMS_MAX: usize = 16_384;

/// Why bytes were refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}, {field}: {fault}")]
pub struct Error {
    /// Offset in the document that was decoded.
    pub offset: usize,
    /// Field being read, as `attest/FORMAT.md` names it.
    pub field: String,
    /// What is wrong.
    pub fault: Fault,
}

impl Error {
    pub(crate) fn new(offset: usize, field: impl Into<String>, fault: Fault) -> Self {
        Self { offset, field: field.into(), fault }
    }
}

/// What can be wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It ends inside an item.
    Truncated,
    /// A length is larger than what is left.
    Length(u64),
    /// There is more after the document.
    TrailingBytes(usize),
    /// Not the one deterministic encoding.
    NotDeterministic(&'static str),
    /// Nested deeper than [`DEPTH_MAX`], or than its kind of document may be.
    TooDeep,
    /// More than [`ITEMS_MAX`] items.
    TooManyItems,
    /// Larger than a document of its kind may be, bytes.
    TooLarge(usize),
    /// A kind of item that evidence does not use.
    Unsupported,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A field is missing.
    Missing,
    /// A key that this version does not know.
    UnknownKey(u64),
    /// The field has another type.
    Expected(&'static str),
    /// The field's value is not allowed.
    Value(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => {
                f.write_str("the file ends here, inside an item: it was cut off; fetch it again")
            }
            Self::Length(length) => write!(
                f,
                "declares {length} bytes or items, more than are left: the file was cut off or altered; fetch it again"
            ),
            Self::TrailingBytes(count) => write!(f, "{count} bytes follow the end of the document"),
            Self::NotDeterministic(what) => write!(f, "not deterministic CBOR: {what}"),
            Self::TooDeep => f.write_str("nested deeper than its kind of document ever is"),
            Self::TooManyItems => write!(f, "more than {ITEMS_MAX} items"),
            Self::TooLarge(limit) => write!(f, "larger than {limit} bytes"),
            Self::Unsupported => f.write_str("a kind of CBOR item that evidence never holds"),
            Self::NotUtf8 => f.write_str("text that is not UTF-8"),
            Self::Missing => f.write_str("is missing"),
            Self::UnknownKey(key) => write!(f, "has key {key}, which this version does not know"),
            Self::Expected(what) => write!(f, "is not {what}"),
            Self::Value(why) => f.write_str(why),
        }
    }
}

/// A decoded item and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<'a> {
    /// Offset of its first byte.
    pub offset: usize,
    /// The item.
    pub value: Value<'a>,
}

/// A decoded item; strings borrow from the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// Unsigned integer.
    Unsigned(u64),
    /// The integer `-1 - n`.
    Negative(u64),
    /// Byte string.
    Bytes(&'a [u8]),
    /// Text string.
    Text(&'a str),
    /// Array.
    Array(Vec<Item<'a>>),
    /// Map in ascending order of keys.
    Map(Vec<(u64, Item<'a>)>),
    /// Tagged item.
    Tag(u64, Box<Item<'a>>),
}

/// Decodes exactly one document.
///
/// # Errors
/// The first [`Fault`] with its offset.
pub fn decode(bytes: &[u8]) -> Result<Item<'_>, Error> {
    decode_to_depth(bytes, DEPTH_MAX)
}

/// [`decode`] for a document that nests otherwise than evidence does.
pub(crate) fn decode_to_depth(bytes: &[u8], deepest: usize) -> Result<Item<'_>, Error> {
    let mut decoder = Decoder { bytes, at: 0, items: 0, deepest };
    let item = decoder.item(0)?;
    match bytes.len() - decoder.at {
        0 => Ok(item),
        left => Err(decoder.fault(Fault::TrailingBytes(left))),
    }
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    items: usize,
    deepest: usize,
}

impl<'a> Decoder<'a> {
    fn fault(&self, fault: Fault) -> Error {
        Error::new(self.at, "CBOR", fault)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or(self.fault(Fault::Truncated))?;
        self.at += count;
        Ok(taken)
    }

    /// Major type and argument of the next item, which must have the shortest form.
    fn head(&mut self) -> Result<(u8, u64), Error> {
        let start = self.at;
        let wrong = |what| Error::new(start, "CBOR", Fault::NotDeterministic(what));
        let first = self.take(1)?.first().copied().unwrap_or_default();
        let argument = match first & 0x1f {
            small @ 0..=23 => return Ok((first >> 5, u64::from(small))),
            24 => self.be(1)?,
            25 => self.be(2)?,
            26 => self.be(4)?,
            27 => self.be(8)?,
            31 => return Err(wrong("indefinite length")),
            _ => return Err(Error::new(start, "CBOR", Fault::Unsupported)),
        };
        let shortest = match first & 0x1f {
            24 => 24,
            25 => 0x100,
            26 => 0x1_0000,
            _ => 0x1_0000_0000,
        };
        if argument < shortest {
            return Err(wrong("an integer or length is longer than needed"));
        }
        Ok((first >> 5, argument))
    }

    fn be(&mut self, count: usize) -> Result<u64, Error> {
        Ok(self.take(count)?.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    /// A declared length that fits into what is left (each item takes at least one byte).
    fn length(&self, argument: u64) -> Result<usize, Error> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(argument) {
            Ok(length) if length <= left => Ok(length),
            Ok(_) | Err(_) => Err(self.fault(Fault::Length(argument))),
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item<'a>, Error> {
        let offset = self.at;
        if depth > self.deepest {
            return Err(self.fault(Fault::TooDeep));
        }
        self.items += 1;
        if self.items > ITEMS_MAX {
            return Err(self.fault(Fault::TooManyItems));
        }
        let (major, argument) = self.head()?;
        let value = match major {
            0 => Value::Unsigned(argument),
            1 => Value::Negative(argument),
            2 => {
                let length = self.length(argument)?;
                Value::Bytes(self.take(length)?)
            }
            3 => {
                let length = self.length(argument)?;
                let text = std::str::from_utf8(self.take(length)?);
                Value::Text(text.map_err(|_| Error::new(offset, "CBOR", Fault::NotUtf8))?)
            }
            4 => {
                let length = self.length(argument)?;
                let mut items = Vec::new();
                for _ in 0..length {
                    items.push(self.item(depth + 1)?);
                }
                Value::Array(items)
            }
            5 => self.map(argument, depth)?,
            6 => Value::Tag(argument, Box::new(self.item(depth + 1)?)),
            _ => return Err(Error::new(offset, "CBOR", Fault::Unsupported)),
        };
        Ok(Item { offset, value })
    }

    fn map(&mut self, argument: u64, depth: usize) -> Result<Value<'a>, Error> {
        let length = self.length(argument)?;
        let mut entries: Vec<(u64, Item<'a>)> = Vec::new();
        for _ in 0..length {
            let offset = self.at;
            let (major, key) = self.head()?;
            if major != 0 {
                return Err(Error::new(offset, "CBOR", Fault::Expected("an unsigned integer as map key")));
            }
            if entries.last().is_some_and(|(last, _)| *last >= key) {
                let what = "map keys must ascend and be unique";
                return Err(Error::new(offset, "CBOR", Fault::NotDeterministic(what)));
            }
            entries.push((key, self.item(depth + 1)?));
        }
        Ok(Value::Map(entries))
    }
}

impl<'a> Item<'a> {
    /// Opens a map named `name` for reading field by field.
    ///
    /// # Errors
    /// If it is no map.
    pub fn fields(self, name: &'static str) -> Result<Fields<'a>, Error> {
        let end = self.offset;
        let Value::Map(entries) = self.value else {
            return Err(Error::new(end, name, Fault::Expected("a map")));
        };
        Ok(Fields { name, offset: end, entries: entries.into_iter().map(Some).collect() })
    }

    pub(crate) fn array(self, name: &'static str) -> Result<Vec<Item<'a>>, Error> {
        let Value::Array(items) = self.value else {
            return Err(Error::new(self.offset, name, Fault::Expected("an array")));
        };
        Ok(items)
    }

    pub(crate) fn bytes(&self, name: &'static str) -> Result<&'a [u8], Error> {
        let Value::Bytes(bytes) = self.value else {
            return Err(Error::new(self.offset, name, Fault::Expected("a byte string")));
        };
        Ok(bytes)
    }

    pub(crate) fn fixed<const N: usize>(&self, name: &'static str) -> Result<[u8; N], Error> {
        let bytes = self.bytes(name)?;
        let why = || Fault::Value(format!("has {} bytes, not {N}", bytes.len()));
        bytes.try_into().map_err(|_| Error::new(self.offset, name, why()))
    }

    pub(crate) fn unsigned(&self, name: &'static str) -> Result<u64, Error> {
        let Value::Unsigned(number) = self.value else {
            return Err(Error::new(self.offset, name, Fault::Expected("an unsigned integer")));
        };
        Ok(number)
    }

    pub(crate) fn text(&self, name: &'static str) -> Result<&'a str, Error> {
        let Value::Text(text) = self.value else {
            return Err(Error::new(self.offset, name, Fault::Expected("text")));
        };
        Ok(text)
    }
}

/// A map being read: each field is taken once, and [`Fields::finish`] refuses what nobody took.
#[derive(Debug)]
pub struct Fields<'a> {
    name: &'static str,
    offset: usize,
    entries: Vec<Option<(u64, Item<'a>)>>,
}

impl<'a> Fields<'a> {
    /// The field with this key, if there.
    pub fn optional(&mut self, key: u64) -> Option<Item<'a>> {
        let slot = self.entries.iter_mut().find(|slot| slot.as_ref().is_some_and(|(k, _)| *k == key))?;
        slot.take().map(|(_, item)| item)
    }

    /// The field with this key.
    ///
    /// # Errors
    /// [`Fault::Missing`], under the field's own name.
    pub fn required(&mut self, key: u64, field: &'static str) -> Result<Item<'a>, Error> {
        let offset = self.offset;
        self.optional(key).ok_or_else(|| Error::new(offset, field, Fault::Missing))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Fault::UnknownKey`] for a field that nobody took.
    pub fn finish(self) -> Result<(), Error> {
        match self.entries.into_iter().flatten().next() {
            None => Ok(()),
            Some((key, item)) => Err(Error::new(item.offset, self.name, Fault::UnknownKey(key))),
        }
    }
}

/// Encodes an unsigned integer.
#[must_use]
pub fn unsigned(value: u64) -> Vec<u8> {
    head(0, value)
}

/// Encodes the integer `-1 - value`.
#[must_use]
pub fn negative(value: u64) -> Vec<u8> {
    head(1, value)
}

/// Encodes a byte string.
#[must_use]
pub fn bytes(value: &[u8]) -> Vec<u8> {
    [head(2, count(value.len())), value.to_vec()].concat()
}

/// Encodes text.
#[must_use]
pub fn text(value: &str) -> Vec<u8> {
    [head(3, count(value.len())), value.as_bytes().to_vec()].concat()
}

/// Encodes an array of encoded items.
#[must_use]
pub fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, count(items.len())), items.concat()].concat()
}

/// Encodes a map of encoded values; absent ones are left out.  Order does not matter: keys are sorted, and of two
/// equal keys the first counts.
#[must_use]
pub fn map(entries: impl IntoIterator<Item = (u64, Option<Vec<u8>>)>) -> Vec<u8> {
    let mut sorted = std::collections::BTreeMap::new();
    for (key, value) in entries {
        if let Some(value) = value {
            sorted.entry(key).or_insert(value);
        }
    }
    let mut out = head(5, count(sorted.len()));
    for (key, value) in sorted {
        out.extend(head(0, key));
        out.extend(value);
    }
    out
}

/// Encodes a tagged item.
#[must_use]
pub fn tag(number: u64, item: &[u8]) -> Vec<u8> {
    [head(6, number), item.to_vec()].concat()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn head(major: u8, argument: u64) -> Vec<u8> {
    let major = major << 5;
    let bytes = argument.to_be_bytes();
    let [.., a, b, c, d] = bytes;
    match argument {
        0..=23 => vec![major | d],
        24..=0xff => vec![major | 24, d],
        0x100..=0xffff => vec![major | 25, c, d],
        0x1_0000..=0xffff_ffff => vec![major | 26, a, b, c, d],
        _ => [&[major | 27][..], &bytes].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_their_shortest_form_and_no_other() {
        for value in [0, 23, 24, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            assert_eq!(decode(&unsigned(value)).unwrap().value, Value::Unsigned(value));
            assert_eq!(decode(&negative(value)).unwrap().value, Value::Negative(value));
        }
        assert_eq!(bytes(&[7; 24])[..2], [0x58, 24]);
    }

    #[test]
    fn refuses_with_the_reason() {
        let deep = [vec![0x81; 10], vec![0]].concat();
        let rows: [(&[u8], Fault); 14] = [
            (&[], Fault::Truncated),
            (&[0x18, 23], Fault::NotDeterministic("an integer or length is longer than needed")),
            (&[0x19, 0, 255], Fault::NotDeterministic("an integer or length is longer than needed")),
            (&[0x5f, 0xff], Fault::NotDeterministic("indefinite length")),
            (&[0x9f, 0xff], Fault::NotDeterministic("indefinite length")),
            (&[0xa2, 2, 0, 1, 0], Fault::NotDeterministic("map keys must ascend and be unique")),
            (&[0xa2, 1, 0, 1, 0], Fault::NotDeterministic("map keys must ascend and be unique")),
            (&[0xa1, 0x61, 0x61, 0], Fault::Expected("an unsigned integer as map key")),
            (&[0, 0], Fault::TrailingBytes(1)),
            (&[0x1c], Fault::Unsupported),
            (&[0xf6], Fault::Unsupported),
            (&[0x61, 0xff], Fault::NotUtf8),
            (&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Fault::Length(u64::MAX)),
            (&deep, Fault::TooDeep),
        ];
        for (bytes, fault) in rows {
            assert_eq!(decode(bytes).unwrap_err().fault, fault, "{bytes:02x?}");
        }
        let many = [vec![0x99, 0x80, 0], vec![0; 0x8000]].concat();
        assert_eq!(decode(&many).unwrap_err().fault, Fault::TooManyItems);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_to_their_own_encoding_or_not_at_all(input in proptest::collection::vec(0u8.., 0..64)) {
            if let Ok(item) = decode(&input) {
                proptest::prop_assert_eq!(encoded(&item.value), input);
            }
        }
    }

    fn encoded(value: &Value<'_>) -> Vec<u8> {
        match value {
            Value::Unsigned(number) => unsigned(*number),
            Value::Negative(number) => negative(*number),
            Value::Bytes(string) => bytes(string),
            Value::Text(string) => text(string),
            Value::Array(items) => array(&items.iter().map(|item| encoded(&item.value)).collect::<Vec<_>>()),
            Value::Map(entries) => map(entries.iter().map(|(key, item)| (*key, Some(encoded(&item.value))))),
            Value::Tag(number, item) => tag(*number, &encoded(&item.value)),
        }
    }
}
